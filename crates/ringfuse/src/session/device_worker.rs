//! A worker on the device: one task at a time reads it, and serves what it read. Where that has to wait for something, another
//! reads from there on.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::mem::{self, MaybeUninit};
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};

use crate::dispatch::{Framing, Outcome};
use crate::fs::Filesystem;
use crate::mem::{Arena, Slot};
use crate::proto::decode::wants_no_reply;
use crate::proto::message::in_header;
use crate::session::attempts::Attempts;
use crate::session::ending::{Ending, Live, unanswered};
use crate::session::entry::{Port, Service};
use crate::session::executor::Executor;
use crate::session::follower::Follower;
use crate::session::plan::Plan;
use crate::session::readers::{Post, new_timer, set_timer};
use crate::session::tasks::Tasks;
use crate::transport::device::{Device, Received};

/// How often tasks that wake each other are polled before a look at what else is ready.
const PASSES: usize = 8;

/// Who of a worker's tasks reads the device. The last to become idle is the next to read: its memory is warm.
#[derive(Debug)]
struct Reading {
    /// Nobody reads, and nobody was idle to take it over.
    vacant: Cell<bool>,
    idle: RefCell<Vec<Rc<Turn>>>,
    /// The reader found nothing and waits for the device.
    parked: RefCell<Option<Waker>>,
    /// Whether this worker reads, or is in reserve: then nobody does before it is needed.
    post: Post,
    /// Whether to read at once after a request was read, in the hope of another, or to wait for the device first. Under load
    /// the former saves a system call a request; for a program that waits for each answer it wastes one.
    probing: Attempts,
    follower: Follower,
    ended: Cell<bool>,
}

/// One task's place in the queue of idle ones.
#[derive(Debug, Default)]
struct Turn {
    called: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Reading {
    fn new(post: Post) -> Self {
        Self {
            vacant: Cell::new(true),
            idle: RefCell::default(),
            parked: RefCell::default(),
            post,
            probing: Attempts::default(),
            follower: Follower::new(),
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

    fn end(&self) {
        self.ended.set(true);
        self.unpark();
    }

    fn unpark(&self) {
        if let Some(waker) = self.parked.take() {
            waker.wake();
        }
    }
}

/// Serves until the mount is gone and all requests have been answered. `gone` is called as soon as the former is known.
pub(crate) fn serve<F, P>(
    device: Device,
    plan: &Plan,
    service: &Rc<Service<P>>,
    executor: &Rc<Executor>,
    post: Post,
    (ending, gone): (&Ending, &dyn Fn()),
) -> io::Result<()>
where
    F: Filesystem,
    P: Deref<Target = F> + Clone + 'static,
{
    let device = Rc::new(device);
    let reading = Rc::new(Reading::new(post));
    let post = &reading.post;
    let live = Live::default();
    let tasks = Tasks::new(executor.waker());
    let waiting = Waiting::new(&device, executor, post)?;
    let grow = |count| -> io::Result<()> {
        for slot in Arena::slots(plan.layout, count)? {
            let (device, reading) = (device.clone(), reading.clone());
            let port = DevicePort { device, reading, turn: Rc::default(), reads: false };
            service.add((executor, &tasks), port, slot, live.one_more());
        }
        Ok(())
    };
    grow(plan.depth)?;
    let (mut told, mut alarm) = (false, false);
    loop {
        // Who has served a request reads again, or passed the reading on: that, too, is to be through before a look at what
        // else there is.
        for _ in 0..PASSES {
            tasks.poll_woken();
            if !tasks.any_woken() {
                break;
            }
        }
        let mut more = executor.run();
        if reading.ended.get() && !mem::replace(&mut told, true) {
            gone();
        }
        if live.none() {
            return Ok(());
        }
        // Who is in reserve does not see the device's end.
        if ending.has_begun() && !reading.ended.get() {
            reading.end();
            continue;
        }
        // All tasks serve, and none is left to read what comes next.
        let nobody_reads = reading.vacant.get() && !reading.ended.get();
        if nobody_reads && live.count() < plan.most {
            grow(plan.depth.min(plan.most - live.count()))?;
            continue;
        }
        if !alarm && let Some(after) = executor.unseen() {
            set_timer(&waiting.alarm, after)?;
            alarm = true;
        }
        more |= executor.prepare_wait() | tasks.any_woken();
        let timeout = if more { Some(Duration::ZERO) } else { ending.limit(executor.timeout()) };
        let ready = if nobody_reads {
            let ready = waiting.unread(&device, executor, alarm, timeout)?;
            reading.ended.set(ready.device);
            ready
        } else {
            let waits = timeout != Some(Duration::ZERO);
            if waits {
                post.set_busy(false);
            }
            let ready = waiting.wait(timeout)?;
            if waits {
                post.set_busy(true);
            }
            ready
        };
        if ready.alarm {
            alarm = false;
            executor.look();
        }
        post.turned(if post.is_first() {
            reading.follower.wants_company()
        } else {
            reading.follower.sees_backlog()
        });
        if ready.look && post.look(|| device.request_waits()) {
            waiting.add(&device)?;
        }
        if ready.device {
            reading.unpark();
            if post.woken() {
                waiting.remove(&device)?;
            }
        }
        if ready.runtime || executor.timeout() == Some(Duration::ZERO) {
            executor.poll();
        }
        if ending.is_over() {
            return Err(unanswered(live.count()));
        }
    }
}

/// What a worker waits on. The workers' channels share one queue, and a request must wake one of them, not all: that is
/// what `EPOLLEXCLUSIVE` is for, which `poll(2)` has not.
struct Waiting {
    all: OwnedFd,
    alarm: OwnedFd,
}

/// What a wait found ready.
#[derive(Clone, Copy, Debug, Default)]
struct Ready {
    device: bool,
    runtime: bool,
    alarm: bool,
    look: bool,
}

impl Waiting {
    const DEVICE: u64 = 0;
    const RUNTIME: u64 = 1;
    const ALARM: u64 = 2;
    const LOOK: u64 = 3;

    fn new(device: &Device, executor: &Executor, post: &Post) -> io::Result<Self> {
        let all = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        // Cheaper than a limit of each wait, which takes a timer each time.
        let alarm = new_timer()?;
        let add = |fd: BorrowedFd<'_>, which, flags| {
            epoll::add(&all, fd, epoll::EventData::new_u64(which), epoll::EventFlags::IN | flags)
        };
        add(executor.as_fd(), Self::RUNTIME, epoll::EventFlags::empty())?;
        // Timers stay readable when they have gone off, but that is told once.
        add(alarm.as_fd(), Self::ALARM, epoll::EventFlags::ET)?;
        add(post.timer(), Self::LOOK, epoll::EventFlags::ET)?;
        let waiting = Self { all, alarm };
        if post.reads() {
            waiting.add(device)?;
        }
        Ok(waiting)
    }

    /// Has requests end a wait from now on.
    fn add(&self, device: &Device) -> io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::EXCLUSIVE;
        Ok(epoll::add(&self.all, device, epoll::EventData::new_u64(Self::DEVICE), flags)?)
    }

    /// Leaves requests to others.
    fn remove(&self, device: &Device) -> io::Result<()> {
        Ok(epoll::delete(&self.all, device)?)
    }

    /// Waits for all but the device's requests, which nobody reads, and which would end each wait at once; and for the alarm
    /// only if it is set.
    fn unread(
        &self,
        device: &Device,
        executor: &Executor,
        alarm: bool,
        timeout: Option<Duration>,
    ) -> io::Result<Ready> {
        let expected = if alarm { PollFlags::IN } else { PollFlags::empty() };
        let mut fds = [
            PollFd::from_borrowed_fd(device.as_fd(), PollFlags::empty()),
            PollFd::from_borrowed_fd(executor.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.alarm.as_fd(), expected),
        ];
        match poll(&mut fds, timeout.and_then(timespec).as_ref()) {
            Ok(_) => {
                let [device, runtime, alarm] = fds.map(|fd| !fd.revents().is_empty());
                Ok(Ready { device, runtime, alarm, look: false })
            }
            Err(rustix::io::Errno::INTR) => Ok(Ready::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for any of them.
    fn wait(&self, timeout: Option<Duration>) -> io::Result<Ready> {
        let mut events = [const { MaybeUninit::uninit() }; 4];
        let (found, _) = match epoll::wait(&self.all, &mut events, timeout.and_then(timespec).as_ref()) {
            Ok(found) => found,
            Err(rustix::io::Errno::INTR) => return Ok(Ready::default()),
            Err(error) => return Err(error.into()),
        };
        let has = |which| found.iter().any(|event| event.data.u64() == which);
        Ok(Ready {
            device: has(Self::DEVICE),
            runtime: has(Self::RUNTIME),
            alarm: has(Self::ALARM),
            look: has(Self::LOOK),
        })
    }
}

/// A timeout too long for the type is no timeout.
fn timespec(timeout: Duration) -> Option<Timespec> {
    Timespec::try_from(timeout).ok()
}

/// A slot that requests of the device are read into.
struct DevicePort {
    device: Rc<Device>,
    reading: Rc<Reading>,
    turn: Rc<Turn>,
    /// It is this one's turn.
    reads: bool,
}

impl Port for DevicePort {
    async fn receive(&mut self, slot: &mut Slot) -> Option<Framing> {
        if mem::replace(&mut self.reads, true) {
            let_others_run().await;
        } else {
            self.reading.turn(&self.turn).await;
        }
        let mut probe = self.reading.post.reads() && self.reading.probing.is_due();
        if !probe {
            self.reading.park().await;
        }
        loop {
            if self.reading.ended.get() {
                self.reading.pass();
                return None;
            }
            let received = self.device.receive(slot);
            if mem::take(&mut probe) {
                self.reading.probing.found(matches!(received, Ok(Received::Message(_))));
            }
            match received {
                Ok(Received::Message(len)) => {
                    let header = in_header(slot.device_area(len)).unwrap_or_default();
                    self.reading
                        .follower
                        .came(header.pid, self.reading.post.readers(), || self.device.request_waits());
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

    fn waits(&mut self) {
        if mem::take(&mut self.reads) {
            self.reading.pass();
        }
    }

    fn answer(&mut self, slot: &mut Slot, framing: &Framing, outcome: Outcome) {
        answer(&self.device, slot, framing, outcome);
        self.reading.follower.answered();
    }
}

/// Has tasks polled that are ready.
async fn let_others_run() {
    let mut waited = false;
    poll_fn(|cx| {
        if mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
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
