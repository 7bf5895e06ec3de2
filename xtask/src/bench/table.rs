//! The comparison: all servers, all loads, round by round.

use std::fmt::Write as _;
use std::io::Write as _;
use std::thread;
use std::time::Duration;

use super::loads::{self, Caching, Floor, Load};
use super::place::{Awake, Tmpfs};
use super::report;
use super::server::{self, Numbers, Served, Server, Way, load};
use super::{Options, samples, write};
use crate::run::Done;

/// If others took more of the CPUs than this, a load is measured again.
pub(super) const DISTURBED: f64 = 0.15;

/// How often at most.
const AGAIN: usize = 2;

/// How long a server has to give memory back.
const REST: Duration = Duration::from_secs(3);

/// The name under which tmpfs has its samples.
pub(super) const TMPFS: &str = "tmpfs";

/// What is measured beside the loads, in the names of their samples.
pub(super) const MOUNT: &str = "mount to first stat";
pub(super) const IDLE: &str = "RSS idle";
pub(super) const LOADED: &str = "RSS after load";
pub(super) const PEAK: &str = "RSS peak";

/// What was measured of one server, by one load, in one round.
pub(super) struct Sample {
    pub(super) round: usize,
    pub(super) server: &'static str,
    pub(super) load: &'static str,
    pub(super) numbers: Numbers,
}

/// The way that a server was seen to serve, and what that is concluded from.
pub(super) struct Seen {
    pub(super) server: &'static Server,
    pub(super) way: Option<Way>,
    pub(super) completions: f64,
    pub(super) reads: f64,
    pub(super) said: String,
}

/// All that was measured.
pub(super) struct Results {
    pub(super) loads: Vec<&'static Load>,
    pub(super) servers: Vec<&'static Server>,
    pub(super) samples: Vec<Sample>,
    pub(super) floors: Vec<Floor>,
    pub(super) seen: Vec<Seen>,
    /// What went wrong.
    pub(super) trouble: Vec<String>,
    /// Samples that were taken anew, as others were using the CPUs.
    pub(super) again: usize,
}

pub(super) fn table(options: &Options) -> Done {
    let results = Results {
        loads: loads::chosen(&options.load)?,
        servers: server::chosen(&options.only)?,
        samples: Vec::new(),
        floors: Vec::new(),
        seen: Vec::new(),
        trouble: Vec::new(),
        again: 0,
    };
    let mut runner = Runner { options, results, round: 0 };
    runner.all()?;
    let results = runner.results;
    write(&samples().join("headline.samples.tsv"), &table_of_samples(&results.samples))?;
    report::report(options, &results)?;
    let wrong = results.seen.iter().any(|seen| seen.way != Some(seen.server.way));
    match (wrong, results.trouble.len()) {
        (true, _) => Err("a server did not serve the way it was to serve; see the report".to_owned()),
        (false, 0) => Ok(()),
        (false, _) => Err(format!("not all could be measured:\n  {}", results.trouble.join("\n  "))),
    }
}

struct Runner<'a> {
    options: &'a Options,
    results: Results,
    round: usize,
}

impl Runner<'_> {
    fn all(&mut self) -> Done {
        let tmpfs = Tmpfs::mount()?;
        load(&["lay", text(&tmpfs.0)], Duration::from_secs(60), None)?;
        let _awake = if self.options.awake { Awake::start()? } else { Awake::default() };
        for round in 0..self.options.rounds() {
            self.round = round;
            println!("round {} of {}", round + 1, self.options.rounds());
            self.floor()?;
            for load in self.results.loads.clone() {
                match self.measure(load, text(&tmpfs.0), None) {
                    Ok(numbers) => self.note(TMPFS, load.name, numbers),
                    Err(error) => self.trouble(TMPFS, &error),
                }
            }
            // Each begins in turn, so that none always follows the same one.
            let mut servers = self.results.servers.clone();
            let len = servers.len();
            servers.rotate_left(round % len);
            for server in servers {
                for caching in Caching::BOTH {
                    if let Err(error) = self.server(server, caching) {
                        self.trouble(server.name, &error);
                    }
                }
                println!(" {}", server.name);
            }
        }
        Ok(())
    }

    fn floor(&mut self) -> Done {
        let numbers = load(&["floor"], Duration::from_secs(20), None)?;
        let of = |name: &str| numbers.get(name).copied().unwrap_or_default();
        self.results.floors.push(Floor {
            wake: of("wake_same_core_ns") / 1e9,
            copy: of("copy_mib_s"),
            copy_all: of("copy_all_cores_mib_s"),
        });
        self.note("floor", "floor", numbers);
        Ok(())
    }

    /// One server, with one way of caching: mounted, measured, unmounted.
    fn server(&mut self, server: &'static Server, caching: Caching) -> Done {
        let loads: Vec<_> =
            self.results.loads.iter().filter(|load| load.caching == caching).copied().collect();
        if loads.is_empty() {
            return Ok(());
        }
        let mut command = server.command();
        command.args(caching.options());
        let served = Served::start(server.name, command)?;
        if caching == Caching::None {
            self.note_one(server, MOUNT, served.took.as_secs_f64() * 1e3);
            self.note_one(server, IDLE, served.memory("VmRSS")?);
            if self.round == 0 {
                load(&["verify", text(&served.dir)], Duration::from_secs(30), Some(&served))?;
            }
        }
        for one in loads {
            let numbers = self.measure(one, text(&served.dir), Some(&served))?;
            print!(".");
            let _ = std::io::stdout().flush();
            self.look(server, one, &numbers, &served);
            self.note(server.name, one.name, numbers);
        }
        if caching == Caching::None && self.options.load.is_empty() {
            self.memory(server, &served)?;
        }
        served.finish()
    }

    /// Runs a load, again if others use the CPUs meanwhile.
    fn measure(&mut self, one: &Load, root: &str, served: Option<&Served>) -> Done<Numbers> {
        // What needs no server is steady.
        let seconds = if served.is_some() { self.options.seconds() } else { self.options.seconds().min(0.3) };
        let seconds = seconds.to_string();
        let clients = one.clients.to_string();
        let server = served.map(|served| served.id().to_string());
        let mut args = vec!["run", one.kind, root, "--clients", &clients, "--seconds", &seconds];
        if one.bound {
            args.extend(["--cpu", "0"]);
        }
        if let Some(server) = &server {
            args.extend(["--server", server]);
        }
        let limit = Duration::from_secs_f64(self.options.seconds() + 15.0);
        let mut numbers = load(&args, limit, served)?;
        // Loops that keep the CPUs awake cannot be told from others.
        if !self.options.quick && !self.options.awake {
            for _ in 0..AGAIN {
                if numbers.get("others_cpu_share").is_none_or(|share| *share < DISTURBED) {
                    break;
                }
                self.results.again += 1;
                numbers = load(&args, limit, served)?;
            }
        }
        Ok(numbers)
    }

    /// Memory after sixteen requests of 1 MiB at once, read and written: at its most, and after a rest.
    fn memory(&mut self, server: &'static Server, served: &Served) -> Done {
        for kind in ["seqread", "seqwrite"] {
            let args = ["run", kind, text(&served.dir), "--clients", "16", "--seconds", "0.3"];
            load(&args, Duration::from_secs(20), Some(served))?;
        }
        thread::sleep(REST);
        self.note_one(server, LOADED, served.memory("VmRSS")?);
        self.note_one(server, PEAK, served.memory("VmHWM")?);
        Ok(())
    }

    /// Looks which way a server serves, by the first load that tells.
    fn look(&mut self, server: &'static Server, load: &Load, numbers: &Numbers, served: &Served) {
        let Some(requests) = load.requests else { return };
        let seen = Seen {
            server,
            way: server::way(numbers, requests),
            completions: numbers.get("server_completions").copied().unwrap_or_default(),
            reads: numbers.get("server_reads").copied().unwrap_or_default(),
            said: served.said(),
        };
        match self.results.seen.iter_mut().find(|other| other.server.name == server.name) {
            None => self.results.seen.push(seen),
            // One bad sample is enough; the counts of a create and unlink include forgets.
            Some(other) if seen.way != Some(server.way) && load.kind != "create-unlink" => *other = seen,
            Some(_) => {}
        }
    }

    fn note(&mut self, server: &'static str, load: &'static str, numbers: Numbers) {
        self.results.samples.push(Sample { round: self.round, server, load, numbers });
    }

    fn note_one(&mut self, server: &Server, what: &'static str, value: f64) {
        self.note(server.name, what, Numbers::from([("value".to_owned(), value)]));
    }

    fn trouble(&mut self, server: &str, error: &str) {
        let text = format!("{server}, round {}: {error}", self.round + 1);
        println!("\n  {text}");
        self.results.trouble.push(text);
    }
}

/// A path, for a command line that is text.
pub(super) fn text(path: &std::path::Path) -> &str {
    path.to_str().expect("the paths of a run are ASCII")
}

fn table_of_samples(samples: &[Sample]) -> String {
    let mut text = "round\tserver\tload\tname\tvalue\n".to_owned();
    for sample in samples {
        let mut numbers: Vec<_> = sample.numbers.iter().collect();
        numbers.sort_by_key(|(name, _)| *name);
        for (name, value) in numbers {
            let _ =
                writeln!(text, "{}\t{}\t{}\t{name}\t{value}", sample.round + 1, sample.server, sample.load);
        }
    }
    text
}
