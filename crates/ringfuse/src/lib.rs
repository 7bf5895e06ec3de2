//! An async FUSE library for Linux: filesystems in user space, over io_uring where the kernel has it, and over
//! `/dev/fuse` everywhere else.
//!
//! Implement [`Filesystem`], and mount it with [`Mount`].

#![deny(unsafe_code)]

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

mod builder;
mod dispatch;
mod error;
mod file;
mod fs;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
#[allow(unsafe_code)]
mod mem;
mod mount;
mod notify;
mod passthrough;
mod proto;
mod session;
#[allow(unsafe_code)]
mod transport;
mod types;

pub use builder::Mount;
pub use error::{Error, ErrorKind};
pub use fs::{BytesOut, Caller, Filesystem, Forgets, IoctlOut, Negotiation, Request};
pub use mem::{ReadBuf, WriteBuf};
pub use mount::{Atime, MountOptions, Unmount, Via, remount};
pub use notify::{Notifier, Retrieved};
pub use passthrough::Backing;
pub use proto::dir::{DirError, DirFiller};
pub use proto::op;
pub use session::{Session, Stats, Unmounter};
pub use types::{
    Attr, AttrReply, BackingId, Capabilities, DirPos, Entry, Errno, Fh, FileType, Generation, InvalidName,
    Lock, LockKind, LockOwner, Name, NodeId, OpenFlags, Opened, PollHandle, Result, SessionInfo, SetTime,
    Statfs, Statx, StatxReply, Timestamp, Transport, TransportKind, Unique, Written,
};
