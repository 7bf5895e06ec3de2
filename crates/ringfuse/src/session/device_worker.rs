//! A worker on the device: one task at a time reads it, and serves what it read after passing the reading on.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::ops::Deref;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::dispatch::{Framing, Outcome};
use crate::fs::Filesystem;
use crate::mem::{Arena, Layout, Slot};
use crate::proto::decode::wants_no_reply;
use crate::proto::message::in_header;
use crate::session::ending::{Ending, Live, unanswered};
use crate::session::entry::{Port, Service};
use crate::session::executor::{Executor, UNSEEN};
use crate::session::tasks::Tasks;
use crate::transport::device::{Device, Received};

/// How many requests one worker may serve at once. Each that waits, for a lock perhaps, holds one; beyond it even the
/// interrupts that would end such waits could not be read.
const MAX_ENTRIES: usize = 4096;

/// Who of a worker's tasks reads the device. The last to become idle is the next to read: its memory is warm.
#[derive(Debug)]
struct Reading {
    /// Nobody reads, and nobody was idle to take it over.
    vacant: Cell<bool>,
    idle: RefCell<Vec<Rc<Turn>>>,
    /// The reader found nothing and waits for the device.
    parked: RefCell<Option<Waker>>,
    ended: Cell<bool>,
}

/// One task's place in the queue of idle ones.
#[derive(Debug, Default)]
struct Turn {
    called: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Reading {
    fn new() -> Self {
        Self {
            vacant: Cell::new(true),
            idle: RefCell::default(),
            parked: RefCell::default(),
            ended: Cell::new(false),
        }
    }

    /// Waits until it is this task's turn to read.
    async fn turn(&self, turn: &Rc<Turn>) {
        if self.vacant.replace(false) {
            return;
        }
        self.idle.borrow_mut().push(turn.clone());
        poll_fn(|cx| {
            if turn.called.take() {
                return Poll::Ready(());
            }
            turn.waker.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// Passes the reading on.
    fn pass(&self) {
        match self.idle.borrow_mut().pop() {
            Some(turn) => {
                turn.called.set(true);
                if let Some(waker) = turn.waker.take() {
                    waker.wake();
                }
            }
            None => self.vacant.set(true),
        }
    }

    /// Waits until the device may have something.
    async fn park(&self) {
        let mut waited = false;
        poll_fn(|cx| {
            if waited && self.parked.borrow().is_none() {
                return Poll::Ready(());
            }
            waited = true;
            self.parked.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    fn unpark(&self) {
        if let Some(waker) = self.parked.take() {
            waker.wake();
        }
    }
}

/// Serves until the mount is gone and all requests have been answered.
pub(crate) fn serve<F, P>(
    device: Device,
    (layout, depth): (Layout, usize),
    service: &Rc<Service<P>>,
    executor: &Rc<Executor>,
    ending: &Ending,
) -> io::Result<()>
where
    F: Filesystem,
    P: Deref<Target = F> + Clone + 'static,
{
    let device = Rc::new(device);
    let reading = Rc::new(Reading::new());
    let live = Live::default();
    let tasks = Tasks::new(executor.waker());
    let grow = |count| -> io::Result<()> {
        for slot in Arena::slots(layout, count)? {
            let port = DevicePort { device: device.clone(), reading: reading.clone(), turn: Rc::default() };
            service.add((executor, &tasks), port, slot, live.one_more());
        }
        Ok(())
    };
    grow(depth)?;
    loop {
        tasks.poll_woken();
        let mut more = executor.run();
        if live.none() {
            return Ok(());
        }
        // All tasks serve, and none is left to read what comes next.
        if reading.vacant.get() && !reading.ended.get() && live.count() < MAX_ENTRIES {
            grow(depth)?;
            continue;
        }
        more |= executor.prepare_wait() | tasks.any_woken();
        let due = executor.timeout().into_iter().chain(executor.unseen().then_some(UNSEEN)).min();
        let timeout = if more { Some(Duration::ZERO) } else { ending.limit(due) };
        let (readable, runtime) = wait(&device, executor, reading.parked.borrow().is_some(), timeout)?;
        if !readable && executor.unseen() {
            executor.flush();
        }
        if readable {
            reading.unpark();
        }
        if runtime || executor.timeout() == Some(Duration::ZERO) {
            executor.poll();
        }
        if ending.is_over() {
            return Err(unanswered(live.count()));
        }
    }
}

/// Waits for the device, if it is to be read, and for the runtime. Returns which of them are ready.
fn wait(
    device: &Device,
    executor: &Executor,
    read: bool,
    timeout: Option<Duration>,
) -> io::Result<(bool, bool)> {
    let device = PollFd::from_borrowed_fd(device.as_fd(), PollFlags::IN);
    let runtime = PollFd::from_borrowed_fd(executor.as_fd(), PollFlags::IN);
    let mut fds = [runtime, device];
    let fds = if read { &mut fds[..] } else { &mut fds[..1] };
    // A timeout too long for the type is no timeout.
    let timespec = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    match poll(fds, timespec.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
    Ok((ready(1), ready(0)))
}

/// A slot that requests of the device are read into.
struct DevicePort {
    device: Rc<Device>,
    reading: Rc<Reading>,
    turn: Rc<Turn>,
}

impl Port for DevicePort {
    async fn receive(&mut self, slot: &mut Slot) -> Option<Framing> {
        self.reading.turn(&self.turn).await;
        loop {
            if self.reading.ended.get() {
                self.reading.pass();
                return None;
            }
            match self.device.receive(slot) {
                Ok(Received::Message(len)) => {
                    self.reading.pass();
                    let header = in_header(slot.device_area(len)).unwrap_or_default();
                    return Some(Framing::Device { header, len });
                }
                Ok(Received::Nothing) => self.reading.park().await,
                Ok(Received::Ended) => self.reading.ended.set(true),
                Err(error) => {
                    tracing::error!(%error, "cannot read /dev/fuse");
                    self.reading.ended.set(true);
                }
            }
        }
    }

    fn answer(&mut self, slot: &mut Slot, framing: &Framing, outcome: Outcome) {
        answer(&self.device, slot, framing, outcome);
    }
}

/// Writes the answer of a request that was read from the device, if one is wanted.
pub(crate) fn answer(device: &Device, slot: &Slot, framing: &Framing, outcome: Outcome) {
    let header = framing.header();
    if wants_no_reply(header.opcode) {
        return;
    }
    let body = slot.payload(if outcome.error == 0 { outcome.len } else { 0 });
    if let Err(error) = device.reply(header.unique, outcome.error, body) {
        tracing::error!(%error, opcode = header.opcode, unique = header.unique, "cannot answer a request");
    }
}
