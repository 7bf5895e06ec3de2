//! Attributes: what `stat`, `statfs` and `statx` show.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::time::{Duration, SystemTime};

/// A point in time: seconds and nanoseconds since the epoch, the nanoseconds always counting forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since 1970-01-01 00:00:00 UTC; negative before it.
    pub secs: i64,
    /// Nanoseconds after `secs`, below 1,000,000,000.
    pub nanos: u32,
}

impl Timestamp {
    /// The epoch.
    pub const EPOCH: Self = Self { secs: 0, nanos: 0 };

    /// A time from its two parts. Nanoseconds beyond a second are cut to 999,999,999.
    pub const fn new(secs: i64, nanos: u32) -> Self {
        Self { secs, nanos: if nanos < 1_000_000_000 { nanos } else { 999_999_999 } }
    }

    /// Now, by the clock that users set.
    pub fn now() -> Self {
        SystemTime::now().into()
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => Self { secs: after.as_secs() as i64, nanos: after.subsec_nanos() },
            Err(before) => {
                let before = before.duration();
                match before.subsec_nanos() {
                    0 => Self { secs: -(before.as_secs() as i64), nanos: 0 },
                    nanos => Self { secs: -(before.as_secs() as i64) - 1, nanos: 1_000_000_000 - nanos },
                }
            }
        }
    }
}

impl From<Timestamp> for SystemTime {
    /// Saturates at the epoch where the platform cannot represent the time.
    fn from(time: Timestamp) -> Self {
        let nanos = Duration::from_nanos(time.nanos.into());
        let whole = Duration::from_secs(time.secs.unsigned_abs());
        let secs = if time.secs < 0 {
            Self::UNIX_EPOCH.checked_sub(whole)
        } else {
            Self::UNIX_EPOCH.checked_add(whole)
        };
        secs.and_then(|t| t.checked_add(nanos)).unwrap_or(Self::UNIX_EPOCH)
    }
}

/// What kind of object an inode is: the `S_IFMT` bits of a mode, the `DT_*` of a directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileType {
    /// `S_IFREG`, `DT_REG`.
    Regular,
    /// `S_IFDIR`, `DT_DIR`.
    Directory,
    /// `S_IFLNK`, `DT_LNK`.
    Symlink,
    /// `S_IFIFO`, `DT_FIFO`.
    Fifo,
    /// `S_IFSOCK`, `DT_SOCK`.
    Socket,
    /// `S_IFCHR`, `DT_CHR`.
    CharDevice,
    /// `S_IFBLK`, `DT_BLK`.
    BlockDevice,
}

impl FileType {
    /// The type of a mode, or `None` where its `S_IFMT` bits name none.
    pub const fn from_mode(mode: u32) -> Option<Self> {
        Some(match mode & libc::S_IFMT {
            libc::S_IFREG => Self::Regular,
            libc::S_IFDIR => Self::Directory,
            libc::S_IFLNK => Self::Symlink,
            libc::S_IFIFO => Self::Fifo,
            libc::S_IFSOCK => Self::Socket,
            libc::S_IFCHR => Self::CharDevice,
            libc::S_IFBLK => Self::BlockDevice,
            _ => return None,
        })
    }

    /// The `S_IFMT` bits, `inode(7)`.
    pub const fn mode(self) -> u32 {
        match self {
            Self::Regular => libc::S_IFREG,
            Self::Directory => libc::S_IFDIR,
            Self::Symlink => libc::S_IFLNK,
            Self::Fifo => libc::S_IFIFO,
            Self::Socket => libc::S_IFSOCK,
            Self::CharDevice => libc::S_IFCHR,
            Self::BlockDevice => libc::S_IFBLK,
        }
    }

    /// The `DT_*` value of a directory entry, `readdir(3)`.
    pub const fn dirent_type(self) -> u32 {
        self.mode() >> 12
    }
}

impl From<std::fs::FileType> for FileType {
    fn from(kind: std::fs::FileType) -> Self {
        match kind {
            k if k.is_dir() => Self::Directory,
            k if k.is_symlink() => Self::Symlink,
            k if k.is_fifo() => Self::Fifo,
            k if k.is_socket() => Self::Socket,
            k if k.is_char_device() => Self::CharDevice,
            k if k.is_block_device() => Self::BlockDevice,
            _ => Self::Regular,
        }
    }
}

/// The attributes of an inode, `struct fuse_attr`: what `stat(2)` shows.
///
/// Made by a constructor, then changed field by field or by the methods:
///
/// ```
/// use ringfuse::Attr;
/// let attr = Attr::file(7, 11).perm(0o444).owner(1000, 1000);
/// assert_eq!(attr.mode, 0o100_444);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attr {
    /// The inode number shown to users, `st_ino`. Need not be the node id.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Space in use, in units of 512 bytes.
    pub blocks: u64,
    /// Last access.
    pub atime: Timestamp,
    /// Last change of the data.
    pub mtime: Timestamp,
    /// Last change of the inode.
    pub ctime: Timestamp,
    /// File type and permissions, `st_mode`.
    pub mode: u32,
    /// Number of hard links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a special file, in the kernel's 32-bit encoding (`new_encode_dev`).
    pub rdev: u32,
    /// Preferred I/O size in bytes, `st_blksize`; zero lets the kernel choose.
    pub blksize: u32,
}

impl Attr {
    /// Attributes of an inode of a type, all times at the epoch, owned by root, with one link, and with
    /// permissions 0755 for a directory, 0777 for a symbolic link, 0644 for all others.
    pub const fn new(ino: u64, kind: FileType) -> Self {
        let perm = match kind {
            FileType::Directory => 0o755,
            FileType::Symlink => 0o777,
            _ => 0o644,
        };
        Self {
            ino,
            size: 0,
            blocks: 0,
            atime: Timestamp::EPOCH,
            mtime: Timestamp::EPOCH,
            ctime: Timestamp::EPOCH,
            mode: kind.mode() | perm,
            nlink: if matches!(kind, FileType::Directory) { 2 } else { 1 },
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 0,
        }
    }

    /// A regular file of a size in bytes, `rw-r--r--`.
    pub const fn file(ino: u64, size: u64) -> Self {
        let mut attr = Self::new(ino, FileType::Regular);
        attr.size = size;
        attr.blocks = size.div_ceil(512);
        attr
    }

    /// A directory, `rwxr-xr-x`.
    pub const fn dir(ino: u64) -> Self {
        Self::new(ino, FileType::Directory)
    }

    /// A symbolic link whose target has this length in bytes.
    pub const fn symlink(ino: u64, len: u64) -> Self {
        let mut attr = Self::new(ino, FileType::Symlink);
        attr.size = len;
        attr
    }

    /// Sets the permission bits: 07777 of the mode.
    pub const fn perm(mut self, perm: u32) -> Self {
        self.mode = (self.mode & libc::S_IFMT) | (perm & 0o7777);
        self
    }

    /// Sets the owner and the group.
    pub const fn owner(mut self, uid: u32, gid: u32) -> Self {
        self.uid = uid;
        self.gid = gid;
        self
    }

    /// Sets all three times.
    pub const fn times(mut self, time: Timestamp) -> Self {
        self.atime = time;
        self.mtime = time;
        self.ctime = time;
        self
    }

    /// The type within the mode.
    pub const fn file_type(&self) -> Option<FileType> {
        FileType::from_mode(self.mode)
    }

    /// The device number of `st_rdev` as the kernel wants it in [`Attr::rdev`]: 12 bits of major, 20 of minor.
    pub const fn encode_dev(major: u32, minor: u32) -> u32 {
        (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & !0xff) << 12)
    }

    /// The inverse of [`Attr::encode_dev`]: major and minor.
    pub const fn decode_dev(rdev: u32) -> (u32, u32) {
        ((rdev >> 8) & 0xfff, (rdev & 0xff) | ((rdev >> 12) & 0xfff00))
    }
}

impl From<&std::fs::Metadata> for Attr {
    fn from(meta: &std::fs::Metadata) -> Self {
        let (major, minor) = (libc::major(meta.rdev()), libc::minor(meta.rdev()));
        Self {
            ino: meta.ino(),
            size: meta.size(),
            blocks: meta.blocks(),
            atime: Timestamp::new(meta.atime(), meta.atime_nsec() as u32),
            mtime: Timestamp::new(meta.mtime(), meta.mtime_nsec() as u32),
            ctime: Timestamp::new(meta.ctime(), meta.ctime_nsec() as u32),
            mode: meta.mode(),
            nlink: meta.nlink() as u32,
            uid: meta.uid(),
            gid: meta.gid(),
            rdev: Self::encode_dev(major, minor),
            blksize: meta.blksize() as u32,
        }
    }
}

/// A new access or modification time, `utimensat(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// The time of the filesystem's clock (`UTIME_NOW`).
    Now,
    /// This time.
    At(Timestamp),
}

impl SetTime {
    /// The time meant, reading the clock for [`SetTime::Now`].
    pub fn resolve(self) -> Timestamp {
        match self {
            Self::Now => Timestamp::now(),
            Self::At(time) => time,
        }
    }
}

/// What `statfs(2)` shows of a filesystem, `struct fuse_kstatfs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statfs {
    /// Size of the filesystem in units of `frsize`.
    pub blocks: u64,
    /// Free blocks.
    pub bfree: u64,
    /// Free blocks for unprivileged users.
    pub bavail: u64,
    /// Inodes.
    pub files: u64,
    /// Free inodes.
    pub ffree: u64,
    /// Preferred I/O size in bytes.
    pub bsize: u32,
    /// Longest name in bytes.
    pub namelen: u32,
    /// Unit of the block counts, in bytes.
    pub frsize: u32,
}

impl Default for Statfs {
    /// An empty filesystem with names up to 255 bytes and blocks of 4096.
    fn default() -> Self {
        Self { blocks: 0, bfree: 0, bavail: 0, files: 0, ffree: 0, bsize: 4096, namelen: 255, frsize: 4096 }
    }
}

/// What `statx(2)` shows of an inode, `struct fuse_statx`.
///
/// A field counts only where `mask` says so (`STATX_*`); [`Statx::from`] an [`Attr`] sets the basic ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statx {
    /// The basic attributes.
    pub attr: Attr,
    /// Which fields are valid, `STATX_*` of `statx(2)`.
    pub mask: u32,
    /// `STATX_ATTR_*` that hold for the inode.
    pub attributes: u64,
    /// `STATX_ATTR_*` that the filesystem supports.
    pub attributes_mask: u64,
    /// Time of creation, `STATX_BTIME`.
    pub btime: Timestamp,
}

impl Statx {
    /// Adds the time of creation.
    pub const fn btime(mut self, btime: Timestamp) -> Self {
        self.btime = btime;
        self.mask |= libc::STATX_BTIME;
        self
    }

    /// Adds attributes (`STATX_ATTR_*`): those that hold, and those that could. Linux 6.18 takes them from the filesystem and
    /// does not show them to programs.
    pub const fn attributes(mut self, attributes: u64, attributes_mask: u64) -> Self {
        self.attributes = attributes;
        self.attributes_mask = attributes_mask;
        self
    }
}

impl From<Attr> for Statx {
    fn from(attr: Attr) -> Self {
        Self {
            attr,
            mask: libc::STATX_BASIC_STATS,
            attributes: 0,
            attributes_mask: 0,
            btime: Timestamp::EPOCH,
        }
    }
}

/// The kind of a file lock, `l_type` of `fcntl(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Shared, `F_RDLCK`.
    Read,
    /// Exclusive, `F_WRLCK`.
    Write,
    /// None, `F_UNLCK`: releases a range, or says that nothing stands in the way.
    Unlock,
}

/// A range of a file and the lock on it, `struct fuse_file_lock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lock {
    /// First byte.
    pub start: u64,
    /// Last byte, itself included; `i64::MAX as u64` stands for "to the end of the file".
    pub end: u64,
    /// The kind of lock.
    pub kind: LockKind,
    /// Process id of the holder, in the mounter's pid namespace.
    pub pid: u32,
}

impl Lock {
    /// A lock on a range, both ends included.
    pub const fn new(kind: LockKind, start: u64, end: u64, pid: u32) -> Self {
        Self { start, end, kind, pid }
    }

    /// Nothing stands in the way of the lock that was asked for: the answer of `getlk` then.
    pub const fn free() -> Self {
        Self::new(LockKind::Unlock, 0, 0, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_count_forward() {
        let time = SystemTime::UNIX_EPOCH - Duration::from_millis(1500);
        let stamp = Timestamp::from(time);
        assert_eq!(stamp, Timestamp { secs: -2, nanos: 500_000_000 });
        assert_eq!(SystemTime::from(stamp), time);
        let whole = SystemTime::UNIX_EPOCH - Duration::from_secs(3);
        assert_eq!(Timestamp::from(whole), Timestamp { secs: -3, nanos: 0 });
        assert_eq!(Timestamp::new(5, 2_000_000_000).nanos, 999_999_999);
    }

    #[test]
    fn file_types_go_to_modes_and_back() {
        for kind in [
            FileType::Regular,
            FileType::Directory,
            FileType::Symlink,
            FileType::Fifo,
            FileType::Socket,
            FileType::CharDevice,
            FileType::BlockDevice,
        ] {
            assert_eq!(FileType::from_mode(kind.mode() | 0o7777), Some(kind));
        }
        assert_eq!(FileType::from_mode(0o644), None);
        assert_eq!(FileType::Directory.dirent_type(), u32::from(libc::DT_DIR));
        assert_eq!(FileType::Symlink.dirent_type(), u32::from(libc::DT_LNK));
    }

    #[test]
    fn device_numbers_keep_twelve_and_twenty_bits() {
        for (major, minor) in [(0, 0), (1, 3), (259, 700), (4095, 1_048_575)] {
            assert_eq!(Attr::decode_dev(Attr::encode_dev(major, minor)), (major, minor));
        }
    }
}
