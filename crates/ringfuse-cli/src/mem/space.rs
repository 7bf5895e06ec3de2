//! What the filesystem may take of the machine: a number of pages and a number of inodes.
//!
//! Both are counted by values that give back what they hold when they are dropped ([`Pages`], [`InodeSlot`]), so that
//! nothing is forgotten on the many ways by which a file can go.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ringfuse::{Errno, Result, Statfs};

/// The unit of space in bytes: what a file is stored in, and what `st_blocks` and `statfs` are counted by.
pub(super) const PAGE: usize = 4096;

/// The limits, and how much of them is in use.
#[derive(Debug)]
pub(super) struct Space {
    pages: Pool,
    inodes: Pool,
}

#[derive(Debug)]
struct Pool {
    limit: u64,
    used: AtomicU64,
}

impl Space {
    pub(super) fn new(pages: u64, inodes: u64) -> Arc<Self> {
        Arc::new(Self { pages: Pool::new(pages), inodes: Pool::new(inodes) })
    }

    /// Takes an inode.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if there is none left.
    pub(super) fn inode(self: &Arc<Self>) -> Result<InodeSlot> {
        if self.inodes.take(1) { Ok(InodeSlot(Arc::clone(self))) } else { Err(Errno::ENOSPC) }
    }

    /// No pages yet, to be grown.
    pub(super) fn no_pages(self: &Arc<Self>) -> Pages {
        Pages { space: Arc::clone(self), count: 0 }
    }

    pub(super) fn statfs(&self) -> Statfs {
        let mut stat = Statfs::default();
        (stat.blocks, stat.bfree) = (self.pages.limit, self.pages.free());
        stat.bavail = stat.bfree;
        (stat.files, stat.ffree) = (self.inodes.limit, self.inodes.free());
        (stat.bsize, stat.frsize) = (PAGE as u32, PAGE as u32);
        stat
    }

    pub(super) fn pages_in_use(&self) -> u64 {
        self.pages.used.load(Relaxed)
    }

    pub(super) fn inodes_in_use(&self) -> u64 {
        self.inodes.used.load(Relaxed)
    }
}

impl Pool {
    fn new(limit: u64) -> Self {
        Self { limit, used: AtomicU64::new(0) }
    }

    fn free(&self) -> u64 {
        self.limit.saturating_sub(self.used.load(Relaxed))
    }

    /// Takes all of it or nothing.
    fn take(&self, count: u64) -> bool {
        let fits = |used: u64| used.checked_add(count).filter(|sum| *sum <= self.limit);
        self.used.fetch_update(Relaxed, Relaxed, fits).is_ok()
    }

    /// Takes as much of it as there is.
    fn take_up_to(&self, count: u64) -> u64 {
        let sum = |used: u64| Some(used + count.min(self.limit.saturating_sub(used)));
        // The closure never refuses, so both variants hold what was in use before.
        let (Ok(before) | Err(before)) = self.used.fetch_update(Relaxed, Relaxed, sum);
        count.min(self.limit.saturating_sub(before))
    }

    fn give(&self, count: u64) {
        self.used.fetch_sub(count, Relaxed);
    }
}

/// One inode of the limit.
#[derive(Debug)]
pub(super) struct InodeSlot(Arc<Space>);

impl Drop for InodeSlot {
    fn drop(&mut self) {
        self.0.inodes.give(1);
    }
}

/// Pages of the limit, held for one file.
#[derive(Debug)]
pub(super) struct Pages {
    space: Arc<Space>,
    count: u64,
}

impl Pages {
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Takes that many more.
    ///
    /// # Errors
    ///
    /// `ENOSPC`, and then none is taken.
    pub(super) fn grow(&mut self, count: u64) -> Result<()> {
        if !self.space.pages.take(count) {
            return Err(Errno::ENOSPC);
        }
        self.count += count;
        Ok(())
    }

    /// Takes that many more, or as many as there are, and returns how many that was.
    pub(super) fn grow_up_to(&mut self, count: u64) -> u64 {
        if count == 0 {
            return 0;
        }
        let taken = self.space.pages.take_up_to(count);
        self.count += taken;
        taken
    }

    /// Gives that many back.
    pub(super) fn shrink(&mut self, count: u64) {
        self.count -= count;
        self.space.pages.give(count);
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.space.pages.give(self.count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_given_back() {
        let space = Space::new(10, 1);
        let (mut a, mut b) = (space.no_pages(), space.no_pages());
        a.grow(6).unwrap();
        assert_eq!(b.grow(5), Err(Errno::ENOSPC));
        assert_eq!((b.grow_up_to(5), b.grow_up_to(5)), (4, 0));
        assert_eq!(space.statfs().bfree, 0);
        a.shrink(1);
        assert_eq!((space.statfs().bfree, space.pages_in_use()), (1, 9));
        drop((a, b));
        assert_eq!(space.statfs().bfree, 10);
        let slot = space.inode().unwrap();
        assert_eq!(space.inode().unwrap_err(), Errno::ENOSPC);
        drop(slot);
        assert_eq!(space.inodes_in_use(), 0);
    }
}
