//! The protocol against bytes written out by hand from the kernel's header and sources: what it sends, what it
//! expects to get, and what it never sends.

#[allow(unsafe_code)]
mod alloc;
mod cases;
mod decoding;
mod encoding;
mod handshake;
mod listings;
mod malformed;
mod notifications;
mod random;
mod roundtrip;
mod wire;
