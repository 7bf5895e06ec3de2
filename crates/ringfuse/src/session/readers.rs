//! Which workers read the device.
//!
//! A program that waits for each answer is served best by one: where two wait for requests, the next one finds the worker that
//! answered last not waiting yet, and wakes the other, on a CPU that has gone to sleep meanwhile. So the first worker alone reads, and
//! the next is in reserve. It looks every few milliseconds whether the last who reads sees more waiting, or all of them are stuck,
//! in a handler that takes long or blocks, while a request waits. If that stays so for a moment it reads as well, and the one
//! after it is next. Who is not needed any more goes back to the reserve. Nobody looks while nobody serves.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use crate::session::crew::{Crew, now};

/// How long a request may wait before somebody looks.
const LOOK: Duration = Duration::from_millis(2);

/// A look that shows a request waiting is repeated after that time, as it may do so behind one that is nearly done. This many more
/// of them have to show it than not.
const AGAIN: Duration = Duration::from_micros(200);
const ENOUGH: u32 = 8;

/// For how long a worker reads before it may go back to the reserve.
const TERM: Duration = Duration::from_millis(20);

/// What workers know of each other's reading.
#[derive(Debug)]
pub(crate) struct Readers {
    /// So many read, from the first on.
    count: AtomicUsize,
    /// The next one's timer is set, or it will set that itself as soon as it is there.
    watched: AtomicBool,
    desks: Box<[Desk]>,
}

/// On cache lines of its own, since the owner writes at every turn.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Desk {
    /// It will not see a request before it has done what it is at.
    busy: AtomicBool,
    /// How often it has been through since it began.
    turns: AtomicU64,
    /// It wants the one after it to read, too.
    company: AtomicBool,
    /// Of a worker that is there: when it is to look.
    timer: OnceLock<OwnedFd>,
}

impl Readers {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            count: AtomicUsize::new(1),
            watched: AtomicBool::new(false),
            desks: (0..workers).map(|_| Desk::default()).collect(),
        }
    }

    /// Has the next in reserve look after that time.
    fn watch(&self, after: Duration) {
        self.watched.store(true, SeqCst);
        let next = self.desks.get(self.count.load(SeqCst));
        if let Some(timer) = next.and_then(|desk| desk.timer.get())
            && let Err(error) = set_timer(timer, after)
        {
            tracing::error!(%error, "nobody looks whether requests wait");
        }
    }

    fn all_busy(&self, count: usize) -> bool {
        self.desks[..count].iter().all(|desk| desk.busy.load(SeqCst))
    }

    /// A number that is another one whenever one of them has been through.
    fn turns(&self, count: usize) -> u64 {
        self.desks[..count].iter().map(|desk| desk.turns.load(SeqCst)).fold(0, u64::wrapping_add)
    }

    fn none_busy(&self, count: usize) -> bool {
        !self.desks[..count].iter().any(|desk| desk.busy.load(SeqCst))
    }
}

/// A worker's place among them.
#[derive(Debug)]
pub(crate) struct Post {
    crew: Arc<Crew>,
    me: usize,
    /// So many more looks showed that it is needed than not.
    pressed: Cell<u32>,
    /// What others had done when this was last looked at.
    turns: Cell<u64>,
    /// The term it reads in: when that began, how often it was woken for a request, and how often while all others were stuck.
    began: Cell<u64>,
    woken: Cell<u32>,
    needed: Cell<u32>,
}

impl Post {
    pub(crate) fn new(crew: &Arc<Crew>, me: usize) -> io::Result<Self> {
        let post = Self {
            crew: crew.clone(),
            me,
            pressed: Cell::new(0),
            turns: Cell::new(0),
            began: Cell::new(0),
            woken: Cell::new(0),
            needed: Cell::new(0),
        };
        let timer = new_timer()?;
        // The first look is its own business: it may have been wanted while it was not there.
        set_timer(&timer, LOOK)?;
        let _ = post.shared().desks[me].timer.set(timer);
        post.set_busy(true);
        Ok(post)
    }

    fn shared(&self) -> &Readers {
        &self.crew.readers
    }

    /// Whether this worker reads the device.
    pub(crate) fn reads(&self) -> bool {
        self.shared().count.load(SeqCst) > self.me
    }

    /// How many workers read.
    pub(crate) fn readers(&self) -> usize {
        self.shared().count.load(SeqCst)
    }

    /// Whether this worker always reads.
    pub(crate) fn is_first(&self) -> bool {
        self.me == 0
    }

    /// This worker has been through once more. `company` says whether it wants the one after it to read, too.
    pub(crate) fn turned(&self, company: bool) {
        let desk = &self.shared().desks[self.me];
        // A single writer needs no locked instruction.
        desk.turns.store(desk.turns.load(Relaxed).wrapping_add(1), Relaxed);
        if desk.company.load(Relaxed) != company {
            desk.company.store(company, SeqCst);
        }
    }

    /// Whether this one is to read although the others are not stuck.
    fn is_company(&self) -> bool {
        self.shared().desks[self.me - 1].company.load(SeqCst)
    }

    /// Whether all others are busy, each with what it was at when this was last asked.
    fn others_are_stuck(&self) -> bool {
        let turns = self.shared().turns(self.me);
        self.turns.replace(turns) == turns && self.shared().all_busy(self.me)
    }

    /// What tells when to [`look`](Post::look).
    pub(crate) fn timer(&self) -> BorrowedFd<'_> {
        self.shared().desks[self.me].timer.get().expect("it was set by `new`").as_fd()
    }

    /// This worker waits for requests, or has something to do.
    pub(crate) fn set_busy(&self, busy: bool) {
        let readers = self.shared();
        readers.desks[self.me].busy.store(busy, SeqCst);
        if busy && !readers.watched.load(SeqCst) {
            readers.watch(LOOK);
        }
    }

    /// Looks whether this worker, in reserve so far, is needed: then it reads from now on.
    pub(crate) fn look(&self, request_waits: impl FnOnce() -> bool) -> bool {
        let readers = self.shared();
        if readers.count.load(SeqCst) != self.me {
            // Set for somebody else's place.
            readers.watch(LOOK);
            return false;
        }
        let pressed = self.is_company() || (self.others_are_stuck() && request_waits());
        let score = self.pressed.get();
        let score = if pressed { score + 1 } else { score.saturating_sub(1) };
        self.pressed.set(score);
        if score == ENOUGH {
            self.pressed.set(0);
            let moved = readers.count.compare_exchange(self.me, self.me + 1, SeqCst, SeqCst).is_ok();
            readers.watch(LOOK);
            if moved {
                // The next in reserve, who may not have been started yet.
                self.crew.call_for_help();
                self.begin_term();
            }
            return moved;
        }
        if score > 0 {
            readers.watch(AGAIN);
            return false;
        }
        if readers.none_busy(self.me) {
            readers.watched.store(false, SeqCst);
            // Who became busy before that has not seen it.
            if readers.none_busy(self.me) {
                return false;
            }
        }
        readers.watch(LOOK);
        false
    }

    fn begin_term(&self) {
        self.began.set(now());
        self.woken.set(0);
        self.needed.set(0);
    }

    /// This worker was woken for a request. Returns whether it is not needed any more: then it is in reserve from now on.
    pub(crate) fn woken(&self) -> bool {
        if self.is_first() {
            return false;
        }
        let readers = self.shared();
        self.woken.set(self.woken.get() + 1);
        self.needed.set(self.needed.get() + u32::from(self.others_are_stuck()));
        if now() - self.began.get() < TERM.as_nanos() as u64 {
            return false;
        }
        let rarely = self.needed.get() * 4 < self.woken.get() && !self.is_company();
        self.begin_term();
        // Only the last goes: the others come before it in everything.
        let goes = rarely && readers.count.compare_exchange(self.me + 1, self.me, SeqCst, SeqCst).is_ok();
        if goes {
            readers.watch(LOOK);
        }
        goes
    }
}

/// A timer that can be waited for.
pub(crate) fn new_timer() -> io::Result<OwnedFd> {
    Ok(timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?)
}

/// Has a timer go off after that time, once.
pub(crate) fn set_timer(timer: &OwnedFd, after: Duration) -> io::Result<()> {
    let it_value = Timespec::try_from(after).unwrap_or_default();
    let once = Itimerspec { it_interval: Timespec::default(), it_value };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &once)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

    use super::*;

    fn crew(workers: usize) -> Arc<Crew> {
        let letters = (0..workers).map(|_| flume::unbounded().0).collect();
        Arc::new(Crew::new(letters, Arc::new(eventfd(0, EventfdFlags::NONBLOCK).unwrap())))
    }

    /// Whether a worker is to look soon.
    fn is_watched(post: &Post) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(post.timer(), PollFlags::IN)];
        let limit = Timespec::try_from(LOOK * 50).unwrap();
        poll(&mut fds, Some(&limit)).unwrap() == 1
    }

    fn read_timer(post: &Post) {
        rustix::io::read(post.timer(), &mut [0; 8]).unwrap();
    }

    #[test]
    fn the_next_reads_while_all_others_are_busy_and_requests_wait() {
        let crew = crew(3);
        let posts: Vec<_> = (0..3).map(|me| Post::new(&crew, me).unwrap()).collect();
        let looks = |me: usize, waits| (0..ENOUGH).fold(false, |_, _| posts[me].look(|| waits));
        posts[0].set_busy(false);
        assert!(!looks(1, true), "the first is about to read it");
        posts[0].set_busy(true);
        assert!(!looks(1, false), "nothing waits");
        let turning = |post: &Post| {
            post.turned(false);
            true
        };
        assert!((0..100).all(|_| turning(&posts[0]) && !posts[1].look(|| true)), "it gets on");
        looks(1, false);
        assert!(looks(1, true) && posts[1].reads());
        // And so on with the one after it, who is not there for the first alone.
        posts[1].set_busy(false);
        assert!(!looks(2, true));
        posts[1].set_busy(true);
        assert!(looks(2, true) && posts[0].readers() == 3);
    }

    #[test]
    fn a_moment_is_not_enough_and_half_of_the_looks_are_not() {
        let crew = crew(2);
        let posts: Vec<_> = (0..2).map(|me| Post::new(&crew, me).unwrap()).collect();
        assert!((1..ENOUGH).all(|_| !posts[1].look(|| true)));
        assert!((0..ENOUGH).all(|_| !posts[1].look(|| false)));
        assert!((0..1000).all(|turn| !posts[1].look(|| turn % 2 == 0)));
        assert!((0..100).any(|turn| posts[1].look(|| turn % 3 != 0)));
    }

    #[test]
    fn who_finds_the_others_idle_goes_back_after_a_while_unless_company_is_wanted() {
        let crew = crew(2);
        let posts: Vec<_> = (0..2).map(|me| Post::new(&crew, me).unwrap()).collect();
        let join = || assert!((0..ENOUGH).any(|_| posts[1].look(|| true)));
        let goes = || {
            std::thread::sleep(TERM * 2);
            posts[1].woken()
        };
        join();
        posts[0].set_busy(false);
        assert!(!posts[1].woken(), "its term has just begun");
        assert!(goes() && !posts[1].reads());
        posts[0].set_busy(true);
        join();
        assert!(!goes(), "it is needed");
        posts[0].set_busy(false);
        posts[0].turned(true);
        assert!(!goes(), "it is wanted");
        posts[0].turned(false);
        assert!(goes());
        assert!(!posts[0].woken(), "the first never does");
        // Wanted, it comes although nothing waits.
        posts[0].turned(true);
        assert!((0..ENOUGH).any(|_| posts[1].look(|| false)));
    }

    #[test]
    fn nobody_looks_while_nobody_serves() {
        let crew = crew(2);
        let posts: Vec<_> = (0..2).map(|me| Post::new(&crew, me).unwrap()).collect();
        posts[0].set_busy(false);
        while is_watched(&posts[1]) {
            read_timer(&posts[1]);
            posts[1].look(|| false);
        }
        posts[0].set_busy(true);
        assert!(is_watched(&posts[1]));
        // As long as it serves.
        read_timer(&posts[1]);
        posts[1].look(|| false);
        assert!(is_watched(&posts[1]));
    }
}
