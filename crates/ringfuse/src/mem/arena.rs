//! The mapping that entries live in.

use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use rustix::param::page_size;

use super::slot::Slot;

/// Bytes of a huge page, on x86-64, and on arm64 with pages of 4 KiB. Elsewhere the kernel refuses to make any, and pages stay as
/// they are.
pub(crate) const HUGE: usize = 2 << 20;

/// The bytes before the payload of a slot: one page, of which the kernel's header area is the beginning.
pub(super) fn header_len() -> usize {
    page_size()
}

/// How a slot is laid out: a header page, then the payload, whole pages as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    payload: usize,
}

impl Layout {
    /// Slots for payloads of at least this many bytes.
    pub(crate) fn for_payload(payload: usize) -> Self {
        Self { payload: payload.next_multiple_of(page_size()) }
    }

    /// Payload bytes of a slot.
    pub(crate) fn payload(self) -> usize {
        self.payload
    }

    /// Address space that a slot takes. Pages of it cost memory once they are touched, not before.
    pub(crate) fn stride(self) -> usize {
        header_len() + self.payload
    }
}

/// A private anonymous mapping, not populated.
#[derive(Debug)]
pub(crate) struct Arena {
    base: NonNull<u8>,
    len: usize,
    leak: AtomicBool,
}

// SAFETY: the mapping belongs to no thread, and the arena hands out addresses, not references; who may follow
// them is the business of slots and loans (M2, M3).
unsafe impl Send for Arena {}
// SAFETY: as for `Send`; the only thing changed through a shared arena is an atomic.
unsafe impl Sync for Arena {}

impl Arena {
    /// Maps room for `count` slots and returns them, all owned by the server.
    ///
    /// # Errors
    ///
    /// What `mmap(2)` or `madvise(2)` fail with, `ENOMEM` above all.
    pub(crate) fn slots(layout: Layout, count: usize) -> io::Result<Vec<Slot>> {
        let len = layout.stride().checked_mul(count).ok_or(io::ErrorKind::OutOfMemory)?;
        let arena = Arc::new(Self::map(len.max(page_size()))?);
        Ok((0..count)
            .map(|i| {
                let offset = i * layout.stride();
                // SAFETY: `i < count`, so that header page and payload lie within the mapping, and each slot
                // has its own part of it (M2).
                unsafe { Slot::new(arena.clone(), offset, offset + header_len(), layout) }
            })
            .collect())
    }

    fn map(len: usize) -> io::Result<Self> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory in use.
        let base =
            unsafe { mmap_anonymous(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, flags) }?;
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let arena = Self { base, len, leak: AtomicBool::new(false) };
        // A child that holds these pages would have them copied on the next write, and the kernel's copies into
        // the parent would then land in the wrong ones.
        // SAFETY: the range is the mapping just made; the advice changes what `fork` does, not its contents.
        unsafe { madvise(arena.base.as_ptr().cast(), len, Advice::LinuxDontFork) }?;
        Ok(arena)
    }

    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Has a huge page in place of the pages of a frame, a range of addresses that one can be mapped to.
    ///
    /// # Errors
    ///
    /// What `madvise(2)` fails with: for want of memory, or as somebody uses a page right now.
    pub(super) fn gather(&self, frame: usize) -> io::Result<()> {
        let offset = (frame * HUGE).checked_sub(self.base.addr().get());
        let Some(offset) = offset.filter(|offset| offset + HUGE <= self.len) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let start = self.base.as_ptr().wrapping_add(offset);
        // SAFETY: the range is within the mapping, and its contents stay as they are, whoever uses it meanwhile.
        if unsafe { libc::madvise(start.cast(), HUGE, libc::MADV_COLLAPSE) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Lets the mapping outlive everything (M1): the kernel may still write to it.
    pub(super) fn leak(&self) {
        self.leak.store(true, Ordering::Relaxed);
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if *self.leak.get_mut() {
            tracing::warn!(bytes = self.len, "entry memory is leaked: the kernel may still write to it");
            return;
        }
        // SAFETY: the mapping is this arena's own, and no slot or loan of it is left (M1): each holds an `Arc`.
        if let Err(error) = unsafe { munmap(self.base.as_ptr().cast(), self.len) } {
            tracing::warn!(%error, bytes = self.len, "cannot unmap entry memory");
        }
    }
}

/// Room for the entries of a queue: their payloads are next to each other, so that huge pages can hold them.
#[derive(Debug)]
pub(crate) struct Room {
    arena: Arc<Arena>,
    layout: Layout,
    /// Where the payloads begin.
    payloads: usize,
    /// Slots made so far, and in all.
    made: usize,
    count: usize,
}

impl Room {
    /// Maps room for `count` slots.
    ///
    /// # Errors
    ///
    /// What `mmap(2)` or `madvise(2)` fail with, `ENOMEM` above all.
    pub(crate) fn new(layout: Layout, count: usize) -> io::Result<Self> {
        let headers = header_len() * count;
        let most = layout.stride().checked_mul(count).and_then(|len| len.checked_add(HUGE));
        let arena = Arena::map(most.ok_or(io::ErrorKind::OutOfMemory)?)?;
        let base = arena.base.addr().get();
        let payloads = (base + headers).next_multiple_of(HUGE) - base;
        Ok(Self { arena: Arc::new(arena), layout, payloads, made: 0, count })
    }
}

/// The slots, one after the other, all owned by the server.
impl Iterator for Room {
    type Item = Slot;

    fn next(&mut self) -> Option<Slot> {
        let i = self.made;
        if i == self.count {
            return None;
        }
        self.made += 1;
        let (header, payload) = (i * header_len(), self.payloads + i * self.layout.payload());
        // SAFETY: `i < count`: the headers end before the payloads begin, those within the mapping, which has room for
        // all of them and the alignment; and each slot is made once, with its own part of it (M2).
        Some(unsafe { Slot::new(self.arena.clone(), header, payload, self.layout) })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::mem::SlotShared;

    /// How many of these bytes are on pages that are there, by proc_pid_pagemap(5).
    fn resident((start, len): (NonNull<u8>, usize)) -> usize {
        let (first, count) = (start.addr().get() / page_size(), len.div_ceil(page_size()));
        let mut pages = vec![0; count * 8];
        let pagemap = std::fs::File::open("/proc/self/pagemap").unwrap();
        pagemap.read_exact_at(&mut pages, first as u64 * 8).unwrap();
        // The highest bit of each page's 64 tells.
        pages.chunks(8).filter(|page| page[7] & 0x80 != 0).count() * page_size()
    }

    #[test]
    fn what_no_request_reached_costs_next_to_nothing() {
        // What a machine with that many possible CPUs has while it idles: room for a queue's first entries, and one of them.
        let layout = Layout::for_payload(1 << 20);
        let each = size_of::<Room>() + size_of::<Arena>() + size_of::<Slot>() + size_of::<SlotShared>();
        for queues in [1, 2, 64, 256] {
            let made = || {
                let mut room = Room::new(layout, 4).unwrap();
                let slot = room.next().unwrap();
                (slot, room)
            };
            let made: Vec<_> = (0..queues).map(|_| made()).collect();
            for [header, payload] in made.iter().map(|(slot, _)| slot.addresses()) {
                assert_eq!((resident(header), resident(payload)), (0, 0));
            }
            let space = (layout.stride() * 4 + HUGE) * queues;
            println!(
                "{queues} queues: {} MiB of address space, {} KiB of memory",
                space >> 20,
                each * queues / 1024
            );
        }
        assert!(each <= 384, "{each}");
    }

    #[test]
    fn payloads_of_a_room_share_huge_pages() {
        let layout = Layout::for_payload(1 << 20);
        let mut room = Room::new(layout, 3).unwrap();
        let mut slots: Vec<_> = room.next().into_iter().collect();
        slots.extend(&mut room);
        assert_eq!((slots.len(), room.count()), (3, 0));
        let shared: Vec<_> = slots.iter().map(|slot| slot.shared().clone()).collect();
        let frame = shared[0].frames().start;
        assert_eq!(shared[0].frames(), shared[1].frames());
        assert_eq!(shared.iter().map(|slot| slot.within(frame)).sum::<usize>(), HUGE);
        assert_eq!(shared[2].frames(), frame + 1..frame + 2);
        slots[1].payload_mut()[7] = 7;
        slots[0].header_area_mut()[8] = 8;
        // Where there is no memory for it, or it is not allowed, nothing changes.
        match shared[0].gather(frame) {
            Ok(()) => assert_eq!(resident((slots[0].addresses()[1].0, HUGE)), HUGE),
            Err(error) => println!("no huge page here: {error}"),
        }
        assert_eq!((slots[1].payload(8)[7], slots[0].header_area()[8]), (7, 8));
        // SAFETY: nobody uses it.
        unsafe { shared[0].release_pages() };
        assert_eq!(resident(slots[0].addresses()[1]), 0);
        assert_eq!(slots[1].payload(8)[7], 7);
        assert!(shared[2].gather(frame + 9).is_err());
    }
}
