//! Runs a filesystem that is a program of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Mountpoint, PATIENCE, is_mounted};

/// A program that serves a mount, and prints a line once it does.
#[derive(Debug)]
pub struct Program {
    child: Child,
    ready: String,
    // After the child in the order of fields; but see `Drop`.
    mountpoint: Mountpoint,
}

impl Program {
    /// Starts a program on a mountpoint of the test's own, and waits for its first line. `command` gets the path and
    /// returns what to start.
    ///
    /// # Panics
    ///
    /// If it cannot be started, ends, or says nothing within [`PATIENCE`].
    pub fn start(command: impl FnOnce(&Path) -> Command) -> Self {
        Self::start_at(Mountpoint::new(), command)
    }

    /// As [`Program::start`], on a mountpoint that is there already.
    ///
    /// # Panics
    ///
    /// As there.
    pub fn start_at(mountpoint: Mountpoint, command: impl FnOnce(&Path) -> Command) -> Self {
        let mut command = command(&mountpoint);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}; is it built?"));
        let stdout = child.stdout.take().expect("it is piped");
        let (line, first) = mpsc::channel();
        thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines();
            if let Some(Ok(text)) = lines.next() {
                let _ = line.send(text);
            }
            // Whatever else it says must not block it.
            lines.for_each(drop);
        });
        match first.recv_timeout(PATIENCE) {
            Ok(ready) => Self { child, ready, mountpoint },
            Err(error) => {
                let _ = child.kill();
                panic!("{command:?} did not say that it is ready ({error}): {:?}", child.wait());
            }
        }
    }

    /// The mountpoint.
    pub fn path(&self) -> &Path {
        &self.mountpoint
    }

    /// The line it printed when it was ready.
    pub fn ready(&self) -> &str {
        &self.ready
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its resident memory in bytes.
    ///
    /// # Panics
    ///
    /// If it has ended.
    pub fn resident(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it runs");
        let kib: usize = line.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
        kib * 1024
    }

    /// Sends it a signal.
    ///
    /// # Panics
    ///
    /// If it has ended.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.id() as i32).expect("a process has an id");
        kill_process(pid, signal).expect("it runs");
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// If it does not end within [`PATIENCE`].
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours to wait for") {
                return status;
            }
            assert!(Instant::now() < deadline, "the program did not end");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Unmounts, waits for its end, and asserts that both went well.
    ///
    /// # Panics
    ///
    /// If one did not.
    pub fn finish(mut self) {
        rustix::mount::unmount(self.path(), rustix::mount::UnmountFlags::empty())
            .unwrap_or_else(|error| panic!("cannot unmount {}: {error}", self.path().display()));
        let status = self.wait();
        assert!(status.success(), "{status}");
        assert!(!is_mounted(&self.mountpoint));
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A program of this workspace, as the tests of this profile were built with it.
///
/// # Panics
///
/// If it is not there: build the workspace first.
pub fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a program knows its path");
    // Tests lie in `deps`, below the folder of the programs.
    let folders = test.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not built: run `cargo build --workspace` first"))
}
