//! A folder on a tmpfs that only this run sees, and what is in it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::tools;
use crate::run::{Done, run, target};

/// Where it is: short, as the addresses of sockets in it are, and open to all users.
const ROOT: &str = "/run/ringfuse-conformance";

pub(super) struct Stage {
    pub(super) root: PathBuf,
}

impl Stage {
    /// Mounts it, and copies the programs there: a build meanwhile does not change them.
    pub(super) fn set_up(release: bool) -> Done<Self> {
        let stage = Self { root: PathBuf::from(ROOT) };
        fs::create_dir_all(ROOT).map_err(|error| format!("cannot create {ROOT}: {error}"))?;
        run(Command::new("mount").args(["-t", "tmpfs", "-o", "mode=755", "conformance", ROOT]))?;
        let bin = stage.folder("bin")?;
        let built = target().join(if release { "release" } else { "debug" });
        let programs = [
            built.join("ringfuse"),
            built.join("posix-suite"),
            tools::folder().join("fsx"),
            tools::folder().join("pjdfstest"),
        ];
        for from in programs {
            let name = from.file_name().expect("they have names");
            fs::copy(&from, bin.join(name))
                .map_err(|error| format!("cannot copy {}: {error}", from.display()))?;
        }
        Ok(stage)
    }

    /// The path of a program, if it is one of those.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.root.join("bin").join(name)
    }

    /// An empty folder in it.
    pub(super) fn folder(&self, name: &str) -> Done<PathBuf> {
        let path = self.root.join(name);
        if path.exists() {
            fs::remove_dir_all(&path)
                .map_err(|error| format!("cannot remove {}: {error}", path.display()))?;
        }
        fs::create_dir_all(&path).map_err(|error| format!("cannot create {}: {error}", path.display()))?;
        Ok(path)
    }
}
