//! The workers as they see each other: whose queue is whose, who has nothing to do, and how a request gets from one to
//! another.
//!
//! An entry belongs to the worker that last submitted a command for it. Handing over the request in it hands over the entry:
//! whoever answers the request gets the entry's next one.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::dispatch::Framing;
use crate::mem::{Room, Slot};
use crate::session::placement::Placement;
use crate::session::readers::Readers;

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
    /// With a queue's first request: room for the other entries it begins with.
    pub(crate) room: Option<Room>,
}

/// All workers of a session.
#[derive(Debug)]
pub(crate) struct Crew {
    desks: Box<[Desk]>,
    /// Somebody has more to do than is good, and everybody who is there is busy.
    help_wanted: AtomicBool,
    /// The control thread's, which starts workers.
    nudge: Arc<OwnedFd>,
    pub(crate) placement: Placement,
    pub(crate) readers: Readers,
}

/// What others know of a worker. Each on cache lines of its own, since the owner writes at every turn.
#[derive(Debug)]
#[repr(align(128))]
struct Desk {
    letters: flume::Sender<Letter>,
    /// Since when it waits with nothing to do, in nanoseconds of [`now`]; zero while it has something.
    idle: AtomicU64,
    /// Its thread has been started.
    present: AtomicBool,
    /// Who serves this worker's queues: the worker itself, or another, if its thread cannot be had.
    serves: AtomicUsize,
}

impl Crew {
    /// A crew of workers that can be reached by these, none of which is there yet.
    pub(crate) fn new(letters: Vec<flume::Sender<Letter>>, nudge: Arc<OwnedFd>) -> Self {
        let workers = letters.len();
        let desk = |(worker, letters)| Desk {
            letters,
            idle: AtomicU64::new(0),
            present: AtomicBool::new(false),
            serves: AtomicUsize::new(worker),
        };
        Self {
            desks: letters.into_iter().enumerate().map(desk).collect(),
            help_wanted: AtomicBool::new(false),
            nudge,
            placement: Placement::of_the_ring(),
            readers: Readers::new(workers),
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

    /// Tells others that this worker has nothing to do from here on, or that it has.
    pub(crate) fn set_idle(&self, worker: usize, idle: bool) {
        self.desks[worker].idle.store(if idle { now() } else { 0 }, Ordering::Release);
    }

    /// Makes sure of a worker that has nothing to do: nobody else will, until it says so again.
    pub(crate) fn claim(&self, worker: usize) -> bool {
        let idle = &self.desks[worker].idle;
        idle.load(Ordering::Relaxed) != 0 && idle.swap(0, Ordering::AcqRel) != 0
    }

    /// Makes sure of any other worker that has had nothing to do for that long.
    pub(crate) fn claim_any(&self, me: usize, idle_for: Duration) -> Option<usize> {
        let before = now().saturating_sub(idle_for.as_nanos() as u64);
        self.others(me).find(|&worker| self.desks[worker].waits_since(before) && self.claim(worker))
    }

    /// Any other worker that has had nothing to do for that long, or has not been started yet.
    pub(crate) fn any_idle(&self, me: usize, idle_for: Duration) -> Option<usize> {
        let before = now().saturating_sub(idle_for.as_nanos() as u64);
        let is_idle = |desk: &Desk| !desk.present.load(Ordering::Relaxed) || desk.waits_since(before);
        self.others(me).find(|&worker| is_idle(&self.desks[worker]))
    }

    /// All workers but this one, the next first.
    fn others(&self, me: usize) -> impl Iterator<Item = usize> {
        let workers = self.desks.len();
        (1..workers).map(move |step| (me + step) % workers)
    }

    /// Whether all other workers have nothing to do.
    pub(crate) fn others_wait(&self, me: usize) -> bool {
        let waits =
            |desk: &Desk| desk.idle.load(Ordering::Relaxed) != 0 || !desk.present.load(Ordering::Relaxed);
        self.desks.iter().enumerate().all(|(worker, desk)| worker == me || waits(desk))
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

impl Desk {
    /// Whether the worker has had nothing to do since before that time.
    fn waits_since(&self, time: u64) -> bool {
        (1..time).contains(&self.idle.load(Ordering::Relaxed))
    }
}

/// The time, to a few milliseconds: it is taken before each wait, and must cost next to nothing.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::MonotonicCoarse);
    (time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64).max(1)
}

#[cfg(test)]
mod tests {
    use std::iter;

    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    #[test]
    fn there_is_room_where_a_worker_has_been_idle_for_long_or_not_come() {
        let letters = iter::repeat_with(|| flume::unbounded().0).take(3).collect();
        let crew = Crew::new(letters, Arc::new(eventfd(0, EventfdFlags::empty()).unwrap()));
        let room = |idle_for| crew.any_idle(0, idle_for);
        (0..2).for_each(|worker| crew.arrived(worker));
        assert_eq!(room(Duration::ZERO), Some(2), "it has not come");
        crew.arrived(2);
        assert_eq!(room(Duration::ZERO), None, "all have something to do");
        crew.desks[0].idle.store(1, Ordering::Relaxed);
        assert_eq!(room(Duration::ZERO), None, "but the one that asks");
        crew.set_idle(1, true);
        assert_eq!(room(Duration::from_secs(60)), None, "not for long enough");
        crew.desks[1].idle.store(1, Ordering::Relaxed);
        assert_eq!(room(Duration::from_millis(2)), Some(1));
        assert!(crew.claim(1), "it is still free");
    }
}
