//! The memory of entries that large requests go through: on huge pages while many do, and given back once things are quiet.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::mem::{HUGE, SlotShared};

/// Payloads beyond this count as large.
const LARGE: usize = 64 << 10;

/// So many large requests through one entry, and others will follow: it gets huge pages. That takes as long as a few of them.
const MANY: u32 = 64;

/// For how long nothing must happen before memory is given back.
const QUIET: Duration = Duration::from_secs(1);

/// A worker's entries.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    /// By number.
    slots: RefCell<Vec<Option<Arc<SlotShared>>>>,
    /// The numbers of those with much memory.
    fat: RefCell<Vec<usize>>,
    last: Cell<Option<Instant>>,
}

impl Pages {
    /// An entry has come to this worker.
    pub(crate) fn add(&self, number: usize, slot: &Arc<SlotShared>) {
        let mut slots = self.slots.borrow_mut();
        if slots.len() <= number {
            slots.resize(number + 1, None);
        }
        slots[number] = Some(slot.clone());
    }

    /// An entry leaves this worker.
    pub(crate) fn gone(&self, number: usize) {
        self.fat.borrow_mut().retain(|other| *other != number);
        if let Some(slot) = self.slots.borrow_mut()[number].take() {
            slot.fat.store(false, Ordering::Relaxed);
        }
    }

    /// A request of that size has passed through an entry.
    pub(crate) fn passed(&self, number: usize, slot: &SlotShared, len: usize) {
        let huge = slot.huge.load(Ordering::Relaxed);
        if len > LARGE && !huge {
            let many = slot.large.fetch_add(1, Ordering::Relaxed) + 1;
            // Where it cannot be done, it is tried ever more rarely.
            if many >= MANY && many.is_power_of_two() {
                self.gather(slot);
            }
        }
        if len > LARGE || huge {
            self.fatten(number, slot);
        }
    }

    fn fatten(&self, number: usize, slot: &SlotShared) {
        if !slot.fat.swap(true, Ordering::Relaxed) {
            self.fat.borrow_mut().push(number);
        }
    }

    /// Has the payload on huge pages, where those are this worker's as a whole: who gives back a part of one frees nothing
    /// until the others do.
    fn gather(&self, slot: &SlotShared) {
        let slots = self.slots.borrow();
        for frame in slot.frames() {
            let all = || slots.iter().enumerate().filter_map(|(number, slot)| Some((number, slot.as_ref()?)));
            let mates = || all().filter(|(_, mate)| mate.within(frame) > 0);
            if mates().map(|(_, mate)| mate.within(frame)).sum::<usize>() < HUGE {
                continue;
            }
            match slot.gather(frame) {
                Ok(()) => mates().for_each(|(number, mate)| {
                    mate.huge.store(true, Ordering::Relaxed);
                    self.fatten(number, mate);
                }),
                Err(error) => tracing::debug!(%error, "no huge page for entries"),
            }
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
    pub(crate) fn trim(&self, mut release: impl FnMut(usize, &SlotShared) -> bool) {
        if self.fat.borrow().is_empty() || self.last.get().is_some_and(|last| last.elapsed() < QUIET) {
            return;
        }
        let slots = self.slots.borrow();
        self.fat.borrow_mut().retain(|number| {
            let Some(slot) = &slots[*number] else { return false };
            let released = release(*number, slot);
            if released {
                slot.fat.store(false, Ordering::Relaxed);
                slot.huge.store(false, Ordering::Relaxed);
                slot.large.store(0, Ordering::Relaxed);
            }
            !released
        });
        self.last.set(Some(Instant::now()));
    }
}
