//! The bench tree on fractal-fuse 0.6.1: FUSE over io_uring, compio.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use clap::Parser;
use fractal_fuse::{
    DirectoryEntry, DirectoryEntryPlus, FileAttr, FileHandleId, FileType, Filesystem, FsResult, InodeId,
    MountOptions, ReplyAttr, ReplyCreate, ReplyEntry, ReplyInit, ReplyOpen, Request, Session, SetAttr,
    Timestamp,
};
use ringfuse_peers::{Attr, Listed, MAX_BACKGROUND, MAX_IO, Options, Tree, ended};

struct Peer(Tree);

/// The kernel's `fuse_dirent` and `fuse_direntplus`, without the name.
const DIRENT: usize = 24;
const DIRENT_PLUS: usize = 152;

fn kind(attr: &Attr) -> FileType {
    if attr.is_dir() { FileType::Directory } else { FileType::RegularFile }
}

impl Peer {
    fn attr(&self, attr: &Attr) -> FileAttr {
        let (secs, nanos) = self.0.time();
        let time = Timestamp::new(secs, nanos);
        FileAttr {
            ino: attr.node,
            size: attr.size,
            blocks: attr.size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            mode: attr.mode,
            nlink: attr.nlink,
            uid: self.0.owner.0,
            gid: self.0.owner.1,
            rdev: 0,
            blksize: 4096,
        }
    }

    fn entry(&self, attr: Attr) -> ReplyEntry {
        ReplyEntry { ttl: self.0.ttl, attr: self.attr(&attr), generation: 0 }
    }

    /// As many entries as fit: the library cuts none off.
    fn listing<T>(
        &self,
        dir: u64,
        from: u64,
        size: u32,
        fixed: usize,
        each: impl Fn(Listed<'_>) -> T,
    ) -> FsResult<Vec<T>> {
        let mut left = size as usize;
        let mut all = Vec::new();
        self.0.list(dir, from, |entry| {
            let takes = (fixed + entry.name.len()).next_multiple_of(8);
            let fits = takes <= left;
            if fits {
                left -= takes;
                all.push(each(entry));
            }
            fits
        })?;
        Ok(all)
    }
}

impl Filesystem for Peer {
    async fn init(&self, _: Request) -> FsResult<ReplyInit> {
        Ok(ReplyInit {
            max_write: MAX_IO,
            max_readahead: MAX_IO,
            max_background: MAX_BACKGROUND,
            congestion_threshold: MAX_BACKGROUND / 4 * 3,
        })
    }

    async fn lookup(&self, _: Request, parent: InodeId, name: &OsStr) -> FsResult<ReplyEntry> {
        Ok(self.entry(self.0.find(parent.0, name.as_bytes())?))
    }

    fn forget(&self, _: Request, _: InodeId, _: u64) {}

    async fn getattr(
        &self,
        _: Request,
        node: InodeId,
        _: Option<FileHandleId>,
        _: u32,
    ) -> FsResult<ReplyAttr> {
        Ok(ReplyAttr { ttl: self.0.ttl, attr: self.attr(&self.0.attr(node.0)?) })
    }

    async fn setattr(
        &self,
        _: Request,
        node: InodeId,
        _: Option<FileHandleId>,
        set: SetAttr,
    ) -> FsResult<ReplyAttr> {
        let attr = self.0.set(node.0, set.mode, set.size)?;
        Ok(ReplyAttr { ttl: self.0.ttl, attr: self.attr(&attr) })
    }

    async fn mkdir(
        &self,
        _: Request,
        parent: InodeId,
        name: &OsStr,
        mode: u32,
        _: u32,
    ) -> FsResult<ReplyEntry> {
        let mode = libc::S_IFDIR | mode & 0o7777;
        Ok(self.entry(self.0.make(parent.0, name.as_bytes(), mode, 0)?))
    }

    async fn unlink(&self, _: Request, parent: InodeId, name: &OsStr) -> FsResult<()> {
        self.0.unlink(parent.0, name.as_bytes())
    }

    async fn rmdir(&self, _: Request, parent: InodeId, name: &OsStr) -> FsResult<()> {
        self.0.rmdir(parent.0, name.as_bytes())
    }

    async fn rename(
        &self,
        _: Request,
        parent: InodeId,
        name: &OsStr,
        new_parent: InodeId,
        new_name: &OsStr,
        flags: u32,
    ) -> FsResult<()> {
        self.0.rename((parent.0, name.as_bytes()), (new_parent.0, new_name.as_bytes()), flags)
    }

    async fn open(&self, _: Request, node: InodeId, _: u32) -> FsResult<ReplyOpen> {
        Ok(ReplyOpen { fh: FileHandleId(0), flags: self.0.open(node.0)?, backing_id: 0 })
    }

    async fn create(
        &self,
        _: Request,
        parent: InodeId,
        name: &OsStr,
        mode: u32,
        _: u32,
    ) -> FsResult<ReplyCreate> {
        let attr = self.0.make(parent.0, name.as_bytes(), libc::S_IFREG | mode & 0o7777, 1)?;
        Ok(ReplyCreate {
            ttl: self.0.ttl,
            attr: self.attr(&attr),
            generation: 0,
            fh: FileHandleId(0),
            flags: self.0.open_flags(),
        })
    }

    async fn read(
        &self,
        _: Request,
        node: InodeId,
        _: FileHandleId,
        offset: u64,
        buf: &mut [u8],
    ) -> FsResult<usize> {
        let data = self.0.read(node.0, offset, buf.len())?;
        let bytes = data.bytes();
        buf[..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    async fn write(
        &self,
        _: Request,
        node: InodeId,
        _: FileHandleId,
        offset: u64,
        data: &[u8],
        _: u32,
        _: u32,
    ) -> FsResult<usize> {
        Ok(self.0.write(node.0, offset, data)? as usize)
    }

    async fn release(
        &self,
        _: Request,
        node: InodeId,
        _: FileHandleId,
        _: u32,
        _: u64,
        _: bool,
        _: bool,
    ) -> FsResult<()> {
        self.0.release(node.0);
        Ok(())
    }

    async fn opendir(&self, _: Request, _: InodeId, _: u32) -> FsResult<ReplyOpen> {
        Ok(ReplyOpen { fh: FileHandleId(0), flags: 0, backing_id: 0 })
    }

    async fn releasedir(&self, _: Request, _: InodeId, _: FileHandleId, _: u32) -> FsResult<()> {
        Ok(())
    }

    async fn readdir(
        &self,
        _: Request,
        node: InodeId,
        _: FileHandleId,
        from: u64,
        size: u32,
    ) -> FsResult<Vec<DirectoryEntry>> {
        self.listing(node.0, from, size, DIRENT, |entry| DirectoryEntry {
            ino: entry.attr.node,
            offset: entry.next,
            kind: kind(&entry.attr),
            name: entry.name.as_bytes().to_vec(),
        })
    }

    async fn readdirplus(
        &self,
        _: Request,
        node: InodeId,
        _: FileHandleId,
        from: u64,
        size: u32,
    ) -> FsResult<Vec<DirectoryEntryPlus>> {
        self.listing(node.0, from, size, DIRENT_PLUS, |entry| DirectoryEntryPlus {
            ino: entry.attr.node,
            offset: entry.next,
            kind: kind(&entry.attr),
            name: entry.name.as_bytes().to_vec(),
            entry_ttl: self.0.ttl,
            attr: self.attr(&entry.attr),
            generation: 0,
        })
    }
}

fn serve(options: Options) -> std::io::Result<()> {
    let mount = MountOptions::new().fs_name("peer-fractal").write_back(options.writeback);
    // Unless told: a worker a possible CPU, 256 entries a queue.
    let mut session = Session::new(options.mountpoint.clone(), mount)?;
    if let Some(threads) = options.threads {
        session = session.with_worker_count(threads);
    }
    if let Some(depth) = options.depth {
        session = session.with_queue_depth(depth);
    }
    session.run(Peer(Tree::new(options)))
}

fn main() -> ExitCode {
    ended("peer-fractal", serve(Options::parse()))
}
