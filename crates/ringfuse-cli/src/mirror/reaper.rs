//! Dropping what may take its time.

use std::any::Any;
use std::sync::mpsc;
use std::thread;

/// A thread on which things are dropped that may take their time.
#[derive(Debug)]
pub(super) struct Reaper(Option<mpsc::Sender<Box<dyn Any + Send>>>);

impl Reaper {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::channel();
        let work = move || receiver.into_iter().for_each(drop);
        // Without it things are dropped where they are.
        let thread = thread::Builder::new().name("ringfuse-reaper".to_owned()).spawn(work);
        Self(thread.is_ok().then_some(sender))
    }

    pub(super) fn take(&self, thing: impl Send + 'static) {
        if let Some(sender) = &self.0 {
            let _ = sender.send(Box::new(thing));
        }
    }
}
