//! `FUSE_INIT`: the first message of a mount, and its answer.

use std::time::{Duration, Instant};

use ringfuse_abi as abi;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::AsFd;
use zerocopy::IntoBytes;

use crate::error::{Error, ErrorKind};
use crate::fs::{Agreement, Limits, Negotiation};
use crate::proto::init;
use crate::transport::device::{Device, Received};

/// How long the kernel may take to say hello. It does so when the mount is made, so that it is there already.
const PATIENCE: Duration = Duration::from_secs(10);

/// The protocol as it was eight years ago; before it replies had other sizes.
const OLDEST_MINOR: u32 = 27;

/// A handshake under way: the kernel has spoken.
#[derive(Debug)]
pub(crate) struct Handshake {
    unique: u64,
    pub(crate) negotiation: Negotiation,
}

impl Handshake {
    /// Waits for the kernel's message.
    pub(crate) fn begin(device: &Device, limits: Limits) -> Result<Self, Error> {
        let mut buf = vec![0; 8192.max(limits.max_write as usize + 4096)];
        loop {
            let (unique, kernel) = read_init(device, &mut buf)?;
            if kernel.major > abi::FUSE_KERNEL_VERSION {
                // The kernel then asks again, as a kernel of the version it is told.
                let ours = abi::fuse_init_out { major: abi::FUSE_KERNEL_VERSION, ..Default::default() };
                answer(device, unique, 0, &ours)?;
                continue;
            }
            let (major, minor) = (kernel.major, kernel.minor);
            if major < abi::FUSE_KERNEL_VERSION || minor < OLDEST_MINOR {
                let _ = device.reply(unique, -libc::EPROTO, &[]);
                return Err(Error::new(
                    ErrorKind::Handshake,
                    format!("this kernel's FUSE is version {major}.{minor}, and 7.{OLDEST_MINOR} is needed at least"),
                )
                .remedy("use Linux 4.18 or newer"));
            }
            return Ok(Self { unique, negotiation: Negotiation::new(kernel, limits) });
        }
    }

    /// Answers with what was agreed on. Nothing about the session may fail after it.
    pub(crate) fn accept(&self, device: &Device, agreement: &Agreement) -> Result<(), Error> {
        answer(device, self.unique, 0, &agreement.reply)
    }

    /// Answers that nothing comes of it: the mount is dead then.
    pub(crate) fn refuse(&self, device: &Device) {
        let _ = device.reply(self.unique, -libc::EPROTO, &[]);
    }
}

fn answer(device: &Device, unique: u64, error: i32, out: &abi::fuse_init_out) -> Result<(), Error> {
    device.reply(unique, error, out.as_bytes()).map_err(|error| {
        Error::new(ErrorKind::Handshake, "cannot answer the kernel's first message").because(error)
    })
}

fn read_init(device: &Device, buf: &mut [u8]) -> Result<(u64, abi::fuse_init_in), Error> {
    let failed = |what: &str| Error::new(ErrorKind::Handshake, what.to_owned());
    let deadline = Instant::now() + PATIENCE;
    loop {
        match device.receive_bytes(buf) {
            Ok(Received::Message(len)) => {
                return init::decode(&buf[..len]).map_err(|malformed| {
                    failed("the kernel's first message is not understood").because(malformed)
                });
            }
            Ok(Received::Ended) => {
                return Err(failed("the mount was gone before its first message came"));
            }
            Ok(Received::Nothing) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(failed("the kernel sent no first message")
                        .remedy("is the device of a mount, and was it not served before?"));
                }
                let mut fds = [PollFd::from_borrowed_fd(device.as_fd(), PollFlags::IN)];
                let timespec = Timespec::try_from(left).ok();
                let _ = poll(&mut fds, timespec.as_ref());
            }
            Err(error) => return Err(failed("cannot read the kernel's first message").because(error)),
        }
    }
}
