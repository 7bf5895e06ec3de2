//! Owned loans of a payload: the buffers of `read` and `write`.

use std::mem::MaybeUninit;
use std::sync::Arc;
use std::{fmt, slice};

use compio_buf::{IoBuf, IoBufMut, SetLen};

use super::slot::SlotShared;
use crate::types::Written;

/// The pieces in which data is copied, in bytes.
const PIECE: usize = 16 << 10;

/// The buffer that a `read` fills and gives back: memory that the kernel takes the reply from, so that what lands
/// here is copied once, by the kernel, and not before.
///
/// It is owned and `Send`: hand it to a compio operation, to another thread, keep it across an `await`. The
/// entry it belongs to serves no other request until it is given back or dropped.
///
/// ```no_run
/// # use ringfuse::{ReadBuf, Result};
/// # fn content(offset: u64) -> &'static [u8] { b"" }
/// async fn read(offset: u64, buf: ReadBuf) -> Result<ReadBuf> {
///     Ok(buf.copy_from(content(offset)))
/// }
/// ```
pub struct ReadBuf {
    slot: Arc<SlotShared>,
    limit: usize,
    len: usize,
}

impl ReadBuf {
    pub(super) fn new(slot: Arc<SlotShared>, limit: usize) -> Self {
        let limit = limit.min(slot.capacity());
        Self { slot, limit, len: 0 }
    }

    /// How many bytes are wanted, the size of the request: what it holds at most.
    pub fn capacity(&self) -> usize {
        self.limit
    }

    /// How many bytes are filled in: what the program will get.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is filled in: the end of the file.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of the buffer, to be written to; what was filled in is found at its start, the rest holds stale bytes.
    /// Say by [`ReadBuf::filled`] how many of them count.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: this loan is the only one, and nobody else makes a reference to the payload meanwhile (M3);
        // `limit` is within it, and all of it is initialised (M4).
        unsafe { slice::from_raw_parts_mut(self.slot.payload().as_ptr(), self.limit) }
    }

    /// The bytes filled in so far.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: as for `bytes_mut`; `len` is at most `limit`.
        unsafe { slice::from_raw_parts(self.slot.payload().as_ptr(), self.len) }
    }

    /// Sets how many bytes from the start count, at most the capacity.
    pub fn filled(mut self, len: usize) -> Self {
        self.len = len.min(self.limit);
        self
    }

    /// Fills it with the start of `data`, as much as fits.
    pub fn copy_from(mut self, data: &[u8]) -> Self {
        let len = data.len().min(self.limit);
        let pieces = self.bytes_mut()[..len].chunks_mut(PIECE).zip(data[..len].chunks(PIECE));
        // From the end, so that what the kernel copies first is what the processor's caches got last.
        pieces.rev().for_each(|(to, from)| to.copy_from_slice(from));
        self.filled(len)
    }

    /// Fills it with zeros up to `len` bytes, at most the capacity: a hole.
    pub fn zeroed(mut self, len: usize) -> Self {
        let len = len.min(self.limit);
        self.bytes_mut()[..len].fill(0);
        self.filled(len)
    }

    /// Appends the start of `data`, as much as fits, and returns how much that was.
    pub fn extend(&mut self, data: &[u8]) -> usize {
        let at = self.len;
        let len = data.len().min(self.limit - at);
        self.bytes_mut()[at..at + len].copy_from_slice(&data[..len]);
        self.len = at + len;
        len
    }

    /// Whether this is a loan of that slot.
    pub(crate) fn belongs_to(&self, slot: &Arc<SlotShared>) -> bool {
        Arc::ptr_eq(&self.slot, slot)
    }
}

impl Drop for ReadBuf {
    fn drop(&mut self) {
        self.slot.come_home();
    }
}

impl fmt::Debug for ReadBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadBuf").field("len", &self.len).field("capacity", &self.limit).finish()
    }
}

impl IoBuf for ReadBuf {
    fn as_init(&self) -> &[u8] {
        self.bytes()
    }
}

impl SetLen for ReadBuf {
    unsafe fn set_len(&mut self, len: usize) {
        self.len = len.min(self.limit);
    }
}

impl IoBufMut for ReadBuf {
    fn as_uninit(&mut self) -> &mut [MaybeUninit<u8>] {
        // SAFETY: as for `bytes_mut`. Whoever gets it may write uninitialised bytes in principle; compio's
        // operations are the receivers, and they let the kernel write whole bytes (M4).
        unsafe { slice::from_raw_parts_mut(self.slot.payload().as_ptr().cast(), self.limit) }
    }
}

/// The data of a `write`, where the kernel put it.
///
/// Owned and `Send` like [`ReadBuf`]: hand it to a compio operation as it is. The entry it belongs to serves no
/// other request until it is dropped, so keep data by [`WriteBuf::to_vec`], not by keeping this.
pub struct WriteBuf {
    slot: Arc<SlotShared>,
    len: usize,
}

impl WriteBuf {
    pub(super) fn new(slot: Arc<SlotShared>, len: usize) -> Self {
        let len = len.min(slot.capacity());
        Self { slot, len }
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: while the loan is out nobody writes to the payload (M3); `len` is within it, initialised (M4).
        unsafe { slice::from_raw_parts(self.slot.payload().as_ptr(), self.len) }
    }

    /// A copy of the bytes, to keep.
    pub fn to_vec(&self) -> Vec<u8> {
        self.bytes().to_vec()
    }

    /// All of it was taken: the answer to give for a whole write.
    pub fn written(&self) -> Written {
        Written::new(self.len as u32)
    }
}

impl Drop for WriteBuf {
    fn drop(&mut self) {
        self.slot.come_home();
    }
}

impl fmt::Debug for WriteBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteBuf").field("len", &self.len).finish()
    }
}

impl IoBuf for WriteBuf {
    fn as_init(&self) -> &[u8] {
        self.bytes()
    }
}

const _: () = {
    const fn send<T: Send + 'static>() {}
    send::<ReadBuf>();
    send::<WriteBuf>();
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::{Arena, Layout};

    #[test]
    fn data_is_copied_whole_whatever_the_pieces() {
        let [slot] = Arena::slots(Layout::for_payload(1 << 20), 1).unwrap().try_into().unwrap();
        for len in [0, 1, PIECE - 1, PIECE, PIECE + 1, 5 * PIECE - 7, 1 << 20] {
            // Other bytes each time, as the buffer still has the last ones.
            let data: Vec<u8> = (len..len + (1 << 20)).map(|at| (at % 251) as u8).collect();
            let copied = slot.lend_read(1 << 20).copy_from(&data[..len]);
            assert!(copied.bytes() == &data[..len], "{len}");
            drop(copied);
            let cut = slot.lend_read(len).copy_from(&data);
            assert!(cut.bytes() == &data[..len], "cut to {len}");
        }
    }
}
