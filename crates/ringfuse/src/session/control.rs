//! The thread beside the workers: it leads them through the start and the end of a session, and in between reads from
//! `/dev/fuse` what never comes by the ring.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
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
use crate::session::handshake::Handshake;
use crate::session::plan::Plan;
use crate::session::shared::Shared;
use crate::session::worker::{Command, Letter, Report};
use crate::transport::device::{Device, Received};
use crate::types::{SessionInfo, Transport, TransportKind};

/// How long workers may take to end once they have been told: longer than their handlers' grace.
const PATIENCE: Duration = Duration::from_secs(10);

/// The channels to one worker.
pub(crate) struct Link {
    pub(crate) commands: flume::Sender<Command>,
    pub(crate) letters: flume::Sender<Letter>,
}

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
    pub(crate) links: Vec<Link>,
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
            Ok(()) => {
                let _ = started.send(Ok(self.info.clone()));
                let served = self.serve();
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

    fn start(&mut self) -> Result<(), Error> {
        let built = self.all(|report| match report {
            Report::Built(built) => Some(built),
            _ => None,
        });
        let mut ring = match (&self.with_ring, built) {
            (Err(why), Ok(())) => Err(why.clone()),
            (Err(_), Err(why)) => return Err(self.no_start(&why)),
            (Ok(_), built) => built,
        };
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
        self.describe(&ring);
        self.tell(0, Command::Ready(Box::new(self.info.clone()), self.notifier.clone()));
        self.one(|report| matches!(report, Report::Ready)).map_err(|why| self.no_start(&why))?;
        if ring.is_ok() {
            for worker in 0..self.links.len() {
                self.tell(worker, Command::Register);
            }
            ring = self.all(|report| match report {
                Report::Registered(registered) => Some(registered),
                _ => None,
            });
            self.describe(&ring);
            if self.policy == Transport::RequireRing
                && let Err(why) = &ring
            {
                return Err(no_ring(why));
            }
        }
        for worker in 0..self.links.len() {
            self.tell(worker, Command::Serve(self.info.transport));
        }
        tracing::info!("{}", self.info);
        Ok(())
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
        let _ = self.links[worker].commands.send(command);
    }

    /// Waits for one report of each worker. `Err` with the first complaint, once all have spoken.
    fn all(&self, pick: impl Fn(Report) -> Option<Result<(), String>>) -> Result<(), String> {
        let mut outcome = Ok(());
        let mut missing = self.links.len();
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

    fn one(&self, is_it: impl Fn(&Report) -> bool) -> Result<(), String> {
        loop {
            match self.reports.recv() {
                Ok((_, report)) if is_it(&report) => return Ok(()),
                Ok((worker, Report::Left)) => return Err(format!("worker {worker} ended before it began")),
                Ok(_) => {}
                Err(_) => return Err("the workers ended before they began".to_owned()),
            }
        }
    }

    fn no_start(&self, why: &str) -> Error {
        self.handshake.refuse(&self.device);
        Error::new(ErrorKind::Session, format!("cannot start the session: {why}"))
    }

    /// Reads what never comes by the ring, until the mount is gone.
    fn serve(&self) -> Result<(), Error> {
        let on_ring = self.info.transport == TransportKind::Ring;
        // Room for any message, in memory that is touched only as far as messages reach.
        let mut buf = vec![0; if on_ring { self.plan.layout.payload() + 4096 } else { 0 }];
        let mut serving = self.links.len();
        loop {
            while let Ok((worker, report)) = self.reports.try_recv() {
                match report {
                    // On the device this is the regular end; on the ring it comes after the device's, below.
                    Report::Served(Ok(())) => serving -= 1,
                    Report::Served(Err(why)) => {
                        self.abort();
                        return Err(failed(worker, &why));
                    }
                    Report::Left => {
                        self.abort();
                        return Err(failed(worker, "its thread ended"));
                    }
                    _ => {}
                }
            }
            if serving == 0 {
                return Ok(());
            }
            // On the device the workers read, and all there is to see from here is its end.
            let nudge = PollFd::from_borrowed_fd(self.nudge.as_fd(), PollFlags::IN);
            let wanted = if on_ring { PollFlags::IN } else { PollFlags::empty() };
            let device = PollFd::from_borrowed_fd(self.device.as_fd(), wanted);
            let mut fds = [nudge, device];
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    return Err(Error::new(ErrorKind::Session, "cannot wait for /dev/fuse")
                        .because(io::Error::from(error)));
                }
            }
            let ready = fds[1].revents();
            let _ = rustix::io::read(&*self.nudge, &mut [0; 8]);
            let over = if on_ring { !ready.is_empty() && !self.read(&mut buf)? } else { !ready.is_empty() };
            if over {
                return self.end(serving);
            }
        }
    }

    /// Reads and delivers what is there. Returns whether more may come.
    fn read(&self, buf: &mut [u8]) -> Result<bool, Error> {
        loop {
            match self.device.receive_bytes(buf) {
                Ok(Received::Message(len)) => self.deliver(&buf[..len]),
                Ok(Received::Nothing) => return Ok(true),
                Ok(Received::Ended) => return Ok(false),
                Err(error) => {
                    self.abort();
                    return Err(Error::new(ErrorKind::Session, "cannot read /dev/fuse").because(error));
                }
            }
        }
    }

    /// A message of the control path: an interrupt is dealt with here, where no handler can hold it up; the rest is
    /// for a worker.
    fn deliver(&self, bytes: &[u8]) {
        let Ok(header) = in_header(bytes) else { return };
        if header.opcode == abi::FUSE_INTERRUPT {
            let decoded = Message::from_device(bytes, self.format).and_then(|message| decode(&message));
            if let Ok(Operation::Interrupt(interrupt)) = decoded {
                self.shared.interrupts.interrupt(interrupt.unique);
            }
            return;
        }
        let _ = self.links[0].letters.send(Letter::Message(bytes.to_vec()));
    }

    /// The mount is gone: handlers are told, and given some time. An error if that was not enough for some.
    fn end(&self, mut serving: usize) -> Result<(), Error> {
        self.shared.interrupts.interrupt_all();
        for link in &self.links {
            let _ = link.letters.send(Letter::End);
        }
        let deadline = Instant::now() + PATIENCE;
        let mut outcome = Ok(());
        while serving > 0 {
            match self.reports.recv_deadline(deadline) {
                Ok((_, Report::Served(Ok(())) | Report::Left)) => serving -= 1,
                Ok((worker, Report::Served(Err(why)))) => {
                    serving -= 1;
                    let what = format!("the mount is gone, but worker {worker} ended badly: {why}");
                    outcome = outcome.and(Err(Error::new(ErrorKind::Session, what)));
                }
                Ok(_) => {}
                Err(_) => {
                    let what =
                        format!("the mount is gone, but {serving} workers are blocked, and left behind");
                    return Err(Error::new(ErrorKind::Session, what).remedy("handlers must not block"));
                }
            }
        }
        outcome
    }

    /// All requests are answered: the filesystem's own end, then the workers'.
    fn finish(self) {
        self.tell(0, Command::Destroy);
        drop(self.links);
        self.shared.line.close();
        let deadline = Instant::now() + PATIENCE;
        while let Ok((worker, report)) = self.reports.recv_deadline(deadline) {
            tracing::trace!(worker, ?report, "at the end");
        }
    }

    /// The session can not go on: its programs get errors instead of waiting for ever.
    fn abort(&self) {
        let aborted = self.mounted.abort().unwrap_or(false);
        if !aborted && let Err(error) = self.mounted.unmount(Unmount::Lazy) {
            tracing::error!("{error}");
        }
        let _ = self.end(0);
    }

    /// Nothing came of the session.
    fn dissolve(self) {
        if let Err(error) = self.mounted.unmount(Unmount::Lazy) {
            tracing::warn!("{error}");
        }
        drop(self.links);
        self.shared.line.close();
    }
}

fn no_ring(why: &str) -> Error {
    Error::new(ErrorKind::Ring, format!("FUSE over io_uring is required, and cannot be had: {why}"))
}

fn failed(worker: usize, why: &str) -> Error {
    Error::new(ErrorKind::Session, format!("worker {worker} failed, and the mount was aborted: {why}"))
}
