//! The capabilities that kernel and filesystem agree on at mount time.

use ringfuse_abi as abi;

bitflags::bitflags! {
    /// The flags of `FUSE_INIT`: what the kernel offers, and what is asked of it.
    ///
    /// A filesystem asks for them in [`Filesystem::init`](crate::Filesystem::init), by
    /// [`Negotiation`](crate::Negotiation). Each says below what it changes for the filesystem, and who decides:
    /// *default* ones are taken whenever the kernel offers them, *optional* ones when the filesystem asks for
    /// them, and the library's *own* are not for a filesystem to decide.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Capabilities: u64 {
        /// Default. Several reads of one file may be in flight at once; without it the kernel sends one at a time.
        const ASYNC_READ = abi::FUSE_ASYNC_READ;
        /// Optional. `fcntl(2)` locks come as `getlk` and `setlk`; without it the kernel keeps them, for this mount alone.
        const POSIX_LOCKS = abi::FUSE_POSIX_LOCKS;
        /// Never offered by today's kernels.
        const FILE_OPS = abi::FUSE_FILE_OPS;
        /// Optional. `O_TRUNC` comes with `open`, which must then truncate; without it a `setattr` comes after. It reaches the filesystem before the kernel sees that the file is a running program, which is then truncated all the same.
        const ATOMIC_O_TRUNC = abi::FUSE_ATOMIC_O_TRUNC;
        /// Optional. The mount may be exported over NFS and opened by handle: `lookup` must serve `.` and `..`.
        const EXPORT_SUPPORT = abi::FUSE_EXPORT_SUPPORT;
        /// Own. Writes of more than a page.
        const BIG_WRITES = abi::FUSE_BIG_WRITES;
        /// Optional. The filesystem applies the umask itself, as one with default ACLs must; it comes with each creating operation.
        const DONT_MASK = abi::FUSE_DONT_MASK;
        /// Information: `/dev/fuse` can be spliced to.
        const SPLICE_WRITE = abi::FUSE_SPLICE_WRITE;
        /// Information: `/dev/fuse` can take pages.
        const SPLICE_MOVE = abi::FUSE_SPLICE_MOVE;
        /// Information: `/dev/fuse` can be spliced from.
        const SPLICE_READ = abi::FUSE_SPLICE_READ;
        /// Optional. `flock(2)` locks come as `setlk` with [`flock`](crate::op::Setlk::flock) set; without it the kernel keeps them.
        const FLOCK_LOCKS = abi::FUSE_FLOCK_LOCKS;
        /// Information: `ioctl` works on directories.
        const HAS_IOCTL_DIR = abi::FUSE_HAS_IOCTL_DIR;
        /// Default. Cached pages are dropped when `getattr` shows a new size or modification time.
        const AUTO_INVAL_DATA = abi::FUSE_AUTO_INVAL_DATA;
        /// Optional. Directories are read by `readdirplus`, which brings the attributes along.
        const DO_READDIRPLUS = abi::FUSE_DO_READDIRPLUS;
        /// Optional, with [`DO_READDIRPLUS`](Self::DO_READDIRPLUS). The kernel chooses between `readdir` and `readdirplus` by what programs do with the names.
        const READDIRPLUS_AUTO = abi::FUSE_READDIRPLUS_AUTO;
        /// Default. Direct I/O is split into requests that are in flight at once.
        const ASYNC_DIO = abi::FUSE_ASYNC_DIO;
        /// Optional. Writes go to the page cache and reach the filesystem later. The kernel then owns size and modification time, reads on write-only handles, and writes with any handle. Not with [`PASSTHROUGH`](Self::PASSTHROUGH), nor with a served `lseek`: the kernel does not write back before it asks for holes.
        const WRITEBACK_CACHE = abi::FUSE_WRITEBACK_CACHE;
        /// Information: `ENOSYS` to `open` means "no open needed, on the whole mount".
        const NO_OPEN_SUPPORT = abi::FUSE_NO_OPEN_SUPPORT;
        /// Default. Lookups and listings of one directory may come at the same time.
        const PARALLEL_DIROPS = abi::FUSE_PARALLEL_DIROPS;
        /// Optional. The filesystem clears setuid, setgid and `security.capability` itself on write, truncate and chown.
        const HANDLE_KILLPRIV = abi::FUSE_HANDLE_KILLPRIV;
        /// Optional. Access control lists are checked by the kernel; implies the mount option `default_permissions`.
        const POSIX_ACL = abi::FUSE_POSIX_ACL;
        /// Default. After an abort through fusectl requests fail with `ECONNABORTED`.
        const ABORT_ERROR = abi::FUSE_ABORT_ERROR;
        /// Own. Requests of more than 32 pages.
        const MAX_PAGES = abi::FUSE_MAX_PAGES;
        /// Optional. What `readlink` answers is cached.
        const CACHE_SYMLINKS = abi::FUSE_CACHE_SYMLINKS;
        /// Information: `ENOSYS` to `opendir` means "no opendir needed, on the whole mount".
        const NO_OPENDIR_SUPPORT = abi::FUSE_NO_OPENDIR_SUPPORT;
        /// Optional. Only a notification drops cached pages, whatever the attributes say.
        const EXPLICIT_INVAL_DATA = abi::FUSE_EXPLICIT_INVAL_DATA;
        /// Refused: for virtiofs alone.
        const MAP_ALIGNMENT = abi::FUSE_MAP_ALIGNMENT;
        /// Refused: for virtiofs alone.
        const SUBMOUNTS = abi::FUSE_SUBMOUNTS;
        /// Optional. As [`HANDLE_KILLPRIV`](Self::HANDLE_KILLPRIV), and the kernel says with each `open`, `write` and `setattr` when it is due; saves a `getxattr` a write.
        const HANDLE_KILLPRIV_V2 = abi::FUSE_HANDLE_KILLPRIV_V2;
        /// Own. `setxattr` carries flags of its own.
        const SETXATTR_EXT = abi::FUSE_SETXATTR_EXT;
        /// Own. The flags are 64 bits.
        const INIT_EXT = abi::FUSE_INIT_EXT;
        /// Optional. Creating operations carry the security context that the new inode is to have.
        const SECURITY_CTX = abi::FUSE_SECURITY_CTX;
        /// Refused: for virtiofs alone.
        const HAS_INODE_DAX = abi::FUSE_HAS_INODE_DAX;
        /// Optional. Creating operations carry the supplementary group that matches the directory's.
        const CREATE_SUPP_GROUP = abi::FUSE_CREATE_SUPP_GROUP;
        /// Information: an entry can be expired without being dropped.
        const HAS_EXPIRE_ONLY = abi::FUSE_HAS_EXPIRE_ONLY;
        /// Optional. Files opened for direct I/O can be mapped shared.
        const DIRECT_IO_ALLOW_MMAP = abi::FUSE_DIRECT_IO_ALLOW_MMAP;
        /// Optional. Reads and writes of a file may go to a backing file without reaching the filesystem. Needs privileges to use, and excludes [`WRITEBACK_CACHE`](Self::WRITEBACK_CACHE).
        const PASSTHROUGH = abi::FUSE_PASSTHROUGH;
        /// Optional. The mount can not be exported, nor opened by handle.
        const NO_EXPORT_SUPPORT = abi::FUSE_NO_EXPORT_SUPPORT;
        /// Information: requests in flight can be asked for again.
        const HAS_RESEND = abi::FUSE_HAS_RESEND;
        /// Optional. The mount may be id-mapped. Only with the mount option `default_permissions` or [`POSIX_ACL`](Self::POSIX_ACL). Requests that create nothing then have no caller.
        const ALLOW_IDMAP = abi::FUSE_ALLOW_IDMAP;
        /// Own. Requests travel over io_uring.
        const OVER_IO_URING = abi::FUSE_OVER_IO_URING;
        /// Own, by [`Negotiation::request_timeout`](crate::Negotiation::request_timeout). The kernel aborts the mount when a request takes too long.
        const REQUEST_TIMEOUT = abi::FUSE_REQUEST_TIMEOUT;
    }
}
