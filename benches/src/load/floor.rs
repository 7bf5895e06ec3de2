//! What no server can beat: waking a thread and being woken by it, and copying.

use std::hint::black_box;
use std::io;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};

use crate::measure::{bind, histogram};
use crate::proc::Cpus;
use crate::tell;

const MIB: usize = 1 << 20;

pub(crate) fn floor(seconds: f64) -> io::Result<()> {
    let time = Duration::from_secs_f64(seconds);
    tell("wake_same_core_ns", round_trip(0, 0, time)?);
    tell("wake_other_core_ns", round_trip(0, Cpus::count() - 1, time)?);
    tell("copy_mib_s", copy(1, time)?);
    tell("copy_all_cores_mib_s", copy(Cpus::count(), time)?);
    Ok(())
}

fn put(event: &OwnedFd) -> io::Result<()> {
    rustix::io::write(event, &1_u64.to_ne_bytes())?;
    Ok(())
}

fn take(event: &OwnedFd) -> io::Result<()> {
    rustix::io::read(event, &mut [0; 8])?;
    Ok(())
}

/// The median of round trips between two threads, in ns.
fn round_trip(asking: usize, answering: usize, time: Duration) -> io::Result<f64> {
    let there = eventfd(0, EventfdFlags::CLOEXEC)?;
    let back = eventfd(0, EventfdFlags::CLOEXEC)?;
    let done = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let answer = scope.spawn(|| -> io::Result<()> {
            bind(answering)?;
            loop {
                take(&there)?;
                if done.load(std::sync::atomic::Ordering::Acquire) {
                    return Ok(());
                }
                put(&back)?;
            }
        });
        // In a thread, as a binding stays.
        let ask = scope.spawn(|| -> io::Result<f64> {
            bind(asking)?;
            let mut times = histogram();
            let start = Instant::now();
            while start.elapsed() < time {
                let before = Instant::now();
                put(&there)?;
                take(&back)?;
                times.saturating_record(before.elapsed().as_nanos() as u64);
            }
            Ok(times.value_at_quantile(0.5) as f64)
        });
        let median = ask.join().expect("it does not panic");
        done.store(true, std::sync::atomic::Ordering::Release);
        put(&there)?;
        answer.join().expect("it does not panic")?;
        median
    })
}

/// Copies of 1 MiB, by so many threads at once: MiB a second, of all together.
fn copy(threads: usize, time: Duration) -> io::Result<f64> {
    thread::scope(|scope| {
        let copiers: Vec<_> = (0..threads)
            .map(|cpu| {
                scope.spawn(move || -> io::Result<f64> {
                    bind(cpu)?;
                    let (from, mut to) = (vec![1_u8; MIB], vec![2_u8; MIB]);
                    let start = Instant::now();
                    let mut copied = 0;
                    while start.elapsed() < time {
                        to.copy_from_slice(black_box(&from));
                        black_box(&mut to);
                        copied += 1;
                    }
                    Ok(f64::from(copied) / start.elapsed().as_secs_f64())
                })
            })
            .collect();
        copiers.into_iter().map(|copier| copier.join().expect("it does not panic")).sum()
    })
}
