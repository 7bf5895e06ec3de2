//! The bench tree on fuser 0.18: `/dev/fuse`, blocking threads.

use std::ffi::OsStr;
use std::fmt::Debug;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Parser;
use fuser::{
    AccessFlags, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use ringfuse_peers::{Attr, MAX_BACKGROUND, MAX_IO, Options, Result, Tree, cpus, ended};

struct Peer(Tree);

fn kind(attr: &Attr) -> FileType {
    if attr.is_dir() { FileType::Directory } else { FileType::RegularFile }
}

fn empty(result: Result<()>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(Errno::from_i32(errno)),
    }
}

/// The error for what the library or the kernel does not take.
fn refused<T: Debug>(what: &'static str) -> impl FnOnce(T) -> io::Error {
    move |value| io::Error::other(format!("{what} cannot be had; the library answers {value:?}"))
}

impl Peer {
    fn attr(&self, attr: &Attr) -> FileAttr {
        FileAttr {
            ino: INodeNo(attr.node),
            size: attr.size,
            blocks: attr.size.div_ceil(512),
            atime: self.0.start,
            mtime: self.0.start,
            ctime: self.0.start,
            crtime: self.0.start,
            kind: kind(attr),
            perm: attr.perm(),
            nlink: attr.nlink,
            uid: self.0.owner.0,
            gid: self.0.owner.1,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    fn entry(&self, result: Result<Attr>, reply: ReplyEntry) {
        match result {
            Ok(attr) => reply.entry(&self.0.ttl, &self.attr(&attr), Generation(0)),
            Err(errno) => reply.error(Errno::from_i32(errno)),
        }
    }

    fn attributes(&self, result: Result<Attr>, reply: ReplyAttr) {
        match result {
            Ok(attr) => reply.attr(&self.0.ttl, &self.attr(&attr)),
            Err(errno) => reply.error(Errno::from_i32(errno)),
        }
    }
}

impl Filesystem for Peer {
    fn init(&mut self, _: &Request, kernel: &mut KernelConfig) -> io::Result<()> {
        // What benchfs gets, beside what the library asks for by itself.
        let mut wanted = InitFlags::FUSE_ATOMIC_O_TRUNC
            | InitFlags::FUSE_AUTO_INVAL_DATA
            | InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_READDIRPLUS_AUTO
            | InitFlags::FUSE_ASYNC_DIO
            | InitFlags::FUSE_PARALLEL_DIROPS;
        if self.0.options.writeback {
            wanted |= InitFlags::FUSE_WRITEBACK_CACHE;
        }
        kernel.add_capabilities(wanted).map_err(refused("these capabilities"))?;
        kernel.set_max_write(MAX_IO).map_err(refused("max_write"))?;
        kernel.set_max_background(MAX_BACKGROUND).map_err(refused("max_background"))?;
        kernel.set_congestion_threshold(MAX_BACKGROUND / 4 * 3).map_err(refused("congestion_threshold"))?;
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.entry(self.0.find(parent.0, name.as_bytes()), reply);
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.attributes(self.0.attr(node.0), reply);
    }

    fn setattr(
        &self,
        _: &Request,
        node: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        self.attributes(self.0.set(node.0, mode, size), reply);
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        let mode = libc::S_IFDIR | mode & 0o7777;
        self.entry(self.0.make(parent.0, name.as_bytes(), mode, 0), reply);
    }

    fn mknod(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        self.entry(self.0.make(parent.0, name.as_bytes(), mode, 0), reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.0.unlink(parent.0, name.as_bytes()), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.0.rmdir(parent.0, name.as_bytes()), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let to = (new_parent.0, new_name.as_bytes());
        empty(self.0.rename((parent.0, name.as_bytes()), to, flags.bits()), reply);
    }

    fn open(&self, _: &Request, node: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.0.open(node.0) {
            Ok(flags) => reply.opened(FileHandle(0), FopenFlags::from_bits_retain(flags)),
            Err(errno) => reply.error(Errno::from_i32(errno)),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        match self.0.make(parent.0, name.as_bytes(), libc::S_IFREG | mode & 0o7777, 1) {
            Ok(attr) => {
                let flags = FopenFlags::from_bits_retain(self.0.open_flags());
                reply.created(&self.0.ttl, &self.attr(&attr), Generation(0), FileHandle(0), flags);
            }
            Err(errno) => reply.error(Errno::from_i32(errno)),
        }
    }

    fn read(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.0.read(node.0, offset, size as usize) {
            Ok(data) => reply.data(data.bytes()),
            Err(errno) => reply.error(Errno::from_i32(errno)),
        }
    }

    fn write(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.0.write(node.0, offset, data) {
            Ok(len) => reply.written(len),
            Err(errno) => reply.error(Errno::from_i32(errno)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // The kernel then asks no more.
        reply.error(Errno::ENOSYS);
    }

    fn release(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.0.release(node.0);
        reply.ok();
    }

    fn readdir(&self, _: &Request, node: INodeNo, _: FileHandle, from: u64, mut reply: ReplyDirectory) {
        let listed = self.0.list(node.0, from, |entry| {
            !reply.add(INodeNo(entry.attr.node), entry.next, kind(&entry.attr), entry.name)
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(Errno::from_i32(errno)),
        }
    }

    fn readdirplus(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        from: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let listed = self.0.list(node.0, from, |entry| {
            let (id, attr) = (INodeNo(entry.attr.node), self.attr(&entry.attr));
            !reply.add(id, entry.next, entry.name, &self.0.ttl, &attr, Generation(0))
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(Errno::from_i32(errno)),
        }
    }

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let mountpoint = options.mountpoint.clone();
    let mut config = Config::default();
    config.mount_options = vec![MountOption::FSName("peer-fuser".into())];
    // Unless told, the library runs one thread. Its documentation advises a descriptor for each where there are several.
    config.n_threads = Some(options.threads.unwrap_or_else(cpus));
    config.clone_fd = true;
    ended("peer-fuser", fuser::mount(Peer(Tree::new(options)), mountpoint, &config))
}
