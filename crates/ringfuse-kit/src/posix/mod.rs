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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::time::Duration;

    use super::*;

    #[test]
    fn names_are_unique_and_every_case_cites_a_manual_page() {
        let mut names = BTreeSet::new();
        for case in all() {
            assert!(names.insert(case.name), "{} is there twice", case.name);
            let (topic, name) = case.name.split_once('/').unwrap();
            assert!(!topic.is_empty() && !name.is_empty() && !name.contains('/'), "{}", case.name);
            let cited =
                ["(2)", "(3)", "(5)", "(7)", "(2const)"].iter().any(|section| case.what.contains(section));
            assert!(cited, "{}: {}", case.name, case.what);
            assert_eq!(find(case.name).map(|found| found.what), Some(case.what));
        }
        assert!(names.len() >= 160);
    }

    #[test]
    fn needs_have_names_and_bits_of_their_own() {
        let mut all = Needs::NONE;
        for name in Needs::all_names() {
            let need = Needs::from_name(name).unwrap();
            assert_eq!(need.to_string(), name);
            assert!(!all.intersects(need), "{name} shares its bit");
            all = all | need;
        }
        assert_eq!(Needs::from_name("no such need"), None);
        assert!(all.contains(Needs::ROOT | Needs::MMAP));
    }

    /// The reference: all of the suite holds on tmpfs. /dev/shm is one wherever there is one.
    #[test]
    fn the_suite_holds_on_tmpfs() {
        const TMPFS_MAGIC: u64 = 0x0102_1994;
        let shm = Path::new("/dev/shm");
        if rustix::fs::statfs(shm).map(|stat| stat.f_type as u64) != Ok(TMPFS_MAGIC) {
            return;
        }
        let dir = shm.join(format!("posix-suite-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        // Others use that tmpfs, too.
        let report = run(&dir, |case| !case.needs.intersects(Needs::FREE_SPACE), Duration::from_secs(60));
        fs::remove_dir_all(&dir).unwrap();
        assert!(report.failed.is_empty(), "{report}");
        assert!(report.passed.len() > 300, "{report}");
    }
}
