//! Copies within the kernel: copy_file_range(2), sendfile(2), splice(2).

use crate::posix::base::*;
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

cases! { "copy":
    range_whole [] "copy_file_range copies a file of 3 MiB (copy_file_range(2))";
    range_offsets [] "offsets given are moved on, the descriptors' own are not (copy_file_range(2))";
    range_own_offsets [] "without given offsets those of the descriptors move (copy_file_range(2))";
    range_same_file [] "ranges of one file that do not overlap are copied (copy_file_range(2))";
    range_overlap [] "overlapping ranges of one file fail with EINVAL (copy_file_range(2))";
    range_past_end [] "a copy stops at the end of the source (copy_file_range(2))";
    range_extends [] "a copy past the end of the target leaves a hole of zeros (copy_file_range(2))";
    range_refused [] "append and wrong access fail with EBADF, directories with EISDIR (copy_file_range(2))";
    range_odd [] "30 copies at odd offsets match a model in memory (copy_file_range(2))";
    range_fresh_source [] "data just written to the source is copied, data in the target's cache replaced (copy_file_range(2))";
    sendfile_to_file [] "sendfile from file to file (sendfile(2))";
    sendfile_to_socket [] "sendfile from a file to a socket (sendfile(2))";
    sendfile_offset [] "sendfile with an offset moves that and not the descriptor's (sendfile(2))";
    splice_to_pipe [] "splice from a file to a pipe (splice(2))";
    splice_from_pipe [] "splice from a pipe to a file, at an offset (splice(2))";
    splice_through [] "1 MiB by splice from file to pipe to file (splice(2))";
    splice_at_end [] "splice at the end of a file gives 0 (splice(2))";
    splice_append_refused [] "splice to an O_APPEND file fails with EINVAL (splice(2))";
}

fn range(
    from: &File,
    from_at: Option<&mut u64>,
    to: &File,
    to_at: Option<&mut u64>,
    len: usize,
) -> Result<usize, Failure> {
    rfs::copy_file_range(from, from_at, to, to_at, len).or_skip("copy_file_range")
}

/// Copies until all is copied or nothing more comes; gives the count.
fn range_all(from: &File, mut from_at: u64, to: &File, mut to_at: u64, len: usize) -> Result<usize, Failure> {
    let mut done = 0;
    while done < len {
        match range(from, Some(&mut from_at), to, Some(&mut to_at), len - done)? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}

fn range_whole(d: &Path) -> Outcome {
    let data = pattern(3 * MIB + 5, 1);
    let (from, to) = (file(d.join("a"), &data)?, touch(d.join("b"))?);
    ensure_eq!(range_all(&from, 0, &to, 0, data.len())?, data.len());
    same(&read(d.join("b"))?, &data)?;
    drop_cache(&to)?;
    same(&read(d.join("b"))?, &data)
}

fn range_offsets(d: &Path) -> Outcome {
    let (mut from, mut to) = (file(d.join("a"), "0123456789")?, file(d.join("b"), "..........")?);
    let (mut from_at, mut to_at) = (2, 5);
    ensure_eq!(range(&from, Some(&mut from_at), &to, Some(&mut to_at), 3)?, 3);
    ensure_eq!((from_at, to_at), (5, 8));
    ensure_eq!((from.stream_position()?, to.stream_position()?), (0, 0));
    same(&read(d.join("b"))?, b".....234..")
}

fn range_own_offsets(d: &Path) -> Outcome {
    let (mut from, mut to) = (file(d.join("a"), "0123456789")?, touch(d.join("b"))?);
    from.seek(SeekFrom::Start(4))?;
    ensure_eq!(range(&from, None, &to, None, 3)?, 3);
    ensure_eq!(range(&from, None, &to, None, 100)?, 3);
    ensure_eq!(range(&from, None, &to, None, 100)?, 0);
    ensure_eq!((from.stream_position()?, to.stream_position()?), (10, 6));
    same(&read(d.join("b"))?, b"456789")
}

fn range_same_file(d: &Path) -> Outcome {
    let mut data = pattern(100_000, 2);
    let f = file(d.join("f"), &data)?;
    ensure_eq!(range_all(&f, 1000, &f, 60_000, 30_000)?, 30_000);
    data.copy_within(1000..31_000, 60_000);
    same(&read(d.join("f"))?, &data)?;
    let other = open(d.join("f"), RDWR)?;
    ensure_eq!(range_all(&f, 70_000, &other, 0, 20_000)?, 20_000);
    data.copy_within(70_000..90_000, 0);
    same(&read(d.join("f"))?, &data)
}

fn range_overlap(d: &Path) -> Outcome {
    let f = file(d.join("f"), "0123456789")?;
    range(&f, Some(&mut 0), &f, Some(&mut 8), 1)?;
    expect_errno!(rfs::copy_file_range(&f, Some(&mut 0), &f, Some(&mut 2), 5), INVAL);
    expect_errno!(rfs::copy_file_range(&f, Some(&mut 2), &f, Some(&mut 0), 5), INVAL);
    Ok(())
}

fn range_past_end(d: &Path) -> Outcome {
    let (from, to) = (file(d.join("a"), "0123456789")?, touch(d.join("b"))?);
    ensure_eq!(range(&from, Some(&mut 7), &to, Some(&mut 0), 100)?, 3);
    ensure_eq!(range(&from, Some(&mut 10), &to, Some(&mut 3), 100)?, 0);
    ensure_eq!(range(&from, Some(&mut 1000), &to, Some(&mut 3), 100)?, 0);
    ensure_eq!(range(&from, Some(&mut 0), &to, Some(&mut 3), 0)?, 0);
    same(&read(d.join("b"))?, b"789")
}

fn range_extends(d: &Path) -> Outcome {
    let (from, to) = (file(d.join("a"), "0123456789")?, file(d.join("b"), "abc")?);
    ensure_eq!(range(&from, Some(&mut 0), &to, Some(&mut 10_000), 10)?, 10);
    let got = read(d.join("b"))?;
    ensure_eq!(got.len(), 10_010);
    same(&got[..3], b"abc")?;
    same(&got[3..10_000], &[0; 9997])?;
    same(&got[10_000..], b"0123456789")
}

fn range_refused(d: &Path) -> Outcome {
    let (from, to) = (file(d.join("a"), "0123456789")?, file(d.join("b"), "abc")?);
    range(&from, Some(&mut 0), &to, Some(&mut 0), 1)?;
    let copy = |from: &File, to: &File| rfs::copy_file_range(from, None, to, None, 5);
    expect_errno!(copy(&from, &open(d.join("b"), WR | APPEND)?), BADF);
    expect_errno!(copy(&from, &open(d.join("b"), RD)?), BADF);
    expect_errno!(copy(&open(d.join("a"), WR)?, &to), BADF);
    expect_errno!(copy(&open(d, RD)?, &to), ISDIR);
    expect_errno!(copy(&from, &open(d, RD)?), ISDIR | BADF);
    Ok(())
}

fn range_odd(d: &Path) -> Outcome {
    let source = pattern(200_000, 3);
    let mut model = pattern(150_000, 4);
    let (from, to) = (file(d.join("a"), &source)?, file(d.join("b"), &model)?);
    let mut random = Random(5);
    for _ in 0..30 {
        let (from_at, to_at) = (random.below(source.len()), random.below(200_000));
        let len = random.below(40_000).min(source.len() - from_at);
        ensure_eq!(range_all(&from, from_at as u64, &to, to_at as u64, len)?, len);
        if len > 0 {
            model.resize(model.len().max(to_at + len), 0);
        }
        model[to_at..to_at + len].copy_from_slice(&source[from_at..from_at + len]);
    }
    same(&read(d.join("b"))?, &model)
}

fn range_fresh_source(d: &Path) -> Outcome {
    let (from, to) = (file(d.join("a"), vec![1; 50_000])?, file(d.join("b"), vec![2; 50_000])?);
    read(d.join("b"))?;
    from.write_all_at(&[3; 10_000], 20_000)?;
    to.write_all_at(&[4; 10_000], 5_000)?;
    ensure_eq!(range_all(&from, 10_000, &to, 10_000, 30_000)?, 30_000);
    let mut want = vec![2; 50_000];
    want[5_000..10_000].fill(4);
    want[10_000..40_000].fill(1);
    want[20_000..30_000].fill(3);
    same(&read(d.join("b"))?, &want)
}

fn sendfile_to_file(d: &Path) -> Outcome {
    let data = pattern(500_000, 6);
    let (from, to) = (file(d.join("a"), &data)?, touch(d.join("b"))?);
    let mut done = 0;
    while done < data.len() {
        let n = rfs::sendfile(&to, &from, None, data.len() - done)?;
        ensure!(n > 0, "sendfile ended after {done} bytes");
        done += n;
    }
    ensure_eq!(rfs::sendfile(&to, &from, None, 10)?, 0);
    same(&read(d.join("b"))?, &data)
}

fn sendfile_to_socket(d: &Path) -> Outcome {
    let data = pattern(300_000, 7);
    let from = file(d.join("a"), &data)?;
    let (out, mut back) = UnixStream::pair()?;
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut at = 0;
            while (at as usize) < data.len() {
                ensure!(rfs::sendfile(&out, &from, Some(&mut at), data.len())? > 0, "ended at {at}");
            }
            out.shutdown(std::net::Shutdown::Write)?;
            Ok(())
        });
        let mut got = Vec::new();
        back.read_to_end(&mut got)?;
        join(sender)?;
        same(&got, &data)
    })
}

fn sendfile_offset(d: &Path) -> Outcome {
    let (mut from, to) = (file(d.join("a"), "0123456789")?, touch(d.join("b"))?);
    let mut at = 6;
    ensure_eq!(rfs::sendfile(&to, &from, Some(&mut at), 100)?, 4);
    ensure_eq!(at, 10);
    ensure_eq!(from.stream_position()?, 0);
    same(&read(d.join("b"))?, b"6789")
}

fn pipe() -> Result<(File, OwnedFd), Errno> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((File::from(reader), writer))
}

fn splice_to_pipe(d: &Path) -> Outcome {
    let f = file(d.join("f"), "0123456789")?;
    let (mut reader, writer) = pipe()?;
    ensure_eq!(splice(&f, Some(&mut 3), &writer, None, 4, SpliceFlags::empty())?, 4);
    ensure_eq!(splice(&f, None, &writer, None, 2, SpliceFlags::empty())?, 2);
    let mut buf = [0; 6];
    reader.read_exact(&mut buf)?;
    same(&buf, b"345601")
}

fn splice_from_pipe(d: &Path) -> Outcome {
    let f = file(d.join("f"), "0123456789")?;
    let (reader, writer) = pipe()?;
    rustix::io::write(&writer, b"abcdef")?;
    let mut at = 8;
    ensure_eq!(splice(&reader, None, &f, Some(&mut at), 4, SpliceFlags::empty())?, 4);
    ensure_eq!(at, 12);
    ensure_eq!(splice(&reader, None, &f, None, 2, SpliceFlags::empty())?, 2);
    same(&read(d.join("f"))?, b"ef234567abcd")
}

fn splice_through(d: &Path) -> Outcome {
    let data = pattern(MIB + 777, 8);
    let (from, to) = (file(d.join("a"), &data)?, touch(d.join("b"))?);
    let (reader, writer) = pipe()?;
    let mut done = 0;
    while done < data.len() {
        let mut n = splice(&from, None, &writer, None, 50_000, SpliceFlags::MOVE)?;
        ensure!(n > 0, "splice ended after {done} bytes");
        done += n;
        while n > 0 {
            let out = splice(&reader, None, &to, None, n, SpliceFlags::MOVE)?;
            ensure!(out > 0, "splice to the file gave 0");
            n -= out;
        }
    }
    same(&read(d.join("b"))?, &data)?;
    drop_cache(&to)?;
    same(&read(d.join("b"))?, &data)
}

fn splice_at_end(d: &Path) -> Outcome {
    let f = file(d.join("f"), "abc")?;
    let (_reader, writer) = pipe()?;
    ensure_eq!(splice(&f, Some(&mut 3), &writer, None, 10, SpliceFlags::empty())?, 0);
    ensure_eq!(splice(&f, Some(&mut 100), &writer, None, 10, SpliceFlags::empty())?, 0);
    Ok(())
}

fn splice_append_refused(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    let f = open(d.join("f"), WR | APPEND)?;
    let (reader, writer) = pipe()?;
    rustix::io::write(&writer, b"abc")?;
    expect_errno!(splice(&reader, None, &f, None, 3, SpliceFlags::empty()), INVAL);
    Ok(())
}
