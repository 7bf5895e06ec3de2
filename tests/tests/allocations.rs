//! The hot path allocates nothing: not the library, not compio, for getattr, lookup, read and write on the ring.
//!
//! A test of its own program, since it counts the allocations of the whole process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};

use ringfuse::{
    Attr, AttrReply, Entry, Errno, Fh, Filesystem, NodeId, Opened, ReadBuf, Request, Result, WriteBuf,
    Written, op,
};
use ringfuse_kit::harness::{Setup, mount};
use rustix::fs::{AtFlags, Mode, OFlags};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: all is passed on to the system's allocator; counting touches an atomic.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// One file, that takes and gives zeros.
struct Zero;

impl Filesystem for Zero {
    async fn lookup(&self, _: &Request<'_>, op: op::Lookup<'_>) -> Result<Entry> {
        if op.name != "zero" {
            return Err(Errno::ENOENT);
        }
        let node = NodeId::new(2).ok_or(Errno::EIO)?;
        Ok(Entry::new(node, Attr::file(2, 1 << 30)).ttl(std::time::Duration::ZERO))
    }

    async fn getattr(&self, _: &Request<'_>, op: op::Getattr) -> Result<AttrReply> {
        let attr = if op.node.is_root() { Attr::dir(1) } else { Attr::file(2, 1 << 30) };
        Ok(AttrReply::new(attr).ttl(std::time::Duration::ZERO))
    }

    async fn open(&self, _: &Request<'_>, _: op::Open) -> Result<Opened> {
        Ok(Opened::new(Fh(0)).direct_io().parallel_direct_writes())
    }

    async fn read(&self, _: &Request<'_>, op: op::Read, buf: ReadBuf) -> Result<ReadBuf> {
        Ok(buf.zeroed(op.size as usize))
    }

    async fn write(&self, _: &Request<'_>, _: op::Write, data: WriteBuf) -> Result<Written> {
        Ok(data.written())
    }
}

#[test]
fn the_hot_path_allocates_nothing() {
    const ROUNDS: u64 = 2000;
    for setup in Setup::ALL {
        let mounted = mount(Zero, setup);
        let path = CString::new(mounted.path().join("zero").as_os_str().as_bytes()).unwrap();
        let file = rustix::fs::open(path.as_c_str(), OFlags::RDWR, Mode::empty()).unwrap();
        let mut buf = vec![0; 4096];
        let mut round = || {
            rustix::fs::fstat(&file).unwrap();
            rustix::fs::statat(rustix::fs::CWD, path.as_c_str(), AtFlags::empty()).unwrap();
            assert_eq!(rustix::io::pread(&file, &mut buf, 0).unwrap(), 4096);
            assert_eq!(rustix::io::pwrite(&file, &buf, 0).unwrap(), 4096);
        };
        // Requests fill caches at first; and a worker is started when the scheduler moves this thread to its CPU, which may be
        // at any time. What a request allocates, all of them do.
        let count = || (ALLOCATIONS.load(Ordering::Relaxed), mounted.session().stats().received);
        let mut batch = || {
            let before = count();
            (0..ROUNDS).for_each(|_| round());
            let after = count();
            let (allocations, requests) = (after.0 - before.0, after.1 - before.1);
            assert!(requests >= 4 * ROUNDS, "{setup}: {requests} requests");
            println!("{setup}: {allocations} allocations in {requests} requests");
            allocations
        };
        assert!((0..8).any(|_| batch() == 0), "{setup}");
        drop(file);
        mounted.finish();
    }
}
