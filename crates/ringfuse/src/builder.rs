//! `Mount`: what a program says of a mount before it makes it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use crate::error::Error;
use crate::fs::Filesystem;
use crate::mount::{MountOptions, Via};
use crate::session::{Config, Launch, Session, Stats, Wanted};
use crate::types::Transport;

/// A mount to be made: where, how, and served by what.
///
/// ```no_run
/// # use ringfuse::{Filesystem, Mount};
/// # struct Hello;
/// # impl Filesystem for Hello {}
/// let session = Mount::new("/mnt/hello").fsname("hello").spawn(Hello)?;
/// println!("{}", session.info());
/// session.join()?;
/// # Ok::<(), ringfuse::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing is mounted before `run`, `run_local` or `spawn`"]
pub struct Mount(Config);

impl Mount {
    /// A mount at `path`, an existing directory or, for a filesystem whose root is a file, a regular file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(Config {
            path: path.into(),
            options: MountOptions::default(),
            via: Via::Auto,
            transport: Transport::default(),
            wanted: Wanted::default(),
        })
    }

    /// The source that `mount(8)` and `df(1)` show; any bytes.
    pub fn fsname(mut self, name: impl Into<OsString>) -> Self {
        self.0.options.fsname = Some(name.into());
        self
    }

    /// The type that `mount(8)` shows after `fuse.`.
    pub fn subtype(mut self, name: impl Into<OsString>) -> Self {
        self.0.options.subtype = Some(name.into());
        self
    }

    /// All mount options at once, in place of those set before.
    pub fn options(mut self, options: MountOptions) -> Self {
        self.0.options = options;
        self
    }

    /// Lets other users in than the one who mounts (`allow_other`).
    pub fn allow_other(mut self, allow: bool) -> Self {
        self.0.options.allow_other = allow;
        self
    }

    /// Has the kernel check permissions by mode, owner and group of each file (`default_permissions`).
    pub fn default_permissions(mut self, check: bool) -> Self {
        self.0.options.default_permissions = check;
        self
    }

    /// Mounts read-only.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.0.options.read_only = read_only;
        self
    }

    /// How the mount is made. By default as the process may.
    pub fn via(mut self, via: Via) -> Self {
        self.0.via = via;
        self
    }

    /// Which way requests take. By default the ring where it can be had.
    pub fn transport(mut self, transport: Transport) -> Self {
        self.0.transport = transport;
        self
    }

    /// How many threads serve requests: 1 up to the number of possible CPUs, the default, at which each serves the
    /// programs of its own CPU.
    pub fn workers(mut self, workers: usize) -> Self {
        self.0.wanted.workers = Some(workers);
        self
    }

    /// How many requests each queue can have in service at once, 1 to 4096; 16 by default. A handler that waits holds
    /// one. Memory is used only as far as requests fill it; [`SessionInfo::buffers`](crate::SessionInfo::buffers)
    /// tells the most it can come to.
    pub fn depth(mut self, depth: usize) -> Self {
        self.0.wanted.depth = Some(depth);
        self
    }

    /// How many bytes a write request carries at most; 1 MiB by default. The kernel's limit is
    /// `/proc/sys/fs/fuse/max_pages_limit` pages, 256 unless changed. It also bounds what a read asks for. Where data are at
    /// hand in memory, less may be faster, for instance 256 KiB, as then a request stays in the processor's caches; where each
    /// request has to wait, for a network for instance, there should be few.
    pub fn max_write(mut self, bytes: u32) -> Self {
        self.0.wanted.max_write = Some(bytes);
        self
    }

    /// How many bytes the kernel reads ahead of a program that reads in sequence, and around a page of a mapped file that is
    /// not there; by default as far as one request goes, which is [`Mount::max_write`]. More is of use where requests take
    /// long, as over a network, and less for programs that map large files and read here and there. A filesystem may want
    /// something else ([`Negotiation::max_readahead`](crate::Negotiation::max_readahead)).
    ///
    /// More than the kernel's own 128 KiB takes a write to `/sys/class/bdi`, which is for root.
    /// [`SessionInfo::max_readahead`](crate::SessionInfo::max_readahead) tells what came of it.
    pub fn max_readahead(mut self, bytes: u32) -> Self {
        self.0.wanted.max_readahead = Some(bytes);
        self
    }

    /// How many bytes of memory the requests in service may take at most, in all queues together. Where the budget is too
    /// small for [`Mount::depth`] and [`Mount::max_write`], it wins over both: requests become smaller, down to 128 KiB, and
    /// queues get fewer entries, down to one. Without it, [`SessionInfo::buffers`](crate::SessionInfo::buffers) tells what it
    /// can come to; over `/dev/fuse`, handlers that wait may take more.
    ///
    /// Mounting fails where the budget is too small for one entry in each queue.
    pub fn memory(mut self, bytes: usize) -> Self {
        self.0.wanted.memory = Some(bytes);
        self
    }

    /// Mounts, and serves on threads in the background. Returns once requests are served.
    ///
    /// # Errors
    ///
    /// If the mount cannot be made, the kernel and the filesystem do not agree, or the threads cannot be had. Nothing
    /// stays mounted then.
    pub fn spawn<F: Filesystem + Send + Sync>(self, filesystem: F) -> Result<Session, Error> {
        self.spawn_shared(Arc::new(filesystem))
    }

    /// As [`Mount::spawn`], for a filesystem that the caller keeps a hand on.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn spawn_shared<F: Filesystem + Send + Sync>(self, filesystem: Arc<F>) -> Result<Session, Error> {
        Launch::prepare(self.0, &*filesystem)?.spawn(filesystem)
    }

    /// Mounts, and serves until the mount is gone.
    ///
    /// # Errors
    ///
    /// As for [`Mount::spawn`], and if the session ends for another reason than an unmount or an abort.
    pub fn run<F: Filesystem + Send + Sync>(self, filesystem: F) -> Result<Stats, Error> {
        self.spawn(filesystem)?.join()
    }

    /// Mounts, and serves on this thread until the mount is gone: with one worker, so that the filesystem need be
    /// neither `Send` nor `Sync`.
    ///
    /// # Errors
    ///
    /// As for [`Mount::run`].
    pub fn run_local<F: Filesystem>(mut self, filesystem: F) -> Result<(), Error> {
        self.0.wanted.workers = Some(1);
        Launch::prepare(self.0, &filesystem)?.run_here(Rc::new(filesystem))
    }
}
