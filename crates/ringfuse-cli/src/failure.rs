//! How the program fails: one line for people, and a status for scripts.

use std::fmt;
use std::process::ExitCode;

/// Why the program ends without success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was called wrongly.
    Usage(String),
    /// It could not mount or serve.
    Session(ringfuse::Error),
    /// A call of the system failed: what was to be done, and why it was not.
    System(&'static str, std::io::Error),
}

impl Failure {
    /// 2 for wrong usage, as the parser of the command line has it, 1 for all else.
    pub(crate) fn status(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) => f.write_str(text),
            Self::Session(error) => error.fmt(f),
            Self::System(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

impl From<ringfuse::Error> for Failure {
    fn from(error: ringfuse::Error) -> Self {
        Self::Session(error)
    }
}
