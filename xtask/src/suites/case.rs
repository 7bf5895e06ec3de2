//! One case, in the process that is there for it.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use clap::Args;

use super::{SUITES, Scale, Stage, first_line};
use crate::run::show;

/// Exit status of a case that was skipped.
pub(super) const SKIPPED: u8 = 77;

/// How a case ends when it does not pass. The text is one line, or a few.
pub(super) enum Failure {
    Skipped(String),
    Failed(String),
}

pub(super) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    fn text(&self) -> &str {
        match self {
            Self::Skipped(text) | Self::Failed(text) => text,
        }
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Failed(text)
    }
}

impl From<&str> for Failure {
    fn from(text: &str) -> Self {
        Self::Failed(text.to_owned())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(error: rustix::io::Errno) -> Self {
        io::Error::from(error).into()
    }
}

/// Fails with a reason unless something holds.
pub(super) fn check(holds: bool, why: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(Failure::Failed(why())) }
}

/// Fails unless two things are equal.
pub(super) fn equal<T: PartialEq + fmt::Debug>(what: &str, got: T, expected: T) -> Outcome {
    check(got == expected, || format!("{what}: {got:?} instead of {expected:?}"))
}

/// Options of `cargo xtask case`.
#[derive(Args)]
pub(crate) struct Options {
    suite: String,
    case: String,
    /// A directory of the filesystem under test.
    dir: PathBuf,
    /// The folder of the run.
    stage: PathBuf,
    #[command(flatten)]
    scale: Scale,
}

/// What a case works with.
pub(super) struct Env {
    /// An empty directory on the filesystem under test. Programs start there.
    pub(super) dir: PathBuf,
    /// An empty directory on a tmpfs, for what the case is checked against.
    pub(super) scratch: PathBuf,
    pub(super) stage: Stage,
    pub(super) scale: Scale,
}

impl Env {
    /// A program of the run, or one that is found in `PATH`, with surroundings that are the same everywhere.
    pub(super) fn program(&self, name: &str) -> Command {
        let ours = self.stage.program(name);
        let mut command = if ours.is_file() { Command::new(ours) } else { Command::new(name) };
        command.current_dir(&self.dir).stdin(Stdio::null()).env("LC_ALL", "C").env("TZ", "UTC");
        command.env_remove("RUST_BACKTRACE");
        command
    }
}

/// Runs one case: prints what it does and, last, why it did not pass.
pub(crate) fn run(options: Options) -> ExitCode {
    let failure = match attempt(options) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(failure) => failure,
    };
    println!("{}", failure.text());
    ExitCode::from(if matches!(failure, Failure::Skipped(_)) { SKIPPED } else { 1 })
}

/// Runs it in an empty directory, which must go afterwards.
fn attempt(options: Options) -> Outcome {
    let Options { suite, case, dir, stage, scale } = options;
    let suite = SUITES.iter().find(|one| one.name == suite).ok_or("no such suite")?;
    let stage = Stage { root: stage };
    let scratch = stage.folder("scratch")?;
    // Short: the address of a socket holds 108 bytes.
    let dir = dir.join(format!("c{}", std::process::id()));
    fs::create_dir(&dir).map_err(|error| format!("cannot create {}: {error}", dir.display()))?;
    let env = Env { dir, scratch, stage, scale };
    let outcome = (suite.run)(&env, &case);
    let removed = fs::remove_dir_all(&env.dir);
    outcome?;
    removed.map_err(|error| format!("cannot remove {}: {error}", env.dir.display()).into())
}

/// Runs a command to its end. What it prints goes to the log.
pub(super) fn status(command: &mut Command) -> Outcome<ExitStatus> {
    println!("$ {}", show(command));
    command.status().map_err(|error| cannot_start(command, &error))
}

/// Runs a command, which must succeed.
pub(super) fn must(command: &mut Command) -> Outcome {
    let status = status(command)?;
    check(status.success(), || format!("`{}` failed: {status}", show(command)))
}

/// Runs a command, which must succeed, and returns what it prints without the last end of line.
pub(super) fn output(command: &mut Command) -> Outcome<String> {
    println!("$ {}", show(command));
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| cannot_start(command, &error))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text.trim_end().to_owned());
    }
    println!("{text}");
    Err(Failure::Failed(format!("`{}` failed: {}", show(command), output.status)))
}

/// Runs a command with some standard input; it must succeed. Returns what it prints.
pub(super) fn fed(command: &mut Command, input: &str) -> Outcome<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| cannot_start(command, &error))?;
    println!("$ {} <<< {}", show(command), first_line(input));
    let mut pipe = child.stdin.take().expect("it is piped");
    let input = input.to_owned();
    // A program may print before it has read all, and wait for it to be read.
    let feeder = std::thread::spawn(move || pipe.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    let _ = feeder.join();
    let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    check(output.status.success(), || format!("`{}` failed: {}\n{text}", show(command), output.status))?;
    Ok(text)
}

/// Runs commands at once, all of which must succeed.
pub(super) fn all_at_once(commands: impl IntoIterator<Item = Command>) -> Outcome {
    let mut children = Vec::new();
    for mut command in commands {
        println!("$ {} &", show(&command));
        let child = command.spawn().map_err(|error| cannot_start(&command, &error))?;
        children.push((show(&command), child));
    }
    let mut outcome = Ok(());
    for (shown, mut child) in children {
        let status = child.wait()?;
        outcome = outcome.and(check(status.success(), || format!("`{shown}` failed: {status}")));
    }
    outcome
}

/// A program that is not installed is a reason to skip, one that cannot be started is not.
fn cannot_start(command: &Command, error: &io::Error) -> Failure {
    let name = command.get_program().to_string_lossy().into_owned();
    // Not to be found may be the working directory, too.
    if error.kind() == io::ErrorKind::NotFound && command.get_current_dir().is_none_or(|dir| dir.is_dir()) {
        Failure::Skipped(format!("{name} is not installed"))
    } else {
        Failure::Failed(format!("cannot start {name}: {error}"))
    }
}
