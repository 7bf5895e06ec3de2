//! Where a suite is run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Resource, getrlimit};

use super::server::{Server, Way};
use super::{Options, Stage};
use crate::run::{Done, run};

/// A filesystem of the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Native {
    Tmpfs,
    Ext4,
}

impl Native {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tmpfs => "tmpfs",
            Self::Ext4 => "ext4",
        }
    }

    /// Mounts a fresh one.
    fn mount(self, stage: &Stage, name: &str) -> Done<Mounted> {
        let dir = stage.folder(name)?;
        let mut mount = Command::new("mount");
        match self {
            Self::Tmpfs => run(mount.args(["-t", "tmpfs", "-o", "mode=755", "conformance"]).arg(&dir))?,
            Self::Ext4 => {
                let image = stage.root.join(format!("{name}.ext4"));
                let made = fs::File::create(&image).and_then(|file| file.set_len(4 << 30));
                made.map_err(|error| format!("cannot create {}: {error}", image.display()))?;
                run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
                run(mount.args(["-o", "loop"]).arg(&image).arg(&dir))?;
                // The loop device keeps it, and lets go of it when it is unmounted.
                let _ = fs::remove_file(&image);
            }
        }
        Ok(Mounted(dir))
    }
}

/// An option of prlimit(1): so many descriptors as some machines allow at most. A server must manage with that.
fn descriptors() -> String {
    let most = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX).min(20_000);
    format!("--nofile={most}:{most}")
}

/// A native filesystem, mounted. It is unmounted when this is dropped.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg("-l").arg(&self.0));
    }
}

/// A place to run suites.
pub(super) struct Place {
    pub(super) label: String,
    /// What it is compared with: nothing if it is native itself.
    pub(super) baselines: Vec<Native>,
    kind: Kind,
}

enum Kind {
    Native(Native),
    Served { way: Way, source: Option<Native>, args: Vec<String> },
}

impl Place {
    pub(super) fn native(native: Native) -> Self {
        Self { label: native.name().to_owned(), baselines: Vec::new(), kind: Kind::Native(native) }
    }

    /// A native one that is compared with another of its kind.
    pub(super) fn second(native: Native) -> Self {
        let label = format!("{}/second", native.name());
        Self { label, baselines: vec![native], kind: Kind::Native(native) }
    }

    /// A filesystem of the program `ringfuse`.
    pub(super) fn served(
        options: &Options,
        fs: &str,
        way: Way,
        source: Option<Native>,
        baselines: &[Native],
    ) -> Self {
        let mut args = vec![fs.to_owned(), "--transport".to_owned(), way.name().to_owned()];
        // As native directories are: open to all, with devices and set-user-id programs.
        args.extend(["--allow-other", "-o", "dev,suid"].map(str::to_owned));
        args.extend(options.workers.map(|workers| format!("--workers={workers}")));
        args.extend(options.options.iter().cloned());
        let mut label = format!("{fs}/{}", way.name());
        if let Some(source) = source {
            label = format!("{label} on {}", source.name());
        }
        Self { label, baselines: baselines.to_vec(), kind: Kind::Served { way, source, args } }
    }

    /// Mounts it. What a server prints goes to a log.
    pub(super) fn open(&self, stage: &Stage, log: &Path) -> Done<Opened> {
        match &self.kind {
            Kind::Native(native) => {
                let mounted = native.mount(stage, "native")?;
                Ok(Opened { dir: mounted.0.clone(), server: None, _native: Some(mounted) })
            }
            Kind::Served { way, source, args } => {
                let native = source.map(|source| source.mount(stage, "source")).transpose()?;
                let dir = stage.folder("mnt")?;
                let mut command = Command::new("prlimit");
                command.arg(descriptors()).arg("--").arg(stage.program("ringfuse"));
                // The options may end in ones of the user's own; the paths stand alone.
                command.args(args).args(native.as_ref().map(|native| &native.0)).arg(&dir);
                let server = Server::start(command, *way, &dir, log)?;
                Ok(Opened { dir, server: Some(server), _native: native })
            }
        }
    }
}

/// A place, mounted. All is unmounted when this is dropped, the server first.
pub(super) struct Opened {
    pub(super) dir: PathBuf,
    pub(super) server: Option<Server>,
    _native: Option<Mounted>,
}

impl Opened {
    /// Unmounts it; a server must end well.
    pub(super) fn close(mut self) -> Done {
        self.server.take().map_or(Ok(()), Server::finish)
    }
}
