//! The program from outside: its line, its signals, its statistics, its end. As root, on a machine with FUSE.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ringfuse_kit::harness::{Mountpoint, PATIENCE, is_mounted};
use ringfuse_kit::program::Program;
use rustix::process::Signal;
use rustix::thread::{CpuSet, sched_setaffinity};

/// A program whose standard error goes to a file.
struct Served {
    program: Program,
    errors: PathBuf,
}

fn ringfuse() -> Command {
    Command::new(env!("CARGO_BIN_EXE_ringfuse"))
}

fn serve(arguments: &[&str]) -> Served {
    let mountpoint = Mountpoint::new();
    let errors = mountpoint.with_extension("stderr");
    let program = Program::start_at(mountpoint, |path| {
        let mut command = ringfuse();
        command.arg("mem").arg(path).args(arguments).stderr(File::create(&errors).unwrap());
        command
    });
    Served { program, errors }
}

impl Served {
    fn path(&self) -> &Path {
        self.program.path()
    }

    /// Waits until the standard error holds a text.
    fn wait_for(&self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = fs::read_to_string(&self.errors).unwrap();
            if said.contains(text) {
                return said;
            }
            assert!(Instant::now() < deadline, "`{text}` is not in: {said}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for a good end.
    fn ended(mut self) {
        let status = self.program.wait();
        assert!(status.success(), "{status}");
        assert!(!is_mounted(self.path()));
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.errors);
    }
}

#[test]
fn says_when_it_is_ready_and_ends_when_it_is_unmounted() {
    for transport in ["ring", "device"] {
        let served = serve(&["--transport", transport]);
        let line = served.program.ready();
        let way = if transport == "ring" { "io_uring" } else { "/dev/fuse" };
        assert!(line.starts_with(&*served.path().to_string_lossy()) && line.contains(way), "{line}");
        fs::write(served.path().join("f"), "content").unwrap();
        let start = Instant::now();
        rustix::mount::unmount(served.path(), rustix::mount::UnmountFlags::empty()).unwrap();
        served.ended();
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    }
}

#[test]
fn all_lookup_counts_come_back() {
    let served = serve(&["--stats"]);
    for round in 0..3 {
        let dir = served.path().join(format!("d{round}"));
        fs::create_dir(&dir).unwrap();
        for i in 0..100 {
            fs::write(dir.join(format!("f{i}")), vec![1; i * 100]).unwrap();
            fs::hard_link(dir.join(format!("f{i}")), dir.join(format!("l{i}"))).unwrap();
        }
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 200);
    }
    served.program.signal(Signal::USR1);
    let before = served.wait_for("pages");
    assert!(before.contains("nodes 304, "), "{before}");
    let kept = File::open(served.path().join("d0/f99")).unwrap();
    for round in 0..3 {
        fs::remove_dir_all(served.path().join(format!("d{round}"))).unwrap();
    }
    drop(kept);
    // Forgets come a little later.
    let deadline = Instant::now() + PATIENCE;
    let balanced = "nodes 1, lookups 0, open 0, inodes 1/";
    while !fs::read_to_string(&served.errors).unwrap().contains(balanced) {
        assert!(Instant::now() < deadline, "{}", fs::read_to_string(&served.errors).unwrap());
        served.program.signal(Signal::USR1);
        thread::sleep(Duration::from_millis(50));
    }
    served.wait_for("pages 0/");
    served.program.signal(Signal::TERM);
    served.ended();
}

#[test]
fn a_mount_in_use_is_served_until_the_last_user_leaves() {
    let served = serve(&[]);
    let mut file = File::create(served.path().join("f")).unwrap();
    served.program.signal(Signal::INT);
    served.wait_for("unmounted lazily");
    assert!(!is_mounted(served.path()));
    file.write_all(b"still served").unwrap();
    assert_eq!(file.metadata().unwrap().len(), 12);
    drop(file);
    served.ended();
}

#[test]
fn a_second_signal_aborts() {
    let served = serve(&[]);
    let mut file = File::create(served.path().join("f")).unwrap();
    served.program.signal(Signal::INT);
    served.wait_for("unmounted lazily");
    thread::sleep(Duration::from_millis(100));
    served.program.signal(Signal::INT);
    served.wait_for("aborted");
    served.ended();
    assert!(file.write_all(b"x").is_err());
}

#[test]
fn space_and_inodes_are_limited() {
    let served = serve(&["-o", "size=1M,nr_inodes=5"]);
    let path = |name: &str| served.path().join(name);
    let full = fs::write(path("big"), vec![1; 2 << 20]).unwrap_err();
    assert_eq!(full.raw_os_error(), Some(rustix::io::Errno::NOSPC.raw_os_error()));
    assert_eq!(rustix::fs::statvfs(served.path()).unwrap().f_bfree, 0);
    fs::remove_file(path("big")).unwrap();
    // The kernel closes the file and forgets it a little later.
    let deadline = Instant::now() + PATIENCE;
    while rustix::fs::statvfs(served.path()).unwrap().f_bfree < 256 {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(1));
    }
    fs::write(path("big"), vec![1; 1 << 20]).unwrap();
    let names = (0..4).map(|i| File::create(path(&format!("f{i}"))).is_ok());
    assert_eq!(names.collect::<Vec<_>>(), [true, true, true, false], "the root is an inode too");
    served.program.signal(Signal::TERM);
    served.ended();
}

/// What /proc/self/mounts has to say of a mount.
fn mount_options(path: &Path) -> String {
    let table = fs::read_to_string("/proc/self/mounts").unwrap();
    let mut rows = table.lines().map(|row| row.split(' ').collect::<Vec<_>>());
    rows.find(|row| Path::new(row[1]) == path).unwrap()[3].to_owned()
}

#[test]
fn a_mount_is_changed_as_mount_asks_its_helper() {
    let served = serve(&["-o", "dev,acl,user_xattr,nomand", "--allow-other"]);
    let file = served.path().join("f");
    let remount = |list: &str| {
        let output = ringfuse().arg("mem").arg(served.path()).args(["-o", list]).output().unwrap();
        assert!(
            output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(),
            "{output:?}"
        );
        mount_options(served.path())
    };
    let before = mount_options(served.path());
    assert!(before.starts_with("rw,nosuid,relatime,"), "{before}");

    assert_eq!(remount("remount,ro"), before.replacen("rw", "ro", 1));
    assert_eq!(fs::write(&file, "x").unwrap_err().kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    // Options that the mount does not have to itself are passed over: there they all are once more.
    assert_eq!(remount("rw,remount,nofail,size=1M,fsname=x"), before);
    fs::write(&file, "x").unwrap();
    let changed = remount("nodev,noexec,noatime,remount");
    assert_eq!(changed, before.replacen("nosuid,relatime", "nosuid,nodev,noexec,noatime", 1));
    assert_eq!(remount("remount,strictatime"), changed.replacen("noexec,noatime", "noexec", 1));
    rustix::mount::unmount(served.path(), rustix::mount::UnmountFlags::empty()).unwrap();
    served.ended();
}

#[test]
fn wrong_usage_and_errors_have_their_status() {
    for (arguments, status, text) in [
        (&["mem"][..], 2, "required"),
        (
            &["mem", "/tmp", "-o", "sizw=1"],
            2,
            "ringfuse: error: mount option `sizw` is unknown; did you mean `size`?",
        ),
        (&["mem", "/tmp", "-o", "size=much"], 2, "`much`"),
        (&["mem", "/tmp", "--writeback", "-o", "direct"], 2, "exclude each other"),
        (&["mem", "/tmp", "--depth", "0"], 2, "--depth"),
        (
            &["mem", "/proc", "-o", "remount,ro"],
            1,
            "cannot remount /proc; no FUSE filesystem is mounted there",
        ),
        (&["mem", "/does/not/exist"], 1, "ringfuse: error: cannot mount /does/not/exist: "),
    ] {
        let output = ringfuse().args(arguments).stdin(Stdio::null()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {errors}");
        assert!(errors.contains(text), "{arguments:?}: {errors}");
        assert!(status == 2 || errors.trim_end().lines().count() == 1, "{errors}");
    }
}

#[test]
fn nothing_is_said_when_all_goes_well() {
    for workers in ["1", "2"] {
        let served = serve(&["--workers", workers]);
        // By one CPU only: of the other's queue nobody is served.
        let mut set = CpuSet::new();
        set.set(0);
        sched_setaffinity(None, &set).unwrap();
        fs::write(served.path().join("f"), "x").unwrap();
        let mut errors = File::open(&served.errors).unwrap();
        rustix::mount::unmount(served.path(), rustix::mount::UnmountFlags::empty()).unwrap();
        served.ended();
        let mut said = String::new();
        errors.read_to_string(&mut said).unwrap();
        assert_eq!(said, "");
    }
}
