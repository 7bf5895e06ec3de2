//! Attributes: how the source's are shown, and how they are changed.
//!
//! They are read by `statx(2)` on a descriptor, and shown as they are, but for the inode number on a second filesystem
//! (see [`super::source`]) and the owner under `--squash`.
//!
//! A change goes to the descriptor too, never to a name. A mode is set as the kernel says: it has left out the setgid bit
//! where the caller may not set it, so that it is not ours to drop. Whether a truncation clears setuid and setgid is for the
//! source's filesystem to see to, without `CAP_FSETID` where the caller has none.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use ringfuse::{
    Attr, AttrReply, Entry, Errno, FileType, Generation, Result, SetTime, Statfs, StatxReply, Timestamp, op,
};
use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, Statx, StatxFlags, Timespec, Timestamps, Uid, chmodat, chownat, ftruncate,
    statx, utimensat,
};

use super::ident::clearing_setid;
use super::node::{Node, Seen};
use super::source::{MASK, dev, number, stat};
use super::{Core, os};
use crate::caller::Asker;
use crate::sys;

fn time(stamp: rustix::fs::StatxTimestamp) -> Timestamp {
    Timestamp::new(stamp.tv_sec, stamp.tv_nsec)
}

/// What changes with the content.
pub(super) fn seen(stat: &Statx) -> Seen {
    let (mtime, ctime) = (stat.stx_mtime, stat.stx_ctime);
    (stat.stx_size, (mtime.tv_sec, mtime.tv_nsec), (ctime.tv_sec, ctime.tv_nsec))
}

/// Whether there is anything that a write by one without `CAP_FSETID` may clear.
pub(super) fn has_setid(stat: &Statx) -> bool {
    u32::from(stat.stx_mode) & (libc::S_ISUID | libc::S_ISGID) != 0
}

fn timespec(time: Option<SetTime>) -> Timespec {
    let (tv_sec, tv_nsec) = match time {
        None => (0, rustix::fs::UTIME_OMIT),
        Some(SetTime::Now) => (0, rustix::fs::UTIME_NOW),
        Some(SetTime::At(at)) => (at.secs, at.nanos.into()),
    };
    Timespec { tv_sec, tv_nsec }
}

impl Core {
    /// The attributes as they are shown.
    pub(super) fn attr(&self, stat: &Statx) -> Attr {
        let kind = FileType::from_mode(stat.stx_mode.into()).unwrap_or(FileType::Regular);
        let mut attr = Attr::new(self.source.ino(dev(stat), stat.stx_ino), kind);
        attr.mode = stat.stx_mode.into();
        attr.nlink = stat.stx_nlink;
        (attr.uid, attr.gid) = match self.options.squash {
            Some(squash) => (squash.uid, squash.gid),
            None => (stat.stx_uid, stat.stx_gid),
        };
        attr.size = stat.stx_size;
        attr.blocks = stat.stx_blocks;
        attr.blksize = stat.stx_blksize;
        attr.rdev = Attr::encode_dev(stat.stx_rdev_major, stat.stx_rdev_minor);
        attr.atime = time(stat.stx_atime);
        attr.mtime = time(stat.stx_mtime);
        attr.ctime = time(stat.stx_ctime);
        attr
    }

    /// How long the kernel may keep attributes. Where it does not write to its cache first, it may keep the size from before a
    /// write, after having shown the one from after it.
    fn attr_ttl(&self, stat: &Statx) -> Duration {
        let file = u32::from(stat.stx_mode) & libc::S_IFMT == libc::S_IFREG;
        if self.options.direct && file { Duration::ZERO } else { self.ttl }
    }

    /// The answer of a lookup.
    pub(super) fn entry(&self, node: &Node, stat: &Statx) -> Entry {
        let entry = Entry::new(node.id, self.attr(stat)).ttl(self.ttl).attr_ttl(self.attr_ttl(stat));
        // What is counted up starts anew with each mount: a file handle of an earlier one must not fit.
        if node.is_counted() { entry.generation(Generation(self.generation)) } else { entry }
    }

    fn reply(&self, stat: &Statx) -> AttrReply {
        AttrReply::new(self.attr(stat)).ttl(self.attr_ttl(stat))
    }

    /// Serves `getattr` by a descriptor of the node.
    pub(super) fn getattr(&self, fd: impl AsFd) -> Result<AttrReply> {
        Ok(self.reply(&stat(fd)?))
    }

    /// Serves `statx` by a descriptor of the node.
    pub(super) fn statx(&self, fd: impl AsFd, flags: u32, mask: u32) -> Result<StatxReply> {
        let sync = AtFlags::STATX_FORCE_SYNC | AtFlags::STATX_DONT_SYNC;
        let flags = AtFlags::EMPTY_PATH | AtFlags::from_bits_truncate(flags) & sync;
        // All that there is a place for; what the kernel did not ask for it may find useful later.
        let wanted =
            StatxFlags::from_bits_truncate(mask) & (StatxFlags::BASIC_STATS | StatxFlags::BTIME) | MASK;
        let stat = os(statx(fd, c"", flags, wanted))?;
        let mut reply = ringfuse::Statx::from(self.attr(&stat))
            .attributes(stat.stx_attributes.bits(), stat.stx_attributes_mask.bits());
        reply.mask = stat.stx_mask & StatxFlags::BASIC_STATS.bits();
        if stat.stx_mask & StatxFlags::BTIME.bits() != 0 {
            reply = reply.btime(time(stat.stx_btime));
        }
        Ok(StatxReply::new(reply).ttl(self.attr_ttl(&stat)))
    }

    /// Serves `setattr`. `file` is the open file through which it is done, if there is one.
    pub(super) fn setattr(
        &self,
        fd: &OwnedFd,
        file: Option<&OwnedFd>,
        op: &op::Setattr,
        who: Asker,
    ) -> Result<AttrReply> {
        let other = op.mode.is_some()
            || op.size.is_some()
            || op.atime.is_some()
            || op.mtime.is_some()
            || op.ctime.is_some();
        // Nothing to be changed means that the privileges are to go, by chown(path, -1, -1) or fallocate(2): the kernel has no
        // other way to say it.
        if op.uid.is_some() || op.gid.is_some() || !other {
            self.chown(fd, op, who)?;
        }
        if let Some(mode) = op.mode {
            self.chmod(fd, mode)?;
        }
        if let Some(size) = op.size {
            let len = i64::try_from(size).map_err(|_| Errno::EFBIG)?;
            let before = if file.is_none() && size == 0 { Some(stat(fd)?) } else { None };
            clearing_setid(self.clearing_as(fd, who, Some(op.kill_suidgid))?, || match file {
                Some(file) => match ftruncate(file, size) {
                    // It is not open for writing.
                    Err(rustix::io::Errno::INVAL | rustix::io::Errno::BADF) => self.truncate(fd, len),
                    result => Ok(result?),
                },
                None => self.truncate(fd, len),
            })?;
            if before.is_some_and(|stat| stat.stx_size == 0) {
                // As open(2) with O_TRUNC does, and truncate(2) does not on all filesystems. It is the former, hardly ever the
                // latter.
                Self::set_times(fd, None, Some(SetTime::Now))?;
            }
        }
        if op.atime.is_some() || op.mtime.is_some() {
            Self::set_times(fd, op.atime, op.mtime)?;
        }
        self.getattr(fd)
    }

    fn set_times(fd: &OwnedFd, atime: Option<SetTime>, mtime: Option<SetTime>) -> Result<()> {
        let times = Timestamps { last_access: timespec(atime), last_modification: timespec(mtime) };
        os(utimensat(fd, c"", &times, AtFlags::EMPTY_PATH))
    }

    /// In which group a thread is to be that changes the content of a file for one without `CAP_FSETID`; `None` if who asks
    /// has it, or nothing is to be cleared. `kill` is what the kernel says of that, if it does; root has it else.
    pub(super) fn clearing_as(&self, file: &OwnedFd, who: Asker, kill: Option<bool>) -> Result<Option<u32>> {
        if kill == Some(false) {
            return Ok(None);
        }
        let stat = stat(file)?;
        if !has_setid(&stat) {
            return Ok(None);
        }
        let caller = self.source.processes.caller(who);
        if kill.is_none() && caller.is_some_and(|caller| caller.uid == 0) {
            return Ok(None);
        }
        let shown = self.options.squash.map_or(stat.stx_gid, |squash| squash.gid);
        let member = caller.is_some_and(|caller| self.source.processes.in_group(caller, shown));
        let stranger = u32::from(stat.stx_gid == 0);
        Ok(Some(if member { stat.stx_gid } else { stranger }))
    }

    fn truncate(&self, fd: &OwnedFd, len: i64) -> std::io::Result<()> {
        let path = CString::new(format!("/proc/self/fd/{}", number(fd)))?;
        sys::truncate(&path, len)
    }

    /// Sets the permissions of an inode.
    pub(super) fn chmod(&self, fd: &OwnedFd, mode: u32) -> Result<()> {
        let mode = Mode::from_raw_mode(mode & 0o7777);
        os(chmodat(&self.source.fds, number(fd).as_str(), mode, AtFlags::empty()))
    }

    /// Gives an inode to others, which clears setuid and setgid.
    fn chown(&self, fd: &OwnedFd, op: &op::Setattr, who: Asker) -> Result<()> {
        if let Some(squash) = self.options.squash {
            // They are all one's own; nothing can be given away.
            let same =
                op.uid.is_none_or(|uid| uid == squash.uid) && op.gid.is_none_or(|gid| gid == squash.gid);
            return if same { Ok(()) } else { Err(Errno::EPERM) };
        }
        let (uid, gid) = (op.uid.map(Uid::from_raw), op.gid.map(Gid::from_raw));
        Ok(clearing_setid(self.clearing_as(fd, who, None)?, || {
            Ok(chownat(fd, c"", uid, gid, AtFlags::EMPTY_PATH)?)
        })?)
    }

    /// Serves `statfs` by a descriptor of the node it was asked on.
    pub(super) fn statfs(&self, fd: impl AsFd) -> Result<Statfs> {
        let from = os(rustix::fs::fstatfs(fd))?;
        let mut statfs = Statfs::default();
        statfs.blocks = from.f_blocks;
        statfs.bfree = from.f_bfree;
        statfs.bavail = from.f_bavail;
        statfs.files = from.f_files;
        statfs.ffree = from.f_ffree;
        statfs.bsize = from.f_bsize as u32;
        statfs.namelen = from.f_namelen as u32;
        statfs.frsize = from.f_frsize as u32;
        Ok(statfs)
    }

    /// Opens a regular file or directory from a descriptor of it.
    pub(super) fn reopen(&self, fd: &OwnedFd, flags: OFlags) -> Result<OwnedFd> {
        Ok(self.with_room(|| self.source.reopen(fd, flags))?)
    }
}
