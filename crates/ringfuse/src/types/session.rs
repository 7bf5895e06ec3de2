//! What is to be known of a running session.

use std::fmt;
use std::path::PathBuf;

use super::Capabilities;

/// Which way requests may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Transport {
    /// By io_uring, or the mount fails.
    RequireRing,
    /// By io_uring where it can be had, else by `/dev/fuse`; [`SessionInfo::reason`] tells why.
    #[default]
    PreferRing,
    /// By `/dev/fuse`.
    DeviceOnly,
}

/// Which way requests do take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransportKind {
    /// FUSE over io_uring.
    Ring,
    /// `/dev/fuse`, read and written.
    Device,
}

impl fmt::Display for TransportKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ring => "io_uring",
            Self::Device => "/dev/fuse",
        })
    }
}

/// A session, described.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Where the filesystem is mounted, absolute and without symbolic links; `None` where that is somebody else's.
    pub mountpoint: Option<PathBuf>,
    /// The kernel's number of the mount: N of `/sys/fs/fuse/connections/N`.
    pub connection: Option<u64>,
    /// Which way requests take. Within [`Filesystem::ready`](crate::Filesystem::ready) the way that is planned; should
    /// the kernel refuse the ring's entries after that, it is the device.
    pub transport: TransportKind,
    /// Why that way.
    pub reason: String,
    /// The kernel's version of the protocol, major and minor.
    pub kernel: (u32, u32),
    /// What was agreed on.
    pub capabilities: Capabilities,
    /// Threads that serve requests.
    pub workers: usize,
    /// Queues of the ring, one a possible CPU; on the device, one a worker.
    pub queues: usize,
    /// Requests that each queue can have in service at once. On the device it grows beyond that as needed.
    pub depth: usize,
    /// Bytes that a write request carries at most.
    pub max_write: u32,
    /// Bytes that the kernel reads ahead of a program at most. It is less than was asked for where this process may not
    /// change it; see [`Mount::max_readahead`](crate::Mount::max_readahead).
    pub max_readahead: u32,
    /// Bytes that the buffers of requests take at most, once all have been filled to the brim. They start at nothing.
    pub buffers: usize,
}

impl fmt::Display for SessionInfo {
    /// One line: mountpoint, transport, queues, depth, memory.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.mountpoint {
            Some(path) => write!(f, "{}: ", path.display())?,
            None => write!(f, "(mounted elsewhere): ")?,
        }
        write!(
            f,
            "{} ({}), {} queues x {} entries, {} workers, buffers up to {} MiB",
            self.transport,
            self.reason,
            self.queues,
            self.depth,
            self.workers,
            self.buffers.div_ceil(1 << 20)
        )
    }
}
