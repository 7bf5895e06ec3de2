//! Which entries have much memory in use, to be given back once things are quiet.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::mem::SlotShared;

/// Payloads beyond this count as large.
const LARGE: usize = 64 << 10;

/// What an entry keeps of its payload.
pub(crate) const KEPT: usize = 16 << 10;

/// For how long nothing must happen before memory is given back.
const QUIET: Duration = Duration::from_secs(1);

/// A worker's list.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    fat: RefCell<Vec<(usize, Arc<SlotShared>)>>,
    last: Cell<Option<Instant>>,
}

impl Pages {
    /// A request of that size has passed through an entry.
    pub(crate) fn passed(&self, number: usize, slot: &Arc<SlotShared>, len: usize) {
        if len > LARGE && !slot.fat.swap(true, Ordering::Relaxed) {
            self.fat.borrow_mut().push((number, slot.clone()));
        }
    }

    /// An entry leaves this worker.
    pub(crate) fn gone(&self, slot: &Arc<SlotShared>) {
        if slot.fat.swap(false, Ordering::Relaxed) {
            self.fat.borrow_mut().retain(|(_, other)| !Arc::ptr_eq(other, slot));
        }
    }

    /// Requests have come.
    pub(crate) fn busy(&self) {
        if !self.fat.borrow().is_empty() {
            self.last.set(Some(Instant::now()));
        }
    }

    /// How long to wait at most, for memory to be given back in time.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        if self.fat.borrow().is_empty() { None } else { Some(QUIET) }
    }

    /// Gives memory back, if it has been quiet long enough. `release` does it for one entry, and says whether it could.
    pub(crate) fn trim(&self, mut release: impl FnMut(usize, &Arc<SlotShared>) -> bool) {
        if self.fat.borrow().is_empty() || self.last.get().is_some_and(|last| last.elapsed() < QUIET) {
            return;
        }
        self.fat.borrow_mut().retain(|(number, slot)| {
            let released = release(*number, slot);
            if released {
                slot.fat.store(false, Ordering::Relaxed);
            }
            !released
        });
        self.last.set(Some(Instant::now()));
    }
}
