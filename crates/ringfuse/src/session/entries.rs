//! A worker's entries on the ring: the life of each, how many there are, and which of their requests others serve.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::dispatch::{Framing, Outcome};
use crate::fs::Filesystem;
use crate::mem::{Room, Slot};
use crate::session::crew::{Crew, HandOver, Letter};
use crate::session::ending::Live;
use crate::session::entry::{Service, framing};
use crate::session::executor::{Activity, Executor};
use crate::session::home::{Home, Sign};
use crate::session::pages::Pages;
use crate::session::plan::Plan;
use crate::session::tasks::Tasks;
use crate::transport::ring::{Completion, Ring};

/// Entries that a queue starts with. It gets more as soon as all of them are in use.
pub(crate) const FIRST_ENTRIES: usize = 4;

/// For how long a worker has had nothing to do when its CPU is taken to have nothing to do.
const IDLE_CPU: Duration = Duration::from_millis(2);

/// How often and how long apart a registration is tried again that the kernel is not ready for.
pub(crate) const REGISTER_TRIES: usize = 400;
pub(crate) const REGISTER_PAUSE: Duration = Duration::from_millis(5);

/// All entries of one worker.
pub(crate) struct Entries<P> {
    pub(crate) ring: Ring,
    pub(crate) tasks: Tasks,
    pub(crate) pages: Pages,
    pub(crate) live: Live,
    service: Rc<Service<P>>,
    executor: Rc<Executor>,
    /// `None` where the worker is bound to no CPU.
    home: Option<Rc<Home>>,
    crew: Arc<Crew>,
    plan: Arc<Plan>,
    queues: Box<[Queue]>,
    turn: Cell<u32>,
    /// How many requests came at once, the last time that any came.
    together: Cell<usize>,
    /// Queues that may have requests waiting in the kernel.
    starved: Cell<usize>,
    /// Entries of such queues that were committed in this turn.
    committed: RefCell<Vec<(u16, usize)>>,
    /// To whom, and how many of the requests at hand go.
    share: Cell<Option<(usize, usize)>>,
    refused: Cell<Option<i32>>,
}

/// What a worker knows of a queue, as far as it has entries of it.
#[derive(Debug, Default)]
struct Queue {
    entries: Cell<u16>,
    serving: Cell<u16>,
    /// The last turn in which requests of it were begun, and how many were at hand in it, those served since before included.
    turn: Cell<u32>,
    at_hand: Cell<u16>,
    /// All entries were in use at once, so that requests may have piled up in the kernel. It hands them out only as
    /// entries are committed, not as they are added.
    starved: Cell<bool>,
    /// An entry was committed since this was last looked at.
    progress: Cell<bool>,
    /// A request of our own is on its way, for its commit to hand out others.
    kicked: Cell<bool>,
}

/// An entry as its task has it.
struct Entry {
    number: usize,
    queue: u16,
    slot: Slot,
    registered: bool,
}

impl<F: Filesystem, P: Deref<Target = F> + Clone + 'static> Entries<P> {
    /// Prepares a worker's first entries: their memory is mapped, and they can be registered. `mine` are the queues to begin
    /// with.
    pub(crate) fn new(
        ring: Ring,
        service: &Rc<Service<P>>,
        (executor, home): (&Rc<Executor>, Option<Rc<Home>>),
        (crew, plan): (&Arc<Crew>, &Arc<Plan>),
        mine: impl Iterator<Item = u16>,
    ) -> io::Result<Rc<Self>> {
        let entries = Rc::new(Self {
            ring,
            tasks: Tasks::new(executor.waker()),
            pages: Pages::default(),
            live: Live::default(),
            service: service.clone(),
            executor: executor.clone(),
            home,
            crew: crew.clone(),
            plan: plan.clone(),
            queues: (0..plan.queues).map(|_| Queue::default()).collect(),
            turn: Cell::new(0),
            together: Cell::new(0),
            starved: Cell::new(0),
            committed: RefCell::default(),
            share: Cell::new(None),
            refused: Cell::new(None),
        });
        for queue in mine {
            entries.open(queue, FIRST_ENTRIES.min(plan.depth))?;
        }
        Ok(entries)
    }

    /// Adds entries to a queue. Each registers itself when its task is first polled.
    fn open(self: &Rc<Self>, queue: u16, count: usize) -> io::Result<()> {
        // A mapping of its own, so that what is leaked for one does not keep others.
        self.furnish(queue, Room::new(self.plan.layout, count)?);
        Ok(())
    }

    /// Adds as many entries as there is room for.
    fn furnish(self: &Rc<Self>, queue: u16, room: Room) {
        for slot in room {
            self.service.shared.interrupts.add(slot.shared().clone());
            self.add(queue, slot, None);
        }
    }

    /// Takes over an entry with a request in it.
    pub(crate) fn adopt(self: &Rc<Self>, given: HandOver) {
        let HandOver { queue, slot, framing, room } = given;
        self.add(queue, slot, Some(framing));
        if let Some(room) = room {
            self.furnish(queue, room);
        }
    }

    fn add(self: &Rc<Self>, queue: u16, slot: Slot, request: Option<Framing>) {
        let entries = &self.queues[usize::from(queue)].entries;
        entries.set(entries.get() + 1);
        let (this, one) = (self.clone(), self.live.one_more());
        self.tasks.add(|number| {
            this.ring.expect(number);
            this.pages.add(number, slot.shared());
            let entry = Entry { number, queue, slot, registered: request.is_some() };
            async move {
                let activity = Activity::default();
                let executor = this.executor.clone();
                executor.watch(activity.clone(), this.life(entry, request, activity)).await;
                drop(one);
            }
        });
    }

    fn is_mine(&self, queue: u16) -> bool {
        self.crew.home(queue) == self.service.worker
    }

    /// Registers the first entries. Each queue must get at least one, or no request would ever come; those beyond that the
    /// kernel has no memory for are done without.
    pub(crate) fn register(&self) -> io::Result<()> {
        let mine: Vec<usize> = (0..self.queues.len()).filter(|&q| self.queues[q].entries.get() > 0).collect();
        let mut completed = Vec::new();
        self.tasks.poll_woken();
        for _ in 0..REGISTER_TRIES {
            self.ring.submit()?;
            self.ring.drain(&mut completed)?;
            if completed.is_empty() {
                break;
            }
            completed.drain(..).for_each(|number| self.tasks.poll(number));
            if self.ring.staged() > 0 {
                thread::sleep(REGISTER_PAUSE);
            }
        }
        let Some(error) = self.refused.take() else { return Ok(()) };
        let error = io::Error::from_raw_os_error(-error);
        if mine.iter().all(|&queue| self.queues[queue].entries.get() > 0) {
            tracing::warn!(%error, "some entries of the ring could not be registered");
            return Ok(());
        }
        Err(error)
    }

    /// The life of one entry: receive, serve, answer, over and over; until the mount is gone, or another worker takes over.
    async fn life(self: &Rc<Self>, mut entry: Entry, mut request: Option<Framing>, activity: Activity) {
        let counters = &self.service.shared.counters[self.service.worker];
        let queue = &self.queues[usize::from(entry.queue)];
        loop {
            let framing = match request.take() {
                Some(framing) => framing,
                None => {
                    let Some(framing) = self.receive(&mut entry).await else { break };
                    counters.received.increment();
                    match self.elsewhere(entry.queue) {
                        None => framing,
                        Some(worker) => match self.hand_over(worker, entry, framing) {
                            Ok(()) => break,
                            Err(back) => {
                                entry = back;
                                framing
                            }
                        },
                    }
                }
            };
            activity.set(true);
            self.begin(entry.queue);
            let outcome = self.service.serve(&mut entry.slot, framing).await;
            self.answer(&mut entry, &framing, outcome);
            activity.set(false);
            counters.committed.increment();
        }
        queue.entries.set(queue.entries.get() - 1);
    }

    async fn receive(&self, entry: &mut Entry) -> Option<Framing> {
        loop {
            if !entry.registered
                && let Err(error) = self.ring.register(entry.number, entry.queue, &mut entry.slot)
            {
                tracing::error!(%error, queue = entry.queue, "cannot register an entry of the ring");
                return None;
            }
            let first = !std::mem::replace(&mut entry.registered, true);
            return match self.ring.completion(entry.number, &mut entry.slot).await {
                Completion::Request => {
                    let framing = framing(&entry.slot);
                    if let Framing::Ring { payload, .. } = framing {
                        self.pages.passed(entry.number, entry.slot.shared(), payload);
                    }
                    Some(framing)
                }
                // The kernel is not ready yet, or memory was short.
                Completion::Again if first => {
                    entry.registered = false;
                    continue;
                }
                Completion::Refused(error) if first => {
                    self.refused.set(Some(error));
                    None
                }
                Completion::Refused(error) => {
                    let error = io::Error::from_raw_os_error(-error);
                    tracing::error!(%error, queue = entry.queue, "an entry of the ring is lost");
                    None
                }
                Completion::Ended | Completion::Again => None,
            };
        }
    }

    fn answer(&self, entry: &mut Entry, framing: &Framing, outcome: Outcome) {
        let Outcome { error, len } = outcome;
        self.pages.passed(entry.number, entry.slot.shared(), len);
        if let Some(home) = &self.home {
            let (bytes, together) = (framing.size().max(len), self.together.get());
            let sign = Sign { bytes, together, thread: framing.header().pid };
            home.served(sign, || self.plan.cpus[self.crew.any_idle(self.service.worker, IDLE_CPU)?]);
        }
        let unique = framing.header().unique;
        if let Err(error) = self.ring.commit(entry.number, entry.queue, &mut entry.slot, unique, error, len) {
            tracing::error!(%error, queue = entry.queue, "cannot answer a request");
        }
        let queue = &self.queues[usize::from(entry.queue)];
        queue.serving.set(queue.serving.get() - 1);
        queue.kicked.set(false);
        queue.progress.set(true);
        if queue.starved.get() {
            self.committed.borrow_mut().push((entry.queue, entry.number));
        }
    }

    /// One more request of a queue is served. Where requests are at hand in all its entries, it gets more.
    fn begin(self: &Rc<Self>, number: u16) {
        let queue = &self.queues[usize::from(number)];
        let serving = queue.serving.get() + 1;
        queue.serving.set(serving);
        let turn = self.turn.get();
        let at_hand = if queue.turn.replace(turn) == turn { queue.at_hand.get() + 1 } else { serving };
        queue.at_hand.set(at_hand);
        if at_hand < queue.entries.get() || !self.is_mine(number) {
            return;
        }
        if serving == queue.entries.get() && !queue.starved.replace(true) {
            self.starved.set(self.starved.get() + 1);
        }
        let have = usize::from(queue.entries.get());
        self.grow(number, have.min(self.plan.depth.saturating_sub(have)));
    }

    fn grow(self: &Rc<Self>, queue: u16, count: usize) {
        if count > 0
            && let Err(error) = self.open(queue, count)
        {
            tracing::warn!(%error, queue, "no memory for more entries");
        }
    }

    /// Whether requests may wait in the kernel for entries to be committed.
    pub(crate) fn starved(&self) -> bool {
        self.starved.get() > 0
    }

    /// What was staged is with the kernel, and `completed` is what it gave back at once. Sees to it that no request stays in the
    /// kernel while there are idle entries for it.
    pub(crate) fn submitted(&self, completed: &[usize]) {
        for (queue, number) in self.committed.borrow_mut().drain(..) {
            // A commit that brought no request found none waiting.
            if !completed.contains(&number) && self.queues[usize::from(queue)].starved.replace(false) {
                self.starved.set(self.starved.get() - 1);
            }
        }
        for (number, queue) in self.queues.iter().enumerate().filter(|(_, queue)| queue.starved.get()) {
            if queue.progress.replace(false) {
                continue;
            }
            // Every handler waits for something, and the entries that were added get what comes next, not what waits: a
            // request of our own gets one of them, and its commit hands out the first that waits.
            if queue.serving.get() < queue.entries.get() && !queue.kicked.replace(true) {
                self.service.shared.line.kick(number);
            }
        }
    }

    /// Decides who serves a request: a worker whose queue it is and who has nothing to do, one who is to take some of what is
    /// at hand, or, `None`, this one.
    fn elsewhere(&self, queue: u16) -> Option<usize> {
        let home = self.crew.home(queue);
        if home != self.service.worker && self.crew.claim(home) {
            return Some(home);
        }
        let (worker, left) = self.share.get()?;
        self.share.set(if left > 1 { Some((worker, left - 1)) } else { None });
        Some(worker)
    }

    /// Lets another worker serve the next few requests, if one has had nothing to do for a while: as long as requests come to
    /// it all the time, its CPU is busy with their programs.
    pub(crate) fn share(&self, count: usize) {
        match self.crew.claim_any(self.service.worker, IDLE_CPU) {
            Some(worker) => self.share.set(Some((worker, count))),
            None => self.crew.call_for_help(),
        }
    }

    /// How many requests all workers have served so far.
    pub(crate) fn served_by_all(&self) -> u64 {
        self.service.shared.counters.iter().map(|counters| counters.committed.get()).sum()
    }

    /// How many requests carried much since this was last called, for one thread on this CPU, while nobody else asked for
    /// anything.
    pub(crate) fn bulk(&self) -> usize {
        let bulk = self.home.as_ref().map_or(0, |home| home.bulk());
        if bulk > 0 && self.crew.others_wait(self.service.worker) { bulk } else { 0 }
    }

    /// So many requests have come at once.
    pub(crate) fn came(&self, together: usize) {
        if together > 0 {
            self.together.set(together);
            if let Some(home) = &self.home {
                home.turn();
            }
        }
    }

    /// The requests at hand have been begun, and what was to be shared and is not.
    pub(crate) fn next_turn(&self) {
        self.share.set(None);
        self.turn.set(self.turn.get().wrapping_add(1));
    }

    fn hand_over(&self, worker: usize, entry: Entry, framing: Framing) -> Result<(), Entry> {
        let Entry { number, queue, slot, registered } = entry;
        self.pages.gone(number);
        match self.crew.send(worker, Letter::HandOver(HandOver { queue, slot, framing, room: None })) {
            Err(Letter::HandOver(HandOver { slot, .. })) => {
                self.pages.add(number, slot.shared());
                Err(Entry { number, queue, slot, registered })
            }
            _ => Ok(()),
        }
    }
}
