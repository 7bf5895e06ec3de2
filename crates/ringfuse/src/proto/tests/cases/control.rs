//! Lookup counts, interrupts, answers to notifications, and what concerns the mount as a whole.

use crate::proto::op::{Bmap, Forget, Interrupt, NotifyReply, Operation, Statfs, Syncfs};
use crate::proto::tests::wire::{Case, NODE, UNIQUE, Want, case, node, wire};
use crate::types::Unique;

pub(super) fn cases() -> Vec<Case<'static>> {
    let many: Vec<(u64, u64)> = (1..=500).map(|i| (i * 3, i * i)).collect();
    let many_bytes = many.iter().flat_map(|&(node, count)| wire![u64 node, u64 count]).collect();
    vec![
        case(
            "FORGET",
            2,
            wire![u64 0x0a0b_0c0d_0e0f_1011],
            wire![],
            Operation::Forget(Forget { node: node(NODE), nlookup: 0x0a0b_0c0d_0e0f_1011 }),
        ),
        case("BATCH_FORGET of none", 42, wire![u32 0, u32 0], wire![], Want::Forgets(vec![])).nodeid(0),
        case(
            "BATCH_FORGET of one",
            42,
            wire![u32 1, u32 0],
            wire![u64 0x11, u64 0x21],
            Want::Forgets(vec![(0x11, 0x21)]),
        )
        .nodeid(0),
        case(
            "BATCH_FORGET of three, the second of no node",
            42,
            wire![u32 3, u32 0],
            wire![u64 0x11, u64 0x21, u64 0, u64 7, u64 u64::MAX, u64 u64::MAX],
            Want::Forgets(vec![(0x11, 0x21), (u64::MAX, u64::MAX)]),
        )
        .nodeid(0),
        case("BATCH_FORGET of many", 42, wire![u32 500, u32 0], many_bytes, Want::Forgets(many)).nodeid(0),
        case(
            "INTERRUPT",
            36,
            wire![u64 0x3132_3334_3536_3738],
            wire![],
            Operation::Interrupt(Interrupt { unique: Unique(0x3132_3334_3536_3738) }),
        )
        .nodeid(0),
        // All of it is in the payload of a ring entry, the struct too.
        case(
            "NOTIFY_REPLY",
            41,
            wire![],
            wire![u64 0, u64 0x4142_4344_4546_4748, u32 5, u32 0, u64 0, u64 0, bytes b"d\0ta\xff"],
            Operation::NotifyReply(NotifyReply {
                notify_unique: UNIQUE,
                offset: 0x4142_4344_4546_4748,
                data: b"d\0ta\xff",
            }),
        ),
        case(
            "NOTIFY_REPLY without data",
            41,
            wire![],
            wire![u64 1, u64 4096, u32 0, u32 2, u64 3, u64 4],
            Operation::NotifyReply(NotifyReply { notify_unique: UNIQUE, offset: 4096, data: b"" }),
        ),
        case("DESTROY", 38, wire![], wire![], Operation::Destroy).nodeid(0),
        case("SYNCFS", 50, wire![u64 0], wire![], Operation::Syncfs(Syncfs { node: node(NODE) })),
        case("STATFS", 17, wire![], wire![], Operation::Statfs(Statfs { node: node(NODE) })),
        case(
            "BMAP",
            37,
            wire![u64 0x5152_5354_5556_5758, u32 512, u32 0],
            wire![],
            Operation::Bmap(Bmap { node: node(NODE), block: 0x5152_5354_5556_5758, blocksize: 512 }),
        ),
    ]
}
