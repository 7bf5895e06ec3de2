//! `GETATTR`, `STATX`, `SETATTR`, `ACCESS`, and extended attributes.

use crate::proto::op::{
    Access, Getattr, Getxattr, Listxattr, Operation, Removexattr, Setattr, Setxattr, Statx,
};
use crate::proto::tests::wire::{Case, NODE, case, node, wire};
use crate::types::{Fh, LockOwner, SetTime, Timestamp};

const FH: u64 = 0x1112_1314_1516_1718;
const SIZE: u64 = 0x2122_2324_2526_2728;
const OWNER: u64 = 0x3132_3334_3536_3738;
const ATIME: i64 = 0x4142_4344_4546_4748;
const MTIME: i64 = -2;
const CTIME: i64 = 0x6162_6364_6566_6768;

/// `fuse_setattr_in`, 88 bytes, all of its fields set: `valid` tells which are meant.
fn setattr_in(valid: u32) -> Vec<u8> {
    wire![
        u32 valid,
        u32 0xffff_ffff,
        u64 FH,
        u64 SIZE,
        u64 OWNER,
        i64 ATIME,
        i64 MTIME,
        i64 CTIME,
        u32 101,
        u32 102,
        u32 103,
        u32 0o100_640,
        u32 0xffff_ffff,
        u32 1001,
        u32 1002,
        u32 0xffff_ffff,
    ]
}

fn setattr(title: &str, valid: u32, want: Setattr) -> Case<'static> {
    case(format!("SETATTR of {title}"), 4, setattr_in(valid), wire![], Operation::Setattr(want))
}

fn setattrs() -> Vec<Case<'static>> {
    let nothing = Setattr {
        node: node(NODE),
        fh: None,
        mode: None,
        uid: None,
        gid: None,
        size: None,
        atime: None,
        mtime: None,
        ctime: None,
        lock_owner: None,
        kill_suidgid: false,
    };
    let atime = Some(SetTime::At(Timestamp { secs: ATIME, nanos: 101 }));
    let mtime = Some(SetTime::At(Timestamp { secs: MTIME, nanos: 102 }));
    let ctime = Some(Timestamp { secs: CTIME, nanos: 103 });
    let now = Some(SetTime::Now);
    let mut cases = vec![
        setattr("nothing", 0, nothing),
        setattr("mode", 1 << 0, Setattr { mode: Some(0o100_640), ..nothing }),
        setattr("uid", 1 << 1, Setattr { uid: Some(1001), ..nothing }),
        setattr("gid", 1 << 2, Setattr { gid: Some(1002), ..nothing }),
        setattr("size", 1 << 3, Setattr { size: Some(SIZE), ..nothing }),
        setattr("atime", 1 << 4, Setattr { atime, ..nothing }),
        setattr("mtime, before the epoch", 1 << 5, Setattr { mtime, ..nothing }),
        setattr("nothing, by a handle", 1 << 6, Setattr { fh: Some(Fh(FH)), ..nothing }),
        setattr("atime, now", 1 << 4 | 1 << 7, Setattr { atime: now, ..nothing }),
        setattr("mtime, now", 1 << 5 | 1 << 8, Setattr { mtime: now, ..nothing }),
        setattr("a now that belongs to no time", 1 << 7 | 1 << 8, nothing),
        setattr("both, one now", 1 << 4 | 1 << 5 | 1 << 8, Setattr { atime, mtime: now, ..nothing }),
        setattr("both, the other now", 1 << 4 | 1 << 5 | 1 << 7, Setattr { atime: now, mtime, ..nothing }),
        setattr("nothing, with an owner", 1 << 9, Setattr { lock_owner: Some(LockOwner(OWNER)), ..nothing }),
        setattr("ctime", 1 << 10, Setattr { ctime, ..nothing }),
        setattr("setuid and setgid", 1 << 11, Setattr { kill_suidgid: true, ..nothing }),
        setattr("nothing that is known", !0xfff, nothing),
        setattr(
            "all",
            0xfff & !(1 << 7 | 1 << 8),
            Setattr {
                node: node(NODE),
                fh: Some(Fh(FH)),
                mode: Some(0o100_640),
                uid: Some(1001),
                gid: Some(1002),
                size: Some(SIZE),
                atime,
                mtime,
                ctime,
                lock_owner: Some(LockOwner(OWNER)),
                kill_suidgid: true,
            },
        ),
    ];
    let whole = wire![
        u32 1 << 4, u32 0, u64 0, u64 0, u64 0, u64 5, u64 0, u64 0, u32 1_000_000_000, zero 28,
    ];
    let cut = Some(SetTime::At(Timestamp { secs: 5, nanos: 999_999_999 }));
    let want = Operation::Setattr(Setattr { atime: cut, ..nothing });
    cases.push(case("SETATTR of a whole second of nanoseconds", 4, whole, wire![], want));
    cases
}

fn statx(title: &str, flags: u32, fh: Option<Fh>) -> Case<'static> {
    let op = wire![u32 flags, u32 0, u64 FH, u32 0x2000, u32 0xfff];
    let want = Operation::Statx(Statx { node: node(NODE), fh, flags: 0x2000, mask: 0xfff });
    case(title, 52, op, wire![], want)
}

fn setxattr(title: &str, op: Vec<u8>, value: &'static [u8], flags: u32, kill: bool) -> Case<'static> {
    let want = Operation::Setxattr(Setxattr {
        node: node(NODE),
        name: c"user.key",
        value,
        flags,
        acl_kill_sgid: kill,
    });
    case(title, 21, op, wire![bytes b"user.key\0", bytes value], want)
}

pub(super) fn cases() -> Vec<Case<'static>> {
    let getattr = |fh| Operation::Getattr(Getattr { node: node(NODE), fh });
    let mut cases = setattrs();
    cases.extend([
        case("GETATTR", 3, wire![u32 0, u32 0, u64 FH], wire![], getattr(None)),
        case("GETATTR by a handle", 3, wire![u32 1, u32 0, u64 FH], wire![], getattr(Some(Fh(FH)))),
        case("GETATTR by handle zero", 3, wire![u32 1, u32 0, u64 0], wire![], getattr(Some(Fh(0)))),
        case("GETATTR with unknown flags", 3, wire![u32 !1, u32 !0, u64 FH], wire![], getattr(None)),
        statx("STATX", 0, None),
        statx("STATX by a handle", 1, Some(Fh(FH))),
        case(
            "ACCESS",
            34,
            wire![u32 5, u32 0],
            wire![],
            Operation::Access(Access { node: node(NODE), mask: 5 }),
        ),
        setxattr("SETXATTR", wire![u32 5, u32 0, u32 0, u32 0], b"value", 0, false),
        setxattr("SETXATTR that creates", wire![u32 5, u32 1, u32 0, u32 0], b"va\0ue", 1, false),
        setxattr("SETXATTR of an ACL", wire![u32 3, u32 2, u32 1, u32 0], b"acl", 2, true),
        setxattr("SETXATTR of nothing", wire![u32 0, u32 0, u32 !1, u32 !0], b"", 0, false),
        setxattr("SETXATTR of 8 bytes", wire![u32 5, u32 2], b"value", 2, false).setxattr_ext(false),
        setxattr("SETXATTR of 8 bytes, of nothing", wire![u32 0, u32 0], b"", 0, false).setxattr_ext(false),
        case(
            "GETXATTR",
            22,
            wire![u32 4096, u32 0],
            wire![bytes b"security.capability\0"],
            Operation::Getxattr(Getxattr { node: node(NODE), name: c"security.capability", size: 4096 }),
        ),
        case(
            "GETXATTR of a length",
            22,
            wire![u32 0, u32 0],
            wire![bytes b"user.\xff/\0"],
            Operation::Getxattr(Getxattr { node: node(NODE), name: c"user.\xff/", size: 0 }),
        ),
        case(
            "LISTXATTR",
            23,
            wire![u32 65_536, u32 0],
            wire![],
            Operation::Listxattr(Listxattr { node: node(NODE), size: 65_536 }),
        ),
        case(
            "REMOVEXATTR",
            24,
            wire![],
            wire![bytes b"user.key\0"],
            Operation::Removexattr(Removexattr { node: node(NODE), name: c"user.key" }),
        ),
    ]);
    cases
}
