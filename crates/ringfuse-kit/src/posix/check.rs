//! What a case returns, and the checks it is written with.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::panic::Location;

use rustix::io::Errno;

/// What a case says about the filesystem.
pub type Outcome = Result<(), Failure>;

/// Why a case did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A check failed: the filesystem is wrong.
    Check {
        /// What was found, and what was expected.
        message: String,
        /// Source file of the check.
        file: Cow<'static, str>,
        /// Line of the check.
        line: u32,
    },
    /// The filesystem, the kernel or the caller lacks what the case needs; the reason is given.
    Skip(String),
}

impl Failure {
    /// A failed check at the caller's place in the source.
    #[track_caller]
    pub fn check(message: impl Into<String>) -> Self {
        let at = Location::caller();
        Self::Check { message: message.into(), file: Cow::Borrowed(at.file()), line: at.line() }
    }

    /// A skip for the given reason.
    pub fn skip(reason: impl Into<String>) -> Self {
        Self::Skip(reason.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Check { message, file, line } => write!(f, "{message} at {file}:{line}"),
            Self::Skip(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    #[track_caller]
    fn from(error: io::Error) -> Self {
        Self::check(format!("unexpected error: {error}"))
    }
}

impl From<Errno> for Failure {
    #[track_caller]
    fn from(error: Errno) -> Self {
        Self::check(format!("unexpected error: {error}"))
    }
}

/// An error with an errno.
pub(super) trait HasErrno {
    fn errno(&self) -> Option<Errno>;
}

impl HasErrno for Errno {
    fn errno(&self) -> Option<Errno> {
        Some(*self)
    }
}

impl HasErrno for io::Error {
    fn errno(&self) -> Option<Errno> {
        Errno::from_io_error(self)
    }
}

/// Turns "not supported" into a skip.
pub(super) trait OrSkip<T> {
    /// The value; a skip that names `what` on EOPNOTSUPP, ENOSYS and ENOTTY; else a failed check.
    fn or_skip(self, what: &str) -> Result<T, Failure>;
}

impl<T, E: HasErrno + fmt::Display> OrSkip<T> for Result<T, E> {
    #[track_caller]
    fn or_skip(self, what: &str) -> Result<T, Failure> {
        match self {
            Ok(value) => Ok(value),
            Err(error) => match error.errno() {
                Some(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOTTY) => {
                    Err(Failure::skip(format!("not supported: {what} ({error})")))
                }
                _ => Err(Failure::check(format!("{what}: unexpected error: {error}"))),
            },
        }
    }
}

/// Fails the case unless the condition holds; a format string may say more.
macro_rules! ensure {
    ($cond:expr $(,)?) => {
        if !$cond {
            return Err($crate::posix::Failure::check(concat!("not true: ", stringify!($cond))));
        }
    };
    ($cond:expr, $($message:tt)+) => {
        if !$cond {
            return Err($crate::posix::Failure::check(format!($($message)+)));
        }
    };
}

/// Fails the case unless both values are equal; a format string may say more.
macro_rules! ensure_eq {
    ($left:expr, $right:expr $(,)?) => {
        match (&$left, &$right) {
            (left, right) => {
                if *left != *right {
                    return Err($crate::posix::Failure::check(format!(
                        "{} is {left:?}, expected {right:?}",
                        stringify!($left),
                    )));
                }
            }
        }
    };
    ($left:expr, $right:expr, $($message:tt)+) => {
        match (&$left, &$right) {
            (left, right) => {
                if *left != *right {
                    return Err($crate::posix::Failure::check(format!(
                        "{}: {} is {left:?}, expected {right:?}",
                        format_args!($($message)+),
                        stringify!($left),
                    )));
                }
            }
        }
    };
}

/// Fails the case if both values are equal.
macro_rules! ensure_ne {
    ($left:expr, $right:expr $(,)?) => {
        match (&$left, &$right) {
            (left, right) => {
                if *left == *right {
                    return Err($crate::posix::Failure::check(format!(
                        "{} and {} are both {left:?}",
                        stringify!($left),
                        stringify!($right),
                    )));
                }
            }
        }
    };
}

/// Fails the case unless the call fails with one of the named errors (`EXIST | NOTEMPTY`).
macro_rules! expect_errno {
    ($call:expr, $($errno:ident)|+) => {
        match $call {
            Ok(_) => {
                return Err($crate::posix::Failure::check(concat!(
                    stringify!($call), " succeeded, expected ", stringify!($($errno)|+),
                )));
            }
            Err(error) => {
                let got = $crate::posix::check::HasErrno::errno(&error);
                if !matches!(got, Some($(rustix::io::Errno::$errno)|+)) {
                    return Err($crate::posix::Failure::check(format!(
                        "{} failed with {error}, expected {}",
                        stringify!($call),
                        stringify!($($errno)|+),
                    )));
                }
            }
        }
    };
}

/// Leaves the case as skipped, for the given reason.
macro_rules! skip {
    ($($reason:tt)+) => {
        return Err($crate::posix::Failure::skip(format!($($reason)+)))
    };
}

pub(super) use {ensure, ensure_eq, ensure_ne, expect_errno, skip};
