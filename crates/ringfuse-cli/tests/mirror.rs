//! `ringfuse mirror` from outside: what only a filesystem over another one can get wrong. As root, on a machine with FUSE.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ringfuse_kit::harness::{Mountpoint, PATIENCE};
use ringfuse_kit::posix::{self, Needs};
use ringfuse_kit::program::Program;
use rustix::fs::{CWD, FlockOperation, RenameFlags, fcntl_lock, flock, renameat_with};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Pid, Signal, kill_process};

/// A mirror of an empty directory.
struct Mirror {
    program: Program,
    source: Source,
}

/// A directory that is removed at the end.
struct Source(PathBuf);

impl Drop for Source {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn ringfuse() -> Command {
    Command::new(env!("CARGO_BIN_EXE_ringfuse"))
}

fn serve(arguments: &[&str]) -> Mirror {
    serve_with(arguments, |_| {})
}

/// `prepare` makes what is to be in the source at the start.
fn serve_with(arguments: &[&str], prepare: impl FnOnce(&Path)) -> Mirror {
    let (mountpoint, source) = new_source();
    prepare(&source.0);
    start(ringfuse(), arguments, mountpoint, source)
}

/// Has the program started by another one.
fn serve_by(starter: &str, before: &[&str], arguments: &[&str]) -> Mirror {
    let (mountpoint, source) = new_source();
    let mut command = Command::new(starter);
    command.args(before).arg(ringfuse().get_program());
    start(command, arguments, mountpoint, source)
}

fn new_source() -> (Mountpoint, Source) {
    let mountpoint = Mountpoint::new();
    let source = Source(mountpoint.with_extension("source"));
    fs::create_dir(&source.0).unwrap();
    (mountpoint, source)
}

fn start(mut command: Command, arguments: &[&str], mountpoint: Mountpoint, source: Source) -> Mirror {
    let program = Program::start_at(mountpoint, |path| {
        command.arg("mirror").arg(&source.0).arg(path).args(arguments);
        command
    });
    Mirror { program, source }
}

impl Mirror {
    /// A name in the mirror.
    fn at(&self, name: &str) -> PathBuf {
        self.program.path().join(name)
    }

    /// The same name in the source.
    fn source(&self, name: &str) -> PathBuf {
        self.source.0.join(name)
    }

    /// Unmounts, and waits for a good end.
    fn finish(self) {
        self.end();
    }

    /// Unmounts, and mirrors the same source again.
    fn again(self, arguments: &[&str]) -> Self {
        start(ringfuse(), arguments, Mountpoint::new(), self.end())
    }

    /// Another test that is about to start a program may have this one's files for a moment.
    fn end(mut self) -> Source {
        soon("unmount", || unmount(self.program.path(), UnmountFlags::empty()).is_ok());
        let status = self.program.wait();
        assert!(status.success(), "{status}");
        self.source
    }
}

/// Waits until something holds.
fn soon(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn refused(arguments: &[&str], why: &str) {
    let mountpoint = Mountpoint::new();
    let done = ringfuse().arg("mirror").args(arguments).arg(&*mountpoint).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success() && said.contains(why), "{arguments:?}: {said}");
}

/// Runs a shell command as a user that is nobody.
fn as_nobody(dir: &Path, script: &str) {
    let status = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-ec", script])
        .current_dir(dir)
        .status()
        .unwrap();
    assert!(status.success(), "{script}");
}

#[test]
fn what_cannot_be_is_refused_with_the_reason() {
    refused(&["/etc/passwd"], "Not a directory");
    refused(&["/nowhere"], "No such file");
    refused(&["--passthrough", "-o", "writeback", "/tmp"], "exclude each other");
    refused(&["--writeback", "-o", "cache=never", "/tmp"], "page cache");
    refused(&["--watch", "--cross-mounts", "/tmp"], "one filesystem");
    refused(&["-o", "locks=nowhere", "/tmp"], "is one of source, local");
}

#[test]
fn an_inode_is_reached_after_its_descriptor_has_gone() {
    let mirror = serve(&["--fds", "16", "--cache", "never"]);
    for dir in 0..20 {
        fs::create_dir(mirror.at(&format!("d{dir}"))).unwrap();
        for file in 0..20 {
            fs::write(mirror.at(&format!("d{dir}/f{file}")), format!("{dir} {file}")).unwrap();
        }
    }
    // Renamed behind the mirror's back: it is the inode that counts.
    let file = File::open(mirror.at("d3/f4")).unwrap();
    fs::rename(mirror.source("d3"), mirror.source("elsewhere")).unwrap();
    for dir in 4..20 {
        for file in 0..20 {
            assert_eq!(
                fs::read_to_string(mirror.at(&format!("d{dir}/f{file}"))).unwrap(),
                format!("{dir} {file}")
            );
        }
    }
    let mut text = String::new();
    (&file).read_to_string(&mut text).unwrap();
    assert_eq!(text, "3 4");
    assert_eq!(fs::read_to_string(mirror.at("elsewhere/f4")).unwrap(), "3 4");
    // A name that is gone does not take the file with it.
    let open = File::open(mirror.at("d7/f7")).unwrap();
    fs::remove_file(mirror.at("d7/f7")).unwrap();
    for file in 0..20 {
        let _ = fs::metadata(mirror.at(&format!("d9/f{file}"))).unwrap();
    }
    assert_eq!(open.metadata().unwrap().nlink(), 0);
    assert_eq!(open.metadata().unwrap().len(), 3);
    drop((file, open));
    mirror.finish();
}

#[test]
fn an_inode_number_that_is_used_again_is_another_file() {
    let mirror = serve(&[]);
    let (name, other) = (mirror.at("f"), mirror.source("f"));
    for round in 0..200 {
        fs::write(&other, format!("{round}")).unwrap();
        assert_eq!(fs::read_to_string(&name).unwrap(), format!("{round}"));
        fs::remove_file(&name).unwrap();
    }
    mirror.finish();
}

#[test]
fn a_listing_tells_of_each_file_what_is_its_own() {
    let mirror = serve(&[]);
    let names = ["a", "b"].map(|name| mirror.source(name));
    for name in &names {
        fs::write(name, name.file_name().unwrap().as_encoded_bytes()).unwrap();
    }
    let [a, b] = names.each_ref().map(|name| fs::metadata(name).unwrap().ino());
    let end = Instant::now() + Duration::from_secs(1);
    let exchanging = thread::spawn(move || {
        while Instant::now() < end {
            renameat_with(CWD, &names[0], CWD, &names[1], RenameFlags::EXCHANGE).unwrap();
        }
    });
    while !exchanging.is_finished() {
        for entry in fs::read_dir(mirror.at("")).unwrap() {
            let mut file = File::open(entry.unwrap().path()).unwrap();
            let ino = file.metadata().unwrap().ino();
            let mut content = String::new();
            file.read_to_string(&mut content).unwrap();
            assert_eq!(ino, if content == "a" { a } else { b });
        }
    }
    exchanging.join().unwrap();
    mirror.finish();
}

#[test]
fn files_without_names_are_held_by_one_descriptor_each() {
    // 100 of them open at the source, and less than another 100 for all else.
    let mirror = serve_by("prlimit", &["--nofile=200"], &[]);
    let files: Vec<File> = (0..100)
        .map(|number| {
            let name = mirror.at(&format!("f{number}"));
            let file = File::options().read(true).write(true).create_new(true).open(&name).unwrap();
            fs::remove_file(name).unwrap();
            file.write_all_at(format!("{number}").as_bytes(), 0).unwrap();
            file
        })
        .collect();
    for (number, file) in files.iter().enumerate() {
        let stat = file.metadata().unwrap();
        assert_eq!((stat.nlink(), stat.len()), (0, format!("{number}").len() as u64));
        file.set_permissions(fs::Permissions::from_mode(0o600)).unwrap();
    }
    drop(files);
    mirror.finish();
}

#[test]
fn opens_share_a_descriptor_when_there_are_no_more() {
    let mirror = serve_by("prlimit", &["--nofile=200"], &[]);
    let name = mirror.at("file");
    fs::write(&name, "").unwrap();
    let open = || File::options().read(true).write(true).open(&name).unwrap();
    let files: Vec<File> = (0..400).map(|_| open()).collect();
    for (number, file) in files.iter().enumerate() {
        file.write_all_at(&[number as u8], number as u64).unwrap();
    }
    let mut read = [0; 400];
    files[399].read_exact_at(&mut read, 0).unwrap();
    assert!(read.iter().enumerate().all(|(number, byte)| *byte == number as u8));
    // There is room left for what is not an open file.
    soon("names are looked up again", || {
        fs::metadata(mirror.at("none")).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    });
    fs::write(mirror.at("another"), "").unwrap();
    // Another's lock would go with one's own.
    assert_eq!(flock(&files[399], FlockOperation::LockExclusive), Err(Errno::NOLCK));
    flock(&files[0], FlockOperation::LockExclusive).unwrap();
    drop(files);
    soon("descriptors are given back", || flock(open(), FlockOperation::LockExclusive).is_ok());
    mirror.finish();
}

#[test]
fn file_handles_outlive_the_mount() {
    let mirror = serve(&[]);
    fs::create_dir(mirror.at("d")).unwrap();
    fs::write(mirror.at("d/f"), "content").unwrap();
    // Python has no such function, and the kit's are of its suite.
    let script = "import ctypes,os,sys\n\
        libc=ctypes.CDLL(None,use_errno=True)\n\
        what,mount,name=sys.argv[1:4]\n\
        handle=ctypes.create_string_buffer(136)\n\
        if what=='save':\n\
        \x20 ctypes.c_uint.from_buffer(handle).value=128\n\
        \x20 assert libc.name_to_handle_at(-100,os.fsencode(name),handle,ctypes.byref(ctypes.c_int()),0)==0\n\
        \x20 print(handle.raw.hex())\n\
        else:\n\
        \x20 handle.raw=bytes.fromhex(name)\n\
        \x20 fd=libc.open_by_handle_at(os.open(mount,os.O_RDONLY),handle,os.O_RDONLY)\n\
        \x20 print(os.read(fd,100).decode() if fd>=0 else os.strerror(ctypes.get_errno()))\n";
    let python = |arguments: &[&std::ffi::OsStr]| {
        let output = Command::new("python3").args(["-c", script]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let saved = python(&["save".as_ref(), mirror.at("").as_os_str(), mirror.at("d/f").as_os_str()]);
    let mirror = mirror.again(&[]);
    let opened = |mirror: &Mirror| python(&["open".as_ref(), mirror.at("").as_os_str(), saved.as_ref()]);
    assert_eq!(opened(&mirror), "content");
    fs::rename(mirror.at("d/f"), mirror.at("g")).unwrap();
    let mirror = mirror.again(&[]);
    assert_eq!(opened(&mirror), "content");
    fs::remove_file(mirror.source("g")).unwrap();
    fs::write(mirror.source("g"), "other").unwrap();
    let mirror = mirror.again(&[]);
    assert_eq!(opened(&mirror), "Stale file handle");
    mirror.finish();
}

#[test]
fn what_is_created_belongs_to_the_caller() {
    let mirror = serve(&["--allow-other"]);
    fs::set_permissions(mirror.at(""), fs::Permissions::from_mode(0o777)).unwrap();
    as_nobody(&mirror.at(""), "umask 027; touch file; mkdir dir; ln -s x link; mkfifo fifo");
    for (name, mode) in [("file", 0o640), ("dir", 0o750), ("fifo", 0o640), ("link", 0o777)] {
        let stat = fs::symlink_metadata(mirror.source(name)).unwrap();
        assert_eq!((stat.uid(), stat.gid(), stat.mode() & 0o7777), (65534, 65534, mode), "{name}");
    }
    // A directory with setgid hands on its group, and to directories the bit.
    fs::create_dir(mirror.at("shared")).unwrap();
    chown(mirror.at("shared"), Some(65534), Some(12)).unwrap();
    fs::set_permissions(mirror.at("shared"), fs::Permissions::from_mode(0o2775)).unwrap();
    as_nobody(&mirror.at("shared"), "umask 022; touch file; mkdir dir");
    let stat = |name: &str| fs::metadata(mirror.source(name)).unwrap();
    assert_eq!((stat("shared/file").gid(), stat("shared/file").mode() & 0o7777), (12, 0o644));
    assert_eq!((stat("shared/dir").gid(), stat("shared/dir").mode() & 0o7777), (12, 0o2755));
    mirror.finish();
}

#[test]
fn setuid_goes_when_another_writes() {
    for arguments in
        [&["--allow-other"][..], &["--allow-other", "--passthrough"], &["--allow-other", "--writeback"]]
    {
        let mirror = serve(arguments);
        let name = mirror.at("f");
        let program = || {
            fs::write(&name, "program").unwrap();
            fs::set_permissions(&name, fs::Permissions::from_mode(0o6777)).unwrap();
        };
        let mode = || fs::metadata(mirror.source("f")).unwrap().mode() & 0o7777;
        for script in ["echo x >> f", "echo x > f", "truncate -s 3 f", "fallocate -l 20000 f"] {
            program();
            as_nobody(&mirror.at(""), script);
            assert_eq!(mode(), 0o777, "{arguments:?} {script}");
        }
        program();
        File::options().append(true).open(&name).unwrap().write_all(b"x").unwrap();
        assert_eq!(mode(), 0o6777, "{arguments:?}");
        mirror.finish();
    }
}

#[test]
fn locks_hold_against_the_source() {
    let mirror = serve(&[]);
    fs::write(mirror.at("f"), "x").unwrap();
    let open = |path: PathBuf| File::options().read(true).write(true).open(path).unwrap();
    let (here, there) = (open(mirror.at("f")), open(mirror.source("f")));
    flock(&there, FlockOperation::LockExclusive).unwrap();
    assert_eq!(flock(&here, FlockOperation::NonBlockingLockShared), Err(Errno::WOULDBLOCK));
    flock(&there, FlockOperation::Unlock).unwrap();
    flock(&here, FlockOperation::NonBlockingLockExclusive).unwrap();
    assert_eq!(flock(&there, FlockOperation::NonBlockingLockShared), Err(Errno::WOULDBLOCK));
    flock(&here, FlockOperation::Unlock).unwrap();
    flock(&there, FlockOperation::NonBlockingLockShared).unwrap();

    fcntl_lock(&there, FlockOperation::NonBlockingLockExclusive).unwrap();
    assert!(fcntl_lock(&here, FlockOperation::NonBlockingLockExclusive).is_err());
    fcntl_lock(&there, FlockOperation::Unlock).unwrap();
    fcntl_lock(&here, FlockOperation::NonBlockingLockExclusive).unwrap();
    assert!(fcntl_lock(&there, FlockOperation::NonBlockingLockExclusive).is_err());
    // Any close gives up what the process has locked of the file.
    drop(open(mirror.at("f")));
    fcntl_lock(&there, FlockOperation::NonBlockingLockExclusive).unwrap();
    drop((here, there));
    mirror.finish();
}

#[test]
fn who_waits_for_a_lock_holds_up_nobody() {
    for transport in ["ring", "device"] {
        let mirror = serve(&["--transport", transport]);
        fs::write(mirror.at("f"), "x").unwrap();
        let there = File::open(mirror.source("f")).unwrap();
        flock(&there, FlockOperation::LockExclusive).unwrap();
        // All on one CPU.
        let wait = || {
            let mut waiter = Command::new("taskset");
            waiter.args(["-c", "0", "flock", "-x"]).arg(mirror.at("f")).arg("true");
            waiter.stdin(Stdio::null()).spawn().unwrap()
        };
        let mut waiters = [wait(), wait(), wait()];
        thread::sleep(Duration::from_millis(200));
        let start = Instant::now();
        let mut other = Command::new("taskset")
            .args(["-c", "0", "sh", "-ec", "for i in 1 2 3 4 5; do echo $i > g; cat g; mv g h; rm h; done"])
            .current_dir(mirror.at(""))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        assert!(other.wait().unwrap().success());
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        // A signal ends a wait; the lock given up, the others end theirs. Not SIGINT, which the children of a shell's background
        // jobs ignore.
        let pid = Pid::from_child(&waiters[0]);
        kill_process(pid, Signal::TERM).unwrap();
        assert!(!waiters[0].wait().unwrap().success());
        flock(&there, FlockOperation::Unlock).unwrap();
        for waiter in &mut waiters[1..] {
            assert!(waiter.wait().unwrap().success());
        }
        drop(there);
        mirror.finish();
    }
}

#[test]
fn changes_at_the_source_are_seen_at_once_when_it_is_watched() {
    let mirror = serve(&["--cache", "always", "--watch"]);
    fs::create_dir(mirror.at("d")).unwrap();
    fs::write(mirror.at("d/f"), "old").unwrap();
    assert_eq!(fs::read_to_string(mirror.at("d/f")).unwrap(), "old");
    assert_eq!(fs::read_dir(mirror.at("d")).unwrap().count(), 1);

    fs::write(mirror.source("d/f"), "newer").unwrap();
    soon("content", || fs::read_to_string(mirror.at("d/f")).unwrap() == "newer");
    fs::set_permissions(mirror.source("d/f"), fs::Permissions::from_mode(0o600)).unwrap();
    soon("mode", || fs::metadata(mirror.at("d/f")).unwrap().mode() & 0o777 == 0o600);
    fs::write(mirror.source("d/g"), "").unwrap();
    soon("listing", || fs::read_dir(mirror.at("d")).unwrap().count() == 2);
    fs::rename(mirror.source("d/g"), mirror.source("d/f")).unwrap();
    soon("rename", || fs::metadata(mirror.at("d/f")).unwrap().len() == 0);
    fs::remove_file(mirror.source("d/f")).unwrap();
    soon("removal", || !mirror.at("d/f").exists());
    mirror.finish();
}

#[test]
fn a_file_changed_at_the_source_is_read_anew_when_it_is_opened() {
    let mirror = serve(&["--ttl", "0"]);
    fs::write(mirror.at("f"), "old").unwrap();
    assert_eq!(fs::read_to_string(mirror.at("f")).unwrap(), "old");
    fs::write(mirror.source("f"), "new").unwrap();
    assert_eq!(fs::read_to_string(mirror.at("f")).unwrap(), "new");
    mirror.finish();
}

#[test]
fn everything_is_ones_own_when_squashed() {
    let mirror = serve_with(&["--squash", "65534:65534", "--allow-other"], |source| {
        fs::write(source.join("f"), "x").unwrap();
        fs::set_permissions(source.join("f"), fs::Permissions::from_mode(0o600)).unwrap();
        chown(source, Some(65534), None).unwrap();
    });
    let stat = fs::metadata(mirror.at("f")).unwrap();
    assert_eq!((stat.uid(), stat.gid()), (65534, 65534));
    as_nobody(&mirror.at(""), "cat f >/dev/null; echo y > f; touch new; chmod 644 f");
    fs::write(mirror.at("from-root"), "").unwrap();
    assert_eq!(fs::metadata(mirror.source("from-root")).unwrap().uid(), 65534);
    assert!(chown(mirror.at("f"), Some(1), None).is_err());
    mirror.finish();
}

#[test]
fn it_may_be_id_mapped() {
    let mirror = serve(&["--allow-other"]);
    let report = posix::run(mirror.program.path(), |case| case.needs.contains(Needs::IDMAP), PATIENCE);
    assert!(report.failed.is_empty() && report.skipped.is_empty() && report.passed.len() > 5, "{report}");
    mirror.finish();
}

#[test]
fn nothing_is_written_when_read_only() {
    let mirror = serve_with(&["--read-only"], |source| fs::write(source.join("f"), "x").unwrap());
    assert_eq!(fs::read_to_string(mirror.at("f")).unwrap(), "x");
    for error in [
        fs::write(mirror.at("f"), "y").unwrap_err(),
        fs::remove_file(mirror.at("f")).unwrap_err(),
        fs::create_dir(mirror.at("d")).unwrap_err(),
    ] {
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    }
    mirror.finish();
}

#[test]
fn a_mountpoint_inside_the_source_is_no_loop() {
    let mountpoint = Mountpoint::new();
    let source = Source(mountpoint.with_extension("source"));
    // The mountpoint is a directory of the test's own, so the source is what is mounted there.
    fs::create_dir_all(source.0.join("inside")).unwrap();
    fs::write(source.0.join("f"), "x").unwrap();
    let mut child = ringfuse()
        .args(["mirror", "--cross-mounts"])
        .arg(&source.0)
        .arg(source.0.join("inside"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 1];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(fs::read_to_string(source.0.join("inside/f")).unwrap(), "x");
    // The directory that was there, and is empty.
    assert_eq!(fs::read_dir(source.0.join("inside/inside")).unwrap().count(), 0);
    unmount(source.0.join("inside"), UnmountFlags::empty()).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn mounts_in_the_source_are_crossed_when_asked() {
    for (arguments, seen) in [(&["--cross-mounts"][..], true), (&[], false)] {
        let mirror = serve_with(arguments, |source| {
            fs::create_dir(source.join("sub")).unwrap();
            mount("none", source.join("sub"), "tmpfs", MountFlags::empty(), None).unwrap();
            fs::write(source.join("sub/f"), "x").unwrap();
        });
        // Also to who lists what is above.
        let listed =
            fs::read_dir(mirror.at("")).unwrap().map(|entry| entry.unwrap().metadata().unwrap().ino());
        assert_eq!(listed.collect::<Vec<_>>(), [fs::metadata(mirror.at("sub")).unwrap().ino()]);
        assert_eq!(fs::read_dir(mirror.at("sub")).unwrap().count(), usize::from(seen));
        assert_eq!(mirror.at("sub/f").exists(), seen);
        if seen {
            let (root, sub) =
                (fs::metadata(mirror.at("")).unwrap(), fs::metadata(mirror.at("sub/f")).unwrap());
            assert_eq!(root.dev(), sub.dev());
            assert_ne!(sub.ino(), fs::metadata(mirror.source("sub/f")).unwrap().ino());
            fs::write(mirror.at("f"), "y").unwrap();
            let error = fs::rename(mirror.at("f"), mirror.at("sub/g")).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::CrossesDevices);
            fs::write(mirror.at("sub/g"), "z").unwrap();
            fs::hard_link(mirror.at("sub/g"), mirror.at("sub/h")).unwrap();
        }
        let sub = mirror.source("sub");
        unmount(&sub, UnmountFlags::DETACH).unwrap();
        mirror.finish();
    }
}

#[test]
fn space_is_free_once_the_last_name_is_gone() {
    // So much that it takes a while to be freed, on a filesystem that has room for one and a half.
    const LEN: u64 = 600 << 20;
    let mirror = serve_with(&[], |source| {
        mount("none", source, "tmpfs", MountFlags::empty(), Some(c"size=900m")).unwrap();
    });
    let free = || rustix::fs::statvfs(mirror.at("")).unwrap().f_bfree;
    let empty = free();
    // The kernel tells by the way that a file is closed, and that it has forgotten one.
    let heard = || thread::sleep(Duration::from_millis(50));
    let passes = |fill: &dyn Fn(&File)| {
        let file = File::create(mirror.at("f")).unwrap();
        fill(&file);
        drop(file);
        heard();
        fs::remove_file(mirror.at("f")).unwrap();
        heard();
    };
    let allocate = |file: &File| {
        rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, LEN).unwrap();
    };
    let write = |file: &File| {
        for at in (0..LEN).step_by(1 << 20) {
            file.write_all_at(&[1; 1 << 20], at).unwrap();
        }
    };
    passes(&allocate);
    assert!(free() >= empty);
    passes(&allocate);
    passes(&allocate);
    passes(&write);
    let source = mirror.source("");
    unmount(&source, UnmountFlags::DETACH).unwrap();
    mirror.finish();
}

#[test]
fn appending_direct_and_mapped_writes_go_where_they_belong() {
    let mirror = serve(&[]);
    let name = mirror.at("f");
    fs::write(&name, vec![b'a'; 8192]).unwrap();
    let script = "import mmap,os,sys\n\
        f=os.open(sys.argv[1],os.O_RDWR|os.O_APPEND)\n\
        m=mmap.mmap(f,8192)\n\
        m[4000:4004]=b'mmap'\n\
        m.flush()\n\
        os.write(f,b'end')\n\
        d=os.open(sys.argv[1],os.O_RDWR|os.O_DIRECT)\n\
        n=mmap.mmap(d,8195)\n\
        n[8192:8195]=b'END'\n\
        n.flush()\n";
    let status = Command::new("python3").args(["-c", script]).arg(&name).status().unwrap();
    assert!(status.success());
    let mut expected = vec![b'a'; 8192];
    expected[4000..4004].copy_from_slice(b"mmap");
    expected.extend(b"END");
    assert!(fs::read(mirror.source("f")).unwrap() == expected);
    // What was appended at the source meanwhile is not overwritten.
    let here = File::options().append(true).open(&name).unwrap();
    File::options().append(true).open(mirror.source("f")).unwrap().write_all(b"theirs").unwrap();
    (&here).write_all(b"ours").unwrap();
    assert!(fs::read(mirror.source("f")).unwrap().ends_with(b"ENDtheirsours"));
    let direct = File::options().write(true).custom_flags(libc::O_DIRECT).open(&name).unwrap();
    assert_eq!(direct.write_at(&[0; 7], 3).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    drop((here, direct));
    mirror.finish();
}

#[test]
fn sizes_of_eight_exbibytes_are_the_sources() {
    let mirror = serve(&[]);
    let file = File::create(mirror.at("f")).unwrap();
    file.write_at(b"far", 5 << 30).unwrap();
    assert_eq!(fs::metadata(mirror.source("f")).unwrap().len(), (5 << 30) + 3);
    let native = File::create(mirror.source("g")).unwrap();
    for size in [1u64 << 40, 1 << 43, 1 << 44, (1 << 63) - 1] {
        assert_eq!(file.set_len(size).is_ok(), native.set_len(size).is_ok(), "{size}");
    }
    drop(file);
    mirror.finish();
}
