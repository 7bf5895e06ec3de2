//! Space in files: fallocate(2), holes, SEEK_DATA and SEEK_HOLE.

use crate::posix::base::*;
use rustix::fs::{FallocateFlags as Flags, SeekFrom as Whence};

cases! { "alloc":
    allocate [FALLOCATE] "fallocate extends the file with zeros and takes space (fallocate(2))";
    allocate_keeps_content [FALLOCATE] "fallocate over data leaves it (fallocate(2))";
    keep_size [FALLOCATE] "FALLOC_FL_KEEP_SIZE takes space past the end and leaves the size (fallocate(2))";
    punch_hole [FALLOCATE] "FALLOC_FL_PUNCH_HOLE makes zeros, also after the cache was dropped (fallocate(2))";
    punch_frees_blocks [FALLOCATE BLOCKS] "FALLOC_FL_PUNCH_HOLE gives whole blocks back (fallocate(2))";
    punch_partial [FALLOCATE] "a hole within a page, and across page borders (fallocate(2))";
    punch_past_end [FALLOCATE] "a hole past the end does not change the size (fallocate(2))";
    punch_needs_keep_size [FALLOCATE] "FALLOC_FL_PUNCH_HOLE alone fails with EOPNOTSUPP or EINVAL (fallocate(2))";
    zero_range [FALLOCATE] "FALLOC_FL_ZERO_RANGE makes zeros and extends the file (fallocate(2))";
    zero_range_keep_size [FALLOCATE] "FALLOC_FL_ZERO_RANGE with KEEP_SIZE leaves the size (fallocate(2))";
    collapse_range [FALLOCATE] "FALLOC_FL_COLLAPSE_RANGE takes blocks out of the file (fallocate(2))";
    insert_range [FALLOCATE] "FALLOC_FL_INSERT_RANGE puts a hole between blocks (fallocate(2))";
    bad_arguments [FALLOCATE] "length 0 and negative values fail with EINVAL, read-only with EBADF (fallocate(2))";
    bad_files [FALLOCATE MKNOD] "fallocate on a FIFO fails with ESPIPE, on a directory with EBADF or EISDIR (fallocate(2))";
    too_large [FALLOCATE] "a range past the largest offset fails with EFBIG (fallocate(2))";
    sets_ctime [FALLOCATE] "fallocate that changes the size sets ctime and mtime (fallocate(2))";
    random_model [FALLOCATE] "600 random writes, holes and allocations match a model in memory (fallocate(2))";
    seek_plain [] "SEEK_DATA and SEEK_HOLE in a file without holes (lseek(2))";
    seek_empty [] "SEEK_DATA and SEEK_HOLE at and past the end fail with ENXIO (lseek(2))";
    seek_consistent [] "the regions SEEK_DATA and SEEK_HOLE give cover all data that is not zero (lseek(2))";
    seek_hole [SEEK_HOLE] "a hole in the middle is found (lseek(2))";
    seek_punched [SEEK_HOLE FALLOCATE] "a punched hole is found (lseek(2))";
    seek_tail [SEEK_HOLE] "a hole at the end: SEEK_DATA fails with ENXIO there (lseek(2))";
    seek_mapped [SEEK_HOLE MMAP] "what is stored in a hole through a map is data at once (lseek(2))";
    seek_moves_offset [SEEK_HOLE] "SEEK_DATA and SEEK_HOLE move the offset (lseek(2))";
    sparse_takes_no_space [SEEK_HOLE BLOCKS] "a hole takes no blocks (stat(2), st_blocks)";
}

fn falloc(f: &File, flags: Flags, offset: usize, len: usize) -> Result<(), Errno> {
    rfs::fallocate(f, flags, offset as u64, len as u64)
}

fn punch(f: &File, offset: usize, len: usize) -> Result<(), Errno> {
    falloc(f, Flags::PUNCH_HOLE | Flags::KEEP_SIZE, offset, len)
}

fn allocate(d: &Path) -> Outcome {
    let f = file(d.join("f"), "abc")?;
    falloc(&f, Flags::empty(), 0, 200_000).or_skip("fallocate")?;
    let meta = f.metadata()?;
    ensure_eq!(meta.len(), 200_000);
    ensure!(meta.blocks() * 512 >= 196_608, "{} blocks are taken", meta.blocks());
    let got = read(d.join("f"))?;
    same(&got[..3], b"abc")?;
    same(&got[3..], &vec![0; 199_997])?;
    falloc(&f, Flags::empty(), 300_000, 5)?;
    ensure_eq!(f.metadata()?.len(), 300_005);
    Ok(())
}

fn allocate_keeps_content(d: &Path) -> Outcome {
    let data = pattern(100_000, 1);
    let f = file(d.join("f"), &data)?;
    falloc(&f, Flags::empty(), 5000, 50_000).or_skip("fallocate")?;
    same(&read(d.join("f"))?, &data)?;
    drop_cache(&f)?;
    same(&read(d.join("f"))?, &data)
}

fn keep_size(d: &Path) -> Outcome {
    let f = file(d.join("f"), "abc")?;
    falloc(&f, Flags::KEEP_SIZE, 0, MIB).or_skip("FALLOC_FL_KEEP_SIZE")?;
    let meta = f.metadata()?;
    ensure_eq!(meta.len(), 3);
    ensure!(meta.blocks() >= 2000, "{} blocks are taken", meta.blocks());
    f.write_all_at(b"x", 5000)?;
    same(&read_at(&f, 3, 4997)?, &[0; 4997])
}

fn punch_hole(d: &Path) -> Outcome {
    let mut data = pattern(MIB, 2);
    let f = file(d.join("f"), &data)?;
    punch(&f, 256 * KIB, 512 * KIB).or_skip("FALLOC_FL_PUNCH_HOLE")?;
    data[256 * KIB..768 * KIB].fill(0);
    same(&read(d.join("f"))?, &data)?;
    drop_cache(&f)?;
    same(&read(d.join("f"))?, &data)
}

fn punch_frees_blocks(d: &Path) -> Outcome {
    let f = file(d.join("f"), pattern(MIB, 14))?;
    f.sync_all()?;
    let full = f.metadata()?.blocks();
    punch(&f, 256 * KIB, 512 * KIB).or_skip("FALLOC_FL_PUNCH_HOLE")?;
    f.sync_all()?;
    let left = f.metadata()?.blocks();
    ensure!(left + 900 <= full, "{full} blocks before, {left} after");
    Ok(())
}

fn punch_partial(d: &Path) -> Outcome {
    let mut data = pattern(50_000, 3);
    let f = file(d.join("f"), &data)?;
    for (at, len) in [(10, 5), (4090, 12), (8191, 8194), (20_000, 1), (30_001, 12_000)] {
        punch(&f, at, len).or_skip("FALLOC_FL_PUNCH_HOLE")?;
        data[at..at + len].fill(0);
        same(&read(d.join("f"))?, &data)?;
    }
    drop_cache(&f)?;
    same(&read(d.join("f"))?, &data)
}

fn punch_past_end(d: &Path) -> Outcome {
    let f = file(d.join("f"), "0123456789")?;
    punch(&f, 5, 100_000).or_skip("FALLOC_FL_PUNCH_HOLE")?;
    same(&read(d.join("f"))?, b"01234\0\0\0\0\0")?;
    punch(&f, 50_000, 100)?;
    ensure_eq!(f.metadata()?.len(), 10);
    Ok(())
}

fn punch_needs_keep_size(d: &Path) -> Outcome {
    let f = file(d.join("f"), "abc")?;
    punch(&f, 0, 1).or_skip("FALLOC_FL_PUNCH_HOLE")?;
    expect_errno!(falloc(&f, Flags::PUNCH_HOLE, 0, 1), OPNOTSUPP | INVAL);
    Ok(())
}

fn zero_range(d: &Path) -> Outcome {
    let mut data = pattern(50_000, 4);
    let f = file(d.join("f"), &data)?;
    falloc(&f, Flags::ZERO_RANGE, 1000, 20_000).or_skip("FALLOC_FL_ZERO_RANGE")?;
    data[1000..21_000].fill(0);
    same(&read(d.join("f"))?, &data)?;
    falloc(&f, Flags::ZERO_RANGE, 45_000, 20_000)?;
    data.truncate(45_000);
    data.resize(65_000, 0);
    same(&read(d.join("f"))?, &data)
}

fn zero_range_keep_size(d: &Path) -> Outcome {
    let mut data = pattern(50_000, 5);
    let f = file(d.join("f"), &data)?;
    falloc(&f, Flags::ZERO_RANGE | Flags::KEEP_SIZE, 40_000, 60_000).or_skip("FALLOC_FL_ZERO_RANGE")?;
    data[40_000..].fill(0);
    same(&read(d.join("f"))?, &data)
}

/// The block size that ranges must be aligned to.
fn block(f: &File) -> io::Result<usize> {
    Ok(f.metadata()?.blksize() as usize)
}

fn collapse_range(d: &Path) -> Outcome {
    let f = touch(d.join("f"))?;
    let block = block(&f)?;
    let mut data = pattern(6 * block + 100, 6);
    f.write_all_at(&data, 0)?;
    falloc(&f, Flags::COLLAPSE_RANGE, block, 2 * block).or_skip("FALLOC_FL_COLLAPSE_RANGE")?;
    data.drain(block..3 * block);
    same(&read(d.join("f"))?, &data)?;
    expect_errno!(falloc(&f, Flags::COLLAPSE_RANGE, 1, block), INVAL);
    expect_errno!(falloc(&f, Flags::COLLAPSE_RANGE, 0, 100 * block), INVAL);
    Ok(())
}

fn insert_range(d: &Path) -> Outcome {
    let f = touch(d.join("f"))?;
    let block = block(&f)?;
    let mut data = pattern(3 * block + 100, 7);
    f.write_all_at(&data, 0)?;
    falloc(&f, Flags::INSERT_RANGE, block, 2 * block).or_skip("FALLOC_FL_INSERT_RANGE")?;
    data.splice(block..block, vec![0; 2 * block]);
    same(&read(d.join("f"))?, &data)?;
    expect_errno!(falloc(&f, Flags::INSERT_RANGE, 1, block), INVAL);
    expect_errno!(falloc(&f, Flags::INSERT_RANGE, 100 * block, block), INVAL);
    Ok(())
}

fn bad_arguments(d: &Path) -> Outcome {
    let f = file(d.join("f"), "abc")?;
    falloc(&f, Flags::empty(), 0, 3).or_skip("fallocate")?;
    expect_errno!(falloc(&f, Flags::empty(), 0, 0), INVAL);
    expect_errno!(rfs::fallocate(&f, Flags::empty(), u64::MAX, 1), INVAL);
    expect_errno!(rfs::fallocate(&f, Flags::empty(), 0, u64::MAX), INVAL);
    expect_errno!(falloc(&open(d.join("f"), RD)?, Flags::empty(), 0, 10), BADF);
    ensure_eq!(f.metadata()?.len(), 3);
    Ok(())
}

fn bad_files(d: &Path) -> Outcome {
    mkfifo(d.join("p"))?;
    let fifo = open(d.join("p"), RDWR)?;
    expect_errno!(falloc(&fifo, Flags::empty(), 0, 10), SPIPE);
    expect_errno!(falloc(&open(d, RD)?, Flags::empty(), 0, 10), BADF | ISDIR);
    Ok(())
}

fn too_large(d: &Path) -> Outcome {
    let f = file(d.join("f"), "abc")?;
    falloc(&f, Flags::empty(), 0, 3).or_skip("fallocate")?;
    expect_errno!(rfs::fallocate(&f, Flags::empty(), i64::MAX as u64, 1), FBIG | NOSPC);
    ensure_eq!(f.metadata()?.len(), 3);
    Ok(())
}

fn sets_ctime(d: &Path) -> Outcome {
    let f = file(d.join("f"), "abc")?;
    set_times(d.join("f"), (1000, 0), (1000, 0))?;
    let before = times(d.join("f"))?;
    tick();
    falloc(&f, Flags::empty(), 0, 10_000).or_skip("fallocate")?;
    let after = times(d.join("f"))?;
    ensure!(after.c > before.c, "ctime did not change");
    Ok(())
}

fn random_model(d: &Path) -> Outcome {
    const MAX: usize = 200_000;
    let f = touch(d.join("f"))?;
    punch(&f, 0, 1).or_skip("FALLOC_FL_PUNCH_HOLE")?;
    let mut random = Random(0xa110c);
    let mut model: Vec<u8> = Vec::new();
    for step in 0..600u64 {
        let (at, len) = (random.below(MAX), 1 + random.below(30_000));
        match random.below(6) {
            0 | 1 => {
                let data = pattern(len, step);
                f.write_all_at(&data, at as u64)?;
                model.resize(model.len().max(at + len), 0);
                model[at..at + len].copy_from_slice(&data);
            }
            2 => {
                punch(&f, at, len)?;
                let end = model.len().min(at + len);
                if at < end {
                    model[at..end].fill(0);
                }
            }
            3 => {
                falloc(&f, Flags::empty(), at, len)?;
                model.resize(model.len().max(at + len), 0);
            }
            4 => {
                f.set_len(at as u64)?;
                model.resize(at, 0);
            }
            _ => drop_cache(&f)?,
        }
        ensure_eq!(f.metadata()?.len(), model.len() as u64, "step {step}");
        if step % 10 == 0 {
            same(&read(d.join("f"))?, &model)?;
        }
    }
    same(&read(d.join("f"))?, &model)
}

/// The offset that lseek gives.
fn data(f: &File, from: u64) -> Result<u64, Errno> {
    rfs::seek(f, Whence::Data(from))
}

fn hole(f: &File, from: u64) -> Result<u64, Errno> {
    rfs::seek(f, Whence::Hole(from))
}

fn seek_plain(d: &Path) -> Outcome {
    let f = file(d.join("f"), pattern(100_000, 8))?;
    ensure_eq!(data(&f, 0)?, 0);
    ensure_eq!(data(&f, 5)?, 5);
    ensure_eq!(data(&f, 99_999)?, 99_999);
    ensure_eq!(hole(&f, 0)?, 100_000);
    ensure_eq!(hole(&f, 99_999)?, 100_000);
    Ok(())
}

fn seek_empty(d: &Path) -> Outcome {
    let f = touch(d.join("f"))?;
    expect_errno!(data(&f, 0), NXIO);
    expect_errno!(hole(&f, 0), NXIO);
    f.write_all_at(b"abc", 0)?;
    expect_errno!(data(&f, 3), NXIO);
    expect_errno!(hole(&f, 3), NXIO);
    expect_errno!(data(&f, 1 << 40), NXIO);
    Ok(())
}

fn seek_consistent(d: &Path) -> Outcome {
    let f = touch(d.join("f"))?;
    let mut random = Random(9);
    for i in 0..20 {
        f.write_all_at(&pattern(1 + random.below(20_000), i), random.below(2 * MIB) as u64)?;
    }
    f.set_len(3 * MIB as u64)?;
    let content = read(d.join("f"))?;
    let mut at = 0;
    while at < content.len() {
        let start = match data(&f, at as u64) {
            Err(Errno::NXIO) => content.len(),
            result => result? as usize,
        };
        ensure!(start >= at, "SEEK_DATA from {at} gave {start}");
        ensure!(
            content[at..start].iter().all(|&byte| byte == 0),
            "there is data in the hole {at} to {start}"
        );
        if start == content.len() {
            break;
        }
        let end = hole(&f, start as u64)? as usize;
        ensure!(end > start && end <= content.len(), "SEEK_HOLE from {start} gave {end}");
        at = end;
    }
    Ok(())
}

/// 64 KiB of data, 1 MiB of hole, 64 KiB of data.
fn holey(d: &Path) -> Result<File, Failure> {
    let f = file(d.join("f"), pattern(64 * KIB, 10))?;
    f.write_all_at(&pattern(64 * KIB, 11), (MIB + 64 * KIB) as u64)?;
    if hole(&f, 0)? == f.metadata()?.len() {
        skip!("SEEK_HOLE sees no holes");
    }
    Ok(f)
}

fn seek_hole(d: &Path) -> Outcome {
    let f = holey(d)?;
    let (start, end) = (64 * KIB as u64, (MIB + 64 * KIB) as u64);
    ensure_eq!(hole(&f, 0)?, start);
    ensure_eq!(hole(&f, start + 5)?, start + 5);
    ensure_eq!(data(&f, start)?, end);
    ensure_eq!(data(&f, start + 5)?, end);
    ensure_eq!(hole(&f, end)?, end + 64 * KIB as u64);
    ensure_eq!(data(&f, end - 1)?, end);
    Ok(())
}

fn seek_punched(d: &Path) -> Outcome {
    drop(holey(d)?);
    let f = file(d.join("g"), pattern(MIB, 12))?;
    punch(&f, 256 * KIB, 512 * KIB).or_skip("FALLOC_FL_PUNCH_HOLE")?;
    ensure_eq!(hole(&f, 0)?, 256 * KIB as u64);
    ensure_eq!(data(&f, 256 * KIB as u64)?, 768 * KIB as u64);
    Ok(())
}

fn seek_tail(d: &Path) -> Outcome {
    drop(holey(d)?);
    let f = file(d.join("g"), pattern(64 * KIB, 13))?;
    f.set_len(MIB as u64)?;
    ensure_eq!(hole(&f, 0)?, 64 * KIB as u64);
    expect_errno!(data(&f, 64 * KIB as u64), NXIO);
    ensure_eq!(hole(&f, 512 * KIB as u64)?, 512 * KIB as u64);
    Ok(())
}

fn seek_mapped(d: &Path) -> Outcome {
    drop(holey(d)?);
    let f = touch(d.join("g"))?;
    f.set_len(MIB as u64)?;
    let map = sys::Map::new(&f, 0, MIB, true, true)?;
    // Once the map is all that is left of the open file, and by a descriptor that is not its own.
    drop(f);
    for at in [600 * KIB, 300 * KIB] {
        map.write(at, b"x");
        let start = data(&open(d.join("g"), RD)?, 0)? as usize;
        ensure!(start <= at && at - start < 64 * KIB, "data from {start}, with a byte at {at}");
    }
    map.write(800 * KIB, b"x");
    let end = hole(&open(d.join("g"), RD)?, 800 * KIB as u64)? as usize;
    ensure!(end > 800 * KIB && end <= MIB, "a hole at {end}, with a byte at {}", 800 * KIB);
    same(&map.read(600 * KIB, 1), b"x")
}

fn seek_moves_offset(d: &Path) -> Outcome {
    let mut f = holey(d)?;
    let end = data(&f, 100 * KIB as u64)?;
    ensure_eq!(f.stream_position()?, end);
    let mut buf = vec![0; 1000];
    f.read_exact(&mut buf)?;
    same(&buf, &pattern(64 * KIB, 11)[..1000])
}

fn sparse_takes_no_space(d: &Path) -> Outcome {
    let f = holey(d)?;
    f.sync_all()?;
    let blocks = f.metadata()?.blocks();
    ensure!((256..512).contains(&blocks), "{blocks} blocks for 128 KiB of data and 1 MiB of hole");
    Ok(())
}
