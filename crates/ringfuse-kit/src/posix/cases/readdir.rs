//! Reading directories: getdents64(2).

use crate::posix::base::*;

cases! { "readdir":
    five_thousand [] "5000 entries come complete and none twice (getdents64(2))";
    long_names [] "300 names of 255 bytes come complete (getdents64(2))";
    dots [] "'.' and '..' are there once, with type and inode of what they lead to (getdents64(2))";
    types_and_inodes [SYMLINK] "type and inode of files, directories and links are those of lstat (getdents64(2))";
    types_of_nodes [MKNOD] "type and inode of a FIFO are those of lstat (getdents64(2))";
    small_buffer [] "a buffer for one entry at a time gives all of them (getdents64(2))";
    too_small_buffer [] "a buffer too small for the next entry fails with EINVAL (getdents64(2))";
    seek_to_entry [] "lseek to the offset of an entry goes on after it (seekdir(3))";
    rewind_sees_new [] "after lseek to 0 new entries are there and removed ones are not (rewinddir(3))";
    end_stays_end [] "at the end of a directory every further read gives nothing (getdents64(2))";
    delete_while_reading [] "all of 1500 files are removed when each is removed as it is read (readdir(3))";
    create_while_reading [] "files made while a directory is read hide none and double none (readdir(3))";
    rename_while_reading [] "files that stay are given once while others are renamed (readdir(3))";
    two_readers [] "two descriptors of a directory have offsets of their own (getdents64(2))";
    same_offset_same_entry [] "two passes give the same entries and offsets (telldir(3))";
    not_a_directory [] "getdents64 on a file fails with ENOTDIR (getdents64(2))";
    unlink_not_listed [] "a file that is open but has no name is not listed (unlink(2))";
    after_reopen [] "a directory read before and changed since is listed as it is now (opendir(3))";
    stat_all [] "every listed name can be examined, and has its own inode (getdents64(2))";
    empty [] "a new directory has '.' and '..' and nothing else (getdents64(2))";
}

/// Makes `n` files and gives their names.
fn fill(dir: &Path, n: usize) -> Result<BTreeSet<OsString>, Failure> {
    let mut made = BTreeSet::new();
    for i in 0..n {
        let name = format!("file-{i}");
        drop(touch(dir.join(&name))?);
        made.insert(name.into());
    }
    Ok(made)
}

fn open_dir(dir: &Path) -> Result<File, Errno> {
    open(dir, RD | DIRECTORY)
}

fn plain(entries: &[Dent]) -> Vec<&Dent> {
    entries.iter().filter(|entry| entry.name != "." && entry.name != "..").collect()
}

/// The names among the entries; each may be there only once.
fn names_of(entries: &[Dent]) -> Result<BTreeSet<OsString>, Failure> {
    let mut found = BTreeSet::new();
    for entry in plain(entries) {
        ensure!(found.insert(entry.name.clone()), "{:?} is given twice", entry.name);
    }
    Ok(found)
}

fn five_thousand(d: &Path) -> Outcome {
    let made = fill(d, 5000)?;
    let found = names_of(&dents(&open_dir(d)?, 32 * KIB)?)?;
    ensure_eq!(found.len(), 5000);
    ensure!(found == made, "other names than were made");
    let again = names_of(&dents(&open_dir(d)?, 1000)?)?;
    ensure!(again == made, "other names with a small buffer: {} of 5000", again.len());
    Ok(())
}

fn long_names(d: &Path) -> Outcome {
    let mut made = BTreeSet::new();
    for i in 0..300 {
        let name = OsString::from(format!("{i:0>255}"));
        drop(touch(d.join(&name))?);
        made.insert(name);
    }
    let found = names_of(&dents(&open_dir(d)?, 4096)?)?;
    ensure!(found == made, "{} of 300 names", found.len());
    Ok(())
}

fn dots(d: &Path) -> Outcome {
    mkdir(d.join("dir"))?;
    touch(d.join("dir/f"))?;
    let entries = dents(&open_dir(&d.join("dir"))?, 4096)?;
    for (name, path) in [(".", d.join("dir")), ("..", d.to_owned())] {
        let found: Vec<_> = entries.iter().filter(|entry| entry.name == name).collect();
        ensure_eq!(found.len(), 1, "entries named {name}");
        ensure_eq!(found[0].kind, FileType::Directory);
        ensure_eq!(found[0].ino, ino(path)?, "inode of {name}");
    }
    Ok(())
}

fn check_entries(d: &Path) -> Outcome {
    for entry in plain(&dents(&open_dir(d)?, 4096)?) {
        let meta = st(d.join(&entry.name))?;
        ensure_eq!(entry.ino, meta.ino(), "{:?}", entry.name);
        let kind = FileType::from_raw_mode(meta.mode());
        ensure!(
            entry.kind == kind || entry.kind == FileType::Unknown,
            "{:?} is listed as {:?}, and is {kind:?}",
            entry.name,
            entry.kind
        );
    }
    Ok(())
}

fn types_and_inodes(d: &Path) -> Outcome {
    touch(d.join("file"))?;
    mkdir(d.join("dir"))?;
    symlink("file", d.join("link"))?;
    symlink("nowhere", d.join("dangling"))?;
    check_entries(d)?;
    ensure_eq!(names(d)?.len(), 4);
    Ok(())
}

fn types_of_nodes(d: &Path) -> Outcome {
    mkfifo(d.join("fifo"))?;
    rfs::mknodat(CWD, d.join("socket"), FileType::Socket, mode(0o644), 0)?;
    check_entries(d)
}

fn small_buffer(d: &Path) -> Outcome {
    let made = fill(d, 100)?;
    let found = names_of(&dents(&open_dir(d)?, 48)?)?;
    ensure!(found == made, "{} of 100 names", found.len());
    Ok(())
}

fn too_small_buffer(d: &Path) -> Outcome {
    let name = "n".repeat(200);
    touch(d.join(&name))?;
    let dir = open_dir(d)?;
    expect_errno!(dents(&dir, 100), INVAL);
    let rest = dents(&dir, 400)?;
    ensure!(rest.iter().any(|entry| entry.name == *name), "the entry was lost by the failed call");
    Ok(())
}

fn seek_to_entry(d: &Path) -> Outcome {
    fill(d, 500)?;
    let mut dir = open_dir(d)?;
    let all = dents(&dir, 4096)?;
    for i in [0, 1, 2, 50, 51, 250, 498, 499, 500] {
        dir.seek(SeekFrom::Start(all[i].next))?;
        let rest = dents(&dir, 4096)?;
        ensure!(
            rest == all[i + 1..],
            "after entry {i}: {} entries, expected {}",
            rest.len(),
            all.len() - i - 1
        );
    }
    Ok(())
}

fn rewind_sees_new(d: &Path) -> Outcome {
    fill(d, 50)?;
    let mut dir = open_dir(d)?;
    ensure_eq!(names_of(&dents(&dir, 4096)?)?.len(), 50);
    touch(d.join("new"))?;
    unlink(d.join("file-7"))?;
    dir.seek(SeekFrom::Start(0))?;
    let found = names_of(&dents(&dir, 4096)?)?;
    ensure!(found.contains(OsStr::new("new")), "the new entry is missing");
    ensure!(!found.contains(OsStr::new("file-7")), "the removed entry is there");
    ensure_eq!(found.len(), 50);
    Ok(())
}

fn end_stays_end(d: &Path) -> Outcome {
    fill(d, 20)?;
    let dir = open_dir(d)?;
    ensure_eq!(dents(&dir, 4096)?.len(), 22);
    for _ in 0..3 {
        ensure_eq!(dents(&dir, 4096)?.len(), 0);
    }
    Ok(())
}

/// One call of getdents64 with a buffer of 1000 bytes.
fn some_dents(dir: &File) -> Result<Vec<Dent>, Errno> {
    let mut buf = [MaybeUninit::uninit(); 1000];
    let mut reader = rfs::RawDir::new(dir, &mut buf);
    let mut found = Vec::new();
    while let Some(entry) = reader.next() {
        let entry = entry?;
        found.push(Dent {
            name: OsStr::from_bytes(entry.file_name().to_bytes()).to_owned(),
            ino: entry.ino(),
            kind: entry.file_type(),
            next: entry.next_entry_cookie(),
        });
        if reader.is_buffer_empty() {
            break;
        }
    }
    Ok(found)
}

fn delete_while_reading(d: &Path) -> Outcome {
    fill(d, 1500)?;
    let dir = open_dir(d)?;
    let mut removed = 0;
    loop {
        let entries = some_dents(&dir)?;
        if entries.is_empty() {
            break;
        }
        for entry in plain(&entries) {
            unlink(d.join(&entry.name))?;
            removed += 1;
        }
    }
    ensure_eq!(removed, 1500);
    ensure_eq!(names(d)?.len(), 0);
    Ok(())
}

fn create_while_reading(d: &Path) -> Outcome {
    let made = fill(d, 600)?;
    let dir = open_dir(d)?;
    let mut entries = Vec::new();
    for i in 0.. {
        let some = some_dents(&dir)?;
        if some.is_empty() {
            break;
        }
        entries.extend(some);
        if i < 300 {
            touch(d.join(format!("added-{i}")))?;
        }
    }
    let found = names_of(&entries)?;
    ensure!(made.is_subset(&found), "{} of 600 entries are missing", made.difference(&found).count());
    Ok(())
}

fn rename_while_reading(d: &Path) -> Outcome {
    let made = fill(d, 600)?;
    touch(d.join("wanders-0"))?;
    let dir = open_dir(d)?;
    let mut seen = BTreeMap::new();
    for i in 0.. {
        let some = some_dents(&dir)?;
        if some.is_empty() {
            break;
        }
        for entry in plain(&some) {
            *seen.entry(entry.name.clone()).or_insert(0) += 1;
        }
        if i < 1000 {
            rename(d.join(format!("wanders-{i}")), d.join(format!("wanders-{}", i + 1)))?;
        }
    }
    for name in &made {
        ensure_eq!(seen.get(name).copied().unwrap_or(0), 1, "times {name:?} was given");
    }
    Ok(())
}

fn two_readers(d: &Path) -> Outcome {
    let made = fill(d, 200)?;
    let (a, b) = (open_dir(d)?, open_dir(d)?);
    let (mut from_a, mut from_b) = (Vec::new(), Vec::new());
    loop {
        let (some_a, some_b) = (some_dents(&a)?, some_dents(&b)?);
        if some_a.is_empty() && some_b.is_empty() {
            break;
        }
        from_a.extend(some_a);
        from_b.extend(some_b);
    }
    ensure!(names_of(&from_a)? == made, "the first misses entries");
    ensure!(names_of(&from_b)? == made, "the second misses entries");
    Ok(())
}

fn same_offset_same_entry(d: &Path) -> Outcome {
    fill(d, 300)?;
    let mut dir = open_dir(d)?;
    let first = dents(&dir, 4096)?;
    dir.seek(SeekFrom::Start(0))?;
    let second = dents(&dir, 700)?;
    ensure!(first == second, "the second pass differs");
    let offsets: BTreeSet<_> = first.iter().map(|entry| entry.next).collect();
    ensure_eq!(offsets.len(), first.len(), "different offsets");
    Ok(())
}

fn not_a_directory(d: &Path) -> Outcome {
    expect_errno!(dents(&touch(d.join("f"))?, 4096), NOTDIR);
    Ok(())
}

fn unlink_not_listed(d: &Path) -> Outcome {
    let kept = touch(d.join("f"))?;
    touch(d.join("g"))?;
    unlink(d.join("f"))?;
    ensure_eq!(names(d)?, BTreeSet::from(["g".into()]));
    drop(kept);
    ensure_eq!(names(d)?, BTreeSet::from(["g".into()]));
    Ok(())
}

fn after_reopen(d: &Path) -> Outcome {
    let mut want = BTreeSet::new();
    for i in 0..60 {
        let name = format!("f{i}");
        touch(d.join(&name))?;
        want.insert(OsString::from(name));
        ensure_eq!(names(d)?, want);
        if i % 3 == 2 {
            let gone = format!("f{}", i - 1);
            unlink(d.join(&gone))?;
            want.remove(OsStr::new(&gone));
            ensure_eq!(names(d)?, want);
        }
    }
    Ok(())
}

fn stat_all(d: &Path) -> Outcome {
    fill(d, 400)?;
    let mut inodes = BTreeSet::new();
    for entry in plain(&dents(&open_dir(d)?, 32 * KIB)?) {
        ensure_eq!(ino(d.join(&entry.name))?, entry.ino);
        ensure!(inodes.insert(entry.ino), "inode {} is given twice", entry.ino);
    }
    ensure_eq!(inodes.len(), 400);
    Ok(())
}

fn empty(d: &Path) -> Outcome {
    let mut found: Vec<_> = dents(&open_dir(d)?, 4096)?.into_iter().map(|entry| entry.name).collect();
    found.sort();
    ensure_eq!(found, ["..", "."].map(OsString::from).into_iter().rev().collect::<Vec<_>>());
    Ok(())
}
