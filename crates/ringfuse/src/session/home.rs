//! Where a worker of the ring runs: on the CPU whose queue it serves, or wherever there is room.
//!
//! Both sides of a round trip are fastest on one CPU, as long as the one waits for the other. Who has several requests under
//! way, or reads ahead, may go on while they are served, and needs a CPU for that which is not its worker's; or it waits for all
//! of them. One cannot tell, and where CPUs are slow to wake, two may be slower than one even for who goes on. So the worker runs
//! at large for a few of those requests, and stays there if they are served faster.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Requests that carry so many bytes are worth a trial. Readahead comes in such pieces, and so do collected writes. There may be
/// small ones between them.
const BULK: usize = 64 << 10;

/// Of others, so many more that came together with others of their thread than came alone: a worker that is woken by the first of
/// several is now and then done with it before the second comes. Also, after so many others, none that carry much are expected.
const TO_TRY: u32 = 16;

/// So many more are forgotten as soon as what comes is of another kind.
const REMEMBERED: u32 = 4 * TO_TRY;

/// So many of them that carried much are most likely readahead, whose program goes on.
const SURE: u32 = 4;

/// After so many in a row that came alone, their thread waits for each. More, as a worker that has a CPU of its own is often
/// done with a request before the next of several comes.
const TO_RETURN: u32 = 256;

/// After so many samples at large it is found out anew whether that helps: at first, as what is new may be slow for another
/// reason, and at most, after it always did.
const TRUSTED: std::ops::RangeInclusive<u32> = 64..=4096;

/// A trial that failed is repeated after so many samples, and twice as many each time it fails again.
const PAUSE: std::ops::RangeInclusive<u32> = 256..=16384;

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
    /// At home, how many more requests carried much, or came together with others of their thread, than did neither; elsewhere,
    /// how many in a row did neither.
    misfits: Cell<u32>,
    /// How many of those did both.
    pieces: Cell<u32>,
    /// How many requests have come since the last that carried much.
    since_bulk: Cell<u32>,
    /// Whose the last request of this turn was.
    thread: Cell<Option<u32>>,
    /// Whose the last request was.
    last: Cell<u32>,
    /// Requests served at home that carried much, for whom the one before was served; since that was last asked.
    bulk: Cell<usize>,
    trial: Trial,
}

/// Whether requests are served faster while the worker is away.
#[derive(Debug)]
struct Trial {
    pace: Pace,
    /// The pace at home, while that elsewhere is found out.
    at_home: Cell<Option<u64>>,
    /// Samples until it is tried again.
    left: Cell<u32>,
    pause: Cell<u32>,
    trusted: Cell<u32>,
    /// The worker left without, so that a trial is due before it does so again.
    owed: Cell<bool>,
}

/// How long requests take, by the last few.
#[derive(Debug)]
struct Pace {
    /// When the sample under way began, and what has been served of it.
    began: Cell<Option<Instant>>,
    work: Cell<usize>,
    /// What a KiB took, in ns, one a sample.
    samples: RefCell<Vec<u64>>,
}

impl Pace {
    /// What is timed together, in bytes: several requests, as the time between two of them says little where they come in pairs.
    const SAMPLE: usize = 4 << 20;

    /// What a request that carries nothing counts as.
    const REQUEST: usize = 32 << 10;

    /// The first few after a change are not looked at, nor are the slowest: something else may have held them up, or the
    /// program paused.
    const SETTLING: usize = 4;
    const LOOKED_AT: usize = 9;
    const SLOWEST: usize = 3;
    const SAMPLES: usize = Self::SETTLING + Self::LOOKED_AT + Self::SLOWEST;

    fn new() -> Self {
        Self {
            began: Cell::new(None),
            work: Cell::new(0),
            samples: RefCell::new(Vec::with_capacity(Self::SAMPLES)),
        }
    }

    fn restart(&self) {
        self.work.set(0);
        if self.began.take().is_some() {
            self.samples.borrow_mut().clear();
        }
    }

    /// A request was served that carried so much; returns the work of the sample that ends with it.
    fn count(&self, bytes: usize) -> Option<usize> {
        let work = self.work.get() + Self::REQUEST + bytes;
        let ends = work >= Self::SAMPLE;
        self.work.set(if ends { 0 } else { work });
        ends.then_some(work)
    }

    /// As [`Pace::count`]; returns the pace, once there have been enough samples.
    fn time(&self, bytes: usize, now: impl FnOnce() -> Instant) -> Option<u64> {
        let Some(began) = self.began.get() else {
            self.work.set(0);
            self.began.set(Some(now()));
            return None;
        };
        let work = self.count(bytes)?;
        let now = now();
        self.began.set(Some(now));
        let mut samples = self.samples.borrow_mut();
        samples.push((now - began).as_nanos() as u64 * 1024 / work as u64);
        if samples.len() < Self::SAMPLES {
            return None;
        }
        let settled = &mut samples[Self::SETTLING..];
        settled.sort_unstable();
        let pace = settled[..Self::LOOKED_AT].iter().sum();
        samples.clear();
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
            owed: Cell::new(false),
        }
    }

    /// There is reason to leave without a trial; returns whether to, which is once before each that succeeds.
    fn trust(&self) -> bool {
        if self.owed.replace(true) {
            return false;
        }
        self.left.set(*TRUSTED.end());
        true
    }

    /// A request was served at home whose program may have gone on meanwhile; returns whether to leave for a trial.
    fn at_home(&self, bytes: usize, now: impl FnOnce() -> Instant) -> bool {
        if self.is_left(bytes) {
            return false;
        }
        let pace = self.pace.time(bytes, now);
        self.at_home.set(pace);
        pace.is_some()
    }

    /// A request was served elsewhere; returns whether to go home.
    fn away(&self, bytes: usize, now: impl FnOnce() -> Instant) -> bool {
        let Some(at_home) = self.at_home.get() else { return !self.is_left(bytes) };
        let Some(pace) = self.pace.time(bytes, now) else { return false };
        self.at_home.set(None);
        let helps = pace + pace / 8 < at_home;
        if helps {
            let trusted = self.trusted.get();
            self.left.set(trusted);
            self.trusted.set((trusted * 2).min(*TRUSTED.end()));
            self.owed.set(false);
            self.pause.set(*PAUSE.start());
        } else {
            let pause = self.pause.get();
            self.left.set(pause);
            self.pause.set((pause * 2).min(*PAUSE.end()));
            self.trusted.set(*TRUSTED.start());
        }
        !helps
    }

    /// Whether it is not yet to be tried again, after a request that carried so much.
    fn is_left(&self, bytes: usize) -> bool {
        let left = self.left.get();
        if left > 0 && self.pace.count(bytes).is_some() {
            self.left.set(left - 1);
        }
        left > 0
    }

    /// What comes now is of another kind.
    fn reset(&self) {
        self.at_home.set(None);
        self.left.set(0);
        self.owed.set(false);
    }
}

impl Home {
    /// Binds this thread to a CPU. `None` if that cannot be done: it costs speed, and no more.
    pub(crate) fn on(cpu: usize) -> Option<Rc<Self>> {
        let (cpu, anywhere) = (only(cpu), sched_getaffinity(None).ok()?);
        sched_setaffinity(None, &cpu).ok()?;
        Some(Rc::new(Self {
            cpu,
            anywhere,
            away: Cell::new(false),
            misfits: Cell::new(0),
            pieces: Cell::new(0),
            since_bulk: Cell::new(u32::MAX),
            thread: Cell::new(None),
            last: Cell::new(0),
            bulk: Cell::new(0),
            trial: Trial::new(),
        }))
    }

    /// Unbinds the thread.
    pub(crate) fn leave(&self) {
        self.go(true);
    }

    /// Unbinds the thread, after it was moved to a CPU that has nothing to do, if there is one. The scheduler might leave it for
    /// longer than a trial takes where it is, and crowded as before.
    fn leave_for(&self, room: Option<usize>) {
        if let Some(cpu) = room {
            bind(&only(cpu));
        }
        self.leave();
    }

    /// Requests came, of which none has been served yet.
    pub(crate) fn turn(&self) {
        self.thread.set(None);
    }

    /// How many requests carried much, at home and one after the other for one thread, since this was last called.
    pub(crate) fn bulk(&self) -> usize {
        self.bulk.take()
    }

    /// A request was served. `room` tells of a CPU that has nothing to do.
    pub(crate) fn served(&self, sign: Sign, room: impl FnOnce() -> Option<usize>) {
        let same = self.last.replace(sign.thread) == sign.thread;
        if same && sign.bytes >= BULK && !self.away.get() {
            self.bulk.set(self.bulk.get() + 1);
        }
        if self.is_to_leave(sign, Instant::now) {
            self.leave_for(room());
        }
    }

    /// A request was served; returns whether to leave for the next. Goes home if it is time to.
    fn is_to_leave(&self, Sign { bytes, together, thread }: Sign, now: impl FnOnce() -> Instant) -> bool {
        let away = self.away.get();
        let previous = self.thread.replace(Some(thread));
        let bulk = bytes >= BULK;
        let several = together > 1 && previous == Some(thread);
        // Of the first of several one cannot tell.
        let unclear = together > 1 && previous.is_none() && !bulk;
        let since_bulk = if bulk { 0 } else { self.since_bulk.get().saturating_add(1) };
        self.since_bulk.set(since_bulk);
        if !unclear {
            let misfits = self.misfits.get();
            self.misfits.set(match ((bulk || several) == away, away) {
                (false, false) => (misfits + 1).min(REMEMBERED),
                (true, false) => misfits.saturating_sub(1),
                (false, true) => misfits + 1,
                (true, true) => 0,
            });
        }
        let misfits = self.misfits.get();
        let pieces =
            if misfits == 0 { 0 } else { self.pieces.get().saturating_add(u32::from(bulk && several)) };
        self.pieces.set(pieces);
        let expects_more = misfits >= TO_TRY || since_bulk < TO_TRY;
        if away && misfits >= TO_RETURN {
            self.trial.reset();
            self.go(false);
        } else if away {
            if self.trial.away(bytes, now) {
                self.go(false);
            }
        } else if misfits >= TO_TRY && pieces >= SURE && self.trial.trust() {
            return true;
        } else if expects_more {
            return self.trial.at_home(bytes, now);
        } else if misfits == 0 {
            self.trial.pace.restart();
        }
        false
    }

    fn go(&self, away: bool) {
        self.misfits.set(0);
        self.away.set(away);
        self.trial.pace.restart();
        bind(if away { &self.anywhere } else { &self.cpu });
    }
}

fn only(cpu: usize) -> CpuSet {
    let mut only = CpuSet::new();
    only.set(cpu);
    only
}

fn bind(cpus: &CpuSet) {
    if let Err(error) = sched_setaffinity(None, cpus) {
        tracing::debug!(%error, "cannot say where a worker runs");
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

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

    /// A program, and how many µs each of its requests takes at home and elsewhere.
    #[derive(Clone, Copy)]
    struct Program {
        bytes: usize,
        /// So many of its requests come together, turn by turn, over and over.
        turns: &'static [usize],
        takes: (u64, u64),
    }

    const WAITS: Program = Program { bytes: 4096, turns: &[1], takes: (4, 4) };
    const CARRIES: Program = Program { bytes: 1 << 20, turns: &[1], takes: (200, 100) };

    /// A request was served; tells where the worker is to go, if it does.
    fn served_at(home: &Home, sign: Sign, now: Instant) {
        if home.is_to_leave(sign, || now) {
            home.leave_for(None);
        }
    }

    impl Program {
        /// How many of its requests are timed together.
        fn sample(self) -> usize {
            Pace::SAMPLE.div_ceil(self.bytes + Pace::REQUEST)
        }

        /// Serves so many of its requests, or more to fill the last turn; tells how many were served elsewhere. In one of
        /// ten samples something is held up.
        fn serve(self, home: &Home, count: usize) -> usize {
            let rare = 10 * self.sample();
            let (mut now, mut served_away) = (Instant::now(), 0);
            let mut served = 0;
            for &together in self.turns.iter().cycle() {
                if served >= count {
                    break;
                }
                home.turn();
                for number in served..served + together {
                    let away = home.away.get();
                    served_away += usize::from(away);
                    let took = if away { self.takes.1 } else { self.takes.0 };
                    now += Duration::from_micros(if number % rare == rare - 1 { 5000 } else { took });
                    served_at(home, Sign { bytes: self.bytes, together, thread: 1 }, now);
                }
                served += together;
            }
            served_away
        }
    }

    #[test]
    fn a_worker_leaves_for_programs_that_go_on_and_comes_home_for_one_that_waits() {
        at_home(|home, anywhere, bound| {
            let goes_on = Program { turns: &[8], takes: (8, 6), ..WAITS };
            for _ in 0..2 {
                assert_eq!(WAITS.serve(home, 1000), 0);
                assert_eq!(goes_on.serve(home, 16), 0, "a few do not make a stream");
                assert_eq!(WAITS.serve(home, 1), 0);
                assert!(goes_on.serve(home, 100_000) > 90_000);
                goes_on.serve(home, 2000);
                assert_eq!(allowed(), anywhere);
                for _ in 0..10 {
                    WAITS.serve(home, TO_RETURN as usize - 1);
                    goes_on.serve(home, 2);
                    assert_eq!(allowed(), anywhere);
                }
                WAITS.serve(home, TO_RETURN as usize);
                assert_eq!(allowed(), bound);
            }
        });
    }

    #[test]
    fn a_worker_leaves_for_a_program_whose_first_request_is_often_served_before_the_others_come() {
        at_home(|home, anywhere, _| {
            let goes_on = Program { turns: &[1, 1, 7], takes: (8, 6), ..WAITS };
            assert!(goes_on.serve(home, 100_000) > 90_000);
            goes_on.serve(home, 2000);
            assert_eq!(allowed(), anywhere);
        });
    }

    #[test]
    fn a_worker_is_not_bound_to_the_cpu_where_there_was_room() {
        at_home(|home, anywhere, _| {
            let last = (0..CpuSet::MAX_CPU).rfind(|&cpu| anywhere.is_set(cpu));
            home.leave_for(last);
            assert_eq!(allowed(), anywhere);
        });
    }

    #[test]
    fn programs_that_wait_are_not_one_that_goes_on() {
        at_home(|home, _, _| {
            // Who is answered last may come first the next time.
            let serve = |bytes, threads: u32, turns: u32| {
                let (mut now, mut served_away) = (Instant::now(), 0);
                for turn in 0..turns {
                    home.turn();
                    for place in 0..threads {
                        let thread = if turn % 2 == 0 { place } else { threads - 1 - place };
                        served_away += usize::from(home.away.get());
                        now += Duration::from_micros(100);
                        served_at(home, Sign { bytes, together: threads as usize, thread }, now);
                    }
                }
                served_away
            };
            for threads in [2, 16] {
                assert_eq!(serve(4096, threads, 20_000), 0);
            }
            // Of what carries much one cannot tell, and it is tried.
            let tried = serve(1 << 20, 2, 2000);
            assert!(tried <= 12 * (Pace::SAMPLES + 1) * CARRIES.sample(), "{tried}");
            assert!(tried < 1000, "it is given up soon: {tried}");
        });
    }

    #[test]
    fn what_is_carried_for_one_thread_at_home_is_counted() {
        at_home(|home, _, _| {
            let serve = |bytes, thread| home.served(Sign { bytes, together: 1, thread }, || None);
            serve(BULK, 1);
            assert_eq!(home.bulk(), 0, "whether there are others shows with the next");
            (0..8).for_each(|_| serve(BULK, 1));
            assert_eq!(home.bulk(), 8);
            assert_eq!(home.bulk(), 0);
            serve(BULK - 1, 1);
            (0..4).for_each(|n| serve(BULK, 2 + n % 2));
            assert_eq!(home.bulk(), 0);
            home.leave();
            serve(BULK, 3);
            assert_eq!(home.bulk(), 0);
        });
    }

    #[test]
    fn a_worker_stays_away_where_data_moves_faster() {
        at_home(|home, anywhere, bound| {
            assert!(CARRIES.serve(home, 100_000) > 90_000);
            CARRIES.serve(home, 300);
            assert_eq!(allowed(), anywhere);
            // Not faster any more, which is found out in time.
            let alike = Program { takes: (100, 95), ..CARRIES };
            let trusted = *TRUSTED.end() as usize * CARRIES.sample();
            assert!(alike.serve(home, 4 * trusted) < trusted + 1000);
            assert_eq!(allowed(), bound);
        });
    }

    #[test]
    fn a_worker_stays_at_home_where_it_is_as_fast_and_tries_ever_more_rarely() {
        let small = Program { bytes: 4096, turns: &[4], takes: (5, 6) };
        for program in [Program { takes: (100, 95), ..CARRIES }, small] {
            at_home(move |home, _, bound| {
                let tried = program.serve(home, 1000 * program.sample()) / program.sample();
                assert!((Pace::SAMPLES..=3 * (Pace::SAMPLES + 1)).contains(&tried), "{tried}");
                let tried = program.serve(home, 50_000 * program.sample()) / program.sample();
                assert!(tried <= 12 * (Pace::SAMPLES + 1), "{tried}");
                program.serve(home, Pace::SAMPLES * program.sample());
                assert_eq!(allowed(), bound);
            });
        }
    }

    #[test]
    fn a_worker_leaves_at_once_for_large_pieces_that_come_together_and_finds_out_later() {
        at_home(|home, anywhere, bound| {
            let ahead = Program { turns: &[2], takes: (200, 100), ..CARRIES };
            // Some of it comes in pairs, which is enough.
            for _ in 0..4 {
                assert_eq!(CARRIES.serve(home, 2), 0);
                ahead.serve(home, 2);
            }
            assert_eq!(allowed(), anywhere);
            assert!(ahead.serve(home, 300_000) > 290_000);
            ahead.serve(home, 300);
            assert_eq!(allowed(), anywhere);
            // Who waits for all of them is slower so: once that is known, it is tried as for others.
            let split = Program { takes: (100, 150), ..ahead };
            let trusted = *TRUSTED.end() as usize * split.sample();
            split.serve(home, 2 * trusted);
            assert_eq!(allowed(), bound);
            let tried = split.serve(home, 10 * trusted);
            assert!(tried <= 12 * (Pace::SAMPLES + 1) * split.sample(), "{tried}");
        });
    }
}
