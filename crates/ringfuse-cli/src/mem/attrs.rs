//! Attributes: what `stat` shows and `chmod`, `chown`, `truncate`, `utimensat` change; extended ones.

use std::time::Duration;

use ringfuse::{
    Atime, Attr, BytesOut, Errno, FileType, OpenFlags, Request, Result, SetTime, Statx, Timestamp, op,
};

use super::acl::Acl;
use super::flags::{APPEND, IMMUTABLE, NOATIME, SHOWN};
use super::node::{Meta, Node};
use super::xattr::{ACL_ACCESS, ACL_DEFAULT, check_name, is_acl};
use super::{MemFs, TTL};
use crate::caller::Asker;

/// After how many seconds an access is noted again, though nothing was changed since the last (`relatime`).
const DAY: i64 = 24 * 60 * 60;

impl MemFs {
    /// How long the kernel may keep attributes.
    pub(super) fn attr_ttl(&self, attr: &Attr) -> Duration {
        // While it writes past its cache, the kernel may take a size as of before a write for one as of after it.
        if self.options.direct && attr.file_type() == Some(FileType::Regular) { Duration::ZERO } else { TTL }
    }

    pub(super) fn stat(&self, op: &op::Getattr) -> Result<Attr> {
        let node = self.nodes.get(op.node)?;
        let meta = node.meta();
        Ok(node.attr(&meta))
    }

    pub(super) fn stat_more(&self, op: &op::Statx) -> Result<Statx> {
        let node = self.nodes.get(op.node)?;
        let meta = node.meta();
        Ok(Statx::from(node.attr(&meta))
            .btime(node.btime)
            .attributes((meta.flags & SHOWN).into(), SHOWN.into()))
    }

    pub(super) fn change(&self, op: &op::Setattr, who: Asker) -> Result<Attr> {
        let node = self.nodes.get(op.node)?;
        let now = self.now();
        let mut data = op.size.map(|_| node.write_file()).transpose()?;
        let mut meta = node.meta();
        let only_times = op.mode.is_none() && op.uid.is_none() && op.gid.is_none() && op.size.is_none();
        // With a writeback cache the kernel tells the times of what it wrote before the file became immutable.
        let written_back = only_times && op.atime.is_none() && op.ctime.is_some();
        if !written_back {
            meta.permit(IMMUTABLE | APPEND)?;
        }
        if let Some((size, data)) = op.size.zip(data.as_mut()) {
            // truncate(2) of a file that has the size is no change; ftruncate(2) is one all the same.
            let changes = size != data.size() || op.fh.is_some();
            data.truncate(size)?;
            meta.show(data);
            if changes && op.mtime.is_none() {
                meta.mtime = now;
            }
        }
        // The kernel has checked who may change the mode, and taken setgid out where the caller may not set it.
        if let Some(mode) = op.mode {
            meta.chmod(mode)?;
        }
        meta.uid = op.uid.unwrap_or(meta.uid);
        meta.gid = op.gid.unwrap_or(meta.gid);
        let empty = only_times && op.atime.is_none() && op.mtime.is_none() && op.ctime.is_none();
        if node.kind != FileType::Directory && (empty || op.uid.or(op.gid).is_some() || op.size.is_some()) {
            // Nothing to be changed means that the privileges are to go, by `chown(path, -1, -1)` or `fallocate`: the
            // kernel has no other way to say it.
            meta.drop_privileges(op.kill_suidgid || empty, |gid| self.in_group(who, gid));
        }
        let resolve = |time| match time {
            SetTime::Now => now,
            SetTime::At(time) => time,
        };
        meta.atime = op.atime.map_or(meta.atime, resolve);
        meta.mtime = op.mtime.map_or(meta.mtime, resolve);
        meta.ctime = op.ctime.unwrap_or(now);
        Ok(node.attr(&meta))
    }

    /// Notes that a file was read, as far as the mount options want it.
    pub(super) fn accessed(&self, node: &Node, flags: OpenFlags) {
        if flags.contains(libc::O_NOATIME) || (self.nodiratime && node.kind == FileType::Directory) {
            return;
        }
        let now = self.now();
        let mut meta = node.meta();
        if self.atime_is_due(&meta, now) {
            meta.atime = now;
        }
    }

    /// Whether the next access is to be noted.
    pub(super) fn atime_is_due(&self, meta: &Meta, now: Timestamp) -> bool {
        let due = match self.atime {
            Atime::Never => false,
            Atime::Strict => true,
            _ => meta.atime <= meta.mtime || meta.atime <= meta.ctime || now.secs - meta.atime.secs >= DAY,
        };
        due && meta.flags & NOATIME == 0
    }

    /// Whether the caller keeps setgid of a file of that group which the group may not execute.
    pub(super) fn in_group(&self, who: Asker, group: u32) -> bool {
        let caller = self.processes.caller(who);
        caller.is_some_and(|caller| caller.uid == 0 || self.processes.in_group(caller, group))
    }

    /// The time, by the clock of the kernel's filesystems where it sets times too.
    pub(super) fn now(&self) -> Timestamp {
        let clock = if self.agreed().writeback { COARSE } else { FINE };
        let time = rustix::time::clock_gettime(clock);
        Timestamp::new(time.tv_sec, time.tv_nsec as u32)
    }

    pub(super) fn get_xattr(&self, op: &op::Getxattr<'_>, out: &mut BytesOut<'_>) -> Result<()> {
        let name = op.name.to_bytes();
        check_name(name, self.agreed().acl)?;
        let node = self.nodes.get(op.node)?;
        let meta = node.meta();
        out.put(meta.xattr(name)?)
    }

    pub(super) fn set_xattr(&self, op: &op::Setxattr<'_>) -> Result<()> {
        let name = op.name.to_bytes();
        check_name(name, self.agreed().acl)?;
        let node = self.nodes.get(op.node)?;
        let mut meta = node.meta();
        meta.permit(IMMUTABLE | APPEND)?;
        if is_acl(name) {
            return self.set_acl(&node, &mut meta, op);
        }
        meta.xattrs_mut(&self.space).set(name, op.value, op.flags)?;
        meta.ctime = self.now();
        Ok(())
    }

    /// An access list is the permissions of the mode as well, and is the mode alone where it says no more.
    fn set_acl(&self, node: &Node, meta: &mut Meta, op: &op::Setxattr<'_>) -> Result<()> {
        let name = op.name.to_bytes();
        let acl = Acl::parse(op.value)?;
        if node.kind == FileType::Symlink {
            return Err(Errno::EOPNOTSUPP);
        }
        if name == ACL_DEFAULT && acl.is_some() && node.kind != FileType::Directory {
            return Err(Errno::EACCES);
        }
        let stored = acl.as_ref().filter(|acl| name == ACL_DEFAULT || !acl.is_minimal());
        match (stored, &mut meta.xattrs) {
            (Some(acl), _) => meta.xattrs_mut(&self.space).set(name, &acl.encode(), 0)?,
            (None, Some(xattrs)) => drop(xattrs.remove(name)),
            (None, None) => {}
        }
        if let (ACL_ACCESS, Some(acl)) = (name, acl) {
            meta.mode = meta.mode & !0o777 | acl.mode();
            if op.acl_kill_sgid {
                meta.mode &= !libc::S_ISGID;
            }
        }
        meta.ctime = self.now();
        Ok(())
    }

    pub(super) fn list_xattrs(
        &self,
        rq: &Request<'_>,
        op: &op::Listxattr,
        out: &mut BytesOut<'_>,
    ) -> Result<()> {
        let node = self.nodes.get(op.node)?;
        let meta = node.meta();
        let privileged = || self.processes.caller(rq.into()).is_some_and(|caller| caller.uid == 0);
        meta.xattrs.as_ref().map_or(Ok(()), |xattrs| xattrs.list(privileged, out))
    }

    pub(super) fn remove_xattr(&self, op: &op::Removexattr<'_>) -> Result<()> {
        let name = op.name.to_bytes();
        check_name(name, self.agreed().acl)?;
        let node = self.nodes.get(op.node)?;
        let mut meta = node.meta();
        meta.permit(IMMUTABLE | APPEND)?;
        match meta.xattrs.as_mut().ok_or(Errno::ENODATA).and_then(|xattrs| xattrs.remove(name)) {
            // A list that is the mode alone is not stored, and can be removed all the same.
            Err(Errno::ENODATA) if is_acl(name) => {}
            result => result?,
        }
        meta.ctime = self.now();
        Ok(())
    }
}

const FINE: rustix::time::ClockId = rustix::time::ClockId::Realtime;
const COARSE: rustix::time::ClockId = rustix::time::ClockId::RealtimeCoarse;

impl Meta {
    /// Sets the permissions, in the access list too.
    fn chmod(&mut self, mode: u32) -> Result<()> {
        if let Ok(Some(mut acl)) = self.xattr(ACL_ACCESS).and_then(Acl::parse) {
            acl.chmod(mode);
            if let Some(xattrs) = &mut self.xattrs {
                xattrs.set(ACL_ACCESS, &acl.encode(), 0)?;
            }
        }
        self.mode = self.mode & libc::S_IFMT | mode & 0o7777;
        Ok(())
    }
}
