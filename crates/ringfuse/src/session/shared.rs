//! What all threads of a session share.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::dispatch::Extras;
use crate::notify::Line;
use crate::proto::op;
use crate::session::interrupt::Interrupts;
use crate::session::stats::{Counters, Stats};
use crate::types::{Fh, Keep, NodeId, Opened};

/// The state that workers, control thread and notifier have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) line: Arc<Line>,
    pub(crate) interrupts: Interrupts,
    /// One a worker, and the control thread's at the end.
    pub(crate) counters: Box<[Counters]>,
    /// What the open files of the mount keep alive.
    kept: Kept,
}

/// Things that live as long as a file is open, by node and handle. A handle may be used for several opens.
#[derive(Debug, Default)]
struct Kept {
    files: Mutex<HashMap<(NodeId, Fh), VecDeque<Keep>>>,
    /// How many there are, so that a mount without any need not look.
    count: AtomicUsize,
}

impl Shared {
    pub(crate) fn new(line: Arc<Line>, workers: usize) -> Self {
        Self {
            line,
            interrupts: Interrupts::default(),
            counters: (0..=workers).map(|_| Counters::default()).collect(),
            kept: Kept::default(),
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

    fn opened(&self, node: NodeId, opened: &Opened) {
        if let Some(keep) = opened.keep() {
            let mut files = self.kept.files.lock().unwrap_or_else(PoisonError::into_inner);
            files.entry((node, opened.fh())).or_default().push_back(keep.clone());
            self.kept.count.fetch_add(1, Ordering::Release);
        }
    }

    fn released(&self, node: NodeId, fh: Fh) {
        if self.kept.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut files = self.kept.files.lock().unwrap_or_else(PoisonError::into_inner);
        let Entry::Occupied(mut file) = files.entry((node, fh)) else { return };
        // The oldest: a release comes late, when the next open with that handle may have been answered already.
        let keep = file.get_mut().pop_front();
        if file.get().is_empty() {
            file.remove();
        }
        self.kept.count.fetch_sub(1, Ordering::Release);
        // Outside the lock: its end is a system call.
        drop(files);
        drop(keep);
    }

    fn interrupt(&self, interrupt: op::Interrupt) {
        self.interrupts.interrupt(interrupt.unique);
    }
}
