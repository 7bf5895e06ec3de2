//! Tests for filesystems: a mount harness and a POSIX suite.

pub mod posix;
