//! The smallest useful filesystem: one directory with one file in it.
//!
//! `hello MOUNTPOINT`, then `cat MOUNTPOINT/hello`; `umount MOUNTPOINT` or `fusermount3 -u MOUNTPOINT` ends it.

use ringfuse::{
    Attr, AttrReply, DirFiller, DirPos, Entry, Errno, FileType, Filesystem, Mount, NodeId, ReadBuf, Request,
    Result, op,
};

const TEXT: &[u8] = b"Hello, ring!\n";

struct Hello;

fn file() -> NodeId {
    NodeId::new(2).expect("two is not zero")
}

fn attr(node: NodeId) -> Result<Attr> {
    match node {
        NodeId::ROOT => Ok(Attr::dir(1)),
        node if node == file() => Ok(Attr::file(2, TEXT.len() as u64)),
        _ => Err(Errno::ENOENT),
    }
}

impl Filesystem for Hello {
    async fn lookup(&self, _: &Request<'_>, op: op::Lookup<'_>) -> Result<Entry> {
        if op.parent == NodeId::ROOT && op.name == "hello" {
            return Ok(Entry::new(file(), attr(file())?));
        }
        Err(Errno::ENOENT)
    }

    async fn getattr(&self, _: &Request<'_>, op: op::Getattr) -> Result<AttrReply> {
        Ok(attr(op.node)?.into())
    }

    async fn read(&self, _: &Request<'_>, op: op::Read, buf: ReadBuf) -> Result<ReadBuf> {
        Ok(buf.copy_from(TEXT.get(op.offset as usize..).unwrap_or_default()))
    }

    async fn readdir(&self, _: &Request<'_>, op: op::Readdir, out: &mut DirFiller<'_>) -> Result<()> {
        let entries =
            [(1, FileType::Directory, "."), (1, FileType::Directory, ".."), (2, FileType::Regular, "hello")];
        for (at, (ino, kind, name)) in entries.into_iter().enumerate().skip(op.pos.get() as usize) {
            if out.push(ino, DirPos(at as u64 + 1), Some(kind), name).is_err() {
                break;
            }
        }
        Ok(())
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mountpoint = std::env::args_os().nth(1).ok_or("usage: hello MOUNTPOINT")?;
    let session = Mount::new(mountpoint).fsname("hello").spawn(Hello)?;
    println!("{}", session.info());
    session.join()?;
    Ok(())
}
