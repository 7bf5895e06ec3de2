//! A worker on the ring: the loop that moves its entries.

use std::cell::Cell;
use std::io;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::fs::Filesystem;
use crate::session::crew::Crew;
use crate::session::ending::{Ending, unanswered};
use crate::session::entries::Entries;
use crate::session::executor::Executor;
use crate::session::placement::{LINGER, Part, cpu_time};
use crate::transport::ring::Drained;

/// The runtime's place among the ring's watched descriptors.
const RUNTIME: usize = 0;

/// Serves until the mount is gone and all entries have ended.
pub(crate) fn serve<F, P>(
    entries: &Rc<Entries<P>>,
    executor: &Executor,
    (crew, me): (&Arc<Crew>, usize),
    ending: &Ending,
) -> io::Result<()>
where
    F: Filesystem,
    P: Deref<Target = F> + Clone + 'static,
{
    let (ring, tasks) = (&entries.ring, &entries.tasks);
    let mut completed = Vec::new();
    let mut alarm = false;
    let work = Workload::default();
    let part = Part::new();
    loop {
        // Much at hand is shared with those who have nothing to do.
        let measured = work.begin(completed.len());
        if let Some(count) = work.surplus(completed.len()) {
            entries.share(count);
        }
        completed.drain(..).for_each(|number| tasks.poll(number));
        entries.next_turn();
        tasks.poll_woken();
        let mut more = executor.run();
        if ending.has_begun() && entries.live.none() {
            return Ok(());
        }
        // The replies first, in a call of their own: their programs run on while this thread goes to sleep.
        if !alarm && let Some(after) = executor.unseen() {
            ring.set_alarm(after)?;
            alarm = true;
        }
        ring.submit()?;
        work.end(measured);
        more |= executor.prepare_wait() | tasks.any_woken();
        let mut drained = Drained::default();
        if entries.starved() {
            // What the commits brought back, before more can come.
            drained = ring.drain(&mut completed)?;
            entries.submitted(&completed);
            more |= !completed.is_empty() | drained.any();
        }
        if !more && part.lingers() {
            more = ring.linger(executor.timeout().map_or(LINGER, |due| due.min(LINGER)))?;
        }
        if !more {
            crew.set_idle(me, true);
            let due = executor.timeout().into_iter().chain(entries.pages.timeout()).min();
            ring.wait(ending.limit(due))?;
            crew.set_idle(me, false);
        }
        drained |= ring.drain(&mut completed)?;
        part.carried_much(entries.bulk());
        part.came(completed.len(), &crew.placement, || entries.served_by_all());
        entries.came(completed.len());
        if completed.is_empty() {
            entries.pages.trim(|number, slot| ring.release_pages(number, slot));
        } else {
            entries.pages.busy();
        }
        if drained.alarm {
            alarm = false;
            executor.look();
        }
        if drained.ready(RUNTIME) || executor.timeout() == Some(Duration::ZERO) {
            executor.poll();
        }
        if ending.is_over() {
            return Err(unanswered(entries.live.count()));
        }
    }
}

/// How much CPU time requests take here, as far as that is worth knowing: where several are at hand.
#[derive(Debug, Default)]
struct Workload {
    /// A request's share, averaged over the last few.
    each: Cell<Duration>,
    turns: Cell<u32>,
}

impl Workload {
    /// One of so many turns with several requests is measured, as a look at the clock is a system call.
    const SAMPLED: u32 = 8;

    /// Work at hand beyond this is worth another CPU's wake-up.
    const SURPLUS: Duration = Duration::from_micros(500);

    fn begin(&self, requests: usize) -> Option<(u32, Duration)> {
        if requests < 2 {
            return None;
        }
        let turn = self.turns.get();
        self.turns.set(turn.wrapping_add(1));
        // Heavy requests are few, and cost more than the look.
        let due = turn.is_multiple_of(Self::SAMPLED) || self.each.get() * 4 > Self::SURPLUS;
        due.then(|| (requests as u32, cpu_time()))
    }

    fn end(&self, begun: Option<(u32, Duration)>) {
        let Some((requests, start)) = begun else { return };
        let each = cpu_time().saturating_sub(start) / requests;
        self.each.set((self.each.get() * 3 + each) / 4);
    }

    /// How many of the requests at hand others should serve.
    fn surplus(&self, requests: usize) -> Option<usize> {
        (requests >= 2 && self.each.get() * requests as u32 > Self::SURPLUS).then_some(requests / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn light_requests_are_not_shared_and_heavy_ones_are() {
        let work = Workload::default();
        assert_eq!(work.surplus(16), None);
        work.each.set(Duration::from_micros(5));
        assert_eq!(work.surplus(16), None);
        work.each.set(Duration::from_millis(1));
        assert_eq!(work.surplus(1), None);
        assert_eq!(work.surplus(2), Some(1));
        assert_eq!(work.surplus(16), Some(8));
    }

    #[test]
    fn what_a_request_takes_is_learned_and_forgotten() {
        let work = Workload::default();
        let burn = |of: Duration| {
            let start = cpu_time();
            while cpu_time() - start < of {
                std::hint::spin_loop();
            }
        };
        let begun = work.begin(2);
        burn(Duration::from_millis(8));
        work.end(begun);
        assert!(work.each.get() >= Duration::from_millis(1));
        for _ in 0..40 {
            let begun = work.begin(2);
            work.end(begun);
        }
        assert!(work.surplus(2).is_none(), "{:?}", work.each.get());
        assert!(work.begin(1).is_none());
    }
}
