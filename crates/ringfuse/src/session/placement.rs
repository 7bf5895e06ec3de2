//! Where the scheduler puts the program that was answered.
//!
//! A worker is bound to the CPU whose programs it serves, so that the two take turns on it. The answer wakes the program, which
//! goes on there if it is still on that CPU's queue, and to another that idles if not: with a wake-up several times as long as
//! the request, and so with every few requests, to and fro. A thread that sleeps having had more than its share of the CPU is
//! left on the queue (since Linux 6.12: the delayed dequeue of EEVDF); and a program and its worker take about equally
//! long, so that chance decides. A worker whose weight is a little larger, by a nice value of one less, is entitled to the
//! larger share, which leaves its program with more than it is entitled to.
//!
//! It costs a few percent where the program stays anyhow. So it is tried where requests come one by one, and kept where they
//! come faster with it. Who may not lower a nice value does without.

use std::cell::Cell;
use std::io;
use std::time::{Duration, Instant};

use rustix::process::getpriority_process;

/// One less than usual weighs 1.25 times as much, `setpriority(2)`.
const KEEPING: i32 = -1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Not done; tried after so many windows that call for it.
    Off { pause: u32 },
    /// Being tried, where a request took that long before.
    Trial { before: Duration },
    /// Done, as a request took that long in the trial; looked into again after so many windows.
    On { each: Duration, left: u32 },
}

/// A worker's decision whether to weigh more than its program.
#[derive(Debug)]
pub(crate) struct Placement {
    stage: Cell<Stage>,
    /// Turns with requests since the window began, and the requests that came in them.
    turns: Cell<u32>,
    requests: Cell<usize>,
    began: Cell<Instant>,
    failures: Cell<u32>,
    keep: Cell<u32>,
    /// Whether the nice value can be changed, once it was tried.
    allowed: Cell<Option<bool>>,
}

impl Placement {
    /// Turns that are timed together.
    const WINDOW: u32 = 128;

    /// Of so many turns, one may bring more than one request, for the window to count as that of a lone program.
    const LONE: usize = 8;

    /// Slower requests take long for other reasons.
    const WORTHWHILE: Duration = Duration::from_micros(100);

    /// How many windows call for it before it is tried, at first and at least.
    const IN_A_ROW: u32 = 2;

    /// Windows after which it is looked into whether it is still of use: at first, and at most, after it always was.
    const KEPT: std::ops::RangeInclusive<u32> = 32..=1024;

    pub(crate) fn new() -> Self {
        Self {
            stage: Cell::new(Stage::Off { pause: Self::IN_A_ROW }),
            turns: Cell::new(0),
            requests: Cell::new(0),
            began: Cell::new(Instant::now()),
            failures: Cell::new(0),
            keep: Cell::new(*Self::KEPT.start()),
            allowed: Cell::new(None),
        }
    }

    /// So many requests came at once, to a worker on its CPU.
    pub(crate) fn came(&self, requests: usize) {
        if requests == 0 {
            return;
        }
        let turns = self.turns.get();
        if turns == 0 {
            self.began.set(Instant::now());
            self.requests.set(0);
        }
        self.requests.set(self.requests.get() + requests);
        if turns < Self::WINDOW {
            self.turns.set(turns + 1);
            return;
        }
        self.turns.set(0);
        let lone = (self.requests.get() - turns as usize) * Self::LONE <= turns as usize;
        self.decide(lone.then(|| self.began.get().elapsed() / Self::WINDOW));
    }

    /// A window has ended, in which a request of a lone program took that long.
    fn decide(&self, each: Option<Duration>) {
        let stage = self.stage.get();
        let each = match (stage, each) {
            (Stage::Off { .. }, Some(each)) if each < Self::WORTHWHILE => each,
            (Stage::Off { pause }, _) => {
                self.stage.set(Stage::Off { pause: pause.max(Self::IN_A_ROW) });
                return;
            }
            (_, Some(each)) => each,
            (_, None) => return self.stop(false),
        };
        match stage {
            Stage::Off { pause: 0 } if self.weigh(KEEPING) => self.stage.set(Stage::Trial { before: each }),
            Stage::Off { pause } => self.stage.set(Stage::Off { pause: pause.saturating_sub(1) }),
            Stage::Trial { before } if each * 16 / 15 < before => {
                self.failures.set(0);
                let keep = self.keep.get();
                self.keep.set((keep * 2).min(*Self::KEPT.end()));
                self.stage.set(Stage::On { each, left: keep });
            }
            Stage::Trial { .. } => self.stop(true),
            Stage::On { each: usual, left } if left == 0 || each > usual * 2 => {
                self.weigh(0);
                self.stage.set(Stage::Off { pause: 0 });
            }
            Stage::On { each: usual, left } => self.stage.set(Stage::On { each: usual, left: left - 1 }),
        }
    }

    /// Ends it. Where it was of no use, it is tried ever more rarely.
    fn stop(&self, failed: bool) {
        self.weigh(0);
        if failed {
            self.failures.set((self.failures.get() + 1).min(10));
            self.keep.set(*Self::KEPT.start());
        }
        self.stage.set(Stage::Off { pause: Self::IN_A_ROW << self.failures.get() });
    }

    /// Sets this thread's nice value. Returns whether that could be done.
    fn weigh(&self, nice: i32) -> bool {
        let allowed = self.allowed.get().unwrap_or_else(is_usual) && set_nice(nice).is_ok();
        self.allowed.set(Some(allowed));
        allowed
    }
}

/// Whether this thread is scheduled as threads usually are. If somebody wanted it otherwise, it stays as they wanted.
fn is_usual() -> bool {
    // SAFETY: the call has no arguments but a thread's number, zero for this one.
    let policy = unsafe { libc::sched_getscheduler(0) };
    policy == libc::SCHED_OTHER && getpriority_process(None) == Ok(0)
}

/// Sets this thread's nice value. Threads and processes that it starts begin with one that is not negative.
fn set_nice(nice: i32) -> io::Result<()> {
    // SAFETY: all zeros are a valid value.
    let mut attr = unsafe { std::mem::zeroed::<libc::sched_attr>() };
    attr.size = size_of_val(&attr) as u32;
    attr.sched_policy = libc::SCHED_OTHER as u32;
    attr.sched_flags = libc::SCHED_FLAG_RESET_ON_FORK as u64;
    attr.sched_nice = nice;
    // SAFETY: the kernel reads as many bytes as `size` says, while the call lasts.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Option<Duration> = Some(Duration::from_micros(8));
    const SLOW: Option<Duration> = Some(Duration::from_micros(12));

    /// This thread's nice value.
    fn nice() -> i32 {
        getpriority_process(None).unwrap()
    }

    /// Requests come until it is tried; `None` if it must not be.
    fn tried() -> Option<Placement> {
        let placement = Placement::new();
        for _ in 0..=Placement::IN_A_ROW {
            placement.decide(SLOW);
        }
        let is_tried = matches!(placement.stage.get(), Stage::Trial { .. });
        assert_eq!(is_tried, nice() == KEEPING);
        if !is_tried {
            println!("not allowed here");
            assert_eq!(placement.allowed.get(), Some(false));
        }
        is_tried.then_some(placement)
    }

    #[test]
    fn it_is_kept_where_it_helps_and_tried_anew_from_time_to_time() {
        let Some(placement) = tried() else { return };
        placement.decide(FAST);
        for keep in [32, 64, 128, 256, 512, 1024, 1024] {
            for _ in 0..=keep {
                assert!(matches!(placement.stage.get(), Stage::On { .. }));
                assert_eq!(nice(), KEEPING);
                placement.decide(FAST);
            }
            assert_eq!((placement.stage.get(), nice()), (Stage::Off { pause: 0 }, 0));
            placement.decide(SLOW);
            placement.decide(FAST);
        }
    }

    #[test]
    fn where_it_does_not_help_it_is_tried_ever_more_rarely() {
        let Some(placement) = tried() else { return };
        let mut trials = 0;
        for _ in 0..1000 {
            placement.decide(SLOW);
            trials += u32::from(nice() == KEEPING);
        }
        assert!((3..10).contains(&trials), "{trials}");
    }

    #[test]
    fn several_programs_at_once_end_it() {
        let Some(placement) = tried() else { return };
        placement.decide(FAST);
        for _ in 0..=Placement::WINDOW {
            placement.came(2);
        }
        assert_eq!((placement.stage.get(), nice()), (Stage::Off { pause: Placement::IN_A_ROW }, 0));
    }

    #[test]
    fn now_and_then_a_second_request_does_not_end_it() {
        let Some(placement) = tried() else { return };
        placement.decide(FAST);
        for turn in 0..=Placement::WINDOW {
            placement.came(if turn.is_multiple_of(10) { 2 } else { 1 });
        }
        assert!(matches!(placement.stage.get(), Stage::On { .. }));
    }

    #[test]
    fn what_a_worker_starts_weighs_what_is_usual() {
        let Some(_placement) = tried() else { return };
        assert_eq!(std::thread::spawn(nice).join().unwrap(), 0);
    }
}
