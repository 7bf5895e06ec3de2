//! `cargo xtask demo`: what the project does, to be seen in a minute.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::machine;
use crate::run::{Done, cargo, run, target};

const FILES: usize = 5000;
const BIG: usize = 256 << 20;

/// The mounted filesystem. It goes when this is dropped, whatever happened before.
struct Served {
    child: Child,
    path: PathBuf,
}

impl Served {
    fn start() -> Done<(Self, String)> {
        let path = std::env::temp_dir().join(format!("ringfuse-demo-{}", std::process::id()));
        fs::create_dir(&path).map_err(|error| format!("cannot create {}: {error}", path.display()))?;
        let program = target().join("release/ringfuse");
        let mut child = Command::new(&program)
            .args(["mem", "--fsname", "ringfuse-demo"])
            .arg(&path)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        let mut line = String::new();
        let said = child.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
        let served = Self { child, path };
        match said {
            Some(Ok(len)) if len > 0 => Ok((served, line.trim().to_owned())),
            _ => Err("the filesystem did not come up; what it said is above".to_owned()),
        }
    }

    fn unmount(mut self) -> Done {
        run(Command::new("umount").arg(&self.path))?;
        let status = self.child.wait().map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("the filesystem ended with {status}")) }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = Command::new("umount").arg("-l").arg(&self.path).status();
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let _ = fs::remove_dir(&self.path);
    }
}

/// Mounts, works, unmounts, and says what it did.
pub(crate) fn demo() -> Done {
    println!("building the program (a minute, the first time)");
    run(cargo().args(["build", "--release", "--quiet", "--package", "ringfuse-cli"]))?;
    if rustix::process::geteuid().is_root() {
        if let Err(error) = machine::enable() {
            println!("without the ring: {error}");
        }
    } else {
        println!(
            "not root: the ring is used only if it is switched on already, and mounting needs fusermount3"
        );
    }

    let (served, ready) = Served::start()?;
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
