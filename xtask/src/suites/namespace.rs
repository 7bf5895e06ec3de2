//! The namespaces that a run lives in.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, wait, waitpid};

use crate::mounts::leave_mounts_of_others;
use crate::run::{Done, end_on_signals};

/// Replaces this program by itself in namespaces of its own. It returns what went wrong.
pub(super) fn enter() -> String {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return format!("cannot tell the path of this program: {error}"),
    };
    let mut args: Vec<_> = std::env::args_os().skip(1).collect();
    // After the command: the options for the filesystem under test must stay the last.
    args.insert(1, "--inside".into());
    let error = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--ipc"])
        .args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        .arg(program)
        .args(args)
        .exec();
    format!("cannot start unshare: {error}; it is in Debian's package util-linux")
}

/// Goes on in a second process. The first one of a namespace inherits all orphans, and must wait for them; when it ends,
/// for whatever reason, the kernel ends all others, and the mounts go.
pub(super) fn settle() -> Done {
    if getpid() == Pid::INIT {
        let status = be_the_first().map_err(|error| format!("cannot start this program again: {error}"))?;
        std::process::exit(status);
    }
    // Ending all other processes, as is done below, is for a namespace of our own only.
    if std::fs::read_link("/proc/1/exe").ok() != std::fs::read_link("/proc/self/exe").ok() {
        return Err("--inside is for the program itself".to_owned());
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    Ok(())
}

fn be_the_first() -> std::io::Result<i32> {
    leave_mounts_of_others()?;
    end_on_signals()?;
    let second = Command::new("/proc/self/exe").args(std::env::args_os().skip(1)).spawn()?.id();
    loop {
        if let Some((pid, status)) = wait(WaitOptions::empty())?
            && pid.as_raw_nonzero().get() as u32 == second
        {
            return Ok(status.exit_status().unwrap_or(1));
        }
    }
}

/// Ends all processes of the namespace but this one, the first one and `kept`, and waits for their end. False if one is
/// stuck in the kernel.
pub(super) fn sweep(kept: Option<u32>) -> bool {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let left = others(kept);
        if left.is_empty() || Instant::now() > deadline {
            return left.is_empty();
        }
        for pid in left {
            let _ = kill_process(pid, Signal::KILL);
            // Those that are children of this one, and were given up.
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn others(kept: Option<u32>) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| Pid::from_raw(entry.ok()?.file_name().to_str()?.parse().ok()?));
    let kept = kept.and_then(|id| Pid::from_raw(id as i32));
    pids.filter(|pid| ![Some(Pid::INIT), Some(getpid()), kept].contains(&Some(*pid))).collect()
}
