//! Identifiers: each number the kernel and a filesystem name things by has its own type.

use std::fmt;
use std::num::NonZeroU64;

/// A node id: the name under which the kernel knows one inode of a mount.
///
/// The filesystem chooses it in the [`Entry`](crate::Entry) it answers a lookup or a creation with, and gets
/// it back in each later request, until the kernel has returned all lookup counts by
/// [`forget`](crate::Filesystem::forget). It is never shown to users: the inode number that `stat` prints is
/// [`Attr::ino`](crate::Attr::ino), which may be the same number, but need not be.
///
/// Zero is no node (the kernel's mark for a negative entry), hence the type cannot hold it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(NonZeroU64);

impl NodeId {
    /// The root of the mount, `FUSE_ROOT_ID`: always known to the kernel, never looked up, never forgotten.
    pub const ROOT: Self = Self(NonZeroU64::MIN);

    /// The node of this number, or `None` for zero.
    pub const fn new(number: u64) -> Option<Self> {
        match NonZeroU64::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number, as it travels on the wire.
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// Whether this is [`NodeId::ROOT`].
    pub const fn is_root(self) -> bool {
        self.0.get() == 1
    }
}

impl From<NonZeroU64> for NodeId {
    fn from(number: NonZeroU64) -> Self {
        Self(number)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({})", self.0)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! number {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// The number, as it travels on the wire.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl From<u64> for $name {
            fn from(number: u64) -> Self {
                Self(number)
            }
        }
    };
}

number! {
    /// A file handle: what the filesystem answered `open`, `create`, `tmpfile` or `opendir` with.
    ///
    /// The kernel hands it back unchanged in each request on that open file, and for the last time in
    /// `release` or `releasedir`. Any number will do, zero included. Where a filesystem answers `open` with
    /// `ENOSYS` ("no open needed"), all later requests carry zero.
    Fh
}

number! {
    /// Who holds a POSIX or `flock` lock: one open file table (`fcntl`) or one open file (`flock`, OFD).
    ///
    /// The kernel scrambles it, so it has no meaning beyond equality.
    LockOwner
}

number! {
    /// Tells apart two inodes that had the same node id one after the other.
    ///
    /// A pair of node id and generation must be unique for the life of the mount where the mount is exported
    /// over NFS or used by file handles (`name_to_handle_at(2)`); else zero will do.
    Generation
}

number! {
    /// A position in a directory, as the filesystem names it: the `off` of a `struct fuse_dirent`.
    ///
    /// It stands for "after this entry": [`readdir`](crate::Filesystem::readdir) starts with the entry that
    /// follows the position it is given. Zero is the start of the directory.
    DirPos
}

number! {
    /// The number of a request, `fuse_in_header.unique`: distinct among the requests in flight on a mount.
    Unique
}

number! {
    /// What a poll wake-up is addressed to, `fuse_poll_in.kh`.
    PollHandle
}

/// The number of a registered backing file, positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BackingId(i32);

impl BackingId {
    /// The number the kernel gave.
    pub(crate) const fn new(number: i32) -> Self {
        Self(number)
    }

    /// The number, as it travels on the wire.
    pub const fn get(self) -> i32 {
        self.0
    }
}

impl DirPos {
    /// The start of a directory.
    pub const START: Self = Self(0);
}

impl fmt::Display for Unique {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_id_is_never_zero() {
        assert_eq!(NodeId::new(0), None);
        assert_eq!(NodeId::new(1), Some(NodeId::ROOT));
        assert!(NodeId::ROOT.is_root());
        assert!(!NodeId::new(2).unwrap().is_root());
    }
}
