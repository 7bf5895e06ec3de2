//! Messages to the kernel that answer nothing: the header with a code for an error and no number, and a body.

use super::wire::{node, wire};
use crate::proto::notify::Notification;
use crate::types::PollHandle;

fn cases() -> Vec<(Notification<'static>, Vec<u8>)> {
    let nodes: &'static [_] = vec![node(0x61), node(0x62), node(u64::MAX)].leak();
    vec![
        (
            Notification::Poll { kh: PollHandle(0x0102_0304_0506_0708) },
            wire![u32 24, i32 1, u64 0, u64 0x0102_0304_0506_0708],
        ),
        (
            Notification::InvalInode { node: node(0x11), offset: 0x2122, len: 0x3132 },
            wire![u32 40, i32 2, u64 0, u64 0x11, i64 0x2122, i64 0x3132],
        ),
        (
            Notification::InvalInode { node: node(0x11), offset: -1, len: 0 },
            wire![u32 40, i32 2, u64 0, u64 0x11, i64 -1, i64 0],
        ),
        (
            Notification::InvalEntry { parent: node(0x11), name: b"name", expire: false },
            wire![u32 37, i32 3, u64 0, u64 0x11, u32 4, u32 0, bytes b"name\0"],
        ),
        (
            Notification::InvalEntry { parent: node(0x11), name: b"\xff", expire: true },
            wire![u32 34, i32 3, u64 0, u64 0x11, u32 1, u32 1, bytes b"\xff\0"],
        ),
        (
            Notification::Store { node: node(0x11), offset: 0x2122, data: b"da\0ta" },
            wire![u32 45, i32 4, u64 0, u64 0x11, u64 0x2122, u32 5, u32 0, bytes b"da\0ta"],
        ),
        (
            Notification::Store { node: node(0x11), offset: 0x2122, data: b"" },
            wire![u32 40, i32 4, u64 0, u64 0x11, u64 0x2122, u32 0, u32 0],
        ),
        (
            Notification::Retrieve { unique: 0x0102_0304, node: node(0x11), offset: 0x2122, size: 0x3132 },
            wire![u32 48, i32 5, u64 0, u64 0x0102_0304, u64 0x11, u64 0x2122, u32 0x3132, u32 0],
        ),
        (
            Notification::Delete { parent: node(0x11), child: node(0x12), name: b"name" },
            wire![u32 45, i32 6, u64 0, u64 0x11, u64 0x12, u32 4, u32 0, bytes b"name\0"],
        ),
        (Notification::Resend, wire![u32 16, i32 7, u64 0]),
        (Notification::IncEpoch, wire![u32 16, i32 8, u64 0]),
        (
            Notification::Prune { nodes },
            wire![u32 56, i32 9, u64 0, u32 3, u32 0, u64 0, u64 0x61, u64 0x62, u64 u64::MAX],
        ),
        (Notification::Prune { nodes: &[] }, wire![u32 32, i32 9, u64 0, u32 0, u32 0, u64 0]),
    ]
}

#[test]
fn notifications_are_what_the_kernel_reads() {
    for (notification, want) in cases() {
        let mut out = Vec::new();
        notification.encode(&mut out);
        assert_eq!(out, want, "{notification:?}");
        assert_eq!(out[..4], (out.len() as u32).to_ne_bytes(), "{notification:?}");
    }
}

#[test]
fn notifications_are_appended() {
    let mut out = b"before".to_vec();
    let mut want = out.clone();
    for (notification, bytes) in cases() {
        notification.encode(&mut out);
        want.extend(bytes);
    }
    assert_eq!(out, want);
}

/// The codes from `FUSE_NOTIFY_POLL` to `FUSE_NOTIFY_PRUNE` are all there.
#[test]
fn each_code_has_a_message() {
    let mut codes: Vec<_> = cases().iter().map(|(_, bytes)| bytes[4]).collect();
    codes.dedup();
    assert_eq!(codes, (1..=9).collect::<Vec<u8>>());
}
