//! Bringing a session up: mount, first message, threads.

use std::fs;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use compio_driver::ProactorBuilder;
use rustix::event::{EventfdFlags, eventfd};

use crate::error::{Error, ErrorKind};
use crate::fs::{Filesystem, Limits};
use crate::mount::{MountOptions, Mounted, Unmount, Via, mount};
use crate::notify::{Line, Notifier};
use crate::proto::Format;
use crate::session::control::{Control, Hire, Staff};
use crate::session::crew::Crew;
use crate::session::handshake::Handshake;
use crate::session::plan::{Plan, Wanted};
use crate::session::shared::Shared;
use crate::session::worker::{Report, Reports, Seat};
use crate::session::{Session, Unmounter};
use crate::transport::device::Device;
use crate::types::{Capabilities, Errno, SessionInfo, Transport, TransportKind};

/// Threads that compio may start for blocking work, over all workers.
const BLOCKING_THREADS: usize = 64;

/// What a mount is to be like.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) path: PathBuf,
    pub(crate) options: MountOptions,
    pub(crate) via: Via,
    pub(crate) transport: Transport,
    pub(crate) wanted: Wanted,
}

/// A session about to start: the mount is made and agreed on, and each worker has a seat.
pub(crate) struct Launch {
    control: Control,
    /// The first worker's, who is there from the start.
    first: Seat,
    mounted: Arc<Mounted>,
    shared: Arc<Shared>,
    notifier: Notifier,
}

impl Launch {
    /// Mounts, and negotiates with the kernel for the filesystem.
    pub(crate) fn prepare<F: Filesystem>(config: Config, filesystem: &F) -> Result<Self, Error> {
        let plan = Arc::new(Plan::new(config.wanted)?);
        let mounted = Arc::new(mount(&config.path, &config.options, config.via)?);
        let (policy, permissions) = (config.transport, config.options.default_permissions);
        Self::negotiate(policy, permissions, plan, &mounted, filesystem).inspect_err(|_| {
            if mounted.mountpoint().is_some()
                && let Err(error) = mounted.unmount(Unmount::Lazy)
            {
                tracing::warn!("{error}");
            }
        })
    }

    fn negotiate<F: Filesystem>(
        policy: Transport,
        default_permissions: bool,
        plan: Arc<Plan>,
        mounted: &Arc<Mounted>,
        filesystem: &F,
    ) -> Result<Self, Error> {
        let io = |what: &str| {
            let what = what.to_owned();
            move |error: std::io::Error| Error::new(ErrorKind::Io, what).because(error)
        };
        let device = Device::new(mounted.device().clone()).map_err(io("cannot set up /dev/fuse"))?;
        let device = Arc::new(device);
        let limits = Limits {
            max_write: plan.max_write,
            max_pages: plan.max_pages,
            max_background: plan.max_background(),
            max_readahead: plan.max_readahead,
            default_permissions,
        };
        let mut handshake = Handshake::begin(&device, limits)?;
        let negotiation = &mut handshake.negotiation;
        let agreed = filesystem.init(negotiation).and_then(|()| {
            let without = negotiation.conclude(false)?;
            Ok((negotiation.conclude(true)?, without))
        });
        let (with, without) = match agreed {
            Ok(agreed) => agreed,
            Err(errno) => {
                let why = negotiation.refusal();
                handshake.refuse(&device);
                return Err(refused(errno, why));
            }
        };
        let offered = negotiation.offered();
        let kernel = negotiation.kernel_version();
        let with_ring = match policy {
            Transport::DeviceOnly => Err("it is not wanted".to_owned()),
            _ if !offered.contains(Capabilities::OVER_IO_URING) => Err(why_not_offered()),
            _ => Ok(with),
        };
        let format = Format { setxattr_ext: without.capabilities.contains(Capabilities::SETXATTR_EXT) };

        let line = Arc::new(Line::new(device.clone(), plan.layout.payload()));
        let notifier = Notifier::new(&line, kernel.1, offered);
        let shared = Arc::new(Shared::new(line, plan.workers));
        let nudge = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| io("cannot make an eventfd")(error.into()))?;
        let nudge = Arc::new(nudge);
        let (first, staff, crew, reports) = seats(&plan, with_ring.is_ok(), format, &shared, &device, &nudge);
        let info = SessionInfo {
            mountpoint: mounted.mountpoint().map(Path::to_owned),
            connection: mounted.connection_id(),
            transport: TransportKind::Device,
            reason: String::new(),
            kernel,
            capabilities: without.capabilities,
            workers: plan.workers,
            queues: plan.queues,
            depth: plan.depth,
            max_write: plan.max_write,
            max_readahead: 0,
            buffers: plan.memory(),
        };
        let control = Control {
            mounted: mounted.clone(),
            device,
            shared: shared.clone(),
            plan,
            format,
            handshake,
            policy,
            with_ring,
            without,
            staff,
            crew,
            reports,
            nudge,
            notifier: notifier.clone(),
            info,
        };
        Ok(Self { control, first, mounted: mounted.clone(), shared, notifier })
    }

    /// Serves on threads of its own. Returns once requests are served.
    pub(crate) fn spawn<F, P>(self, fs: P) -> Result<Session, Error>
    where
        F: Filesystem,
        P: Deref<Target = F> + Clone + Send + 'static,
    {
        let Self { mut control, first, mounted, shared, notifier } = self;
        let mut hire: Hire = Box::new(move |seat| {
            let fs = fs.clone();
            start_thread(&format!("ringfuse-{}", seat.worker), move || seat.run(fs))
        });
        control.staff.threads.push(hire(first)?);
        control.staff.hire = Some(hire);
        let (started, finished, control) = supervise(control)?;
        let info = wait_for_start(&started)?;
        let unmounter = Unmounter(mounted);
        let outcome = OnceLock::new();
        Ok(Session { info, shared, notifier, unmounter, finished, outcome, control: Some(control) })
    }

    /// Serves on this thread, with one worker, until the mount is gone. `started` is called before the first request.
    pub(crate) fn run_here<F: Filesystem>(self, fs: Rc<F>) -> Result<(), Error> {
        let Self { control, first, mounted, .. } = self;
        drop(mounted);
        let (started, finished, control) = supervise(control)?;
        first.run(fs);
        let served = finished.recv().unwrap_or(Ok(()));
        let _ = control.join();
        wait_for_start(&started)?;
        served
    }
}

type Started = flume::Receiver<Result<SessionInfo, Error>>;
type Finished = flume::Receiver<Result<(), Error>>;

/// Starts the control thread.
fn supervise(control: Control) -> Result<(Started, Finished, JoinHandle<()>), Error> {
    let (started, has_started) = flume::bounded(1);
    let (finished, has_finished) = flume::bounded(1);
    let thread = start_thread("ringfuse-control", move || {
        let _ = finished.send(control.run(&started));
    })?;
    Ok((has_started, has_finished, thread))
}

fn wait_for_start(started: &Started) -> Result<SessionInfo, Error> {
    started.recv().unwrap_or_else(|_| Err(Error::new(ErrorKind::Session, "the control thread panicked")))
}

fn start_thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|error| {
        Error::new(ErrorKind::Session, format!("cannot start the thread {name}")).because(error)
    })
}

/// Makes a seat for each worker, and the channels to it.
fn seats(
    plan: &Arc<Plan>,
    ring: bool,
    format: Format,
    shared: &Arc<Shared>,
    device: &Arc<Device>,
    nudge: &Arc<OwnedFd>,
) -> (Seat, Staff, Arc<Crew>, flume::Receiver<(usize, Report)>) {
    let (sender, reports) = flume::unbounded();
    let mut pool = ProactorBuilder::new();
    pool.thread_pool_limit(BLOCKING_THREADS).force_reuse_thread_pool();
    let (letters, letters_in): (Vec<_>, Vec<_>) = (0..plan.workers).map(|_| flume::unbounded()).unzip();
    let (commands, commands_in): (Vec<_>, Vec<_>) = (0..plan.workers).map(|_| flume::unbounded()).unzip();
    let crew = Arc::new(Crew::new(letters, nudge.clone()));
    // The first is there from the start, and the others come with their queues' first requests.
    crew.arrived(0);
    let mut seats =
        commands_in.into_iter().zip(letters_in).enumerate().map(|(worker, (commands, letters))| {
            let mine = if worker == 0 { plan.queues_of(0).collect() } else { Vec::new() };
            Seat {
                worker,
                plan: plan.clone(),
                ring: ring.then_some(mine),
                format,
                shared: shared.clone(),
                crew: crew.clone(),
                device: device.clone(),
                pool: pool.clone(),
                commands,
                letters,
                reports: Reports { worker, sender: sender.clone(), nudge: nudge.clone() },
            }
        });
    let first = seats.next().expect("there is one worker at least");
    let seats = std::iter::once(None).chain(seats.map(Some)).collect();
    let staff = Staff { seats, commands, threads: Vec::new(), hire: None };
    (first, staff, crew, reports)
}

/// The error of a filesystem that did not like what the kernel offers.
fn refused(errno: Errno, why: Option<String>) -> Error {
    let what = "the filesystem refused the mount when it was told what the kernel offers";
    let error = Error::new(ErrorKind::Handshake, what).because(std::io::Error::from(errno));
    match why {
        Some(why) => error.remedy(why),
        None => error,
    }
}

/// Why the kernel does not offer the ring, and what can be done about it.
fn why_not_offered() -> String {
    const PARAMETER: &str = "/sys/module/fuse/parameters/enable_uring";
    match fs::read_to_string(PARAMETER) {
        Ok(text) if text.trim() == "N" => {
            format!("the kernel does not offer it: switch it on with `echo Y > {PARAMETER}`")
        }
        Ok(_) => "the kernel does not offer it, although it is switched on".to_owned(),
        Err(_) => "this kernel has no FUSE over io_uring: it came with Linux 6.14".to_owned(),
    }
}
