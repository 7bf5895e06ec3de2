//! `ringfuse mirror` of a filesystem on which its caller has used up a quota. As root, on a machine with FUSE.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::Path;
use std::process::Command;

use ringfuse::{
    Attr, AttrReply, Entry, Errno, Fh, Filesystem, NodeId, Opened, ReadBuf, Request, Result, WriteBuf,
    Written, op,
};
use ringfuse_kit::harness::{Setup, mount};
use ringfuse_kit::program::Program;
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType as Kind, Mode, XattrFlags, fallocate, linkat, mknodat, setxattr,
};

/// A directory with one file, in which there is no room for anything more. A quota counts for who asks, and there is no
/// filesystem on a usual machine that has one; what it answers is all that the mirror sees of it.
struct Full;

const KEPT: &str = "kept";
const CONTENT: &[u8] = b"here before\n";

fn attr(node: NodeId) -> Attr {
    if node == NodeId::ROOT { Attr::dir(1) } else { Attr::file(2, CONTENT.len() as u64) }
}

impl Filesystem for Full {
    async fn lookup(&self, _: &Request<'_>, op: op::Lookup<'_>) -> Result<Entry> {
        if op.name != KEPT {
            return Err(Errno::ENOENT);
        }
        let node = NodeId::new(2).ok_or(Errno::EIO)?;
        Ok(Entry::new(node, attr(node)))
    }

    async fn getattr(&self, _: &Request<'_>, op: op::Getattr) -> Result<AttrReply> {
        Ok(attr(op.node).into())
    }

    async fn setattr(&self, _: &Request<'_>, op: op::Setattr) -> Result<AttrReply> {
        if op.size.is_some() { Err(Errno::EDQUOT) } else { Ok(attr(op.node).into()) }
    }

    async fn open(&self, _: &Request<'_>, _: op::Open) -> Result<Opened> {
        Ok(Opened::new(Fh(0)))
    }

    async fn read(&self, _: &Request<'_>, op: op::Read, buf: ReadBuf) -> Result<ReadBuf> {
        Ok(buf.copy_from(CONTENT.get(op.offset as usize..).unwrap_or_default()))
    }

    async fn write(&self, _: &Request<'_>, _: op::Write, _: WriteBuf) -> Result<Written> {
        Err(Errno::EDQUOT)
    }

    async fn fallocate(&self, _: &Request<'_>, _: op::Fallocate) -> Result<()> {
        Err(Errno::EDQUOT)
    }

    async fn setxattr(&self, _: &Request<'_>, _: op::Setxattr<'_>) -> Result<()> {
        Err(Errno::EDQUOT)
    }

    async fn create(&self, _: &Request<'_>, _: op::Create<'_>) -> Result<(Entry, Opened)> {
        Err(Errno::EDQUOT)
    }

    async fn tmpfile(&self, _: &Request<'_>, _: op::Tmpfile<'_>) -> Result<(Entry, Opened)> {
        Err(Errno::EDQUOT)
    }

    async fn mknod(&self, _: &Request<'_>, _: op::Mknod<'_>) -> Result<Entry> {
        Err(Errno::EDQUOT)
    }

    async fn mkdir(&self, _: &Request<'_>, _: op::Mkdir<'_>) -> Result<Entry> {
        Err(Errno::EDQUOT)
    }

    async fn symlink(&self, _: &Request<'_>, _: op::Symlink<'_>) -> Result<Entry> {
        Err(Errno::EDQUOT)
    }

    async fn link(&self, _: &Request<'_>, _: op::Link<'_>) -> Result<Entry> {
        Err(Errno::EDQUOT)
    }

    async fn rename(&self, _: &Request<'_>, _: op::Rename<'_>) -> Result<()> {
        Err(Errno::EDQUOT)
    }
}

/// Does all that takes room in the mirror of [`Full`], and expects to be told why it cannot be.
fn refused(root: &Path, writeback: bool) {
    let expect = |what: &str, done: io::Result<()>| {
        let error = done.expect_err(what);
        assert_eq!(error.raw_os_error(), Some(libc::EDQUOT), "{what}: {error}");
    };
    let (kept, new) = (root.join(KEPT), root.join("new"));
    expect("create", File::create_new(&new).map(drop));
    expect("mkdir", fs::create_dir(&new));
    expect("symlink", symlink("to", &new));
    expect("link", linkat(CWD, &kept, CWD, &new, AtFlags::empty()).map_err(Into::into));
    expect("mknod", mknodat(CWD, &new, Kind::Fifo, Mode::RUSR, 0).map_err(Into::into));
    expect("rename", fs::rename(&kept, &new));
    expect("setxattr", setxattr(&kept, "user.name", b"value", XattrFlags::empty()).map_err(Into::into));
    let nameless = OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).open(root);
    expect("O_TMPFILE", nameless.map(drop));
    let mut file = OpenOptions::new().read(true).write(true).open(&kept).unwrap();
    expect("ftruncate", file.set_len(1 << 20));
    expect("fallocate", fallocate(&file, FallocateFlags::empty(), 0, 1 << 20).map_err(Into::into));
    let written = file.write_all(b"more");
    if writeback {
        written.expect("it is the kernel that has it");
        expect("fsync", file.sync_all());
    } else {
        expect("write", written);
    }
    drop(file);
    let mut content = Vec::new();
    let mut direct = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(&kept).unwrap();
    direct.read_to_end(&mut content).unwrap();
    assert_eq!(content, CONTENT);
}

fn on_a_full_source(arguments: &'static [&'static str]) {
    let source = mount(Full, Setup::RING);
    source.step(move |source| {
        let mirror = Program::start(|path| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_ringfuse"));
            command.arg("mirror").arg(source).arg(path).args(arguments);
            command
        });
        refused(mirror.path(), arguments.contains(&"--writeback"));
        mirror.finish();
    });
    source.finish();
}

#[test]
fn who_has_used_up_a_quota_is_told_so() {
    on_a_full_source(&["--transport", "ring"]);
    on_a_full_source(&["--transport", "device"]);
    on_a_full_source(&["--direct"]);
}

#[test]
fn and_is_told_at_fsync_where_writes_are_collected() {
    on_a_full_source(&["--writeback"]);
}
