//! Where a worker of the ring runs: on the CPU whose queue it serves, or wherever there is room.

use std::cell::Cell;
use std::rc::Rc;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// A request that carries so many bytes takes longer than its program's way to another CPU and back. Readahead comes in
/// such pieces, and so do collected writes.
const BULK: usize = 64 << 10;

/// After so many requests in a row of threads that do not wait for each, more of them are expected.
const TO_LEAVE: u32 = 16;

/// After so many in a row of others. More, as a worker that has a CPU of its own is often done with a request before the
/// next of several comes.
const TO_RETURN: u32 = 256;

/// What tells of a request whether its thread waits for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sign {
    /// How many bytes it carried, either way.
    pub(crate) bytes: usize,
    /// How many requests came at once, this one included.
    pub(crate) together: usize,
    /// Whose it was.
    pub(crate) thread: u32,
}

/// The CPU that a worker is bound to as long as threads wait for each of their requests, as both sides of a round trip are
/// fastest on one. Who reads ahead, writes behind or has several requests under way goes on while they are served: these
/// should have a CPU of their own, and the scheduler finds one.
#[derive(Debug)]
pub(crate) struct Home {
    cpu: CpuSet,
    /// Where the thread was allowed to run before.
    anywhere: CpuSet,
    away: Cell<bool>,
    /// Requests in a row that were not of the kind that it is set up for.
    misfits: Cell<u32>,
    /// Whose the last request was.
    thread: Cell<u32>,
}

impl Home {
    /// Binds this thread to a CPU. `None` if that cannot be done: it costs speed, and no more.
    pub(crate) fn on(cpu: usize) -> Option<Rc<Self>> {
        let mut only = CpuSet::new();
        only.set(cpu);
        let anywhere = sched_getaffinity(None).ok()?;
        sched_setaffinity(None, &only).ok()?;
        Some(Rc::new(Self {
            cpu: only,
            anywhere,
            away: Cell::new(false),
            misfits: Cell::new(0),
            thread: Cell::new(0),
        }))
    }

    /// Unbinds the thread.
    pub(crate) fn leave(&self) {
        self.go(true);
    }

    /// A request was served.
    pub(crate) fn served(&self, Sign { bytes, together, thread }: Sign) {
        let away = self.away.get();
        let several = together > 1 && self.thread.get() == thread;
        self.thread.set(thread);
        if (several || bytes >= BULK) == away {
            self.misfits.set(0);
            return;
        }
        let misfits = self.misfits.get() + 1;
        self.misfits.set(misfits);
        if misfits >= if away { TO_RETURN } else { TO_LEAVE } {
            self.go(!away);
        }
    }

    fn go(&self, away: bool) {
        self.misfits.set(0);
        self.away.set(away);
        if let Err(error) = sched_setaffinity(None, if away { &self.anywhere } else { &self.cpu }) {
            tracing::debug!(%error, away, "cannot say where a worker runs");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn allowed() -> CpuSet {
        sched_getaffinity(None).unwrap()
    }

    #[test]
    fn a_worker_leaves_for_programs_that_go_on_and_comes_home_for_one_that_waits() {
        // On a thread of its own, whose binding ends with it.
        let test = || {
            let anywhere = allowed();
            let cpu = (0..CpuSet::MAX_CPU).find(|&cpu| anywhere.is_set(cpu)).unwrap();
            let home = Home::on(cpu).unwrap();
            let bound = allowed();
            assert_eq!((bound.count(), bound.is_set(cpu)), (1, true));
            let serve = |count, sign| (0..count).for_each(|_| home.served(sign));
            let waits = Sign { bytes: BULK - 1, together: 1, thread: 1 };
            for goes_on in [Sign { bytes: BULK, ..waits }, Sign { together: 2, ..waits }] {
                serve(1000, waits);
                serve(TO_LEAVE - 1, goes_on);
                serve(1, waits);
                serve(TO_LEAVE - 1, goes_on);
                assert_eq!(allowed(), bound, "a few do not make a stream");
                serve(1, goes_on);
                assert_eq!(allowed(), anywhere);
                serve(TO_RETURN - 1, waits);
                serve(1, goes_on);
                serve(TO_RETURN - 1, waits);
                assert_eq!(allowed(), anywhere);
                serve(1, waits);
                assert_eq!(allowed(), bound);
            }
            for thread in 0..1000 {
                home.served(Sign { together: 16, thread: thread % 16, ..waits });
            }
            assert_eq!(allowed(), bound, "each of the threads waits");
        };
        thread::spawn(test).join().unwrap();
    }
}
