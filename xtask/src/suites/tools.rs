//! Suites that are programs of others.

use std::path::PathBuf;
use std::process::Command;

use crate::machine;
use crate::run::{Done, cargo, run, target};

/// Name and version: what a case checks depends on it.
const TOOLS: [(&str, &str); 2] = [("fsx", "0.3.2"), ("pjdfstest", "0.2.2")];

/// Where they are installed.
pub(super) fn folder() -> PathBuf {
    target().join("tools/bin")
}

/// Installs what is missing.
pub(crate) fn tools() -> Done {
    for (name, version) in TOOLS {
        if is_there(name, version) {
            continue;
        }
        println!("installing {name} {version} (a minute)");
        run(cargo()
            .args(["install", "--quiet", "--locked", "--force", name, "--version", version, "--root"])
            .arg(target().join("tools"))
            // It is built apart from this workspace, for the machine that it runs on.
            .env_remove("CARGO_TARGET_DIR"))
        .map_err(|error| format!("{error}; it comes from crates.io, which must be reached once"))?;
    }
    Ok(())
}

fn is_there(name: &str, version: &str) -> bool {
    let told = Command::new(folder().join(name)).arg("--version").output();
    told.is_ok_and(|told| String::from_utf8_lossy(&told.stdout).trim() == format!("{name} {version}"))
}

/// Where a program of PostgreSQL's server is; they are not in `PATH` on Debian.
pub(super) fn postgres_program(name: &str) -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let debian = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = debian.chain(std::env::split_paths(&path)).collect();
    folders.dedup();
    folders.into_iter().map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Installs PostgreSQL unless it is there.
pub(super) fn postgres() -> Done {
    if postgres_program("initdb").is_some() { Ok(()) } else { machine::apt_install(&["postgresql"]) }
}
