//! Flags of inodes, `ioctl_iflags(2)`: what `chattr(1)` sets and `lsattr(1)` shows.
//!
//! The kernel checks who may set which. It does not know what is set, so that what a flag forbids is refused here.

use ringfuse::{Errno, IoctlOut, Result, op};

use super::MemFs;
use super::node::Meta;

/// Not to be changed at all; only to be added to; not for `dump(8)`; no access times.
pub(super) const IMMUTABLE: u32 = 0x10;
pub(super) const APPEND: u32 = 0x20;
pub(super) const NODUMP: u32 = 0x40;
pub(super) const NOATIME: u32 = 0x80;

/// Those that `statx(2)` shows, where each has the same number (`STATX_ATTR_*`).
pub(super) const SHOWN: u32 = IMMUTABLE | APPEND | NODUMP;
/// Those that what is made in a directory gets from it.
pub(super) const INHERITED: u32 = NODUMP | NOATIME;

/// Each flag, and its number in the `fsx_xflags` of a `struct fsxattr`.
const XFLAGS: [(u32, u32); 4] = [(IMMUTABLE, 0x08), (APPEND, 0x10), (NOATIME, 0x40), (NODUMP, 0x80)];

/// `FS_IOC_*` of `<linux/fs.h>`. The kernel reads the first and the third before it sets anything by the others.
const GETFLAGS: u32 = libc::FS_IOC_GETFLAGS as u32;
const SETFLAGS: u32 = libc::FS_IOC_SETFLAGS as u32;
const FSGETXATTR: u32 = 0x801c_581f;
const FSSETXATTR: u32 = 0x401c_5820;

/// The size of a `struct fsxattr`, of which we have the first field alone.
const FSXATTR: usize = 28;

fn to_xflags(flags: u32) -> u32 {
    XFLAGS.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, xflag)| xflag).sum()
}

/// The flags of `fsx_xflags`, `None` if there are others among them.
fn from_xflags(xflags: u32) -> Option<u32> {
    let flags = XFLAGS.iter().filter(|(_, xflag)| xflags & xflag != 0).map(|(flag, _)| flag).sum();
    (to_xflags(flags) == xflags).then_some(flags)
}

impl MemFs {
    /// Serves `ioctl`, and tells whether anything was set.
    pub(super) fn inode_flags(&self, op: &op::Ioctl<'_>, out: &mut IoctlOut<'_>) -> Result<bool> {
        let node = self.nodes.get(op.node)?;
        let mut meta = node.meta();
        let word = || op.input.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes)).ok_or(Errno::EINVAL);
        let flags = match op.cmd {
            GETFLAGS => return out.put(&meta.flags.to_ne_bytes()).map(|()| false),
            FSGETXATTR => {
                out.put(&to_xflags(meta.flags).to_ne_bytes())?;
                return out.put(&[0; FSXATTR - size_of::<u32>()]).map(|()| false);
            }
            SETFLAGS => Some(word()?).filter(|flags| flags & !(SHOWN | INHERITED) == 0),
            FSSETXATTR => from_xflags(word()?),
            _ => return Err(Errno::ENOTTY),
        };
        meta.flags = flags.ok_or(Errno::EOPNOTSUPP)?;
        meta.ctime = self.now();
        Ok(true)
    }
}

impl Meta {
    /// Refuses what flags forbid.
    ///
    /// # Errors
    ///
    /// `EPERM` if one of `forbidding` is set.
    pub(super) fn permit(&self, forbidding: u32) -> Result<()> {
        if self.flags & forbidding != 0 { Err(Errno::EPERM) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_number_the_flags_say_the_same() {
        for flags in [0, IMMUTABLE, APPEND | NODUMP, SHOWN | INHERITED] {
            assert_eq!(from_xflags(to_xflags(flags)), Some(flags));
        }
        assert_eq!(to_xflags(IMMUTABLE | NODUMP), 0x88);
        assert_eq!(from_xflags(0x20), None);
    }
}
