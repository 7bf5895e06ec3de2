//! The error of mounts and sessions.
//!
//! Handlers answer the kernel with an errno and never see this type. It is what a person reads when a filesystem does
//! not come up or does not go down, so its text names the step, the path, what the system said, and what to do.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt::{self, Write as _};
use std::io;

/// Why a mount or a session failed.
///
/// [`kind`](Error::kind) and the `is_*` predicates are for programs; the text is for people, fits on one line, and
/// ends with the remedy where there is one:
///
/// ```text
/// cannot open /dev/fuse: No such file or directory; load the module with `modprobe fuse`
/// ```
///
/// The text already contains the cause, which is also the [`source`](StdError::source): print one of the two.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    what: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
    remedy: Option<Cow<'static, str>>,
}

/// What an [`Error`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no FUSE in this kernel, or no `/dev/fuse` in this container.
    NoDevice,
    /// The process, or the user, may not do this.
    Permission,
    /// The mountpoint does not exist, is neither a directory nor a regular file, or is otherwise unfit.
    Mountpoint,
    /// A mount option is unknown, malformed, or not possible in the way the mount was to be made.
    Options,
    /// `fusermount3` is missing, refused, or did not follow its protocol.
    Fusermount,
    /// The kernel refused the mount for another reason.
    Mount,
    /// The mount could not be removed. [`Error::is_busy`] tells whether it is in use.
    Unmount,
    /// Kernel and filesystem did not agree when the mount began, or one of them said nothing.
    Handshake,
    /// FUSE over io_uring is required, and cannot be had.
    Ring,
    /// The session could not start or go on.
    Session,
    /// Another system call failed.
    Io,
}

impl Error {
    /// An error whose text begins with `what`: the step that failed and its path, as in "cannot open /dev/fuse".
    pub(crate) fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, what: what.into(), source: None, remedy: None }))
    }

    /// Adds the cause.
    pub(crate) fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Adds what to do about it, or another remark, after those that are there.
    pub(crate) fn remedy(mut self, remedy: impl Into<Cow<'static, str>>) -> Self {
        let remedy = remedy.into();
        self.0.remedy = Some(match self.0.remedy.take() {
            Some(first) => Cow::Owned(format!("{first}; {remedy}")),
            None => remedy,
        });
        self
    }

    /// What the error is about.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The errno of the system call that failed, if one did.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.0.source.as_deref()?.downcast_ref::<io::Error>()?.raw_os_error()
    }

    /// There is no FUSE in this kernel, or no `/dev/fuse` in this container.
    pub fn is_no_device(&self) -> bool {
        self.kind() == ErrorKind::NoDevice
    }

    /// The process, or the user, may not do this.
    pub fn is_permission(&self) -> bool {
        self.kind() == ErrorKind::Permission
    }

    /// The mountpoint is at fault.
    pub fn is_mountpoint(&self) -> bool {
        self.kind() == ErrorKind::Mountpoint
    }

    /// A mount option is at fault.
    pub fn is_options(&self) -> bool {
        self.kind() == ErrorKind::Options
    }

    /// `fusermount3` is missing, refused, or did not follow its protocol.
    pub fn is_fusermount(&self) -> bool {
        self.kind() == ErrorKind::Fusermount
    }

    /// FUSE over io_uring is required, and cannot be had.
    pub fn is_ring(&self) -> bool {
        self.kind() == ErrorKind::Ring
    }

    /// The mount was not removed, because files are open or processes work in it. The filesystem goes on serving.
    pub fn is_busy(&self) -> bool {
        self.kind() == ErrorKind::Unmount
            && self.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { what, source, remedy, .. } = &*self.0;
        let mut out = OneLine(f);
        out.write_str(what)?;
        if let Some(source) = source {
            write!(out, ": {}", brief(&source.to_string()))?;
        }
        if let Some(remedy) = remedy {
            write!(out, "; {remedy}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error").field("kind", &self.0.kind).field("text", &self.to_string()).finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// Drops the " (os error 2)" of `std::io::Error`: the words before it say the same, and the number has an accessor.
fn brief(text: &str) -> &str {
    text.strip_suffix(')').and_then(|text| text.rsplit_once(" (os error ")).map_or(text, |(words, _)| words)
}

/// Escapes control characters, which paths and the words of a helper may contain.
struct OneLine<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(char::is_control) {
            let plain = part.trim_end_matches(char::is_control);
            self.0.write_str(plain)?;
            write!(self.0, "{}", part[plain.len()..].escape_default())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Error {
        Error::new(ErrorKind::NoDevice, "cannot open /dev/fuse")
            .because(io::Error::from_raw_os_error(2))
            .remedy("load the module with `modprobe fuse`")
    }

    #[test]
    fn text_names_step_path_cause_and_remedy() {
        assert_eq!(
            sample().to_string(),
            "cannot open /dev/fuse: No such file or directory; load the module with `modprobe fuse`"
        );
        assert_eq!(Error::new(ErrorKind::Io, "cannot poll").to_string(), "cannot poll");
        assert_eq!(
            sample().remedy("or do without").to_string(),
            "cannot open /dev/fuse: No such file or directory; load the module with `modprobe fuse`; or do without"
        );
    }

    #[test]
    fn text_stays_on_one_line() {
        let error = Error::new(ErrorKind::Mountpoint, "cannot mount /a\nb\tc").because("said\r\nthis\n");
        assert_eq!(error.to_string(), "cannot mount /a\\nb\\tc: said\\r\\nthis\\n");
    }

    #[test]
    fn kind_errno_and_source_are_kept() {
        let error = sample();
        assert!(error.is_no_device() && !error.is_permission());
        assert_eq!(error.raw_os_error(), Some(2));
        assert!(error.source().unwrap().downcast_ref::<io::Error>().is_some());
        assert!(format!("{error:?}").starts_with("Error { kind: NoDevice, text: \"cannot open"));
    }

    #[test]
    fn busy_is_an_unmount_that_met_ebusy() {
        let busy = || io::Error::from_raw_os_error(16);
        assert!(Error::new(ErrorKind::Unmount, "x").because(busy()).is_busy());
        assert!(!Error::new(ErrorKind::Mount, "x").because(busy()).is_busy());
        assert!(!Error::new(ErrorKind::Unmount, "x").is_busy());
    }

    #[test]
    fn crosses_threads() {
        fn check<T: Send + Sync + 'static>() {}
        check::<Error>();
    }
}
