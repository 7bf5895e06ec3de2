//! The inodes that the kernel knows.
//!
//! A node is an inode of the source, however many names it has: what the kernel calls by one [`NodeId`]. It is told apart
//! by its device and its file handle, which has the generation in it, so that an inode number that is used again is a
//! new node; where there are no handles, by its number and time of birth.
//!
//! Where the handle fits, the node's id is the handle, and the inode is found again also after it was forgotten, and after
//! the next mount: that is what file handles *of the mirror* need (`open_by_handle_at(2)`, NFS). Other ids are counted up,
//! and never used again.
//!
//! A node is in the table as long as the kernel knows it, by its lookup count; an open file keeps its own reference. It is
//! small, as there may be a million of them: how it is reached is in [`super::reach`], and what few nodes have (open
//! files, a file that is kept because it has no name any more) is in a part of its own.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use foldhash::fast::RandomState;
use ringfuse::{Backing, Errno, Fh, FileType, NodeId, Result};
use rustix::fs::OFlags;

use super::source::MountIndex;
use crate::sys::FileHandle;

/// Locks a mutex. What it guards is right also after a panic: each change is a single assignment.
pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The ids that are counted up, the root's first. All others are greater.
const COUNTED: Range<u64> = NodeId::ROOT.get()..1 << 32;

/// What tells inodes apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) dev: u64,
    pub(super) identity: Identity,
}

/// What tells inodes of one filesystem apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Identity {
    Handle(FileHandle),
    /// Number, and time of birth in seconds and nanoseconds.
    Number(u64, i64, u32),
}

impl Identity {
    /// All of it in one number, where that can be.
    fn number(&self) -> Option<u64> {
        match self {
            Self::Handle(handle) => handle.number(),
            Self::Number(..) => None,
        }
    }
}

/// An inode that the kernel knows.
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) key: Key,
    pub(super) mount: MountIndex,
    pub(super) kind: FileType,
    /// Changed only under the lock of the shard that the id is in.
    lookups: AtomicU64,
    pub(super) cached: Mutex<Cached>,
    more: OnceLock<Box<More>>,
}

/// A descriptor of the node, opened with `O_PATH`, as long as the cache keeps it.
#[derive(Debug, Default)]
pub(super) struct Cached {
    pub(super) fd: Option<Arc<OwnedFd>>,
    /// It was used since the cache looked last.
    pub(super) used: bool,
}

/// What few nodes have.
#[derive(Debug, Default)]
pub(super) struct More {
    /// The open files of the node.
    pub(super) opens: Mutex<Vec<OpenFile>>,
    /// The inode has no name any more: it is held by this as long as the kernel knows it.
    pub(super) pin: Mutex<Option<Pin>>,
    pub(super) unlinked: AtomicBool,
    /// Where it was seen last, for filesystems without handles.
    pub(super) place: Mutex<Option<Place>>,
    /// What was seen of the content when the file was opened or closed last.
    pub(super) seen: Mutex<Option<Seen>>,
    /// How the content of the open file is moved; while it is open, all opens do it alike.
    pub(super) data: Mutex<Option<Data>>,
}

/// An open file of a node.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) fh: Fh,
    pub(super) file: Arc<OwnedFd>,
    pub(super) flags: OFlags,
    /// A descriptor of it was closed, perhaps the last.
    pub(super) closing: bool,
}

/// A directory, and a name in it.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) parent: Arc<Node>,
    pub(super) name: std::ffi::CString,
}

/// What changes with the content of a file: size, and times of modification and of change.
pub(super) type Seen = (u64, (i64, u32), (i64, u32));

/// How the content of an open file is moved.
#[derive(Clone, Debug)]
pub(super) enum Data {
    /// By requests.
    Requests,
    /// By the kernel.
    Kernel(Backing),
}

/// A descriptor that is kept although nobody asked for it, counted.
#[derive(Debug)]
pub(super) struct Pin {
    pub(super) fd: Arc<OwnedFd>,
    count: Arc<AtomicUsize>,
}

impl Pin {
    /// Keeps a descriptor, unless there are too many.
    pub(super) fn new(fd: Arc<OwnedFd>, count: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        if count.fetch_add(1, Relaxed) >= limit {
            count.fetch_sub(1, Relaxed);
            return None;
        }
        Some(Self { fd, count: Arc::clone(count) })
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Relaxed);
    }
}

impl Node {
    fn new(id: NodeId, key: Key, mount: MountIndex, kind: FileType) -> Self {
        Self {
            id,
            key,
            mount,
            kind,
            lookups: AtomicU64::new(0),
            cached: Mutex::default(),
            more: OnceLock::new(),
        }
    }

    /// What few nodes have, made for this one.
    pub(super) fn more(&self) -> &More {
        self.more.get_or_init(Box::default)
    }

    /// What few nodes have, if this one does.
    pub(super) fn if_more(&self) -> Option<&More> {
        self.more.get().map(|more| &**more)
    }

    /// Its id says nothing about the inode.
    pub(super) fn is_counted(&self) -> bool {
        COUNTED.contains(&self.id.get())
    }

    pub(super) fn is_unlinked(&self) -> bool {
        self.if_more().is_some_and(|more| more.unlinked.load(Relaxed))
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("id", &self.id).field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&self.parent.id).field(&self.name).finish()
    }
}

/// A node, found by its key.
struct ByKey(Arc<Node>);

impl Borrow<Key> for ByKey {
    fn borrow(&self) -> &Key {
        &self.0.key
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for ByKey {}

impl Hash for ByKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key.hash(state);
    }
}

/// Parts of the table, each with a lock of its own.
const SHARDS: usize = 32;

/// All nodes that the kernel knows.
pub(super) struct Table {
    by_id: [RwLock<HashMap<NodeId, Arc<Node>, RandomState>>; SHARDS],
    /// Those whose id says nothing about the inode.
    counted: [Mutex<HashSet<ByKey, RandomState>>; SHARDS],
    hasher: RandomState,
    /// The device of the root: file handles of others are not ids.
    dev: u64,
    /// The number that would be the root's id, which is another.
    root: Option<u64>,
    next: AtomicU64,
    count: AtomicUsize,
    lookups: AtomicU64,
}

impl Table {
    /// A table with the root, which the kernel knows without having looked it up.
    pub(super) fn new(root: Key, mount: MountIndex) -> Self {
        let table = Self {
            by_id: std::array::from_fn(|_| RwLock::default()),
            counted: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::default(),
            dev: root.dev,
            root: root.identity.number(),
            next: AtomicU64::new(COUNTED.start),
            count: AtomicUsize::new(0),
            lookups: AtomicU64::new(0),
        };
        table.intern(root, mount, FileType::Directory);
        table
    }

    fn counted(&self, key: &Key) -> MutexGuard<'_, HashSet<ByKey, RandomState>> {
        lock(&self.counted[self.hasher.hash_one(key) as usize % SHARDS])
    }

    fn shard(&self, id: NodeId) -> &RwLock<HashMap<NodeId, Arc<Node>, RandomState>> {
        // The upper half of a number that is not counted is that of the inode, and the lower one may be the same for all.
        &self.by_id[(id.get() >> 32 ^ id.get()) as usize % SHARDS]
    }

    /// The id that a key is; `None` for those whose id is counted, the root's among them.
    fn id_of(&self, key: &Key) -> Option<NodeId> {
        let number = key.identity.number().filter(|_| key.dev == self.dev);
        number.filter(|_| number != self.root).and_then(NodeId::new)
    }

    /// The node that the kernel calls so.
    ///
    /// # Errors
    ///
    /// `ESTALE` if it was told of none.
    pub(super) fn get(&self, id: NodeId) -> Result<Arc<Node>> {
        self.shard(id).read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned().ok_or(Errno::ESTALE)
    }

    /// The node of a key, if the kernel knows it.
    pub(super) fn find(&self, key: &Key) -> Option<Arc<Node>> {
        match self.id_of(key) {
            Some(id) => self.get(id).ok(),
            None => self.counted(key).get(key).map(|node| Arc::clone(&node.0)),
        }
    }

    /// The node of a key, made if need be, with one lookup more: to be told to the kernel.
    pub(super) fn intern(&self, key: Key, mount: MountIndex, kind: FileType) -> Arc<Node> {
        self.lookups.fetch_add(1, Relaxed);
        if let Some(id) = self.id_of(&key) {
            return self.take(id, || Node::new(id, key, mount, kind));
        }
        let mut counted = self.counted(&key);
        let known = counted.get(&key).map(|node| node.0.id);
        let new = || NodeId::new(self.next.fetch_add(1, Relaxed)).expect("it is not zero");
        let id = known.unwrap_or_else(new);
        let node = self.take(id, || Node::new(id, key, mount, kind));
        if known.is_none() {
            counted.insert(ByKey(Arc::clone(&node)));
        }
        node
    }

    /// Takes a lookup of an id.
    fn take(&self, id: NodeId, new: impl FnOnce() -> Node) -> Arc<Node> {
        let mut nodes = self.shard(id).write().unwrap_or_else(PoisonError::into_inner);
        let node = nodes.entry(id).or_insert_with(|| {
            self.count.fetch_add(1, Relaxed);
            Arc::new(new())
        });
        node.lookups.fetch_add(1, Relaxed);
        Arc::clone(node)
    }

    /// Takes lookups back. Returns the node if the kernel knows it no more.
    pub(super) fn forget(&self, id: NodeId, lookups: u64) -> Option<Arc<Node>> {
        let node = self.get(id).ok()?;
        let counted = node.is_counted().then(|| self.counted(&node.key));
        let mut nodes = self.shard(id).write().unwrap_or_else(PoisonError::into_inner);
        let had = node.lookups.load(Relaxed);
        let left = had.saturating_sub(lookups);
        node.lookups.store(left, Relaxed);
        self.lookups.fetch_sub(had - left, Relaxed);
        // The root is known for ever.
        if left > 0 || id.is_root() {
            return None;
        }
        // Another may have done it since it was found.
        nodes.remove(&id)?;
        drop(nodes);
        counted.map(|mut counted| counted.remove(&node.key));
        self.count.fetch_sub(1, Relaxed);
        Some(node)
    }

    /// The ids of all nodes.
    pub(super) fn ids_of_all(&self) -> Vec<NodeId> {
        let shards = self.by_id.iter().map(|ids| ids.read().unwrap_or_else(PoisonError::into_inner));
        shards.flat_map(|ids| ids.keys().copied().collect::<Vec<_>>()).collect()
    }

    /// How many nodes there are, and how many lookups the kernel has of them.
    pub(super) fn census(&self) -> (usize, u64) {
        (self.count.load(Relaxed), self.lookups.load(Relaxed))
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("census", &self.census()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> Key {
        Key { dev: 1, identity: Identity::Number(number, 0, 0) }
    }

    #[test]
    fn a_node_lives_as_long_as_it_has_lookups() {
        let table = Table::new(key(2), 0);
        let first = table.intern(key(7), 0, FileType::Regular);
        let again = table.intern(key(7), 0, FileType::Regular);
        assert!(Arc::ptr_eq(&first, &again) && first.id.get() == 2);
        assert!(table.forget(first.id, 1).is_none());
        assert_eq!(table.census(), (2, 2));
        assert!(table.find(&key(7)).is_some());
        assert!(table.forget(first.id, 1).is_some());
        assert!(table.forget(first.id, 1).is_none());
        assert_eq!(table.get(first.id).unwrap_err(), Errno::ESTALE);
        let new = table.intern(key(7), 0, FileType::Regular);
        assert_eq!(new.id.get(), 3);
    }

    #[test]
    fn the_root_is_never_forgotten() {
        let table = Table::new(key(2), 0);
        assert!(table.forget(NodeId::ROOT, 1000).is_none());
        assert_eq!(table.get(NodeId::ROOT).unwrap().id, NodeId::ROOT);
        // It may be found by name again, as `..`.
        assert_eq!(table.intern(key(2), 0, FileType::Directory).id, NodeId::ROOT);
    }

    #[test]
    fn pins_are_counted() {
        let count = Arc::new(AtomicUsize::new(0));
        let fd = Arc::new(OwnedFd::from(std::fs::File::open("/").unwrap()));
        let first = Pin::new(Arc::clone(&fd), &count, 1).unwrap();
        assert!(Pin::new(Arc::clone(&fd), &count, 1).is_none());
        drop(first);
        assert!(Pin::new(fd, &count, 1).is_some());
    }

    #[test]
    fn a_node_is_small() {
        assert!(size_of::<Node>() <= 128, "{} bytes", size_of::<Node>());
    }
}
