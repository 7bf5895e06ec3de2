//! What `/proc` tells of a server and of the machine.

use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;

/// The number behind a key at the start of a line.
fn number(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse().ok())
}

/// What a process has done so far.
pub(crate) struct Process {
    pub(crate) cpu: Duration,
    /// Calls of the kind of read(2): on the device transport, at least one a request.
    pub(crate) reads: u64,
    /// Completions on each of its rings, by descriptor: on the ring transport, one a request.
    completions: Vec<(String, u32)>,
    /// How often its threads gave up a CPU, or had to.
    pub(crate) switches: u64,
}

impl Process {
    pub(crate) fn read(id: u32) -> io::Result<Self> {
        let folder = format!("/proc/{id}");
        let folder = Path::new(&folder);
        let mut process = Self {
            cpu: Duration::ZERO,
            reads: number(&fs::read_to_string(folder.join("io"))?, "syscr:").unwrap_or_default(),
            completions: Vec::new(),
            switches: 0,
        };
        for task in fs::read_dir(folder.join("task"))? {
            // A thread may have ended meanwhile.
            let task = task?.path();
            let Ok(times) = fs::read_to_string(task.join("schedstat")) else { continue };
            let nanos = times.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
            process.cpu += Duration::from_nanos(nanos.unwrap_or_default());
            let status = fs::read_to_string(task.join("status")).unwrap_or_default();
            process.switches += ["voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"]
                .iter()
                .filter_map(|key| number(&status, key))
                .sum::<u64>();
        }
        for descriptor in fs::read_dir(folder.join("fd"))? {
            let descriptor = descriptor?;
            if fs::read_link(descriptor.path()).is_ok_and(|link| link == Path::new("anon_inode:[io_uring]")) {
                let name = descriptor.file_name().to_string_lossy().into_owned();
                let count = completions(&folder.join("fdinfo").join(&name));
                process.completions.push((name, count));
            }
        }
        Ok(process)
    }

    /// Completions on all rings since `before`. The kernel counts them in 32 bits.
    pub(crate) fn completions_since(&self, before: &Self) -> u64 {
        let count = |(name, now): &(String, u32)| {
            let before = before.completions.iter().find(|(other, _)| other == name);
            u64::from(now.wrapping_sub(before.map_or(0, |(_, count)| *count)))
        };
        self.completions.iter().map(count).sum()
    }
}

/// The end of a ring's completion queue. The kernel does not tell it while the ring is in use, so it is asked again.
fn completions(info: &Path) -> u32 {
    for _ in 0..200 {
        let text = fs::read_to_string(info).unwrap_or_default();
        if let Some(tail) = number(&text, "CqTail:") {
            return tail as u32;
        }
        thread::sleep(Duration::from_micros(100));
    }
    0
}

/// What all CPUs together have done so far.
pub(crate) struct Cpus {
    pub(crate) busy: Duration,
    /// Taken by the hypervisor.
    pub(crate) stolen: Duration,
}

impl Cpus {
    pub(crate) fn read() -> io::Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        let first = text.lines().next().unwrap_or_default();
        let ticks: Vec<u64> =
            first.split_whitespace().skip(1).filter_map(|ticks| ticks.parse().ok()).collect();
        let time = |ticks: u64| Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64);
        // proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal.
        let [user, nice, system, _, _, irq, softirq, steal] =
            ticks.first_chunk().copied().ok_or_else(|| {
                io::Error::other("/proc/stat does not parse: its first line has too few numbers")
            })?;
        Ok(Self { busy: time(user + nice + system + irq + softirq), stolen: time(steal) })
    }

    pub(crate) fn count() -> usize {
        thread::available_parallelism().map_or(1, usize::from)
    }
}
