//! How a session is to be laid out: queues, workers, entries, memory.

use std::fs;
use std::io;

use rustix::param::page_size;
use rustix::thread::{CpuSet, sched_getaffinity};

use crate::error::{Error, ErrorKind};
use crate::mem::Layout;

/// The kernel never needs less than this, and its own copies run off smaller payloads (SETXATTR of 64 KiB).
const MIN_PAGES: usize = 32;

/// Entries a queue, where nothing else is asked for: enough for a few waiting handlers beside the working ones, and
/// costing little while they idle, as their pages are touched only by what passes through them.
pub(crate) const DEFAULT_DEPTH: usize = 16;

/// Bytes a write request carries at most, where nothing else is asked for: the most an unchanged kernel allows.
pub(crate) const DEFAULT_MAX_WRITE: u32 = 1 << 20;

/// Entries a queue may have. On the device, requests that one worker may serve at once: each that waits, for a lock perhaps,
/// holds one; beyond it even the interrupts that would end such waits could not be read.
const MAX_DEPTH: usize = 4096;

/// Under a memory budget, payloads are made smaller before there are fewer entries a queue than this.
const FEW: usize = 4;

/// What is wanted of a session, as far as it is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) workers: Option<usize>,
    pub(crate) depth: Option<usize>,
    pub(crate) max_write: Option<u32>,
    pub(crate) max_readahead: Option<u32>,
    pub(crate) memory: Option<usize>,
}

/// The layout of a session.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Queues of the ring: one a possible CPU.
    pub(crate) queues: usize,
    /// Threads that serve them.
    pub(crate) workers: usize,
    /// Entries a queue; on the device, requests a worker serves at once to begin with.
    pub(crate) depth: usize,
    /// On the device, requests a worker serves at once at most.
    pub(crate) most: usize,
    /// Bytes a write carries at most.
    pub(crate) max_write: u32,
    /// Bytes that are read ahead at most, if not as many as the filesystem or a write takes.
    pub(crate) max_readahead: Option<u32>,
    /// Pages a request carries at most.
    pub(crate) max_pages: u16,
    /// The layout of an entry.
    pub(crate) layout: Layout,
    /// Which CPU each worker is bound to, if any.
    pub(crate) cpus: Vec<Option<usize>>,
}

impl Plan {
    /// Works out a layout for this machine.
    pub(crate) fn new(wanted: Wanted) -> Result<Self, Error> {
        for (value, what) in [(wanted.workers, "workers"), (wanted.depth, "entries a queue")] {
            if value == Some(0) {
                return Err(Error::new(ErrorKind::Options, format!("zero {what} can serve nothing")));
            }
        }
        let queues = possible_cpus().map_err(|error| {
            Error::new(ErrorKind::Io, "cannot count the CPUs of this machine").because(error)
        })?;
        let plan = Self::for_machine(queues, max_pages_limit(), &allowed_cpus(), wanted);
        match wanted.memory {
            Some(budget) if plan.memory() > budget => {
                let what = format!("{budget} bytes are too little memory for {queues} queues");
                let least = format!("they need {} at least", plan.memory());
                Err(Error::new(ErrorKind::Options, what).remedy(least))
            }
            _ => Ok(plan),
        }
    }

    fn for_machine(queues: usize, pages_limit: usize, allowed: &[usize], wanted: Wanted) -> Self {
        let workers = wanted.workers.unwrap_or(queues).clamp(1, queues);
        let pages_limit = pages_limit.clamp(1, usize::from(u16::MAX));
        let write = wanted.max_write.unwrap_or(DEFAULT_MAX_WRITE).max(page_size() as u32) as usize;
        let mut pages = write.div_ceil(page_size()).max(MIN_PAGES).min(pages_limit);
        let mut depth = wanted.depth.unwrap_or(DEFAULT_DEPTH).clamp(1, MAX_DEPTH);
        let mut most = MAX_DEPTH;
        // What the kernel takes as the payload's size: it must have that much, whatever the write size.
        let layout = |pages: usize| Layout::for_payload((pages * page_size()).max(8192));
        if let Some(budget) = wanted.memory {
            let fitting = |pages: usize| budget / (queues * layout(pages).stride());
            while fitting(pages) < depth.min(FEW) && pages > MIN_PAGES {
                pages = (pages / 2).max(MIN_PAGES);
            }
            depth = depth.min(fitting(pages)).max(1);
            most = (budget / (workers * layout(pages).stride())).max(depth);
        }
        // With a thread a queue each serves its own CPU's programs, and a wake-up stays on the core. With fewer, the
        // scheduler knows better.
        let cpus = (0..workers)
            .map(|worker| (workers == queues && allowed.contains(&worker)).then_some(worker))
            .collect();
        Self {
            queues,
            workers,
            depth,
            most,
            max_write: write.min(pages * page_size()) as u32,
            max_readahead: wanted.max_readahead,
            max_pages: pages as u16,
            layout: layout(pages),
            cpus,
        }
    }

    /// The queues that a worker serves: every `workers`-th.
    pub(crate) fn queues_of(&self, worker: usize) -> impl Iterator<Item = u16> + use<> {
        (worker..self.queues).step_by(self.workers).map(|queue| queue as u16)
    }

    /// All entries of the ring.
    pub(crate) fn entries(&self) -> usize {
        self.queues * self.depth
    }

    /// How many requests without a waiting program may be in flight: never fewer than there are entries for.
    pub(crate) fn max_background(&self) -> u16 {
        (2 * self.entries()).clamp(64, usize::from(u16::MAX)) as u16
    }

    /// The most memory that entries can come to take, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.entries() * self.layout.stride()
    }
}

/// How many CPUs the kernel may ever have, present or not: that many queues it waits for.
fn possible_cpus() -> io::Result<usize> {
    let list = fs::read_to_string("/sys/devices/system/cpu/possible")?;
    count_cpus(list.trim()).ok_or_else(|| io::Error::other("/sys/devices/system/cpu/possible does not parse"))
}

/// Counts a list such as `0-3,8`.
fn count_cpus(list: &str) -> Option<usize> {
    list.split(',').try_fold(0, |sum, part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        Some(sum + last.checked_sub(first)? + 1)
    })
}

/// The CPUs this process may run on.
fn allowed_cpus() -> Vec<usize> {
    match sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect(),
        Err(_) => Vec::new(),
    }
}

/// The kernel's limit of pages a request. It is fixed per mount when that is made.
fn max_pages_limit() -> usize {
    fs::read_to_string("/proc/sys/fs/fuse/max_pages_limit")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(256)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(queues: usize, workers: Option<usize>, max_write: Option<u32>) -> Plan {
        Plan::for_machine(queues, 256, &[0, 1], Wanted { workers, max_write, ..Wanted::default() })
    }

    #[test]
    fn cpu_lists() {
        assert_eq!(count_cpus("0"), Some(1));
        assert_eq!(count_cpus("0-3,8,10-11"), Some(7));
        assert_eq!(count_cpus("3-0"), None);
        assert_eq!(count_cpus(""), None);
    }

    #[test]
    fn every_queue_has_exactly_one_worker() {
        for workers in 1..=5 {
            let plan = plan(5, Some(workers), None);
            let mut served: Vec<u16> = (0..workers).flat_map(|worker| plan.queues_of(worker)).collect();
            served.sort_unstable();
            assert_eq!(served, [0, 1, 2, 3, 4]);
        }
    }

    #[test]
    fn the_payload_has_what_the_kernel_computes() {
        for (write, pages, payload) in [
            (None, 256, 1 << 20),
            (Some(4096), 32, 131_072),
            (Some(1 << 24), 256, 1 << 20),
            (Some(1), 32, 131_072),
        ] {
            let plan = plan(2, None, write);
            assert_eq!((plan.max_pages, plan.layout.payload()), (pages, payload), "{write:?}");
            assert!(plan.max_write as usize <= payload);
        }
    }

    #[test]
    fn a_memory_budget_is_kept_to() {
        const MIB: usize = 1 << 20;
        for (budget, queues, depth, payload) in [
            (64 * MIB, 2, 16, MIB),
            (20 * MIB, 2, 9, MIB),
            (8 * MIB, 2, 7, MIB / 2),
            (MIB, 2, 3, MIB / 8),
            (64 * MIB, 256, 1, MIB / 8),
        ] {
            let wanted = Wanted { memory: Some(budget), ..Wanted::default() };
            let plan = Plan::for_machine(queues, 256, &[], wanted);
            assert_eq!((plan.depth, plan.layout.payload()), (depth, payload), "{budget}");
            assert!(plan.memory() <= budget && plan.max_write as usize <= payload, "{budget}");
            assert!(plan.workers * plan.most * plan.layout.stride() <= budget, "{budget}");
        }
        let error = Plan::new(Wanted { memory: Some(1000), ..Wanted::default() }).unwrap_err();
        assert!(error.to_string().contains("at least"), "{error}");
    }

    #[test]
    fn workers_are_bound_only_one_a_queue_and_where_they_may_run() {
        assert_eq!(plan(3, None, None).cpus, [Some(0), Some(1), None]);
        assert_eq!(plan(3, Some(2), None).cpus, [None, None]);
    }
}
