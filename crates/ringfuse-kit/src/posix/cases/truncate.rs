//! truncate(2) and ftruncate(2).

use crate::posix::base::*;

cases! { "truncate":
    shrink [] "a shrunk file keeps its head (truncate(2))";
    extend [] "an extended file ends in zeros (truncate(2))";
    shrink_then_extend [] "what was cut off reads as zeros after an extension (truncate(2))";
    cut_in_page [] "a cut within a page leaves no stale bytes, also after the cache was dropped (truncate(2))";
    by_path [] "truncate by path sets the size for open descriptors (truncate(2))";
    through_link [SYMLINK] "truncate follows a symbolic link (truncate(2))";
    refused [] "EISDIR on a directory, ENOENT, ENOTDIR, EINVAL for a negative size (truncate(2))";
    read_only_fd [] "ftruncate on a descriptor not open for writing fails with EINVAL (ftruncate(2))";
    changes_times [] "a change of size sets mtime and ctime (truncate(2))";
    trunc_flag_times [] "O_TRUNC of a file with content sets mtime and ctime (open(2))";
    huge_sparse [BIG_FILE] "a file can be extended to 1 TiB without taking blocks (truncate(2))";
    too_large [] "the largest size is taken, or refused with EFBIG or EINVAL (truncate(2))";
    offset_past_end [] "a descriptor whose offset is past the new end reads 0 bytes, and writes leave a hole (truncate(2))";
    append_after [] "O_APPEND writes go to the new end (open(2))";
    frees_blocks [BLOCKS] "truncate to 0 gives the blocks back (stat(2), st_blocks)";
    keeps_fd_offset [] "ftruncate does not move the offset (ftruncate(2))";
    many_sizes [] "a hundred random sizes, each seen at once (truncate(2))";
}

fn shrink(d: &Path) -> Outcome {
    let data = pattern(100_000, 1);
    let f = file(d.join("f"), &data)?;
    for size in [99_999, 65_536, 4097, 1, 0] {
        f.set_len(size as u64)?;
        ensure_eq!(st(d.join("f"))?.len(), size as u64);
        same(&read(d.join("f"))?, &data[..size])?;
    }
    Ok(())
}

fn extend(d: &Path) -> Outcome {
    let f = file(d.join("f"), "abc")?;
    for size in [4usize, 4095, 4097, 200_000] {
        f.set_len(size as u64)?;
        let got = read(d.join("f"))?;
        ensure_eq!(got.len(), size);
        same(&got[..3], b"abc")?;
        same(&got[3..], &vec![0; size - 3])?;
    }
    Ok(())
}

fn shrink_then_extend(d: &Path) -> Outcome {
    let data = pattern(50_000, 2);
    for cut in [1usize, 4000, 4096, 10_001, 49_999] {
        let f = file(d.join("f"), &data)?;
        f.set_len(cut as u64)?;
        f.set_len(60_000)?;
        let mut want = data[..cut].to_vec();
        want.resize(60_000, 0);
        same(&read(d.join("f"))?, &want)?;
        drop_cache(&f)?;
        same(&read(d.join("f"))?, &want)?;
        unlink(d.join("f"))?;
    }
    Ok(())
}

fn cut_in_page(d: &Path) -> Outcome {
    let f = file(d.join("f"), vec![b'x'; 8192])?;
    drop_cache(&f)?;
    f.set_len(100)?;
    f.write_all_at(b"y", 5000)?;
    drop_cache(&f)?;
    let got = read(d.join("f"))?;
    ensure_eq!(got.len(), 5001);
    same(&got[..100], &[b'x'; 100])?;
    same(&got[100..5000], &[0; 4900])
}

fn by_path(d: &Path) -> Outcome {
    let f = file(d.join("f"), "0123456789")?;
    truncate(&d.join("f"), 4)?;
    ensure_eq!(f.metadata()?.len(), 4);
    ensure_eq!(f.read_at(&mut [0; 10], 0)?, 4);
    truncate(&d.join("f"), 8)?;
    same(&read_at(&f, 0, 8)?, b"0123\0\0\0\0")
}

/// truncate(2), which takes a path.
fn truncate(path: &Path, size: i64) -> io::Result<()> {
    sys::truncate(path, size).map_err(io::Error::from)
}

fn through_link(d: &Path) -> Outcome {
    file(d.join("f"), "0123456789")?;
    symlink("f", d.join("l"))?;
    truncate(&d.join("l"), 3)?;
    ensure_eq!(st(d.join("f"))?.len(), 3);
    ensure_eq!(st(d.join("l"))?.len(), 1);
    Ok(())
}

fn refused(d: &Path) -> Outcome {
    let f = file(d.join("f"), "abc")?;
    mkdir(d.join("dir"))?;
    expect_errno!(truncate(&d.join("dir"), 0), ISDIR);
    expect_errno!(truncate(&d.join("none"), 0), NOENT);
    expect_errno!(truncate(&d.join("f/g"), 0), NOTDIR);
    expect_errno!(truncate(&d.join("f"), -1), INVAL);
    expect_errno!(rfs::ftruncate(&f, u64::MAX), INVAL);
    same(&read(d.join("f"))?, b"abc")
}

fn read_only_fd(d: &Path) -> Outcome {
    file(d.join("f"), "abc")?;
    expect_errno!(rfs::ftruncate(open(d.join("f"), RD)?, 0), INVAL | BADF);
    expect_errno!(rfs::ftruncate(open(d, RD)?, 0), INVAL | BADF);
    ensure_eq!(st(d.join("f"))?.len(), 3);
    Ok(())
}

fn changes_times(d: &Path) -> Outcome {
    let path = d.join("f");
    let f = file(&path, "0123456789")?;
    for size in [20, 5] {
        set_times(&path, (1000, 0), (1000, 0))?;
        let before = times(&path)?;
        tick();
        f.set_len(size)?;
        let after = times(&path)?;
        ensure!(after.m > before.m, "mtime did not change for size {size}");
        ensure!(after.c > before.c, "ctime did not change for size {size}");
        ensure_eq!(after.a, before.a);
    }
    Ok(())
}

fn trunc_flag_times(d: &Path) -> Outcome {
    let path = d.join("f");
    file(&path, "0123456789")?;
    set_times(&path, (1000, 0), (1000, 0))?;
    let before = times(&path)?;
    tick();
    open(&path, WR | TRUNC)?;
    let after = times(&path)?;
    ensure!(after.m > before.m, "mtime did not change");
    ensure!(after.c > before.c, "ctime did not change");
    Ok(())
}

fn huge_sparse(d: &Path) -> Outcome {
    let f = file(d.join("f"), "abc")?;
    f.set_len(1024 * GIB)?;
    let meta = st(d.join("f"))?;
    ensure_eq!(meta.len(), 1024 * GIB);
    ensure!(meta.blocks() < 2048, "{} blocks for 3 bytes", meta.blocks());
    same(&read_at(&f, 1024 * GIB - 10, 10)?, &[0; 10])?;
    f.set_len(3)?;
    same(&read(d.join("f"))?, b"abc")
}

fn too_large(d: &Path) -> Outcome {
    let f = file(d.join("f"), "abc")?;
    match rfs::ftruncate(&f, i64::MAX as u64) {
        Ok(()) => ensure_eq!(f.metadata()?.len(), i64::MAX as u64),
        Err(Errno::FBIG | Errno::INVAL) => ensure_eq!(f.metadata()?.len(), 3),
        Err(error) => return Err(error.into()),
    }
    f.set_len(2)?;
    same(&read(d.join("f"))?, b"ab")
}

fn offset_past_end(d: &Path) -> Outcome {
    let mut f = file(d.join("f"), "0123456789")?;
    f.seek(SeekFrom::Start(8))?;
    open(d.join("f"), WR)?.set_len(4)?;
    ensure_eq!(f.read(&mut [0; 4])?, 0);
    f.write_all(b"x")?;
    same(&read(d.join("f"))?, b"0123\0\0\0\0x")
}

fn append_after(d: &Path) -> Outcome {
    file(d.join("f"), "0123456789")?;
    let mut a = open(d.join("f"), WR | APPEND)?;
    a.write_all(b"x")?;
    a.set_len(3)?;
    a.write_all(b"y")?;
    truncate(&d.join("f"), 6)?;
    a.write_all(b"z")?;
    same(&read(d.join("f"))?, b"012y\0\0z")
}

fn frees_blocks(d: &Path) -> Outcome {
    let f = file(d.join("f"), pattern(MIB, 3))?;
    f.sync_all()?;
    let full = f.metadata()?.blocks();
    ensure!(full >= 2000, "{full} blocks for 1 MiB");
    f.set_len(0)?;
    f.sync_all()?;
    ensure!(f.metadata()?.blocks() <= 16, "{} blocks are left", f.metadata()?.blocks());
    Ok(())
}

fn keeps_fd_offset(d: &Path) -> Outcome {
    let mut f = file(d.join("f"), "0123456789")?;
    f.seek(SeekFrom::Start(5))?;
    f.set_len(2)?;
    ensure_eq!(f.stream_position()?, 5);
    f.set_len(20)?;
    ensure_eq!(f.stream_position()?, 5);
    Ok(())
}

fn many_sizes(d: &Path) -> Outcome {
    let f = touch(d.join("f"))?;
    let other = open(d.join("f"), RD)?;
    let mut random = Random(4);
    for _ in 0..100 {
        let size = random.below(1_000_000) as u64;
        f.set_len(size)?;
        ensure_eq!(other.metadata()?.len(), size);
        ensure_eq!(st(d.join("f"))?.len(), size);
    }
    Ok(())
}
