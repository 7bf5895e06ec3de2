//! From an operation to the filesystem's method, and from its answer to bytes: one arm an opcode.

use std::ffi::CStr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use ringfuse_abi as abi;

use crate::fs::{BytesOut, Filesystem, Forgets, IoctlOut, Request};
use crate::mem::{ReadBuf, Slot, SlotShared};
use crate::proto::decode::{decode, wants_no_reply};
use crate::proto::dir::DirFiller;
use crate::proto::encode::{Block, Copied, Events, IoctlResult, Offset, Reply, XattrLen};
use crate::proto::op::{self, Operation};
use crate::proto::{Format, Malformed, Message};
use crate::types::{Entry, Errno, Fh, NodeId, Opened, Result, Written};

/// How a request lies in its slot.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Framing {
    /// In the header area and the payload, of which the kernel wrote that many bytes.
    Ring { header: abi::fuse_in_header, payload: usize },
    /// In one piece, of that many bytes.
    Device { header: abi::fuse_in_header, len: usize },
}

impl Framing {
    pub(crate) fn header(&self) -> &abi::fuse_in_header {
        match self {
            Self::Ring { header, .. } | Self::Device { header, .. } => header,
        }
    }

    /// How many bytes the kernel wrote, headers of the ring apart.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Ring { payload: size, .. } | Self::Device { len: size, .. } => *size,
        }
    }

    fn message(self, slot: &Slot, format: Format) -> std::result::Result<Message<'_>, Malformed> {
        match self {
            Self::Ring { header, payload } => {
                let op =
                    &slot.header_area()[abi::FUSE_URING_IN_OUT_HEADER_SZ..][..abi::FUSE_URING_OP_IN_OUT_SZ];
                Message::from_ring(header, op, slot.payload(payload), format)
            }
            Self::Device { len, .. } => Message::from_device(slot.device_area(len), format),
        }
    }
}

/// What goes back to the kernel: zero or a negated error number, and for zero the length of the body, which lies at
/// the start of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) error: i32,
    pub(crate) len: usize,
}

impl Outcome {
    pub(crate) const EMPTY: Self = Self { error: 0, len: 0 };

    pub(crate) fn failed(errno: Errno) -> Self {
        Self { error: -errno.raw(), len: 0 }
    }
}

/// What the session wants to know of requests that are not the filesystem's.
pub(crate) trait Extras {
    /// The kernel answers a retrieve notification.
    fn notify_reply(&self, reply: op::NotifyReply<'_>);
    /// A file was opened, and may have brought something that must live as long as it is open.
    fn opened(&self, node: NodeId, opened: &Opened);
    /// An open file was released.
    fn released(&self, node: NodeId, fh: Fh);
    /// A signal came for the program that waits for a request.
    fn interrupt(&self, interrupt: op::Interrupt);
}

/// Serves the request in `slot`. A handler that panics costs this request and no other (I7).
pub(crate) async fn serve<F: Filesystem>(
    fs: &F,
    extras: &impl Extras,
    format: Format,
    framing: Framing,
    slot: &mut Slot,
) -> Outcome {
    let shared = slot.shared().clone();
    let header = *framing.header();
    match AssertUnwindSafe(answer(fs, extras, format, framing, slot, &shared)).catch_unwind().await {
        Ok(Ok(len)) => Outcome { error: 0, len },
        Ok(Err(errno)) => Outcome::failed(errno),
        Err(_) => {
            tracing::error!(
                opcode = abi::opcode_name(header.opcode).unwrap_or("?"),
                unique = header.unique,
                node = header.nodeid,
                "a handler panicked: the request fails with EIO"
            );
            if wants_no_reply(header.opcode) { Outcome::EMPTY } else { Outcome::failed(Errno::EIO) }
        }
    }
}

async fn answer<F: Filesystem>(
    fs: &F,
    extras: &impl Extras,
    format: Format,
    framing: Framing,
    slot: &mut Slot,
    shared: &Arc<SlotShared>,
) -> Result<usize> {
    let header = *framing.header();
    let decoded = framing.message(slot, format).and_then(|message| decode(&message));
    let operation = decoded.map_err(|malformed| {
        if malformed != Malformed::Opcode {
            tracing::warn!(
                opcode = abi::opcode_name(header.opcode).unwrap_or("?"),
                unique = header.unique,
                "a request does not parse: {malformed}"
            );
        }
        malformed.errno()
    })?;
    let rq = &Request::new(header, shared);
    match operation {
        Operation::Lookup(op) => put(fs.lookup(rq, op).await, slot),
        Operation::Getattr(op) => put(fs.getattr(rq, op).await, slot),
        Operation::Read(op) => {
            let buf = slot.lend_read(op.size as usize);
            filled(fs.read(rq, op, buf).await?, shared)
        }
        Operation::Write(op) => {
            let data = slot.lend_write(op.size as usize);
            let written = fs.write(rq, op, data).await?;
            // More than was offered would make the program believe that bytes were written that never were.
            let written = if written.len() > op.size { Err(Errno::EIO) } else { Ok(written) };
            slot.all_home().await;
            put(written, slot)
        }
        Operation::Open(op) => {
            let opened = fs.open(rq, op).await?;
            extras.opened(op.node, &opened);
            put(Ok(opened), slot)
        }
        Operation::Create(op) => put(created(fs.create(rq, op).await, extras), slot),
        Operation::Flush(op) => put(fs.flush(rq, op).await, slot),
        Operation::Release(op) => {
            let released = fs.release(rq, op).await;
            extras.released(op.node, op.fh);
            put(released, slot)
        }
        Operation::Statx(op) => put(fs.statx(rq, op).await, slot),
        Operation::Setattr(op) => put(fs.setattr(rq, op).await, slot),
        Operation::Unlink(op) => put(fs.unlink(rq, op).await, slot),
        Operation::Mkdir(op) => put(fs.mkdir(rq, op).await, slot),
        Operation::Rmdir(op) => put(fs.rmdir(rq, op).await, slot),
        Operation::Rename(op) => put(fs.rename(rq, op).await, slot),
        Operation::Link(op) => put(fs.link(rq, op).await, slot),
        Operation::Symlink(op) => put(fs.symlink(rq, op).await, slot),
        Operation::Mknod(op) => put(fs.mknod(rq, op).await, slot),
        Operation::Tmpfile(op) => put(created(fs.tmpfile(rq, op).await, extras), slot),
        Operation::Statfs(op) => put(fs.statfs(rq, op).await, slot),
        Operation::Fsync(op) => put(fs.fsync(rq, op).await, slot),
        Operation::Opendir(op) => put(fs.opendir(rq, op).await, slot),
        Operation::Releasedir(op) => put(fs.releasedir(rq, op).await, slot),
        Operation::Fsyncdir(op) => put(fs.fsyncdir(rq, op).await, slot),
        Operation::Syncfs(op) => put(fs.syncfs(rq, op).await, slot),
        Operation::Readdir(op) => {
            let mut loan = slot.lend_read(op.size as usize);
            let mut out = DirFiller::new(loan.bytes_mut(), false);
            fs.readdir(rq, op, &mut out).await?;
            out.finish()
        }
        Operation::Readdirplus(op) => {
            let mut loan = slot.lend_read(op.size as usize);
            let mut out = DirFiller::new(loan.bytes_mut(), true);
            fs.readdirplus(rq, op, &mut out).await?;
            out.finish()
        }
        Operation::Readlink(op) => {
            // The kernel offers a page less one byte.
            let mut loan = slot.lend_read(4095);
            let mut out = BytesOut::new(loan.bytes_mut());
            fs.readlink(rq, op, &mut out).await?;
            Ok(out.len())
        }
        Operation::Setxattr(op) => put(fs.setxattr(rq, op).await, slot),
        Operation::Getxattr(op) => {
            // The name lies where the value will go, so it moves to the scratch area, by way of the stack: a block of
            // its own keeps the copy out of the future.
            let (node, size) = (op.node, op.size);
            let len = {
                let (copy, len) = copy_of(op.name)?;
                slot.scratch_mut()[..len].copy_from_slice(&copy[..len]);
                len
            };
            let name = CStr::from_bytes_with_nul(&slot.scratch()[..len]).map_err(|_| Errno::EIO)?;
            let mut loan = slot.lend_read(size as usize);
            let mut out = BytesOut::sized(loan.bytes_mut(), size);
            fs.getxattr(rq, op::Getxattr { node, name, size }, &mut out).await?;
            let len = out.len();
            drop(loan);
            sized(len, size, slot)
        }
        Operation::Listxattr(op) => {
            let mut loan = slot.lend_read(op.size as usize);
            let mut out = BytesOut::sized(loan.bytes_mut(), op.size);
            fs.listxattr(rq, op, &mut out).await?;
            let len = out.len();
            drop(loan);
            sized(len, op.size, slot)
        }
        Operation::Removexattr(op) => put(fs.removexattr(rq, op).await, slot),
        Operation::Getlk(op) => put(fs.getlk(rq, op).await, slot),
        Operation::Setlk(op) => put(fs.setlk(rq, op).await, slot),
        Operation::Access(op) => put(fs.access(rq, op).await, slot),
        Operation::Bmap(op) => put(fs.bmap(rq, op).await.map(Block), slot),
        Operation::Ioctl(op) => {
            // What comes in and what goes out share the payload, so the one makes way; an ioctl is rare.
            let input = op.input.to_vec();
            let op = op::Ioctl { input: &input, ..op };
            let mut loan = slot.lend_read(IoctlResult::SIZE + op.out_size as usize);
            let room = loan.bytes_mut().get_mut(IoctlResult::SIZE..).unwrap_or_default();
            let mut out = IoctlOut::new(room);
            fs.ioctl(rq, op, &mut out).await?;
            let (result, len) = out.finish();
            drop(loan);
            Ok(IoctlResult(result).encode(slot.payload_mut()) + len)
        }
        Operation::Poll(op) => put(fs.poll(rq, op).await.map(Events), slot),
        Operation::Fallocate(op) => put(fs.fallocate(rq, op).await, slot),
        Operation::Lseek(op) => put(fs.lseek(rq, op).await.map(Offset), slot),
        Operation::CopyFileRange(mut op) => {
            // The answer of the older opcode has 32 bits, of which the kernel takes a count below 2 GiB.
            op.len = op.len.min(0x7fff_f000);
            let copied = fs.copy_file_range(rq, op).await?;
            put(u32::try_from(copied).map(Written::new).map_err(|_| Errno::EIO), slot)
        }
        Operation::CopyFileRange64(op) => put(fs.copy_file_range(rq, op).await.map(Copied), slot),
        Operation::Forget(forget) => {
            fs.forget(Forgets::one(forget));
            Ok(0)
        }
        Operation::BatchForget(batch) => {
            fs.forget(Forgets::batch(batch));
            Ok(0)
        }
        Operation::NotifyReply(reply) => {
            extras.notify_reply(reply);
            Ok(0)
        }
        Operation::Interrupt(interrupt) => {
            extras.interrupt(interrupt);
            Ok(0)
        }
        // Sent on `fuseblk` mounts when they go; what there is to do is done at the end of the session.
        Operation::Destroy => Ok(0),
    }
}

/// Encodes an answer to the start of the payload.
fn put<T: Reply>(answer: Result<T>, slot: &mut Slot) -> Result<usize> {
    answer.map(|reply| reply.encode(slot.payload_mut()))
}

/// Notes the open file that came with an entry.
fn created(answer: Result<(Entry, Opened)>, extras: &impl Extras) -> Result<(Entry, Opened)> {
    answer.inspect(|(entry, opened)| {
        if let Some(node) = entry.node {
            extras.opened(node, opened);
        }
    })
}

/// A read answers by the buffer it was lent, which is where the answer has to be.
fn filled(buf: ReadBuf, shared: &Arc<SlotShared>) -> Result<usize> {
    if !buf.belongs_to(shared) {
        tracing::error!("a read gave back the buffer of another request: it fails with EIO");
        return Err(Errno::EIO);
    }
    Ok(buf.len())
}

/// An attribute or a list answers by its bytes, or by their number where no room was offered.
fn sized(len: usize, offered: u32, slot: &mut Slot) -> Result<usize> {
    if offered != 0 {
        return Ok(len);
    }
    let len = u32::try_from(len).map_err(|_| Errno::E2BIG)?;
    put(Ok(XattrLen(len)), slot)
}

/// The longest name of an extended attribute, `XATTR_NAME_MAX`, and its NUL.
const XATTR_NAME: usize = 256;

fn copy_of(name: &CStr) -> Result<([u8; XATTR_NAME], usize)> {
    let bytes = name.to_bytes_with_nul();
    let mut copy = [0; XATTR_NAME];
    copy.get_mut(..bytes.len()).ok_or(Errno::ERANGE)?.copy_from_slice(bytes);
    Ok((copy, bytes.len()))
}
