//! A directory shown once more, on fuser 0.18: `/dev/fuse`, blocking threads. `ringfuse mirror` is compared with it.
//!
//! It is for root, and does what programs commonly ask for: locks hold on the mount alone, and there are no extended
//! attributes. As libfuse's example `passthrough_ll` it keeps a descriptor of each inode that the kernel knows.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt::Debug;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use clap::Parser;
use fuser::{
    BsdFileFlags, Config, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use ringfuse_peers::{MAX_BACKGROUND, MAX_IO, cpus, ended};
use rustix::fs::{self, AtFlags, CWD, Dir, DirEntry, Gid, Mode, OFlags, SeekFrom, Timespec, Timestamps, Uid};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};

/// How long the kernel may keep names and attributes; as for `ringfuse mirror`.
const TTL: Duration = Duration::from_secs(1);
/// What disks want the memory of direct reads and writes aligned to, at most.
const ALIGNED: usize = 4096;

/// Shows a directory at a mountpoint, until it is unmounted. For root.
#[derive(Parser)]
struct Options {
    /// The directory.
    source: PathBuf,
    /// Where to mount.
    mountpoint: PathBuf,
}

/// Sends what came out, or an error.
macro_rules! answer {
    ($reply:ident, $result:expr, $value:pat => $sent:expr) => {
        match $result {
            Ok($value) => $sent,
            Err(error) => $reply.error(io::Error::from(error).into()),
        }
    };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An inode that the kernel knows.
struct Node {
    /// Opened with `O_PATH`.
    file: Arc<File>,
    /// Device and inode number.
    key: (u64, u64),
    lookups: u64,
}

#[derive(Default)]
struct Nodes {
    nodes: HashMap<u64, Node>,
    ids: HashMap<(u64, u64), u64>,
    /// How many inodes had a number that was taken.
    taken: u64,
}

/// What is open, by its handle.
struct Handles<T>(Mutex<(u64, HashMap<u64, Arc<T>>)>);

impl<T> Handles<T> {
    fn insert(&self, value: T) -> FileHandle {
        let (last, handles) = &mut *lock(&self.0);
        *last += 1;
        handles.insert(*last, Arc::new(value));
        FileHandle(*last)
    }

    fn get(&self, fh: FileHandle) -> io::Result<Arc<T>> {
        lock(&self.0).1.get(&fh.0).cloned().ok_or(io::Error::from_raw_os_error(libc::EBADF))
    }

    fn remove(&self, fh: FileHandle) -> Option<Arc<T>> {
        lock(&self.0).1.remove(&fh.0)
    }
}

/// An open directory.
struct Listing {
    dir: Dir,
    /// Where it goes on.
    at: u64,
    /// An entry that was read, and that there was no room for.
    pending: Option<DirEntry>,
}

impl Listing {
    /// Gives entries from a position on, until there is no room.
    fn list(&mut self, from: u64, mut add: impl FnMut(&DirEntry) -> io::Result<bool>) -> io::Result<()> {
        if from != self.at {
            self.dir.seek(from.cast_signed())?;
            (self.at, self.pending) = (from, None);
        }
        while let Some(entry) = self.pending.take().map(Ok).or_else(|| self.dir.read()).transpose()? {
            match add(&entry) {
                Ok(true) => self.at = entry.offset().cast_unsigned(),
                ended => {
                    self.pending = Some(entry);
                    // After an error what came before is shown, and the error with the next request.
                    return if self.at == from { ended.map(drop) } else { Ok(()) };
                }
            }
        }
        Ok(())
    }
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Lends memory, always the same.
fn with_buffer<T>(len: usize, work: impl FnOnce(&mut [u8]) -> T) -> T {
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.len() < len + ALIGNED {
            *buffer = vec![0; len.max(MAX_IO as usize) + ALIGNED];
        }
        let start = buffer.as_ptr().align_offset(ALIGNED);
        work(&mut buffer[start..][..len])
    })
}

/// Opens as a program asked for. Where the source has no direct reads and writes, without them.
fn open(dir: impl AsFd, path: impl AsRef<Path>, flags: OFlags, mode: u32) -> io::Result<File> {
    let (path, flags, mode) = (path.as_ref(), flags | OFlags::CLOEXEC, Mode::from_raw_mode(mode));
    let file = match fs::openat(&dir, path, flags, mode) {
        Err(rustix::io::Errno::INVAL) if flags.contains(OFlags::DIRECT) => {
            // It may have been created before this was found out.
            fs::openat(&dir, path, flags - OFlags::DIRECT - OFlags::EXCL, mode)?
        }
        result => result?,
    };
    Ok(file.into())
}

/// A path that leads to the inode, whatever it is called by now.
fn path_of(node: &File) -> PathBuf {
    format!("/proc/self/fd/{}", node.as_raw_fd()).into()
}

fn time(seconds: i64, nanoseconds: i64) -> SystemTime {
    let (epoch, whole) = (SystemTime::UNIX_EPOCH, Duration::from_secs(seconds.unsigned_abs()));
    let second = if seconds < 0 { epoch - whole } else { epoch + whole };
    second + Duration::from_nanos(nanoseconds.cast_unsigned())
}

fn timespec(time: Option<TimeOrNow>) -> Timespec {
    let since = match time {
        None => return Timespec { tv_sec: 0, tv_nsec: fs::UTIME_OMIT },
        Some(TimeOrNow::Now) => return Timespec { tv_sec: 0, tv_nsec: fs::UTIME_NOW },
        Some(TimeOrNow::SpecificTime(time)) => match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => since.as_nanos() as i128,
            Err(before) => -(before.duration().as_nanos() as i128),
        },
    };
    let second = 1_000_000_000;
    Timespec { tv_sec: since.div_euclid(second) as i64, tv_nsec: since.rem_euclid(second) as i64 }
}

/// What an inode shows. The library has one number for a node's id and for its inode number.
fn attr(id: u64, stat: &Metadata) -> FileAttr {
    FileAttr {
        ino: INodeNo(id),
        size: stat.size(),
        blocks: stat.blocks(),
        atime: time(stat.atime(), stat.atime_nsec()),
        mtime: time(stat.mtime(), stat.mtime_nsec()),
        ctime: time(stat.ctime(), stat.ctime_nsec()),
        crtime: SystemTime::UNIX_EPOCH,
        kind: FileType::from_std(stat.file_type()).unwrap_or(FileType::RegularFile),
        perm: (stat.mode() & 0o7777) as u16,
        nlink: stat.nlink() as u32,
        uid: stat.uid(),
        gid: stat.gid(),
        rdev: stat.rdev() as u32,
        blksize: stat.blksize() as u32,
        flags: 0,
    }
}

fn kind(entry: &DirEntry) -> FileType {
    match entry.file_type() {
        fs::FileType::Directory => FileType::Directory,
        fs::FileType::Symlink => FileType::Symlink,
        fs::FileType::Fifo => FileType::NamedPipe,
        fs::FileType::Socket => FileType::Socket,
        fs::FileType::CharacterDevice => FileType::CharDevice,
        fs::FileType::BlockDevice => FileType::BlockDevice,
        _ => FileType::RegularFile,
    }
}

/// The error for what the library or the kernel does not take.
fn refused<T: Debug>(what: &'static str) -> impl FnOnce(T) -> io::Error {
    move |value| io::Error::other(format!("{what} cannot be had; the library answers {value:?}"))
}

struct Mirror {
    nodes: Mutex<Nodes>,
    files: Handles<File>,
    dirs: Handles<Mutex<Listing>>,
}

impl Mirror {
    fn new(source: &Path) -> io::Result<Self> {
        let root = Arc::new(open(CWD, source, OFlags::PATH | OFlags::DIRECTORY, 0)?);
        let nodes = HashMap::from([(INodeNo::ROOT.0, Node { file: root, key: (0, 0), lookups: 1 })]);
        Ok(Self {
            nodes: Mutex::new(Nodes { nodes, ..Nodes::default() }),
            files: Handles(Mutex::default()),
            dirs: Handles(Mutex::default()),
        })
    }

    fn node(&self, id: INodeNo) -> io::Result<Arc<File>> {
        let found = lock(&self.nodes).nodes.get(&id.0).map(|node| Arc::clone(&node.file));
        found.ok_or(io::Error::from_raw_os_error(libc::ESTALE))
    }

    /// Finds a name, and counts that the kernel is told of its inode.
    fn find(&self, parent: INodeNo, name: &OsStr) -> io::Result<FileAttr> {
        let file = open(&*self.node(parent)?, name, OFlags::PATH | OFlags::NOFOLLOW, 0)?;
        let stat = file.metadata()?;
        let key = (stat.dev(), stat.ino());
        let Nodes { nodes, ids, taken } = &mut *lock(&self.nodes);
        let id = *ids.entry(key).or_insert_with(|| {
            if key.1 > INodeNo::ROOT.0 && !nodes.contains_key(&key.1) {
                return key.1;
            }
            *taken += 1;
            1 << 63 | *taken
        });
        nodes.entry(id).or_insert(Node { file: Arc::new(file), key, lookups: 0 }).lookups += 1;
        Ok(attr(id, &stat))
    }

    /// Makes a name in a directory, and finds what it leads to.
    fn make(
        &self,
        parent: INodeNo,
        name: &OsStr,
        make: impl FnOnce(&File) -> rustix::io::Result<()>,
        reply: ReplyEntry,
    ) {
        let made = self.node(parent).and_then(|dir| Ok(make(&dir)?)).and_then(|()| self.find(parent, name));
        answer!(reply, made, attr => reply.entry(&TTL, &attr, Generation(0)));
    }
}

impl Filesystem for Mirror {
    fn init(&mut self, _: &Request, kernel: &mut KernelConfig) -> io::Result<()> {
        // As peer-fuser. That the kernel reads ahead as far as it may is the library's default.
        let wanted = InitFlags::FUSE_ATOMIC_O_TRUNC
            | InitFlags::FUSE_AUTO_INVAL_DATA
            | InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_READDIRPLUS_AUTO
            | InitFlags::FUSE_ASYNC_DIO
            | InitFlags::FUSE_PARALLEL_DIROPS;
        kernel.add_capabilities(wanted).map_err(refused("these capabilities"))?;
        kernel.set_max_write(MAX_IO).map_err(refused("max_write"))?;
        kernel.set_max_background(MAX_BACKGROUND).map_err(refused("max_background"))?;
        kernel.set_congestion_threshold(MAX_BACKGROUND / 4 * 3).map_err(refused("congestion_threshold"))?;
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.make(parent, name, |_| Ok(()), reply);
    }

    fn forget(&self, _: &Request, id: INodeNo, lookups: u64) {
        let Nodes { nodes, ids, .. } = &mut *lock(&self.nodes);
        let Some(node) = nodes.get_mut(&id.0).filter(|_| id != INodeNo::ROOT) else { return };
        node.lookups = node.lookups.saturating_sub(lookups);
        if node.lookups == 0 {
            ids.remove(&node.key);
            nodes.remove(&id.0);
        }
    }

    fn getattr(&self, _: &Request, id: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let stat = self.node(id).and_then(|node| node.metadata());
        answer!(reply, stat, stat => reply.attr(&TTL, &attr(id.0, &stat)));
    }

    fn setattr(
        &self,
        _: &Request,
        id: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        fh: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = || {
            let node = self.node(id)?;
            if uid.is_some() || gid.is_some() {
                let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
                fs::chownat(&node, "", uid, gid, AtFlags::EMPTY_PATH)?;
            }
            if let Some(mode) = mode {
                fs::chmod(path_of(&node), Mode::from_raw_mode(mode))?;
            }
            match (size, fh) {
                (None, _) => {}
                (Some(size), Some(fh)) => self.files.get(fh)?.set_len(size)?,
                (Some(size), None) => open(CWD, path_of(&node), OFlags::WRONLY, 0)?.set_len(size)?,
            }
            if atime.is_some() || mtime.is_some() {
                let times = Timestamps { last_access: timespec(atime), last_modification: timespec(mtime) };
                fs::utimensat(&node, "", &times, AtFlags::EMPTY_PATH)?;
            }
            node.metadata()
        };
        answer!(reply, set(), stat => reply.attr(&TTL, &attr(id.0, &stat)));
    }

    fn readlink(&self, _: &Request, id: INodeNo, reply: ReplyData) {
        let target = self.node(id).and_then(|node| Ok(fs::readlinkat(&node, "", Vec::new())?));
        answer!(reply, target, target => reply.data(target.as_bytes()));
    }

    fn mknod(&self, _: &Request, at: INodeNo, name: &OsStr, mode: u32, _: u32, dev: u32, reply: ReplyEntry) {
        let (kind, mode) = (fs::FileType::from_raw_mode(mode), Mode::from_raw_mode(mode));
        self.make(at, name, |dir| fs::mknodat(dir, name, kind, mode, dev.into()), reply);
    }

    fn mkdir(&self, _: &Request, at: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        self.make(at, name, |dir| fs::mkdirat(dir, name, Mode::from_raw_mode(mode)), reply);
    }

    fn symlink(&self, _: &Request, at: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        self.make(at, name, |dir| fs::symlinkat(target, dir, name), reply);
    }

    fn link(&self, _: &Request, id: INodeNo, at: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer!(reply, self.node(id), node => {
            self.make(at, name, |dir| fs::linkat(&node, "", dir, name, AtFlags::EMPTY_PATH), reply);
        });
    }

    fn unlink(&self, _: &Request, at: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = self.node(at).and_then(|dir| Ok(fs::unlinkat(dir, name, AtFlags::empty())?));
        answer!(reply, removed, () => reply.ok());
    }

    fn rmdir(&self, _: &Request, at: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = self.node(at).and_then(|dir| Ok(fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?));
        answer!(reply, removed, () => reply.ok());
    }

    fn rename(
        &self,
        _: &Request,
        from: INodeNo,
        name: &OsStr,
        to: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let flags = fs::RenameFlags::from_bits_retain(flags.bits());
        let dirs = self.node(from).and_then(|from| Ok((from, self.node(to)?)));
        let renamed = dirs.and_then(|(from, to)| Ok(fs::renameat_with(from, name, to, new_name, flags)?));
        answer!(reply, renamed, () => reply.ok());
    }

    fn open(&self, _: &Request, id: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let flags = OFlags::from_bits_retain(flags.0.cast_unsigned()) - OFlags::NOFOLLOW;
        let file = self.node(id).and_then(|node| open(CWD, path_of(&node), flags, 0));
        answer!(reply, file, file => reply.opened(self.files.insert(file), FopenFlags::empty()));
    }

    fn create(
        &self,
        _: &Request,
        at: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let flags = OFlags::from_bits_retain(flags.cast_unsigned()) | OFlags::CREATE | OFlags::NOFOLLOW;
        let file = self.node(at).and_then(|dir| open(dir, name, flags, mode));
        answer!(reply, file.and_then(|file| Ok((file, self.find(at, name)?))), (file, attr) => {
            reply.created(&TTL, &attr, Generation(0), self.files.insert(file), FopenFlags::empty());
        });
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        with_buffer(size as usize, |buffer| {
            let read = self.files.get(fh).and_then(|file| file.read_at(buffer, offset));
            answer!(reply, read, len => reply.data(&buffer[..len]));
        });
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let write = |file: Arc<File>| match file.write_at(data, offset) {
            // The library has the data behind a header: a disk, unlike tmpfs, takes no direct write from there.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) && flags.0 & libc::O_DIRECT != 0 => {
                with_buffer(data.len(), |buffer| {
                    buffer.copy_from_slice(data);
                    file.write_at(buffer, offset)
                })
            }
            written => written,
        };
        answer!(reply, self.files.get(fh).and_then(write), len => reply.written(len as u32));
    }

    fn flush(&self, _: &Request, _: INodeNo, fh: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // A filesystem flushes when a descriptor is closed.
        answer!(reply, self.files.get(fh).and_then(|file| file.try_clone()), _ => reply.ok());
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.files.remove(fh);
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, fh: FileHandle, datasync: bool, reply: ReplyEmpty) {
        let sync = |file: Arc<File>| if datasync { file.sync_data() } else { file.sync_all() };
        answer!(reply, self.files.get(fh).and_then(sync), () => reply.ok());
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        len: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let mode = fs::FallocateFlags::from_bits_retain(mode.cast_unsigned());
        let done = self.files.get(fh).and_then(|file| Ok(fs::fallocate(file, mode, offset, len)?));
        answer!(reply, done, () => reply.ok());
    }

    fn lseek(&self, _: &Request, _: INodeNo, fh: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        let offset = offset.cast_unsigned();
        let to = if whence == libc::SEEK_HOLE { SeekFrom::Hole(offset) } else { SeekFrom::Data(offset) };
        let found = self.files.get(fh).and_then(|file| Ok(fs::seek(file, to)?));
        answer!(reply, found, found => reply.offset(found.cast_signed()));
    }

    fn opendir(&self, _: &Request, id: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let dir = self.node(id).and_then(|node| open(node, ".", OFlags::RDONLY | OFlags::DIRECTORY, 0));
        answer!(reply, dir.and_then(|dir| Ok(Dir::new(dir)?)), dir => {
            let fh = self.dirs.insert(Mutex::new(Listing { dir, at: 0, pending: None }));
            reply.opened(fh, FopenFlags::empty());
        });
    }

    fn readdir(&self, _: &Request, _: INodeNo, fh: FileHandle, from: u64, mut reply: ReplyDirectory) {
        let mut add = |entry: &DirEntry| {
            let (id, next) = (INodeNo(entry.ino()), entry.offset().cast_unsigned());
            Ok(!reply.add(id, next, kind(entry), OsStr::from_bytes(entry.file_name().to_bytes())))
        };
        let listed = self.dirs.get(fh).and_then(|listing| lock(&listing).list(from, &mut add));
        answer!(reply, listed, () => reply.ok());
    }

    fn readdirplus(
        &self,
        request: &Request,
        id: INodeNo,
        fh: FileHandle,
        from: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let mut add = |entry: &DirEntry| {
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            // The kernel looks at no more than the type of these two, and counts no lookup.
            let dots = name == "." || name == "..";
            let found = if dots {
                self.node(id)?.metadata().map(|stat| attr(entry.ino(), &stat))
            } else {
                self.find(id, name)
            };
            let attr = match found {
                // Somebody has just removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
                found => found?,
            };
            let next = entry.offset().cast_unsigned();
            let full = reply.add(attr.ino, next, name, &TTL, &attr, Generation(0));
            if full && !dots {
                self.forget(request, attr.ino, 1);
            }
            Ok(!full)
        };
        let listed = self.dirs.get(fh).and_then(|listing| lock(&listing).list(from, &mut add));
        answer!(reply, listed, () => reply.ok());
    }

    fn releasedir(&self, _: &Request, _: INodeNo, fh: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.dirs.remove(fh);
        reply.ok();
    }

    fn statfs(&self, _: &Request, id: INodeNo, reply: ReplyStatfs) {
        answer!(reply, self.node(id).and_then(|node| Ok(fs::fstatvfs(node)?)), of => {
            let [bsize, namelen, frsize] = [of.f_bsize, of.f_namemax, of.f_frsize].map(|size| size as u32);
            reply.statfs(of.f_blocks, of.f_bfree, of.f_bavail, of.f_files, of.f_ffree, bsize, namelen, frsize);
        });
    }
}

fn serve(options: &Options) -> io::Result<()> {
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })?;
    // The kernel has applied the program's.
    umask(Mode::empty());
    let mut config = Config::default();
    // The kernel checks permissions, and so never asks for them; as with `ringfuse mirror`.
    config.mount_options = vec![MountOption::FSName("mirror-fuser".into()), MountOption::DefaultPermissions];
    // As peer-fuser.
    config.n_threads = Some(cpus());
    config.clone_fd = true;
    fuser::mount(Mirror::new(&options.source)?, &options.mountpoint, &config)
}

fn main() -> ExitCode {
    ended("mirror-fuser", serve(&Options::parse()))
}
