//! What came out.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::place::{Native, Place};
use crate::run::Done;

/// How a case ended.
pub(super) enum Verdict {
    Passed,
    Failed(String),
    Skipped(String),
}

impl Verdict {
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(_) => "failed",
            Self::Skipped(_) => "skipped",
        }
    }

    /// Why, in one line: the last one that was printed.
    fn why(&self) -> &str {
        match self {
            Self::Passed => "",
            Self::Failed(text) | Self::Skipped(text) => text.lines().next_back().unwrap_or_default().trim(),
        }
    }
}

/// A case, run.
pub(super) struct Row {
    pub(super) case: String,
    pub(super) verdict: Verdict,
    pub(super) took: Duration,
}

/// A suite, run in one place.
pub(super) struct Run {
    suite: &'static str,
    pub(super) label: String,
    baselines: Vec<Native>,
    pub(super) rows: Vec<Row>,
    /// Why it did not run, or not to its end.
    pub(super) broken: Option<String>,
    pub(super) took: Duration,
}

impl Run {
    pub(super) fn new(suite: &'static str, place: &Place) -> Self {
        let (label, baselines) = (place.label.clone(), place.baselines.clone());
        Self { suite, label, baselines, rows: Vec::new(), broken: None, took: Duration::ZERO }
    }

    fn count(&self, word: &str) -> usize {
        self.rows.iter().filter(|row| row.verdict.word() == word).count()
    }

    /// The row of the table, before the last column.
    fn columns(&self) -> [String; 6] {
        let counts = ["passed", "failed", "skipped"].map(|word| self.count(word).to_string());
        let [passed, failed, skipped] = counts;
        let took = format!("{:.1}", self.took.as_secs_f64());
        [self.suite.to_owned(), self.label.clone(), passed, failed, skipped, took]
    }

    /// In one line, once it is over.
    pub(super) fn line(&self) -> String {
        let [suite, label, passed, failed, skipped, took] = self.columns();
        let broken = if self.broken.is_some() { ", not to its end" } else { "" };
        format!("{suite} on {label}: {passed} passed, {failed} failed, {skipped} skipped in {took} s{broken}")
    }

    /// The cases that ended otherwise than in another run, each with how.
    fn differences(&self, native: &Self) -> Vec<(&Row, &'static str)> {
        let there = |row: &Row| native.rows.iter().find(|other| other.case == row.case);
        let differing = self.rows.iter().filter_map(|row| {
            let word = there(row)?.verdict.word();
            (word != row.verdict.word()).then_some((row, word))
        });
        differing.collect()
    }
}

/// All runs.
#[derive(Default)]
pub(super) struct Report {
    pub(super) runs: Vec<Run>,
}

impl Report {
    /// Runs that are compared, with the native ones that they are compared with.
    fn pairs(&self) -> impl Iterator<Item = (&Run, &Run)> {
        self.runs.iter().flat_map(move |ours| {
            let natives = ours.baselines.iter().map(|native| native.name());
            natives.filter_map(move |name| {
                let native = self.runs.iter().find(|run| run.suite == ours.suite && run.label == name)?;
                Some((ours, native))
            })
        })
    }

    pub(super) fn print(&self) {
        let label = self.runs.iter().map(|run| run.label.len()).max().unwrap_or_default().max(5);
        println!(
            "\n{:<10} {:<label$} {:>7} {:>7} {:>8} {:>8}",
            "suite", "where", "passed", "failed", "skipped", "seconds"
        );
        for run in &self.runs {
            let [suite, place, passed, failed, skipped, took] = run.columns();
            let broken = if run.broken.is_some() { "  did not run to its end" } else { "" };
            println!("{suite:<10} {place:<label$} {passed:>7} {failed:>7} {skipped:>8} {took:>8}{broken}");
        }
        for (ours, native) in self.pairs() {
            let differences = ours.differences(native);
            if !differences.is_empty() {
                println!("\n{} on {}, otherwise than on {}:", ours.suite, ours.label, native.label);
            }
            for (row, there) in differences {
                let (here, why) = (row.verdict.word(), row.verdict.why());
                let colon = if why.is_empty() { "" } else { ": " };
                println!("  {here}, {there} there  {}{colon}{why}", row.case);
            }
        }
        for run in &self.runs {
            if let Some(why) = &run.broken {
                println!("\n{} on {} did not run to its end: {why}", run.suite, run.label);
            }
        }
    }

    /// Writes a copy for programs.
    pub(super) fn write(&self, folder: &Path) -> Done {
        let mut summary = "suite\twhere\tpassed\tfailed\tskipped\tseconds\tbroken\n".to_owned();
        let mut cases = "suite\twhere\tcase\toutcome\tseconds\twhy\n".to_owned();
        for run in &self.runs {
            let broken = run.broken.as_deref().unwrap_or_default().replace(['\t', '\n'], " ");
            let _ = writeln!(summary, "{}\t{broken}", run.columns().join("\t"));
            for Row { case, verdict, took } in &run.rows {
                let (word, took, why) =
                    (verdict.word(), took.as_secs_f64(), verdict.why().replace('\t', " "));
                let _ = writeln!(cases, "{}\t{}\t{case}\t{word}\t{took:.3}\t{why}", run.suite, run.label);
            }
        }
        for (name, text) in [("summary.tsv", summary), ("cases.tsv", cases)] {
            let path = folder.join(name);
            fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        println!("\nwritten to {0}/summary.tsv, {0}/cases.tsv and {0}/logs", folder.display());
        Ok(())
    }

    /// Fails if a case failed that does not fail natively, or a suite did not run to its end.
    pub(super) fn verdict(&self) -> Done {
        let broken = self.runs.iter().filter(|run| run.broken.is_some()).count();
        let worse: usize = self
            .pairs()
            .map(|(ours, native)| {
                ours.differences(native)
                    .iter()
                    .filter(|(row, _)| matches!(row.verdict, Verdict::Failed(_)))
                    .count()
            })
            .sum();
        if broken + worse == 0 {
            return Ok(());
        }
        Err(format!(
            "{worse} case(s) fail that do not fail natively; {broken} run(s) of suites did not come to their end"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(place: &Place, verdicts: [Verdict; 3]) -> Run {
        let mut run = Run::new("suite", place);
        for (case, verdict) in ["one", "two", "three"].into_iter().zip(verdicts) {
            run.rows.push(Row { case: case.to_owned(), verdict, took: Duration::ZERO });
        }
        run
    }

    fn report(native: [Verdict; 3], ours: [Verdict; 3]) -> Report {
        let native = run(&Place::native(Native::Ext4), native);
        Report { runs: vec![native, run(&Place::second(Native::Ext4), ours)] }
    }

    fn failed() -> Verdict {
        Verdict::Failed("first\nwhy".to_owned())
    }

    #[test]
    fn what_fails_natively_too_is_no_difference() {
        let report =
            report([Verdict::Passed, failed(), failed()], [Verdict::Passed, failed(), Verdict::Passed]);
        assert!(report.verdict().is_ok());
        let (ours, native) = report.pairs().next().expect("they are compared");
        let differences = ours.differences(native);
        assert_eq!(differences.len(), 1);
        assert_eq!((differences[0].0.case.as_str(), differences[0].1), ("three", "failed"));
    }

    #[test]
    fn what_fails_here_only_is_bad() {
        let skipped = || Verdict::Skipped("why".to_owned());
        for native in [Verdict::Passed, skipped()] {
            let report =
                report([native, Verdict::Passed, Verdict::Passed], [failed(), skipped(), Verdict::Passed]);
            assert!(report.verdict().unwrap_err().starts_with("1 case"));
        }
    }

    #[test]
    fn a_run_that_did_not_come_to_its_end_is_bad() {
        let three = || [Verdict::Passed, Verdict::Passed, Verdict::Passed];
        let mut report = report(three(), three());
        assert!(report.verdict().is_ok());
        report.runs[0].broken = Some("why".to_owned());
        assert!(report.verdict().is_err());
    }
}
