//! The protocol as pure functions: bytes to values and values to bytes.
//!
//! No I/O, no clock, and no allocation happens here (invariant I5), and nothing panics on what the kernel or a
//! caller sends (I9). One decoder serves both framings: a message of the ring is an operation header and a
//! payload at two places, one of the device is both in one buffer.

pub(crate) mod args;
pub(crate) mod decode;
pub(crate) mod dir;
pub(crate) mod encode;
pub(crate) mod ext;
pub(crate) mod init;
pub(crate) mod message;
pub(crate) mod notify;
pub mod op;

#[cfg(test)]
mod tests;

pub(crate) use message::{Format, Malformed, Message};
