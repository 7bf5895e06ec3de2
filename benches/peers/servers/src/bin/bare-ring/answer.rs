//! What a request is answered with.

use ringfuse_abi as abi;
use ringfuse_peers::{Attr, Listed, Result, Tree};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A request, whose payload is where the answer is to be.
pub(crate) struct Asked<'a> {
    pub(crate) opcode: u32,
    pub(crate) node: u64,
    /// The first argument, and stale bytes behind it.
    pub(crate) args: &'a [u8],
    /// Bytes of the payload.
    pub(crate) len: usize,
}

/// Answers a request; the answer's length, or an `errno`.
pub(crate) fn answer(tree: &Tree, asked: Asked<'_>, payload: &mut [u8]) -> Result<usize> {
    let Asked { node, args, len, .. } = asked;
    let names = &payload[..len.min(1024)];
    let name = || names.split(|byte| *byte == 0).next().unwrap_or_default();
    match asked.opcode {
        abi::FUSE_GETATTR => put(payload, &attr_out(tree, &tree.attr(node)?)),
        abi::FUSE_LOOKUP => {
            let found = tree.find(node, name())?;
            put(payload, &entry(tree, &found))
        }
        abi::FUSE_SETATTR => {
            let set: abi::fuse_setattr_in = get(args)?;
            let mode = (set.valid & abi::FATTR_MODE != 0).then_some(set.mode);
            let size = (set.valid & abi::FATTR_SIZE != 0).then_some(set.size);
            let attr = tree.set(node, mode, size)?;
            put(payload, &attr_out(tree, &attr))
        }
        abi::FUSE_OPEN => {
            let open_flags = tree.open(node)?;
            put(payload, &abi::fuse_open_out { open_flags, ..Default::default() })
        }
        abi::FUSE_OPENDIR => put(payload, &abi::fuse_open_out::default()),
        abi::FUSE_READ => {
            let read: abi::fuse_read_in = get(args)?;
            let data = tree.read(node, read.offset, read.size as usize)?;
            let data = data.bytes();
            payload[..data.len()].copy_from_slice(data);
            Ok(data.len())
        }
        abi::FUSE_WRITE => {
            let write: abi::fuse_write_in = get(args)?;
            let size = tree.write(node, write.offset, &payload[..len])?;
            put(payload, &abi::fuse_write_out { size, ..Default::default() })
        }
        abi::FUSE_CREATE => {
            let create: abi::fuse_create_in = get(args)?;
            let made = tree.make(node, name(), create.mode, 1)?;
            let open = abi::fuse_open_out { open_flags: tree.open_flags(), ..Default::default() };
            let at = put(payload, &entry(tree, &made))?;
            Ok(at + put(&mut payload[at..], &open)?)
        }
        abi::FUSE_MKDIR => {
            let mkdir: abi::fuse_mkdir_in = get(args)?;
            let made = tree.make(node, name(), mkdir.mode | libc::S_IFDIR, 0)?;
            put(payload, &entry(tree, &made))
        }
        abi::FUSE_UNLINK => tree.unlink(node, name()).map(|()| 0),
        abi::FUSE_RMDIR => tree.rmdir(node, name()).map(|()| 0),
        abi::FUSE_RENAME | abi::FUSE_RENAME2 => {
            let mut rename: abi::fuse_rename2_in = get(args)?;
            if asked.opcode == abi::FUSE_RENAME {
                rename.flags = 0;
            }
            let to = names.split(|byte| *byte == 0).nth(1).unwrap_or_default();
            tree.rename((node, name()), (rename.newdir, to), rename.flags).map(|()| 0)
        }
        abi::FUSE_RELEASE => {
            tree.release(node);
            Ok(0)
        }
        abi::FUSE_RELEASEDIR | abi::FUSE_FLUSH | abi::FUSE_ACCESS | abi::FUSE_FSYNC | abi::FUSE_DESTROY => {
            Ok(0)
        }
        abi::FUSE_READDIR => list(tree, node, get(args)?, payload, false),
        abi::FUSE_READDIRPLUS => list(tree, node, get(args)?, payload, true),
        abi::FUSE_STATFS => {
            let st = abi::fuse_kstatfs { bsize: 4096, frsize: 4096, namelen: 255, ..Default::default() };
            put(payload, &abi::fuse_statfs_out { st })
        }
        _ => Err(libc::ENOSYS),
    }
}

fn get<T: FromBytes>(args: &[u8]) -> Result<T> {
    T::read_from_prefix(args).map(|(args, _)| args).map_err(|_| libc::EIO)
}

fn put<T: IntoBytes + Immutable>(payload: &mut [u8], out: &T) -> Result<usize> {
    payload[..size_of::<T>()].copy_from_slice(out.as_bytes());
    Ok(size_of::<T>())
}

fn attr(tree: &Tree, attr: &Attr) -> abi::fuse_attr {
    let (time, nsec) = tree.time();
    abi::fuse_attr {
        ino: attr.node,
        size: attr.size,
        blocks: attr.size.div_ceil(512),
        atime: time,
        mtime: time,
        ctime: time,
        atimensec: nsec,
        mtimensec: nsec,
        ctimensec: nsec,
        mode: attr.mode,
        nlink: attr.nlink,
        uid: tree.owner.0,
        gid: tree.owner.1,
        blksize: 4096,
        ..Default::default()
    }
}

fn attr_out(tree: &Tree, of: &Attr) -> abi::fuse_attr_out {
    abi::fuse_attr_out {
        attr_valid: tree.ttl.as_secs(),
        attr_valid_nsec: tree.ttl.subsec_nanos(),
        attr: attr(tree, of),
        ..Default::default()
    }
}

fn entry(tree: &Tree, of: &Attr) -> abi::fuse_entry_out {
    abi::fuse_entry_out {
        nodeid: of.node,
        entry_valid: tree.ttl.as_secs(),
        attr_valid: tree.ttl.as_secs(),
        entry_valid_nsec: tree.ttl.subsec_nanos(),
        attr_valid_nsec: tree.ttl.subsec_nanos(),
        attr: attr(tree, of),
        ..Default::default()
    }
}

/// Lists a directory from an offset on, as much as fits.
fn list(tree: &Tree, dir: u64, read: abi::fuse_read_in, payload: &mut [u8], plus: bool) -> Result<usize> {
    let room = (read.size as usize).min(payload.len());
    let mut at = 0;
    tree.list(dir, read.offset, |Listed { attr: of, next, name }| {
        let dirent = abi::fuse_dirent {
            ino: of.node,
            off: next,
            namelen: name.len() as u32,
            r#type: (of.mode & libc::S_IFMT) >> 12,
        };
        let fixed = if plus { abi::FUSE_NAME_OFFSET_DIRENTPLUS } else { abi::FUSE_NAME_OFFSET };
        let takes = abi::FUSE_REC_ALIGN(fixed + name.len());
        if at + takes > room {
            return false;
        }
        let record = &mut payload[at..at + takes];
        record.fill(0);
        if plus {
            // No lookup of the two that every directory has.
            let entry_out = if matches!(name, "." | "..") { Default::default() } else { entry(tree, &of) };
            record[..fixed].copy_from_slice(abi::fuse_direntplus { entry_out, dirent }.as_bytes());
        } else {
            record[..fixed].copy_from_slice(dirent.as_bytes());
        }
        record[fixed..fixed + name.len()].copy_from_slice(name.as_bytes());
        at += takes;
        true
    })?;
    Ok(at)
}
