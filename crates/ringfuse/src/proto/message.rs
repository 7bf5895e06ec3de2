//! The two framings of a request, made into one.

use ringfuse_abi as abi;
use zerocopy::FromBytes;

use super::decode::op_size;
use crate::types::Errno;

/// Why a message can not be served. It is an error of that one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("the message is shorter than its header")]
    Header,
    #[error("the length in the header is not that of the message")]
    Length,
    #[error("the opcode is unknown")]
    Opcode,
    #[error("the arguments end too early")]
    Truncated,
    #[error("a string has no end")]
    NoNul,
    #[error("a name is empty or contains a slash")]
    Name,
    #[error("a name is too long")]
    NameTooLong,
    #[error("a node id is zero")]
    Node,
    #[error("an extension does not parse")]
    Extension,
    #[error("a field has an impossible value")]
    Value,
}

impl Malformed {
    /// What the calling program gets to see.
    pub(crate) fn errno(self) -> Errno {
        match self {
            Self::Opcode => Errno::ENOSYS,
            Self::NameTooLong => Errno::ENAMETOOLONG,
            _ => Errno::EIO,
        }
    }
}

/// What the two sides agreed on that changes how requests are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    /// `fuse_setxattr_in` has its full 16 bytes (`FUSE_SETXATTR_EXT`), not 8.
    pub(crate) setxattr_ext: bool,
}

/// A request as it lies in memory: the common header, the operation's own struct, and all that follows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) header: abi::fuse_in_header,
    /// Exactly the operation's struct; empty for operations that have none.
    pub(crate) op: &'a [u8],
    /// Names, data, extensions.
    pub(crate) payload: &'a [u8],
}

/// Reads the common header at the start of a message or of a ring entry's header area.
pub(crate) fn in_header(bytes: &[u8]) -> Result<abi::fuse_in_header, Malformed> {
    abi::fuse_in_header::read_from_prefix(bytes).map(|(header, _)| header).map_err(|_| Malformed::Header)
}

impl<'a> Message<'a> {
    /// A message read from `/dev/fuse`: header, struct and payload one behind the other.
    pub(crate) fn from_device(bytes: &'a [u8], format: Format) -> Result<Self, Malformed> {
        let header = in_header(bytes)?;
        if header.len as usize != bytes.len() {
            return Err(Malformed::Length);
        }
        let body = &bytes[size_of::<abi::fuse_in_header>()..];
        let size = op_size(header.opcode, format).ok_or(Malformed::Opcode)?;
        let (op, payload) = body.split_at_checked(size).ok_or(Malformed::Truncated)?;
        Ok(Self { header, op, payload })
    }

    /// A message of the ring: `op_area` is the entry's 128-byte area, of which the operation's struct is the
    /// beginning and the rest is left from earlier requests; `payload` is what the kernel says it put there.
    pub(crate) fn from_ring(
        header: abi::fuse_in_header,
        op_area: &'a [u8],
        payload: &'a [u8],
        format: Format,
    ) -> Result<Self, Malformed> {
        let body =
            (header.len as usize).checked_sub(size_of::<abi::fuse_in_header>()).ok_or(Malformed::Length)?;
        let size = op_size(header.opcode, format).ok_or(Malformed::Opcode)?;
        if size + payload.len() != body {
            return Err(Malformed::Length);
        }
        let op = op_area.get(..size).ok_or(Malformed::Truncated)?;
        Ok(Self { header, op, payload })
    }
}
