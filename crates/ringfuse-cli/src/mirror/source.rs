//! The directory that is mirrored, and how it is reached.
//!
//! The server must never touch its own mount from a thread that serves it: it would wait for itself, and over the ring
//! not even `SIGKILL` ends that. Here is why it does not.
//!
//! - All is reached from descriptors that are opened before there is a mount, by single names, never by paths from the root
//!   of the system. (`/proc/self/fd` is one of them: opened once, and used with a number as the name.)
//! - As root the source is a *clone* of its mount, detached from the tree (`open_tree(2)` with `OPEN_TREE_CLONE`) and
//!   private: what is mounted later, our own mount included, is not in it. So a mountpoint inside the source, or a mount on
//!   top of the source itself, is no loop: the mirror shows the directory that was there.
//! - Without the right to do so, no lookup leaves the mount of the source (`RESOLVE_NO_XDEV`).
//!
//! The clone is what `--cross-mounts` takes with all that is mounted below, and what carries the options of the mirror
//! that concern the source: `--read-only` makes it read-only, `noatime` and `strictatime` have the source's own times of
//! access updated accordingly. By default it is without what is mounted below, as with `mount --bind`: what a person
//! sees is then one filesystem, with its own inode numbers, and renames and links work everywhere in it.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, RwLock};

use ringfuse::{Atime, MountOptions};
use rustix::fs::{
    AtFlags, Mode, OFlags, ResolveFlags, StatVfsMountFlags, Statx, StatxFlags, openat, openat2, statx,
};
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::caller::Processes;
use crate::sys::{self, FileHandle, MountChange};

/// What is asked of `statx(2)` always.
pub(super) const MASK: StatxFlags =
    StatxFlags::BASIC_STATS.union(StatxFlags::BTIME).union(StatxFlags::MNT_ID);

/// How soon a filesystem answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// At once: it is in memory.
    Memory,
    /// At once as long as it has what is asked for in memory.
    Disk,
    /// Nobody knows: a network or a program may be in between.
    Remote,
}

/// The source.
#[derive(Debug)]
pub(super) struct Source {
    /// Opened with `O_PATH`. As long as it is open there is the clone.
    pub(super) root: Arc<OwnedFd>,
    /// The mounts that have been come across; the first is that of the root.
    mounts: RwLock<Vec<Arc<SourceMount>>>,
    /// `/proc/self/fd`.
    pub(super) fds: OwnedFd,
    /// What a name may lead to.
    pub(super) resolve: ResolveFlags,
    pub(super) pace: Pace,
    /// It is a clone, with nothing in it that was not there at the start.
    pub(super) detached: bool,
    /// The number of the device that the root is on.
    pub(super) dev: u64,
    /// When reading sets a file's time of access.
    atime: Atime,
    pub(super) processes: Processes,
}

/// A mount within the source.
#[derive(Debug)]
pub(super) struct SourceMount {
    pub(super) id: u64,
    /// A directory in it, by which files can be opened by their handles; `None` if they cannot.
    pub(super) anchor: Option<OwnedFd>,
}

/// The number of a mount in the table.
pub(super) type MountIndex = u32;

/// Reads the attributes of an open file.
pub(super) fn stat(fd: impl AsFd) -> io::Result<Statx> {
    Ok(statx(fd, c"", AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT, MASK)?)
}

/// Reads the attributes of a name in a directory.
pub(super) fn stat_of(dir: impl AsFd, name: &CStr) -> io::Result<Statx> {
    Ok(statx(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, MASK)?)
}

/// The number of the device that a file is on.
pub(super) fn dev(stat: &Statx) -> u64 {
    u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor)
}

impl Source {
    /// Opens a directory to be mirrored.
    ///
    /// # Errors
    ///
    /// What cannot be done with it.
    pub(super) fn open(path: &Path, cross: bool, options: &MountOptions) -> io::Result<Self> {
        let found =
            rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let (root, detached) = match clone(&found, cross, options) {
            Ok(tree) => (tree, true),
            Err(error) => {
                tracing::info!(%error, "the source is used where it is mounted");
                (found, false)
            }
        };
        let fds = rustix::fs::open(
            c"/proc/self/fd",
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let stat = stat(&root)?;
        let source = Self {
            atime: atime(&root)?,
            processes: Processes::open()?,
            pace: pace(&root)?,
            root: Arc::new(root),
            mounts: RwLock::default(),
            fds,
            resolve: if cross && detached { ResolveFlags::empty() } else { ResolveFlags::NO_XDEV },
            detached,
            dev: dev(&stat),
        };
        let directory = openat2(
            &source.root,
            c".",
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::empty(),
        )?;
        source.add_mount(stat.stx_mnt_id, Some(directory));
        Ok(source)
    }

    /// A mount of the table.
    pub(super) fn mount(&self, index: MountIndex) -> Arc<SourceMount> {
        let mounts = self.mounts.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        Arc::clone(&mounts[index as usize])
    }

    /// Which mount a file is on. One that was not seen before is added to the table.
    pub(super) fn mount_of(&self, fd: impl AsFd, stat: &Statx) -> MountIndex {
        let find = |mounts: &[Arc<SourceMount>]| mounts.iter().position(|mount| mount.id == stat.stx_mnt_id);
        {
            let mounts = self.mounts.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            if let Some(index) = find(&mounts) {
                return index as MountIndex;
            }
        }
        // Any file or directory of it serves, but to open a device or a FIFO would be felt.
        let kind = u32::from(stat.stx_mode) & libc::S_IFMT;
        let anchor = matches!(kind, libc::S_IFDIR | libc::S_IFREG)
            .then(|| self.reopen(fd, OFlags::RDONLY))
            .and_then(Result::ok);
        self.add_mount(stat.stx_mnt_id, anchor)
    }

    fn add_mount(&self, id: u64, anchor: Option<OwnedFd>) -> MountIndex {
        let anchor = anchor.filter(|anchor| {
            let opened =
                FileHandle::of(anchor, c"").and_then(|(handle, _)| handle.open(anchor, OFlags::PATH));
            if let Err(error) = &opened {
                tracing::info!(%error, "files are reached by name, as they cannot be opened by handle");
            }
            opened.is_ok()
        });
        let mut mounts = self.mounts.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(index) = mounts.iter().position(|mount| mount.id == id) {
            return index as MountIndex;
        }
        mounts.push(Arc::new(SourceMount { id, anchor }));
        (mounts.len() - 1) as MountIndex
    }

    /// Opens a file once more, from a descriptor of it.
    ///
    /// # Errors
    ///
    /// Those of `open(2)`.
    pub(super) fn reopen(&self, fd: impl AsFd, flags: OFlags) -> io::Result<OwnedFd> {
        let name = number(fd);
        Ok(openat(&self.fds, name.as_str(), (flags | OFlags::CLOEXEC) & !OFlags::NOFOLLOW, Mode::empty())?)
    }

    /// Whether the next read of a file sets its time of access.
    pub(super) fn atime_is_due(&self, stat: &Statx) -> bool {
        const DAY: i64 = 24 * 60 * 60;
        let [atime, mtime, ctime] =
            [stat.stx_atime, stat.stx_mtime, stat.stx_ctime].map(|at| (at.tv_sec, at.tv_nsec));
        let old = || {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.is_ok_and(|now| now.as_secs() as i64 - atime.0 >= DAY)
        };
        match self.atime {
            Atime::Never => false,
            Atime::Strict => true,
            _ => atime <= mtime || atime <= ctime || old(),
        }
    }

    /// The inode number to be shown: that of the source, and for what is on another filesystem a mixture of that and the
    /// device, so that no two are equal.
    pub(super) fn ino(&self, dev: u64, ino: u64) -> u64 {
        if dev == self.dev { ino } else { mix(dev, ino) }
    }
}

/// The name of a descriptor in `/proc/self/fd`.
pub(super) fn number(fd: impl AsFd) -> String {
    use std::os::fd::AsRawFd;
    fd.as_fd().as_raw_fd().to_string()
}

/// Spreads the numbers of another filesystem over the upper half, where there are hardly any of the first.
fn mix(dev: u64, ino: u64) -> u64 {
    let mut hash = (dev ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash ^= hash >> 31;
    // The numbers of one device stay distinct: what is added is the same for all.
    ino.wrapping_add(hash | 1 << 63)
}

/// Makes a detached copy of the mount that a directory is on, from that directory on.
fn clone(found: &OwnedFd, cross: bool, options: &MountOptions) -> io::Result<OwnedFd> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if cross {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let tree = open_tree(found, c"", flags)?;
    let mut change = MountChange { private: true, ..MountChange::default() };
    if options.read_only {
        change.set |= libc::MOUNT_ATTR_RDONLY;
    }
    match options.atime {
        Atime::Never => change.set |= libc::MOUNT_ATTR_NOATIME,
        Atime::Strict => change.set |= libc::MOUNT_ATTR_STRICTATIME,
        _ => {}
    }
    if change.set != 0 && options.atime != Atime::Relative {
        change.clear |= libc::MOUNT_ATTR__ATIME;
    }
    if options.nodiratime {
        change.set |= libc::MOUNT_ATTR_NODIRATIME;
    }
    sys::change_mount(&tree, change)?;
    Ok(tree)
}

/// When reading sets times of access, by the flags of the mount.
fn atime(root: &OwnedFd) -> io::Result<Atime> {
    let flags = rustix::fs::fstatvfs(root)?.f_flag;
    Ok(if flags.contains(StatVfsMountFlags::NOATIME) {
        Atime::Never
    } else if flags.contains(StatVfsMountFlags::RELATIME) {
        Atime::Relative
    } else {
        Atime::Strict
    })
}

/// What kind of filesystem it is.
fn pace(root: &OwnedFd) -> io::Result<Pace> {
    /// tmpfs, ramfs.
    const MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];
    /// ext2 to ext4, XFS, Btrfs, F2FS, bcachefs, EROFS, SquashFS, overlayfs.
    const DISK: [u64; 8] =
        [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0xca45_1a4e, 0xe0f5_e1e2, 0x7371_7368, 0x794c_7630];
    let kind = rustix::fs::fstatfs(root)?.f_type as u64 & 0xffff_ffff;
    Ok(if MEMORY.contains(&kind) {
        Pace::Memory
    } else if DISK.contains(&kind) {
        Pace::Disk
    } else {
        Pace::Remote
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn numbers_of_two_devices_do_not_meet() {
        let numbers: HashSet<u64> =
            (1..4).flat_map(|dev| (0..1000).map(move |ino| mix(dev << 32 | 8, ino))).collect();
        assert_eq!(numbers.len(), 3000);
    }

    #[test]
    fn a_file_is_no_source() {
        let error = Source::open(&std::env::current_exe().unwrap(), false, &MountOptions::default());
        assert_eq!(error.unwrap_err().raw_os_error(), Some(libc::ENOTDIR));
    }
}
