//! The life of one entry: receive, serve, answer, over and over.

use std::future::poll_fn;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use crate::dispatch::{self, Framing, Outcome};
use crate::fs::{Filesystem, Forgets};
use crate::mem::Slot;
use crate::proto::Format;
use crate::proto::message::in_header;
use crate::session::executor::{Activity, Executor};
use crate::session::shared::Shared;
use crate::session::tasks::Tasks;
use crate::transport::ring::entry_header;

/// How one entry's requests come and how its answers go.
pub(crate) trait Port: 'static {
    /// Waits for the next request, which then lies in the slot. `None` once there will be no more.
    async fn receive(&mut self, slot: &mut Slot) -> Option<Framing>;

    /// The request in the slot has to wait for something.
    fn waits(&mut self);

    /// Answers the request in the slot.
    fn answer(&mut self, slot: &mut Slot, framing: &Framing, outcome: Outcome);
}

/// What the entries of one worker have in common.
pub(crate) struct Service<P> {
    pub(crate) fs: P,
    pub(crate) shared: Arc<Shared>,
    pub(crate) worker: usize,
    pub(crate) format: Format,
}

impl<F: Filesystem, P: Deref<Target = F> + Clone + 'static> Service<P> {
    /// Adds the task of an entry of the device; `ended` is dropped with it.
    pub(crate) fn add<T: 'static>(
        self: &Rc<Self>,
        (executor, tasks): (&Rc<Executor>, &Tasks),
        port: impl Port,
        slot: Slot,
        ended: T,
    ) {
        self.shared.interrupts.add(slot.shared().clone());
        let (service, executor) = (self.clone(), executor.clone());
        let activity = Activity::default();
        tasks.add(|_| async move {
            executor.watch(activity.clone(), service.run(port, slot, activity)).await;
            drop(ended);
        });
    }

    async fn run(&self, mut port: impl Port, mut slot: Slot, activity: Activity) {
        let counters = &self.shared.counters[self.worker];
        while let Some(framing) = port.receive(&mut slot).await {
            counters.received.increment();
            activity.set(true);
            let outcome = {
                let mut served = pin!(self.serve(&mut slot, framing));
                poll_fn(|cx| {
                    let polled = served.as_mut().poll(cx);
                    if polled.is_pending() {
                        port.waits();
                    }
                    polled
                })
                .await
            };
            port.answer(&mut slot, &framing, outcome);
            activity.set(false);
            counters.committed.increment();
        }
    }

    /// Gives lookup counts back. A filesystem that panics over them costs these counts, and no more (I7).
    pub(crate) fn forget(&self, batch: Forgets<'_>) {
        if catch_unwind(AssertUnwindSafe(|| self.fs.forget(batch))).is_err() {
            tracing::error!("the filesystem panicked over a forget: its lookup counts are off by now");
        }
    }

    /// Serves the request in a slot. When it returns, no loan of the slot is out (I2).
    pub(crate) async fn serve(&self, slot: &mut Slot, framing: Framing) -> Outcome {
        let interrupts = &self.shared.interrupts;
        interrupts.begin(slot.shared(), framing.header().unique);
        let outcome = dispatch::serve(&*self.fs, &*self.shared, self.format, framing, slot).await;
        slot.all_home().await;
        interrupts.end(slot.shared());
        outcome
    }
}

/// How the request lies in an entry that the ring has just given back.
pub(crate) fn framing(slot: &Slot) -> Framing {
    let area = slot.header_area();
    let payload = entry_header(area).payload_sz as usize;
    Framing::Ring { header: in_header(area).unwrap_or_default(), payload }
}
