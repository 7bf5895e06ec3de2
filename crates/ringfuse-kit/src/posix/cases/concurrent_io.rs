//! Several threads at once on the content of one file.

use crate::posix::base::*;

cases! { "concurrent_io":
    appends [] "appends of 4 threads lose nothing and stay whole (open(2), O_APPEND)";
    writes_of_regions [] "4 threads write regions of their own by one descriptor (pwrite(2))";
    writes_by_own_fd [] "4 threads write interleaved blocks by descriptors of their own (pwrite(2))";
    shared_offset [] "writes of 4 threads by one descriptor do not overlap (write(2))";
    readers_and_writer [] "readers see blocks of zeros or of data while a file grows (read(2))";
    truncate_and_write [] "truncates and writes at once leave a size that one of them made (truncate(2))";
    lock_counter [LOCKS] "a counter in a file under an exclusive lock loses no increment (fcntl(2))";
    flock_counter [FLOCK] "a counter in a file under flock loses no increment (flock(2))";
    open_close [] "8 threads open, read and close one file (open(2))";
    stat_while_written [] "the size of a growing file never shrinks for one who stats it (stat(2))";
    xattr_race [XATTR_USER] "4 threads set one attribute: the value is that of one of them (setxattr(2))";
    map_and_write [MMAP] "4 threads store into a shared map and write to the file next to each other (mmap(2))";
}

fn appends(d: &Path) -> Outcome {
    let path = d.join("log");
    touch(&path)?;
    parallel(4, |i| {
        let mut f = open(&path, WR | APPEND)?;
        for n in 0..200 {
            let line = format!("{i} {n:04} {}\n", "x".repeat(i * 37 + n % 50));
            ensure_eq!(f.write(line.as_bytes())?, line.len());
        }
        Ok(())
    })?;
    let text = fs::read_to_string(&path)?;
    let mut next = [0; 4];
    for line in text.lines() {
        let mut words = line.split(' ');
        let thread: Option<usize> = words.next().and_then(|word| word.parse().ok());
        let number: Option<usize> = words.next().and_then(|word| word.parse().ok());
        let (Some(i @ 0..4), Some(n)) = (thread, number) else {
            return Err(Failure::check(format!("a line is broken: {line:?}")));
        };
        ensure_eq!(n, next[i], "line of thread {i}");
        ensure_eq!(words.next().map(str::len), Some(i * 37 + n % 50));
        next[i] += 1;
    }
    ensure_eq!(next, [200; 4]);
    Ok(())
}

fn writes_of_regions(d: &Path) -> Outcome {
    const PART: usize = 200_003;
    let f = touch(d.join("f"))?;
    let data = pattern(4 * PART, 1);
    parallel(4, |i| {
        for (n, chunk) in data[i * PART..(i + 1) * PART].chunks(3001).enumerate() {
            f.write_all_at(chunk, (i * PART + n * 3001) as u64)?;
        }
        Ok(())
    })?;
    same(&read(d.join("f"))?, &data)?;
    drop_cache(&f)?;
    same(&read(d.join("f"))?, &data)
}

fn writes_by_own_fd(d: &Path) -> Outcome {
    const BLOCK: usize = 1500;
    let data = pattern(400 * BLOCK, 2);
    let f = touch(d.join("f"))?;
    parallel(4, |i| {
        let own = open(d.join("f"), RDWR)?;
        for n in (i..400).step_by(4) {
            let chunk = &data[n * BLOCK..(n + 1) * BLOCK];
            own.write_all_at(chunk, (n * BLOCK) as u64)?;
            same(&read_at(&own, (n * BLOCK) as u64, BLOCK)?, chunk)?;
        }
        Ok(())
    })?;
    drop_cache(&f)?;
    same(&read(d.join("f"))?, &data)
}

fn shared_offset(d: &Path) -> Outcome {
    let f = touch(d.join("f"))?;
    parallel(4, |i| {
        for _ in 0..100 {
            ensure_eq!((&f).write(&[b'a' + i as u8; 100])?, 100);
        }
        Ok(())
    })?;
    let got = read(d.join("f"))?;
    ensure_eq!(got.len(), 40_000);
    let mut counts = [0; 4];
    for block in got.chunks(100) {
        ensure!(block.iter().all(|byte| *byte == block[0]), "two writes overlap");
        counts[usize::from(block[0] - b'a')] += 1;
    }
    ensure_eq!(counts, [100; 4]);
    Ok(())
}

fn readers_and_writer(d: &Path) -> Outcome {
    const BLOCK: usize = 4096;
    let f = touch(d.join("f"))?;
    let look = |_| {
        let got = read(d.join("f"))?;
        for (n, block) in got.chunks(BLOCK).enumerate() {
            let byte = 1 + (n % 255) as u8;
            ensure!(block.iter().all(|&b| b == byte || b == 0), "block {n} holds other bytes");
        }
        Ok(())
    };
    meanwhile(2, look, || {
        for n in 0..200usize {
            f.write_all_at(&[1 + (n % 255) as u8; BLOCK], (n * BLOCK) as u64)?;
        }
        Ok(())
    })
}

fn truncate_and_write(d: &Path) -> Outcome {
    let f = touch(d.join("f"))?;
    parallel(4, |i| {
        for n in 0..100 {
            if i % 2 == 0 {
                f.set_len(n % 3 * 5000)?;
            } else {
                f.write_all_at(&[7; 3000], n % 7 * 3000)?;
            }
        }
        Ok(())
    })?;
    f.set_len(20_000)?;
    let got = read(d.join("f"))?;
    ensure_eq!(got.len(), 20_000);
    ensure!(got.iter().all(|&byte| byte == 0 || byte == 7), "bytes that nobody wrote");
    Ok(())
}

/// 4 threads add to a number in a file, each step under a lock.
fn counter(d: &Path, locked: impl Fn(&File, &mut dyn FnMut() -> Outcome) -> Outcome + Sync) -> Outcome {
    file(d.join("n"), 0u64.to_le_bytes())?;
    parallel(4, |_| {
        let f = open(d.join("n"), RDWR)?;
        for _ in 0..50 {
            locked(&f, &mut || {
                let mut bytes = [0; 8];
                f.read_exact_at(&mut bytes, 0)?;
                let n = u64::from_le_bytes(bytes) + 1;
                f.write_all_at(&n.to_le_bytes(), 0)?;
                Ok(())
            })?;
        }
        Ok(())
    })?;
    same(&read(d.join("n"))?, &200u64.to_le_bytes())
}

fn lock_counter(d: &Path) -> Outcome {
    let owner = sys::Owner::Description;
    let probe = touch(d.join("probe"))?;
    sys::set_lock(&probe, owner, sys::Kind::Write, 0, 0).or_skip("record locks")?;
    counter(d, |f, body| {
        sys::wait_lock(f, owner, sys::Kind::Write, 0, 8)?;
        body()?;
        sys::set_lock(f, owner, sys::Kind::Unlock, 0, 8)?;
        Ok(())
    })
}

fn flock_counter(d: &Path) -> Outcome {
    rfs::flock(touch(d.join("probe"))?, rfs::FlockOperation::NonBlockingLockShared).or_skip("flock")?;
    counter(d, |f, body| {
        rfs::flock(f, rfs::FlockOperation::LockExclusive)?;
        body()?;
        rfs::flock(f, rfs::FlockOperation::Unlock)?;
        Ok(())
    })
}

fn open_close(d: &Path) -> Outcome {
    let data = pattern(10_000, 3);
    file(d.join("f"), &data)?;
    parallel(8, |_| {
        for _ in 0..100 {
            same(&read(d.join("f"))?, &data)?;
        }
        Ok(())
    })
}

fn stat_while_written(d: &Path) -> Outcome {
    let mut f = touch(d.join("f"))?;
    let seen = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let look = |i: usize| {
        let size = st(d.join("f"))?.len() as usize;
        let before = seen[i].swap(size, Ordering::SeqCst);
        ensure!(before <= size, "the size went from {before} to {size}");
        Ok(())
    };
    meanwhile(2, look, || {
        for _ in 0..500 {
            f.write_all(&[1; 777])?;
        }
        Ok(())
    })?;
    ensure_eq!(st(d.join("f"))?.len(), 500 * 777);
    Ok(())
}

fn xattr_race(d: &Path) -> Outcome {
    let path = d.join("f");
    touch(&path)?;
    let flags = rfs::XattrFlags::empty();
    rfs::setxattr(&path, "user.a", b"0000", flags).or_skip("user.* attributes")?;
    parallel(4, |i| {
        let value = vec![b'0' + i as u8; 10 + i * 50];
        for _ in 0..50 {
            rfs::setxattr(&path, "user.a", &value, flags)?;
            let mut buf = [0; 500];
            let n = rfs::getxattr(&path, "user.a", &mut buf[..])?;
            let whole = buf[..n].iter().all(|byte| *byte == buf[0]);
            let i = usize::from(buf[0] - b'0');
            ensure!(whole && n == 10 + i * 50, "the value is a mixture: {n} bytes, first {}", buf[0]);
        }
        Ok(())
    })
}

fn map_and_write(d: &Path) -> Outcome {
    const PART: usize = 10_000;
    let f = file(d.join("f"), vec![0; 4 * PART])?;
    let map = sys::Map::new(&f, 0, 4 * PART, true, true)?;
    let data = pattern(4 * PART, 4);
    parallel(4, |i| {
        for (n, chunk) in data[i * PART..(i + 1) * PART].chunks(100).enumerate() {
            let at = i * PART + n * 100;
            if (i + n) % 2 == 0 {
                map.write(at, chunk);
            } else {
                f.write_all_at(chunk, at as u64)?;
            }
        }
        Ok(())
    })?;
    same(&map.read(0, 4 * PART), &data)?;
    same(&read(d.join("f"))?, &data)
}
