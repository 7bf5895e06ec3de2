//! What the live tests have in common.

use std::ffi::OsStr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::getpid;

use super::super::mountinfo::Row;
use super::super::unmount::is_connected;
use super::super::*;

/// A directory with a mountpoint, cleared of mounts and removed at the end.
pub(super) struct Scratch {
    pub(super) directory: PathBuf,
    pub(super) mountpoint: PathBuf,
}

impl Scratch {
    pub(super) fn new() -> Self {
        let scratch = Self::with(OsStr::new("mnt"));
        fs::create_dir(&scratch.mountpoint).unwrap();
        scratch
    }

    pub(super) fn with(name: &OsStr) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("ringfuse-live.{}.{count}", getpid().as_raw_nonzero()));
        fs::create_dir(&directory).unwrap();
        let directory = fs::canonicalize(directory).unwrap();
        Self { mountpoint: directory.join(name), directory }
    }

    pub(super) fn mount(&self, list: &str, via: Via) -> Mounted {
        mount(&self.mountpoint, &MountOptions::parse(list).unwrap(), via).unwrap()
    }

    /// All that is mounted at the mountpoint.
    pub(super) fn rows(&self) -> Vec<Row> {
        mountinfo::read().unwrap().into_iter().filter(|row| row.mountpoint == self.mountpoint).collect()
    }

    pub(super) fn row(&self) -> Row {
        let rows = self.rows();
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows.into_iter().next().unwrap()
    }

    /// Uses the mount.
    pub(super) fn busy(&self) -> OwnedFd {
        rustix::fs::open(&self.mountpoint, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    /// Waits for the end of the session. A mount namespace that was just created for another test has a copy of each
    /// mount, and keeps its session alive.
    pub(super) fn ends(&self, mounted: &Mounted) {
        within(Duration::from_secs(10), "the last copy of the mount is gone", || {
            !is_connected(mounted.device())
        });
    }

    pub(super) fn tmpfs(&self, at: &Path) {
        rustix::mount::mount("over", at, "tmpfs", MountFlags::empty(), None).unwrap();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut rows = mountinfo::read().unwrap();
        rows.retain(|row| row.mountpoint.starts_with(&self.directory));
        for row in rows {
            let _ = rustix::mount::unmount(&row.mountpoint, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

pub(super) fn within(time: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + time;
    while !done() {
        assert!(Instant::now() < deadline, "not within {time:?}: {what}");
        sleep(Duration::from_millis(5));
    }
}

/// Children of this process whose name is that of the helper: pid and state.
pub(super) fn helpers() -> Vec<(String, char)> {
    let me = getpid().as_raw_nonzero().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let (Some((pid, _)), Some((name, rest))) = (stat.split_once(' '), stat.rsplit_once(')')) else {
            continue;
        };
        let mut fields = rest.split_whitespace();
        let (state, parent) = (fields.next().unwrap(), fields.next().unwrap());
        if parent == me && name.ends_with("(fusermount3") {
            found.push((pid.to_owned(), state.chars().next().unwrap()));
        }
    }
    found
}

/// The smallest possible reply to INIT, so that the connection is ready.
pub(super) fn answer_init(device: &OwnedFd) {
    let mut request = vec![0; 1 << 16];
    let length = rustix::io::read(device, &mut request).unwrap();
    assert_eq!((length >= 56, request[4]), (true, 26), "INIT");
    let mut reply = vec![0; 80];
    reply[..4].copy_from_slice(&80_u32.to_ne_bytes());
    reply[8..16].copy_from_slice(&request[8..16]);
    for (at, value) in [(16, 7_u32), (20, 31), (36, 65536)] {
        reply[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }
    assert_eq!(rustix::io::write(device, &reply).unwrap(), 80);
}

/// Runs the test again, alone, in a process started through `wrapper`. `true` in that process.
pub(super) fn inside(test: &str, wrapper: &[&str]) -> bool {
    if std::env::var_os("RINGFUSE_INSIDE").is_some() {
        return true;
    }
    let tests = module_path!().split_once("::").unwrap().1.strip_suffix("::scratch").unwrap();
    let output = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "--test-threads=1"])
        .arg(format!("{tests}::{test}"))
        .env("RINGFUSE_INSIDE", "1")
        .output()
        .unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{wrapper:?}: {text}");
    false
}
