//! The mapping that entries live in.

use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use rustix::param::page_size;

use super::slot::Slot;

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
                unsafe { Slot::new(arena.clone(), offset, layout) }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::SlotShared;

    /// Resident KiB of the mapping that starts there.
    fn resident(base: NonNull<u8>) -> usize {
        let start = format!("{:x}-", base.as_ptr().addr());
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mapping = maps.lines().skip_while(|line| !line.starts_with(&start));
        let rss = mapping.skip(1).find_map(|line| line.strip_prefix("Rss:")).unwrap();
        rss.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn what_no_request_reached_costs_next_to_nothing() {
        // What a machine with that many possible CPUs has while it idles: an entry of each queue.
        let layout = Layout::for_payload(1 << 20);
        for queues in [1, 2, 64, 256] {
            let slots = Arena::slots(layout, queues).unwrap();
            let base = NonNull::new(slots[0].addresses()[0].0.as_ptr()).unwrap();
            assert_eq!(resident(base), 0);
            println!(
                "{queues} queues: {} MiB of address space, {} KiB of memory",
                (layout.stride() * queues) >> 20,
                (size_of::<Slot>() + size_of::<SlotShared>()) * queues / 1024
            );
        }
        assert!(size_of::<Slot>() + size_of::<SlotShared>() <= 256);
    }
}
