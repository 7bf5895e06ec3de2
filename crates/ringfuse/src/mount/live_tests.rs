//! Real mounts. Nobody answers their requests, so nothing here may look into one: what is mounted is seen in the mount
//! table only. `O_PATH` is allowed: it sends no request, and keeps the mount busy.
//!
//! They need root, `/dev/fuse` (mode 666 for those of an ordinary user), `fusermount3`, and fusectl on
//! `/sys/fs/fuse/connections`. Run them in a mount namespace of their own: `unshare -m --propagation private`.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::CWD;
use rustix::io::{FdFlags, fcntl_getfd};
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::{Signal, getpid, getuid, kill_process};

use super::mountinfo::Row;
use super::unmount::is_connected;
use super::*;

mod scratch;

use scratch::{Scratch, answer_init, helpers, inside, within};

const ODD: &[u8] = b"a,b\\c d#e\xff\xfef\n\tg";

const NOBODY: &[&str] = &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

fn os(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

fn odd_names(via: impl Fn() -> Via) {
    let options = |fsname: &[u8], subtype: &[u8]| MountOptions {
        fsname: Some(os(fsname)),
        subtype: Some(os(subtype)),
        ..MountOptions::default()
    };
    for (name, file) in [(&b"plain"[..], false), (ODD, false), (ODD, true), (b" ", false), (b"\\054", true)] {
        let scratch = Scratch::with(&os(name));
        if file {
            fs::write(&scratch.mountpoint, "below").unwrap();
        } else {
            fs::create_dir(&scratch.mountpoint).unwrap();
        }
        let mounted = mount(&scratch.mountpoint, &options(ODD, ODD), via()).unwrap();
        let row = scratch.row();
        assert_eq!(mounted.mountpoint(), Some(&*scratch.mountpoint));
        assert_eq!(row.source.as_bytes(), ODD);
        assert_eq!(row.fs_type.as_bytes(), [b"fuse.", ODD].concat());
        assert_eq!(mounted.connection_id(), row.connection());
        mounted.unmount(Unmount::Normal).unwrap();
        assert_eq!(scratch.rows(), []);
        mounted.unmount(Unmount::Normal).unwrap();
        scratch.ends(&mounted);
        if file {
            assert_eq!(fs::read(&scratch.mountpoint).unwrap(), b"below");
        }
    }
    assert_eq!(helpers(), []);
}

#[test]
#[ignore = "needs root and /dev/fuse"]
fn odd_names_directly() {
    odd_names(|| Via::Direct);
}

#[test]
#[ignore = "needs root and /dev/fuse"]
fn odd_names_by_fusermount3() {
    odd_names(|| Via::Fusermount);
}

#[test]
#[ignore = "needs root and /dev/fuse"]
fn an_ordinary_user_mounts_by_fusermount3() {
    if !inside("an_ordinary_user_mounts_by_fusermount3", NOBODY) {
        return;
    }
    assert!(!getuid().is_root() && !direct::permitted());
    odd_names(|| Via::Auto);

    let scratch = Scratch::new();
    let mounted = scratch.mount("", Via::Auto);
    let busy = scratch.busy();
    assert!(mounted.unmount(Unmount::Normal).unwrap_err().is_busy());
    mounted.unmount(Unmount::Lazy).unwrap();
    assert_eq!(scratch.rows(), []);
    assert!(is_connected(mounted.device()), "still in use");
    drop(busy);
    scratch.ends(&mounted);

    let mounted = scratch.mount("", Via::Auto);
    let _busy = scratch.busy();
    mounted.unmount(Unmount::Force).unwrap();
    assert_eq!(scratch.rows(), []);
    assert!(!is_connected(mounted.device()), "aborted");

    let refused = |path: &str, list: &str| {
        mount(Path::new(path), &MountOptions::parse(list).unwrap(), Via::Auto).unwrap_err()
    };
    let error = refused(scratch.mountpoint.to_str().unwrap(), "allow_other");
    assert!(
        error.is_permission() && error.to_string().contains("; add the line `user_allow_other`"),
        "{error}"
    );
    let error = refused("/usr", "");
    assert!(
        error.is_mountpoint() && error.to_string().contains("; mount on a directory of your own"),
        "{error}"
    );
    let error = refused("/proc/self/fd", "");
    assert!(error.is_mountpoint(), "{error}");
    let error = mount(&scratch.mountpoint, &MountOptions::default(), Via::Direct).unwrap_err();
    assert!(error.is_permission() && error.to_string().contains("unshare -Urm"), "{error}");
    assert_eq!(scratch.rows(), []);
}

#[test]
#[ignore = "needs root and /dev/fuse"]
fn an_ordinary_user_without_the_device() {
    // A node that only root may open, in a namespace of its own.
    let script = "d=$(mktemp -d) && mknod -m 600 $d/fuse c 10 229 && mount --bind $d/fuse /dev/fuse && \
                  exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$0\" \"$@\"";
    let wrapper = ["unshare", "-m", "--propagation", "private", "sh", "-c", script];
    if !inside("an_ordinary_user_without_the_device", &wrapper) {
        return;
    }
    let scratch = Scratch::new();
    for via in [Via::Auto, Via::Fusermount, Via::Direct] {
        let error = mount(&scratch.mountpoint, &MountOptions::default(), via).unwrap_err();
        assert!(error.is_permission() && error.to_string().contains("`chmod 666 /dev/fuse`"), "{error}");
    }
}

#[test]
#[ignore = "needs root and /dev/fuse"]
fn without_the_device_or_the_helper() {
    let script = "mount -t tmpfs none /dev && d=$(mktemp -d) && for b in /usr/bin /bin; do :; done; \
                  mount --bind /dev/null /usr/bin/fusermount3 2>/dev/null || { : >$d/f; mount --bind $d/f \
                  /usr/bin/fusermount3; }; exec \"$0\" \"$@\"";
    let wrapper = ["unshare", "-m", "--propagation", "private", "sh", "-c", script];
    if !inside("without_the_device_or_the_helper", &wrapper) {
        return;
    }
    let scratch = Scratch::new();
    let error = mount(&scratch.mountpoint, &MountOptions::default(), Via::Auto).unwrap_err();
    assert!(error.is_no_device());
    assert!(
        error.to_string().starts_with(
            "cannot open /dev/fuse: No such file or directory; load the module with `modprobe fuse`"
        ),
        "{error}"
    );
    let error = mount(&scratch.mountpoint, &MountOptions::default(), Via::Fusermount).unwrap_err();
    assert!(error.is_fusermount() && error.to_string().contains("apt-get install fuse3"), "{error}");
}

#[test]
#[ignore = "needs root and /dev/fuse"]
fn in_a_user_namespace() {
    let mut wrapper = NOBODY.to_vec();
    wrapper.extend(["unshare", "-Urm", "--propagation", "private"]);
    if !inside("in_a_user_namespace", &wrapper) {
        return;
    }
    let scratch = Scratch::new();
    let mounted = scratch.mount("fsname=a\\,b", Via::Auto);
    assert_eq!(scratch.row().source, "a,b");
    mounted.unmount(Unmount::Normal).unwrap();
    assert_eq!(scratch.rows(), []);
}

#[test]
#[ignore = "needs root and /dev/fuse"]
fn root_without_the_capability_is_told_of_both_ways() {
    let wrapper = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"];
    if !inside("root_without_the_capability_is_told_of_both_ways", &wrapper) {
        return;
    }
    let scratch = Scratch::new();
    let error = mount(&scratch.mountpoint, &MountOptions::default(), Via::Auto).unwrap_err();
    let text = error.to_string();
    assert!(error.is_permission(), "{text}");
    assert!(text.starts_with("fusermount3 cannot mount "), "{text}");
    assert!(text.contains("; mount(2) was tried first: cannot mount "), "{text}");
}

/// Somebody unmounts ours, and mounts again, by `second`. The kernel uses the same numbers again, if no other test is
/// faster. Nothing must happen to the second.
fn only_ours(scratch: &Scratch, second: impl Fn() -> OwnedFd) {
    let again = || {
        let first = scratch.mount("", Via::Direct);
        let numbers = |row: Row| (row.id, row.connection());
        let before = numbers(scratch.row());
        rustix::mount::unmount(&scratch.mountpoint, UnmountFlags::empty()).unwrap();
        let second = second();
        if numbers(scratch.row()) == before {
            return Some((first, second));
        }
        rustix::mount::unmount(&scratch.mountpoint, UnmountFlags::empty()).unwrap();
        None
    };
    let (first, second) = (0..100).find_map(|_| again()).expect("numbers are used again");
    for how in [Unmount::Normal, Unmount::Lazy, Unmount::Force] {
        first.unmount(how).unwrap();
        scratch.row();
    }
    assert!(first.abort().unwrap());
    assert!(is_connected(&second), "the number of a dead connection is another's");
    rustix::mount::unmount(&scratch.mountpoint, UnmountFlags::empty()).unwrap();
}

#[test]
#[ignore = "needs root and /dev/fuse"]
fn only_our_mount_is_unmounted() {
    let scratch = Scratch::new();
    only_ours(&scratch, || scratch.mount("", Via::Direct).device().try_clone().unwrap());
}

#[test]
#[ignore = "needs root and /dev/fuse"]
fn another_users_mount_is_left_alone_too() {
    // Into which not even root may look.
    let scratch = Scratch::new();
    only_ours(&scratch, || {
        let device = direct::open_device().unwrap();
        let data = format!("fd={},rootmode=40000,user_id=65534,group_id=65534", device.as_raw_fd());
        let data = std::ffi::CString::new(data).unwrap();
        rustix::mount::mount("x", &scratch.mountpoint, "fuse", MountFlags::empty(), Some(&*data)).unwrap();
        device
    });
}

#[test]
#[ignore = "needs root and /dev/fuse"]
fn nothing_is_unmounted_from_under_another_mount() {
    let scratch = Scratch::new();
    let mounted = scratch.mount("", Via::Auto);
    for cover in [&scratch.mountpoint, &scratch.directory] {
        scratch.tmpfs(cover);
        if cover == &scratch.directory {
            fs::create_dir(&scratch.mountpoint).unwrap();
        }
        for how in [Unmount::Normal, Unmount::Lazy, Unmount::Force] {
            let error = mounted.unmount(how).unwrap_err();
            assert!(!error.is_busy());
            let text = error.to_string();
            assert!(
                text.contains("over (type tmpfs) is mounted over it, at ") && text.contains("; unmount that"),
                "{text}"
            );
        }
        assert!(is_connected(mounted.device()));
        rustix::mount::unmount(cover, UnmountFlags::empty()).unwrap();
    }
    mounted.unmount(Unmount::Normal).unwrap();
    assert_eq!(scratch.rows(), []);
}

#[test]
#[ignore = "needs root and /dev/fuse"]
fn a_mount_is_found_after_its_directory_was_renamed() {
    let scratch = Scratch::new();
    let (old, new) = (scratch.directory.join("old"), scratch.directory.join("new"));
    fs::create_dir_all(old.join("mnt")).unwrap();
    let mounted = mount(&old.join("mnt"), &MountOptions::default(), Via::Direct).unwrap();
    fs::rename(&old, &new).unwrap();
    fs::create_dir_all(old.join("mnt")).unwrap();
    scratch.tmpfs(&old.join("mnt"));
    mounted.unmount(Unmount::Normal).unwrap();
    let rows = mountinfo::read().unwrap();
    assert!(!rows.iter().any(|row| row.mountpoint == new.join("mnt")));
    assert!(rows.iter().any(|row| row.mountpoint == old.join("mnt")));
}

#[test]
#[ignore = "needs root and /dev/fuse"]
fn a_busy_mount_stays_unless_asked_otherwise() {
    let scratch = Scratch::new();
    for how in [Unmount::Lazy, Unmount::Force] {
        let mounted = scratch.mount("", Via::Direct);
        let busy = scratch.busy();
        assert!(mounted.unmount(Unmount::Normal).unwrap_err().is_busy());
        assert!(is_connected(mounted.device()));
        mounted.unmount(how).unwrap();
        assert_eq!(scratch.rows(), []);
        assert_eq!(is_connected(mounted.device()), how == Unmount::Lazy);
        drop(busy);
    }
}

#[test]
#[ignore = "needs root and /dev/fuse"]
fn abort_leaves_a_dead_mount() {
    let scratch = Scratch::new();
    let mounted = scratch.mount("", Via::Direct);
    assert!(is_connected(mounted.device()));
    assert!(mounted.abort().unwrap());
    assert!(!is_connected(mounted.device()));
    assert!(mounted.abort().unwrap(), "again");
    assert_eq!(scratch.row().connection(), mounted.connection_id(), "dead, and still there");
    mounted.unmount(Unmount::Normal).unwrap();
    assert_eq!(scratch.rows(), []);
}

#[test]
#[ignore = "needs root and /dev/fuse"]
fn abort_without_fusectl() {
    let script = "while umount /sys/fs/fuse/connections; do :; done; exec \"$0\" \"$@\"";
    if !inside("abort_without_fusectl", &["unshare", "-m", "--propagation", "private", "sh", "-c", script]) {
        return;
    }
    let scratch = Scratch::new();
    let mounted = scratch.mount("", Via::Direct);
    assert!(!mounted.abort().unwrap());
    assert!(is_connected(mounted.device()));
    mounted.unmount(Unmount::Force).unwrap();
}

#[test]
#[ignore = "needs root and /dev/fuse"]
fn an_open_device_is_adopted() {
    let scratch = Scratch::new();
    let owner = scratch.mount("", Via::Direct);
    let copy = || owner.device().try_clone().unwrap();
    let adopt = |path: &Path| mount(path, &MountOptions::default(), Via::Fd(copy()));

    let foreign = adopt(Path::new("")).unwrap();
    assert_eq!(foreign.mountpoint(), None);
    assert_eq!(foreign.connection_id(), owner.connection_id());
    assert_eq!(foreign.unmount(Unmount::Normal).unwrap_err().kind(), ErrorKind::Unmount);

    let error = adopt(&scratch.directory).unwrap_err();
    assert!(error.is_mountpoint(), "{error}");

    let unmounted = || Via::Fd(direct::open_device().unwrap());
    let error = mount(&scratch.mountpoint, &MountOptions::default(), unmounted()).unwrap_err();
    assert!(error.is_mountpoint(), "{error}");
    let unmounted = mount(Path::new(""), &MountOptions::default(), unmounted()).unwrap();
    assert_eq!(unmounted.connection_id(), None);

    let link = scratch.directory.join("link");
    std::os::unix::fs::symlink(&scratch.directory, &link).unwrap();
    let own = adopt(&link.join("mnt")).unwrap();
    assert_eq!(own.mountpoint(), Some(&*scratch.mountpoint));
    own.unmount(Unmount::Normal).unwrap();
    assert_eq!(scratch.rows(), []);
    owner.unmount(Unmount::Normal).unwrap();
}

#[test]
#[ignore = "needs root and /dev/fuse"]
fn unfit_mountpoints() {
    let scratch = Scratch::new();
    let refused = |path: &Path| {
        let error = mount(path, &MountOptions::default(), Via::Direct).unwrap_err();
        assert!(error.is_mountpoint(), "{error}");
        error.to_string()
    };
    assert!(
        refused(&scratch.directory.join("none")).ends_with(
            "/none: No such file or directory; the mountpoint must exist: create it with mkdir(1)"
        )
    );
    assert!(refused(Path::new("/etc/passwd/x")).contains(": Not a directory; "));
    assert!(
        refused(Path::new("/dev/null"))
            .ends_with("; the mountpoint is neither a directory nor a regular file")
    );

    let dead = scratch.mount("", Via::Direct);
    answer_init(dead.device());
    dead.abort().unwrap();
    let text = refused(&scratch.mountpoint);
    assert!(
        text.contains("Transport endpoint is not connected; a dead FUSE mount is in the way: "),
        "{text}"
    );
}

#[test]
#[ignore = "needs root and /dev/fuse"]
fn generic_options_arrive() {
    let shown = |scratch: &Scratch| {
        let text = String::from_utf8_lossy(&fs::read("/proc/thread-self/mountinfo").unwrap()).into_owned();
        let line =
            text.lines().find(|line| line.contains(scratch.mountpoint.to_str().unwrap())).unwrap().to_owned();
        let mut options: Vec<_> =
            line.split_whitespace().nth(5).unwrap().split(',').map(str::to_owned).collect();
        options.extend(line.rsplit(' ').next().unwrap().split(',').map(str::to_owned));
        options
    };
    for (list, via, expected) in [
        ("", Via::Direct, "rw nosuid nodev relatime"),
        ("", Via::Fusermount, "rw nosuid nodev relatime"),
        ("relatime,rw", Via::Fusermount, "rw nosuid nodev relatime"),
        ("noatime,noexec,ro,sync,dirsync", Via::Direct, "ro nosuid nodev noexec noatime sync dirsync"),
        ("noatime,noexec,ro,sync,dirsync", Via::Fusermount, "ro nosuid nodev noexec noatime sync dirsync"),
        ("nodiratime,nosymfollow,lazytime", Via::Direct, "nodiratime nosymfollow lazytime"),
        (
            "allow_other,default_permissions,max_read=8192",
            Via::Direct,
            "allow_other default_permissions max_read=8192",
        ),
        (
            "allow_other,default_permissions,max_read=8192",
            Via::Fusermount,
            "allow_other default_permissions max_read=8192",
        ),
    ] {
        let scratch = Scratch::new();
        let _mounted = scratch.mount(list, via);
        let options = shown(&scratch);
        for option in expected.split(' ') {
            assert!(options.iter().any(|shown| shown == option), "{list}: no {option} in {options:?}");
        }
    }
    for (list, via) in
        [("suid,dev", Via::Direct), ("suid,dev", Via::Fusermount), ("strictatime", Via::Direct)]
    {
        let scratch = Scratch::new();
        let _mounted = scratch.mount(list, via);
        let options = shown(&scratch);
        let absent = if list == "strictatime" { ["relatime", "noatime"] } else { ["nosuid", "nodev"] };
        assert!(!options.iter().any(|shown| absent.contains(&shown.as_str())), "{list}: {options:?}");
    }
}

#[test]
#[ignore = "needs root and /dev/fuse"]
fn no_fd_leaks_into_children() {
    let scratch = Scratch::new();
    let open = || {
        let output = Command::new("ls").args(["-l", "/proc/self/fd"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .filter(|line| line.contains("socket:") || line.contains("fuse") || line.contains("memfd"))
            .count()
    };
    let before = open();
    for (list, via) in [("", Via::Direct), ("", Via::Fusermount), ("auto_unmount", Via::Auto)] {
        let mounted = scratch.mount(list, via);
        assert!(fcntl_getfd(mounted.device()).unwrap().contains(FdFlags::CLOEXEC));
        assert_eq!(open(), before, "{list}");
        mounted.unmount(Unmount::Normal).unwrap();
    }
}

#[test]
#[ignore = "needs root and /dev/fuse"]
fn auto_unmount_neither_hangs_nor_leaves_anything() {
    if !inside("auto_unmount_neither_hangs_nor_leaves_anything", &["env"]) {
        return;
    }
    let scratch = Scratch::new();
    let start = Instant::now();
    let mounted = scratch.mount("auto_unmount", Via::Auto);
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(helpers().len(), 1, "it stays");
    mounted.unmount(Unmount::Normal).unwrap();
    assert_eq!(scratch.rows(), []);
    drop(mounted);
    within(Duration::from_secs(5), "the helper ended and was collected", || helpers().is_empty());

    // Dropped without unmounting: the device is closed first, so the helper finds the mount dead.
    let mounted = scratch.mount("auto_unmount", Via::Auto);
    answer_init(mounted.device());
    drop(mounted);
    within(Duration::from_secs(5), "the helper unmounted", || scratch.rows().is_empty());
    within(Duration::from_secs(5), "the helper ended and was collected", || helpers().is_empty());

    let error =
        mount(&scratch.mountpoint, &MountOptions::parse("auto_unmount").unwrap(), Via::Direct).unwrap_err();
    assert!(error.is_options());
}

#[test]
#[ignore = "needs root and /dev/fuse"]
fn auto_unmount_survives_a_kill() {
    let Some(path) = std::env::var_os("RINGFUSE_MOUNT_AND_DIE") else {
        let scratch = Scratch::new();
        let module = module_path!().split_once("::").unwrap().1;
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture"])
            .arg(format!("{module}::auto_unmount_survives_a_kill"))
            .env("RINGFUSE_MOUNT_AND_DIE", &scratch.mountpoint)
            .output()
            .unwrap();
        assert!(String::from_utf8_lossy(&output.stderr).contains("mounted, dying"), "{output:?}");
        within(Duration::from_secs(5), "the helper unmounted", || scratch.rows().is_empty());
        return;
    };
    let mounted = mount(Path::new(&path), &MountOptions::parse("auto_unmount").unwrap(), Via::Auto).unwrap();
    answer_init(mounted.device());
    // A process that was started meanwhile must not keep the socket open.
    let sibling = Command::new("sh").args(["-c", "sleep 20 </dev/null >/dev/null 2>&1 &"]).status().unwrap();
    assert!(sibling.success());
    eprintln!("mounted, dying");
    kill_process(getpid(), Signal::KILL).unwrap();
}

#[test]
#[ignore = "needs root and /dev/fuse"]
fn relative_paths_and_links_are_resolved() {
    let scratch = Scratch::new();
    let link = scratch.directory.join("link");
    std::os::unix::fs::symlink("mnt", &link).unwrap();
    for via in [Via::Direct, Via::Fusermount] {
        let mounted = mount(&link.join("."), &MountOptions::default(), via).unwrap();
        assert_eq!(mounted.mountpoint(), Some(&*scratch.mountpoint));
        assert!(rustix::fs::readlinkat(CWD, &link, Vec::new()).is_ok());
        mounted.unmount(Unmount::Normal).unwrap();
        assert_eq!(scratch.rows(), []);
    }
}
