//! `cargo xtask latency`: medians of single operations, by one thread on one CPU.
//!
//! What matters is the sum of two columns: an operation of the mirror should take no longer than the same one natively and a
//! round trip to a server, which is what `ringfuse mem` takes.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, OFlags, StatxFlags, XattrFlags, statx};

use crate::run::Done;
use crate::served::{self, Served};

/// So many times each.
const ROUNDS: usize = 500;
/// Synchronising may mean to wait for a disk.
const SYNCS: usize = 50;
/// Entries of the directory that is listed.
const LISTED: usize = 100;

/// Names and medians, in the order they were measured.
type Medians = Vec<(&'static str, Duration)>;

/// Measures, and prints a table for each directory.
pub(crate) fn latency(mut directories: Vec<PathBuf>) -> Done {
    served::build()?;
    if directories.is_empty() {
        directories = vec!["/dev/shm".into(), std::env::temp_dir()];
    }
    let memory = both(&["mem"])?;
    for directory in directories {
        let folder = directory.join(format!("ringfuse-latency-{}", std::process::id()));
        fs::create_dir(&folder).map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
        let measured = all(&folder);
        let removed = fs::remove_dir_all(&folder);
        print(&directory, &memory, &measured?);
        removed.map_err(|error| format!("cannot remove {}: {error}", folder.display()))?;
    }
    Ok(())
}

/// Natively, and on the mirror with each choice of threads.
fn all(folder: &Path) -> Done<[Medians; 4]> {
    let source = folder.to_str().ok_or("the path of a directory is no text")?;
    let natively = |measure| pinned(folder, measure).map_err(|error| format!("natively: {error}"));
    let mut native = natively(names)?;
    native.extend(natively(content)?);
    let mirror = |metadata| both(&["mirror", source, "--metadata", metadata]);
    Ok([native, mirror("auto")?, mirror("inline")?, mirror("pool")?])
}

/// Names on a mount as it is by itself, content on one that has each read and write come to the server.
fn both(arguments: &[&str]) -> Done<Medians> {
    let mut medians = served(arguments, names)?;
    medians.extend(served(&[arguments, &["--direct"]].concat(), content)?);
    Ok(medians)
}

fn served(arguments: &[&str], measure: Measure) -> Done<Medians> {
    let (served, ready) = Served::start(arguments)?;
    println!("$ ringfuse {} {ready}", arguments.join(" "));
    let measured =
        pinned(&served.path, measure).map_err(|error| format!("on ringfuse {}: {error}", arguments[0]));
    let unmounted = served.unmount();
    let measured = measured?;
    unmounted?;
    Ok(measured)
}

type Measure = fn(&Path, &mut Medians) -> io::Result<()>;

/// Measures in a directory that is removed afterwards, in a thread that stays on one CPU: of the way to a server on another
/// one and back, hardly anything is ours.
fn pinned(root: &Path, measure: Measure) -> io::Result<Medians> {
    let root = root.join("latency");
    fs::create_dir(&root)?;
    let work = || {
        let mut here = rustix::thread::CpuSet::new();
        here.set(0);
        rustix::thread::sched_setaffinity(None, &here)?;
        let mut medians = Medians::new();
        measure(&root, &mut medians)?;
        io::Result::Ok(medians)
    };
    let medians = std::thread::scope(|scope| scope.spawn(work).join().expect("it does not panic"))?;
    fs::remove_dir_all(&root)?;
    Ok(medians)
}

/// The median time of some work.
fn median(rounds: usize, mut work: impl FnMut(usize) -> io::Result<()>) -> io::Result<Duration> {
    let mut times = Vec::with_capacity(rounds);
    for round in 0..rounds {
        let start = Instant::now();
        work(round)?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(times[rounds / 2])
}

/// Adds the median time of some work.
fn add(
    medians: &mut Medians,
    what: &'static str,
    rounds: usize,
    work: impl FnMut(usize) -> io::Result<()>,
) -> io::Result<()> {
    medians.push((what, median(rounds, work)?));
    Ok(())
}

fn names(root: &Path, medians: &mut Medians) -> io::Result<()> {
    let name = |prefix: &str, round: usize| root.join(format!("{prefix}{round}"));
    let file = root.join("file");
    fs::write(&file, "content")?;
    // Neither a name nor what the kernel has cached of the attributes.
    let path = File::options().read(true).custom_flags(OFlags::PATH.bits() as i32).open(&file)?;
    let fresh = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC;
    add(medians, "stat", ROUNDS, |_| Ok(statx(&path, c"", fresh, StatxFlags::BASIC_STATS).map(drop)?))?;
    drop(path);
    add(medians, "lookup, no such name", ROUNDS, |round| {
        match fs::symlink_metadata(name("missing", round)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            _ => Err(io::Error::other("a name that is not there was found")),
        }
    })?;
    let mut held = Vec::new();
    add(medians, "open", ROUNDS, |_| {
        held.push(File::open(&file)?);
        Ok(())
    })?;
    add(medians, "close", ROUNDS, |_| {
        drop(held.pop());
        Ok(())
    })?;
    add(medians, "create", ROUNDS, |round| {
        held.push(File::create_new(name("f", round))?);
        Ok(())
    })?;
    drop(held);
    add(medians, "chmod", ROUNDS, |round| {
        let mode = if round % 2 == 0 { 0o600 } else { 0o640 };
        Ok(rustix::fs::chmod(&file, mode.into())?)
    })?;
    add(medians, "rename", ROUNDS, |round| fs::rename(name("f", round), name("g", round)))?;
    add(medians, "link", ROUNDS, |round| fs::hard_link(name("g", round), name("l", round)))?;
    add(medians, "unlink", ROUNDS, |round| fs::remove_file(name("l", round)))?;
    add(medians, "unlink, last name", ROUNDS, |round| fs::remove_file(name("g", round)))?;
    add(medians, "symlink", ROUNDS, |round| std::os::unix::fs::symlink("target", name("s", round)))?;
    add(medians, "readlink", ROUNDS, |round| fs::read_link(name("s", round)).map(drop))?;
    add(medians, "mkdir", ROUNDS, |round| fs::create_dir(name("d", round)))?;
    add(medians, "rmdir", ROUNDS, |round| fs::remove_dir(name("d", round)))?;
    let listed = root.join("listed");
    fs::create_dir(&listed)?;
    for number in 0..LISTED {
        File::create(listed.join(number.to_string()))?;
    }
    add(medians, "list 100 entries", ROUNDS, |_| {
        let count = fs::read_dir(&listed)?.count();
        if count == LISTED { Ok(()) } else { Err(io::Error::other("a listing is not complete")) }
    })?;
    add(medians, "setxattr", ROUNDS, |round| {
        Ok(rustix::fs::setxattr(&file, c"user.x", &round.to_ne_bytes(), XattrFlags::empty())?)
    })?;
    let mut value = [0; 64];
    add(medians, "getxattr", ROUNDS, |_| Ok(rustix::fs::getxattr(&file, c"user.x", &mut value).map(drop)?))?;
    add(medians, "statfs", ROUNDS, |_| Ok(rustix::fs::statfs(&file).map(drop)?))
}

fn content(root: &Path, medians: &mut Medians) -> io::Result<()> {
    let file = root.join("file");
    fs::write(&file, vec![1; 1 << 20])?;
    let open = File::options().read(true).write(true).open(&file)?;
    let mut block = vec![2; 4096];
    let offset = |round: usize| (round * 7 % 256 * 4096) as u64;
    add(medians, "read 4 KiB", ROUNDS, |round| open.read_exact_at(&mut block, offset(round)))?;
    add(medians, "write 4 KiB", ROUNDS, |round| open.write_all_at(&block, offset(round)))?;
    add(medians, "write 4 KiB and fsync", SYNCS, |round| {
        open.write_all_at(&block, offset(round))?;
        open.sync_all()
    })
}

/// As Markdown, in microseconds.
fn print(directory: &Path, memory: &Medians, measured: &[Medians; 4]) {
    println!("\nMedians in µs, source in {}:\n", directory.display());
    println!("| | native | `mem` | both | mirror | `--metadata inline` | `--metadata pool` |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for (row, (what, native)) in measured[0].iter().enumerate() {
        let (round_trip, micros) = (memory[row].1, |time: Duration| time.as_secs_f64() * 1e6);
        print!(
            "| {what} | {:.1} | {:.1} | {:.1} |",
            micros(*native),
            micros(round_trip),
            micros(*native + round_trip)
        );
        for medians in &measured[1..] {
            print!(" {:.1} |", micros(medians[row].1));
        }
        println!();
    }
}
