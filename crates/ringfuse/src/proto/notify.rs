//! Messages to the kernel that answer no request.

use ringfuse_abi as abi;
use zerocopy::IntoBytes;

use super::encode::out_header;
use crate::types::{NodeId, PollHandle};

/// A notification: what is to be said to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notification<'a> {
    Poll { kh: PollHandle },
    InvalInode { node: NodeId, offset: i64, len: i64 },
    InvalEntry { parent: NodeId, name: &'a [u8], expire: bool },
    Delete { parent: NodeId, child: NodeId, name: &'a [u8] },
    Store { node: NodeId, offset: u64, data: &'a [u8] },
    Retrieve { unique: u64, node: NodeId, offset: u64, size: u32 },
    Resend,
    IncEpoch,
    Prune { nodes: &'a [NodeId] },
}

impl Notification<'_> {
    /// The code, which stands in the error field of the header.
    fn code(&self) -> i32 {
        match self {
            Self::Poll { .. } => abi::FUSE_NOTIFY_POLL,
            Self::InvalInode { .. } => abi::FUSE_NOTIFY_INVAL_INODE,
            Self::InvalEntry { .. } => abi::FUSE_NOTIFY_INVAL_ENTRY,
            Self::Delete { .. } => abi::FUSE_NOTIFY_DELETE,
            Self::Store { .. } => abi::FUSE_NOTIFY_STORE,
            Self::Retrieve { .. } => abi::FUSE_NOTIFY_RETRIEVE,
            Self::Resend => abi::FUSE_NOTIFY_RESEND,
            Self::IncEpoch => abi::FUSE_NOTIFY_INC_EPOCH,
            Self::Prune { .. } => abi::FUSE_NOTIFY_PRUNE,
        }
    }

    /// Appends the whole message to `out`. A notification is no hot path, so it may allocate.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + size_of::<abi::fuse_out_header>(), 0);
        let mut put = |bytes: &[u8]| out.extend_from_slice(bytes);
        match *self {
            Self::Poll { kh } => put(abi::fuse_notify_poll_wakeup_out { kh: kh.get() }.as_bytes()),
            Self::InvalInode { node, offset, len } => {
                put(abi::fuse_notify_inval_inode_out { ino: node.get(), off: offset, len }.as_bytes());
            }
            Self::InvalEntry { parent, name, expire } => {
                let flags = if expire { abi::FUSE_EXPIRE_ONLY } else { 0 };
                let namelen = name.len() as u32;
                let head = abi::fuse_notify_inval_entry_out { parent: parent.get(), namelen, flags };
                put(head.as_bytes());
                put(name);
                put(&[0]);
            }
            Self::Delete { parent, child, name } => {
                let (parent, child) = (parent.get(), child.get());
                let namelen = name.len() as u32;
                put(abi::fuse_notify_delete_out { parent, child, namelen, padding: 0 }.as_bytes());
                put(name);
                put(&[0]);
            }
            Self::Store { node, offset, data } => {
                let size = data.len() as u32;
                let head = abi::fuse_notify_store_out { nodeid: node.get(), offset, size, padding: 0 };
                put(head.as_bytes());
                put(data);
            }
            Self::Retrieve { unique, node, offset, size } => {
                let head = abi::fuse_notify_retrieve_out {
                    notify_unique: unique,
                    nodeid: node.get(),
                    offset,
                    size,
                    padding: 0,
                };
                put(head.as_bytes());
            }
            Self::Resend | Self::IncEpoch => {}
            Self::Prune { nodes } => {
                let count = nodes.len() as u32;
                put(abi::fuse_notify_prune_out { count, ..Default::default() }.as_bytes());
                for node in nodes {
                    put(node.get().as_bytes());
                }
            }
        }
        let body = out.len() - start - size_of::<abi::fuse_out_header>();
        let header = out_header(0, self.code(), body);
        out[start..start + size_of_val(&header)].copy_from_slice(header.as_bytes());
    }
}
