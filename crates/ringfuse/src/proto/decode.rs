//! From bytes to operations.

use ringfuse_abi as abi;
use zerocopy::FromBytes;

use super::args::Args;
use super::ext;
use super::op::{self, Operation};
use super::{Format, Malformed, Message};
use crate::types::{
    DirPos, Fh, Lock, LockKind, LockOwner, NodeId, OpenFlags, PollHandle, SetTime, Timestamp, Unique,
};

/// Size in bytes of the struct that an opcode's arguments begin with; `None` for an opcode that is not served.
pub(crate) fn op_size(opcode: u32, format: Format) -> Option<usize> {
    Some(match opcode {
        abi::FUSE_LOOKUP
        | abi::FUSE_READLINK
        | abi::FUSE_SYMLINK
        | abi::FUSE_UNLINK
        | abi::FUSE_RMDIR
        | abi::FUSE_STATFS
        | abi::FUSE_REMOVEXATTR
        | abi::FUSE_NOTIFY_REPLY
        | abi::FUSE_DESTROY => 0,
        abi::FUSE_FORGET => size_of::<abi::fuse_forget_in>(),
        abi::FUSE_BATCH_FORGET => size_of::<abi::fuse_batch_forget_in>(),
        abi::FUSE_INTERRUPT => size_of::<abi::fuse_interrupt_in>(),
        abi::FUSE_GETATTR => size_of::<abi::fuse_getattr_in>(),
        abi::FUSE_SETATTR => size_of::<abi::fuse_setattr_in>(),
        abi::FUSE_STATX => size_of::<abi::fuse_statx_in>(),
        abi::FUSE_MKNOD => size_of::<abi::fuse_mknod_in>(),
        abi::FUSE_MKDIR => size_of::<abi::fuse_mkdir_in>(),
        abi::FUSE_CREATE | abi::FUSE_TMPFILE => size_of::<abi::fuse_create_in>(),
        abi::FUSE_RENAME => size_of::<abi::fuse_rename_in>(),
        abi::FUSE_RENAME2 => size_of::<abi::fuse_rename2_in>(),
        abi::FUSE_LINK => size_of::<abi::fuse_link_in>(),
        abi::FUSE_OPEN | abi::FUSE_OPENDIR => size_of::<abi::fuse_open_in>(),
        abi::FUSE_READ | abi::FUSE_READDIR | abi::FUSE_READDIRPLUS => size_of::<abi::fuse_read_in>(),
        abi::FUSE_WRITE => size_of::<abi::fuse_write_in>(),
        abi::FUSE_RELEASE | abi::FUSE_RELEASEDIR => size_of::<abi::fuse_release_in>(),
        abi::FUSE_FLUSH => size_of::<abi::fuse_flush_in>(),
        abi::FUSE_FSYNC | abi::FUSE_FSYNCDIR => size_of::<abi::fuse_fsync_in>(),
        abi::FUSE_SYNCFS => size_of::<abi::fuse_syncfs_in>(),
        abi::FUSE_SETXATTR if format.setxattr_ext => size_of::<abi::fuse_setxattr_in>(),
        abi::FUSE_SETXATTR => abi::FUSE_COMPAT_SETXATTR_IN_SIZE,
        abi::FUSE_GETXATTR | abi::FUSE_LISTXATTR => size_of::<abi::fuse_getxattr_in>(),
        abi::FUSE_GETLK | abi::FUSE_SETLK | abi::FUSE_SETLKW => size_of::<abi::fuse_lk_in>(),
        abi::FUSE_ACCESS => size_of::<abi::fuse_access_in>(),
        abi::FUSE_BMAP => size_of::<abi::fuse_bmap_in>(),
        abi::FUSE_IOCTL => size_of::<abi::fuse_ioctl_in>(),
        abi::FUSE_POLL => size_of::<abi::fuse_poll_in>(),
        abi::FUSE_FALLOCATE => size_of::<abi::fuse_fallocate_in>(),
        abi::FUSE_LSEEK => size_of::<abi::fuse_lseek_in>(),
        abi::FUSE_COPY_FILE_RANGE | abi::FUSE_COPY_FILE_RANGE_64 => size_of::<abi::fuse_copy_file_range_in>(),
        _ => return None,
    })
}

/// Whether the kernel waits for no answer to this opcode. On the ring the entry is committed all the same.
pub(crate) fn wants_no_reply(opcode: u32) -> bool {
    matches!(opcode, abi::FUSE_FORGET | abi::FUSE_BATCH_FORGET | abi::FUSE_INTERRUPT | abi::FUSE_NOTIFY_REPLY)
}

/// The forgets of one `FUSE_BATCH_FORGET`, an iterator. Those of node zero, which the kernel does not send, are
/// passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ForgetBatch<'a>(&'a [u8]);

impl Iterator for ForgetBatch<'_> {
    type Item = op::Forget;

    fn next(&mut self) -> Option<op::Forget> {
        loop {
            let (one, rest) = abi::fuse_forget_one::read_from_prefix(self.0).ok()?;
            self.0 = rest;
            if let Some(node) = NodeId::new(one.nodeid) {
                return Some(op::Forget { node, nlookup: one.nlookup });
            }
        }
    }
}

fn node(number: u64) -> Result<NodeId, Malformed> {
    NodeId::new(number).ok_or(Malformed::Node)
}

fn some<T>(condition: bool, value: T) -> Option<T> {
    condition.then_some(value)
}

fn lock(raw: abi::fuse_file_lock) -> Result<Lock, Malformed> {
    let kind = match raw.r#type as i32 {
        libc::F_RDLCK => LockKind::Read,
        libc::F_WRLCK => LockKind::Write,
        libc::F_UNLCK => LockKind::Unlock,
        _ => return Err(Malformed::Value),
    };
    Ok(Lock::new(kind, raw.start, raw.end, raw.pid))
}

/// Decodes a message. `FUSE_INIT` is not among the operations: it is answered once, by the handshake.
pub(crate) fn decode<'a>(message: &Message<'a>) -> Result<Operation<'a>, Malformed> {
    let header = &message.header;
    let mut head = Args::new(message.op);
    let extension = header.total_extlen as usize * 8;
    let plain = message.payload.len().checked_sub(extension).ok_or(Malformed::Extension)?;
    let (payload, extension) = message.payload.split_at(plain);
    let mut args = Args::new(payload);
    let this = || node(header.nodeid);
    // Kernels before 6.3 send security contexts too, but do not tell of them in the header.
    let creation = |args: &mut Args<'a>, umask| {
        ext::creation(if extension.is_empty() { args.take_rest() } else { extension }, umask)
    };

    let operation = match header.opcode {
        abi::FUSE_LOOKUP => Operation::Lookup(op::Lookup { parent: this()?, name: args.name()? }),
        abi::FUSE_FORGET => {
            let raw: abi::fuse_forget_in = head.take()?;
            Operation::Forget(op::Forget { node: this()?, nlookup: raw.nlookup })
        }
        abi::FUSE_BATCH_FORGET => {
            let raw: abi::fuse_batch_forget_in = head.take()?;
            let len = (raw.count as usize)
                .checked_mul(size_of::<abi::fuse_forget_one>())
                .ok_or(Malformed::Truncated)?;
            Operation::BatchForget(ForgetBatch(args.bytes(len)?))
        }
        abi::FUSE_INTERRUPT => {
            let raw: abi::fuse_interrupt_in = head.take()?;
            Operation::Interrupt(op::Interrupt { unique: Unique(raw.unique) })
        }
        abi::FUSE_GETATTR => {
            let raw: abi::fuse_getattr_in = head.take()?;
            let fh = some(raw.getattr_flags & abi::FUSE_GETATTR_FH != 0, Fh(raw.fh));
            Operation::Getattr(op::Getattr { node: this()?, fh })
        }
        abi::FUSE_STATX => {
            let raw: abi::fuse_statx_in = head.take()?;
            Operation::Statx(op::Statx {
                node: this()?,
                fh: some(raw.getattr_flags & abi::FUSE_GETATTR_FH != 0, Fh(raw.fh)),
                flags: raw.sx_flags,
                mask: raw.sx_mask,
            })
        }
        abi::FUSE_SETATTR => Operation::Setattr(setattr(this()?, &head.take()?)),
        abi::FUSE_READLINK => Operation::Readlink(op::Readlink { node: this()? }),
        abi::FUSE_SYMLINK => Operation::Symlink(op::Symlink {
            parent: this()?,
            name: args.name()?,
            target: args.c_str()?,
            creation: creation(&mut args, 0)?,
        }),
        abi::FUSE_MKNOD => {
            let raw: abi::fuse_mknod_in = head.take()?;
            Operation::Mknod(op::Mknod {
                parent: this()?,
                name: args.name()?,
                mode: raw.mode,
                rdev: raw.rdev,
                creation: creation(&mut args, raw.umask)?,
            })
        }
        abi::FUSE_MKDIR => {
            let raw: abi::fuse_mkdir_in = head.take()?;
            Operation::Mkdir(op::Mkdir {
                parent: this()?,
                name: args.name()?,
                mode: raw.mode,
                creation: creation(&mut args, raw.umask)?,
            })
        }
        abi::FUSE_UNLINK => Operation::Unlink(op::Unlink { parent: this()?, name: args.name()? }),
        abi::FUSE_RMDIR => Operation::Rmdir(op::Rmdir { parent: this()?, name: args.name()? }),
        abi::FUSE_RENAME => {
            let raw: abi::fuse_rename_in = head.take()?;
            Operation::Rename(rename(this()?, raw.newdir, 0, &mut args)?)
        }
        abi::FUSE_RENAME2 => {
            let raw: abi::fuse_rename2_in = head.take()?;
            Operation::Rename(rename(this()?, raw.newdir, raw.flags, &mut args)?)
        }
        abi::FUSE_LINK => {
            let raw: abi::fuse_link_in = head.take()?;
            Operation::Link(op::Link {
                node: node(raw.oldnodeid)?,
                new_parent: this()?,
                new_name: args.name()?,
            })
        }
        abi::FUSE_OPEN => Operation::Open(open(this()?, &head.take()?)),
        abi::FUSE_OPENDIR => Operation::Opendir(open(this()?, &head.take()?)),
        abi::FUSE_CREATE => {
            let raw: abi::fuse_create_in = head.take()?;
            Operation::Create(op::Create {
                parent: this()?,
                name: args.name()?,
                mode: raw.mode,
                flags: OpenFlags(raw.flags),
                kill_suidgid: raw.open_flags & abi::FUSE_OPEN_KILL_SUIDGID != 0,
                creation: creation(&mut args, raw.umask)?,
            })
        }
        abi::FUSE_TMPFILE => {
            let raw: abi::fuse_create_in = head.take()?;
            // A slash, where other creations have a name.
            args.c_str()?;
            Operation::Tmpfile(op::Tmpfile {
                parent: this()?,
                mode: raw.mode,
                flags: OpenFlags(raw.flags),
                creation: creation(&mut args, raw.umask)?,
            })
        }
        abi::FUSE_READ => {
            let raw: abi::fuse_read_in = head.take()?;
            Operation::Read(op::Read {
                node: this()?,
                fh: Fh(raw.fh),
                offset: raw.offset,
                size: raw.size,
                lock_owner: some(raw.read_flags & abi::FUSE_READ_LOCKOWNER != 0, LockOwner(raw.lock_owner)),
                flags: OpenFlags(raw.flags),
            })
        }
        abi::FUSE_WRITE => {
            let raw: abi::fuse_write_in = head.take()?;
            args.bytes(raw.size as usize)?;
            Operation::Write(op::Write {
                node: this()?,
                fh: Fh(raw.fh),
                offset: raw.offset,
                size: raw.size,
                lock_owner: some(raw.write_flags & abi::FUSE_WRITE_LOCKOWNER != 0, LockOwner(raw.lock_owner)),
                flags: OpenFlags(raw.flags),
                cache: raw.write_flags & abi::FUSE_WRITE_CACHE != 0,
                kill_suidgid: raw.write_flags & abi::FUSE_WRITE_KILL_SUIDGID != 0,
            })
        }
        abi::FUSE_STATFS => Operation::Statfs(op::Statfs { node: this()? }),
        abi::FUSE_RELEASE => Operation::Release(release(this()?, &head.take()?)),
        abi::FUSE_RELEASEDIR => Operation::Releasedir(release(this()?, &head.take()?)),
        abi::FUSE_FLUSH => {
            let raw: abi::fuse_flush_in = head.take()?;
            Operation::Flush(op::Flush {
                node: this()?,
                fh: Fh(raw.fh),
                lock_owner: LockOwner(raw.lock_owner),
            })
        }
        abi::FUSE_FSYNC => Operation::Fsync(fsync(this()?, &head.take()?)),
        abi::FUSE_FSYNCDIR => Operation::Fsyncdir(fsync(this()?, &head.take()?)),
        abi::FUSE_SYNCFS => Operation::Syncfs(op::Syncfs { node: this()? }),
        abi::FUSE_SETXATTR => {
            let raw = setxattr_in(message.op)?;
            let name = args.c_str()?;
            Operation::Setxattr(op::Setxattr {
                node: this()?,
                name,
                value: args.bytes(raw.size as usize)?,
                flags: raw.flags,
                acl_kill_sgid: raw.setxattr_flags & abi::FUSE_SETXATTR_ACL_KILL_SGID != 0,
            })
        }
        abi::FUSE_GETXATTR => {
            let raw: abi::fuse_getxattr_in = head.take()?;
            Operation::Getxattr(op::Getxattr { node: this()?, name: args.c_str()?, size: raw.size })
        }
        abi::FUSE_LISTXATTR => {
            let raw: abi::fuse_getxattr_in = head.take()?;
            Operation::Listxattr(op::Listxattr { node: this()?, size: raw.size })
        }
        abi::FUSE_REMOVEXATTR => {
            Operation::Removexattr(op::Removexattr { node: this()?, name: args.c_str()? })
        }
        abi::FUSE_READDIR => Operation::Readdir(readdir(this()?, &head.take()?)),
        abi::FUSE_READDIRPLUS => Operation::Readdirplus(readdir(this()?, &head.take()?)),
        abi::FUSE_GETLK => {
            let raw: abi::fuse_lk_in = head.take()?;
            Operation::Getlk(op::Getlk {
                node: this()?,
                fh: Fh(raw.fh),
                owner: LockOwner(raw.owner),
                lock: lock(raw.lk)?,
            })
        }
        abi::FUSE_SETLK | abi::FUSE_SETLKW => {
            let raw: abi::fuse_lk_in = head.take()?;
            Operation::Setlk(op::Setlk {
                node: this()?,
                fh: Fh(raw.fh),
                owner: LockOwner(raw.owner),
                lock: lock(raw.lk)?,
                flock: raw.lk_flags & abi::FUSE_LK_FLOCK != 0,
                wait: header.opcode == abi::FUSE_SETLKW,
            })
        }
        abi::FUSE_ACCESS => {
            let raw: abi::fuse_access_in = head.take()?;
            Operation::Access(op::Access { node: this()?, mask: raw.mask })
        }
        abi::FUSE_BMAP => {
            let raw: abi::fuse_bmap_in = head.take()?;
            Operation::Bmap(op::Bmap { node: this()?, block: raw.block, blocksize: raw.blocksize })
        }
        abi::FUSE_IOCTL => {
            let raw: abi::fuse_ioctl_in = head.take()?;
            Operation::Ioctl(op::Ioctl {
                node: this()?,
                fh: Fh(raw.fh),
                flags: raw.flags,
                cmd: raw.cmd,
                arg: raw.arg,
                input: args.bytes(raw.in_size as usize)?,
                out_size: raw.out_size,
            })
        }
        abi::FUSE_POLL => {
            let raw: abi::fuse_poll_in = head.take()?;
            Operation::Poll(op::Poll {
                node: this()?,
                fh: Fh(raw.fh),
                kh: PollHandle(raw.kh),
                schedule_notify: raw.flags & abi::FUSE_POLL_SCHEDULE_NOTIFY != 0,
                events: raw.events,
            })
        }
        abi::FUSE_FALLOCATE => {
            let raw: abi::fuse_fallocate_in = head.take()?;
            Operation::Fallocate(op::Fallocate {
                node: this()?,
                fh: Fh(raw.fh),
                offset: raw.offset,
                length: raw.length,
                mode: raw.mode,
            })
        }
        abi::FUSE_LSEEK => {
            let raw: abi::fuse_lseek_in = head.take()?;
            Operation::Lseek(op::Lseek {
                node: this()?,
                fh: Fh(raw.fh),
                offset: raw.offset,
                whence: raw.whence,
            })
        }
        abi::FUSE_COPY_FILE_RANGE => Operation::CopyFileRange(copy(this()?, &head.take()?)?),
        abi::FUSE_COPY_FILE_RANGE_64 => Operation::CopyFileRange64(copy(this()?, &head.take()?)?),
        abi::FUSE_NOTIFY_REPLY => {
            let raw: abi::fuse_notify_retrieve_in = args.take()?;
            Operation::NotifyReply(op::NotifyReply {
                notify_unique: header.unique,
                offset: raw.offset,
                data: args.bytes(raw.size as usize)?,
            })
        }
        abi::FUSE_DESTROY => Operation::Destroy,
        _ => return Err(Malformed::Opcode),
    };
    // Bytes left over were meant as something: behind a NUL within a name, for one.
    if args.rest().is_empty() { Ok(operation) } else { Err(Malformed::Length) }
}

fn setattr(node: NodeId, raw: &abi::fuse_setattr_in) -> op::Setattr {
    let has = |bit: u32| raw.valid & bit != 0;
    // The kernel holds seconds in 64 bits without a sign and means them with one.
    let time = |secs: u64, nanos| Timestamp::new(secs as i64, nanos);
    let set_time = |bit, now, secs, nanos| {
        has(bit).then(|| if has(now) { SetTime::Now } else { SetTime::At(time(secs, nanos)) })
    };
    op::Setattr {
        node,
        fh: some(has(abi::FATTR_FH), Fh(raw.fh)),
        mode: some(has(abi::FATTR_MODE), raw.mode),
        uid: some(has(abi::FATTR_UID), raw.uid),
        gid: some(has(abi::FATTR_GID), raw.gid),
        size: some(has(abi::FATTR_SIZE), raw.size),
        atime: set_time(abi::FATTR_ATIME, abi::FATTR_ATIME_NOW, raw.atime, raw.atimensec),
        mtime: set_time(abi::FATTR_MTIME, abi::FATTR_MTIME_NOW, raw.mtime, raw.mtimensec),
        ctime: some(has(abi::FATTR_CTIME), time(raw.ctime, raw.ctimensec)),
        lock_owner: some(has(abi::FATTR_LOCKOWNER), LockOwner(raw.lock_owner)),
        kill_suidgid: has(abi::FATTR_KILL_SUIDGID),
    }
}

fn setxattr_in(op: &[u8]) -> Result<abi::fuse_setxattr_in, Malformed> {
    let mut head = Args::new(op);
    if op.len() >= size_of::<abi::fuse_setxattr_in>() {
        return head.take();
    }
    let [size, flags]: [u32; 2] = head.take()?;
    Ok(abi::fuse_setxattr_in { size, flags, ..Default::default() })
}

fn rename<'a>(
    parent: NodeId,
    new_parent: u64,
    flags: u32,
    args: &mut Args<'a>,
) -> Result<op::Rename<'a>, Malformed> {
    Ok(op::Rename {
        parent,
        name: args.name()?,
        new_parent: node(new_parent)?,
        new_name: args.name()?,
        flags,
    })
}

fn open(node: NodeId, raw: &abi::fuse_open_in) -> op::Open {
    op::Open {
        node,
        flags: OpenFlags(raw.flags),
        kill_suidgid: raw.open_flags & abi::FUSE_OPEN_KILL_SUIDGID != 0,
    }
}

fn release(node: NodeId, raw: &abi::fuse_release_in) -> op::Release {
    op::Release {
        node,
        fh: Fh(raw.fh),
        flags: OpenFlags(raw.flags),
        lock_owner: LockOwner(raw.lock_owner),
        flush: raw.release_flags & abi::FUSE_RELEASE_FLUSH != 0,
        flock_unlock: raw.release_flags & abi::FUSE_RELEASE_FLOCK_UNLOCK != 0,
    }
}

fn fsync(node: NodeId, raw: &abi::fuse_fsync_in) -> op::Fsync {
    let datasync = raw.fsync_flags & abi::FUSE_FSYNC_FDATASYNC != 0;
    op::Fsync { node, fh: Fh(raw.fh), datasync }
}

fn readdir(node: NodeId, raw: &abi::fuse_read_in) -> op::Readdir {
    op::Readdir { node, fh: Fh(raw.fh), pos: DirPos(raw.offset), size: raw.size, flags: OpenFlags(raw.flags) }
}

fn copy(this: NodeId, raw: &abi::fuse_copy_file_range_in) -> Result<op::CopyFileRange, Malformed> {
    Ok(op::CopyFileRange {
        node: this,
        fh: Fh(raw.fh_in),
        offset: raw.off_in,
        out_node: node(raw.nodeid_out)?,
        out_fh: Fh(raw.fh_out),
        out_offset: raw.off_out,
        len: raw.len,
        flags: raw.flags,
    })
}
