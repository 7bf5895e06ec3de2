//! `cargo xtask conformance`: suites of others and of ours, on a native directory and on a filesystem of ours.
//!
//! A suite is a list of cases. Every case runs in a process of its own (`cargo xtask case`), in a directory of its own,
//! within a time limit; the process that starts them never touches the filesystem under test, so that nothing hangs with
//! it. All of it lives in a mount and process namespace: when that goes, for whatever reason, so do the mounts, the
//! servers and whatever a case left running.

mod apps;
mod case;
mod fio;
mod fsx;
mod namespace;
mod pjdfstest;
mod place;
mod posix;
mod report;
mod runner;
mod server;
mod stage;
mod stress;
mod tools;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::machine;
use crate::run::{Done, cargo, run, target};

use case::{Env, Outcome};
pub(crate) use case::{Options as CaseOptions, run as case};
use place::{Native, Place};
use server::Way;
use stage::Stage;
pub(crate) use tools::tools;

/// All suites.
const SUITES: [Suite; 6] =
    [posix::SUITE, pjdfstest::SUITE, fsx::SUITE, stress::SUITE, fio::SUITE, apps::SUITE];

/// A set of cases.
struct Suite {
    name: &'static str,
    what: &'static str,
    /// Lists its cases. The folder is an empty one on a tmpfs.
    cases: fn(&Stage, Scale) -> Done<Vec<Case>>,
    /// Runs one of them, in the process that is there for it.
    run: fn(&Env, &str) -> Outcome,
}

/// A case of a suite.
struct Case {
    name: String,
    limit: Duration,
}

impl Case {
    fn new(name: impl Into<String>, seconds: u64) -> Self {
        Self { name: name.into(), limit: Duration::from_secs(seconds) }
    }
}

/// How much of each suite is run.
#[derive(Args, Clone, Copy)]
pub(crate) struct Scale {
    /// Short runs: minutes for all suites.
    #[arg(long, conflicts_with = "long")]
    quick: bool,
    /// Long runs: hours.
    #[arg(long)]
    long: bool,
}

impl Scale {
    fn pick<T>(self, quick: T, usual: T, long: T) -> T {
        match self {
            Self { quick: true, .. } => quick,
            Self { long: true, .. } => long,
            _ => usual,
        }
    }
}

/// What is tested.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fs {
    /// `ringfuse mem`, against a tmpfs.
    Mem,
    /// `ringfuse mirror`, against a directory of the kind that it mirrors.
    Mirror,
    /// A second native directory: what differs then is the suite's own doing.
    Native,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Transports {
    /// By io_uring.
    Ring,
    /// By /dev/fuse.
    Device,
    Both,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Natives {
    Tmpfs,
    /// In a file, through a loop device.
    Ext4,
    Both,
}

/// Options of `cargo xtask conformance`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Options {
    /// The suites to run; with a slash, those of its cases whose name contains what follows [default: all].
    #[arg(value_name = "SUITE[/TEXT]")]
    suites: Vec<String>,
    /// What is tested.
    #[arg(long, value_enum, default_value_t = Fs::Mem)]
    fs: Fs,
    /// Which way its requests take.
    #[arg(long, value_enum, default_value_t = Transports::Both)]
    transport: Transports,
    /// Threads that serve requests.
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// What it is compared with [default: ext4 for mirror, else tmpfs].
    #[arg(long, value_enum)]
    native: Option<Natives>,
    #[command(flatten)]
    scale: Scale,
    /// Install PostgreSQL if it is not there; without it the cases that use it are skipped.
    #[arg(long)]
    postgres: bool,
    /// Test an optimized build.
    #[arg(long)]
    release: bool,
    /// List the suites and their cases.
    #[arg(long)]
    list: bool,
    /// Options for the filesystem under test: `-- --writeback`.
    #[arg(last = true, value_name = "OPTION")]
    options: Vec<String>,
    /// In the namespace already.
    #[arg(long, hide = true)]
    inside: bool,
}

const AFTER_HELP: &str = "\
Examples:
  cargo xtask conformance --quick
      all suites on `ringfuse mem`, over both transports
  cargo xtask conformance apps/git apps/sqlite --transport ring --workers 1 -- --writeback
  cargo xtask conformance pjdfstest --fs mirror --native both

Results go to target/conformance/{summary,cases}.tsv, and what the cases and servers print to target/conformance/logs.
Exit status: 0 if all that passes natively passes, 1 if not or if a suite did not run.";

impl Options {
    /// The suites that were asked for, each with the text that names of its cases contain.
    fn chosen(&self) -> Done<Vec<(&'static Suite, Vec<&str>)>> {
        if self.suites.is_empty() {
            return Ok(SUITES.iter().map(|suite| (suite, Vec::new())).collect());
        }
        let mut chosen: Vec<(&'static Suite, Vec<&str>)> = Vec::new();
        for wanted in &self.suites {
            let (name, text) = wanted.split_once('/').unwrap_or((wanted, ""));
            let suite = SUITES.iter().find(|suite| suite.name == name).ok_or_else(|| {
                format!("there is no suite {name:?}; there are {}", SUITES.map(|suite| suite.name).join(", "))
            })?;
            match chosen.iter_mut().find(|(other, _)| other.name == name) {
                Some((_, texts)) => texts.push(text),
                None => chosen.push((suite, vec![text])),
            }
        }
        Ok(chosen)
    }

    fn natives(&self) -> &'static [Native] {
        match (self.native, self.fs) {
            (Some(Natives::Both), _) => &[Native::Tmpfs, Native::Ext4],
            (Some(Natives::Ext4), _) | (None, Fs::Mirror) => &[Native::Ext4],
            (Some(Natives::Tmpfs), _) | (None, _) => &[Native::Tmpfs],
        }
    }

    /// Where each suite is run: native directories first, then what is compared with them.
    fn places(&self) -> Vec<Place> {
        let natives = self.natives();
        let mut places: Vec<Place> = natives.iter().map(|native| Place::native(*native)).collect();
        match self.fs {
            Fs::Native => places.extend(natives.iter().map(|native| Place::second(*native))),
            Fs::Mem => {
                places.extend(self.ways().map(|way| Place::served(self, "mem", way, None, natives)));
            }
            Fs::Mirror => places.extend(natives.iter().flat_map(|native| {
                let native = std::slice::from_ref(native);
                self.ways().map(|way| Place::served(self, "mirror", way, Some(native[0]), native))
            })),
        }
        places
    }

    fn ways(&self) -> impl Iterator<Item = Way> {
        let both = [(Way::Ring, Transports::Ring), (Way::Device, Transports::Device)];
        both.into_iter()
            .filter(|(_, one)| self.transport == Transports::Both || self.transport == *one)
            .map(|(way, _)| way)
    }
}

/// Where results and logs go.
fn results() -> PathBuf {
    target().join("conformance")
}

/// Runs the suites that were asked for, and compares.
pub(crate) fn conformance(options: &Options) -> Done {
    let chosen = options.chosen()?;
    if options.list && options.suites.is_empty() {
        for suite in &SUITES {
            println!("{:<10} {}", suite.name, suite.what);
        }
        return Ok(());
    }
    machine::require_root("it mounts filesystems, and acts as several users")?;
    if !options.inside {
        prepare(options)?;
        return Err(namespace::enter());
    }
    namespace::settle()?;
    let stage = Stage::set_up(options.release)?;
    if options.list {
        return list(&stage, options, &chosen);
    }
    runner::run_all(&stage, options, &chosen)
}

/// Builds and installs what is needed.
fn prepare(options: &Options) -> Done {
    machine::set_up()?;
    if options.postgres {
        tools::postgres()?;
    }
    tools()?;
    println!("building the filesystems (a minute, the first time)");
    let release = options.release.then_some("--release");
    run(cargo()
        .args(["build", "--quiet", "--package", "ringfuse-cli", "--package", "ringfuse-kit"])
        .args(release))
}

/// The cases of a suite whose names contain one of the texts, if there are any.
fn cases(stage: &Stage, scale: Scale, suite: &Suite, texts: &[&str]) -> Done<Vec<Case>> {
    let name = suite.name;
    let mut cases =
        (suite.cases)(stage, scale).map_err(|error| format!("cannot list the cases of {name}: {error}"))?;
    cases.retain(|case| texts.is_empty() || texts.iter().any(|text| case.name.contains(text)));
    if cases.is_empty() {
        return Err(format!("{name} has no such case; `conformance {name} --list` tells those that it has"));
    }
    Ok(cases)
}

fn list(stage: &Stage, options: &Options, chosen: &[(&Suite, Vec<&str>)]) -> Done {
    for (suite, texts) in chosen {
        for case in cases(stage, options.scale, suite, texts)? {
            println!("{}/{}", suite.name, case.name);
        }
    }
    Ok(())
}

/// The first line of a text that is not empty.
fn first_line(text: &str) -> &str {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default()
}

/// A name that can be one component of a path.
fn file_name(name: &str) -> String {
    name.replace(|c: char| !c.is_ascii_alphanumeric(), "-")
}

/// A path, for a command line that is text.
fn text(path: &Path) -> &str {
    path.to_str().expect("the paths of a run are ASCII")
}
