//! Running cases, each with a time limit.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::{Case, Failure, Needs, Outcome, all, sys};

/// So many cases may run into their limit before the rest is given up.
const MAX_TIMEOUTS: usize = 3;

/// Exit code of a process that runs one case, if that is skipped.
const EXIT_SKIPPED: u8 = 77;

/// What the cases of a run said.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Names of the cases that passed.
    pub passed: Vec<&'static str>,
    /// Names of the cases that failed, with the message of the failed check.
    pub failed: Vec<(&'static str, String)>,
    /// Names of the cases that were skipped, with the reason.
    pub skipped: Vec<(&'static str, String)>,
}

impl Report {
    fn add(&mut self, name: &'static str, outcome: &Outcome) {
        match outcome {
            Ok(()) => self.passed.push(name),
            Err(Failure::Skip(reason)) => self.skipped.push((name, reason.clone())),
            Err(failure) => self.failed.push((name, failure.to_string())),
        }
    }
}

impl fmt::Display for Report {
    /// The failed and the skipped cases a line each, and the totals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, message) in &self.failed {
            writeln!(f, "FAIL  {name}: {message}")?;
        }
        for (name, reason) in &self.skipped {
            writeln!(f, "skip  {name}: {reason}")?;
        }
        let (passed, failed, skipped) = (self.passed.len(), self.failed.len(), self.skipped.len());
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// Where a case runs.
#[derive(Clone, Debug, Default)]
pub enum Isolation {
    /// In a thread of this process. One that hangs is left behind.
    #[default]
    Thread,
    /// In a process of its own, which is killed if it hangs. This is what to use when this
    /// process serves the filesystem: a process that waits for itself in a page fault, in
    /// `close` or at its exit can hang for good.
    Process {
        /// A program that calls [`cli::main`](super::cli::main), such as `posix-suite`.
        program: PathBuf,
        /// Arguments to put before those of the suite.
        args: Vec<OsString>,
    },
}

/// Runs cases one after the other.
#[derive(Clone, Debug)]
pub struct Runner {
    /// Where a case runs.
    pub isolation: Isolation,
    /// How long a case may take. One that takes longer has failed; after three of those the
    /// cases that remain are not run, and reported as failed.
    pub timeout: Duration,
}

/// Runs the cases that `filter` picks, each in a thread of its own, in fresh directories below
/// `dir`. See [`Runner::run`].
pub fn run(dir: &Path, filter: impl Fn(&Case) -> bool, timeout_per_case: Duration) -> Report {
    Runner { isolation: Isolation::Thread, timeout: timeout_per_case }.run(dir, filter, |_, _, _| ())
}

impl Runner {
    /// Runs the cases that `filter` picks, each in a fresh directory below `dir`, which is removed
    /// after it; `each` is called with every case when it is done, and with the time it took.
    pub fn run(
        &self,
        dir: &Path,
        filter: impl Fn(&Case) -> bool,
        mut each: impl FnMut(&Case, &Outcome, Duration),
    ) -> Report {
        let mut report = Report::default();
        let mut timeouts = 0;
        for case in all().filter(|case| filter(case)) {
            let start = Instant::now();
            let outcome = if timeouts >= MAX_TIMEOUTS {
                Err(Failure::check(format!("not run: {timeouts} cases before it timed out")))
            } else {
                self.run_one(case, dir).unwrap_or_else(|| {
                    timeouts += 1;
                    Err(Failure::check(format!("timed out after {:?}", self.timeout)))
                })
            };
            report.add(case.name, &outcome);
            each(case, &outcome, start.elapsed());
        }
        report
    }

    /// `None` if the case ran into its limit.
    fn run_one(&self, case: &'static Case, dir: &Path) -> Option<Outcome> {
        if case.needs.intersects(Needs::ROOT | Needs::USERS) && !rustix::process::geteuid().is_root() {
            return Some(Err(Failure::skip("needs root")));
        }
        match &self.isolation {
            Isolation::Thread => in_thread(case, dir, self.timeout),
            Isolation::Process { program, args } => {
                let mut command = Command::new(program);
                command.args(args).arg(dir).args(["--case", case.name]);
                in_process(command, self.timeout)
            }
        }
    }
}

fn in_thread(case: &'static Case, dir: &Path, timeout: Duration) -> Option<Outcome> {
    let dir = dir.to_owned();
    let (done, outcome) = mpsc::channel();
    let body = move || {
        let attempt = panic::catch_unwind(AssertUnwindSafe(|| attempt(case, &dir)));
        let _ = done.send(attempt.unwrap_or_else(|_| Err(Failure::check("the case panicked"))));
    };
    if let Err(error) = thread::Builder::new().name(case.name.to_owned()).spawn(body) {
        return Some(Err(Failure::check(format!("cannot start a thread: {error}"))));
    }
    match outcome.recv_timeout(timeout) {
        Ok(outcome) => Some(outcome),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => Some(Err(Failure::check("the thread of the case is gone"))),
    }
}

/// Runs the case in this thread, in a fresh directory. The thread is there for this alone: it gets
/// its own working directory and umask.
pub(super) fn attempt(case: &Case, dir: &Path) -> Outcome {
    sys::unshare_fs()?;
    rustix::process::umask(rustix::fs::Mode::WGRP | rustix::fs::Mode::WOTH);
    let dir = fs::canonicalize(dir)?.join(case.name.replace('/', "."));
    if let Err(error) = fs::create_dir(&dir) {
        if error.kind() != io::ErrorKind::AlreadyExists {
            return Err(Failure::check(format!("cannot create the directory of the case: {error}")));
        }
        // Left behind by a run that was killed.
        fs::remove_dir_all(&dir)?;
        fs::create_dir(&dir)?;
    }
    let outcome = (case.run)(&dir);
    let removed = fs::remove_dir_all(&dir);
    match (outcome, removed) {
        (Ok(()), Err(error)) => Err(Failure::check(format!("cannot remove the files of the case: {error}"))),
        (outcome, _) => outcome,
    }
}

fn in_process(mut command: Command, timeout: Duration) -> Option<Outcome> {
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return Some(Err(Failure::check(format!("cannot run {command:?}: {error}")))),
    };
    let mut stdout = child.stdout.take()?;
    let (done, output) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        let _ = stdout.read_to_string(&mut text);
        let _ = done.send(text);
    });
    let output = output.recv_timeout(timeout);
    if output.is_err() {
        let _ = child.kill();
    }
    // Its output has ended or it was killed: it is gone soon, unless it hangs in the kernel.
    let limit = Instant::now() + timeout.min(Duration::from_secs(2));
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < limit => thread::sleep(Duration::from_micros(200)),
            Ok(None) => {
                let _ = child.kill();
                return None;
            }
            Err(error) => return Some(Err(Failure::check(format!("cannot wait for the process: {error}")))),
        }
    };
    output.ok().map(|text| decode(status, &text))
}

/// What a process that runs one case prints, and its exit code.
pub(super) fn encode(outcome: &Outcome) -> (String, u8) {
    match outcome {
        Ok(()) => (String::new(), 0),
        Err(Failure::Skip(reason)) => (format!("{reason}\n"), EXIT_SKIPPED),
        Err(Failure::Check { message, file, line }) => (format!("{message}\n{file}:{line}\n"), 1),
    }
}

/// The reverse of [`encode`].
fn decode(status: ExitStatus, text: &str) -> Outcome {
    let text = text.trim_end();
    match status.code() {
        Some(0) => Ok(()),
        Some(code) if code == i32::from(EXIT_SKIPPED) => Err(Failure::skip(text)),
        _ => {
            let place = text.rsplit_once('\n').and_then(|(message, place)| {
                let (file, line) = place.rsplit_once(':')?;
                let (message, file) = (message.to_owned(), file.to_owned().into());
                Some(Failure::Check { message, file, line: line.parse().ok()? })
            });
            Err(place.unwrap_or_else(|| {
                Failure::check(format!("the process of the case ended with {status}: {text}"))
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn case(name: &'static str, run: fn(&Path) -> Outcome) -> &'static Case {
        Box::leak(Box::new(Case { name, what: "", needs: Needs::NONE, run }))
    }

    /// A directory of this test alone.
    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("posix-suite-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn a_case_gets_an_empty_directory_which_is_removed() {
        let dir = scratch("empty");
        fs::create_dir(dir.join("test.empty")).unwrap();
        fs::write(dir.join("test.empty/left"), "behind").unwrap();
        let outcome = in_thread(
            case("test/empty", |dir| {
                assert_eq!(fs::read_dir(dir)?.count(), 0);
                fs::write(dir.join("f"), "x")?;
                Ok(())
            }),
            &dir,
            LIMIT,
        );
        assert_eq!(outcome, Some(Ok(())));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        fs::remove_dir(&dir).unwrap();
    }

    #[test]
    fn a_failed_check_names_its_line() {
        let dir = scratch("fails");
        let line = line!() + 1;
        let failing = case("test/fails", |dir| Ok(fs::remove_dir(dir.join("none"))?));
        let Some(Err(Failure::Check { message, file, line: at })) = in_thread(failing, &dir, LIMIT) else {
            panic!("the case did not fail");
        };
        assert!(message.contains("No such file"), "{message}");
        assert!(file.ends_with("runner.rs"), "{file}");
        assert_eq!(at, line);
        fs::remove_dir(&dir).unwrap();
    }

    #[test]
    fn panics_skips_and_hangs_are_told_apart() {
        let dir = scratch("kinds");
        let skipped = in_thread(case("test/skips", |_| Err(Failure::skip("no such thing"))), &dir, LIMIT);
        assert_eq!(skipped, Some(Err(Failure::Skip("no such thing".to_owned()))));
        let panicked = in_thread(case("test/panics", |_| panic!("on purpose")), &dir, LIMIT);
        assert!(
            matches!(panicked, Some(Err(Failure::Check { message, .. })) if message.contains("panicked"))
        );
        let hung = in_thread(
            case("test/hangs", |_| {
                thread::sleep(Duration::from_millis(300));
                Ok(())
            }),
            &dir,
            Duration::from_millis(20),
        );
        assert_eq!(hung, None);
        thread::sleep(Duration::from_millis(600));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_emptied_is_a_failure() {
        let dir = scratch("stays");
        let outcome = in_thread(case("test/stays", |dir| Ok(fs::remove_dir(dir)?)), &dir, LIMIT);
        assert!(matches!(outcome, Some(Err(Failure::Check { message, .. })) if message.contains("remove")));
        fs::remove_dir(&dir).unwrap();
    }

    #[test]
    fn a_hung_process_is_killed() {
        let mut command = Command::new("sleep");
        command.arg("1000");
        let start = Instant::now();
        assert_eq!(in_process(command, Duration::from_millis(50)), None);
        assert!(start.elapsed() < LIMIT);
    }

    #[test]
    fn outcomes_cross_the_process_border() {
        let shell = |script: String| {
            let mut command = Command::new("sh");
            command.arg("-c").arg(script);
            in_process(command, LIMIT).unwrap()
        };
        for outcome in [Ok(()), Err(Failure::skip("a reason")), Err(Failure::check("two\nlines: 'of' it"))] {
            let (text, code) = encode(&outcome);
            let text = text.replace('\'', "'\\''");
            assert_eq!(shell(format!("printf %s '{text}'; exit {code}")), outcome);
        }
        let killed = shell("kill -9 $$".to_owned()).unwrap_err().to_string();
        assert!(killed.contains("signal: 9"), "{killed}");
    }

    #[test]
    fn after_three_timeouts_the_rest_is_not_run() {
        let dir = scratch("timeouts");
        let topic = |case: &Case| case.name.starts_with("names/");
        let report = run(&dir, topic, Duration::ZERO);
        assert!(report.failed.len() > 3, "{report}");
        assert_eq!(
            report.failed.iter().filter(|(_, message)| message.contains("timed out after")).count(),
            3
        );
        assert_eq!(
            report.failed.iter().filter(|(_, message)| message.contains("not run")).count(),
            report.failed.len() - 3
        );
        // The cases go on in their threads, and clean up.
        for _ in 0..500 {
            if fs::read_dir(&dir).unwrap().count() == 0 {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
