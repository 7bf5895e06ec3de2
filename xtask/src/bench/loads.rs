//! The loads of the comparison.

use crate::run::Done;

/// How a filesystem is mounted for a load.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Caching {
    /// None at all: each call is a request.
    None,
    /// Names and attributes for a minute, content in the page cache.
    Kernel,
}

impl Caching {
    pub(super) const BOTH: [Self; 2] = [Self::None, Self::Kernel];

    /// The options of a server.
    pub(super) fn options(self) -> &'static [&'static str] {
        match self {
            Self::None => &["--ttl", "0", "--direct"],
            Self::Kernel => &["--ttl", "60"],
        }
    }
}

/// What counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Ops,
    Mib,
    Entries,
}

impl Unit {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ops => "op/s",
            Self::Mib => "MiB/s",
            Self::Entries => "entries/s",
        }
    }

    /// What the load prints it as.
    pub(super) fn key(self) -> &'static str {
        if self == Self::Mib { "mib_s" } else { "ops_s" }
    }
}

pub(super) struct Load {
    pub(super) name: &'static str,
    /// As the program `load` calls it.
    pub(super) kind: &'static str,
    pub(super) clients: usize,
    /// Whether the clients are bound to the first CPU, and so to its queue.
    pub(super) bound: bool,
    pub(super) caching: Caching,
    /// Requests an operation that the client waits for, or `None` where the kernel decides.
    pub(super) requests: Option<u32>,
    /// How often the data of an operation is copied at least.
    pub(super) copies: u32,
    pub(super) unit: Unit,
}

const fn load(name: &'static str, kind: &'static str, clients: usize, requests: u32) -> Load {
    Load {
        name,
        kind,
        clients,
        bound: false,
        caching: Caching::None,
        requests: Some(requests),
        copies: 0,
        unit: Unit::Ops,
    }
}

const fn bulk(name: &'static str, kind: &'static str, clients: usize) -> Load {
    Load { copies: 1, unit: Unit::Mib, ..load(name, kind, clients, 1) }
}

// The counts of requests: a stat is LOOKUP and GETATTR; a create and unlink is LOOKUP, CREATE, LOOKUP and UNLINK, and
// a RELEASE and a FORGET that no one waits for but that are served by then on one core.
pub(super) const LOADS: [Load; 18] = [
    load("fstat x1", "fstat", 1, 1),
    Load { bound: true, ..load("fstat x1 on CPU 0", "fstat", 1, 1) },
    load("stat x1", "stat", 1, 2),
    load("stat x4", "stat", 4, 2),
    load("stat x16", "stat", 16, 2),
    load("read4k x1", "read4k", 1, 1),
    Load { bound: true, ..load("read4k x1 on CPU 0", "read4k", 1, 1) },
    load("read4k x4", "read4k", 4, 1),
    load("read4k x16", "read4k", 16, 1),
    load("write4k x1", "write4k", 1, 1),
    load("write4k x16", "write4k", 16, 1),
    load("create-unlink x1", "create-unlink", 1, 6),
    load("create-unlink x4", "create-unlink", 4, 6),
    bulk("seqread 1M x1", "seqread", 1),
    bulk("seqread 1M x4", "seqread", 4),
    bulk("seqwrite 1M x1", "seqwrite", 1),
    Load { caching: Caching::Kernel, copies: 2, requests: None, ..bulk("buffered read x1", "bufread", 1) },
    Load {
        caching: Caching::Kernel,
        unit: Unit::Entries,
        requests: None,
        ..load("readdirplus x1", "readdirplus", 1, 0)
    },
];

/// Those whose names contain one of the texts, or all.
pub(super) fn chosen(texts: &[String]) -> Done<Vec<&'static Load>> {
    for text in texts {
        if !LOADS.iter().any(|load| load.name.contains(text.as_str())) {
            return Err(format!("there is no load {text:?}; `--load list` lists them"));
        }
    }
    let is_chosen =
        |load: &&Load| texts.is_empty() || texts.iter().any(|text| load.name.contains(text.as_str()));
    Ok(LOADS.iter().filter(is_chosen).collect())
}

pub(super) fn list() {
    println!("loads:");
    for load in &LOADS {
        println!("  {:<20} {}", load.name, load.unit.name());
    }
}

/// What this machine can do, of one round.
#[derive(Clone, Copy, Default)]
pub(super) struct Floor {
    /// Seconds to wake a thread on the same core and be woken by it.
    pub(super) wake: f64,
    /// MiB a second that one core copies, and all together.
    pub(super) copy: f64,
    pub(super) copy_all: f64,
}

impl Load {
    /// The rate that no server can beat: each request wakes the server and the client on one core, each byte is copied,
    /// and the call costs what it costs on tmpfs. `None` where the kernel decides how many requests there are.
    pub(super) fn floor(&self, floor: &Floor, tmpfs: f64, cpus: usize) -> Option<f64> {
        let cores = if self.bound { 1 } else { self.clients.min(cpus) } as f64;
        if self.unit == Unit::Mib {
            let copy = if cores > 1.0 { floor.copy_all / cores } else { floor.copy };
            let mib = f64::from(self.copies) / copy + floor.wake * f64::from(self.requests.unwrap_or(1));
            return Some(cores / mib);
        }
        Some(cores / (f64::from(self.requests?) * floor.wake + cores / tmpfs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_what_two_wake_ups_and_the_call_take() {
        let floor = Floor { wake: 8e-6, copy: 10_000.0, copy_all: 16_000.0 };
        let near = |found: Option<f64>, wanted: f64| (found.unwrap() / wanted - 1.0).abs() < 1e-9;
        // 8 µs and 2 µs a call.
        assert!(near(LOADS[0].floor(&floor, 500_000.0, 2), 100_000.0));
        // 100 µs a MiB copied and 8 µs to ask for it.
        let seqread = LOADS.iter().find(|load| load.name == "seqread 1M x1").unwrap();
        assert!(near(seqread.floor(&floor, 1.0, 2), 1e6 / 108.0));
        let listing = LOADS.iter().find(|load| load.kind == "readdirplus").unwrap();
        assert!(listing.floor(&floor, 1.0, 2).is_none());
    }

    #[test]
    fn loads_are_chosen_by_parts_of_their_names() {
        assert_eq!(chosen(&[]).unwrap().len(), LOADS.len());
        assert_eq!(chosen(&["x16".into()]).unwrap().len(), 3);
        assert!(chosen(&["x17".into()]).is_err());
    }
}
