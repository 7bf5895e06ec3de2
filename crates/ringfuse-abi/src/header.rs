//! The protocol version, the headers of every message, and the messages that get no reply.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Major protocol version; a server must answer `INIT` with this major version.
pub const FUSE_KERNEL_VERSION: u32 = 7;

/// Minor protocol version described by this crate; both sides use the smaller of the two they know.
pub const FUSE_KERNEL_MINOR_VERSION: u32 = 45;

/// Node id of the root directory; it exists from the mount on and its lookups are never counted.
pub const FUSE_ROOT_ID: u64 = 1;

/// Smallest buffer in bytes that a server may pass to `read` on `/dev/fuse`.
pub const FUSE_MIN_READ_BUFFER: usize = 8192;

/// Bit of [`fuse_in_header::unique`] telling that the request has been delivered before and is sent again.
pub const FUSE_UNIQUE_RESEND: u64 = 1 << 63;

/// Value of [`fuse_in_header::uid`] and `gid` where an idmapped mount has no mapping for the caller.
pub const FUSE_INVALID_UIDGID: u32 = u32::MAX;

/// First part of every request.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_in_header {
    /// Length in bytes of the whole request, this header included.
    pub len: u32,
    /// Operation, one of the opcode constants such as [`FUSE_LOOKUP`](crate::FUSE_LOOKUP).
    pub opcode: u32,
    /// Request id, repeated in the reply; bit 0 marks an interrupt, bit 63 a resent request.
    pub unique: u64,
    /// Node the operation is about; the parent directory where a name follows.
    pub nodeid: u64,
    /// User id of the caller's filesystem credentials, or [`FUSE_INVALID_UIDGID`].
    pub uid: u32,
    /// Group id of the caller's filesystem credentials, or [`FUSE_INVALID_UIDGID`].
    pub gid: u32,
    /// Process id of the caller in the pid namespace of the mount, 0 if it has none there.
    pub pid: u32,
    /// Length of the extensions at the end of the request, in units of 8 bytes.
    pub total_extlen: u16,
    /// Unused.
    pub padding: u16,
}

/// First part of every reply and of every notification.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_out_header {
    /// Length in bytes of the whole message, this header included; not looked at in a ring reply.
    pub len: u32,
    /// 0 for success or a negated errno above -512; in a notification, the notify code.
    pub error: i32,
    /// Id of the answered request; 0 in a notification.
    pub unique: u64,
}

/// Body of `FORGET`, which gets no reply.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_forget_in {
    /// How many lookups of the header's node the kernel gives back.
    pub nlookup: u64,
}

/// One node of a `BATCH_FORGET`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_forget_one {
    /// The node.
    pub nodeid: u64,
    /// How many lookups of it the kernel gives back.
    pub nlookup: u64,
}

/// Body of `BATCH_FORGET`, which gets no reply; `count` records of [`fuse_forget_one`] follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_batch_forget_in {
    /// Number of [`fuse_forget_one`] records that follow.
    pub count: u32,
    /// Unused.
    pub dummy: u32,
}

/// Body of `INTERRUPT`, sent when a signal reaches a caller that waits for a reply.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_interrupt_in {
    /// Id of the request to interrupt.
    pub unique: u64,
}
