//! A worker thread from its start to its end.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use compio_driver::ProactorBuilder;

use crate::dispatch::Framing;
use crate::fs::{Filesystem, Forgets};
use crate::mem::{Arena, Layout};
use crate::notify::Notifier;
use crate::proto::message::in_header;
use crate::proto::op::Operation;
use crate::proto::{Format, Message, decode::decode};
use crate::session::crew::{Crew, Letter};
use crate::session::device_worker;
use crate::session::ending::Ending;
use crate::session::entries::Entries;
use crate::session::entry::Service;
use crate::session::executor::Executor;
use crate::session::home::Home;
use crate::session::plan::Plan;
use crate::session::readers::Post;
use crate::session::ring_worker;
use crate::session::shared::Shared;
use crate::transport::device::Device;
use crate::transport::ring::Ring;
use crate::types::{SessionInfo, TransportKind};

/// What a worker is told, one phase after the other.
pub(crate) enum Command {
    /// Run the filesystem's `ready`.
    Ready(Box<SessionInfo>, Notifier),
    /// Register the ring's entries.
    Register,
    /// Serve until the mount is gone.
    Serve(TransportKind),
    /// Run the filesystem's `destroy`.
    Destroy,
}

/// What a worker tells, after each command and at the start.
#[derive(Debug)]
pub(crate) enum Report {
    /// The runtime is there, and the ring if one is wanted.
    Built(Result<(), String>),
    /// `ready` has returned.
    Ready,
    /// The entries are registered.
    Registered(Result<(), String>),
    /// The device tells that the mount is gone. Requests may still be in service.
    Gone,
    /// All requests are answered.
    Served(Result<(), String>),
    /// The worker is gone.
    Left,
}

/// A worker's place in a session.
pub(crate) struct Seat {
    pub(crate) worker: usize,
    pub(crate) plan: Arc<Plan>,
    /// Whether to make a ring, and with entries of which queues to begin.
    pub(crate) ring: Option<Vec<u16>>,
    pub(crate) format: Format,
    pub(crate) shared: Arc<Shared>,
    pub(crate) crew: Arc<Crew>,
    pub(crate) device: Arc<Device>,
    pub(crate) pool: ProactorBuilder,
    pub(crate) commands: flume::Receiver<Command>,
    pub(crate) letters: flume::Receiver<Letter>,
    pub(crate) reports: Reports,
}

/// Where a worker's reports go. Says that the worker is gone when it is dropped, however that came.
pub(crate) struct Reports {
    pub(crate) worker: usize,
    pub(crate) sender: flume::Sender<(usize, Report)>,
    /// Made readable with each report.
    pub(crate) nudge: Arc<OwnedFd>,
}

impl Reports {
    fn say(&self, report: Report) {
        // The session may have given up on this worker; then nobody needs to know.
        let _ = self.sender.send((self.worker, report));
        let _ = rustix::io::write(&*self.nudge, &1_u64.to_ne_bytes());
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        self.say(Report::Left);
    }
}

impl Seat {
    /// Does a worker's whole work on the current thread, phase by phase as it is told.
    pub(crate) fn run<F, P>(self, fs: P)
    where
        F: Filesystem,
        P: Deref<Target = F> + Clone + 'static,
    {
        let home = self.ring.as_ref().and(self.plan.cpus[self.worker]).and_then(Home::on);
        let executor = match Executor::new(&self.pool) {
            Ok(executor) => Rc::new(executor),
            Err(error) => {
                self.reports.say(Report::Built(Err(format!("cannot make a compio runtime: {error}"))));
                if self.worker != 0 {
                    self.pass_on();
                }
                return;
            }
        };
        let service = Rc::new(Service {
            fs: fs.clone(),
            shared: self.shared.clone(),
            worker: self.worker,
            format: self.format,
        });
        let made = self.ring.as_ref().map(|mine| {
            let ring = Ring::new(self.device.as_fd(), &[executor.as_fd()])?;
            let mine = mine.iter().copied();
            Entries::new(ring, &service, (&executor, home.clone()), (&self.crew, &self.plan), mine)
        });
        let (mut ring, built) = match made {
            Some(Ok(ring)) => (Some(ring), Ok(())),
            Some(Err(error)) => (None, Err(format!("cannot make an io_uring: {error}"))),
            None => (None, Ok(())),
        };
        // The first serves by the device then; one that came later leaves its queues to the first.
        let leaves = built.is_err() && self.worker != 0;
        self.reports.say(Report::Built(built));
        if leaves {
            self.pass_on();
            return;
        }
        while let Ok(command) = self.commands.recv() {
            let report = match command {
                Command::Ready(info, notifier) => {
                    executor.block_on(fs.ready(&info, notifier));
                    Report::Ready
                }
                Command::Register => Report::Registered(match &mut ring {
                    Some(ring) => ring.register().map_err(|error| {
                        format!("the kernel refused the registration of the ring's entries: {error}")
                    }),
                    None => Err("there is no ring".to_owned()),
                }),
                Command::Serve(kind) => {
                    // Who reads the device serves programs of all CPUs: the scheduler brings it to those that wake it.
                    if kind == TransportKind::Device
                        && let Some(home) = &home
                    {
                        home.leave();
                    }
                    Report::Served(self.serve(kind, ring.take(), &service, &executor).map_err(|error| {
                        tracing::error!(worker = self.worker, "a worker ended early: {error}");
                        error.to_string()
                    }))
                }
                Command::Destroy => {
                    executor.block_on(fs.destroy());
                    break;
                }
            };
            self.reports.say(report);
        }
    }

    /// This worker will not serve: what was sent to it goes to the first.
    fn pass_on(&self) {
        self.crew.excused(self.worker);
        self.letters.try_iter().for_each(|letter| drop(self.crew.send(0, letter)));
    }

    fn serve<F, P>(
        &self,
        kind: TransportKind,
        ring: Option<Rc<Entries<P>>>,
        service: &Rc<Service<P>>,
        executor: &Rc<Executor>,
    ) -> io::Result<()>
    where
        F: Filesystem,
        P: Deref<Target = F> + Clone + 'static,
    {
        let ending = Ending::default();
        let listening = {
            let (letters, ending) = (self.letters.clone(), ending.clone());
            let (service, device, layout) = (service.clone(), self.device.clone(), self.plan.layout);
            let (executor_too, ring) = (executor.clone(), ring.clone());
            executor.spawn(async move {
                while let Ok(letter) = letters.recv_async().await {
                    match (letter, &ring) {
                        (Letter::Message(bytes), _) => open(bytes, &service, &device, layout, &executor_too),
                        (Letter::HandOver(given), Some(ring)) => ring.adopt(given),
                        // Without a ring there is nothing to hand over.
                        (Letter::HandOver(_), None) => {}
                        (Letter::End, _) => ending.begin(),
                    }
                }
            })
        };
        let served = executor.enter(|| match (kind, ring) {
            (TransportKind::Ring, Some(ring)) => {
                ring_worker::serve(&ring, executor, (&self.crew, self.worker), &ending)
            }
            (_, ring) => {
                if let Some(ring) = ring
                    && let Err(error) = ring.ring.lift_gate()
                {
                    tracing::warn!(%error, "cannot tell the kernel that the ring will not be used");
                }
                let device = self.device.clone_channel()?;
                let gone = || self.reports.say(Report::Gone);
                let post = Post::new(&self.crew, self.worker)?;
                device_worker::serve(device, &self.plan, service, executor, post, (&ending, &gone))
            }
        });
        drop(listening);
        served
    }
}

/// Deals with a message of the control path: forgets, and on the ring whatever came before it was ready.
fn open<F, P>(
    bytes: Vec<u8>,
    service: &Rc<Service<P>>,
    device: &Arc<Device>,
    layout: Layout,
    executor: &Executor,
) where
    F: Filesystem,
    P: Deref<Target = F> + Clone + 'static,
{
    service.shared.counters[service.worker].control.increment();
    let decoded = Message::from_device(&bytes, service.format).and_then(|message| decode(&message));
    match decoded {
        Ok(Operation::Forget(forget)) => service.forget(Forgets::one(forget)),
        Ok(Operation::BatchForget(batch)) => service.forget(Forgets::batch(batch)),
        _ => {
            let (service, device) = (service.clone(), device.clone());
            executor.spawn(async move { serve_one(&bytes, &service, &device, layout).await }).detach();
        }
    }
}

/// Serves a message in a slot of its own, and answers by the device.
async fn serve_one<F, P>(bytes: &[u8], service: &Service<P>, device: &Device, layout: Layout)
where
    F: Filesystem,
    P: Deref<Target = F> + Clone + 'static,
{
    let Ok(header) = in_header(bytes) else { return };
    let mut slot = match Arena::slots(layout, 1) {
        Ok(mut slots) => slots.remove(0),
        Err(error) => {
            tracing::error!(%error, unique = header.unique, "no memory to serve a request");
            let _ = device.reply(header.unique, -libc::ENOMEM, &[]);
            return;
        }
    };
    slot.device_area_mut()[..bytes.len()].copy_from_slice(bytes);
    let framing = Framing::Device { header, len: bytes.len() };
    let outcome = service.serve(&mut slot, framing).await;
    device_worker::answer(device, &slot, &framing, outcome);
}
