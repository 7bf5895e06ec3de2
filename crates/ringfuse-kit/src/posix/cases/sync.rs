//! Writing back: fsync(2) and its kin, O_DIRECT.

use crate::posix::base::*;

cases! { "sync":
    fsync_ok [] "fsync and fdatasync succeed on clean and changed files (fsync(2))";
    fsync_read_only [] "fsync works by a read-only descriptor, and writes back what others wrote (fsync(2))";
    fsync_path_refused [] "fsync of an O_PATH descriptor fails with EBADF (fsync(2))";
    fsync_pipe_refused [MKNOD] "fsync of a FIFO fails with EINVAL or EROFS (fsync(2))";
    range [] "sync_file_range succeeds, with a negative offset EINVAL (sync_file_range(2))";
    whole_filesystem [] "syncfs succeeds, and the content stays (syncfs(2))";
    after_each_write [] "100 writes with an fdatasync after each (fdatasync(2))";
    flushed_by_last_close [] "what was written is there for one who opens the file after the close (close(2))";
    write_after_fsync [] "writes after fsync are not lost (fsync(2))";
    direct_aligned [DIRECT_IO] "O_DIRECT writes and reads at aligned offsets (open(2), O_DIRECT)";
    direct_sees_cached [DIRECT_IO] "an O_DIRECT read sees what was written through the cache (open(2), O_DIRECT)";
    cached_sees_direct [DIRECT_IO] "a cached read sees what was written with O_DIRECT (open(2), O_DIRECT)";
    direct_at_end [DIRECT_IO] "an O_DIRECT read across the end is short (open(2), O_DIRECT)";
    direct_large [DIRECT_IO] "4 MiB in one O_DIRECT write and one read (open(2), O_DIRECT)";
    direct_extends [DIRECT_IO] "O_DIRECT writes past the end leave a hole of zeros (open(2), O_DIRECT)";
    direct_set_later [DIRECT_IO] "O_DIRECT set by F_SETFL (fcntl(2), F_SETFL)";
}

fn fsync_ok(d: &Path) -> Outcome {
    let f = touch(d.join("f"))?;
    for len in [0, 10, 100_000] {
        f.write_all_at(&vec![1; len], 0)?;
        rfs::fdatasync(&f)?;
        rfs::fsync(&f)?;
        rfs::fsync(&f)?;
    }
    Ok(())
}

fn fsync_read_only(d: &Path) -> Outcome {
    let f = file(d.join("f"), "abc")?;
    let reader = open(d.join("f"), RD)?;
    f.write_all_at(b"x", 10_000)?;
    rfs::fsync(&reader)?;
    rfs::fdatasync(&reader)?;
    Ok(())
}

fn fsync_path_refused(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    expect_errno!(rfs::fsync(open(d.join("f"), O_PATH)?), BADF);
    Ok(())
}

fn fsync_pipe_refused(d: &Path) -> Outcome {
    mkfifo(d.join("p"))?;
    expect_errno!(rfs::fsync(open(d.join("p"), RDWR)?), INVAL | ROFS);
    Ok(())
}

fn range(d: &Path) -> Outcome {
    let data = pattern(200_000, 1);
    let f = file(d.join("f"), &data)?;
    sys::sync_file_range(&f, 0, 0)?;
    sys::sync_file_range(&f, 5000, 100_000)?;
    sys::sync_file_range(&f, 1 << 40, 5)?;
    expect_errno!(sys::sync_file_range(&f, -1, 5), INVAL);
    same(&read(d.join("f"))?, &data)
}

fn whole_filesystem(d: &Path) -> Outcome {
    let data = pattern(100_000, 2);
    let f = file(d.join("f"), &data)?;
    rfs::syncfs(&f)?;
    rfs::syncfs(open(d, RD | DIRECTORY)?)?;
    same(&read(d.join("f"))?, &data)
}

fn after_each_write(d: &Path) -> Outcome {
    let data = pattern(100 * 777, 3);
    let mut f = touch(d.join("f"))?;
    for chunk in data.chunks(777) {
        f.write_all(chunk)?;
        rfs::fdatasync(&f)?;
    }
    drop_cache(&f)?;
    same(&read(d.join("f"))?, &data)
}

fn flushed_by_last_close(d: &Path) -> Outcome {
    for i in 0..20u64 {
        let path = d.join(format!("f{i}"));
        let data = pattern(10_000 + i as usize, i);
        file(&path, &data)?;
        ensure_eq!(st(&path)?.len(), data.len() as u64);
        let reader = open(&path, RD)?;
        drop_cache(&reader)?;
        same(&read_at(&reader, 0, data.len())?, &data)?;
    }
    Ok(())
}

fn write_after_fsync(d: &Path) -> Outcome {
    let mut model = pattern(50_000, 4);
    let f = file(d.join("f"), &model)?;
    for i in 0..10usize {
        f.sync_all()?;
        f.write_all_at(b"new", (i * 4096 + 5) as u64)?;
        model[i * 4096 + 5..][..3].copy_from_slice(b"new");
    }
    drop_cache(&f)?;
    same(&read(d.join("f"))?, &model)
}

const ALIGN: usize = 4096;

/// A buffer that can be aligned to a page.
struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    fn new(content: &[u8]) -> Self {
        let mut bytes = vec![0; content.len() + ALIGN];
        let start = bytes.as_ptr().align_offset(ALIGN);
        bytes[start..start + content.len()].copy_from_slice(content);
        Self { bytes, start, len: content.len() }
    }

    fn get(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }

    fn get_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

/// Opens the file with O_DIRECT, or skips the case.
fn open_direct(path: &Path) -> Result<File, Failure> {
    match open(path, CREAT | RDWR | OFlags::DIRECT) {
        Err(Errno::INVAL) => skip!("not supported: O_DIRECT"),
        result => result.or_skip("O_DIRECT"),
    }
}

fn write_direct(f: &File, data: &[u8], at: usize) -> Outcome {
    ensure_eq!(f.write_at(Aligned::new(data).get(), at as u64)?, data.len());
    Ok(())
}

fn read_direct(f: &File, at: usize, len: usize) -> Result<Vec<u8>, Failure> {
    let mut buf = Aligned::new(&vec![0; len]);
    let n = f.read_at(buf.get_mut(), at as u64)?;
    Ok(buf.get()[..n].to_vec())
}

fn direct_aligned(d: &Path) -> Outcome {
    let f = open_direct(&d.join("f"))?;
    let mut model = pattern(16 * ALIGN, 5);
    write_direct(&f, &model, 0)?;
    let part = pattern(3 * ALIGN, 6);
    write_direct(&f, &part, 5 * ALIGN)?;
    model[5 * ALIGN..8 * ALIGN].copy_from_slice(&part);
    same(&read_direct(&f, 0, 16 * ALIGN)?, &model)?;
    same(&read_direct(&f, 7 * ALIGN, 2 * ALIGN)?, &model[7 * ALIGN..9 * ALIGN])?;
    same(&read(d.join("f"))?, &model)
}

fn direct_sees_cached(d: &Path) -> Outcome {
    let f = open_direct(&d.join("f"))?;
    let cached = open(d.join("f"), RDWR)?;
    for i in 0..10u64 {
        let data = pattern(4 * ALIGN, i);
        cached.write_all_at(&data, 0)?;
        same(&read_direct(&f, 0, 4 * ALIGN)?, &data)?;
    }
    Ok(())
}

fn cached_sees_direct(d: &Path) -> Outcome {
    let f = open_direct(&d.join("f"))?;
    let cached = open(d.join("f"), RDWR)?;
    for i in 0..10u64 {
        let data = pattern(4 * ALIGN, i);
        write_direct(&f, &data, 0)?;
        same(&read_at(&cached, 0, 4 * ALIGN)?, &data)?;
    }
    Ok(())
}

fn direct_at_end(d: &Path) -> Outcome {
    let data = pattern(2 * ALIGN + 100, 7);
    file(d.join("f"), &data)?.sync_all()?;
    let f = open_direct(&d.join("f"))?;
    same(&read_direct(&f, ALIGN, 4 * ALIGN)?, &data[ALIGN..])?;
    ensure_eq!(read_direct(&f, 3 * ALIGN, ALIGN)?.len(), 0);
    Ok(())
}

fn direct_large(d: &Path) -> Outcome {
    let f = open_direct(&d.join("f"))?;
    let data = pattern(4 * MIB, 8);
    write_direct(&f, &data, 0)?;
    same(&read_direct(&f, 0, data.len())?, &data)?;
    same(&read(d.join("f"))?, &data)
}

fn direct_extends(d: &Path) -> Outcome {
    let f = open_direct(&d.join("f"))?;
    let data = pattern(ALIGN, 9);
    write_direct(&f, &data, 0)?;
    write_direct(&f, &data, 10 * ALIGN)?;
    ensure_eq!(f.metadata()?.len(), 11 * ALIGN as u64);
    let got = read(d.join("f"))?;
    same(&got[..ALIGN], &data)?;
    same(&got[ALIGN..10 * ALIGN], &[0; 9 * ALIGN])?;
    same(&got[10 * ALIGN..], &data)
}

fn direct_set_later(d: &Path) -> Outcome {
    drop(open_direct(&d.join("f"))?);
    let f = open(d.join("f"), RDWR)?;
    let data = pattern(4 * ALIGN, 10);
    f.write_all_at(&data, 0)?;
    rfs::fcntl_setfl(&f, OFlags::DIRECT)?;
    same(&read_direct(&f, 0, data.len())?, &data)?;
    rfs::fcntl_setfl(&f, OFlags::empty())?;
    same(&read_at(&f, 3, 100)?, &data[3..103])
}
