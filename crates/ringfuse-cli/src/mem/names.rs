//! Names: finding, making, removing, and moving them.
//!
//! # Locks
//!
//! In this order, each only if needed:
//!
//! 1. the **tree** lock: whoever needs more than one directory takes it first, so that no two of them wait for each
//!    other, and so that which directory is in which changes only under it;
//! 2. **directories**, the names in them;
//! 3. the **contents** of files: of two, that of the lower id first;
//! 4. the **attributes** of one node at a time, and parts of the table, for a moment.
//!
//! A name leads to a node that is in the table as long as the directory is locked, since a node with a name is never
//! taken out. So a lookup count is taken under the lock of the directory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, MutexGuard, PoisonError, RwLock, RwLockWriteGuard};

use ringfuse::{
    Attr, Caller, DirFiller, Entry, Errno, FileType, Generation, Name, NodeId, Result, Timestamp, op,
};

use super::acl::Acl;
use super::data::Data;
use super::dir::{Child, Dir};
use super::flags::{APPEND, IMMUTABLE, INHERITED};
use super::node::{Content, Meta, Node};
use super::xattr::{ACL_ACCESS, ACL_DEFAULT, Xattrs};
use super::{MemFs, TTL};

/// The longest name in bytes.
const NAME_MAX: usize = 255;

/// What is to be made.
#[derive(Clone, Copy, Debug)]
pub(super) enum Make<'a> {
    File,
    Directory,
    Symlink(&'a [u8]),
    /// A device by its number, a FIFO, a socket.
    Special(u32),
}

/// Circumstances of what is to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Birth<'a> {
    pub(super) owner: Caller,
    /// Type and permissions.
    pub(super) mode: u32,
    pub(super) creation: op::Creation<'a>,
    /// It is opened at once.
    pub(super) opened: bool,
}

/// The bytes of a name that is not too long.
fn checked(name: Name<'_>) -> Result<&[u8]> {
    let bytes = name.as_bytes();
    if bytes.len() > NAME_MAX { Err(Errno::ENAMETOOLONG) } else { Ok(bytes) }
}

impl MemFs {
    fn tree(&self) -> MutexGuard<'_, ()> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer for a node that the kernel is told of.
    pub(super) fn entry(&self, node: &Node, attr: Attr) -> Entry {
        Entry::new(node.id, attr).entry_ttl(TTL).attr_ttl(self.attr_ttl(&attr)).generation(Generation(0))
    }

    /// Tells the kernel of a node that has a name, once more.
    fn known(&self, node: &Node) -> Result<Entry> {
        let mut meta = node.meta();
        // A file handle may name what was removed. If it were still open, the kernel would not ask.
        if meta.nlink == 0 {
            return Err(Errno::ESTALE);
        }
        meta.lookups += 1;
        Ok(self.entry(node, node.attr(&meta)))
    }

    pub(super) fn find(&self, op: &op::Lookup<'_>) -> Result<Entry> {
        let parent = self.nodes.get(op.parent)?;
        match checked(op.name)? {
            // Asked for where a file handle is opened, `.` of a file too.
            b"." => self.known(&parent),
            b".." => self.known(&*self.nodes.get(parent.parent()?)?),
            name => {
                let dir = parent.read_dir()?;
                match dir.find(name) {
                    Ok(child) => self.known(&*self.nodes.get(child.node)?),
                    // Nothing is made behind the kernel's back, so it may remember that there is no such name.
                    Err(_) => Ok(Entry::negative(TTL)),
                }
            }
        }
    }

    pub(super) fn list(&self, op: &op::Readdir, out: &mut DirFiller<'_>) -> Result<()> {
        let node = self.nodes.get(op.node)?;
        let dir = node.read_dir()?;
        let dots = [(node.id, "."), (node.parent()?, "..")];
        for (pos, (id, name)) in Dir::DOTS.into_iter().zip(dots) {
            if op.pos < pos && out.push(id.get(), pos, Some(FileType::Directory), name).is_err() {
                return Ok(());
            }
        }
        for (pos, name, child) in dir.after(op.pos) {
            let entry = || self.known(&*self.nodes.get(child.node)?);
            let name = OsStr::from_bytes(name);
            if out.push_plus(child.node.get(), pos, Some(child.kind), name, entry).is_err() {
                break;
            }
        }
        drop(dir);
        self.accessed(&node, op.flags);
        Ok(())
    }

    pub(super) fn make(
        &self,
        parent: NodeId,
        name: Name<'_>,
        birth: Birth<'_>,
        what: Make<'_>,
    ) -> Result<Arc<Node>> {
        let parent = self.nodes.get(parent)?;
        let mut dir = parent.write_dir()?;
        let name = checked(name)?;
        dir.vacant(name)?;
        parent.meta().permit(IMMUTABLE)?;
        let node = self.bear(&parent, birth, what, true)?;
        dir.set(name, Child { node: node.id, kind: node.kind });
        self.changed(&parent, &dir, i32::from(node.kind == FileType::Directory));
        Ok(node)
    }

    /// Makes a file that has no name yet.
    pub(super) fn make_unnamed(&self, parent: NodeId, birth: Birth<'_>) -> Result<Arc<Node>> {
        self.bear(&*self.nodes.get(parent)?, birth, Make::File, false)
    }

    /// Makes a node with what it has of its directory, and puts it into the table, where it is found once it is named.
    fn bear(&self, parent: &Node, birth: Birth<'_>, what: Make<'_>, named: bool) -> Result<Arc<Node>> {
        let Birth { owner, mut mode, creation, opened } = birth;
        let slot = self.space.inode()?;
        let now = self.now();
        let mut xattrs = Xattrs::new(self.space.no_pages());
        let above = parent.meta();
        let (gid, flags) = match above.mode & libc::S_ISGID {
            0 => (owner.gid, above.flags & INHERITED),
            _ => (above.gid, above.flags & INHERITED),
        };
        let is_dir = matches!(what, Make::Directory);
        if is_dir {
            mode |= above.mode & libc::S_ISGID;
        }
        match above.xattr(ACL_DEFAULT).ok().map(Acl::parse) {
            _ if matches!(what, Make::Symlink(_)) => {}
            Some(Ok(Some(mut acl))) => {
                if is_dir {
                    xattrs.set(ACL_DEFAULT, &acl.encode(), 0)?;
                }
                acl.inherit(mode);
                mode = mode & !0o777 | acl.mode();
                if !acl.is_minimal() {
                    xattrs.set(ACL_ACCESS, &acl.encode(), 0)?;
                }
            }
            _ => mode &= !creation.umask,
        }
        drop(above);
        for (name, value) in creation.security.iter() {
            xattrs.set(name.to_bytes(), value, 0)?;
        }
        let content = match what {
            Make::File => Content::File(RwLock::new(Data::new(self.space.no_pages()))),
            Make::Directory => {
                Content::Directory { names: RwLock::new(Dir::new()), parent: AtomicU64::new(parent.id.get()) }
            }
            Make::Symlink(target) => Content::Symlink(target.into()),
            Make::Special(rdev) => Content::Special(rdev),
        };
        let meta = Meta {
            mode,
            uid: owner.uid,
            gid,
            nlink: u32::from(named) + u32::from(is_dir),
            size: if let Make::Symlink(target) = what { target.len() as u64 } else { 0 },
            pages: 0,
            atime: now,
            mtime: now,
            ctime: now,
            flags,
            linkable: !named,
            lookups: 1,
            opens: u64::from(opened),
            xattrs: (xattrs.pages() > 0).then(|| Box::new(xattrs)),
        };
        let node = Arc::new(Node::new(self.nodes.new_id(), now, meta, content, slot));
        self.nodes.insert(&node);
        Ok(node)
    }

    pub(super) fn add_name(&self, op: &op::Link<'_>) -> Result<Entry> {
        let node = self.nodes.get(op.node)?;
        if node.kind == FileType::Directory {
            return Err(Errno::EPERM);
        }
        let parent = self.nodes.get(op.new_parent)?;
        let mut dir = parent.write_dir()?;
        let name = checked(op.new_name)?;
        dir.vacant(name)?;
        parent.meta().permit(IMMUTABLE)?;
        let mut meta = node.meta();
        meta.permit(IMMUTABLE | APPEND)?;
        if meta.nlink == 0 && !meta.linkable {
            return Err(Errno::ENOENT);
        }
        meta.nlink = meta.nlink.checked_add(1).ok_or(Errno::EMLINK)?;
        meta.linkable = false;
        meta.ctime = self.now();
        meta.lookups += 1;
        let attr = node.attr(&meta);
        drop(meta);
        dir.set(name, Child { node: node.id, kind: node.kind });
        self.changed(&parent, &dir, 0);
        Ok(self.entry(&node, attr))
    }

    pub(super) fn remove_name(&self, op: &op::Unlink<'_>) -> Result<()> {
        let parent = self.nodes.get(op.parent)?;
        let mut dir = parent.write_dir()?;
        let name = checked(op.name)?;
        let child = dir.find(name)?;
        if child.kind == FileType::Directory {
            return Err(Errno::EISDIR);
        }
        let node = self.nodes.get(child.node)?;
        removable(&parent, &node)?;
        dir.remove(name);
        self.changed(&parent, &dir, 0);
        drop(dir);
        self.unnamed(&node, self.now());
        Ok(())
    }

    pub(super) fn remove_dir(&self, op: &op::Rmdir<'_>) -> Result<()> {
        let _tree = self.tree();
        let parent = self.nodes.get(op.parent)?;
        let mut dir = parent.write_dir()?;
        let name = checked(op.name)?;
        let node = self.nodes.get(dir.find(name)?.node)?;
        removable(&parent, &node)?;
        node.write_dir()?.retire()?;
        dir.remove(name);
        self.changed(&parent, &dir, -1);
        drop(dir);
        self.unnamed(&node, self.now());
        Ok(())
    }

    pub(super) fn move_name(&self, owner: Option<Caller>, op: &op::Rename<'_>) -> Result<()> {
        let (name, new_name) = (checked(op.name)?, checked(op.new_name)?);
        let _tree = self.tree();
        let (from, to) = (self.nodes.get(op.parent)?, self.nodes.get(op.new_parent)?);
        let mut dirs = Dirs::lock(&from, &to)?;
        let source = self.nodes.get(dirs.from().find(name)?.node)?;
        let target = dirs.to().find(new_name).ok().map(|child| self.nodes.get(child.node)).transpose()?;
        removable(&from, &source)?;
        to.meta().permit(IMMUTABLE)?;
        if let Some(target) = &target {
            removable(&to, target)?;
        }
        let mut whiteout = None;
        match (op.flags, &target) {
            (libc::RENAME_EXCHANGE, Some(target)) => {
                return self.exchange(&from, &to, &source, target, dirs, op);
            }
            (libc::RENAME_EXCHANGE, None) => return Err(Errno::ENOENT),
            (libc::RENAME_NOREPLACE | NOREPLACE_WHITEOUT, Some(_)) => return Err(Errno::EEXIST),
            (0 | libc::RENAME_NOREPLACE | libc::RENAME_WHITEOUT | NOREPLACE_WHITEOUT, _) => {}
            _ => return Err(Errno::EINVAL),
        }
        if let Some(target) = &target
            && target.id == source.id
        {
            // Two names of one file: both stay (rename(2)).
            return Ok(());
        }
        self.not_within(&source, &to)?;
        if target.is_none() {
            dirs.to().vacant(new_name)?;
        }
        if op.flags & libc::RENAME_WHITEOUT != 0 {
            whiteout = Some(self.whiteout(&from, owner)?);
        }
        let replaced = target.as_deref().map_or(Ok(()), |target| replaceable(&source, target, &from));
        if let Err(error) = replaced {
            if let Some(whiteout) = whiteout {
                self.unnamed(&whiteout, self.now());
            }
            return Err(error);
        }

        dirs.to().set(new_name, child(&source));
        match &whiteout {
            Some(whiteout) => dirs.from().set(name, child(whiteout)),
            None => dirs.from().remove(name),
        }
        let gone = i32::from(target.as_ref().is_some_and(|target| target.kind == FileType::Directory));
        let moved = i32::from(source.kind == FileType::Directory);
        self.changed_both(&from, &to, &mut dirs, (-moved, moved - gone));
        let now = self.now();
        adopt(&source, &to, now);
        drop(dirs);
        if let Some(target) = target {
            self.unnamed(&target, now);
        }
        Ok(())
    }

    /// `RENAME_EXCHANGE`: each name leads where the other did.
    fn exchange(
        &self,
        from: &Node,
        to: &Node,
        source: &Node,
        target: &Node,
        mut dirs: Dirs<'_>,
        op: &op::Rename<'_>,
    ) -> Result<()> {
        self.not_within(source, to)?;
        self.not_within(target, from)?;
        dirs.from().set(op.name.as_bytes(), child(target));
        dirs.to().set(op.new_name.as_bytes(), child(source));
        let moved = [source, target].map(|node| i32::from(node.kind == FileType::Directory));
        self.changed_both(from, to, &mut dirs, (moved[1] - moved[0], moved[0] - moved[1]));
        let now = self.now();
        adopt(source, to, now);
        adopt(target, from, now);
        Ok(())
    }

    /// What `RENAME_WHITEOUT` leaves behind: a character device of number zero, by which an overlay hides a name.
    fn whiteout(&self, parent: &Node, owner: Option<Caller>) -> Result<Arc<Node>> {
        let owner = owner.ok_or(Errno::EOVERFLOW)?;
        let birth = Birth { owner, mode: libc::S_IFCHR, creation: op::Creation::default(), opened: false };
        let node = self.bear(parent, birth, Make::Special(0), true)?;
        // The kernel is not told of it now.
        node.meta().lookups = 0;
        Ok(node)
    }

    /// Checks that a directory does not come to lie within itself. Under the tree lock.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it would.
    fn not_within(&self, moved: &Node, into: &Node) -> Result<()> {
        if moved.kind != FileType::Directory {
            return Ok(());
        }
        let mut above = into.id;
        while above != moved.id {
            if above.is_root() {
                return Ok(());
            }
            above = self.nodes.get(above)?.parent()?;
        }
        Err(Errno::EINVAL)
    }

    /// The names in a directory have changed, and with them the number of directories in it.
    fn changed(&self, node: &Node, dir: &Dir, subdirectories: i32) {
        let mut meta = node.meta();
        meta.modified(self.now());
        meta.size = dir.len() as u64;
        meta.nlink = meta.nlink.saturating_add_signed(subdirectories);
    }

    fn changed_both(&self, from: &Node, to: &Node, dirs: &mut Dirs<'_>, subdirectories: (i32, i32)) {
        if from.id == to.id {
            return self.changed(from, dirs.from(), subdirectories.0 + subdirectories.1);
        }
        self.changed(from, dirs.from(), subdirectories.0);
        self.changed(to, dirs.to(), subdirectories.1);
    }

    /// A name of a node is gone; of a directory, the only one.
    fn unnamed(&self, node: &Node, now: Timestamp) {
        let mut meta = node.meta();
        meta.nlink = if node.kind == FileType::Directory { 0 } else { meta.nlink.saturating_sub(1) };
        meta.ctime = now;
        self.nodes.release(node, meta);
    }
}

/// `RENAME_NOREPLACE` with `RENAME_WHITEOUT`, which may be combined.
const NOREPLACE_WHITEOUT: u32 = libc::RENAME_NOREPLACE | libc::RENAME_WHITEOUT;

fn child(node: &Node) -> Child {
    Child { node: node.id, kind: node.kind }
}

/// Whether the flags of a file and of its directory let a name go.
fn removable(parent: &Node, node: &Node) -> Result<()> {
    parent.meta().permit(IMMUTABLE | APPEND)?;
    node.meta().permit(IMMUTABLE | APPEND)
}

/// Whether a rename may put `source` in the place of `target`; a directory can then not be added to any more.
fn replaceable(source: &Node, target: &Node, from: &Node) -> Result<()> {
    match (source.kind, target.kind) {
        // It holds the source at least, and it is locked already.
        (FileType::Directory, FileType::Directory) if target.id == from.id => Err(Errno::ENOTEMPTY),
        (FileType::Directory, FileType::Directory) => target.write_dir()?.retire(),
        (FileType::Directory, _) => Err(Errno::ENOTDIR),
        (_, FileType::Directory) => Err(Errno::EISDIR),
        _ => Ok(()),
    }
}

/// A node was moved into a directory. Under the tree lock.
fn adopt(node: &Node, parent: &Node, now: Timestamp) {
    if let Ok((_, above)) = node.directory() {
        above.store(parent.id.get(), Relaxed);
    }
    node.meta().ctime = now;
}

/// The two directories of a rename, locked, which may be one. Under the tree lock, so their order does not matter.
struct Dirs<'a> {
    from: RwLockWriteGuard<'a, Dir>,
    to: Option<RwLockWriteGuard<'a, Dir>>,
}

impl<'a> Dirs<'a> {
    fn lock(from: &'a Node, to: &'a Node) -> Result<Self> {
        let other = (from.id != to.id).then(|| to.write_dir()).transpose()?;
        Ok(Self { from: from.write_dir()?, to: other })
    }

    fn from(&mut self) -> &mut Dir {
        &mut self.from
    }

    fn to(&mut self) -> &mut Dir {
        self.to.as_mut().unwrap_or(&mut self.from)
    }
}
