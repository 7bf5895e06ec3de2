//! A worker on the ring: its entries, and the loop that moves them.

use std::collections::BTreeSet;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use crate::dispatch::{Framing, Outcome};
use crate::fs::Filesystem;
use crate::mem::{Arena, Slot};
use crate::proto::message::in_header;
use crate::session::ending::{Ending, Live, unanswered};
use crate::session::entry::{Port, Service};
use crate::session::executor::{Executor, UNSEEN};
use crate::session::plan::Plan;
use crate::session::tasks::Tasks;
use crate::transport::ring::{Completion, Ring, entry_header};

/// How often and how long apart a registration is tried again that the kernel is not ready for.
const REGISTER_TRIES: usize = 400;
const REGISTER_PAUSE: Duration = Duration::from_millis(5);

/// A ring and the entries that are to be served on it.
pub(crate) struct RingWorker {
    ring: Rc<Ring>,
    /// How many entries the ring was made for.
    capacity: usize,
    entries: Vec<Unserved>,
}

/// An entry before its task has started.
struct Unserved {
    index: usize,
    queue: u16,
    slot: Slot,
}

impl RingWorker {
    /// Makes the ring and maps the entries' memory, so that nothing can fail later for lack of either.
    pub(crate) fn new(
        device: BorrowedFd<'_>,
        executor: &Executor,
        plan: &Plan,
        worker: usize,
    ) -> io::Result<Self> {
        let mut entries = Vec::with_capacity(plan.depth);
        for queue in plan.queues_of(worker) {
            // A mapping a queue, so that what is leaked for one does not keep the others.
            for slot in Arena::slots(plan.layout, plan.depth)? {
                entries.push(Unserved { index: entries.len(), queue, slot });
            }
        }
        let capacity = entries.len();
        let ring = Rc::new(Ring::new(device, executor.as_fd(), capacity)?);
        Ok(Self { ring, capacity, entries })
    }

    /// Registers all entries. Each queue must get at least one, or no request would ever come; those beyond that the
    /// kernel has no memory for are done without.
    pub(crate) fn register(&mut self) -> io::Result<()> {
        for entry in &mut self.entries {
            self.ring.register(entry.index, entry.queue, &mut entry.slot)?;
        }
        let mut refusals = Vec::new();
        for _ in 0..REGISTER_TRIES {
            self.ring.submit()?;
            self.ring.drain(&mut Vec::new())?;
            let mut again = false;
            for entry in &mut self.entries {
                match self.ring.refused(entry.index, &mut entry.slot) {
                    Some(Completion::Again) => {
                        again = true;
                        self.ring.register(entry.index, entry.queue, &mut entry.slot)?;
                    }
                    Some(Completion::Refused(error)) => refusals.push((entry.index, error)),
                    _ => {}
                }
            }
            if !again {
                break;
            }
            thread::sleep(REGISTER_PAUSE);
        }
        let Some(&(_, error)) = refusals.last() else { return Ok(()) };
        let error = io::Error::from_raw_os_error(-error);
        let queues: BTreeSet<u16> = self.entries.iter().map(|entry| entry.queue).collect();
        self.entries.retain(|entry| !refusals.iter().any(|(index, _)| *index == entry.index));
        let left: BTreeSet<u16> = self.entries.iter().map(|entry| entry.queue).collect();
        if left != queues {
            return Err(error);
        }
        tracing::warn!(%error, missing = refusals.len(), "some entries of the ring could not be registered");
        Ok(())
    }

    /// Lets requests that wait for the ring go to the device, as the ring will not be had.
    pub(crate) fn give_up(self) {
        if let Err(error) = self.ring.lift_gate() {
            tracing::warn!(%error, "cannot tell the kernel that the ring will not be used");
        }
    }

    /// Serves until the mount is gone and all entries have ended.
    pub(crate) fn serve<F, P>(
        self,
        service: &Rc<Service<P>>,
        executor: &Rc<Executor>,
        ending: &Ending,
    ) -> io::Result<()>
    where
        F: Filesystem,
        P: Deref<Target = F> + Clone + 'static,
    {
        let ring = self.ring;
        let live = Live::default();
        let tasks = Tasks::new(executor.waker());
        let mut numbers = vec![None; self.capacity];
        for Unserved { index, queue, slot } in self.entries {
            let port = RingPort { ring: ring.clone(), index, queue };
            numbers[index] = Some(service.add((executor, &tasks), port, slot, live.one_more()));
        }
        let mut completed = Vec::with_capacity(self.capacity);
        let mut alarm = false;
        loop {
            for number in completed.drain(..).filter_map(|index| numbers[index]) {
                tasks.poll(number);
            }
            tasks.poll_woken();
            let mut more = executor.run();
            if live.none() {
                return Ok(());
            }
            // The replies first, in a call of their own: their programs run on while this thread goes to sleep.
            if executor.unseen() && !alarm {
                ring.set_alarm(UNSEEN)?;
                alarm = true;
            }
            ring.submit()?;
            more |= executor.prepare_wait() | tasks.any_woken();
            if !more {
                ring.wait(ending.limit(executor.timeout()))?;
            }
            let drained = ring.drain(&mut completed)?;
            if drained.alarm {
                alarm = false;
                executor.flush();
            }
            if drained.runtime || executor.timeout() == Some(Duration::ZERO) {
                executor.poll();
            }
            if ending.is_over() {
                return Err(unanswered(live.count()));
            }
        }
    }
}

/// An entry of the ring.
struct RingPort {
    ring: Rc<Ring>,
    index: usize,
    queue: u16,
}

impl Port for RingPort {
    async fn receive(&mut self, slot: &mut Slot) -> Option<Framing> {
        match self.ring.completion(self.index, slot).await {
            Completion::Request => {
                let area = slot.header_area();
                let payload = entry_header(area).payload_sz as usize;
                let header = in_header(area).unwrap_or_default();
                Some(Framing::Ring { header, payload })
            }
            Completion::Ended => None,
            // An interrupted command has not been carried out, but then neither was the reply taken; the kernel
            // does not do this to an entry once it is registered.
            Completion::Again => None,
            Completion::Refused(error) => {
                let error = io::Error::from_raw_os_error(-error);
                tracing::error!(%error, queue = self.queue, index = self.index, "an entry of the ring is lost");
                None
            }
        }
    }

    fn answer(&mut self, slot: &mut Slot, framing: &Framing, outcome: Outcome) {
        let Outcome { error, len } = outcome;
        let unique = framing.header().unique;
        if let Err(error) = self.ring.commit(self.index, self.queue, slot, unique, error, len) {
            tracing::error!(%error, queue = self.queue, index = self.index, "cannot answer a request");
        }
    }
}
