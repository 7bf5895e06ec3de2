//! `cargo xtask bench`: measurements that anyone can repeat.
//!
//! `table` compares libraries, `mirror` the program with others of its kind, and `scaling` tells how the cost of a request
//! grows. Nothing here touches a filesystem under test: the program `load` does, and others, in processes that have limits.

mod loads;
mod machine;
mod mirror;
mod numbers;
mod place;
mod report;
mod scaling;
mod server;
mod table;

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args, Subcommand};

use crate::machine as setup;
use crate::run::{Done, cargo, run, target, workspace};

/// Options of all measurements, and of the comparison.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: Option<What>,
    /// Rounds. All servers take their turns in each, so that what happens to the machine happens to all.
    #[arg(long, global = true, default_value_t = 7, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// How long each load is measured in a round.
    #[arg(long, global = true, default_value_t = 1.0, value_name = "S")]
    seconds: f64,
    /// Only loads whose names contain this; may be given several times. `--load list` lists them.
    #[arg(long, value_name = "NAME")]
    load: Vec<String>,
    /// Only this server; may be given several times. `--only list` lists them.
    #[arg(long, value_name = "SERVER")]
    only: Vec<String>,
    /// Look whether it works: two short rounds, small steps. The figures mean nothing.
    #[arg(long, global = true)]
    quick: bool,
    /// Keep the CPUs from idling, by a loop on each that yields to everything. On a virtual machine a CPU that idles is
    /// slow to wake, and that may be all that is measured; on real hardware this changes little.
    #[arg(long)]
    awake: bool,
    /// Where results go [default: docs/bench for all of it, target/bench for parts and for --quick].
    #[arg(long, global = true, value_name = "DIR")]
    out: Option<PathBuf>,
    /// In the namespace already.
    #[arg(long, global = true, hide = true)]
    inside: bool,
}

#[derive(Subcommand)]
enum What {
    /// How the cost of a request grows with allowed entries, known nodes, open files and names in a directory, on
    /// `ringfuse mem`; and the memory of an idle server. Takes some minutes and a few GiB.
    Scaling,
    /// `ringfuse mirror` beside its source, by fio and a walk of up to 50,000 files: on each transport and with the kernel's
    /// passthrough. Compared with a plain mirror on the library fuser. Takes ten minutes.
    Mirror {
        /// Compare with this, too: `{source}` in it is the directory, and the mountpoint is appended; may be given several
        /// times.
        #[arg(long, value_name = "NAME=COMMAND")]
        against: Vec<String>,
    },
}

const AFTER_HELP: &str = "\
Examples:
  cargo xtask bench
      the whole comparison: about half an hour
  cargo xtask bench --load fstat --only ringfuse --only fuser --rounds 3
      a part of it, to look at a change
  cargo xtask bench --quick
      whether everything works
  cargo xtask bench scaling
      how the cost of a request grows
  cargo xtask bench mirror --against 'libfuse=passthrough_ll -f -o source={source},cache=auto,clone_fd'
      the mirror, one on fuser, and libfuse's example of one

Needs root: it mounts, and reads the servers' counters. It runs in a mount and pid namespace of its own, so that nothing
stays behind, however it ends. Nothing else should run meanwhile; the report says what did.

Results: headline.md and headline.svg, scaling.md and scaling-*.svg, mirror.md. The single samples are in target/bench.
Exit status: 0 if every server was measured on the transport it is to be measured on, 1 if not.";

impl Options {
    fn rounds(&self) -> usize {
        if self.quick { self.rounds.min(2).into() } else { self.rounds.into() }
    }

    fn seconds(&self) -> f64 {
        if self.quick { self.seconds.min(0.2) } else { self.seconds }
    }

    /// Whether all there is to be measured is measured.
    fn is_whole(&self) -> bool {
        self.load.is_empty() && self.only.is_empty() && !self.quick
    }

    /// Where the report goes.
    fn out(&self) -> PathBuf {
        let default = if self.is_whole() { workspace().join("docs/bench") } else { samples() };
        self.out.clone().unwrap_or(default)
    }
}

/// Where everything goes that is no report.
fn samples() -> PathBuf {
    target().join("bench")
}

/// Measures.
pub(crate) fn bench(options: &Options) -> Done {
    if [&options.load, &options.only].into_iter().flatten().any(|name| name == "list") {
        loads::list();
        server::list();
        return Ok(());
    }
    loads::chosen(&options.load)?;
    server::chosen(&options.only)?;
    if let Some(What::Mirror { against }) = &options.what {
        mirror::chosen(against)?;
    }
    setup::require_root("it mounts filesystems, and reads the counters of the servers")?;
    if !options.inside {
        setup::enable()?;
        build(options)?;
        return Err(place::enter());
    }
    place::settle()?;
    for folder in [options.out(), samples()] {
        std::fs::create_dir_all(&folder)
            .map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
    }
    match &options.what {
        None => table::table(options),
        Some(What::Scaling) => scaling::scaling(options),
        Some(What::Mirror { against }) => mirror::mirror(options, against),
    }
}

/// The other workspace: what is compared with, and what draws.
fn outside() -> PathBuf {
    workspace().join("benches/peers")
}

/// Where its programs are.
fn built(name: &str) -> PathBuf {
    target().join("peers/release").join(name)
}

fn build(options: &Options) -> Done {
    println!("building the servers and the load (some minutes, the first time)");
    let release = || {
        let mut cargo = cargo();
        cargo.args(["build", "--release", "--quiet", "--locked"]);
        cargo
    };
    run(release().args(["--package", "ringfuse-benches", "--package", "ringfuse-cli"]))?;
    let mut others = release();
    others.arg("--manifest-path").arg(outside().join("Cargo.toml"));
    others.arg("--target-dir").arg(target().join("peers"));
    others.args(["--package", "ringfuse-plots"]);
    if matches!(options.what, None | Some(What::Mirror { .. })) {
        others.args(["--package", "ringfuse-peers"]);
    }
    run(&mut others)
}

/// Draws a plot of a table of tab-separated values.
fn plot(kind: &str, data: &str, name: &str, out: &Path, labels: &[(&str, &str)]) -> Done {
    let table = samples().join(format!("{name}.plot.tsv"));
    std::fs::write(&table, data).map_err(|error| format!("cannot write {}: {error}", table.display()))?;
    let mut plots = Command::new(built("plots"));
    plots.arg(kind).arg(table).arg(out.join(format!("{name}.svg")));
    for (label, text) in labels {
        plots.arg(format!("--{label}")).arg(text);
    }
    run(&mut plots)
}

fn write(path: &Path, text: &str) -> Done {
    std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}
