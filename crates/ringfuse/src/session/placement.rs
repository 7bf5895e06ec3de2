//! Where the scheduler puts the program that was answered.
//!
//! A worker is bound to the CPU whose programs it serves, so that the two take turns on it. The answer wakes the program, which
//! goes on there if it is still on that CPU's queue, and to another that idles if not: with a wake-up several times as long as
//! the request, to and fro. Means against it are tried where requests come one by one, by all workers that have such, as
//! programs go from one to the other; and kept where requests come faster.
//!
//! **Weight.** A thread that sleeps having had more than its share of the CPU is left on the queue (since Linux 6.12: the delayed
//! dequeue of EEVDF). A program and its worker take about equally long, so that chance decides; and where requests carry
//! much, the worker copies for several times as long. With a nice value of -8 it is entitled to six times as much as its program,
//! which then has had more than its share. Who may not lower a nice value does without.
//!
//! Where requests carry much, this is not tried first: a trial takes longer than many a file, and most of the CPU's time is the
//! worker's anyhow. But it is done only while nobody else asks for anything: a CPU with so much weight looks busy, so that
//! other programs may crowd on the rest.
//!
//! **Lingering.** A CPU whose worker looks for requests for a moment, before it sleeps, does not idle, so that the program stays on
//! the other to which it went; and where it comes back, the worker need not be woken. So it is too with programs that wait
//! for each other, as who creates files in one directory does. The worker yields all the while: it takes only the time
//! that nobody else wants.
//!
//! **Beside.** The only reader of the device is bound to no CPU, and can go to that of its program
//! ([`follower`](crate::session::follower)): as it is, with so much weight that the program stays even where it has just come, or, where that
//! is not allowed, in the company of a second reader, who is woken in vain and so keeps the other CPU from idling.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::getpriority_process;
use rustix::time::{ClockId, clock_gettime};

/// For how long a worker looks for requests before it sleeps: longer than a program takes that does not have to wait, and than
/// one does that waits for a lock which others have for a request.
pub(crate) const LINGER: Duration = Duration::from_micros(100);

/// What a worker may do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    Weight = 1,
    Lingering,
    Beside,
    BesideWithWeight,
    BesideInCompany,
}

impl Means {
    /// The nice value of who does it.
    fn nice(self) -> i32 {
        match self {
            Self::Weight | Self::BesideWithWeight => -8,
            Self::Lingering | Self::Beside | Self::BesideInCompany => 0,
        }
    }
}

/// What there is to be tried, and where.
#[derive(Debug)]
struct Choice {
    /// In that order.
    means: &'static [Means],
    /// For how long requests are timed together, at least.
    window: Duration,
    /// Of so many turns, one may bring more than one request, for the window to count as that of a lone program.
    lone: usize,
}

impl Choice {
    /// Of the workers of the ring, of whom each has the programs of a CPU. Those that wait for each other count as one.
    const RING: Self =
        Self { means: &[Means::Weight, Means::Lingering], window: Duration::from_millis(5), lone: 2 };

    /// Of the only reader of the device, who has all programs.
    const DEVICE: Self =
        Self { means: &[Means::Beside, Means::BesideWithWeight], window: Duration::ZERO, lone: 8 };

    /// Of one who may not lower its nice value.
    const DEVICE_UNPRIVILEGED: Self =
        Self { means: &[Means::Beside, Means::BesideInCompany], ..Self::DEVICE };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing is done; something is tried after so many windows that call for it, or after some that are slower than when
    /// nothing helped.
    Off { pause: u32, slow: u32 },
    /// One of the means is tried, where a request took that long before, and that long with the best of those that were
    /// tried before it; the first window after the change does not count.
    Trial { nth: usize, before: Duration, best: Option<(Means, Duration)>, settled: bool },
    /// Done, as a request took that long in the trial; looked into again after so many windows.
    On { means: Means, each: Duration, left: u32 },
}

/// What has been tried, and how it went.
#[derive(Debug)]
struct Trials {
    choice: &'static Choice,
    stage: Stage,
    failures: u32,
    /// How long a request took when nothing helped.
    helpless: Duration,
    keep: u32,
    /// When the window began, and how many requests all workers had served by then.
    began: Instant,
    served: u64,
}

impl Trials {
    /// Requests that are timed together, at least.
    const WINDOW: u32 = 128;

    /// Requests that take longer do so for other reasons. Two wake-ups of sleeping CPUs count even where much is carried.
    const BELOW: Duration = Duration::from_micros(400);

    /// How many windows call for it before anything is tried, at first and at least.
    const IN_A_ROW: u32 = 2;

    /// Windows after which it is looked into whether it is still of use: at first, and at most, after it always was.
    const KEPT: std::ops::RangeInclusive<u32> = 32..=1024;

    fn new(choice: &'static Choice) -> Self {
        Self {
            choice,
            stage: Stage::Off { pause: Self::IN_A_ROW, slow: 0 },
            failures: 0,
            helpless: Duration::MAX,
            keep: *Self::KEPT.start(),
            began: Instant::now(),
            served: 0,
        }
    }

    /// A window has ended, in which a request took that long.
    fn decide(&mut self, each: Duration) {
        self.stage = match self.stage {
            Stage::Off { pause, .. } if each >= Self::BELOW => {
                Stage::Off { pause: pause.max(Self::IN_A_ROW), slow: 0 }
            }
            Stage::Off { pause, slow } => {
                let slow = if each * 4 / 5 > self.helpless { slow + 1 } else { 0 };
                if pause == 0 || slow > Self::IN_A_ROW {
                    Stage::Trial { nth: 0, before: each, best: None, settled: false }
                } else {
                    Stage::Off { pause: pause - 1, slow }
                }
            }
            Stage::Trial { nth, before, best, settled: false } => {
                Stage::Trial { nth, before, best, settled: true }
            }
            Stage::Trial { nth, before, best, .. } => {
                // Less by enough to be sure.
                let pays = each * 16 / 15 < best.map_or(before, |(_, each)| each);
                let best = if pays { Some((self.choice.means[nth], each)) } else { best };
                if nth + 1 < self.choice.means.len() {
                    Stage::Trial { nth: nth + 1, before, best, settled: false }
                } else {
                    self.conclude(before, best)
                }
            }
            Stage::On { each: usual, left, .. } if left == 0 || each > usual * 3 / 2 => {
                Stage::Off { pause: 0, slow: 0 }
            }
            Stage::On { means, each: usual, left } => Stage::On { means, each: usual, left: left - 1 },
        };
    }

    /// What to do after all trials, by how long a request took before them and with the best of the means.
    fn conclude(&mut self, before: Duration, best: Option<(Means, Duration)>) -> Stage {
        let Some((means, each)) = best else {
            // Where nothing is of use, it is tried ever more rarely.
            self.failures = (self.failures + 1).min(10);
            self.helpless = before;
            self.keep = *Self::KEPT.start();
            return Stage::Off { pause: Self::IN_A_ROW << self.failures, slow: 0 };
        };
        self.failures = 0;
        let left = self.keep;
        self.keep = (self.keep * 2).min(*Self::KEPT.end());
        Stage::On { means, each, left }
    }

    fn means(&self) -> Option<Means> {
        match self.stage {
            Stage::Off { .. } => None,
            Stage::Trial { nth, .. } => Some(self.choice.means[nth]),
            Stage::On { means, .. } => Some(means),
        }
    }
}

/// What all workers do about it.
#[derive(Debug)]
pub(crate) struct Placement {
    choice: &'static Choice,
    /// [`Means`], or zero.
    means: AtomicU8,
    trials: Mutex<Trials>,
}

impl Placement {
    pub(crate) fn of_the_ring() -> Self {
        Self::new(&Choice::RING)
    }

    pub(crate) fn of_the_device() -> Self {
        let may_weigh = is_usual() && set_nice(-1).and_then(|()| set_nice(0)).is_ok();
        Self::new(if may_weigh { &Choice::DEVICE } else { &Choice::DEVICE_UNPRIVILEGED })
    }

    fn new(choice: &'static Choice) -> Self {
        Self { choice, means: AtomicU8::new(0), trials: Mutex::new(Trials::new(choice)) }
    }

    fn means(&self) -> Option<Means> {
        let means = self.means.load(Ordering::Relaxed);
        self.choice.means.iter().copied().find(|one| *one as u8 == means)
    }

    /// A worker has had a window's turns with the requests of a lone program; all together have served so many by now.
    fn window(&self, now: Instant, served: u64) {
        let mut trials = self.trials.lock().unwrap_or_else(PoisonError::into_inner);
        let count = u32::try_from(served.saturating_sub(trials.served)).unwrap_or(u32::MAX);
        let took = now.saturating_duration_since(trials.began);
        if count < Trials::WINDOW || took < self.choice.window {
            return;
        }
        let each = took / count;
        (trials.began, trials.served) = (now, served);
        trials.decide(each);
        self.means.store(trials.means().map_or(0, |means| means as u8), Ordering::Relaxed);
    }
}

/// A worker's part in it.
#[derive(Debug)]
pub(crate) struct Part {
    /// Turns with requests since the window began, and the requests that came in them.
    turns: Cell<u32>,
    requests: Cell<usize>,
    /// Of those, how many carried much for one thread; and this worker's CPU time when the window began.
    large: Cell<usize>,
    began: Cell<Duration>,
    /// The last window's requests came one by one.
    lone: Cell<bool>,
    /// Most of the last window's requests carried much for one thread, without being much work.
    bulk: Cell<bool>,
    /// What this worker does.
    does: Cell<Option<Means>>,
    /// Whether the nice value can be changed, once it was tried.
    allowed: Cell<Option<bool>>,
    /// As it was wanted last.
    nice: Cell<i32>,
}

impl Part {
    pub(crate) fn new() -> Self {
        Self {
            turns: Cell::new(0),
            requests: Cell::new(0),
            large: Cell::new(0),
            began: Cell::new(cpu_time()),
            lone: Cell::new(true),
            bulk: Cell::new(false),
            does: Cell::new(None),
            allowed: Cell::new(None),
            nice: Cell::new(0),
        }
    }

    /// So many requests came at once. `served` tells how many all workers have served.
    pub(crate) fn came(&self, requests: usize, placement: &Placement, served: impl FnOnce() -> u64) {
        if requests == 0 {
            return;
        }
        let turns = self.turns.get() + 1;
        self.turns.set(turns);
        self.requests.set(self.requests.get() + requests);
        if turns == Trials::WINDOW {
            self.window(placement, served);
        }
        let means = match (self.lone.get(), self.bulk.get()) {
            (false, _) => None,
            (true, true) => Some(Means::Weight),
            (true, false) => placement.means(),
        };
        if self.does.replace(means) != means {
            self.weigh(means.map_or(0, Means::nice));
        }
    }

    fn window(&self, placement: &Placement, served: impl FnOnce() -> u64) {
        let (turns, requests) = (self.turns.replace(0) as usize, self.requests.replace(0));
        self.lone.set((requests - turns) * placement.choice.lone <= turns);
        let now = cpu_time();
        let light = now.saturating_sub(self.began.replace(now)) < Trials::BELOW * turns as u32;
        self.bulk.set(self.large.replace(0) * 8 > requests * 7 && light);
        if self.lone.get() && !self.bulk.get() {
            placement.window(Instant::now(), served());
        }
    }

    /// So many of the requests carried much, each for the thread that the one before was for, while nobody else had any.
    pub(crate) fn carried_much(&self, requests: usize) {
        self.large.set(self.large.get() + requests);
    }

    /// Whether requests come one by one, by the last window.
    pub(crate) fn is_lone(&self) -> bool {
        self.lone.get()
    }

    /// Whether to look for requests for a moment before sleeping.
    pub(crate) fn lingers(&self) -> bool {
        self.does.get() == Some(Means::Lingering)
    }

    /// Whether to stay on the CPU of the program that is served.
    pub(crate) fn follows(&self) -> bool {
        matches!(self.does.get(), Some(Means::Beside | Means::BesideWithWeight | Means::BesideInCompany))
    }

    /// Whether to have a second reader meanwhile.
    pub(crate) fn wants_company(&self) -> bool {
        self.does.get() == Some(Means::BesideInCompany)
    }

    /// Sets this thread's nice value, if that may be done.
    fn weigh(&self, nice: i32) {
        if nice == self.nice.get() {
            return;
        }
        let allowed = self.allowed.get().unwrap_or_else(is_usual) && set_nice(nice).is_ok();
        self.allowed.set(Some(allowed));
        self.nice.set(nice);
    }
}

impl Drop for Part {
    /// The thread may be the caller's own.
    fn drop(&mut self) {
        self.weigh(0);
    }
}

/// The CPU time of this thread so far.
pub(crate) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Whether this thread is scheduled as threads usually are. If somebody wanted it otherwise, it stays as they wanted.
fn is_usual() -> bool {
    // SAFETY: the call has no arguments but a thread's number, zero for this one.
    let policy = unsafe { libc::sched_getscheduler(0) };
    policy == libc::SCHED_OTHER && getpriority_process(None) == Ok(0)
}

/// Sets this thread's nice value. Threads and processes that it starts begin with one that is not negative.
fn set_nice(nice: i32) -> io::Result<()> {
    let reset = libc::SCHED_FLAG_RESET_ON_FORK as u64;
    if nice < 0 {
        return set_scheduling(nice, reset);
    }
    // To take the flag off again needs more rights than to set it, and it changes nothing then.
    set_scheduling(nice, 0).or_else(|_| set_scheduling(nice, reset))
}

fn set_scheduling(nice: i32, flags: u64) -> io::Result<()> {
    // SAFETY: all zeros are a valid value.
    let mut attr = unsafe { std::mem::zeroed::<libc::sched_attr>() };
    attr.size = size_of_val(&attr) as u32;
    attr.sched_policy = libc::SCHED_OTHER as u32;
    attr.sched_flags = flags;
    attr.sched_nice = nice;
    // SAFETY: the kernel reads as many bytes as `size` says, while the call lasts.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_micros(8);
    const SLOW: Duration = Duration::from_micros(12);

    /// This thread's nice value.
    fn nice() -> i32 {
        getpriority_process(None).unwrap()
    }

    /// Something is tried, with which a request takes so long.
    fn try_out(trials: &mut Trials, weight: Duration, lingering: Duration) {
        for each in [weight, lingering] {
            assert!(matches!(trials.stage, Stage::Trial { .. }));
            trials.decide(each * 9);
            trials.decide(each);
        }
    }

    /// Requests come until something is to be tried.
    fn before_the_trial() -> Trials {
        let mut trials = Trials::new(&Choice::RING);
        for _ in 0..=Trials::IN_A_ROW {
            assert_eq!(trials.means(), None);
            trials.decide(SLOW);
        }
        assert_eq!(trials.means(), Some(Means::Weight));
        trials
    }

    #[test]
    fn what_helps_is_kept_and_tried_anew_from_time_to_time() {
        let mut trials = before_the_trial();
        for keep in [32, 64, 128, 256, 512, 1024, 1024] {
            try_out(&mut trials, FAST, FAST);
            for _ in 0..=keep {
                assert_eq!(trials.means(), Some(Means::Weight));
                trials.decide(FAST);
            }
            assert_eq!(trials.stage, Stage::Off { pause: 0, slow: 0 });
            trials.decide(SLOW);
        }
        // It is over as soon as it is of no use.
        try_out(&mut trials, FAST, FAST);
        trials.decide(FAST * 2);
        assert_eq!(trials.stage, Stage::Off { pause: 0, slow: 0 });
    }

    #[test]
    fn what_helps_clearly_is_done() {
        for (weight, lingering, means) in [
            (SLOW, FAST, Some(Means::Lingering)),
            (SLOW * 19 / 20, SLOW * 19 / 20, None),
            (SLOW * 7 / 8, SLOW * 7 / 8, Some(Means::Weight)),
            (SLOW * 7 / 8, SLOW * 6 / 8, Some(Means::Lingering)),
            (SLOW, SLOW, None),
        ] {
            let mut trials = before_the_trial();
            try_out(&mut trials, weight, lingering);
            assert_eq!(trials.means(), means, "{weight:?} {lingering:?}");
        }
    }

    #[test]
    fn what_does_not_help_is_tried_ever_more_rarely() {
        let (mut trials, mut tries) = (Trials::new(&Choice::RING), 0);
        for _ in 0..1000 {
            trials.decide(SLOW);
            tries += u32::from(matches!(trials.stage, Stage::Trial { nth: 0, settled: false, .. }));
        }
        assert!((4..12).contains(&tries), "{tries}");
        // Nor is anything tried where a request takes long for other reasons.
        let mut trials = Trials::new(&Choice::RING);
        (0..1000).for_each(|_| trials.decide(Trials::BELOW));
        assert_eq!(trials.means(), None);
    }

    #[test]
    fn it_is_tried_at_once_where_requests_become_slow() {
        let mut trials = before_the_trial();
        while trials.failures < 8 || trials.means().is_some() {
            trials.decide(SLOW);
        }
        // Not for one window that something else held up.
        for each in [SLOW * 2, SLOW, SLOW * 2, SLOW * 2] {
            trials.decide(each);
            assert_eq!(trials.means(), None);
        }
        trials.decide(SLOW * 2);
        assert_eq!(trials.means(), Some(Means::Weight));
    }

    #[test]
    fn a_worker_takes_part_while_its_requests_come_one_by_one() {
        let (placement, part) = (Placement::of_the_ring(), Part::new());
        placement.trials.lock().unwrap().stage = Stage::On { means: Means::Weight, each: FAST, left: 900 };
        placement.means.store(Means::Weight as u8, Ordering::Relaxed);
        let mut served = 0;
        let mut window = |each: fn(u32) -> usize| {
            for turn in 0..Trials::WINDOW {
                served += each(turn) as u64;
                part.came(each(turn), &placement, || served);
            }
        };
        window(|_| 1);
        let allowed = part.allowed.get() == Some(true);
        if !allowed {
            println!("a nice value may not be lowered here");
        }
        let keeping = if allowed { Means::Weight.nice() } else { 0 };
        assert_eq!((part.does.get(), nice()), (Some(Means::Weight), keeping));
        // What it starts has the usual weight.
        assert_eq!(std::thread::spawn(nice).join().unwrap(), 0);
        window(|turn| 1 + usize::from(turn.is_multiple_of(3)));
        assert_eq!((part.does.get(), nice()), (Some(Means::Weight), keeping));
        window(|_| 2);
        assert_eq!((part.does.get(), nice()), (None, 0));
        window(|_| 1);
        assert_eq!((part.does.get(), nice()), (Some(Means::Weight), keeping));
        // The thread is left as it was found.
        drop(part);
        // SAFETY: the call has no arguments but a thread's number, zero for this one.
        let policy = unsafe { libc::sched_getscheduler(0) };
        assert_eq!((policy, nice()), (libc::SCHED_OTHER, 0));
    }

    #[test]
    fn a_worker_that_carries_much_for_one_program_weighs_more_untried() {
        let (placement, part) = (Placement::of_the_ring(), Part::new());
        let window = |requests: usize, bulk: fn(u32) -> bool, work: Duration| {
            let end = cpu_time() + work;
            while cpu_time() < end {
                std::hint::spin_loop();
            }
            for turn in 0..Trials::WINDOW {
                part.carried_much(usize::from(bulk(turn)));
                part.came(requests, &placement, || 0);
            }
            part.does.get()
        };
        let (all, work) = (|_| true, Trials::BELOW * Trials::WINDOW);
        assert_eq!(window(1, all, Duration::ZERO), Some(Means::Weight));
        assert!(part.allowed.get() == Some(false) || nice() == Means::Weight.nice());
        assert_eq!(window(1, all, work), None, "there is more to it than carrying");
        assert_eq!(window(1, all, Duration::ZERO), Some(Means::Weight));
        assert_eq!(window(2, all, Duration::ZERO), None, "there are others");
        assert_eq!(window(1, |turn| turn % 16 > 0, Duration::ZERO), Some(Means::Weight));
        assert_eq!(window(1, |turn| turn % 2 > 0, Duration::ZERO), None, "of one another");
        assert_eq!(nice(), 0);
    }

    #[test]
    fn windows_are_those_of_all_workers() {
        let placement = Placement::of_the_ring();
        let began = placement.trials.lock().unwrap().began;
        let at = |micros| began + Duration::from_micros(micros);
        let stage = || placement.trials.lock().unwrap().stage;
        // Too few of them, too little time, then two workers' requests.
        for (micros, served) in [(1000, 100), (4000, 400)] {
            placement.window(at(micros), served);
            assert_eq!(stage(), Stage::Off { pause: Trials::IN_A_ROW, slow: 0 });
        }
        placement.window(at(5120), 512);
        assert_eq!(stage(), Stage::Off { pause: Trials::IN_A_ROW - 1, slow: 0 });
        placement.window(at(10_240), 1024);
        placement.window(at(15_360), 1536);
        let before = Duration::from_micros(10);
        assert_eq!(stage(), Stage::Trial { nth: 0, before, best: None, settled: false });
        assert_eq!(placement.means(), Some(Means::Weight));
    }
}
