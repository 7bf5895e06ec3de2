//! Plain values of the filesystem's side: ids, names, attributes, replies.
//!
//! Nothing here knows of the wire, of memory shared with the kernel, or of I/O.

mod attr;
mod capabilities;
mod entry;
mod errno;
mod id;
mod name;
mod open;
mod session;

pub use attr::{Attr, FileType, Lock, LockKind, SetTime, Statfs, Statx, Timestamp};
pub use capabilities::Capabilities;
pub use entry::{AttrReply, Entry, StatxReply};
pub use errno::{Errno, Result};
pub use id::{BackingId, DirPos, Fh, Generation, LockOwner, NodeId, PollHandle, Unique};
pub use name::{InvalidName, Name};
pub(crate) use open::Keep;
pub use open::{OpenFlags, Opened, Written};
pub use session::{SessionInfo, Transport, TransportKind};
