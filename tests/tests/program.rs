//! Programs that serve a mount: their start, their memory, their end, and the ways to mount.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ringfuse::{Mount, MountOptions, Transport, TransportKind, Unmount, Via};
use ringfuse_e2e::Probe;
use ringfuse_e2e::stay_on;
use ringfuse_kit::harness::{Mountpoint, PATIENCE, Setup, is_mounted};
use ringfuse_kit::program::{Program, built};
use rustix::process::Signal;

fn hello(path: &Path) -> Command {
    let mut command = Command::new(built("hello"));
    command.arg(path);
    command
}

fn median(mut values: Vec<Duration>) -> Duration {
    values.sort_unstable();
    values[values.len() / 2]
}

#[test]
fn hello_is_up_within_30_ms_and_small_while_idle() {
    let program = Program::start(hello);
    assert!(program.ready().contains("io_uring"), "{}", program.ready());
    assert_eq!(fs::read_to_string(program.path().join("hello")).unwrap(), "Hello, ring!\n");
    let resident = program.resident();
    println!("hello, idle: {:.1} MiB resident", resident as f64 / f64::from(1 << 20));
    assert!(resident < 12 << 20, "{resident} bytes");
    program.finish();

    let starts = (0..15).map(|_| {
        let mountpoint = Mountpoint::new();
        let file = mountpoint.join("hello");
        let start = Instant::now();
        let mut child = hello(&mountpoint).stdout(Stdio::null()).spawn().unwrap();
        while fs::metadata(&file).is_err() {
            assert!(start.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_micros(200));
        }
        let took = start.elapsed();
        rustix::mount::unmount(&*mountpoint, rustix::mount::UnmountFlags::empty()).unwrap();
        assert!(child.wait().unwrap().success());
        took
    });
    let took = median(starts.collect());
    println!("hello, from start to first stat: {took:.1?} (median of 15)");
    assert!(took < Duration::from_millis(30), "{took:?}");
}

#[test]
fn a_killed_server_leaves_errors_not_hangs() {
    let mut program = Program::start(hello);
    assert!(program.path().join("hello").exists());
    program.signal(Signal::KILL);
    assert_eq!(program.wait().signal(), Some(libc::SIGKILL));
    let deadline = Instant::now() + PATIENCE;
    loop {
        match fs::read(program.path().join("hello")) {
            Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => break,
            _ => assert!(Instant::now() < deadline, "the connection outlives its server"),
        }
    }
    rustix::mount::unmount(program.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
}

#[test]
fn root_may_mount_by_fusermount3() {
    for setup in [Setup::RING, Setup::DEVICE] {
        let mountpoint = Mountpoint::new();
        let mount = setup.apply(Mount::new(&*mountpoint)).via(Via::Fusermount);
        let session = mount.spawn(Probe::default()).unwrap();
        assert_eq!(fs::read(mountpoint.join("n1")).unwrap(), Probe::TEXT);
        session.unmount(Unmount::Normal).unwrap();
        session.join().unwrap();
        assert!(!is_mounted(&mountpoint));
    }
}

#[test]
fn auto_unmount_does_not_hang_and_does_unmount() {
    for setup in [Setup::RING, Setup::DEVICE] {
        let mountpoint = Mountpoint::new();
        let mut options = MountOptions::default();
        options.auto_unmount = true;
        let mount = setup.apply(Mount::new(&*mountpoint).options(options));
        let session = mount.spawn(Probe::default()).unwrap();
        assert_eq!(fs::read(mountpoint.join("n1")).unwrap(), Probe::TEXT);
        let start = Instant::now();
        drop(session);
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        assert!(!is_mounted(&mountpoint));
    }
}

#[test]
fn names_with_commas_and_backslashes_are_shown_as_they_are() {
    for via in [|| Via::Direct, || Via::Fusermount] {
        let mountpoint = Mountpoint::new();
        let session = Mount::new(&*mountpoint)
            .via(via())
            .fsname("a,b\\c")
            .subtype("s,t\\u")
            .spawn(Probe::default())
            .unwrap();
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = table.lines().find(|line| line.contains(mountpoint.to_str().unwrap())).unwrap();
        assert!(line.ends_with(|c: char| !c.is_whitespace()));
        assert!(line.contains(" - fuse.s,t\\134u a,b\\134c "), "{line}");
        drop(session);
    }
}

#[test]
fn a_device_mounted_elsewhere_is_served() {
    // Mounted by the helper alone, as a broker would.
    for transport in [Transport::RequireRing, Transport::DeviceOnly] {
        let mountpoint = Mountpoint::new();
        let device = mount_elsewhere(&mountpoint);
        let session =
            Mount::new("").via(Via::Fd(device)).transport(transport).spawn(Probe::default()).unwrap();
        assert_eq!(session.info().mountpoint, None);
        assert_eq!(session.info().transport == TransportKind::Ring, transport == Transport::RequireRing);
        assert_eq!(fs::read(mountpoint.join("n1")).unwrap(), Probe::TEXT);
        session.unmount(Unmount::Normal).unwrap_err();
        rustix::mount::unmount(&*mountpoint, rustix::mount::UnmountFlags::empty()).unwrap();
        session.join().unwrap();
    }
}

/// Opens and mounts a device with nothing of the library.
fn mount_elsewhere(path: &Path) -> OwnedFd {
    use std::os::fd::AsRawFd;
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    let device = rustix::fs::open("/dev/fuse", flags, rustix::fs::Mode::empty()).unwrap();
    let data = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
    let data = std::ffi::CString::new(data).unwrap();
    rustix::mount::mount(
        "elsewhere",
        path,
        "fuse",
        rustix::mount::MountFlags::empty(),
        Some(data.as_c_str()),
    )
    .unwrap();
    device
}

#[test]
fn errors_name_the_step_the_path_and_the_remedy() {
    let missing = Mount::new("/nonexistent/mountpoint").spawn(Probe::default()).unwrap_err();
    assert!(missing.is_mountpoint(), "{missing}");
    let text = missing.to_string();
    assert!(text.contains("/nonexistent/mountpoint") && text.contains("mkdir"), "{text}");
    assert_eq!(text.lines().count(), 1);

    struct Picky;
    impl ringfuse::Filesystem for Picky {
        fn init(&self, kernel: &mut ringfuse::Negotiation) -> ringfuse::Result<()> {
            kernel.require(ringfuse::Capabilities::HAS_INODE_DAX)
        }
    }
    let mountpoint = Mountpoint::new();
    let refused = Mount::new(&*mountpoint).spawn(Picky).unwrap_err();
    assert!(refused.to_string().contains("HAS_INODE_DAX"), "{refused}");
    assert!(!is_mounted(&mountpoint));
}

#[test]
fn without_io_uring_by_seccomp_the_device_serves() {
    // What container runtimes do: io_uring_setup(2) fails with EPERM, for this program alone.
    let mut program = Program::start(|path| {
        let mut command = Command::new("python3");
        command.args(["-c", FORBID_IO_URING]).arg(built("hello")).arg(path);
        command
    });
    assert!(program.ready().contains("/dev/fuse"), "{}", program.ready());
    assert_eq!(fs::read_to_string(program.path().join("hello")).unwrap(), "Hello, ring!\n");
    rustix::mount::unmount(program.path(), rustix::mount::UnmountFlags::empty()).unwrap();
    assert!(program.wait().success());
}

/// Installs a seccomp filter (`prctl(2)`, a BPF program of four instructions), and becomes the program named next.
const FORBID_IO_URING: &str = r#"
import ctypes, os, struct, sys
insns = [(0x20, 0, 0, 0), (0x15, 0, 1, 425), (0x06, 0, 0, 0x00050000 | 1), (0x06, 0, 0, 0x7fff0000)]
code = b"".join(struct.pack("HBBI", *insn) for insn in insns)
buffer = ctypes.create_string_buffer(code)
class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
program = Program(len(insns), ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0, ctypes.get_errno()
assert libc.prctl(22, 2, ctypes.byref(program)) == 0, ctypes.get_errno()
os.execv(sys.argv[1], sys.argv[1:])
"#;

/// System calls a request, by strace, which slows down the server, and nothing else.
fn system_calls(clients: usize, which: &str, transport: &[&str]) -> f64 {
    const EACH: usize = 5000;
    static RUN: AtomicUsize = AtomicUsize::new(0);
    let run = RUN.fetch_add(1, Ordering::Relaxed);
    let summary = std::env::temp_dir().join(format!("ringfuse-strace-{}-{run}", std::process::id()));
    let program = Program::start(|path| {
        let mut command = Command::new("strace");
        command.args(["--follow-forks", "--summary-only", "--trace", which, "--output"]).arg(&summary);
        command.arg(built("benchfs")).arg(path).args(["--ttl", "0", "--direct"]).args(transport);
        command
    });
    let file = fs::File::open(program.path().join("null")).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                stay_on(0);
                (0..EACH).for_each(|_| assert!(file.metadata().unwrap().is_file()));
            });
        }
    });
    drop(file);
    program.finish();
    let text = fs::read_to_string(&summary).unwrap();
    fs::remove_file(&summary).unwrap();
    let total = text.lines().rfind(|line| line.ends_with("total")).unwrap_or_else(|| panic!("{text}"));
    println!("{text}");
    let total: f64 = total.split_whitespace().nth(3).unwrap().parse().unwrap();
    total / (EACH * clients) as f64
}

#[test]
fn a_request_takes_two_system_calls_and_many_at_once_take_fewer() {
    let (alone, together) = (system_calls(1, "io_uring_enter", &[]), system_calls(12, "io_uring_enter", &[]));
    println!("io_uring_enter a request: {alone:.2} for one client, {together:.2} for twelve");
    // Beside the requests' there are those of the start and the end, and one or two a millisecond for the alarm that looks
    // after what handlers leave running; under strace that is a part of many requests.
    assert!(alone < 2.25, "{alone}");
    assert!(together < alone / 2.0, "{together}");
}

#[test]
fn a_request_by_the_device_takes_little_more_than_two_system_calls() {
    let device = ["--classic", "--threads", "1"];
    // Whether a lone client's next request comes before the worker waits is for the scheduler to say: waits count where
    // there always is another.
    let without_waits = "poll,read,write,writev,io_uring_enter,timerfd_settime";
    let alone = system_calls(1, without_waits, &device);
    let together = system_calls(12, &format!("epoll_pwait,{without_waits}"), &device);
    println!(
        "system calls a request by the device: {alone:.2} for one client without waits, {together:.2} for twelve"
    );
    assert!(alone < 2.4, "{alone}");
    assert!(together < 2.4, "{together}");
}
