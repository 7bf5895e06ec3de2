//! `ringfuse mem`: a filesystem in memory, complete, and the reference for those who write one with this library.
//!
//! It is read from the outside to the inside:
//!
//! - this file: what is asked of the kernel, and one line for each operation;
//! - [`names`]: directories, creation, removal, renames, and the order of locks;
//! - [`files`]: open files; [`attrs`] and [`flags`]: attributes of all kinds;
//! - [`node`]: what an inode is and how long it lives;
//! - pure parts, which know nothing of requests: [`data`] (sparse content), [`dir`] (names with stable positions),
//!   [`xattr`], [`acl`], [`locks`], [`space`].
//!
//! No method waits, but for a lock of another program; so no lock of ours is held while one does. Requests for one file
//! exclude each other only for the moment in which one of them writes.
//!
//! Nothing changes but by requests, so that the kernel may cache all it has seen: names and attributes for [`TTL`], also
//! that a name does not exist; pages until they are written elsewhere; listings until the directory changes.

mod acl;
mod attrs;
mod data;
mod dir;
mod files;
mod flags;
pub(crate) mod locks;
mod names;
mod node;
pub(crate) mod options;
mod space;
mod xattr;

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::Duration;

use ringfuse::{
    Atime, AttrReply, BytesOut, Capabilities, DirFiller, Entry, Errno, Filesystem, Forgets, IoctlOut, Lock,
    MountOptions, Negotiation, Notifier, Opened, ReadBuf, Request, Result, SessionInfo, Statfs, StatxReply,
    TransportKind, WriteBuf, Written, op,
};

use crate::caller::Processes;
use crate::holes;
use dir::Dir;
use locks::{File, Locks, Want};
use names::Make;
use node::{Content, Meta, Node, Table};
use options::Options;
use space::Space;

/// How long the kernel may keep names and attributes: for ever, nearly.
const TTL: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A filesystem in memory.
#[derive(Debug)]
pub(crate) struct MemFs {
    options: Options,
    atime: Atime,
    nodiratime: bool,
    processes: Processes,
    notifier: OnceLock<Notifier>,
    agreed: OnceLock<Agreed>,
    nodes: Arc<Table>,
    space: Arc<Space>,
    /// See [`names`].
    tree: Mutex<()>,
    locks: Option<Arc<Locks>>,
    next_handle: AtomicU64,
}

/// What the kernel has of what was asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Agreed {
    acl: bool,
    writeback: bool,
}

impl MemFs {
    /// An empty filesystem. Of the mount options it is those of access times that are up to a filesystem.
    pub(crate) fn new(options: Options, mount: &MountOptions) -> std::io::Result<Self> {
        let (nodes, space) = (Arc::new(Table::new()), Space::new(options.pages(), options.inodes));
        let filesystem = Self {
            atime: mount.atime,
            nodiratime: mount.nodiratime,
            processes: Processes::open()?,
            notifier: OnceLock::new(),
            agreed: OnceLock::new(),
            locks: options.locks.then(|| Arc::new(Locks::new())),
            tree: Mutex::default(),
            next_handle: AtomicU64::new(1),
            nodes,
            space,
            options,
        };
        filesystem.plant();
        Ok(filesystem)
    }

    /// Makes the root.
    fn plant(&self) {
        let now = self.now();
        let options = &self.options;
        let meta = Meta {
            mode: libc::S_IFDIR | options.mode,
            uid: options.uid,
            gid: options.gid,
            nlink: 2,
            size: 0,
            pages: 0,
            atime: now,
            mtime: now,
            ctime: now,
            flags: 0,
            linkable: false,
            lookups: 0,
            opens: 0,
            xattrs: None,
        };
        let id = self.nodes.new_id();
        let content = Content::Directory { names: RwLock::new(Dir::new()), parent: AtomicU64::new(id.get()) };
        let slot = self.space.inode().expect("there is at least one inode");
        self.nodes.insert(&Arc::new(Node::new(id, now, meta, content, slot)));
    }

    fn agreed(&self) -> Agreed {
        self.agreed.get().copied().unwrap_or_default()
    }

    /// Tells, whenever it is asked, what is alive.
    pub(crate) fn report(&self) -> impl Fn() -> String + Send + Sync + 'static {
        let (nodes, space, locks) = (Arc::clone(&self.nodes), Arc::clone(&self.space), self.locks.clone());
        move || {
            let (census, stat) = (nodes.census(), space.statfs());
            let mut text = format!(
                "nodes {}, lookups {}, open {}, inodes {}/{}, pages {}/{}",
                census.nodes,
                census.lookups,
                census.opens,
                space.inodes_in_use(),
                stat.files,
                space.pages_in_use(),
                stat.blocks
            );
            if let Some(locks) = &locks {
                let (held, waiting) = locks.count();
                let _ = write!(text, ", locks {held}, waiting {waiting}");
            }
            text
        }
    }

    fn locks(&self) -> Result<&Locks> {
        self.locks.as_deref().ok_or(Errno::ENOSYS)
    }
}

impl Filesystem for MemFs {
    fn init(&self, kernel: &mut Negotiation) -> Result<()> {
        // The pages in the cache are right, whatever the times of the file say. Left out is ATOMIC_O_TRUNC: the kernel
        // would have a program that runs truncated first, and find only then that it must not be.
        kernel.forbid(Capabilities::AUTO_INVAL_DATA);
        kernel.prefer(
            Capabilities::EXPLICIT_INVAL_DATA
                | Capabilities::CACHE_SYMLINKS
                | Capabilities::DO_READDIRPLUS
                | Capabilities::READDIRPLUS_AUTO
                | Capabilities::HANDLE_KILLPRIV_V2
                | Capabilities::SECURITY_CTX
                | Capabilities::EXPORT_SUPPORT
                | Capabilities::DIRECT_IO_ALLOW_MMAP,
        );
        // It tells no more who asks then, but for what is created: see `Processes::caller`.
        kernel.prefer(Capabilities::ALLOW_IDMAP);
        // Lists are checked by the kernel and inherited here, where the umask must be known for it.
        let lists = Capabilities::POSIX_ACL | Capabilities::DONT_MASK;
        let acl = kernel.offered().contains(lists) && kernel.prefer(lists) == lists;
        if self.locks.is_some() {
            kernel.require(Capabilities::POSIX_LOCKS | Capabilities::FLOCK_LOCKS)?;
        }
        if self.options.writeback {
            kernel.require(Capabilities::WRITEBACK_CACHE)?;
        }
        let _ = self.agreed.set(Agreed { acl, writeback: self.options.writeback });
        Ok(())
    }

    async fn ready(&self, session: &SessionInfo, notifier: Notifier) {
        let _ = self.notifier.set(notifier);
        if let (Some(locks), TransportKind::Ring) = (&self.locks, session.transport) {
            // Who waits for a lock holds an entry of a queue. Some must be left for the one who gives it up.
            locks.limit_waiters((session.depth / 2).max(1));
        }
    }

    fn forget(&self, batch: Forgets<'_>) {
        for forget in batch {
            if let Ok(node) = self.nodes.get(forget.node) {
                let mut meta = node.meta();
                meta.lookups = meta.lookups.saturating_sub(forget.nlookup);
                self.nodes.release(&node, meta);
            }
        }
    }

    async fn lookup(&self, _: &Request<'_>, op: op::Lookup<'_>) -> Result<Entry> {
        self.find(&op)
    }

    async fn getattr(&self, _: &Request<'_>, op: op::Getattr) -> Result<AttrReply> {
        let attr = self.stat(&op)?;
        Ok(AttrReply::new(attr).ttl(self.attr_ttl(&attr)))
    }

    async fn statx(&self, _: &Request<'_>, op: op::Statx) -> Result<StatxReply> {
        let statx = self.stat_more(&op)?;
        Ok(StatxReply::new(statx).ttl(self.attr_ttl(&statx.attr)))
    }

    async fn setattr(&self, rq: &Request<'_>, op: op::Setattr) -> Result<AttrReply> {
        let attr = self.change(&op, rq.into())?;
        Ok(AttrReply::new(attr).ttl(self.attr_ttl(&attr)))
    }

    async fn readlink(&self, _: &Request<'_>, op: op::Readlink, out: &mut BytesOut<'_>) -> Result<()> {
        let node = self.nodes.get(op.node)?;
        let Content::Symlink(target) = &node.content else { return Err(Errno::EINVAL) };
        self.accessed(&node, Default::default());
        out.put(target)
    }

    async fn symlink(&self, rq: &Request<'_>, op: op::Symlink<'_>) -> Result<Entry> {
        let what = Make::Symlink(op.target.to_bytes());
        self.create_other(rq, (op.parent, op.name), (libc::S_IFLNK | 0o777, op.creation), what)
    }

    async fn mknod(&self, rq: &Request<'_>, op: op::Mknod<'_>) -> Result<Entry> {
        let what = match op.mode & libc::S_IFMT {
            libc::S_IFREG => Make::File,
            libc::S_IFCHR | libc::S_IFBLK => Make::Special(op.rdev),
            libc::S_IFIFO | libc::S_IFSOCK => Make::Special(0),
            _ => return Err(Errno::EINVAL),
        };
        self.create_other(rq, (op.parent, op.name), (op.mode, op.creation), what)
    }

    async fn mkdir(&self, rq: &Request<'_>, op: op::Mkdir<'_>) -> Result<Entry> {
        let mode = libc::S_IFDIR | op.mode & 0o7777;
        self.create_other(rq, (op.parent, op.name), (mode, op.creation), Make::Directory)
    }

    async fn unlink(&self, _: &Request<'_>, op: op::Unlink<'_>) -> Result<()> {
        self.remove_name(&op)
    }

    async fn rmdir(&self, _: &Request<'_>, op: op::Rmdir<'_>) -> Result<()> {
        self.remove_dir(&op)
    }

    async fn rename(&self, rq: &Request<'_>, op: op::Rename<'_>) -> Result<()> {
        self.move_name(rq.caller(), &op)
    }

    async fn link(&self, _: &Request<'_>, op: op::Link<'_>) -> Result<Entry> {
        self.add_name(&op)
    }

    async fn open(&self, _: &Request<'_>, op: op::Open) -> Result<Opened> {
        self.open_file(&op)
    }

    async fn create(&self, rq: &Request<'_>, op: op::Create<'_>) -> Result<(Entry, Opened)> {
        self.create_file(rq, &op)
    }

    async fn tmpfile(&self, rq: &Request<'_>, op: op::Tmpfile<'_>) -> Result<(Entry, Opened)> {
        self.create_unnamed(rq, &op)
    }

    async fn read(&self, _: &Request<'_>, op: op::Read, mut buf: ReadBuf) -> Result<ReadBuf> {
        let len = self.read_at(&op, buf.bytes_mut())?;
        Ok(buf.filled(len))
    }

    async fn write(&self, rq: &Request<'_>, op: op::Write, data: WriteBuf) -> Result<Written> {
        self.write_at(&op, data.bytes(), rq.into())?.try_into()
    }

    async fn statfs(&self, _: &Request<'_>, _: op::Statfs) -> Result<Statfs> {
        Ok(self.space.statfs())
    }

    async fn flush(&self, _: &Request<'_>, op: op::Flush) -> Result<()> {
        self.locks()?.release_owner(File { node: op.node, flock: false }, op.lock_owner);
        Ok(())
    }

    async fn release(&self, _: &Request<'_>, op: op::Release) -> Result<()> {
        if let Some(locks) = &self.locks {
            locks.release_handle(File { node: op.node, flock: false }, op.fh);
            locks.release_handle(File { node: op.node, flock: true }, op.fh);
        }
        self.close(&op)
    }

    async fn fsync(&self, _: &Request<'_>, _: op::Fsync) -> Result<()> {
        // There is no storage more stable than this. That is all that ever is to be said of it.
        Err(Errno::ENOSYS)
    }

    async fn opendir(&self, _: &Request<'_>, op: op::Open) -> Result<Opened> {
        self.open_dir(&op)
    }

    /// With attributes too, for `readdirplus`: the filler takes them where they are wanted.
    async fn readdir(&self, _: &Request<'_>, op: op::Readdir, out: &mut DirFiller<'_>) -> Result<()> {
        self.list(&op, out)
    }

    async fn releasedir(&self, _: &Request<'_>, op: op::Release) -> Result<()> {
        self.close(&op)
    }

    async fn setxattr(&self, _: &Request<'_>, op: op::Setxattr<'_>) -> Result<()> {
        self.set_xattr(&op)
    }

    async fn getxattr(&self, _: &Request<'_>, op: op::Getxattr<'_>, out: &mut BytesOut<'_>) -> Result<()> {
        self.get_xattr(&op, out)
    }

    async fn listxattr(&self, rq: &Request<'_>, op: op::Listxattr, out: &mut BytesOut<'_>) -> Result<()> {
        self.list_xattrs(rq, &op, out)
    }

    async fn removexattr(&self, _: &Request<'_>, op: op::Removexattr<'_>) -> Result<()> {
        self.remove_xattr(&op)
    }

    async fn getlk(&self, _: &Request<'_>, op: op::Getlk) -> Result<Lock> {
        let file = File { node: op.node, flock: false };
        Ok(self.locks()?.test(file, &Want::new(op.owner, op.fh, op.lock)))
    }

    async fn setlk(&self, rq: &Request<'_>, op: op::Setlk) -> Result<()> {
        let file = File { node: op.node, flock: op.flock };
        let (locks, want) = (self.locks()?, Want::new(op.owner, op.fh, op.lock));
        if op.wait { locks.wait(file, want, rq.cancelled()).await } else { locks.set(file, want) }
    }

    async fn ioctl(&self, _: &Request<'_>, op: op::Ioctl<'_>, out: &mut IoctlOut<'_>) -> Result<()> {
        if self.inode_flags(&op, out)?
            && let Some(notifier) = self.notifier.get()
        {
            // The kernel does not know that this sets the time of change.
            let _ = notifier.inval_inode(op.node, -1, 0).await;
        }
        Ok(())
    }

    async fn fallocate(&self, _: &Request<'_>, op: op::Fallocate) -> Result<()> {
        self.allocate(&op)
    }

    async fn lseek(&self, _: &Request<'_>, op: op::Lseek) -> Result<u64> {
        // With a writeback cache the kernel has data that is not known here, and would be taken for a hole. It asks no
        // more then, and takes files as without holes.
        if self.agreed().writeback {
            return Err(Errno::ENOSYS);
        }
        holes::settle(self.notifier.get(), op.node, async || self.seek(&op)).await
    }

    async fn copy_file_range(&self, _: &Request<'_>, op: op::CopyFileRange) -> Result<u64> {
        self.copy(&op)
    }
}
