//! Where a measurement runs: in namespaces of its own, and on a folder that only it sees.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use crate::mounts::leave_mounts_of_others;
use crate::run::{Done, end_on_signals, run};

/// A folder that exists everywhere. A tmpfs is mounted there, in this run's namespace only.
const ROOT: &str = "/run";

/// Replaces this program by itself in namespaces of its own. It returns what went wrong.
pub(super) fn enter() -> String {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return format!("cannot tell the path of this program: {error}"),
    };
    let error = Command::new("unshare")
        .args([
            "--mount",
            "--propagation",
            "private",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "--",
        ])
        .arg(program)
        .args(std::env::args_os().skip(1))
        .arg("--inside")
        .exec();
    format!("cannot start unshare: {error}; it is in Debian's package util-linux")
}

/// Prepares the namespaces. This is the first process of one: when it ends, for whatever reason, the kernel ends all
/// others in it, and their mounts go.
pub(super) fn settle() -> Done {
    if std::process::id() != 1 {
        return Err("--inside is for the program itself".to_owned());
    }
    end_on_signals().map_err(|error| format!("cannot listen for signals: {error}"))?;
    leave_mounts_of_others().map_err(|error| format!("cannot unmount what others have mounted: {error}"))?;
    run(Command::new("mount").args(["-t", "tmpfs", "-o", "mode=755", "bench", ROOT]))
}

/// A new empty folder there.
pub(super) fn folder(name: &str) -> Done<PathBuf> {
    let path = Path::new(ROOT).join(name);
    fs::create_dir_all(&path).map_err(|error| format!("cannot create {}: {error}", path.display()))?;
    Ok(path)
}

/// A tmpfs, to compare with. It is unmounted when this is dropped.
pub(super) struct Tmpfs(pub(super) PathBuf);

impl Tmpfs {
    pub(super) fn mount() -> Done<Self> {
        let path = folder("tmpfs")?;
        run(Command::new("mount").args(["-t", "tmpfs", "-o", "nr_inodes=0", "bench"]).arg(&path))?;
        Ok(Self(path))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Loops that keep the CPUs from idling. They end when this is dropped.
#[derive(Default)]
pub(super) struct Awake(Vec<Child>);

impl Awake {
    pub(super) fn start() -> Done<Self> {
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        let loops = (0..cpus).map(|cpu| {
            Command::new("chrt")
                .args(["--idle", "0", "taskset", "--cpu-list", &cpu.to_string()])
                .args(["sh", "-c", "while :; do :; done"])
                .spawn()
                .map_err(|error| format!("cannot start chrt: {error}; it is in Debian's package util-linux"))
        });
        loops.collect::<Done<_>>().map(Self)
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits for the end of a process, for so long.
pub(super) fn within(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    within_unless(child, limit, || false)
}

/// The same, but no longer if there is no point in it.
pub(super) fn within_unless(
    child: &mut Child,
    limit: Duration,
    mut pointless: impl FnMut() -> bool,
) -> Option<ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < limit && !pointless() {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        // Finely at first: that of a mount is measured by it.
        thread::sleep((start.elapsed() / 50).clamp(Duration::from_micros(100), Duration::from_millis(20)));
    }
    None
}
