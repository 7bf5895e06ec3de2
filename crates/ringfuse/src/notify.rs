//! Telling the kernel what it did not ask: that cached names, attributes or pages are no longer right.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread;

use ringfuse_abi as abi;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::passthrough::Backing;
use crate::proto::notify::Notification;
use crate::proto::op;
use crate::transport::device::Device;
use crate::types::{Capabilities, Errno, NodeId, PollHandle, Result};

/// Sends notifications to the kernel. Cheap to clone, and to be used from any thread or task, a handler included.
///
/// Each is sent from a thread of its own: the kernel may have to wait for locks that a request in progress holds, until
/// that request is answered. So do not await one inside the handler of a request on the same directory or the same
/// pages; spawn it.
///
/// Once the session has ended all fail with `ENOTCONN`. A notifier that is kept does not keep the mount alive.
#[derive(Clone)]
pub struct Notifier(Arc<Inner>);

struct Inner {
    line: Weak<Line>,
    kernel_minor: u32,
    capabilities: Capabilities,
    jobs: OnceLock<flume::Sender<Job>>,
}

struct Job {
    message: Vec<u8>,
    done: flume::Sender<Result<()>>,
}

/// The way to the kernel that a session's notifications take, and where the answers to some come back.
#[derive(Debug)]
pub(crate) struct Line {
    device: Mutex<Option<Arc<Device>>>,
    retrieves: Mutex<HashMap<u64, flume::Sender<Retrieved>>>,
    next_retrieve: AtomicU64,
    /// The most that may be asked for: the answer must fit into a payload together with its head, which the kernel
    /// does not check (it would stop with a bug report).
    retrieve_limit: u32,
}

/// The numbers of retrieve notifications start here: even, and far from those of requests.
const FIRST_RETRIEVE: u64 = 1 << 48;

/// The number of those that nobody waits for.
const KICK: u64 = FIRST_RETRIEVE - 2;

impl Line {
    /// A line by way of an open device, for payloads of that many bytes.
    pub(crate) fn new(device: Arc<Device>, payload: usize) -> Self {
        Self {
            device: Mutex::new(Some(device)),
            retrieves: Mutex::default(),
            next_retrieve: AtomicU64::new(FIRST_RETRIEVE),
            retrieve_limit: (payload - size_of::<abi::fuse_notify_retrieve_in>()) as u32,
        }
    }

    /// The device, until the session has ended.
    fn device(&self) -> Option<Arc<Device>> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets go of the device: whoever still holds a notifier must not keep the mount's connection alive.
    pub(crate) fn close(&self) {
        self.device.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.retrieves.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The kernel answers a retrieve notification.
    pub(crate) fn answer(&self, reply: op::NotifyReply<'_>) {
        let waiting =
            self.retrieves.lock().unwrap_or_else(PoisonError::into_inner).remove(&reply.notify_unique);
        if let Some(sender) = waiting {
            // Whoever asked may have gone; then the data goes too.
            let _ = sender.send(Retrieved { offset: reply.offset, data: reply.data.to_vec() });
        }
    }

    /// Makes the kernel send a request of no consequence by the queue of a CPU: it answers a retrieve notification for none of
    /// the root's pages, which is sent from that CPU. Its answer is for nobody.
    pub(crate) fn kick(&self, cpu: usize) {
        let Some(device) = self.device() else { return };
        let work = move || {
            let mut set = CpuSet::new();
            set.set(cpu);
            let nothing = Notification::Retrieve { unique: KICK, node: NodeId::ROOT, offset: 0, size: 0 };
            let mut message = Vec::new();
            nothing.encode(&mut message);
            let sent =
                sched_setaffinity(None, &set).map_err(io::Error::from).and_then(|()| device.notify(&message));
            if let Err(error) = sent {
                tracing::debug!(%error, cpu, "cannot make requests move on");
            }
        };
        // A thread of its own, since it binds itself to the CPU; it is rarely needed.
        let started = thread::Builder::new().name("ringfuse-kick".to_owned()).spawn(work);
        if let Err(error) = started {
            tracing::warn!(%error, cpu, "cannot make requests move on");
        }
    }

    /// Makes a number for a retrieve notification, and the place where its answer will come.
    fn expect_retrieve(&self) -> (u64, flume::Receiver<Retrieved>) {
        let unique = self.next_retrieve.fetch_add(2, Ordering::Relaxed);
        let (sender, receiver) = flume::bounded(1);
        self.retrieves.lock().unwrap_or_else(PoisonError::into_inner).insert(unique, sender);
        (unique, receiver)
    }

    /// No answer will come, as the notification was not accepted.
    fn abandon_retrieve(&self, unique: u64) {
        self.retrieves.lock().unwrap_or_else(PoisonError::into_inner).remove(&unique);
    }
}

/// Data of the kernel's page cache, as [`Notifier::retrieve`] found it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retrieved {
    /// Where in the file it starts.
    pub offset: u64,
    /// The bytes, up to the first page that was not cached.
    pub data: Vec<u8>,
}

impl Notifier {
    pub(crate) fn new(line: &Arc<Line>, kernel_minor: u32, offered: Capabilities) -> Self {
        Self(Arc::new(Inner {
            line: Arc::downgrade(line),
            kernel_minor,
            capabilities: offered,
            jobs: OnceLock::new(),
        }))
    }

    /// Drops cached attributes of a node, and cached pages in a range of bytes: from `offset` on `len` bytes, or to
    /// the end for a length of zero. A negative offset leaves the pages alone (`FUSE_NOTIFY_INVAL_INODE`).
    ///
    /// # Errors
    ///
    /// `ENOENT` if the kernel does not know the node: there was nothing to drop.
    pub async fn inval_inode(&self, node: NodeId, offset: i64, len: i64) -> Result<()> {
        self.send(Notification::InvalInode { node, offset, len }).await
    }

    /// Drops the cached entry of a name, also a negative one, and what is cached below it
    /// (`FUSE_NOTIFY_INVAL_ENTRY`). Takes the lock of the directory.
    ///
    /// # Errors
    ///
    /// `ENOENT` if the kernel does not know the directory or the name.
    pub async fn inval_entry(&self, parent: NodeId, name: impl AsRef<[u8]>) -> Result<()> {
        self.send(Notification::InvalEntry { parent, name: name.as_ref(), expire: false }).await
    }

    /// Lets the cached entry of a name expire: it is looked up again when it is next used, and stays in use where it
    /// is (`FUSE_NOTIFY_INVAL_ENTRY` with `FUSE_EXPIRE_ONLY`).
    ///
    /// # Errors
    ///
    /// `ENOENT` as for [`Notifier::inval_entry`]; `EOPNOTSUPP` for kernels before 6.2, which would drop it instead.
    pub async fn expire_entry(&self, parent: NodeId, name: impl AsRef<[u8]>) -> Result<()> {
        self.need(self.0.capabilities.contains(Capabilities::HAS_EXPIRE_ONLY))?;
        self.send(Notification::InvalEntry { parent, name: name.as_ref(), expire: true }).await
    }

    /// A name is gone: drops its entry, if it still leads to `child`, and tells those who watch the directory
    /// (`FUSE_NOTIFY_DELETE`). Takes the lock of the directory.
    ///
    /// # Errors
    ///
    /// `ENOENT` if the kernel does not know the directory or the name, or the name leads elsewhere by now; `ENOTEMPTY`
    /// for a directory with cached entries; `EBUSY` for a mountpoint.
    pub async fn delete(&self, parent: NodeId, child: NodeId, name: impl AsRef<[u8]>) -> Result<()> {
        self.send(Notification::Delete { parent, child, name: name.as_ref() }).await
    }

    /// Puts data into the page cache of a file, as if it had been read; the file grows if it ends beyond its size
    /// (`FUSE_NOTIFY_STORE`).
    ///
    /// # Errors
    ///
    /// `ENOENT` if the kernel does not know the node; `EINVAL` for more than 4 GiB.
    pub async fn store(&self, node: NodeId, offset: u64, data: &[u8]) -> Result<()> {
        u32::try_from(data.len()).map_err(|_| Errno::EINVAL)?;
        self.send(Notification::Store { node, offset, data }).await
    }

    /// Fetches what the page cache holds of a file, dirty pages included (`FUSE_NOTIFY_RETRIEVE`): at most `size`
    /// bytes, at most what a write may carry, and none beyond the first page that is not cached.
    ///
    /// # Errors
    ///
    /// `ENOENT` if the kernel does not know the node.
    pub async fn retrieve(&self, node: NodeId, offset: u64, size: u32) -> Result<Retrieved> {
        let line = self.0.line.upgrade().ok_or(Errno::ENOTCONN)?;
        let (unique, answer) = line.expect_retrieve();
        let size = size.min(line.retrieve_limit);
        if let Err(error) = self.send(Notification::Retrieve { unique, node, offset, size }).await {
            line.abandon_retrieve(unique);
            return Err(error);
        }
        drop(line);
        answer.recv_async().await.map_err(|_| Errno::ENOTCONN)
    }

    /// Wakes the programs that poll a file: those of [`op::Poll::kh`](crate::op::Poll::kh) (`FUSE_NOTIFY_POLL`).
    ///
    /// # Errors
    ///
    /// `ENOTCONN` once the session has ended. A handle that is not known is no error.
    pub async fn poll(&self, kh: PollHandle) -> Result<()> {
        self.send(Notification::Poll { kh }).await
    }

    /// Has the kernel send again all requests that were read from `/dev/fuse` and not answered
    /// (`FUSE_NOTIFY_RESEND`). It does nothing for requests on the ring.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` for kernels before 6.9.
    pub async fn resend(&self) -> Result<()> {
        self.need(self.0.capabilities.contains(Capabilities::HAS_RESEND))?;
        self.send(Notification::Resend).await
    }

    /// Lets all cached names and listings expire at once (`FUSE_NOTIFY_INC_EPOCH`).
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` for kernels before 6.16.
    pub async fn inc_epoch(&self) -> Result<()> {
        self.need(self.0.kernel_minor >= 44)?;
        self.send(Notification::IncEpoch).await
    }

    /// Drops cached names of nodes that no program uses, so that these nodes are forgotten (`FUSE_NOTIFY_PRUNE`).
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` for kernels before 6.18.
    pub async fn prune(&self, nodes: &[NodeId]) -> Result<()> {
        self.need(self.0.kernel_minor >= 45)?;
        // A message is bounded by what fits into one write of the kernel's.
        for some in nodes.chunks(1024) {
            self.send(Notification::Prune { nodes: some }).await?;
        }
        Ok(())
    }

    /// Registers a file for passthrough: the kernel may then read and write it in place of the filesystem, for the opens
    /// that are answered with [`Opened::passthrough`](crate::Opened::passthrough). Does not block.
    ///
    /// # Errors
    ///
    /// `EPERM` where [`PASSTHROUGH`](Capabilities::PASSTHROUGH) was not negotiated, or without `CAP_SYS_ADMIN` in the
    /// initial user namespace; `EISDIR` for a directory; `ELOOP` where the file is on a filesystem stacked too deep;
    /// `EOPNOTSUPP` for one that has no reads and writes of its own.
    pub fn open_backing(&self, file: impl AsFd) -> Result<Backing> {
        let device = self.0.line.upgrade().and_then(|line| line.device()).ok_or(Errno::ENOTCONN)?;
        Backing::open(&device, file)
    }

    fn need(&self, supported: bool) -> Result<()> {
        if supported { Ok(()) } else { Err(Errno::EOPNOTSUPP) }
    }

    async fn send(&self, notification: Notification<'_>) -> Result<()> {
        let mut message = Vec::new();
        notification.encode(&mut message);
        let (done, sent) = flume::bounded(1);
        self.jobs().send(Job { message, done }).map_err(|_| Errno::ENOTCONN)?;
        sent.recv_async().await.map_err(|_| Errno::ENOTCONN)?
    }

    fn jobs(&self) -> &flume::Sender<Job> {
        self.0.jobs.get_or_init(|| {
            let (sender, jobs) = flume::unbounded::<Job>();
            let line = self.0.line.clone();
            let work = move || {
                for job in jobs {
                    // Only for the time of the write: the device must not outlive its session.
                    let device = line.upgrade().and_then(|line| line.device());
                    let sent = match device {
                        Some(device) => device.notify(&job.message).map_err(Errno::from),
                        None => Err(Errno::ENOTCONN),
                    };
                    let _ = job.done.send(sent);
                }
            };
            // Where no thread can be had the receiver is dropped, and notifications fail.
            if let Err(error) = thread::Builder::new().name("ringfuse-notify".to_owned()).spawn(work) {
                tracing::error!(%error, "cannot start the thread that sends notifications");
            }
            sender
        })
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifier").field("kernel_minor", &self.0.kernel_minor).finish_non_exhaustive()
    }
}
