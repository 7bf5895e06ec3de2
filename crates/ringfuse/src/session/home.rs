//! Where a worker of the ring runs: on the CPU whose queue it serves, or wherever there is room.

use std::cell::Cell;
use std::rc::Rc;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// A request that carries so many bytes takes longer than its program's way to another CPU and back. Readahead comes in
/// such pieces, and so do collected writes.
const BULK: usize = 64 << 10;

/// So many requests of a kind in a row are taken for what comes next, too.
const IN_A_ROW: u32 = 8;

/// The CPU that this thread is bound to as long as its requests are small, as both sides of a round trip are fastest on
/// one. Who reads ahead or writes behind goes on while its requests are served: these should have a CPU of their own, and
/// the scheduler finds one.
#[derive(Debug)]
pub(crate) struct Home {
    cpu: CpuSet,
    /// Where the thread was allowed to run before.
    anywhere: CpuSet,
    away: Cell<bool>,
    /// Requests in a row that were not of the kind that it is set up for.
    misfits: Cell<u32>,
}

impl Home {
    /// Binds this thread to a CPU. `None` if that cannot be done: it costs speed, and no more.
    pub(crate) fn on(cpu: usize) -> Option<Rc<Self>> {
        let mut only = CpuSet::new();
        only.set(cpu);
        let anywhere = sched_getaffinity(None).ok()?;
        sched_setaffinity(None, &only).ok()?;
        Some(Rc::new(Self { cpu: only, anywhere, away: Cell::new(false), misfits: Cell::new(0) }))
    }

    /// Unbinds the thread.
    pub(crate) fn leave(&self) {
        self.go(true);
    }

    /// A request was served that carried so many bytes, either way.
    pub(crate) fn served(&self, bytes: usize) {
        let away = self.away.get();
        if (bytes >= BULK) == away {
            self.misfits.set(0);
            return;
        }
        let misfits = self.misfits.get() + 1;
        self.misfits.set(misfits);
        if misfits >= IN_A_ROW {
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
    fn a_worker_leaves_for_bulk_and_comes_home_for_the_rest() {
        // On a thread of its own, whose binding ends with it.
        let test = || {
            let anywhere = allowed();
            let cpu = (0..CpuSet::MAX_CPU).find(|&cpu| anywhere.is_set(cpu)).unwrap();
            let home = Home::on(cpu).unwrap();
            let bound = allowed();
            assert_eq!((bound.count(), bound.is_set(cpu)), (1, true));
            let serve = |count, bytes| (0..count).for_each(|_| home.served(bytes));
            serve(100, BULK - 1);
            serve(IN_A_ROW - 1, BULK);
            serve(1, 0);
            serve(IN_A_ROW - 1, BULK);
            assert_eq!(allowed(), bound, "a few large ones do not make a stream");
            serve(1, BULK);
            assert_eq!(allowed(), anywhere);
            serve(IN_A_ROW - 1, 100);
            serve(1, 1 << 20);
            assert_eq!(allowed(), anywhere);
            serve(IN_A_ROW, 100);
            assert_eq!(allowed(), bound);
        };
        thread::spawn(test).join().unwrap();
    }
}
