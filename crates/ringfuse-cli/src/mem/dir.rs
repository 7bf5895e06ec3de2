//! The content of a directory: names, each with the node it leads to and with a position that never changes.
//!
//! A name gets the next free position when it is added, and keeps it as long as it is there, whatever is put in its
//! place by a rename. Positions are not used again. So a listing that goes on "after position p" shows each name that
//! stays exactly once, however many others come and go meanwhile, and telldir(3) stays valid for ever.
//!
//! Each name is found in two ways, by itself and by its position; the bytes are shared.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use ringfuse::{DirPos, Errno, FileType, NodeId, Result};

/// What a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Child {
    pub(super) node: NodeId,
    pub(super) kind: FileType,
}

/// The names in one directory, `.` and `..` not among them.
#[derive(Debug)]
pub(super) struct Dir {
    by_name: HashMap<Arc<[u8]>, (u64, Child)>,
    by_pos: BTreeMap<u64, (Arc<[u8]>, Child)>,
    next: u64,
    removed: bool,
}

impl Dir {
    /// The positions of `.` and `..`, which a listing begins with.
    pub(super) const DOTS: [DirPos; 2] = [DirPos(1), DirPos(2)];

    pub(super) fn new() -> Self {
        Self { by_name: HashMap::new(), by_pos: BTreeMap::new(), next: 3, removed: false }
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// What a name leads to.
    ///
    /// # Errors
    ///
    /// `ENOENT` if it is not there.
    pub(super) fn find(&self, name: &[u8]) -> Result<Child> {
        self.by_name.get(name).map(|(_, child)| *child).ok_or(Errno::ENOENT)
    }

    /// Checks that a name could be added.
    ///
    /// # Errors
    ///
    /// `ENOENT` if the directory is removed, `EEXIST` if the name is there.
    pub(super) fn vacant(&self, name: &[u8]) -> Result<()> {
        match self {
            Self { removed: true, .. } => Err(Errno::ENOENT),
            _ if self.by_name.contains_key(name) => Err(Errno::EEXIST),
            _ => Ok(()),
        }
    }

    /// Adds a name at the end, or has one that is there lead elsewhere.
    pub(super) fn set(&mut self, name: &[u8], child: Child) {
        match self.by_name.entry(name.into()) {
            Entry::Occupied(mut entry) => {
                let pos = entry.get().0;
                entry.insert((pos, child));
                if let Some(there) = self.by_pos.get_mut(&pos) {
                    there.1 = child;
                }
            }
            Entry::Vacant(entry) => {
                let pos = self.next;
                self.next += 1;
                self.by_pos.insert(pos, (Arc::clone(entry.key()), child));
                entry.insert((pos, child));
            }
        }
    }

    /// Removes a name, which need not be there.
    pub(super) fn remove(&mut self, name: &[u8]) {
        if let Some((pos, _)) = self.by_name.remove(name) {
            self.by_pos.remove(&pos);
            if self.by_name.len() < self.by_name.capacity() / 8 {
                self.by_name.shrink_to(2 * self.by_name.len());
            }
        }
    }

    /// Sees to it that nothing is added any more.
    ///
    /// # Errors
    ///
    /// `ENOTEMPTY` if there are names in it.
    pub(super) fn retire(&mut self) -> Result<()> {
        if self.len() != 0 {
            return Err(Errno::ENOTEMPTY);
        }
        self.removed = true;
        Ok(())
    }

    /// The names after a position, each with its own.
    pub(super) fn after(&self, pos: DirPos) -> impl Iterator<Item = (DirPos, &[u8], Child)> {
        let behind = (Bound::Excluded(pos.get()), Bound::Unbounded);
        self.by_pos.range(behind).map(|(pos, (name, child))| (DirPos(*pos), &**name, *child))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(number: u64) -> Child {
        Child { node: NodeId::new(number).unwrap(), kind: FileType::Regular }
    }

    fn name(number: u64) -> Vec<u8> {
        format!("name-{number}").into_bytes()
    }

    #[test]
    fn names_are_found_and_removed() {
        let mut dir = Dir::new();
        dir.set(b"a", child(2));
        assert_eq!((dir.find(b"a"), dir.find(b"b")), (Ok(child(2)), Err(Errno::ENOENT)));
        assert_eq!((dir.vacant(b"a"), dir.vacant(b"b")), (Err(Errno::EEXIST), Ok(())));
        assert_eq!(dir.retire(), Err(Errno::ENOTEMPTY));
        dir.remove(b"a");
        dir.remove(b"a");
        dir.retire().unwrap();
        assert_eq!((dir.len(), dir.vacant(b"b")), (0, Err(Errno::ENOENT)));
    }

    #[test]
    fn a_listing_shows_each_name_that_stays_exactly_once() {
        let mut dir = Dir::new();
        for i in 0..1000 {
            dir.set(&name(i), child(i + 2));
        }
        // Those of 0..1000 that 3 divides stay; of the others one goes, and one comes, with every ten that are read.
        let (mut seen, mut pos, mut round) = (Vec::new(), DirPos::START, 0);
        loop {
            let batch: Vec<_> = dir.after(pos).take(10).map(|(pos, name, _)| (pos, name.to_vec())).collect();
            let Some((last, _)) = batch.last() else { break };
            pos = *last;
            seen.extend(batch.into_iter().map(|(_, name)| name));
            if round < 600 {
                let other = (round / 2) * 3 + 1 + round % 2;
                dir.remove(&name(other));
                dir.set(&name(other + 5000), child(9999));
            }
            round += 1;
        }
        for i in (0..1000).step_by(3) {
            assert_eq!(seen.iter().filter(|seen| **seen == name(i)).count(), 1, "{i}");
        }
        let all = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), all, "no name is shown twice");
    }

    #[test]
    fn a_name_keeps_its_position_when_it_leads_elsewhere() {
        let mut dir = Dir::new();
        for i in 0..3 {
            dir.set(&name(i), child(i + 2));
        }
        dir.set(&name(1), child(77));
        let listed: Vec<_> = dir.after(DirPos::START).map(|(pos, _, child)| (pos.get(), child)).collect();
        assert_eq!(listed, [(3, child(2)), (4, child(77)), (5, child(4))]);
        assert_eq!(dir.find(&name(1)), Ok(child(77)));
        dir.remove(&name(1));
        dir.set(&name(1), child(8));
        assert_eq!(dir.after(DirPos(5)).count(), 1, "a position is not used again");
    }
}
