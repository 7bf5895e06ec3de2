//! Inner parts of the library, one by one, for the benches that measure them. Behind the feature `internals`, which is for
//! this project alone: nothing here is public interface, and all of it may change at any time.

use std::io;

use futures_util::FutureExt;
use ringfuse_abi as abi;

use crate::dispatch::{self, Extras, Framing};
use crate::fs::Filesystem;
use crate::mem::{Arena, Layout, Slot};
use crate::proto::decode::{decode, op_size};
use crate::proto::message::in_header;
use crate::proto::{Format, Message};
use crate::types::{Errno, Fh, NodeId, Opened};

pub use crate::proto::dir::DirFiller;

const FORMAT: Format = Format { setxattr_ext: true };

/// Decodes a message as it is read from the device, and hands on what came of it without a look.
///
/// # Panics
///
/// If it does not parse: nothing would be measured.
pub fn decode_message(message: &[u8]) {
    let message = Message::from_device(message, FORMAT).expect("a message that parses");
    std::hint::black_box(decode(&message).expect("an operation that parses"));
}

/// A filler for as many bytes as `out` has.
pub fn filler(out: &mut [u8], plus: bool) -> DirFiller<'_> {
    DirFiller::new(out, plus)
}

/// A session that wants to know nothing.
struct Nothing;

impl Extras for Nothing {
    fn notify_reply(&self, _: crate::proto::op::NotifyReply<'_>) {}
    fn opened(&self, _: NodeId, _: &Opened) {}
    fn released(&self, _: NodeId, _: Fh) {}
    fn interrupt(&self, _: crate::proto::op::Interrupt) {}
}

/// An entry of the ring, without a ring.
#[derive(Debug)]
pub struct Entry(Slot);

impl Entry {
    /// An entry for payloads of 128 KiB.
    ///
    /// # Errors
    ///
    /// If there is no memory for it.
    pub fn new() -> io::Result<Self> {
        let mut slots = Arena::slots(Layout::for_payload(128 << 10), 1)?;
        slots.pop().map(Self).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    /// What the kernel does, and then the worker: puts a message, as it would be read from the device, into the entry;
    /// decodes it, has a filesystem serve it, and encodes the answer. Returns the length of that.
    ///
    /// # Errors
    ///
    /// What the filesystem fails with.
    ///
    /// # Panics
    ///
    /// If the message does not parse, or the filesystem does not answer at once.
    pub fn serve<F: Filesystem>(&mut self, fs: &F, message: &[u8]) -> Result<usize, Errno> {
        let header = in_header(message).expect("a message that parses");
        let body = &message[size_of::<abi::fuse_in_header>()..];
        let (op, payload) = body.split_at(op_size(header.opcode, FORMAT).expect("a known opcode"));
        self.0.header_area_mut()[abi::FUSE_URING_IN_OUT_HEADER_SZ..][..op.len()].copy_from_slice(op);
        self.0.payload_mut()[..payload.len()].copy_from_slice(payload);
        let framing = Framing::Ring { header, payload: payload.len() };
        let outcome = dispatch::serve(fs, &Nothing, FORMAT, framing, &mut self.0).now_or_never();
        let outcome = outcome.expect("an answer at once");
        if outcome.error == 0 {
            Ok(outcome.len)
        } else {
            Err(Errno::from_raw(-outcome.error).unwrap_or(Errno::EIO))
        }
    }
}
