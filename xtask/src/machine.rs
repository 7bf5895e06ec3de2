//! The machine's set-up.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::run::{Done, run};

const ENABLE_URING: &str = "/sys/module/fuse/parameters/enable_uring";
const CONNECTIONS: &str = "/sys/fs/fuse/connections";

/// What the tests use, by program and Debian package.
const PROGRAMS: [(&str, &str); 11] = [
    ("fusermount3", "fuse3"),
    ("git", "git"),
    ("sqlite3", "sqlite3"),
    ("rsync", "rsync"),
    ("fio", "fio"),
    ("setfattr", "attr"),
    ("setfacl", "acl"),
    ("stress-ng", "stress-ng"),
    ("strace", "strace"),
    ("mkfs.ext4", "e2fsprogs"),
    ("cc", "gcc"),
];

/// Fails without root, saying what for.
pub(crate) fn require_root(why: &str) -> Done {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err(format!("this needs root: {why}")) }
}

/// Installs what is missing, loads the module, and switches FUSE-over-io_uring on.
pub(crate) fn set_up() -> Done {
    require_root("it installs packages, loads a module and changes a kernel parameter")?;
    install()?;
    enable()
}

/// Loads the module and switches FUSE-over-io_uring on.
pub(crate) fn enable() -> Done {
    if !Path::new("/dev/fuse").exists() {
        run(Command::new("modprobe").arg("fuse"))
            .map_err(|error| format!("there is no /dev/fuse, and the module does not load: {error}"))?;
    }
    if !Path::new(ENABLE_URING).exists() {
        return Err(format!(
            "{ENABLE_URING} is missing: this kernel has no FUSE over io_uring (Linux 6.14 has)"
        ));
    }
    fs::write(ENABLE_URING, "Y").map_err(|error| format!("cannot write {ENABLE_URING}: {error}"))?;
    if fs::read_dir(CONNECTIONS).map_or(true, |mut entries| entries.next().is_none()) {
        // Tests abort connections through it. That it is mounted already is no error.
        let _ =
            Command::new("mount").args(["-t", "fusectl", "none", CONNECTIONS]).stderr(Stdio::null()).status();
    }
    Ok(())
}

fn install() -> Done {
    let missing: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| !exists(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    apt_install(&missing)
}

/// Installs Debian packages.
pub(crate) fn apt_install(packages: &[&str]) -> Done {
    println!("installing {}", packages.join(", "));
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").arg("-qq").stdout(Stdio::null());
        apt
    };
    let hint = |error| format!("{error}; install these yourself: {}", packages.join(" "));
    run(apt().arg("update")).map_err(hint)?;
    run(apt().args(["install", "-y", "--no-install-recommends"]).args(packages)).map_err(hint)
}

/// Whether a program is found in `PATH`, or where administrators' programs are.
fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.into_iter().any(|folder| folder.join(program).is_file())
}
