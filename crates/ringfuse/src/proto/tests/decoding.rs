//! The messages decode to what they mean.

use ringfuse_abi as abi;

use super::cases;
use super::wire::{Case, HEADER, NODE, RingEntry, Want, case, device, header, name, node, operation, wire};
use crate::proto::decode::{op_size, wants_no_reply};
use crate::proto::message::in_header;
use crate::proto::op::{Create, Creation, Lookup, Mkdir, Operation, SecurityContexts};
use crate::proto::{Format, Malformed, Message};
use crate::types::{Errno, NodeId, OpenFlags};

/// Opcodes that the kernel's header knows and that are no operations, each with the reason.
const NOT_SERVED: [(u32, &str); 6] = [
    (26, "INIT comes before there are operations, and is decoded apart"),
    (48, "SETUPMAPPING is for virtiofs"),
    (49, "REMOVEMAPPING is for virtiofs"),
    (4096, "CUSE_INIT is for character devices"),
    (0x0010_0000, "CUSE_INIT of the other byte order"),
    (0x1a00_0000, "INIT of the other byte order"),
];

/// All opcodes that the kernel's header has constants for.
fn known() -> Vec<u32> {
    let reserved = [abi::CUSE_INIT_BSWAP_RESERVED, abi::FUSE_INIT_BSWAP_RESERVED];
    (0..0x1_0000).chain(reserved).filter(|&opcode| abi::opcode_name(opcode).is_some()).collect()
}

#[test]
fn messages_mean_the_same_in_both_framings() {
    for case in cases::all() {
        case.check();
    }
}

#[test]
fn each_opcode_has_a_message() {
    let mut tested: Vec<u32> = cases::all().iter().map(|case| case.opcode).collect();
    tested.sort_unstable();
    tested.dedup();
    let served: Vec<u32> =
        known().into_iter().filter(|opcode| NOT_SERVED.iter().all(|(other, _)| other != opcode)).collect();
    assert_eq!(tested, served);
    assert_eq!(tested.len() + NOT_SERVED.len(), known().len());
}

#[test]
fn titles_tell_the_messages_apart() {
    let mut titles: Vec<String> = cases::all().into_iter().map(|case| case.title).collect();
    titles.sort_unstable();
    let count = titles.len();
    titles.dedup();
    assert_eq!(titles.len(), count);
}

#[test]
fn opcodes_that_are_not_served_are_refused() {
    let unknown = [0, 7, 19, 54, 4095, 4097, u32::MAX].map(|opcode| (opcode, "unknown"));
    for (opcode, why) in NOT_SERVED.into_iter().chain(unknown) {
        for payload in [wire![], wire![zero 64], wire![bytes b"name\0"]] {
            case(why, opcode, wire![], payload, Malformed::Opcode).check();
        }
        for setxattr_ext in [false, true] {
            assert_eq!(op_size(opcode, Format { setxattr_ext }), None, "{opcode}: {why}");
        }
    }
    // Nor are they decoded, where somebody made a message of one all the same.
    let bytes = header(HEADER, 26, 1, 0);
    let message = Message { header: in_header(&bytes).unwrap(), op: &[], payload: &[] };
    assert_eq!(operation(Ok(message)), Err(Malformed::Opcode));
    assert_eq!(Malformed::Opcode.errno(), Errno::ENOSYS);
}

/// The operation's struct in a ring entry is at most its area long.
#[test]
fn structs_fit_their_area() {
    for case in cases::all() {
        assert_eq!(op_size(case.opcode, case.format), Some(case.op.len()), "{}", case.title);
        assert!(case.op.len() <= 128, "{}", case.title);
    }
}

#[test]
fn the_kernel_waits_for_no_answer_to_four_operations() {
    let silent: Vec<u32> = known().into_iter().filter(|&opcode| wants_no_reply(opcode)).collect();
    // FORGET, INTERRUPT, NOTIFY_REPLY, BATCH_FORGET.
    assert_eq!(silent, [2, 36, 41, 42]);
}

/// A later kernel may send extensions with any operation.
#[test]
fn extensions_are_passed_over_where_nothing_is_created() {
    let creations = [6, 8, 9, 35, 51];
    for case in cases::all().into_iter().filter(|case| !creations.contains(&case.opcode)) {
        let extension = wire![u32 16, u32 33, bytes b"/what\0?\0"];
        Case { payload: [&case.payload[..], &extension].concat(), ..case }.extlen(2).check();
    }
}

/// Messages with every byte spelt out, headers included, on a machine of the byte order they are written in.
#[cfg(target_endian = "little")]
mod dumps {
    use super::*;

    #[test]
    fn a_lookup() {
        #[rustfmt::skip]
        let message = [
            // len 46, opcode 1, unique 6, nodeid 1
            0x2e, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x06, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
            0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
            // uid 1000, gid 1000, pid 9154, total_extlen 0
            0xe8, 0x03, 0x00, 0x00, 0xe8, 0x03, 0x00, 0x00, 0xc2, 0x23, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
            b'h', b'e', b'l', b'l', b'o', 0x00,
        ];
        let want = Operation::Lookup(Lookup { parent: NodeId::ROOT, name: name(c"hello") });
        assert_is(&message, 0, want);
    }

    /// `touch` on a mount with `SECURITY_CTX` and `CREATE_SUPP_GROUP`, on a machine without security modules.
    #[test]
    fn a_create_with_extensions() {
        #[rustfmt::skip]
        let message = [
            // len 84, opcode 35, unique 12, nodeid 3
            0x54, 0x00, 0x00, 0x00, 0x23, 0x00, 0x00, 0x00, 0x0c, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
            0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
            // uid 1000, gid 1000, pid 9154, total_extlen 3
            0xe8, 0x03, 0x00, 0x00, 0xe8, 0x03, 0x00, 0x00, 0xc2, 0x23, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00,
            // flags O_WRONLY | O_CREAT | O_NONBLOCK | O_LARGEFILE, mode 0100644, umask 022, open_flags 0
            0x41, 0x88, 0x00, 0x00, 0xa4, 0x81, 0x00, 0x00, 0x12, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
            b'n', b'e', b'w', 0x00,
            // no security context
            0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
            // one group, 27
            0x10, 0x00, 0x00, 0x00, 0x20, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x1b, 0x00, 0x00, 0x00,
        ];
        let want = Operation::Create(Create {
            parent: NodeId::new(3).unwrap(),
            name: name(c"new"),
            mode: 0o100_644,
            flags: OpenFlags(0x8841),
            kill_suidgid: false,
            creation: Creation {
                umask: 0o022,
                supplementary_group: Some(27),
                security: SecurityContexts::default(),
            },
        });
        assert_is(&message, 16, want);
    }

    fn assert_is(message: &[u8], op: usize, want: Operation<'_>) {
        let format = Format { setxattr_ext: true };
        assert_eq!(operation(device(message, format)), Ok(want));
        let entry = RingEntry::of(message, op);
        assert_eq!(operation(entry.message(format)), Ok(want));
        assert_eq!(message.len() - HEADER - op, entry.payload.len());
    }
}

/// A check that can not fail is none.
#[test]
fn a_wrong_message_is_noticed() {
    let plain = case("", 38, wire![], wire![], Operation::Destroy);
    let batch =
        |count| case("", 42, wire![u32 1, u32 0], wire![u64 2, u64 3], Want::Forgets(vec![(2, count)]));
    let mkdir = |value| {
        let area = wire![u32 24, u32 1, u32 2, u32 0, bytes b"a\0ok", zero 4];
        let want = Mkdir { parent: node(NODE), name: name(c"d"), mode: 0, creation: Creation::default() };
        let want = Want::With(Operation::Mkdir(want), vec![(c"a", value)]);
        case("", 9, wire![zero 8], [wire![bytes b"d\0"], area].concat(), want).extlen(3)
    };
    let wrong = [
        Case { opcode: 17, ..plain.clone() },
        Case { payload: vec![0], ..plain.clone() },
        Case { want: Malformed::Value.into(), ..plain.clone() },
        batch(4),
        mkdir(b"no"),
    ];
    for case in [plain, batch(3), mkdir(b"ok")] {
        case.check();
    }
    for case in wrong {
        std::panic::catch_unwind(|| case.check()).unwrap_err();
    }
}
