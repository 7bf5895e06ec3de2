//! The list of everything that is compared.

use std::mem::offset_of;

use ringfuse_abi::*;

/// A struct as Rust lays it out.
pub(crate) struct Struct {
    pub(crate) name: &'static str,
    pub(crate) size: usize,
    pub(crate) align: usize,
    pub(crate) fields: Vec<Field>,
}

/// A field as Rust lays it out.
pub(crate) struct Field {
    pub(crate) name: &'static str,
    /// Its type in C; that of the elements for an array.
    pub(crate) c_type: &'static str,
    pub(crate) offset: usize,
    pub(crate) size: usize,
}

/// A constant and its bits.
pub(crate) struct Constant {
    pub(crate) name: &'static str,
    pub(crate) value: u64,
}

/// A macro that depends on a number `n`.
pub(crate) struct Call {
    pub(crate) name: &'static str,
    /// Its use in C; the page size is `n` there as well.
    pub(crate) expression: &'static str,
    /// The same in Rust.
    pub(crate) function: fn(usize) -> usize,
}

/// The C type of a field.
trait Member {
    const C_TYPE: &'static str;
}

macro_rules! members {
    ($($rust:ty = $c:literal,)*) => {
        $(impl Member for $rust { const C_TYPE: &'static str = $c; })*
    };
}

members! {
    u8 = "uint8_t",
    u16 = "uint16_t",
    u32 = "uint32_t",
    u64 = "uint64_t",
    i32 = "int32_t",
    i64 = "int64_t",
}

impl<T: Member, const N: usize> Member for [T; N] {
    const C_TYPE: &'static str = T::C_TYPE;
}

/// Describes a field given the way to it; the function is not called.
fn field<S, F: Member>(name: &'static str, offset: usize, _: fn(&S) -> &F) -> Field {
    // Raw identifiers are plain names in C.
    let name = name.strip_prefix("r#").unwrap_or(name);
    Field { name, c_type: F::C_TYPE, offset, size: size_of::<F>() }
}

macro_rules! structs {
    ($($name:ident { $($field:ident),* $(,)? })*) => {
        $(impl Member for $name { const C_TYPE: &'static str = concat!("struct ", stringify!($name)); })*

        pub(crate) fn structs() -> Vec<Struct> {
            vec![$(Struct {
                name: stringify!($name),
                size: size_of::<$name>(),
                align: align_of::<$name>(),
                fields: vec![$(
                    field(stringify!($field), offset_of!($name, $field), |s: &$name| &s.$field),
                )*],
            },)*]
        }
    };
}

macro_rules! constants {
    ($($name:ident,)*) => {
        pub(crate) fn constants() -> Vec<Constant> {
            vec![$(Constant { name: stringify!($name), value: $name as u64 },)*]
        }
    };
}

pub(crate) fn calls() -> Vec<Call> {
    let call = |name, expression, function| Call { name, expression, function };
    vec![
        call("FUSE_REC_ALIGN", "FUSE_REC_ALIGN(n)", FUSE_REC_ALIGN),
        call("FUSE_DIRENT_ALIGN", "FUSE_DIRENT_ALIGN(n)", FUSE_DIRENT_ALIGN),
        call("FUSE_DIRENT_SIZE", "FUSE_DIRENT_SIZE((&(struct fuse_dirent){ .namelen = n }))", |n| {
            FUSE_DIRENT_SIZE(&dirent(n))
        }),
        call(
            "FUSE_DIRENTPLUS_SIZE",
            "FUSE_DIRENTPLUS_SIZE((&(struct fuse_direntplus){ .dirent.namelen = n }))",
            |n| FUSE_DIRENTPLUS_SIZE(&fuse_direntplus { dirent: dirent(n), ..Default::default() }),
        ),
        call("FUSE_REMOVEMAPPING_MAX_ENTRY", "FUSE_REMOVEMAPPING_MAX_ENTRY", FUSE_REMOVEMAPPING_MAX_ENTRY),
    ]
}

fn dirent(namelen: usize) -> fuse_dirent {
    fuse_dirent { namelen: namelen.try_into().expect("a small sample"), ..Default::default() }
}

structs! {
    fuse_attr {
        ino, size, blocks, atime, mtime, ctime, atimensec, mtimensec, ctimensec, mode, nlink, uid, gid, rdev,
        blksize, flags,
    }
    fuse_sx_time { tv_sec, tv_nsec, __reserved }
    fuse_statx {
        mask, blksize, attributes, nlink, uid, gid, mode, __spare0, ino, size, blocks, attributes_mask, atime,
        btime, ctime, mtime, rdev_major, rdev_minor, dev_major, dev_minor, __spare2,
    }
    fuse_kstatfs { blocks, bfree, bavail, files, ffree, bsize, namelen, frsize, padding, spare }
    fuse_file_lock { start, end, r#type, pid }
    fuse_entry_out { nodeid, generation, entry_valid, attr_valid, entry_valid_nsec, attr_valid_nsec, attr }
    fuse_forget_in { nlookup }
    fuse_forget_one { nodeid, nlookup }
    fuse_batch_forget_in { count, dummy }
    fuse_getattr_in { getattr_flags, dummy, fh }
    fuse_attr_out { attr_valid, attr_valid_nsec, dummy, attr }
    fuse_statx_in { getattr_flags, reserved, fh, sx_flags, sx_mask }
    fuse_statx_out { attr_valid, attr_valid_nsec, flags, spare, stat }
    fuse_mknod_in { mode, rdev, umask, padding }
    fuse_mkdir_in { mode, umask }
    fuse_rename_in { newdir }
    fuse_rename2_in { newdir, flags, padding }
    fuse_link_in { oldnodeid }
    fuse_setattr_in {
        valid, padding, fh, size, lock_owner, atime, mtime, ctime, atimensec, mtimensec, ctimensec, mode,
        unused4, uid, gid, unused5,
    }
    fuse_open_in { flags, open_flags }
    fuse_create_in { flags, mode, umask, open_flags }
    fuse_open_out { fh, open_flags, backing_id }
    fuse_release_in { fh, flags, release_flags, lock_owner }
    fuse_flush_in { fh, unused, padding, lock_owner }
    fuse_read_in { fh, offset, size, read_flags, lock_owner, flags, padding }
    fuse_write_in { fh, offset, size, write_flags, lock_owner, flags, padding }
    fuse_write_out { size, padding }
    fuse_statfs_out { st }
    fuse_fsync_in { fh, fsync_flags, padding }
    fuse_setxattr_in { size, flags, setxattr_flags, padding }
    fuse_getxattr_in { size, padding }
    fuse_getxattr_out { size, padding }
    fuse_lk_in { fh, owner, lk, lk_flags, padding }
    fuse_lk_out { lk }
    fuse_access_in { mask, padding }
    fuse_init_in { major, minor, max_readahead, flags, flags2, unused }
    fuse_init_out {
        major, minor, max_readahead, flags, max_background, congestion_threshold, max_write, time_gran,
        max_pages, map_alignment, flags2, max_stack_depth, request_timeout, unused,
    }
    cuse_init_in { major, minor, unused, flags }
    cuse_init_out { major, minor, unused, flags, max_read, max_write, dev_major, dev_minor, spare }
    fuse_interrupt_in { unique }
    fuse_bmap_in { block, blocksize, padding }
    fuse_bmap_out { block }
    fuse_ioctl_in { fh, flags, cmd, arg, in_size, out_size }
    fuse_ioctl_iovec { base, len }
    fuse_ioctl_out { result, flags, in_iovs, out_iovs }
    fuse_poll_in { fh, kh, flags, events }
    fuse_poll_out { revents, padding }
    fuse_notify_poll_wakeup_out { kh }
    fuse_fallocate_in { fh, offset, length, mode, padding }
    fuse_in_header { len, opcode, unique, nodeid, uid, gid, pid, total_extlen, padding }
    fuse_out_header { len, error, unique }
    fuse_dirent { ino, off, namelen, r#type }
    fuse_direntplus { entry_out, dirent }
    fuse_notify_inval_inode_out { ino, off, len }
    fuse_notify_inval_entry_out { parent, namelen, flags }
    fuse_notify_delete_out { parent, child, namelen, padding }
    fuse_notify_store_out { nodeid, offset, size, padding }
    fuse_notify_retrieve_out { notify_unique, nodeid, offset, size, padding }
    fuse_notify_retrieve_in { dummy1, offset, size, dummy2, dummy3, dummy4 }
    fuse_notify_prune_out { count, padding, spare }
    fuse_backing_map { fd, flags, padding }
    fuse_lseek_in { fh, offset, whence, padding }
    fuse_lseek_out { offset }
    fuse_copy_file_range_in { fh_in, off_in, nodeid_out, fh_out, off_out, len, flags }
    fuse_copy_file_range_out { bytes_copied }
    fuse_setupmapping_in { fh, foffset, len, flags, moffset }
    fuse_removemapping_in { count }
    fuse_removemapping_one { moffset, len }
    fuse_syncfs_in { padding }
    fuse_secctx { size, padding }
    fuse_secctx_header { size, nr_secctx }
    fuse_ext_header { size, r#type }
    fuse_supp_groups { nr_groups }
    fuse_uring_ent_in_out { flags, commit_id, payload_sz, padding, reserved }
    fuse_uring_req_header { in_out, op_in, ring_ent_in_out }
    fuse_uring_cmd_req { flags, commit_id, qid, padding }
}

constants! {
    FUSE_KERNEL_VERSION, FUSE_KERNEL_MINOR_VERSION, FUSE_ROOT_ID,
    FATTR_MODE, FATTR_UID, FATTR_GID, FATTR_SIZE, FATTR_ATIME, FATTR_MTIME, FATTR_FH, FATTR_ATIME_NOW,
    FATTR_MTIME_NOW, FATTR_LOCKOWNER, FATTR_CTIME, FATTR_KILL_SUIDGID,
    FOPEN_DIRECT_IO, FOPEN_KEEP_CACHE, FOPEN_NONSEEKABLE, FOPEN_CACHE_DIR, FOPEN_STREAM, FOPEN_NOFLUSH,
    FOPEN_PARALLEL_DIRECT_WRITES, FOPEN_PASSTHROUGH,
    FUSE_ASYNC_READ, FUSE_POSIX_LOCKS, FUSE_FILE_OPS, FUSE_ATOMIC_O_TRUNC, FUSE_EXPORT_SUPPORT,
    FUSE_BIG_WRITES, FUSE_DONT_MASK, FUSE_SPLICE_WRITE, FUSE_SPLICE_MOVE, FUSE_SPLICE_READ, FUSE_FLOCK_LOCKS,
    FUSE_HAS_IOCTL_DIR, FUSE_AUTO_INVAL_DATA, FUSE_DO_READDIRPLUS, FUSE_READDIRPLUS_AUTO, FUSE_ASYNC_DIO,
    FUSE_WRITEBACK_CACHE, FUSE_NO_OPEN_SUPPORT, FUSE_PARALLEL_DIROPS, FUSE_HANDLE_KILLPRIV, FUSE_POSIX_ACL,
    FUSE_ABORT_ERROR, FUSE_MAX_PAGES, FUSE_CACHE_SYMLINKS, FUSE_NO_OPENDIR_SUPPORT, FUSE_EXPLICIT_INVAL_DATA,
    FUSE_MAP_ALIGNMENT, FUSE_SUBMOUNTS, FUSE_HANDLE_KILLPRIV_V2, FUSE_SETXATTR_EXT, FUSE_INIT_EXT,
    FUSE_INIT_RESERVED, FUSE_SECURITY_CTX, FUSE_HAS_INODE_DAX, FUSE_CREATE_SUPP_GROUP, FUSE_HAS_EXPIRE_ONLY,
    FUSE_DIRECT_IO_ALLOW_MMAP, FUSE_PASSTHROUGH, FUSE_NO_EXPORT_SUPPORT, FUSE_HAS_RESEND,
    FUSE_DIRECT_IO_RELAX, FUSE_ALLOW_IDMAP, FUSE_OVER_IO_URING, FUSE_REQUEST_TIMEOUT,
    CUSE_UNRESTRICTED_IOCTL,
    FUSE_RELEASE_FLUSH, FUSE_RELEASE_FLOCK_UNLOCK, FUSE_GETATTR_FH, FUSE_LK_FLOCK,
    FUSE_WRITE_CACHE, FUSE_WRITE_LOCKOWNER, FUSE_WRITE_KILL_SUIDGID, FUSE_WRITE_KILL_PRIV,
    FUSE_READ_LOCKOWNER,
    FUSE_IOCTL_COMPAT, FUSE_IOCTL_UNRESTRICTED, FUSE_IOCTL_RETRY, FUSE_IOCTL_32BIT, FUSE_IOCTL_DIR,
    FUSE_IOCTL_COMPAT_X32, FUSE_IOCTL_MAX_IOV,
    FUSE_POLL_SCHEDULE_NOTIFY, FUSE_FSYNC_FDATASYNC, FUSE_ATTR_SUBMOUNT, FUSE_ATTR_DAX,
    FUSE_OPEN_KILL_SUIDGID, FUSE_SETXATTR_ACL_KILL_SGID, FUSE_EXPIRE_ONLY,
    FUSE_MAX_NR_SECCTX, FUSE_EXT_GROUPS,
    FUSE_LOOKUP, FUSE_FORGET, FUSE_GETATTR, FUSE_SETATTR, FUSE_READLINK, FUSE_SYMLINK, FUSE_MKNOD, FUSE_MKDIR,
    FUSE_UNLINK, FUSE_RMDIR, FUSE_RENAME, FUSE_LINK, FUSE_OPEN, FUSE_READ, FUSE_WRITE, FUSE_STATFS,
    FUSE_RELEASE, FUSE_FSYNC, FUSE_SETXATTR, FUSE_GETXATTR, FUSE_LISTXATTR, FUSE_REMOVEXATTR, FUSE_FLUSH,
    FUSE_INIT, FUSE_OPENDIR, FUSE_READDIR, FUSE_RELEASEDIR, FUSE_FSYNCDIR, FUSE_GETLK, FUSE_SETLK,
    FUSE_SETLKW, FUSE_ACCESS, FUSE_CREATE, FUSE_INTERRUPT, FUSE_BMAP, FUSE_DESTROY, FUSE_IOCTL, FUSE_POLL,
    FUSE_NOTIFY_REPLY, FUSE_BATCH_FORGET, FUSE_FALLOCATE, FUSE_READDIRPLUS, FUSE_RENAME2, FUSE_LSEEK,
    FUSE_COPY_FILE_RANGE, FUSE_SETUPMAPPING, FUSE_REMOVEMAPPING, FUSE_SYNCFS, FUSE_TMPFILE, FUSE_STATX,
    FUSE_COPY_FILE_RANGE_64, CUSE_INIT, CUSE_INIT_BSWAP_RESERVED, FUSE_INIT_BSWAP_RESERVED,
    FUSE_NOTIFY_POLL, FUSE_NOTIFY_INVAL_INODE, FUSE_NOTIFY_INVAL_ENTRY, FUSE_NOTIFY_STORE,
    FUSE_NOTIFY_RETRIEVE, FUSE_NOTIFY_DELETE, FUSE_NOTIFY_RESEND, FUSE_NOTIFY_INC_EPOCH, FUSE_NOTIFY_PRUNE,
    FUSE_MIN_READ_BUFFER,
    FUSE_COMPAT_ENTRY_OUT_SIZE, FUSE_COMPAT_ATTR_OUT_SIZE, FUSE_COMPAT_MKNOD_IN_SIZE,
    FUSE_COMPAT_WRITE_IN_SIZE, FUSE_COMPAT_STATFS_SIZE, FUSE_COMPAT_SETXATTR_IN_SIZE,
    FUSE_COMPAT_INIT_OUT_SIZE, FUSE_COMPAT_22_INIT_OUT_SIZE,
    CUSE_INIT_INFO_MAX,
    FUSE_UNIQUE_RESEND, FUSE_INVALID_UIDGID, FUSE_NAME_OFFSET, FUSE_NAME_OFFSET_DIRENTPLUS,
    FUSE_DEV_IOC_MAGIC, FUSE_DEV_IOC_CLONE, FUSE_DEV_IOC_BACKING_OPEN, FUSE_DEV_IOC_BACKING_CLOSE,
    FUSE_DEV_IOC_SYNC_INIT,
    FUSE_SETUPMAPPING_FLAG_WRITE, FUSE_SETUPMAPPING_FLAG_READ,
    FUSE_URING_IN_OUT_HEADER_SZ, FUSE_URING_OP_IN_OUT_SZ,
    FUSE_IO_URING_CMD_INVALID, FUSE_IO_URING_CMD_REGISTER, FUSE_IO_URING_CMD_COMMIT_AND_FETCH,
}
