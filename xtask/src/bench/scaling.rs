//! How the cost of a request grows, on `ringfuse mem`: with what is registered, what is known, what is open, and what is
//! in a directory. And what an idle server's memory comes to.

use std::fmt::Write as _;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::numbers::{cell, markdown, median, number};
use super::place::Tmpfs;
use super::server::{Numbers, Served, load};
use super::table::text;
use super::{Options, machine, plot, write};
use crate::run::{Done, target};

/// A file system that is measured.
const RINGFUSE: &str = "ringfuse mem";
const TMPFS: &str = "tmpfs";

/// The library's default depth: so many entries a queue has in the table of memory.
const DEPTH: usize = 16;

/// One point: of a line, at a size, in ns.
struct Point {
    line: String,
    at: u64,
    median: f64,
    p99: f64,
}

/// A plot and its table.
struct Figure {
    name: &'static str,
    title: &'static str,
    axis: &'static str,
    /// What is to be known of it.
    note: String,
    points: Vec<Point>,
}

/// A line of the table of memory.
struct Memory {
    queues: usize,
    workers: usize,
    depth: usize,
    resident: f64,
    space: f64,
}

pub(super) fn scaling(options: &Options) -> Done {
    let scale = Scale { options };
    println!("allowed entries");
    let mut figures = vec![scale.entries()?];
    for (what, name, title, axis, note) in [
        (
            "nodes",
            "scaling-nodes",
            "Cost of a request by known files",
            "files that the kernel knows",
            "A GETATTR of a random one, by path. The path is looked up in the kernel's cache.",
        ),
        (
            "open",
            "scaling-open",
            "Cost of a request by open files",
            "open files",
            "A GETATTR of a random one; and an open and close of a random one, by path: OPEN, FLUSH where the filesystem wants it, and a RELEASE that \
             the program does not wait for.",
        ),
        (
            "names",
            "scaling-names",
            "Cost of a request by names in a directory",
            "names in the directory",
            "A LOOKUP of a name that is not there; a create and unlink of one more file, LOOKUP, CREATE and UNLINK at \
             least; and a listing of all, divided by their number.",
        ),
    ] {
        println!("{axis}");
        let (points, resident) = scale.grow(what)?;
        let note = format!("{note} At the end the server has {} MiB resident.", number(resident));
        figures.push(Figure { name, title, axis, note, points });
    }
    println!("idle memory");
    let memory = scale.memory()?;
    scale.report(&figures, &memory)
}

struct Scale<'a> {
    options: &'a Options,
}

impl Scale<'_> {
    /// 1, 10, 100, … up to a million.
    fn steps(&self) -> impl Iterator<Item = u64> + use<> {
        let decades = if self.options.quick { 4 } else { 6 };
        (0..=decades).map(|decade| 10_u64.pow(decade))
    }

    fn mem(&self, args: &[&str]) -> Done<Served> {
        let mut command = Command::new(target().join("release/ringfuse"));
        command.args(["mem", "--transport", "ring"]).args(args);
        Served::start("mem", command)
    }

    /// Lets the program `load` make files in steps and measure after each.
    fn measure(&self, what: &str, root: &str, steps: &str, served: Option<&Served>) -> Done<Numbers> {
        let seconds = (self.options.seconds() / 2.0).to_string();
        let args = ["grow", what, root, "--steps", steps, "--seconds", &seconds];
        // A million files take a minute, twice as long with tests beside it.
        load(&args, Duration::from_secs(if self.options.quick { 60 } else { 900 }), served)
    }

    /// Time a request by the number of entries that each queue may have.
    fn entries(&self) -> Done<Figure> {
        let depths = if self.options.quick { vec![1, 16, 256] } else { vec![1, 4, 16, 64, 256, 1024, 4096] };
        let mut all = Vec::new();
        // Short, and so worth repeating: in turns, as the comparison is.
        for _ in 0..self.options.rounds() {
            for depth in &depths {
                let served = self.mem(&["--depth", &depth.to_string()])?;
                let numbers = self.measure("nodes", text(&served.dir), "1", Some(&served))?;
                served.finish()?;
                all.push((*depth, numbers));
            }
        }
        let of = |depth: u64, key: &str| {
            let samples = all.iter().filter(|(other, _)| *other == depth);
            median(samples.filter_map(|(_, numbers)| numbers.get(key).copied())).unwrap_or_default()
        };
        let points = depths.iter().map(|depth| Point {
            line: format!("{RINGFUSE}: getattr"),
            at: *depth,
            median: of(*depth, "1 getattr median"),
            p99: of(*depth, "1 getattr p99"),
        });
        Ok(Figure {
            name: "scaling-entries",
            title: "Cost of a request by allowed entries",
            axis: "entries that each queue may have",
            note: "A GETATTR, by one program on the first CPU. A queue makes entries as load asks for them, so that this is what it \
                   costs that there may be many.".to_owned(),
            points: points.collect(),
        })
    }

    /// Time a request while something grows, and what the server has resident then, on the filesystem of ours and on tmpfs: what grows there, too, is the
    /// kernel's own.
    fn grow(&self, what: &str) -> Done<(Vec<Point>, f64)> {
        let steps: Vec<_> = self.steps().map(|step| step.to_string()).collect();
        let steps = steps.join(",");
        let mut points = Vec::new();
        let tmpfs = Tmpfs::mount()?;
        points.extend(read(TMPFS, &self.measure(what, text(&tmpfs.0), &steps, None)?));
        drop(tmpfs);
        let served = self.mem(&["--inodes", "2000000"])?;
        points.extend(read(RINGFUSE, &self.measure(what, text(&served.dir), &steps, Some(&served))?));
        let resident = served.memory("VmRSS")?;
        served.finish()?;
        Ok((points, resident))
    }

    /// Idle memory, for as many entries as so many queues would have. The kernel makes a queue for each possible CPU
    /// of this machine, so that what grows is the depth, not the number of queues.
    fn memory(&self) -> Done<Vec<Memory>> {
        let here = machine::cpus();
        let mut lines = Vec::new();
        for (queues, workers) in [(1, 1), (1, here), (2, here), (64, here), (256, here)] {
            let depth = (queues * DEPTH).div_ceil(here);
            let mut seen = Vec::new();
            // It differs by some pages from one time to the next.
            for _ in 0..self.options.rounds() {
                let served = self.mem(&["--depth", &depth.to_string(), "--workers", &workers.to_string()])?;
                thread::sleep(Duration::from_millis(500));
                seen.push((served.memory("VmRSS")?, served.memory("VmSize")?));
                served.finish()?;
            }
            let resident = median(seen.iter().map(|(resident, _)| *resident)).unwrap_or_default();
            let space = median(seen.iter().map(|(_, space)| *space)).unwrap_or_default();
            lines.push(Memory { queues, workers, depth, resident, space });
        }
        Ok(lines)
    }

    fn report(&self, figures: &[Figure], memory: &[Memory]) -> Done {
        let out = self.options.out();
        let mut report =
            format!("# How the cost of a request grows\n\n{}\n", machine::describe(self.options));
        report += "On `ringfuse mem`, built for release, over io_uring; by one program bound to the first CPU. Where \
                   tmpfs grows as well, it is the kernel's own caches that do. Times are in µs.\n\n";
        for figure in figures {
            let _ = write!(
                report,
                "## {}\n\n![{}]({}.svg)\n\n{}\n\n{}\n",
                figure.title,
                figure.title,
                figure.name,
                figure.note,
                figure.table()
            );
            let labels = [("title", figure.title), ("x", figure.axis), ("y", "µs, median")];
            plot("lines", &figure.data(), figure.name, &out, &labels)?;
        }
        let _ = write!(report, "## Idle memory\n\n{}", memory_table(memory));
        println!("\n{report}");
        write(&out.join("scaling.md"), &report)?;
        println!("scaling.md and its plots are in {}", out.display());
        Ok(())
    }
}

/// The points of what `load grow` printed.
fn read(fs: &str, numbers: &Numbers) -> Vec<Point> {
    let mut points: Vec<Point> = numbers
        .iter()
        .filter_map(|(name, median)| {
            let (at, request) = name.strip_suffix(" median")?.split_once(' ')?;
            let p99 = *numbers.get(&format!("{at} {request} p99"))?;
            Some(Point { line: format!("{fs}: {request}"), at: at.parse().ok()?, median: *median, p99 })
        })
        .collect();
    points.sort_by(|a, b| (&a.line, a.at).cmp(&(&b.line, b.at)));
    points
}

impl Figure {
    fn lines(&self) -> Vec<&str> {
        let mut lines: Vec<&str> = self.points.iter().map(|point| point.line.as_str()).collect();
        lines.dedup();
        lines
    }

    fn point(&self, line: &str, at: u64) -> Option<&Point> {
        self.points.iter().find(|point| point.line == line && point.at == at)
    }

    /// A row a size, a column a line, `median / p99`, and below how much the last is of the third: what comes before has
    /// little to measure.
    fn table(&self) -> String {
        let lines = self.lines();
        let mut sizes: Vec<u64> = self.points.iter().map(|point| point.at).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let head: Vec<String> =
            std::iter::once(self.axis).chain(lines.iter().copied()).map(str::to_owned).collect();
        let figure = |point: &Point| format!("{} / {}", number(point.median / 1e3), number(point.p99 / 1e3));
        let mut rows: Vec<Vec<String>> = sizes
            .iter()
            .map(|size| {
                let cells = lines.iter().map(|line| self.point(line, *size).map_or("–".to_owned(), figure));
                std::iter::once(size.to_string()).chain(cells).collect()
            })
            .collect();
        let first = sizes.get(2).or(sizes.first()).copied().unwrap_or_default();
        let last = sizes.last().copied().unwrap_or_default();
        let growth = lines.iter().map(|line| {
            let (first, last) = (self.point(line, first), self.point(line, last));
            cell(first.zip(last).map(|(first, last)| last.median / first.median))
        });
        rows.push(std::iter::once(format!("**{last} ÷ {first}**")).chain(growth).collect());
        format!("Median / 99th percentile:\n\n{}", markdown(&head, &rows))
    }

    fn data(&self) -> String {
        self.points.iter().fold("line\tx\ty\n".to_owned(), |mut text, point| {
            let _ = writeln!(text, "{}\t{}\t{}", point.line, point.at, point.median / 1e3);
            text
        })
    }
}

fn memory_table(memory: &[Memory]) -> String {
    let head =
        ["entries as of", "entries", "workers", "resident, MiB", "address space, MiB"].map(str::to_owned);
    let rows: Vec<Vec<String>> = memory
        .iter()
        .map(|line| {
            let queues =
                if line.queues == 1 { "1 queue".to_owned() } else { format!("{} queues", line.queues) };
            vec![
                queues,
                (line.depth * machine::cpus()).to_string(),
                line.workers.to_string(),
                number(line.resident),
                number(line.space),
            ]
        })
        .collect();
    format!(
        "As many entries are allowed as so many queues of {DEPTH} would have; the kernel has one queue for each CPU of this \
         machine. Queues make entries as load asks for them, and these servers idle: it tells what it costs that entries \
         may come, not what they cost once they have. Workers of queues that this machine has not are not in it.\n\n{}",
        markdown(&head, &rows)
    )
}
