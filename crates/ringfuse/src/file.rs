//! Moving bytes between files and payloads, without a copy in between.

use std::io;
use std::os::fd::AsFd;

use compio_buf::{BufResult, IntoInner, IoBuf};
use compio_driver::op::{ReadAt, WriteAt};
use rustix::io::{Errno as Raw, ReadWriteFlags, preadv2, pwritev2};

use crate::mem::{ReadBuf, WriteBuf};
use crate::types::{Result, Written};

/// What came of a try that must not wait.
enum Tried {
    /// So many bytes were moved. Zero for a read is the end of the file.
    Moved(usize),
    /// It would have waited, or the file can not tell.
    Later,
}

fn tried(moved: std::result::Result<usize, Raw>) -> Result<Tried> {
    match moved {
        Ok(len) => Ok(Tried::Moved(len)),
        Err(Raw::AGAIN | Raw::OPNOTSUPP | Raw::INTR) => Ok(Tried::Later),
        Err(error) => Err(io::Error::from(error).into()),
    }
}

impl ReadBuf {
    /// Fills the buffer from a file: as much as it holds, or up to the file's end. The bytes land where the kernel takes the
    /// reply from, without a copy in between.
    ///
    /// What the page cache has is taken at once; for the rest an io_uring operation is awaited, during which the worker serves
    /// others. `file` is kept open until that is done: pass an `Arc` of it, for instance.
    ///
    /// # Errors
    ///
    /// Those of `pread(2)`. If some bytes were read before, they are the answer instead.
    pub async fn fill_from(self, file: impl AsFd + Clone + 'static, offset: u64) -> Result<Self> {
        self.fill(file, offset, true).await
    }

    /// As [`ReadBuf::fill_from`], for a file opened with `O_DIRECT`: nothing is tried at once, since that would wait for the
    /// device. Offset, length and the file's own demands of alignment are the caller's to see to; the buffer starts a page.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn fill_from_direct(self, file: impl AsFd + Clone + 'static, offset: u64) -> Result<Self> {
        self.fill(file, offset, false).await
    }

    async fn fill(mut self, file: impl AsFd + Clone + 'static, offset: u64, cached: bool) -> Result<Self> {
        let wanted = self.capacity();
        let mut len = 0;
        while len < wanted {
            let at = offset + len as u64;
            let room = io::IoSliceMut::new(&mut self.bytes_mut()[len..]);
            let at_once = || tried(preadv2(&file, &mut [room], at, ReadWriteFlags::NOWAIT));
            match if cached { at_once() } else { Ok(Tried::Later) } {
                Ok(Tried::Moved(0)) => break,
                Ok(Tried::Moved(moved)) => {
                    len += moved;
                    continue;
                }
                Ok(Tried::Later) => {}
                Err(_) if len > 0 => break,
                Err(error) => return Err(error),
            }
            self = self.filled(len);
            let BufResult(read, rest) =
                compio_runtime::submit(ReadAt::new(file.clone(), at, self.slice(len..))).await.into_inner();
            self = rest.into_inner();
            match read {
                Ok(0) => break,
                Ok(moved) => len += moved,
                Err(_) if len > 0 => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.filled(len))
    }
}

impl WriteBuf {
    /// Writes all of the buffer to a file, from where the kernel put it, without a copy in between; and answers with how much
    /// that was.
    ///
    /// What can be done without waiting is done at once; for the rest an io_uring operation is awaited, during which the
    /// worker serves others. `file` is kept open until that is done: pass an `Arc` of it, for instance.
    ///
    /// # Errors
    ///
    /// Those of `pwrite(2)`. If some bytes were written before, their number is the answer instead.
    pub async fn drain_to(self, file: impl AsFd + Clone + 'static, offset: u64) -> Result<Written> {
        self.drain(file, offset, true).await
    }

    /// As [`WriteBuf::drain_to`], for a file opened with `O_DIRECT`: nothing is tried at once, since that would wait for the
    /// device. Offset, length and the file's own demands of alignment are the caller's to see to; the buffer starts a page.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn drain_to_direct(self, file: impl AsFd + Clone + 'static, offset: u64) -> Result<Written> {
        self.drain(file, offset, false).await
    }

    async fn drain(self, file: impl AsFd + Clone + 'static, offset: u64, cached: bool) -> Result<Written> {
        let whole = self.len();
        let mut buf = self;
        let mut len = 0;
        while len < whole {
            let at = offset + len as u64;
            let bytes = io::IoSlice::new(&buf.bytes()[len..]);
            let at_once = || tried(pwritev2(&file, &[bytes], at, ReadWriteFlags::NOWAIT));
            match if cached { at_once() } else { Ok(Tried::Later) } {
                Ok(Tried::Moved(0)) => break,
                Ok(Tried::Moved(moved)) => {
                    len += moved;
                    continue;
                }
                Ok(Tried::Later) => {}
                Err(_) if len > 0 => break,
                Err(error) => return Err(error),
            }
            let BufResult(written, rest) =
                compio_runtime::submit(WriteAt::new(file.clone(), at, buf.slice(len..))).await.into_inner();
            buf = rest.into_inner();
            match written {
                Ok(0) => break,
                Ok(moved) => len += moved,
                Err(_) if len > 0 => break,
                Err(error) => return Err(error.into()),
            }
        }
        len.try_into()
    }
}
