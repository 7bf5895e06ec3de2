//! Which request a signal is meant for.
//!
//! An `INTERRUPT` and the request it names come by different ways and may be seen in either order. It is best effort: the
//! kernel sends none where the signal came while a request was still queued for the ring.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::mem::SlotShared;
use crate::types::Unique;

/// How many interrupts are kept for requests that have not been seen. Those of requests that were answered meanwhile
/// stay until newer ones push them out; numbers are not used again.
const PENDING: usize = 64;

/// All slots of a session, and interrupts that no slot was found for.
#[derive(Debug, Default)]
pub(crate) struct Interrupts {
    slots: Mutex<Vec<Arc<SlotShared>>>,
    pending: Mutex<VecDeque<u64>>,
    pending_len: AtomicUsize,
}

impl Interrupts {
    pub(crate) fn add(&self, slot: Arc<SlotShared>) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
    }

    /// A slot begins to serve a request.
    pub(crate) fn begin(&self, slot: &SlotShared, unique: u64) {
        slot.cancelled.store(false, Ordering::Relaxed);
        // Sequentially consistent against `interrupt`: either it sees this number, or this sees what it left.
        slot.unique.store(unique, Ordering::SeqCst);
        if self.pending_len.load(Ordering::SeqCst) != 0 && self.take_pending(unique) {
            slot.cancelled.store(true, Ordering::Release);
        }
    }

    /// A slot has served its request.
    pub(crate) fn end(&self, slot: &SlotShared) {
        slot.unique.store(0, Ordering::Release);
    }

    /// A signal came for the program that waits for this request.
    pub(crate) fn interrupt(&self, unique: Unique) {
        {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            if pending.len() == PENDING {
                pending.pop_front();
            }
            pending.push_back(unique.get());
            self.pending_len.store(pending.len(), Ordering::SeqCst);
        }
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.iter().find(|slot| slot.unique.load(Ordering::SeqCst) == unique.get()) {
            cancel(slot);
            self.take_pending(unique.get());
        }
    }

    /// The session ends: whoever still waits for something may stop.
    pub(crate) fn interrupt_all(&self) {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.iter().filter(|slot| slot.unique.load(Ordering::SeqCst) != 0).for_each(|slot| cancel(slot));
    }

    fn take_pending(&self, unique: u64) -> bool {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = pending.iter().position(|&one| one == unique) else { return false };
        pending.remove(at);
        self.pending_len.store(pending.len(), Ordering::SeqCst);
        true
    }
}

fn cancel(slot: &SlotShared) {
    slot.cancelled.store(true, Ordering::Release);
    slot.cancel.wake();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::{Arena, Layout, Slot};

    fn slot(interrupts: &Interrupts) -> Slot {
        let slot = Arena::slots(Layout::for_payload(8192), 1).unwrap().remove(0);
        interrupts.add(slot.shared().clone());
        slot
    }

    fn cancelled(slot: &Slot) -> bool {
        slot.shared().cancelled.load(Ordering::Acquire)
    }

    #[test]
    fn an_interrupt_finds_its_request_in_either_order() {
        let interrupts = Interrupts::default();
        let (first, second) = (slot(&interrupts), slot(&interrupts));
        interrupts.begin(first.shared(), 10);
        interrupts.interrupt(Unique(10));
        assert!(cancelled(&first) && !cancelled(&second));

        interrupts.interrupt(Unique(12));
        interrupts.begin(second.shared(), 12);
        assert!(cancelled(&second));
        assert_eq!(interrupts.pending_len.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn the_next_request_of_a_slot_starts_afresh() {
        let interrupts = Interrupts::default();
        let slot = slot(&interrupts);
        interrupts.begin(slot.shared(), 10);
        interrupts.interrupt(Unique(10));
        interrupts.end(slot.shared());
        interrupts.begin(slot.shared(), 12);
        assert!(!cancelled(&slot));
    }

    #[test]
    fn interrupts_of_unknown_requests_are_kept_within_bounds() {
        let interrupts = Interrupts::default();
        let slot = slot(&interrupts);
        for unique in 0..1000 {
            interrupts.interrupt(Unique(unique * 2 + 2));
        }
        assert_eq!(interrupts.pending.lock().unwrap().len(), PENDING);
        interrupts.begin(slot.shared(), 2);
        assert!(!cancelled(&slot), "the oldest is forgotten");
    }
}
