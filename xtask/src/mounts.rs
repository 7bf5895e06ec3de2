//! What is mounted, by the mount table: no mounted directory is touched.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::run::Done;

/// The kernel's number of what is mounted on a directory, by the mount table: the directory is not touched.
pub(crate) fn connection(dir: &Path) -> Option<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
    table.lines().rev().find_map(|line| {
        let mut fields = line.split(' ').skip(2);
        let device = fields.next()?;
        let at = fields.nth(1)?;
        (Path::new(at) == dir).then(|| device.split(':').nth(1).map(str::to_owned))?
    })
}

/// Ends a connection: whoever waits for an answer gets an error.
pub(crate) fn abort(connection: Option<&str>) -> Done {
    let number = connection.ok_or("the mount is not in the mount table")?;
    let path = format!("/sys/fs/fuse/connections/{number}/abort");
    fs::write(&path, "1").map_err(|error| format!("cannot write {path}: {error}"))
}

/// Unmounts, in this namespace, the filesystems that somebody had mounted when it was made: it has a copy of each mount,
/// and with that an unmount elsewhere would not end their sessions.
pub(crate) fn leave_mounts_of_others() -> std::io::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let kinds = mounts.lines().filter_map(|mount| mount.split_once(" - ")?.1.split(' ').next());
    let mut ours: Vec<&str> =
        kinds.filter(|kind| ["fuse", "fuseblk"].contains(&kind.split('.').next().unwrap_or(kind))).collect();
    ours.sort_unstable();
    ours.dedup();
    if !ours.is_empty() {
        // One that has just gone is no failure.
        Command::new("umount")
            .args(["--all", "--lazy", "--internal-only", "--types"])
            .arg(ours.join(","))
            .status()?;
    }
    Ok(())
}
