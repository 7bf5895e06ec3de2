//! Open files: reading, writing, space.

use std::ops::Range;

use ringfuse::{Errno, Fh, Name, NodeId, OpenFlags, Opened, Request, Result, op};

use super::MemFs;
use super::flags::{APPEND, IMMUTABLE};
use super::names::{Birth, Make};
use super::node::Node;
use crate::caller::Asker;

/// How much one `copy_file_range` copies at most: others wait for the worker meanwhile, and the program asks again.
const COPY_MAX: u64 = 4 << 20;

impl MemFs {
    pub(super) fn open_file(&self, op: &op::Open) -> Result<Opened> {
        let node = self.nodes.get(op.node)?;
        let mut meta = node.meta();
        if op.flags.writes() {
            meta.permit(IMMUTABLE)?;
            if !op.flags.contains(libc::O_APPEND) {
                meta.permit(APPEND)?;
            }
        }
        meta.opens += 1;
        // Where a read is to be noted, it must come here.
        let alone = meta.opens == 1 && op.flags.reads();
        let noted = alone && self.atime_is_due(&meta, self.now());
        Ok(self.opened(!noted))
    }

    /// The answer for a file that is opened: the kernel's pages stay valid, since nobody else writes.
    fn opened(&self, keep: bool) -> Opened {
        let opened = Opened::new(self.new_handle());
        let opened = match (self.options.direct, keep) {
            (true, _) => opened.direct_io().parallel_direct_writes(),
            (false, true) => opened.keep_cache(),
            (false, false) => opened,
        };
        // There is nothing to be done when a descriptor is closed, but to give up locks.
        if self.locks.is_some() { opened } else { opened.no_flush() }
    }

    fn new_handle(&self) -> Fh {
        Fh(self.next_handle.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
    }

    pub(super) fn open_dir(&self, op: &op::Open) -> Result<Opened> {
        let node = self.nodes.get(op.node)?;
        node.directory()?;
        node.meta().opens += 1;
        // The kernel knows of each change of a directory, so what it has of the listing stays valid too.
        Ok(Opened::new(self.new_handle()).cache_dir().keep_cache())
    }

    pub(super) fn create_file(
        &self,
        rq: &Request<'_>,
        op: &op::Create<'_>,
    ) -> Result<(ringfuse::Entry, Opened)> {
        let birth = self.birth(rq, op.mode, op.creation, true)?;
        let node = self.make(op.parent, op.name, birth, Make::File)?;
        Ok((self.told(&node), self.opened(true)))
    }

    pub(super) fn create_unnamed(
        &self,
        rq: &Request<'_>,
        op: &op::Tmpfile<'_>,
    ) -> Result<(ringfuse::Entry, Opened)> {
        let birth = self.birth(rq, op.mode, op.creation, true)?;
        let node = self.make_unnamed(op.parent, birth)?;
        Ok((self.told(&node), self.opened(true)))
    }

    pub(super) fn create_other(
        &self,
        rq: &Request<'_>,
        (parent, name): (NodeId, Name<'_>),
        (mode, creation): (u32, op::Creation<'_>),
        what: Make<'_>,
    ) -> Result<ringfuse::Entry> {
        let birth = self.birth(rq, mode, creation, false)?;
        let node = self.make(parent, name, birth, what)?;
        Ok(self.told(&node))
    }

    fn birth<'a>(
        &self,
        rq: &Request<'_>,
        mode: u32,
        creation: op::Creation<'a>,
        opened: bool,
    ) -> Result<Birth<'a>> {
        // Known for all that creates.
        let owner = rq.caller().ok_or(Errno::EOVERFLOW)?;
        Ok(Birth { owner, mode, creation, opened })
    }

    /// The answer for a node that was just made, with the lookup count it was made with.
    fn told(&self, node: &Node) -> ringfuse::Entry {
        let meta = node.meta();
        self.entry(node, node.attr(&meta))
    }

    pub(super) fn close(&self, op: &op::Release) -> Result<()> {
        let node = self.nodes.get(op.node)?;
        let mut meta = node.meta();
        meta.opens = meta.opens.saturating_sub(1);
        self.nodes.release(&node, meta);
        Ok(())
    }

    /// Reads into `out`, and returns how much.
    pub(super) fn read_at(&self, op: &op::Read, out: &mut [u8]) -> Result<usize> {
        let node = self.nodes.get(op.node)?;
        let len = node.read_file()?.read(op.offset, out);
        self.accessed(&node, op.flags);
        Ok(len)
    }

    /// Writes, and returns how much.
    pub(super) fn write_at(&self, op: &op::Write, bytes: &[u8], who: Asker) -> Result<usize> {
        let node = self.nodes.get(op.node)?;
        let mut data = node.write_file()?;
        let len = data.write(op.offset, bytes)?;
        let mut meta = node.meta();
        meta.show(&data);
        // What comes from the page cache was written earlier. With a writeback cache the kernel has noted when, and
        // tells it by `setattr`; without one it is a mapped page, and the time is unknown.
        if !op.cache {
            meta.drop_privileges(op.kill_suidgid, |gid| self.in_group(who, gid));
        }
        if !(op.cache && self.agreed().writeback) {
            meta.modified(self.now());
        }
        Ok(len)
    }

    pub(super) fn allocate(&self, op: &op::Fallocate) -> Result<()> {
        const KEEP: i32 = libc::FALLOC_FL_KEEP_SIZE;
        const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | KEEP;
        const ZERO: i32 = libc::FALLOC_FL_ZERO_RANGE;
        const ZERO_KEEP: i32 = ZERO | KEEP;
        if op.length == 0 {
            return Err(Errno::EINVAL);
        }
        let range = op.offset..op.offset.checked_add(op.length).ok_or(Errno::EFBIG)?;
        let node = self.nodes.get(op.node)?;
        let mut data = node.write_file()?;
        let mut meta = node.meta();
        meta.permit(IMMUTABLE)?;
        if op.mode as i32 & !KEEP != 0 {
            meta.permit(APPEND)?;
        }
        match op.mode as i32 {
            0 => data.allocate(range, false)?,
            KEEP => data.allocate(range, true)?,
            PUNCH => data.punch(range),
            ZERO => data.zero(range, false)?,
            ZERO_KEEP => data.zero(range, true)?,
            libc::FALLOC_FL_COLLAPSE_RANGE => data.collapse(range)?,
            libc::FALLOC_FL_INSERT_RANGE => data.insert(range)?,
            _ => return Err(Errno::EOPNOTSUPP),
        }
        meta.show(&data);
        meta.drop_privileges(false, |_| true);
        meta.modified(self.now());
        Ok(())
    }

    /// Finds data or a hole: the answer, and the hole that was found or passed.
    pub(super) fn seek(&self, op: &op::Lseek) -> Result<(Result<u64>, Range<u64>)> {
        /// As large as files can be.
        const END: u64 = i64::MAX as u64;
        let node = self.nodes.get(op.node)?;
        let data = node.read_file()?;
        let (found, hole) = match op.whence as i32 {
            libc::SEEK_DATA => {
                let found = data.seek_data(op.offset);
                (found, op.offset..found.unwrap_or(END))
            }
            libc::SEEK_HOLE => {
                let found = data.seek_hole(op.offset);
                (found, found.map_or(0..0, |hole| hole..data.seek_data(hole).unwrap_or(END)))
            }
            _ => return Err(Errno::EINVAL),
        };
        Ok((found.ok_or(Errno::ENXIO), hole))
    }

    pub(super) fn copy(&self, op: &op::CopyFileRange) -> Result<u64> {
        if op.flags != 0 {
            return Err(Errno::EINVAL);
        }
        let len = op.len.min(COPY_MAX);
        let end = op.offset.checked_add(len).ok_or(Errno::EFBIG)?;
        let out_end = op.out_offset.checked_add(len).ok_or(Errno::EFBIG)?;
        let (from, to) = (self.nodes.get(op.node)?, self.nodes.get(op.out_node)?);
        // Two files are locked in the order of their ids.
        let (source, mut target) = match from.id.cmp(&to.id) {
            std::cmp::Ordering::Less => (Some(from.read_file()?), to.write_file()?),
            std::cmp::Ordering::Equal => (None, to.write_file()?),
            std::cmp::Ordering::Greater => {
                let target = to.write_file()?;
                (Some(from.read_file()?), target)
            }
        };
        let copied = match &source {
            Some(source) => target.copy_from(source, op.offset..end, op.out_offset)?,
            None if op.offset < out_end && op.out_offset < end => return Err(Errno::EINVAL),
            None => target.copy_within(op.offset..end, op.out_offset)?,
        };
        drop(source);
        let mut meta = to.meta();
        meta.show(&target);
        meta.drop_privileges(false, |_| true);
        meta.modified(self.now());
        drop(meta);
        drop(target);
        self.accessed(&from, OpenFlags::default());
        Ok(copied)
    }
}
