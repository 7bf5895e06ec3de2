//! FUSE over io_uring: entries registered with the kernel, each command completed by a request.
//!
//! A ring belongs to one thread, which creates it, submits to it and waits on it (`SINGLE_ISSUER`, `DEFER_TASKRUN`). The
//! kernel copies a request into its entry only inside that thread's waits.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::BitOrAssign;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue};
use ringfuse_abi as abi;
use rustix::thread::sched_yield;
use zerocopy::{FromBytes, IntoBytes};

use crate::mem::{Slot, SlotShared};
use crate::proto::encode::out_header;

/// The most submissions that are staged before they are handed to the kernel.
const MAX_STAGED: u32 = 64;

/// `IOSQE_FIXED_FILE`: the file is named by its place in the ring's table.
const FIXED_FILE: u8 = 1;

/// The device's place in the ring's table.
const DEVICE: i32 = 0;

/// Marks completions of the polls on watched descriptors: this, and those after it.
const WATCHED: u64 = u64::MAX - 15;

/// Marks the alarm's completion.
const ALARM: u64 = u64::MAX - 16;

/// Marks completions that mean nothing to anybody.
const IGNORED: u64 = u64::MAX - 17;

/// Completions that the kernel keeps room for. With more outstanding it puts them aside, and hands them over later.
const COMPLETIONS: u32 = 256;

/// A submission of 128 bytes: the layout of `struct io_uring_sqe` with a command area, by `io_uring_enter(2)`.
#[repr(C)]
struct Sqe {
    opcode: u8,
    flags: u8,
    ioprio: u16,
    fd: i32,
    cmd_op: u32,
    pad: u32,
    addr: u64,
    len: u32,
    uring_cmd_flags: u32,
    user_data: u64,
    buf_index: u16,
    personality: u16,
    file_index: u32,
    cmd: abi::fuse_uring_cmd_req,
    rest: [u8; 80 - size_of::<abi::fuse_uring_cmd_req>()],
}

const _: () = assert!(size_of::<Sqe>() == 128 && size_of::<squeue::Entry128>() == 128);
const _: () = assert!(align_of::<Sqe>() == align_of::<squeue::Entry128>());
const _: () = assert!(std::mem::offset_of!(Sqe, cmd) == 48);

impl Sqe {
    fn command(cmd_op: u32, user_data: u64, cmd: abi::fuse_uring_cmd_req) -> Self {
        Self {
            opcode: opcode::UringCmd80::CODE,
            flags: FIXED_FILE,
            ioprio: 0,
            fd: DEVICE,
            cmd_op,
            pad: 0,
            addr: 0,
            len: 0,
            uring_cmd_flags: 0,
            user_data,
            buf_index: 0,
            personality: 0,
            file_index: 0,
            cmd,
            rest: [0; _],
        }
    }

    fn into_entry(self) -> squeue::Entry128 {
        // SAFETY: both are 128 bytes of plain data with the same alignment, checked above, and `Entry128` is the
        // kernel's submission entry and its command area, one behind the other, which is what `Sqe` spells out.
        unsafe { std::mem::transmute(self) }
    }
}

/// What came of a wait, beside completions of entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drained {
    /// Which of the watched descriptors became ready, a bit each.
    ready: u8,
    /// The alarm went off.
    pub(crate) alarm: bool,
}

impl Drained {
    /// Whether the watched descriptor of this number became ready.
    pub(crate) fn ready(self, watched: usize) -> bool {
        self.ready & 1 << watched != 0
    }

    /// Whether there is something to see to.
    pub(crate) fn any(self) -> bool {
        self != Self::default()
    }
}

impl BitOrAssign for Drained {
    fn bitor_assign(&mut self, other: Self) {
        self.ready |= other.ready;
        self.alarm |= other.alarm;
    }
}

/// How one command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Completion {
    /// A request is in the entry.
    Request,
    /// The command was not carried out, and may be tried again.
    Again,
    /// The entry serves no more: the mount is gone.
    Ended,
    /// The kernel did not accept the command, for this negated error number.
    Refused(i32),
}

impl Completion {
    fn of(result: i32) -> Self {
        match -result {
            ..=0 => Self::Request,
            libc::EAGAIN | libc::EINTR => Self::Again,
            libc::ENOTCONN | libc::ECONNABORTED | libc::ECANCELED => Self::Ended,
            _ => Self::Refused(result),
        }
    }
}

/// One thread's ring.
pub(crate) struct Ring {
    uring: RefCell<IoUring<squeue::Entry128>>,
    /// The completion that has come for each entry, and not been taken.
    results: RefCell<Vec<Option<i32>>>,
    /// The addresses of each `REGISTER` that is staged: the kernel reads them when it takes the command.
    #[expect(clippy::vec_box, reason = "staged commands point to them, and the list grows")]
    iovecs: RefCell<Vec<Box<[libc::iovec; 2]>>>,
    registered: Registered,
    watched: Vec<RawFd>,
    no_iowait: EnterFlags,
    /// How long the alarm runs. Boxed, for the kernel to read.
    alarm: Box<RefCell<Timespec>>,
    /// Submissions not yet handed to the kernel.
    staged: Cell<u32>,
}

impl Ring {
    /// Makes a ring on this thread. A wait ends when one of the watched descriptors, eight at most, becomes readable.
    pub(crate) fn new(device: BorrowedFd<'_>, watched: &[BorrowedFd<'_>]) -> io::Result<Self> {
        let uring = IoUring::<squeue::Entry128>::builder()
            .setup_submit_all()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_cqsize(COMPLETIONS)
            .setup_no_sqarray()
            .dontfork()
            .build(MAX_STAGED)?;
        let no_iowait =
            if uring.params().is_feature_no_iowait() { EnterFlags::NO_IOWAIT } else { EnterFlags::empty() };
        // The entries' commands name it by its place in the ring's own table, which spares a look-up.
        uring.submitter().register_files(&[device.as_raw_fd()])?;
        let ring = Self {
            registered: Registered::new(uring.as_raw_fd()),
            uring: RefCell::new(uring),
            results: RefCell::default(),
            iovecs: RefCell::default(),
            watched: watched.iter().take(8).map(|fd| fd.as_raw_fd()).collect(),
            no_iowait,
            alarm: Box::default(),
            staged: Cell::new(0),
        };
        (0..ring.watched.len()).try_for_each(|number| ring.watch(number))?;
        Ok(ring)
    }

    fn watch(&self, number: usize) -> io::Result<()> {
        let poll = opcode::PollAdd::new(Fd(self.watched[number]), libc::POLLIN as u32).multi(true).build();
        // SAFETY: a poll refers to no memory.
        unsafe { self.push(poll.user_data(WATCHED + number as u64).into()) }
    }

    /// Prepares for an entry of that number.
    pub(crate) fn expect(&self, index: usize) {
        let mut results = self.results.borrow_mut();
        if results.len() <= index {
            results.resize(index + 1, None);
        }
        results[index] = None;
    }

    /// Stages a submission.
    ///
    /// # Safety
    ///
    /// What the submission refers to must be valid until it completes.
    unsafe fn push(&self, entry: squeue::Entry128) -> io::Result<()> {
        loop {
            // SAFETY: promised by the caller.
            if unsafe { self.uring.borrow_mut().submission().push(&entry) }.is_ok() {
                self.staged.set(self.staged.get() + 1);
                return Ok(());
            }
            self.submit()?;
        }
    }

    /// Hands an entry to the kernel for the first time. The slot is the kernel's until [`Ring::completion`] says
    /// otherwise.
    pub(crate) fn register(&self, index: usize, queue: u16, slot: &mut Slot) -> io::Result<()> {
        let iovecs = Box::new(
            slot.addresses()
                .map(|(start, len)| libc::iovec { iov_base: start.as_ptr().cast(), iov_len: len }),
        );
        let cmd = abi::fuse_uring_cmd_req { qid: queue, ..Default::default() };
        let mut sqe = Sqe::command(abi::FUSE_IO_URING_CMD_REGISTER, index as u64, cmd);
        sqe.addr = iovecs.as_ptr() as u64;
        sqe.len = iovecs.len() as u32;
        slot.give_to_kernel();
        // SAFETY: the addresses' array is kept, in one place, until the command has been taken. The slot's memory outlives
        // the command: it is marked the kernel's, and leaked if the slot goes while it is (M1).
        unsafe { self.push(sqe.into_entry()) }?;
        self.iovecs.borrow_mut().push(iovecs);
        Ok(())
    }

    /// Answers the request in an entry and hands the entry to the kernel again. The body of a reply without error
    /// is the first `len` bytes of the payload.
    pub(crate) fn commit(
        &self,
        index: usize,
        queue: u16,
        slot: &mut Slot,
        unique: u64,
        error: i32,
        len: usize,
    ) -> io::Result<()> {
        let commit_id = Reply { unique, error, len }.write_to(slot);
        let cmd = abi::fuse_uring_cmd_req { qid: queue, commit_id, ..Default::default() };
        let sqe = Sqe::command(abi::FUSE_IO_URING_CMD_COMMIT_AND_FETCH, index as u64, cmd);
        slot.give_to_kernel();
        // SAFETY: the command carries no address; the entry's, known since `register`, are covered as there.
        unsafe { self.push(sqe.into_entry()) }
    }

    /// Tells the kernel not to wait for this ring any more, by a registration that it must refuse: requests that were
    /// held back until the ring would be ready go to `/dev/fuse` instead.
    pub(crate) fn lift_gate(&self) -> io::Result<()> {
        let cmd = abi::fuse_uring_cmd_req { qid: u16::MAX, ..Default::default() };
        let sqe = Sqe::command(abi::FUSE_IO_URING_CMD_REGISTER, IGNORED, cmd);
        // SAFETY: a null array of addresses of length zero; the kernel refuses it before it reads any.
        unsafe { self.push(sqe.into_entry()) }?;
        self.submit()
    }

    /// Waits for the completion of an entry's last command, and takes the slot back. It is not woken for it: whoever
    /// drained the completion polls the entry's task.
    pub(crate) async fn completion(&self, index: usize, slot: &mut Slot) -> Completion {
        let result = std::future::poll_fn(|_| {
            self.results.borrow_mut()[index].take().map_or(Poll::Pending, Poll::Ready)
        })
        .await;
        slot.take_back();
        Completion::of(result)
    }

    /// Takes an entry's completion, if it has come, and with it the slot.
    pub(crate) fn completed(&self, index: usize, slot: &mut Slot) -> Option<Completion> {
        let result = self.results.borrow_mut()[index].take()?;
        slot.take_back();
        Some(Completion::of(result))
    }

    /// Gives the memory of an entry's payload back: it reads as zeros then. Done only where the entry is with the kernel and
    /// has no request; returns whether that was so.
    pub(crate) fn release_pages(&self, index: usize, slot: &SlotShared) -> bool {
        if slot.unique.load(Ordering::Acquire) != 0 || self.results.borrow()[index].is_some() {
            return false;
        }
        if self.staged.get() != 0 {
            // A reply may still be in there.
            return false;
        }
        // SAFETY: no loan is out, as the entry serves nothing; and the kernel copies requests into entries of this ring only
        // while this thread waits in it (`DEFER_TASKRUN`), or when it takes a commit, whose completion would be there.
        unsafe { slot.release_pages() };
        true
    }

    /// Has a wait end after that time, once, whatever else happens until then.
    pub(crate) fn set_alarm(&self, after: Duration) -> io::Result<()> {
        *self.alarm.borrow_mut() = Timespec::from(after);
        let timeout = opcode::Timeout::new(self.alarm.as_ptr()).build().user_data(ALARM);
        // SAFETY: the time's place is the ring's own, and does not move: it is boxed. The kernel reads it when it takes
        // the command.
        unsafe { self.push(timeout.into()) }
    }

    /// How many submissions wait to be handed to the kernel.
    pub(crate) fn staged(&self) -> u32 {
        self.staged.get()
    }

    /// Hands over what is staged, without waiting: replies reach their programs now.
    pub(crate) fn submit(&self) -> io::Result<()> {
        if self.staged.get() == 0 {
            return Ok(());
        }
        self.enter(None, None)
    }

    /// Hands over what is staged and waits for a completion, or as long as the timeout says.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.enter(Some(1), timeout)
    }

    /// Hands over what is staged, and looks for completions for that long without sleeping. Returns whether there are any.
    pub(crate) fn linger(&self, at_most: Duration) -> io::Result<bool> {
        let end = Instant::now() + at_most;
        loop {
            self.enter(Some(0), None)?;
            if !self.uring.borrow_mut().completion().is_empty() {
                return Ok(true);
            }
            if Instant::now() >= end {
                return Ok(false);
            }
            // Who was woken on this CPU would else have to wait for the end.
            sched_yield();
        }
    }

    /// `want` is how many completions to wait for, or `None` not to look for any.
    fn enter(&self, want: Option<u32>, timeout: Option<Duration>) -> io::Result<()> {
        self.uring.borrow_mut().submission().sync();
        let mut flags = self.registered.flags;
        if want.is_some() {
            flags |= EnterFlags::GETEVENTS | self.no_iowait;
        }
        let want = want.unwrap_or(0);
        let staged = self.staged.get();
        let entered = match timeout.map(Timespec::from) {
            // SAFETY: no argument is passed, and what the submissions refer to is valid (`push`).
            None => unsafe {
                enter(self.registered.fd, staged, want, flags, std::ptr::null::<SubmitArgs<'_, '_>>())
            },
            Some(timespec) => {
                let args = SubmitArgs::new().timespec(&timespec);
                // SAFETY: the argument lives through the call; the rest as above.
                unsafe { enter(self.registered.fd, staged, want, flags | EnterFlags::EXT_ARG, &args) }
            }
        };
        match entered {
            Ok(taken) => {
                self.staged.set(staged - taken.min(staged));
                if self.staged.get() == 0 && !self.iovecs.borrow().is_empty() {
                    self.iovecs.borrow_mut().clear();
                }
            }
            // Interrupted or timed out; what was staged has been taken all the same, or will be next time.
            Err(error) => {
                self.staged.set(self.uring.borrow_mut().submission().len() as u32);
                match error.raw_os_error() {
                    Some(libc::EINTR | libc::ETIME | libc::EAGAIN | libc::EBUSY) => {}
                    _ => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Takes the completions that are there. Those of entries are kept for their tasks, and their numbers appended to
    /// `completed`.
    pub(crate) fn drain(&self, completed: &mut Vec<usize>) -> io::Result<Drained> {
        let mut drained = Drained::default();
        let mut rearm = 0_u8;
        {
            let mut uring = self.uring.borrow_mut();
            let mut results = self.results.borrow_mut();
            for completion in uring.completion() {
                match completion.user_data() {
                    watched @ WATCHED.. => {
                        let number = watched - WATCHED;
                        drained.ready |= 1 << number;
                        if !cqueue::more(completion.flags()) {
                            rearm |= 1 << number;
                        }
                    }
                    ALARM => drained.alarm = true,
                    index => {
                        let index = index as usize;
                        let Some(result) = results.get_mut(index) else { continue };
                        *result = Some(completion.result());
                        completed.push(index);
                    }
                }
            }
        }
        for number in (0..self.watched.len()).filter(|number| rearm & 1 << number != 0) {
            self.watch(number)?;
        }
        Ok(drained)
    }
}

/// How this thread names its ring to the kernel: by an index that spares looking the descriptor up at each call, or by the
/// descriptor.
struct Registered {
    fd: i32,
    flags: EnterFlags,
}

impl Registered {
    fn new(ring: RawFd) -> Self {
        /// `struct io_uring_rsrc_update` of the kernel's header.
        #[repr(C)]
        struct Update {
            offset: u32,
            resv: u32,
            data: u64,
        }
        const REGISTER_RING_FDS: libc::c_uint = 20;
        let mut update = Update { offset: u32::MAX, resv: 0, data: ring as u64 };
        // SAFETY: the call reads and writes one `Update`, which lives through it. The index is this thread's, which is the
        // only one that enters the ring.
        let done =
            unsafe { libc::syscall(libc::SYS_io_uring_register, ring, REGISTER_RING_FDS, &mut update, 1) };
        if done == 1 {
            Self { fd: update.offset as i32, flags: EnterFlags::REGISTERED_RING }
        } else {
            Self { fd: ring, flags: EnterFlags::empty() }
        }
    }
}

/// `io_uring_enter(2)`.
///
/// # Safety
///
/// What the staged submissions refer to must be valid until they complete, and `arg` be null or, with `EXT_ARG`, valid for
/// the call.
unsafe fn enter<T>(ring: i32, submit: u32, want: u32, flags: EnterFlags, arg: *const T) -> io::Result<u32> {
    let (flags, size) = (flags.bits(), if arg.is_null() { 0 } else { size_of::<T>() });
    // SAFETY: promised by the caller.
    let taken = unsafe { libc::syscall(libc::SYS_io_uring_enter, ring, submit, want, flags, arg, size) };
    if taken < 0 { Err(io::Error::last_os_error()) } else { Ok(taken as u32) }
}

/// A reply as it is laid into an entry.
struct Reply {
    unique: u64,
    error: i32,
    len: usize,
}

impl Reply {
    /// Writes the headers, and returns the number under which the kernel knows the request.
    fn write_to(&self, slot: &mut Slot) -> u64 {
        let entry_at = abi::FUSE_URING_IN_OUT_HEADER_SZ + abi::FUSE_URING_OP_IN_OUT_SZ;
        let area = slot.header_area_mut();
        let header = out_header(self.unique, self.error, self.len);
        area[..size_of_val(&header)].copy_from_slice(header.as_bytes());
        let entry = &mut area[entry_at..entry_at + size_of::<abi::fuse_uring_ent_in_out>()];
        let commit_id =
            abi::fuse_uring_ent_in_out::read_from_bytes(entry).map_or(self.unique, |e| e.commit_id);
        let reply =
            abi::fuse_uring_ent_in_out { commit_id, payload_sz: self.len as u32, ..Default::default() };
        entry.copy_from_slice(reply.as_bytes());
        commit_id
    }
}

/// The entry's part of the header area: how many payload bytes the kernel wrote, and the request's number.
pub(crate) fn entry_header(area: &[u8]) -> abi::fuse_uring_ent_in_out {
    let at = abi::FUSE_URING_IN_OUT_HEADER_SZ + abi::FUSE_URING_OP_IN_OUT_SZ;
    abi::fuse_uring_ent_in_out::read_from_prefix(&area[at..]).map(|(entry, _)| entry).unwrap_or_default()
}
