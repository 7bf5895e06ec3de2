//! Directory listings as the kernel reads them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::encoding;
use super::random::Random;
use super::wire::{STALE, wire};
use crate::proto::dir::{DirError, DirFiller};
use crate::types::{DirPos, Errno, FileType};

/// An entry of a listing, of which the kernel gets no attributes.
struct Plain {
    ino: u64,
    next: u64,
    kind: Option<FileType>,
    name: &'static [u8],
    bytes: Vec<u8>,
}

fn plain() -> Vec<Plain> {
    let of = |ino, next, kind, name, bytes| Plain { ino, next, kind, name, bytes };
    vec![
        of(1, 1, Some(FileType::Directory), b".", wire![u64 1, u64 1, u32 1, u32 4, bytes b".", zero 7]),
        of(2, 2, None, b"..", wire![u64 2, u64 2, u32 2, u32 0, bytes b"..", zero 6]),
        of(
            0x0102_0304_0506_0708,
            0x1112_1314_1516_1718,
            Some(FileType::Regular),
            b"seven b",
            wire![
                u64 0x0102_0304_0506_0708, u64 0x1112_1314_1516_1718, u32 7, u32 8, bytes b"seven b", zero 1,
            ],
        ),
        of(
            u64::MAX,
            u64::MAX,
            Some(FileType::Symlink),
            b"eight \xff\n",
            wire![u64 u64::MAX, u64 u64::MAX, u32 8, u32 10, bytes b"eight \xff\n"],
        ),
        of(
            5,
            6,
            Some(FileType::Fifo),
            b"nine byte",
            wire![u64 5, u64 6, u32 9, u32 1, bytes b"nine byte", zero 7],
        ),
        of(6, 7, Some(FileType::CharDevice), b"c", wire![u64 6, u64 7, u32 1, u32 2, bytes b"c", zero 7]),
        of(7, 8, Some(FileType::BlockDevice), b"b", wire![u64 7, u64 8, u32 1, u32 6, bytes b"b", zero 7]),
        of(8, 9, Some(FileType::Socket), b"s", wire![u64 8, u64 9, u32 1, u32 12, bytes b"s", zero 7]),
        // No inode and no position: the kernel passes over such an entry, but it can be written.
        of(0, 0, None, b"0", wire![u64 0, u64 0, u32 1, u32 0, bytes b"0", zero 7]),
    ]
}

impl Plain {
    fn push(&self, out: &mut DirFiller<'_>) -> Result<(), DirError> {
        out.push(self.ino, DirPos(self.next), self.kind, OsStr::from_bytes(self.name))
    }
}

#[test]
fn listings_are_what_the_kernel_reads() {
    let mut out = [STALE; 2048];
    let mut filler = DirFiller::new(&mut out, false);
    assert!(!filler.is_plus());
    let mut want = Vec::new();
    for entry in plain() {
        entry.push(&mut filler).unwrap();
        want.extend(entry.bytes);
    }
    assert_eq!(filler.finish(), Ok(want.len()));
    assert_eq!(out[..want.len()], want);
    assert!(out[want.len()..].iter().all(|&byte| byte == STALE));
}

/// An entry without attributes in `readdirplus`: 128 zero bytes before it.
#[test]
fn listings_of_attributes_may_lack_them() {
    let mut out = [STALE; 4096];
    let mut filler = DirFiller::new(&mut out, true);
    assert!(filler.is_plus());
    let mut want = Vec::new();
    for entry in plain() {
        entry.push(&mut filler).unwrap();
        want.extend(wire![zero 128, bytes entry.bytes]);
    }
    assert_eq!(filler.finish(), Ok(want.len()));
    assert_eq!(out[..want.len()], want);
}

#[test]
fn listings_of_attributes_are_what_the_kernel_reads() {
    let (entry, entry_bytes) = encoding::entry();
    let mut out = [STALE; 1024];
    let mut filler = DirFiller::new(&mut out, true);
    let mut calls = 0;
    let mut push = |filler: &mut DirFiller<'_>, name: &str, entry| {
        filler.push_plus(0x11, DirPos(0x12), Some(FileType::Regular), name, || {
            calls += 1;
            entry
        })
    };
    push(&mut filler, "name", Ok(entry)).unwrap();
    push(&mut filler, "..", Ok(entry)).unwrap();
    push(&mut filler, "...", Ok(entry)).unwrap();
    push(&mut filler, "gone", Err(Errno::ENOENT)).unwrap();
    push(&mut filler, "negative", Ok(crate::types::Entry::negative(std::time::Duration::MAX))).unwrap();
    let want = wire![
        bytes &entry_bytes, u64 0x11, u64 0x12, u32 4, u32 8, bytes b"name", zero 4,
        zero 128, u64 0x11, u64 0x12, u32 2, u32 8, bytes b"..", zero 6,
        bytes &entry_bytes, u64 0x11, u64 0x12, u32 3, u32 8, bytes b"...", zero 5,
        zero 128, u64 0x11, u64 0x12, u32 4, u32 8, bytes b"gone", zero 4,
        zero 128, u64 0x11, u64 0x12, u32 8, u32 8, bytes b"negative",
    ];
    assert_eq!(filler.finish(), Ok(want.len()));
    assert_eq!(out[..want.len()], want);
    assert_eq!(calls, 4, "all but the one with dots for a name");
}

#[test]
fn listings_without_attributes_do_not_ask_for_them() {
    let mut out = [STALE; 32];
    let mut filler = DirFiller::new(&mut out, false);
    filler.push_plus(0x11, DirPos(0x12), None, "name", || unreachable!()).unwrap();
    assert_eq!(filler.finish(), Ok(32));
    assert_eq!(out[..], wire![u64 0x11, u64 0x12, u32 4, u32 0, bytes b"name", zero 4]);
}

/// For each amount of room: what fits is there whole, what does not is not there at all.
#[test]
fn listings_keep_to_their_room() {
    for plus in [false, true] {
        let head = if plus { 128 } else { 0 };
        for room in 0..700 {
            let mut out = vec![STALE; room];
            let mut filler = DirFiller::new(&mut out, plus);
            let mut want = Vec::new();
            let mut refused = false;
            for entry in plain() {
                let size = head + entry.bytes.len();
                let fits = want.len() + size <= room;
                assert_eq!(filler.fits(OsStr::from_bytes(entry.name)), fits, "{room}");
                let full = entry.push(&mut filler);
                assert_eq!(full, if fits { Ok(()) } else { Err(DirError::Full) }, "{room}");
                if fits {
                    want.extend(wire![zero head, bytes entry.bytes]);
                }
                refused |= !fits;
            }
            let len = if want.is_empty() && refused { Err(Errno::EINVAL) } else { Ok(want.len()) };
            assert_eq!(filler.finish(), len, "{room}");
            assert_eq!(out[..want.len()], want, "{room}");
            assert!(out[want.len()..].iter().all(|&byte| byte == STALE), "{room}");
        }
    }
}

#[test]
fn names_of_any_length_are_padded() {
    let mut random = Random::new(7);
    for len in [1, 7, 8, 9, 15, 16, 17, 255, 256, 4094, 4095] {
        let name: Vec<u8> = random.bytes(len).into_iter().map(|byte| byte.max(b'0')).collect();
        let padding = (8 - len % 8) % 8;
        let want = wire![u64 3, u64 4, u32 len as u32, u32 8, bytes &name, zero padding];
        let mut out = vec![STALE; want.len()];
        let mut filler = DirFiller::new(&mut out, false);
        filler.push(3, DirPos(4), Some(FileType::Regular), OsStr::from_bytes(&name)).unwrap();
        assert_eq!(filler.finish(), Ok(want.len()), "{len}");
        assert_eq!(out, want, "{len}");
    }
}

/// Fills a listing with entries of one kind, and returns its length.
pub(super) fn fill(out: &mut [u8], plus: bool) -> usize {
    let entry = encoding::some_entry();
    let mut filler = DirFiller::new(out, plus);
    for (i, name) in ["a", "name", "a longer name", "."].into_iter().cycle().enumerate() {
        let next = DirPos(i as u64 + 1);
        let pushed = if i % 2 == 0 {
            filler.push(7, next, Some(FileType::Regular), name)
        } else {
            filler.push_plus(7, next, None, name, || Ok(entry))
        };
        if pushed.is_err() {
            break;
        }
    }
    filler.finish().unwrap_or(0)
}
