//! Clients in a closed loop, and what they and the server did meanwhile.

use std::io;
use std::path::PathBuf;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use hdrhistogram::Histogram;
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use crate::proc::{Cpus, Process};
use crate::tell;
use crate::work::{Kind, Work, client};

#[derive(Args)]
pub(crate) struct Options {
    /// What to do.
    kind: Kind,
    /// Where the bench tree is.
    root: PathBuf,
    /// How many clients do it at once, a thread each.
    #[arg(long, default_value_t = 1)]
    clients: usize,
    /// How long to measure.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// How long to run before that.
    #[arg(long, default_value_t = 0.15)]
    warmup: f64,
    /// Bind all clients to this CPU.
    #[arg(long)]
    cpu: Option<usize>,
    /// The process that serves the tree: tells what it used, too.
    #[arg(long)]
    server: Option<u32>,
}

/// What the clients are to do, in this order.
const WARM_UP: u8 = 0;
const MEASURE: u8 = 1;
const STOP: u8 = 2;

/// What one client saw.
struct Seen {
    /// Time of each step, in ns.
    times: Histogram<u64>,
    ops: u64,
    bytes: u64,
    took: Duration,
    cpu: Duration,
}

/// A histogram of times in ns, up to a minute.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are valid")
}

pub(crate) fn bind(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

/// What the whole machine and the server did up to now.
struct Moment {
    at: Instant,
    cpus: Cpus,
    server: Option<Process>,
}

impl Moment {
    fn now(server: Option<u32>) -> io::Result<Self> {
        let server = server.map(Process::read).transpose()?;
        Ok(Self { at: Instant::now(), cpus: Cpus::read()?, server })
    }
}

pub(crate) fn run(options: &Options) -> io::Result<()> {
    let phase = AtomicU8::new(WARM_UP);
    let ready = Barrier::new(options.clients + 1);
    let (before, after, seen) = thread::scope(|scope| {
        let clients: Vec<_> = (0..options.clients)
            .map(|number| {
                let (phase, ready) = (&phase, &ready);
                scope.spawn(move || {
                    let work = options
                        .cpu
                        .map_or(Ok(()), bind)
                        .and_then(|()| client(options.kind, &options.root, number, options.clients));
                    ready.wait();
                    serve_phases(work?, phase)
                })
            })
            .collect();
        ready.wait();
        thread::sleep(Duration::from_secs_f64(options.warmup));
        let before = Moment::now(options.server)?;
        phase.store(MEASURE, Ordering::Relaxed);
        thread::sleep(Duration::from_secs_f64(options.seconds));
        phase.store(STOP, Ordering::Relaxed);
        let seen: io::Result<Vec<Seen>> =
            clients.into_iter().map(|client| client.join().expect("a client panicked")).collect();
        Ok::<_, io::Error>((before, Moment::now(options.server)?, seen?))
    })?;
    report(&before, &after, &seen)
}

fn serve_phases(mut work: Work, phase: &AtomicU8) -> io::Result<Seen> {
    while phase.load(Ordering::Relaxed) == WARM_UP {
        work()?;
    }
    let mut seen = Seen { times: histogram(), ops: 0, bytes: 0, took: Duration::ZERO, cpu: Duration::ZERO };
    let cpu = thread_time();
    let start = Instant::now();
    let mut last = start;
    while phase.load(Ordering::Relaxed) == MEASURE {
        let step = work()?;
        let now = Instant::now();
        seen.times.saturating_record((now - last).as_nanos() as u64);
        seen.ops += step.ops;
        seen.bytes += step.bytes as u64;
        last = now;
    }
    seen.took = last - start;
    seen.cpu = thread_time() - cpu;
    Ok(seen)
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn report(before: &Moment, after: &Moment, seen: &[Seen]) -> io::Result<()> {
    let mut times = histogram();
    let mut cpu = Duration::ZERO;
    let (mut ops, mut rate, mut mib_rate) = (0, 0.0, 0.0);
    for one in seen {
        times.add(&one.times).map_err(io::Error::other)?;
        cpu += one.cpu;
        ops += one.ops;
        // Each by its own time: a client may end late.
        let took = one.took.as_secs_f64();
        if took > 0.0 {
            rate += one.ops as f64 / took;
            mib_rate += one.bytes as f64 / took / f64::from(1 << 20);
        }
    }
    if ops == 0 {
        return Err(io::Error::other("no operation was finished in time"));
    }
    let per_op = |value: u64| value as f64 / ops as f64;
    tell("ops_s", rate);
    tell("mib_s", mib_rate);
    for (name, quantile) in [("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999)] {
        tell(name, times.value_at_quantile(quantile) as f64 / 1e3);
    }
    tell("client_cpu_us", cpu.as_secs_f64() * 1e6 / ops as f64);
    let mut ours = cpu;
    if let (Some(before), Some(after)) = (&before.server, &after.server) {
        let used = after.cpu.saturating_sub(before.cpu);
        tell("server_cpu_us", used.as_secs_f64() * 1e6 / ops as f64);
        tell("server_reads", per_op(after.reads.saturating_sub(before.reads)));
        tell("server_completions", per_op(after.completions_since(before)));
        tell("server_switches", per_op(after.switches.saturating_sub(before.switches)));
        ours += used;
    }
    let wall = (after.at - before.at).as_secs_f64();
    let all = after.cpus.busy.saturating_sub(before.cpus.busy).as_secs_f64();
    let capacity = wall * Cpus::count() as f64;
    tell("others_cpu_share", ((all - ours.as_secs_f64()) / capacity).max(0.0));
    let stolen = after.cpus.stolen.saturating_sub(before.cpus.stolen).as_secs_f64();
    tell("stolen_share", stolen / capacity);
    Ok(())
}
