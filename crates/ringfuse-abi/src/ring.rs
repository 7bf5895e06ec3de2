//! FUSE over io_uring: the commands and the header area of a ring entry.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Length in bytes of [`fuse_uring_req_header::in_out`].
pub const FUSE_URING_IN_OUT_HEADER_SZ: usize = 128;

/// Length in bytes of [`fuse_uring_req_header::op_in`].
pub const FUSE_URING_OP_IN_OUT_SZ: usize = 128;

/// Not a command; the kernel refuses it.
pub const FUSE_IO_URING_CMD_INVALID: u32 = 0;
/// Hand the buffers of an entry to the kernel and wait for a first request in it.
pub const FUSE_IO_URING_CMD_REGISTER: u32 = 1;
/// Answer the request of an entry and wait for the next one in it.
pub const FUSE_IO_URING_CMD_COMMIT_AND_FETCH: u32 = 2;

/// What the transport itself says about the request or reply of an entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_uring_ent_in_out {
    /// Unused.
    pub flags: u64,
    /// Id to be given in [`fuse_uring_cmd_req::commit_id`] when the request is answered.
    pub commit_id: u64,
    /// Number of bytes used in the payload buffer, by the request or by the reply.
    pub payload_sz: u32,
    /// Unused.
    pub padding: u32,
    /// Unused.
    pub reserved: u64,
}

/// The header buffer of an entry; what the current request or reply does not use holds stale bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_uring_req_header {
    /// Holds [`fuse_in_header`](crate::fuse_in_header) or [`fuse_out_header`](crate::fuse_out_header).
    pub in_out: [u8; FUSE_URING_IN_OUT_HEADER_SZ],
    /// Holds the request body of the operation, if it has one; not used by replies.
    pub op_in: [u8; FUSE_URING_OP_IN_OUT_SZ],
    /// Holds the transport's own words.
    pub ring_ent_in_out: fuse_uring_ent_in_out,
}

// Written out because arrays of this length do not implement `Default`.
impl Default for fuse_uring_req_header {
    fn default() -> Self {
        Self {
            in_out: [0; FUSE_URING_IN_OUT_HEADER_SZ],
            op_in: [0; FUSE_URING_OP_IN_OUT_SZ],
            ring_ent_in_out: fuse_uring_ent_in_out::default(),
        }
    }
}

/// Start of the 80-byte command area of a 128-byte submission; the rest of the area must be zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_uring_cmd_req {
    /// Unused; must be 0.
    pub flags: u64,
    /// Id of the request being answered; 0 to register.
    pub commit_id: u64,
    /// Index of the queue that the entry belongs to.
    pub qid: u16,
    /// Unused.
    pub padding: [u8; 6],
}
