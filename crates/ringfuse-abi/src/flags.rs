//! Flag bits and limits of single operations.

/// Reads and writes of this open file bypass the page cache.
pub const FOPEN_DIRECT_IO: u32 = 1 << 0;
/// Pages that are cached already stay valid across this open.
pub const FOPEN_KEEP_CACHE: u32 = 1 << 1;
/// The open file can not seek.
pub const FOPEN_NONSEEKABLE: u32 = 1 << 2;
/// The kernel may cache the entries of this directory.
pub const FOPEN_CACHE_DIR: u32 = 1 << 3;
/// The open file is a stream without a position.
pub const FOPEN_STREAM: u32 = 1 << 4;
/// Closing sends no `FLUSH`, unless [`FUSE_WRITEBACK_CACHE`](crate::FUSE_WRITEBACK_CACHE) is on.
pub const FOPEN_NOFLUSH: u32 = 1 << 5;
/// Direct writes that do not extend the file may run in parallel; only with [`FOPEN_DIRECT_IO`].
pub const FOPEN_PARALLEL_DIRECT_WRITES: u32 = 1 << 6;
/// The kernel reads and writes the backing file of [`fuse_open_out::backing_id`](crate::fuse_open_out).
pub const FOPEN_PASSTHROUGH: u32 = 1 << 7;

/// `OPEN` and `CREATE`: clear set-user-id and set-group-id bits if the file is truncated.
pub const FUSE_OPEN_KILL_SUIDGID: u32 = 1 << 0;

/// `RELEASE`: flush as well; no current kernel sets it.
pub const FUSE_RELEASE_FLUSH: u32 = 1 << 0;
/// `RELEASE`: drop the `flock(2)` lock of `lock_owner`.
pub const FUSE_RELEASE_FLOCK_UNLOCK: u32 = 1 << 1;

/// `GETATTR` and `STATX`: the file handle is valid.
pub const FUSE_GETATTR_FH: u32 = 1 << 0;

/// `SETLK` and `GETLK`: the lock is a `flock(2)` lock, not a POSIX one.
pub const FUSE_LK_FLOCK: u32 = 1 << 0;

/// `WRITE`: delayed write out of the page cache; handle, user and process are not those of the writer.
pub const FUSE_WRITE_CACHE: u32 = 1 << 0;
/// `WRITE`: the lock owner is valid.
pub const FUSE_WRITE_LOCKOWNER: u32 = 1 << 1;
/// `WRITE`: clear set-user-id and set-group-id bits and file capabilities.
pub const FUSE_WRITE_KILL_SUIDGID: u32 = 1 << 2;
/// Older name of [`FUSE_WRITE_KILL_SUIDGID`].
pub const FUSE_WRITE_KILL_PRIV: u32 = FUSE_WRITE_KILL_SUIDGID;

/// `READ`: the lock owner is valid.
pub const FUSE_READ_LOCKOWNER: u32 = 1 << 1;

/// `SETXATTR`: clear the set-group-id bit along with setting `system.posix_acl_access`.
pub const FUSE_SETXATTR_ACL_KILL_SGID: u32 = 1 << 0;

/// `IOCTL`: the caller is a 32-bit process on a 64-bit kernel.
pub const FUSE_IOCTL_COMPAT: u32 = 1 << 0;
/// `IOCTL`: sizes are not taken from the command number and the server may ask for a retry; CUSE only.
pub const FUSE_IOCTL_UNRESTRICTED: u32 = 1 << 1;
/// `IOCTL` reply: send the request again with the memory described by the records that follow.
pub const FUSE_IOCTL_RETRY: u32 = 1 << 2;
/// `IOCTL`: the caller uses the 32-bit ABI, be it native or compat.
pub const FUSE_IOCTL_32BIT: u32 = 1 << 3;
/// `IOCTL`: the handle is that of a directory.
pub const FUSE_IOCTL_DIR: u32 = 1 << 4;
/// `IOCTL`: the caller uses the x32 ABI, with 64-bit times.
pub const FUSE_IOCTL_COMPAT_X32: u32 = 1 << 5;

/// `IOCTL` reply: upper bound of input and output records together.
pub const FUSE_IOCTL_MAX_IOV: u32 = 256;

/// `POLL`: send a `POLL` notification once a change is worth another look.
pub const FUSE_POLL_SCHEDULE_NOTIFY: u32 = 1 << 0;

/// `FSYNC`: the data is enough, attributes not needed to read it may wait.
pub const FUSE_FSYNC_FDATASYNC: u32 = 1 << 0;

/// `SETUPMAPPING`: the mapping is written to.
pub const FUSE_SETUPMAPPING_FLAG_WRITE: u64 = 1 << 0;
/// `SETUPMAPPING`: the mapping is read from.
pub const FUSE_SETUPMAPPING_FLAG_READ: u64 = 1 << 1;
