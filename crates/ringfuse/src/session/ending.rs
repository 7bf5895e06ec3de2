//! When a worker is done.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long handlers may go on once the mount is gone. Each is told by its cancellation.
const GRACE: Duration = Duration::from_secs(5);

/// Whether the session ends, and how long handlers that still run are waited for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ending(Rc<Cell<Option<Instant>>>);

impl Ending {
    /// The mount is gone.
    pub(crate) fn begin(&self) {
        self.0.set(Some(Instant::now() + GRACE));
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.0.get().is_some()
    }

    /// A wait of that long, cut where the grace ends.
    pub(crate) fn limit(&self, timeout: Option<Duration>) -> Option<Duration> {
        let Some(deadline) = self.0.get() else { return timeout };
        let left = deadline.saturating_duration_since(Instant::now());
        Some(timeout.map_or(left, |timeout| timeout.min(left)))
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.get().is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// The error of a worker that gives up on handlers.
pub(crate) fn unanswered(handlers: usize) -> io::Error {
    io::Error::other(format!(
        "{handlers} entries still had a handler at work {GRACE:?} after the mount was gone"
    ))
}

/// Counts entries that have not ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Live(Rc<Cell<usize>>);

/// One entry that has not ended; counted until it is dropped.
#[derive(Debug)]
pub(crate) struct One(Live);

impl Live {
    pub(crate) fn one_more(&self) -> One {
        self.0.set(self.0.get() + 1);
        One(self.clone())
    }

    pub(crate) fn count(&self) -> usize {
        self.0.get()
    }

    pub(crate) fn none(&self) -> bool {
        self.count() == 0
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.0.set(self.0.0.get() - 1);
    }
}
