//! Where the scheduler puts the program that was answered.
//!
//! A worker is bound to the CPU whose programs it serves, so that the two take turns on it. But the wake-up of a program is
//! the work of its worker, who therefore runs on that CPU at that moment; and the scheduler prefers one that has nothing to do.
//! So a lone program is sent to another CPU with every answer, to be sent back by the worker there with the next; and an idle
//! CPU takes long to wake, ten times as long as the request. A CPU on which nothing runs but `SCHED_IDLE` threads counts as
//! idle, though: a worker that takes that policy while it submits an answer keeps its program where it is.
//!
//! Two things make that fit for use. It is done only where it is seen to help: where requests come one by one and slowly,
//! it is tried, and kept if they come clearly faster with it. And a thread of that policy starves beside a busy one; so
//! nothing but the submission is done under it, never a handler, and the control thread takes it off a worker that stays
//! in there for long.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::gettid;

use crate::session::crew::now;

/// How often the control thread looks after workers that step back, and the longest that one may be kept from coming back.
pub(crate) const LOOK_AFTER: Duration = Duration::from_millis(10);

/// After so many looks at a worker that did not step back any more, there are no further ones.
const QUIET_LOOKS: u32 = 50;

/// What a worker and the control thread know of the worker's stepping back.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    thread: AtomicI32,
    /// When the worker stepped back, by [`now`]; zero while it has not.
    since: AtomicU64,
    times: AtomicU64,
    /// The control thread looks after it.
    watched: AtomicBool,
    /// It had to be brought back.
    starved: AtomicBool,
}

/// What the control thread remembers of a watch from look to look.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    times: u64,
    quiet: u32,
}

impl Watch {
    pub(crate) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Acquire)
    }

    /// Brings the worker back if it has been kept from it.
    pub(crate) fn look(&self, looks: &mut Looks) {
        let since = self.since.load(Ordering::Acquire);
        if since != 0 && now().saturating_sub(since) >= LOOK_AFTER.as_nanos() as u64 {
            self.starved.store(true, Ordering::Release);
            if let Err(error) = set_policy(self.thread.load(Ordering::Acquire), libc::SCHED_OTHER) {
                tracing::warn!(%error, "a worker cannot be given its scheduling policy back");
            }
        }
        let times = self.times.load(Ordering::Relaxed);
        looks.quiet = if since == 0 && looks.times == times { looks.quiet + 1 } else { 0 };
        looks.times = times;
        if looks.quiet > QUIET_LOOKS {
            looks.quiet = 0;
            self.watched.store(false, Ordering::Release);
        }
    }
}

/// Whether a thread may step back and come back again. Tried by one of its own, since one that may not come back must not
/// have stepped back.
pub(crate) fn is_allowed() -> bool {
    let is_usual = policy().is_ok_and(|policy| policy == libc::SCHED_OTHER);
    let there_and_back =
        || set_policy(0, libc::SCHED_IDLE).is_ok() && set_policy(0, libc::SCHED_OTHER).is_ok();
    is_usual
        && std::thread::Builder::new()
            .spawn(there_and_back)
            .ok()
            .and_then(|thread| thread.join().ok())
            .unwrap_or(false)
}

fn set_policy(thread: i32, policy: i32) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameters live through the call, which reads them and keeps nothing.
    let done = unsafe { libc::sched_setscheduler(thread, policy, &parameters) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn policy() -> io::Result<i32> {
    // SAFETY: the call has no arguments but a thread's number, zero for this one.
    let policy = unsafe { libc::sched_getscheduler(0) };
    if policy < 0 { Err(io::Error::last_os_error()) } else { Ok(policy) }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Not done; tried again after so many windows that call for it.
    Off { pause: u32 },
    /// Being tried, where a request took that long before.
    Trial { before: Duration },
    /// Done, as a request took that long in the trial; looked into again after so many windows.
    On { each: Duration, left: u32 },
}

/// A worker's decision whether to step back.
#[derive(Debug)]
pub(crate) struct Placement {
    stage: Cell<Stage>,
    /// Requests since the window began; they came one by one.
    seen: Cell<u32>,
    began: Cell<Instant>,
    failures: Cell<u32>,
    keep: Cell<u32>,
    allowed: Cell<Option<bool>>,
}

impl Placement {
    /// Requests that are timed together.
    const WINDOW: u32 = 64;

    /// A lone program's requests that follow each other faster are on their CPU already; slower ones are not in a hurry.
    const CALLS_FOR_IT: std::ops::Range<Duration> = Duration::from_micros(40)..Duration::from_millis(1);

    /// So many windows in a row must call for it first: a single one may have been held up by something else.
    const IN_A_ROW: u32 = 4;

    /// Windows after which it is looked into whether it is still called for: at first, and at most, after it always was.
    const KEPT: std::ops::RangeInclusive<u32> = 32..=512;

    pub(crate) fn new() -> Self {
        Self {
            stage: Cell::new(Stage::Off { pause: Self::IN_A_ROW }),
            seen: Cell::new(0),
            began: Cell::new(Instant::now()),
            failures: Cell::new(0),
            keep: Cell::new(*Self::KEPT.start()),
            allowed: Cell::new(None),
        }
    }

    /// So many requests came at once.
    pub(crate) fn came(&self, requests: usize, watch: &Watch) {
        match requests {
            0 => return,
            1 => {}
            _ => {
                self.seen.set(0);
                if !matches!(self.stage.get(), Stage::Off { .. }) {
                    self.stop(false);
                }
                return;
            }
        }
        let seen = self.seen.get();
        if seen == 0 {
            self.began.set(Instant::now());
        }
        self.seen.set(seen + 1);
        if seen == Self::WINDOW {
            self.seen.set(0);
            let each = self.began.get().elapsed() / Self::WINDOW;
            let starved = watch.starved.swap(false, Ordering::AcqRel);
            self.decide(each, starved);
        }
    }

    fn decide(&self, each: Duration, starved: bool) {
        let next = match self.stage.get() {
            _ if starved => return self.stop(true),
            Stage::Off { pause } if !Self::CALLS_FOR_IT.contains(&each) => {
                self.keep.set(*Self::KEPT.start());
                Stage::Off { pause: pause.max(Self::IN_A_ROW) }
            }
            Stage::Off { pause: 0 } => {
                if !self.may() {
                    return;
                }
                Stage::Trial { before: each }
            }
            Stage::Off { pause } => Stage::Off { pause: pause - 1 },
            Stage::Trial { before } if each * 3 / 2 < before => {
                self.failures.set(0);
                let keep = self.keep.get();
                self.keep.set((keep * 2).min(*Self::KEPT.end()));
                Stage::On { each, left: keep }
            }
            Stage::Trial { .. } => return self.stop(true),
            Stage::On { each: usual, left } if left == 0 || each > usual * 2 => Stage::Off { pause: 0 },
            Stage::On { each: usual, left } => Stage::On { each: usual, left: left - 1 },
        };
        self.stage.set(next);
    }

    fn may(&self) -> bool {
        let allowed = self.allowed.get().unwrap_or_else(is_allowed);
        self.allowed.set(Some(allowed));
        allowed
    }

    fn stop(&self, failed: bool) {
        let failures = if failed { (self.failures.get() + 1).min(10) } else { self.failures.get() };
        self.failures.set(failures);
        self.stage.set(Stage::Off { pause: Self::IN_A_ROW << failures });
    }

    /// Submits, having stepped back if that is to be. `call` makes the control thread look after this worker.
    pub(crate) fn submit(
        &self,
        staged: u32,
        watch: &Watch,
        call: impl FnOnce(),
        submit: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        if staged != 1 || matches!(self.stage.get(), Stage::Off { .. }) {
            return submit();
        }
        watch.times.store(watch.times.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        if !watch.is_watched() {
            watch.thread.store(gettid().as_raw_nonzero().get(), Ordering::Release);
            watch.watched.store(true, Ordering::Release);
            call();
        }
        watch.since.store(now(), Ordering::Release);
        let back = set_policy(0, libc::SCHED_IDLE);
        let submitted = submit();
        let forth = back.and_then(|()| set_policy(0, libc::SCHED_OTHER));
        watch.since.store(0, Ordering::Release);
        if let Err(error) = forth {
            tracing::warn!(%error, "cannot change the scheduling policy");
            self.allowed.set(Some(false));
            self.stop(true);
        }
        submitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_micros(10);
    const SLOW: Duration = Duration::from_micros(60);

    fn placement() -> Placement {
        let placement = Placement::new();
        placement.allowed.set(Some(true));
        placement
    }

    /// Requests come slowly, until it is tried.
    fn slow(placement: &Placement) {
        for _ in 0..=Placement::IN_A_ROW {
            placement.decide(SLOW, false);
        }
        assert_eq!(placement.stage.get(), Stage::Trial { before: SLOW });
    }

    #[test]
    fn it_is_tried_where_requests_come_slowly_and_kept_where_it_helps() {
        let placement = placement();
        for _ in 0..20 {
            placement.decide(SLOW, false);
            placement.decide(FAST, false);
            assert!(matches!(placement.stage.get(), Stage::Off { .. }));
        }
        slow(&placement);
        placement.decide(FAST, false);
        assert!(matches!(placement.stage.get(), Stage::On { .. }));
        // From time to time it is found out anew.
        for keep in [32, 64, 128, 256, 512, 512] {
            for _ in 0..=keep {
                assert!(matches!(placement.stage.get(), Stage::On { .. }));
                placement.decide(FAST, false);
            }
            assert_eq!(placement.stage.get(), Stage::Off { pause: 0 });
            placement.decide(SLOW, false);
            placement.decide(FAST, false);
        }
    }

    #[test]
    fn where_it_does_not_help_it_is_tried_ever_more_rarely() {
        let placement = placement();
        let mut trials = 0;
        for _ in 0..1000 {
            placement.decide(SLOW, false);
            trials += u32::from(matches!(placement.stage.get(), Stage::Trial { .. }));
        }
        assert!((3..10).contains(&trials), "{trials}");
    }

    #[test]
    fn who_starved_stops() {
        let placement = placement();
        slow(&placement);
        placement.decide(FAST, false);
        placement.decide(FAST, true);
        assert!(matches!(placement.stage.get(), Stage::Off { pause: 1.. }));
    }

    #[test]
    fn several_programs_at_once_end_it() {
        let (placement, watch) = (placement(), Watch::default());
        slow(&placement);
        placement.came(2, &watch);
        assert!(matches!(placement.stage.get(), Stage::Off { .. }));
    }

    #[test]
    fn a_worker_that_stays_away_is_brought_back() {
        if !is_allowed() {
            println!("not allowed here");
            return;
        }
        let watch = std::sync::Arc::new(Watch::default());
        let worker = watch.clone();
        let thread = std::thread::spawn(move || {
            let placement = placement();
            slow(&placement);
            let mut called = false;
            let stays = || {
                while policy().unwrap() == libc::SCHED_IDLE {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(())
            };
            placement.submit(1, &worker, || called = true, stays).unwrap();
            assert!(called && policy().unwrap() == libc::SCHED_OTHER);
            placement.decide(FAST, worker.starved.load(Ordering::Acquire));
            assert!(matches!(placement.stage.get(), Stage::Off { pause: 1.. }));
        });
        let mut looks = Looks::default();
        while !thread.is_finished() {
            std::thread::sleep(Duration::from_millis(1));
            watch.look(&mut looks);
        }
        thread.join().unwrap();
        // Nobody is looked after for ever.
        for _ in 0..=QUIET_LOOKS + 1 {
            watch.look(&mut looks);
        }
        assert!(!watch.is_watched());
    }
}
