//! Attributes of nodes and of the filesystem, the replies that carry them, and `SETATTR`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Length in bytes of [`fuse_entry_out`] for minor versions below 9.
pub const FUSE_COMPAT_ENTRY_OUT_SIZE: usize = 120;

/// Length in bytes of [`fuse_attr_out`] for minor versions below 9.
pub const FUSE_COMPAT_ATTR_OUT_SIZE: usize = 96;

/// Length in bytes of [`fuse_statfs_out`] for minor versions below 4.
pub const FUSE_COMPAT_STATFS_SIZE: usize = 48;

/// Attributes of a node, as in `stat(2)`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_attr {
    /// Inode number shown to applications.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Allocated space in units of 512 bytes.
    pub blocks: u64,
    /// Time of the last access, seconds since the epoch (a signed value).
    pub atime: u64,
    /// Time of the last change of the data, seconds since the epoch (a signed value).
    pub mtime: u64,
    /// Time of the last change of the attributes, seconds since the epoch (a signed value).
    pub ctime: u64,
    /// Nanoseconds of `atime`, below 1 000 000 000.
    pub atimensec: u32,
    /// Nanoseconds of `mtime`, below 1 000 000 000.
    pub mtimensec: u32,
    /// Nanoseconds of `ctime`, below 1 000 000 000.
    pub ctimensec: u32,
    /// File type and permission bits, as `st_mode`.
    pub mode: u32,
    /// Number of hard links.
    pub nlink: u32,
    /// User id of the owner.
    pub uid: u32,
    /// Group id of the owner.
    pub gid: u32,
    /// Device number of a device node, in the kernel's 32-bit encoding.
    pub rdev: u32,
    /// Preferred size of I/O in bytes, as `st_blksize`; 0 leaves the filesystem's block size.
    pub blksize: u32,
    /// Bits `FUSE_ATTR_*`.
    pub flags: u32,
}

/// The directory is the root of a submount, to be mounted automatically; virtiofs only.
pub const FUSE_ATTR_SUBMOUNT: u32 = 1 << 0;
/// The file is to be accessed through DAX; virtiofs only.
pub const FUSE_ATTR_DAX: u32 = 1 << 1;

/// A timestamp of [`fuse_statx`], laid out as `struct statx_timestamp`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_sx_time {
    /// Seconds since the epoch, negative before it.
    pub tv_sec: i64,
    /// Nanoseconds after `tv_sec`, below 1 000 000 000.
    pub tv_nsec: u32,
    /// Unused.
    pub __reserved: i32,
}

/// Attributes of a node, laid out as `struct statx`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_statx {
    /// Bits `STATX_*` of the fields that are filled in.
    pub mask: u32,
    /// Preferred size of I/O in bytes.
    pub blksize: u32,
    /// Bits `STATX_ATTR_*` that are set on the file.
    pub attributes: u64,
    /// Number of hard links.
    pub nlink: u32,
    /// User id of the owner.
    pub uid: u32,
    /// Group id of the owner.
    pub gid: u32,
    /// File type and permission bits.
    pub mode: u16,
    /// Unused.
    pub __spare0: [u16; 1],
    /// Inode number.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Allocated space in units of 512 bytes.
    pub blocks: u64,
    /// Bits of `attributes` that the filesystem supports.
    pub attributes_mask: u64,
    /// Time of the last access.
    pub atime: fuse_sx_time,
    /// Time of creation.
    pub btime: fuse_sx_time,
    /// Time of the last change of the attributes.
    pub ctime: fuse_sx_time,
    /// Time of the last change of the data.
    pub mtime: fuse_sx_time,
    /// Major device number of a device node.
    pub rdev_major: u32,
    /// Minor device number of a device node.
    pub rdev_minor: u32,
    /// Major number of the device that holds the filesystem; the kernel puts its own.
    pub dev_major: u32,
    /// Minor number of the device that holds the filesystem; the kernel puts its own.
    pub dev_minor: u32,
    /// Unused.
    pub __spare2: [u64; 14],
}

/// Figures of the filesystem as a whole, as in `statvfs(3)`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_kstatfs {
    /// Size of the filesystem in units of `frsize`.
    pub blocks: u64,
    /// Free space in units of `frsize`.
    pub bfree: u64,
    /// Free space for unprivileged users in units of `frsize`.
    pub bavail: u64,
    /// Number of inodes.
    pub files: u64,
    /// Number of free inodes.
    pub ffree: u64,
    /// Preferred size of I/O in bytes.
    pub bsize: u32,
    /// Longest file name in bytes.
    pub namelen: u32,
    /// Unit of the block counts in bytes.
    pub frsize: u32,
    /// Unused.
    pub padding: u32,
    /// Unused.
    pub spare: [u32; 6],
}

/// Reply body of `STATFS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_statfs_out {
    /// The figures.
    pub st: fuse_kstatfs,
}

/// Reply body of `LOOKUP` and of every request that makes a node; counts one lookup of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_entry_out {
    /// The node; 0 stands for a name that does not exist and is to be cached as such.
    pub nodeid: u64,
    /// Tells apart nodes that use the same `nodeid` one after the other.
    pub generation: u64,
    /// Whole seconds for which the name stays valid.
    pub entry_valid: u64,
    /// Whole seconds for which the attributes stay valid.
    pub attr_valid: u64,
    /// Nanoseconds added to `entry_valid`.
    pub entry_valid_nsec: u32,
    /// Nanoseconds added to `attr_valid`.
    pub attr_valid_nsec: u32,
    /// Attributes of the node.
    pub attr: fuse_attr,
}

/// Request body of `GETATTR`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_getattr_in {
    /// Bits `FUSE_GETATTR_*`.
    pub getattr_flags: u32,
    /// Unused.
    pub dummy: u32,
    /// Handle of an open file of this node; valid with [`FUSE_GETATTR_FH`](crate::FUSE_GETATTR_FH).
    pub fh: u64,
}

/// Reply body of `GETATTR` and `SETATTR`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_attr_out {
    /// Whole seconds for which the attributes stay valid.
    pub attr_valid: u64,
    /// Nanoseconds added to `attr_valid`.
    pub attr_valid_nsec: u32,
    /// Unused.
    pub dummy: u32,
    /// Attributes of the node.
    pub attr: fuse_attr,
}

/// Request body of `STATX`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_statx_in {
    /// Bits `FUSE_GETATTR_*`.
    pub getattr_flags: u32,
    /// Unused.
    pub reserved: u32,
    /// Handle of an open file of this node; valid with [`FUSE_GETATTR_FH`](crate::FUSE_GETATTR_FH).
    pub fh: u64,
    /// Bits `AT_STATX_*` on how fresh the answer has to be.
    pub sx_flags: u32,
    /// Bits `STATX_*` of the fields asked for.
    pub sx_mask: u32,
}

/// Reply body of `STATX`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_statx_out {
    /// Whole seconds for which the attributes stay valid.
    pub attr_valid: u64,
    /// Nanoseconds added to `attr_valid`.
    pub attr_valid_nsec: u32,
    /// Bits `FUSE_ATTR_*`.
    pub flags: u32,
    /// Unused.
    pub spare: [u64; 2],
    /// Attributes of the node.
    pub stat: fuse_statx,
}

/// Request body of `SETATTR`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_setattr_in {
    /// Bits `FATTR_*`: which of the following fields are valid, and how to apply them.
    pub valid: u32,
    /// Unused.
    pub padding: u32,
    /// Handle of an open file of this node; valid with [`FATTR_FH`].
    pub fh: u64,
    /// New size in bytes; valid with [`FATTR_SIZE`].
    pub size: u64,
    /// Owner of the caller's POSIX locks; valid with [`FATTR_LOCKOWNER`].
    pub lock_owner: u64,
    /// New access time, seconds since the epoch (a signed value); valid with [`FATTR_ATIME`].
    pub atime: u64,
    /// New time of data change, seconds since the epoch (a signed value); valid with [`FATTR_MTIME`].
    pub mtime: u64,
    /// New time of attribute change, seconds since the epoch (a signed value); valid with [`FATTR_CTIME`].
    pub ctime: u64,
    /// Nanoseconds of `atime`.
    pub atimensec: u32,
    /// Nanoseconds of `mtime`.
    pub mtimensec: u32,
    /// Nanoseconds of `ctime`.
    pub ctimensec: u32,
    /// New permission bits, with the file type; valid with [`FATTR_MODE`].
    pub mode: u32,
    /// Unused.
    pub unused4: u32,
    /// New owner; valid with [`FATTR_UID`].
    pub uid: u32,
    /// New group; valid with [`FATTR_GID`].
    pub gid: u32,
    /// Unused.
    pub unused5: u32,
}

/// [`fuse_setattr_in::mode`] is valid.
pub const FATTR_MODE: u32 = 1 << 0;
/// [`fuse_setattr_in::uid`] is valid.
pub const FATTR_UID: u32 = 1 << 1;
/// [`fuse_setattr_in::gid`] is valid.
pub const FATTR_GID: u32 = 1 << 2;
/// [`fuse_setattr_in::size`] is valid: truncate or extend the file.
pub const FATTR_SIZE: u32 = 1 << 3;
/// [`fuse_setattr_in::atime`] is valid.
pub const FATTR_ATIME: u32 = 1 << 4;
/// [`fuse_setattr_in::mtime`] is valid.
pub const FATTR_MTIME: u32 = 1 << 5;
/// [`fuse_setattr_in::fh`] is valid.
pub const FATTR_FH: u32 = 1 << 6;
/// The access time becomes the server's current time.
pub const FATTR_ATIME_NOW: u32 = 1 << 7;
/// The time of data change becomes the server's current time.
pub const FATTR_MTIME_NOW: u32 = 1 << 8;
/// [`fuse_setattr_in::lock_owner`] is valid.
pub const FATTR_LOCKOWNER: u32 = 1 << 9;
/// [`fuse_setattr_in::ctime`] is valid.
pub const FATTR_CTIME: u32 = 1 << 10;
/// Clear set-user-id and set-group-id bits and file capabilities along with this change.
pub const FATTR_KILL_SUIDGID: u32 = 1 << 11;
