//! `/dev/fuse`: one `read(2)` a request, one `write(2)` or `writev(2)` a reply.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use ringfuse_abi as abi;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use zerocopy::IntoBytes;

use crate::mem::Slot;
use crate::proto::encode::out_header;
use crate::types::BackingId;

/// What a read of the device brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// A message of this many bytes.
    Message(usize),
    /// Nothing is there yet.
    Nothing,
    /// The mount is gone, and nothing will come any more.
    Ended,
}

/// A reply in one piece. The kernel looks up each page that it copies from, which costs more than to copy so little: so
/// it lies in one page.
#[repr(align(512))]
struct Small([u8; 512]);

/// An open `/dev/fuse` that belongs to a mount.
#[derive(Debug)]
pub(crate) struct Device {
    fd: Arc<OwnedFd>,
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Device {
    /// Takes over an open device, and makes its reads return instead of wait.
    pub(crate) fn new(fd: Arc<OwnedFd>) -> io::Result<Self> {
        fcntl_setfl(&fd, fcntl_getfl(&fd)? | OFlags::NONBLOCK)?;
        Ok(Self { fd })
    }

    /// A further channel to the same mount, with a queue of replies of its own.
    pub(crate) fn clone_channel(&self) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = rustix::fs::open("/dev/fuse", flags, Mode::empty())?;
        let source = self.fd.as_raw_fd() as u32;
        // SAFETY: the command reads one `u32` from the address, and `source` lives through the call.
        let done = unsafe { libc::ioctl(fd.as_raw_fd(), abi::FUSE_DEV_IOC_CLONE as libc::Ioctl, &source) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(Self { fd: Arc::new(fd) }) }
    }

    /// Registers a file that the kernel may read and write by itself.
    pub(crate) fn open_backing(&self, file: BorrowedFd<'_>) -> io::Result<BackingId> {
        let map = abi::fuse_backing_map { fd: file.as_raw_fd(), flags: 0, padding: 0 };
        let request = abi::FUSE_DEV_IOC_BACKING_OPEN as libc::Ioctl;
        // SAFETY: the command reads a `fuse_backing_map` from the address, and `map` lives through the call.
        let id = unsafe { libc::ioctl(self.fd.as_raw_fd(), request, &map) };
        if id <= 0 { Err(io::Error::last_os_error()) } else { Ok(BackingId::new(id)) }
    }

    /// Ends a registration; files opened with it keep it in use.
    pub(crate) fn close_backing(&self, id: BackingId) -> io::Result<()> {
        let id = id.get() as u32;
        let request = abi::FUSE_DEV_IOC_BACKING_CLOSE as libc::Ioctl;
        // SAFETY: the command reads a `u32` from the address, and `id` lives through the call.
        let done = unsafe { libc::ioctl(self.fd.as_raw_fd(), request, &id) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Reads a request into a slot.
    pub(crate) fn receive(&self, slot: &mut Slot) -> io::Result<Received> {
        self.receive_bytes(slot.device_area_mut())
    }

    /// Reads a request. The buffer must have room for any: the kernel refuses to use a smaller one.
    pub(crate) fn receive_bytes(&self, buf: &mut [u8]) -> io::Result<Received> {
        loop {
            return match rustix::io::read(&self.fd, &mut *buf) {
                Ok(0) => Ok(Received::Ended),
                Ok(len) => Ok(Received::Message(len)),
                Err(Errno::AGAIN) => Ok(Received::Nothing),
                // ENOENT: the request was interrupted while it was being read, and is gone.
                Err(Errno::INTR | Errno::NOENT) => continue,
                Err(Errno::NODEV | Errno::CONNABORTED | Errno::NOTCONN) => Ok(Received::Ended),
                Err(error) => Err(error.into()),
            };
        }
    }

    /// Whether there is a request that nobody has read, or the device is at its end.
    pub(crate) fn request_waits(&self) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(self.as_fd(), PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// Answers a request, with the body at the start of the slot's payload.
    pub(crate) fn reply(&self, unique: u64, error: i32, body: &[u8]) -> io::Result<()> {
        let header = out_header(unique, error, body.len());
        let header = header.as_bytes();
        let len = header.len() + body.len();
        let mut small = Small([0; _]);
        let written = if let Some(whole) = small.0.get_mut(..len) {
            let (head, tail) = whole.split_at_mut(header.len());
            head.copy_from_slice(header);
            tail.copy_from_slice(body);
            rustix::io::write(&self.fd, whole)
        } else {
            rustix::io::writev(&self.fd, &[IoSlice::new(header), IoSlice::new(body)])
        };
        match written {
            Ok(_) => Ok(()),
            // ENOENT: nobody waits for it any more. The others: the mount is gone, which the next read will tell.
            Err(Errno::NOENT | Errno::NODEV | Errno::CONNABORTED | Errno::NOTCONN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends a whole notification. May wait for locks that requests in progress hold.
    pub(crate) fn notify(&self, message: &[u8]) -> io::Result<()> {
        rustix::io::retry_on_intr(|| rustix::io::write(&self.fd, message))?;
        Ok(())
    }
}
