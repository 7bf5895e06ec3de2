//! What the cases are written with: short names for calls, and a few fixtures.

pub(super) use std::collections::{BTreeMap, BTreeSet};
pub(super) use std::ffi::{OsStr, OsString};
pub(super) use std::fs::{self, File};
pub(super) use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
pub(super) use std::mem::MaybeUninit;
pub(super) use std::os::fd::AsRawFd;
pub(super) use std::os::unix::ffi::{OsStrExt, OsStringExt};
pub(super) use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
pub(super) use std::path::{Path, PathBuf};
pub(super) use std::sync::Barrier;
pub(super) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
pub(super) use std::sync::mpsc;
pub(super) use std::thread;
pub(super) use std::time::Duration;

pub(super) use rustix::fs::{self as rfs, AtFlags, CWD, FileType, Mode, OFlags};
pub(super) use rustix::io::Errno;

pub(super) use super::check::{OrSkip, ensure, ensure_eq, ensure_ne, expect_errno, skip};
pub(super) use super::sys;
pub(super) use super::{Case, Failure, Needs, Outcome};

/// The table of a file of cases: the topic, then `case [NEEDS] "what it checks";`.
macro_rules! cases {
    ($topic:literal: $($case:ident [$($need:ident)*] $what:literal;)*) => {
        pub(in crate::posix) const CASES: &[Case] = &[$(Case {
            name: concat!($topic, "/", stringify!($case)),
            what: $what,
            needs: Needs::NONE$(.and(Needs::$need))*,
            run: $case,
        }),*];
    };
}
pub(super) use cases;

pub(super) const RD: OFlags = OFlags::RDONLY;
pub(super) const WR: OFlags = OFlags::WRONLY;
pub(super) const RDWR: OFlags = OFlags::RDWR;
pub(super) const CREAT: OFlags = OFlags::CREATE;
pub(super) const EXCL: OFlags = OFlags::EXCL;
pub(super) const TRUNC: OFlags = OFlags::TRUNC;
pub(super) const APPEND: OFlags = OFlags::APPEND;
pub(super) const NOFOLLOW: OFlags = OFlags::NOFOLLOW;
pub(super) const DIRECTORY: OFlags = OFlags::DIRECTORY;
pub(super) const O_PATH: OFlags = OFlags::PATH;

pub(super) const KIB: usize = 1024;
pub(super) const MIB: usize = 1024 * KIB;
pub(super) const GIB: u64 = 1 << 30;

pub(super) fn mode(bits: u32) -> Mode {
    Mode::from_raw_mode(bits)
}

/// open(2), close-on-exec; a new file gets mode 0644.
pub(super) fn open(path: impl AsRef<Path>, flags: OFlags) -> Result<File, Errno> {
    open_mode(path, flags, 0o644)
}

pub(super) fn open_mode(path: impl AsRef<Path>, flags: OFlags, bits: u32) -> Result<File, Errno> {
    rfs::open(path.as_ref(), flags | OFlags::CLOEXEC, mode(bits)).map(File::from)
}

/// That the file can be opened.
pub(super) fn opens(path: impl AsRef<Path>, flags: OFlags) -> Outcome {
    open(path, flags)?;
    Ok(())
}

/// openat(2), close-on-exec; a new file gets mode 0644.
pub(super) fn open_at(dir: &File, path: impl AsRef<Path>, flags: OFlags) -> Result<File, Errno> {
    rfs::openat(dir, path.as_ref(), flags | OFlags::CLOEXEC, mode(0o644)).map(File::from)
}

/// A new empty file, open for reading and writing.
pub(super) fn touch(path: impl AsRef<Path>) -> Result<File, Errno> {
    open(path, CREAT | EXCL | RDWR)
}

/// A new file of that content, open for reading and writing at offset 0.
pub(super) fn file(path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> Result<File, io::Error> {
    let file = touch(path)?;
    file.write_all_at(content.as_ref(), 0)?;
    Ok(file)
}

pub(super) fn mkdir(path: impl AsRef<Path>) -> Result<(), Errno> {
    rfs::mkdir(path.as_ref(), mode(0o755))
}

pub(super) fn unlink(path: impl AsRef<Path>) -> Result<(), Errno> {
    rfs::unlink(path.as_ref())
}

pub(super) fn rmdir(path: impl AsRef<Path>) -> Result<(), Errno> {
    rfs::rmdir(path.as_ref())
}

pub(super) fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<(), Errno> {
    rfs::rename(from.as_ref(), to.as_ref())
}

pub(super) fn link(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<(), Errno> {
    rfs::link(from.as_ref(), to.as_ref())
}

pub(super) fn chmod(path: impl AsRef<Path>, bits: u32) -> Result<(), Errno> {
    rfs::chmod(path.as_ref(), mode(bits))
}

/// chown(2); `None` leaves the owner or the group as it is.
pub(super) fn chown(
    path: impl AsRef<Path>,
    uid: impl Into<Option<u32>>,
    gid: impl Into<Option<u32>>,
) -> Result<(), Errno> {
    rfs::chown(path.as_ref(), uid.into().map(rfs::Uid::from_raw), gid.into().map(rfs::Gid::from_raw))
}

pub(super) fn mkfifo(path: impl AsRef<Path>) -> Result<(), Errno> {
    rfs::mknodat(CWD, path.as_ref(), FileType::Fifo, mode(0o644), 0)
}

/// lstat(2).
pub(super) fn st(path: impl AsRef<Path>) -> io::Result<fs::Metadata> {
    fs::symlink_metadata(path)
}

/// Whether there is such a name, be it a dangling link.
pub(super) fn exists(path: impl AsRef<Path>) -> bool {
    st(path).is_ok()
}

/// The twelve mode bits.
pub(super) fn bits(path: impl AsRef<Path>) -> io::Result<u32> {
    Ok(st(path)?.mode() & 0o7777)
}

pub(super) fn nlink(path: impl AsRef<Path>) -> io::Result<u64> {
    Ok(st(path)?.nlink())
}

pub(super) fn ino(path: impl AsRef<Path>) -> io::Result<u64> {
    Ok(st(path)?.ino())
}

pub(super) fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    fs::read(path)
}

/// `len` bytes at `offset`; an end of file before that is an error.
pub(super) fn read_at(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut buf = vec![0; len];
    file.read_exact_at(&mut buf, offset)?;
    Ok(buf)
}

/// The names in a directory, without `.` and `..`; a name given twice is an error.
pub(super) fn names(dir: impl AsRef<Path>) -> Result<BTreeSet<OsString>, Failure> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        ensure!(names.insert(name.clone()), "readdir gives {name:?} twice");
    }
    Ok(names)
}

/// `len` bytes in which any shift or swap of blocks shows.
pub(super) fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&random.next().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A small generator of repeatable numbers (xorshift64*).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        ((self.next() >> 33) as usize) % bound
    }
}

/// Compares bytes and says where they begin to differ.
#[track_caller]
pub(super) fn same(got: &[u8], want: &[u8]) -> Outcome {
    if got == want {
        return Ok(());
    }
    let at = got.iter().zip(want).position(|(a, b)| a != b).unwrap_or(got.len().min(want.len()));
    Err(Failure::check(format!(
        "content differs at byte {at}: got {:?}, expected {:?} ({} and {} bytes)",
        got.get(at),
        want.get(at),
        got.len(),
        want.len()
    )))
}

/// A time stamp: seconds and nanoseconds.
pub(super) type Stamp = (i64, i64);

/// The three times of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) a: Stamp,
    pub(super) m: Stamp,
    pub(super) c: Stamp,
}

pub(super) fn times(path: impl AsRef<Path>) -> io::Result<Times> {
    Ok(times_of(&st(path)?))
}

pub(super) fn times_of(st: &fs::Metadata) -> Times {
    Times {
        a: (st.atime(), st.atime_nsec()),
        m: (st.mtime(), st.mtime_nsec()),
        c: (st.ctime(), st.ctime_nsec()),
    }
}

/// utimensat(2) without following links.
pub(super) fn set_times(path: impl AsRef<Path>, a: Stamp, m: Stamp) -> Result<(), Errno> {
    let stamp = |(tv_sec, tv_nsec)| rfs::Timespec { tv_sec, tv_nsec };
    let times = rfs::Timestamps { last_access: stamp(a), last_modification: stamp(m) };
    rfs::utimensat(CWD, path.as_ref(), &times, AtFlags::SYMLINK_NOFOLLOW)
}

/// Waits until the clock of the filesystem has gone on (a kernel tick is at most 10 ms).
pub(super) fn tick() {
    thread::sleep(Duration::from_millis(12));
}

/// Writes the file back and asks the kernel to forget its pages, so that reads reach the
/// filesystem again.
pub(super) fn drop_cache(file: &File) -> Result<(), Errno> {
    rfs::fsync(file)?;
    rfs::fadvise(file, 0, None, rfs::Advice::DontNeed)
}

/// One entry of getdents64(2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dent {
    pub(super) name: OsString,
    pub(super) ino: u64,
    pub(super) kind: FileType,
    /// The offset to seek to for the entry after this one.
    pub(super) next: u64,
}

/// All entries from the directory's offset on, read with a buffer of `room` bytes.
pub(super) fn dents(dir: &File, room: usize) -> Result<Vec<Dent>, Errno> {
    let mut buf = vec![MaybeUninit::uninit(); room];
    let mut reader = rfs::RawDir::new(dir, &mut buf);
    let mut found = Vec::new();
    while let Some(entry) = reader.next() {
        let entry = entry?;
        found.push(Dent {
            name: OsStr::from_bytes(entry.file_name().to_bytes()).to_owned(),
            ino: entry.ino(),
            kind: entry.file_type(),
            next: entry.next_entry_cookie(),
        });
    }
    Ok(found)
}

/// The path of an open file in /proc.
pub(super) fn proc_fd(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Runs `n` threads that start together, and gives the first failure.
pub(super) fn parallel(n: usize, body: impl Fn(usize) -> Outcome + Sync) -> Outcome {
    let start = Barrier::new(n);
    thread::scope(|scope| {
        let run = |i| {
            start.wait();
            body(i)
        };
        let threads: Vec<_> = (0..n).map(|i| scope.spawn(move || run(i))).collect();
        threads.into_iter().map(join).fold(Ok(()), Outcome::and)
    })
}

/// The outcome of a thread; a panic is a failure.
#[track_caller]
pub(super) fn join(thread: thread::ScopedJoinHandle<'_, Outcome>) -> Outcome {
    thread.join().unwrap_or_else(|_| Err(Failure::check("a thread of the case panicked")))
}

/// A user to act as.
#[derive(Clone, Copy)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: &'static [u32],
}

/// A supplementary group of [`ALICE`].
pub(super) const CREW: u32 = 30_100;
/// A group of nobody.
pub(super) const STRANGERS: u32 = 30_101;
/// A user with a supplementary group.
pub(super) const ALICE: User = User { uid: 30_001, gid: 30_001, groups: &[CREW] };
/// Another user, without.
pub(super) const BOB: User = User { uid: 30_002, gid: 30_002, groups: &[] };

/// Runs `body` as another user, in a thread of its own with `dir` as its working directory, so
/// that the directories above need not let that user in.
pub(super) fn as_user(dir: &Path, user: User, body: impl FnOnce() -> Outcome + Send) -> Outcome {
    as_user_real(dir, user, user.uid, body)
}

/// Like [`as_user`], with another real user id.
pub(super) fn as_user_real(
    dir: &Path,
    user: User,
    real: u32,
    body: impl FnOnce() -> Outcome + Send,
) -> Outcome {
    thread::scope(|scope| {
        join(scope.spawn(|| {
            sys::unshare_fs()?;
            rustix::process::chdir(dir)?;
            let groups: Vec<_> = user.groups.iter().map(|&gid| rfs::Gid::from_raw(gid)).collect();
            let (uid, gid) = (rfs::Uid::from_raw(user.uid), rfs::Gid::from_raw(user.gid));
            rustix::thread::set_thread_groups(&groups)?;
            rustix::thread::set_thread_res_gid(gid, gid, gid)?;
            rustix::thread::set_thread_res_uid(rfs::Uid::from_raw(real), uid, uid)?;
            body()
        }))
    })
}

/// Runs `body` in a thread with a table of descriptors of its own: it owns record locks as
/// another process does. It opens what it needs itself.
pub(super) fn as_process(body: impl FnOnce() -> Outcome + Send) -> Outcome {
    thread::scope(|scope| {
        join(scope.spawn(|| {
            sys::unshare_files()?;
            body()
        }))
    })
}

/// Runs `work` in this thread while `n` others run `others` again and again.
pub(super) fn meanwhile(
    n: usize,
    others: impl Fn(usize) -> Outcome + Sync,
    work: impl FnOnce() -> Outcome,
) -> Outcome {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (done, others) = (&done, &others);
        let again = move |i| {
            while !done.load(Ordering::SeqCst) {
                others(i)?;
            }
            Ok(())
        };
        let looping: Vec<_> = (0..n).map(|i| scope.spawn(move || again(i))).collect();
        let outcome = work();
        done.store(true, Ordering::SeqCst);
        looping.into_iter().map(join).fold(outcome, Outcome::and)
    })
}
