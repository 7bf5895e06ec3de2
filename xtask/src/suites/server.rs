//! The program that serves the filesystem under test.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::runner::within;
use crate::mounts::{abort, connection};
use crate::run::{Done, show};

/// How long a server may take to come up, to go, or to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The way that requests take.
#[derive(Clone, Copy)]
pub(super) enum Way {
    Ring,
    Device,
}

impl Way {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Device => "device",
        }
    }

    /// What the server's first line must tell, and what it must not: that it fell back tells of both.
    fn is_told_by(self, line: &str) -> bool {
        // The path comes first, the transport after it, and then the reason in brackets.
        let told = line.split('(').next().unwrap_or_default();
        let (ring, device) = (told.contains("io_uring"), told.contains("/dev/fuse"));
        match self {
            Self::Ring => ring && !device,
            Self::Device => device && !ring,
        }
    }
}

/// A server and its mount. Both go when this is dropped, whatever state they are in.
pub(super) struct Server {
    child: Child,
    dir: PathBuf,
    log: PathBuf,
    /// The kernel's number of the connection.
    connection: Option<String>,
}

impl Server {
    /// Starts it, and waits until it is ready, on the transport that was asked for.
    pub(super) fn start(mut command: Command, way: Way, dir: &Path, log: &Path) -> Done<Self> {
        let shown = show(&command);
        let file = File::create(log).map_err(|error| format!("cannot create {}: {error}", log.display()))?;
        let mut child = command
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .map_err(|error| format!("cannot start `{shown}`: {error}"))?;
        let out = child.stdout.take().expect("it is piped");
        let mut server = Self { child, dir: dir.to_owned(), log: log.to_owned(), connection: None };
        let (line, first) = mpsc::channel();
        thread::spawn(move || {
            let mut lines = BufReader::new(out).lines().map_while(Result::ok);
            if let Some(text) = lines.next() {
                let _ = line.send(text);
            }
            // Whatever else it prints must not block it.
            lines.for_each(drop);
        });
        let ready = first
            .recv_timeout(PATIENCE)
            .map_err(|_| format!("`{shown}` did not come up; it says: {}", server.last_words()))?;
        if !way.is_told_by(&ready) {
            return Err(format!("`{shown}` serves another way: {ready}"));
        }
        server.connection = connection(dir);
        Ok(server)
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What became of it, if it has ended.
    pub(super) fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!("the server ended with {status}; it says: {}", self.last_words()))
    }

    /// Ends the connection: whoever waits for an answer gets an error.
    pub(super) fn abort(&self) -> Done {
        abort(self.connection.as_deref())
    }

    /// Unmounts, and waits for its end, which must be a good one.
    pub(super) fn finish(mut self) -> Done {
        let mut umount = Command::new("umount").arg(&self.dir).spawn().map_err(|error| error.to_string())?;
        match within(&mut umount, PATIENCE) {
            Some(status) if status.success() => {}
            Some(status) => return Err(format!("it cannot be unmounted: umount ended with {status}")),
            None => return Err(format!("it cannot be unmounted: umount did not end within {PATIENCE:?}")),
        }
        let status = within(&mut self.child, PATIENCE)
            .ok_or_else(|| format!("the server did not end within {PATIENCE:?} of its unmounting"))?;
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        if !status.success() || log.contains("panicked at") {
            return Err(format!("the server ended with {status}; it says: {}", self.last_words()));
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(5)..].join("\n");
        format!("{}\n({})", last, self.log.display())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) && connection(&self.dir).is_none() {
            return;
        }
        let _ = self.abort();
        let _ = self.child.kill();
        let _ = within(&mut self.child, PATIENCE);
        // A lazy unmount asks nobody.
        let _ = Command::new("umount").arg("-l").arg(&self.dir).stderr(Stdio::null()).status();
    }
}

#[cfg(test)]
mod tests {
    use super::Way;

    #[test]
    fn a_silent_fallback_is_noticed() {
        let ring = "/mnt: io_uring (it is there), 2 queues x 16 entries";
        let fallback = "/mnt: /dev/fuse (io_uring is switched off), 2 queues x 16 entries";
        assert!(Way::Ring.is_told_by(ring) && !Way::Ring.is_told_by(fallback));
        assert!(Way::Device.is_told_by(fallback) && !Way::Device.is_told_by(ring));
        assert!(!Way::Ring.is_told_by("") && !Way::Device.is_told_by(""));
    }
}
