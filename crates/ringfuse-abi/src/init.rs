//! `INIT`: the version and feature negotiation that opens a connection.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Length in bytes of the `INIT` reply of a minor version below 5.
pub const FUSE_COMPAT_INIT_OUT_SIZE: usize = 8;

/// Length in bytes of the `INIT` reply of the minor versions 5 to 22.
pub const FUSE_COMPAT_22_INIT_OUT_SIZE: usize = 24;

/// Request body of `INIT`; minor versions below 36 send the first 16 bytes only.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_init_in {
    /// Major version of the kernel.
    pub major: u32,
    /// Minor version of the kernel.
    pub minor: u32,
    /// Largest readahead in bytes that the kernel has in mind.
    pub max_readahead: u32,
    /// `INIT` flags 0 to 31 that the kernel offers.
    pub flags: u32,
    /// `INIT` flags 32 to 63 that the kernel offers, shifted down; valid with [`FUSE_INIT_EXT`].
    pub flags2: u32,
    /// Unused.
    pub unused: [u32; 11],
}

/// Reply body of `INIT`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_init_out {
    /// Major version of the server.
    pub major: u32,
    /// Minor version of the server.
    pub minor: u32,
    /// Upper bound in bytes for readahead.
    pub max_readahead: u32,
    /// `INIT` flags 0 to 31 that the server accepts.
    pub flags: u32,
    /// Number of background requests the kernel keeps pending; 0 leaves the kernel's default.
    pub max_background: u16,
    /// Number of pending background requests at which the kernel holds back; 0 leaves its default.
    pub congestion_threshold: u16,
    /// Largest data of one `WRITE` in bytes; less than 4096 counts as 4096.
    pub max_write: u32,
    /// Granularity of the server's timestamps in nanoseconds, 1 to 1 000 000 000; 0 leaves 1.
    pub time_gran: u32,
    /// Most pages of data in one request; valid with [`FUSE_MAX_PAGES`].
    pub max_pages: u16,
    /// Base 2 logarithm of the alignment of DAX mappings; valid with [`FUSE_MAP_ALIGNMENT`].
    pub map_alignment: u16,
    /// `INIT` flags 32 to 63 that the server accepts, shifted down; valid with [`FUSE_INIT_EXT`].
    pub flags2: u32,
    /// Stacking depth allowed for passthrough, 1 or 2; valid with [`FUSE_PASSTHROUGH`].
    pub max_stack_depth: u32,
    /// Seconds after which an unanswered request aborts the connection; valid with [`FUSE_REQUEST_TIMEOUT`].
    pub request_timeout: u16,
    /// Unused.
    pub unused: [u16; 11],
}

/// Several page reads of one file may be pending at a time.
pub const FUSE_ASYNC_READ: u64 = 1 << 0;
/// POSIX record locks are sent to the server instead of being kept in the kernel.
pub const FUSE_POSIX_LOCKS: u64 = 1 << 1;
/// Reserved for file handles in attribute requests; no kernel offers it.
pub const FUSE_FILE_OPS: u64 = 1 << 2;
/// `O_TRUNC` is passed in `OPEN` instead of a separate `SETATTR`.
pub const FUSE_ATOMIC_O_TRUNC: u64 = 1 << 3;
/// The server answers `LOOKUP` of `.` and `..`, as NFS export needs.
pub const FUSE_EXPORT_SUPPORT: u64 = 1 << 4;
/// One `WRITE` may carry more than 4 KiB.
pub const FUSE_BIG_WRITES: u64 = 1 << 5;
/// The kernel leaves the umask out of the mode of a creation; the server applies it.
pub const FUSE_DONT_MASK: u64 = 1 << 6;
/// The kernel takes replies through `splice(2)` into the device.
pub const FUSE_SPLICE_WRITE: u64 = 1 << 7;
/// The kernel can move pages out of a spliced reply instead of copying them.
pub const FUSE_SPLICE_MOVE: u64 = 1 << 8;
/// The kernel hands requests out through `splice(2)` from the device.
pub const FUSE_SPLICE_READ: u64 = 1 << 9;
/// `flock(2)` locks are sent to the server instead of being kept in the kernel.
pub const FUSE_FLOCK_LOCKS: u64 = 1 << 10;
/// The kernel passes on ioctls of directories.
pub const FUSE_HAS_IOCTL_DIR: u64 = 1 << 11;
/// The kernel drops a file's cached pages when it sees its size or modification time change.
pub const FUSE_AUTO_INVAL_DATA: u64 = 1 << 12;
/// The kernel reads directories with `READDIRPLUS`.
pub const FUSE_DO_READDIRPLUS: u64 = 1 << 13;
/// The kernel chooses between `READDIR` and `READDIRPLUS` by what the reader does with the entries.
pub const FUSE_READDIRPLUS_AUTO: u64 = 1 << 14;
/// Direct I/O is split into requests that are pending at the same time.
pub const FUSE_ASYNC_DIO: u64 = 1 << 15;
/// Buffered writes go to the page cache first; the kernel then owns size and modification time.
pub const FUSE_WRITEBACK_CACHE: u64 = 1 << 16;
/// `ENOSYS` as the answer to `OPEN` means that this server needs no `OPEN` and `RELEASE`.
pub const FUSE_NO_OPEN_SUPPORT: u64 = 1 << 17;
/// `LOOKUP` and `READDIR` of one directory may run in parallel.
pub const FUSE_PARALLEL_DIROPS: u64 = 1 << 18;
/// The server clears set-id bits and file capabilities on write, chown and truncate.
pub const FUSE_HANDLE_KILLPRIV: u64 = 1 << 19;
/// The kernel checks POSIX ACLs, which it fetches as extended attributes.
pub const FUSE_POSIX_ACL: u64 = 1 << 20;
/// The device fails with `ECONNABORTED`, not `ENODEV`, once the connection was aborted.
pub const FUSE_ABORT_ERROR: u64 = 1 << 21;
/// [`fuse_init_out::max_pages`] is valid.
pub const FUSE_MAX_PAGES: u64 = 1 << 22;
/// The kernel caches targets of symbolic links.
pub const FUSE_CACHE_SYMLINKS: u64 = 1 << 23;
/// `ENOSYS` as the answer to `OPENDIR` means that this server needs no `OPENDIR` and `RELEASEDIR`.
pub const FUSE_NO_OPENDIR_SUPPORT: u64 = 1 << 24;
/// The kernel drops cached pages of a file only when the server tells it to.
pub const FUSE_EXPLICIT_INVAL_DATA: u64 = 1 << 25;
/// [`fuse_init_out::map_alignment`] is valid.
pub const FUSE_MAP_ALIGNMENT: u64 = 1 << 26;
/// The kernel mounts directories marked as submounts by itself.
pub const FUSE_SUBMOUNTS: u64 = 1 << 27;
/// As [`FUSE_HANDLE_KILLPRIV`], but the kernel tells per request when to clear, following the VFS rules.
pub const FUSE_HANDLE_KILLPRIV_V2: u64 = 1 << 28;
/// `SETXATTR` carries the whole [`fuse_setxattr_in`](crate::fuse_setxattr_in) instead of its first 8 bytes.
pub const FUSE_SETXATTR_EXT: u64 = 1 << 29;
/// The `flags2` fields are valid.
pub const FUSE_INIT_EXT: u64 = 1 << 30;
/// Reserved; must not be used.
pub const FUSE_INIT_RESERVED: u64 = 1 << 31;
/// Creation requests carry security contexts, see [`fuse_secctx_header`](crate::fuse_secctx_header).
pub const FUSE_SECURITY_CTX: u64 = 1 << 32;
/// DAX is decided per node by [`FUSE_ATTR_DAX`](crate::FUSE_ATTR_DAX).
pub const FUSE_HAS_INODE_DAX: u64 = 1 << 33;
/// Creation requests carry the caller's supplementary group that is the parent's group, if there is one.
pub const FUSE_CREATE_SUPP_GROUP: u64 = 1 << 34;
/// The kernel knows [`FUSE_EXPIRE_ONLY`](crate::FUSE_EXPIRE_ONLY).
pub const FUSE_HAS_EXPIRE_ONLY: u64 = 1 << 35;
/// Files opened with [`FOPEN_DIRECT_IO`](crate::FOPEN_DIRECT_IO) may be mapped shared.
pub const FUSE_DIRECT_IO_ALLOW_MMAP: u64 = 1 << 36;
/// Open files may be connected to a backing file that the kernel reads and writes directly.
pub const FUSE_PASSTHROUGH: u64 = 1 << 37;
/// File handles can not be turned back into files, which rules out NFS export and `open_by_handle_at(2)`.
pub const FUSE_NO_EXPORT_SUPPORT: u64 = 1 << 38;
/// The kernel knows the `RESEND` notification and marks resent requests.
pub const FUSE_HAS_RESEND: u64 = 1 << 39;
/// Older name of [`FUSE_DIRECT_IO_ALLOW_MMAP`].
pub const FUSE_DIRECT_IO_RELAX: u64 = FUSE_DIRECT_IO_ALLOW_MMAP;
/// The filesystem may be idmapped.
pub const FUSE_ALLOW_IDMAP: u64 = 1 << 40;
/// Requests travel over io_uring once the server's queues are complete.
pub const FUSE_OVER_IO_URING: u64 = 1 << 41;
/// [`fuse_init_out::request_timeout`] is valid.
pub const FUSE_REQUEST_TIMEOUT: u64 = 1 << 42;
