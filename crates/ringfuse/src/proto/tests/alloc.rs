//! No request is decoded, and no reply encoded, with the help of the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

use super::wire::{RingEntry, device, drain, operation};
use super::{cases, encoding, listings};
use crate::proto::encode::out_header;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator; counts what each thread asks of it.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn count() {
    // A thread that ends has no counter any more, and is not measured.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: all methods hand on to the system's allocator what they were given. The counter needs no allocation: it
// is initialised by a constant and has no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps to the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps to the contract of `GlobalAlloc::alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps to the contract of `GlobalAlloc::realloc`, and `old` came from this allocator,
        // which is the system's.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps to the contract of `GlobalAlloc::dealloc`, and `old` came from this allocator,
        // which is the system's.
        unsafe { System.dealloc(old, layout) }
    }
}

/// How often `work` turned to the allocator.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn allocations_are_counted() {
    assert_eq!(allocations(|| drop(black_box(Box::new(7)))), 1);
    assert_eq!(allocations(|| drop(black_box(vec![0_u8; 100]))), 1);
    assert_eq!(allocations(|| drop(black_box(format!("{}", black_box(7))))), 1);
    let mut vec = Vec::<u8>::with_capacity(8);
    assert_eq!(allocations(|| vec.reserve(black_box(1000))), 1);
    assert_eq!(allocations(|| drop(vec)), 0);
}

#[test]
fn decoding_allocates_nothing() {
    let cases = cases::all();
    let messages: Vec<_> = cases.iter().map(|case| (case.message(), case.op.len(), case.format)).collect();
    let mut decoded = 0;
    let count = allocations(|| {
        for (message, op, format) in &messages {
            let entry = RingEntry::of(message, *op);
            for framed in [device(message, *format), entry.message(*format)] {
                if let Ok(operation) = black_box(operation(framed)) {
                    drain(&operation, message.len());
                    decoded += 1;
                }
            }
        }
    });
    assert_eq!((decoded, count), (2 * cases.len(), 0));
}

#[test]
fn refusing_allocates_nothing() {
    let mut messages: Vec<_> = cases::all().iter().map(|case| (case.message(), case.format)).collect();
    let count = allocations(|| {
        for (message, format) in &mut messages {
            let len = message.len() - 1;
            super::wire::set_len(message, len);
            black_box(operation(device(&message[..len], *format))).ok();
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn encoding_allocates_nothing() {
    let replies = encoding::replies();
    let mut out = [0; 512];
    let mut len = 0;
    let count = allocations(|| {
        for (_, reply, _) in &replies {
            len += black_box(reply.encode(&mut out));
            len += black_box(out_header(7, -2, 128)).len as usize;
        }
    });
    assert!(len > 16 * replies.len());
    assert_eq!(count, 0);
}

#[test]
fn listing_allocates_nothing() {
    let mut out = [0; 4096];
    for plus in [false, true] {
        let mut len = 0;
        let count = allocations(|| len = listings::fill(&mut out, plus));
        assert!(len > 3000);
        assert_eq!(count, 0);
    }
}
