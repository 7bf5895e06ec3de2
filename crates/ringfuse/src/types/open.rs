//! Opening files: the flags that come in, and what goes out.

use std::any::Any;
use std::sync::Arc;

use super::{BackingId, Errno, Fh};

/// The flags of an `open(2)`, as the kernel passes them: `O_CREAT`, `O_EXCL` and `O_NOCTTY` are taken out, and
/// `O_TRUNC` too where [`ATOMIC_O_TRUNC`](crate::Capabilities::ATOMIC_O_TRUNC) was not negotiated (the
/// truncation then comes as a `setattr`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct OpenFlags(pub u32);

impl OpenFlags {
    /// The raw bits, `O_*` of `open(2)`.
    pub const fn bits(self) -> i32 {
        self.0 as i32
    }

    /// Whether all bits of `flag`, an `O_*` value, are set.
    pub const fn contains(self, flag: i32) -> bool {
        self.0 & flag as u32 == flag as u32
    }

    /// Whether the file is opened for reading.
    pub const fn reads(self) -> bool {
        matches!(self.bits() & libc::O_ACCMODE, libc::O_RDONLY | libc::O_RDWR)
    }

    /// Whether the file is opened for writing.
    pub const fn writes(self) -> bool {
        matches!(self.bits() & libc::O_ACCMODE, libc::O_WRONLY | libc::O_RDWR)
    }
}

/// An open file or directory: the answer of `open`, `opendir`, and, beside an entry, of `create` and `tmpfile`
/// (`struct fuse_open_out`).
#[derive(Clone, Debug, Default)]
pub struct Opened {
    fh: Fh,
    flags: u32,
    backing: Option<(BackingId, Keep)>,
}

/// Something that must live as long as a file is open.
pub(crate) type Keep = Arc<dyn Any + Send + Sync>;

impl Opened {
    /// An open file that later requests name by this handle.
    pub const fn new(fh: Fh) -> Self {
        Self { fh, flags: 0, backing: None }
    }

    fn with(mut self, flag: u32) -> Self {
        self.flags |= flag;
        self
    }

    /// `FOPEN_DIRECT_IO`: reads and writes bypass the page cache and reach the filesystem as the program makes
    /// them. A shared `mmap` then fails unless
    /// [`DIRECT_IO_ALLOW_MMAP`](crate::Capabilities::DIRECT_IO_ALLOW_MMAP) was negotiated.
    pub fn direct_io(self) -> Self {
        self.with(ringfuse_abi::FOPEN_DIRECT_IO)
    }

    /// `FOPEN_KEEP_CACHE`: what the page cache holds of the file stays valid; without it each open drops it.
    pub fn keep_cache(self) -> Self {
        self.with(ringfuse_abi::FOPEN_KEEP_CACHE)
    }

    /// `FOPEN_NONSEEKABLE`: `lseek(2)` on the file fails.
    pub fn nonseekable(self) -> Self {
        self.with(ringfuse_abi::FOPEN_NONSEEKABLE)
    }

    /// `FOPEN_CACHE_DIR`: the kernel may cache the listing of this directory. To survive the next `opendir` it
    /// needs [`Opened::keep_cache`] too.
    pub fn cache_dir(self) -> Self {
        self.with(ringfuse_abi::FOPEN_CACHE_DIR)
    }

    /// `FOPEN_STREAM`: the file has no position at all, like a pipe.
    pub fn stream(self) -> Self {
        self.with(ringfuse_abi::FOPEN_STREAM)
    }

    /// `FOPEN_NOFLUSH`: no `flush` when a descriptor of it is closed, unless a writeback cache has dirty pages.
    pub fn no_flush(self) -> Self {
        self.with(ringfuse_abi::FOPEN_NOFLUSH)
    }

    /// `FOPEN_PARALLEL_DIRECT_WRITES`: direct writes that do not extend the file may come at the same time.
    /// Only with [`Opened::direct_io`].
    pub fn parallel_direct_writes(self) -> Self {
        self.with(ringfuse_abi::FOPEN_PARALLEL_DIRECT_WRITES)
    }

    /// Adds a backing file's number, and what keeps it registered.
    pub(crate) fn with_backing(mut self, id: BackingId, keep: Keep) -> Self {
        self.backing = Some((id, keep));
        self.with(ringfuse_abi::FOPEN_PASSTHROUGH)
    }

    /// The backing file's number.
    pub(crate) fn backing_id(&self) -> Option<BackingId> {
        self.backing.as_ref().map(|(id, _)| *id)
    }

    /// What must live as long as the file is open.
    pub(crate) fn keep(&self) -> Option<&Keep> {
        self.backing.as_ref().map(|(_, keep)| keep)
    }

    /// The handle.
    pub const fn fh(&self) -> Fh {
        self.fh
    }

    /// The `FOPEN_*` bits.
    pub const fn flags(&self) -> u32 {
        self.flags
    }
}

/// How many bytes a `write` took: the answer of `write`.
///
/// Fewer than were offered is a short write, which the program sees as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written(u32);

impl Written {
    /// This many bytes were taken.
    pub const fn new(len: u32) -> Self {
        Self(len)
    }

    /// The number of bytes.
    pub const fn len(self) -> u32 {
        self.0
    }

    /// Whether no byte was taken.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl TryFrom<usize> for Written {
    type Error = Errno;

    /// `EOVERFLOW` above 4 GiB - 1, which no request reaches.
    fn try_from(len: usize) -> Result<Self, Errno> {
        u32::try_from(len).map(Self).map_err(|_| Errno::EOVERFLOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_modes() {
        let flags = |bits: i32| OpenFlags(bits as u32);
        assert!(flags(libc::O_RDONLY).reads() && !flags(libc::O_RDONLY).writes());
        assert!(!flags(libc::O_WRONLY).reads() && flags(libc::O_WRONLY).writes());
        assert!(flags(libc::O_RDWR).reads() && flags(libc::O_RDWR).writes());
        assert!(flags(libc::O_RDWR | libc::O_APPEND).contains(libc::O_APPEND));
    }

    #[test]
    fn open_replies_collect_their_flags() {
        let opened = Opened::new(Fh(3)).direct_io().parallel_direct_writes();
        assert_eq!(opened.flags(), 1 | 64);
        assert_eq!(opened.fh(), Fh(3));
    }
}
