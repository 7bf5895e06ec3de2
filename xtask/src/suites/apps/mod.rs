//! Programs that people use, each checked against what it gives on a tmpfs.

mod build;
mod git;
mod inodes;
mod manifest;
mod postgres;
mod python;
mod sample;
mod sqlite;
mod trees;

use super::case::{Env, Outcome};
use super::{Case, Scale, Stage, Suite};
use crate::run::Done;

pub(super) const SUITE: Suite = Suite {
    name: "apps",
    what: "git, sqlite3, rsync, tar, cp, find, cargo, python3, PostgreSQL, checked against what they give on a tmpfs",
    cases,
    run,
};

type Body = fn(&Env) -> Outcome;

const CASES: [(&str, Body); 32] = [
    ("git-clone", git::clone),
    ("git-history", git::history),
    ("git-gc", git::gc),
    ("git-branches", git::branches),
    ("git-worktree", git::worktree),
    ("git-parallel", git::parallel),
    ("sqlite-delete", |env| sqlite::work(env, "delete")),
    ("sqlite-truncate", |env| sqlite::work(env, "truncate")),
    ("sqlite-persist", |env| sqlite::work(env, "persist")),
    ("sqlite-memory", |env| sqlite::work(env, "memory")),
    ("sqlite-wal", |env| sqlite::work(env, "wal")),
    ("sqlite-off", |env| sqlite::work(env, "off")),
    ("sqlite-mmap", sqlite::mapped),
    // Those of the others keep nothing that could be recovered from.
    ("sqlite-delete-kill", |env| sqlite::kill(env, "delete")),
    ("sqlite-truncate-kill", |env| sqlite::kill(env, "truncate")),
    ("sqlite-persist-kill", |env| sqlite::kill(env, "persist")),
    ("sqlite-wal-kill", |env| sqlite::kill(env, "wal")),
    ("rsync-copy", trees::rsync),
    ("rsync-update", trees::rsync_update),
    ("tar-round-trip", trees::tar),
    ("tar-sparse", trees::tar_sparse),
    ("cp-archive", trees::cp),
    ("cp-sparse", trees::cp_sparse),
    ("mv-tree", trees::mv),
    ("find", trees::find),
    ("many-files", trees::many_files),
    ("deep-folders", trees::deep),
    ("known-inodes", inodes::known),
    ("cargo-build", build::cargo_build),
    ("python", python::script),
    ("python-venv", python::venv),
    ("postgres", postgres::bench),
];

fn cases(_: &Stage, scale: Scale) -> Done<Vec<Case>> {
    // Most take seconds; a million files take minutes.
    let limit = scale.pick(120, 900, 900);
    Ok(CASES.iter().map(|(name, _)| Case::new(*name, limit)).collect())
}

fn run(env: &Env, case: &str) -> Outcome {
    let (_, body) = CASES.iter().find(|(name, _)| *name == case).ok_or("no such case")?;
    body(env)
}
