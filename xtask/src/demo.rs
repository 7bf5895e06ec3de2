//! `cargo xtask demo`: what the project does, to be seen in a minute.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::run::Done;
use crate::served::{self, Served};

const FILES: usize = 5000;
const BIG: usize = 256 << 20;

/// Mounts, works, unmounts, and says what it did.
pub(crate) fn demo() -> Done {
    served::build()?;
    let (served, ready) = Served::start(&["mem", "--fsname", "ringfuse-demo"])?;
    println!("$ ringfuse mem {}\n  {ready}", served.path.display());
    let work = work(&served.path).map_err(|error| format!("the work failed: {error}"));
    work.and(served.unmount())?;
    println!("unmounted");
    Ok(())
}

fn work(root: &Path) -> std::io::Result<()> {
    let files = root.join("files");
    fs::create_dir(&files)?;
    let name = |i: usize| files.join(format!("file{i}"));
    rate("create and write", FILES, || {
        (0..FILES).try_for_each(|i| fs::write(name(i), format!("number {i}\n")))
    })?;
    rate("read", FILES, || {
        (0..FILES).try_for_each(|i| {
            let text = fs::read_to_string(name(i))?;
            assert_eq!(text, format!("number {i}\n"), "what was written is what is read");
            Ok(())
        })
    })?;
    rate("list and stat", FILES, || {
        let mut count = 0;
        for entry in fs::read_dir(&files)? {
            entry?.metadata()?;
            count += 1;
        }
        assert_eq!(count, FILES, "each file is listed once");
        Ok(())
    })?;
    rate("rename", FILES, || (0..FILES).try_for_each(|i| fs::rename(name(i), root.join(format!("r{i}")))))?;
    rate("unlink", FILES, || (0..FILES).try_for_each(|i| fs::remove_file(root.join(format!("r{i}")))))?;

    let chunk: Vec<u8> = (0..1_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let big = root.join("big");
    throughput("write", || {
        let mut file = fs::File::create(&big)?;
        (0..BIG / chunk.len()).try_for_each(|_| file.write_all(&chunk))
    })?;
    // What the page cache holds goes, so that the filesystem is read, not the cache.
    let _ = fs::write("/proc/sys/vm/drop_caches", "1");
    throughput("read", || {
        let mut file = fs::File::open(&big)?;
        let mut back = vec![0; chunk.len()];
        (0..BIG / chunk.len()).try_for_each(|_| {
            file.read_exact(&mut back)?;
            assert!(back == chunk, "what was written is what is read");
            Ok(())
        })
    })
}

fn timed(work: impl FnOnce() -> std::io::Result<()>) -> std::io::Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

fn rate(what: &str, count: usize, work: impl FnOnce() -> std::io::Result<()>) -> std::io::Result<()> {
    let took = timed(work)?;
    println!(
        "  {what:<20} {count} files in {took:>8.1?}: {:>8.0} a second",
        count as f64 / took.as_secs_f64()
    );
    Ok(())
}

fn throughput(what: &str, work: impl FnOnce() -> std::io::Result<()>) -> std::io::Result<()> {
    let took = timed(work)?;
    let mib = BIG >> 20;
    println!("  {what:<20} {mib} MiB in {took:>8.1?}: {:>8.0} MiB a second", mib as f64 / took.as_secs_f64());
    Ok(())
}
