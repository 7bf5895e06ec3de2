//! A suite of checks of POSIX and Linux filesystem semantics.
//!
//! A [`Case`] takes an empty writable directory and checks one thing by real system calls. All of
//! them hold on ext4 and on tmpfs. [`run`] runs a selection on a directory and gives a
//! [`Report`]; [`Runner`] does so with more choices, and may run each case in a process of its
//! own. A program that calls [`cli::main`], such as `posix-suite`, does the same from a shell and
//! is what such a process executes.
//!
//! ```no_run
//! use std::path::Path;
//! use std::time::Duration;
//!
//! use ringfuse_kit::posix::{self, Needs};
//!
//! let lacks = Needs::TMPFILE | Needs::XATTR_TRUSTED;
//! let report = posix::run(Path::new("/mnt/test"), |case| !case.needs.intersects(lacks), Duration::from_secs(20));
//! assert!(report.failed.is_empty(), "{report}");
//! ```

use std::path::Path;

mod base;
mod cases;
mod check;
pub mod cli;
mod needs;
mod runner;
mod sys;

pub use self::check::{Failure, Outcome};
pub use self::needs::Needs;
pub use self::runner::{Isolation, Report, Runner, run};

/// One check of the suite.
#[derive(Clone, Copy)]
pub struct Case {
    /// The name, `topic/case`, unique in the suite.
    pub name: &'static str,
    /// What is checked, and the manual page that says so.
    pub what: &'static str,
    /// What the case needs beyond plain files and directories.
    pub needs: Needs,
    /// The check. It takes the absolute path of an existing, empty, writable directory, and a
    /// thread of its own with its own working directory and a umask of 022; the runner gives it
    /// those.
    pub run: fn(&Path) -> Outcome,
}

/// All cases, in the order they are run.
pub fn all() -> impl Iterator<Item = &'static Case> {
    cases::TOPICS.iter().copied().flatten()
}

/// The case of that name.
pub fn find(name: &str) -> Option<&'static Case> {
    all().find(|case| case.name == name)
}
