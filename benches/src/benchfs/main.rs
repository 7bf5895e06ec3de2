//! A filesystem for measurements: what it does itself costs next to nothing, so that what is measured is the library.
//!
//! ```text
//! /null        4 GiB; the byte at offset o is (o % 4096) * 31 % 251; writes are discarded
//! /tree/       10,000 empty files, f00000 to f09999
//! /scratch/    files and directories in memory
//! ```

mod scratch;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use ringfuse::{
    Attr, AttrReply, Capabilities, DirFiller, DirPos, Entry, Errno, Fh, FileType, Filesystem, Mount,
    Negotiation, NodeId, Opened, ReadBuf, Request, Result, Timestamp, Transport, WriteBuf, Written, op,
};

use scratch::Scratch;

const NULL: u64 = 2;
const TREE: u64 = 3;
const SCRATCH: u64 = 4;
const FIRST_FILE: u64 = 0x1000;
const FILES: u64 = 10_000;
const FIRST_SCRATCH: u64 = 1 << 20;
const NULL_SIZE: u64 = 4 << 30;
const MAX_IO: usize = 1 << 20;

/// Serves the bench tree until it is unmounted.
#[derive(Parser)]
#[command(max_term_width = 100)]
struct Options {
    /// Where to mount.
    mountpoint: PathBuf,
    /// How long names and attributes are cached, in seconds; fractions allowed.
    #[arg(long, default_value_t = 0.0)]
    ttl: f64,
    /// Open files for direct I/O, with parallel writes.
    #[arg(long)]
    direct: bool,
    /// Worker threads [default: one a CPU].
    #[arg(long)]
    threads: Option<usize>,
    /// Entries a queue [default: the library's].
    #[arg(long)]
    depth: Option<usize>,
    /// Insist on io_uring.
    #[arg(long, conflicts_with = "classic")]
    uring: bool,
    /// Use /dev/fuse.
    #[arg(long)]
    classic: bool,
    /// Ask for a writeback cache.
    #[arg(long)]
    writeback: bool,
}

struct Bench {
    ttl: Duration,
    direct: bool,
    writeback: bool,
    pattern: Vec<u8>,
    names: Vec<String>,
    start: Timestamp,
    owner: (u32, u32),
    scratch: Scratch,
}

impl Bench {
    fn new(options: &Options) -> Self {
        let meta = std::fs::metadata("/proc/self").map(|meta| {
            use std::os::unix::fs::MetadataExt;
            (meta.uid(), meta.gid())
        });
        Self {
            ttl: Duration::from_secs_f64(options.ttl),
            direct: options.direct,
            writeback: options.writeback,
            pattern: (0..MAX_IO as u64 + 4096).map(|offset| (offset % 4096 * 31 % 251) as u8).collect(),
            names: (0..FILES).map(|i| format!("f{i:05}")).collect(),
            start: Timestamp::now(),
            owner: meta.unwrap_or_default(),
            scratch: Scratch::new(FIRST_SCRATCH, SCRATCH),
        }
    }

    fn attr(&self, node: u64) -> Result<Attr> {
        let attr = match node {
            1 | TREE | SCRATCH => Attr::dir(node),
            NULL => Attr::file(NULL, NULL_SIZE).perm(0o666),
            FIRST_FILE.. if node < FIRST_FILE + FILES => Attr::file(node, 0),
            _ => self.scratch.attr(node)?,
        };
        Ok(attr.owner(self.owner.0, self.owner.1).times(self.start))
    }

    fn entry(&self, node: u64) -> Result<Entry> {
        self.entry_of(node, self.attr(node)?)
    }

    fn entry_of(&self, node: u64, attr: Attr) -> Result<Entry> {
        let id = NodeId::new(node).ok_or(Errno::EIO)?;
        Ok(Entry::new(id, attr).ttl(self.ttl))
    }

    fn find(&self, parent: u64, name: &[u8]) -> Result<u64> {
        match (parent, name) {
            (1, b"null") => Ok(NULL),
            (1, b"tree") => Ok(TREE),
            (1, b"scratch") => Ok(SCRATCH),
            (1, _) => Err(Errno::ENOENT),
            (TREE, [b'f', digits @ ..]) if digits.len() == 5 => {
                let number = digits.iter().try_fold(0, |number, digit| {
                    digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
                });
                number.filter(|number| *number < FILES).map(|number| FIRST_FILE + number).ok_or(Errno::ENOENT)
            }
            (TREE, _) => Err(Errno::ENOENT),
            _ => self.scratch.find(parent, name),
        }
    }

    fn opened(&self) -> Opened {
        let opened = Opened::new(Fh(0));
        if self.direct { opened.direct_io().parallel_direct_writes() } else { opened }
    }

    fn list(&self, op: &op::Readdir, out: &mut DirFiller<'_>) -> Result<()> {
        let dir = op.node.get();
        let mut push = |node: u64, next: u64, name: &str| {
            let attr = self.attr(node);
            let kind = attr.as_ref().ok().and_then(Attr::file_type);
            out.push_plus(node, DirPos(next), kind, name, || self.entry_of(node, attr?)).is_ok()
        };
        let from = op.pos.get();
        if (from < 1 && !push(dir, 1, ".")) || (from < 2 && !push(1, 2, "..")) {
            return Ok(());
        }
        let from = from.max(2) - 2;
        match dir {
            1 => {
                let all = [(NULL, "null"), (TREE, "tree"), (SCRATCH, "scratch")];
                for (at, (node, name)) in (0..).zip(all).skip(from as usize) {
                    if !push(node, at + 3, name) {
                        break;
                    }
                }
            }
            TREE => {
                for at in from..FILES {
                    if !push(FIRST_FILE + at, at + 3, &self.names[at as usize]) {
                        break;
                    }
                }
            }
            _ => {
                for (node, name) in self.scratch.list(dir, op.pos.get()) {
                    // Nodes are numbered in order, so that they serve as positions.
                    if !push(node, node, &String::from_utf8_lossy(&name)) {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Filesystem for Bench {
    fn init(&self, kernel: &mut Negotiation) -> Result<()> {
        kernel.max_readahead(MAX_IO as u32);
        kernel.max_background(64);
        kernel.prefer(Capabilities::DO_READDIRPLUS | Capabilities::READDIRPLUS_AUTO);
        if self.writeback {
            kernel.require(Capabilities::WRITEBACK_CACHE)?;
        }
        Ok(())
    }

    async fn lookup(&self, _: &Request<'_>, op: op::Lookup<'_>) -> Result<Entry> {
        self.entry(self.find(op.parent.get(), op.name.as_bytes())?)
    }

    async fn getattr(&self, _: &Request<'_>, op: op::Getattr) -> Result<AttrReply> {
        Ok(AttrReply::new(self.attr(op.node.get())?).ttl(self.ttl))
    }

    async fn setattr(&self, _: &Request<'_>, op: op::Setattr) -> Result<AttrReply> {
        let node = op.node.get();
        if node >= FIRST_SCRATCH {
            self.scratch.set(node, op.mode, op.size)?;
        }
        Ok(AttrReply::new(self.attr(node)?).ttl(self.ttl))
    }

    async fn open(&self, _: &Request<'_>, op: op::Open) -> Result<Opened> {
        if op.node.get() >= FIRST_SCRATCH {
            self.scratch.open(op.node.get())?;
        }
        Ok(self.opened())
    }

    async fn release(&self, _: &Request<'_>, op: op::Release) -> Result<()> {
        if op.node.get() >= FIRST_SCRATCH {
            self.scratch.release(op.node.get());
        }
        Ok(())
    }

    async fn opendir(&self, _: &Request<'_>, _: op::Open) -> Result<Opened> {
        Ok(Opened::new(Fh(0)))
    }

    async fn read(&self, _: &Request<'_>, op: op::Read, buf: ReadBuf) -> Result<ReadBuf> {
        match op.node.get() {
            NULL => {
                let left = NULL_SIZE.saturating_sub(op.offset).min(MAX_IO as u64);
                let at = (op.offset % 4096) as usize;
                Ok(buf.copy_from(&self.pattern[at..at + left.min(u64::from(op.size)) as usize]))
            }
            FIRST_SCRATCH.. => self.scratch.read(op.node.get(), op.offset, buf),
            _ => Ok(buf),
        }
    }

    async fn write(&self, _: &Request<'_>, op: op::Write, data: WriteBuf) -> Result<Written> {
        if op.node.get() >= FIRST_SCRATCH {
            self.scratch.write(op.node.get(), op.offset, data.bytes())?;
        }
        Ok(data.written())
    }

    async fn mkdir(&self, _: &Request<'_>, op: op::Mkdir<'_>) -> Result<Entry> {
        let mode = FileType::Directory.mode() | op.mode & 0o7777;
        self.entry(self.scratch.make(op.parent.get(), op.name.as_bytes(), mode, 0)?)
    }

    async fn mknod(&self, _: &Request<'_>, op: op::Mknod<'_>) -> Result<Entry> {
        self.entry(self.scratch.make(op.parent.get(), op.name.as_bytes(), op.mode, 0)?)
    }

    async fn create(&self, _: &Request<'_>, op: op::Create<'_>) -> Result<(Entry, Opened)> {
        let node = self.scratch.make(op.parent.get(), op.name.as_bytes(), op.mode, 1)?;
        Ok((self.entry(node)?, self.opened()))
    }

    async fn unlink(&self, _: &Request<'_>, op: op::Unlink<'_>) -> Result<()> {
        self.scratch.unlink(op.parent.get(), op.name.as_bytes())
    }

    async fn rmdir(&self, _: &Request<'_>, op: op::Rmdir<'_>) -> Result<()> {
        self.scratch.rmdir(op.parent.get(), op.name.as_bytes())
    }

    async fn rename(&self, _: &Request<'_>, op: op::Rename<'_>) -> Result<()> {
        let from = (op.parent.get(), op.name.as_bytes());
        self.scratch.rename(from, (op.new_parent.get(), op.new_name.as_bytes()), op.flags)
    }

    async fn readdir(&self, _: &Request<'_>, op: op::Readdir, out: &mut DirFiller<'_>) -> Result<()> {
        self.list(&op, out)
    }
}

fn main() -> std::process::ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .init();
    let options = Options::parse();
    let transport = match (options.uring, options.classic) {
        (true, _) => Transport::RequireRing,
        (_, true) => Transport::DeviceOnly,
        _ => Transport::PreferRing,
    };
    let mut mount = Mount::new(&options.mountpoint)
        .fsname("ringfuse-bench")
        .transport(transport)
        .max_write(MAX_IO as u32)
        .allow_other(true);
    if let Some(threads) = options.threads {
        mount = mount.workers(threads);
    }
    if let Some(depth) = options.depth {
        mount = mount.depth(depth);
    }
    let served = mount.spawn(Bench::new(&options)).and_then(|session| {
        println!("{}", session.info());
        session.join()
    });
    match served {
        Ok(_) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benchfs: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
