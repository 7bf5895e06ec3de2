//! Running programs: execve(2).

use crate::posix::base::*;
use std::process::{Child, Command, Stdio};

cases! { "exec":
    runs [EXEC] "a program copied to the filesystem runs (execve(2))";
    script [EXEC] "a script runs by its interpreter, and gets its arguments (execve(2))";
    needs_bit [EXEC] "a program without any x bit fails with EACCES (execve(2))";
    busy [EXEC] "a running program cannot be opened for writing: ETXTBSY (open(2))";
    open_for_writing [EXEC] "a program that is open for writing does not run: ETXTBSY (execve(2))";
    unlinked [EXEC] "a program can be removed and replaced while it runs (unlink(2))";
    not_a_program [EXEC] "directories fail with EACCES, other content with ENOEXEC (execve(2))";
}

/// Copies a small program here.
fn program(d: &Path, name: &str) -> Result<PathBuf, Failure> {
    if rfs::statvfs(d)?.f_flag.contains(rfs::StatVfsMountFlags::NOEXEC) {
        skip!("mounted with noexec");
    }
    let Some(source) =
        ["/bin", "/usr/bin"].map(|dir| Path::new(dir).join(name)).into_iter().find(|p| p.exists())
    else {
        skip!("there is no program {name}");
    };
    let path = d.join("program");
    drop(file(&path, read(source)?)?);
    chmod(&path, 0o755)?;
    Ok(path)
}

/// Another thread that forks holds a copy of the descriptor the program was written by until it
/// executes; ETXTBSY is tried again.
fn spawn(path: &Path, args: &[&str]) -> io::Result<Child> {
    let start = || Command::new(path).args(args).stdout(Stdio::piped()).spawn();
    for _ in 0..50 {
        match start() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => tick(),
            result => return result,
        }
    }
    start()
}

fn runs(d: &Path) -> Outcome {
    let path = program(d, "true")?;
    let status = spawn(&path, &[])?.wait()?;
    ensure!(status.success(), "the program ended with {status}");
    Ok(())
}

fn script(d: &Path) -> Outcome {
    drop(program(d, "sh")?);
    let path = d.join("script");
    drop(file(&path, "#!/bin/sh\necho \"$0 $1\"\n")?);
    chmod(&path, 0o755)?;
    let output = spawn(&path, &["argument"])?.wait_with_output()?;
    ensure!(output.status.success(), "the script ended with {}", output.status);
    ensure_eq!(String::from_utf8_lossy(&output.stdout), format!("{} argument\n", path.display()));
    Ok(())
}

fn needs_bit(d: &Path) -> Outcome {
    let path = program(d, "true")?;
    chmod(&path, 0o644)?;
    expect_errno!(spawn(&path, &[]), ACCESS);
    Ok(())
}

/// Runs `body` while the program sleeps.
fn while_running(path: &Path, body: impl FnOnce() -> Outcome) -> Outcome {
    let mut child = spawn(path, &["30"])?;
    let outcome = body();
    child.kill()?;
    child.wait()?;
    outcome
}

fn busy(d: &Path) -> Outcome {
    let path = program(d, "sleep")?;
    while_running(&path, || {
        if open(&path, WR).is_ok() {
            skip!("the kernel lets running programs be written (as 6.11 and 6.12 do)");
        }
        expect_errno!(open(&path, WR), TXTBSY);
        expect_errno!(sys::truncate(&path, 0), TXTBSY);
        Ok(())
    })?;
    opens(&path, WR)
}

fn open_for_writing(d: &Path) -> Outcome {
    let path = program(d, "true")?;
    let writer = open(&path, WR)?;
    let started = Command::new(&path).spawn();
    drop(writer);
    if let Ok(mut child) = started {
        child.wait()?;
        skip!("the kernel runs programs that are open for writing (as 6.11 and 6.12 do)");
    }
    expect_errno!(started, TXTBSY);
    ensure!(spawn(&path, &[])?.wait()?.success(), "the program failed");
    Ok(())
}

fn unlinked(d: &Path) -> Outcome {
    let path = program(d, "sleep")?;
    while_running(&path, || {
        unlink(&path)?;
        file(&path, "replaced")?;
        same(&read(&path)?, b"replaced")
    })
}

fn not_a_program(d: &Path) -> Outcome {
    drop(program(d, "true")?);
    let path = d.join("text");
    drop(file(&path, [0xff; 100])?);
    chmod(&path, 0o755)?;
    expect_errno!(spawn(&path, &[]), NOEXEC);
    expect_errno!(spawn(d, &[]), ACCESS);
    Ok(())
}
