//! stress-ng's stressors of filesystems, one a case.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::case::{Env, Failure, Outcome, check};
use super::{Case, Scale, Stage, Suite, first_line};
use crate::run::Done;

pub(super) const SUITE: Suite = Suite {
    name: "stress",
    what: "stress-ng's filesystem stressors, verifying (Debian: stress-ng)",
    cases,
    run,
};

/// Those of the class that do not work in the directory that they are given.
const ELSEWHERE: [&str; 5] = ["bind-mount", "binderfs", "dup", "eventfd", "procfs"];

/// Those of other classes that do.
const MORE: [&str; 9] = ["aio", "aiol", "mmap", "msync", "readahead", "revio", "seek", "sendfile", "splice"];

/// Sizes: what matters is what happens at once, not how much of it.
const SIZES: [(&str, &[&str]); 9] = [
    ("copy-file", &["--copy-file-bytes", "128m"]),
    ("fallocate", &["--fallocate-bytes", "64m"]),
    ("hdd", &["--hdd-bytes", "64m"]),
    ("iomix", &["--iomix-bytes", "64m"]),
    ("mmap", &["--mmap-file", "--mmap-bytes", "32m"]),
    ("readahead", &["--readahead-bytes", "64m"]),
    ("revio", &["--revio-bytes", "64m"]),
    ("seek", &["--seek-size", "64m"]),
    ("sync-file", &["--sync-file-bytes", "32m"]),
];

fn seconds(scale: Scale) -> u64 {
    scale.pick(1, 5, 30)
}

fn cases(_: &Stage, scale: Scale) -> Done<Vec<Case>> {
    let told = Command::new("stress-ng")
        .args(["--class", "filesystem?"])
        .output()
        .map_err(|error| format!("cannot start stress-ng: {error}; install Debian's package stress-ng"))?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let (_, class) = told.trim().rsplit_once(": ").ok_or("stress-ng does not tell its stressors")?;
    let mut names: BTreeSet<&str> = class.split(' ').chain(MORE).collect();
    names.retain(|name| !ELSEWHERE.contains(name));
    // Most end when told; some finish what they have begun.
    let limit = seconds(scale) * 3 + 60;
    Ok(names.into_iter().map(|name| Case::new(name, limit)).collect())
}

fn run(env: &Env, case: &str) -> Outcome {
    // Some stressors act as other users.
    fs::set_permissions(&env.dir, fs::Permissions::from_mode(0o1777))?;
    let sizes = SIZES.iter().find(|(name, _)| *name == case).map_or(&[][..], |(_, sizes)| *sizes);
    let output = env
        .program("stress-ng")
        .arg("--temp-path")
        .arg(&env.dir)
        .args([
            &format!("--{case}"),
            "2",
            "--timeout",
            &seconds(env.scale).to_string(),
            "--verify",
            "--oomable",
        ])
        .args(sizes)
        .output()?;
    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    println!("{told}");
    let line = |words: &[&str]| told.lines().find(|line| words.iter().any(|word| line.contains(word)));
    if let Some(fault) = line(&[": fail: ", ": error: "]) {
        return Err(Failure::Failed(fault.to_owned()));
    }
    // By its manual: 3 for no resources, 4 for not implemented.
    let code = output.status.code();
    let skipped = line(&["skipping stress", "not supported", "not implemented", "aborted early"]);
    if matches!(code, Some(3 | 4)) || (code == Some(0) && line(&["skipping stress"]).is_some()) {
        return Err(Failure::Skipped(skipped.unwrap_or("for lack of resources").to_owned()));
    }
    check(output.status.success(), || format!("it ended with {}: {}", output.status, first_line(&told)))
}
