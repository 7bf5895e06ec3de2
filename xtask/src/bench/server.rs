//! The servers that are compared, and one of them while it serves.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::place::{folder, within, within_unless};
use super::{built, samples};
use crate::mounts::{abort, connection};
use crate::run::{Done, run, show, target};

/// How long a server may take to come up, or to go.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which way requests take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Ring,
    Device,
}

impl Way {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ring => "io_uring",
            Self::Device => "/dev/fuse",
        }
    }
}

/// What a server is to the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Of this project.
    Ours,
    /// Another library.
    Peer,
    /// No library at all: what the kernel's interface gives.
    Bound,
}

pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) role: Role,
    /// What it is, for the report.
    pub(super) what: &'static str,
    program: &'static str,
    args: &'static [&'static str],
    /// The way it is to serve.
    pub(super) way: Way,
}

/// The server without a library.
pub(super) const BARE: &str = "bare-ring";

pub(super) const SERVERS: [Server; 6] = [
    Server {
        name: "ringfuse",
        role: Role::Ours,
        what: "this library, on the ring, as it is unless told otherwise",
        program: "benchfs",
        args: &["--uring"],
        way: Way::Ring,
    },
    Server {
        name: "ringfuse-device",
        role: Role::Ours,
        what: "this library, on `/dev/fuse`",
        program: "benchfs",
        args: &["--classic"],
        way: Way::Device,
    },
    Server {
        name: "fuser",
        role: Role::Peer,
        what: "fuser 0.18; a thread a CPU, each with a descriptor of its own (`clone_fd`), as its documentation advises",
        program: "peer-fuser",
        args: &[],
        way: Way::Device,
    },
    Server {
        name: "fuse3",
        role: Role::Peer,
        what: "fuse3 0.10 on tokio, a thread a CPU; mounted by `mount_with_unprivileged`",
        program: "peer-fuse3",
        args: &[],
        way: Way::Device,
    },
    Server {
        name: "fractal-fuse",
        role: Role::Peer,
        what: "fractal-fuse 0.6.1; a worker a CPU and 256 entries a queue, as it is unless told otherwise",
        program: "peer-fractal",
        args: &[],
        way: Way::Ring,
    },
    Server {
        name: BARE,
        role: Role::Bound,
        what: "no library: the ring's commands written out, answers by hand, nothing that can wait; what the ring gives at most",
        program: "bare-ring",
        args: &[],
        way: Way::Ring,
    },
];

impl Server {
    pub(super) fn command(&self) -> Command {
        let program = if self.role == Role::Ours {
            target().join("release").join(self.program)
        } else {
            built(self.program)
        };
        let mut command = Command::new(program);
        command.args(self.args);
        command
    }
}

pub(super) fn chosen(names: &[String]) -> Done<Vec<&'static Server>> {
    for name in names {
        if !SERVERS.iter().any(|server| server.name == name) {
            return Err(format!("there is no server {name:?}; `--only list` lists them"));
        }
    }
    let is_chosen =
        |server: &&Server| names.is_empty() || names.iter().any(|name| name.as_str() == server.name);
    Ok(SERVERS.iter().filter(is_chosen).collect())
}

pub(super) fn list() {
    println!("servers:");
    for server in &SERVERS {
        println!("  {:<20} {} [{}]", server.name, server.what, server.way.name());
    }
}

/// What the program `load` printed.
pub(super) type Numbers = HashMap<String, f64>;

/// Runs `load`.
pub(super) fn load(args: &[&str], limit: Duration, served: Option<&Served>) -> Done<Numbers> {
    let mut command = Command::new(target().join("release/load"));
    let out = finish(command.args(args), &format!("load {}", args.join(" ")), limit, served)?;
    let number = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    Ok(out.lines().filter_map(number).collect())
}

/// Runs a program, called as is `shown`, to its end, and returns what it printed. Where it does not end in time, the
/// connection of the server is aborted, which frees it.
pub(super) fn finish(
    command: &mut Command,
    shown: &str,
    limit: Duration,
    served: Option<&Served>,
) -> Done<String> {
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|error| format!("cannot start `{shown}`: {error}"))?;
    let (out, err) = (read_beside(child.stdout.take()), read_beside(child.stderr.take()));
    let Some(status) = within(&mut child, limit) else {
        let aborted = served.map_or(Ok(()), Served::abort);
        let _ = child.kill();
        let _ = within(&mut child, PATIENCE);
        let then = aborted.map_or_else(|error| error, |()| "its connection was aborted".to_owned());
        return Err(format!("`{shown}` did not end within {limit:?}; {then}"));
    };
    let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    if status.success() { Ok(out) } else { Err(format!("`{shown}` failed: {}", err.trim())) }
}

/// Reads all that comes through a pipe, in a thread of its own: it may be more than a pipe holds.
fn read_beside(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        let _ = pipe.map(|mut pipe| pipe.read_to_string(&mut text));
        text
    })
}

/// A server that serves a mount. Both go when this is dropped, whatever state they are in.
pub(super) struct Served {
    child: Child,
    pub(super) dir: PathBuf,
    log: PathBuf,
    /// From the start of the program to the first answer.
    pub(super) took: Duration,
}

impl Served {
    /// Starts it and waits until it answers. The mountpoint is appended to the command.
    pub(super) fn start(name: &str, mut command: Command) -> Done<Self> {
        let dir = folder(&format!("mnt-{name}"))?;
        let log = samples().join(format!("{name}.log"));
        command.arg(&dir);
        let shown = show(&command);
        let file = File::create(&log).map_err(|error| format!("cannot create {}: {error}", log.display()))?;
        let mut waiting = Command::new(target().join("release/load"))
            .arg("wait")
            .arg(&dir)
            .spawn()
            .map_err(|error| format!("cannot start the program `load`: {error}"))?;
        let start = Instant::now();
        let child = file
            .try_clone()
            .and_then(|out| command.stdin(Stdio::null()).stdout(out).stderr(file).spawn())
            .map_err(|error| format!("cannot start `{shown}`: {error}"));
        let mut served = match child {
            Ok(child) => Self { child, dir, log, took: Duration::ZERO },
            Err(error) => {
                let _ = waiting.kill();
                return Err(error);
            }
        };
        let up = within_unless(&mut waiting, PATIENCE, || matches!(served.child.try_wait(), Ok(Some(_))));
        served.took = start.elapsed();
        if !up.is_some_and(|status| status.success()) {
            let _ = served.abort();
            let _ = waiting.kill();
            let _ = waiting.wait();
            return Err(format!("`{shown}` did not come up within {PATIENCE:?}; it says: {}", served.said()));
        }
        Ok(served)
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Memory of the process in MiB: `VmRSS`, or another line of `/proc/PID/status`.
    pub(super) fn memory(&self, line: &str) -> Done<f64> {
        let path = format!("/proc/{}/status", self.id());
        let text = fs::read_to_string(&path).map_err(|error| format!("cannot read {path}: {error}"))?;
        let kib = text.lines().find_map(|text| {
            text.strip_prefix(line)?.strip_prefix(':')?.trim().strip_suffix(" kB")?.parse::<f64>().ok()
        });
        kib.map(|kib| kib / 1024.0).ok_or_else(|| format!("{path} has no {line}"))
    }

    /// What it printed so far.
    pub(super) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default().trim().to_owned()
    }

    /// Ends the connection: whoever waits for an answer gets an error.
    pub(super) fn abort(&self) -> Done {
        abort(connection(&self.dir).as_deref())
    }

    /// Unmounts, and waits for its end.
    pub(super) fn finish(mut self) -> Done {
        run(Command::new("umount").arg(&self.dir))?;
        let status = within(&mut self.child, PATIENCE)
            .ok_or_else(|| format!("the server did not end within {PATIENCE:?} of its unmounting"))?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the server ended with {status}; it says: {}", self.said()))
        }
    }
}

impl Drop for Served {
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

/// Which way an operation's requests took, by the server's counters: each is a completion on a ring, or at least one
/// read of the device. Forgets come by the device on either way. `None` where the counters do not tell.
pub(super) fn way(numbers: &Numbers, requests: u32) -> Option<Way> {
    let of = |name: &str| numbers.get(name).copied().unwrap_or_default();
    let (completions, reads) = (of("server_completions"), of("server_reads"));
    let most = f64::from(requests) / 2.0;
    match (completions > most, reads > most) {
        (true, false) => Some(Way::Ring),
        (false, true) => Some(Way::Device),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_tell_the_transport() {
        let numbers = |completions, reads| {
            Numbers::from([("server_completions".into(), completions), ("server_reads".into(), reads)])
        };
        assert_eq!(way(&numbers(2.0, 0.1), 2), Some(Way::Ring));
        assert_eq!(way(&numbers(0.0, 2.0), 2), Some(Way::Device));
        // A device that is polled by a ring, one that serves half and half, and nothing at all.
        assert_eq!(way(&numbers(2.0, 2.0), 2), None);
        assert_eq!(way(&numbers(1.0, 1.0), 2), None);
        assert_eq!(way(&Numbers::new(), 1), None);
    }

    #[test]
    fn servers_are_chosen_by_name() {
        assert_eq!(chosen(&[]).unwrap().len(), SERVERS.len());
        assert_eq!(chosen(&["fuser".into()]).unwrap().len(), 1);
        assert!(chosen(&["fuse".into()]).is_err());
    }
}
