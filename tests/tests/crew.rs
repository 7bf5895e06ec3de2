//! Workers, entries and memory as there is need of them, on real mounts over the ring.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use ringfuse_e2e::{Probe, stay_on, workers};
use ringfuse_kit::harness::{PATIENCE, Setup, mount, mount_with};
use ringfuse_kit::program::{Program, built};

/// More than the entries that a queue starts with, and as many as it may have.
const DEPTH: u16 = 16;

/// Waits until something holds.
fn soon(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Reads a file on one CPU; the request goes by that CPU's queue.
fn read_on(cpu: usize, file: &Path) -> std::io::Result<Vec<u8>> {
    stay_on(cpu);
    fs::read(file)
}

#[test]
fn a_queue_grows_while_all_its_entries_wait() {
    for setup in [Setup::RING, Setup::RING_ONE] {
        let probe = Probe::default();
        let seen = probe.seen.clone();
        let mounted = mount_with(probe, setup, |mount| mount.depth(DEPTH.into()));
        // All of them together, so that most wait in the kernel before there is an entry for them.
        let mut waiting: Vec<_> = (0..DEPTH - 1)
            .map(|_| {
                let mut cat = Command::new("taskset");
                cat.args(["-c", "0", "cat"]).arg(mounted.path().join(Probe::PATIENT));
                cat.spawn().unwrap()
            })
            .collect();
        soon("all of them wait", || seen.get(|s| &s.waiting) == u64::from(DEPTH) - 1);
        // One entry is left.
        for number in 0..20 {
            let name = format!("n{number}");
            let text = mounted.step(move |path| read_on(0, &path.join(name)));
            assert_eq!(text.unwrap(), Probe::TEXT);
        }
        for child in &mut waiting {
            child.kill().unwrap();
        }
        for child in &mut waiting {
            child.wait().unwrap();
        }
        assert_eq!(seen.wait_for(|s| &s.interrupted, u64::from(DEPTH) - 1), u64::from(DEPTH) - 1, "{setup}");
        mounted.finish();
    }
}

#[test]
fn a_worker_starts_with_its_first_request() {
    let cpus = thread::available_parallelism().unwrap().get();
    let program = Program::start(|path| {
        let mut command = Command::new(built("hello"));
        command.arg(path);
        command
    });
    assert_eq!(workers(program.id()).len(), 1);
    for cpu in (0..cpus).rev() {
        let file = program.path().join("hello");
        let text = thread::spawn(move || read_on(cpu, &file)).join().unwrap();
        assert_eq!(text.unwrap(), b"Hello, ring!\n");
    }
    assert_eq!(workers(program.id()).len(), cpus);
    program.finish();
}

#[test]
fn memory_of_large_requests_is_given_back() {
    const MIB: usize = 1 << 20;
    let program = Program::start(|path| {
        let mut command = Command::new(built("benchfs"));
        command.arg(path).args(["--direct", "--ttl", "0"]);
        command
    });
    let file = program.path().join("null");
    let idle = program.resident();
    let readers: Vec<_> = (0..16)
        .map(|_| {
            let file = file.clone();
            thread::spawn(move || {
                let file = File::options().read(true).custom_flags(libc::O_DIRECT).open(file).unwrap();
                let mut data = vec![0; MIB];
                for round in 0..20 {
                    file.read_exact_at(&mut data, round * MIB as u64).unwrap();
                }
            })
        })
        .collect();
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    let loaded = program.resident();
    thread::sleep(Duration::from_secs(3));
    let quiet = program.resident();
    let mib = |bytes: usize| bytes as f64 / MIB as f64;
    println!(
        "resident: {:.1} MiB at first, {:.1} MiB under load, {:.1} MiB after it",
        mib(idle),
        mib(loaded),
        mib(quiet)
    );
    assert!(loaded > idle + 2 * MIB, "the load has left no trace: {loaded}");
    assert!(quiet < 16 * MIB, "{quiet} bytes");
    // What comes next is served as before.
    let file = File::open(&file).unwrap();
    let mut data = vec![0; MIB];
    file.read_exact_at(&mut data, 0).unwrap();
    assert!(data.iter().enumerate().all(|(at, &byte)| usize::from(byte) == at % 4096 * 31 % 251));
    drop(file);
    program.finish();
}

/// Bytes of a process's memory, by their name in proc(5).
fn bytes_of(process: u32, name: &str) -> usize {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// Bytes of huge pages that a process has.
fn huge_pages(process: u32) -> usize {
    bytes_of(process, "AnonHugePages")
}

#[test]
fn a_stream_of_large_requests_is_on_huge_pages() {
    const MIB: usize = 1 << 20;
    if !Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
        println!("this kernel has no transparent huge pages");
        return;
    }
    let program = Program::start(|path| {
        let mut command = Command::new(built("benchfs"));
        command.arg(path).args(["--direct", "--ttl", "0"]);
        command
    });
    let (file, process) = (program.path().join("null"), program.id());
    assert_eq!(huge_pages(process), 0);
    let idle = bytes_of(process, "Anonymous");
    let reader = thread::spawn(move || {
        stay_on(0);
        let file = File::options().read(true).write(true).custom_flags(libc::O_DIRECT).open(file).unwrap();
        let mut data = vec![0; MIB];
        for round in 0..200 {
            data.fill(0xee);
            file.read_exact_at(&mut data, round * 4096).unwrap();
            assert!(data.iter().enumerate().all(|(at, &byte)| usize::from(byte) == at % 4096 * 31 % 251));
            file.write_all_at(&data, 0).unwrap();
        }
        huge_pages(process)
    });
    assert!(reader.join().unwrap() >= 2 * MIB, "no huge page came of it");
    soon("huge pages are given back", || huge_pages(process) == 0);
    // Not counting the pages of the program's text, which vary with what has run.
    let quiet = bytes_of(process, "Anonymous");
    assert!(quiet < idle + MIB, "{idle} bytes at first, {quiet} when quiet");
    program.finish();
}

#[test]
fn entries_come_and_go_between_workers() {
    // Clients that move about, and requests heavy enough to be shared.
    let mounted = mount(Probe::default(), Setup::RING);
    mounted.step(|path| {
        thread::scope(|scope| {
            for client in 0..12 {
                scope.spawn(move || {
                    for round in 0..60 {
                        stay_on((client + round) % 2);
                        let name = if round % 3 == 0 { Probe::HEAVY } else { "n5" };
                        assert_eq!(fs::read(path.join(name)).unwrap(), Probe::TEXT);
                    }
                });
            }
        });
    });
    mounted.finish();
}

#[test]
fn a_memory_budget_is_kept_to() {
    const MIB: usize = 1 << 20;
    for setup in [Setup::RING, Setup::DEVICE] {
        let mounted = mount_with(Probe::default(), setup, |mount| mount.memory(3 * MIB));
        let info = mounted.session().info();
        assert!(info.buffers <= 3 * MIB && info.max_write < MIB as u32, "{info}");
        // More at once than there is room for, and larger.
        mounted.step(|path| {
            thread::scope(|scope| {
                for client in 0..24 {
                    scope.spawn(move || {
                        assert_eq!(fs::read(path.join(Probe::SLOW)).unwrap(), Probe::TEXT);
                        fs::write(path.join(format!("n{client}")), vec![1; 2 * MIB]).unwrap();
                    });
                }
            });
        });
        mounted.finish();
    }
}
