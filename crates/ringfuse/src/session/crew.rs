//! The workers as they see each other: whose queue is whose, who has nothing to do, and how a request gets from one to
//! another.
//!
//! An entry belongs to the worker that last submitted a command for it. Handing over the request in it hands over the entry:
//! whoever answers the request gets the entry's next one.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::dispatch::Framing;
use crate::mem::Slot;

/// What reaches a worker while it serves.
pub(crate) enum Letter {
    /// A message that came by the control path.
    Message(Vec<u8>),
    /// A request to be answered in another worker's stead.
    HandOver(HandOver),
    /// The mount is gone.
    End,
}

/// An entry of the ring with a request in it.
#[derive(Debug)]
pub(crate) struct HandOver {
    pub(crate) queue: u16,
    pub(crate) slot: Slot,
    pub(crate) framing: Framing,
}

/// All workers of a session.
#[derive(Debug)]
pub(crate) struct Crew {
    desks: Box<[Desk]>,
    /// Somebody has more to do than is good, and everybody who is there is busy.
    help_wanted: AtomicBool,
    /// The control thread's, which starts workers.
    nudge: Arc<OwnedFd>,
}

/// What others know of a worker. Each on cache lines of its own, since the owner writes at every turn.
#[derive(Debug)]
#[repr(align(128))]
struct Desk {
    letters: flume::Sender<Letter>,
    /// It waits, and has nothing to do.
    idle: AtomicBool,
    /// Its thread has been started.
    present: AtomicBool,
    /// Who serves this worker's queues: the worker itself, or another, if its thread cannot be had.
    serves: AtomicUsize,
}

impl Crew {
    /// A crew of workers that can be reached by these, none of which is there yet.
    pub(crate) fn new(letters: Vec<flume::Sender<Letter>>, nudge: Arc<OwnedFd>) -> Self {
        let desk = |(worker, letters)| Desk {
            letters,
            idle: AtomicBool::new(false),
            present: AtomicBool::new(false),
            serves: AtomicUsize::new(worker),
        };
        Self {
            desks: letters.into_iter().enumerate().map(desk).collect(),
            help_wanted: AtomicBool::new(false),
            nudge,
        }
    }

    /// Which worker a queue's requests are for.
    pub(crate) fn home(&self, queue: u16) -> usize {
        let worker = usize::from(queue) % self.desks.len();
        self.desks[worker].serves.load(Ordering::Relaxed)
    }

    pub(crate) fn is_present(&self, worker: usize) -> bool {
        self.desks[worker].present.load(Ordering::Acquire)
    }

    /// A worker's thread has been started.
    pub(crate) fn arrived(&self, worker: usize) {
        self.desks[worker].present.store(true, Ordering::Release);
    }

    /// A worker's thread cannot be had: the first worker serves its queues too.
    pub(crate) fn excused(&self, worker: usize) {
        self.desks[worker].serves.store(0, Ordering::Relaxed);
        self.desks[worker].present.store(false, Ordering::Release);
    }

    /// The first worker whose thread has not been started, but could be.
    pub(crate) fn absent(&self) -> Option<usize> {
        let missing = |(worker, desk): (usize, &Desk)| {
            !desk.present.load(Ordering::Acquire) && desk.serves.load(Ordering::Relaxed) == worker
        };
        self.desks.iter().enumerate().position(missing)
    }

    /// Sends a letter. It comes back where nobody will read it any more.
    pub(crate) fn send(&self, worker: usize, letter: Letter) -> Result<(), Letter> {
        self.desks[worker].letters.send(letter).map_err(|flume::SendError(letter)| letter)
    }

    /// Tells others whether this worker has nothing to do.
    pub(crate) fn set_idle(&self, worker: usize, idle: bool) {
        self.desks[worker].idle.store(idle, Ordering::Release);
    }

    /// Makes sure of a worker that has nothing to do: nobody else will, until it says so again.
    pub(crate) fn claim(&self, worker: usize) -> bool {
        let idle = &self.desks[worker].idle;
        idle.load(Ordering::Relaxed) && idle.swap(false, Ordering::AcqRel)
    }

    /// Makes sure of any other worker that has nothing to do.
    pub(crate) fn claim_any(&self, me: usize) -> Option<usize> {
        (1..self.desks.len()).map(|step| (me + step) % self.desks.len()).find(|&worker| self.claim(worker))
    }

    /// Asks for one more worker, where not all have been started.
    pub(crate) fn call_for_help(&self) {
        if self.absent().is_some() && !self.help_wanted.swap(true, Ordering::AcqRel) {
            let _ = rustix::io::write(&*self.nudge, &1_u64.to_ne_bytes());
        }
    }

    /// Whether somebody called for help since this was last asked.
    pub(crate) fn help_wanted(&self) -> bool {
        self.help_wanted.swap(false, Ordering::AcqRel)
    }
}
