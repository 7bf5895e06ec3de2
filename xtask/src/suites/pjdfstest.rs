//! pjdfstest, in Rust: <https://crates.io/crates/pjdfstest>.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::case::{Env, Failure, Outcome, check};
use super::{Case, Scale, Stage, Suite, text};
use crate::run::Done;

pub(super) const SUITE: Suite = Suite {
    name: "pjdfstest",
    what: "system calls on files, their errors, permissions and times (crates.io: pjdfstest)",
    cases,
    run,
};

/// The configuration, but for the time that it sleeps to see a time change.
const CONFIG: &str = r#"
[features]
posix_fallocate = {}
rename_ctime = {}
utime_now = {}
utimensat = {}
[dummy_auth]
entries = [["nobody", "nogroup"], ["daemon", "daemon"]]
[settings]
allow_remount = true
"#;

/// It has no list: it runs all, with nothing slept and nothing remounted, and names what it ran.
fn cases(stage: &Stage, _: Scale) -> Done<Vec<Case>> {
    let dir = stage.folder("list")?;
    let config = dir.join("config.toml");
    fs::write(&config, CONFIG.replace("true", "false") + "naptime = 0.0\n")
        .map_err(|error| error.to_string())?;
    let output = Command::new(stage.program("pjdfstest"))
        .args(["-c", text(&config), "-p", text(&dir)])
        .output()
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let names = text.lines().filter_map(|line| result(line).map(|(name, _)| name));
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    Ok(names.into_iter().map(|name| Case::new(name, 60)).collect())
}

/// Name and result, if a line tells them. Reasons are indented.
fn result(line: &str) -> Option<(&str, &str)> {
    let (name, result) = line.split_once(' ')?;
    let result = result.trim();
    ["ok", "FAILED", "skipped"].contains(&result).then_some((name, result))
}

fn run(env: &Env, case: &str) -> Outcome {
    let config = env.scratch.join("config.toml");
    fs::write(&config, format!("{CONFIG}naptime = 0.01\n"))?;
    // Any other filesystem will do, for EXDEV.
    let other = env.scratch.join("other");
    fs::create_dir(&other)?;
    let shim = mount_without_helper(&env.scratch)?;
    let path = std::env::var("PATH").unwrap_or_default();
    let output = env
        .program("pjdfstest")
        .env("PATH", format!("{}:{path}", shim.display()))
        .args(["-c", text(&config), "-p", text(&env.dir), "-s", text(&other)])
        .args(["--exact", &format!("pjdfstest::tests::{case}")])
        .output()?;
    let out = String::from_utf8_lossy(&output.stdout);
    println!("{out}");
    let mut lines = out.lines().skip_while(|line| result(line).is_none_or(|(name, _)| name != case));
    let (_, result) = lines.next().and_then(result).ok_or("it did not tell what came out")?;
    let reason = lines.next().unwrap_or_default().trim().to_owned();
    match result {
        "skipped" => Err(Failure::Skipped(reason)),
        _ => check(result == "ok", || reason),
    }
}

/// A folder for the front of `PATH`, whose `mount` starts no helper: the one of FUSE takes a remount for a new mount.
fn mount_without_helper(scratch: &Path) -> Outcome<std::path::PathBuf> {
    let folder = scratch.join("shim");
    fs::create_dir(&folder)?;
    let program = folder.join("mount");
    fs::write(&program, "#!/bin/sh\nPATH=${PATH#*:}\nexec mount -i \"$@\"\n")?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::result;

    #[test]
    fn results_are_told_from_reasons() {
        assert_eq!(
            result("chmod::change_perm::fifo                ok"),
            Some(("chmod::change_perm::fifo", "ok"))
        );
        assert_eq!(
            result("link::link_count_max               skipped"),
            Some(("link::link_count_max", "skipped"))
        );
        assert_eq!(result("\tCannot get value for LINK_MAX: filesystem limit is unknown"), None);
        assert_eq!(result("Summary: 0 failed, 1 skipped, 0 passed"), None);
        assert_eq!(result(""), None);
    }
}
