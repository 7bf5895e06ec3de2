//! Unmounting our mount, and no other.
//!
//! A path is not enough to unmount by: meanwhile someone may have unmounted, mounted something else there or on top,
//! or renamed a directory above. So the mount is remembered by its identity, and looked up in the mount table.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::fusermount::Fusermount;
use super::mountinfo::{self, Row};
use crate::error::{Error, ErrorKind};

/// How to unmount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unmount {
    /// Only if nobody uses it; otherwise [`Error::is_busy`], and nothing has changed.
    #[default]
    Normal,
    /// Takes it out of the tree at once. Who has files open, or works in it, goes on being served; the session ends
    /// when the last of them leaves. See `MNT_DETACH` in umount(2).
    Lazy,
    /// Aborts the connection, so that all calls to the filesystem fail, also those that wait now; then takes it out of
    /// the tree. What was not written back is lost. See `MNT_FORCE` in umount(2).
    ///
    /// For a mount by `fusermount3` the abort goes through fusectl; where that is not mounted, this is as `Lazy`.
    Force,
}

/// What tells one mount from all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    mount: u64,
    connection: u64,
    /// The kernel hands out mount and device numbers again as soon as they are free: a mount that follows ours at its
    /// place usually has the same ones. This number is never used again, and exists since Linux 6.8.
    unique: Option<u64>,
}

impl Identity {
    /// Looks for the mount that was just made at `path`, a canonical path; of `connection`, where that is known.
    pub(crate) fn find(rows: &[Row], path: &Path, connection: Option<u64>) -> Option<Self> {
        let ours = |row: &&Row| {
            row.mountpoint == path
                && row.connection().is_some_and(|number| connection.is_none_or(|ours| ours == number))
        };
        // Mount propagation can make more than one.
        let mut candidates = rows.iter().filter(ours);
        let row = candidates.clone().find(|row| is_reached(rows, row)).or_else(|| candidates.next_back())?;
        let connection = row.connection()?;
        Some(Self { mount: row.id, connection, unique: unique_id(path, connection) })
    }

    pub(crate) fn connection(&self) -> u64 {
        self.connection
    }

    /// Where the mount is now, `None` if it is gone. An error if the path there leads to another mount.
    fn locate(&self, device: &OwnedFd) -> Result<Option<PathBuf>, Error> {
        let rows = mountinfo::read()?;
        let Some(row) =
            rows.iter().find(|row| row.id == self.mount && row.connection() == Some(self.connection))
        else {
            return Ok(None);
        };
        let path = &row.mountpoint;
        if let Some(other) = mountinfo::reached(&rows, row).filter(|other| other.id != row.id) {
            let what = format!(
                "cannot unmount {}: {} (type {}) is mounted over it, at {}",
                path.display(),
                other.source.display(),
                other.fs_type.display(),
                other.mountpoint.display()
            );
            return Err(Error::new(ErrorKind::Unmount, what).remedy("unmount that first"));
        }
        let ours = match (self.unique, unique_id(path, self.connection)) {
            (Some(ours), Some(now)) => ours == now,
            // We may not look at it, so it is another user's; or else we have become another user. While the connection
            // lives, its number is ours.
            (Some(_), None) => is_connected(device),
            (None, _) => true,
        };
        Ok(ours.then(|| path.clone()))
    }
}

fn is_reached(rows: &[Row], row: &Row) -> bool {
    mountinfo::reached(rows, row).is_some_and(|reached| reached.id == row.id)
}

/// `STATX_MNT_ID_UNIQUE`, since Linux 6.8; rustix has no name for it yet.
const MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// The unique id of the mount at `path`, if that is of `connection`.
///
/// This does not ask the server, which may be dead: the kernel fills in the id itself, FUSE finds nothing in the mask
/// that it would have to fetch, and `DONT_SYNC` keeps it from trying.
fn unique_id(path: &Path, connection: u64) -> Option<u64> {
    let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT | AtFlags::SYMLINK_NOFOLLOW;
    let found = statx(CWD, path, flags, MNT_ID_UNIQUE).ok()?;
    let ours = found.stx_dev_major == 0 && u64::from(found.stx_dev_minor) == connection;
    (ours && found.stx_mask & MNT_ID_UNIQUE.bits() != 0).then_some(found.stx_mnt_id)
}

/// Whether the connection lives. The device polls as an error once it was unmounted or aborted, and before mounting.
pub(crate) fn is_connected(device: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(device, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    !matches!(poll(&mut fds, Some(&at_once)), Ok(1..))
}

/// Unmounts the mount that `device` serves.
pub(crate) fn unmount(identity: &Identity, device: &OwnedFd, how: Unmount) -> Result<(), Error> {
    let Some(path) = identity.locate(device)? else { return Ok(()) };
    let flags = match how {
        Unmount::Normal => UnmountFlags::empty(),
        Unmount::Lazy => UnmountFlags::DETACH,
        Unmount::Force => UnmountFlags::FORCE,
    };
    let by_flags = |flags| rustix::mount::unmount(&path, flags | UnmountFlags::NOFOLLOW);
    let result = match by_flags(flags) {
        // All that used it has failed by now, but open files still hold it.
        Err(Errno::BUSY) if how == Unmount::Force => by_flags(UnmountFlags::DETACH),
        result => result,
    };
    let error = match result {
        Ok(()) => return Ok(()),
        Err(Errno::PERM) => {
            if how == Unmount::Force {
                abort(identity.connection, device)?; // the helper cannot
            }
            match Fusermount::find().and_then(|helper| helper.unmount(&path, how != Unmount::Normal)) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            }
        }
        Err(errno) => failed(&path, errno),
    };
    // It may have been unmounted by someone else just now.
    match identity.locate(device) {
        Ok(None) => Ok(()),
        _ => Err(error),
    }
}

/// The error of an unmount that the kernel refused.
pub(crate) fn failed(path: &Path, errno: Errno) -> Error {
    let error = Error::new(ErrorKind::Unmount, format!("cannot unmount {}", path.display()))
        .because(io::Error::from(errno));
    match errno {
        Errno::BUSY => {
            error.remedy("end what uses it (fuser(1) with `-vm` lists that), or unmount it lazily")
        }
        _ => error,
    }
}

/// Aborts a connection by its file in fusectl. `Ok(false)` if there is no such file.
pub(crate) fn abort(connection: u64, device: &OwnedFd) -> Result<bool, Error> {
    // A dead connection's number may already be another's.
    if !is_connected(device) {
        return Ok(true);
    }
    let file = format!("/sys/fs/fuse/connections/{connection}/abort");
    match fs::OpenOptions::new()
        .write(true)
        .open(&file)
        .and_then(|mut file| io::Write::write_all(&mut file, b"1"))
    {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => {
            let kind = match error.kind() {
                io::ErrorKind::PermissionDenied => ErrorKind::Permission,
                _ => ErrorKind::Io,
            };
            Err(Error::new(kind, format!("cannot write to {file}")).because(error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"\
27 1 254:0 / / rw - ext4 /dev/vda rw
60 27 0:41 / /mnt/a rw - fuse.x one rw
61 27 0:42 / /mnt/b rw - fuse two rw
62 61 0:43 / /mnt/b rw - fuse three rw
";

    /// Something that polls as if it was connected.
    fn no_device() -> OwnedFd {
        fs::File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn finds_the_mount_of_the_connection() {
        let rows = mountinfo::parse(TABLE);
        let find = |path: &str, connection| Identity::find(&rows, Path::new(path), connection);
        let identity = find("/mnt/a", Some(41)).unwrap();
        assert_eq!((identity.mount, identity.connection()), (60, 41));
        assert_eq!(find("/mnt/b", Some(42)).unwrap().mount, 61);
        assert_eq!(find("/mnt/a", Some(42)), None);
        assert_eq!(find("/mnt", None), None);
        assert_eq!(find("/", None), None, "not FUSE");
    }

    #[test]
    fn takes_the_topmost_where_the_connection_is_not_known() {
        let rows = mountinfo::parse(TABLE);
        assert_eq!(Identity::find(&rows, Path::new("/mnt/b"), None).unwrap().mount, 62);
    }

    #[test]
    fn what_is_not_in_the_table_is_unmounted_already() {
        let identity = Identity { mount: u64::MAX, connection: u64::MAX, unique: None };
        for how in [Unmount::Normal, Unmount::Lazy, Unmount::Force] {
            unmount(&identity, &no_device(), how).unwrap();
        }
    }

    #[test]
    fn a_busy_mount_says_how_to_find_the_users() {
        let error = failed(Path::new("/mnt/x"), Errno::BUSY);
        assert!(error.is_busy());
        assert!(error.to_string().starts_with("cannot unmount /mnt/x: "), "{error}");
        assert!(!failed(Path::new("/mnt/x"), Errno::INVAL).is_busy());
    }

    #[test]
    fn there_is_nothing_to_abort_without_a_control_file() {
        assert!(!abort(u64::MAX, &no_device()).unwrap());
    }
}
