//! Load on a mounted filesystem, and what it cost: the other half of `benchfs`, for any server of the same tree.
//!
//! Each command prints lines of a name and a number, which `cargo xtask bench` reads.

mod floor;
mod grow;
mod measure;
mod proc;
mod tree;
mod work;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Puts load on a mounted filesystem. Prints lines of a name and a number.
#[derive(Parser)]
#[command(max_term_width = 100)]
enum Command {
    /// Run one kind of load on a bench tree for some time.
    Run(measure::Options),
    /// Measure what a request cannot beat on this machine: a wake-up on one core, and a copy.
    Floor {
        /// How long to measure each.
        #[arg(long, default_value_t = 0.2)]
        seconds: f64,
    },
    /// Wait until a filesystem is mounted and answers.
    Wait {
        /// Where it will be mounted, as the mount table shows it.
        root: PathBuf,
    },
    /// Check that a tree is the bench tree, and works.
    Verify {
        /// Where it is mounted.
        root: PathBuf,
    },
    /// Lay the bench tree out on an ordinary filesystem.
    Lay {
        /// An empty directory.
        root: PathBuf,
    },
    /// Make files step by step, and measure single requests after each step.
    Grow(grow::Options),
    /// Hold files open, for `grow`.
    #[command(hide = true)]
    Hold(grow::Hold),
}

/// Prints a result.
fn tell(name: &str, value: f64) {
    println!("{name} {value}");
}

fn main() -> ExitCode {
    let done: io::Result<()> = match Command::parse() {
        Command::Run(options) => measure::run(&options),
        Command::Floor { seconds } => floor::floor(seconds),
        Command::Wait { root } => tree::wait(&root),
        Command::Verify { root } => tree::verify(&root),
        Command::Lay { root } => tree::lay(&root),
        Command::Grow(options) => grow::grow(&options),
        Command::Hold(files) => grow::hold(&files),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}
