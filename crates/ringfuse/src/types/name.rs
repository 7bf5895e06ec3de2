//! A file name as the kernel sends it.

use std::ffi::{CStr, OsStr};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// One component of a path, checked: 1 to 4095 bytes, without a slash and without a NUL, and followed in memory
/// by a NUL, so that it can be handed to a system call as it is.
///
/// Any other bytes may occur; a name need not be UTF-8. The kernel limits names to 1024 bytes, and from 6.15
/// on to 4095; a filesystem with a lower limit answers [`Errno::ENAMETOOLONG`](crate::Errno::ENAMETOOLONG).
/// `.` and `..` occur only in a `lookup` of a filesystem that asked for
/// [`EXPORT_SUPPORT`](crate::Capabilities::EXPORT_SUPPORT).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name<'a>(&'a CStr);

/// Why some bytes are no [`Name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// There is no byte before the NUL.
    #[error("a file name is empty")]
    Empty,
    /// There is a slash in it.
    #[error("a file name contains a slash")]
    Slash,
    /// It is longer than `FUSE_NAME_MAX`, 4095 bytes.
    #[error("a file name is longer than 4095 bytes")]
    TooLong,
}

impl<'a> Name<'a> {
    /// The longest name, in bytes and without the NUL: that of the kernel from 6.15 on, `PATH_MAX` - 1.
    pub const MAX_LEN: usize = 4095;

    /// Checks a C string.
    ///
    /// # Errors
    ///
    /// If it is empty, longer than [`Name::MAX_LEN`], or contains a slash.
    pub fn new(name: &'a CStr) -> Result<Self, InvalidName> {
        match name.to_bytes() {
            [] => Err(InvalidName::Empty),
            bytes if bytes.len() > Self::MAX_LEN => Err(InvalidName::TooLong),
            bytes if bytes.contains(&b'/') => Err(InvalidName::Slash),
            _ => Ok(Self(name)),
        }
    }

    /// The bytes, without the NUL.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0.to_bytes()
    }

    /// As an `OsStr`.
    pub fn as_os_str(self) -> &'a OsStr {
        OsStr::from_bytes(self.as_bytes())
    }

    /// As a relative path of one component.
    pub fn as_path(self) -> &'a Path {
        Path::new(self.as_os_str())
    }

    /// With its NUL, for a system call.
    pub fn as_c_str(self) -> &'a CStr {
        self.0
    }
}

impl AsRef<OsStr> for Name<'_> {
    fn as_ref(&self) -> &OsStr {
        self.as_os_str()
    }
}

impl AsRef<Path> for Name<'_> {
    fn as_ref(&self) -> &Path {
        self.as_path()
    }
}

impl AsRef<[u8]> for Name<'_> {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq<str> for Name<'_> {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Name<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_os_str().fmt(f)
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_os_str().display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_a_name() {
        let longest = std::ffi::CString::new(vec![b'n'; Name::MAX_LEN]).unwrap();
        let too_long = std::ffi::CString::new(vec![b'n'; Name::MAX_LEN + 1]).unwrap();
        assert_eq!(Name::new(&longest).unwrap().as_bytes().len(), 4095);
        assert_eq!(Name::new(&too_long), Err(InvalidName::TooLong));
        assert_eq!(Name::new(c""), Err(InvalidName::Empty));
        assert_eq!(Name::new(c"a/b"), Err(InvalidName::Slash));
        assert_eq!(Name::new(c"\xff\n").unwrap().as_bytes(), b"\xff\n");
    }

    #[test]
    fn the_views_of_a_name_agree() {
        let name = Name::new(c"hello").unwrap();
        assert_eq!(name, "hello");
        assert_eq!(name.as_os_str(), "hello");
        assert_eq!(name.as_path(), Path::new("hello"));
        assert_eq!(name.as_c_str(), c"hello");
    }
}
