//! The content against a plain vector, and what a vector has not: holes, space, limits.

use super::super::space::Space;
use super::*;

fn data(pages: u64) -> Data {
    Data::new(Space::new(pages, 1).no_pages())
}

/// A generator of numbers that are random enough, and the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn range(&mut self, limit: u64) -> Range<u64> {
        let (a, b) = (self.below(limit), self.below(limit));
        a.min(b)..a.max(b) + 1
    }

    /// A range of whole pages, not empty.
    fn pages(&mut self, limit: u64) -> Range<u64> {
        let range = self.range(limit / PAGE_BYTES);
        range.start * PAGE_BYTES..range.end * PAGE_BYTES
    }
}

fn content(data: &Data) -> Vec<u8> {
    let mut bytes = vec![9; data.size() as usize + 10];
    assert_eq!(data.read(0, &mut bytes), data.size() as usize);
    bytes.truncate(data.size() as usize);
    bytes
}

/// How many pages are written or reserved, counted one by one.
fn counted(data: &Data) -> u64 {
    let pages =
        data.groups.values().map(|group| (0..GROUP).filter(|page| !group.is_hole(*page)).count() as u64);
    pages.inspect(|pages| assert!(*pages > 0, "an empty group is kept")).sum()
}

fn resize(model: &mut Vec<u8>, len: u64) {
    if model.len() < len as usize {
        model.resize(len as usize, 0);
    }
}

/// Zeros a range of the model, as far as the model reaches.
fn zero(model: &mut [u8], range: Range<u64>) {
    let end = model.len().min(range.end as usize);
    let start = end.min(range.start as usize);
    model[start..end].fill(0);
}

#[test]
fn behaves_as_a_vector() {
    const LIMIT: u64 = 5 * GROUP_BYTES;
    for seed in 1..=20 {
        let (mut random, mut data, mut model) = (Random(seed), data(u64::MAX), Vec::new());
        for step in 0..400 {
            let range = random.range(LIMIT);
            let action = random.below(10);
            match action {
                0..=2 => {
                    let bytes = vec![step as u8 | 1; (range.end - range.start).min(40_000) as usize];
                    assert_eq!(data.write(range.start, &bytes), Ok(bytes.len()));
                    let end = range.start + bytes.len() as u64;
                    resize(&mut model, end);
                    model[range.start as usize..end as usize].copy_from_slice(&bytes);
                }
                3 => {
                    data.truncate(range.start).unwrap();
                    model.resize(range.start as usize, 0);
                }
                4 => {
                    let keep = step % 2 == 0;
                    data.allocate(range.clone(), keep).unwrap();
                    if !keep {
                        resize(&mut model, range.end);
                    }
                }
                5 => {
                    data.punch(range.clone());
                    zero(&mut model, range);
                }
                6 => {
                    let keep = step % 2 == 0;
                    data.zero(range.clone(), keep).unwrap();
                    if !keep {
                        resize(&mut model, range.end);
                    }
                    zero(&mut model, range);
                }
                7 => {
                    let range = random.pages(LIMIT);
                    let fits = range.end < model.len() as u64;
                    assert_eq!(data.collapse(range.clone()).is_ok(), fits);
                    if fits {
                        model.drain(range.start as usize..range.end as usize);
                    }
                }
                8 => {
                    let range = random.pages(LIMIT / 3);
                    let fits = range.start < model.len() as u64;
                    assert_eq!(data.insert(range.clone()).is_ok(), fits);
                    if fits {
                        let hole = vec![0; (range.end - range.start) as usize];
                        model.splice(range.start as usize..range.start as usize, hole);
                    }
                }
                _ => {
                    let (len, to) = ((range.end - range.start).min(LIMIT / 4), random.below(LIMIT));
                    let end = (range.start + len).min(model.len() as u64);
                    let source = range.start..end.max(range.start);
                    let len = source.end - source.start;
                    if step % 2 == 0 {
                        let mut other = self::data(u64::MAX);
                        other.copy_from(&data, source.clone(), 0).unwrap();
                        assert_eq!(data.copy_from(&other, 0..len, to), Ok(len));
                    } else if to < source.end && source.start < to + len {
                        continue;
                    } else {
                        assert_eq!(data.copy_within(source.clone(), to), Ok(len));
                    }
                    let bytes = model.get(source.start as usize..source.end as usize).unwrap_or(&[]).to_vec();
                    if !bytes.is_empty() {
                        resize(&mut model, to + len);
                        model[to as usize..(to + len) as usize].copy_from_slice(&bytes);
                    }
                }
            }
            assert!(content(&data) == model, "seed {seed}, step {step}, action {action}");
            assert_eq!(data.pages(), counted(&data), "seed {seed}, step {step}, action {action}");
        }
    }
}

#[test]
fn holes_cost_nothing_and_are_found() {
    let mut data = data(100);
    data.truncate(MAX_SIZE).unwrap();
    assert_eq!((data.pages(), data.seek_data(0), data.seek_hole(0)), (0, None, Some(0)));
    data.write(10 * PAGE_BYTES + 5, b"x").unwrap();
    data.write(MAX_SIZE - 1, b"end").unwrap();
    assert_eq!(data.pages(), 2);
    assert_eq!(data.seek_data(3), Some(10 * PAGE_BYTES));
    assert_eq!(data.seek_data(10 * PAGE_BYTES + 9), Some(10 * PAGE_BYTES + 9));
    assert_eq!(data.seek_hole(10 * PAGE_BYTES + 9), Some(11 * PAGE_BYTES));
    assert_eq!(data.seek_hole(7), Some(7));
    assert_eq!(data.seek_data(11 * PAGE_BYTES), Some(MAX_SIZE + 1 - PAGE_BYTES));
    assert_eq!(data.seek_hole(MAX_SIZE - 1), Some(MAX_SIZE));
    assert_eq!((data.seek_data(MAX_SIZE), data.seek_hole(MAX_SIZE)), (None, None));
    data.truncate(0).unwrap();
    assert_eq!((data.pages(), data.groups.len()), (0, 0));
}

#[test]
fn a_hole_is_found_behind_several_full_groups() {
    let mut data = data(1000);
    data.write(0, &vec![1; 3 * GROUP_BYTES as usize]).unwrap();
    assert_eq!(data.seek_hole(PAGE_BYTES), Some(3 * GROUP_BYTES));
    data.write(4 * GROUP_BYTES, b"x").unwrap();
    assert_eq!(data.seek_hole(PAGE_BYTES), Some(3 * GROUP_BYTES));
    assert_eq!(data.seek_data(3 * GROUP_BYTES), Some(4 * GROUP_BYTES));
}

#[test]
fn reserved_pages_are_charged_once_and_are_holes() {
    let mut data = data(20);
    data.allocate(0..10 * PAGE_BYTES, true).unwrap();
    assert_eq!((data.pages(), data.size()), (10, 0));
    data.write(0, &[1; 3 * PAGE]).unwrap();
    assert_eq!(data.pages(), 10);
    data.truncate(10 * PAGE_BYTES).unwrap();
    assert_eq!(data.seek_hole(0), Some(3 * PAGE_BYTES));
    data.allocate(5..12 * PAGE_BYTES - 5, false).unwrap();
    assert_eq!((data.pages(), data.size()), (12, 12 * PAGE_BYTES - 5));
    assert_eq!(data.allocate(0..21 * PAGE_BYTES, false), Err(Errno::ENOSPC));
    assert_eq!((data.pages(), data.size()), (12, 12 * PAGE_BYTES - 5));
    data.zero(0..2 * PAGE_BYTES, true).unwrap();
    assert_eq!((data.pages(), data.seek_data(0)), (12, Some(2 * PAGE_BYTES)));
}

#[test]
fn a_full_filesystem_gives_short_writes_then_enospc() {
    let mut data = data(20);
    assert_eq!(data.write(100, &vec![7; 30 * PAGE]), Ok(20 * PAGE - 100));
    assert_eq!((data.size(), data.pages()), (20 * PAGE_BYTES, 20));
    assert_eq!(data.write(20 * PAGE_BYTES, b"x"), Err(Errno::ENOSPC));
    assert_eq!(data.write(64 * PAGE_BYTES, b"x"), Err(Errno::ENOSPC));
    assert_eq!((data.size(), data.pages()), (20 * PAGE_BYTES, counted(&data)));
    assert_eq!(data.write(5, b"there is space for this"), Ok(23));
    data.punch(0..PAGE_BYTES);
    assert_eq!(data.write(64 * PAGE_BYTES, b"x"), Ok(1));
}

#[test]
fn the_largest_size_is_kept_to() {
    let mut data = data(10);
    assert_eq!(data.write(MAX_SIZE, b"x"), Err(Errno::EFBIG));
    assert_eq!(data.write(u64::MAX, b"x"), Err(Errno::EFBIG));
    assert_eq!(data.write(MAX_SIZE - 2, b"four"), Ok(2));
    assert_eq!(data.truncate(MAX_SIZE + 1), Err(Errno::EFBIG));
    assert_eq!(data.allocate(MAX_SIZE..MAX_SIZE + 1, false), Err(Errno::EFBIG));
    assert_eq!(data.insert(0..PAGE_BYTES), Err(Errno::EFBIG));
    assert_eq!(data.read(u64::MAX, &mut [0; 4]), 0);
}

#[test]
fn sparse_files_stay_sparse_when_copied() {
    let (mut source, mut target) = (data(100), data(100));
    source.truncate(1 << 30).unwrap();
    source.write(1 << 20, b"data").unwrap();
    target.write(50, &[1; 3 * PAGE]).unwrap();
    assert_eq!(target.copy_from(&source, 0..8 << 20, 0), Ok(8 << 20));
    assert_eq!((target.pages(), target.size()), (1, 8 << 20));
    assert_eq!(target.seek_data(0), Some(1 << 20));
    assert_eq!(target.copy_from(&source, 1 << 31..1 << 32, 0), Ok(0));
}
