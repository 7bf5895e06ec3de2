//! Directory entries, the records in the replies of `READDIR` and `READDIRPLUS`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::fuse_entry_out;

/// One record of a `READDIR` reply; `namelen` bytes of name and zero bytes up to a multiple of 8 follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_dirent {
    /// Inode number shown to applications.
    pub ino: u64,
    /// Position after this entry: the offset to go on reading from.
    pub off: u64,
    /// Length of the name in bytes, without a NUL.
    pub namelen: u32,
    /// File type, one of `DT_*`.
    pub r#type: u32,
}

/// One record of a `READDIRPLUS` reply; name and zero bytes follow as after [`fuse_dirent`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_direntplus {
    /// Result of looking the name up; a `nodeid` of 0 gives none and counts no lookup.
    pub entry_out: fuse_entry_out,
    /// The entry itself.
    pub dirent: fuse_dirent,
}

/// Offset of the name in a `READDIR` record.
pub const FUSE_NAME_OFFSET: usize = size_of::<fuse_dirent>();

/// Offset of the name in a `READDIRPLUS` record.
pub const FUSE_NAME_OFFSET_DIRENTPLUS: usize = size_of::<fuse_direntplus>();

/// Rounds a length up to the multiple of 8 at which the next record starts.
///
/// `x` must be at most `usize::MAX - 7`.
#[must_use]
#[allow(non_snake_case, reason = "a macro of the kernel header")]
pub const fn FUSE_REC_ALIGN(x: usize) -> usize {
    x.next_multiple_of(size_of::<u64>())
}

/// [`FUSE_REC_ALIGN`] under the name used for directory records.
#[must_use]
#[allow(non_snake_case, reason = "a macro of the kernel header")]
pub const fn FUSE_DIRENT_ALIGN(x: usize) -> usize {
    FUSE_REC_ALIGN(x)
}

/// Length in bytes of a whole `READDIR` record with its name and padding.
#[must_use]
#[allow(non_snake_case, reason = "a macro of the kernel header")]
pub const fn FUSE_DIRENT_SIZE(d: &fuse_dirent) -> usize {
    FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + d.namelen as usize)
}

/// Length in bytes of a whole `READDIRPLUS` record with its name and padding.
#[must_use]
#[allow(non_snake_case, reason = "a macro of the kernel header")]
pub const fn FUSE_DIRENTPLUS_SIZE(d: &fuse_direntplus) -> usize {
    FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + d.dirent.namelen as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alignment_rounds_up_to_eight() {
        for (length, aligned) in [(0, 0), (1, 8), (7, 8), (8, 8), (9, 16), (4095, 4096), (4096, 4096)] {
            assert_eq!(FUSE_REC_ALIGN(length), aligned, "length {length}");
            assert_eq!(FUSE_DIRENT_ALIGN(length), aligned, "length {length}");
        }
        assert_eq!(FUSE_REC_ALIGN(usize::MAX - 7), usize::MAX - 7);
    }

    #[test]
    fn record_lengths_include_name_and_padding() {
        for (namelen, plain, plus) in
            [(0, 24, 152), (1, 32, 160), (8, 32, 160), (9, 40, 168), (255, 280, 408), (4095, 4120, 4248)]
        {
            let dirent = fuse_dirent { namelen, ..Default::default() };
            assert_eq!(FUSE_DIRENT_SIZE(&dirent), plain, "namelen {namelen}");
            let direntplus = fuse_direntplus { dirent, ..Default::default() };
            assert_eq!(FUSE_DIRENTPLUS_SIZE(&direntplus), plus, "namelen {namelen}");
        }
    }

    #[test]
    fn record_length_is_usable_in_constants() {
        const LONGEST: usize = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + 255);
        assert_eq!(LONGEST, 280);
    }
}
