//! Running other programs, and the tests above all.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::machine;

/// What a task ends with: nothing, or what to tell the person who ran it.
pub(crate) type Done<T = ()> = Result<T, String>;

/// The root of the workspace.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// Where this workspace's builds go.
pub(crate) fn target() -> PathBuf {
    // The program itself lies there, in a profile's folder.
    let program = std::env::current_exe().expect("a program knows its path");
    program.ancestors().nth(2).expect("within the target directory").to_owned()
}

/// The cargo that runs this task.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace());
    cargo
}

/// Runs a command to its end, with its output where ours goes.
pub(crate) fn run(command: &mut Command) -> Done {
    let shown = show(command);
    let status = command.status().map_err(|error| format!("cannot start `{shown}`: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{shown}` failed: {status}")) }
}

/// A command as one would type it.
pub(crate) fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Runs the tests.
pub(crate) fn tests(unit: bool, filter: Option<&str>) -> Done {
    if unit {
        return run(cargo().args(["test", "--workspace", "--exclude", "ringfuse-e2e"]).args(filter));
    }
    machine::require_root("the tests mount filesystems; `cargo xtask test --unit` runs those that do not")?;
    machine::set_up()?;
    // The programs that tests start.
    run(cargo().args(["build", "--workspace"]))?;
    run(cargo().args(["test", "--workspace"]).args(filter))?;
    if filter.is_some() {
        return Ok(());
    }
    mounts()?;
    // Real programs and suites of others on `ringfuse mem`, compared with tmpfs, over both transports.
    for suites in [&["posix", "pjdfstest", "fsx", "fio", "apps"][..], &["posix", "--workers", "1"]] {
        // By cargo: the build of the workspace may have put another program in this one's place.
        run(cargo().args(["xtask", "conformance", "--fs", "mem"]).args(suites))?;
    }
    // A choice of the same on `ringfuse mirror`: two minutes.
    run(cargo()
        .args(["xtask", "conformance", "--fs", "mirror", "--native", "tmpfs", "--quick"])
        .args(["posix", "pjdfstest", "fsx/1-4", "apps/git-clone", "apps/sqlite-wal", "apps/rsync-copy"])
        .arg("apps/known-inodes"))
}

/// Runs the tests of mounting and unmounting alone: in a mount namespace of their own, with a device node that ordinary
/// users may open, since some of them are made by one.
fn mounts() -> Done {
    let listed = cargo()
        .args(["test", "--package", "ringfuse", "--lib", "--no-run", "--message-format=json"])
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot start cargo: {error}"))?;
    let program = String::from_utf8_lossy(&listed.stdout)
        .lines()
        .filter_map(|line| {
            line.split_once("\"executable\":\"")?.1.split_once('"').map(|(path, _)| path.to_owned())
        })
        .next_back()
        .ok_or("cargo did not say where the tests' program is")?;
    // Ordinary users may not be able to reach the build directory.
    let folder = std::env::temp_dir().join(format!("ringfuse-mounts-{}", std::process::id()));
    let script = r#"
        set -eu
        mkdir -m 755 "$1"
        trap 'umount -q /dev/fuse || :; rm -rf -- "$1"' EXIT
        install -m 755 "$2" "$1/tests"
        mknod -m 666 "$1/fuse" c 10 229
        mount --bind "$1/fuse" /dev/fuse
        timeout --kill-after=10 300 "$1/tests" --ignored live_tests
    "#;
    run(Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "mounts"])
        .arg(folder)
        .arg(program))
}

/// Lets a signal end this program, the first process of a namespace: those without a handler do not reach it.
pub(crate) fn end_on_signals() -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            eprintln!("\nxtask: interrupted; what was mounted and started goes");
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}
