//! Open files: their content, and how it is moved.
//!
//! A handle is an open file of the source. Reads and writes go straight between it and the payload of the request:
//!
//! - where the source is in memory, by `pread(2)` and `pwrite(2)` on the spot: there is nothing to wait for, and tmpfs has no
//!   way to try without waiting (`RWF_NOWAIT`), so that io_uring would move each to a thread;
//! - else by [`ReadBuf::fill_from`] and [`WriteBuf::drain_to`]: what the page cache has at once, the rest by io_uring.
//!
//! Three things want care.
//!
//! - The kernel writes what `mmap` or a writeback cache changed by *any* handle that is open for writing. On one with
//!   `O_APPEND` it would land at the end, and one with `O_DIRECT` refuses what is not aligned. For these a second file is
//!   opened without, once it is needed. With a writeback cache neither is used at all, and a file that is opened for writing
//!   is opened for reading too, as the kernel reads the rest of a page that is written in part.
//! - An appending write of a program does go to a file with `O_APPEND`: what others appended at the source meanwhile is not
//!   overwritten.
//! - A write by one who may not keep setuid and setgid is looked at first: if the file has them, which is rare, it goes to a
//!   thread that gives up `CAP_FSETID` for it, so that the source's filesystem clears them with the write.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use compio_driver::op::Sync;
use ringfuse::{Errno, Fh, NodeId, OpenFlags, Opened, ReadBuf, Result, WriteBuf, Written, op};
use rustix::fs::{FallocateFlags, OFlags, SeekFrom, Statx};

use super::attr::{has_setid, seen};
use super::dir::Stream;
use super::ident::clearing_setid;
use super::node::{Data, Node, OpenFile, lock};
use super::options::Cache;
use super::pool::unblock;
use super::source::{Pace, stat};
use super::{Core, os};
use crate::caller::Asker;

/// An open file or directory.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) node: Arc<Node>,
    pub(super) file: Arc<OwnedFd>,
    flags: OFlags,
    /// The file is another open file's, too.
    pub(super) shared: bool,
    /// The same file without `O_APPEND` and `O_DIRECT`, once it was needed.
    plain: OnceLock<Arc<OwnedFd>>,
    /// Where the listing of a directory is.
    pub(super) stream: Option<Mutex<Stream>>,
}

/// Parts of the table, each with a lock of its own.
const SHARDS: usize = 16;

/// All open files and directories.
#[derive(Debug, Default)]
pub(super) struct Handles {
    shards: [Mutex<HashMap<Fh, Arc<Handle>>>; SHARDS],
    next: AtomicU64,
    pub(super) count: AtomicUsize,
}

impl Handles {
    fn shard(&self, fh: Fh) -> &Mutex<HashMap<Fh, Arc<Handle>>> {
        &self.shards[fh.0 as usize % SHARDS]
    }

    /// The handle of that number.
    ///
    /// # Errors
    ///
    /// `EBADF` if there is none.
    pub(super) fn get(&self, fh: Fh) -> Result<Arc<Handle>> {
        lock(self.shard(fh)).get(&fh).cloned().ok_or(Errno::EBADF)
    }

    fn new_fh(&self) -> Fh {
        Fh(self.next.fetch_add(1, Relaxed) + 1)
    }

    fn insert(&self, fh: Fh, handle: Handle) {
        lock(self.shard(fh)).insert(fh, Arc::new(handle));
        self.count.fetch_add(1, Relaxed);
    }

    fn remove(&self, fh: Fh) -> Result<Arc<Handle>> {
        let handle = lock(self.shard(fh)).remove(&fh).ok_or(Errno::EBADF)?;
        self.count.fetch_sub(1, Relaxed);
        Ok(handle)
    }
}

impl Handle {
    /// Whether it was opened for writing.
    pub(super) fn writes(&self) -> bool {
        writes(self.flags)
    }

    /// Whether what is written through a map of it may reach the file.
    fn maps(&self) -> bool {
        self.flags.contains(OFlags::RDWR)
    }

    /// The file for an access of a program with these flags, and whether it is a direct one.
    fn file_for(&self, core: &Core, flags: OpenFlags, by_kernel: bool) -> Result<(Arc<OwnedFd>, bool)> {
        let special = self.flags & (OFlags::APPEND | OFlags::DIRECT);
        let now = OFlags::from_bits_retain(flags.0);
        if special.is_empty() || !by_kernel && now.contains(special) {
            return Ok((Arc::clone(&self.file), special.contains(OFlags::DIRECT)));
        }
        if let Some(plain) = self.plain.get() {
            return Ok((Arc::clone(plain), false));
        }
        let plain = Arc::new(core.reopen(&self.file, self.flags - special)?);
        Ok((Arc::clone(self.plain.get_or_init(|| plain)), false))
    }
}

/// Flags of `open(2)` that the source's file is to have, too.
const KEPT: OFlags = OFlags::RDONLY
    .union(OFlags::WRONLY)
    .union(OFlags::RDWR)
    .union(OFlags::APPEND)
    .union(OFlags::SYNC)
    .union(OFlags::DSYNC)
    .union(OFlags::DIRECT)
    .union(OFlags::NOATIME);

impl Core {
    /// How a file is opened at the source. `O_NONBLOCK` is left out: io_uring would fail where it should wait.
    pub(super) fn source_flags(&self, flags: OpenFlags) -> OFlags {
        let mut kept = OFlags::from_bits_retain(flags.0) & KEPT;
        if self.options.writeback {
            kept.remove(OFlags::APPEND | OFlags::DIRECT);
            if kept.contains(OFlags::WRONLY) {
                kept.toggle(OFlags::WRONLY | OFlags::RDWR);
            }
        }
        kept
    }

    /// Serves `open`. The node is a regular file: special ones the kernel opens itself.
    pub(super) fn open(&self, node: &Arc<Node>, op: &op::Open) -> Result<Opened> {
        if node.kind != ringfuse::FileType::Regular {
            return Err(Errno::ENXIO);
        }
        let fd = self.reach(node)?;
        let mut flags = self.source_flags(op.flags);
        let reopened = match self.reopen(&fd, flags) {
            // What the program runs need not be open for reading to us alone.
            Err(Errno::EPERM) if flags.contains(OFlags::NOATIME) => {
                flags.remove(OFlags::NOATIME);
                self.reopen(&fd, flags)
            }
            // Nobody may open a file of `chattr +a` otherwise. What is appended to it is not collected.
            Err(Errno::EPERM) if self.options.writeback && op.flags.contains(libc::O_APPEND) => {
                flags.insert(OFlags::APPEND);
                self.reopen(&fd, flags)
            }
            result => result,
        };
        let file = match reopened {
            Ok(file) if self.is_crowded() => self.share(node, flags).unwrap_or_else(|| Arc::new(file)),
            Ok(file) => Arc::new(file),
            Err(error @ (Errno::EMFILE | Errno::ENFILE)) => self.share(node, flags).ok_or(error)?,
            Err(error) => return Err(error),
        };
        let stat = if self.options.cache == Cache::Auto { Some(stat(&file)?) } else { None };
        self.opened(node, file, flags, stat.as_ref())
    }

    /// Where descriptors run out, the file of one who has opened the same in the same way will do: programs keep files open
    /// without a descriptor of their own, by mapping them.
    fn share(&self, node: &Node, flags: OFlags) -> Option<Arc<OwnedFd>> {
        let opens = lock(&node.more().opens);
        opens.iter().find(|open| open.flags == flags).map(|open| Arc::clone(&open.file))
    }

    /// Whether open files leave only as many descriptors as it takes to look names up.
    fn is_crowded(&self) -> bool {
        self.handles.count.load(Relaxed) >= self.open_limit
    }

    /// Gives an open file a handle, and makes the answer.
    pub(super) fn opened(
        &self,
        node: &Arc<Node>,
        file: Arc<OwnedFd>,
        flags: OFlags,
        stat: Option<&Statx>,
    ) -> Result<Opened> {
        let fh = self.handles.new_fh();
        let mut opened = Opened::new(fh);
        let more = node.more();
        // Under this lock, as all opens of a node must move its data alike.
        let mut opens = lock(&more.opens);
        let mut data = lock(&more.data);
        if opens.is_empty() || data.is_none() {
            *data = Some(self.way_of(&file)?);
        }
        match (&*data, self.options.cache) {
            (Some(Data::Kernel(backing)), _) => opened = opened.passthrough(backing),
            _ if self.options.writeback && flags.contains(OFlags::APPEND) => opened = opened.direct_io(),
            _ if self.options.direct => opened = opened.direct_io().parallel_direct_writes(),
            (_, Cache::Never) => opened = opened.direct_io().parallel_direct_writes(),
            (_, Cache::Always) => opened = opened.keep_cache(),
            (_, Cache::Auto) => {
                let now = stat.map(seen);
                let before = std::mem::replace(&mut *lock(&more.seen), now);
                // Where it is open for writing here it changes all the time, and a page that is dropped while its write is on
                // the way would be read as it was before.
                let reads = !flags.contains(OFlags::WRONLY);
                let due = reads && stat.is_some_and(|stat| self.source.atime_is_due(stat));
                if before.is_some() && before == now && !due || opens.iter().any(|open| writes(open.flags)) {
                    opened = opened.keep_cache();
                }
            }
        }
        if self.nobody_flushes() {
            opened = opened.no_flush();
        }
        let shared = opens.iter().any(|open| Arc::ptr_eq(&open.file, &file));
        opens.push(OpenFile { fh, file: Arc::clone(&file), flags, closing: false });
        drop((opens, data));
        let node = Arc::clone(node);
        let handle = Handle { node, file, flags, shared, plain: OnceLock::new(), stream: None };
        self.handles.insert(fh, handle);
        Ok(opened)
    }

    /// How the content of a file is to be moved that nobody has open yet.
    fn way_of(&self, file: &Arc<OwnedFd>) -> Result<Data> {
        let (true, Some(notifier)) = (self.options.passthrough, self.notifier.get()) else {
            return Ok(Data::Requests);
        };
        // The kernel writes with the rights that we have now: without CAP_FSETID, so that others cannot leave setuid and
        // setgid on what they write. Where they are set already root may, so there we look at each write.
        if has_setid(&stat(file)?) {
            return Ok(Data::Requests);
        }
        let backing = clearing_setid(Some(0), || Ok(notifier.open_backing(file)?));
        Ok(Data::Kernel(backing?))
    }

    /// Serves `opendir`.
    pub(super) fn opendir(&self, node: &Arc<Node>) -> Result<Opened> {
        let fd = self.reach(node)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let file = self.with_room(|| Ok(rustix::fs::openat(&fd, c".", flags, rustix::fs::Mode::empty())?))?;
        let fh = self.handles.new_fh();
        let handle = Handle {
            node: Arc::clone(node),
            file: Arc::new(file),
            flags,
            shared: false,
            plain: OnceLock::new(),
            stream: Some(Mutex::default()),
        };
        self.handles.insert(fh, handle);
        let opened = Opened::new(fh);
        Ok(if self.options.cache == Cache::Always { opened.cache_dir().keep_cache() } else { opened })
    }

    /// Serves `release` and `releasedir`.
    pub(super) fn release(&self, op: &op::Release) -> Result<()> {
        let handle = self.handles.remove(op.fh)?;
        if handle.stream.is_none() {
            let more = handle.node.more();
            let mut opens = lock(&more.opens);
            opens.retain(|open| open.fh != op.fh);
            if opens.is_empty() {
                opens.shrink_to_fit();
                *lock(&more.data) = None;
                self.pin_unlinked(more, &handle.file);
            }
            drop(opens);
            if handle.writes() && self.options.cache == Cache::Auto {
                *lock(&more.seen) = stat(&handle.file).ok().as_ref().map(seen);
            }
        }
        // To close it may be to free all the blocks of a file without a name, or to wait for a network.
        if self.source.pace == Pace::Remote || handle.node.is_unlinked() {
            self.reaper.take(handle);
        }
        Ok(())
    }

    /// Whether somebody may have a map of the file that he writes to: he has opened it for both then.
    pub(super) fn may_be_mapped(&self, node: NodeId) -> bool {
        let Ok(node) = self.table.get(node) else { return false };
        let Some(more) = node.if_more() else { return false };
        let opens = lock(&more.opens);
        let kernel = matches!(*lock(&more.data), Some(Data::Kernel(_)));
        !kernel && opens.iter().any(|open| self.handles.get(open.fh).is_ok_and(|handle| handle.maps()))
    }

    /// Serves `lseek`: the answer, and the hole that was found or passed.
    pub(super) fn lseek(&self, op: &op::Lseek) -> (Result<u64>, Range<u64>) {
        /// As large as files can be.
        const END: u64 = i64::MAX as u64;
        let seek =
            |from| Ok(rustix::fs::seek(&self.handles.get(op.fh)?.file, from).map_err(io::Error::from)?);
        match op.whence as i32 {
            libc::SEEK_DATA => {
                let data = seek(SeekFrom::Data(op.offset));
                (data, op.offset..data.unwrap_or(END))
            }
            libc::SEEK_HOLE => {
                let hole = seek(SeekFrom::Hole(op.offset));
                (hole, hole.map_or(0..0, |hole| hole..seek(SeekFrom::Data(hole)).unwrap_or(END)))
            }
            _ => (Err(Errno::EINVAL), 0..0),
        }
    }

    /// Serves `fallocate`.
    pub(super) fn fallocate(&self, op: &op::Fallocate, who: Asker) -> Result<()> {
        let handle = self.handles.get(op.fh)?;
        let mode = FallocateFlags::from_bits_retain(op.mode);
        let clear = self.clearing_as(&handle.file, who, None)?;
        self.with_space(|| {
            clearing_setid(clear, || Ok(rustix::fs::fallocate(&handle.file, mode, op.offset, op.length)?))
        })
    }

    /// Whether there are files that nobody can use any more, and that are not gone yet.
    fn frees_space(&self) -> bool {
        self.reaper.is_busy() || self.pins.load(Relaxed) > 0
    }

    /// Waits for them. The kernel tells by the way that it has forgotten one, and where the CPUs are busy it takes its time; but
    /// somebody may stay in a directory without a name for ever.
    fn free_space(&self) {
        for _ in 0..100 {
            if self.pins.load(Relaxed) == 0 {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        self.reaper.settle();
    }

    /// Tries again where there was no space, once that is free which was about to be.
    fn with_space<T>(&self, mut work: impl FnMut() -> io::Result<T>) -> Result<T> {
        let before = self.frees_space();
        match work().map_err(Errno::from) {
            Err(Errno::ENOSPC) if before || self.frees_space() => {
                self.free_space();
                Ok(work()?)
            }
            result => result,
        }
    }

    /// Serves `copy_file_range`.
    pub(super) fn copy(&self, op: &op::CopyFileRange, who: Asker) -> Result<u64> {
        /// So much at once: a program that is to end should not have to wait for a terabyte.
        const MOST: u64 = 64 << 20;
        let (from, to) = (self.handles.get(op.fh)?, self.handles.get(op.out_fh)?);
        // What the kernel forbids is no reason against an open file that we have with more flags than the program.
        let (to, _) = to.file_for(self, OpenFlags::default(), true)?;
        let len = op.len.min(MOST) as usize;
        let clear = self.clearing_as(&to, who, None)?;
        let copied = self.with_space(|| {
            let (mut at, mut out_at) = (op.offset, op.out_offset);
            clearing_setid(clear, || {
                Ok(rustix::fs::copy_file_range(&from.file, Some(&mut at), &to, Some(&mut out_at), len)?)
            })
        })?;
        Ok(copied as u64)
    }

    /// Serves `read`.
    pub(super) async fn read(&self, op: &op::Read, mut buf: ReadBuf) -> Result<ReadBuf> {
        let (file, direct) = self.handles.get(op.fh)?.file_for(self, op.flags, false)?;
        if self.source.pace == Pace::Memory {
            let mut len = 0;
            while len < buf.capacity() {
                match rustix::io::pread(&file, &mut buf.bytes_mut()[len..], op.offset + len as u64) {
                    Ok(0) => break,
                    Ok(more) => len += more,
                    Err(_) if len > 0 => break,
                    Err(error) => return os(Err(error)),
                }
            }
            return Ok(buf.filled(len));
        }
        if direct {
            buf.fill_from_direct(file, op.offset).await
        } else {
            buf.fill_from(file, op.offset).await
        }
    }

    /// Serves `write`.
    pub(super) async fn write(
        self: &Arc<Self>,
        op: &op::Write,
        data: WriteBuf,
        who: Asker,
    ) -> Result<Written> {
        let (file, direct) = self.handles.get(op.fh)?.file_for(self, op.flags, op.cache)?;
        let clear = self.clearing_as(&file, who, Some(op.kill_suidgid))?;
        let offset = op.offset;
        let write = move |file: &OwnedFd, data: &WriteBuf| {
            clearing_setid(clear, || write_all(file, data.bytes(), offset)).map_err(Errno::from)
        };
        if self.source.pace == Pace::Memory {
            let before = self.frees_space();
            let written = write(&file, &data);
            let all = data.bytes().len();
            let full = written.as_ref().map_or_else(|error| *error == Errno::ENOSPC, |len| *len < all);
            if !full || !before && !self.frees_space() {
                return written?.try_into();
            }
            let core = Arc::clone(self);
            let again = move || {
                core.free_space();
                write(&file, &data)
            };
            return unblock(again).await?.try_into();
        }
        if clear.is_some() {
            return unblock(move || write(&file, &data)).await?.try_into();
        }
        if direct { data.drain_to_direct(file, offset).await } else { data.drain_to(file, offset).await }
    }

    /// Serves `fsync` and `fsyncdir`.
    pub(super) async fn fsync(&self, op: &op::Fsync) -> Result<()> {
        let handle = self.handles.get(op.fh)?;
        let sync = Sync::new(Arc::clone(&handle.file), op.datasync);
        compio_runtime::submit(sync).await.0?;
        Ok(())
    }
}

fn writes(flags: OFlags) -> bool {
    flags.intersects(OFlags::WRONLY | OFlags::RDWR)
}

/// Writes all of it, or as much as can be.
fn write_all(file: &OwnedFd, data: &[u8], offset: u64) -> std::io::Result<usize> {
    let mut len = 0;
    while len < data.len() {
        match rustix::io::pwrite(file, &data[len..], offset + len as u64) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(_) if len > 0 => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(len)
}
