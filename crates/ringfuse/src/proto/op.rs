//! The operations: one struct an opcode of the kernel, decoded and checked, as a handler receives it.
//!
//! Each is `#[non_exhaustive]`, so that a newer kernel's fields can be added without breaking a filesystem. The
//! fields borrow from the request: names, values and contexts are gone once the handler has answered.

use std::ffi::CStr;

use crate::types::{
    DirPos, Fh, FileType, Lock, LockOwner, Name, NodeId, OpenFlags, PollHandle, SetTime, Timestamp,
};

/// What creating operations carry beside the name: fields shared by [`Mkdir`], [`Mknod`], [`Create`],
/// [`Tmpfile`] and [`Symlink`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Creation<'a> {
    /// The caller's umask. The mode is masked already, unless
    /// [`DONT_MASK`](crate::Capabilities::DONT_MASK) was negotiated.
    pub umask: u32,
    /// The supplementary group of the caller that is also the group of the directory, where
    /// [`CREATE_SUPP_GROUP`](crate::Capabilities::CREATE_SUPP_GROUP) was negotiated and there is one.
    pub supplementary_group: Option<u32>,
    /// The security contexts that the new inode is to have, where
    /// [`SECURITY_CTX`](crate::Capabilities::SECURITY_CTX) was negotiated.
    pub security: SecurityContexts<'a>,
}

/// The security contexts of an inode about to be created: extended attributes to be set with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SecurityContexts<'a>(pub(super) &'a [u8]);

impl<'a> SecurityContexts<'a> {
    /// Name (such as `security.selinux`) and value of each.
    pub fn iter(self) -> impl Iterator<Item = (&'a CStr, &'a [u8])> {
        super::ext::security_contexts(self.0)
    }
}

macro_rules! ops {
    ($($(#[$meta:meta])* $name:ident $(<$lt:lifetime>)? { $($(#[$fmeta:meta])* $field:ident: $ty:ty,)* })*) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            #[non_exhaustive]
            pub struct $name $(<$lt>)? { $($(#[$fmeta])* pub $field: $ty,)* }
        )*
    };
}

ops! {
    /// `FUSE_LOOKUP`: which node is this name?
    Lookup<'a> {
        /// The directory.
        parent: NodeId,
        /// The name in it.
        name: Name<'a>,
    }

    /// `FUSE_GETATTR`: the attributes of a node, for `stat(2)`.
    Getattr {
        /// The node.
        node: NodeId,
        /// The open file through which they are asked for, if any (`fstat(2)`).
        fh: Option<Fh>,
    }

    /// `FUSE_STATX`: the attributes of a node, for `statx(2)`.
    Statx {
        /// The node.
        node: NodeId,
        /// The open file through which they are asked for, if any.
        fh: Option<Fh>,
        /// How they may be synchronised: `AT_STATX_*` of `statx(2)`.
        flags: u32,
        /// Which are wanted: `STATX_*` of `statx(2)`.
        mask: u32,
    }

    /// `FUSE_SETATTR`: changes attributes: `chmod`, `chown`, `truncate`, `utimensat`.
    Setattr {
        /// The node.
        node: NodeId,
        /// The open file through which it is done, if any (`ftruncate(2)`).
        fh: Option<Fh>,
        /// New mode, type bits included.
        mode: Option<u32>,
        /// New owner.
        uid: Option<u32>,
        /// New group.
        gid: Option<u32>,
        /// New size in bytes.
        size: Option<u64>,
        /// New access time.
        atime: Option<SetTime>,
        /// New modification time.
        mtime: Option<SetTime>,
        /// New change time; only with a writeback cache, where the kernel owns it.
        ctime: Option<Timestamp>,
        /// Whose mandatory locks do not stand in the way of a truncation.
        lock_owner: Option<LockOwner>,
        /// Setuid and setgid are to be cleared
        /// ([`HANDLE_KILLPRIV_V2`](crate::Capabilities::HANDLE_KILLPRIV_V2)).
        kill_suidgid: bool,
    }

    /// `FUSE_READLINK`: the target of a symbolic link.
    Readlink {
        /// The link.
        node: NodeId,
    }

    /// `FUSE_SYMLINK`: creates a symbolic link.
    Symlink<'a> {
        /// The directory.
        parent: NodeId,
        /// The name of the link.
        name: Name<'a>,
        /// What it points to; any bytes, 1 to 4095 of them.
        target: &'a CStr,
        /// Groups and contexts. The umask is zero here.
        creation: Creation<'a>,
    }

    /// `FUSE_MKNOD`: creates a regular or special file.
    Mknod<'a> {
        /// The directory.
        parent: NodeId,
        /// The name.
        name: Name<'a>,
        /// Type and permissions.
        mode: u32,
        /// The device number of a device, see [`Attr::rdev`](crate::Attr::rdev).
        rdev: u32,
        /// Umask, groups and contexts.
        creation: Creation<'a>,
    }

    /// `FUSE_MKDIR`: creates a directory.
    Mkdir<'a> {
        /// The directory above.
        parent: NodeId,
        /// The name.
        name: Name<'a>,
        /// Permissions; the type bits may be missing.
        mode: u32,
        /// Umask, groups and contexts.
        creation: Creation<'a>,
    }

    /// `FUSE_UNLINK`: removes a name of a file.
    Unlink<'a> {
        /// The directory.
        parent: NodeId,
        /// The name.
        name: Name<'a>,
    }

    /// `FUSE_RMDIR`: removes an empty directory.
    Rmdir<'a> {
        /// The directory above.
        parent: NodeId,
        /// The name.
        name: Name<'a>,
    }

    /// `FUSE_RENAME` and `FUSE_RENAME2`: moves a name, `renameat2(2)`.
    Rename<'a> {
        /// The directory it is in.
        parent: NodeId,
        /// The name it has.
        name: Name<'a>,
        /// The directory it goes to.
        new_parent: NodeId,
        /// The name it gets.
        new_name: Name<'a>,
        /// `RENAME_NOREPLACE`, `RENAME_EXCHANGE`, `RENAME_WHITEOUT` of `renameat2(2)`; zero from `rename(2)`.
        flags: u32,
    }

    /// `FUSE_LINK`: gives a file one more name.
    Link<'a> {
        /// The file.
        node: NodeId,
        /// The directory of the new name.
        new_parent: NodeId,
        /// The new name.
        new_name: Name<'a>,
    }

    /// `FUSE_OPEN` and `FUSE_OPENDIR`: opens a file or a directory.
    Open {
        /// The node.
        node: NodeId,
        /// How it is opened.
        flags: OpenFlags,
        /// Setuid and setgid are to be cleared, as the file is truncated
        /// ([`HANDLE_KILLPRIV_V2`](crate::Capabilities::HANDLE_KILLPRIV_V2)).
        kill_suidgid: bool,
    }

    /// `FUSE_CREATE`: creates a regular file and opens it.
    Create<'a> {
        /// The directory.
        parent: NodeId,
        /// The name.
        name: Name<'a>,
        /// Type and permissions.
        mode: u32,
        /// How it is opened. `O_EXCL` says that it must not exist; the kernel has looked already.
        flags: OpenFlags,
        /// Setuid and setgid are to be cleared, where the file exists and is truncated.
        kill_suidgid: bool,
        /// Umask, groups and contexts.
        creation: Creation<'a>,
    }

    /// `FUSE_TMPFILE`: creates a regular file without a name, `O_TMPFILE`, and opens it.
    Tmpfile<'a> {
        /// The directory on whose filesystem it is to be; its link count starts at zero.
        parent: NodeId,
        /// Type and permissions.
        mode: u32,
        /// How it is opened. `O_EXCL` says that it will never be linked to a name.
        flags: OpenFlags,
        /// Umask, groups and contexts.
        creation: Creation<'a>,
    }

    /// `FUSE_READ`: bytes of a file. The buffer for them comes beside it.
    Read {
        /// The file.
        node: NodeId,
        /// The open file.
        fh: Fh,
        /// First byte wanted.
        offset: u64,
        /// How many; fewer mean the end of the file, or for direct I/O a short read.
        size: u32,
        /// Whose mandatory locks do not stand in the way.
        lock_owner: Option<LockOwner>,
        /// The flags the file has now, `fcntl(F_GETFL)`.
        flags: OpenFlags,
    }

    /// `FUSE_WRITE`: bytes to a file. The buffer with them comes beside it.
    Write {
        /// The file.
        node: NodeId,
        /// The open file; a guess among those open where [`Write::cache`] is set.
        fh: Fh,
        /// Where the first byte goes.
        offset: u64,
        /// How many there are.
        size: u32,
        /// Whose mandatory locks do not stand in the way.
        lock_owner: Option<LockOwner>,
        /// The flags the file has now, `fcntl(F_GETFL)`.
        flags: OpenFlags,
        /// The bytes come from the page cache, some time after the program wrote them; the caller is not the writer.
        cache: bool,
        /// Setuid and setgid are to be cleared
        /// ([`HANDLE_KILLPRIV_V2`](crate::Capabilities::HANDLE_KILLPRIV_V2)).
        kill_suidgid: bool,
    }

    /// `FUSE_STATFS`: space and limits of the filesystem.
    Statfs {
        /// The node it was asked on.
        node: NodeId,
    }

    /// `FUSE_RELEASE` and `FUSE_RELEASEDIR`: the last descriptor of an open file or directory is closed.
    Release {
        /// The node.
        node: NodeId,
        /// The handle, which no request names after this one.
        fh: Fh,
        /// The flags it had.
        flags: OpenFlags,
        /// Whose `flock` locks go with it, if [`Release::flock_unlock`] is set.
        lock_owner: LockOwner,
        /// A `flush` is to be done too.
        flush: bool,
        /// A `flock` lock of the owner is to be given up.
        flock_unlock: bool,
    }

    /// `FUSE_FLUSH`: one descriptor of an open file is closed; an error reaches that `close(2)`.
    Flush {
        /// The file.
        node: NodeId,
        /// The open file.
        fh: Fh,
        /// Whose POSIX locks on the file are to be given up.
        lock_owner: LockOwner,
    }

    /// `FUSE_FSYNC` and `FUSE_FSYNCDIR`: what was written is to reach stable storage.
    Fsync {
        /// The node.
        node: NodeId,
        /// The open file or directory.
        fh: Fh,
        /// Only the data, and such metadata as is needed to find it again (`fdatasync(2)`).
        datasync: bool,
    }

    /// `FUSE_SYNCFS`: all of the filesystem is to reach stable storage. The kernel sends it on `fuseblk` alone.
    Syncfs {
        /// The node it was asked on.
        node: NodeId,
    }

    /// `FUSE_SETXATTR`: sets an extended attribute.
    Setxattr<'a> {
        /// The node.
        node: NodeId,
        /// The attribute, namespace included: `user.…`.
        name: &'a CStr,
        /// Its value.
        value: &'a [u8],
        /// `XATTR_CREATE`, `XATTR_REPLACE` of `setxattr(2)`.
        flags: u32,
        /// The attribute is a POSIX ACL, and setgid is to be cleared.
        acl_kill_sgid: bool,
    }

    /// `FUSE_GETXATTR`: the value of an extended attribute.
    Getxattr<'a> {
        /// The node.
        node: NodeId,
        /// The attribute, namespace included.
        name: &'a CStr,
        /// Room for the value, in bytes; zero asks for its length alone.
        size: u32,
    }

    /// `FUSE_LISTXATTR`: the names of all extended attributes.
    Listxattr {
        /// The node.
        node: NodeId,
        /// Room for them, in bytes, each with its NUL; zero asks for the length alone.
        size: u32,
    }

    /// `FUSE_REMOVEXATTR`: removes an extended attribute.
    Removexattr<'a> {
        /// The node.
        node: NodeId,
        /// The attribute, namespace included.
        name: &'a CStr,
    }

    /// `FUSE_READDIR` and `FUSE_READDIRPLUS`: entries of a directory. The filler for them comes beside it.
    Readdir {
        /// The directory.
        node: NodeId,
        /// The open directory.
        fh: Fh,
        /// After which entry to go on.
        pos: DirPos,
        /// Room in bytes; the filler keeps to it.
        size: u32,
        /// The flags the directory has now.
        flags: OpenFlags,
    }

    /// `FUSE_GETLK`: which lock stands in the way of this one? (`F_GETLK` of `fcntl(2)`)
    Getlk {
        /// The file.
        node: NodeId,
        /// The open file.
        fh: Fh,
        /// Who would lock.
        owner: LockOwner,
        /// The lock wanted.
        lock: Lock,
    }

    /// `FUSE_SETLK` and `FUSE_SETLKW`: takes or gives up a lock.
    Setlk {
        /// The file.
        node: NodeId,
        /// The open file.
        fh: Fh,
        /// Who locks.
        owner: LockOwner,
        /// The lock.
        lock: Lock,
        /// It is a lock of `flock(2)`, on the whole file, held by the open file; else one of `fcntl(2)`.
        flock: bool,
        /// Wait for it (`FUSE_SETLKW`); else answer `EAGAIN` where another lock stands in the way.
        wait: bool,
    }

    /// `FUSE_ACCESS`: may the caller do this? (`access(2)`, and `chdir(2)`; not with `default_permissions`)
    Access {
        /// The node.
        node: NodeId,
        /// `R_OK`, `W_OK`, `X_OK`.
        mask: u32,
    }

    /// `FUSE_BMAP`: which block of the device is this block of the file? (`fuseblk` alone)
    Bmap {
        /// The file.
        node: NodeId,
        /// Block within the file.
        block: u64,
        /// Size of a block in bytes.
        blocksize: u32,
    }

    /// `FUSE_IOCTL`: `ioctl(2)`. On an ordinary mount its arguments are of the size that the command's number
    /// says, at most 16 KiB.
    Ioctl<'a> {
        /// The node.
        node: NodeId,
        /// The open file or directory.
        fh: Fh,
        /// `FUSE_IOCTL_*`: a 32-bit program, a directory.
        flags: u32,
        /// The command.
        cmd: u32,
        /// The argument, a number or an address in the program.
        arg: u64,
        /// What the program passes in.
        input: &'a [u8],
        /// Room for what goes back, in bytes.
        out_size: u32,
    }

    /// `FUSE_POLL`: which events are there? (`poll(2)`)
    Poll {
        /// The file.
        node: NodeId,
        /// The open file.
        fh: Fh,
        /// What a wake-up is addressed to.
        kh: PollHandle,
        /// The program waits: wake it by [`Notifier::poll`](crate::Notifier::poll) once events come.
        schedule_notify: bool,
        /// Which events are wanted, `POLL*`.
        events: u32,
    }

    /// `FUSE_FALLOCATE`: reserves or frees space, `fallocate(2)`.
    Fallocate {
        /// The file.
        node: NodeId,
        /// The open file.
        fh: Fh,
        /// First byte.
        offset: u64,
        /// Number of bytes.
        length: u64,
        /// `FALLOC_FL_*`.
        mode: u32,
    }

    /// `FUSE_LSEEK`: where does the next data or hole start? (`SEEK_DATA`, `SEEK_HOLE`)
    Lseek {
        /// The file.
        node: NodeId,
        /// The open file.
        fh: Fh,
        /// From where.
        offset: u64,
        /// `SEEK_DATA` or `SEEK_HOLE`.
        whence: u32,
    }

    /// `FUSE_COPY_FILE_RANGE` and `FUSE_COPY_FILE_RANGE_64`: copies bytes within the filesystem.
    CopyFileRange {
        /// The file copied from.
        node: NodeId,
        /// The open file copied from.
        fh: Fh,
        /// Where to start in it.
        offset: u64,
        /// The file copied to.
        out_node: NodeId,
        /// The open file copied to.
        out_fh: Fh,
        /// Where to start in that.
        out_offset: u64,
        /// How many bytes; fewer may be copied.
        len: u64,
        /// `copy_file_range(2)` flags; zero today.
        flags: u64,
    }
}

impl Release {
    /// Whether the handle was that of a file opened for writing.
    pub const fn was_writable(&self) -> bool {
        self.flags.writes()
    }
}

/// One lookup-count message: how many of the entries that the kernel was given for a node it has dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Forget {
    /// The node.
    pub node: NodeId,
    /// How many lookups are given back.
    pub nlookup: u64,
}

/// A request, decoded: what `proto::decode` makes of the bytes and dispatch hands to the filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation<'a> {
    Lookup(Lookup<'a>),
    Forget(Forget),
    BatchForget(super::decode::ForgetBatch<'a>),
    Getattr(Getattr),
    Statx(Statx),
    Setattr(Setattr),
    Readlink(Readlink),
    Symlink(Symlink<'a>),
    Mknod(Mknod<'a>),
    Mkdir(Mkdir<'a>),
    Unlink(Unlink<'a>),
    Rmdir(Rmdir<'a>),
    Rename(Rename<'a>),
    Link(Link<'a>),
    Open(Open),
    Opendir(Open),
    Create(Create<'a>),
    Tmpfile(Tmpfile<'a>),
    Read(Read),
    Write(Write),
    Statfs(Statfs),
    Release(Release),
    Releasedir(Release),
    Flush(Flush),
    Fsync(Fsync),
    Fsyncdir(Fsync),
    Syncfs(Syncfs),
    Setxattr(Setxattr<'a>),
    Getxattr(Getxattr<'a>),
    Listxattr(Listxattr),
    Removexattr(Removexattr<'a>),
    Readdir(Readdir),
    Readdirplus(Readdir),
    Getlk(Getlk),
    Setlk(Setlk),
    Access(Access),
    Bmap(Bmap),
    Ioctl(Ioctl<'a>),
    Poll(Poll),
    Fallocate(Fallocate),
    Lseek(Lseek),
    CopyFileRange(CopyFileRange),
    CopyFileRange64(CopyFileRange),
    NotifyReply(NotifyReply<'a>),
    Interrupt(Interrupt),
    Destroy,
}

/// `FUSE_INTERRUPT`: a signal came for the program that waits for this request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interrupt {
    pub(crate) unique: crate::types::Unique,
}

/// `FUSE_NOTIFY_REPLY`: the page-cache data that a retrieve notification asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotifyReply<'a> {
    /// The number of the notification, `fuse_in_header.unique` of this request.
    pub(crate) notify_unique: u64,
    pub(crate) offset: u64,
    pub(crate) data: &'a [u8],
}

/// What [`Create`] and [`Mknod`] make by default: used where a filesystem serves one by the other.
impl<'a> Mknod<'a> {
    /// The type to be created, or `None` where the mode names none.
    pub const fn file_type(&self) -> Option<FileType> {
        FileType::from_mode(self.mode)
    }
}
