//! The suite as a program: `posix-suite DIR [options]`.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::{Case, Failure, Isolation, Needs, Outcome, Runner, all, find, runner};

const USAGE: &str = "\
Checks a filesystem for POSIX and Linux semantics.

Usage: posix-suite DIR [OPTION...]
       posix-suite --list

DIR is a writable directory on the filesystem. Cases make directories in it and remove them.

  --filter TEXT     run only the cases whose name contains TEXT (may be given more than once)
  --without NEEDS   leave out the cases that need any of these (comma-separated)
  --timeout SECS    the limit for each case (default 20)
  --threads         run the cases in threads of this process, not in processes of their own
  --quiet           print the cases that fail, and the totals
  --list            print the cases, what they need and what they check
  --case NAME       run this case in this process, and print only its outcome
                    (exit code 0: passed, 77: skipped, else failed)

Exit code: 0 if no case failed, 1 if one did, 2 for wrong usage.
";

struct Options {
    dir: Option<PathBuf>,
    filters: Vec<String>,
    without: Needs,
    timeout: Duration,
    threads: bool,
    quiet: bool,
    list: bool,
    case: Option<String>,
}

/// The program, with the arguments of this process and `args` gone through already.
///
/// A program that is to serve as [`Isolation::Process`] calls this with the arguments that
/// follow those it was given in [`Isolation::Process::args`].
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match parse(args.into_iter()) {
        Ok(Some(options)) => options.run(),
        Ok(None) => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("posix-suite: {message} (see --help)");
            ExitCode::from(2)
        }
    }
}

fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Option<Options>, String> {
    let mut options = Options {
        dir: None,
        filters: Vec::new(),
        without: Needs::NONE,
        timeout: Duration::from_secs(20),
        threads: false,
        quiet: false,
        list: false,
        case: None,
    };
    while let Some(arg) = args.next() {
        let mut value = || {
            let value = args.next().ok_or_else(|| format!("{arg:?} needs a value"))?;
            value.into_string().map_err(|value| format!("not UTF-8: {value:?}"))
        };
        match arg.to_str() {
            Some("--help" | "-h") => return Ok(None),
            Some("--filter") => options.filters.push(value()?),
            Some("--without") => {
                for name in value()?.split(',').filter(|name| !name.is_empty()) {
                    let need = Needs::from_name(name).ok_or_else(|| {
                        let known: Vec<_> = Needs::all_names().collect();
                        format!("no such need: {name}; there are {}", known.join(", "))
                    })?;
                    options.without = options.without | need;
                }
            }
            Some("--timeout") => {
                let text = value()?;
                options.timeout = text
                    .parse()
                    .ok()
                    .and_then(|secs| Duration::try_from_secs_f64(secs).ok())
                    .ok_or_else(|| format!("not a time in seconds: {text}"))?;
            }
            Some("--threads") => options.threads = true,
            Some("--quiet") => options.quiet = true,
            Some("--list") => options.list = true,
            Some("--case") => options.case = Some(value()?),
            Some(flag) if flag.starts_with('-') => return Err(format!("no such option: {flag}")),
            _ if options.dir.is_some() => return Err(format!("one directory too many: {arg:?}")),
            _ => options.dir = Some(arg.into()),
        }
    }
    if options.dir.is_none() && !options.list {
        return Err("no directory given".to_owned());
    }
    Ok(Some(options))
}

impl Options {
    fn picks(&self, case: &Case) -> bool {
        let named = self.filters.is_empty() || self.filters.iter().any(|text| case.name.contains(text));
        named && !case.needs.intersects(self.without)
    }

    fn run(self) -> ExitCode {
        let result = match (&self.dir, &self.case) {
            (Some(dir), Some(name)) if !self.list => self.one(dir, name),
            (Some(dir), None) if !self.list => self.suite(dir),
            _ => self.print_list(),
        };
        result.unwrap_or_else(|error| {
            // The reader of the output may have gone.
            let _ = writeln!(io::stderr(), "posix-suite: {error}");
            ExitCode::from(2)
        })
    }

    fn print_list(&self) -> io::Result<ExitCode> {
        let mut out = io::stdout().lock();
        for case in all().filter(|case| self.picks(case)) {
            let needs = if case.needs.is_empty() { String::new() } else { format!(" [{}]", case.needs) };
            writeln!(out, "{:<36} {}{needs}", case.name, case.what)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn one(&self, dir: &std::path::Path, name: &str) -> io::Result<ExitCode> {
        let Some(case) = find(name) else {
            return Err(io::Error::other(format!("no such case: {name}")));
        };
        let outcome = runner::attempt(case, dir);
        let (text, code) = runner::encode(&outcome);
        io::stdout().write_all(text.as_bytes())?;
        Ok(ExitCode::from(code))
    }

    fn suite(&self, dir: &std::path::Path) -> io::Result<ExitCode> {
        let isolation = if self.threads {
            Isolation::Thread
        } else {
            Isolation::Process { program: env::current_exe()?, args: Vec::new() }
        };
        let runner = Runner { isolation, timeout: self.timeout };
        let start = Instant::now();
        let mut printed = Ok(());
        let report = runner.run(
            dir,
            |case| self.picks(case),
            |case, outcome, took| printed = self.print(case, outcome, took),
        );
        printed?;
        let mut out = io::stdout().lock();
        let (passed, failed, skipped) = (report.passed.len(), report.failed.len(), report.skipped.len());
        writeln!(out, "took {:.1?}", start.elapsed())?;
        writeln!(out, "{passed} passed, {failed} failed, {skipped} skipped")?;
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn print(&self, case: &Case, outcome: &Outcome, took: Duration) -> io::Result<()> {
        let (word, text) = match outcome {
            Ok(()) if self.quiet => return Ok(()),
            Err(Failure::Skip(_)) if self.quiet => return Ok(()),
            Ok(()) => ("ok", String::new()),
            Err(failure @ Failure::Skip(_)) => ("skip", failure.to_string()),
            Err(failure) => ("FAIL", failure.to_string()),
        };
        let line = format!("{word:<5} {:<36} {:>6} ms  {text}", case.name, took.as_millis());
        writeln!(io::stdout(), "{}", line.trim_end())
    }
}
