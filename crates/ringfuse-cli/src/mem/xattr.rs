//! Extended attributes of one inode.

use std::collections::BTreeMap;

use ringfuse::{BytesOut, Errno, Result};

use super::space::{PAGE, Pages};

/// The access list and the default list of `acl(5)`.
pub(super) const ACL_ACCESS: &[u8] = b"system.posix_acl_access";
pub(super) const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";
/// The capabilities of a program, which a change of the file takes away.
pub(super) const CAPABILITY: &[u8] = b"security.capability";

/// The longest list of names that `listxattr(2)` returns; more names than that could not be listed.
const LIST_MAX: usize = 64 << 10;

/// Names with their values. Both are charged as space, in whole pages.
#[derive(Debug)]
pub(super) struct Xattrs {
    values: BTreeMap<Box<[u8]>, Box<[u8]>>,
    /// Bytes of all names, each with its NUL, and of all values.
    names: usize,
    bytes: usize,
    used: Pages,
}

/// Whether an attribute has a namespace that is kept here. Who may do what with each is up to the kernel.
///
/// # Errors
///
/// `EOPNOTSUPP` if it has not.
pub(super) fn check_name(name: &[u8], acl: bool) -> Result<()> {
    let plain = [&b"user."[..], b"trusted.", b"security."];
    let known = plain.iter().any(|namespace| name.len() > namespace.len() && name.starts_with(namespace));
    if known || (acl && is_acl(name)) { Ok(()) } else { Err(Errno::EOPNOTSUPP) }
}

pub(super) fn is_acl(name: &[u8]) -> bool {
    name == ACL_ACCESS || name == ACL_DEFAULT
}

impl Xattrs {
    pub(super) fn new(used: Pages) -> Self {
        Self { values: BTreeMap::new(), names: 0, bytes: 0, used }
    }

    pub(super) fn pages(&self) -> u64 {
        self.used.count()
    }

    /// The value of an attribute.
    ///
    /// # Errors
    ///
    /// `ENODATA` if there is no such attribute.
    pub(super) fn get(&self, name: &[u8]) -> Result<&[u8]> {
        self.values.get(name).map(|value| &**value).ok_or(Errno::ENODATA)
    }

    /// Sets an attribute; `flags` are those of `setxattr(2)`.
    ///
    /// # Errors
    ///
    /// `EEXIST` and `ENODATA` by the flags, `ENOSPC`.
    pub(super) fn set(&mut self, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        let old = self.values.get(name).map(|old| old.len());
        match (flags as i32, old) {
            (libc::XATTR_CREATE, Some(_)) => return Err(Errno::EEXIST),
            (libc::XATTR_REPLACE, None) => return Err(Errno::ENODATA),
            _ => {}
        }
        let new_name = if old.is_none() { name.len() + 1 } else { 0 };
        if self.names + new_name > LIST_MAX {
            return Err(Errno::ENOSPC);
        }
        self.charge(self.bytes - old.unwrap_or(0) + new_name + value.len())?;
        self.names += new_name;
        self.values.insert(name.into(), value.into());
        Ok(())
    }

    /// Removes an attribute.
    ///
    /// # Errors
    ///
    /// `ENODATA` if there is no such attribute.
    pub(super) fn remove(&mut self, name: &[u8]) -> Result<()> {
        let value = self.values.remove(name).ok_or(Errno::ENODATA)?;
        self.names -= name.len() + 1;
        self.charge(self.bytes - value.len() - name.len() - 1)
    }

    /// Lists the names; those of `trusted.` for the privileged alone.
    ///
    /// # Errors
    ///
    /// `ERANGE` where there is no room for them.
    pub(super) fn list(&self, privileged: impl FnOnce() -> bool, out: &mut BytesOut<'_>) -> Result<()> {
        let trusted = |name: &[u8]| name.starts_with(b"trusted.");
        let all = self.values.keys().any(|name| trusted(name)) && privileged();
        let listed = self.values.keys().filter(|name| all || !trusted(name));
        listed.into_iter().try_for_each(|name| out.put_name(name))
    }

    fn charge(&mut self, bytes: usize) -> Result<()> {
        let pages = bytes.div_ceil(PAGE) as u64;
        match pages.checked_sub(self.used.count()) {
            Some(more) => self.used.grow(more)?,
            None => self.used.shrink(self.used.count() - pages),
        }
        self.bytes = bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::space::Space;
    use super::*;

    #[test]
    fn flags_and_names() {
        let mut xattrs = Xattrs::new(Space::new(100, 1).no_pages());
        let (create, replace) = (libc::XATTR_CREATE as u32, libc::XATTR_REPLACE as u32);
        assert_eq!(xattrs.set(b"user.a", b"1", replace), Err(Errno::ENODATA));
        xattrs.set(b"user.a", b"1", create).unwrap();
        assert_eq!(xattrs.set(b"user.a", b"2", create), Err(Errno::EEXIST));
        xattrs.set(b"user.a", b"", replace).unwrap();
        assert_eq!(xattrs.get(b"user.a"), Ok(&b""[..]));
        assert_eq!((xattrs.names, xattrs.bytes, xattrs.pages()), (7, 7, 1));
        xattrs.remove(b"user.a").unwrap();
        assert_eq!(xattrs.remove(b"user.a"), Err(Errno::ENODATA));
        assert_eq!((xattrs.names, xattrs.bytes, xattrs.pages()), (0, 0, 0));
        for (name, known) in [("user.x", true), ("user.", false), ("system.x", false), ("plain", false)] {
            assert_eq!(check_name(name.as_bytes(), true).is_ok(), known, "{name}");
        }
        assert!(check_name(ACL_ACCESS, true).is_ok() && check_name(ACL_ACCESS, false).is_err());
    }

    #[test]
    fn space_is_charged_and_what_does_not_fit_changes_nothing() {
        let space = Space::new(3, 1);
        let mut xattrs = Xattrs::new(space.no_pages());
        xattrs.set(b"user.big", &[1; 9000], 0).unwrap();
        assert_eq!(space.pages_in_use(), 3);
        assert_eq!(xattrs.set(b"user.big", &[2; 60_000], 0), Err(Errno::ENOSPC));
        assert_eq!(xattrs.get(b"user.big").unwrap()[0], 1);
        xattrs.set(b"user.big", &[3; 10], 0).unwrap();
        assert_eq!(space.pages_in_use(), 1);
        drop(xattrs);
        assert_eq!(space.pages_in_use(), 0);
    }

    #[test]
    fn all_names_can_be_listed() {
        let mut xattrs = Xattrs::new(Space::new(1000, 1).no_pages());
        let set = |i: usize| xattrs.set(format!("user.{i:0>250}").as_bytes(), b"", 0);
        assert_eq!((0..1000).map(set).position(|result| result == Err(Errno::ENOSPC)), Some(LIST_MAX / 256));
    }
}
