//! Extensions at the end of creation requests: security contexts and supplementary groups.
//!
//! They take the last [`total_extlen`](crate::fuse_in_header::total_extlen) times 8 bytes of a request. Each
//! starts with two 32-bit words, its length in bytes and a number: up to [`FUSE_MAX_NR_SECCTX`] that number
//! counts security contexts, above it is the type of another extension.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Most security contexts in one request; the extension types begin above.
pub const FUSE_MAX_NR_SECCTX: u32 = 31;
/// Extension type of [`fuse_supp_groups`].
pub const FUSE_EXT_GROUPS: u32 = 32;

/// One security context; the attribute's name with its NUL, `size` bytes of value and zero bytes up to a
/// multiple of 8 follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_secctx {
    /// Length of the value in bytes.
    pub size: u32,
    /// Unused.
    pub padding: u32,
}

/// Start of the security contexts; `nr_secctx` records of [`fuse_secctx`] follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_secctx_header {
    /// Length in bytes of this header and all that belongs to it.
    pub size: u32,
    /// Number of contexts, possibly 0.
    pub nr_secctx: u32,
}

/// Start of an extension of any other kind.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_ext_header {
    /// Length in bytes of this header, the extension's content and its padding.
    pub size: u32,
    /// Type of the extension, above [`FUSE_MAX_NR_SECCTX`].
    pub r#type: u32,
}

/// Content of a [`FUSE_EXT_GROUPS`] extension; `nr_groups` group ids of 4 bytes each follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_supp_groups {
    /// Number of group ids that follow.
    pub nr_groups: u32,
}
