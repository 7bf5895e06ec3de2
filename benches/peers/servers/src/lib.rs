//! What all peers serve: the tree of `benchfs`, without a FUSE library in it, and the command line they share.
//!
//! ```text
//! /null        4 GiB; the byte at offset o is (o % 4096) * 31 % 251; writes are discarded
//! /tree/       10,000 empty files, f00000 to f09999
//! /scratch/    files and directories in memory
//! ```
//!
//! Each call is short and never blocks for long, so that a server may make it wherever its library hands it a request.

mod scratch;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Parser;

use scratch::Scratch;

/// An answer, or an `errno`.
pub type Result<T> = std::result::Result<T, i32>;

const ROOT: u64 = 1;
const NULL: u64 = 2;
const TREE: u64 = 3;
const SCRATCH: u64 = 4;
const FIRST_FILE: u64 = 0x1000;
const FILES: u64 = 10_000;
const FIRST_SCRATCH: u64 = 1 << 20;
const NULL_SIZE: u64 = 4 << 30;

/// The largest read or write; `benchfs` asks for the same.
pub const MAX_IO: u32 = 1 << 20;
/// Requests in flight that no program waits for; as `benchfs`.
pub const MAX_BACKGROUND: u16 = 64;

const FOPEN_DIRECT_IO: u32 = 1;
const FOPEN_PARALLEL_DIRECT_WRITES: u32 = 1 << 6;

/// Serves the bench tree until it is unmounted.
#[derive(Parser, Clone, Debug)]
#[command(max_term_width = 100)]
pub struct Options {
    /// Where to mount.
    pub mountpoint: PathBuf,
    /// How long names and attributes are cached, in seconds; fractions allowed.
    #[arg(long, default_value_t = 0.0)]
    pub ttl: f64,
    /// Open files for direct I/O, with parallel writes.
    #[arg(long)]
    pub direct: bool,
    /// Worker threads [default: what the library advises].
    #[arg(long)]
    pub threads: Option<usize>,
    /// Entries a queue, where the library has queues [default: the library's].
    #[arg(long)]
    pub depth: Option<u16>,
    /// Ask for a writeback cache.
    #[arg(long)]
    pub writeback: bool,
}

/// What `stat` shows.
#[derive(Clone, Copy, Debug)]
pub struct Attr {
    /// Node and inode number.
    pub node: u64,
    /// Bytes.
    pub size: u64,
    /// Type and permissions.
    pub mode: u32,
    /// Names.
    pub nlink: u32,
}

impl Attr {
    fn new(node: u64, mode: u32) -> Self {
        let nlink = if mode & libc::S_IFMT == libc::S_IFDIR { 2 } else { 1 };
        Self { node, size: 0, mode, nlink }
    }

    /// Whether it is a directory; all else are regular files.
    pub fn is_dir(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }

    /// The permission bits.
    pub fn perm(&self) -> u16 {
        (self.mode & 0o7777) as u16
    }
}

/// An entry of a listing.
pub struct Listed<'a> {
    /// What it leads to.
    pub attr: Attr,
    /// Where the listing goes on after it.
    pub next: u64,
    /// Its name.
    pub name: &'a str,
}

/// Bytes of a file.
pub enum Data {
    /// Of `/null`: nothing is copied.
    Pattern(&'static [u8]),
    /// Of a file in `/scratch`.
    Copied(Vec<u8>),
}

impl Data {
    /// All of them.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Pattern(bytes) => bytes,
            Self::Copied(bytes) => bytes,
        }
    }
}

/// The tree.
pub struct Tree {
    /// The command line.
    pub options: Options,
    /// Lifetime of names and attributes.
    pub ttl: Duration,
    /// All times of all files.
    pub start: SystemTime,
    /// Owner of all files.
    pub owner: (u32, u32),
    pattern: &'static [u8],
    names: Vec<String>,
    scratch: Scratch,
}

impl Tree {
    /// The tree as it is at first.
    pub fn new(options: Options) -> Self {
        let pattern: Vec<u8> =
            (0..u64::from(MAX_IO) + 4096).map(|offset| (offset % 4096 * 31 % 251) as u8).collect();
        Self {
            ttl: Duration::from_secs_f64(options.ttl),
            options,
            start: SystemTime::now(),
            owner: (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw()),
            // Once a process: the libraries that take no copy want it for ever.
            pattern: pattern.leak(),
            names: (0..FILES).map(|i| format!("f{i:05}")).collect(),
            scratch: Scratch::new(FIRST_SCRATCH, SCRATCH),
        }
    }

    /// Seconds and nanoseconds of `start`.
    pub fn time(&self) -> (u64, u32) {
        let since = self.start.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        (since.as_secs(), since.subsec_nanos())
    }

    /// `FOPEN_*` of each open.
    pub fn open_flags(&self) -> u32 {
        if self.options.direct { FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES } else { 0 }
    }

    /// The attributes of a node.
    pub fn attr(&self, node: u64) -> Result<Attr> {
        match node {
            ROOT | TREE | SCRATCH => Ok(Attr::new(node, libc::S_IFDIR | 0o755)),
            NULL => Ok(Attr { size: NULL_SIZE, ..Attr::new(NULL, libc::S_IFREG | 0o666) }),
            FIRST_FILE.. if node < FIRST_FILE + FILES => Ok(Attr::new(node, libc::S_IFREG | 0o644)),
            _ => self.scratch.attr(node),
        }
    }

    /// Finds a name.
    pub fn find(&self, parent: u64, name: &[u8]) -> Result<Attr> {
        let node = match (parent, name) {
            (ROOT, b"null") => NULL,
            (ROOT, b"tree") => TREE,
            (ROOT, b"scratch") => SCRATCH,
            (TREE, [b'f', digits @ ..]) if digits.len() == 5 => {
                let number = digits.iter().try_fold(0, |number, digit| {
                    digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
                });
                FIRST_FILE + number.filter(|number| *number < FILES).ok_or(libc::ENOENT)?
            }
            (ROOT | TREE, _) => return Err(libc::ENOENT),
            _ => self.scratch.find(parent, name)?,
        };
        self.attr(node)
    }

    /// Changes permissions or size; what is fixed ignores it.
    pub fn set(&self, node: u64, mode: Option<u32>, size: Option<u64>) -> Result<Attr> {
        if node >= FIRST_SCRATCH {
            self.scratch.set(node, mode, size)?;
        }
        self.attr(node)
    }

    /// Opens a file; the answer is `FOPEN_*`.
    pub fn open(&self, node: u64) -> Result<u32> {
        if node >= FIRST_SCRATCH {
            self.scratch.open(node)?;
        }
        Ok(self.open_flags())
    }

    /// The end of an open file.
    pub fn release(&self, node: u64) {
        if node >= FIRST_SCRATCH {
            self.scratch.release(node);
        }
    }

    /// Reads.
    pub fn read(&self, node: u64, offset: u64, size: usize) -> Result<Data> {
        match node {
            NULL => {
                let left = NULL_SIZE.saturating_sub(offset).min(u64::from(MAX_IO)) as usize;
                Ok(Data::Pattern(&self.pattern[(offset % 4096) as usize..][..left.min(size)]))
            }
            FIRST_SCRATCH.. => Ok(Data::Copied(self.scratch.read(node, offset, size)?)),
            _ => Ok(Data::Pattern(&[])),
        }
    }

    /// Writes; all of it, always.
    pub fn write(&self, node: u64, offset: u64, data: &[u8]) -> Result<u32> {
        if node >= FIRST_SCRATCH {
            self.scratch.write(node, offset, data)?;
        }
        Ok(data.len() as u32)
    }

    /// Makes a file (open already so many times) or a directory.
    pub fn make(&self, parent: u64, name: &[u8], mode: u32, opens: u32) -> Result<Attr> {
        self.attr(self.scratch.make(parent, name, mode, opens)?)
    }

    /// Removes the name of a file.
    pub fn unlink(&self, parent: u64, name: &[u8]) -> Result<()> {
        self.scratch.unlink(parent, name)
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, parent: u64, name: &[u8]) -> Result<()> {
        self.scratch.rmdir(parent, name)
    }

    /// Renames, with the flags of `renameat2(2)`.
    pub fn rename(&self, from: (u64, &[u8]), to: (u64, &[u8]), flags: u32) -> Result<()> {
        self.scratch.rename(from, to, flags)
    }

    /// Lists a directory from a position on, until `push` refuses an entry.
    pub fn list(&self, dir: u64, from: u64, mut push: impl FnMut(Listed<'_>) -> bool) -> Result<()> {
        let attr = self.attr(dir)?;
        if !attr.is_dir() {
            return Err(libc::ENOTDIR);
        }
        let mut push = |attr: Attr, next: u64, name: &str| push(Listed { attr, next, name });
        if (from < 1 && !push(attr, 1, ".")) || (from < 2 && !push(self.attr(ROOT)?, 2, "..")) {
            return Ok(());
        }
        let skip = from.max(2) - 2;
        match dir {
            ROOT => {
                let all = [(NULL, "null"), (TREE, "tree"), (SCRATCH, "scratch")];
                for (at, (node, name)) in (0..).zip(all).skip(skip as usize) {
                    if !push(self.attr(node)?, at + 3, name) {
                        break;
                    }
                }
            }
            TREE => {
                for at in skip..FILES {
                    if !push(self.attr(FIRST_FILE + at)?, at + 3, &self.names[at as usize]) {
                        break;
                    }
                }
            }
            _ => {
                // Nodes are numbered in order, so that they serve as positions.
                for (node, name) in self.scratch.list(dir, from) {
                    if !push(self.attr(node)?, node, &String::from_utf8_lossy(&name)) {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

/// How many CPUs there are to run on.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The program's end: what a library's session came to.
pub fn ended(peer: &str, session: std::io::Result<()>) -> std::process::ExitCode {
    match session {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{peer}: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
