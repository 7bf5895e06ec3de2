//! The thread beside the workers: it leads them through the start and the end of a session, and in between reads from
//! `/dev/fuse` what never comes by the ring.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ringfuse_abi as abi;
use rustix::event::{PollFd, PollFlags, poll};

use crate::error::{Error, ErrorKind};
use crate::fs::Agreement;
use crate::mount::{Mounted, Unmount};
use crate::notify::Notifier;
use crate::proto::message::in_header;
use crate::proto::op::Operation;
use crate::proto::{Format, Message, decode::decode};
use crate::session::concierge::Concierge;
use crate::session::crew::{Crew, HandOver, Letter};
use crate::session::handshake::Handshake;
use crate::session::plan::Plan;
use crate::session::shared::Shared;
use crate::session::worker::{Command, Report, Seat};
use crate::transport::device::{Device, Received};
use crate::types::{SessionInfo, Transport, TransportKind};

/// How long workers may take to end once they have been told: longer than their handlers' grace.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts a worker's thread.
pub(crate) type Hire = Box<dyn FnMut(Seat) -> Result<JoinHandle<()>, Error> + Send>;

/// The workers: their seats until they are started, and their threads after that.
pub(crate) struct Staff {
    pub(crate) seats: Vec<Option<Seat>>,
    pub(crate) commands: Vec<flume::Sender<Command>>,
    pub(crate) threads: Vec<JoinHandle<()>>,
    /// `None` where the only worker is the caller's thread.
    pub(crate) hire: Option<Hire>,
}

/// How long forgets may gather in the kernel, which hands them out many at a time then: each alone would cost two threads a
/// wake-up. Interrupts wait as long, if forgets have just come.
const GATHER: Duration = Duration::from_millis(2);

/// The device's place among what the concierge watches, after the nudge.
const DEVICE: usize = 1;

/// All that the control thread has.
pub(crate) struct Control {
    pub(crate) mounted: Arc<Mounted>,
    pub(crate) device: Arc<Device>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) format: Format,
    pub(crate) handshake: Handshake,
    pub(crate) policy: Transport,
    /// What to answer the kernel: with the ring, or why not, and without.
    pub(crate) with_ring: Result<Agreement, String>,
    pub(crate) without: Agreement,
    pub(crate) staff: Staff,
    pub(crate) crew: Arc<Crew>,
    pub(crate) reports: flume::Receiver<(usize, Report)>,
    /// Becomes readable with each report.
    pub(crate) nudge: Arc<OwnedFd>,
    pub(crate) notifier: Notifier,
    pub(crate) info: SessionInfo,
}

impl Control {
    /// Leads the session from its start to its end. `started` is told once, `Ok` when requests are served.
    pub(crate) fn run(mut self, started: &flume::Sender<Result<SessionInfo, Error>>) -> Result<(), Error> {
        match self.start() {
            Ok(mut concierge) => {
                let _ = started.send(Ok(self.info.clone()));
                let served = self.serve(concierge.as_mut());
                if let Some(concierge) = concierge {
                    concierge.close();
                }
                self.finish();
                served
            }
            Err(error) => {
                self.dissolve();
                let _ = started.send(Err(error));
                Ok(())
            }
        }
    }

    fn start(&mut self) -> Result<Option<Concierge>, Error> {
        let built = self.expect(1, |report| match report {
            Report::Built(built) => Some(built),
            _ => None,
        });
        let mut ring = match (&self.with_ring, built) {
            (Err(why), Ok(())) => Err(why.clone()),
            (Err(_), Err(why)) => return Err(self.no_start(&why)),
            (Ok(_), built) => built,
        };
        let mut concierge = None;
        if ring.is_ok() {
            match self.concierge() {
                Ok(made) => concierge = Some(made),
                Err(error) => ring = Err(format!("cannot make an io_uring: {error}")),
            }
        }
        if self.policy == Transport::RequireRing
            && let Err(why) = &ring
        {
            self.handshake.refuse(&self.device);
            return Err(no_ring(why));
        }
        match (&ring, &self.with_ring) {
            (Ok(()), Ok(agreement)) => self.handshake.accept(&self.device, agreement)?,
            _ => self.handshake.accept(&self.device, &self.without)?,
        }
        self.info.max_readahead = self.read_ahead();
        self.describe(&ring);
        self.tell(0, Command::Ready(Box::new(self.info.clone()), self.notifier.clone()));
        let ready = |report| if matches!(report, Report::Ready) { Some(Ok(())) } else { None };
        self.expect(1, ready).map_err(|why| self.no_start(&why))?;
        if ring.is_ok() {
            self.tell(0, Command::Register);
            let registered = self.expect(1, |report| match report {
                Report::Registered(registered) => Some(registered),
                _ => None,
            });
            ring = registered.and(concierge.as_mut().map_or(Ok(()), |concierge| {
                concierge.register().map_err(|error| {
                    format!("the kernel refused the registration of the ring's entries: {error}")
                })
            }));
            self.describe(&ring);
            if ring.is_err()
                && let Some(concierge) = concierge.take()
            {
                concierge.give_up();
            }
            if self.policy == Transport::RequireRing
                && let Err(why) = &ring
            {
                return Err(no_ring(why));
            }
        }
        self.tell(0, Command::Serve(self.info.transport));
        if ring.is_err() {
            // The next in reserve.
            if let Some(worker) = self.crew.absent() {
                self.hire(worker);
            }
        }
        tracing::info!("{}", self.info);
        Ok(concierge)
    }

    /// Has the kernel read ahead as far as was agreed on, and returns how far it does. It takes no more than its own default
    /// from the handshake.
    fn read_ahead(&self) -> u32 {
        let (wanted, default) = self.handshake.negotiation.readahead();
        if wanted <= default {
            return wanted;
        }
        match self.mounted.read_ahead(wanted) {
            Ok(()) => wanted,
            Err(error) => {
                tracing::info!(%error, "the kernel reads no more than {default} bytes ahead");
                default
            }
        }
    }

    /// Makes the ring that stands in for workers who have not been started.
    fn concierge(&self) -> io::Result<Concierge> {
        let away = (0..self.plan.queues as u16).filter(|queue| self.crew.home(*queue) != 0);
        let queues: Vec<u16> = away.collect();
        let watched = [self.nudge.as_fd(), self.device.as_fd()];
        let concierge = Concierge::new(self.device.as_fd(), &watched, &self.plan, &queues)?;
        concierge.slots().for_each(|slot| self.shared.interrupts.add(slot.shared().clone()));
        Ok(concierge)
    }

    /// Starts a worker's thread, unless it has been, and has it serve.
    fn hire(&mut self, worker: usize) {
        let (Some(mut seat), Some(hire)) = (self.staff.seats[worker].take(), &mut self.staff.hire) else {
            return;
        };
        if self.info.transport == TransportKind::Device {
            seat.ring = None;
        }
        match hire(seat) {
            Ok(thread) => {
                self.staff.threads.push(thread);
                self.crew.arrived(worker);
                self.tell(worker, Command::Serve(self.info.transport));
            }
            Err(error) => {
                tracing::warn!("{error}; the first worker serves in its stead");
                self.crew.excused(worker);
            }
        }
    }

    /// A request came for a queue whose worker has not been started.
    fn admit(&mut self, given: HandOver) {
        let counters = &self.shared.counters[self.plan.workers];
        counters.received.increment();
        let worker = self.crew.home(given.queue);
        self.hire(worker);
        // It may have turned out that it cannot be had.
        let worker = self.crew.home(given.queue);
        if self.crew.send(worker, Letter::HandOver(given)).is_err() {
            tracing::error!(worker, "a request was lost: its worker is gone");
        }
    }

    fn describe(&mut self, ring: &Result<(), String>) {
        let (kind, reason, agreement) = match (ring, &self.with_ring) {
            (Ok(()), Ok(agreement)) => (TransportKind::Ring, "all queues registered".to_owned(), agreement),
            (Err(why), _) if self.policy != Transport::DeviceOnly => {
                tracing::warn!("serving by /dev/fuse, not by io_uring: {why}");
                (TransportKind::Device, why.clone(), &self.without)
            }
            _ => (TransportKind::Device, "as asked".to_owned(), &self.without),
        };
        self.info.transport = kind;
        self.info.reason = reason;
        self.info.capabilities = agreement.capabilities;
        if kind == TransportKind::Device {
            self.info.queues = self.plan.workers;
            self.info.buffers = self.plan.workers * self.plan.depth * self.plan.layout.stride();
        }
    }

    fn tell(&self, worker: usize, command: Command) {
        // A worker that is gone says so by its reports.
        let _ = self.staff.commands[worker].send(command);
    }

    /// Waits for that many reports of a kind. `Err` with the first complaint, once all have come.
    fn expect(
        &self,
        count: usize,
        pick: impl Fn(Report) -> Option<Result<(), String>>,
    ) -> Result<(), String> {
        let mut outcome = Ok(());
        let mut missing = count;
        while missing > 0 {
            match self.reports.recv() {
                Ok((worker, Report::Left)) => return Err(format!("worker {worker} ended before it began")),
                Ok((_, report)) => {
                    if let Some(result) = pick(report) {
                        missing -= 1;
                        outcome = outcome.and(result);
                    }
                }
                Err(_) => return Err("the workers ended before they began".to_owned()),
            }
        }
        outcome
    }

    fn no_start(&self, why: &str) -> Error {
        self.handshake.refuse(&self.device);
        Error::new(ErrorKind::Session, format!("cannot start the session: {why}"))
    }

    /// Reads what never comes by the ring, and starts workers, until the mount is gone.
    fn serve(&mut self, mut concierge: Option<&mut Concierge>) -> Result<(), Error> {
        // Room for any message, in memory that is touched only as far as messages reach.
        let room = if concierge.is_some() { self.plan.layout.payload() + 4096 } else { 0 };
        let mut buf = vec![0; room];
        loop {
            while let Ok((worker, report)) = self.reports.try_recv() {
                match report {
                    Report::Served(Err(why)) => {
                        self.abort();
                        return Err(failed(worker, &why));
                    }
                    // One that was started late, and could not begin: the first serves in its stead.
                    Report::Built(Err(why)) => tracing::warn!(worker, "{why}"),
                    Report::Gone => return self.end(),
                    Report::Left if self.crew.is_present(worker) => {
                        self.abort();
                        return Err(failed(worker, "its thread ended"));
                    }
                    _ => {}
                }
            }
            if self.crew.help_wanted()
                && let Some(worker) = self.crew.absent()
            {
                self.hire(worker);
            }
            let gone = match concierge.as_deref_mut() {
                Some(concierge) => {
                    let mut given = Vec::new();
                    let drained = concierge.wait(|request| given.push(request)).map_err(waiting_failed)?;
                    given.into_iter().for_each(|request| self.admit(request));
                    drained.ready(DEVICE) && !self.read(&mut buf)?
                }
                None => {
                    self.wait_for_report()?;
                    false
                }
            };
            let _ = rustix::io::read(&*self.nudge, &mut [0; 8]);
            if gone {
                return self.end();
            }
        }
    }

    /// Waits for a report: that the mount is gone is one, from a worker. To wait for it here would mean to be woken by each
    /// request, as the device wakes all who poll it.
    fn wait_for_report(&self) -> Result<(), Error> {
        match poll(&mut [PollFd::from_borrowed_fd(self.nudge.as_fd(), PollFlags::IN)], None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(waiting_failed(error.into())),
        }
    }

    /// Reads and delivers what is there. Returns whether more may come.
    fn read(&self, buf: &mut [u8]) -> Result<bool, Error> {
        let mut forgets = false;
        loop {
            match self.device.receive_bytes(buf) {
                Ok(Received::Message(len)) => forgets |= self.deliver(&buf[..len]),
                Ok(Received::Nothing) => {
                    if forgets {
                        thread::sleep(GATHER);
                    }
                    return Ok(true);
                }
                Ok(Received::Ended) => return Ok(false),
                Err(error) => {
                    self.abort();
                    return Err(Error::new(ErrorKind::Session, "cannot read /dev/fuse").because(error));
                }
            }
        }
    }

    /// A message of the control path: an interrupt is dealt with here, where no handler can hold it up; the rest is
    /// for a worker. Returns whether it was one that forgets nodes.
    fn deliver(&self, bytes: &[u8]) -> bool {
        let Ok(header) = in_header(bytes) else { return false };
        if header.opcode == abi::FUSE_INTERRUPT {
            let decoded = Message::from_device(bytes, self.format).and_then(|message| decode(&message));
            if let Ok(Operation::Interrupt(interrupt)) = decoded {
                self.shared.interrupts.interrupt(interrupt.unique);
            }
            return false;
        }
        let _ = self.crew.send(0, Letter::Message(bytes.to_vec()));
        matches!(header.opcode, abi::FUSE_FORGET | abi::FUSE_BATCH_FORGET)
    }

    /// The mount is gone: handlers are told, and given some time. An error if that was not enough for some.
    fn end(&self) -> Result<(), Error> {
        self.shared.interrupts.interrupt_all();
        let mut serving: Vec<usize> =
            (0..self.staff.seats.len()).filter(|&worker| self.crew.is_present(worker)).collect();
        for &worker in &serving {
            let _ = self.crew.send(worker, Letter::End);
        }
        let deadline = Instant::now() + PATIENCE;
        let mut outcome = Ok(());
        while !serving.is_empty() {
            match self.reports.recv_deadline(deadline) {
                Ok((worker, report @ (Report::Served(_) | Report::Left))) => {
                    serving.retain(|one| *one != worker);
                    if let Report::Served(Err(why)) = report {
                        let what = format!("the mount is gone, but worker {worker} ended badly: {why}");
                        outcome = outcome.and(Err(Error::new(ErrorKind::Session, what)));
                    }
                }
                Ok(_) => {}
                Err(_) => {
                    let blocked = serving.len();
                    let what =
                        format!("the mount is gone, but {blocked} workers are blocked, and left behind");
                    return Err(Error::new(ErrorKind::Session, what).remedy("handlers must not block"));
                }
            }
        }
        outcome
    }

    /// All requests are answered: the filesystem's own end, then the workers'.
    fn finish(self) {
        self.tell(0, Command::Destroy);
        drop(self.staff.commands);
        drop(self.staff.seats);
        self.shared.line.close();
        let deadline = Instant::now() + PATIENCE;
        while let Ok((worker, report)) = self.reports.recv_deadline(deadline) {
            tracing::trace!(worker, ?report, "at the end");
        }
        for thread in self.staff.threads {
            // One that hangs in a handler has been reported, and is left behind.
            if thread.is_finished() && thread.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
    }

    /// The session can not go on: its programs get errors instead of waiting for ever.
    fn abort(&self) {
        let aborted = self.mounted.abort().unwrap_or(false);
        if !aborted && let Err(error) = self.mounted.unmount(Unmount::Lazy) {
            tracing::error!("{error}");
        }
        let _ = self.end();
    }

    /// Nothing came of the session.
    fn dissolve(self) {
        if let Err(error) = self.mounted.unmount(Unmount::Lazy) {
            tracing::warn!("{error}");
        }
        drop(self.staff);
        self.shared.line.close();
    }
}

fn waiting_failed(error: io::Error) -> Error {
    Error::new(ErrorKind::Session, "cannot wait for requests").because(error)
}

fn no_ring(why: &str) -> Error {
    Error::new(ErrorKind::Ring, format!("FUSE over io_uring is required, and cannot be had: {why}"))
}

fn failed(worker: usize, why: &str) -> Error {
    Error::new(ErrorKind::Session, format!("worker {worker} failed, and the mount was aborted: {why}"))
}
