//! What a case needs of the filesystem and of its caller.

use std::fmt;
use std::ops::BitOr;

/// A set of what a case needs beyond plain files and directories.
///
/// A case whose needs are not met is to be left out by the filter given to the runner. Only
/// [`Needs::ROOT`] and [`Needs::USERS`] are checked by the runner itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs(u32);

macro_rules! needs {
    ($($(#[$doc:meta])* $name:ident = $bit:literal;)*) => {
        impl Needs {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*

            const NAMES: &'static [(&'static str, Self)] = &[$((stringify!($name), Self::$name)),*];
        }
    };
}

needs! {
    /// The caller is root.
    ROOT = 0;
    /// The case acts as other users: the caller is root, and others may enter the mount
    /// (`allow_other`) and are checked against mode bits (`default_permissions`).
    USERS = 1;
    /// Nodes that are no files: FIFOs, sockets and devices.
    MKNOD = 2;
    /// Hard links.
    HARD_LINK = 3;
    /// Symbolic links.
    SYMLINK = 4;
    /// `user.*` extended attributes.
    XATTR_USER = 5;
    /// `trusted.*` extended attributes.
    XATTR_TRUSTED = 6;
    /// `security.*` extended attributes.
    XATTR_SECURITY = 7;
    /// POSIX access control lists.
    ACL = 8;
    /// `O_TMPFILE`.
    TMPFILE = 9;
    /// Record locks: `fcntl(F_SETLK)` and `fcntl(F_OFD_SETLK)`.
    LOCKS = 10;
    /// Whole-file locks: `flock`.
    FLOCK = 11;
    /// `RENAME_NOREPLACE`.
    RENAME_NOREPLACE = 12;
    /// `RENAME_EXCHANGE`.
    RENAME_EXCHANGE = 13;
    /// `RENAME_WHITEOUT`.
    RENAME_WHITEOUT = 14;
    /// Shared memory maps, writable or not.
    MMAP = 15;
    /// `O_DIRECT`.
    DIRECT_IO = 16;
    /// `SEEK_HOLE` and `SEEK_DATA` see real holes.
    SEEK_HOLE = 17;
    /// `fallocate` and its modes.
    FALLOCATE = 18;
    /// Reads update the access time (as the `relatime` mount option has it).
    ATIME = 19;
    /// Directories count their sub-directories in their link count.
    DIR_NLINK = 20;
    /// Files may be larger than 4 GiB, and sparse.
    BIG_FILE = 21;
    /// File handles: `name_to_handle_at` and `open_by_handle_at`.
    HANDLES = 22;
    /// Programs can be executed from the filesystem.
    EXEC = 23;
    /// Times have a resolution of nanoseconds, and may lie before 1970 and after 2038.
    WIDE_TIMES = 24;
    /// Free space is accounted, with no other writer about.
    FREE_SPACE = 25;
    /// Inode flags: `ioctl(FS_IOC_GETFLAGS)`.
    INODE_FLAGS = 26;
    /// `close` releases record locks of open file descriptions. The kernel does not tell a FUSE
    /// filesystem that keeps record locks itself.
    OFD_RELEASE = 27;
    /// `st_blocks` follows the content as soon as that is synced. With a write-back cache the kernel
    /// holds on to the count it knows of a FUSE file for as long as the attributes may be cached.
    BLOCKS = 28;
    /// Id-mapped mounts: `mount_setattr(MOUNT_ATTR_IDMAP)`.
    IDMAP = 29;
}

impl Needs {
    /// Nothing but files and directories.
    pub const NONE: Self = Self(0);

    /// Both sets together.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether anything of `other` is in this set.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The need of that name, as written in [`Display`](fmt::Display).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|&(_, need)| need)
    }

    /// The names of all needs there are.
    pub fn all_names() -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().map(|&(name, _)| name)
    }
}

impl BitOr for Needs {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.and(other)
    }
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Self::NAMES.iter().filter(|(_, need)| self.contains(*need)).collect();
        for (i, (name, _)) in names.iter().enumerate() {
            write!(f, "{}{name}", if i == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}
