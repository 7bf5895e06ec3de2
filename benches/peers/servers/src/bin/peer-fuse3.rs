//! The bench tree on fuse3 0.10: `/dev/fuse`, tokio.

use std::ffi::{OsStr, OsString};
use std::io;
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use clap::Parser;
use fuse3::raw::Session;
use fuse3::raw::prelude::{
    DirectoryEntry, DirectoryEntryPlus, FileAttr, Filesystem, ReplyAttr, ReplyCreated, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEntry, ReplyInit, ReplyOpen, ReplyWrite, Request,
};
use fuse3::{FileType, Inode, MountOptions, Result, SetAttr, Timestamp};
use futures_util::stream::{self, Stream};
use ringfuse_peers::{Attr, Data, Listed, MAX_BACKGROUND, MAX_IO, Options, Tree, cpus, ended};

#[derive(Clone)]
struct Peer(Arc<Tree>);

fn kind(attr: &Attr) -> FileType {
    if attr.is_dir() { FileType::Directory } else { FileType::RegularFile }
}

impl Peer {
    fn attr(&self, attr: &Attr) -> FileAttr {
        let (secs, nanos) = self.0.time();
        let time = Timestamp::new(secs as i64, nanos);
        FileAttr {
            ino: attr.node,
            size: attr.size,
            blocks: attr.size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            kind: kind(attr),
            perm: attr.perm(),
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

    /// A listing as a stream. The library takes as many entries as fit, of which it does not tell: so they are fetched
    /// some at a time, and all but one walk of the tree is spared.
    fn listing<T: Send + 'static>(
        &self,
        dir: u64,
        from: u64,
        each: impl Fn(Listed<'_>) -> T + Send + 'static,
    ) -> Result<impl Stream<Item = Result<T>> + Send + 'static> {
        const AT_ONCE: usize = 256;
        self.0.attr(dir)?;
        let tree = self.0.clone();
        let mut from = from;
        let fetch = move || {
            let mut some = Vec::with_capacity(AT_ONCE);
            // The directory is there; what fails after that ends the listing.
            let _ = tree.list(dir, from, |entry| {
                let room = some.len() < AT_ONCE;
                if room {
                    from = entry.next;
                    some.push(each(entry));
                }
                room
            });
            (!some.is_empty()).then_some(some)
        };
        Ok(stream::iter(std::iter::from_fn(fetch).flatten().map(Ok)))
    }
}

impl Filesystem for Peer {
    async fn init(&self, _: Request) -> Result<ReplyInit> {
        let mut reply = ReplyInit::new(NonZeroU32::new(MAX_IO).expect("it is not zero"));
        reply.max_background = Some(MAX_BACKGROUND);
        reply.congestion_threshold = Some(MAX_BACKGROUND / 4 * 3);
        Ok(reply)
    }

    async fn destroy(&self, _: Request) {}

    async fn lookup(&self, _: Request, parent: Inode, name: &OsStr) -> Result<ReplyEntry> {
        Ok(self.entry(self.0.find(parent, name.as_bytes())?))
    }

    async fn forget(&self, _: Request, _: Inode, _: u64) {}

    async fn batch_forget(&self, _: Request, _: &[(Inode, u64)]) {}

    async fn getattr(&self, _: Request, node: Inode, _: Option<u64>, _: u32) -> Result<ReplyAttr> {
        Ok(ReplyAttr { ttl: self.0.ttl, attr: self.attr(&self.0.attr(node)?) })
    }

    async fn setattr(&self, _: Request, node: Inode, _: Option<u64>, set: SetAttr) -> Result<ReplyAttr> {
        let attr = self.0.set(node, set.mode, set.size)?;
        Ok(ReplyAttr { ttl: self.0.ttl, attr: self.attr(&attr) })
    }

    async fn mkdir(&self, _: Request, parent: Inode, name: &OsStr, mode: u32, _: u32) -> Result<ReplyEntry> {
        let mode = libc::S_IFDIR | mode & 0o7777;
        Ok(self.entry(self.0.make(parent, name.as_bytes(), mode, 0)?))
    }

    async fn mknod(&self, _: Request, parent: Inode, name: &OsStr, mode: u32, _: u32) -> Result<ReplyEntry> {
        Ok(self.entry(self.0.make(parent, name.as_bytes(), mode, 0)?))
    }

    async fn unlink(&self, _: Request, parent: Inode, name: &OsStr) -> Result<()> {
        Ok(self.0.unlink(parent, name.as_bytes())?)
    }

    async fn rmdir(&self, _: Request, parent: Inode, name: &OsStr) -> Result<()> {
        Ok(self.0.rmdir(parent, name.as_bytes())?)
    }

    async fn rename(
        &self,
        rq: Request,
        parent: Inode,
        name: &OsStr,
        new_parent: Inode,
        new_name: &OsStr,
    ) -> Result<()> {
        self.rename2(rq, parent, name, new_parent, new_name, 0).await
    }

    async fn rename2(
        &self,
        _: Request,
        parent: Inode,
        name: &OsStr,
        new_parent: Inode,
        new_name: &OsStr,
        flags: u32,
    ) -> Result<()> {
        Ok(self.0.rename((parent, name.as_bytes()), (new_parent, new_name.as_bytes()), flags)?)
    }

    async fn open(&self, _: Request, node: Inode, _: u32) -> Result<ReplyOpen> {
        Ok(ReplyOpen { fh: 0, flags: self.0.open(node)? })
    }

    async fn create(
        &self,
        _: Request,
        parent: Inode,
        name: &OsStr,
        mode: u32,
        _: u32,
    ) -> Result<ReplyCreated> {
        let attr = self.0.make(parent, name.as_bytes(), libc::S_IFREG | mode & 0o7777, 1)?;
        Ok(ReplyCreated {
            ttl: self.0.ttl,
            attr: self.attr(&attr),
            generation: 0,
            fh: 0,
            flags: self.0.open_flags(),
        })
    }

    async fn read(&self, _: Request, node: Inode, _: u64, offset: u64, size: u32) -> Result<ReplyData> {
        let data = match self.0.read(node, offset, size as usize)? {
            Data::Pattern(bytes) => Bytes::from_static(bytes),
            Data::Copied(bytes) => Bytes::from(bytes),
        };
        Ok(ReplyData { data })
    }

    async fn write(
        &self,
        _: Request,
        node: Inode,
        _: u64,
        offset: u64,
        data: &[u8],
        _: u32,
        _: u32,
    ) -> Result<ReplyWrite> {
        Ok(ReplyWrite { written: self.0.write(node, offset, data)? })
    }

    async fn release(&self, _: Request, node: Inode, _: u64, _: u32, _: u64, _: bool) -> Result<()> {
        self.0.release(node);
        Ok(())
    }

    async fn opendir(&self, _: Request, _: Inode, _: u32) -> Result<ReplyOpen> {
        Ok(ReplyOpen { fh: 0, flags: 0 })
    }

    async fn readdir<'a>(
        &'a self,
        _: Request,
        node: Inode,
        _: u64,
        from: i64,
    ) -> Result<ReplyDirectory<impl Stream<Item = Result<DirectoryEntry>> + Send + 'a>> {
        let entries = self.listing(node, from as u64, |entry| DirectoryEntry {
            inode: entry.attr.node,
            kind: kind(&entry.attr),
            name: OsString::from(entry.name),
            offset: entry.next as i64,
        })?;
        Ok(ReplyDirectory { entries })
    }

    async fn readdirplus<'a>(
        &'a self,
        _: Request,
        node: Inode,
        _: u64,
        from: u64,
        _: u64,
    ) -> Result<ReplyDirectoryPlus<impl Stream<Item = Result<DirectoryEntryPlus>> + Send + 'a>> {
        let peer = self.clone();
        let entries = self.listing(node, from, move |entry| DirectoryEntryPlus {
            inode: entry.attr.node,
            generation: 0,
            kind: kind(&entry.attr),
            name: OsString::from(entry.name),
            offset: entry.next as i64,
            attr: peer.attr(&entry.attr),
            entry_ttl: peer.0.ttl,
            attr_ttl: peer.0.ttl,
        })?;
        Ok(ReplyDirectoryPlus { entries })
    }
}

async fn serve(options: Options) -> io::Result<()> {
    let mut mount = MountOptions::default();
    mount.fs_name("peer-fuse3").write_back(options.writeback);
    let mountpoint = options.mountpoint.clone();
    // The library has two ways to mount. This one polls the device with tokio; the other, for root, reads it on threads
    // that may block, and is slower.
    let mounted = Session::new(mount).mount_with_unprivileged(Peer(Arc::new(Tree::new(options))), mountpoint);
    mounted.await?.await
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.threads.unwrap_or_else(cpus))
        .enable_all()
        .build();
    let session = runtime.and_then(|runtime| {
        let session = runtime.block_on(serve(options));
        // A read of the device that still waits must not hold the process.
        runtime.shutdown_background();
        session
    });
    ended("peer-fuse3", session)
}
