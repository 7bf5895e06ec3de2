//! Programs that copy, move and search trees.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use super::super::case::{Env, Outcome, check, equal, must, output};
use super::manifest::{Times, same};
use super::sample::{noise, tree};

/// What of the sample's sparse file may be allocated, of 48 MiB: what was written, and some whole pages around it.
const SPARSE: u64 = 8 << 20;

/// All that rsync can keep, and times to the nanosecond.
const KEEP: [&str; 4] = ["-aHAX", "--numeric-ids", "--modify-window=-1", "--delete"];

fn rsync_to(env: &Env, args: &[&str], from: &Path, to: &Path) -> Command {
    let mut rsync = env.program("rsync");
    rsync.args(KEEP).args(args).arg(from.join("")).arg(to);
    rsync
}

/// It must find nothing more to do, by contents.
fn nothing_left(env: &Env, from: &Path, to: &Path) -> Outcome {
    let left = output(&mut rsync_to(env, &["--checksum", "--dry-run", "--itemize-changes"], from, to))?;
    equal("what rsync would still do", left.as_str(), "")
}

pub(super) fn rsync(env: &Env) -> Outcome {
    let (tree, copy) = (tree(env)?, env.dir.join("copy"));
    must(&mut rsync_to(env, &["--sparse"], &tree, &copy))?;
    nothing_left(env, &tree, &copy)?;
    same(&tree, &copy, Times::Compared, &[])?;
    let (second, back) = (env.dir.join("second"), env.scratch.join("back"));
    must(&mut rsync_to(env, &[], &copy, &second))?;
    must(&mut rsync_to(env, &["--sparse"], &second, &back))?;
    same(&tree, &back, Times::Compared, &[])
}

/// Brings a copy up to date, in place and by differences.
pub(super) fn rsync_update(env: &Env) -> Outcome {
    let (tree, copy) = (tree(env)?, env.dir.join("copy"));
    must(&mut rsync_to(env, &[], &tree, &copy))?;
    let big = File::options().write(true).open(tree.join("big"))?;
    for (seed, at) in [(7, 1000), (8, 3 << 20), (9, 8 << 20)] {
        big.write_all_at(&noise(seed, 70_000), at)?;
    }
    File::options().write(true).open(tree.join("hole"))?.set_len(20 << 20)?;
    fs::remove_dir_all(tree.join("folder0/sub3"))?;
    fs::rename(tree.join("folder1"), tree.join("renamed"))?;
    fs::remove_file(tree.join("dangling"))?;
    fs::create_dir(tree.join("dangling"))?;
    fs::write(tree.join("dangling/new"), "new")?;
    fs::set_permissions(tree.join("setuid"), fs::Permissions::from_mode(0o711))?;
    must(&mut rsync_to(env, &["--inplace", "--no-whole-file", "--checksum"], &tree, &copy))?;
    nothing_left(env, &tree, &copy)?;
    same(&tree, &copy, Times::Compared, &[])?;
    let empty = env.scratch.join("empty");
    fs::create_dir(&empty)?;
    must(&mut rsync_to(env, &[], &empty, &copy))?;
    equal("entries left", fs::read_dir(&copy)?.count(), 0)
}

/// tar with all that it can keep, in a folder.
fn in_tar(env: &Env, dir: &Path, args: &[&str], archive: &Path) -> Command {
    let mut tar = env.program("tar");
    tar.args([
        "--format=posix",
        "--acls",
        "--xattrs",
        "--xattrs-include=*",
        "--numeric-owner",
        "--sparse",
        "-C",
    ]);
    tar.arg(dir).args(args).arg("-f").arg(archive);
    tar
}

pub(super) fn tar(env: &Env) -> Outcome {
    let (tree, here, back) = (tree(env)?, env.dir.join("here"), env.scratch.join("back"));
    let (first, second) = (env.scratch.join("first.tar"), env.dir.join("second.tar"));
    fs::create_dir(&here)?;
    fs::create_dir(&back)?;
    must(in_tar(env, &tree, &["-c"], &first).arg("."))?;
    must(&mut in_tar(env, &here, &["-xp"], &first))?;
    must(&mut in_tar(env, &here, &["--compare"], &first))?;
    same(&tree, &here, Times::Compared, &[])?;
    must(in_tar(env, &here, &["-c"], &second).arg("."))?;
    must(&mut in_tar(env, &back, &["-xp"], &second))?;
    same(&tree, &back, Times::Compared, &[])
}

fn is_sparse(path: &Path) -> Outcome {
    let allocated = path.metadata()?.blocks() * 512;
    check(allocated <= SPARSE, || format!("{} has {allocated} bytes allocated", path.display()))
}

/// Holes stay holes: a program that looks for them finds them.
pub(super) fn tar_sparse(env: &Env) -> Outcome {
    let (tree, archive) = (tree(env)?, env.dir.join("hole.tar"));
    must(in_tar(env, &tree, &["-c"], &archive).arg("hole"))?;
    must(&mut in_tar(env, &env.dir, &["-x"], &archive))?;
    is_sparse(&env.dir.join("hole"))?;
    must(in_tar(env, &env.dir, &["-c"], &archive).arg("hole"))?;
    let len = archive.metadata()?.len();
    check(len <= SPARSE, || format!("the archive of a sparse file has {len} bytes"))?;
    must(env.program("cmp").arg(tree.join("hole")).arg("hole"))
}

fn copy(env: &Env, from: &Path, to: &Path) -> Outcome {
    must(env.program("cp").arg("-a").arg(from).arg(to))
}

pub(super) fn cp(env: &Env) -> Outcome {
    let (tree, first, second) = (tree(env)?, env.dir.join("first"), env.dir.join("second"));
    copy(env, &tree, &first)?;
    same(&tree, &first, Times::Compared, &[])?;
    copy(env, &first, &second)?;
    same(&tree, &second, Times::Compared, &[])?;
    copy(env, &second, &env.scratch.join("back"))?;
    same(&tree, &env.scratch.join("back"), Times::Compared, &[])
}

pub(super) fn cp_sparse(env: &Env) -> Outcome {
    let tree = tree(env)?;
    for (how, name) in [("auto", "kept"), ("always", "made")] {
        must(env.program("cp").arg(format!("--sparse={how}")).arg(tree.join("hole")).arg(name))?;
        is_sparse(&env.dir.join(name))?;
        must(env.program("cmp").arg(tree.join("hole")).arg(name))?;
    }
    must(env.program("cp").args(["--sparse=auto", "--reflink=auto", "kept", "again"]))?;
    must(env.program("cmp").args(["kept", "again"]))?;
    is_sparse(&env.dir.join("again"))
}

/// Within the filesystem, and out of it, which is a copy and a removal.
pub(super) fn mv(env: &Env) -> Outcome {
    let (tree, here) = (tree(env)?, env.dir.join("here"));
    copy(env, &tree, &here)?;
    fs::create_dir(env.dir.join("inner"))?;
    must(env.program("mv").args(["here", "inner/there"]))?;
    same(&tree, &env.dir.join("inner/there"), Times::Compared, &[])?;
    let out = env.scratch.join("out");
    must(env.program("mv").arg("inner/there").arg(&out))?;
    same(&tree, &out, Times::Compared, &[])?;
    equal("entries left", fs::read_dir(env.dir.join("inner"))?.count(), 0)
}

/// What find tells of a copy it must tell of the original.
pub(super) fn find(env: &Env) -> Outcome {
    let (tree, here) = (tree(env)?, env.dir.join("here"));
    copy(env, &tree, &here)?;
    let tests: [&[&str]; 10] = [
        &[],
        &["-type", "l"],
        &["-xtype", "l"],
        &["-perm", "-4000"],
        &["-type", "f", "-size", "+1000k"],
        &["-newermt", "2020-01-01"],
        &["-not", "-newermt", "2000-01-01"],
        &["-type", "f", "-links", "+1"],
        &["-empty", "-not", "-uid", "1"],
        &["-samefile", "big"],
    ];
    for test in tests {
        let found = |dir: &Path| -> Outcome<Vec<String>> {
            let mut find = env.program("find");
            // A directory's size and links are the filesystem's own matter.
            find.current_dir(dir).args([".", "-mindepth", "1"]).args(test);
            find.args([
                "(",
                "-type",
                "d",
                "-printf",
                "%p %M %U:%G %T@\\n",
                "-o",
                "-printf",
                "%p %M %U:%G %T@ %s %n %l\\n",
                ")",
            ]);
            let mut lines: Vec<String> =
                output(&mut find)?.lines().map(|line| line.trim_end().to_owned()).collect();
            lines.sort_unstable();
            Ok(lines)
        };
        let (here, there) = (found(&here)?, found(&tree)?);
        println!("{} found", there.len());
        check(!there.is_empty(), || format!("nothing is found by {test:?}"))?;
        let differing = here.iter().zip(&there).find(|(here, there)| here != there);
        check(here == there, || {
            format!("find {test:?}: {} of {} found; {differing:?}", here.len(), there.len())
        })?;
    }
    Ok(())
}

/// More files in a directory than a server may have open.
pub(super) fn many_files(env: &Env) -> Outcome {
    let count: usize = env.scale.pick(5_000, 25_000, 100_000);
    let listed = || -> Outcome<usize> { Ok(output(env.program("ls").arg("-U"))?.lines().count()) };
    must(env.program("sh").args(["-c", &format!("seq {count} | xargs touch")]))?;
    equal("files", listed()?, count)?;
    let unique = output(env.program("sh").args(["-c", "find . -type f -printf '%i\\n' | sort -u | wc -l"]))?;
    equal("inodes", unique, count.to_string())?;
    must(env.program("find").args([".", "-name", "*7", "-delete"]))?;
    equal("files left", listed()?, count - count / 10)?;
    must(env.program("sh").args(["-c", "ls -U | xargs rm"]))?;
    equal("files at the end", listed()?, 0)
}

/// A path longer than a path may be: it is walked a step at a time.
pub(super) fn deep(env: &Env) -> Outcome {
    const DEPTH: usize = 30;
    let step = "d".repeat(200);
    std::env::set_current_dir(&env.dir)?;
    for _ in 0..DEPTH {
        fs::create_dir(&step)?;
        std::env::set_current_dir(&step)?;
    }
    fs::write("file", "content\n")?;
    let found = output(env.program("find").args([".", "-name", "file", "-printf", "%d %s\\n"]))?;
    equal("depth and size", found, format!("{} 8", DEPTH + 1))?;
    std::env::set_current_dir("/")?;
    must(env.program("rm").args(["-rf", &step]))?;
    equal("entries left", fs::read_dir(&env.dir)?.count(), 0)
}
