//! More inodes, known to the kernel at once, than a server may have descriptors.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::super::case::{Env, Outcome, check, equal};

/// Files of a directory.
const EACH: u64 = 1000;

fn name(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{}/{number}", number / EACH))
}

/// Makes files, looks at all of them so that the kernel knows all at once, and has everything done with some.
pub(super) fn known(env: &Env) -> Outcome {
    let dir = &env.dir;
    let free = rustix::fs::statvfs(dir)?.f_ffree;
    let count = env.scale.pick(30_000, 30_000, 1_000_000).min(free * 9 / 10) / EACH * EACH;
    let start = Instant::now();
    for number in 0..count {
        if number % EACH == 0 {
            fs::create_dir(dir.join((number / EACH).to_string()))?;
        }
        File::create(name(dir, number))?;
    }
    println!("{count} files made in {:.1} s", start.elapsed().as_secs_f64());
    let start = Instant::now();
    for number in 0..count {
        equal("the size", fs::symlink_metadata(name(dir, number))?.len(), 0)?;
    }
    println!("all looked at in {:.1} s", start.elapsed().as_secs_f64());
    tell_of_server();
    if rustix::fs::statfs(dir)?.f_type == FUSE
        && let Some(known) = known_to_kernel()
    {
        check(known > count * 9 / 10, || format!("the kernel knows {known} of {count} inodes"))?;
    }
    // From the first, whose descriptors are gone long since, to the last.
    for number in (0..count).step_by((count / 500) as usize) {
        everything(dir, &name(dir, number))
            .map_err(|error| format!("with file {number} of {count}: {error}"))?;
    }
    tell_of_server();
    Ok(())
}

const FUSE: rustix::fs::FsWord = 0x6573_5546;

/// Each operation of an inode and of a directory entry, once.
fn everything(dir: &Path, path: &Path) -> Result<(), String> {
    let attempt = || -> std::io::Result<()> {
        let beside = |suffix: &str| path.with_extension(suffix);
        let file = File::options().read(true).write(true).open(path)?;
        file.write_at(b"content", 5)?;
        file.set_len(9)?;
        file.sync_all()?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o640))?;
        std::os::unix::fs::chown(path, Some(7), Some(8))?;
        rustix::fs::setxattr(path, c"user.x", b"y", rustix::fs::XattrFlags::empty())?;
        fs::hard_link(path, beside("link"))?;
        fs::rename(path, beside("new"))?;
        fs::remove_file(beside("link"))?;
        fs::create_dir(beside("dir"))?;
        symlink("target", beside("dir").join("symlink"))?;
        fs::rename(beside("new"), beside("dir").join("file"))?;
        let stat = fs::metadata(beside("dir").join("file"))?;
        let same =
            file.metadata()?.ino() == stat.ino() && (stat.uid(), stat.nlink(), stat.len()) == (7, 1, 9);
        let content = fs::read(beside("dir").join("file"))? == b"\0\0\0\0\0cont";
        let listed = fs::read_dir(beside("dir"))?.count() == 2
            && fs::read_link(beside("dir").join("symlink"))?.is_relative();
        fs::remove_file(beside("dir").join("file"))?;
        let unlinked = file.metadata()?.nlink() == 0;
        fs::remove_dir_all(beside("dir"))?;
        if same && content && listed && unlinked && !path.exists() && dir.exists() {
            return Ok(());
        }
        Err(std::io::Error::other("it is not as it was left"))
    };
    attempt().map_err(|error| error.to_string())
}

/// How many inodes of FUSE the kernel has, if it tells.
fn known_to_kernel() -> Option<u64> {
    let slabs = fs::read_to_string("/proc/slabinfo").ok()?;
    slabs
        .lines()
        .find_map(|line| line.strip_prefix("fuse_inode "))?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
}

/// What the server takes, by `/proc`. There is only one in the namespace, and natively none.
fn tell_of_server() {
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let path = entry.path();
        if fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "ringfuse") {
            let status = fs::read_to_string(path.join("status")).unwrap_or_default();
            let memory = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
            let open = fs::read_dir(path.join("fd")).map_or(0, Iterator::count);
            println!("the server: {open} descriptors, {memory}");
        }
    }
}
