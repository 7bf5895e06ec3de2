//! What all threads of a session share.

use std::sync::Arc;

use crate::dispatch::Extras;
use crate::notify::Line;
use crate::proto::op;
use crate::session::interrupt::Interrupts;
use crate::session::stats::{Counters, Stats};

/// The state that workers, control thread and notifier have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) line: Arc<Line>,
    pub(crate) interrupts: Interrupts,
    pub(crate) counters: Box<[Counters]>,
}

impl Shared {
    pub(crate) fn new(line: Arc<Line>, workers: usize) -> Self {
        Self {
            line,
            interrupts: Interrupts::default(),
            counters: (0..workers).map(|_| Counters::default()).collect(),
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats::sum(&self.counters)
    }
}

impl Extras for Shared {
    fn notify_reply(&self, reply: op::NotifyReply<'_>) {
        self.line.answer(reply);
    }

    fn interrupt(&self, interrupt: op::Interrupt) {
        self.interrupts.interrupt(interrupt.unique);
    }
}
