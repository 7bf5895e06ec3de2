//! Mounting with mount(2).

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::process::{geteuid, getgid, getuid};
use rustix::thread::{CapabilitySet, capabilities};

use super::{MountOptions, Target};
use crate::error::{Error, ErrorKind};

const DEVICE: &str = "/dev/fuse";

/// Whether mount(2) has a chance: the effective user is root, or has CAP_SYS_ADMIN in its user namespace.
pub(crate) fn permitted() -> bool {
    geteuid().is_root()
        || capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Opens `/dev/fuse`, close-on-exec and blocking; see fuse(4).
pub(crate) fn open_device() -> Result<OwnedFd, Error> {
    open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| {
        let (kind, remedy) = match errno {
            Errno::NOENT | Errno::NODEV | Errno::NXIO => (
                ErrorKind::NoDevice,
                "load the module with `modprobe fuse`; give a container `--device /dev/fuse`",
            ),
            Errno::ACCESS => (ErrorKind::Permission, "run as root, or `chmod 666 /dev/fuse`"),
            Errno::PERM => (ErrorKind::Permission, "the container must be allowed it: `--device /dev/fuse`"),
            _ => return Error::new(ErrorKind::Io, format!("cannot open {DEVICE}")).because(io(errno)),
        };
        Error::new(kind, format!("cannot open {DEVICE}")).because(io(errno)).remedy(remedy)
    })
}

/// Opens the device and mounts it, as the user that this process is.
pub(crate) fn mount(target: &Target, options: &MountOptions) -> Result<OwnedFd, Error> {
    if options.auto_unmount {
        return Err(Error::new(
            ErrorKind::Options,
            "mount option `auto_unmount` is not possible with mount(2)",
        )
        .remedy("it is a service of fusermount3: mount through that"));
    }
    let device = open_device()?;
    let data = options.mount_data(device.as_raw_fd(), target.kind, getuid(), getgid());
    let data = CString::new(data).expect("numbers and fixed words have no NUL");
    rustix::mount::mount(
        options.source(),
        &target.path,
        options.fs_type(),
        options.mount_flags(),
        Some(data.as_c_str()),
    )
    .map_err(|errno| refused(errno, &target.path))?;
    Ok(device)
}

fn refused(errno: Errno, path: &Path) -> Error {
    let (kind, remedy) = match errno {
        Errno::PERM => (
            ErrorKind::Permission,
            "run as root, install fusermount3 (`apt-get install fuse3`), or enter a namespace of your own with \
             `unshare -Urm`",
        ),
        Errno::ACCESS => (ErrorKind::Permission, "a directory above, or a security module, forbids it"),
        Errno::NODEV => (ErrorKind::NoDevice, "load the module with `modprobe fuse`"),
        Errno::NOENT => (ErrorKind::Mountpoint, "it went away meanwhile"),
        Errno::NOTDIR => (ErrorKind::Mountpoint, "it was replaced by something of another type meanwhile"),
        Errno::BUSY => (ErrorKind::Mountpoint, "the same filesystem is mounted there already"),
        Errno::INVAL => (
            ErrorKind::Options,
            "the kernel does not know one of the options, or /dev/fuse was opened in another user namespace",
        ),
        Errno::NOSPC => {
            (ErrorKind::Mount, "this namespace has too many mounts: raise the sysctl fs.mount-max")
        }
        _ => (ErrorKind::Mount, "see mount(2)"),
    };
    Error::new(kind, format!("cannot mount {}", path.display())).because(io(errno)).remedy(remedy)
}

fn io(errno: Errno) -> std::io::Error {
    errno.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_errno_has_a_kind_and_a_remedy() {
        for (errno, kind) in [
            (Errno::PERM, ErrorKind::Permission),
            (Errno::ACCESS, ErrorKind::Permission),
            (Errno::NODEV, ErrorKind::NoDevice),
            (Errno::NOENT, ErrorKind::Mountpoint),
            (Errno::NOTDIR, ErrorKind::Mountpoint),
            (Errno::BUSY, ErrorKind::Mountpoint),
            (Errno::INVAL, ErrorKind::Options),
            (Errno::NOSPC, ErrorKind::Mount),
            (Errno::NOMEM, ErrorKind::Mount),
        ] {
            let error = refused(errno, Path::new("/mnt/x"));
            assert_eq!(error.kind(), kind);
            assert_eq!(error.raw_os_error(), Some(errno.raw_os_error()));
            let text = error.to_string();
            assert!(text.starts_with("cannot mount /mnt/x: ") && text.contains("; "), "{text}");
        }
    }

    #[test]
    fn auto_unmount_is_refused_before_anything_is_opened() {
        let target = Target { path: "/nowhere".into(), kind: rustix::fs::FileType::Directory };
        let options = MountOptions { auto_unmount: true, ..MountOptions::default() };
        assert!(mount(&target, &options).unwrap_err().is_options());
    }
}
