//! Notifications: messages the server sends on its own.
//!
//! A notification is written to `/dev/fuse` as a [`fuse_out_header`](crate::fuse_out_header) with `unique` 0
//! and the code in `error`, followed by the body of that code.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Wake up those who poll a file; body [`fuse_notify_poll_wakeup_out`].
pub const FUSE_NOTIFY_POLL: i32 = 1;
/// Drop a node's cached attributes and pages; body [`fuse_notify_inval_inode_out`].
pub const FUSE_NOTIFY_INVAL_INODE: i32 = 2;
/// Drop a cached name; body [`fuse_notify_inval_entry_out`].
pub const FUSE_NOTIFY_INVAL_ENTRY: i32 = 3;
/// Put data into a node's page cache; body [`fuse_notify_store_out`].
pub const FUSE_NOTIFY_STORE: i32 = 4;
/// Ask for data of a node's page cache; body [`fuse_notify_retrieve_out`].
pub const FUSE_NOTIFY_RETRIEVE: i32 = 5;
/// Drop a cached name and tell watchers it was deleted; body [`fuse_notify_delete_out`].
pub const FUSE_NOTIFY_DELETE: i32 = 6;
/// Send again every request that was read from the device but not answered; no body.
pub const FUSE_NOTIFY_RESEND: i32 = 7;
/// Make every name cached so far subject to a new `LOOKUP`; no body.
pub const FUSE_NOTIFY_INC_EPOCH: i32 = 8;
/// Drop unused cached names of nodes, so that these get forgotten; body [`fuse_notify_prune_out`].
pub const FUSE_NOTIFY_PRUNE: i32 = 9;

/// Bit of [`fuse_notify_inval_entry_out::flags`]: look the name up again at next use instead of dropping it.
pub const FUSE_EXPIRE_ONLY: u32 = 1 << 0;

/// Body of the `POLL` notification.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_notify_poll_wakeup_out {
    /// The `kh` of a `POLL` request with [`FUSE_POLL_SCHEDULE_NOTIFY`](crate::FUSE_POLL_SCHEDULE_NOTIFY).
    pub kh: u64,
}

/// Body of the `INVAL_INODE` notification.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_notify_inval_inode_out {
    /// The node id (not the inode number shown to applications).
    pub ino: u64,
    /// Start of the range of pages to drop in bytes; negative drops attributes only.
    pub off: i64,
    /// Length of the range in bytes; 0 or negative reaches to the end of the file.
    pub len: i64,
}

/// Body of the `INVAL_ENTRY` notification; the name with its NUL follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_notify_inval_entry_out {
    /// Node id of the directory.
    pub parent: u64,
    /// Length of the name in bytes, without the NUL.
    pub namelen: u32,
    /// 0 or [`FUSE_EXPIRE_ONLY`].
    pub flags: u32,
}

/// Body of the `DELETE` notification; the name with its NUL follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_notify_delete_out {
    /// Node id of the directory.
    pub parent: u64,
    /// Node id that the name led to; the write fails with `ENOENT` if it leads elsewhere by now.
    pub child: u64,
    /// Length of the name in bytes, without the NUL.
    pub namelen: u32,
    /// Unused.
    pub padding: u32,
}

/// Body of the `STORE` notification; `size` bytes of data follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_notify_store_out {
    /// The node.
    pub nodeid: u64,
    /// Offset in the file in bytes.
    pub offset: u64,
    /// Number of bytes that follow; the file grows if they reach beyond its end.
    pub size: u32,
    /// Unused.
    pub padding: u32,
}

/// Body of the `RETRIEVE` notification.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_notify_retrieve_out {
    /// Id of the `NOTIFY_REPLY` request that will bring the data; chosen by the server.
    pub notify_unique: u64,
    /// The node.
    pub nodeid: u64,
    /// Offset in the file in bytes.
    pub offset: u64,
    /// Most bytes to bring.
    pub size: u32,
    /// Unused.
    pub padding: u32,
}

/// Request body of `NOTIFY_REPLY`, as long as [`fuse_write_in`](crate::fuse_write_in); the data follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_notify_retrieve_in {
    /// Unused.
    pub dummy1: u64,
    /// Offset in the file in bytes.
    pub offset: u64,
    /// Number of bytes that follow; less than asked for where the cache has a gap.
    pub size: u32,
    /// Unused.
    pub dummy2: u32,
    /// Unused.
    pub dummy3: u64,
    /// Unused.
    pub dummy4: u64,
}

/// Body of the `PRUNE` notification; `count` node ids of 8 bytes each follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_notify_prune_out {
    /// Number of node ids that follow.
    pub count: u32,
    /// Unused.
    pub padding: u32,
    /// Unused.
    pub spare: u64,
}
