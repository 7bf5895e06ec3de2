//! Tests for filesystems.
//!
//! - [`harness`] mounts a filesystem in the test's own process, at a mountpoint of its own, asserts the transport, and
//!   cleans up whatever happens.
//! - [`program`] runs a filesystem that is a program of its own, likewise.
//! - [`posix`] is a suite of POSIX and Linux semantics, to be run on any directory.

pub mod harness;
pub mod posix;
pub mod program;
