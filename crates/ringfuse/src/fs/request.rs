//! Who asks, and whether they still want an answer.

use std::fmt;
use std::future;
use std::sync::atomic::Ordering;
use std::task::Poll;

use ringfuse_abi as abi;

use crate::mem::SlotShared;
use crate::types::{NodeId, Unique};

/// The program that a request was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    /// Its filesystem user id.
    pub uid: u32,
    /// Its filesystem group id. The supplementary groups do not come along.
    pub gid: u32,
    /// Its process id (the thread's, strictly), as the mounter's pid namespace numbers it; zero where it is not
    /// visible from there, or where the kernel itself asks.
    pub pid: u32,
}

/// The circumstances of a request: its number, its caller, its cancellation.
pub struct Request<'a> {
    header: abi::fuse_in_header,
    slot: &'a SlotShared,
}

impl<'a> Request<'a> {
    pub(crate) fn new(header: abi::fuse_in_header, slot: &'a SlotShared) -> Self {
        Self { header, slot }
    }

    /// The number of the request, distinct among those in flight.
    pub fn unique(&self) -> Unique {
        Unique(self.header.unique)
    }

    /// The operation's number, `FUSE_*` of the kernel's header.
    pub fn opcode(&self) -> u32 {
        self.header.opcode
    }

    /// The node that the header names; each operation has it in its own fields too.
    pub fn node(&self) -> Option<NodeId> {
        NodeId::new(self.header.nodeid)
    }

    /// The program that asks, or `None` where the kernel does not say: with
    /// [`ALLOW_IDMAP`](crate::Capabilities::ALLOW_IDMAP) for all operations that create nothing. Where it does, the ids are
    /// those that the mount maps the program's to.
    pub fn caller(&self) -> Option<Caller> {
        // The kernel's mark for "no id", `FUSE_INVALID_UIDGID`.
        if self.header.uid == u32::MAX {
            return None;
        }
        Some(Caller { uid: self.header.uid, gid: self.header.gid, pid: self.header.pid })
    }

    /// The process id of the program that asks, as in [`Caller::pid`], also where there is no caller.
    pub fn pid(&self) -> u32 {
        self.header.pid
    }

    /// Whether a signal came for the program that waits. It goes on waiting until the request is answered, by
    /// convention with [`Errno::EINTR`](crate::Errno::EINTR) if nothing was done yet.
    pub fn is_cancelled(&self) -> bool {
        self.slot.cancelled.load(Ordering::Acquire)
    }

    /// Waits for [`Request::is_cancelled`]. Where no signal comes, for ever: to be used beside the work itself.
    pub async fn cancelled(&self) {
        future::poll_fn(|cx| {
            self.slot.cancel.register(cx.waker());
            if self.is_cancelled() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("unique", &self.header.unique)
            .field("opcode", &abi::opcode_name(self.header.opcode).unwrap_or("?"))
            .field("node", &self.header.nodeid)
            .field("uid", &self.header.uid)
            .field("pid", &self.header.pid)
            .finish_non_exhaustive()
    }
}
