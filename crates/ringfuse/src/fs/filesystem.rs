//! The trait that a filesystem implements.

use crate::fs::{BytesOut, Forgets, IoctlOut, Negotiation, Request};
use crate::mem::{ReadBuf, WriteBuf};
use crate::notify::Notifier;
use crate::proto::dir::DirFiller;
use crate::proto::op;
use crate::types::{AttrReply, Entry, Errno, Lock, Opened, Result, SessionInfo, Statfs, StatxReply, Written};

/// A filesystem: one method for each thing the kernel asks, all with a default.
///
/// # Nodes and lookup counts
///
/// The kernel names inodes by the [`NodeId`](crate::NodeId) that the filesystem answered a lookup or a creation
/// with. Each such answer, and each entry of a `readdirplus`, adds one to the node's *lookup count*; `forget` takes
/// counts away. While the count is not zero the kernel may name the node at any time, also when all its names are
/// gone. The root, [`NodeId::ROOT`](crate::NodeId::ROOT), is known from the start and never forgotten.
///
/// # Caches
///
/// There are three, each valid as long as the filesystem says: *names* for the entry's time to live, *attributes* for
/// theirs, and *pages* of files until the file is opened again without
/// [`keep_cache`](crate::Opened::keep_cache), or its size or modification time is found changed. What changes
/// behind the kernel's back is made known by the [`Notifier`](crate::Notifier).
///
/// # Concurrency
///
/// Each method may be called while others run, on the same worker whenever one of them awaits, and on other workers
/// at any time. What a method does between two awaits must not block: other requests of the worker wait meanwhile.
/// Blocking work belongs on another thread, by `compio::runtime::spawn_blocking`.
///
/// On the ring a worker is bound to its queue's CPU most of the time, on `/dev/fuse` one may be bound to that of the only
/// program, and threads inherit that from whoever starts them, those of `spawn_blocking` included: for heavy work that should
/// use all CPUs, start threads before the session, or unbind them by `sched_setaffinity(2)`.
///
/// A method that panics fails its request with `EIO`, and no other.
///
/// # Deadlocks
///
/// A filesystem must not use its own mount from a worker, not even by `statfs` or by a page fault of a mapped file of
/// it: the call would wait for the worker that makes it, and over the ring not even `SIGKILL` ends that. The same holds
/// for a notification that waits for a request in progress, which is why notifications have a thread of their own.
#[allow(
    async_fn_in_trait,
    reason = "handlers stay on the worker that polls them, so they need not be `Send`"
)]
pub trait Filesystem: 'static {
    /// The kernel has told what it offers; here is what this filesystem wants of it. Called once, before all else,
    /// on the thread that mounts.
    ///
    /// # Errors
    ///
    /// Any error fails the mount. [`Negotiation::require`] makes the right one.
    fn init(&self, kernel: &mut Negotiation) -> Result<()> {
        let _ = kernel;
        Ok(())
    }

    /// The mount is there, and no request has been served yet: they wait until this returns. The place to start what
    /// a filesystem needs on its first worker.
    async fn ready(&self, session: &SessionInfo, notifier: Notifier) {
        let _ = (session, notifier);
    }

    /// The mount is gone, and all requests are answered. Called once, on the first worker. The kernel has forgotten
    /// all nodes by then, without a `forget`.
    async fn destroy(&self) {}

    /// The kernel gives lookup counts back (`FUSE_FORGET`, `FUSE_BATCH_FORGET`). A node whose count has come to zero
    /// is not named by it again, until the filesystem hands it out once more; its memory can go.
    ///
    /// There is no reply. Called on a worker, so it must not block.
    fn forget(&self, batch: Forgets<'_>) {
        let _ = batch;
    }

    /// Finds a name in a directory (`FUSE_LOOKUP`).
    ///
    /// A positive entry adds one to the node's lookup count. `ENOENT` says that there is no such name;
    /// [`Entry::negative`] says so too, and lets the kernel remember it.
    async fn lookup(&self, rq: &Request<'_>, op: op::Lookup<'_>) -> Result<Entry> {
        let _ = (rq, op);
        Err(Errno::ENOSYS)
    }

    /// Tells the attributes of a node (`FUSE_GETATTR`, `stat(2)`).
    async fn getattr(&self, rq: &Request<'_>, op: op::Getattr) -> Result<AttrReply> {
        let _ = (rq, op);
        Err(Errno::ENOSYS)
    }

    /// Tells the attributes of a node, time of creation and `STATX_ATTR_*` included (`FUSE_STATX`, `statx(2)`).
    ///
    /// After a first `ENOSYS` the kernel asks by `getattr` instead.
    async fn statx(&self, rq: &Request<'_>, op: op::Statx) -> Result<StatxReply> {
        let _ = (rq, op);
        Err(Errno::ENOSYS)
    }

    /// Changes attributes, those that are `Some`, and tells what they are then (`FUSE_SETATTR`: `chmod(2)`,
    /// `chown(2)`, `truncate(2)`, `utimensat(2)`).
    ///
    /// One without any change is to clear setuid and setgid, as `chown(2)` without ids does; and so is one with `kill_suidgid`.
    ///
    /// A new size below the old one drops data, one above it adds zeros. Without `default_permissions` it is up to
    /// the filesystem to check whether the caller may.
    async fn setattr(&self, rq: &Request<'_>, op: op::Setattr) -> Result<AttrReply> {
        let _ = (rq, op);
        Err(Errno::ENOSYS)
    }

    /// Tells the target of a symbolic link (`FUSE_READLINK`, `readlink(2)`): the bytes are put into `out`, without a
    /// NUL, at most 4095 of them.
    async fn readlink(&self, rq: &Request<'_>, op: op::Readlink, out: &mut BytesOut<'_>) -> Result<()> {
        let _ = (rq, op, out);
        Err(Errno::ENOSYS)
    }

    /// Creates a symbolic link (`FUSE_SYMLINK`, `symlink(2)`). Adds one to the node's lookup count.
    async fn symlink(&self, rq: &Request<'_>, op: op::Symlink<'_>) -> Result<Entry> {
        let _ = (rq, op);
        Err(Errno::ENOSYS)
    }

    /// Creates a regular file, a device, a FIFO or a socket (`FUSE_MKNOD`, `mknod(2)`). Adds one to the node's lookup
    /// count.
    async fn mknod(&self, rq: &Request<'_>, op: op::Mknod<'_>) -> Result<Entry> {
        let _ = (rq, op);
        Err(Errno::ENOSYS)
    }

    /// Creates a directory (`FUSE_MKDIR`, `mkdir(2)`). Adds one to the node's lookup count.
    async fn mkdir(&self, rq: &Request<'_>, op: op::Mkdir<'_>) -> Result<Entry> {
        let _ = (rq, op);
        Err(Errno::ENOSYS)
    }

    /// Removes a name of something that is no directory (`FUSE_UNLINK`, `unlink(2)`).
    ///
    /// The node lives on as long as it has another name, is open, or has lookup counts.
    async fn unlink(&self, rq: &Request<'_>, op: op::Unlink<'_>) -> Result<()> {
        let _ = (rq, op);
        Err(Errno::ENOSYS)
    }

    /// Removes an empty directory (`FUSE_RMDIR`, `rmdir(2)`); `ENOTEMPTY` if it is not empty.
    async fn rmdir(&self, rq: &Request<'_>, op: op::Rmdir<'_>) -> Result<()> {
        let _ = (rq, op);
        Err(Errno::ENOSYS)
    }

    /// Moves a name (`FUSE_RENAME`, `FUSE_RENAME2`; `renameat2(2)`), in one step for all who look.
    ///
    /// What had the new name goes, unless the flags say otherwise; `EINVAL` for flags that are not supported.
    async fn rename(&self, rq: &Request<'_>, op: op::Rename<'_>) -> Result<()> {
        let _ = (rq, op);
        Err(Errno::ENOSYS)
    }

    /// Gives a file one more name (`FUSE_LINK`, `link(2)`). The entry is that of the file, and adds one to its lookup
    /// count.
    async fn link(&self, rq: &Request<'_>, op: op::Link<'_>) -> Result<Entry> {
        let _ = (rq, op);
        Err(Errno::ENOSYS)
    }

    /// Opens a file (`FUSE_OPEN`, `open(2)`).
    ///
    /// Answered with `ENOSYS`, as by default, it is taken as done, with handle zero and what the page cache holds kept,
    /// and the kernel asks for no `open` and no `release` on this mount again.
    async fn open(&self, rq: &Request<'_>, op: op::Open) -> Result<Opened> {
        let _ = (rq, op);
        Err(Errno::ENOSYS)
    }

    /// Creates a regular file and opens it (`FUSE_CREATE`, `open(2)` with `O_CREAT`). Adds one to the node's lookup
    /// count.
    ///
    /// After a first `ENOSYS` the kernel sends `mknod` and `open` instead.
    async fn create(&self, rq: &Request<'_>, op: op::Create<'_>) -> Result<(Entry, Opened)> {
        let _ = (rq, op);
        Err(Errno::ENOSYS)
    }

    /// Creates a file without a name and opens it (`FUSE_TMPFILE`, `open(2)` with `O_TMPFILE`). Adds one to the node's
    /// lookup count. It may get a name by `link` later.
    async fn tmpfile(&self, rq: &Request<'_>, op: op::Tmpfile<'_>) -> Result<(Entry, Opened)> {
        let _ = (rq, op);
        Err(Errno::ENOSYS)
    }

    /// Reads from a file (`FUSE_READ`, `pread(2)`): fills `buf` and gives it back.
    ///
    /// Fewer bytes than were asked for mean the end of the file. A buffer of another request is refused with `EIO`.
    async fn read(&self, rq: &Request<'_>, op: op::Read, buf: ReadBuf) -> Result<ReadBuf> {
        let _ = (rq, op, buf);
        Err(Errno::ENOSYS)
    }

    /// Writes to a file (`FUSE_WRITE`, `pwrite(2)`), and tells how much it took: [`WriteBuf::written`] for all of it.
    ///
    /// For a file opened with `O_APPEND` the offset is the end of the file as the kernel knows it.
    async fn write(&self, rq: &Request<'_>, op: op::Write, data: WriteBuf) -> Result<Written> {
        let _ = (rq, op, data);
        Err(Errno::ENOSYS)
    }

    /// Tells space and limits of the filesystem (`FUSE_STATFS`, `statfs(2)`). By default it is empty and names may have
    /// 255 bytes.
    async fn statfs(&self, rq: &Request<'_>, op: op::Statfs) -> Result<Statfs> {
        let _ = (rq, op);
        Ok(Statfs::default())
    }

    /// A descriptor of a file is closed (`FUSE_FLUSH`, `close(2)`): the last moment for an error to be seen. Comes once a
    /// `close`, so several times where descriptors were duplicated; never take it for the last one.
    ///
    /// POSIX locks of the owner on the file are to be given up.
    async fn flush(&self, rq: &Request<'_>, op: op::Flush) -> Result<()> {
        let _ = (rq, op);
        Err(Errno::ENOSYS)
    }

    /// The last descriptor of an open file is closed (`FUSE_RELEASE`). Nobody sees an error. By default nothing is done.
    async fn release(&self, rq: &Request<'_>, op: op::Release) -> Result<()> {
        let _ = (rq, op);
        Ok(())
    }

    /// Brings what was written to a file to stable storage (`FUSE_FSYNC`, `fsync(2)`).
    ///
    /// After a first `ENOSYS` the kernel takes it as done.
    async fn fsync(&self, rq: &Request<'_>, op: op::Fsync) -> Result<()> {
        let _ = (rq, op);
        Err(Errno::ENOSYS)
    }

    /// Opens a directory (`FUSE_OPENDIR`, `opendir(3)`).
    ///
    /// Answered with `ENOSYS`, as by default, it is taken as done, with handle zero and the listing cached, and the
    /// kernel asks for no `opendir` and no `releasedir` on this mount again.
    async fn opendir(&self, rq: &Request<'_>, op: op::Open) -> Result<Opened> {
        let _ = (rq, op);
        Err(Errno::ENOSYS)
    }

    /// Lists a directory (`FUSE_READDIR`, `getdents64(2)`), from `op.pos` on, until `out` is full or the end is
    /// reached. `.` and `..` are to be among the entries.
    ///
    /// No lookup count changes. Where entries come and go meanwhile, those that stay must be listed once.
    async fn readdir(&self, rq: &Request<'_>, op: op::Readdir, out: &mut DirFiller<'_>) -> Result<()> {
        let _ = (rq, op, out);
        Err(Errno::ENOSYS)
    }

    /// Lists a directory with attributes (`FUSE_READDIRPLUS`), by [`DirFiller::push_plus`]. Each entry with a node but
    /// `.` and `..` adds one to that node's lookup count. Comes only where
    /// [`DO_READDIRPLUS`](crate::Capabilities::DO_READDIRPLUS) was asked for.
    ///
    /// By default it is served by `readdir`, without attributes.
    async fn readdirplus(&self, rq: &Request<'_>, op: op::Readdir, out: &mut DirFiller<'_>) -> Result<()> {
        self.readdir(rq, op, out).await
    }

    /// The last descriptor of an open directory is closed (`FUSE_RELEASEDIR`). Nobody sees an error. By default nothing
    /// is done.
    async fn releasedir(&self, rq: &Request<'_>, op: op::Release) -> Result<()> {
        let _ = (rq, op);
        Ok(())
    }

    /// Brings the names in a directory to stable storage (`FUSE_FSYNCDIR`, `fsync(2)`).
    ///
    /// After a first `ENOSYS` the kernel takes it as done.
    async fn fsyncdir(&self, rq: &Request<'_>, op: op::Fsync) -> Result<()> {
        let _ = (rq, op);
        Err(Errno::ENOSYS)
    }

    /// Brings all of the filesystem to stable storage (`FUSE_SYNCFS`, `syncfs(2)`). The kernel sends it on `fuseblk` mounts
    /// alone.
    async fn syncfs(&self, rq: &Request<'_>, op: op::Syncfs) -> Result<()> {
        let _ = (rq, op);
        Err(Errno::ENOSYS)
    }

    /// Sets an extended attribute (`FUSE_SETXATTR`, `setxattr(2)`). `EEXIST` and `ENODATA` answer the two flags.
    ///
    /// After a first `ENOSYS` this and the other three fail with `EOPNOTSUPP` without being asked.
    async fn setxattr(&self, rq: &Request<'_>, op: op::Setxattr<'_>) -> Result<()> {
        let _ = (rq, op);
        Err(Errno::ENOSYS)
    }

    /// Tells the value of an extended attribute (`FUSE_GETXATTR`, `getxattr(2)`): it is put into `out`, which also
    /// answers where the length alone is wanted. `ENODATA` if there is no such attribute.
    async fn getxattr(&self, rq: &Request<'_>, op: op::Getxattr<'_>, out: &mut BytesOut<'_>) -> Result<()> {
        let _ = (rq, op, out);
        Err(Errno::ENOSYS)
    }

    /// Lists the names of all extended attributes (`FUSE_LISTXATTR`, `listxattr(2)`), by [`BytesOut::put_name`].
    async fn listxattr(&self, rq: &Request<'_>, op: op::Listxattr, out: &mut BytesOut<'_>) -> Result<()> {
        let _ = (rq, op, out);
        Err(Errno::ENOSYS)
    }

    /// Removes an extended attribute (`FUSE_REMOVEXATTR`, `removexattr(2)`); `ENODATA` if there is none.
    async fn removexattr(&self, rq: &Request<'_>, op: op::Removexattr<'_>) -> Result<()> {
        let _ = (rq, op);
        Err(Errno::ENOSYS)
    }

    /// Tells which lock stands in the way of one, or [`Lock::free`] (`FUSE_GETLK`, `F_GETLK` of `fcntl(2)`). Comes only
    /// where [`POSIX_LOCKS`](crate::Capabilities::POSIX_LOCKS) was asked for.
    async fn getlk(&self, rq: &Request<'_>, op: op::Getlk) -> Result<Lock> {
        let _ = (rq, op);
        Err(Errno::ENOSYS)
    }

    /// Takes or gives up a lock (`FUSE_SETLK`, `FUSE_SETLKW`; `fcntl(2)`, `flock(2)`). `EAGAIN` where another stands in the
    /// way, unless it is to be waited for: then the answer comes once the lock is had, or with `EINTR` once the
    /// request is cancelled.
    ///
    /// Each that waits holds one entry of its queue. Should all of a queue's entries wait, an unlock by a program on the same CPU
    /// cannot come through: bound the number of waiters (`ENOLCK` beyond), or raise [`Mount::depth`](crate::Mount::depth).
    async fn setlk(&self, rq: &Request<'_>, op: op::Setlk) -> Result<()> {
        let _ = (rq, op);
        Err(Errno::ENOSYS)
    }

    /// Tells whether the caller may (`FUSE_ACCESS`, `access(2)`); `EACCES` if not. Does not come under
    /// `default_permissions`. After a first `ENOSYS` the kernel takes it as granted.
    async fn access(&self, rq: &Request<'_>, op: op::Access) -> Result<()> {
        let _ = (rq, op);
        Err(Errno::ENOSYS)
    }

    /// Tells which block of the device is that block of a file (`FUSE_BMAP`). Comes on `fuseblk` mounts alone.
    async fn bmap(&self, rq: &Request<'_>, op: op::Bmap) -> Result<u64> {
        let _ = (rq, op);
        Err(Errno::ENOSYS)
    }

    /// Does what no other call does (`FUSE_IOCTL`, `ioctl(2)`). `ENOTTY` for commands that are not known.
    async fn ioctl(&self, rq: &Request<'_>, op: op::Ioctl<'_>, out: &mut IoctlOut<'_>) -> Result<()> {
        let _ = (rq, op, out);
        Err(Errno::ENOSYS)
    }

    /// Tells which events are there, `POLL*` (`FUSE_POLL`, `poll(2)`), and where `op.schedule_notify` is set remembers
    /// `op.kh`, to wake the program by [`Notifier::poll`](crate::Notifier::poll) once some come.
    ///
    /// After a first `ENOSYS` the kernel takes files as always ready.
    async fn poll(&self, rq: &Request<'_>, op: op::Poll) -> Result<u32> {
        let _ = (rq, op);
        Err(Errno::ENOSYS)
    }

    /// Reserves or frees space of a file (`FUSE_FALLOCATE`, `fallocate(2)`). `EOPNOTSUPP` for modes that are not supported.
    async fn fallocate(&self, rq: &Request<'_>, op: op::Fallocate) -> Result<()> {
        let _ = (rq, op);
        Err(Errno::ENOSYS)
    }

    /// Finds the next data or hole (`FUSE_LSEEK`, `SEEK_DATA` and `SEEK_HOLE` of `lseek(2)`). `ENXIO` if the offset is
    /// behind the end, or there is no data behind it. After a first `ENOSYS` the kernel takes files as without holes.
    async fn lseek(&self, rq: &Request<'_>, op: op::Lseek) -> Result<u64> {
        let _ = (rq, op);
        Err(Errno::ENOSYS)
    }

    /// Copies bytes from one file to another, or within one, and tells how many (`FUSE_COPY_FILE_RANGE`,
    /// `FUSE_COPY_FILE_RANGE_64`; `copy_file_range(2)`). After a first `ENOSYS` the kernel copies by reading and
    /// writing.
    async fn copy_file_range(&self, rq: &Request<'_>, op: op::CopyFileRange) -> Result<u64> {
        let _ = (rq, op);
        Err(Errno::ENOSYS)
    }
}
