//! Threads that may block.

use std::cell::Cell;

use rustix::process::getpid;
use rustix::thread::{sched_getaffinity, sched_setaffinity};

/// Has a thread do a job that may block. A thread is bound to the CPU of the worker that starts it, as that is: here it runs
/// wherever the program may.
pub(super) async fn unblock<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> T {
    thread_local!(static UNBOUND: Cell<bool> = const { Cell::new(false) });
    let work = move || {
        if !UNBOUND.replace(true) {
            // Those of the first thread, which is no worker. Without them it is slower, and no more.
            let _ = sched_getaffinity(Some(getpid())).and_then(|cpus| sched_setaffinity(None, &cpus));
        }
        job()
    };
    blocking::unblock(work).await
}

#[cfg(test)]
mod tests {
    use futures_lite::future::block_on;
    use rustix::thread::CpuSet;

    use super::*;

    #[test]
    fn a_job_of_a_bound_thread_runs_anywhere() {
        let test = || {
            let all = sched_getaffinity(None).unwrap();
            let mut one = CpuSet::new();
            one.set((0..CpuSet::MAX_CPU).find(|&cpu| all.is_set(cpu)).unwrap());
            sched_setaffinity(None, &one).unwrap();
            let allowed = block_on(unblock(|| sched_getaffinity(None).unwrap()));
            assert_eq!(allowed.count(), all.count());
        };
        std::thread::spawn(test).join().unwrap();
    }
}
