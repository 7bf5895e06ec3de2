//! What a result was measured on: all that matters, and nothing that tells whose it is.

use std::fs;
use std::process::Command;

use crate::run::workspace;

/// Lines for a report, each an item of a list.
pub(super) fn describe(options: &super::Options) -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut lines = vec![
        format!("date: {}", said("date", &["--utc", "+%Y-%m-%d"])),
        format!("kernel: Linux {}", version(&kernel)),
        format!("CPUs: {} × {}", cpus(), model()),
        format!("compiler: {}", said("rustc", &["--version"])),
        format!("project: {}", commit()),
        format!("rounds: {}, of {} s a load", options.rounds(), options.seconds()),
    ];
    if is_virtual() {
        lines.push("a virtual machine".to_owned());
    }
    if options.awake {
        lines.push("the CPUs were kept from idling (`--awake`)".to_owned());
    }
    let lines: String = lines.iter().map(|line| format!("- {line}\n")).collect();
    if options.quick { format!("**`--quick`: these figures mean nothing.**\n\n{lines}") } else { lines }
}

pub(super) fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The numbers of a kernel's release, without what a builder added.
fn version(release: &str) -> &str {
    let end = release.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(release.len());
    release[..end].trim_end_matches('.')
}

fn model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, model)| model.trim().to_owned())
}

fn is_virtual() -> bool {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines().any(|line| line.starts_with("flags") && line.split(' ').any(|flag| flag == "hypervisor"))
}

/// The commit, and whether there is more than that.
fn commit() -> String {
    let git = |args: &[&str]| {
        let mut git = Command::new("git");
        // The checkout may be somebody else's than root's.
        git.args(["-c", "safe.directory=*", "-C"]).arg(workspace()).args(args);
        git.output().ok().filter(|out| out.status.success()).map(|out| out.stdout)
    };
    let text = |out: Vec<u8>| String::from_utf8_lossy(&out).trim().to_owned();
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]).map(text) else {
        return format!("version {}", env!("CARGO_PKG_VERSION"));
    };
    // What was measured before is not part of it.
    let changed = git(&["status", "--porcelain", "--", ".", ":!docs"]).is_some_and(|out| !out.is_empty());
    format!("commit {commit}{}", if changed { ", with changes" } else { "" })
}

fn said(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).output();
    out.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_kernel_is_named_by_its_numbers() {
        assert_eq!(super::version("6.18.4-somebody-1\n"), "6.18.4");
        assert_eq!(super::version("7.0\n"), "7.0");
        assert_eq!(super::version("6.14.0.x"), "6.14.0");
    }
}
