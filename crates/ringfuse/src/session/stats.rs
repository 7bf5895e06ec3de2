//! Counters that prove that nothing is lost.

use std::sync::atomic::{AtomicU64, Ordering};

/// One worker's counters. Only the worker adds to them.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Requests that came.
    pub(crate) received: Counter,
    /// Requests that were answered, and entries given back where no answer is wanted.
    pub(crate) committed: Counter,
    /// Messages of the control path, forgets above all.
    pub(crate) control: Counter,
}

/// A number that one thread adds to and all may read.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn increment(&self) {
        // A single writer needs no locked instruction.
        self.0.store(self.0.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a session has done so far, over all its workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Requests that came by the session's transport.
    pub received: u64,
    /// Requests that were answered; once the session has ended, as many as were received.
    pub committed: u64,
    /// Messages that came by the control path: forgets, and whatever came before the ring was ready.
    pub control: u64,
}

impl Stats {
    pub(crate) fn sum<'a>(counters: impl IntoIterator<Item = &'a Counters>) -> Self {
        counters.into_iter().fold(Self::default(), |sum, one| Self {
            received: sum.received + one.received.get(),
            committed: sum.committed + one.committed.get(),
            control: sum.control + one.control.get(),
        })
    }
}
