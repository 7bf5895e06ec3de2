//! An optimized build of the program, mounted to be looked at.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::machine;
use crate::run::{Done, cargo, run, target};

/// Builds it, and switches the ring on.
pub(crate) fn build() -> Done {
    println!("building the program (a minute, the first time)");
    run(cargo().args(["build", "--release", "--quiet", "--package", "ringfuse-cli"]))?;
    if rustix::process::geteuid().is_root() {
        if let Err(error) = machine::enable() {
            println!("without the ring: {error}");
        }
    } else {
        println!(
            "not root: the ring is used only if it is switched on already, and mounting needs fusermount3"
        );
    }
    Ok(())
}

/// The mounted filesystem. It goes when this is dropped, whatever happened before.
pub(crate) struct Served {
    child: Child,
    pub(crate) path: PathBuf,
}

impl Served {
    /// Starts the program with these arguments and a mountpoint of its own, and returns its first line, too.
    pub(crate) fn start(arguments: &[&str]) -> Done<(Self, String)> {
        let path = std::env::temp_dir().join(format!("ringfuse-mount-{}", std::process::id()));
        fs::create_dir(&path).map_err(|error| format!("cannot create {}: {error}", path.display()))?;
        let program = target().join("release/ringfuse");
        let mut child = Command::new(&program)
            .args(arguments)
            .arg(&path)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        let mut line = String::new();
        let said = child.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
        let served = Self { child, path };
        match said {
            Some(Ok(len)) if len > 0 => Ok((served, line.trim().to_owned())),
            _ => Err("the filesystem did not come up; what it said is above".to_owned()),
        }
    }

    /// Unmounts it, and waits for a good end.
    pub(crate) fn unmount(mut self) -> Done {
        run(Command::new("umount").arg(&self.path))?;
        let status = self.child.wait().map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("the filesystem ended with {status}")) }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = Command::new("umount").arg("-l").arg(&self.path).status();
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let _ = fs::remove_dir(&self.path);
    }
}
