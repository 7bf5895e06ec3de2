//! Changing the options of a mount that exists.

use std::ffi::OsStr;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount_remount};

use super::options::Atime;
use super::{MountOptions, absolute, mountinfo};
use crate::error::{Error, ErrorKind};

/// Changes the options of a FUSE mount as `mount -o remount` does: those that the list names, all others stay.
///
/// The kernel does it, whoever serves the mount. A program is asked for it where it is the helper of mount(8), which
/// repeats all options there are; so those that cannot be changed any more, and a filesystem's own, are passed over.
///
/// # Errors
///
/// [`ErrorKind::Mountpoint`] if no FUSE filesystem is mounted there, [`ErrorKind::Permission`] for all but root.
pub fn remount(mountpoint: impl AsRef<Path>, list: impl AsRef<OsStr>) -> Result<(), Error> {
    let path = absolute(mountpoint.as_ref())?;
    let failed = |kind| Error::new(kind, format!("cannot remount {}", path.display()));
    let rows = mountinfo::read()?;
    let seen = |row: &&mountinfo::Row| mountinfo::reached(&rows, row).is_some_and(|seen| seen.id == row.id);
    let row = rows
        .iter()
        .filter(|row| row.mountpoint == path && row.is_fuse())
        .find(seen)
        .ok_or_else(|| failed(ErrorKind::Mountpoint).remedy("no FUSE filesystem is mounted there"))?;

    // The table tells what differs from these.
    let mut options = MountOptions { suid: true, dev: true, atime: Atime::Strict, ..MountOptions::default() };
    options.merge_flags(&row.options);
    options.merge_flags(list.as_ref());
    let mut flags = options.mount_flags();
    // Without any of its kind the kernel would leave this one as it is.
    flags.set(MountFlags::RELATIME, options.atime == Atime::Relative);
    mount_remount(&path, flags, c"").map_err(|errno| {
        let kind = if errno == Errno::PERM { ErrorKind::Permission } else { ErrorKind::Mount };
        failed(kind).because(std::io::Error::from(errno))
    })
}
