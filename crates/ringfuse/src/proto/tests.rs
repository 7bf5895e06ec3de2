//! Byte tables.
