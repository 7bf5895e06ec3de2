//! What happens where the ring cannot be had. These tests change settings of the whole machine, so they run one after
//! the other, and in a program of their own.

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ringfuse::{Filesystem, Mount, Negotiation, Result, Session, Stats, Transport, TransportKind, Unmount};
use ringfuse_e2e::Probe;
use ringfuse_kit::harness::{Mountpoint, PATIENCE, is_mounted};

const ENABLE: &str = "/sys/module/fuse/parameters/enable_uring";
const DISABLED: &str = "/proc/sys/kernel/io_uring_disabled";

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A setting of the kernel, changed for the length of a test.
struct Setting {
    path: &'static str,
    before: String,
    _alone: MutexGuard<'static, ()>,
}

impl Setting {
    fn change(path: &'static str, value: &str) -> Self {
        let setting = Self::keep(path);
        fs::write(path, value).unwrap_or_else(|error| panic!("cannot write {path}: {error}"));
        setting
    }

    fn keep(path: &'static str) -> Self {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let before = fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {path}: {error}"));
        Self { path, before, _alone: alone }
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        fs::write(self.path, &self.before).expect("it could be written before");
    }
}

fn spawn<F: Filesystem + Send + Sync>(
    mountpoint: &Mountpoint,
    transport: Transport,
    filesystem: F,
) -> std::result::Result<Session, ringfuse::Error> {
    Mount::new(&**mountpoint).transport(transport).spawn(filesystem)
}

/// Works on a mount: in parallel, with handlers that wait on timers and on threads.
fn work_and_finish(session: Session, mountpoint: &Mountpoint) -> Stats {
    std::thread::scope(|scope| {
        for client in 0..8 {
            scope.spawn(move || {
                for round in 0..20 {
                    let name = format!("n{}", client * 100 + round);
                    assert_eq!(fs::read(mountpoint.join(name)).unwrap(), Probe::TEXT);
                }
                assert_eq!(fs::read(mountpoint.join(Probe::SLOW)).unwrap(), Probe::TEXT);
                assert_eq!(fs::read(mountpoint.join(Probe::BLOCKING)).unwrap(), Probe::TEXT);
            });
        }
    });
    session.unmount(Unmount::Normal).unwrap();
    assert!(session.wait(PATIENCE));
    let stats = session.join().unwrap();
    assert_eq!(stats.received, stats.committed);
    stats
}

#[test]
fn switched_off() {
    let setting = Setting::change(ENABLE, "N");
    let mountpoint = Mountpoint::new();
    let session = spawn(&mountpoint, Transport::PreferRing, Probe::default()).unwrap();
    assert_eq!(session.info().transport, TransportKind::Device);
    assert!(session.info().reason.contains("echo Y"), "{}", session.info().reason);
    work_and_finish(session, &mountpoint);

    let error = spawn(&mountpoint, Transport::RequireRing, Probe::default()).unwrap_err();
    assert!(error.is_ring(), "{error}");
    assert!(error.to_string().contains("echo Y"), "{error}");
    assert!(!is_mounted(&mountpoint));
    drop(setting);
}

#[test]
fn io_uring_forbidden() {
    let setting = Setting::change(DISABLED, "2");
    let mountpoint = Mountpoint::new();
    let session = spawn(&mountpoint, Transport::PreferRing, Probe::default()).unwrap();
    assert_eq!(session.info().transport, TransportKind::Device);
    assert!(session.info().reason.contains("io_uring"), "{}", session.info().reason);
    work_and_finish(session, &mountpoint);

    let error = spawn(&mountpoint, Transport::RequireRing, Probe::default()).unwrap_err();
    assert!(error.is_ring(), "{error}");
    assert!(!is_mounted(&mountpoint));
    drop(setting);
}

/// Switches the ring off after the kernel has offered it, so that the entries' registration fails.
struct Saboteur(Probe);

impl Filesystem for Saboteur {
    fn init(&self, kernel: &mut Negotiation) -> Result<()> {
        fs::write(ENABLE, "N")?;
        self.0.init(kernel)
    }

    async fn lookup(
        &self,
        rq: &ringfuse::Request<'_>,
        op: ringfuse::op::Lookup<'_>,
    ) -> Result<ringfuse::Entry> {
        self.0.lookup(rq, op).await
    }

    async fn getattr(
        &self,
        rq: &ringfuse::Request<'_>,
        op: ringfuse::op::Getattr,
    ) -> Result<ringfuse::AttrReply> {
        self.0.getattr(rq, op).await
    }

    async fn open(&self, rq: &ringfuse::Request<'_>, op: ringfuse::op::Open) -> Result<ringfuse::Opened> {
        self.0.open(rq, op).await
    }

    async fn read(
        &self,
        rq: &ringfuse::Request<'_>,
        op: ringfuse::op::Read,
        buf: ringfuse::ReadBuf,
    ) -> Result<ringfuse::ReadBuf> {
        self.0.read(rq, op, buf).await
    }
}

#[test]
fn registration_refused_after_the_handshake() {
    let setting = Setting::keep(ENABLE);
    let mountpoint = Mountpoint::new();
    let start = Instant::now();
    let session = spawn(&mountpoint, Transport::PreferRing, Saboteur(Probe::default())).unwrap();
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(session.info().transport, TransportKind::Device);
    assert!(session.info().reason.contains("regist"), "{}", session.info().reason);
    work_and_finish(session, &mountpoint);

    fs::write(ENABLE, "Y").unwrap();
    let error = spawn(&mountpoint, Transport::RequireRing, Saboteur(Probe::default())).unwrap_err();
    assert!(error.is_ring(), "{error}");
    assert!(!is_mounted(&mountpoint));
    drop(setting);
}

#[test]
fn switching_off_leaves_a_running_session_alone() {
    let setting = Setting::keep(ENABLE);
    let mountpoint = Mountpoint::new();
    let session = spawn(&mountpoint, Transport::RequireRing, Probe::default()).unwrap();
    fs::write(ENABLE, "N").unwrap();
    work_and_finish(session, &mountpoint);
    drop(setting);
}

/// How often the control threads of this program have gone to sleep.
fn control_sleeps() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let control = tasks.filter(|task| {
        fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with("ringfuse-contro"))
    });
    let sleeps = |task: std::path::PathBuf| -> u64 {
        let status = fs::read_to_string(task.join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        line.trim().parse().unwrap()
    };
    control.map(sleeps).sum()
}

#[test]
fn requests_by_the_device_wake_the_workers_alone() {
    let setting = Setting::keep(ENABLE);
    let mountpoint = Mountpoint::new();
    let probe = Probe::with_ttl(Duration::ZERO);
    let session = spawn(&mountpoint, Transport::DeviceOnly, probe).unwrap();
    let before = control_sleeps();
    for _ in 0..500 {
        fs::metadata(mountpoint.join("n1")).unwrap();
    }
    let woken = control_sleeps() - before;
    assert!(woken < 50, "the control thread was woken {woken} times");
    assert!(work_and_finish(session, &mountpoint).received >= 500);
    drop(setting);
}
