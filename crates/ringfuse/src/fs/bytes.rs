//! Replies of a length that the filesystem decides: link targets, extended attributes, ioctl results.

use crate::types::{Errno, Result};

/// Takes the bytes of a link's target, of an extended attribute, or of a list of their names.
///
/// Of an attribute or a list a program may ask the length alone, by offering no room (`getxattr(2)`); the methods
/// here deal with that, so that a filesystem need not.
#[derive(Debug)]
pub struct BytesOut<'a> {
    out: &'a mut [u8],
    len: usize,
    /// No bytes are wanted, but their number.
    measure: bool,
}

impl<'a> BytesOut<'a> {
    /// Room for at most `out`.
    pub(crate) fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0, measure: false }
    }

    /// Room for `size` bytes, or, with a size of zero, for a length.
    pub(crate) fn sized(out: &'a mut [u8], size: u32) -> Self {
        let size = (size as usize).min(out.len());
        Self { out: &mut out[..size], len: 0, measure: size == 0 }
    }

    /// Whether only the length is wanted.
    pub fn is_size_query(&self) -> bool {
        self.measure
    }

    /// How many bytes there is room for; zero where only the length is wanted.
    pub fn capacity(&self) -> usize {
        self.out.len()
    }

    /// Appends bytes, or counts them where only the length is wanted.
    ///
    /// # Errors
    ///
    /// `ERANGE` where they do not fit: pass it on.
    pub fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.len.checked_add(bytes.len()).ok_or(Errno::ERANGE)?;
        if !self.measure {
            self.out.get_mut(self.len..end).ok_or(Errno::ERANGE)?.copy_from_slice(bytes);
        }
        self.len = end;
        Ok(())
    }

    /// Appends a name of an extended attribute and the NUL that ends it in a list.
    ///
    /// # Errors
    ///
    /// As for [`BytesOut::put`].
    pub fn put_name(&mut self, name: impl AsRef<[u8]>) -> Result<()> {
        self.put(name.as_ref())?;
        self.put(&[0])
    }

    /// Lets a system call of the kind of `getxattr(2)` fill the room: it is given the buffer, an empty one where
    /// only the length is wanted, and returns the length.
    ///
    /// # Errors
    ///
    /// What `fill` fails with; `ERANGE` where it claims more than there is room for.
    pub fn fill_with(&mut self, fill: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<()> {
        let at = self.len.min(self.out.len());
        let room = &mut self.out[at..];
        let limit = room.len();
        let len = fill(room)?;
        if !self.measure && len > limit {
            return Err(Errno::ERANGE);
        }
        self.len += len;
        Ok(())
    }

    /// How many bytes were put.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

/// Takes what an `ioctl` hands back: the bytes that go to the program, and the value that the call returns.
#[derive(Debug)]
pub struct IoctlOut<'a> {
    bytes: BytesOut<'a>,
    result: i32,
}

impl<'a> IoctlOut<'a> {
    pub(crate) fn new(out: &'a mut [u8]) -> Self {
        Self { bytes: BytesOut::new(out), result: 0 }
    }

    /// How many bytes go back to the program at most.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Appends bytes for the program.
    ///
    /// # Errors
    ///
    /// `ERANGE` where they do not fit.
    pub fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.put(bytes)
    }

    /// Sets what `ioctl(2)` returns; zero unless set.
    pub fn set_result(&mut self, result: i32) {
        self.result = result;
    }

    /// The return value, and how many bytes were put.
    pub(crate) fn finish(self) -> (i32, usize) {
        (self.result, self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_query_counts_and_writes_nothing() {
        let mut room = [9; 4];
        let mut out = BytesOut::sized(&mut room, 0);
        assert!(out.is_size_query());
        out.put_name("user.long.name").unwrap();
        assert_eq!(out.len(), 15);
        assert_eq!(room, [9; 4]);
    }

    #[test]
    fn what_does_not_fit_is_erange() {
        let mut room = [0; 16];
        let mut out = BytesOut::sized(&mut room, 4);
        out.put(b"abc").unwrap();
        assert_eq!(out.put(b"de"), Err(Errno::ERANGE));
        out.put(b"d").unwrap();
        assert_eq!(out.len(), 4);
        assert_eq!(&room[..5], b"abcd\0");
    }

    #[test]
    fn a_system_call_fills_or_measures() {
        let mut room = [0; 8];
        let mut out = BytesOut::sized(&mut room, 8);
        out.fill_with(|buf| {
            buf[..2].copy_from_slice(b"ok");
            Ok(2)
        })
        .unwrap();
        assert_eq!((out.len(), out.fill_with(|_| Ok(7))), (2, Err(Errno::ERANGE)));
        let mut query = BytesOut::sized(&mut room, 0);
        query.fill_with(|buf| Ok(buf.len() + 300)).unwrap();
        assert_eq!(query.len(), 300);
    }
}
