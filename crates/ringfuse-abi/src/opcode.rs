//! Opcodes, the operations of [`fuse_in_header::opcode`](crate::fuse_in_header::opcode).

/// Defines each opcode as a constant and the lookup of its name, from one list.
macro_rules! opcodes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        $($(#[$doc])* pub const $name: u32 = $value;)*

        /// The name of an opcode without its `FUSE_` prefix, such as `"LOOKUP"`; `None` for an unknown one.
        #[must_use]
        pub const fn opcode_name(opcode: u32) -> Option<&'static str> {
            match opcode {
                $($name => Some($text),)*
                _ => None,
            }
        }
    };
}

opcodes! {
    /// Find a name in a directory; counts one lookup of the node found.
    FUSE_LOOKUP = 1, "LOOKUP";
    /// Give back lookups of a node; no reply.
    FUSE_FORGET = 2, "FORGET";
    /// Read the attributes of a node.
    FUSE_GETATTR = 3, "GETATTR";
    /// Change attributes of a node.
    FUSE_SETATTR = 4, "SETATTR";
    /// Read the target of a symbolic link.
    FUSE_READLINK = 5, "READLINK";
    /// Create a symbolic link.
    FUSE_SYMLINK = 6, "SYMLINK";
    /// Create a file of any type but directory and symbolic link, without opening it.
    FUSE_MKNOD = 8, "MKNOD";
    /// Create a directory.
    FUSE_MKDIR = 9, "MKDIR";
    /// Remove the name of a file that is no directory.
    FUSE_UNLINK = 10, "UNLINK";
    /// Remove an empty directory.
    FUSE_RMDIR = 11, "RMDIR";
    /// Rename without flags.
    FUSE_RENAME = 12, "RENAME";
    /// Create a hard link.
    FUSE_LINK = 13, "LINK";
    /// Open a file.
    FUSE_OPEN = 14, "OPEN";
    /// Read from an open file.
    FUSE_READ = 15, "READ";
    /// Write to an open file.
    FUSE_WRITE = 16, "WRITE";
    /// Read the figures of the filesystem as a whole.
    FUSE_STATFS = 17, "STATFS";
    /// The last reference to an open file is gone.
    FUSE_RELEASE = 18, "RELEASE";
    /// Make a file's data durable.
    FUSE_FSYNC = 20, "FSYNC";
    /// Set an extended attribute.
    FUSE_SETXATTR = 21, "SETXATTR";
    /// Read an extended attribute or its length.
    FUSE_GETXATTR = 22, "GETXATTR";
    /// List the names of the extended attributes, or the length of that list.
    FUSE_LISTXATTR = 23, "LISTXATTR";
    /// Remove an extended attribute.
    FUSE_REMOVEXATTR = 24, "REMOVEXATTR";
    /// A file descriptor of an open file is being closed.
    FUSE_FLUSH = 25, "FLUSH";
    /// Negotiate version and features; the first request of a connection.
    FUSE_INIT = 26, "INIT";
    /// Open a directory.
    FUSE_OPENDIR = 27, "OPENDIR";
    /// Read directory entries.
    FUSE_READDIR = 28, "READDIR";
    /// The last reference to an open directory is gone.
    FUSE_RELEASEDIR = 29, "RELEASEDIR";
    /// Make a directory's entries durable.
    FUSE_FSYNCDIR = 30, "FSYNCDIR";
    /// Find a lock that conflicts with the one described.
    FUSE_GETLK = 31, "GETLK";
    /// Take or drop a lock, failing at once if another one is in the way.
    FUSE_SETLK = 32, "SETLK";
    /// Take or drop a lock, waiting for conflicting ones.
    FUSE_SETLKW = 33, "SETLKW";
    /// Check access rights, for `access(2)` and `chdir(2)`.
    FUSE_ACCESS = 34, "ACCESS";
    /// Create a file if needed and open it.
    FUSE_CREATE = 35, "CREATE";
    /// A signal reached the caller of a pending request.
    FUSE_INTERRUPT = 36, "INTERRUPT";
    /// Map a file block to a block of the underlying device.
    FUSE_BMAP = 37, "BMAP";
    /// The connection ends; sent on `fuseblk` and virtiofs mounts only.
    FUSE_DESTROY = 38, "DESTROY";
    /// Device-style control of an open file.
    FUSE_IOCTL = 39, "IOCTL";
    /// Ask which events an open file is ready for.
    FUSE_POLL = 40, "POLL";
    /// Cached data the server asked for with a `RETRIEVE` notification; no reply.
    FUSE_NOTIFY_REPLY = 41, "NOTIFY_REPLY";
    /// Give back lookups of many nodes; no reply.
    FUSE_BATCH_FORGET = 42, "BATCH_FORGET";
    /// Reserve or free space of an open file.
    FUSE_FALLOCATE = 43, "FALLOCATE";
    /// Read directory entries and look each of them up.
    FUSE_READDIRPLUS = 44, "READDIRPLUS";
    /// Rename with `RENAME_*` flags.
    FUSE_RENAME2 = 45, "RENAME2";
    /// Find the next data or hole of an open file.
    FUSE_LSEEK = 46, "LSEEK";
    /// Copy between two open files; the reply counts bytes in 32 bits.
    FUSE_COPY_FILE_RANGE = 47, "COPY_FILE_RANGE";
    /// Map a file range into the virtiofs DAX window.
    FUSE_SETUPMAPPING = 48, "SETUPMAPPING";
    /// Unmap ranges of the virtiofs DAX window.
    FUSE_REMOVEMAPPING = 49, "REMOVEMAPPING";
    /// Make the whole filesystem durable; sent on `fuseblk` and virtiofs mounts only.
    FUSE_SYNCFS = 50, "SYNCFS";
    /// Create an unnamed file and open it.
    FUSE_TMPFILE = 51, "TMPFILE";
    /// Read extended attributes of a node in the sense of `statx(2)`.
    FUSE_STATX = 52, "STATX";
    /// Copy between two open files; the reply counts bytes in 64 bits.
    FUSE_COPY_FILE_RANGE_64 = 53, "COPY_FILE_RANGE_64";
    /// `INIT` of a character device in user space.
    CUSE_INIT = 4096, "CUSE_INIT";
    /// [`CUSE_INIT`] as read from a peer of the other byte order; never a real operation.
    CUSE_INIT_BSWAP_RESERVED = 1_048_576, "CUSE_INIT_BSWAP_RESERVED";
    /// [`FUSE_INIT`] as read from a peer of the other byte order; never a real operation.
    FUSE_INIT_BSWAP_RESERVED = 436_207_616, "INIT_BSWAP_RESERVED";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_opcodes_have_names() {
        assert_eq!(opcode_name(FUSE_LOOKUP), Some("LOOKUP"));
        assert_eq!(opcode_name(FUSE_COPY_FILE_RANGE_64), Some("COPY_FILE_RANGE_64"));
        assert_eq!(opcode_name(CUSE_INIT), Some("CUSE_INIT"));
    }

    #[test]
    fn gaps_and_unknown_opcodes_have_none() {
        for opcode in [0, 7, 19, 54, 4095, 4097, u32::MAX] {
            assert_eq!(opcode_name(opcode), None, "opcode {opcode}");
        }
    }

    #[test]
    fn reserved_opcodes_are_the_swapped_init_opcodes() {
        assert_eq!(FUSE_INIT_BSWAP_RESERVED, FUSE_INIT.swap_bytes());
        assert_eq!(CUSE_INIT_BSWAP_RESERVED, CUSE_INIT.swap_bytes());
    }
}
