//! Mounting and unmounting.
//!
//! A mount is made by mount(2) (`direct`) where the process may, by the setuid helper `fusermount3` (`fusermount`) where
//! not, or elsewhere, and comes as an open `/dev/fuse`. Whatever the way, the result is a `Mounted`: the device, and the
//! knowledge which entry of the mount table is ours, so that nobody else's mount is ever removed (`unmount`).
//!
//! **Everything here blocks**, on the kernel or on the helper. Unmounting even waits for requests that this very
//! filesystem must answer (dirty pages are written back). Call it from a thread that serves none.
//!
//! Mounting does not wait for the server: the kernel's INIT request is queued on the device, and mount(2) returns.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::error::{Error, ErrorKind};

pub(crate) mod direct;
pub(crate) mod fusermount;
#[cfg(test)]
mod live_tests;
pub(crate) mod mountinfo;
pub(crate) mod options;
mod remount;
pub(crate) mod unmount;

pub use options::{Atime, MountOptions};
pub use remount::remount;
pub use unmount::Unmount;

use fusermount::Fusermount;
use unmount::Identity;

/// The way to a mount.
#[derive(Debug, Default)]
#[non_exhaustive]
pub enum Via {
    /// [`Direct`](Via::Direct) for root and for holders of CAP_SYS_ADMIN in their user namespace, unless
    /// [`auto_unmount`](MountOptions::auto_unmount) is asked for; [`Fusermount`](Via::Fusermount) for all others, and
    /// when the kernel does not permit the first.
    #[default]
    Auto,
    /// mount(2). Also works in a user namespace (`unshare -Urm`), where `/dev/fuse` may be opened.
    Direct,
    /// The setuid program `fusermount3`, for ordinary users. It is looked for in the absolute directories of `PATH`,
    /// then in `/usr/bin`, `/bin` and `/usr/local/bin`.
    Fusermount,
    /// A `/dev/fuse` that was opened and mounted by someone else: a parent, a container runtime, a broker.
    ///
    /// Nothing is mounted. With an empty path nothing is unmounted either: that is up to whoever mounted. With a path
    /// the mount there is taken over, and must be of this device. Options are not used.
    Fd(OwnedFd),
}

/// Mounts at `path`, an existing directory or regular file, by way of `via`.
///
/// # Errors
///
/// By kind: [`NoDevice`](ErrorKind::NoDevice), [`Permission`](ErrorKind::Permission),
/// [`Mountpoint`](ErrorKind::Mountpoint), [`Options`](ErrorKind::Options), [`Fusermount`](ErrorKind::Fusermount),
/// [`Mount`](ErrorKind::Mount), and [`Io`](ErrorKind::Io) without procfs on `/proc`. Nothing stays mounted.
///
/// When `Via::Auto` tried both ways, the error tells about both.
pub(crate) fn mount(path: &Path, options: &MountOptions, via: Via) -> Result<Mounted, Error> {
    if let Via::Fd(device) = via {
        return Mounted::adopt(device, path);
    }
    options.check()?;
    let target = Target::resolve(path)?;
    // Unmounting needs the mount table. Better to fail before there is something to unmount.
    mountinfo::read()?;
    let directly = || direct::mount(&target, options).map(|device| (device, None));
    let by_helper = || Fusermount::find()?.mount(&target, options);
    let (device, keeper) = match via {
        Via::Direct => directly(),
        Via::Auto if direct::permitted() && !options.auto_unmount => directly().or_else(|first| {
            if first.raw_os_error() != Some(Errno::PERM.raw_os_error()) {
                return Err(first);
            }
            by_helper().map_err(|second| second.remedy(format!("mount(2) was tried first: {first}")))
        }),
        _ => by_helper(),
    }?;
    let device = Arc::new(device);
    let connection = connection_of(&device);
    let identity = Identity::find(&mountinfo::read().unwrap_or_default(), &target.path, connection);
    match &identity {
        Some(identity) => tracing::debug!(path = %target.path.display(), ?identity, "mounted"),
        // The helper may be a wrapper that mounts in the namespace of the host, as in some sandboxes.
        None => tracing::warn!(
            path = %target.path.display(),
            "mounted, but not in the mount namespace of this process, which cannot unmount it therefore"
        ),
    }
    let connection = connection.or_else(|| identity.as_ref().map(Identity::connection));
    Ok(Mounted { device, connection, mountpoint: Some(target.path), identity, _keeper: keeper })
}

/// A mount, and the device that serves it.
///
/// Dropping it does not unmount. It closes its reference to the device, and then lets the helper of `auto_unmount` go,
/// which unmounts if the device is no longer open anywhere: drop the other references first.
#[derive(Debug)]
pub(crate) struct Mounted {
    device: Arc<OwnedFd>,
    connection: Option<u64>,
    mountpoint: Option<PathBuf>,
    identity: Option<Identity>,
    /// The socket that the helper of `auto_unmount` watches. After the device in the order of fields: the helper looks
    /// whether the server is gone, once.
    _keeper: Option<OwnedFd>,
}

impl Mounted {
    /// Takes over a device that is mounted already, see [`Via::Fd`].
    fn adopt(device: OwnedFd, path: &Path) -> Result<Self, Error> {
        let connection = connection_of(&device);
        let mut mounted =
            Self { device: Arc::new(device), connection, mountpoint: None, identity: None, _keeper: None };
        if !path.as_os_str().is_empty() {
            let path = absolute(path)?;
            // A device that serves nothing has no number, and would be taken for that of any mount.
            if connection.is_some() || unmount::is_connected(&mounted.device) {
                mounted.identity = Identity::find(&mountinfo::read()?, &path, connection);
            }
            let Some(identity) = &mounted.identity else {
                let what = format!("the open device is not mounted at {} in this namespace", path.display());
                return Err(Error::new(ErrorKind::Mountpoint, what)
                    .remedy("leave the path empty to serve a mount that is made and removed elsewhere"));
            };
            mounted.connection = Some(identity.connection());
            mounted.mountpoint = Some(path);
        }
        Ok(mounted)
    }

    /// The open `/dev/fuse`: close-on-exec (unless it came by [`Via::Fd`] without), blocking.
    pub(crate) fn device(&self) -> &Arc<OwnedFd> {
        &self.device
    }

    /// The mountpoint, absolute and without symbolic links. `None` if the mount was made elsewhere and is not ours.
    pub(crate) fn mountpoint(&self) -> Option<&Path> {
        self.mountpoint.as_deref()
    }

    /// N of `/sys/fs/fuse/connections/N`, and the minor number of `st_dev` of all files. `None` if the device came
    /// without a path, on a kernel whose `/proc/self/fdinfo` does not tell it.
    pub(crate) fn connection_id(&self) -> Option<u64> {
        self.connection
    }

    /// Unmounts; see umount(2). Blocks, as long as the filesystem needs to write back what is dirty.
    ///
    /// Removes this mount and no other, also if its directory was renamed meanwhile. `Ok` if someone has unmounted it
    /// already.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unmount`]: it is in use ([`Error::is_busy`], only with [`Unmount::Normal`]); something is mounted
    /// over it; or it was made elsewhere. [`ErrorKind::Permission`] and [`ErrorKind::Fusermount`]: this process may not,
    /// and `fusermount3` is missing or refused.
    pub(crate) fn unmount(&self, how: Unmount) -> Result<(), Error> {
        let Some(identity) = &self.identity else {
            let what = "cannot unmount: the mount was made elsewhere and cannot be told from others here";
            return Err(Error::new(ErrorKind::Unmount, what).remedy("unmount it where it was made"));
        };
        unmount::unmount(identity, &self.device, how)
    }

    /// Has the kernel read this many bytes ahead at most, in whole pages, in place of what it took from the handshake.
    ///
    /// # Errors
    ///
    /// If sysfs is not there, or may not be written: that is for root.
    pub(crate) fn read_ahead(&self, bytes: u32) -> io::Result<()> {
        let connection = self.connection.ok_or(io::ErrorKind::NotFound)?;
        fs::write(format!("/sys/class/bdi/0:{connection}/read_ahead_kb"), (bytes / 1024).to_string())
    }

    /// Aborts the connection through fusectl: each pending and each later request fails, and the device reads ENODEV.
    /// The mount stays, dead. `Ok(false)` if fusectl is not mounted on `/sys/fs/fuse/connections`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Permission`] or [`ErrorKind::Io`] if the file cannot be written: it belongs to the mounting user.
    pub(crate) fn abort(&self) -> Result<bool, Error> {
        self.connection.map_or(Ok(false), |connection| unmount::abort(connection, &self.device))
    }
}

/// Where to mount: a canonical path, and what is there.
#[derive(Debug)]
pub(crate) struct Target {
    path: PathBuf,
    kind: FileType,
}

impl Target {
    /// Resolves links now, since after mounting a look at the path is a request to the server.
    fn resolve(path: &Path) -> Result<Self, Error> {
        let what = || format!("cannot mount {}", path.display());
        let unfit = |error: std::io::Error| {
            let remedy = match Errno::from_io_error(&error) {
                Some(Errno::NOENT) => "the mountpoint must exist: create it with mkdir(1)",
                Some(Errno::NOTCONN | Errno::CONNABORTED) => {
                    "a dead FUSE mount is in the way: remove it with `fusermount3 -u -z` or `umount -l`"
                }
                _ => "the mountpoint must be an accessible directory or regular file",
            };
            Error::new(ErrorKind::Mountpoint, what()).because(error).remedy(remedy)
        };
        let canonical = fs::canonicalize(path).map_err(unfit)?;
        let kind = FileType::from_raw_mode(fs::symlink_metadata(&canonical).map_err(unfit)?.mode());
        match kind {
            FileType::Directory | FileType::RegularFile => Ok(Self { path: canonical, kind }),
            _ => Err(Error::new(ErrorKind::Mountpoint, what())
                .remedy("the mountpoint is neither a directory nor a regular file")),
        }
    }
}

/// The absolute path of a mountpoint that is mounted already, found without a look at itself.
fn absolute(path: &Path) -> Result<PathBuf, Error> {
    let resolved = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            fs::canonicalize(parent).map(|parent| parent.join(name))
        }
        _ => fs::canonicalize(path),
    };
    resolved.map_err(|error| {
        Error::new(ErrorKind::Mountpoint, format!("cannot find mountpoint {}", path.display())).because(error)
    })
}

/// The number of the connection that an open device serves, where the kernel tells it.
fn connection_of(device: &OwnedFd) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/thread-self/fdinfo/{}", device.as_raw_fd())).ok()?;
    text.lines().find_map(|line| line.strip_prefix("fuse_connection:"))?.trim().parse().ok()
}
