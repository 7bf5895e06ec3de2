//! The messages: at least one for each opcode, with its struct and its payload byte by byte.
//!
//! Opcodes and flags are numbers here, not the names that the decoder uses. Each field of a message has a value of
//! its own, so that no two can be mistaken for each other.

mod attributes;
mod control;
mod creations;
mod files;
mod names;

use super::wire::Case;

/// All messages that are valid.
pub(super) fn all() -> Vec<Case<'static>> {
    [attributes::cases(), control::cases(), creations::cases(), files::cases(), names::cases()].concat()
}
