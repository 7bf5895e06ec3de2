//! Tasks of the project: `cargo xtask COMMAND`.

mod bench;
mod demo;
mod latency;
mod machine;
mod mounts;
mod run;
mod served;
mod suites;
#[cfg(test)]
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tasks of the project.
///
/// Mounting needs root, or `fusermount3` and a `/dev/fuse` that the user may open; switching FUSE-over-io_uring on
/// needs root. As root, `demo` and `test` do that set-up themselves.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what the tests use, load the module, switch FUSE-over-io_uring on. Needs root, changes the machine.
    Setup,
    /// Mount a filesystem, do visible work on it, say which transport served it and how fast, unmount.
    Demo,
    /// Tell how long single operations take: natively, on `ringfuse mem`, and on `ringfuse mirror`.
    Latency {
        /// Directories to be used; each is measured natively and mirrored [default: /dev/shm and the folder for temporary files].
        directories: Vec<PathBuf>,
    },
    /// Run all tests: units, real mounts, real programs. Needs root, but for --unit.
    Test {
        /// Only the tests that need no kernel feature and no privilege.
        #[arg(long)]
        unit: bool,
        /// Only tests whose name contains this.
        filter: Option<String>,
    },
    /// Run conformance suites on a native directory and on a filesystem of ours, and compare. Needs root.
    Conformance(suites::Options),
    /// Compare with other FUSE libraries, side by side, and write a table and a plot to docs/bench. Needs root.
    Bench(bench::Options),
    /// Run one case of a conformance suite on a directory.
    #[command(hide = true)]
    Case(suites::CaseOptions),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Setup => machine::set_up(),
        Command::Demo => demo::demo(),
        Command::Latency { directories } => latency::latency(directories),
        Command::Test { unit, filter } => run::tests(unit, filter.as_deref()),
        Command::Conformance(options) => suites::conformance(&options),
        Command::Bench(options) => bench::bench(&options),
        Command::Case(options) => return suites::case(options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
