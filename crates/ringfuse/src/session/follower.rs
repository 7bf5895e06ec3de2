//! Keeps the only reader of the device on the CPU of the program that it serves.
//!
//! The scheduler wakes a reader where it ran last, if that CPU idles, and its program likewise: once they are apart they stay so,
//! and wake a sleeping CPU twice a request. Where requests come one by one it is tried whether it helps to go where the program
//! is, and to go after it when it has moved; see [`placement`](crate::session::placement).

use std::cell::Cell;
use std::io::Write;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::session::attempts::Attempts;
use crate::session::placement::{Part, Placement};

/// A request that comes this long after the last may be that of a program that has moved.
const SLOW: Duration = Duration::from_micros(20);

#[derive(Debug)]
pub(crate) struct Follower {
    placement: Placement,
    part: Part,
    /// Where the thread was allowed to run before. `None` if that cannot be told or changed.
    anywhere: Cell<Option<CpuSet>>,
    /// Where it is bound to be.
    cpu: Cell<Option<usize>>,
    /// Whose the last request was, and how many there were.
    thread: Cell<u32>,
    served: Cell<u64>,
    /// When the last one came, and whether that was slow.
    last: Cell<Option<Instant>>,
    slow: Cell<bool>,
    /// To look where the program is.
    looks: Attempts,
    backlog: Backlog,
}

/// Whether others wait while a request is served: that of one thread may do so too, which does not wait for each answer.
#[derive(Debug, Default)]
struct Backlog {
    looks: Cell<u32>,
    seen: Cell<u32>,
    there: Cell<bool>,
}

impl Backlog {
    /// One of so many requests is looked at, as that is a system call.
    const SAMPLED: u64 = 16;

    /// After so many looks it is decided anew. Forgets are seen as well, so that it takes more than half.
    const LOOKS: u32 = 8;

    fn came(&self, served: u64, more: impl FnOnce() -> bool) {
        if !served.is_multiple_of(Self::SAMPLED) {
            return;
        }
        self.looks.set(self.looks.get() + 1);
        self.seen.set(self.seen.get() + u32::from(more()));
        if self.looks.get() == Self::LOOKS {
            self.there.set(self.seen.replace(0) * 2 > self.looks.replace(0));
        }
    }

    fn is_there(&self) -> bool {
        self.there.get()
    }
}

impl Follower {
    pub(crate) fn new() -> Self {
        Self {
            placement: Placement::of_the_device(),
            part: Part::new(),
            anywhere: Cell::new(sched_getaffinity(None).ok()),
            cpu: Cell::new(None),
            thread: Cell::new(0),
            served: Cell::new(0),
            last: Cell::new(None),
            slow: Cell::new(false),
            looks: Attempts::default(),
            backlog: Backlog::default(),
        }
    }

    /// A thread's request has come, while so many workers read. `more` looks whether another waits.
    pub(crate) fn came(&self, thread: u32, readers: usize, more: impl FnOnce() -> bool) {
        // Nobody waits for those, forgets above all.
        if thread == 0 {
            return;
        }
        let same = self.thread.replace(thread) == thread;
        let served = self.served.get() + 1;
        self.served.set(served);
        self.backlog.came(served, more);
        // One of another thread counts as one that came together with another.
        let lone = same && !self.backlog.is_there();
        self.part.came(if lone { 1 } else { 2 }, &self.placement, || served);
        let most = if self.part.wants_company() { 2 } else { 1 };
        if readers <= most && self.part.follows() {
            let now = Instant::now();
            self.slow.set(self.last.replace(Some(now)).is_none_or(|last| now - last > SLOW));
        } else if self.cpu.take().is_some() {
            self.last.set(None);
            self.unbind();
        }
    }

    /// Whether requests mostly wait behind others.
    pub(crate) fn sees_backlog(&self) -> bool {
        self.backlog.is_there()
    }

    /// Whether there is work for a second reader, as requests do not come one by one, or use for one.
    pub(crate) fn wants_company(&self) -> bool {
        !self.part.is_lone() || self.part.wants_company()
    }

    /// The request has been answered, and its program is on its way.
    pub(crate) fn answered(&self) {
        if !self.slow.take() || !self.looks.is_due() {
            return;
        }
        let cpu = cpu_of(self.thread.get());
        if cpu == self.cpu.get() {
            self.looks.found(false);
        } else if let Some(cpu) = cpu {
            self.looks.found(true);
            self.bind(cpu);
        }
    }

    fn bind(&self, cpu: usize) {
        // Only to where it was allowed to run before.
        if !self.anywhere.get().is_some_and(|anywhere| anywhere.is_set(cpu)) {
            return;
        }
        let mut only = CpuSet::new();
        only.set(cpu);
        match sched_setaffinity(None, &only) {
            Ok(()) => self.cpu.set(Some(cpu)),
            Err(error) => {
                tracing::debug!(%error, cpu, "cannot follow a program");
                self.anywhere.set(None);
            }
        }
    }

    fn unbind(&self) {
        if let Some(anywhere) = self.anywhere.get()
            && let Err(error) = sched_setaffinity(None, &anywhere)
        {
            tracing::warn!(%error, "a worker stays bound to its CPU");
        }
    }
}

impl Drop for Follower {
    /// The thread may be the caller's own.
    fn drop(&mut self) {
        if self.cpu.take().is_some() {
            self.unbind();
        }
    }
}

/// The CPU where a thread runs, or did last, see proc_pid_stat(5). Takes no memory, as it is done while requests are served.
fn cpu_of(thread: u32) -> Option<usize> {
    const PROCESSOR: usize = 39;
    let (mut path, mut stat) = ([0; 32], [0; 1024]);
    let mut rest = path.as_mut_slice();
    write!(rest, "/proc/{thread}/stat").ok()?;
    let left = rest.len();
    let path = &path[..path.len() - left];
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let len = rustix::io::read(file, &mut stat).ok()?;
    // The name, which is the second, may have anything in it.
    let after = stat[..len].rsplit(|&byte| byte == b')').next()?;
    let field = str::from_utf8(after).ok()?.split_ascii_whitespace().nth(PROCESSOR - 3)?;
    field.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::thread::gettid;

    use super::*;

    fn me() -> u32 {
        gettid().as_raw_nonzero().get() as u32
    }

    #[test]
    fn a_thread_is_found_where_it_is_bound() {
        let anywhere = sched_getaffinity(None).unwrap();
        for cpu in (0..CpuSet::MAX_CPU).filter(|cpu| anywhere.is_set(*cpu)) {
            let bound = move || {
                let mut only = CpuSet::new();
                only.set(cpu);
                sched_setaffinity(None, &only).unwrap();
                cpu_of(me())
            };
            assert_eq!(thread::spawn(bound).join().unwrap(), Some(cpu));
        }
        assert_eq!(cpu_of(u32::MAX), None);
    }

    #[test]
    fn a_worker_is_bound_only_where_it_may_run_and_unbound_at_the_end() {
        let here = move || {
            let anywhere = sched_getaffinity(None).unwrap();
            let follower = Follower::new();
            let allowed = (0..CpuSet::MAX_CPU).find(|cpu| anywhere.is_set(*cpu)).unwrap();
            follower.bind(allowed);
            assert_eq!((sched_getaffinity(None).unwrap().count(), follower.cpu.get()), (1, Some(allowed)));
            let forbidden = (0..CpuSet::MAX_CPU).find(|cpu| !anywhere.is_set(*cpu)).unwrap();
            follower.bind(forbidden);
            assert_eq!(follower.cpu.get(), Some(allowed));
            drop(follower);
            assert_eq!(sched_getaffinity(None).unwrap(), anywhere);
        };
        thread::spawn(here).join().unwrap();
    }

    #[test]
    fn a_crowd_is_told_by_its_threads_or_by_what_waits_and_forgets_are_nobodys() {
        let follower = Follower::new();
        (0..1000).for_each(|turn| follower.came(if turn % 3 == 0 { 0 } else { 7 }, 1, || false));
        assert!(!follower.wants_company());
        (0..1000).for_each(|turn| follower.came(turn % 4 + 1, 1, || false));
        assert!(follower.wants_company() && !follower.sees_backlog());
        (0..1000).for_each(|_| follower.came(7, 1, || false));
        assert!(!follower.wants_company());
        (0..1000).for_each(|_| follower.came(7, 1, || true));
        assert!(follower.wants_company() && follower.sees_backlog());
        let mut looks = 0;
        (0..1600).for_each(|_| {
            follower.came(7, 1, || {
                looks += 1;
                looks % 2 == 0
            });
        });
        assert_eq!(looks, 100);
        assert!(!follower.wants_company());
    }
}
