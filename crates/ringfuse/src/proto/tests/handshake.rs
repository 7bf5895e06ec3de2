//! `FUSE_INIT` and the answer to it.

use std::time::Duration;

use zerocopy::IntoBytes;

use super::random::Random;
use super::wire::{HEADER, UNIQUE, header, set_len, wire};
use crate::fs::{Limits, Negotiation};
use crate::proto::{Malformed, init};
use crate::types::Capabilities;

const LIMITS: Limits = Limits {
    max_write: 0x0010_0000,
    max_pages: 0x0100,
    max_background: 0x0040,
    max_readahead: None,
    default_permissions: false,
};

fn init(body: Vec<u8>) -> Vec<u8> {
    [header(HEADER + body.len(), 26, 0, 0), body].concat()
}

/// What Linux 6.18 sends.
fn today() -> Vec<u8> {
    init(wire![u32 7, u32 45, u32 0x0002_0000, u32 0x73ff_fffb, u32 0x0000_07fd, zero 44])
}

/// What kernels before 5.17 send.
fn old() -> Vec<u8> {
    init(wire![u32 7, u32 31, u32 0x0001_0000, u32 0x03ff_fffb])
}

fn negotiation(message: &[u8]) -> Negotiation {
    let (unique, kernel) = init::decode(message).unwrap();
    assert_eq!(unique, UNIQUE);
    Negotiation::new(kernel, LIMITS)
}

fn reply(negotiation: &mut Negotiation, ring: bool) -> Vec<u8> {
    negotiation.conclude(ring).unwrap().reply.as_bytes().to_vec()
}

#[test]
fn what_the_kernel_offers_is_read() {
    let (_, kernel) = init::decode(&today()).unwrap();
    assert_eq!((kernel.major, kernel.minor, kernel.max_readahead), (7, 45, 0x0002_0000));
    assert_eq!((kernel.flags, kernel.flags2), (0x73ff_fffb, 0x07fd));
    assert_eq!(negotiation(&today()).kernel_version(), (7, 45));
    assert_eq!(negotiation(&today()).offered().bits(), 0x0000_07fd_73ff_fffb);

    let (_, kernel) = init::decode(&old()).unwrap();
    assert_eq!((kernel.major, kernel.minor, kernel.max_readahead), (7, 31, 0x0001_0000));
    assert_eq!((kernel.flags, kernel.flags2), (0x03ff_fffb, 0));
}

#[test]
fn a_later_kernel_may_say_more() {
    let body = [&today()[HEADER..], &[0xff; 64]].concat();
    let (_, kernel) = init::decode(&init(body)).unwrap();
    assert_eq!((kernel.minor, kernel.flags, kernel.flags2), (45, 0x73ff_fffb, 0x07fd));
}

#[test]
fn the_answer_is_what_the_kernel_reads() {
    let want = wire![
        u32 7, u32 45, u32 0x0010_0000,
        // ASYNC_READ 0, BIG_WRITES 5, AUTO_INVAL_DATA 12, ASYNC_DIO 15, PARALLEL_DIROPS 18, ABORT_ERROR 21,
        // MAX_PAGES 22, SETXATTR_EXT 29, INIT_EXT 30
        u32 0x6064_9021,
        u16 0x0040, u16 0x0030, u32 0x0010_0000, u32 1, u16 0x0100, u16 0,
        // OVER_IO_URING 41
        u32 0x0000_0200,
        u32 0, u16 0, zero 22,
    ];
    assert_eq!(want.len(), 64);
    assert_eq!(reply(&mut negotiation(&today()), true), want);
}

#[test]
fn the_answer_has_what_was_asked_for() {
    let mut negotiation = negotiation(&today());
    negotiation.require(Capabilities::PASSTHROUGH | Capabilities::POSIX_LOCKS).unwrap();
    negotiation.forbid(Capabilities::ASYNC_READ);
    negotiation.max_readahead(0x0004_0000);
    negotiation.max_background(0x0102);
    negotiation.congestion_threshold(0x0034);
    negotiation.time_gran(1000);
    negotiation.max_stack_depth(2);
    negotiation.request_timeout(Duration::from_secs(0x0506));
    let want = wire![
        u32 7, u32 45, u32 0x0004_0000,
        // The same without ASYNC_READ 0, with POSIX_LOCKS 1
        u32 0x6064_9022,
        u16 0x0102, u16 0x0034, u32 0x0010_0000, u32 1000, u16 0x0100, u16 0,
        // PASSTHROUGH 37, REQUEST_TIMEOUT 42
        u32 0x0000_0420,
        u32 2, u16 0x0506, zero 22,
    ];
    assert_eq!(reply(&mut negotiation, false), want);
}

#[test]
fn an_old_kernel_is_answered_in_its_own_version() {
    let want = wire![
        u32 7, u32 31, u32 0x0010_0000,
        u32 0x0064_9021,
        u16 0x0040, u16 0x0030, u32 0x0010_0000, u32 1, u16 0x0100, u16 0,
        u32 0,
        u32 0, u16 0, zero 22,
    ];
    assert_eq!(reply(&mut negotiation(&old()), true), want);
}

#[test]
fn what_is_no_init_is_an_error() {
    let whole = today();
    for len in 0..whole.len() {
        let mut cut = whole[..len].to_vec();
        let malformed = if len < HEADER { Malformed::Header } else { Malformed::Length };
        assert_eq!(init::decode(&cut).unwrap_err(), malformed, "{len}");
        if len >= HEADER {
            set_len(&mut cut, len);
            // 16 bytes are what an old kernel sends, and in between there is nothing that any kernel does.
            match init::decode(&cut) {
                Ok((_, kernel)) => assert!(len >= HEADER + 16 && kernel.flags2 == 0, "{len}"),
                Err(malformed) => assert!(len < HEADER + 16 && malformed == Malformed::Truncated, "{len}"),
            }
        }
    }
    for opcode in [0, 1, 25, 27, 4096, 0x1a00_0000] {
        let other = [header(whole.len(), opcode, 0, 0), whole[HEADER..].to_vec()].concat();
        assert_eq!(init::decode(&other).unwrap_err(), Malformed::Opcode, "{opcode}");
    }
    let mut random = Random::new(26);
    for _ in 0..10_000 {
        let len = random.below(120);
        let mut message = random.bytes(len);
        if len >= HEADER && random.once_in(2) {
            set_len(&mut message, len);
            message[4..8].copy_from_slice(&26_u32.to_ne_bytes());
            if let Ok((_, kernel)) = init::decode(&message) {
                Negotiation::new(kernel, LIMITS).conclude(true).unwrap();
            }
        } else {
            init::decode(&message).ok();
        }
    }
}
