//! Open files and directories.

use crate::proto::op::{
    CopyFileRange, Fallocate, Flush, Fsync, Getlk, Ioctl, Lseek, Open, Operation, Poll, Read, Readdir,
    Release, Setlk, Write,
};
use crate::proto::tests::wire::{Case, NODE, case, node, wire};
use crate::types::{DirPos, Fh, Lock, LockKind, LockOwner, OpenFlags, PollHandle};

const FH: u64 = 0x1112_1314_1516_1718;
const OFFSET: u64 = 0x2122_2324_2526_2728;
const OWNER: u64 = 0x3132_3334_3536_3738;
/// `O_RDWR | O_APPEND | O_LARGEFILE`.
const FLAGS: u32 = 0o102_002;

fn opens() -> Vec<Case<'static>> {
    let open = |kill_suidgid| Open { node: node(NODE), flags: OpenFlags(FLAGS), kill_suidgid };
    let release = |flush, flock_unlock| Release {
        node: node(NODE),
        fh: Fh(FH),
        flags: OpenFlags(FLAGS),
        lock_owner: LockOwner(OWNER),
        flush,
        flock_unlock,
    };
    let release_in = |flags: u32| wire![u64 FH, u32 FLAGS, u32 flags, u64 OWNER];
    let fsync = |datasync| Fsync { node: node(NODE), fh: Fh(FH), datasync };
    vec![
        case("OPEN", 14, wire![u32 FLAGS, u32 0], wire![], Operation::Open(open(false))),
        case("OPEN that truncates", 14, wire![u32 FLAGS, u32 1], wire![], Operation::Open(open(true))),
        case("OPENDIR", 27, wire![u32 FLAGS, u32 !1], wire![], Operation::Opendir(open(false))),
        case("RELEASE", 18, release_in(0), wire![], Operation::Release(release(false, false))),
        case("RELEASE with a flush", 18, release_in(1), wire![], Operation::Release(release(true, false))),
        case("RELEASE of a flock", 18, release_in(2), wire![], Operation::Release(release(false, true))),
        case("RELEASEDIR", 29, release_in(!3), wire![], Operation::Releasedir(release(false, false))),
        case(
            "FLUSH",
            25,
            wire![u64 FH, u32 0, u32 0, u64 OWNER],
            wire![],
            Operation::Flush(Flush { node: node(NODE), fh: Fh(FH), lock_owner: LockOwner(OWNER) }),
        ),
        case("FSYNC", 20, wire![u64 FH, u32 0, u32 0], wire![], Operation::Fsync(fsync(false))),
        case("FSYNC of data", 20, wire![u64 FH, u32 1, u32 0], wire![], Operation::Fsync(fsync(true))),
        case("FSYNCDIR", 30, wire![u64 FH, u32 !1, u32 0], wire![], Operation::Fsyncdir(fsync(false))),
        case("FSYNCDIR of data", 30, wire![u64 FH, u32 1, u32 0], wire![], Operation::Fsyncdir(fsync(true))),
    ]
}

/// `fuse_read_in`, and `fuse_write_in`: 40 bytes.
fn io_in(size: u32, io_flags: u32) -> Vec<u8> {
    wire![u64 FH, u64 OFFSET, u32 size, u32 io_flags, u64 OWNER, u32 FLAGS, u32 0]
}

fn write(title: &str, write_flags: u32, data: &[u8]) -> Case<'static> {
    let want = Write {
        node: node(NODE),
        fh: Fh(FH),
        offset: OFFSET,
        size: data.len() as u32,
        lock_owner: (write_flags & 2 != 0).then_some(LockOwner(OWNER)),
        flags: OpenFlags(FLAGS),
        cache: write_flags & 1 != 0,
        kill_suidgid: write_flags & 4 != 0,
    };
    case(title, 16, io_in(data.len() as u32, write_flags), data.to_vec(), Operation::Write(want))
}

fn reads_and_writes() -> Vec<Case<'static>> {
    let read = |lock_owner| {
        Operation::Read(Read {
            node: node(NODE),
            fh: Fh(FH),
            offset: OFFSET,
            size: 0x0002_0000,
            lock_owner,
            flags: OpenFlags(FLAGS),
        })
    };
    let readdir =
        Readdir { node: node(NODE), fh: Fh(FH), pos: DirPos(OFFSET), size: 0x1000, flags: OpenFlags(FLAGS) };
    vec![
        case("READ", 15, io_in(0x0002_0000, 0), wire![], read(None)),
        case("READ by an owner", 15, io_in(0x0002_0000, 2), wire![], read(Some(LockOwner(OWNER)))),
        case("READ with unknown flags", 15, io_in(0x0002_0000, !2), wire![], read(None)),
        case("READDIR", 28, io_in(0x1000, 0), wire![], Operation::Readdir(readdir)),
        case("READDIRPLUS", 44, io_in(0x1000, 2), wire![], Operation::Readdirplus(readdir)),
        write("WRITE", 0, b"data"),
        write("WRITE of nothing", 0, b""),
        write("WRITE of zeros and slashes", 0, b"\0\0/\0"),
        write("WRITE of a page", 0, &[0xee; 4096]),
        write("WRITE from the cache", 1, b"data"),
        write("WRITE by an owner", 2, b"data"),
        write("WRITE that clears setuid", 4, b"data"),
        write("WRITE with all flags", 7, b"data"),
        write("WRITE with unknown flags", !7, b"data"),
    ]
}

/// `fuse_lk_in`, 48 bytes.
fn lk_in(kind: u32, lk_flags: u32) -> Vec<u8> {
    wire![u64 FH, u64 OWNER, u64 0x0100, u64 0x01ff, u32 kind, u32 4711, u32 lk_flags, u32 0]
}

fn locks() -> Vec<Case<'static>> {
    let getlk = |kind| {
        Operation::Getlk(Getlk {
            node: node(NODE),
            fh: Fh(FH),
            owner: LockOwner(OWNER),
            lock: Lock { start: 0x0100, end: 0x01ff, kind, pid: 4711 },
        })
    };
    let setlk = |kind, flock, wait| {
        Operation::Setlk(Setlk {
            node: node(NODE),
            fh: Fh(FH),
            owner: LockOwner(OWNER),
            lock: Lock { start: 0x0100, end: 0x01ff, kind, pid: 4711 },
            flock,
            wait,
        })
    };
    let (read, write, unlock) = (LockKind::Read, LockKind::Write, LockKind::Unlock);
    let whole = wire![u64 FH, u64 OWNER, u64 0, u64 0x7fff_ffff_ffff_ffff, u32 1, u32 0, u32 1, u32 0];
    vec![
        case("GETLK of a read lock", 31, lk_in(0, 0), wire![], getlk(read)),
        case("GETLK of a write lock", 31, lk_in(1, 0), wire![], getlk(write)),
        case("GETLK of none", 31, lk_in(2, 0), wire![], getlk(unlock)),
        case("SETLK of a read lock", 32, lk_in(0, 0), wire![], setlk(read, false, false)),
        case("SETLK of a write lock", 32, lk_in(1, 0), wire![], setlk(write, false, false)),
        case("SETLK that unlocks", 32, lk_in(2, !1), wire![], setlk(unlock, false, false)),
        case("SETLK of a flock", 32, lk_in(0, 1), wire![], setlk(read, true, false)),
        case("SETLKW of a read lock", 33, lk_in(0, 0), wire![], setlk(read, false, true)),
        case("SETLKW of a write lock", 33, lk_in(1, 0), wire![], setlk(write, false, true)),
        case("SETLKW that unlocks", 33, lk_in(2, 0), wire![], setlk(unlock, false, true)),
        case("SETLKW of a flock", 33, lk_in(1, 1), wire![], setlk(write, true, true)),
        case(
            "SETLKW of a flock on the whole file",
            33,
            whole,
            wire![],
            Operation::Setlk(Setlk {
                node: node(NODE),
                fh: Fh(FH),
                owner: LockOwner(OWNER),
                lock: Lock { start: 0, end: i64::MAX as u64, kind: write, pid: 0 },
                flock: true,
                wait: true,
            }),
        ),
    ]
}

fn ioctl(title: &str, input: &'static [u8], out_size: u32) -> Case<'static> {
    let op = wire![
        u64 FH, u32 0x10, u32 0xc008_1234, u64 0x7fff_0000_1000, u32 input.len() as u32, u32 out_size,
    ];
    let want = Operation::Ioctl(Ioctl {
        node: node(NODE),
        fh: Fh(FH),
        flags: 0x10,
        cmd: 0xc008_1234,
        arg: 0x7fff_0000_1000,
        input,
        out_size,
    });
    case(title, 39, op, input.to_vec(), want)
}

fn others() -> Vec<Case<'static>> {
    let poll = |schedule_notify| {
        Operation::Poll(Poll {
            node: node(NODE),
            fh: Fh(FH),
            kh: PollHandle(0x4142_4344_4546_4748),
            schedule_notify,
            events: 0x0041,
        })
    };
    let poll_in = |flags: u32| wire![u64 FH, u64 0x4142_4344_4546_4748, u32 flags, u32 0x0041];
    let copy = CopyFileRange {
        node: node(NODE),
        fh: Fh(FH),
        offset: OFFSET,
        out_node: node(0x5152),
        out_fh: Fh(0x6162_6364_6566_6768),
        out_offset: 0x7172_7374_7576_7778,
        len: 0x8182_8384_8586_8788,
        flags: 0x9192_9394_9596_9798,
    };
    let copy_in = wire![
        u64 FH,
        u64 OFFSET,
        u64 0x5152,
        u64 0x6162_6364_6566_6768,
        u64 0x7172_7374_7576_7778,
        u64 0x8182_8384_8586_8788,
        u64 0x9192_9394_9596_9798,
    ];
    vec![
        ioctl("IOCTL", b"in\0put", 8),
        ioctl("IOCTL without input", b"", 0x3fff),
        case("POLL", 40, poll_in(0), wire![], poll(false)),
        case("POLL that waits", 40, poll_in(1), wire![], poll(true)),
        case("POLL with unknown flags", 40, poll_in(!1), wire![], poll(false)),
        case(
            "FALLOCATE",
            43,
            wire![u64 FH, u64 OFFSET, u64 0x0001_0000_0000, u32 3, u32 0],
            wire![],
            Operation::Fallocate(Fallocate {
                node: node(NODE),
                fh: Fh(FH),
                offset: OFFSET,
                length: 0x0001_0000_0000,
                mode: 3,
            }),
        ),
        case(
            "LSEEK",
            46,
            wire![u64 FH, u64 OFFSET, u32 4, u32 0],
            wire![],
            Operation::Lseek(Lseek { node: node(NODE), fh: Fh(FH), offset: OFFSET, whence: 4 }),
        ),
        case("COPY_FILE_RANGE", 47, copy_in.clone(), wire![], Operation::CopyFileRange(copy)),
        case("COPY_FILE_RANGE_64", 53, copy_in, wire![], Operation::CopyFileRange64(copy)),
    ]
}

pub(super) fn cases() -> Vec<Case<'static>> {
    [opens(), reads_and_writes(), locks(), others()].concat()
}
