//! What a request costs within the library, without a kernel: decoding, the way to the filesystem's method and its answer
//! back as bytes, directory listings. Run by `cargo bench -p ringfuse-benches`; add a part of a name to run some.

use std::time::Duration;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use ringfuse::internals::{self, filler};
use ringfuse::{
    Attr, AttrReply, DirFiller, DirPos, Entry, Errno, FileType, Filesystem, NodeId, ReadBuf, Request, Result,
    WriteBuf, Written, op,
};
use ringfuse_abi as abi;
use zerocopy::{Immutable, IntoBytes};

fn main() {
    divan::main();
}

/// A message as the kernel sends it.
fn message(opcode: u32, op: &(impl IntoBytes + Immutable), payload: &[u8]) -> Vec<u8> {
    let len = size_of::<abi::fuse_in_header>() + size_of_val(op) + payload.len();
    let header = abi::fuse_in_header {
        len: len as u32,
        opcode,
        unique: 2,
        nodeid: 1,
        uid: 1000,
        gid: 1000,
        pid: 4321,
        ..Default::default()
    };
    [header.as_bytes(), op.as_bytes(), payload].concat()
}

/// A struct for operations that have none.
const NONE: [u8; 0] = [];

/// The kinds of requests that make up most of what comes.
const KINDS: [&str; 6] = ["getattr", "lookup", "read 4K", "write 4K", "release", "rename"];

fn example(kind: &str) -> Vec<u8> {
    let read = abi::fuse_read_in { size: 4096, ..Default::default() };
    let write = abi::fuse_write_in { size: 4096, ..Default::default() };
    let rename = abi::fuse_rename_in { newdir: 1 };
    match kind {
        "getattr" => message(abi::FUSE_GETATTR, &abi::fuse_getattr_in::default(), b""),
        "lookup" => message(abi::FUSE_LOOKUP, &NONE, b"a-name-of-a-file.txt\0"),
        "read 4K" => message(abi::FUSE_READ, &read, b""),
        "write 4K" => message(abi::FUSE_WRITE, &write, &[7; 4096]),
        "release" => message(abi::FUSE_RELEASE, &abi::fuse_release_in::default(), b""),
        "rename" => message(abi::FUSE_RENAME, &rename, b"old-name\0new-name\0"),
        _ => unreachable!("no such kind: {kind}"),
    }
}

/// A filesystem that does nothing itself.
struct Null;

fn attr() -> Attr {
    Attr::file(1, 1 << 20)
}

impl Filesystem for Null {
    async fn lookup(&self, _: &Request<'_>, _: op::Lookup<'_>) -> Result<Entry> {
        Ok(Entry::new(NodeId::ROOT, attr()).ttl(Duration::from_secs(1)))
    }

    async fn getattr(&self, _: &Request<'_>, _: op::Getattr) -> Result<AttrReply> {
        Ok(AttrReply::new(attr()).ttl(Duration::from_secs(1)))
    }

    async fn read(&self, _: &Request<'_>, _: op::Read, buf: ReadBuf) -> Result<ReadBuf> {
        // As if the bytes were there already.
        Ok(buf)
    }

    async fn write(&self, _: &Request<'_>, _: op::Write, data: WriteBuf) -> Result<Written> {
        Ok(data.written())
    }

    async fn release(&self, _: &Request<'_>, _: op::Release) -> Result<()> {
        Ok(())
    }

    async fn rename(&self, _: &Request<'_>, _: op::Rename<'_>) -> Result<()> {
        Err(Errno::EROFS)
    }
}

/// From the bytes of a message to an operation.
#[divan::bench(args = KINDS, sample_size = 1000)]
fn decode(bencher: Bencher<'_, '_>, kind: &str) {
    let message = example(kind);
    bencher.bench(|| internals::decode_message(black_box(&message)));
}

/// All of it: into the entry, as the kernel copies it, decoded, served by a filesystem that does nothing, encoded.
#[divan::bench(args = KINDS, sample_size = 1000)]
fn serve(bencher: Bencher<'_, '_>, kind: &str) {
    let message = example(kind);
    let mut entry = internals::Entry::new().expect("there is memory");
    bencher.bench_local(|| entry.serve(&Null, black_box(&message)));
}

/// A listing of 128 KiB, filled to the end.
fn fill(bencher: Bencher<'_, '_>, name: &str, plus: bool) {
    let mut room = vec![0; 128 << 10];
    let push = |out: &mut DirFiller<'_>, at: u64| {
        let entry = || Ok(Entry::new(NodeId::ROOT, attr()));
        out.push_plus(at, DirPos(at), Some(FileType::Regular), black_box(name), entry)
    };
    let fill = |room: &mut [u8]| {
        let mut out = filler(room, plus);
        (1..).take_while(|at| push(&mut out, *at).is_ok()).count()
    };
    let count = fill(&mut room);
    bencher.counter(ItemsCount::new(count)).bench_local(|| fill(black_box(&mut room)));
}

const NAMES: [&str; 2] = ["f00000", "a-longer-name-as-programs-make-them-0123456789.object"];

/// Names alone.
#[divan::bench(args = NAMES)]
fn readdir(bencher: Bencher<'_, '_>, name: &str) {
    fill(bencher, name, false);
}

/// Names with attributes.
#[divan::bench(args = NAMES)]
fn readdirplus(bencher: Bencher<'_, '_>, name: &str) {
    fill(bencher, name, true);
}
