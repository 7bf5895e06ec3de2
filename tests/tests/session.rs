//! Sessions from their start to their end, on real mounts.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use ringfuse::{Filesystem, Mount, Session, Transport, Unmount};
use ringfuse_e2e::Probe;
use ringfuse_kit::harness::{Mountpoint, PATIENCE, Setup, is_mounted, mount, mount_with};

fn errno<T: std::fmt::Debug>(result: std::io::Result<T>) -> i32 {
    result.expect_err("it must fail").raw_os_error().expect("by an errno")
}

fn send<T: Send>(value: T) -> T {
    value
}

#[test]
fn reads_lists_and_unmounts_on_every_setup() {
    for setup in Setup::ALL {
        let probe = Probe::default();
        let seen = probe.seen.clone();
        let mounted = mount(probe, setup);
        mounted.step(|path| {
            assert_eq!(fs::read(path.join("n1")).unwrap(), Probe::TEXT);
            assert_eq!(fs::read_dir(path).unwrap().count(), Probe::SPECIAL.len());
            assert_eq!(fs::metadata(path.join("missing")).unwrap_err().kind(), ErrorKind::NotFound);
            let mut file = File::options().write(true).open(path.join("n2")).unwrap();
            file.write_all(&[7; 300_000]).unwrap();
        });
        assert_eq!(seen.get(|s| &s.ready), 1);
        assert_eq!(seen.get(|s| &s.destroyed), 0);
        let stats = mounted.finish();
        assert!(stats.received > 8, "{stats:?}");
        assert_eq!(seen.get(|s| &s.destroyed), 1);
    }
}

#[test]
fn many_clients_at_once() {
    for setup in Setup::ALL {
        let mounted = mount(Probe::default(), setup);
        mounted.step(|path| {
            std::thread::scope(|scope| {
                for client in 0..16 {
                    scope.spawn(move || {
                        for round in 0..50 {
                            let name = format!("n{}", client * 100 + round);
                            assert_eq!(fs::read(path.join(name)).unwrap(), Probe::TEXT);
                        }
                    });
                }
            });
        });
        mounted.finish();
    }
}

#[test]
fn handlers_that_wait_do_not_hold_up_others() {
    for setup in Setup::ALL {
        let mounted = mount(Probe::default(), setup);
        let took = mounted.step(|path| {
            let start = Instant::now();
            std::thread::scope(|scope| {
                // More than a queue has entries for, on one worker.
                for _ in 0..12 {
                    scope.spawn(|| fs::read(path.join(Probe::SLOW)).unwrap());
                    scope.spawn(|| fs::read(path.join(Probe::BLOCKING)).unwrap());
                }
                assert_eq!(fs::read(path.join("n1")).unwrap(), Probe::TEXT);
            });
            start.elapsed()
        });
        assert!(took < Duration::from_secs(3), "{setup}: {took:?}");
        mounted.finish();
    }
}

#[test]
fn background_work_goes_on_without_further_requests() {
    for setup in Setup::ALL {
        let probe = Probe::default();
        let seen = probe.seen.clone();
        let mounted = mount(probe, setup);
        for round in 1..=3 {
            // It stays open, since its release would be a further request.
            let file = mounted.step(|path| {
                let mut file = File::open(path.join(Probe::SPAWNER)).unwrap();
                assert_eq!(file.read(&mut [0; 100]).unwrap(), Probe::TEXT.len());
                file
            });
            assert_eq!(seen.wait_for(|s| &s.background, round), round, "{setup}");
            drop(file);
        }
        mounted.finish();
    }
}

#[test]
fn a_filesystem_that_is_not_send_runs_on_the_callers_thread() {
    struct Local(std::rc::Rc<std::cell::Cell<u32>>, Probe);
    impl Filesystem for Local {
        async fn lookup(
            &self,
            rq: &ringfuse::Request<'_>,
            op: ringfuse::op::Lookup<'_>,
        ) -> ringfuse::Result<ringfuse::Entry> {
            self.0.set(self.0.get() + 1);
            self.1.lookup(rq, op).await
        }
        async fn getattr(
            &self,
            rq: &ringfuse::Request<'_>,
            op: ringfuse::op::Getattr,
        ) -> ringfuse::Result<ringfuse::AttrReply> {
            self.1.getattr(rq, op).await
        }
    }
    for transport in [Transport::RequireRing, Transport::DeviceOnly] {
        let mountpoint = Mountpoint::new();
        let lookups = std::rc::Rc::new(std::cell::Cell::new(0));
        let path = mountpoint.to_owned();
        let client = std::thread::spawn(move || {
            let deadline = Instant::now() + PATIENCE;
            while !path.join("n1").exists() {
                assert!(Instant::now() < deadline);
                std::thread::sleep(Duration::from_millis(5));
            }
            rustix::mount::unmount(&path, rustix::mount::UnmountFlags::empty()).unwrap();
        });
        Mount::new(&*mountpoint)
            .transport(transport)
            .run_local(Local(lookups.clone(), Probe::default()))
            .unwrap();
        client.join().unwrap();
        assert!(lookups.get() >= 1);
    }
}

#[test]
fn a_panic_costs_one_request() {
    for setup in Setup::ALL {
        let mounted = mount(Probe::default(), setup);
        mounted.step(|path| {
            for name in [Probe::PANIC, Probe::LATE_PANIC] {
                for _ in 0..40 {
                    assert_eq!(errno(fs::read(path.join(name))), libc::EIO);
                }
            }
            assert_eq!(fs::read(path.join("n1")).unwrap(), Probe::TEXT);
        });
        mounted.finish();
    }
}

#[test]
fn a_loan_that_is_kept_keeps_its_entry_and_nothing_else() {
    for setup in Setup::ALL {
        let probe = Probe::default();
        let seen = probe.seen.clone();
        let mounted = mount(probe, setup);
        let writer = {
            let path = mounted.path().join(Probe::KEEP);
            std::thread::spawn(move || {
                let mut file = File::options().write(true).open(path).unwrap();
                file.write_all(b"kept bytes").unwrap();
            })
        };
        let start = Instant::now();
        while seen.kept.lock().unwrap().is_empty() {
            assert!(start.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(1));
        }
        mounted.step(|path| {
            for i in 0..200 {
                assert_eq!(fs::read(path.join(format!("n{i}"))).unwrap(), Probe::TEXT);
            }
        });
        assert!(!writer.is_finished(), "the reply waits for the loan");
        let kept = seen.kept.lock().unwrap().pop().unwrap();
        assert_eq!(kept.bytes(), b"kept bytes", "nobody wrote into it meanwhile");
        drop(kept);
        writer.join().unwrap();
        mounted.finish();
    }
}

#[test]
fn a_write_that_claims_too_much_is_an_error() {
    for setup in [Setup::RING, Setup::DEVICE] {
        let mounted = mount(Probe::default(), setup);
        mounted.step(|path| {
            let mut file = File::options().write(true).open(path.join(Probe::LIAR)).unwrap();
            assert_eq!(errno(file.write(b"four")), libc::EIO);
        });
        mounted.finish();
    }
}

#[test]
fn large_direct_requests_pass_whole() {
    for setup in Setup::ALL {
        let mounted = mount(Probe::default(), setup);
        mounted.step(|path| {
            let mut file = File::options()
                .read(true)
                .write(true)
                .custom_flags(libc::O_DIRECT)
                .open(path.join("n1"))
                .unwrap();
            let buf = vec![1_u8; 4 << 20];
            assert_eq!(file.write(&buf).unwrap(), buf.len());
            let mut back = Vec::new();
            file.read_to_end(&mut back).unwrap();
        });
        mounted.finish();
    }
}

#[test]
fn a_busy_mount_says_so_and_goes_on() {
    for setup in [Setup::RING, Setup::DEVICE] {
        let mounted = mount(Probe::default(), setup);
        let file = File::open(mounted.path().join("n1")).unwrap();
        let error = mounted.session().unmount(Unmount::Normal).unwrap_err();
        assert!(error.is_busy(), "{error}");
        assert!(error.to_string().contains(mounted.path().to_str().unwrap()), "{error}");
        mounted.step(|path| assert_eq!(fs::read(path.join("n2")).unwrap(), Probe::TEXT));
        drop(file);
        mounted.finish();
    }
}

#[test]
fn a_lazy_unmount_serves_until_the_last_file_is_closed() {
    for setup in [Setup::RING, Setup::DEVICE] {
        let mountpoint = Mountpoint::new();
        let session = setup.apply(Mount::new(&*mountpoint)).spawn(Probe::default()).unwrap();
        let mut file = File::open(mountpoint.join("n1")).unwrap();
        session.unmount(Unmount::Lazy).unwrap();
        assert!(!is_mounted(&mountpoint));
        assert!(!session.wait(Duration::from_millis(100)), "a file is open");
        let mut text = Vec::new();
        file.read_to_end(&mut text).unwrap();
        assert_eq!(text, Probe::TEXT);
        drop(file);
        session.join().unwrap();
    }
}

#[test]
fn somebody_elses_unmount_ends_the_session() {
    for setup in Setup::ALL {
        let mountpoint = Mountpoint::new();
        let session = setup.apply(Mount::new(&*mountpoint)).spawn(Probe::default()).unwrap();
        let status = std::process::Command::new("umount").arg(&*mountpoint).status().unwrap();
        assert!(status.success());
        session.join().unwrap();
    }
}

#[test]
fn dropping_a_session_unmounts() {
    for setup in Setup::ALL {
        let mountpoint = Mountpoint::new();
        let session = setup.apply(Mount::new(&*mountpoint)).spawn(Probe::default()).unwrap();
        drop(session);
        assert!(!is_mounted(&mountpoint));
    }
}

#[test]
fn dropping_a_session_in_use_ends_it_within_bounds() {
    for setup in [Setup::RING, Setup::DEVICE] {
        let mountpoint = Mountpoint::new();
        let session = setup.apply(Mount::new(&*mountpoint)).spawn(Probe::default()).unwrap();
        let mut file = File::open(mountpoint.join("n1")).unwrap();
        let waiting = {
            let path = mountpoint.join(Probe::PATIENT);
            std::thread::spawn(move || fs::read(path))
        };
        std::thread::sleep(Duration::from_millis(100));
        let start = Instant::now();
        drop(session);
        assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
        assert!(!is_mounted(&mountpoint));
        let error = file.read(&mut [0; 10]).unwrap_err();
        assert!(matches!(error.raw_os_error(), Some(libc::ENOTCONN | libc::ECONNABORTED)), "{error}");
        waiting.join().unwrap().unwrap_err();
    }
}

#[test]
fn an_abort_ends_the_session() {
    for setup in Setup::ALL {
        let mountpoint = Mountpoint::new();
        let probe = Probe::default();
        let session: Session = setup.apply(Mount::new(&*mountpoint)).spawn(send(probe)).unwrap();
        let waiting = {
            let path = mountpoint.join(Probe::PATIENT);
            std::thread::spawn(move || fs::read(path))
        };
        std::thread::sleep(Duration::from_millis(100));
        assert!(session.unmounter().abort().unwrap(), "fusectl is needed on /sys/fs/fuse/connections");
        waiting.join().unwrap().unwrap_err();
        session.join().unwrap();
    }
}

#[test]
fn a_handler_that_never_ends_is_left_behind_and_told_of() {
    for setup in [Setup::RING, Setup::DEVICE] {
        let mountpoint = Mountpoint::new();
        let session = setup.apply(Mount::new(&*mountpoint)).spawn(Probe::default()).unwrap();
        let waiting = {
            let path = mountpoint.join(Probe::STUBBORN);
            std::thread::spawn(move || fs::read(path))
        };
        std::thread::sleep(Duration::from_millis(100));
        assert!(session.unmounter().abort().unwrap());
        waiting.join().unwrap().unwrap_err();
        assert!(!session.wait(Duration::from_millis(100)));
        assert!(session.wait(Duration::from_secs(15)));
        let error = session.join().unwrap_err();
        assert!(error.to_string().contains("handler"), "{error}");
    }
}

#[test]
fn small_and_large_limits() {
    for setup in [Setup::RING, Setup::DEVICE] {
        for (depth, max_write) in [(1, 4096), (1, 1 << 20), (64, 1 << 17), (5, 1 << 24)] {
            let mounted = mount_with(Probe::default(), setup, |m| m.depth(depth).max_write(max_write));
            mounted.step(|path| {
                let mut file = File::options().write(true).open(path.join("n1")).unwrap();
                file.write_all(&vec![0; 3 << 20]).unwrap();
                assert_eq!(fs::read(path.join("n1")).unwrap(), Probe::TEXT);
            });
            mounted.finish();
        }
    }
}

#[test]
fn the_kernel_reads_ahead_as_far_as_is_said() {
    for setup in [Setup::RING, Setup::DEVICE] {
        for (said, kib) in [(None, 1024), (Some(64 << 10), 64), (Some(4 << 20), 4096)] {
            let mounted = mount_with(Probe::default(), setup, |m| match said {
                Some(bytes) => m.max_readahead(bytes),
                None => m,
            });
            let info = mounted.session().info();
            let kernel = format!("/sys/class/bdi/0:{}/read_ahead_kb", info.connection.unwrap());
            assert_eq!(fs::read_to_string(kernel).unwrap().trim(), kib.to_string());
            assert_eq!(info.max_readahead, kib << 10);
            mounted.finish();
        }
    }
}
