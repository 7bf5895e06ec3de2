//! Dropping what may take its time.
//!
//! The kernel tells that it has forgotten a file when its last name is gone already for who removed it. So the blocks that go
//! with the file are still in use for a moment that he does not expect; who finds no room then has to wait for them.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{self, Sender};
use std::thread;

/// A thread on which things are dropped that may take their time.
#[derive(Debug)]
pub(super) struct Reaper {
    sender: Option<Sender<Box<dyn Any + Send>>>,
    left: Arc<AtomicUsize>,
}

impl Reaper {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::channel::<Box<dyn Any + Send>>();
        let left = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&left);
        let work = move || {
            for thing in receiver {
                drop(thing);
                count.fetch_sub(1, Relaxed);
            }
        };
        // Without it things are dropped where they are.
        let thread = thread::Builder::new().name("ringfuse-reaper".to_owned()).spawn(work);
        Self { sender: thread.is_ok().then_some(sender), left }
    }

    pub(super) fn take(&self, thing: impl Send + 'static) {
        if let Some(sender) = &self.sender {
            self.left.fetch_add(1, Relaxed);
            let _ = sender.send(Box::new(thing));
        }
    }

    /// Whether there is anything that is to be dropped.
    pub(super) fn is_busy(&self) -> bool {
        self.left.load(Relaxed) > 0
    }

    /// Waits until all is gone that was to be dropped.
    pub(super) fn settle(&self) {
        let (end, gone) = mpsc::channel::<()>();
        self.take(end);
        // Nothing is ever sent: the other end is dropped when its turn comes.
        let _ = gone.recv();
    }
}
