//! Replies as the kernel reads them. It takes a fixed-size reply of its exact length alone.

use std::sync::Arc;
use std::time::Duration;

use super::wire::{STALE, node, wire};
use crate::proto::encode::{Block, Copied, Events, IoctlResult, Offset, Reply, XattrLen, out_header};
use crate::types::{
    Attr, AttrReply, BackingId, Entry, Fh, FileType, Generation, Lock, LockKind, Opened, Statfs, Statx,
    StatxReply, Timestamp, Written,
};

/// Attributes of which each is another number.
fn attr() -> Attr {
    let mut attr = Attr::new(0x0102_0304_0506_0708, FileType::Regular);
    attr.size = 0x1112_1314_1516_1718;
    attr.blocks = 0x2122_2324_2526_2728;
    attr.atime = Timestamp { secs: 0x3132_3334_3536_3738, nanos: 101 };
    attr.mtime = Timestamp { secs: -2, nanos: 102 };
    attr.ctime = Timestamp { secs: 0x5152_5354_5556_5758, nanos: 103 };
    attr.mode = 0o100_640;
    attr.nlink = 0x0061;
    attr.uid = 0x0062;
    attr.gid = 0x0063;
    attr.rdev = 0x0123_4567;
    attr.blksize = 0x0064;
    attr
}

/// `fuse_attr`, 88 bytes.
fn attr_bytes() -> Vec<u8> {
    wire![
        u64 0x0102_0304_0506_0708,
        u64 0x1112_1314_1516_1718,
        u64 0x2122_2324_2526_2728,
        u64 0x3132_3334_3536_3738,
        u64 0xffff_ffff_ffff_fffe,
        u64 0x5152_5354_5556_5758,
        u32 101,
        u32 102,
        u32 103,
        u32 0x81a0,
        u32 0x61,
        u32 0x62,
        u32 0x63,
        u32 0x0123_4567,
        u32 0x64,
        u32 0,
    ]
}

pub(super) fn some_entry() -> Entry {
    Entry::new(node(0x7172_7374_7576_7778), attr())
        .generation(Generation(0x8182_8384_8586_8788))
        .entry_ttl(Duration::new(0x0091, 0x0092))
        .attr_ttl(Duration::new(0x0093, 0x0094))
}

/// An entry and its `fuse_entry_out`, 128 bytes.
pub(super) fn entry() -> (Entry, Vec<u8>) {
    let bytes = wire![
        u64 0x7172_7374_7576_7778,
        u64 0x8182_8384_8586_8788,
        u64 0x91,
        u64 0x93,
        u32 0x92,
        u32 0x94,
        bytes attr_bytes(),
    ];
    (some_entry(), bytes)
}

fn negative() -> (Entry, Vec<u8>) {
    let bytes = wire![
        u64 0, u64 0, u64 9, u64 0, u32 500_000_000, u32 0,
        // A file of no size: what is said of what is not there does not matter.
        zero 60, u32 0o100_644, u32 1, zero 20,
    ];
    (Entry::negative(Duration::from_millis(9500)), bytes)
}

fn opened() -> (Opened, Vec<u8>) {
    let opened = Opened::new(Fh(0xa1a2_a3a4_a5a6_a7a8)).direct_io().cache_dir();
    (opened, wire![u64 0xa1a2_a3a4_a5a6_a7a8, u32 1 | 8, u32 0])
}

fn open_with(flags: Opened, bits: u32) -> (&'static str, Box<dyn Reply>, Vec<u8>) {
    ("open_out with a flag", Box::new(flags), wire![u64 7, u32 bits, u32 0])
}

fn statx() -> (StatxReply, Vec<u8>) {
    let statx = Statx::from(attr())
        .btime(Timestamp { secs: 0x6162_6364_6566_6768, nanos: 104 })
        .attributes(0xc1c2_c3c4_c5c6_c7c8, 0xd1d2_d3d4_d5d6_d7d8);
    let bytes = wire![
        u64 0x95, u32 0x96, u32 0,
        zero 16,
        // mask: the basic ones, and btime
        u32 0xfff, u32 0x64, u64 0xc1c2_c3c4_c5c6_c7c8,
        u32 0x61, u32 0x62, u32 0x63, u16 0x81a0, u16 0,
        u64 0x0102_0304_0506_0708, u64 0x1112_1314_1516_1718, u64 0x2122_2324_2526_2728,
        u64 0xd1d2_d3d4_d5d6_d7d8,
        // atime, btime, ctime, mtime
        i64 0x3132_3334_3536_3738, u32 101, i32 0,
        i64 0x6162_6364_6566_6768, u32 104, i32 0,
        i64 0x5152_5354_5556_5758, u32 103, i32 0,
        i64 -2, u32 102, i32 0,
        // rdev, dev
        u32 0x345, u32 0x1267, u32 0, u32 0,
        zero 112,
    ];
    (StatxReply::new(statx).ttl(Duration::new(0x95, 0x96)), bytes)
}

fn statfs() -> (Statfs, Vec<u8>) {
    let statfs = Statfs {
        blocks: 0x0102_0304_0506_0708,
        bfree: 0x1112_1314_1516_1718,
        bavail: 0x2122_2324_2526_2728,
        files: 0x3132_3334_3536_3738,
        ffree: 0x4142_4344_4546_4748,
        bsize: 0x5152_5354,
        namelen: 0x6162_6364,
        frsize: 0x7172_7374,
    };
    let bytes = wire![
        u64 0x0102_0304_0506_0708,
        u64 0x1112_1314_1516_1718,
        u64 0x2122_2324_2526_2728,
        u64 0x3132_3334_3536_3738,
        u64 0x4142_4344_4546_4748,
        u32 0x5152_5354,
        u32 0x6162_6364,
        u32 0x7172_7374,
        u32 0,
        zero 24,
    ];
    (statfs, bytes)
}

/// Each reply with its bytes.
pub(super) fn replies() -> Vec<(&'static str, Box<dyn Reply>, Vec<u8>)> {
    let lock = |kind| Box::new(Lock { start: 0x0102, end: i64::MAX as u64, kind, pid: 4711 });
    let lk_out = |kind: u32| wire![u64 0x0102, u64 0x7fff_ffff_ffff_ffff, u32 kind, u32 4711];
    let (some, some_bytes) = entry();
    let (none, none_bytes) = negative();
    let (open, open_bytes) = opened();
    let (statx, statx_bytes) = statx();
    let (statfs, statfs_bytes) = statfs();
    let created = [&some_bytes[..], &open_bytes].concat();
    let forever = wire![u64 u64::MAX, u32 999_999_999, u32 0, bytes attr_bytes()];
    let seven = || Opened::new(Fh(7));
    vec![
        ("nothing", Box::new(()), wire![]),
        ("entry_out", Box::new(some), some_bytes),
        ("entry_out of no entry", Box::new(none), none_bytes),
        (
            "attr_out",
            Box::new(AttrReply::new(attr()).ttl(Duration::new(0x97, 0x98))),
            wire![u64 0x97, u32 0x98, u32 0, bytes attr_bytes()],
        ),
        ("attr_out for ever", Box::new(AttrReply::new(attr()).ttl(Duration::MAX)), forever),
        ("attr_out by default", Box::new(AttrReply::from(attr())), wire![u64 1, u64 0, bytes attr_bytes()]),
        ("statx_out", Box::new(statx), statx_bytes),
        ("open_out", Box::new(open.clone()), open_bytes),
        open_with(seven(), 0),
        open_with(seven().direct_io(), 1),
        open_with(seven().keep_cache(), 2),
        open_with(seven().nonseekable(), 4),
        open_with(seven().cache_dir(), 8),
        open_with(seven().stream(), 16),
        open_with(seven().no_flush(), 32),
        open_with(seven().direct_io().parallel_direct_writes(), 65),
        (
            "open_out of a backing file",
            Box::new(seven().with_backing(BackingId::new(0x0102_0304), Arc::new(()))),
            wire![u64 7, u32 128, i32 0x0102_0304],
        ),
        ("entry_out and open_out", Box::new((some, open)), created),
        ("write_out", Box::new(Written::new(0x0102_0304)), wire![u32 0x0102_0304, u32 0]),
        ("statfs_out", Box::new(statfs), statfs_bytes),
        ("lk_out of a read lock", lock(LockKind::Read), lk_out(0)),
        ("lk_out of a write lock", lock(LockKind::Write), lk_out(1)),
        ("lk_out of no lock", lock(LockKind::Unlock), lk_out(2)),
        ("lk_out of nothing in the way", Box::new(Lock::free()), wire![u64 0, u64 0, u32 2, u32 0]),
        ("getxattr_out", Box::new(XattrLen(0x0102_0304)), wire![u32 0x0102_0304, u32 0]),
        ("lseek_out", Box::new(Offset(0x0102_0304_0506_0708)), wire![u64 0x0102_0304_0506_0708]),
        ("bmap_out", Box::new(Block(0x0102_0304_0506_0708)), wire![u64 0x0102_0304_0506_0708]),
        ("poll_out", Box::new(Events(0x0102_0304)), wire![u32 0x0102_0304, u32 0]),
        ("copy_file_range_out", Box::new(Copied(0x0102_0304_0506_0708)), wire![u64 0x0102_0304_0506_0708]),
        ("ioctl_out", Box::new(IoctlResult(0x0102_0304)), wire![i32 0x0102_0304, u32 0, u32 0, u32 0]),
        ("ioctl_out of an error", Box::new(IoctlResult(-25)), wire![i32 -25, u32 0, u32 0, u32 0]),
    ]
}

#[test]
fn replies_are_what_the_kernel_reads() {
    for (title, reply, want) in replies() {
        let mut out = [STALE; 512];
        let len = reply.encode(&mut out);
        assert_eq!(out[..len], want, "{title}");
        assert!(out[len..].iter().all(|&byte| byte == STALE), "{title} writes beyond its end");
    }
}

#[test]
fn replies_need_no_more_room_than_they_have_bytes() {
    for (title, reply, want) in replies() {
        let mut out = vec![STALE; want.len()];
        assert_eq!(reply.encode(&mut out), want.len(), "{title}");
        assert_eq!(out, want, "{title}");
    }
}

/// The sizes that the kernel insists on.
#[test]
fn replies_have_their_sizes() {
    let sizes = [
        ("nothing", 0),
        ("entry_out", 128),
        ("attr_out", 104),
        ("statx_out", 288),
        ("open_out", 16),
        ("entry_out and open_out", 144),
        ("write_out", 8),
        ("statfs_out", 80),
        ("lk_out of no lock", 24),
        ("getxattr_out", 8),
        ("lseek_out", 8),
        ("bmap_out", 8),
        ("poll_out", 8),
        ("copy_file_range_out", 8),
        ("ioctl_out", 16),
    ];
    let replies = replies();
    for (title, size) in sizes {
        let (_, reply, _) = replies.iter().find(|(other, _, _)| *other == title).unwrap();
        assert_eq!(reply.encode(&mut [0; 512]), size, "{title}");
    }
    assert_eq!(IoctlResult::SIZE, 16);
}

#[test]
fn the_header_of_a_reply_has_its_length() {
    use zerocopy::IntoBytes;
    for (unique, error, body, want) in [
        (0x0102_0304_0506_0708, 0, 0, wire![u32 16, i32 0, u64 0x0102_0304_0506_0708]),
        (6, 0, 144, wire![u32 160, i32 0, u64 6]),
        (7, -2, 0, wire![u32 16, i32 -2, u64 7]),
        (u64::MAX, -511, 1 << 20, wire![u32 0x0010_0010, i32 -511, u64 u64::MAX]),
    ] {
        assert_eq!(out_header(unique, error, body).as_bytes(), want);
    }
}
