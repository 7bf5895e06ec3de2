//! `ringfuse mirror`: a directory, shown once more as it is.
//!
//! All that Linux can do with the source can be done with the mirror, with the same results. It is read from the outside to
//! the inside:
//!
//! - this file: what is asked of the kernel, and a few lines for each operation;
//! - [`names`], [`files`], [`dir`], [`attr`], [`xattr`]: what is done at the source, by plain functions that may wait;
//! - [`locks`]: locks that hold against programs at the source; [`watch`]: changes made there;
//! - [`start`]: what is checked and opened before there is a mount;
//! - [`ident`]: who a thread is while it works for somebody;
//! - [`reach`]: from a node to the inode; [`node`]: what a node is; [`source`]: what is reached at all, and why the server
//!   cannot come to wait for itself.
//!
//! # Which thread
//!
//! A thread that serves requests must not wait for a disk or a network, as all programs of its CPU would wait with it. But to
//! hand work to another thread costs more than most of that work; and io_uring has a thread of its own do what it cannot do
//! at once, which is all that concerns names (it has no way to try an unlink without waiting). So [`Core::inline`] decides
//! by what the work is and what the source is:
//!
//! | | in memory (tmpfs) | on a disk | others (NFS, FUSE, …) |
//! |---|---|---|---|
//! | look at what the source has at hand: a name by `RESOLVE_CACHED`, attributes of an open inode, opening it | at once | at once | pool |
//! | look further: other names, listings, links | at once | pool | pool |
//! | change: create, remove, rename, attributes | at once | pool | pool |
//! | copy, reserve space | pool | pool | pool |
//! | read, write | at once | page cache at once, the rest by io_uring | io_uring |
//! | fsync | io_uring | io_uring | io_uring |
//!
//! `--metadata` overrules the first three rows.
//!
//! # What the kernel does not let through
//!
//! Some of what the source can do, the kernel does not ask a FUSE server for, or does not tell it enough about:
//!
//! - `FALLOC_FL_COLLAPSE_RANGE` and `INSERT_RANGE`, fiemap, `FICLONE` and other ways to share blocks, swap files, and what
//!   `statx` calls attributes: refused or left out before a request is made.
//! - That a file is immutable or append-only is known to us alone. We refuse what it forbids, but not to take `O_APPEND` off
//!   an open file, which is not asked.
//! - A read that the page cache serves sets no access time. We have the pages dropped when a file is opened and the next read
//!   has to set it (`relatime`); one that is open already, or mapped, or a cache that is kept for ever, is beyond that.
//! - What a program writes through `mmap` behind the end of the file, within its last page, shows when a write or `fallocate`
//!   extends the file: filesystems of the kernel's own zero it then.
//! - What is written through `mmap` arrives as writes: it removes capabilities, and it sets times when it arrives.
//! - `F_GETLK` of a process that meets the lock of an open file tells the process that took it, not -1: to the kernel all
//!   locks come from processes.
//! - What an id-mapped mount makes of a file's group. Who writes to a file that has setgid, and that its group may not execute,
//!   is not found in the group there, and clears it.
//! - `RLIMIT_FSIZE` is checked by the kernel, but not for `FALLOC_FL_KEEP_SIZE`, for which tmpfs has it checked.
//! - `/proc/locks` shows locks at the source, by the server's process id.
//! - With `--writeback` the kernel owns size and times of regular files: `SEEK_HOLE` sees no holes, the block count lags
//!   behind, `chattr` does not set the time of change, and errors of the source come with `fsync` or `close`.
//! - With `--passthrough` times that a mapped page has set are seen when the attributes expire.

mod attr;
mod dir;
mod files;
mod ident;
mod locks;
mod names;
mod node;
pub(crate) mod options;
mod pool;
mod reach;
mod reaper;
mod source;
mod start;
mod watch;
mod xattr;

use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use ringfuse::{
    AttrReply, BytesOut, Capabilities, DirFiller, Entry, Errno, Fh, Filesystem, Forgets, IoctlOut, Lock,
    Negotiation, NodeId, Notifier, Opened, ReadBuf, Request, Result, SessionInfo, Statfs, StatxReply,
    TransportKind, WriteBuf, Written, op,
};
use rustix::fs::RenameFlags;

use crate::caller::Asker;
use crate::{holes, sys};
use files::Handles;
use ident::Creator;
use locks::SourceLocks;
use names::{Make, Spot};
use node::Table;
use options::{Cache, Metadata, Options};
use pool::unblock;
use reaper::Reaper;
use source::{Pace, Source};
use watch::Watch;

/// A mirror.
#[derive(Debug)]
pub(crate) struct Mirror(Arc<Core>);

/// All that a mirror has.
#[derive(Debug)]
struct Core {
    options: Options,
    read_only: bool,
    /// How long the kernel may keep names and attributes.
    ttl: Duration,
    source: Source,
    table: Table,
    cache: reach::Cache,
    /// Descriptors kept of inodes without a name, and how many there may be.
    pins: Arc<AtomicUsize>,
    pin_limit: usize,
    /// With so many files open, what descriptors are left is for looking names up.
    open_limit: usize,
    handles: Handles,
    /// Tells the ids of this mount from those of others.
    generation: u64,
    locks: Option<SourceLocks>,
    notifier: OnceLock<Notifier>,
    watch: Mutex<Option<Watch>>,
    watch_end: OnceLock<Arc<OwnedFd>>,
    reaper: Reaper,
}

/// What is to be done, by how long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// Look at what the source has at hand.
    Near,
    /// Look at what it may have to get.
    Far,
    /// Change names or attributes.
    Change,
    /// Whatever it is, it takes its time.
    Long,
}

impl Mirror {
    /// Does work where it may be done.
    async fn work<T: Send + 'static>(
        &self,
        work: Work,
        job: impl FnOnce(&Core) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if self.0.inline(work) {
            return job(&self.0);
        }
        let core = Arc::clone(&self.0);
        unblock(move || job(&core)).await
    }

    /// Does work on a node that is looked at: at once where the source has it at hand.
    async fn look<T: Send + 'static>(
        &self,
        (id, fh): (NodeId, Option<Fh>),
        job: impl FnOnce(&Core, &OwnedFd) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let core = &self.0;
        let node = core.table.get(id)?;
        let file = fh.and_then(|fh| core.handles.get(fh).ok()).map(|handle| Arc::clone(&handle.file));
        if core.inline(Work::Near)
            && let Some(fd) = file.clone().or_else(|| core.near(&node))
        {
            return job(core, &fd);
        }
        self.work(Work::Far, move |core| {
            let fd = match file {
                Some(file) => file,
                None => core.reach(&node)?,
            };
            job(core, &fd)
        })
        .await
    }

    /// For whom something is created.
    ///
    /// # Errors
    ///
    /// `EOVERFLOW` where the mount has no ids for them.
    fn creator(&self, rq: &Request<'_>, creation: &op::Creation<'_>) -> Result<Creator> {
        let (group, umask) = (creation.supplementary_group, creation.umask);
        if let Some(squash) = self.0.options.squash {
            return Ok(Creator { uid: squash.uid, gid: squash.gid, group: None, umask });
        }
        let caller = rq.caller().ok_or(Errno::EOVERFLOW)?;
        Ok(Creator { uid: caller.uid, gid: caller.gid, group, umask })
    }

    async fn make(
        &self,
        rq: &Request<'_>,
        spot: Spot,
        what: Make,
        (mode, creation): (u32, op::Creation<'_>),
    ) -> Result<Entry> {
        self.0.writable()?;
        let who = self.creator(rq, &creation)?;
        self.work(Work::Change, move |core| core.make(&spot, &what, mode, &who)).await
    }

    async fn list(&self, op: &op::Readdir, out: &mut DirFiller<'_>) -> Result<()> {
        let handle = self.0.handles.get(op.fh)?;
        let (pos, size, plus) = (op.pos, op.size as usize, out.is_plus());
        let node = Arc::clone(&handle.node);
        let items = self.work(Work::Far, move |core| core.list(&handle, pos, size, plus)).await?;
        self.0.put(&node, items, out);
        Ok(())
    }
}

impl Core {
    /// Whether work may be done on a thread that serves requests.
    fn inline(&self, work: Work) -> bool {
        match (work, self.options.metadata, self.source.pace) {
            (Work::Long, ..) | (_, Metadata::Pool, _) => false,
            (_, Metadata::Inline, _) | (_, Metadata::Auto, Pace::Memory) => true,
            (Work::Near, Metadata::Auto, Pace::Disk) => true,
            (_, Metadata::Auto, _) => false,
        }
    }

    fn writable(&self) -> Result<()> {
        if self.read_only { Err(Errno::EROFS) } else { Ok(()) }
    }

    /// Nothing is to be done when a descriptor is closed.
    fn nobody_flushes(&self) -> bool {
        self.locks.is_none() && self.source.pace != Pace::Remote
    }
}

/// The result of a system call, as one of a request.
fn os<T>(result: rustix::io::Result<T>) -> Result<T> {
    Ok(result.map_err(std::io::Error::from)?)
}

fn spot(parent: NodeId, name: ringfuse::Name<'_>) -> Spot {
    Spot { parent, name: name.as_c_str().to_owned() }
}

impl Filesystem for Mirror {
    fn init(&self, kernel: &mut Negotiation) -> Result<()> {
        let options = &self.0.options;
        // The kernel would drop the pages of a file whose modification time has changed, which it does by each write of its
        // own; and pages that are dropped while a write of them is on its way are read again as they were before. So it is
        // when a file is opened that we say whether they are still right.
        kernel.forbid(Capabilities::AUTO_INVAL_DATA);
        // Left out is ATOMIC_O_TRUNC: the kernel would have a program that runs truncated first, and find only then that it
        // must not be.
        kernel.prefer(
            Capabilities::DONT_MASK
                | Capabilities::HANDLE_KILLPRIV_V2
                | Capabilities::CREATE_SUPP_GROUP
                | Capabilities::DO_READDIRPLUS
                | Capabilities::READDIRPLUS_AUTO
                | Capabilities::EXPORT_SUPPORT
                | Capabilities::DIRECT_IO_ALLOW_MMAP,
        );
        if options.squash.is_none() {
            kernel.prefer(Capabilities::POSIX_ACL);
        }
        // It tells no more who asks then, but for what is created: see `Processes::caller`.
        if ident::switches() {
            kernel.prefer(Capabilities::ALLOW_IDMAP);
        }
        if options.cache == Cache::Always {
            kernel.prefer(Capabilities::EXPLICIT_INVAL_DATA | Capabilities::CACHE_SYMLINKS);
        }
        for (wanted, capabilities) in [
            (self.0.locks.is_some(), Capabilities::POSIX_LOCKS | Capabilities::FLOCK_LOCKS),
            (options.writeback, Capabilities::WRITEBACK_CACHE),
            (options.passthrough, Capabilities::PASSTHROUGH),
        ] {
            if wanted {
                kernel.require(capabilities)?;
            }
        }
        Ok(())
    }

    async fn ready(&self, session: &SessionInfo, notifier: Notifier) {
        let core = &self.0;
        if let (Some(locks), TransportKind::Ring) = (&core.locks, session.transport) {
            // Who waits for a lock holds an entry of a queue. Some must be left for the one who gives it up.
            locks.table.limit_waiters((session.depth / 2).max(1));
        }
        if let Some(watch) = node::lock(&core.watch).take() {
            let _ = core.watch_end.set(watch.start(Arc::downgrade(core), notifier.clone()));
        }
        let _ = core.notifier.set(notifier);
    }

    async fn destroy(&self) {
        if let Some(end) = self.0.watch_end.get() {
            let _ = rustix::io::write(end, &1u64.to_ne_bytes());
        }
    }

    fn forget(&self, batch: Forgets<'_>) {
        for forget in batch {
            let gone = self.0.table.forget(forget.node, forget.nlookup);
            // With it may go the last that held an inode without a name, and all its blocks.
            if let Some(node) = gone.filter(|node| node.is_unlinked()) {
                self.0.reaper.take(node);
            }
        }
    }

    async fn lookup(&self, _: &Request<'_>, op: op::Lookup<'_>) -> Result<Entry> {
        let spot = spot(op.parent, op.name);
        let core = &self.0;
        if core.inline(Work::Near)
            && !core.inline(Work::Far)
            && let Some(result) = core.lookup_at_once(&spot)
        {
            return result;
        }
        self.work(Work::Far, move |core| core.lookup(&spot)).await
    }

    async fn getattr(&self, _: &Request<'_>, op: op::Getattr) -> Result<AttrReply> {
        self.look((op.node, op.fh), |core, fd| core.getattr(fd)).await
    }

    async fn statx(&self, _: &Request<'_>, op: op::Statx) -> Result<StatxReply> {
        self.look((op.node, op.fh), move |core, fd| core.statx(fd, op.flags, op.mask)).await
    }

    async fn setattr(&self, rq: &Request<'_>, op: op::Setattr) -> Result<AttrReply> {
        self.0.writable()?;
        let who = Asker::from(rq);
        self.work(Work::Change, move |core| {
            let handle = op.fh.and_then(|fh| core.handles.get(fh).ok());
            let file = handle.as_ref().map(|handle| &*handle.file);
            match file {
                Some(file) => core.setattr(file, Some(file), &op, who),
                None => core.setattr(&*core.reach(&core.table.get(op.node)?)?, None, &op, who),
            }
        })
        .await
    }

    async fn readlink(&self, _: &Request<'_>, op: op::Readlink, out: &mut BytesOut<'_>) -> Result<()> {
        let node = self.0.table.get(op.node)?;
        let target = self.work(Work::Far, move |core| core.readlink(&node)).await?;
        out.put(target.as_bytes())
    }

    async fn symlink(&self, rq: &Request<'_>, op: op::Symlink<'_>) -> Result<Entry> {
        let what = Make::Symlink(op.target.to_owned());
        self.make(rq, spot(op.parent, op.name), what, (0, op.creation)).await
    }

    async fn mknod(&self, rq: &Request<'_>, op: op::Mknod<'_>) -> Result<Entry> {
        let what = Make::Node(op.mode & libc::S_IFMT, op.rdev);
        self.make(rq, spot(op.parent, op.name), what, (op.mode, op.creation)).await
    }

    async fn mkdir(&self, rq: &Request<'_>, op: op::Mkdir<'_>) -> Result<Entry> {
        self.make(rq, spot(op.parent, op.name), Make::Directory, (op.mode, op.creation)).await
    }

    async fn unlink(&self, _: &Request<'_>, op: op::Unlink<'_>) -> Result<()> {
        self.0.writable()?;
        let spot = spot(op.parent, op.name);
        self.work(Work::Change, move |core| core.remove(&spot, false)).await
    }

    async fn rmdir(&self, _: &Request<'_>, op: op::Rmdir<'_>) -> Result<()> {
        self.0.writable()?;
        let spot = spot(op.parent, op.name);
        self.work(Work::Change, move |core| core.remove(&spot, true)).await
    }

    async fn rename(&self, rq: &Request<'_>, op: op::Rename<'_>) -> Result<()> {
        self.0.writable()?;
        let (from, to) = (spot(op.parent, op.name), spot(op.new_parent, op.new_name));
        // The whiteout is created, and belongs to who has it created.
        let whiteout = op.flags & RenameFlags::WHITEOUT.bits() != 0;
        let who = if whiteout { Some(self.creator(rq, &op::Creation::default())?) } else { None };
        self.work(Work::Change, move |core| core.rename(&from, &to, op.flags, who)).await
    }

    async fn link(&self, _: &Request<'_>, op: op::Link<'_>) -> Result<Entry> {
        self.0.writable()?;
        let (node, to) = (op.node, spot(op.new_parent, op.new_name));
        self.work(Work::Change, move |core| core.link(node, &to)).await
    }

    async fn open(&self, _: &Request<'_>, op: op::Open) -> Result<Opened> {
        if op.flags.writes() {
            self.0.writable()?;
        }
        let node = self.0.table.get(op.node)?;
        let near = self.0.inline(Work::Near) && self.0.near(&node).is_some();
        let work = if near { Work::Near } else { Work::Far };
        self.work(work, move |core| core.open(&node, &op)).await
    }

    async fn create(&self, rq: &Request<'_>, op: op::Create<'_>) -> Result<(Entry, Opened)> {
        self.0.writable()?;
        let (spot, who) = (spot(op.parent, op.name), self.creator(rq, &op.creation)?);
        let how = (self.0.source_flags(op.flags), op.flags.contains(libc::O_EXCL));
        self.work(Work::Change, move |core| core.create(&spot, how, op.mode, &who)).await
    }

    async fn tmpfile(&self, rq: &Request<'_>, op: op::Tmpfile<'_>) -> Result<(Entry, Opened)> {
        self.0.writable()?;
        let who = self.creator(rq, &op.creation)?;
        let how = (self.0.source_flags(op.flags), op.flags.contains(libc::O_EXCL));
        let (parent, mode) = (op.parent, op.mode);
        self.work(Work::Change, move |core| core.tmpfile(parent, how, mode, &who)).await
    }

    async fn read(&self, _: &Request<'_>, op: op::Read, buf: ReadBuf) -> Result<ReadBuf> {
        self.0.read(&op, buf).await
    }

    async fn write(&self, rq: &Request<'_>, op: op::Write, data: WriteBuf) -> Result<Written> {
        self.0.write(&op, data, rq.into()).await
    }

    async fn statfs(&self, _: &Request<'_>, op: op::Statfs) -> Result<Statfs> {
        if self.0.reaper.is_busy() {
            // What is about to go is free to those who have removed it.
            let core = Arc::clone(&self.0);
            unblock(move || core.reaper.settle()).await;
        }
        self.look((op.node, None), |core, fd| core.statfs(fd)).await
    }

    async fn flush(&self, _: &Request<'_>, op: op::Flush) -> Result<()> {
        self.0.unlock_owner(op.node, op.fh, op.lock_owner);
        let handle = self.0.handles.get(op.fh)?;
        if self.0.source.pace == Pace::Remote && handle.writes() {
            // Such a filesystem may tell what became of the data when a descriptor is closed, whichever.
            return unblock(move || Ok(sys::close(handle.file.try_clone()?)?)).await;
        }
        Ok(())
    }

    async fn release(&self, _: &Request<'_>, op: op::Release) -> Result<()> {
        self.0.unlock_handle(op.node, op.fh);
        self.0.release(&op)
    }

    async fn fsync(&self, _: &Request<'_>, op: op::Fsync) -> Result<()> {
        self.0.fsync(&op).await
    }

    async fn opendir(&self, _: &Request<'_>, op: op::Open) -> Result<Opened> {
        let node = self.0.table.get(op.node)?;
        let near = self.0.inline(Work::Near) && self.0.near(&node).is_some();
        let work = if near { Work::Near } else { Work::Far };
        self.work(work, move |core| core.opendir(&node)).await
    }

    /// With attributes too, for `readdirplus`: the filler takes them where they are wanted.
    async fn readdir(&self, _: &Request<'_>, op: op::Readdir, out: &mut DirFiller<'_>) -> Result<()> {
        self.list(&op, out).await
    }

    async fn releasedir(&self, _: &Request<'_>, op: op::Release) -> Result<()> {
        self.0.release(&op)
    }

    async fn fsyncdir(&self, _: &Request<'_>, op: op::Fsync) -> Result<()> {
        self.0.fsync(&op).await
    }

    async fn syncfs(&self, _: &Request<'_>, _: op::Syncfs) -> Result<()> {
        let root = Arc::clone(&self.0.source.root);
        self.work(Work::Long, move |core| {
            let file = core.reopen(&root, rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY)?;
            os(rustix::fs::syncfs(&file))
        })
        .await
    }

    async fn setxattr(&self, _: &Request<'_>, op: op::Setxattr<'_>) -> Result<()> {
        self.0.writable()?;
        let (node, name, value) = (self.0.table.get(op.node)?, op.name.to_owned(), op.value.to_vec());
        let how = (op.flags, op.acl_kill_sgid);
        self.work(Work::Change, move |core| core.setxattr(&node, &name, &value, how)).await
    }

    async fn getxattr(&self, _: &Request<'_>, op: op::Getxattr<'_>, out: &mut BytesOut<'_>) -> Result<()> {
        let name = op.name.to_owned();
        out.put(&self.look((op.node, None), move |core, fd| core.getxattr(fd, &name)).await?)
    }

    async fn listxattr(&self, rq: &Request<'_>, op: op::Listxattr, out: &mut BytesOut<'_>) -> Result<()> {
        let who = Asker::from(rq);
        out.put(&self.look((op.node, None), move |core, fd| core.listxattr(fd, who)).await?)
    }

    async fn removexattr(&self, _: &Request<'_>, op: op::Removexattr<'_>) -> Result<()> {
        self.0.writable()?;
        let (node, name) = (self.0.table.get(op.node)?, op.name.to_owned());
        self.work(Work::Change, move |core| core.removexattr(&node, &name)).await
    }

    async fn getlk(&self, _: &Request<'_>, op: op::Getlk) -> Result<Lock> {
        self.0.getlk(&op).await
    }

    async fn setlk(&self, rq: &Request<'_>, op: op::Setlk) -> Result<()> {
        self.0.setlk(&op, rq.cancelled()).await
    }

    async fn ioctl(&self, _: &Request<'_>, op: op::Ioctl<'_>, out: &mut IoctlOut<'_>) -> Result<()> {
        let (handle, command, data) = (self.0.handles.get(op.fh)?, op.cmd, op.input.to_vec());
        let room = (op.out_size as usize).min(out.capacity());
        let notifier = self.0.notifier.get().filter(|_| sys::changes_inode(command));
        if let (Some(notifier), true) = (notifier, self.0.options.writeback) {
            // What was written before a file becomes immutable, and is not here yet, comes now or never.
            let _ = notifier.inval_inode(op.node, 0, 0).await;
        }
        let (result, data) =
            self.work(Work::Change, move |core| core.ioctl(&handle.file, command, data)).await?;
        if let Some(notifier) = notifier {
            // The kernel does not know that this sets the time of change.
            let _ = notifier.inval_inode(op.node, -1, 0).await;
        }
        out.set_result(result);
        out.put(&data[..room.min(data.len())])
    }

    async fn fallocate(&self, rq: &Request<'_>, op: op::Fallocate) -> Result<()> {
        let who = Asker::from(rq);
        self.work(Work::Long, move |core| core.fallocate(&op, who)).await
    }

    async fn lseek(&self, _: &Request<'_>, op: op::Lseek) -> Result<u64> {
        // With a writeback cache the kernel has data that the source has not, and would be taken for a hole. It asks no more
        // then, and takes files as without holes.
        if self.0.options.writeback {
            return Err(Errno::ENOSYS);
        }
        let notifier = self.0.notifier.get().filter(|_| self.0.may_be_mapped(op.node));
        let seek = async || self.work(Work::Far, move |core| Ok(core.lseek(&op))).await;
        holes::settle(notifier, op.node, seek).await
    }

    async fn copy_file_range(&self, rq: &Request<'_>, op: op::CopyFileRange) -> Result<u64> {
        let who = Asker::from(rq);
        self.work(Work::Long, move |core| core.copy(&op, who)).await
    }
}
