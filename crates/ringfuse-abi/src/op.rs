//! Request and reply bodies of the operations that have no module of their own.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Length in bytes of [`fuse_mknod_in`] for minor versions below 12.
pub const FUSE_COMPAT_MKNOD_IN_SIZE: usize = 8;

/// Length in bytes of [`fuse_write_in`] for minor versions below 9.
pub const FUSE_COMPAT_WRITE_IN_SIZE: usize = 24;

/// Length in bytes of [`fuse_setxattr_in`] without [`FUSE_SETXATTR_EXT`](crate::FUSE_SETXATTR_EXT).
pub const FUSE_COMPAT_SETXATTR_IN_SIZE: usize = 8;

/// Request body of `MKNOD`; the name with its NUL and the extensions follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_mknod_in {
    /// File type and permission bits of the new node.
    pub mode: u32,
    /// Device number of a device node, in the kernel's 32-bit encoding.
    pub rdev: u32,
    /// The caller's umask, not yet applied with [`FUSE_DONT_MASK`](crate::FUSE_DONT_MASK).
    pub umask: u32,
    /// Unused.
    pub padding: u32,
}

/// Request body of `MKDIR`; the name with its NUL and the extensions follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_mkdir_in {
    /// Permission bits of the new directory.
    pub mode: u32,
    /// The caller's umask, not yet applied with [`FUSE_DONT_MASK`](crate::FUSE_DONT_MASK).
    pub umask: u32,
}

/// Request body of `RENAME`; old and new name follow, each with its NUL.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_rename_in {
    /// Directory of the new name; the header names that of the old one.
    pub newdir: u64,
}

/// Request body of `RENAME2`; old and new name follow, each with its NUL.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_rename2_in {
    /// Directory of the new name; the header names that of the old one.
    pub newdir: u64,
    /// Bits `RENAME_*` of `renameat2(2)`.
    pub flags: u32,
    /// Unused.
    pub padding: u32,
}

/// Request body of `LINK`; the new name with its NUL follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_link_in {
    /// Node to be linked; the header names the directory of the new name.
    pub oldnodeid: u64,
}

/// Request body of `OPEN` and `OPENDIR`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_open_in {
    /// Flags of `open(2)`.
    pub flags: u32,
    /// Bits `FUSE_OPEN_*`.
    pub open_flags: u32,
}

/// Request body of `CREATE` and `TMPFILE`; the name with its NUL and the extensions follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_create_in {
    /// Flags of `open(2)`.
    pub flags: u32,
    /// File type and permission bits of the new file.
    pub mode: u32,
    /// The caller's umask, not yet applied with [`FUSE_DONT_MASK`](crate::FUSE_DONT_MASK).
    pub umask: u32,
    /// Bits `FUSE_OPEN_*`.
    pub open_flags: u32,
}

/// Reply body of `OPEN` and `OPENDIR`; second part of the reply of `CREATE` and `TMPFILE`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_open_out {
    /// Handle that the kernel repeats in each request on the open file.
    pub fh: u64,
    /// Bits `FOPEN_*`.
    pub open_flags: u32,
    /// Id of a registered backing file; valid with [`FOPEN_PASSTHROUGH`](crate::FOPEN_PASSTHROUGH).
    pub backing_id: i32,
}

/// Request body of `RELEASE` and `RELEASEDIR`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_release_in {
    /// Handle of the open file, not used again.
    pub fh: u64,
    /// Flags of `open(2)` as of now.
    pub flags: u32,
    /// Bits `FUSE_RELEASE_*`.
    pub release_flags: u32,
    /// Owner of the `flock(2)` lock to drop; valid with
    /// [`FUSE_RELEASE_FLOCK_UNLOCK`](crate::FUSE_RELEASE_FLOCK_UNLOCK).
    pub lock_owner: u64,
}

/// Request body of `FLUSH`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_flush_in {
    /// Handle of the open file.
    pub fh: u64,
    /// Unused.
    pub unused: u32,
    /// Unused.
    pub padding: u32,
    /// Owner of the POSIX locks that the close drops.
    pub lock_owner: u64,
}

/// Request body of `READ`, `READDIR` and `READDIRPLUS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_read_in {
    /// Handle of the open file or directory.
    pub fh: u64,
    /// Offset in bytes; for a directory, the `off` of the last entry read, or 0.
    pub offset: u64,
    /// Most bytes that the reply may hold.
    pub size: u32,
    /// Bits `FUSE_READ_*`.
    pub read_flags: u32,
    /// Owner of the caller's POSIX locks; valid with [`FUSE_READ_LOCKOWNER`](crate::FUSE_READ_LOCKOWNER).
    pub lock_owner: u64,
    /// Flags of `open(2)` as of now.
    pub flags: u32,
    /// Unused.
    pub padding: u32,
}

/// Request body of `WRITE`; `size` bytes of data follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_write_in {
    /// Handle of the open file.
    pub fh: u64,
    /// Offset in bytes.
    pub offset: u64,
    /// Number of bytes that follow.
    pub size: u32,
    /// Bits `FUSE_WRITE_*`.
    pub write_flags: u32,
    /// Owner of the caller's POSIX locks; valid with [`FUSE_WRITE_LOCKOWNER`](crate::FUSE_WRITE_LOCKOWNER).
    pub lock_owner: u64,
    /// Flags of `open(2)` as of now.
    pub flags: u32,
    /// Unused.
    pub padding: u32,
}

/// Reply body of `WRITE` and `COPY_FILE_RANGE`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_write_out {
    /// Number of bytes written or copied.
    pub size: u32,
    /// Unused.
    pub padding: u32,
}

/// Request body of `FSYNC` and `FSYNCDIR`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_fsync_in {
    /// Handle of the open file or directory.
    pub fh: u64,
    /// Bits `FUSE_FSYNC_*`.
    pub fsync_flags: u32,
    /// Unused.
    pub padding: u32,
}

/// Request body of `SETXATTR`; the name with its NUL and `size` bytes of value follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_setxattr_in {
    /// Length of the value in bytes.
    pub size: u32,
    /// Bits `XATTR_CREATE` and `XATTR_REPLACE` of `setxattr(2)`.
    pub flags: u32,
    /// Bits `FUSE_SETXATTR_*`; sent with [`FUSE_SETXATTR_EXT`](crate::FUSE_SETXATTR_EXT) only.
    pub setxattr_flags: u32,
    /// Unused; sent with [`FUSE_SETXATTR_EXT`](crate::FUSE_SETXATTR_EXT) only.
    pub padding: u32,
}

/// Request body of `GETXATTR`, which a name with its NUL follows, and of `LISTXATTR`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_getxattr_in {
    /// Room for the answer in bytes; 0 asks for its length, to be answered by [`fuse_getxattr_out`].
    pub size: u32,
    /// Unused.
    pub padding: u32,
}

/// Reply body of `GETXATTR` and `LISTXATTR` when the request's size is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_getxattr_out {
    /// Length of the value or of the list in bytes.
    pub size: u32,
    /// Unused.
    pub padding: u32,
}

/// A byte range lock.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_file_lock {
    /// First byte.
    pub start: u64,
    /// Last byte, inclusive; `i64::MAX` stands for the end of the file.
    pub end: u64,
    /// `F_RDLCK`, `F_WRLCK` or `F_UNLCK`.
    pub r#type: u32,
    /// Process id (thread group) of the holder.
    pub pid: u32,
}

/// Request body of `GETLK`, `SETLK` and `SETLKW`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_lk_in {
    /// Handle of the open file.
    pub fh: u64,
    /// Opaque owner; locks of one owner do not conflict.
    pub owner: u64,
    /// The lock.
    pub lk: fuse_file_lock,
    /// Bits `FUSE_LK_*`.
    pub lk_flags: u32,
    /// Unused.
    pub padding: u32,
}

/// Reply body of `GETLK`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_lk_out {
    /// A lock in the way; its `type` is `F_UNLCK` if there is none.
    pub lk: fuse_file_lock,
}

/// Request body of `ACCESS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_access_in {
    /// Bits `R_OK`, `W_OK` and `X_OK`.
    pub mask: u32,
    /// Unused.
    pub padding: u32,
}

/// Request body of `BMAP`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_bmap_in {
    /// Block number within the file, in units of `blocksize`.
    pub block: u64,
    /// Size of a block in bytes.
    pub blocksize: u32,
    /// Unused.
    pub padding: u32,
}

/// Reply body of `BMAP`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_bmap_out {
    /// Block number on the underlying device; 0 for a hole.
    pub block: u64,
}

/// Request body of `IOCTL`; `in_size` bytes of input follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_ioctl_in {
    /// Handle of the open file.
    pub fh: u64,
    /// Bits `FUSE_IOCTL_*`.
    pub flags: u32,
    /// Command number of the `ioctl(2)` call.
    pub cmd: u32,
    /// Argument of the `ioctl(2)` call: a plain value or an address in the caller.
    pub arg: u64,
    /// Number of bytes that follow.
    pub in_size: u32,
    /// Most bytes of output that the reply may hold.
    pub out_size: u32,
}

/// Memory of the caller, asked for by an `IOCTL` reply with [`FUSE_IOCTL_RETRY`](crate::FUSE_IOCTL_RETRY).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_ioctl_iovec {
    /// Address in the caller.
    pub base: u64,
    /// Length in bytes.
    pub len: u64,
}

/// Reply body of `IOCTL`; the output, or records of [`fuse_ioctl_iovec`], follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_ioctl_out {
    /// Return value of the `ioctl(2)` call; a negated errno if negative.
    pub result: i32,
    /// 0 or [`FUSE_IOCTL_RETRY`](crate::FUSE_IOCTL_RETRY).
    pub flags: u32,
    /// With a retry, number of [`fuse_ioctl_iovec`] records for input, the first to follow.
    pub in_iovs: u32,
    /// With a retry, number of [`fuse_ioctl_iovec`] records for output, after those for input.
    pub out_iovs: u32,
}

/// Request body of `POLL`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_poll_in {
    /// Handle of the open file.
    pub fh: u64,
    /// Handle of the kernel's, to be named in a `POLL` notification.
    pub kh: u64,
    /// Bits `FUSE_POLL_*`.
    pub flags: u32,
    /// Bits `POLL*` that the caller waits for.
    pub events: u32,
}

/// Reply body of `POLL`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_poll_out {
    /// Bits `POLL*` that hold now.
    pub revents: u32,
    /// Unused.
    pub padding: u32,
}

/// Request body of `FALLOCATE`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_fallocate_in {
    /// Handle of the open file.
    pub fh: u64,
    /// Start of the range in bytes.
    pub offset: u64,
    /// Length of the range in bytes.
    pub length: u64,
    /// Bits `FALLOC_FL_*` of `fallocate(2)`.
    pub mode: u32,
    /// Unused.
    pub padding: u32,
}

/// Request body of `LSEEK`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_lseek_in {
    /// Handle of the open file.
    pub fh: u64,
    /// Offset in bytes to search from.
    pub offset: u64,
    /// `SEEK_DATA` or `SEEK_HOLE`; other values are resolved in the kernel.
    pub whence: u32,
    /// Unused.
    pub padding: u32,
}

/// Reply body of `LSEEK`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_lseek_out {
    /// Offset found, in bytes from the start of the file.
    pub offset: u64,
}

/// Request body of `COPY_FILE_RANGE` and `COPY_FILE_RANGE_64`; the header names the source node.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_copy_file_range_in {
    /// Handle of the open source file.
    pub fh_in: u64,
    /// Offset in the source in bytes.
    pub off_in: u64,
    /// Destination node.
    pub nodeid_out: u64,
    /// Handle of the open destination file.
    pub fh_out: u64,
    /// Offset in the destination in bytes.
    pub off_out: u64,
    /// Most bytes to copy.
    pub len: u64,
    /// Flags of `copy_file_range(2)`, none defined.
    pub flags: u64,
}

/// Reply body of `COPY_FILE_RANGE_64`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_copy_file_range_out {
    /// Number of bytes copied.
    pub bytes_copied: u64,
}

/// Request body of `SETUPMAPPING`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_setupmapping_in {
    /// Handle of an open file; `u64::MAX` where the kernel has none at hand.
    pub fh: u64,
    /// Start of the range in the file, in bytes.
    pub foffset: u64,
    /// Length of the range in bytes.
    pub len: u64,
    /// Bits `FUSE_SETUPMAPPING_FLAG_*`.
    pub flags: u64,
    /// Start of the range in the DAX window, in bytes.
    pub moffset: u64,
}

/// Request body of `REMOVEMAPPING`; `count` records of [`fuse_removemapping_one`] follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_removemapping_in {
    /// Number of [`fuse_removemapping_one`] records that follow.
    pub count: u32,
}

/// One range of a `REMOVEMAPPING`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_removemapping_one {
    /// Start of the range in the DAX window, in bytes.
    pub moffset: u64,
    /// Length of the range in bytes.
    pub len: u64,
}

/// Most ranges in one `REMOVEMAPPING`, for a kernel with pages of `page_size` bytes.
#[must_use]
#[allow(non_snake_case, reason = "a macro of the kernel header; the header leaves the page size to its user")]
pub const fn FUSE_REMOVEMAPPING_MAX_ENTRY(page_size: usize) -> usize {
    page_size / size_of::<fuse_removemapping_one>()
}

/// Request body of `SYNCFS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_syncfs_in {
    /// Unused.
    pub padding: u64,
}
