//! git, with a repository that is made here.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::case::{Env, Outcome, all_at_once, equal, fed, must, output};
use super::manifest::{Times, same};

const COMMITS: u32 = 40;
const FILES: u32 = 60;
const LINK: &str = "src/part1/file1.txt";

/// git in a folder, with nobody's configuration, and times that do not change.
fn git(env: &Env, dir: &Path, args: &[&str]) -> Command {
    let mut git = env.program("git");
    git.current_dir(dir).args(["-c", "gc.auto=0", "-c", "maintenance.auto=false"]).args(args);
    git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", &env.scratch);
    for (role, other) in [("AUTHOR", "a"), ("COMMITTER", "c")] {
        git.env(format!("GIT_{role}_NAME"), other).env(format!("GIT_{role}_EMAIL"), "e@example.org");
        git.env(format!("GIT_{role}_DATE"), "1700000000 +0000");
    }
    git
}

/// A repository on the tmpfs to clone from, and a clone of it there.
fn origin(env: &Env) -> Outcome<(PathBuf, PathBuf)> {
    let origin = env.scratch.join("origin");
    must(&mut git(env, &env.scratch, &["init", "-q", "--bare", "-b", "main", "origin"]))?;
    let mut stream = String::new();
    for i in 1..=COMMITS {
        let _ = write!(stream, "commit refs/heads/main\nmark :{i}\n");
        let _ = writeln!(stream, "committer c <e@example.org> {} +0000", 1_600_000_000 + i);
        let message = format!("number {i}\n");
        let _ = write!(stream, "data {}\n{message}", message.len());
        for j in (0..FILES).filter(|j| i == 1 || (i * 7 + j * 3) % 11 == 0) {
            let lines = (0..j * 5 + 3)
                .map(|k| format!("line {k} of {j}, {}\n", if k % 17 == i % 17 { i } else { 0 }));
            let content: String = lines.collect();
            let mode = if j % 9 == 0 { "100755" } else { "100644" };
            let _ = writeln!(stream, "M {mode} inline src/part{}/file{j}.txt", j % 7);
            let _ = write!(stream, "data {}\n{content}\n", content.len());
        }
        let _ = write!(stream, "M 120000 inline link\ndata {}\n{LINK}\n", LINK.len());
        let _ = write!(stream, "reset refs/tags/t{i}\nfrom :{i}\n\n");
    }
    stream.push_str("done\n");
    fed(&mut git(env, &origin, &["fast-import", "--quiet", "--done"]), &stream)?;
    must(&mut git(env, &env.scratch, &["clone", "-q", "--no-local", "origin", "reference"]))?;
    Ok((origin, env.scratch.join("reference")))
}

/// Clones into the directory under test.
fn cloned(env: &Env, name: &str) -> Outcome<(PathBuf, PathBuf)> {
    let (origin, reference) = origin(env)?;
    must(git(env, &env.dir, &["clone", "-q", "--no-local"]).arg(origin).arg(name))?;
    Ok((env.dir.join(name), reference))
}

/// Nothing is changed, as git sees it; which reads files whose times or sizes are not as it noted.
fn unchanged(env: &Env, clone: &Path) -> Outcome {
    equal("git status", output(&mut git(env, clone, &["status", "--porcelain"]))?, String::new())
}

fn sound(env: &Env, clone: &Path) -> Outcome {
    must(&mut git(env, clone, &["fsck", "--full", "--strict"]))
}

pub(super) fn clone(env: &Env) -> Outcome {
    let (clone, reference) = cloned(env, "clone")?;
    sound(env, &clone)?;
    unchanged(env, &clone)?;
    same(&reference, &clone, Times::Ignored, &[".git"])
}

/// Checks out old versions, each over the one before.
pub(super) fn history(env: &Env) -> Outcome {
    let (clone, reference) = cloned(env, "clone")?;
    for i in (1..=COMMITS).rev().step_by(3) {
        let tag = format!("t{i}");
        for dir in [&clone, &reference] {
            must(&mut git(env, dir, &["checkout", "-q", &tag]))?;
        }
        unchanged(env, &clone)?;
    }
    same(&reference, &clone, Times::Ignored, &[".git"])
}

pub(super) fn gc(env: &Env) -> Outcome {
    let (clone, reference) = cloned(env, "clone")?;
    must(&mut git(env, &clone, &["gc", "-q", "--aggressive", "--prune=now"]))?;
    sound(env, &clone)?;
    let objects = |dir: &Path| output(&mut git(env, dir, &["rev-list", "--objects", "--all"]));
    equal("objects", objects(&clone)?, objects(&reference)?)?;
    let loose = output(&mut git(env, &clone, &["count-objects"]))?;
    equal("git count-objects", loose.as_str(), "0 objects, 0 kilobytes")?;
    unchanged(env, &clone)
}

/// Commits, merges, rebases and stashes, here and on the tmpfs: the commits must be the same.
pub(super) fn branches(env: &Env) -> Outcome {
    let work = |dir: &Path| -> Outcome<String> {
        let go = |args: &[&str]| must(&mut git(env, dir, args));
        for branch in ["left", "right"] {
            go(&["checkout", "-q", "-b", branch, "t30"])?;
            for i in 0..10 {
                fs::write(dir.join(format!("{branch}{i}")), format!("{branch} {i}\n"))?;
                go(&["add", "."])?;
                go(&["commit", "-q", "-m", &format!("{branch} {i}")])?;
            }
        }
        go(&["merge", "-q", "-m", "both", "left"])?;
        go(&["mv", "left3", "moved"])?;
        go(&["commit", "-q", "-m", "moved"])?;
        go(&["rebase", "-q", "main"])?;
        fs::write(dir.join("moved"), "changed\n")?;
        go(&["stash", "-q"])?;
        unchanged(env, dir)?;
        go(&["stash", "pop", "-q"])?;
        go(&["commit", "-q", "-a", "-m", "changed"])?;
        go(&["reset", "-q", "--hard", "HEAD~2"])?;
        go(&["cherry-pick", "ORIG_HEAD"])?;
        unchanged(env, dir)?;
        output(&mut git(env, dir, &["log", "--format=%H %T %s", "-25"]))
    };
    let (clone, reference) = cloned(env, "clone")?;
    equal("git log", work(&clone)?, work(&reference)?)?;
    sound(env, &clone)?;
    same(&reference, &clone, Times::Ignored, &[".git"])
}

pub(super) fn worktree(env: &Env) -> Outcome {
    let (clone, reference) = cloned(env, "clone")?;
    let other = env.dir.join("other");
    must(&mut git(env, &clone, &["worktree", "add", "-q", "-b", "other", "../other", "main"]))?;
    unchanged(env, &other)?;
    same(&reference, &other, Times::Ignored, &[".git"])?;
    fs::write(other.join("new"), "new\n")?;
    must(&mut git(env, &other, &["add", "new"]))?;
    must(&mut git(env, &other, &["commit", "-q", "-m", "new"]))?;
    must(&mut git(env, &clone, &["merge", "-q", "other"]))?;
    equal("new", fs::read_to_string(clone.join("new"))?.as_str(), "new\n")?;
    must(&mut git(env, &clone, &["worktree", "remove", "../other"]))?;
    equal("the worktree is there", other.exists(), false)?;
    sound(env, &clone)
}

pub(super) fn parallel(env: &Env) -> Outcome {
    let (origin, reference) = origin(env)?;
    let names = ["one", "two", "three", "four"];
    all_at_once(names.map(|name| {
        let mut clone = git(env, &env.dir, &["clone", "-q", "--no-local"]);
        clone.arg(&origin).arg(name);
        clone
    }))?;
    for name in names {
        let clone = env.dir.join(name);
        sound(env, &clone)?;
        unchanged(env, &clone)?;
        same(&reference, &clone, Times::Ignored, &[".git"])?;
    }
    Ok(())
}
