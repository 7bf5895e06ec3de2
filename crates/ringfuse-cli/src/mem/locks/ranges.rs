//! The locks on one file: ranges, split and merged as they are set and given up.

use ringfuse::{Fh, Lock, LockKind, LockOwner};

/// A lock that is wanted or held: who, what, and from where to where, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Want {
    pub(crate) owner: LockOwner,
    pub(crate) handle: Fh,
    pub(crate) kind: LockKind,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) pid: u32,
}

impl Want {
    pub(crate) fn new(owner: LockOwner, handle: Fh, lock: Lock) -> Self {
        Self { owner, handle, kind: lock.kind, start: lock.start, end: lock.end, pid: lock.pid }
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    /// Whether the two can be one: same owner and kind, and no byte between them.
    fn joins(&self, other: &Self) -> bool {
        (self.owner, self.handle, self.kind) == (other.owner, other.handle, other.kind)
            && self.start <= other.end.saturating_add(1)
            && other.start <= self.end.saturating_add(1)
    }
}

/// The locks held on one file. Those of one owner do not overlap.
#[derive(Debug, Default)]
pub(super) struct Ranges(Vec<Want>);

impl Ranges {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The locks of others that stand in the way of one.
    pub(super) fn conflicts(&self, want: &Want) -> impl Iterator<Item = &Want> {
        self.0.iter().filter(move |held| {
            held.owner != want.owner
                && held.overlaps(want)
                && match want.kind {
                    LockKind::Unlock => false,
                    LockKind::Read => held.kind == LockKind::Write,
                    LockKind::Write => true,
                }
        })
    }

    pub(super) fn conflict(&self, want: &Want) -> Option<&Want> {
        self.conflicts(want).min_by_key(|held| held.start)
    }

    /// Puts a lock in place of what its owner has in its range; `Unlock` puts nothing there.
    pub(super) fn set(&mut self, mut want: Want) {
        let cut_out = |held: Want| {
            let mine = held.owner == want.owner && held.overlaps(&want);
            let before = mine && held.start < want.start;
            let after = mine && held.end > want.end;
            let parts = [
                (!mine).then_some(held),
                before.then(|| Want { end: want.start - 1, ..held }),
                after.then(|| Want { start: want.end + 1, ..held }),
            ];
            parts.into_iter().flatten()
        };
        self.0 = std::mem::take(&mut self.0).into_iter().flat_map(cut_out).collect();
        if want.kind == LockKind::Unlock {
            return;
        }
        // What it joins has been cut apart, so at most one lies on either side.
        self.0.retain(|held| {
            let joins = held.joins(&want);
            if joins {
                (want.start, want.end) = (want.start.min(held.start), want.end.max(held.end));
            }
            !joins
        });
        self.0.push(want);
    }

    /// Gives up locks, and returns those that there were.
    pub(super) fn remove(&mut self, which: impl Fn(&Want) -> bool) -> Vec<Want> {
        self.0.extract_if(.., |held| which(held)).collect()
    }

    /// Whether an owner has any.
    pub(super) fn has(&self, owner: LockOwner) -> bool {
        self.0.iter().any(|held| held.owner == owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(owner: u64, kind: LockKind, start: u64, end: u64) -> Want {
        Want { owner: LockOwner(owner), handle: Fh(0), kind, start, end, pid: owner as u32 }
    }

    fn held(ranges: &Ranges, owner: u64) -> Vec<(LockKind, u64, u64)> {
        let mine = ranges.0.iter().filter(|held| held.owner == LockOwner(owner));
        let mut list: Vec<_> = mine.map(|held| (held.kind, held.start, held.end)).collect();
        list.sort_by_key(|(_, start, _)| *start);
        list
    }

    #[test]
    fn a_lock_is_split_by_another_kind_and_merged_again() {
        use LockKind::{Read, Unlock, Write};
        let mut ranges = Ranges::default();
        ranges.set(want(1, Write, 0, 99));
        ranges.set(want(1, Read, 40, 59));
        assert_eq!(held(&ranges, 1), [(Write, 0, 39), (Read, 40, 59), (Write, 60, 99)]);
        ranges.set(want(1, Unlock, 50, 69));
        assert_eq!(held(&ranges, 1), [(Write, 0, 39), (Read, 40, 49), (Write, 70, 99)]);
        ranges.set(want(1, Write, 40, 69));
        assert_eq!(held(&ranges, 1), [(Write, 0, 99)]);
        ranges.set(want(1, Write, 100, u64::MAX));
        assert_eq!(held(&ranges, 1), [(Write, 0, u64::MAX)]);
        ranges.set(want(1, Unlock, 0, u64::MAX));
        assert_eq!(ranges.len(), 0);
    }

    #[test]
    fn owners_share_to_read_and_exclude_each_other_to_write() {
        use LockKind::{Read, Unlock, Write};
        let mut ranges = Ranges::default();
        ranges.set(want(1, Read, 0, 9));
        ranges.set(want(2, Read, 5, 14));
        assert_eq!(ranges.conflict(&want(3, Read, 0, 20)), None);
        assert_eq!(ranges.conflict(&want(3, Write, 9, 20)).unwrap().pid, 1);
        assert_eq!(ranges.conflict(&want(1, Write, 0, 4)), None);
        assert_eq!(ranges.conflict(&want(1, Write, 0, 5)).unwrap().pid, 2);
        assert_eq!(ranges.conflict(&want(3, Unlock, 0, 20)), None);
        assert_eq!(ranges.remove(|held| held.owner == LockOwner(1)).len(), 1);
        assert!(!ranges.has(LockOwner(1)) && ranges.has(LockOwner(2)));
        assert_eq!(ranges.conflict(&want(3, Write, 0, 4)), None);
    }

    #[test]
    fn agrees_with_a_model_of_single_bytes() {
        const BYTES: u64 = 24;
        let (mut ranges, mut model) = (Ranges::default(), vec![[None; BYTES as usize]; 3]);
        let mut seed = 1u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for _ in 0..20_000 {
            let (owner, a, b) = (random(3), random(BYTES), random(BYTES));
            let kind = [LockKind::Read, LockKind::Write, LockKind::Unlock][random(3) as usize];
            let want = want(owner, kind, a.min(b), a.max(b));
            let bytes = a.min(b) as usize..=a.max(b) as usize;
            let blocked = model.iter().enumerate().any(|(other, locks)| {
                other as u64 != owner
                    && locks[bytes.clone()].iter().flatten().any(|held| {
                        kind == LockKind::Write || kind == LockKind::Read && *held == LockKind::Write
                    })
            });
            assert_eq!(ranges.conflict(&want).is_some(), blocked);
            if !blocked {
                ranges.set(want);
                model[owner as usize][bytes].fill((kind != LockKind::Unlock).then_some(kind));
            }
            for (owner, locks) in model.iter().enumerate() {
                let mut runs: Vec<(LockKind, u64, u64)> = Vec::new();
                for (at, kind) in
                    locks.iter().enumerate().filter_map(|(at, kind)| Some((at as u64, (*kind)?)))
                {
                    match runs.last_mut() {
                        Some((last, _, end)) if *last == kind && *end + 1 == at => *end = at,
                        _ => runs.push((kind, at, at)),
                    }
                }
                assert_eq!(held(&ranges, owner as u64), runs);
            }
        }
    }
}
