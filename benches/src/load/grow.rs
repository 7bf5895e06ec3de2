//! Single requests, while the filesystem grows: their cost should not.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use rustix::fs::{AtFlags, CWD, FileType, Mode, StatxFlags, mknodat, statx};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::measure::{bind, histogram};
use crate::tell;
use crate::work::{Lister, Random};

/// Files a folder, where the number of files is to grow and not that of names in a folder.
const FOLDER: u64 = 1000;

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
    let mut files = Files { root: options.root.clone(), open: Vec::new(), count: 0, fresh: 0 };
    if matches!(options.what, What::Open) {
        // The steps, and some for everything else.
        let most = options.steps.iter().max().copied().unwrap_or_default() + 1000;
        setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: Some(most) }).map_err(
            |error| {
                io::Error::other(format!(
                    "cannot open {most} files: {error}; raise /proc/sys/fs/nr_open, as root"
                ))
            },
        )?;
    }
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
                tell("getattr", timed(time, || files.getattr_open(random.below(*step)))?);
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
    open: Vec<File>,
    count: u64,
    fresh: u64,
}

impl Files {
    fn path(&self, number: u64) -> PathBuf {
        self.root.join(format!("d{}", number / FOLDER)).join(format!("f{number}"))
    }

    fn names(&self) -> PathBuf {
        self.root.join("names")
    }

    fn grow(&mut self, what: What, to: u64) -> io::Result<()> {
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
                    if matches!(what, What::Open) {
                        self.open.push(File::create_new(path)?);
                    } else {
                        make(&path)?;
                    }
                }
            }
            self.count += 1;
        }
        Ok(())
    }

    fn getattr(&self, number: u64) -> io::Result<()> {
        // Asked for by force: the kernel may keep attributes for as long as it likes.
        let flags = AtFlags::STATX_FORCE_SYNC;
        statx(CWD, self.path(number), flags, StatxFlags::BASIC_STATS)?;
        Ok(())
    }

    fn getattr_open(&self, number: u64) -> io::Result<()> {
        let flags = AtFlags::STATX_FORCE_SYNC | AtFlags::EMPTY_PATH;
        statx(&self.open[number as usize], c"", flags, StatxFlags::BASIC_STATS)?;
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

/// Makes an empty file without opening it.
fn make(path: &Path) -> io::Result<()> {
    mknodat(CWD, path, FileType::RegularFile, Mode::from_raw_mode(0o644), 0)?;
    Ok(())
}
