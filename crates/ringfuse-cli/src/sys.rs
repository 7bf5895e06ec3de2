//! System calls that neither the standard library nor `rustix` has a safe function for. All `unsafe` of this program is
//! here: each function is safe to call, and wraps one call of the kernel.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::{c_int, c_long, c_uint};
use rustix::fs::OFlags;

/// Turns the result of a call into a number or the error that `errno` has.
fn done(result: c_long) -> io::Result<c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A descriptor that a call has just returned.
fn opened(result: c_long) -> io::Result<OwnedFd> {
    let fd = done(result)? as c_int;
    // SAFETY: the kernel has made this descriptor for us, and nobody else knows of it yet.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The longest file handle, `MAX_HANDLE_SZ`.
const MAX_HANDLE: usize = 128;
/// Handles up to this length are kept in place: those of ext4, tmpfs, xfs and btrfs are.
const SHORT: usize = 22;

/// `FILEID_INO32_GEN`, and what xfs makes of it.
const INO32_GEN: c_int = 1;
const XFS_INO64_GEN: c_int = 0x81;

/// A name for an inode that stays right when the inode is renamed, and wrong when it is gone: `struct file_handle` of
/// `name_to_handle_at(2)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileHandle {
    kind: c_int,
    bytes: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Bytes {
    Short(u8, [u8; SHORT]),
    Long(Box<[u8]>),
}

/// As the kernel wants it: the head, and the bytes behind it.
#[repr(C)]
struct RawHandle {
    len: c_uint,
    kind: c_int,
    bytes: [u8; MAX_HANDLE],
}

impl FileHandle {
    /// A handle of its parts; `None` if it is longer than any is.
    pub(crate) fn new(kind: c_int, bytes: &[u8]) -> Option<Self> {
        let bytes = match bytes.len() {
            len @ 0..=SHORT => {
                let mut short = [0; SHORT];
                short[..len].copy_from_slice(bytes);
                Bytes::Short(len as u8, short)
            }
            ..=MAX_HANDLE => Bytes::Long(bytes.into()),
            _ => return None,
        };
        Some(Self { kind, bytes })
    }

    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Short(len, bytes) => &bytes[..usize::from(*len)],
            Bytes::Long(bytes) => bytes,
        }
    }

    fn words<const N: usize>(&self) -> Option<[u32; N]> {
        let mut words = [0; N];
        let (chunks, rest) = self.bytes().as_chunks::<4>();
        if chunks.len() != N || !rest.is_empty() {
            return None;
        }
        for (word, chunk) in words.iter_mut().zip(chunks) {
            *word = u32::from_ne_bytes(*chunk);
        }
        Some(words)
    }

    /// All of the handle in one number of at least 2^32, where there is one: it is an inode number and a generation, of 32
    /// bits each, in the order that ext4 and most others have, or tmpfs, or xfs.
    pub(crate) fn number(&self) -> Option<u64> {
        let (high, low) = match (self.kind, self.words(), self.words()) {
            (INO32_GEN, Some([ino, generation]), _) => (ino, generation),
            (INO32_GEN, _, Some([generation, ino, 0])) | (XFS_INO64_GEN, _, Some([ino, 0, generation])) => {
                (ino, generation)
            }
            _ => return None,
        };
        (high != 0).then_some(u64::from(high) << 32 | u64::from(low))
    }

    /// The handle of such a number, on the filesystem that another handle is of.
    pub(crate) fn of_number(number: u64, like: &Self) -> Option<Self> {
        let (ino, generation) = ((number >> 32) as u32, number as u32);
        let (two, three) = (like.words::<2>(), like.words::<3>());
        let words = match (like.kind, two, three) {
            (INO32_GEN, Some(_), _) => &[ino, generation][..],
            (INO32_GEN, _, Some(_)) => &[generation, ino, 0],
            (XFS_INO64_GEN, _, Some(_)) => &[ino, 0, generation],
            _ => return None,
        };
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        Self::new(like.kind, &bytes).filter(|handle| handle.number() == Some(number))
    }

    /// The number of the inode, where the handle has it and [`number`](Self::number) is all of the handle.
    pub(crate) fn ino(&self) -> Option<u64> {
        self.number().map(|number| number >> 32)
    }

    /// The handle of a name in a directory, not following a symbolic link; with an empty name, of the open file itself,
    /// `O_PATH` included; and the id of the mount that it is on (`name_to_handle_at(2)`).
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` where the filesystem has none.
    pub(crate) fn of(dir: impl AsFd, name: &CStr) -> io::Result<(Self, u64)> {
        let mut raw = RawHandle { len: MAX_HANDLE as c_uint, kind: 0, bytes: [0; MAX_HANDLE] };
        let mut mount: c_int = 0;
        let dir = dir.as_fd().as_raw_fd();
        let flags = if name.is_empty() { libc::AT_EMPTY_PATH } else { 0 };
        // SAFETY: `raw` is laid out as a `struct file_handle` with room for as many bytes as its length says, the name ends
        // in a NUL, and all pointers are valid for the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_name_to_handle_at,
                dir,
                name.as_ptr(),
                &raw mut raw,
                &raw mut mount,
                flags,
            )
        };
        done(result)?;
        let bytes = raw.bytes.get(..raw.len as usize);
        let handle = bytes.and_then(|bytes| Self::new(raw.kind, bytes)).ok_or(io::ErrorKind::InvalidData)?;
        Ok((handle, u64::from(mount.cast_unsigned())))
    }

    /// Opens the file of this handle, on the mount that `mount` is in (`open_by_handle_at(2)`).
    ///
    /// # Errors
    ///
    /// `ESTALE` if it is gone, `EPERM` without `CAP_DAC_READ_SEARCH`.
    pub(crate) fn open(&self, mount: impl AsFd, flags: OFlags) -> io::Result<OwnedFd> {
        let bytes = self.bytes();
        let mut raw = RawHandle { len: bytes.len() as c_uint, kind: self.kind, bytes: [0; MAX_HANDLE] };
        raw.bytes[..bytes.len()].copy_from_slice(bytes);
        let (mount, flags) = (mount.as_fd().as_raw_fd(), flags.bits() as c_int);
        // SAFETY: `raw` is laid out as a `struct file_handle`, and valid for the call.
        opened(unsafe { libc::syscall(libc::SYS_open_by_handle_at, mount, &raw mut raw, flags) })
    }
}

/// What of a mount is to be changed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MountChange {
    /// `MOUNT_ATTR_*` to be set.
    pub(crate) set: u64,
    /// `MOUNT_ATTR_*` to be cleared before.
    pub(crate) clear: u64,
    /// Neither gets mounts from others nor gives them its own (`MS_PRIVATE`).
    pub(crate) private: bool,
}

/// Changes a mount and all below it (`mount_setattr(2)`).
pub(crate) fn change_mount(tree: impl AsFd, change: MountChange) -> io::Result<()> {
    let attr = libc::mount_attr {
        attr_set: change.set,
        attr_clr: change.clear,
        propagation: if change.private { libc::MS_PRIVATE } else { 0 },
        userns_fd: 0,
    };
    let (fd, flags) = (tree.as_fd().as_raw_fd(), libc::AT_EMPTY_PATH | libc::AT_RECURSIVE);
    // SAFETY: the structure is valid for the call, and its length is told.
    let result = unsafe {
        libc::syscall(libc::SYS_mount_setattr, fd, c"".as_ptr(), flags, &raw const attr, size_of_val(&attr))
    };
    done(result).map(drop)
}

/// Gives the calling thread a umask and a working directory of its own (`unshare(2)` with `CLONE_FS`).
pub(crate) fn unshare_fs() -> io::Result<()> {
    // SAFETY: no memory and no descriptor is concerned.
    done(unsafe { libc::unshare(libc::CLONE_FS) }.into()).map(drop)
}

/// A lock of `fcntl(2)` on a range: its type (`F_RDLCK`, `F_WRLCK`, `F_UNLCK`), its start and its length, zero for "to the
/// end"; and who holds it, where the kernel tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RangeLock {
    pub(crate) kind: i16,
    pub(crate) start: i64,
    pub(crate) len: i64,
    pub(crate) pid: i32,
}

fn ofd(fd: impl AsFd, command: c_int, lock: RangeLock) -> io::Result<RangeLock> {
    let mut raw = libc::flock {
        l_type: lock.kind,
        l_whence: libc::SEEK_SET as i16,
        l_start: lock.start,
        l_len: lock.len,
        // The kernel wants it so for locks of an open file description.
        l_pid: 0,
    };
    // SAFETY: the command takes a pointer to a `struct flock`, which is valid for the call.
    done(unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), command, &raw mut raw) }.into())?;
    Ok(RangeLock { kind: raw.l_type, start: raw.l_start, len: raw.l_len, pid: raw.l_pid })
}

/// Takes or gives up a lock that belongs to the open file, without waiting (`F_OFD_SETLK`).
///
/// # Errors
///
/// `EAGAIN` if another stands in the way.
pub(crate) fn set_lock(fd: impl AsFd, lock: RangeLock) -> io::Result<()> {
    ofd(fd, libc::F_OFD_SETLK, lock).map(drop)
}

/// The lock that stands in the way of one, or one of type `F_UNLCK` (`F_OFD_GETLK`).
pub(crate) fn get_lock(fd: impl AsFd, lock: RangeLock) -> io::Result<RangeLock> {
    ofd(fd, libc::F_OFD_GETLK, lock)
}

/// The commands that [`ioctl`] passes on: those of inode flags and versions. Each reads and writes no more than its number
/// says, and changes nothing that the kernel has not checked the right to before it asks a FUSE server (`fileattr_set`).
const IOCTLS: [u32; 5] = [
    libc::FS_IOC_GETFLAGS as u32,
    libc::FS_IOC_SETFLAGS as u32,
    libc::FS_IOC_GETVERSION as u32,
    // FS_IOC_FSGETXATTR and FS_IOC_FSSETXATTR.
    0x801c_581f,
    0x401c_5820,
];

/// Whether a command of those changes the inode.
pub(crate) fn changes_inode(command: u32) -> bool {
    IOCTLS.contains(&command) && command >> 30 & 1 != 0
}

/// `ioctl(2)` with an argument that is read and written in place.
///
/// # Errors
///
/// Those of the call; `ENOTTY` for commands that are not known to be safe; `EINVAL` if `data` has no room.
pub(crate) fn ioctl(fd: impl AsFd, command: u32, data: &mut [u8]) -> io::Result<c_int> {
    if !IOCTLS.contains(&command) {
        return Err(io::Error::from_raw_os_error(libc::ENOTTY));
    }
    // `_IOC_SIZE`.
    if data.len() < (command >> 16 & 0x3fff) as usize {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: these commands read and write no more than their number says, for which there is room.
    done(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), command.into(), data.as_mut_ptr()) }.into())
        .map(|result| result as c_int)
}

/// A group of fanotify events (`fanotify_init(2)`).
pub(crate) fn fanotify(flags: c_uint) -> io::Result<OwnedFd> {
    // SAFETY: no memory is concerned.
    opened(unsafe { libc::fanotify_init(flags, (libc::O_CLOEXEC | libc::O_LARGEFILE) as c_uint) }.into())
}

/// Adds the filesystem of an open file to a group (`fanotify_mark(2)` with `FAN_MARK_FILESYSTEM`).
pub(crate) fn fanotify_mark(group: impl AsFd, mask: u64, file: BorrowedFd<'_>) -> io::Result<()> {
    let flags = libc::FAN_MARK_ADD | libc::FAN_MARK_FILESYSTEM;
    let (group, file) = (group.as_fd().as_raw_fd(), file.as_raw_fd());
    // SAFETY: without a path the file itself is meant, and no memory is concerned.
    done(unsafe { libc::fanotify_mark(group, flags, mask, file, std::ptr::null()) }.into()).map(drop)
}

/// Closes a file, and tells what the filesystem has to say about it (`close(2)`).
pub(crate) fn close(fd: OwnedFd) -> io::Result<()> {
    use std::os::fd::IntoRawFd;
    // SAFETY: the descriptor was ours alone, and nobody has it any more.
    done(unsafe { libc::close(fd.into_raw_fd()) }.into()).map(drop)
}

/// Shortens or lengthens the file that a path leads to (`truncate(2)`).
pub(crate) fn truncate(path: &CStr, len: i64) -> io::Result<()> {
    // SAFETY: the path ends in a NUL.
    done(unsafe { libc::truncate(path.as_ptr(), len) }.into()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn handles_of_one_file_are_equal() {
        let file = File::open(std::env::current_exe().unwrap()).unwrap();
        let Ok(handle) = FileHandle::of(&file, c"") else { return };
        assert_eq!(handle, FileHandle::of(file.try_clone().unwrap(), c"").unwrap());
        let handle = handle.0;
        assert_ne!(handle, FileHandle::new(handle.kind, b"another").unwrap());
        assert_eq!(FileHandle::new(1, &[0; MAX_HANDLE + 1]), None);
        let long = FileHandle::new(1, &[7; SHORT + 1]).unwrap();
        assert_eq!(long.bytes(), [7; SHORT + 1]);
    }

    #[test]
    fn handles_are_numbers_and_back() {
        let handle = |kind, words: &[u32]| {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            FileHandle::new(kind, &bytes).unwrap()
        };
        for (kind, words) in [(1, &[7, u32::MAX][..]), (1, &[u32::MAX, 7, 0]), (0x81, &[7, 0, u32::MAX])] {
            let handle = handle(kind, words);
            let number = handle.number().unwrap();
            assert_eq!(number, 7 << 32 | u64::from(u32::MAX));
            assert_eq!(FileHandle::of_number(number, &handle), Some(handle));
        }
        // There is no room for more, and what is small is counted up.
        for (kind, words) in [(1, &[1, 7, 1][..]), (0x81, &[7, 1, 2]), (1, &[0, 7]), (2, &[7, 8]), (1, &[7])]
        {
            assert_eq!(handle(kind, words).number(), None, "{kind} {words:?}");
        }
        assert_eq!(FileHandle::of_number(7, &handle(1, &[7, 8])), None);
        assert_eq!(FileHandle::of_number(7 << 32, &handle(0x4d, &[1; 10])), None);
    }

    #[test]
    fn an_ioctl_without_room_is_refused() {
        let file = File::open(std::env::current_exe().unwrap()).unwrap();
        let error = ioctl(&file, libc::FS_IOC_GETFLAGS as u32, &mut []).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }

    #[test]
    fn locks_of_two_open_files_exclude_each_other() {
        let path = std::env::temp_dir().join(format!("ringfuse-sys-{}", std::process::id()));
        let open =
            || File::options().read(true).write(true).create(true).truncate(false).open(&path).unwrap();
        let (one, other) = (open(), open());
        std::fs::remove_file(&path).unwrap();
        let lock = RangeLock { kind: libc::F_WRLCK as i16, start: 3, len: 5, pid: 0 };
        set_lock(&one, lock).unwrap();
        assert_eq!(set_lock(&other, lock).unwrap_err().raw_os_error(), Some(libc::EAGAIN));
        let found = get_lock(&other, RangeLock { start: 0, len: 0, ..lock }).unwrap();
        assert_eq!((found.kind, found.start, found.len), (lock.kind, 3, 5));
        set_lock(&one, RangeLock { kind: libc::F_UNLCK as i16, ..lock }).unwrap();
        set_lock(&other, lock).unwrap();
    }
}
