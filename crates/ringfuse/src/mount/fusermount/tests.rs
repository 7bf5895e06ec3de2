use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::FileType;

use super::*;

/// A directory with a `fusermount3` of our own, removed at the end.
struct Fake(PathBuf);

impl Fake {
    fn new(script: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ringfuse-fake.{}.{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        // Written by a process of its own: a child of another test that inherits an fd open for writing would make
        // the script "busy" for execve(2).
        let write = "printf '#!/bin/sh\\n%s\\n' \"$0\" >\"$1\"; chmod 755 \"$1\"";
        let program = directory.join("fusermount3");
        let status = Command::new("sh").arg("-c").arg(write).arg(script).arg(program).status().unwrap();
        assert!(status.success());
        Self(directory)
    }

    fn mount(&self, list: &str, patience: Duration) -> Result<(OwnedFd, Option<OwnedFd>), Error> {
        let target = Target { path: "/mnt/it".into(), kind: FileType::Directory };
        let helper = Fusermount { program: self.0.join("fusermount3"), patience };
        helper.mount(&target, &MountOptions::parse(list).unwrap())
    }

    /// The error when the script does not mount.
    fn refusal(script: &str) -> Error {
        Self::new(script).mount("", Duration::from_secs(20)).unwrap_err()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn found_in_path_first_and_only_in_absolute_directories() {
    let fake = Fake::new("");
    let program = fake.0.join("fusermount3");
    let path = env::join_paths([Path::new("/nowhere"), &fake.0]).unwrap();
    assert_eq!(find_in(&path), Some(program.clone()));
    assert_ne!(find_in(OsStr::new(".:bin:")), Some("./fusermount3".into()));
    let status = Command::new("chmod").arg("644").arg(&program).status().unwrap();
    assert!(status.success());
    assert_ne!(find_in(&path), Some(program), "not executable");
}

#[test]
fn versions_are_read() {
    assert_eq!(version("fusermount3 version: 3.14.0"), Some((3, 14)));
    assert_eq!(version("version: 3.17.1-rc0"), Some((3, 17)));
    assert_eq!(version("what"), None);
    assert_eq!(version(""), None);
}

#[test]
fn its_words_are_in_the_error() {
    let error = Fake::refusal("echo 'fusermount3: mountpoint /mnt/it not owned by user' >&2; exit 1");
    assert!(error.is_mountpoint());
    assert_eq!(
        error.to_string(),
        "fusermount3 cannot mount /mnt/it: mountpoint /mnt/it not owned by user; mount on a directory of your own"
    );
    let error = Fake::refusal("echo 'fusermount3: one' >&2; echo two >&2; exit 1");
    assert!(error.is_fusermount());
    assert_eq!(error.to_string(), "fusermount3 cannot mount /mnt/it: one; two");
}

#[test]
fn many_words_do_not_block_it() {
    let error = Fake::refusal(
        "i=0; while [ $i -lt 3000 ]; do echo 'much to say, more than a pipe holds' >&2; i=$((i+1)); done; exit 1",
    );
    assert!(error.to_string().len() < 4096);
}

#[test]
fn an_end_without_device_or_words_is_an_error() {
    assert!(Fake::refusal("exit 0").to_string().ends_with("it says nothing (exit status: 0)"));
    assert!(Fake::refusal("kill -9 $$").to_string().contains("signal: 9"));
    assert!(Fake::refusal("exec <&-; exit 7").to_string().contains("exit status: 7"));
}

#[test]
fn an_end_is_noticed_though_a_grandchild_keeps_the_socket() {
    let start = Instant::now();
    Fake::refusal("exec 3<&0; sleep 15 & exit 1");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_message_without_device_is_an_error() {
    // A socket on standard input can be written to.
    assert!(Fake::refusal("printf x >&0").is_fusermount());
}

#[test]
fn a_helper_that_hangs_is_killed() {
    let fake = Fake::new("echo $$ >\"${0%/*}/pid\"; exec sleep 30");
    let error = fake.mount("", Duration::from_millis(500)).unwrap_err();
    assert!(error.is_fusermount());
    assert!(
        error.to_string().starts_with("fusermount3 cannot mount /mnt/it within 0.5 s, and was killed; "),
        "{error}"
    );
    let pid = fs::read_to_string(fake.0.join("pid")).unwrap();
    let process = PathBuf::from(format!("/proc/{}", pid.trim()));
    let deadline = Instant::now() + Duration::from_secs(5);
    while process.exists() {
        assert!(Instant::now() < deadline, "neither dead nor collected");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn arguments_environment_and_socket_are_those_of_the_protocol() {
    let script =
        "readlink /proc/self/fd/0 | sed 's/:.*//' >&2; printf '%s|' \"$_FUSE_COMMFD\" \"$@\" >&2; exit 1";
    let fake = Fake::new(script);
    let error = fake.mount(r"ro,fsname=a\,b", Duration::from_secs(20)).unwrap_err();
    assert_eq!(
        error.to_string(),
        r"fusermount3 cannot mount /mnt/it: socket; 0|-o|fsname=a\\,b,ro|--|/mnt/it|".replace(r"\\", r"\")
    );
}

#[test]
fn each_reason_has_a_kind_and_a_remedy() {
    for (words, kind) in [
        ("failed to open /dev/fuse: Permission denied", ErrorKind::Permission),
        ("fuse device not found, try 'modprobe fuse' first", ErrorKind::NoDevice),
        (
            "option allow_other only allowed if 'user_allow_other' is set in /etc/fuse.conf",
            ErrorKind::Permission,
        ),
        ("mountpoint /x not owned by user", ErrorKind::Mountpoint),
        ("user has no write access to mountpoint /x", ErrorKind::Mountpoint),
        ("mounting over filesystem type 0x9fa0 is forbidden", ErrorKind::Mountpoint),
        ("too many FUSE filesystems mounted; mount_max=N can be set", ErrorKind::Fusermount),
        ("mount failed: Operation not permitted", ErrorKind::Permission),
        ("mount failed: Permission denied", ErrorKind::Permission),
        ("unknown option 'x'", ErrorKind::Options),
    ] {
        let error = refused("step", words, None);
        assert_eq!(error.kind(), kind, "{words}");
        assert!(error.to_string().starts_with(&format!("step: {words}; ")), "{error}");
    }
}

#[test]
fn a_busy_unmount_is_recognised() {
    let unmount = |script: &str| {
        let fake = Fake::new(script);
        let helper = Fusermount { program: fake.0.join("fusermount3"), patience: Duration::from_secs(20) };
        helper.unmount(Path::new("/mnt/it"), true)
    };
    let busy = "echo 'fusermount3: failed to unmount /mnt/it: Device or resource busy' >&2; exit 1";
    assert!(unmount(busy).unwrap_err().is_busy());
    let error = unmount("printf '%s ' \"$@\" >&2; exit 1").unwrap_err();
    assert_eq!(error.to_string(), "fusermount3 cannot unmount /mnt/it: -u -z -- /mnt/it");
    unmount("exit 0").unwrap();
}

#[test]
fn missing_programs_are_reported() {
    let helper = Fusermount { program: "/nowhere/fusermount3".into(), patience: Duration::from_secs(1) };
    let error = helper.unmount(Path::new("/mnt/it"), false).unwrap_err();
    assert!(error.to_string().starts_with("cannot start fusermount3: No such file"), "{error}");
}

#[test]
fn the_memory_for_its_words_is_not_for_other_children() {
    let flags = rustix::io::fcntl_getfd(memory().unwrap()).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
}
