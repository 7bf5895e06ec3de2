//! Access control lists, `acl(5)`: how they and the mode of a file go together.
//!
//! The kernel asks for the lists as extended attributes and checks access by them; what is left to a filesystem is to
//! keep list and mode in step, and to hand the default list of a directory on to what is created in it. All of it
//! follows what the kernel does for its own filesystems.

use ringfuse::{Errno, Result};

const VERSION: u32 = 2;

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    tag: u16,
    perm: u16,
    id: u32,
}

/// A valid list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Acl(Vec<Entry>);

impl Acl {
    /// Reads the value of an attribute; `None` for a list of nothing, which stands for no list.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` for another version, `EINVAL` for what is no list.
    pub(super) fn parse(value: &[u8]) -> Result<Option<Self>> {
        let (version, entries) = value.split_first_chunk().ok_or(Errno::EINVAL)?;
        if u32::from_le_bytes(*version) != VERSION {
            return Err(Errno::EOPNOTSUPP);
        }
        let (entries, rest) = entries.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(Errno::EINVAL);
        }
        let entry = |&[a, b, c, d, e, f, g, h]: &[u8; 8]| Entry {
            tag: u16::from_le_bytes([a, b]),
            perm: u16::from_le_bytes([c, d]),
            id: u32::from_le_bytes([e, f, g, h]),
        };
        let acl = Self(entries.iter().map(entry).collect());
        match acl.0.is_empty() {
            true => Ok(None),
            false if acl.is_valid() => Ok(Some(acl)),
            false => Err(Errno::EINVAL),
        }
    }

    /// The value of the attribute.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut value = VERSION.to_le_bytes().to_vec();
        for entry in &self.0 {
            value.extend(entry.tag.to_le_bytes());
            value.extend(entry.perm.to_le_bytes());
            value.extend(entry.id.to_le_bytes());
        }
        value
    }

    /// Owner, named users, group, named groups, mask, others, in this order; the mask where there is a named one.
    fn is_valid(&self) -> bool {
        let count = |tag| self.0.iter().filter(|entry| entry.tag == tag).count();
        self.0.iter().all(|entry| entry.perm <= 7)
            && self.0.is_sorted_by_key(|entry| entry.tag)
            && [USER_OBJ, GROUP_OBJ, OTHER].into_iter().all(|tag| count(tag) == 1)
            && count(MASK) <= 1
            && (count(MASK) == 1 || count(USER) + count(GROUP) == 0)
            && self.0.iter().all(|entry| entry.tag.is_power_of_two() && entry.tag <= OTHER)
    }

    /// Whether the list says nothing that the mode does not say.
    pub(super) fn is_minimal(&self) -> bool {
        self.0.len() == 3
    }

    /// The permissions of the mode that goes with the list: the mask, where there is one, is the group's.
    pub(super) fn mode(&self) -> u32 {
        let group = self.group_class();
        let perm =
            |tag| self.0.iter().find(|entry| entry.tag == tag).map_or(0, |entry| u32::from(entry.perm));
        perm(USER_OBJ) << 6 | perm(group) << 3 | perm(OTHER)
    }

    /// Takes over the permissions of a mode, as `chmod(2)` does.
    pub(super) fn chmod(&mut self, mode: u32) {
        self.set(|_, perm| perm, mode);
    }

    /// Makes of a default list the access list of something that is created with `mode`: neither gives more than the
    /// other. [`Acl::mode`] then tells the mode that it has.
    pub(super) fn inherit(&mut self, mode: u32) {
        self.set(|old, perm| old & perm, mode);
    }

    fn set(&mut self, merge: impl Fn(u16, u16) -> u16, mode: u32) {
        let group = self.group_class();
        for entry in &mut self.0 {
            let shift = match entry.tag {
                USER_OBJ => 6,
                OTHER => 0,
                tag if tag == group => 3,
                _ => continue,
            };
            entry.perm = merge(entry.perm, (mode >> shift & 7) as u16);
        }
    }

    /// The entry that the group's bits of the mode stand for.
    fn group_class(&self) -> u16 {
        if self.0.iter().any(|entry| entry.tag == MASK) { MASK } else { GROUP_OBJ }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: u32 = u32::MAX;

    fn acl(entries: &[(u16, u16, u32)]) -> Acl {
        Acl(entries.iter().map(|&(tag, perm, id)| Entry { tag, perm, id }).collect())
    }

    fn full() -> Acl {
        acl(&[
            (USER_OBJ, 7, NONE),
            (USER, 6, 1000),
            (GROUP_OBJ, 4, NONE),
            (GROUP, 1, 100),
            (MASK, 7, NONE),
            (OTHER, 5, NONE),
        ])
    }

    #[test]
    fn a_list_goes_to_bytes_and_back() {
        assert_eq!(Acl::parse(&full().encode()), Ok(Some(full())));
        assert_eq!(Acl::parse(&acl(&[]).encode()), Ok(None));
        assert_eq!(Acl::parse(&full().encode()[..10]), Err(Errno::EINVAL));
        assert_eq!(Acl::parse(b"\x02\0\0"), Err(Errno::EINVAL));
        assert_eq!(Acl::parse(b"\x03\0\0\0"), Err(Errno::EOPNOTSUPP));
    }

    #[test]
    fn lists_that_are_not_whole_are_refused() {
        let (owner, group, other) = ((USER_OBJ, 7, NONE), (GROUP_OBJ, 5, NONE), (OTHER, 0, NONE));
        for entries in [
            &[owner, group][..],
            &[owner, (USER, 5, 7), group, other],
            &[owner, other, group],
            &[owner, owner, group, other],
            &[(USER_OBJ, 8, NONE), group, other],
            &[owner, group, other, (0x40, 0, NONE)],
        ] {
            assert_eq!(Acl::parse(&acl(entries).encode()), Err(Errno::EINVAL), "{entries:?}");
        }
        assert!(acl(&[owner, group, (MASK, 0, NONE), other]).is_valid());
    }

    #[test]
    fn the_group_of_the_mode_is_the_mask() {
        assert_eq!(full().mode(), 0o775);
        let mut list = full();
        list.chmod(0o640);
        assert_eq!(list.mode(), 0o640);
        assert!(list.0.contains(&Entry { tag: GROUP_OBJ, perm: 4, id: NONE }));
        let mut minimal = acl(&[(USER_OBJ, 7, NONE), (GROUP_OBJ, 5, NONE), (OTHER, 0, NONE)]);
        assert!(minimal.is_minimal() && minimal.mode() == 0o750);
        minimal.chmod(0o604);
        assert_eq!(minimal.mode(), 0o604);
    }

    #[test]
    fn what_is_inherited_gives_no_more_than_was_asked_for() {
        let mut list = full();
        list.inherit(0o666);
        assert_eq!(list.mode(), 0o664);
        assert!(list.0.contains(&Entry { tag: USER, perm: 6, id: 1000 }));
        assert!(list.0.contains(&Entry { tag: MASK, perm: 6, id: NONE }));
    }
}
