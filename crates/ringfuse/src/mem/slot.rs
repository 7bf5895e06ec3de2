//! One entry's memory: a header page and a payload.

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::Poll;
use std::{future, io, slice};

use futures_util::task::AtomicWaker;
use ringfuse_abi as abi;
use rustix::mm::{Advice, madvise};

use super::arena::{Arena, HUGE, Layout, header_len};
use super::loan::{ReadBuf, WriteBuf};

/// Size of the kernel's header area at the start of the header page.
const HEADER_AREA: usize = size_of::<abi::fuse_uring_req_header>();

/// Where the scratch area within the header page starts: behind the kernel's header area.
const SCRATCH: usize = 512;

/// Bytes that a message of the device has before the payload: the common header, and the struct of a `WRITE`.
/// Read to this far before the payload, the data of a write lies where the ring would have put it.
pub(crate) const DEVICE_HEAD: usize = size_of::<abi::fuse_in_header>() + size_of::<abi::fuse_write_in>();

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Server,
    Kernel,
}

/// The part of a slot that loans, requests and the interrupt registry share.
#[derive(Debug)]
pub(crate) struct SlotShared {
    arena: Arc<Arena>,
    /// Where in the arena the header page and the payload are.
    header: usize,
    payload: usize,
    layout: Layout,
    loaned: AtomicBool,
    home: AtomicWaker,
    /// The request being served, zero for none.
    pub(crate) unique: AtomicU64,
    /// A signal came for the program that waits for it.
    pub(crate) cancelled: AtomicBool,
    /// Wakes the handler once `cancelled` is set.
    pub(crate) cancel: AtomicWaker,
    /// Much memory is in use, as a large request has passed.
    pub(crate) fat: AtomicBool,
    /// How many large requests have passed since memory was given back.
    pub(crate) large: AtomicU32,
    /// The payload is on huge pages, in part at least.
    pub(crate) huge: AtomicBool,
}

impl SlotShared {
    fn header(&self) -> NonNull<u8> {
        // SAFETY: `Slot::new` was promised that the slot lies within the arena's mapping.
        unsafe { self.arena.base().add(self.header) }
    }

    pub(super) fn payload(&self) -> NonNull<u8> {
        // SAFETY: as for `header`.
        unsafe { self.arena.base().add(self.payload) }
    }

    /// Where a message of the device starts, within the header page.
    fn device(&self) -> NonNull<u8> {
        // SAFETY: as for `header`; a page is longer than that.
        unsafe { self.header().add(header_len() - DEVICE_HEAD) }
    }

    /// The part of the header page between the kernel's header area and `device`.
    fn scratch(&self) -> (NonNull<u8>, usize) {
        // SAFETY: as for `header`; a page is longer than that.
        (unsafe { self.header().add(SCRATCH) }, header_len() - DEVICE_HEAD - SCRATCH)
    }

    pub(super) fn capacity(&self) -> usize {
        self.layout.payload()
    }

    /// The frames of huge pages that the payload is in, by number: addresses divided by [`HUGE`].
    pub(crate) fn frames(&self) -> Range<usize> {
        let start = self.payload().addr().get();
        start / HUGE..(start + self.capacity()).div_ceil(HUGE)
    }

    /// How many bytes of the payload are in a frame.
    pub(crate) fn within(&self, frame: usize) -> usize {
        let start = self.payload().addr().get();
        let end = (start + self.capacity()).min((frame + 1) * HUGE);
        end.saturating_sub(start.max(frame * HUGE))
    }

    /// Has a huge page in a frame of the payload.
    ///
    /// # Errors
    ///
    /// What `madvise(2)` fails with: for want of memory, or as somebody uses a page right now.
    pub(crate) fn gather(&self, frame: usize) -> io::Result<()> {
        self.arena.gather(frame)
    }

    /// Gives the pages of the payload back to the system. They read as zeros afterwards.
    ///
    /// # Safety
    ///
    /// Nobody may read or write the payload meanwhile: neither a loan, nor its slot, nor the kernel.
    pub(crate) unsafe fn release_pages(&self) {
        let start = self.payload().as_ptr().cast();
        // SAFETY: whole pages of the arena's own mapping, private and anonymous, which nobody uses meanwhile; they stay
        // mapped, and are initialised by being zero (M4).
        if let Err(error) = unsafe { madvise(start, self.capacity(), Advice::LinuxDontNeed) } {
            tracing::warn!(%error, "cannot give memory back");
        }
    }

    /// The end of a loan (M3).
    pub(super) fn come_home(&self) {
        self.loaned.store(false, Ordering::Release);
        self.home.wake();
    }

    pub(crate) fn is_loaned(&self) -> bool {
        self.loaned.load(Ordering::Acquire)
    }
}

/// The one handle through which the memory of an entry is reached.
#[derive(Debug)]
pub(crate) struct Slot {
    shared: Arc<SlotShared>,
    owner: Owner,
}

impl Slot {
    /// # Safety
    ///
    /// A page at `header` and the layout's payload at `payload` must lie within the arena, and no other slot may overlap
    /// them.
    pub(super) unsafe fn new(arena: Arc<Arena>, header: usize, payload: usize, layout: Layout) -> Self {
        let shared = SlotShared {
            arena,
            header,
            payload,
            layout,
            loaned: AtomicBool::new(false),
            home: AtomicWaker::new(),
            unique: AtomicU64::new(0),
            cancelled: AtomicBool::new(false),
            cancel: AtomicWaker::new(),
            fat: AtomicBool::new(false),
            large: AtomicU32::new(0),
            huge: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared), owner: Owner::Server }
    }

    pub(crate) fn shared(&self) -> &Arc<SlotShared> {
        &self.shared
    }

    /// The addresses that the kernel is told at registration: header area and payload, each with its length.
    pub(crate) fn addresses(&self) -> [(NonNull<u8>, usize); 2] {
        [(self.shared.header(), HEADER_AREA), (self.shared.payload(), self.shared.capacity())]
    }

    /// From here on the kernel may write to the slot at any moment. Called before the command that lets it.
    ///
    /// # Panics
    ///
    /// If a loan is out (I2) or the slot is the kernel's already: the caller has broken the protocol, and going
    /// on would let the kernel write where somebody reads.
    pub(crate) fn give_to_kernel(&mut self) {
        assert!(self.owner == Owner::Server, "a slot was armed twice");
        assert!(!self.shared.is_loaned(), "a slot was armed while a loan of it was out");
        self.owner = Owner::Kernel;
    }

    /// The kernel has given the slot back: the command completed, or was never issued.
    pub(crate) fn take_back(&mut self) {
        self.owner = Owner::Server;
    }

    fn check(&self) {
        assert!(self.owner == Owner::Server, "a slot of the kernel's was looked at");
    }

    fn check_device(&self) {
        let behind = self.shared.header + header_len();
        assert!(self.shared.payload == behind, "an entry of the ring has no room for messages of the device");
    }

    /// The kernel's header area.
    pub(crate) fn header_area(&self) -> &[u8] {
        self.check();
        // SAFETY: within the mapping (M1), initialised (M4), the server's, and written only by `&mut self` (M2).
        unsafe { slice::from_raw_parts(self.shared.header().as_ptr(), HEADER_AREA) }
    }

    /// The kernel's header area, to write a reply's headers to.
    pub(crate) fn header_area_mut(&mut self) -> &mut [u8] {
        self.check();
        // SAFETY: as for `header_area`; `&mut self` makes it exclusive.
        unsafe { slice::from_raw_parts_mut(self.shared.header().as_ptr(), HEADER_AREA) }
    }

    /// The first bytes of the payload, at most all of it. Nothing may be on loan.
    pub(crate) fn payload(&self, len: usize) -> &[u8] {
        self.check();
        assert!(!self.shared.is_loaned(), "a payload was looked at while it was on loan");
        let len = len.min(self.shared.capacity());
        // SAFETY: within the mapping (M1), initialised (M4), the server's (M2), and not on loan (M3).
        unsafe { slice::from_raw_parts(self.shared.payload().as_ptr(), len) }
    }

    /// The payload, to write a reply to. Nothing may be on loan.
    pub(crate) fn payload_mut(&mut self) -> &mut [u8] {
        self.check();
        assert!(!self.shared.is_loaned(), "a payload was written to while it was on loan");
        // SAFETY: as for `payload`; `&mut self` makes it exclusive.
        unsafe { slice::from_raw_parts_mut(self.shared.payload().as_ptr(), self.shared.capacity()) }
    }

    /// Where a message of the device goes: the last bytes of the header page and all of the payload.
    pub(crate) fn device_area(&self, len: usize) -> &[u8] {
        self.check();
        self.check_device();
        assert!(!self.shared.is_loaned(), "a message was looked at while it was on loan");
        let len = len.min(DEVICE_HEAD + self.shared.capacity());
        // SAFETY: the area ends where the payload ends, within the mapping (M1); the rest as for `payload`.
        unsafe { slice::from_raw_parts(self.shared.device().as_ptr(), len) }
    }

    /// Where a message of the device goes, to be read into.
    pub(crate) fn device_area_mut(&mut self) -> &mut [u8] {
        self.check();
        self.check_device();
        assert!(!self.shared.is_loaned(), "a message was read to where a loan is out");
        let len = DEVICE_HEAD + self.shared.capacity();
        // SAFETY: as for `device_area`; `&mut self` makes it exclusive.
        unsafe { slice::from_raw_parts_mut(self.shared.device().as_ptr(), len) }
    }

    /// A part of the header page that no message reaches, for a name that must survive its payload.
    pub(crate) fn scratch_mut(&mut self) -> &mut [u8] {
        self.check();
        let (start, len) = self.shared.scratch();
        // SAFETY: within the header page (M1), initialised (M4), beyond the kernel's header area and before the
        // device area, and exclusive by `&mut self` (M2).
        unsafe { slice::from_raw_parts_mut(start.as_ptr(), len) }
    }

    /// The scratch area, to read.
    pub(crate) fn scratch(&self) -> &[u8] {
        self.check();
        let (start, len) = self.shared.scratch();
        // SAFETY: as for `scratch_mut`, shared.
        unsafe { slice::from_raw_parts(start.as_ptr(), len) }
    }

    fn lend(&self) -> Arc<SlotShared> {
        self.check();
        let before = self.shared.loaned.swap(true, Ordering::Acquire);
        assert!(!before, "a payload was lent twice");
        self.shared.clone()
    }

    /// Lends the payload to be filled with at most `limit` bytes.
    pub(crate) fn lend_read(&self, limit: usize) -> ReadBuf {
        ReadBuf::new(self.lend(), limit)
    }

    /// Lends the first `len` bytes of the payload, the data of a write.
    pub(crate) fn lend_write(&self, len: usize) -> WriteBuf {
        WriteBuf::new(self.lend(), len)
    }

    /// Waits until no loan is out. After it, and until the next loan, the slot may be given to the kernel.
    pub(crate) async fn all_home(&self) {
        if !self.shared.is_loaned() {
            return;
        }
        future::poll_fn(|cx| {
            self.shared.home.register(cx.waker());
            if self.shared.is_loaned() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.owner == Owner::Kernel {
            self.shared.arena.leak();
        }
    }
}
