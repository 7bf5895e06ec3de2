//! Mounts a filesystem for a test.
//!
//! ```no_run
//! # use ringfuse::Filesystem;
//! # struct MyFs;
//! # impl Filesystem for MyFs {}
//! use ringfuse_kit::harness::{Setup, mount};
//!
//! for setup in Setup::ALL {
//!     let mounted = mount(MyFs, setup);
//!     assert!(std::fs::metadata(mounted.path()).unwrap().is_dir());
//!     mounted.finish();
//! }
//! ```

use std::fmt;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ringfuse::{Filesystem, Mount, Session, Stats, Transport, TransportKind, Unmount};

/// How long a step of a test may take before the mount is taken for hung.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// On which transport and with how many workers a filesystem is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// The transport, which is asserted: a test on the ring fails where there is none.
    pub transport: TransportKind,
    /// The number of workers, or one a possible CPU.
    pub workers: Option<usize>,
}

impl Setup {
    /// On the ring, a worker a CPU: what users get.
    pub const RING: Self = Self { transport: TransportKind::Ring, workers: None };
    /// On the device, a worker a CPU.
    pub const DEVICE: Self = Self { transport: TransportKind::Device, workers: None };
    /// On the ring, one worker for all queues.
    pub const RING_ONE: Self = Self { transport: TransportKind::Ring, workers: Some(1) };
    /// On the device, one worker.
    pub const DEVICE_ONE: Self = Self { transport: TransportKind::Device, workers: Some(1) };
    /// All of them.
    pub const ALL: [Self; 4] = [Self::RING, Self::DEVICE, Self::RING_ONE, Self::DEVICE_ONE];

    fn policy(self) -> Transport {
        match self.transport {
            TransportKind::Ring => Transport::RequireRing,
            TransportKind::Device => Transport::DeviceOnly,
        }
    }

    /// Applies the setup to a mount.
    pub fn apply(self, mount: Mount) -> Mount {
        let mount = mount.transport(self.policy());
        match self.workers {
            Some(workers) => mount.workers(workers),
            None => mount,
        }
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.workers {
            Some(workers) => write!(f, "{}, {workers} worker(s)", self.transport),
            None => write!(f, "{}, a worker a CPU", self.transport),
        }
    }
}

/// An empty directory of a test's own, to mount on. It is unmounted and removed when it is dropped.
#[derive(Debug)]
pub struct Mountpoint(PathBuf);

impl Mountpoint {
    /// Makes one under the directory for temporary files.
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ringfuse-test-{}-{count}", process::id()));
        fs::create_dir(&path).unwrap_or_else(|error| panic!("cannot create {}: {error}", path.display()));
        Self(path)
    }
}

impl Default for Mountpoint {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Mountpoint {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mountpoint {
    fn drop(&mut self) {
        // After a failure something may still be mounted. A lazy unmount does not ask the server.
        while is_mounted(&self.0) {
            let flags = rustix::mount::UnmountFlags::DETACH;
            if rustix::mount::unmount(&self.0, flags).is_err() {
                break;
            }
        }
        let _ = fs::remove_dir(&self.0);
    }
}

/// Whether something is mounted at a path, by the mount table: the path itself is not touched.
pub fn is_mounted(path: &Path) -> bool {
    let Ok(table) = fs::read_to_string("/proc/self/mountinfo") else { return false };
    table.lines().any(|line| line.split(' ').nth(4).is_some_and(|at| Path::new(at) == path))
}

/// A filesystem mounted for a test.
#[derive(Debug)]
pub struct Mounted {
    session: Option<Session>,
    // After the session in the order of fields: the directory goes once the mount has gone.
    mountpoint: Mountpoint,
}

/// Mounts a filesystem, with nothing but a setup.
///
/// # Panics
///
/// If it cannot be mounted, or not on the transport that was asked for.
pub fn mount<F: Filesystem + Send + Sync>(filesystem: F, setup: Setup) -> Mounted {
    mount_with(filesystem, setup, |mount| mount)
}

/// Mounts a filesystem; `adjust` says what else is wanted of the mount.
///
/// # Panics
///
/// As for [`mount`].
pub fn mount_with<F: Filesystem + Send + Sync>(
    filesystem: F,
    setup: Setup,
    adjust: impl FnOnce(Mount) -> Mount,
) -> Mounted {
    let mountpoint = Mountpoint::new();
    let mount = adjust(setup.apply(Mount::new(&*mountpoint).fsname("ringfuse-test")));
    let session = mount.spawn(filesystem).unwrap_or_else(|error| panic!("on {setup}: {error}"));
    assert_eq!(session.info().transport, setup.transport, "{}", session.info().reason);
    Mounted { session: Some(session), mountpoint }
}

impl Mounted {
    /// The mountpoint.
    pub fn path(&self) -> &Path {
        &self.mountpoint
    }

    /// The session that serves it.
    ///
    /// # Panics
    ///
    /// Never before [`Mounted::finish`].
    pub fn session(&self) -> &Session {
        self.session.as_ref().expect("the session lives until the test has finished")
    }

    /// Runs a step of the test on a thread of its own. Should the filesystem hang, the mount is aborted, and the test
    /// fails instead of hanging with it.
    ///
    /// # Panics
    ///
    /// If the step panics, or takes longer than [`PATIENCE`].
    pub fn step<T: Send + 'static>(&self, step: impl FnOnce(&Path) -> T + Send + 'static) -> T {
        let path = self.path().to_owned();
        let (done, result) = mpsc::channel();
        let thread = thread::spawn(move || {
            let _ = done.send(step(&path));
        });
        match result.recv_timeout(PATIENCE) {
            Ok(result) => {
                let _ = thread.join();
                result
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let _ = self.session().unmounter().abort();
                panic!("the filesystem hung");
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => match thread.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(()) => unreachable!("the step ended without a result"),
            },
        }
    }

    /// Unmounts and waits for the end of the session. Every request must have been answered, once.
    ///
    /// # Panics
    ///
    /// If it cannot be unmounted (a file is still open, perhaps), the session ends with an error, the counters do not
    /// agree, or the mount is not gone.
    pub fn finish(mut self) -> Stats {
        let session = self.session.take().expect("a test finishes once");
        session.unmount(Unmount::Normal).unwrap_or_else(|error| panic!("{error}"));
        assert!(session.wait(PATIENCE), "the session did not end after its unmount");
        let stats = session.join().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(stats.received, stats.committed, "requests and answers, once each");
        assert!(!is_mounted(&self.mountpoint));
        stats
    }
}
