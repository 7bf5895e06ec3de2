//! Names: finding, creating, removing, moving them.
//!
//! Each function is one request, done from start to end on whichever thread it was given to. The directory is reached by
//! its descriptor, and one name is resolved in it, so that nothing depends on where the directory is by now.
//!
//! A file is always created exclusively, also where the program would take one that exists: the kernel has looked, and
//! found none. If there is one by now, made at the source meanwhile, nobody has checked whether the caller may open it; so
//! it is opened with the caller's own rights.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use ringfuse::{Entry, Errno, NodeId, Opened, Result};
use rustix::fs::{
    AtFlags, FileType as Kind, Mode, OFlags, RenameFlags, ResolveFlags, linkat, makedev, mkdirat, mknodat,
    openat2, renameat_with, symlinkat, unlinkat,
};

use super::ident::{Creator, create_as, open_as};
use super::node::{Identity, Node};
use super::reach::Found;
use super::source::{number, stat};
use super::{Core, os};
use crate::sys::FileHandle;

/// What is to be created, beside its permissions.
#[derive(Debug)]
pub(super) enum Make {
    Directory,
    Symlink(CString),
    /// A regular or special file: type and device number.
    Node(u32, u32),
}

/// The name that a request says, and the directory it says it of.
#[derive(Debug)]
pub(super) struct Spot {
    pub(super) parent: NodeId,
    pub(super) name: CString,
}

impl Core {
    fn directory(&self, id: NodeId) -> Result<(Arc<Node>, Arc<OwnedFd>)> {
        let node = self.table.get(id)?;
        let fd = self.reach(&node)?;
        Ok((node, fd))
    }

    /// Takes a lookup of what was found, and makes the answer.
    pub(super) fn answer(&self, found: Found, parent: &Arc<Node>, name: &CStr) -> Entry {
        let stat = found.stat;
        let node = self.admit(found, parent, name);
        self.entry(&node, &stat)
    }

    /// Finds a name without waiting; `None` where that cannot be.
    pub(super) fn lookup_at_once(&self, spot: &Spot) -> Option<Result<Entry>> {
        let parent = self.table.get(spot.parent).ok()?;
        let fd = self.near(&parent)?;
        match self.look(&parent, &fd, &spot.name, ResolveFlags::CACHED) {
            Err(Errno::EAGAIN) => None,
            result => Some(result),
        }
    }

    /// Finds a name.
    pub(super) fn lookup(&self, spot: &Spot) -> Result<Entry> {
        if spot.name.as_c_str() == c"." && self.table.get(spot.parent).is_err() {
            return self.lookup_forgotten(spot.parent);
        }
        let (parent, fd) = self.directory(spot.parent)?;
        self.look(&parent, &fd, &spot.name, ResolveFlags::empty())
    }

    fn look(&self, parent: &Arc<Node>, fd: &OwnedFd, name: &CStr, resolve: ResolveFlags) -> Result<Entry> {
        // Those who open by handle ask for the node itself, and for the directory above it. None is above the root.
        if name == c"." || name == c".." && parent.id.is_root() {
            let found = self.recognise(fd)?;
            // The kernel may ask before it has forgotten it.
            if found.stat.stx_nlink == 0 && !parent.id.is_root() {
                return Err(Errno::ESTALE);
            }
            return Ok(self.answer(found, parent, c"."));
        }
        let found = if resolve.is_empty() {
            self.find(parent, fd, name)?
        } else {
            self.find_and_open(fd, name, resolve)?
        };
        Ok(self.answer(found, parent, name))
    }

    /// Finds a node again that the kernel has forgotten, for somebody who has a file handle of it.
    fn lookup_forgotten(&self, id: NodeId) -> Result<Entry> {
        let root = self.table.get(NodeId::ROOT)?;
        let mount = self.source.mount(root.mount);
        let (Identity::Handle(like), Some(anchor)) = (&root.key.identity, &mount.anchor) else {
            return Err(Errno::ESTALE);
        };
        let handle = FileHandle::of_number(id.get(), like).ok_or(Errno::ESTALE)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = self.recognise_and_keep(self.with_room(|| handle.open(anchor, flags))?)?;
        if found.stat.stx_nlink == 0 || found.key.identity != Identity::Handle(handle) {
            return Err(Errno::ESTALE);
        }
        Ok(self.answer(found, &root, c"."))
    }

    /// Creates anything but an open file.
    pub(super) fn make(&self, spot: &Spot, what: &Make, mode: u32, who: &Creator) -> Result<Entry> {
        let (parent, dir) = self.directory(spot.parent)?;
        let (name, permissions) = (spot.name.as_c_str(), Mode::from_raw_mode(mode & 0o7777));
        create_as(who, || {
            match what {
                Make::Directory => mkdirat(&dir, name, permissions)?,
                Make::Symlink(target) => symlinkat(target.as_c_str(), &dir, name)?,
                Make::Node(kind, rdev) => {
                    let (major, minor) = ringfuse::Attr::decode_dev(*rdev);
                    mknodat(&dir, name, Kind::from_raw_mode(*kind), permissions, makedev(major, minor))?;
                }
            }
            Ok(())
        })?;
        let found = self.find(&parent, &dir, name)?;
        Ok(self.answer(found, &parent, name))
    }

    /// Creates a file and opens it.
    pub(super) fn create(
        &self,
        spot: &Spot,
        (flags, exclusive): (OFlags, bool),
        mode: u32,
        who: &Creator,
    ) -> Result<(Entry, Opened)> {
        let (parent, dir) = self.directory(spot.parent)?;
        let permissions = Mode::from_raw_mode(mode & 0o7777);
        let open = |more: OFlags, mode: Mode| {
            let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | more;
            self.with_room(|| Ok(openat2(&dir, spot.name.as_c_str(), flags, mode, self.source.resolve)?))
        };
        let created = create_as(who, || open(OFlags::CREATE | OFlags::EXCL, permissions));
        let file = match created {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !exclusive => {
                open_as(who, || open(OFlags::NONBLOCK, Mode::empty()))?
            }
            result => result?,
        };
        self.created(file, &parent, &spot.name, flags)
    }

    /// Creates a file without a name and opens it.
    pub(super) fn tmpfile(
        &self,
        parent: NodeId,
        (flags, exclusive): (OFlags, bool),
        mode: u32,
        who: &Creator,
    ) -> Result<(Entry, Opened)> {
        let (parent, dir) = self.directory(parent)?;
        let mut how = flags | OFlags::TMPFILE | OFlags::CLOEXEC;
        how.set(OFlags::EXCL, exclusive);
        let permissions = Mode::from_raw_mode(mode & 0o7777);
        let file = create_as(who, || {
            self.with_room(|| Ok(openat2(&dir, c".", how, permissions, self.source.resolve)?))
        })?;
        self.created(file, &parent, c".", flags)
    }

    fn created(
        &self,
        file: OwnedFd,
        parent: &Arc<Node>,
        name: &CStr,
        flags: OFlags,
    ) -> Result<(Entry, Opened)> {
        let found = self.recognise(&file)?;
        if found.kind != ringfuse::FileType::Regular {
            return Err(Errno::EEXIST);
        }
        let stat = found.stat;
        let node = self.admit(found, parent, name);
        match self.opened(&node, Arc::new(file), flags, Some(&stat)) {
            Ok(opened) => Ok((self.entry(&node, &stat), opened)),
            Err(error) => {
                // The kernel will not be told of it.
                self.table.forget(node.id, 1);
                Err(error)
            }
        }
    }

    /// Removes a name.
    pub(super) fn remove(&self, spot: &Spot, directory: bool) -> Result<()> {
        let (_, dir) = self.directory(spot.parent)?;
        let victim = self.victim(&dir, &spot.name);
        let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        os(unlinkat(&dir, spot.name.as_c_str(), flags))?;
        self.note_unlinked(victim);
        Ok(())
    }

    /// Moves a name.
    pub(super) fn rename(&self, from: &Spot, to: &Spot, flags: u32, whiteout: Option<Creator>) -> Result<()> {
        let flags = RenameFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
        let (old_parent, old_dir) = self.directory(from.parent)?;
        let (new_parent, new_dir) = self.directory(to.parent)?;
        let replaces = !flags.intersects(RenameFlags::NOREPLACE | RenameFlags::EXCHANGE);
        let victim = if replaces { self.victim(&new_dir, &to.name) } else { None };
        let rename =
            || Ok(renameat_with(&old_dir, from.name.as_c_str(), &new_dir, to.name.as_c_str(), flags)?);
        match whiteout {
            Some(who) => create_as(&who, rename),
            None => rename(),
        }?;
        self.note_unlinked(victim);
        self.note_moved(&new_parent, &new_dir, &to.name);
        if flags.contains(RenameFlags::EXCHANGE) {
            self.note_moved(&old_parent, &old_dir, &from.name);
        }
        Ok(())
    }

    /// A node has a new place, if it is by that that it is reached.
    fn note_moved(&self, parent: &Arc<Node>, dir: &OwnedFd, name: &CStr) {
        if self.source.mount(parent.mount).anchor.is_none()
            && let Some((node, _)) = self.victim(dir, name)
        {
            self.note_place(&node, parent, name);
        }
    }

    /// Gives a file one more name.
    pub(super) fn link(&self, id: NodeId, to: &Spot) -> Result<Entry> {
        let node = self.table.get(id)?;
        let fd = self.reach(&node)?;
        let (parent, dir) = self.directory(to.parent)?;
        let name = to.name.as_c_str();
        match linkat(&fd, c"", &dir, name, AtFlags::EMPTY_PATH) {
            // That needs CAP_DAC_READ_SEARCH; a link to what the descriptor stands for does not.
            Err(rustix::io::Errno::NOENT) => {
                os(linkat(&self.source.fds, number(&fd).as_str(), &dir, name, AtFlags::SYMLINK_FOLLOW))?;
            }
            result => os(result)?,
        }
        if let Some(more) = node.if_more() {
            more.unlinked.store(false, std::sync::atomic::Ordering::Relaxed);
        }
        let stat = stat(&fd)?;
        let node = self.table.intern(node.key.clone(), node.mount, node.kind);
        self.note_place(&node, &parent, name);
        Ok(self.entry(&node, &stat))
    }

    /// The target of a symbolic link.
    pub(super) fn readlink(&self, node: &Arc<Node>) -> Result<CString> {
        let fd = self.reach(node)?;
        os(rustix::fs::readlinkat(&fd, c"", Vec::with_capacity(256)))
    }
}
