//! The report of the comparison.

use std::fmt::Write as _;

use super::loads::{Floor, Load, Unit};
use super::numbers::{cell, markdown, median, number, ratio};
use super::server::{BARE, Role, Server};
use super::table::{DISTURBED, IDLE, LOADED, MOUNT, PEAK, Results, TMPFS};
use super::{Options, machine, plot, write};
use crate::run::Done;

/// The server that all is about.
const OURS: &str = "ringfuse";

pub(super) fn report(options: &Options, results: &Results) -> Done {
    let out = options.out();
    let name = if options.awake { "headline-awake" } else { "headline" };
    let path = out.join(format!("{name}.md"));
    let text = Report { results, floor: floor(&results.floors) }.text(options, name);
    println!("\n{text}");
    write(&path, &text)?;
    let labels = [
        ("title", "Throughput of in-memory filesystems by FUSE library"),
        ("axis", "relative to the best other library"),
    ];
    plot("bars", &Report { results, floor: floor(&results.floors) }.bars(), name, &out, &labels)?;
    println!("{} and {name}.svg are in {}", path.file_name().unwrap_or_default().display(), out.display());
    Ok(())
}

/// The medians of all rounds.
fn floor(floors: &[Floor]) -> Floor {
    let of = |get: fn(&Floor) -> f64| median(floors.iter().map(get)).unwrap_or_default();
    Floor { wake: of(|floor| floor.wake), copy: of(|floor| floor.copy), copy_all: of(|floor| floor.copy_all) }
}

struct Report<'a> {
    results: &'a Results,
    floor: Floor,
}

impl Report<'_> {
    fn text(&self, options: &Options, name: &str) -> String {
        let mut text = format!("# FUSE libraries side by side\n\n{}\n", machine::describe(options));
        let _ = write!(text, "![The throughput below, as bars]({name}.svg)\n\n");
        text += "All serve the same tree, from memory, and are asked for the same. Each figure is the median of the \
                 rounds, in which all take their turns. How it is measured: [performance.md](../performance.md).\n\n";
        for server in &self.results.servers {
            let _ = writeln!(text, "- **{}**: {}", server.name, server.what);
        }
        let _ = write!(text, "\n## Throughput\n\n{}\n", self.throughput());
        text += "*× best peer* is ringfuse's figure divided by that of the best of the other libraries; *× bare* by that \
                 of a server without a library; *× floor* by what the machine could do at most: a wake-up of the server \
                 and one of the client on one core for each request, one copy of the data (two through the page cache), \
                 and what tmpfs takes for the same call.\n\n";
        let _ = write!(text, "## Latency, 99th percentile, µs\n\n{}\n", self.latency());
        text += "Here *× best peer* is the figure of the best of the others divided by ringfuse's: above 1, ringfuse is \
                 faster.\n\n";
        let _ = write!(text, "## Processor time of the server, µs an operation\n\n{}\n", self.processor());
        let _ = write!(text, "## Memory and start\n\n{}\n", self.memory());
        let _ = write!(text, "## Which way they served\n\n{}\n", self.ways());
        text += "By counters of the first load: completions on all rings of the process, and its calls of read(2), an \
                 operation.\n\n";
        text + &self.circumstances(options)
    }

    /// The median over all rounds of one number of a sample.
    fn of(&self, server: &str, load: &str, key: &str) -> Option<f64> {
        let samples = self.results.samples.iter();
        median(samples.filter_map(|sample| {
            (sample.server == server && sample.load == load).then(|| sample.numbers.get(key).copied())?
        }))
    }

    fn peers(&self) -> impl Iterator<Item = &&'static Server> {
        self.results.servers.iter().filter(|server| server.role == Role::Peer)
    }

    /// The best of the other libraries.
    fn best(&self, load: &str, key: &str, better: fn(f64, f64) -> f64) -> Option<f64> {
        self.peers().filter_map(|server| self.of(server.name, load, key)).reduce(better)
    }

    fn highest(&self, load: &Load) -> Option<f64> {
        self.best(load.name, load.unit.key(), f64::max)
    }

    fn floor_of(&self, load: &Load) -> Option<f64> {
        let tmpfs = self.of(TMPFS, load.name, load.unit.key())?;
        load.floor(&self.floor, tmpfs, machine::cpus())
    }

    fn head(&self, first: &[&str], last: &[&str]) -> Vec<String> {
        let servers = self.results.servers.iter().map(|server| server.name);
        first.iter().copied().chain(servers).chain(last.iter().copied()).map(str::to_owned).collect()
    }

    /// A row: the load, a figure a server, that of the best library in bold.
    fn row(&self, load: &Load, key: &str, better: Option<fn(f64, f64) -> f64>) -> Vec<String> {
        let of = |server: &Server| self.of(server.name, load.name, key);
        let servers = &self.results.servers;
        let libraries = servers.iter().filter(|server| server.role != Role::Bound);
        let best = better.and_then(|better| libraries.filter_map(|server| of(server)).reduce(better));
        let cells = servers.iter().map(|server| {
            let (figure, text) = (of(server), cell(of(server)));
            if server.role != Role::Bound && figure.is_some() && figure == best {
                format!("**{text}**")
            } else {
                text
            }
        });
        std::iter::once(load.name.to_owned()).chain(cells).collect()
    }

    fn throughput(&self) -> String {
        let head = self.head(&["load"], &["unit", "floor", "tmpfs", "× best peer", "× bare", "× floor"]);
        let rows = self.results.loads.iter().map(|load| {
            let key = load.unit.key();
            let ours = self.of(OURS, load.name, key);
            let floor = self.floor_of(load);
            let mut row = self.row(load, key, Some(f64::max));
            row.push(load.unit.name().to_owned());
            row.push(cell(floor));
            row.push(cell(self.of(TMPFS, load.name, key)));
            row.push(ratio(ours, self.highest(load)));
            row.push(ratio(ours, self.of(BARE, load.name, key)));
            row.push(ratio(ours, floor));
            row
        });
        markdown(&head, &rows.collect::<Vec<_>>())
    }

    fn latency(&self) -> String {
        let head = self.head(&["load"], &["× best peer"]);
        let rows = self.results.loads.iter().filter(|load| load.unit != Unit::Entries).map(|load| {
            let mut row = self.row(load, "p99_us", Some(f64::min));
            let best = self.best(load.name, "p99_us", f64::min);
            row.push(ratio(best, self.of(OURS, load.name, "p99_us")));
            row
        });
        markdown(&head, &rows.collect::<Vec<_>>())
    }

    fn processor(&self) -> String {
        let rows = self.results.loads.iter().map(|load| self.row(load, "server_cpu_us", None));
        markdown(&self.head(&["load"], &[]), &rows.collect::<Vec<_>>())
    }

    fn memory(&self) -> String {
        let lines = [(MOUNT, "ms"), (IDLE, "MiB"), (PEAK, "MiB"), (LOADED, "MiB")];
        let rows = lines.iter().map(|(what, unit)| {
            let servers = self.results.servers.iter();
            let figures = servers.map(|server| cell(self.of(server.name, what, "value")));
            std::iter::once(format!("{what}, {unit}")).chain(figures).collect()
        });
        let table = markdown(&self.head(&[""], &[]), &rows.collect::<Vec<_>>());
        table
            + "\n*After load*: three seconds after 16 clients had read, and then written, 1 MiB at a time.\n"
    }

    fn ways(&self) -> String {
        let head = ["server", "way", "completions", "reads", "what it says"].map(str::to_owned);
        let rows = self.results.seen.iter().map(|seen| {
            let way = match seen.way {
                Some(way) if way == seen.server.way => way.name().to_owned(),
                Some(way) => format!("**{}, not {}**", way.name(), seen.server.way.name()),
                None => format!("**the counters do not tell; it was to be {}**", seen.server.way.name()),
            };
            // Behind the mountpoint.
            let said = seen.said.lines().next().unwrap_or_default();
            let said = said.split_once(": ").map_or("", |(_, said)| said);
            vec![
                seen.server.name.to_owned(),
                way,
                format!("{:.2}", seen.completions),
                format!("{:.2}", seen.reads),
                said.to_owned(),
            ]
        });
        markdown(&head, &rows.collect::<Vec<_>>())
    }

    /// Floors, and what else went on meanwhile.
    fn circumstances(&self, options: &Options) -> String {
        let wake_other = self.of("floor", "floor", "wake_other_core_ns").unwrap_or_default() / 1e3;
        let mut text = format!(
            "## The machine\n\n- a wake-up and back: {} µs on one core, {} µs between cores\n- copying: {} MiB/s by one \
             core, {} MiB/s by all\n",
            number(self.floor.wake * 1e6),
            number(wake_other),
            number(self.floor.copy),
            number(self.floor.copy_all),
        );
        let servers =
            self.results.samples.iter().filter(|sample| sample.numbers.contains_key("server_cpu_us"));
        let shares: Vec<f64> =
            servers.filter_map(|sample| sample.numbers.get("others_cpu_share").copied()).collect();
        let most = shares.iter().copied().fold(0.0, f64::max);
        let usual = median(shares).unwrap_or_default();
        // Loops that keep the CPUs awake would be counted as others.
        if !options.awake {
            let _ = writeln!(
                text,
                "- of the CPUs, others used {:.0} % in the median and {:.0} % in the worst sample; {} were taken again \
                 for it",
                100.0 * usual,
                100.0 * most,
                self.results.again
            );
            if usual > DISTURBED {
                text += "- **disturbed**: others used so much that these figures tell little; repeat it at rest\n";
            }
        }
        for trouble in &self.results.trouble {
            let _ = writeln!(text, "- **not measured**: {trouble}");
        }
        text
    }

    /// Throughput relative to the best peer, or to the best of all where there is none.
    fn bars(&self) -> String {
        let names: Vec<_> = self.results.servers.iter().map(|server| server.name).collect();
        let mut text = format!("load\t{}\n", names.join("\t"));
        for load in &self.results.loads {
            let key = load.unit.key();
            let figures: Vec<_> = names.iter().map(|name| self.of(name, load.name, key)).collect();
            let of = self.highest(load).or_else(|| figures.iter().copied().flatten().reduce(f64::max));
            let cells = figures.iter().map(|figure| match (figure, of) {
                (Some(figure), Some(of)) => format!("{:.3}", figure / of),
                _ => String::new(),
            });
            let _ = writeln!(text, "{}\t{}", load.name, cells.collect::<Vec<_>>().join("\t"));
        }
        text
    }
}
