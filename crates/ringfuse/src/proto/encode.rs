//! From replies to bytes.

use std::time::Duration;

use ringfuse_abi as abi;
use zerocopy::{Immutable, IntoBytes};

use crate::types::{
    Attr, AttrReply, Entry, FileType, Lock, LockKind, Opened, Statfs, StatxReply, Timestamp, Written,
};

/// A reply's body. What is encoded is always one or two of the kernel's fixed-size structs.
pub(crate) trait Reply {
    /// Writes the body to the start of `out` and returns its length. `out` has room for any reply.
    fn encode(&self, out: &mut [u8]) -> usize;
}

fn put<T: IntoBytes + Immutable>(out: &mut [u8], value: &T) -> usize {
    let bytes = value.as_bytes();
    out[..bytes.len()].copy_from_slice(bytes);
    bytes.len()
}

/// The common header of a reply or, with a positive code as `error`, of a notification.
pub(crate) fn out_header(unique: u64, error: i32, body: usize) -> abi::fuse_out_header {
    abi::fuse_out_header { len: (size_of::<abi::fuse_out_header>() + body) as u32, error, unique }
}

fn attr(attr: &Attr) -> abi::fuse_attr {
    abi::fuse_attr {
        ino: attr.ino,
        size: attr.size,
        blocks: attr.blocks,
        atime: attr.atime.secs as u64,
        mtime: attr.mtime.secs as u64,
        ctime: attr.ctime.secs as u64,
        atimensec: attr.atime.nanos,
        mtimensec: attr.mtime.nanos,
        ctimensec: attr.ctime.nanos,
        mode: attr.mode,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev,
        blksize: attr.blksize,
        flags: 0,
    }
}

fn ttl(duration: Duration) -> (u64, u32) {
    (duration.as_secs(), duration.subsec_nanos())
}

pub(super) fn entry(entry: &Entry) -> abi::fuse_entry_out {
    let (entry_valid, entry_valid_nsec) = ttl(entry.entry_ttl);
    let (attr_valid, attr_valid_nsec) = ttl(entry.attr_ttl);
    abi::fuse_entry_out {
        nodeid: entry.node.map_or(0, |node| node.get()),
        generation: entry.generation.get(),
        entry_valid,
        attr_valid,
        entry_valid_nsec,
        attr_valid_nsec,
        attr: attr(&entry.attr),
    }
}

fn sx_time(time: Timestamp) -> abi::fuse_sx_time {
    abi::fuse_sx_time { tv_sec: time.secs, tv_nsec: time.nanos, ..Default::default() }
}

impl Reply for () {
    fn encode(&self, _: &mut [u8]) -> usize {
        0
    }
}

impl Reply for Entry {
    fn encode(&self, out: &mut [u8]) -> usize {
        put(out, &entry(self))
    }
}

impl Reply for AttrReply {
    fn encode(&self, out: &mut [u8]) -> usize {
        let (attr_valid, attr_valid_nsec) = ttl(self.ttl);
        put(out, &abi::fuse_attr_out { attr_valid, attr_valid_nsec, dummy: 0, attr: attr(&self.attr) })
    }
}

impl Reply for StatxReply {
    fn encode(&self, out: &mut [u8]) -> usize {
        let (attr_valid, attr_valid_nsec) = ttl(self.ttl);
        let (statx, attr) = (&self.statx, &self.statx.attr);
        let (rdev_major, rdev_minor) = Attr::decode_dev(attr.rdev);
        let stat = abi::fuse_statx {
            mask: statx.mask,
            blksize: attr.blksize,
            attributes: statx.attributes,
            nlink: attr.nlink,
            uid: attr.uid,
            gid: attr.gid,
            mode: attr.mode as u16,
            ino: attr.ino,
            size: attr.size,
            blocks: attr.blocks,
            attributes_mask: statx.attributes_mask,
            atime: sx_time(attr.atime),
            btime: sx_time(statx.btime),
            ctime: sx_time(attr.ctime),
            mtime: sx_time(attr.mtime),
            rdev_major,
            rdev_minor,
            ..Default::default()
        };
        put(out, &abi::fuse_statx_out { attr_valid, attr_valid_nsec, stat, ..Default::default() })
    }
}

impl Reply for Opened {
    fn encode(&self, out: &mut [u8]) -> usize {
        let backing_id = self.backing_id().map_or(0, |id| id.get());
        put(out, &abi::fuse_open_out { fh: self.fh().get(), open_flags: self.flags(), backing_id })
    }
}

impl Reply for (Entry, Opened) {
    fn encode(&self, out: &mut [u8]) -> usize {
        let len = self.0.encode(out);
        len + self.1.encode(&mut out[len..])
    }
}

impl Reply for Written {
    fn encode(&self, out: &mut [u8]) -> usize {
        put(out, &abi::fuse_write_out { size: self.len(), padding: 0 })
    }
}

impl Reply for Statfs {
    fn encode(&self, out: &mut [u8]) -> usize {
        let st = abi::fuse_kstatfs {
            blocks: self.blocks,
            bfree: self.bfree,
            bavail: self.bavail,
            files: self.files,
            ffree: self.ffree,
            bsize: self.bsize,
            namelen: self.namelen,
            frsize: self.frsize,
            ..Default::default()
        };
        put(out, &abi::fuse_statfs_out { st })
    }
}

impl Reply for Lock {
    fn encode(&self, out: &mut [u8]) -> usize {
        let kind = match self.kind {
            LockKind::Read => libc::F_RDLCK,
            LockKind::Write => libc::F_WRLCK,
            LockKind::Unlock => libc::F_UNLCK,
        };
        let lk = abi::fuse_file_lock { start: self.start, end: self.end, r#type: kind as u32, pid: self.pid };
        put(out, &abi::fuse_lk_out { lk })
    }
}

/// The length of an extended attribute or of a list of them, where that is all that was asked for.
pub(crate) struct XattrLen(pub(crate) u32);

impl Reply for XattrLen {
    fn encode(&self, out: &mut [u8]) -> usize {
        put(out, &abi::fuse_getxattr_out { size: self.0, padding: 0 })
    }
}

/// An offset found by `lseek`.
pub(crate) struct Offset(pub(crate) u64);

impl Reply for Offset {
    fn encode(&self, out: &mut [u8]) -> usize {
        put(out, &abi::fuse_lseek_out { offset: self.0 })
    }
}

/// A block found by `bmap`.
pub(crate) struct Block(pub(crate) u64);

impl Reply for Block {
    fn encode(&self, out: &mut [u8]) -> usize {
        put(out, &abi::fuse_bmap_out { block: self.0 })
    }
}

/// Events found by `poll`.
pub(crate) struct Events(pub(crate) u32);

impl Reply for Events {
    fn encode(&self, out: &mut [u8]) -> usize {
        put(out, &abi::fuse_poll_out { revents: self.0, padding: 0 })
    }
}

/// The number of bytes copied, in 64 bits.
pub(crate) struct Copied(pub(crate) u64);

impl Reply for Copied {
    fn encode(&self, out: &mut [u8]) -> usize {
        put(out, &abi::fuse_copy_file_range_out { bytes_copied: self.0 })
    }
}

/// The fixed part of an `ioctl` reply; the data stands behind it.
pub(crate) struct IoctlResult(pub(crate) i32);

impl IoctlResult {
    pub(crate) const SIZE: usize = size_of::<abi::fuse_ioctl_out>();
}

impl Reply for IoctlResult {
    fn encode(&self, out: &mut [u8]) -> usize {
        put(out, &abi::fuse_ioctl_out { result: self.0, flags: 0, in_iovs: 0, out_iovs: 0 })
    }
}

/// The `DT_*` of a directory entry.
pub(super) fn dirent_type(kind: Option<FileType>) -> u32 {
    kind.map_or(u32::from(libc::DT_UNKNOWN), FileType::dirent_type)
}
