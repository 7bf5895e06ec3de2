//! What all threads of a session share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ringfuse_abi as abi;

use crate::dispatch::Extras;
use crate::proto::op;
use crate::session::interrupt::Interrupts;
use crate::session::stats::{Counters, Stats};
use crate::transport::device::Device;

/// The numbers of retrieve notifications start here: even, and far from those of requests.
const FIRST_RETRIEVE: u64 = 1 << 48;

/// The state that workers, control thread and notifier have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    device: Mutex<Option<Arc<Device>>>,
    pub(crate) interrupts: Interrupts,
    pub(crate) counters: Box<[Counters]>,
    retrieves: Mutex<HashMap<u64, flume::Sender<Retrieved>>>,
    next_retrieve: AtomicU64,
    retrieve_limit: u32,
}

/// What a retrieve notification brought.
#[derive(Debug)]
pub(crate) struct Retrieved {
    pub(crate) offset: u64,
    pub(crate) data: Vec<u8>,
}

impl Shared {
    pub(crate) fn new(device: Arc<Device>, workers: usize, payload: usize) -> Self {
        Self {
            device: Mutex::new(Some(device)),
            interrupts: Interrupts::default(),
            counters: (0..workers).map(|_| Counters::default()).collect(),
            retrieves: Mutex::default(),
            next_retrieve: AtomicU64::new(FIRST_RETRIEVE),
            retrieve_limit: (payload - size_of::<abi::fuse_notify_retrieve_in>()) as u32,
        }
    }

    /// The device, until the session has ended.
    pub(crate) fn device(&self) -> Option<Arc<Device>> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets go of the device: whoever still holds a notifier must not keep the mount's connection alive.
    pub(crate) fn close(&self) {
        self.device.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.retrieves.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats::sum(&self.counters)
    }

    /// Makes a number for a retrieve notification, and the place where its answer will come.
    pub(crate) fn expect_retrieve(&self) -> (u64, flume::Receiver<Retrieved>) {
        let unique = self.next_retrieve.fetch_add(2, Ordering::Relaxed);
        let (sender, receiver) = flume::bounded(1);
        self.retrieves.lock().unwrap_or_else(PoisonError::into_inner).insert(unique, sender);
        (unique, receiver)
    }

    /// The most that may be asked for: the answer must fit into a payload together with its head, which the kernel
    /// does not check (it would stop with a bug report).
    pub(crate) fn retrieve_limit(&self) -> u32 {
        self.retrieve_limit
    }

    /// No answer will come, as the notification was not accepted.
    pub(crate) fn abandon_retrieve(&self, unique: u64) {
        self.retrieves.lock().unwrap_or_else(PoisonError::into_inner).remove(&unique);
    }
}

impl Extras for Shared {
    fn notify_reply(&self, reply: op::NotifyReply<'_>) {
        let waiting =
            self.retrieves.lock().unwrap_or_else(PoisonError::into_inner).remove(&reply.notify_unique);
        if let Some(sender) = waiting {
            // Whoever asked may have gone; then the data goes too.
            let _ = sender.send(Retrieved { offset: reply.offset, data: reply.data.to_vec() });
        }
    }

    fn interrupt(&self, interrupt: op::Interrupt) {
        self.interrupts.interrupt(interrupt.unique);
    }
}
