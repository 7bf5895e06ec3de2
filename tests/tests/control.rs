//! What comes beside the requests: forgets, interrupts, notifications.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use ringfuse::{Errno, NodeId, Notifier};
use ringfuse_e2e::Probe;
use ringfuse_kit::harness::{PATIENCE, Setup, mount};

const LONG: Duration = Duration::from_secs(3600);

/// Held to write by tests that drop what the kernel caches, and to read by those that rely on it.
static CACHES: RwLock<()> = RwLock::new(());

/// Has the kernel drop the names and inodes that nobody uses, of all filesystems.
fn drop_caches() {
    fs::write("/proc/sys/vm/drop_caches", "2").expect("as root");
}

#[test]
fn forget_gives_back_every_lookup_of_200_000_files() {
    let _caches = CACHES.write().unwrap_or_else(PoisonError::into_inner);
    for setup in [Setup::RING, Setup::DEVICE] {
        let probe = Probe::with_ttl(LONG);
        let seen = probe.seen.clone();
        let mounted = mount(probe, setup);
        const FILES: usize = 200_000;
        let path = mounted.path().to_owned();
        std::thread::scope(|scope| {
            for part in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    for file in (part..FILES).step_by(4) {
                        let found = rustix::fs::stat(path.join(format!("n{file}"))).unwrap();
                        assert_eq!(found.st_size, Probe::TEXT.len() as i64);
                    }
                });
            }
        });
        let lookups = seen.get(|s| &s.lookups);
        assert!(lookups >= FILES as u64, "{lookups}");
        let deadline = Instant::now() + PATIENCE;
        while seen.get(|s| &s.forgotten) < lookups {
            drop_caches();
            std::thread::sleep(Duration::from_millis(50));
            assert!(
                Instant::now() < deadline,
                "{setup}: {} of {lookups} came back",
                seen.get(|s| &s.forgotten)
            );
        }
        assert_eq!(seen.get(|s| &s.forgotten), lookups, "{setup}");
        let stats = mounted.finish();
        println!("{setup}: {lookups} lookups balanced by {} forgets; {stats:?}", seen.get(|s| &s.forgets));
    }
}

#[test]
fn a_forget_that_panics_does_not_stop_those_after_it() {
    let _caches = CACHES.write().unwrap_or_else(PoisonError::into_inner);
    for setup in [Setup::RING, Setup::DEVICE] {
        let probe = Probe::with_ttl(LONG);
        let seen = probe.seen.clone();
        seen.panic_at_forget.store(1, std::sync::atomic::Ordering::SeqCst);
        let mounted = mount(probe, setup);
        for round in 0..10 {
            mounted.step(move |path| fs::metadata(path.join(format!("n{round}"))).unwrap());
            drop_caches();
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(seen.wait_for(|s| &s.forgotten, 1) > 0, "{setup}");
        mounted.finish();
    }
}

#[test]
fn an_interrupt_reaches_the_handler() {
    for setup in Setup::ALL {
        let probe = Probe::default();
        let seen = probe.seen.clone();
        let mounted = mount(probe, setup);
        for round in 1..=5 {
            let mut cat = Command::new("cat")
                .arg(mounted.path().join(Probe::PATIENT))
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis(100));
            assert_eq!(cat.try_wait().unwrap(), None, "it waits");
            let start = Instant::now();
            let pid = rustix::process::Pid::from_child(&cat);
            // Not SIGINT: a test run in the background of a shell has it ignored, and so have its children.
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
            let status = cat.wait().unwrap();
            assert_eq!(status.signal(), Some(libc::SIGTERM));
            assert!(start.elapsed() < Duration::from_secs(2), "{setup}: {:?}", start.elapsed());
            assert_eq!(seen.wait_for(|s| &s.interrupted, round), round, "{setup}");
        }
        mounted.finish();
    }
}

/// A mount with long times to live, and its notifier, driven from the test's own thread.
fn with_notifier(setup: Setup, test: impl FnOnce(&Path, &Notifier, &Probe)) {
    let _caches = CACHES.read().unwrap_or_else(PoisonError::into_inner);
    let probe = Probe::with_ttl(LONG);
    let mounted = mount(probe.clone(), setup);
    let notifier = mounted.session().notifier();
    test(mounted.path(), &notifier, &probe);
    mounted.finish();
    let late = wait(notifier.inval_inode(NodeId::ROOT, 0, 0));
    assert_eq!(late, Err(Errno::ENOTCONN), "after the end");
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    futures_util::future::FutureExt::now_or_never(future.boxed_wait()).expect("it blocks")
}

/// Blocks on a future with the standard library alone.
trait BoxedWait: Future + Sized {
    fn boxed_wait(self) -> std::future::Ready<Self::Output> {
        struct Unpark(std::thread::Thread);
        impl std::task::Wake for Unpark {
            fn wake(self: std::sync::Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
        let mut context = std::task::Context::from_waker(&waker);
        let mut future = std::pin::pin!(self);
        loop {
            if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return std::future::ready(output);
            }
            std::thread::park();
        }
    }
}

impl<F: Future> BoxedWait for F {}

fn set_version(probe: &Probe, version: u64) {
    probe.seen.version.store(version, std::sync::atomic::Ordering::SeqCst);
}

#[test]
fn inval_inode_drops_pages() {
    for setup in Setup::ALL {
        with_notifier(setup, |path, notifier, probe| {
            let file = path.join(Probe::VERSION);
            let node = Probe::node(Probe::VERSION).unwrap();
            assert_eq!(fs::read(&file).unwrap(), b"version 000\n");
            set_version(probe, 1);
            assert_eq!(fs::read(&file).unwrap(), b"version 000\n", "the cache serves it");
            wait(notifier.inval_inode(node, 0, 0)).unwrap();
            assert_eq!(fs::read(&file).unwrap(), b"version 001\n");
            let unknown = NodeId::new(999_999).unwrap();
            assert_eq!(wait(notifier.inval_inode(unknown, 0, 0)), Err(Errno::ENOENT));
        });
    }
}

#[test]
fn inval_expire_and_delete_drop_names() {
    for setup in Setup::ALL {
        with_notifier(setup, |path, notifier, probe| {
            let file = path.join(Probe::SOMETIMES);
            let node = Probe::node(Probe::SOMETIMES).unwrap();
            assert!(file.exists());
            set_version(probe, 1);
            assert!(file.exists(), "the cache says so");
            wait(notifier.inval_entry(NodeId::ROOT, Probe::SOMETIMES)).unwrap();
            assert!(!file.exists());

            set_version(probe, 2);
            assert!(!file.exists(), "the negative entry is cached");
            wait(notifier.inval_entry(NodeId::ROOT, Probe::SOMETIMES)).unwrap();
            assert!(file.exists());

            set_version(probe, 3);
            wait(notifier.expire_entry(NodeId::ROOT, Probe::SOMETIMES)).unwrap();
            assert!(!file.exists());

            set_version(probe, 4);
            wait(notifier.inval_entry(NodeId::ROOT, Probe::SOMETIMES)).unwrap();
            assert!(file.exists());
            set_version(probe, 5);
            wait(notifier.delete(NodeId::ROOT, node, Probe::SOMETIMES)).unwrap();
            assert!(!file.exists());
            assert_eq!(wait(notifier.inval_entry(NodeId::ROOT, "never-seen")), Err(Errno::ENOENT));
        });
    }
}

#[test]
fn store_and_retrieve_exchange_cached_pages() {
    for setup in Setup::ALL {
        with_notifier(setup, |path, notifier, _| {
            let node = Probe::node(Probe::VERSION).unwrap();
            let mut file = File::open(path.join(Probe::VERSION)).unwrap();
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            wait(notifier.store(node, 0, b"stored 4321\n")).unwrap();
            file.rewind().unwrap();
            text.clear();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, "stored 4321\n");
            let found = wait(notifier.retrieve(node, 0, u32::MAX)).unwrap();
            assert_eq!((found.offset, found.data.as_slice()), (0, &b"stored 4321\n"[..]));
            assert_eq!(wait(notifier.retrieve(node, 7, 4)).unwrap().data, b"4321");

            // The page's rest is kept by the kernel, but the file ends where it ends.
            wait(notifier.inval_inode(node, 0, 0)).unwrap();
            assert_eq!(wait(notifier.retrieve(node, 0, 100)).unwrap().data, b"", "nothing is cached");
            let mut back = [0; 12];
            file.read_exact_at(&mut back, 0).unwrap();
            assert_eq!(&back, b"version 000\n");
        });
    }
}

#[test]
fn the_other_notifications_are_accepted() {
    for setup in Setup::ALL {
        with_notifier(setup, |path, notifier, probe| {
            let file = path.join(Probe::SOMETIMES);
            assert!(file.exists());
            set_version(probe, 1);
            wait(notifier.inc_epoch()).unwrap();
            assert!(!file.exists(), "all names are of an older epoch");
            wait(notifier.resend()).unwrap();
            wait(notifier.poll(77.into())).unwrap();

            let before = probe.seen.get(|s| &s.forgotten);
            fs::metadata(path.join("n5")).unwrap();
            wait(notifier.prune(&[Probe::node("n5").unwrap()])).unwrap();
            assert!(probe.seen.wait_for(|s| &s.forgotten, before + 1) > before, "a pruned node is forgotten");
        });
    }
}
