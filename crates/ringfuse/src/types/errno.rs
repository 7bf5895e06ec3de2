//! The errors a handler may answer with.

use std::num::NonZeroU16;
use std::{fmt, io};

/// The result of a handler: a reply, or the error number the calling program sees.
pub type Result<T> = std::result::Result<T, Errno>;

/// An error number of 1 to 511, the range that the kernel passes on (it turns any other into `EINVAL`).
///
/// The constants are those of `errno(3)`. An [`io::Error`] converts: its system error number where it has one
/// within the range, else the one nearest in meaning to its [`io::ErrorKind`], else `EIO`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(NonZeroU16);

macro_rules! errnos {
    ($($(#[$meta:meta])* $name:ident;)*) => {
        impl Errno {
            $($(#[$meta])* pub const $name: Self = Self::constant(libc::$name);)*

            /// The symbolic name, such as `"ENOENT"`, of a number that has a constant here.
            pub const fn name(self) -> Option<&'static str> {
                match self.raw() {
                    $(libc::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

errnos! {
    /// Operation not permitted.
    EPERM;
    /// No such file or directory.
    ENOENT;
    /// Interrupted system call.
    EINTR;
    /// Input or output error.
    EIO;
    /// No such device or address; also: no data or hole after this offset (`lseek(2)`).
    ENXIO;
    /// Argument list too long; for an extended attribute: value too large.
    E2BIG;
    /// Bad file descriptor.
    EBADF;
    /// Try again; the operation would block.
    EAGAIN;
    /// Out of memory.
    ENOMEM;
    /// Permission denied.
    EACCES;
    /// Bad address.
    EFAULT;
    /// Device or resource busy.
    EBUSY;
    /// File exists.
    EEXIST;
    /// The operation would cross a mount or a device.
    EXDEV;
    /// No such device.
    ENODEV;
    /// Not a directory.
    ENOTDIR;
    /// Is a directory.
    EISDIR;
    /// Invalid argument.
    EINVAL;
    /// Too many open files in the system.
    ENFILE;
    /// Too many open files in the process.
    EMFILE;
    /// Inappropriate ioctl for the device.
    ENOTTY;
    /// The program text is in use.
    ETXTBSY;
    /// File too large.
    EFBIG;
    /// No space left on the device.
    ENOSPC;
    /// The file cannot seek.
    ESPIPE;
    /// Read-only filesystem.
    EROFS;
    /// Too many links.
    EMLINK;
    /// Broken pipe.
    EPIPE;
    /// Argument out of the domain.
    EDOM;
    /// Result too large; for an extended attribute: the caller's buffer is too small.
    ERANGE;
    /// A deadlock would come of it (`fcntl(2)` locks).
    EDEADLK;
    /// File name too long.
    ENAMETOOLONG;
    /// No locks available.
    ENOLCK;
    /// Not implemented. For most operations the kernel takes it as "never ask again on this mount".
    ENOSYS;
    /// Directory not empty.
    ENOTEMPTY;
    /// Too many levels of symbolic links.
    ELOOP;
    /// No data; in particular: there is no such extended attribute.
    ENODATA;
    /// Timer expired.
    ETIME;
    /// The object is remote.
    EREMOTE;
    /// Protocol error.
    EPROTO;
    /// Bad message; in particular: a checksum is wrong.
    EBADMSG;
    /// The value does not fit its type.
    EOVERFLOW;
    /// Invalid or incomplete multibyte character: a name is not valid here.
    EILSEQ;
    /// Too many users.
    EUSERS;
    /// Operation not supported.
    EOPNOTSUPP;
    /// The network is unreachable.
    ENETUNREACH;
    /// The connection was aborted.
    ECONNABORTED;
    /// The connection was reset.
    ECONNRESET;
    /// No buffer space available.
    ENOBUFS;
    /// Not connected.
    ENOTCONN;
    /// Timed out.
    ETIMEDOUT;
    /// The connection was refused.
    ECONNREFUSED;
    /// The host is unreachable.
    EHOSTUNREACH;
    /// The file handle is stale.
    ESTALE;
    /// The structure needs cleaning: stored metadata is corrupt (`EFSCORRUPTED` of the kernel).
    EUCLEAN;
    /// The disk quota is used up.
    EDQUOT;
    /// No medium found.
    ENOMEDIUM;
    /// Cancelled.
    ECANCELED;
    /// A required key is not available.
    ENOKEY;
}

impl Errno {
    /// There is no such extended attribute: the same number as `ENODATA`, `attr(5)`.
    pub const ENOATTR: Self = Self::ENODATA;
    /// The same number as `EOPNOTSUPP`.
    pub const ENOTSUP: Self = Self::EOPNOTSUPP;
    /// The same number as `EAGAIN`.
    pub const EWOULDBLOCK: Self = Self::EAGAIN;

    const MAX: i32 = 511;

    const fn constant(raw: i32) -> Self {
        match Self::from_raw(raw) {
            Some(errno) => errno,
            None => panic!("an errno constant lies outside 1..=511"),
        }
    }

    /// The error of this positive number, or `None` outside 1 to 511.
    pub const fn from_raw(raw: i32) -> Option<Self> {
        if raw < 1 || raw > Self::MAX {
            return None;
        }
        match NonZeroU16::new(raw as u16) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The positive number, as in `errno`.
    pub const fn raw(self) -> i32 {
        self.0.get() as i32
    }

    /// What `errno` held last on this thread, or `EIO` where it was outside the range.
    pub fn last_os_error() -> Self {
        io::Error::last_os_error().into()
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "Errno({})", self.0),
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        io::Error::from(*self).fmt(f)
    }
}

impl std::error::Error for Errno {}

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.raw())
    }
}

impl From<&io::Error> for Errno {
    fn from(error: &io::Error) -> Self {
        use io::ErrorKind as Kind;
        if let Some(errno) = error.raw_os_error().and_then(Self::from_raw) {
            return errno;
        }
        match error.kind() {
            Kind::NotFound => Self::ENOENT,
            Kind::PermissionDenied => Self::EACCES,
            Kind::AlreadyExists => Self::EEXIST,
            Kind::WouldBlock => Self::EAGAIN,
            Kind::NotADirectory => Self::ENOTDIR,
            Kind::IsADirectory => Self::EISDIR,
            Kind::DirectoryNotEmpty => Self::ENOTEMPTY,
            Kind::ReadOnlyFilesystem => Self::EROFS,
            Kind::StaleNetworkFileHandle => Self::ESTALE,
            Kind::InvalidInput => Self::EINVAL,
            Kind::TimedOut => Self::ETIMEDOUT,
            Kind::StorageFull => Self::ENOSPC,
            Kind::NotSeekable => Self::ESPIPE,
            Kind::QuotaExceeded => Self::EDQUOT,
            Kind::FileTooLarge => Self::EFBIG,
            Kind::ResourceBusy => Self::EBUSY,
            Kind::ExecutableFileBusy => Self::ETXTBSY,
            Kind::Deadlock => Self::EDEADLK,
            Kind::CrossesDevices => Self::EXDEV,
            Kind::TooManyLinks => Self::EMLINK,
            Kind::InvalidFilename => Self::ENAMETOOLONG,
            Kind::ArgumentListTooLong => Self::E2BIG,
            Kind::Interrupted => Self::EINTR,
            Kind::Unsupported => Self::EOPNOTSUPP,
            Kind::OutOfMemory => Self::ENOMEM,
            Kind::ConnectionRefused => Self::ECONNREFUSED,
            Kind::ConnectionReset => Self::ECONNRESET,
            Kind::ConnectionAborted => Self::ECONNABORTED,
            Kind::NotConnected => Self::ENOTCONN,
            Kind::BrokenPipe => Self::EPIPE,
            Kind::HostUnreachable => Self::EHOSTUNREACH,
            Kind::NetworkUnreachable => Self::ENETUNREACH,
            _ => Self::EIO,
        }
    }
}

impl From<io::Error> for Errno {
    fn from(error: io::Error) -> Self {
        Self::from(&error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_that_of_the_kernel() {
        for raw in [i32::MIN, -1, 0, 512, i32::MAX] {
            assert_eq!(Errno::from_raw(raw), None, "{raw}");
        }
        assert_eq!(Errno::from_raw(1), Some(Errno::EPERM));
        assert_eq!(Errno::from_raw(511).unwrap().raw(), 511);
    }

    #[test]
    fn an_io_error_keeps_its_number_or_finds_the_nearest() {
        assert_eq!(Errno::from(io::Error::from_raw_os_error(libc::ENOTEMPTY)), Errno::ENOTEMPTY);
        assert_eq!(Errno::from(io::Error::from(io::ErrorKind::NotFound)), Errno::ENOENT);
        assert_eq!(Errno::from(io::Error::other("no number")), Errno::EIO);
        assert_eq!(Errno::from(io::Error::from_raw_os_error(4000)), Errno::EIO);
    }

    #[test]
    fn names() {
        assert_eq!(format!("{:?}", Errno::ENOENT), "ENOENT");
        assert_eq!(format!("{:?}", Errno::from_raw(500).unwrap()), "Errno(500)");
        assert!(Errno::ENOENT.to_string().starts_with("No such file or directory"));
    }
}
