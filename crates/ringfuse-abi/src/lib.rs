//! The FUSE wire protocol, version 7.45: structs, constants and ioctl numbers.
//!
//! This crate holds what travels between the Linux kernel and a FUSE server, and nothing else: no I/O, no
//! allocation, no `unsafe`, no `std`. Every name is the kernel header's own (`linux/fuse.h`), so that kernel
//! sources, documentation and this crate can be read side by side.
//!
//! All integers are in native byte order. Every struct is `repr(C)`, free of implicit padding and valid for
//! every bit pattern; the [`zerocopy`] derives let a server view request bytes as a struct and a reply struct
//! as bytes without copying:
//!
//! ```
//! use ringfuse_abi::{FUSE_LOOKUP, fuse_in_header, fuse_out_header};
//! use zerocopy::{FromBytes, IntoBytes};
//!
//! let request = fuse_in_header { len: 40, opcode: FUSE_LOOKUP, unique: 2, ..Default::default() };
//! let bytes = request.as_bytes();
//!
//! let (header, rest) = fuse_in_header::read_from_prefix(bytes).unwrap();
//! assert_eq!(header.opcode, FUSE_LOOKUP);
//! assert!(rest.is_empty());
//!
//! let reply = fuse_out_header { len: 16, error: -2, unique: header.unique };
//! assert_eq!(reply.as_bytes().len(), 16);
//! ```
//!
//! # Conventions
//!
//! - A C flexible array member (`fuse_dirent.name[]`) is not part of the Rust struct; the struct's own
//!   documentation says what follows it on the wire.
//! - An object-like macro is a constant, typed like the field it is stored in. `INIT` flags are `u64`: the low
//!   half belongs in `flags`, the high half in `flags2`.
//! - A function-like macro is a `const fn` of the same name.
//! - Fields named `padding`, `reserved`, `spare`, `unused` or `dummy` carry no meaning in this version: send
//!   zero, ignore on receipt.
//! - Older peers use shorter structs; the `FUSE_COMPAT_*_SIZE` constants give those lengths.
//!
//! The layout test of this crate compiles a C program against the kernel's header and compares every size,
//! alignment, field offset and value.

#![no_std]
#![forbid(unsafe_code)]
#![allow(non_camel_case_types, reason = "structs carry the names of the kernel header")]

pub mod attr;
pub mod cuse;
pub mod dir;
pub mod ext;
pub mod flags;
pub mod header;
pub mod init;
pub mod ioctl;
pub mod notify;
pub mod op;
pub mod opcode;
pub mod ring;

pub use attr::*;
pub use cuse::*;
pub use dir::*;
pub use ext::*;
pub use flags::*;
pub use header::*;
pub use init::*;
pub use ioctl::*;
pub use notify::*;
pub use op::*;
pub use opcode::*;
pub use ring::*;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
