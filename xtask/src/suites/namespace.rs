//! The namespaces that a run lives in.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::run::Done;

/// Replaces this program by itself in namespaces of its own. It is the first process there; when it ends, the kernel
/// ends all others, and then the mounts go. It returns what went wrong.
pub(super) fn enter() -> String {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return format!("cannot tell the path of this program: {error}"),
    };
    // The options after `--` must stay the last.
    let mut args: Vec<_> = std::env::args_os().skip(1).collect();
    args.insert(1, "--inside".into());
    let error = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg("--")
        .arg(program)
        .args(args)
        .exec();
    format!("cannot start unshare: {error}; it is in Debian's package util-linux")
}

/// Makes this process fit to be the first of its namespace.
pub(super) fn settle() -> Done {
    // Ending all other processes, as is done below, is for a namespace of our own only.
    if getpid() != Pid::INIT {
        return Err("--inside is for the program itself".to_owned());
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // Signals without a handler do not reach the first process of a namespace.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(|error| error.to_string())?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            eprintln!("\nxtask: interrupted; what was mounted and started goes");
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

/// Ends all processes of the namespace but this one and `kept`, and waits for their end. False if one is stuck in the
/// kernel.
pub(super) fn sweep(kept: Option<u32>) -> bool {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let mut left = false;
        for pid in others(kept) {
            let _ = kill_process(pid, Signal::KILL);
            // Orphans become children of the first process.
            left |= !matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(Some(_)));
        }
        if !left || Instant::now() > deadline {
            return !left;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn others(kept: Option<u32>) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    ids.filter(|id| *id > 1 && kept != Some(*id as u32)).filter_map(Pid::from_raw).collect()
}
