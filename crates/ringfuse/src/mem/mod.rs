//! Who owns the memory of an entry right now: the kernel, the server, or a loan.
//!
//! This module is one of the few with `unsafe`. Its rules:
//!
//! - **M1** An [`Arena`] is mapped once, never moves, and stays mapped while any [`Slot`] or loan of it lives. It is
//!   leaked, not unmapped, once a slot is dropped that the kernel may still write to.
//! - **M2** A [`Slot`] has one owner. Its bytes are reached through it only while the server owns them
//!   (`Owner::Server`), and by `&mut` where they are written.
//! - **M3** The payload of a slot is on loan at most once at a time, flagged by an atomic that only the loan's drop
//!   clears. While it is out, nobody else makes a reference to those bytes, and the slot is not given to the kernel.
//! - **M4** All of the memory is initialised: it comes zeroed from the kernel, and everyone writes whole bytes.

mod arena;
mod loan;
mod slot;

pub(crate) use arena::{Arena, HUGE, Layout, Room};
pub use loan::{ReadBuf, WriteBuf};
pub(crate) use slot::{Slot, SlotShared};
