//! `SYMLINK`, `MKNOD`, `MKDIR`, `CREATE`, `TMPFILE`: names with extensions behind them.

use crate::proto::op::{Create, Creation, Mkdir, Mknod, Operation, SecurityContexts, Symlink, Tmpfile};
use crate::proto::tests::wire::{Case, Context, NODE, Want, case, name, node, wire};
use crate::types::OpenFlags;

const UMASK: u32 = 0o027;

/// What may follow the name.
struct Extension {
    title: &'static str,
    bytes: Vec<u8>,
    group: Option<u32>,
    contexts: &'static [Context<'static>],
}

const SELINUX: Context<'static> = (c"security.selinux", b"system_u:object_r:tmp_t:s0\0");
const SMACK: Context<'static> = (c"security.SMACK64", b"_");
const WHOLE: Context<'static> = (c"y", b"\0value");
const BARE: Context<'static> = (c"x", b"");

/// 8 bytes of header; then 8 of context, 17 of name, 27 of value, and 4 that fill up the last word.
fn selinux() -> Vec<u8> {
    wire![
        u32 64, u32 1,
        u32 27, u32 0, bytes b"security.selinux\0", bytes b"system_u:object_r:tmp_t:s0\0", zero 4,
    ]
}

fn group() -> Vec<u8> {
    wire![u32 16, u32 32, u32 1, u32 0x0000_2710]
}

fn later() -> Vec<u8> {
    wire![u32 24, u32 33, u64 u64::MAX, bytes b"\0/\0\0\0\0\0\0"]
}

fn extensions() -> Vec<Extension> {
    let of = |title, bytes, group, contexts| Extension { title, bytes, group, contexts };
    let gid = Some(0x0000_2710);
    vec![
        of("nothing", wire![], None, &[]),
        of("no context", wire![u32 8, u32 0], None, &[]),
        of("a context", selinux(), None, &[SELINUX]),
        of("a group", group(), gid, &[]),
        of("a context and a group", [selinux(), group()].concat(), gid, &[SELINUX]),
        of("no context and a group", [wire![u32 8, u32 0], group()].concat(), gid, &[]),
        of("an unknown extension", later(), None, &[]),
        of(
            "a context, an unknown extension, a group",
            [selinux(), later(), group()].concat(),
            gid,
            &[SELINUX],
        ),
        of("a group and a context", [group(), selinux()].concat(), gid, &[SELINUX]),
        of(
            "three contexts, the first without padding",
            wire![
                u32 72, u32 3,
                u32 6, u32 0, bytes b"y\0", bytes b"\0value",
                u32 1, u32 0, bytes b"security.SMACK64\0", bytes b"_", zero 6,
                u32 0, u32 0, bytes b"x\0", zero 6,
            ],
            None,
            &[WHOLE, SMACK, BARE],
        ),
        of("no groups", wire![u32 16, u32 32, u32 0, u32 0], None, &[]),
        of("more groups than one", wire![u32 24, u32 32, u32 3, u32 0x0000_2710, u32 2, u32 3], gid, &[]),
    ]
}

/// Title, opcode, struct, arguments, and meaning of one operation.
type Message = (&'static str, u32, Vec<u8>, Vec<u8>, Operation<'static>);

fn symlink(creation: Creation<'static>) -> Message {
    let want = Operation::Symlink(Symlink {
        parent: node(NODE),
        name: name(c"link"),
        target: c"/to/\xff",
        creation: Creation { umask: 0, ..creation },
    });
    ("SYMLINK", 6, wire![], wire![bytes b"link\0", bytes b"/to/\xff\0"], want)
}

fn mknod(creation: Creation<'static>) -> Message {
    let want = Operation::Mknod(Mknod {
        parent: node(NODE),
        name: name(c"null"),
        mode: 0o020_666,
        rdev: 0x0103,
        creation,
    });
    ("MKNOD", 8, wire![u32 0o020_666, u32 0x0103, u32 UMASK, u32 0], wire![bytes b"null\0"], want)
}

fn mkdir(creation: Creation<'static>) -> Message {
    let want = Operation::Mkdir(Mkdir { parent: node(NODE), name: name(c"d"), mode: 0o1755, creation });
    ("MKDIR", 9, wire![u32 0o1755, u32 UMASK], wire![bytes b"d\0"], want)
}

fn create(creation: Creation<'static>) -> Message {
    let want = Operation::Create(Create {
        parent: node(NODE),
        name: name(c"new file"),
        mode: 0o100_644,
        flags: OpenFlags(0o100_301),
        kill_suidgid: false,
        creation,
    });
    let op = wire![u32 0o100_301, u32 0o100_644, u32 UMASK, u32 0];
    ("CREATE", 35, op, wire![bytes b"new file\0"], want)
}

fn create_truncating(creation: Creation<'static>) -> Message {
    let want = Operation::Create(Create {
        parent: node(NODE),
        name: name(c"old"),
        mode: 0o100_600,
        flags: OpenFlags(0o1001),
        kill_suidgid: true,
        creation,
    });
    let op = wire![u32 0o1001, u32 0o100_600, u32 UMASK, u32 1];
    ("CREATE that truncates", 35, op, wire![bytes b"old\0"], want)
}

fn tmpfile(creation: Creation<'static>) -> Message {
    let want = Operation::Tmpfile(Tmpfile {
        parent: node(NODE),
        mode: 0o100_600,
        flags: OpenFlags(0o20_200_002),
        creation,
    });
    // The kernel's placeholder for a name.
    let op = wire![u32 0o20_200_002, u32 0o100_600, u32 UMASK, u32 0];
    ("TMPFILE", 51, op, wire![bytes b"/\0"], want)
}

const MESSAGES: [fn(Creation<'static>) -> Message; 6] =
    [symlink, mknod, mkdir, create, create_truncating, tmpfile];

pub(super) fn cases() -> Vec<Case<'static>> {
    let mut cases = Vec::new();
    for message in MESSAGES {
        for extension in extensions() {
            let Extension { title, bytes, group: supplementary_group, contexts } = extension;
            let security = SecurityContexts::default();
            let (op_title, opcode, op, args, want) =
                message(Creation { umask: UMASK, supplementary_group, security });
            let title = format!("{op_title} with {title}");
            let plain = args.len();
            let with = |args: &Vec<u8>| [args.clone(), bytes.clone()].concat();
            let want = Want::With(want, contexts.to_vec());
            let extlen = (bytes.len() / 8) as u16;
            cases.push(case(&title, opcode, op.clone(), with(&args), want.clone()).extlen(extlen));
            // From Linux 5.17 to 6.2 there were contexts, and no word of it in the header.
            if supplementary_group.is_none() && extlen != 0 {
                let title = format!("{title}, of an older kernel");
                cases.push(case(&title, opcode, op, with(&args), want).cuts(&[plain]));
            }
        }
    }
    cases
}
