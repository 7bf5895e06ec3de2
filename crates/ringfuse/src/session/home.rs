//! Where a worker of the ring runs: on the CPU whose queue it serves, or wherever there is room.
//!
//! Both sides of a round trip are fastest on one CPU, as long as the one waits for the other. Who has several requests under
//! way goes on while they are served, and needs a CPU for that which is not its worker's. Of requests that carry much one
//! cannot tell: a program that reads ahead goes on, one that reads directly waits, and both send one request after the
//! other. So the worker runs at large for a few of those, and stays there if the data moved faster.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Requests that carry so many bytes are worth a trial. Readahead comes in such pieces, and so do collected writes.
const BULK: usize = 64 << 10;

/// After so many requests in a row of threads that may not wait for each, more of them are expected.
const TO_LEAVE: u32 = 16;

/// So many of them that came together with others of their thread leave no doubt.
const SURE: u32 = 4;

/// After so many in a row of others. More, as a worker that has a CPU of its own is often done with a request before the
/// next of several comes.
const TO_RETURN: u32 = 256;

/// After so many requests at large that carry much, it is found out anew whether that helps: at first, as what is new may be
/// slow for another reason, and at most, after it always did.
const TRUSTED: std::ops::RangeInclusive<u32> = 64..=4096;

/// A trial that failed is repeated after so many times [`TO_LEAVE`] requests, and twice as many each time it fails again.
const PAUSE: std::ops::RangeInclusive<u32> = 16..=1024;

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

/// The CPU that a worker is bound to as long as threads wait for each of their requests.
#[derive(Debug)]
pub(crate) struct Home {
    cpu: CpuSet,
    /// Where the thread was allowed to run before.
    anywhere: CpuSet,
    away: Cell<bool>,
    /// Requests in a row that were not of the kind that it is set up for.
    misfits: Cell<u32>,
    /// Those of them whose thread had several under way.
    several: Cell<u32>,
    /// Whose the last request of this turn was.
    thread: Cell<Option<u32>>,
    trial: Trial,
}

/// Whether data moves faster while the worker is away.
#[derive(Debug)]
struct Trial {
    pace: Pace,
    /// How long a KiB took at home, while it is found out how long it takes elsewhere.
    at_home: Cell<Option<u64>>,
    /// Requests until it is tried again, in units of `TO_LEAVE` at home, one by one elsewhere.
    left: Cell<u32>,
    pause: Cell<u32>,
    trusted: Cell<u32>,
}

/// How long a KiB takes, by the last few requests.
#[derive(Debug)]
struct Pace {
    last: Cell<Option<Instant>>,
    /// In ns, one a request.
    each: RefCell<Vec<u64>>,
}

impl Pace {
    /// The requests that are looked at. The first few after a change are not, nor are the slowest: something else may have
    /// held them up, or the program paused.
    const SAMPLES: usize = TO_LEAVE as usize - Self::SETTLING;
    const SETTLING: usize = 4;
    const SLOWEST: usize = 3;

    fn new() -> Self {
        Self { last: Cell::new(None), each: RefCell::new(Vec::with_capacity(TO_LEAVE as usize)) }
    }

    fn restart(&self) {
        self.last.set(None);
        self.each.borrow_mut().clear();
    }

    /// A request was served; returns what a KiB took, once there have been enough.
    fn served(&self, bytes: usize, now: Instant) -> Option<u64> {
        let took = self.last.replace(Some(now)).map_or(Duration::ZERO, |last| now - last);
        let mut each = self.each.borrow_mut();
        each.push(took.as_nanos() as u64 * 1024 / bytes.max(1) as u64);
        if each.len() < TO_LEAVE as usize {
            return None;
        }
        let samples = &mut each[Self::SETTLING..];
        samples.sort_unstable();
        let pace = samples[..Self::SAMPLES - Self::SLOWEST].iter().sum();
        each.clear();
        Some(pace)
    }
}

impl Trial {
    fn new() -> Self {
        Self {
            pace: Pace::new(),
            at_home: Cell::new(None),
            left: Cell::new(0),
            pause: Cell::new(*PAUSE.start()),
            trusted: Cell::new(*TRUSTED.start()),
        }
    }

    /// There is another reason to be where the worker will be, and no trial for so many requests.
    fn end(&self, left: u32) {
        self.at_home.set(None);
        self.left.set(left);
    }

    /// Much was carried, at home; returns whether to leave for a trial.
    fn at_home(&self, bytes: usize, now: Instant) -> bool {
        let Some(pace) = self.pace.served(bytes, now) else { return false };
        let left = self.left.get();
        if left > 0 {
            self.left.set(left - 1);
            return false;
        }
        self.at_home.set(Some(pace));
        true
    }

    /// Much was carried, elsewhere; returns whether to go home.
    fn away(&self, bytes: usize, now: Instant) -> bool {
        let Some(at_home) = self.at_home.get() else {
            let left = self.left.get();
            self.left.set(left.saturating_sub(1));
            return left == 0;
        };
        let Some(pace) = self.pace.served(bytes, now) else { return false };
        self.at_home.set(None);
        let helps = pace + pace / 8 < at_home;
        if helps {
            let trusted = self.trusted.get();
            self.left.set(trusted);
            self.trusted.set((trusted * 2).min(*TRUSTED.end()));
            self.pause.set(*PAUSE.start());
        } else {
            let pause = self.pause.get();
            self.left.set(pause);
            self.pause.set((pause * 2).min(*PAUSE.end()));
            self.trusted.set(*TRUSTED.start());
        }
        !helps
    }
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
            several: Cell::new(0),
            thread: Cell::new(None),
            trial: Trial::new(),
        }))
    }

    /// Unbinds the thread.
    pub(crate) fn leave(&self) {
        self.go(true);
    }

    /// Requests came, of which none has been served yet.
    pub(crate) fn turn(&self) {
        self.thread.set(None);
    }

    /// A request was served.
    pub(crate) fn served(&self, sign: Sign) {
        self.served_at(sign, Instant::now);
    }

    fn served_at(&self, Sign { bytes, together, thread }: Sign, now: impl FnOnce() -> Instant) {
        let away = self.away.get();
        let before = self.thread.replace(Some(thread));
        let several = together > 1 && before == Some(thread);
        let bulk = bytes >= BULK;
        // Of the first of several one cannot tell.
        if together > 1 && before.is_none() && !bulk {
            return;
        }
        if (several || bulk) == away {
            if self.misfits.replace(0) > 0 && !away {
                self.several.set(0);
                self.trial.pace.restart();
            }
            if bulk && !several && self.trial.away(bytes, now()) {
                self.go(false);
            }
            return;
        }
        let misfits = self.misfits.get() + 1;
        self.misfits.set(misfits);
        self.several.set(self.several.get() + u32::from(several));
        if away {
            if misfits >= TO_RETURN {
                self.trial.end(0);
                self.go(false);
            }
        } else if misfits >= TO_LEAVE && self.several.get() >= SURE {
            self.trial.end(*TRUSTED.end());
            self.go(true);
        } else if bulk && self.trial.at_home(bytes, now()) {
            self.go(true);
        }
    }

    fn go(&self, away: bool) {
        self.misfits.set(0);
        self.several.set(0);
        self.away.set(away);
        self.trial.pace.restart();
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

    /// Runs a test on a thread of its own, whose binding ends with it: with a home, where the thread was allowed before,
    /// and where it is bound to.
    fn at_home(test: impl FnOnce(&Home, CpuSet, CpuSet) + Send + 'static) {
        let test = || {
            let anywhere = allowed();
            let cpu = (0..CpuSet::MAX_CPU).find(|&cpu| anywhere.is_set(cpu)).unwrap();
            let home = Home::on(cpu).unwrap();
            let bound = allowed();
            assert_eq!((bound.count(), bound.is_set(cpu)), (1, true));
            test(&home, anywhere, bound);
        };
        thread::spawn(test).join().unwrap();
    }

    const WAITS: Sign = Sign { bytes: BULK - 1, together: 1, thread: 1 };

    #[test]
    fn a_worker_leaves_for_programs_that_go_on_and_comes_home_for_one_that_waits() {
        at_home(|home, anywhere, bound| {
            let serve = |count, sign| (0..count).for_each(|_| home.served(sign));
            let goes_on = Sign { together: 2, ..WAITS };
            for _ in 0..2 {
                serve(1000, WAITS);
                serve(TO_LEAVE - 1, goes_on);
                serve(1, WAITS);
                serve(TO_LEAVE - 1, goes_on);
                assert_eq!(allowed(), bound, "a few do not make a stream");
                serve(1, goes_on);
                assert_eq!(allowed(), anywhere);
                serve(TO_RETURN - 1, WAITS);
                serve(1, goes_on);
                serve(TO_RETURN - 1, WAITS);
                assert_eq!(allowed(), anywhere);
                serve(1, WAITS);
                assert_eq!(allowed(), bound);
            }
            for thread in 0..1000 {
                home.served(Sign { together: 16, thread: thread % 16, ..WAITS });
            }
            assert_eq!(allowed(), bound, "each of the threads waits");
            // Readahead, of which some comes in pairs.
            let piece = Sign { bytes: BULK, ..WAITS };
            for _ in 0..TO_LEAVE / 4 {
                serve(3, piece);
                serve(1, Sign { together: 2, ..piece });
            }
            assert_eq!(allowed(), anywhere);
        });
    }

    /// Serves requests that carry much, each of which takes that many µs at home and elsewhere; tells how many were served
    /// elsewhere. One in ten is held up.
    fn carry(home: &Home, count: u32, (at_home, away): (u64, u64)) -> u32 {
        let mut now = Instant::now();
        let mut served_away = 0;
        for number in 0..count {
            served_away += u32::from(home.away.get());
            let took = if home.away.get() { away } else { at_home };
            now += Duration::from_micros(if number % 10 == 9 { 5_000 } else { took });
            home.served_at(Sign { bytes: 1 << 20, ..WAITS }, || now);
        }
        served_away
    }

    #[test]
    fn two_that_wait_are_not_one_that_goes_on() {
        at_home(|home, _, _| {
            let (mut now, mut served_away) = (Instant::now(), 0);
            for turn in 0..2000 {
                home.turn();
                // Who is answered last may come first the next time.
                for thread in if turn % 2 == 0 { [1, 2] } else { [2, 1] } {
                    served_away += u32::from(home.away.get());
                    now += Duration::from_micros(100);
                    home.served_at(Sign { bytes: 1 << 20, together: 2, thread }, || now);
                }
            }
            assert!(served_away <= 12 * TO_LEAVE, "{served_away}");
        });
    }

    #[test]
    fn a_worker_stays_away_where_data_moves_faster() {
        at_home(|home, anywhere, bound| {
            assert!(carry(home, 20_000, (200, 100)) > 19_000);
            carry(home, 100, (200, 100));
            assert_eq!(allowed(), anywhere);
            // Not faster any more, which is found out in time.
            assert!(carry(home, 40_000, (100, 95)) < TRUSTED.end() + 1000);
            (0..TO_RETURN).for_each(|_| home.served(WAITS));
            assert_eq!(allowed(), bound);
        });
    }

    #[test]
    fn a_worker_stays_at_home_where_it_is_as_fast_and_tries_ever_more_rarely() {
        at_home(|home, _, bound| {
            let tried = carry(home, 1000, (100, 95));
            assert!((TO_LEAVE..=3 * TO_LEAVE).contains(&tried), "{tried}");
            let tried = carry(home, 100_000, (100, 150));
            assert!(tried <= 12 * TO_LEAVE, "{tried}");
            carry(home, TO_LEAVE, (100, 150));
            assert_eq!(allowed(), bound);
        });
    }
}
