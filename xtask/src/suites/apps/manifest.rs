//! What a tree of files holds, to be compared with another.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, Metadata};
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::super::case::{Outcome, check};

/// What is compared beside names, types, permissions, owners, contents, links and extended attributes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Times {
    Compared,
    Ignored,
}

/// Fails unless two trees hold the same, but for the names in `except` at their top.
pub(super) fn same(expected: &Path, got: &Path, times: Times, except: &[&str]) -> Outcome {
    let (expected, got) = (manifest(expected, times, except)?, manifest(got, times, except)?);
    println!("comparing {} entries with {}", expected.len(), got.len());
    let mut differences = Vec::new();
    for (path, entry) in &expected {
        match got.get(path) {
            Some(other) if other == entry => {}
            Some(other) => differences.push(format!("{path:?}: {other}\n  instead of {entry}")),
            None => differences.push(format!("{path:?} is missing")),
        }
    }
    let more = got.keys().filter(|path| !expected.contains_key(*path));
    differences.extend(more.map(|path| format!("{path:?} should not be there")));
    differences.iter().for_each(|difference| println!("{difference}"));
    check(differences.is_empty(), || {
        format!("{} entries differ, such as {}", differences.len(), differences[0])
    })
}

/// Path and description of each entry below a folder.
fn manifest(root: &Path, times: Times, except: &[&str]) -> Outcome<BTreeMap<PathBuf, String>> {
    let mut entries = BTreeMap::new();
    // Which files are one, whatever their inodes' numbers.
    let mut firsts: HashMap<u64, PathBuf> = HashMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let listed = fs::read_dir(root.join(&folder))?;
        let mut names = listed.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
        names.sort_unstable();
        for name in names {
            if folder.as_os_str().is_empty() && except.iter().any(|other| name == *other) {
                continue;
            }
            let path = folder.join(name);
            let full = root.join(&path);
            let meta = full.symlink_metadata()?;
            let mut entry =
                describe(&full, &meta, times).map_err(|error| format!("{}: {error}", full.display()))?;
            if meta.is_dir() {
                folders.push(path.clone());
            } else if meta.nlink() > 1 {
                // The order of paths is the same in both trees, as names are sorted.
                let first = firsts.entry(meta.ino()).or_insert_with(|| path.clone());
                entry = format!("{entry} {} links, as {first:?}", meta.nlink());
            }
            entries.insert(path, entry);
        }
    }
    Ok(entries)
}

fn describe(path: &Path, meta: &Metadata, times: Times) -> io::Result<String> {
    let kind = meta.file_type();
    let content = if kind.is_file() {
        format!("{} bytes, hash {:016x}", meta.len(), hash(path)?)
    } else if kind.is_symlink() {
        format!("-> {:?}", fs::read_link(path)?)
    } else if kind.is_block_device() || kind.is_char_device() {
        format!("device {:x}", meta.rdev())
    } else {
        String::new()
    };
    let time = match times {
        Times::Compared => format!(" {}.{:09}", meta.mtime(), meta.mtime_nsec()),
        Times::Ignored => String::new(),
    };
    let attributes = attributes(path)?;
    Ok(format!("{:o} {}:{}{time} {content} {attributes}", meta.mode(), meta.uid(), meta.gid())
        .trim_end()
        .to_owned())
}

fn hash(path: &Path) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let mut hasher = DefaultHasher::new();
    let mut chunk = vec![0; 128 << 10];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hasher.finish()),
            // The hash of bytes does not depend on how they are cut.
            len => hasher.write(&chunk[..len]),
        }
    }
}

/// Names and values of the extended attributes, access lists among them.
fn attributes(path: &Path) -> io::Result<String> {
    let mut names = vec![0; 64 << 10];
    let len = match rustix::fs::llistxattr(path, &mut names[..]) {
        // There are none where they are not supported.
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    let mut found = Vec::new();
    for name in names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 64 << 10];
        let len = rustix::fs::lgetxattr(path, name, &mut value[..])?;
        found.push(format!("{}={:?}", String::from_utf8_lossy(name), String::from_utf8_lossy(&value[..len])));
    }
    found.sort_unstable();
    Ok(found.join(" "))
}
