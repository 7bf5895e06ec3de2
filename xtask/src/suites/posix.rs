//! The kit's suite.

use std::process::Command;

use super::case::{Env, Failure, Outcome, SKIPPED};
use super::{Case, Scale, Stage, Suite};
use crate::run::Done;

pub(super) const SUITE: Suite = Suite {
    name: "posix",
    what: "POSIX and Linux semantics, one rule a case (crates/ringfuse-kit)",
    cases,
    run,
};

fn cases(stage: &Stage, _: Scale) -> Done<Vec<Case>> {
    let program = stage.program("posix-suite");
    let listed = Command::new(&program)
        .arg("--list")
        .output()
        .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
    let text = String::from_utf8_lossy(&listed.stdout);
    Ok(text.lines().filter_map(|line| Some(Case::new(line.split_whitespace().next()?, 30))).collect())
}

fn run(env: &Env, case: &str) -> Outcome {
    let mut command = env.program("posix-suite");
    let output = command.arg(&env.dir).args(["--case", case]).output()?;
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    // The reason, and in a line of its own where in the source it is.
    let reason = String::from_utf8_lossy(&output.stdout).trim().replace('\n', " at ");
    match output.status.code() {
        Some(0) => Ok(()),
        Some(code) if code == i32::from(SKIPPED) => Err(Failure::Skipped(reason)),
        _ if reason.is_empty() => Err(Failure::Failed(format!("it ended with {}", output.status))),
        _ => Err(Failure::Failed(reason)),
    }
}
