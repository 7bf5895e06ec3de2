//! Inodes, and the table that owns them.
//!
//! A node is in the table from its creation until it has **no name, no open file, and no lookup count**: whichever of
//! the three goes last takes it out, under the node's own lock, so that it happens exactly once. Nothing else owns
//! nodes: directories name them by id. Ids are not used again, so that one generation will do.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ringfuse::{Attr, Errno, FileType, NodeId, Result, Timestamp};

use super::data::Data;
use super::dir::Dir;
use super::space::{InodeSlot, PAGE, Space};
use super::xattr::{CAPABILITY, Xattrs};

/// An inode: what never changes, its attributes behind one lock, its content behind another.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) kind: FileType,
    pub(super) btime: Timestamp,
    pub(super) content: Content,
    meta: Mutex<Meta>,
    _slot: InodeSlot,
}

/// What a node holds, by its type.
#[derive(Debug)]
pub(super) enum Content {
    File(RwLock<Data>),
    Directory {
        names: RwLock<Dir>,
        /// The directory above. Changes only under the tree lock.
        parent: AtomicU64,
    },
    Symlink(Box<[u8]>),
    /// A device by its number, a FIFO, a socket.
    Special(u32),
}

/// What `stat` shows of a node and a little more.
///
/// Size and pages are those of the content, copied here when that changes, so that `stat` does not wait for a write.
#[derive(Debug)]
pub(super) struct Meta {
    /// Type and permissions.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) nlink: u32,
    pub(super) size: u64,
    pub(super) pages: u64,
    pub(super) atime: Timestamp,
    pub(super) mtime: Timestamp,
    pub(super) ctime: Timestamp,
    /// `FS_*_FL` of `ioctl_iflags(2)`.
    pub(super) flags: u32,
    /// Made without a name, and may still get one.
    pub(super) linkable: bool,
    /// How often the kernel was told of it.
    pub(super) lookups: u64,
    /// Open files.
    pub(super) opens: u64,
    pub(super) xattrs: Option<Box<Xattrs>>,
}

impl Node {
    pub(super) fn new(id: NodeId, btime: Timestamp, meta: Meta, content: Content, slot: InodeSlot) -> Self {
        let kind = FileType::from_mode(meta.mode).unwrap_or(FileType::Regular);
        Self { id, kind, btime, content, meta: Mutex::new(meta), _slot: slot }
    }

    pub(super) fn meta(&self) -> MutexGuard<'_, Meta> {
        self.meta.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The content of a regular file.
    ///
    /// # Errors
    ///
    /// `EISDIR` for a directory, `EINVAL` for all else.
    pub(super) fn file(&self) -> Result<&RwLock<Data>> {
        match &self.content {
            Content::File(data) => Ok(data),
            Content::Directory { .. } => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    pub(super) fn read_file(&self) -> Result<RwLockReadGuard<'_, Data>> {
        Ok(self.file()?.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn write_file(&self) -> Result<RwLockWriteGuard<'_, Data>> {
        Ok(self.file()?.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Names and parent of a directory.
    ///
    /// # Errors
    ///
    /// `ENOTDIR` if it is none.
    pub(super) fn directory(&self) -> Result<(&RwLock<Dir>, &AtomicU64)> {
        match &self.content {
            Content::Directory { names, parent } => Ok((names, parent)),
            _ => Err(Errno::ENOTDIR),
        }
    }

    pub(super) fn read_dir(&self) -> Result<RwLockReadGuard<'_, Dir>> {
        Ok(self.directory()?.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn write_dir(&self) -> Result<RwLockWriteGuard<'_, Dir>> {
        Ok(self.directory()?.0.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// The directory above a directory.
    ///
    /// # Errors
    ///
    /// `ENOTDIR` if it is none.
    pub(super) fn parent(&self) -> Result<NodeId> {
        NodeId::new(self.directory()?.1.load(Relaxed)).ok_or(Errno::EIO)
    }

    /// The attributes, as `meta`, which is this node's, has them.
    pub(super) fn attr(&self, meta: &Meta) -> Attr {
        let mut attr = Attr::new(self.id.get(), self.kind).owner(meta.uid, meta.gid);
        attr.mode = meta.mode;
        attr.nlink = meta.nlink;
        attr.size = meta.size;
        let pages = meta.pages + meta.xattrs.as_ref().map_or(0, |xattrs| xattrs.pages());
        attr.blocks = pages * (PAGE as u64 / 512);
        (attr.atime, attr.mtime, attr.ctime) = (meta.atime, meta.mtime, meta.ctime);
        if let Content::Special(rdev) = &self.content {
            attr.rdev = *rdev;
        }
        attr.blksize = PAGE as u32;
        attr
    }
}

impl Meta {
    /// Whether anything still leads to the node.
    pub(super) fn is_used(&self) -> bool {
        self.nlink > 0 || self.opens > 0 || self.lookups > 0
    }

    /// Takes over size and space of a file whose content has changed.
    pub(super) fn show(&mut self, data: &Data) {
        self.size = data.size();
        self.pages = data.pages();
    }

    /// The content has changed.
    pub(super) fn modified(&mut self, now: Timestamp) {
        self.mtime = now;
        self.ctime = now;
    }

    /// The file was changed by someone: capabilities go, and by one without the privilege to keep it setuid, and setgid where
    /// it stands for a program of the group, or he is not in that (`member`).
    pub(super) fn drop_privileges(&mut self, unprivileged: bool, member: impl FnOnce(u32) -> bool) {
        if unprivileged {
            self.mode &= !libc::S_ISUID;
            if self.mode & libc::S_ISGID != 0 && (self.mode & libc::S_IXGRP != 0 || !member(self.gid)) {
                self.mode &= !libc::S_ISGID;
            }
        }
        if let Some(xattrs) = &mut self.xattrs {
            let _ = xattrs.remove(CAPABILITY);
        }
    }

    /// The attributes to be added to.
    pub(super) fn xattrs_mut(&mut self, space: &Arc<Space>) -> &mut Xattrs {
        self.xattrs.get_or_insert_with(|| Box::new(Xattrs::new(space.no_pages())))
    }

    /// The value of an extended attribute.
    ///
    /// # Errors
    ///
    /// `ENODATA` if there is no such attribute.
    pub(super) fn xattr(&self, name: &[u8]) -> Result<&[u8]> {
        self.xattrs.as_ref().ok_or(Errno::ENODATA)?.get(name)
    }
}

/// All nodes, by id, in parts that are locked one by one.
#[derive(Debug)]
pub(super) struct Table {
    shards: [RwLock<HashMap<u64, Arc<Node>>>; SHARDS],
    next: AtomicU64,
}

const SHARDS: usize = 64;

/// What is alive, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Census {
    pub(super) nodes: u64,
    /// Of all nodes but the root, which the kernel always knows.
    pub(super) lookups: u64,
    pub(super) opens: u64,
}

impl Table {
    pub(super) fn new() -> Self {
        Self { shards: std::array::from_fn(|_| RwLock::default()), next: AtomicU64::new(1) }
    }

    /// An id that no node has or had. The first is the root's.
    pub(super) fn new_id(&self) -> NodeId {
        NodeId::new(self.next.fetch_add(1, Relaxed)).expect("a mount does not make 2^64 files")
    }

    fn shard(&self, id: NodeId) -> &RwLock<HashMap<u64, Arc<Node>>> {
        &self.shards[id.get() as usize % SHARDS]
    }

    pub(super) fn insert(&self, node: &Arc<Node>) {
        let mut shard = self.shard(node.id).write().unwrap_or_else(PoisonError::into_inner);
        shard.insert(node.id.get(), Arc::clone(node));
    }

    /// The node of an id.
    ///
    /// # Errors
    ///
    /// `ESTALE` if there is none: an old file handle.
    pub(super) fn get(&self, id: NodeId) -> Result<Arc<Node>> {
        let shard = self.shard(id).read().unwrap_or_else(PoisonError::into_inner);
        shard.get(&id.get()).cloned().ok_or(Errno::ESTALE)
    }

    /// Takes a node out if nothing leads to it any more. To be called with what took the last thing away.
    pub(super) fn release(&self, node: &Node, meta: MutexGuard<'_, Meta>) {
        let used = meta.is_used();
        drop(meta);
        if !used {
            let mut shard = self.shard(node.id).write().unwrap_or_else(PoisonError::into_inner);
            let gone = shard.remove(&node.id.get());
            if shard.len() < shard.capacity() / 8 {
                let capacity = 2 * shard.len();
                shard.shrink_to(capacity);
            }
            drop(shard);
            // The content goes with the last who uses it, outside the lock.
            drop(gone);
        }
    }

    /// Counts what is alive. Goes through all nodes, so it takes its time.
    pub(super) fn census(&self) -> Census {
        let mut census = Census::default();
        for shard in &self.shards {
            for node in shard.read().unwrap_or_else(PoisonError::into_inner).values() {
                let meta = node.meta();
                census.nodes += 1;
                census.lookups += if node.id.is_root() { 0 } else { meta.lookups };
                census.opens += meta.opens;
            }
        }
        census
    }
}
