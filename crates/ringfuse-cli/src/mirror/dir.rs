//! Listing directories.
//!
//! Positions are the source's own (`d_off` of `getdents64(2)`), which stay right whatever comes and goes meanwhile. The
//! source is read by the buffer; what the kernel has not asked for yet is kept for the next request of the same open
//! directory, and dropped when that continues elsewhere.
//!
//! A listing is gathered on whichever thread it was given to, with the attributes if those are wanted; only when an entry
//! goes into the answer is its lookup counted.

use std::collections::VecDeque;
use std::ffi::{CString, OsStr};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use ringfuse::{DirFiller, DirPos, FileType, Result};
use rustix::fs::{FileType as Kind, RawDir, SeekFrom};

use super::files::Handle;
use super::node::{Node, lock};
use super::reach::Found;
use super::source::{dev, stat};
use super::{Core, os};

/// The bytes that the source is read by.
const BUFFER: usize = 32 << 10;

/// An open directory: what was read of it and not asked for yet, and where it goes on behind that.
#[derive(Debug, Default)]
pub(super) struct Stream {
    ahead: VecDeque<Raw>,
    /// The position after the entry that was taken last.
    at: DirPos,
}

/// An entry as the source has it.
#[derive(Debug)]
struct Raw {
    ino: u64,
    next: DirPos,
    kind: Option<FileType>,
    name: CString,
}

/// An entry to be listed, with the inode if that is wanted.
#[derive(Debug)]
pub(super) struct Item {
    raw: Raw,
    found: Option<Found>,
}

fn kind(kind: Kind) -> Option<FileType> {
    Some(match kind {
        Kind::RegularFile => FileType::Regular,
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        Kind::Fifo => FileType::Fifo,
        Kind::Socket => FileType::Socket,
        Kind::CharacterDevice => FileType::CharDevice,
        Kind::BlockDevice => FileType::BlockDevice,
        Kind::Unknown => return None,
    })
}

impl Stream {
    /// Goes to a position.
    fn seek(&mut self, handle: &Handle, pos: DirPos) -> Result<()> {
        // The start is read anew, as rewinddir(3) demands.
        if pos != self.at || pos == DirPos::START {
            self.ahead.clear();
            os(rustix::fs::seek(&handle.file, SeekFrom::Start(pos.get())))?;
            self.at = pos;
        }
        Ok(())
    }

    /// Reads the next part of the source, if there is nothing ahead.
    fn fill(&mut self, handle: &Handle) -> Result<()> {
        if !self.ahead.is_empty() {
            return Ok(());
        }
        let mut buffer = [const { MaybeUninit::uninit() }; BUFFER];
        let mut entries = RawDir::new(&handle.file, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = os(entry)?;
            self.ahead.push_back(Raw {
                ino: entry.ino(),
                next: DirPos(entry.next_entry_cookie()),
                kind: kind(entry.file_type()),
                name: entry.file_name().to_owned(),
            });
            if entries.is_buffer_empty() {
                break;
            }
        }
        Ok(())
    }
}

impl Core {
    /// Gathers entries from a position on, as many as fit into `size` bytes of an answer.
    pub(super) fn list(&self, handle: &Handle, pos: DirPos, size: usize, plus: bool) -> Result<Vec<Item>> {
        let stream = handle.stream.as_ref().ok_or(ringfuse::Errno::ENOTDIR)?;
        let mut stream = lock(stream);
        stream.seek(handle, pos)?;
        let mut items = Vec::new();
        let mut left = size;
        loop {
            match stream.fill(handle) {
                // What came before is an answer; the error will come again.
                Err(_) if !items.is_empty() => break,
                result => result?,
            }
            let Some(raw) = stream.ahead.front() else { break };
            let fixed = if plus { 152 } else { 24 };
            let needs = (fixed + raw.name.as_bytes().len()).next_multiple_of(8);
            if needs > left && !items.is_empty() {
                break;
            }
            left = left.saturating_sub(needs);
            let Some(raw) = stream.ahead.pop_front() else { break };
            stream.at = raw.next;
            let dots = matches!(raw.name.to_bytes(), b"." | b"..");
            let found = if plus && !dots {
                match self.find(&handle.node, &handle.file, &raw.name) {
                    // It has gone meanwhile.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                    found => found.ok(),
                }
            } else {
                None
            };
            items.push(Item { raw, found });
        }
        Ok(items)
    }

    /// Puts entries into the answer.
    pub(super) fn put(&self, node: &Arc<Node>, items: Vec<Item>, out: &mut DirFiller<'_>) {
        let dir = self.near(node).and_then(|fd| stat(fd).ok());
        let device = dir.map_or(self.source.dev, |stat| dev(&stat));
        for Item { raw, found } in items {
            let name = OsStr::from_bytes(raw.name.as_bytes());
            // Nothing is above the root.
            let top = node.id.is_root() && name == "..";
            let ino = if top { dir.map_or(raw.ino, |stat| stat.stx_ino) } else { raw.ino };
            let ino = self.source.ino(device, ino);
            let pushed = match found {
                Some(found) => {
                    out.push_plus(ino, raw.next, raw.kind, name, || Ok(self.answer(found, node, &raw.name)))
                }
                None => out.push(ino, raw.next, raw.kind, name),
            };
            if pushed.is_err() {
                break;
            }
        }
    }
}
