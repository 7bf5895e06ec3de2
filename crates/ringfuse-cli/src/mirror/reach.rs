//! How a node is reached: from a number that the kernel says to a descriptor of the inode.
//!
//! The kernel may know a million inodes, and a process may have some thousand descriptors. So a node has none of its own. A
//! bounded cache keeps those opened last (`O_PATH`: a reference to the inode, good for attributes and for opening from it);
//! one that has gone is opened again
//!
//! - by the file handle of the node, wherever the filesystem has handles and the server `CAP_DAC_READ_SEARCH`: right
//!   whatever was renamed meanwhile;
//! - else by the name under which the node was seen last, and checked for being the same inode: `ESTALE` if it is not.
//!
//! An inode without a name cannot be opened by handle on every filesystem once nobody has it open. So the open files of a
//! node serve to reach it too, and when the last name and the last open file have gone through this mount while the kernel
//! knows the node, it is *pinned*: a descriptor is kept until it is forgotten.
//!
//! The cache is a queue with a second chance: who was used since it came in goes to the end once more. That needs a flag a
//! node, and no list to be kept in order under a lock at each use.

use std::collections::VecDeque;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};

use ringfuse::{Errno, FileType, Result};
use rustix::fs::{Mode, OFlags, ResolveFlags, Statx, openat2};

use super::Core;
use super::node::{Identity, Key, More, Node, Pin, Place, lock};
use super::source::{MountIndex, Pace, dev, stat, stat_of};
use crate::sys::FileHandle;

/// The nodes whose descriptors are kept, oldest first. There may be some among them that have gone.
#[derive(Debug)]
pub(super) struct Cache {
    queue: Mutex<VecDeque<Weak<Node>>>,
    limit: usize,
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
}

impl Cache {
    pub(super) fn new(limit: usize) -> Self {
        Self { queue: Mutex::default(), limit, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    /// The descriptor that is kept of a node.
    fn get(&self, node: &Node) -> Option<Arc<OwnedFd>> {
        let mut cached = lock(&node.cached);
        cached.used = true;
        cached.fd.clone()
    }

    /// Keeps a descriptor of a node, if there is none. Others may have to go for it.
    pub(super) fn put(&self, node: &Arc<Node>, fd: Arc<OwnedFd>) {
        let mut cached = lock(&node.cached);
        if cached.fd.is_some() {
            return;
        }
        cached.fd = Some(fd);
        cached.used = false;
        drop(cached);
        let dropped = {
            let mut queue = lock(&self.queue);
            queue.push_back(Arc::downgrade(node));
            Self::shrink(&mut queue, self.limit)
        };
        drop(dropped);
    }

    /// Lets go of all, where there are no descriptors left.
    fn clear(&self) {
        let dropped = Self::shrink(&mut lock(&self.queue), 0);
        drop(dropped);
    }

    fn shrink(queue: &mut VecDeque<Weak<Node>>, limit: usize) -> Vec<Arc<OwnedFd>> {
        let mut dropped = Vec::new();
        // Each is spared once at most, so that this ends.
        let mut spare = queue.len();
        while queue.len() > limit {
            let Some(oldest) = queue.pop_front() else { break };
            let Some(node) = oldest.upgrade() else { continue };
            let mut cached = lock(&node.cached);
            if cached.used && spare > 0 && limit > 0 {
                spare -= 1;
                cached.used = false;
                queue.push_back(oldest);
            } else {
                dropped.extend(cached.fd.take());
            }
        }
        dropped
    }

    /// How many descriptors there are at most.
    pub(super) fn len(&self) -> usize {
        lock(&self.queue).len()
    }
}

/// An inode that was found, and is not yet told to the kernel.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) key: Key,
    pub(super) mount: MountIndex,
    pub(super) kind: FileType,
    pub(super) stat: Statx,
    /// A descriptor of it, opened with `O_PATH`: to be kept.
    pub(super) fd: Option<Arc<OwnedFd>>,
}

fn kind(stat: &Statx) -> io::Result<FileType> {
    FileType::from_mode(stat.stx_mode.into()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

impl Core {
    /// A descriptor of a node, if there is one at hand.
    pub(super) fn near(&self, node: &Node) -> Option<Arc<OwnedFd>> {
        if node.id.is_root() {
            return Some(Arc::clone(&self.source.root));
        }
        if let Some(fd) = self.cache.get(node) {
            self.cache.hits.fetch_add(1, Relaxed);
            return Some(fd);
        }
        let more = node.if_more()?;
        let pinned = lock(&more.pin).as_ref().map(|pin| Arc::clone(&pin.fd));
        pinned.or_else(|| lock(&more.opens).first().map(|open| Arc::clone(&open.file)))
    }

    /// A descriptor of a node. This may have to wait for the source.
    ///
    /// # Errors
    ///
    /// `ESTALE` if the inode is gone.
    pub(super) fn reach(&self, node: &Arc<Node>) -> Result<Arc<OwnedFd>> {
        if let Some(fd) = self.near(node) {
            return Ok(fd);
        }
        self.cache.misses.fetch_add(1, Relaxed);
        let fd = Arc::new(match &node.key.identity {
            Identity::Handle(handle) => {
                let mount = self.source.mount(node.mount);
                let anchor = mount.anchor.as_ref().ok_or(Errno::ESTALE)?;
                self.with_room(|| handle.open(anchor, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC))?
            }
            Identity::Number(..) => self.reach_by_name(node)?,
        });
        self.cache.put(node, Arc::clone(&fd));
        Ok(fd)
    }

    fn reach_by_name(&self, node: &Node) -> Result<OwnedFd> {
        let place = node.if_more().and_then(|more| lock(&more.place).clone()).ok_or(Errno::ESTALE)?;
        let parent = self.reach(&place.parent)?;
        let fd = self.open_path(&parent, &place.name, ResolveFlags::empty()).map_err(|_| Errno::ESTALE)?;
        let (key, _) = self.identify(&fd, &stat(&fd)?)?;
        if key == node.key { Ok(fd) } else { Err(Errno::ESTALE) }
    }

    /// Opens a name in a directory as a reference alone, whatever it is.
    pub(super) fn open_path(
        &self,
        parent: impl AsFd,
        name: &CStr,
        resolve: ResolveFlags,
    ) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.with_room(|| Ok(openat2(&parent, name, flags, Mode::empty(), self.source.resolve | resolve)?))
    }

    /// Opens something. Where there are no descriptors left, those of the cache go, and it is tried once more.
    ///
    /// # Errors
    ///
    /// Those of `open`.
    pub(super) fn with_room<T>(&self, open: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match open() {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                self.cache.clear();
                open()
            }
            result => result,
        }
    }

    /// What tells this file apart, and which mount it is on.
    pub(super) fn identify(&self, fd: impl AsFd, stat: &Statx) -> io::Result<(Key, MountIndex)> {
        let mount = self.source.mount_of(&fd, stat);
        let identity = if self.source.mount(mount).anchor.is_some() {
            Identity::Handle(FileHandle::of(fd, c"")?.0)
        } else {
            Identity::Number(stat.stx_ino, stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec)
        };
        Ok((Key { dev: dev(stat), identity }, mount))
    }

    /// Finds a name in a directory: where that can be without opening it, as nobody may want more than the attributes.
    ///
    /// Handle and attributes are those of one inode if the handle has the number of the inode that the attributes are of. One
    /// that got the number of another between the two calls may be shown in its place: the handle, which was asked for
    /// first, leads to no file any more.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is none.
    pub(super) fn find(&self, parent: &Node, dir: impl AsFd, name: &CStr) -> io::Result<Found> {
        let mount = self.source.mount(parent.mount);
        // Where names can lead elsewhere, that must not be found out by going there.
        let stays = self.source.detached && self.source.pace != Pace::Remote && mount.anchor.is_some();
        let handle = match stays.then(|| FileHandle::of(&dir, name)) {
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => return Err(error),
            Some(Ok((handle, on))) if on == mount.id => Some(handle),
            _ => None,
        };
        if let Some(handle) = handle
            && let Some(ino) = handle.ino()
        {
            let stat = stat_of(&dir, name)?;
            if (stat.stx_ino, stat.stx_mnt_id) == (ino, mount.id) {
                let key = Key { dev: dev(&stat), identity: Identity::Handle(handle) };
                return Ok(Found { key, mount: parent.mount, kind: kind(&stat)?, stat, fd: None });
            }
        }
        self.find_and_open(dir, name, ResolveFlags::empty())
    }

    /// Finds a name in a directory, and opens it as a reference.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is none.
    pub(super) fn find_and_open(
        &self,
        dir: impl AsFd,
        name: &CStr,
        resolve: ResolveFlags,
    ) -> io::Result<Found> {
        self.recognise_and_keep(self.open_path(dir, name, resolve)?)
    }

    /// Tells what a file is that was opened.
    pub(super) fn recognise(&self, fd: impl AsFd) -> io::Result<Found> {
        let stat = stat(&fd)?;
        let (key, mount) = self.identify(&fd, &stat)?;
        Ok(Found { key, mount, kind: kind(&stat)?, stat, fd: None })
    }

    /// Tells what a file is that was opened with `O_PATH`.
    pub(super) fn recognise_and_keep(&self, fd: OwnedFd) -> io::Result<Found> {
        let found = self.recognise(&fd)?;
        Ok(Found { fd: Some(Arc::new(fd)), ..found })
    }

    /// Takes one lookup of what was found, to be told to the kernel.
    pub(super) fn admit(&self, found: Found, parent: &Arc<Node>, name: &CStr) -> Arc<Node> {
        let node = self.table.intern(found.key, found.mount, found.kind);
        if let Some(fd) = found.fd {
            self.cache.put(&node, fd);
        }
        self.note_place(&node, parent, name);
        node
    }

    /// Remembers where a node was seen, if that is how it is reached.
    pub(super) fn note_place(&self, node: &Node, parent: &Arc<Node>, name: &CStr) {
        // The parent of a directory is above it, and must not be held by what is below: `..` is not a place.
        if matches!(node.key.identity, Identity::Number(..))
            && !node.id.is_root()
            && name != c"."
            && name != c".."
        {
            *lock(&node.more().place) = Some(Place { parent: Arc::clone(parent), name: name.to_owned() });
        }
    }

    /// Looks whether an inode has lost its last name, and keeps it then, if the kernel knows it.
    pub(super) fn note_unlinked(&self, victim: Option<(Arc<Node>, Arc<OwnedFd>)>) {
        let Some((node, fd)) = victim else { return };
        if stat(&fd).is_ok_and(|stat| stat.stx_nlink == 0) {
            let more = node.more();
            // Under this lock, as who closes the last open file looks at the other.
            let opens = lock(&more.opens);
            more.unlinked.store(true, Relaxed);
            if opens.is_empty() {
                self.pin_unlinked(more, &fd);
            }
        }
    }

    /// Keeps a descriptor of an inode, if it has no name and there is none yet.
    pub(super) fn pin_unlinked(&self, more: &More, fd: &Arc<OwnedFd>) {
        let mut pin = lock(&more.pin);
        if more.unlinked.load(Relaxed) && pin.is_none() {
            *pin = Pin::new(Arc::clone(fd), &self.pins, self.pin_limit);
        }
    }

    /// The node that has a name, if the kernel knows it: to be seen to once the name is gone.
    pub(super) fn victim(&self, parent: impl AsFd, name: &CStr) -> Option<(Arc<Node>, Arc<OwnedFd>)> {
        let fd = self.open_path(parent, name, ResolveFlags::empty()).ok()?;
        let found = self.recognise(&fd).ok()?;
        Some((self.table.find(&found.key)?, Arc::new(fd)))
    }
}
