//! The bench tree, seen from outside: is it there, is it right, and how to lay it out elsewhere.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

const MIB: usize = 1 << 20;
const FILES: usize = 10_000;

/// Size of `/null` where it takes space, in MiB.
const LAID: usize = 256;

fn byte(offset: u64) -> u8 {
    (offset % 4096 * 31 % 251) as u8
}

fn expect(holds: bool, what: &str) -> io::Result<()> {
    if holds { Ok(()) } else { Err(io::Error::other(format!("this is not the bench tree: {what}"))) }
}

/// Waits without end; whoever started this has a limit.
pub(crate) fn wait(root: &Path) -> io::Result<()> {
    let pause = || thread::sleep(Duration::from_micros(200));
    // By the mount table: before it is mounted, a stat would see the directory below.
    let mounted = || -> io::Result<bool> {
        let table = fs::read("/proc/self/mountinfo")?;
        let mut lines = table.split(|byte| *byte == b'\n');
        Ok(lines.any(|line| line.split(|byte| *byte == b' ').nth(4) == Some(root.as_os_str().as_bytes())))
    };
    while !mounted()? {
        pause();
    }
    while fs::metadata(root).is_err() {
        pause();
    }
    Ok(())
}

pub(crate) fn verify(root: &Path) -> io::Result<()> {
    let null = File::options().read(true).write(true).open(root.join("null"))?;
    for (offset, len) in [(0, 1), (4095, 2), (5000, 4096), (MIB as u64, MIB), (100 << 20, 3 * MIB / 2)] {
        let mut bytes = vec![0; len];
        null.read_exact_at(&mut bytes, offset)?;
        let right = (offset..).zip(&bytes).all(|(offset, found)| *found == byte(offset));
        expect(right, "/null has other bytes")?;
        null.write_all_at(&bytes, offset)?;
    }

    let mut names = BTreeSet::new();
    for entry in fs::read_dir(root.join("tree"))? {
        let entry = entry?;
        expect(entry.metadata()?.len() == 0, "a file of /tree is not empty")?;
        names.insert(entry.file_name().into_string().unwrap_or_default());
    }
    let wanted: BTreeSet<_> = (0..FILES).map(|number| format!("f{number:05}")).collect();
    expect(names == wanted, "/tree has other names")?;

    let scratch = root.join("scratch");
    let (folder, file) = (scratch.join("folder"), scratch.join("file"));
    fs::create_dir(&folder)?;
    fs::write(&file, "text")?;
    fs::rename(&file, folder.join("moved"))?;
    expect(fs::read(folder.join("moved"))? == b"text", "a file in /scratch lost its bytes")?;
    expect(fs::read_dir(&folder)?.count() == 1, "a directory in /scratch lists something else")?;
    expect(fs::remove_dir(&folder).is_err(), "a directory that is not empty was removed")?;
    fs::remove_file(folder.join("moved"))?;
    fs::remove_dir(&folder)?;
    expect(!folder.exists(), "a directory is still there after it was removed")
}

pub(crate) fn lay(root: &Path) -> io::Result<()> {
    fs::create_dir(root.join("scratch"))?;
    fs::create_dir(root.join("tree"))?;
    for number in 0..FILES {
        File::create(root.join("tree").join(format!("f{number:05}")))?;
    }
    let block: Vec<u8> = (0..MIB as u64).map(byte).collect();
    let mut null = File::create(root.join("null"))?;
    (0..LAID).try_for_each(|_| null.write_all(&block))
}
