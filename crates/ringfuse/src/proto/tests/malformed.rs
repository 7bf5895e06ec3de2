//! What the kernel does not send: each is an error of that one request, and never a panic.

use super::cases;
use super::random::Random;
use super::wire::{
    AREA, Case, HEADER, NODE, RingEntry, Want, case, device, drain, header, operation, set_len, wire,
};
use crate::proto::decode::op_size;
use crate::proto::message::in_header;
use crate::proto::op::Operation;
use crate::proto::{Format, Malformed, Message};
use crate::types::Errno;

/// Opcodes of messages that name no node in their header: `INTERRUPT`, `DESTROY`, `NOTIFY_REPLY`, `BATCH_FORGET`.
const WITHOUT_NODE: [u32; 4] = [36, 38, 41, 42];

#[test]
fn a_message_cut_short_is_an_error() {
    for case in cases::all() {
        let title = &case.title;
        let mut message = case.message();
        let (whole, fixed) = (message.len(), HEADER + case.op.len());
        for len in 0..whole {
            // The header still tells of all of it.
            set_len(&mut message, whole);
            let cut = device(&message[..len], case.format).unwrap_err();
            assert_eq!(
                cut,
                if len < HEADER { Malformed::Header } else { Malformed::Length },
                "{title}, {len}"
            );
            if len >= fixed {
                let entry = RingEntry::of(&message[..len], case.op.len());
                assert_eq!(entry.message(case.format).unwrap_err(), Malformed::Length, "{title}, {len}");
            }
            if len < HEADER {
                continue;
            }
            // The header tells of this much.
            set_len(&mut message, len);
            let decoded = operation(device(&message[..len], case.format));
            let valid = len >= fixed && case.cuts.contains(&(len - fixed));
            assert_eq!(decoded.is_ok(), valid, "{title}, {len}: {decoded:?}");
            if len < fixed {
                assert_eq!(decoded, Err(Malformed::Truncated), "{title}, {len}");
            }
            if len >= fixed {
                let entry = RingEntry::of(&message[..len], case.op.len());
                assert_eq!(operation(entry.message(case.format)), decoded, "{title}, {len}");
            }
            // The header tells of this much, and there is more.
            assert_eq!(device(&message, case.format).unwrap_err(), Malformed::Length, "{title}, {len}");
            let entry = RingEntry::of(&message, case.op.len());
            assert_eq!(entry.message(case.format).unwrap_err(), Malformed::Length, "{title}, {len}");
        }
    }
}

#[test]
fn an_area_too_small_is_an_error() {
    for case in cases::all() {
        let message = case.message();
        for len in 0..HEADER {
            assert_eq!(in_header(&message[..len]).unwrap_err(), Malformed::Header);
        }
        let header = in_header(&message).unwrap();
        for len in 0..case.op.len() {
            let cut = Message::from_ring(header, &case.op[..len], &case.payload, case.format);
            assert_eq!(cut.unwrap_err(), Malformed::Truncated, "{}, {len}", case.title);
        }
        Message::from_ring(header, &case.op, &case.payload, case.format).unwrap();
    }
}

#[test]
fn a_length_that_is_not_that_of_the_message_is_an_error() {
    for case in cases::all() {
        let mut message = case.message();
        let len = message.len();
        for wrong in [0, 1, HEADER - 1, HEADER, len - 1, len + 1, len + 8, 1 << 20, u32::MAX as usize] {
            if wrong == len {
                continue;
            }
            set_len(&mut message, wrong);
            assert_eq!(device(&message, case.format).unwrap_err(), Malformed::Length, "{}", case.title);
            let entry = RingEntry::of(&message, case.op.len());
            assert_eq!(entry.message(case.format).unwrap_err(), Malformed::Length, "{}", case.title);
        }
    }
}

#[test]
fn bytes_behind_the_arguments_are_an_error() {
    for case in cases::all() {
        for more in [&[0][..], &[0xa5; 3], &[0; 8], &[0xa5; 16]] {
            let case = Case { payload: [&case.payload, more].concat(), ..case.clone() };
            let message = case.message();
            let decoded = operation(device(&message, case.format));
            let decoded = decoded.expect_err(&case.title);
            let entry = RingEntry::of(&message, case.op.len());
            assert_eq!(operation(entry.message(case.format)), Err(decoded), "{}", case.title);
        }
    }
}

#[test]
fn the_node_zero_is_an_error() {
    for case in cases::all() {
        if WITHOUT_NODE.contains(&case.opcode) {
            case.nodeid(0).check();
        } else {
            Case { want: Want::Refused(Malformed::Node), ..case.nodeid(0) }.check();
        }
    }
    let names = wire![bytes b"one\0other\0"];
    let copy_to = |node: u64| wire![u64 1, u64 2, u64 node, u64 4, u64 5, u64 6, u64 7];
    for case in [
        case("RENAME to no directory", 12, wire![u64 0], names.clone(), Malformed::Node),
        case("RENAME2 to no directory", 45, wire![u64 0, u32 1, u32 0], names, Malformed::Node),
        case("LINK of nothing", 13, wire![u64 0], wire![bytes b"name\0"], Malformed::Node),
        case("COPY_FILE_RANGE to nothing", 47, copy_to(0), wire![], Malformed::Node),
        case("COPY_FILE_RANGE_64 to nothing", 53, copy_to(0), wire![], Malformed::Node),
    ] {
        case.check();
    }
}

/// An operation that takes a name: opcode, struct, what precedes and what follows the name.
type Named = (u32, Vec<u8>, &'static [u8], &'static [u8]);

fn named() -> Vec<Named> {
    vec![
        (1, wire![], b"", b""),
        (6, wire![], b"", b"target\0"),
        (8, wire![zero 16], b"", b""),
        (9, wire![zero 8], b"", b""),
        (10, wire![], b"", b""),
        (11, wire![], b"", b""),
        (12, wire![u64 2], b"", b"other\0"),
        (12, wire![u64 2], b"other\0", b""),
        (13, wire![u64 2], b"", b""),
        (35, wire![zero 16], b"", b""),
        (45, wire![u64 2, u64 0], b"", b"other\0"),
        (45, wire![u64 2, u64 0], b"other\0", b""),
    ]
}

#[test]
fn impossible_names_are_errors() {
    let too_long = [vec![b'n'; 4096], vec![0]].concat();
    let far_too_long = [vec![b'n'; 100_000], vec![0]].concat();
    let bad: [(&str, &[u8], Malformed); 7] = [
        ("empty", b"\0", Malformed::Name),
        ("a slash", b"/\0", Malformed::Name),
        ("a path", b"a/b\0", Malformed::Name),
        ("a slash at the end", b"name/\0", Malformed::Name),
        ("4096 bytes", &too_long, Malformed::NameTooLong),
        ("100000 bytes", &far_too_long, Malformed::NameTooLong),
        ("4096 bytes, a slash among them", &[&b"/"[..], &too_long[1..]].concat(), Malformed::NameTooLong),
    ];
    for (opcode, op, before, after) in named() {
        for (title, name, malformed) in bad {
            let payload = [before, name, after].concat();
            case(format!("opcode {opcode}: {title}"), opcode, op.clone(), payload, malformed).check();
        }
        if after.is_empty() {
            let payload = [before, b"name"].concat();
            case(format!("opcode {opcode}: no end"), opcode, op.clone(), payload, Malformed::NoNul).check();
            let payload = before.to_vec();
            case(format!("opcode {opcode}: nothing"), opcode, op, payload, Malformed::NoNul).check();
        }
    }
    assert_eq!(Malformed::NameTooLong.errno(), Errno::ENAMETOOLONG);
    assert_eq!(Malformed::Name.errno(), Errno::EIO);
}

/// What stands behind a NUL must not be lost: the name would be another one.
#[test]
fn a_nul_within_a_name_is_an_error() {
    for (opcode, op, before, after) in named() {
        let payload = [before, b"na\0me\0", after].concat();
        let malformed = match opcode {
            // What stands there is taken for an extension, where the header tells of none.
            6 | 8 | 9 | 35 => Malformed::Extension,
            _ => Malformed::Length,
        };
        case(format!("opcode {opcode}"), opcode, op, payload, malformed).check();
    }
    let removexattr = wire![bytes b"user.a\0b\0"];
    let getxattr = wire![bytes b"user.a\0b\0"];
    let setxattr = wire![bytes b"user.a\0b\0value"];
    for case in [
        case("REMOVEXATTR", 24, wire![], removexattr, Malformed::Length),
        case("GETXATTR", 22, wire![u32 8, u32 0], getxattr, Malformed::Length),
        case("SETXATTR", 21, wire![u32 5, u32 0, u32 0, u32 0], setxattr, Malformed::Length),
    ] {
        case.check();
    }
}

#[test]
fn counts_and_sizes_that_are_not_those_of_the_payload_are_errors() {
    let write_in = |size: u32| wire![u64 1, u64 0, u32 size, u32 0, u64 0, u32 0, u32 0];
    let ioctl_in = |size: u32| wire![u64 1, u32 0, u32 0, u64 0, u32 size, u32 0];
    let setxattr_in = |size: u32| wire![u32 size, u32 0, u32 0, u32 0];
    let retrieve = |size: u32| wire![u64 0, u64 0, u32 size, u32 0, u64 0, u64 0, bytes b"data"];
    let attribute = || wire![bytes b"user.key\0value"];
    let forgets = || wire![u64 2, u64 1, u64 3, u64 1];
    let data = || wire![bytes b"data"];
    let (long, short) = (Malformed::Truncated, Malformed::Length);
    let mut cases = vec![
        case("SETXATTR without an end", 21, setxattr_in(0), wire![bytes b"user.key"], Malformed::NoNul),
        case("REMOVEXATTR without an end", 24, wire![], wire![bytes b"user.key"], Malformed::NoNul),
        case("GETXATTR without a name", 22, wire![u32 0, u32 0], wire![], Malformed::NoNul),
        case("SYMLINK without a target", 6, wire![], wire![bytes b"link\0"], Malformed::NoNul),
        case("SYMLINK to no end", 6, wire![], wire![bytes b"link\0target"], Malformed::NoNul),
        case("TMPFILE without its placeholder", 51, wire![zero 16], wire![], Malformed::NoNul),
        case("RENAME to no name", 12, wire![u64 2], wire![bytes b"from\0"], Malformed::NoNul),
        case("NOTIFY_REPLY without a struct", 41, wire![], wire![zero 39], long),
    ];
    for size in [5, 6, 1 << 20, 1 << 31, u32::MAX] {
        cases.extend([
            case("WRITE of more than there is", 16, write_in(size), data(), long),
            case("IOCTL of more than there is", 39, ioctl_in(size), data(), long),
            case("NOTIFY_REPLY of more than there is", 41, wire![], retrieve(size), long),
            case(
                "SETXATTR of more than there is",
                21,
                setxattr_in(size + u32::from(size == 5)),
                attribute(),
                long,
            ),
            case("BATCH_FORGET of more than there are", 42, wire![u32 size, u32 0], forgets(), long),
        ]);
    }
    for size in [0, 1, 3] {
        cases.extend([
            case("WRITE of less than there is", 16, write_in(size), data(), short),
            case("IOCTL of less than there is", 39, ioctl_in(size), data(), short),
            case("NOTIFY_REPLY of less than there is", 41, wire![], retrieve(size), short),
            case("SETXATTR of less than there is", 21, setxattr_in(size), attribute(), short),
        ]);
    }
    for count in [0, 1] {
        cases.push(case(
            "BATCH_FORGET of fewer than there are",
            42,
            wire![u32 count, u32 0],
            forgets(),
            short,
        ));
    }
    // Beyond four gigabytes where it is multiplied by 16 in 32 bits.
    cases.push(case("BATCH_FORGET that wraps", 42, wire![u32 0x1000_0002, u32 0], forgets(), long));
    for case in cases {
        case.check();
    }
}

#[test]
fn unknown_locks_are_errors() {
    for opcode in [31, 32, 33] {
        for kind in [3, 4, 0xff, 0x100, 0x8000_0000, u32::MAX] {
            let lk_in = wire![u64 1, u64 2, u64 0, u64 9, u32 kind, u32 0, u32 0, u32 0];
            case(format!("lock of type {kind}"), opcode, lk_in, wire![], Malformed::Value).check();
        }
    }
}

#[test]
fn extensions_that_do_not_parse_are_errors() {
    let context = |size: u32, count: u32, body: &[u8]| wire![u32 size, u32 count, bytes body];
    let one = wire![u32 4, u32 0, bytes b"a\0", bytes b"data", zero 2];
    let areas: Vec<(&str, Vec<u8>)> = vec![
        ("zeros", wire![zero 8]),
        ("half a header", wire![u32 4, u32 0, zero 8]),
        ("a size that is no multiple of eight", context(12, 33, &[0; 8])),
        ("a block longer than the area", context(24, 33, &[0; 8])),
        ("a block of four gigabytes", context(0xffff_fff8, 33, &[0; 8])),
        ("a context that is not there", context(8, 1, b"")),
        ("a context more than there are", context(24, 2, &one)),
        ("31 contexts that are not there", context(24, 31, &one)),
        ("contexts, and none counted", context(24, 0, &one)),
        ("a context of four gigabytes", context(24, 1, &wire![u32 u32::MAX, u32 0, bytes b"a\0", zero 6])),
        ("a context one byte too long", context(24, 1, &wire![u32 7, u32 0, bytes b"a\0", zero 6])),
        ("a context without an end of its name", context(24, 1, &wire![u32 0, u32 0, bytes b"security"])),
        ("a context without a name", context(24, 1, &wire![u32 2, u32 0, bytes b"\0vvvvvvv"])),
        ("groups without a count", wire![u32 8, u32 32]),
        ("a second block of nothing", [context(24, 1, &one), wire![zero 8]].concat()),
        ("a group that is not there", [context(8, 0, b""), wire![u32 8, u32 32]].concat()),
    ];
    let operations = [
        (6, wire![], &b"link\0target\0"[..]),
        (8, wire![zero 16], b"name\0"),
        (9, wire![zero 8], b"name\0"),
        (35, wire![zero 16], b"name\0"),
        (51, wire![zero 16], b"/\0"),
    ];
    for (opcode, op, args) in &operations {
        for (title, area) in &areas {
            let payload = [args, &area[..]].concat();
            let case =
                case(format!("opcode {opcode}: {title}"), *opcode, op.clone(), payload, Malformed::Extension);
            case.clone().extlen((area.len() / 8) as u16).check();
            // Nor are they where the header tells of no extensions.
            case.check();
        }
        for extlen in [args.len() as u16 / 8 + 1, 100, u16::MAX] {
            let title = format!("opcode {opcode}: {extlen} units that are not there");
            let case = case(title, *opcode, op.clone(), args.to_vec(), Malformed::Extension);
            case.extlen(extlen).check();
        }
        // The name ends before the extension, or it does not end.
        let payload = [&args[..args.len() - 1], &wire![u32 8, u32 0]].concat();
        let title = format!("opcode {opcode}: no end before the extension");
        case(title, *opcode, op.clone(), payload, Malformed::NoNul).extlen(1).check();
    }
    // Any operation may have them; no kernel sends more than a payload.
    for case in cases::all() {
        let extlen = (case.payload.len() / 8 + 1) as u16;
        Case { want: Want::Refused(Malformed::Extension), extlen, ..case }.check();
    }
}

/// Decodes a message in both framings, looks at all that came out, and returns whether something did.
fn survive(message: &[u8], op: usize, format: Format) -> bool {
    let decoded = operation(device(message, format));
    let entry = RingEntry::of(message, op);
    let in_ring = operation(entry.message(format));
    if op_size(u32::from_ne_bytes(message[4..8].try_into().unwrap()), format) == Some(op) {
        assert_eq!(in_ring, decoded, "{message:?}");
    }
    for operation in [decoded, in_ring].into_iter().flatten() {
        drain(&operation, message.len() - HEADER);
        if message.len() < 1000 {
            assert!(format!("{operation:?}").len() > 2);
        }
    }
    decoded.is_ok()
}

#[test]
fn any_byte_may_be_any_other() {
    let (mut accepted, mut refused) = (0, 0);
    for case in cases::all() {
        let mut message = case.message();
        // The insides of long names and data are all alike.
        let step = if message.len() > 1000 { 61 } else { 1 };
        let positions = (0..message.len()).filter(|&at| at < 2 * AREA || at % step == 0);
        for at in positions {
            let before = message[at];
            for byte in [0, 1, 0x7f, 0x80, b'/', 0xff, before ^ 1, before.wrapping_add(8), !before] {
                message[at] = byte;
                if survive(&message, case.op.len(), case.format) { accepted += 1 } else { refused += 1 }
            }
            message[at] = before;
        }
    }
    assert!(accepted > 10_000 && refused > 10_000, "{accepted} accepted, {refused} refused");
}

#[test]
fn any_bytes_may_come() {
    let mut random = Random::new(0x9e37_79b9_7f4a_7c15);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..60_000 {
        let format = Format { setxattr_ext: random.once_in(2) };
        let opcode = if random.once_in(20) { random.u32() } else { random.below(56) as u32 };
        let op = op_size(opcode, format).unwrap_or(random.below(AREA));
        let extlen = if random.once_in(4) { random.below(12) as u16 } else { 0 };
        let payload = match random.below(4) {
            0 => 8 * random.below(12),
            1 => random.below(100),
            _ => 0,
        };
        let nodeid = if random.once_in(20) { 0 } else { random.u64() };
        let mut body = random.bytes(op + payload);
        for byte in &mut body {
            match random.below(8) {
                0..4 => *byte = 0,
                4 => *byte %= 64,
                5 => *byte = b'n',
                _ => {}
            }
        }
        for _ in 0..random.below(3) {
            body.extend(vec![b'n'; random.below(20)]);
            body.push(0);
        }
        let mut message = header(HEADER + body.len(), opcode, nodeid, extlen);
        message.extend(body);
        if survive(&message, op, format) { accepted += 1 } else { refused += 1 }
    }
    assert!(accepted > 2_000 && refused > 2_000, "{accepted} accepted, {refused} refused");
}

#[test]
fn any_bytes_may_be_any_others() {
    let mut random = Random::new(0x2545_f491_4f6c_dd1d);
    let cases = cases::all();
    for _ in 0..60_000 {
        let case = &cases[random.below(cases.len())];
        let mut message = case.message();
        for _ in 0..=random.below(8) {
            let at = HEADER - 6 + random.below(message.len() - HEADER + 6);
            message[at] = if random.once_in(2) { random.next() as u8 } else { random.below(17) as u8 };
        }
        if random.once_in(4) {
            let kept = case.op.len() + random.below(case.payload.len() + 1);
            message.truncate(HEADER + kept);
            let len = message.len();
            set_len(&mut message, len);
        }
        survive(&message, case.op.len(), case.format);
    }
}

/// No more is iterated over than there is, whatever the counts say.
#[test]
fn iterations_end() {
    let none_of_these = wire![zero 16 * 1000];
    let batch =
        case("BATCH_FORGET of no nodes", 42, wire![u32 1000, u32 0], none_of_these, Want::Forgets(vec![]));
    batch.check();
    let contexts: Vec<u8> = (0..31).flat_map(|_| wire![u32 0, u32 0, bytes b"x\0", zero 6]).collect();
    let area = [wire![u32 8 + 31 * 16, u32 31], contexts].concat();
    let extlen = (area.len() / 8) as u16;
    let payload = [wire![bytes b"d\0"], area].concat();
    let mkdir = case("MKDIR", 9, wire![zero 8], payload, Operation::Destroy).extlen(extlen);
    let message = mkdir.message();
    let decoded = operation(device(&message, mkdir.format)).unwrap();
    assert_eq!(drain(&decoded, mkdir.payload.len()), 31);
    assert_eq!(mkdir.nodeid, NODE);
}
