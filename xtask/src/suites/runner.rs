//! Runs suites, case by case. Nothing here touches the filesystem under test: what hangs there hangs alone.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::case::SKIPPED;
use super::place::{Opened, Place};
use super::report::{Report, Row, Run, Verdict};
use super::server::PATIENCE;
use super::{Case, Options, Scale, Stage, Suite, cases, file_name, namespace, results};
use crate::run::Done;

/// So many cases may run into their limits before a run is given up.
const MAX_TIMEOUTS: usize = 3;

/// How many of the last lines of a failed case are shown.
const SHOWN: usize = 8;

/// Runs all suites in all places, prints and writes what came out, and fails if that is bad.
pub(super) fn run_all(stage: &Stage, options: &Options, chosen: &[(&Suite, Vec<&str>)]) -> Done {
    let logs = results().join("logs");
    fs::create_dir_all(&logs).map_err(|error| format!("cannot create {}: {error}", logs.display()))?;
    let lock = File::create(results().join("lock")).map_err(|error| error.to_string())?;
    lock.try_lock().map_err(|_| format!("another run writes to {}: wait for it", results().display()))?;
    // Logs of an earlier run would pass for this one's.
    let emptied = fs::remove_dir_all(&logs).and_then(|()| fs::create_dir(&logs));
    emptied.map_err(|error| format!("cannot empty {}: {error}", logs.display()))?;
    let planned =
        chosen.iter().map(|(suite, texts)| Ok((*suite, cases(stage, options.scale, suite, texts)?)));
    let planned = planned.collect::<Done<Vec<_>>>()?;
    let places = options.places();
    let mut report = Report::default();
    for (suite, cases) in &planned {
        for place in &places {
            let log = logs.join(format!("{}.{}", suite.name, file_name(&place.label)));
            let start = Instant::now();
            let mut run = Run::new(suite.name, place);
            Runner { stage, suite, scale: options.scale, log, run: &mut run }.run(place, cases);
            run.took = start.elapsed();
            println!("{}", run.line());
            report.runs.push(run);
        }
    }
    report.print();
    report.write(&results())?;
    report.verdict()
}

struct Runner<'a> {
    stage: &'a Stage,
    suite: &'a Suite,
    scale: Scale,
    /// Path of the log without its extension.
    log: PathBuf,
    run: &'a mut Run,
}

impl Runner<'_> {
    fn run(&mut self, place: &Place, cases: &[Case]) {
        let outcome =
            place.open(self.stage, &self.log.with_added_extension("server.log")).and_then(|mut opened| {
                self.cases(&mut opened, cases)?;
                opened.close()
            });
        if let Err(error) = outcome {
            show(&format!("{} on {}: {error}", self.suite.name, place.label));
            self.run.broken = Some(error);
        }
    }

    fn cases(&mut self, opened: &mut Opened, cases: &[Case]) -> Done {
        let mut timeouts = 0;
        for (at, case) in cases.iter().enumerate() {
            progress(&format!(
                "{} on {}, {at} of {}: {}",
                self.suite.name,
                self.run.label,
                cases.len(),
                case.name
            ));
            let row = self.case(&opened.dir, case)?;
            let hung = row.took >= case.limit;
            if let Verdict::Failed(reason) = &row.verdict {
                show(&format!(
                    "FAILED {}/{} on {} after {:.1} s\n{reason}",
                    self.suite.name,
                    case.name,
                    self.run.label,
                    row.took.as_secs_f64()
                ));
            }
            self.run.rows.push(row);
            // What the case left running goes before the next one.
            let swept = namespace::sweep(opened.server.as_ref().map(|server| server.id()));
            if let Some(ended) = opened.server.as_mut().and_then(|server| server.ended()) {
                return Err(format!("given up after {}: {ended}", case.name));
            }
            if (hung || !swept) && !answers(&opened.dir) {
                let aborted = opened.server.as_ref().map_or(Ok(()), |server| server.abort());
                let then = aborted.map_or_else(|error| error, |()| "its connection was aborted".to_owned());
                return Err(format!("given up after {}: the mount no longer answers; {then}", case.name));
            }
            timeouts += usize::from(hung);
            if timeouts == MAX_TIMEOUTS {
                return Err(format!("given up after {}: {timeouts} cases ran into their limits", case.name));
            }
        }
        Ok(())
    }

    /// Runs one case in a process of its own.
    fn case(&self, dir: &Path, case: &Case) -> Done<Row> {
        let path = self.log.with_added_extension("log");
        let cannot = |error: io::Error| format!("cannot write {}: {error}", path.display());
        let mut log = File::options().create(true).append(true).read(true).open(&path).map_err(cannot)?;
        writeln!(log, "==== {}", case.name).map_err(cannot)?;
        let begin = log.seek(SeekFrom::End(0)).map_err(cannot)?;
        let start = Instant::now();
        // By its path it may be another program by now.
        let mut child = Command::new("/proc/self/exe")
            .args(["case", self.suite.name, &case.name])
            .args([dir, &self.stage.root])
            .args(self.scale.flag())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(cannot)?)
            .stderr(log.try_clone().map_err(cannot)?)
            .spawn()
            .map_err(|error| format!("cannot start the process of {}: {error}", case.name))?;
        let status = within(&mut child, case.limit);
        let took = start.elapsed();
        let tail = tail(&mut log, begin).map_err(cannot)?;
        let verdict = match status.map(|status| (status, status.code())) {
            Some((_, Some(0))) => Verdict::Passed,
            Some((_, Some(code))) if code == i32::from(SKIPPED) => Verdict::Skipped(tail),
            Some((_, Some(1))) => Verdict::Failed(tail),
            Some((status, _)) => Verdict::Failed(format!("{tail}\nits process ended with {status}")),
            None => {
                let _ = child.kill();
                Verdict::Failed(format!("{tail}\nit ran into its limit of {:?}", case.limit))
            }
        };
        writeln!(log, "==== {}: {} after {:.1} s\n", case.name, verdict.word(), took.as_secs_f64())
            .map_err(cannot)?;
        Ok(Row { case: case.name.clone(), verdict, took })
    }
}

impl Scale {
    fn flag(self) -> Option<&'static str> {
        self.pick(Some("--quick"), None, Some("--long"))
    }
}

/// Waits for the end of a process, for so long. One that is stuck in the kernel cannot be waited for.
pub(super) fn within(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        let elapsed = start.elapsed();
        if elapsed > limit {
            return None;
        }
        // Short cases are many, long ones need no haste.
        thread::sleep((elapsed / 8).clamp(Duration::from_micros(200), Duration::from_millis(50)));
    }
}

/// Whether a filesystem still answers, on each CPU: each may have a queue of its own.
fn answers(dir: &Path) -> bool {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    (0..cpus).all(|cpu| {
        // A name that is asked for the first time: the kernel cannot know the answer.
        let name = dir.join(format!(".answers-{cpu}-{:?}", Instant::now()));
        let stat = Command::new("taskset")
            .args(["-c", &cpu.to_string(), "stat", "--"])
            .arg(name)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        stat.is_ok_and(|mut stat| {
            let answered = within(&mut stat, PATIENCE).is_some();
            if !answered {
                let _ = stat.kill();
            }
            answered
        })
    })
}

/// The last lines that a case printed.
fn tail(log: &mut File, begin: u64) -> io::Result<String> {
    let end = log.seek(SeekFrom::End(0))?;
    log.seek(SeekFrom::Start(begin.max(end.saturating_sub(16 << 10))))?;
    let mut bytes = Vec::new();
    log.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    Ok(lines[lines.len().saturating_sub(SHOWN)..].join("\n"))
}

/// Prints what went wrong, indented below its first line.
fn show(text: &str) {
    progress("");
    let mut lines = text.lines();
    println!("{}", lines.next().unwrap_or_default());
    for line in lines {
        println!("    {}", line.chars().take(160).collect::<String>());
    }
}

/// On a terminal, what is going on, in a line that is overwritten.
fn progress(text: &str) {
    let mut out = io::stderr();
    if out.is_terminal() {
        let _ = write!(out, "\r\x1b[K{text}");
    }
}
