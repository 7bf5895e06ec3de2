//! The content of a regular file: sparse, in pages of 4 KiB.
//!
//! Pages are kept in *groups* of sixteen, found by their number in an ordered map. A page is a **hole**, which costs
//! nothing and reads as zeros; or **reserved** by `fallocate`, which is charged but takes no memory until written; or
//! **written**. The map is walked once a group, and a page is copied from and to in place.
//!
//! Invariant: what a written page holds behind the end of the file is zero, so that a file that grows shows zeros.

use std::collections::BTreeMap;
use std::ops::Range;
use std::{iter, mem, thread};

use ringfuse::{Errno, Result};

use super::space::{PAGE, Pages};

/// The largest size of a file, that of the kernel's `loff_t`.
pub(super) const MAX_SIZE: u64 = i64::MAX as u64;

/// Pages of a group.
const GROUP: usize = 16;
const PAGE_BYTES: u64 = PAGE as u64;
const GROUP_BYTES: u64 = GROUP as u64 * PAGE_BYTES;

type Page = [u8; PAGE];

/// The content of one file.
#[derive(Debug)]
pub(super) struct Data {
    size: u64,
    groups: BTreeMap<u64, Box<Group>>,
    used: Pages,
}

#[derive(Debug, Default)]
struct Group {
    written: [Option<Box<Page>>; GROUP],
    /// A bit for each page that is reserved; a written page has none.
    reserved: u16,
}

/// Cuts a range at the multiples of `unit`.
fn cut(range: Range<u64>, unit: u64) -> impl Iterator<Item = Range<u64>> {
    let mut at = range.start;
    iter::from_fn(move || {
        let start = at;
        if start >= range.end {
            return None;
        }
        at = ((start / unit + 1) * unit).min(range.end);
        Some(start..at)
    })
}

/// The pages that a range touches.
fn pages(range: &Range<u64>) -> Range<u64> {
    range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES)
}

/// A page that holds `bytes` from `at` on, and zeros else. Each byte is written once.
fn fresh(at: usize, bytes: &[u8]) -> Box<Page> {
    let mut page = Vec::with_capacity(PAGE);
    page.resize(at, 0);
    page.extend_from_slice(bytes);
    page.resize(PAGE, 0);
    page.into_boxed_slice().try_into().expect("it has the size of a page")
}

impl Group {
    fn is_reserved(&self, page: usize) -> bool {
        self.reserved & (1 << page) != 0
    }

    fn is_hole(&self, page: usize) -> bool {
        self.written[page].is_none() && !self.is_reserved(page)
    }

    fn is_empty(&self) -> bool {
        self.pages() == 0
    }

    /// How many pages are no holes.
    fn pages(&self) -> u64 {
        self.written.iter().flatten().count() as u64 + u64::from(self.reserved.count_ones())
    }

    /// How many holes the pages that `range` touches have.
    fn holes(&self, range: &Range<u64>) -> u64 {
        pages(range).filter(|page| self.is_hole(*page as usize)).count() as u64
    }

    /// The parts of `range`, each within one page: number of the page, first byte, length.
    fn parts(range: Range<u64>) -> impl Iterator<Item = (usize, usize, usize)> {
        cut(range, PAGE_BYTES).map(|part| {
            let at = part.start % PAGE_BYTES;
            ((part.start / PAGE_BYTES) as usize, at as usize, (part.end - part.start) as usize)
        })
    }

    fn read(&self, at: u64, out: &mut [u8]) {
        let mut rest = out;
        for (page, at, len) in Self::parts(at..at + rest.len() as u64) {
            let (part, tail) = rest.split_at_mut(len);
            match &self.written[page] {
                Some(bytes) => part.copy_from_slice(&bytes[at..at + len]),
                None => part.fill(0),
            }
            rest = tail;
        }
    }

    /// Writes as far as `granted` holes can be filled, and returns how much that is.
    fn write(&mut self, at: u64, bytes: &[u8], mut granted: u64) -> usize {
        let mut done = 0;
        for (page, at, len) in Self::parts(at..at + bytes.len() as u64) {
            let part = &bytes[done..done + len];
            match &mut self.written[page] {
                Some(bytes) => bytes[at..at + len].copy_from_slice(part),
                none => {
                    if self.reserved & (1 << page) != 0 {
                        self.reserved &= !(1 << page);
                    } else if granted > 0 {
                        granted -= 1;
                    } else {
                        break;
                    }
                    *none = Some(fresh(at, part));
                }
            }
            done += len;
        }
        done
    }

    /// Makes whole pages holes and parts of pages zero; returns how many pages were given up.
    fn free(&mut self, range: Range<u64>) -> u64 {
        let mut freed = 0;
        for (page, at, len) in Self::parts(range) {
            if len == PAGE {
                freed += u64::from(!self.is_hole(page));
                self.take(page);
            } else if let Some(bytes) = &mut self.written[page] {
                bytes[at..at + len].fill(0);
            }
        }
        freed
    }

    /// Makes holes reserved.
    fn reserve(&mut self, range: &Range<u64>) {
        for page in pages(range) {
            if self.written[page as usize].is_none() {
                self.reserved |= 1 << page;
            }
        }
    }

    /// Makes whole written pages reserved and parts of pages zero.
    fn zero(&mut self, range: Range<u64>) {
        for (page, at, len) in Self::parts(range) {
            if let Some(bytes) = &mut self.written[page] {
                if len == PAGE {
                    self.written[page] = None;
                    self.reserved |= 1 << page;
                } else {
                    bytes[at..at + len].fill(0);
                }
            }
        }
    }

    /// Takes a page out, and tells whether it was reserved.
    fn take(&mut self, page: usize) -> (Option<Box<Page>>, bool) {
        let reserved = self.is_reserved(page);
        self.reserved &= !(1 << page);
        (self.written[page].take(), reserved)
    }
}

impl Data {
    /// An empty file.
    pub(super) fn new(used: Pages) -> Self {
        Self { size: 0, groups: BTreeMap::new(), used }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// How many pages it takes, reserved ones included.
    pub(super) fn pages(&self) -> u64 {
        self.used.count()
    }

    /// Reads from `offset` on into `out`, and returns how much: less than asked for at the end of the file.
    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> usize {
        let len = self.size.saturating_sub(offset).min(out.len() as u64);
        for part in cut(offset..offset + len, GROUP_BYTES) {
            let out = &mut out[(part.start - offset) as usize..(part.end - offset) as usize];
            match self.groups.get(&(part.start / GROUP_BYTES)) {
                Some(group) => group.read(part.start % GROUP_BYTES, out),
                None => out.fill(0),
            }
        }
        len as usize
    }

    /// Writes at `offset`, and returns how much: less than there is where space or the largest size comes to an end.
    ///
    /// # Errors
    ///
    /// `ENOSPC` and `EFBIG` where nothing could be written for these reasons.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let len = MAX_SIZE.saturating_sub(offset).min(bytes.len() as u64);
        if len == 0 {
            return Err(Errno::EFBIG);
        }
        let mut done = 0;
        for part in cut(offset..offset + len, GROUP_BYTES) {
            let index = part.start / GROUP_BYTES;
            let len = (part.end - part.start) as usize;
            let at = part.start % GROUP_BYTES;
            let group = self.groups.entry(index).or_default();
            let granted = self.used.grow_up_to(group.holes(&(at..at + len as u64)));
            let written = group.write(at, &bytes[done..done + len], granted);
            done += written;
            if written < len {
                if group.is_empty() {
                    self.groups.remove(&index);
                }
                break;
            }
        }
        if done == 0 {
            return Err(Errno::ENOSPC);
        }
        self.size = self.size.max(offset + done as u64);
        Ok(done)
    }

    /// Sets the size. What is behind it goes, also what was reserved there.
    ///
    /// # Errors
    ///
    /// `EFBIG` beyond the largest size.
    pub(super) fn truncate(&mut self, size: u64) -> Result<()> {
        if size > MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        if size <= self.size {
            let tail = self.groups.split_off(&size.div_ceil(GROUP_BYTES));
            self.used.shrink(tail.values().map(|group| group.pages()).sum());
            discard(tail);
            self.free(size..size.next_multiple_of(GROUP_BYTES));
        }
        self.size = size;
        Ok(())
    }

    /// Reserves space for a range, all of it or nothing.
    ///
    /// # Errors
    ///
    /// `EFBIG`, `ENOSPC`.
    pub(super) fn allocate(&mut self, range: Range<u64>, keep_size: bool) -> Result<()> {
        if range.end > MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        let wanted = pages(&range);
        let taken =
            |(_, group, part): (u64, &Group, Range<u64>)| pages(&part).count() as u64 - group.holes(&part);
        let there: u64 = self.groups_in(&range).map(taken).sum();
        self.used.grow(wanted.end - wanted.start - there)?;
        for part in cut(range.clone(), GROUP_BYTES) {
            let at = part.start % GROUP_BYTES;
            let group = self.groups.entry(part.start / GROUP_BYTES).or_default();
            group.reserve(&(at..at + (part.end - part.start)));
        }
        if !keep_size {
            self.size = self.size.max(range.end);
        }
        Ok(())
    }

    /// Makes a range zero, and reserves space for it.
    ///
    /// # Errors
    ///
    /// As for [`Data::allocate`]; the content is as it was then.
    pub(super) fn zero(&mut self, range: Range<u64>, keep_size: bool) -> Result<()> {
        self.allocate(range.clone(), keep_size)?;
        for part in cut(range, GROUP_BYTES) {
            let at = part.start % GROUP_BYTES;
            if let Some(group) = self.groups.get_mut(&(part.start / GROUP_BYTES)) {
                group.zero(at..at + (part.end - part.start));
            }
        }
        Ok(())
    }

    /// Makes a range zero, by a hole as far as it has whole pages. The size stays.
    pub(super) fn punch(&mut self, range: Range<u64>) {
        self.free(range.start..range.end.min(MAX_SIZE + 1));
    }

    /// Cuts a range out, so that what is behind it moves to its start.
    ///
    /// # Errors
    ///
    /// `EINVAL` where it is not made of whole pages, or reaches the end of the file.
    pub(super) fn collapse(&mut self, range: Range<u64>) -> Result<()> {
        if !whole_pages(&range) || range.end >= self.size {
            return Err(Errno::EINVAL);
        }
        self.free(range.clone());
        self.shift(range.end, range.start);
        self.size -= range.end - range.start;
        Ok(())
    }

    /// Inserts a hole, so that what is at its start moves to its end.
    ///
    /// # Errors
    ///
    /// `EINVAL` where it is not made of whole pages, or lies behind the end of the file; `EFBIG` where the file would
    /// become too large.
    pub(super) fn insert(&mut self, range: Range<u64>) -> Result<()> {
        if !whole_pages(&range) || range.start >= self.size {
            return Err(Errno::EINVAL);
        }
        let len = range.end - range.start;
        if len > MAX_SIZE - self.size {
            return Err(Errno::EFBIG);
        }
        // Reserved pages behind the end might be moved beyond what an offset can say.
        self.free(self.size.next_multiple_of(PAGE_BYTES)..MAX_SIZE + 1);
        self.shift(range.start, range.end);
        self.size += len;
        Ok(())
    }

    /// The first byte of data at `offset` or after it. Reserved pages count as holes.
    pub(super) fn seek_data(&self, offset: u64) -> Option<u64> {
        if offset >= self.size {
            return None;
        }
        self.groups_in(&(offset..self.size)).find_map(|(base, group, part)| {
            let page = pages(&part).find(|page| group.written[*page as usize].is_some())?;
            Some((base + page * PAGE_BYTES).max(offset))
        })
    }

    /// The first byte of a hole at `offset` or after it; there is one at the end of the file.
    pub(super) fn seek_hole(&self, offset: u64) -> Option<u64> {
        if offset >= self.size {
            return None;
        }
        let mut at = offset;
        for (base, group, part) in self.groups_in(&(offset..self.size)) {
            if base > at {
                break;
            }
            if let Some(page) = pages(&part).find(|page| group.written[*page as usize].is_none()) {
                at = at.max(base + page * PAGE_BYTES);
                break;
            }
            at = base + GROUP_BYTES;
        }
        Some(at.min(self.size))
    }

    /// Copies a range of another file to `to`, holes as holes, and returns how much was copied: less where the source
    /// or the space comes to an end.
    ///
    /// # Errors
    ///
    /// As for [`Data::write`].
    pub(super) fn copy_from(&mut self, source: &Self, range: Range<u64>, to: u64) -> Result<u64> {
        let start = range.start;
        by_page(start..range.end.min(source.size), |part| {
            self.put(to + (part.start - start), source.slice(&part), part.end - part.start)
        })
    }

    /// Copies a range to another place in the file, as [`Data::copy_from`]. The two must not overlap.
    ///
    /// # Errors
    ///
    /// As there.
    pub(super) fn copy_within(&mut self, range: Range<u64>, to: u64) -> Result<u64> {
        let (start, mut page) = (range.start, [0; PAGE]);
        by_page(start..range.end.min(self.size), |part| {
            let bytes = self.slice(&part).map(|bytes| {
                page[..bytes.len()].copy_from_slice(bytes);
                &page[..bytes.len()]
            });
            self.put(to + (part.start - start), bytes, part.end - part.start)
        })
    }

    /// Writes bytes, or, for a hole, that many zeros without taking space for them.
    fn put(&mut self, offset: u64, bytes: Option<&[u8]>, len: u64) -> Result<u64> {
        if let Some(bytes) = bytes {
            return self.write(offset, bytes).map(|written| written as u64);
        }
        let len = MAX_SIZE.saturating_sub(offset).min(len);
        if len == 0 {
            return Err(Errno::EFBIG);
        }
        self.free(offset..offset + len);
        self.size = self.size.max(offset + len);
        Ok(len)
    }

    /// The bytes of a range within one page, `None` for a hole.
    fn slice(&self, range: &Range<u64>) -> Option<&[u8]> {
        let group = self.groups.get(&(range.start / GROUP_BYTES))?;
        let page = group.written[(range.start % GROUP_BYTES / PAGE_BYTES) as usize].as_ref()?;
        let at = (range.start % PAGE_BYTES) as usize;
        Some(&page[at..at + (range.end - range.start) as usize])
    }

    /// The groups that a range touches, each with its first byte and with the part of the range that lies in it,
    /// counted from there.
    fn groups_in(&self, range: &Range<u64>) -> impl Iterator<Item = (u64, &Group, Range<u64>)> {
        let (start, end) = (range.start, range.end.max(range.start));
        self.groups.range(start / GROUP_BYTES..end.div_ceil(GROUP_BYTES)).map(move |(index, group)| {
            let base = index * GROUP_BYTES;
            (base, &**group, start.max(base) - base..end.min(base + GROUP_BYTES) - base)
        })
    }

    /// Makes a range zero, whole pages holes.
    fn free(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let mut freed = 0;
        let emptied = |index: &u64, group: &mut Box<Group>| {
            let base = index * GROUP_BYTES;
            freed += group.free(range.start.max(base) - base..range.end.min(base + GROUP_BYTES) - base);
            group.is_empty()
        };
        let touched = range.start / GROUP_BYTES..range.end.div_ceil(GROUP_BYTES);
        self.groups.extract_if(touched, emptied).for_each(drop);
        self.used.shrink(freed);
    }

    /// Moves the pages at `from` and behind it, so that the first comes to lie at `to`. What is there must be holes.
    fn shift(&mut self, from: u64, to: u64) {
        let (from, to) = (from / PAGE_BYTES, to / PAGE_BYTES);
        for (index, mut group) in self.groups.split_off(&(from / GROUP as u64)) {
            for slot in 0..GROUP {
                let page = index * GROUP as u64 + slot as u64;
                let page = if page < from { page } else { page - from + to };
                if let (written, reserved) = group.take(slot)
                    && (reserved || written.is_some())
                {
                    let group = self.groups.entry(page / GROUP as u64).or_default();
                    let slot = (page % GROUP as u64) as usize;
                    group.written[slot] = written;
                    group.reserved |= u16::from(reserved) << slot;
                }
            }
        }
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        discard(mem::take(&mut self.groups));
    }
}

/// Frees pages, if they are many by a thread of its own: a gigabyte takes some hundred milliseconds, in which a worker
/// should serve others.
fn discard(groups: BTreeMap<u64, Box<Group>>) {
    /// 16 MiB.
    const MANY: usize = 256;
    if groups.len() > MANY {
        // Without a thread they are freed here.
        let _ = thread::Builder::new().name("free".into()).spawn(move || drop(groups));
    }
}

fn whole_pages(range: &Range<u64>) -> bool {
    range.start.is_multiple_of(PAGE_BYTES) && range.end.is_multiple_of(PAGE_BYTES)
}

/// Goes through a range page by page, until one is not copied whole, and returns how much was. An error counts only for
/// the first.
fn by_page(range: Range<u64>, mut copy: impl FnMut(Range<u64>) -> Result<u64>) -> Result<u64> {
    let mut done = 0;
    for part in cut(range, PAGE_BYTES) {
        let len = part.end - part.start;
        match copy(part) {
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
            Ok(copied) => {
                done += copied;
                if copied < len {
                    break;
                }
            }
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests;
