//! Replies that let the kernel cache: entries and attributes with their times to live.

use std::time::Duration;

use super::{Attr, Generation, NodeId, Statx};

/// How long the kernel may keep a name or attributes without asking again, where the filesystem says nothing.
pub(super) const DEFAULT_TTL: Duration = Duration::from_secs(1);

/// A directory entry: the answer of `lookup`, and of all that create (`struct fuse_entry_out`).
///
/// Each positive entry that reaches the kernel adds one to the node's lookup count; the kernel gives the
/// counts back by [`forget`](crate::Filesystem::forget).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The node, or `None` for a negative entry: the name does not exist, and the kernel may remember it.
    pub node: Option<NodeId>,
    /// Tells a reused node id apart.
    pub generation: Generation,
    /// How long the name may be taken to lead to this node.
    pub entry_ttl: Duration,
    /// How long the attributes may be taken to hold.
    pub attr_ttl: Duration,
    /// The attributes.
    pub attr: Attr,
}

impl Entry {
    /// An entry for a node, both times to live at one second.
    pub const fn new(node: NodeId, attr: Attr) -> Self {
        Self {
            node: Some(node),
            generation: Generation(0),
            entry_ttl: DEFAULT_TTL,
            attr_ttl: DEFAULT_TTL,
            attr,
        }
    }

    /// A negative entry: "no such name", to be remembered this long. Answering
    /// [`Errno::ENOENT`](crate::Errno::ENOENT) instead says the same without anything to remember.
    pub const fn negative(ttl: Duration) -> Self {
        Self {
            node: None,
            generation: Generation(0),
            entry_ttl: ttl,
            attr_ttl: Duration::ZERO,
            attr: Attr::file(0, 0),
        }
    }

    /// Sets both times to live.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.entry_ttl = ttl;
        self.attr_ttl = ttl;
        self
    }

    /// Sets how long the name may be remembered.
    pub const fn entry_ttl(mut self, ttl: Duration) -> Self {
        self.entry_ttl = ttl;
        self
    }

    /// Sets how long the attributes may be remembered.
    pub const fn attr_ttl(mut self, ttl: Duration) -> Self {
        self.attr_ttl = ttl;
        self
    }

    /// Sets the generation.
    pub const fn generation(mut self, generation: Generation) -> Self {
        self.generation = generation;
        self
    }
}

/// Attributes and how long they hold: the answer of `getattr` and `setattr` (`struct fuse_attr_out`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttrReply {
    /// The attributes.
    pub attr: Attr,
    /// How long the kernel may take them to hold.
    pub ttl: Duration,
}

impl AttrReply {
    /// Attributes that hold for one second.
    pub const fn new(attr: Attr) -> Self {
        Self { attr, ttl: DEFAULT_TTL }
    }

    /// Sets how long they hold.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }
}

impl From<Attr> for AttrReply {
    fn from(attr: Attr) -> Self {
        Self::new(attr)
    }
}

/// Extended attributes of an inode and how long they hold: the answer of `statx` (`struct fuse_statx_out`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatxReply {
    /// What is known of the inode.
    pub statx: Statx,
    /// How long the kernel may take the basic attributes to hold.
    pub ttl: Duration,
}

impl StatxReply {
    /// Attributes that hold for one second.
    pub const fn new(statx: Statx) -> Self {
        Self { statx, ttl: DEFAULT_TTL }
    }

    /// Sets how long they hold.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }
}

impl From<Statx> for StatxReply {
    fn from(statx: Statx) -> Self {
        Self::new(statx)
    }
}
