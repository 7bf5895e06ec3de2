//! Reading and writing.

use crate::posix::base::*;

cases! { "rw":
    hole_reads_zero [] "a hole reads as zeros (lseek(2))";
    read_at_end [] "reads at and past the end give 0 bytes, across it a short count (read(2))";
    write_past_end [] "pwrite past the end extends the file with zeros (pwrite(2))";
    write_extends [] "a write sets the size at once, for every descriptor (write(2))";
    overwrite_middle [] "an overwrite changes its bytes and no others (write(2))";
    zero_length [] "reads and writes of 0 bytes give 0 and change no size (write(2))";
    vectored [] "readv, writev, preadv and pwritev take their buffers in order (readv(2))";
    append_flag [] "pwritev2 with RWF_APPEND writes at the end (pwritev2(2))";
    big_odd_chunks [] "8 MiB written in odd chunks at an odd offset come back in other odd chunks (write(2))";
    big_one_call [] "8 MiB in one write and one read, after the cache was dropped (write(2))";
    above_4_gib [BIG_FILE] "data on both sides of 4 GiB and at 1 TiB (pwrite(2))";
    largest_offset [] "writes near the largest offset fail with EFBIG or EINVAL, or are kept (write(2), EFBIG)";
    negative_offset [] "negative offsets fail with EINVAL (pread(2), lseek(2))";
    seek [] "lseek from the start, the offset and the end (lseek(2))";
    other_descriptor [] "what one descriptor writes, another reads at once (write(2))";
    page_borders [] "writes around page borders leave the neighbours as they are (write(2))";
    byte_by_byte [] "3000 writes of a byte each (write(2))";
    backwards [] "blocks written from the end to the start (pwrite(2))";
    sparse_blocks [] "every second block written, the others read as zeros (lseek(2))";
    random_model [] "2500 random reads, writes, appends and truncates match a model in memory (write(2))";
    cache_dropped [] "content is right after the page cache was dropped (posix_fadvise(2))";
    readahead [] "a file of 16 MiB reads right in sequence, backwards and at random (read(2))";
    offset_moves [] "read and write move the offset, pread and pwrite do not (pread(2))";
    read_write_same_fd [] "reads and writes by one descriptor share its offset (read(2))";
    fadvise [] "every advice of posix_fadvise is taken (posix_fadvise(2))";
    size_after_reopen [] "size and content are right after all descriptors were closed (close(2))";
    unaligned_sizes [] "files of every size from 0 to 300 and around 4096 (write(2))";
}

fn hole_reads_zero(d: &Path) -> Outcome {
    let f = touch(d.join("f"))?;
    f.write_all_at(b"head", 0)?;
    f.write_all_at(b"tail", 200_000)?;
    drop_cache(&f)?;
    let all = read(d.join("f"))?;
    ensure_eq!(all.len(), 200_004);
    same(&all[..4], b"head")?;
    same(&all[4..200_000], &vec![0; 199_996])?;
    same(&all[200_000..], b"tail")
}

fn read_at_end(d: &Path) -> Outcome {
    let f = file(d.join("f"), "0123456789")?;
    let mut buf = [0; 8];
    ensure_eq!(f.read_at(&mut buf, 10)?, 0);
    ensure_eq!(f.read_at(&mut buf, 1 << 40)?, 0);
    ensure_eq!(f.read_at(&mut buf, 6)?, 4);
    same(&buf[..4], b"6789")?;
    ensure_eq!(touch(d.join("empty"))?.read_at(&mut buf, 0)?, 0);
    Ok(())
}

fn write_past_end(d: &Path) -> Outcome {
    let f = file(d.join("f"), "abc")?;
    ensure_eq!(f.write_at(b"xyz", 10_000)?, 3);
    ensure_eq!(st(d.join("f"))?.len(), 10_003);
    same(&read_at(&f, 0, 3)?, b"abc")?;
    same(&read_at(&f, 3, 9_997)?, &[0; 9_997])?;
    same(&read_at(&f, 10_000, 3)?, b"xyz")
}

fn write_extends(d: &Path) -> Outcome {
    let mut f = touch(d.join("f"))?;
    let other = open(d.join("f"), RD)?;
    let mut size = 0;
    for len in [1usize, 10, 4095, 4096, 70_000] {
        f.write_all(&vec![7; len])?;
        size += len as u64;
        ensure_eq!(other.metadata()?.len(), size);
        ensure_eq!(st(d.join("f"))?.len(), size);
    }
    Ok(())
}

fn overwrite_middle(d: &Path) -> Outcome {
    let mut want = pattern(50_000, 1);
    let f = file(d.join("f"), &want)?;
    for (at, len) in [(1usize, 1usize), (4090, 12), (8192, 4096), (20_001, 9_999), (49_999, 1)] {
        let new = pattern(len, at as u64);
        f.write_all_at(&new, at as u64)?;
        want[at..at + len].copy_from_slice(&new);
    }
    same(&read(d.join("f"))?, &want)?;
    drop_cache(&f)?;
    same(&read(d.join("f"))?, &want)
}

fn zero_length(d: &Path) -> Outcome {
    let mut f = file(d.join("f"), "abc")?;
    ensure_eq!(f.write(b"")?, 0);
    ensure_eq!(f.write_at(b"", 1000)?, 0);
    ensure_eq!(f.read(&mut [])?, 0);
    ensure_eq!(f.metadata()?.len(), 3);
    ensure_eq!(f.stream_position()?, 0);
    Ok(())
}

fn vectored(d: &Path) -> Outcome {
    let mut f = touch(d.join("f"))?;
    let parts = [&b"one-"[..], b"", b"two-", b"three"];
    let out: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
    ensure_eq!(f.write_vectored(&out)?, 13);
    ensure_eq!(rustix::io::pwritev(&f, &[IoSlice::new(b"ON"), IoSlice::new(b"E")], 0)?, 3);
    let (mut a, mut b) = ([0; 5], [0; 20]);
    f.seek(SeekFrom::Start(0))?;
    let n = f.read_vectored(&mut [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)])?;
    ensure_eq!(n, 13);
    same(&a, b"ONE-t")?;
    same(&b[..8], b"wo-three")?;
    let n = rustix::io::preadv(&f, &mut [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)], 4)?;
    ensure_eq!(n, 9);
    same(&a, b"two-t")?;
    same(&b[..4], b"hree")
}

fn append_flag(d: &Path) -> Outcome {
    let f = file(d.join("f"), "abc")?;
    let flags = rustix::io::ReadWriteFlags::APPEND;
    ensure_eq!(rustix::io::pwritev2(&f, &[IoSlice::new(b"def")], 0, flags).or_skip("RWF_APPEND")?, 3);
    same(&read(d.join("f"))?, b"abcdef")
}

fn big_odd_chunks(d: &Path) -> Outcome {
    let data = pattern(8 * MIB + 77, 5);
    let f = touch(d.join("f"))?;
    let start = 4097 * 3 + 1;
    for (i, chunk) in data.chunks(100_003).enumerate() {
        f.write_all_at(chunk, (start + i * 100_003) as u64)?;
    }
    drop_cache(&f)?;
    let mut got = Vec::new();
    let mut buf = vec![0; 77_777];
    loop {
        match f.read_at(&mut buf, (start + got.len()) as u64)? {
            0 => break,
            n => got.extend_from_slice(&buf[..n]),
        }
    }
    same(&got, &data)
}

fn big_one_call(d: &Path) -> Outcome {
    let data = pattern(8 * MIB, 6);
    let f = touch(d.join("f"))?;
    ensure_eq!(f.write_at(&data, 0)?, data.len());
    drop_cache(&f)?;
    let mut got = vec![0; data.len()];
    ensure_eq!(f.read_at(&mut got, 0)?, data.len());
    same(&got, &data)
}

fn above_4_gib(d: &Path) -> Outcome {
    let f = touch(d.join("f"))?;
    let data = pattern(10_000, 7);
    let places = [5, 2 * GIB - 5000, 4 * GIB - 5000, 8 * GIB + 1, 1024 * GIB - 1];
    for at in places {
        f.write_all_at(&data, at)?;
    }
    ensure_eq!(st(d.join("f"))?.len(), 1024 * GIB - 1 + 10_000);
    drop_cache(&f)?;
    for at in places {
        same(&read_at(&f, at, data.len())?, &data)?;
    }
    same(&read_at(&f, 6 * GIB, 5000)?, &[0; 5000])?;
    f.set_len(4 * GIB + 1)?;
    ensure_eq!(f.metadata()?.len(), 4 * GIB + 1);
    same(&read_at(&f, 4 * GIB - 5000, 5001)?, &data[..5001])
}

fn largest_offset(d: &Path) -> Outcome {
    let f = touch(d.join("f"))?;
    let max = i64::MAX as u64;
    expect_errno!(rustix::io::pwrite(&f, b"x", max), FBIG | INVAL);
    ensure_eq!(f.metadata()?.len(), 0);
    match rustix::io::pwrite(&f, b"x", max - 1) {
        Ok(n) => {
            ensure_eq!(n, 1);
            ensure_eq!(f.metadata()?.len(), max);
            same(&read_at(&f, max - 1, 1)?, b"x")?;
        }
        Err(Errno::FBIG | Errno::INVAL) => ensure_eq!(f.metadata()?.len(), 0),
        Err(error) => return Err(error.into()),
    }
    let mut buf = [0; 1];
    match rustix::io::pread(&f, &mut buf[..], max) {
        Ok(0) | Err(Errno::INVAL | Errno::OVERFLOW) => Ok(()),
        other => Err(Failure::check(format!("pread at the largest offset gave {other:?}"))),
    }
}

fn negative_offset(d: &Path) -> Outcome {
    let mut f = file(d.join("f"), "abc")?;
    let below = u64::MAX;
    expect_errno!(rustix::io::pread(&f, &mut [0; 1][..], below), INVAL);
    expect_errno!(rustix::io::pwrite(&f, b"x", below), INVAL);
    expect_errno!(f.seek(SeekFrom::Current(-1)), INVAL);
    expect_errno!(f.seek(SeekFrom::End(-4)), INVAL);
    same(&read(d.join("f"))?, b"abc")
}

fn seek(d: &Path) -> Outcome {
    let mut f = file(d.join("f"), "0123456789")?;
    ensure_eq!(f.seek(SeekFrom::Start(4))?, 4);
    ensure_eq!(f.seek(SeekFrom::Current(-2))?, 2);
    ensure_eq!(f.seek(SeekFrom::End(-3))?, 7);
    let mut byte = [0];
    f.read_exact(&mut byte)?;
    ensure_eq!(byte[0], b'7');
    ensure_eq!(f.seek(SeekFrom::End(5))?, 15);
    ensure_eq!(f.read(&mut byte)?, 0);
    ensure_eq!(f.metadata()?.len(), 10);
    f.write_all(b"x")?;
    ensure_eq!(f.metadata()?.len(), 16);
    ensure_eq!(f.seek(SeekFrom::End(0))?, 16);
    Ok(())
}

fn other_descriptor(d: &Path) -> Outcome {
    let a = touch(d.join("f"))?;
    let b = open(d.join("f"), RDWR)?;
    for i in 0..50u64 {
        let data = pattern(997, i);
        let (from, to) = if i % 2 == 0 { (&a, &b) } else { (&b, &a) };
        from.write_all_at(&data, i * 501)?;
        same(&read_at(to, i * 501, data.len())?, &data)?;
        ensure_eq!(to.metadata()?.len(), i * 501 + 997);
    }
    Ok(())
}

fn page_borders(d: &Path) -> Outcome {
    let mut want = vec![b'.'; 40_000];
    let f = file(d.join("f"), &want)?;
    for page in [4096usize, 8192, 16_384, 32_768] {
        for (before, len) in [(1, 2), (0, 1), (3, 3), (100, 4296)] {
            drop_cache(&f)?;
            let (at, new) = (page - before, pattern(len, (page + before) as u64));
            f.write_all_at(&new, at as u64)?;
            want[at..at + len].copy_from_slice(&new);
            same(&read_at(&f, 0, want.len())?, &want)?;
        }
    }
    Ok(())
}

fn byte_by_byte(d: &Path) -> Outcome {
    let data = pattern(3000, 8);
    let mut f = touch(d.join("f"))?;
    for byte in &data {
        ensure_eq!(f.write(&[*byte])?, 1);
    }
    same(&read(d.join("f"))?, &data)
}

fn backwards(d: &Path) -> Outcome {
    let data = pattern(64 * 3001, 9);
    let f = touch(d.join("f"))?;
    for i in (0..64).rev() {
        f.write_all_at(&data[i * 3001..][..3001], i as u64 * 3001)?;
    }
    drop_cache(&f)?;
    same(&read(d.join("f"))?, &data)
}

fn sparse_blocks(d: &Path) -> Outcome {
    const BLOCK: usize = 8192;
    let f = touch(d.join("f"))?;
    let mut want = vec![0; 128 * BLOCK];
    for i in (0..128).step_by(2) {
        let data = pattern(BLOCK, i as u64);
        f.write_all_at(&data, (i * BLOCK) as u64)?;
        want[i * BLOCK..][..BLOCK].copy_from_slice(&data);
    }
    f.set_len(want.len() as u64)?;
    drop_cache(&f)?;
    same(&read(d.join("f"))?, &want)
}

fn random_model(d: &Path) -> Outcome {
    const MAX: usize = 300_000;
    let mut random = Random(0x5eed);
    let mut model: Vec<u8> = Vec::new();
    let f = touch(d.join("f"))?;
    let mut append = open(d.join("f"), WR | APPEND)?;
    for step in 0..2500u64 {
        let at = random.below(MAX);
        let len = if step % 7 == 0 { random.below(60_000) } else { random.below(3_000) };
        match random.below(12) {
            0..5 => {
                let data = pattern(len, step);
                f.write_all_at(&data, at as u64)?;
                if len > 0 && model.len() < at + len {
                    model.resize(at + len, 0);
                }
                if len > 0 {
                    model[at..at + len].copy_from_slice(&data);
                }
            }
            5..9 => {
                let mut got = vec![0; len];
                let n = f.read_at(&mut got, at as u64)?;
                let want = model.get(at..).unwrap_or(&[]);
                let want = &want[..want.len().min(len)];
                same(&got[..n], want)
                    .map_err(|e| Failure::check(format!("step {step}, {len} bytes at {at}: {e}")))?;
            }
            9 => {
                let data = pattern(len, step);
                append.write_all(&data)?;
                model.extend_from_slice(&data);
            }
            10 => {
                f.set_len(at as u64)?;
                model.resize(at, 0);
            }
            _ => drop_cache(&f)?,
        }
        ensure_eq!(f.metadata()?.len(), model.len() as u64, "step {step}");
    }
    same(&read(d.join("f"))?, &model)
}

fn cache_dropped(d: &Path) -> Outcome {
    let data = pattern(MIB + 3, 10);
    let f = file(d.join("f"), &data)?;
    for at in [0u64, 4095, 65_537, 1_000_000] {
        drop_cache(&f)?;
        let len = (data.len() - at as usize).min(40_000);
        same(&read_at(&f, at, len)?, &data[at as usize..][..len])?;
    }
    drop_cache(&f)?;
    f.write_all_at(b"!", 70_000)?;
    same(&read_at(&f, 69_990, 10)?, &data[69_990..70_000])?;
    same(&read_at(&f, 70_001, 10)?, &data[70_001..70_011])
}

fn readahead(d: &Path) -> Outcome {
    const SIZE: usize = 16 * MIB;
    const BLOCK: usize = 128 * KIB;
    let data = pattern(SIZE, 11);
    let f = file(d.join("f"), &data)?;
    drop_cache(&f)?;
    let mut reader = open(d.join("f"), RD)?;
    let mut got = Vec::with_capacity(SIZE);
    reader.read_to_end(&mut got)?;
    same(&got, &data)?;
    drop_cache(&f)?;
    for i in (0..SIZE / BLOCK).rev() {
        same(&read_at(&f, (i * BLOCK) as u64, BLOCK)?, &data[i * BLOCK..][..BLOCK])?;
    }
    drop_cache(&f)?;
    let mut random = Random(12);
    for _ in 0..300 {
        let at = random.below(SIZE - 5000);
        same(&read_at(&f, at as u64, 5000)?, &data[at..][..5000])?;
    }
    Ok(())
}

fn offset_moves(d: &Path) -> Outcome {
    let mut f = touch(d.join("f"))?;
    f.write_all(b"0123456789")?;
    ensure_eq!(f.stream_position()?, 10);
    f.write_all_at(b"ab", 2)?;
    read_at(&f, 0, 5)?;
    ensure_eq!(f.stream_position()?, 10);
    f.seek(SeekFrom::Start(1))?;
    f.read_exact(&mut [0; 3])?;
    ensure_eq!(f.stream_position()?, 4);
    Ok(())
}

fn read_write_same_fd(d: &Path) -> Outcome {
    let mut f = file(d.join("f"), "abcdef")?;
    f.read_exact(&mut [0; 2])?;
    f.write_all(b"XY")?;
    let mut rest = String::new();
    f.read_to_string(&mut rest)?;
    ensure_eq!(rest, "ef");
    same(&read(d.join("f"))?, b"abXYef")
}

fn fadvise(d: &Path) -> Outcome {
    use rfs::Advice as A;
    let data = pattern(100_000, 13);
    let f = file(d.join("f"), &data)?;
    for advice in [A::Normal, A::Sequential, A::Random, A::WillNeed, A::NoReuse, A::DontNeed] {
        rfs::fadvise(&f, 0, None, advice)?;
        same(&read(d.join("f"))?, &data)?;
    }
    Ok(())
}

fn size_after_reopen(d: &Path) -> Outcome {
    let data = pattern(123_457, 14);
    let f = file(d.join("f"), &data)?;
    let path = d.join("f");
    drop(f);
    ensure_eq!(st(&path)?.len(), data.len() as u64);
    open(&path, WR | APPEND)?.write_all(b"more")?;
    ensure_eq!(st(&path)?.len(), data.len() as u64 + 4);
    same(&read(&path)?[..data.len()], &data)
}

fn unaligned_sizes(d: &Path) -> Outcome {
    for len in (0..300).step_by(7).chain(4090..4103) {
        let path = d.join("f");
        let data = pattern(len, len as u64);
        drop(file(&path, &data)?);
        ensure_eq!(st(&path)?.len(), len as u64);
        same(&read(&path)?, &data)?;
        unlink(&path)?;
    }
    Ok(())
}
