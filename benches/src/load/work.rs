//! What a client does, over and over.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use rustix::fs::{AtFlags, CWD, RawDir, StatxFlags, statx};

const PAGE: usize = 4096;
const MIB: usize = 1 << 20;

/// So much of a file is read before it is opened anew.
const REREAD: u64 = 256;

/// A kind of load.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// statx of an open file.
    Fstat,
    /// statx of a path.
    Stat,
    /// Reads of 4 KiB at random places.
    Read4k,
    /// Writes of 4 KiB at random places.
    Write4k,
    /// Reads of 1 MiB, one after the other.
    Seqread,
    /// Writes of 1 MiB, one after the other.
    Seqwrite,
    /// As `seqread`, of a file that is opened anew every 256 MiB, so that the page cache has none of it.
    Bufread,
    /// Create a file, close it, remove it.
    CreateUnlink,
    /// List a directory of 10,000 files, and statx each.
    Readdirplus,
}

/// What one step did.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    pub(crate) ops: u64,
    pub(crate) bytes: usize,
}

impl Step {
    /// One operation that moves no data.
    const OP: Self = Self { ops: 1, bytes: 0 };
}

/// A client's step. It has all it needs: files are open, buffers are there.
pub(crate) type Work = Box<dyn FnMut() -> io::Result<Step>>;

/// Client number `client` of `clients`, on a bench tree.
pub(crate) fn client(kind: Kind, root: &Path, client: usize, clients: usize) -> io::Result<Work> {
    let null = root.join("null");
    Ok(match kind {
        Kind::Fstat => {
            let file = File::open(null)?;
            Box::new(move || {
                statx(&file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
                Ok(Step::OP)
            })
        }
        Kind::Stat => Box::new(move || {
            statx(CWD, &null, AtFlags::empty(), StatxFlags::BASIC_STATS)?;
            Ok(Step::OP)
        }),
        Kind::Read4k | Kind::Write4k => {
            let mut io = Transfer::new(&null, PAGE)?;
            let mut random = Random::new(client);
            let write = matches!(kind, Kind::Write4k);
            Box::new(move || io.step(random.below(io.blocks), write))
        }
        Kind::Seqread | Kind::Seqwrite => {
            let mut io = Transfer::new(&null, MIB)?;
            // Each client has a part of the file to itself.
            let mut block = io.blocks * client as u64 / clients as u64;
            let write = matches!(kind, Kind::Seqwrite);
            Box::new(move || {
                block += 1;
                io.step(block % io.blocks, write)
            })
        }
        Kind::Bufread => {
            let mut io = Transfer::new(&null, MIB)?;
            let end = io.blocks.min(REREAD);
            let mut block = 0;
            Box::new(move || {
                if block == end {
                    // An open drops what the cache has of the file.
                    io.file = OpenOptions::new().read(true).write(true).open(&null)?;
                    block = 0;
                }
                block += 1;
                io.step(block - 1, false)
            })
        }
        Kind::CreateUnlink => {
            let folder = root.join("scratch");
            let mut number = 0;
            Box::new(move || {
                let path = folder.join(format!("{}-{client}-{number}", std::process::id()));
                number += 1;
                drop(OpenOptions::new().write(true).create_new(true).open(&path)?);
                fs::remove_file(&path)?;
                Ok(Step::OP)
            })
        }
        Kind::Readdirplus => {
            let mut lister = Lister::new(root.join("tree"));
            Box::new(move || {
                let ops = lister.list(|folder, name| {
                    statx(folder, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)?;
                    Ok(())
                })?;
                Ok(Step { ops, bytes: 0 })
            })
        }
    })
}

/// Reads and writes of whole blocks of a file.
struct Transfer {
    file: File,
    buffer: Vec<u8>,
    /// Where in the buffer a page begins: a block that begins elsewhere lies in one page more, and the kernel would make
    /// two requests of it.
    start: usize,
    size: usize,
    blocks: u64,
}

impl Transfer {
    fn new(path: &Path, size: usize) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let blocks = file.metadata()?.len() / size as u64;
        // Not zeros: those would be one page, mapped many times.
        let buffer = vec![1; size + PAGE];
        let start = buffer.as_ptr().align_offset(PAGE);
        Ok(Self { file, buffer, start, size, blocks })
    }

    fn step(&mut self, block: u64, write: bool) -> io::Result<Step> {
        let offset = block * self.size as u64;
        let buffer = &mut self.buffer[self.start..][..self.size];
        if write {
            self.file.write_all_at(buffer, offset)?;
        } else {
            self.file.read_exact_at(buffer, offset)?;
        }
        Ok(Step { ops: 1, bytes: self.size })
    }
}

/// Lists a directory as `ls` does, by 32 KiB.
pub(crate) struct Lister {
    path: PathBuf,
    buffer: Vec<MaybeUninit<u8>>,
}

impl Lister {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, buffer: vec![MaybeUninit::uninit(); 32 << 10] }
    }

    /// Calls `each` for every name but `.` and `..`, and returns how many there are.
    pub(crate) fn list(
        &mut self,
        mut each: impl FnMut(&File, &std::ffi::CStr) -> io::Result<()>,
    ) -> io::Result<u64> {
        let folder = File::open(&self.path)?;
        let mut entries = RawDir::new(&folder, &mut self.buffer);
        let mut count = 0;
        while let Some(entry) = entries.next() {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                each(&folder, entry.file_name())?;
                count += 1;
            }
        }
        Ok(count)
    }
}

/// Numbers that look random: xorshift64*.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: usize) -> Self {
        Self(0x9e37_79b9_7f4a_7c15 ^ (seed as u64 + 1))
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % limit.max(1)
    }
}
