//! Directory listings.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use ringfuse_abi as abi;
use zerocopy::IntoBytes;

use super::encode;
use crate::types::{DirPos, Entry, Errno, FileType, Name, Result};

/// Why an entry was not added to a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DirError {
    /// There is no room for it: end the listing here, the kernel asks for the rest.
    #[error("the listing is full")]
    Full,
    /// The name is empty, contains a slash or a NUL, or is longer than [`Name::MAX_LEN`]; the kernel would
    /// refuse the whole listing for it.
    #[error("a directory entry's name is not valid")]
    InvalidName,
}

/// Takes the entries of a directory, for `readdir` and `readdirplus`.
///
/// ```no_run
/// # use ringfuse::{DirFiller, DirPos, FileType};
/// # fn list(names: &[(u64, &str)], from: DirPos, out: &mut DirFiller<'_>) {
/// for (i, &(ino, name)) in names.iter().enumerate().skip(from.get() as usize) {
///     if out.push(ino, DirPos(i as u64 + 1), Some(FileType::Regular), name).is_err() {
///         break;
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct DirFiller<'a> {
    out: &'a mut [u8],
    len: usize,
    plus: bool,
    refused: bool,
}

impl<'a> DirFiller<'a> {
    /// A filler for as many bytes as `out` has.
    pub(crate) fn new(out: &'a mut [u8], plus: bool) -> Self {
        Self { out, len: 0, plus, refused: false }
    }

    /// Whether this listing takes attributes: `readdirplus`, not `readdir`.
    pub fn is_plus(&self) -> bool {
        self.plus
    }

    /// Whether an entry of this name fits.
    pub fn fits(&self, name: impl AsRef<OsStr>) -> bool {
        self.entry_size(name.as_ref().len()) <= self.out.len() - self.len
    }

    fn entry_size(&self, name_len: usize) -> usize {
        let fixed = if self.plus { size_of::<abi::fuse_direntplus>() } else { size_of::<abi::fuse_dirent>() };
        abi::FUSE_REC_ALIGN(fixed + name_len)
    }

    /// Adds an entry without attributes. The kernel is given no lookup count, in `readdirplus` neither.
    ///
    /// `next` is the position after this entry: where the listing goes on when this was the last entry that
    /// the program took. `kind` is `None` where the type is not known without effort (`DT_UNKNOWN`).
    ///
    /// # Errors
    ///
    /// [`DirError::Full`] where it does not fit, [`DirError::InvalidName`] for a name that can not be.
    pub fn push(
        &mut self,
        ino: u64,
        next: DirPos,
        kind: Option<FileType>,
        name: impl AsRef<OsStr>,
    ) -> std::result::Result<(), DirError> {
        self.admit(name.as_ref())?;
        self.write(ino, next, kind, name.as_ref(), None);
        Ok(())
    }

    /// Adds an entry with its attributes, for `readdirplus`; in `readdir`, as [`DirFiller::push`].
    ///
    /// `entry` is called only where the entry fits and attributes are wanted, so that it may take the lookup
    /// count that the kernel gets with it: each entry but `.` and `..` counts like a `lookup`. Where it fails or
    /// answers a negative entry, the name is listed without attributes.
    ///
    /// # Errors
    ///
    /// As for [`DirFiller::push`].
    pub fn push_plus(
        &mut self,
        ino: u64,
        next: DirPos,
        kind: Option<FileType>,
        name: impl AsRef<OsStr>,
        entry: impl FnOnce() -> Result<Entry>,
    ) -> std::result::Result<(), DirError> {
        let name = name.as_ref();
        self.admit(name)?;
        let dots = matches!(name.as_bytes(), b"." | b"..");
        // Passed on by reference: an entry is large, and there are thousands of them.
        let entry = if self.plus && !dots { entry().ok() } else { None };
        self.write(ino, next, kind, name, entry.as_ref().filter(|entry| entry.node.is_some()));
        Ok(())
    }

    fn admit(&mut self, name: &OsStr) -> std::result::Result<(), DirError> {
        let bytes = name.as_bytes();
        if bytes.is_empty() || bytes.len() > Name::MAX_LEN || bytes.iter().any(|b| matches!(b, b'/' | 0)) {
            return Err(DirError::InvalidName);
        }
        if !self.fits(name) {
            self.refused = true;
            return Err(DirError::Full);
        }
        Ok(())
    }

    /// Writes an entry that was found to fit.
    fn write(&mut self, ino: u64, next: DirPos, kind: Option<FileType>, name: &OsStr, entry: Option<&Entry>) {
        let size = self.entry_size(name.len());
        let mut out = &mut self.out[self.len..self.len + size];
        if self.plus {
            let head = entry.map(encode::entry).unwrap_or_default();
            let (place, rest) = out.split_at_mut(size_of_val(&head));
            place.copy_from_slice(head.as_bytes());
            out = rest;
        }
        let dirent = abi::fuse_dirent {
            ino,
            off: next.get(),
            namelen: name.len() as u32,
            r#type: encode::dirent_type(kind),
        };
        let (place, rest) = out.split_at_mut(size_of_val(&dirent));
        place.copy_from_slice(dirent.as_bytes());
        let (place, padding) = rest.split_at_mut(name.len());
        place.copy_from_slice(name.as_bytes());
        padding.fill(0);
        self.len += size;
    }

    /// The bytes written.
    ///
    /// # Errors
    ///
    /// `EINVAL` where not even the first entry fit, as for `getdents(2)`: an empty answer would say that the
    /// directory ends here.
    pub(crate) fn finish(self) -> Result<usize> {
        if self.len == 0 && self.refused {
            return Err(Errno::EINVAL);
        }
        Ok(self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Attr, NodeId};

    fn push(out: &mut DirFiller<'_>, name: &str) -> std::result::Result<(), DirError> {
        out.push(7, DirPos(9), Some(FileType::Regular), name)
    }

    #[test]
    fn a_dirent_is_padded_to_eight_bytes() {
        let mut bytes = [0xff; 64];
        let mut filler = DirFiller::new(&mut bytes, false);
        push(&mut filler, "abc").unwrap();
        assert_eq!(filler.finish(), Ok(32));
        let expected = [
            7, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, b'a', b'b', b'c', 0, 0,
            0, 0, 0,
        ];
        assert_eq!(bytes[..32], expected);
        assert_eq!(bytes[32], 0xff);
    }

    #[test]
    fn an_entry_that_does_not_fit_takes_no_lookup_count() {
        let mut bytes = [0; 170];
        let mut filler = DirFiller::new(&mut bytes, true);
        let mut counts = 0;
        let mut plus = |filler: &mut DirFiller<'_>| {
            filler.push_plus(7, DirPos(1), None, "name", || {
                counts += 1;
                Ok(Entry::new(NodeId::ROOT, Attr::file(7, 0)))
            })
        };
        assert_eq!(plus(&mut filler), Ok(()));
        assert_eq!(plus(&mut filler), Err(DirError::Full));
        assert_eq!(counts, 1);
        assert_eq!(filler.finish(), Ok(160));
        assert_eq!(bytes[0], 1, "the node id of the entry");
    }

    #[test]
    fn dots_and_failures_get_no_node() {
        let mut bytes = [0xff; 512];
        let mut filler = DirFiller::new(&mut bytes, true);
        filler.push_plus(1, DirPos(1), None, "..", || unreachable!()).unwrap();
        filler.push_plus(2, DirPos(2), None, "gone", || Err(Errno::ENOENT)).unwrap();
        assert_eq!(filler.finish(), Ok(2 * 160));
        assert_eq!(bytes[..8], [0; 8]);
        assert_eq!(bytes[160..168], [0; 8]);
    }

    #[test]
    fn the_first_entry_not_fitting_is_an_error_not_the_end() {
        let mut bytes = [0; 24];
        let mut filler = DirFiller::new(&mut bytes, false);
        assert_eq!(push(&mut filler, "long"), Err(DirError::Full));
        assert_eq!(filler.finish(), Err(Errno::EINVAL));
        assert_eq!(DirFiller::new(&mut bytes, false).finish(), Ok(0));
    }

    #[test]
    fn impossible_names_are_refused() {
        let mut bytes = [0; 8192];
        let mut filler = DirFiller::new(&mut bytes, false);
        for name in ["", "a/b", "nul\0", "n".repeat(4096).as_str()] {
            assert_eq!(push(&mut filler, name), Err(DirError::InvalidName), "{name:?}");
        }
        push(&mut filler, &"n".repeat(4095)).unwrap();
    }
}
