//! The bench tree on nothing but the kernel's interface: what FUSE over io_uring gives on this kernel, as an upper bound for
//! every library. A thread a queue, the same system calls in the order that was measured to be best, answers by hand; no
//! interrupts, no notifications, no handlers that wait, no memory given back, and nothing that is checked twice.

#![expect(unsafe_code, reason = "the kernel's interface, without a library around it")]

mod answer;

use std::fs::File;
use std::io::{Read, Write};
use std::mem::offset_of;
use std::os::fd::{AsRawFd, RawFd};
use std::process::ExitCode;
use std::sync::Arc;
use std::{io, slice, thread};

use clap::Parser;
use io_uring::{EnterFlags, IoUring, squeue};
use ringfuse_abi as abi;
use ringfuse_peers::{MAX_BACKGROUND, MAX_IO, Options, Tree, ended};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
use rustix::mount::{MountFlags, mount};
use rustix::thread::{CpuSet, sched_setaffinity};
use zerocopy::{FromBytes, IntoBytes};

use crate::answer::{Asked, answer};

#[derive(Parser)]
struct Bare {
    #[command(flatten)]
    options: Options,
    /// Have the payloads on huge pages.
    #[arg(long)]
    huge: bool,
}

/// Two payloads, as a huge page.
const HUGE: usize = 2 << 20;
const PAGE: usize = 4096;
const DEPTH: u16 = 16;

/// Beside the entries' numbers: a command that is to be refused.
const IGNORED: u64 = u64::MAX;

/// `struct io_uring_sqe` of 128 bytes, as far as FUSE's commands use it.
#[repr(C)]
struct Sqe {
    opcode: u8,
    unused: [u8; 3],
    fd: i32,
    cmd_op: u32,
    pad: u32,
    addr: u64,
    len: u32,
    flags: u32,
    user_data: u64,
    more: [u64; 1],
    cmd: abi::fuse_uring_cmd_req,
    rest: [u8; 80 - size_of::<abi::fuse_uring_cmd_req>()],
}

const _: () = assert!(size_of::<Sqe>() == 128 && offset_of!(Sqe, cmd) == 48);

/// A queue and the thread that serves it.
struct Queue {
    ring: IoUring<squeue::Entry128>,
    device: RawFd,
    number: u16,
    entries: Vec<Entry>,
    staged: u32,
}

/// Where an entry's memory is.
struct Entry {
    header: *mut abi::fuse_uring_req_header,
    payload: *mut u8,
    addresses: [libc::iovec; 2],
}

impl Queue {
    fn new(device: RawFd, number: u16, depth: u16, huge: bool) -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_submit_all()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_cqsize(1024)
            .build(256)?;
        let count = usize::from(depth);
        let len = count * (PAGE + MAX_IO as usize) + 2 * HUGE;
        let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::NORESERVE);
        // SAFETY: a new mapping, which is never unmapped; no child is forked.
        let headers = unsafe { mmap_anonymous(std::ptr::null_mut(), len, prot, flags) }?.cast::<u8>();
        let behind = headers.addr() + count * PAGE;
        let payloads = headers.wrapping_add(behind.next_multiple_of(HUGE) - headers.addr());
        if huge {
            let len = (count * MAX_IO as usize).next_multiple_of(HUGE);
            // SAFETY: within the mapping, which was made larger by twice as much.
            unsafe { madvise(payloads.cast(), len, Advice::LinuxHugepage) }?;
        }
        let entries = (0..count).map(|n| {
            let header = headers.wrapping_add(n * PAGE);
            let payload = payloads.wrapping_add(n * MAX_IO as usize);
            let area = |start: *mut u8, len| libc::iovec { iov_base: start.cast(), iov_len: len };
            let header_len = size_of::<abi::fuse_uring_req_header>();
            let addresses = [area(header, header_len), area(payload, MAX_IO as usize)];
            Entry { header: header.cast(), payload, addresses }
        });
        Ok(Self { entries: entries.collect(), ring, device, number, staged: 0 })
    }

    fn stage(&mut self, cmd_op: u32, user_data: u64, commit_id: u64, qid: u16, addresses: &[libc::iovec]) {
        let sqe = Sqe {
            opcode: io_uring::opcode::UringCmd80::CODE,
            unused: [0; 3],
            fd: self.device,
            cmd_op,
            pad: 0,
            addr: addresses.as_ptr().addr() as u64,
            len: addresses.len() as u32,
            flags: 0,
            user_data,
            more: [0],
            cmd: abi::fuse_uring_cmd_req { commit_id, qid, ..Default::default() },
            rest: [0; _],
        };
        // SAFETY: both are 128 bytes, without padding, and the kernel's submission entry.
        let sqe = unsafe { std::mem::transmute::<Sqe, squeue::Entry128>(sqe) };
        // SAFETY: the entries' memory is never unmapped, and addresses are read while the command is taken, which is next.
        unsafe { self.ring.submission().push(&sqe) }.expect("room for a command of each entry");
        self.staged += 1;
    }

    fn enter(&mut self, want: u32) -> io::Result<()> {
        let flags = if want > 0 { EnterFlags::GETEVENTS } else { EnterFlags::empty() };
        // SAFETY: no argument is passed.
        let taken =
            unsafe { self.ring.submitter().enter::<libc::sigset_t>(self.staged, want, flags.bits(), None) };
        match taken {
            Ok(taken) => self.staged -= taken as u32,
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Serves until the mount is gone.
    fn serve(mut self, tree: &Tree) -> io::Result<()> {
        let number = self.number;
        for n in 0..self.entries.len() {
            let addresses = self.entries[n].addresses;
            self.stage(abi::FUSE_IO_URING_CMD_REGISTER, n as u64, 0, number, &addresses);
            self.enter(0)?;
        }
        let mut live = self.entries.len();
        let mut completed = Vec::new();
        while live > 0 {
            // The replies first, in a call of their own.
            if self.staged > 0 {
                self.enter(0)?;
            }
            self.enter(1)?;
            completed.extend(self.ring.completion().map(|entry| (entry.user_data(), entry.result())));
            for (user_data, result) in completed.drain(..) {
                match (user_data, result) {
                    (IGNORED, _) => {}
                    (n, 0) => self.request(n, tree),
                    // It has ended, or never was.
                    _ => live -= 1,
                }
            }
        }
        Ok(())
    }

    fn request(&mut self, n: u64, tree: &Tree) {
        let Entry { header, payload, .. } = self.entries[n as usize];
        // SAFETY: within the mapping, and the server's until the command that is staged below.
        let (header, payload) =
            unsafe { (&mut *header, slice::from_raw_parts_mut(payload, MAX_IO as usize)) };
        let Ok((fuse, _)) = abi::fuse_in_header::read_from_prefix(&header.in_out) else { return };
        let len = header.ring_ent_in_out.payload_sz as usize;
        let asked = Asked { opcode: fuse.opcode, node: fuse.nodeid, args: &header.op_in, len };
        let (error, len) = match answer(tree, asked, payload) {
            Ok(len) => (0, len),
            Err(errno) => (-errno, 0),
        };
        let out = abi::fuse_out_header { len: 16 + len as u32, error, unique: fuse.unique };
        header.in_out[..16].copy_from_slice(out.as_bytes());
        header.ring_ent_in_out.payload_sz = len as u32;
        let commit_id = header.ring_ent_in_out.commit_id;
        self.stage(abi::FUSE_IO_URING_CMD_COMMIT_AND_FETCH, n, commit_id, self.number, &[]);
    }
}

/// Answers the kernel's first message.
fn shake_hands(device: &File) -> io::Result<()> {
    let mut buf = vec![0; 8192];
    let len = (&*device).read(&mut buf)?;
    let (header, _) =
        abi::fuse_in_header::read_from_prefix(&buf[..len]).map_err(|_| io::ErrorKind::InvalidData)?;
    let flags = abi::FUSE_ASYNC_READ
        | abi::FUSE_BIG_WRITES
        | abi::FUSE_PARALLEL_DIROPS
        | abi::FUSE_DO_READDIRPLUS
        | abi::FUSE_READDIRPLUS_AUTO
        | abi::FUSE_ASYNC_DIO
        | abi::FUSE_ATOMIC_O_TRUNC
        | abi::FUSE_MAX_PAGES
        | abi::FUSE_INIT_EXT
        | abi::FUSE_OVER_IO_URING;
    let init = abi::fuse_init_out {
        major: 7,
        minor: 45,
        max_readahead: MAX_IO,
        flags: flags as u32,
        flags2: (flags >> 32) as u32,
        max_background: MAX_BACKGROUND,
        congestion_threshold: MAX_BACKGROUND / 4 * 3,
        max_write: MAX_IO,
        time_gran: 1,
        max_pages: (MAX_IO as usize / PAGE) as u16,
        ..Default::default()
    };
    let len = (16 + size_of_val(&init)) as u32;
    let out = abi::fuse_out_header { len, error: 0, unique: header.unique };
    (&*device).write_all(&[out.as_bytes(), init.as_bytes()].concat())
}

/// Mounts, and serves until it is unmounted.
fn session(Bare { options, huge }: Bare) -> io::Result<()> {
    let device = File::options().read(true).write(true).open("/dev/fuse")?;
    let (fd, mountpoint) = (device.as_raw_fd(), options.mountpoint.clone());
    let data = format!("fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other");
    let data = std::ffi::CString::new(data).expect("text without zeros");
    mount("bare-ring", &mountpoint, "fuse.bare-ring", MountFlags::NOSUID | MountFlags::NODEV, Some(&*data))?;
    let depth = options.depth.unwrap_or(DEPTH);
    let tree = Arc::new(Tree::new(options));
    shake_hands(&device)?;
    let threads: Vec<_> = (0..queues()?)
        .map(|number| {
            let tree = tree.clone();
            thread::spawn(move || {
                let mut cpu = CpuSet::new();
                cpu.set(usize::from(number));
                // A CPU that is not there has no requests either.
                let _ = sched_setaffinity(None, &cpu);
                Queue::new(fd, number, depth, huge)?.serve(&tree)
            })
        })
        .collect();
    // What comes here are forgets, which change nothing, until the mount is gone.
    let mut buf = vec![0; MAX_IO as usize + PAGE];
    loop {
        match (&device).read(&mut buf) {
            Err(error) if !matches!(error.raw_os_error(), Some(libc::EINTR | libc::ENOENT)) => break,
            _ => {}
        }
    }
    threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Ok(())))
}

/// How many CPUs there may ever be.
fn queues() -> io::Result<u16> {
    let list = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    let last = list.trim().rsplit(['-', ',']).next().and_then(|last| last.parse::<u16>().ok());
    Ok(last.ok_or(io::ErrorKind::InvalidData)? + 1)
}

fn main() -> ExitCode {
    ended("bare-ring", session(Bare::parse()))
}
