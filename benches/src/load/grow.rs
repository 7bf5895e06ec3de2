//! Single requests, while the filesystem grows: their cost should not.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use rustix::fs::{AtFlags, CWD, FileType, Mode, StatxFlags, mknodat, statx};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::measure::{bind, histogram};
use crate::tell;
use crate::work::{Lister, Random};

/// Files a folder, where the number of files is to grow and not that of names in a folder.
const FOLDER: u64 = 1000;

/// Descriptors that a process has for all else.
const SPARE: u64 = 100;

/// What grows.
#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// Files that the kernel knows.
    Nodes,
    /// Files that are open.
    Open,
    /// Names in one directory.
    Names,
}

#[derive(Args)]
pub(crate) struct Options {
    /// What grows.
    what: What,
    /// An empty filesystem that is mounted.
    root: PathBuf,
    /// How many there are to be, step by step.
    #[arg(long, value_delimiter = ',', required = true)]
    steps: Vec<u64>,
    /// How long to measure each kind of request after each step.
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
}

/// Prints, after each step, `STEP REQUEST median` and `STEP REQUEST p99`, in ns.
pub(crate) fn grow(options: &Options) -> io::Result<()> {
    // To the CPU of the first queue, so that neither side moves about.
    bind(0)?;
    let mut files = Files { root: options.root.clone(), holders: Vec::new(), count: 0, fresh: 0 };
    let time = Duration::from_secs_f64(options.seconds);
    for step in &options.steps {
        files.grow(options.what, *step)?;
        let tell = |request: &str, times: (f64, f64)| {
            tell(&format!("{step} {request} median"), times.0);
            tell(&format!("{step} {request} p99"), times.1);
        };
        let mut random = Random::new(1);
        match options.what {
            What::Nodes => tell("getattr", timed(time, || files.getattr(random.below(*step)))?),
            What::Open => {
                tell("getattr", timed(time, || files.getattr(random.below(*step)))?);
                tell("open and close", timed(time, || files.open_close(random.below(*step)))?);
            }
            What::Names => {
                tell("lookup", timed(time, || files.lookup_fresh())?);
                tell("create and unlink", timed(time, || files.create_unlink())?);
                tell("readdir, an entry", files.list(time)?);
            }
        }
    }
    Ok(())
}

/// Median and 99th percentile of what `request` takes, in ns.
fn timed(time: Duration, mut request: impl FnMut() -> io::Result<()>) -> io::Result<(f64, f64)> {
    // What comes first pays for cold caches.
    for _ in 0..100 {
        request()?;
    }
    let mut times = histogram();
    let start = Instant::now();
    while start.elapsed() < time {
        let before = Instant::now();
        request()?;
        times.saturating_record(before.elapsed().as_nanos() as u64);
    }
    Ok((times.value_at_quantile(0.5) as f64, times.value_at_quantile(0.99) as f64))
}

struct Files {
    root: PathBuf,
    holders: Vec<Holder>,
    count: u64,
    fresh: u64,
}

impl Files {
    fn path(&self, number: u64) -> PathBuf {
        path(&self.root, number)
    }

    fn names(&self) -> PathBuf {
        self.root.join("names")
    }

    fn grow(&mut self, what: What, to: u64) -> io::Result<()> {
        let from = self.count;
        while self.count < to {
            let number = self.count;
            match what {
                What::Names => {
                    if number == 0 {
                        fs::create_dir(self.names())?;
                    }
                    make(&self.names().join(format!("f{number}")))?;
                }
                What::Nodes | What::Open => {
                    let path = self.path(number);
                    if number.is_multiple_of(FOLDER) {
                        fs::create_dir(path.parent().expect("it lies in a folder"))?;
                    }
                    make(&path)?;
                }
            }
            self.count += 1;
        }
        if matches!(what, What::Open) {
            let each = open_files().saturating_sub(SPARE).max(1);
            for from in (from..to).step_by(each as usize) {
                self.holders.push(Holder::start(&self.root, from, each.min(to - from))?);
            }
        }
        Ok(())
    }

    fn getattr(&self, number: u64) -> io::Result<()> {
        // Asked for by force: the kernel may keep attributes for as long as it likes.
        let flags = AtFlags::STATX_FORCE_SYNC;
        statx(CWD, self.path(number), flags, StatxFlags::BASIC_STATS)?;
        Ok(())
    }

    fn open_close(&self, number: u64) -> io::Result<()> {
        File::open(self.path(number)).map(drop)
    }

    /// A name that was never asked for, so that the kernel cannot know that it is not there.
    fn fresh(&mut self) -> PathBuf {
        self.fresh += 1;
        self.names().join(format!("g{}", self.fresh))
    }

    fn lookup_fresh(&mut self) -> io::Result<()> {
        match fs::symlink_metadata(self.fresh()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(io::Error::other("a name is there that nobody made")),
        }
    }

    fn create_unlink(&mut self) -> io::Result<()> {
        let path = self.fresh();
        drop(OpenOptions::new().write(true).create_new(true).open(&path)?);
        fs::remove_file(&path)
    }

    /// Whole listings, at least one: ns an entry.
    fn list(&self, time: Duration) -> io::Result<(f64, f64)> {
        let mut lister = Lister::new(self.names());
        let mut times = histogram();
        let start = Instant::now();
        loop {
            let before = Instant::now();
            let count = lister.list(|_, _| Ok(()))?;
            if count != self.count {
                return Err(io::Error::other(format!("{count} names were listed of {}", self.count)));
            }
            times.saturating_record(before.elapsed().as_nanos() as u64 / count.max(1));
            if start.elapsed() > time {
                return Ok((times.value_at_quantile(0.5) as f64, times.value_at_quantile(0.99) as f64));
            }
        }
    }
}

fn path(root: &Path, number: u64) -> PathBuf {
    root.join(format!("d{}", number / FOLDER)).join(format!("f{number}"))
}

/// How many files a process may have open.
fn open_files() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// A process that holds files open: one alone may not be allowed to hold so many.
struct Holder(Child);

impl Holder {
    /// Returns once all are open.
    fn start(root: &Path, first: u64, count: u64) -> io::Result<Self> {
        let mut child = Command::new("/proc/self/exe")
            .arg("hold")
            .arg(root)
            .args([first.to_string(), count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take();
        let holder = Self(child);
        let mut line = String::new();
        out.map(|out| BufReader::new(out).read_line(&mut line)).transpose()?;
        if line.is_empty() { Err(io::Error::other("the files cannot be held open")) } else { Ok(holder) }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It waits for the end of what it reads.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[derive(Args)]
pub(crate) struct Hold {
    /// Where the files are.
    root: PathBuf,
    /// The first one.
    first: u64,
    /// How many.
    count: u64,
}

/// Opens files, says so, and waits until nobody wants them any more.
pub(crate) fn hold(hold: &Hold) -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    let open = (hold.first..hold.first + hold.count).map(|number| File::open(path(&hold.root, number)));
    let files = open.collect::<io::Result<Vec<_>>>()?;
    println!("{} files are open", files.len());
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

/// Makes an empty file without opening it.
fn make(path: &Path) -> io::Result<()> {
    mknodat(CWD, path, FileType::RegularFile, Mode::from_raw_mode(0o644), 0)?;
    Ok(())
}
