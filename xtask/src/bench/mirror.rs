//! `ringfuse mirror` beside its own source, and beside other programs that pass a directory on: one on another library, and
//! any that are named.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};

use super::numbers::{cell, markdown, median, ratio};
use super::place::folder;
use super::server::{Served, finish};
use super::table::text;
use super::{Options, built, machine, write};
use crate::run::{Done, target};

/// The servers of ours, by their options.
const OURS: [(&str, &[&str]); 3] = [
    ("mirror", &[]),
    ("mirror, /dev/fuse", &["--transport", "device"]),
    ("mirror --passthrough", &["--passthrough"]),
];
const NATIVE: &str = "native";
/// The other that is always there: a plain one on the library fuser.
const FUSER: &str = "fuser";

/// Files that are walked, at most.
const FILES: usize = 50_000;
/// How many of them are in a directory.
const IN_EACH: usize = 50;

struct Load {
    name: &'static str,
    work: Work,
    unit: &'static str,
}

enum Work {
    /// `fio` with these arguments, for as long as is asked for.
    Fio(&'static [&'static str]),
    /// The large file from its beginning to its end, of which the kernel has nothing cached.
    Through,
    /// Each of the small files is looked at, once.
    Walk,
}

const LOADS: [Load; 8] = [
    Load::fio("4k reads, direct", &["--rw=randread", "--bs=4k", "--direct=1", "--ioengine=psync"]),
    Load::fio(
        "4k reads, direct, 32 under way",
        &["--rw=randread", "--bs=4k", "--direct=1", "--ioengine=libaio", "--iodepth=32"],
    ),
    Load::fio("4k writes, direct", &["--rw=randwrite", "--bs=4k", "--direct=1", "--ioengine=psync"]),
    Load::fio(
        "4k writes, direct, 32 under way",
        &["--rw=randwrite", "--bs=4k", "--direct=1", "--ioengine=libaio", "--iodepth=32"],
    ),
    Load::fio("1M reads, direct", &["--rw=read", "--bs=1m", "--direct=1", "--ioengine=psync"]),
    Load::fio("1M writes, direct", &["--rw=write", "--bs=1m", "--direct=1", "--ioengine=psync"]),
    Load { name: "reads, buffered", work: Work::Through, unit: "MiB/s" },
    Load { name: "walk", work: Work::Walk, unit: "files/s" },
];

impl Load {
    const fn fio(name: &'static str, args: &'static [&'static str]) -> Self {
        Self { name, work: Work::Fio(args), unit: "MiB/s" }
    }
}

/// A figure of a server for a load.
struct Sample {
    server: String,
    load: &'static str,
    value: f64,
}

/// A load that a server failed at, or a server that failed.
struct Trouble {
    server: String,
    what: String,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.server, self.what)
    }
}

pub(super) fn mirror(options: &Options, against: &[String]) -> Done {
    let against = chosen(against)?;
    let mut names = always();
    names.extend(against.iter().map(|(name, _)| name));
    let wanted = if options.quick { 2000 } else { FILES };
    let descriptors = getrlimit(Resource::Nofile).maximum;
    let files = walked(wanted, descriptors);
    let limit = descriptors.filter(|_| files < wanted);
    let bench = Bench { options, against, source: lay(options, files)?, files, limit };
    let (mut samples, mut troubles) = (Vec::new(), Vec::<Trouble>::new());
    for round in 0..options.rounds() {
        println!("round {} of {}", round + 1, options.rounds());
        let mut turns = names.clone();
        turns.rotate_left(round % names.len());
        for name in turns {
            if let Err(error) = bench.server(name, &mut samples, &mut troubles) {
                troubles.push(Trouble { server: name.to_owned(), what: error });
            }
            println!(" {name}");
        }
    }
    bench.report(&names, &samples, &troubles)?;
    // What others cannot do is told, and no failure of this measurement.
    let others = others(&names);
    let of_ours = troubles.iter().filter(|trouble| !others.contains(&trouble.server.as_str()));
    let of_ours: Vec<String> = of_ours.map(Trouble::to_string).collect();
    if of_ours.is_empty() { Ok(()) } else { Err(of_ours.join("\n")) }
}

/// What is measured whatever is asked for, the others last.
fn always() -> Vec<&'static str> {
    let ours = OURS.iter().map(|(name, _)| *name);
    [NATIVE].into_iter().chain(ours).chain([FUSER]).collect()
}

/// Those of all that are neither the source nor ours.
fn others<'a, 'b>(names: &'a [&'b str]) -> &'a [&'b str] {
    &names[1 + OURS.len()..]
}

/// What else the mirror is compared with: names and commands.
pub(super) fn chosen(against: &[String]) -> Done<Vec<(&str, &str)>> {
    against.iter().map(|other| named(other)).collect()
}

/// `NAME=COMMAND`.
fn named(other: &str) -> Done<(&str, &str)> {
    let wanted =
        || format!("`{other}` is not NAME=COMMAND, as in 'other=/path/program -f -o source={{source}}'");
    let (name, command) = other
        .split_once('=')
        .filter(|(name, command)| !name.contains(['/', ' ']) && !command.is_empty())
        .ok_or_else(wanted)?;
    if always().contains(&name) {
        return Err(format!("`{name}` is the name of what is measured anyway"));
    }
    Ok((name, command))
}

/// What is mirrored: a large file, and many small ones.
fn lay(options: &Options, files: usize) -> Done<PathBuf> {
    let source = folder("source")?;
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error| format!("cannot write {path}: {error}")
    };
    let large = source.join("large");
    let mut file = std::fs::File::create(&large).map_err(failed(&large))?;
    let mib: Vec<u8> =
        (0..1_u32 << 18).flat_map(|word| word.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
    for _ in 0..large_mib(options) {
        file.write_all(&mib).map_err(failed(&large))?;
    }
    for number in 0..files / IN_EACH {
        let directory = source.join(format!("tree/d{number}"));
        std::fs::create_dir_all(&directory).map_err(failed(&directory))?;
        for file in 0..IN_EACH {
            let path = directory.join(format!("f{file}"));
            std::fs::write(&path, "").map_err(failed(&path))?;
        }
    }
    Ok(source)
}

fn large_mib(options: &Options) -> usize {
    if options.quick { 64 } else { 512 }
}

/// How many files are walked by programs that may have so many descriptors: others keep one for each, and need some beside.
fn walked(wanted: usize, descriptors: Option<u64>) -> usize {
    let room = descriptors.and_then(|limit| usize::try_from(limit / 2000 * 1000).ok());
    room.map_or(wanted, |room| wanted.min(room.max(1000)))
}

struct Bench<'a> {
    options: &'a Options,
    /// Names and commands.
    against: Vec<(&'a str, &'a str)>,
    source: PathBuf,
    /// How many are walked.
    files: usize,
    /// How many descriptors a program may have, where that makes them few.
    limit: Option<u64>,
}

impl Bench<'_> {
    /// How a server is started; `None` for the source itself.
    fn command(&self, name: &str) -> Option<Command> {
        if let Some((_, args)) = OURS.iter().find(|(ours, _)| *ours == name) {
            let mut command = Command::new(target().join("release/ringfuse"));
            command.arg("mirror").args(*args).arg(&self.source);
            return Some(command);
        }
        if name == FUSER {
            let mut command = Command::new(built("mirror-fuser"));
            command.arg(&self.source);
            return Some(command);
        }
        let (_, command) = self.against.iter().find(|(other, _)| *other == name)?;
        let command = command.replace("{source}", text(&self.source));
        let mut words = command.split_whitespace();
        let mut command = Command::new(words.next()?);
        command.args(words);
        Some(command)
    }

    fn server(&self, name: &str, samples: &mut Vec<Sample>, troubles: &mut Vec<Trouble>) -> Done {
        let start = |command| Served::start(&name.replace([' ', '/', ','], ""), command);
        let served = self.command(name).map(start).transpose()?;
        let root = served.as_ref().map_or(&self.source, |served| &served.dir);
        for load in &LOADS {
            match self.measure(load, root, served.as_ref()) {
                Ok(value) => samples.push(Sample { server: name.to_owned(), load: load.name, value }),
                Err(error) => {
                    troubles
                        .push(Trouble { server: name.to_owned(), what: format!("{}: {error}", load.name) });
                }
            }
            print!(".");
            let _ = std::io::stdout().flush();
        }
        served.map_or(Ok(()), Served::finish)
    }

    fn measure(&self, load: &Load, root: &Path, served: Option<&Served>) -> Done<f64> {
        let large = root.join("large");
        match load.work {
            Work::Fio(args) => {
                let mut fio = Command::new("fio");
                fio.args(["--name=load", "--minimal", "--size"]).arg(format!("{}m", large_mib(self.options)));
                fio.args(["--time_based", "--runtime"])
                    .arg(format!("{}ms", (self.options.seconds() * 1e3) as u64));
                let out = self.run(fio.arg("--filename").arg(large).args(args), served)?;
                bandwidth(&out).ok_or_else(|| format!("fio printed what it should not: {out}"))
            }
            Work::Through => {
                let from = format!("if={}", large.display());
                let read = || self.run(Command::new("dd").args([&from, "of=/dev/null", "bs=1M"]), served);
                // Memory that has not been in use may have to be got from the machine below this one.
                read()?;
                self.run(Command::new("dd").args([&from, "iflag=nocache", "count=0"]), served)?;
                let start = Instant::now();
                read()?;
                Ok(large_mib(self.options) as f64 / start.elapsed().as_secs_f64())
            }
            Work::Walk => {
                let start = Instant::now();
                // To tell the size it has to look at each.
                self.run(Command::new("find").arg(root.join("tree")).args(["-size", "+1000000k"]), served)?;
                Ok(self.files as f64 / start.elapsed().as_secs_f64())
            }
        }
    }

    fn run(&self, command: &mut Command, served: Option<&Served>) -> Done<String> {
        let program = text(Path::new(command.get_program())).to_owned();
        let limit = Duration::from_secs_f64(self.options.seconds() + 60.0);
        // What fails may fail for each file.
        finish(command, &program, limit, served)
            .map_err(|error| error.lines().next().unwrap_or_default().to_owned())
    }

    fn report(&self, names: &[&str], samples: &[Sample], troubles: &[Trouble]) -> Done {
        let out = self.options.out();
        let of = |server: &str, load: &str| {
            let values = samples.iter().filter(|sample| sample.server == server && sample.load == load);
            median(values.map(|sample| sample.value))
        };
        let others = others(names);
        let mut head = vec!["load".to_owned()];
        head.extend(names.iter().map(|name| (*name).to_owned()));
        head.extend(["unit".to_owned(), "passthrough ÷ native".to_owned()]);
        head.extend(others.iter().map(|other| format!("mirror ÷ {other}")));
        let rows: Vec<Vec<String>> = LOADS
            .iter()
            .map(|load| {
                let mut row = vec![load.name.to_owned()];
                row.extend(names.iter().map(|name| cell(of(name, load.name))));
                let ours = of(OURS[0].0, load.name);
                row.push(load.unit.to_owned());
                row.push(ratio(of(OURS[2].0, load.name), of(NATIVE, load.name)));
                row.extend(others.iter().map(|other| ratio(ours, of(other, load.name))));
                row
            })
            .collect();
        let mut report = format!("# The mirror\n\n{}\n", machine::describe(self.options));
        let _ = write!(
            report,
            "`ringfuse mirror` of a directory on tmpfs, each figure the median of the rounds, in which all take their turns; programs \
             are not bound to CPUs. `{FUSER}` is a plain mirror on the library fuser 0.18 (`benches/peers`), with the settings that its \
             documentation advises; it keeps names and attributes for as long. *Buffered* reads are those of dd, which goes through a \
             file of {} MiB that is not cached; the *walk* looks at each of {} files that the kernel has not seen yet",
            large_mib(self.options),
            self.files
        );
        if let Some(limit) = self.limit {
            let _ = write!(report, "; others keep a descriptor for each, and may have {limit}");
        }
        let _ = write!(report, ".\n\n{}", markdown(&head, &rows));
        let mut told: Vec<String> = troubles.iter().map(Trouble::to_string).collect();
        told.dedup();
        for trouble in told {
            let _ = write!(report, "\n- {trouble}");
        }
        println!("\n{report}");
        write(&out.join("mirror.md"), &report)?;
        println!("mirror.md is in {}", out.display());
        Ok(())
    }
}

/// The bandwidth in MiB/s, by fio's terse output, version 3: of what was read and of what was written, one of which is zero.
fn bandwidth(terse: &str) -> Option<f64> {
    let fields: Vec<&str> = terse.lines().find(|line| line.starts_with("3;"))?.split(';').collect();
    let kib = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((kib(6)? + kib(47)?) / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bandwidth_is_read_from_terse_output() {
        let mut fields = vec!["0"; 130];
        (fields[0], fields[6]) = ("3", "2048");
        assert_eq!(bandwidth(&format!("note\n{}\n", fields.join(";"))), Some(2.0));
        (fields[6], fields[47]) = ("0", "1024");
        assert_eq!(bandwidth(&fields.join(";")), Some(1.0));
        assert_eq!(bandwidth("3;fio"), None);
    }

    #[test]
    fn others_are_named() {
        assert_eq!(
            named("ll=/usr/bin/ll -o source={source}").unwrap(),
            ("ll", "/usr/bin/ll -o source={source}")
        );
        assert!(named("/usr/bin/ll -o source={source}").is_err());
        assert!(named("ll=").is_err());
        assert!(named("fuser=/usr/bin/ll").is_err());
    }

    #[test]
    fn as_many_files_are_walked_as_descriptors_allow() {
        assert_eq!(walked(50_000, None), 50_000);
        assert_eq!(walked(50_000, Some(1 << 20)), 50_000);
        assert_eq!(walked(50_000, Some(20_000)), 10_000);
        assert_eq!(walked(50_000, Some(65_535)), 32_000);
        assert_eq!(walked(2000, Some(1024)), 1000);
    }
}
