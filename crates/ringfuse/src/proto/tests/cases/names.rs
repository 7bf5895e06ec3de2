//! Names: `LOOKUP`, `UNLINK`, `RMDIR`, `RENAME`, `RENAME2`, `LINK`, `READLINK`.

use std::ffi::CStr;

use crate::proto::op::{Link, Lookup, Operation, Readlink, Rename, Rmdir, Unlink};
use crate::proto::tests::wire::{Case, NODE, case, name, node, wire};

const fn long<const N: usize>() -> [u8; N] {
    let mut bytes = [b'n'; N];
    bytes[N - 1] = 0;
    bytes
}

static LONG_255: [u8; 256] = long();
static LONG_4095: [u8; 4096] = long();

fn lookup(title: &str, text: &'static CStr) -> Case<'static> {
    let want = Operation::Lookup(Lookup { parent: node(NODE), name: name(text) });
    case(title, 1, wire![], text.to_bytes_with_nul().to_vec(), want)
}

pub(super) fn cases() -> Vec<Case<'static>> {
    let long_255 = CStr::from_bytes_with_nul(&LONG_255).unwrap();
    let long_4095 = CStr::from_bytes_with_nul(&LONG_4095).unwrap();
    vec![
        lookup("LOOKUP", c"hello"),
        lookup("LOOKUP of one byte", c"x"),
        lookup("LOOKUP of .", c"."),
        lookup("LOOKUP of ..", c".."),
        lookup("LOOKUP of bytes that are no text", c"\xff\xfe \n\x01"),
        lookup("LOOKUP of 255 bytes", long_255),
        lookup("LOOKUP of 4095 bytes", long_4095),
        case("READLINK", 5, wire![], wire![], Operation::Readlink(Readlink { node: node(NODE) })),
        case(
            "UNLINK",
            10,
            wire![],
            wire![bytes b"gone\0"],
            Operation::Unlink(Unlink { parent: node(NODE), name: name(c"gone") }),
        ),
        case(
            "RMDIR",
            11,
            wire![],
            wire![bytes b"gone.d\0"],
            Operation::Rmdir(Rmdir { parent: node(NODE), name: name(c"gone.d") }),
        ),
        case(
            "RENAME",
            12,
            wire![u64 0x1112],
            wire![bytes b"from\0", bytes b"to\0"],
            Operation::Rename(Rename {
                parent: node(NODE),
                name: name(c"from"),
                new_parent: node(0x1112),
                new_name: name(c"to"),
                flags: 0,
            }),
        ),
        case(
            "RENAME of 255 bytes to 4095",
            12,
            wire![u64 0x1112],
            wire![bytes & LONG_255, bytes & LONG_4095],
            Operation::Rename(Rename {
                parent: node(NODE),
                name: name(long_255),
                new_parent: node(0x1112),
                new_name: name(long_4095),
                flags: 0,
            }),
        ),
        case(
            "RENAME2 that exchanges",
            45,
            wire![u64 0x1112, u32 2, u32 0],
            wire![bytes b"one\0", bytes b"other\0"],
            Operation::Rename(Rename {
                parent: node(NODE),
                name: name(c"one"),
                new_parent: node(0x1112),
                new_name: name(c"other"),
                flags: 2,
            }),
        ),
        case(
            "LINK",
            13,
            wire![u64 0x2122],
            wire![bytes b"second\0"],
            Operation::Link(Link { node: node(0x2122), new_parent: node(NODE), new_name: name(c"second") }),
        ),
    ]
}
