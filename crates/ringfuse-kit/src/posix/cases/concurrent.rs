//! Several threads at once.

use crate::posix::base::*;

cases! { "concurrent":
    create_unlink [] "8 threads create and unlink in one directory (open(2), unlink(2))";
    same_name [] "8 threads create and unlink the same name (open(2), unlink(2))";
    exclusive_create [] "of 8 threads that create a name with O_EXCL one succeeds (open(2), O_EXCL)";
    mkdir_race [] "of 8 threads that make a directory one succeeds (mkdir(2))";
    unlink_race [] "of 8 threads that unlink a name one succeeds (unlink(2))";
    link_race [HARD_LINK] "of 8 threads that link to one name one succeeds (link(2))";
    rename_race [] "of 8 threads that rename a file away one succeeds (rename(2))";
    rename_back_and_forth [] "two threads rename A to B and B to A while a third opens either: it is the same file (rename(2))";
    rename_replaces_atomically [] "a name that is replaced all the time is always there, and whole (rename(2))";
    exchange_atomically [RENAME_EXCHANGE] "names that are exchanged all the time are always there (renameat2(2))";
    rename_across [] "two threads move directories between two parents in opposite directions (rename(2))";
    rename_no_loops [] "directories moved into each other never make a loop (rename(2))";
    readdir_and_create [] "a directory can be listed while files come and go: those that stay are there (readdir(3))";
    link_counts [HARD_LINK] "links made and removed by 4 threads leave the right count (link(2))";
    deep_lookup [] "paths are resolved while a directory in them is renamed: found or ENOENT (path_resolution(7))";
    rmdir_and_create [] "rmdir against create: either the directory is gone or not empty (rmdir(2))";
}

/// Counts in how many of 8 threads `op` succeeds; the others must fail with `errno`.
fn winners(op: impl Fn(usize) -> Result<(), Errno> + Sync, errno: &[Errno]) -> Result<usize, Failure> {
    let won = AtomicUsize::new(0);
    parallel(8, |i| {
        match op(i) {
            Ok(()) => drop(won.fetch_add(1, Ordering::SeqCst)),
            Err(error) => ensure!(errno.contains(&error), "one that lost failed with {error}"),
        }
        Ok(())
    })?;
    Ok(won.into_inner())
}

/// Lets ENOENT pass.
fn or_gone<T>(result: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

fn create_unlink(d: &Path) -> Outcome {
    parallel(8, |i| {
        for n in 0..100 {
            let path = d.join(format!("thread-{i}-{}", n % 10));
            file(&path, [i as u8; 10])?;
            same(&read(&path)?, &[i as u8; 10])?;
            unlink(&path)?;
        }
        touch(d.join(format!("last-{i}")))?;
        Ok(())
    })?;
    ensure_eq!(names(d)?.len(), 8);
    Ok(())
}

fn same_name(d: &Path) -> Outcome {
    let path = d.join("f");
    parallel(8, |i| {
        for _ in 0..50 {
            let f = open(&path, CREAT | RDWR)?;
            f.write_all_at(&[i as u8], 0)?;
            or_gone(unlink(&path))?;
        }
        Ok(())
    })?;
    or_gone(unlink(&path))?;
    ensure_eq!(names(d)?.len(), 0);
    Ok(())
}

fn exclusive_create(d: &Path) -> Outcome {
    for round in 0..20 {
        let path = d.join(format!("f{round}"));
        ensure_eq!(winners(|_| touch(&path).map(drop), &[Errno::EXIST])?, 1);
    }
    Ok(())
}

fn mkdir_race(d: &Path) -> Outcome {
    for round in 0..20 {
        let path = d.join(format!("d{round}"));
        ensure_eq!(winners(|_| mkdir(&path), &[Errno::EXIST])?, 1);
    }
    Ok(())
}

fn unlink_race(d: &Path) -> Outcome {
    for _ in 0..20 {
        touch(d.join("f"))?;
        ensure_eq!(winners(|_| unlink(d.join("f")), &[Errno::NOENT])?, 1);
    }
    Ok(())
}

fn link_race(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    for round in 0..20 {
        let path = d.join(format!("l{round}"));
        ensure_eq!(winners(|_| link(d.join("f"), &path), &[Errno::EXIST])?, 1);
        ensure_eq!(nlink(d.join("f"))?, round + 2);
    }
    Ok(())
}

fn rename_race(d: &Path) -> Outcome {
    for round in 0..20 {
        touch(d.join("f"))?;
        let to = |i: usize| d.join(format!("to-{round}-{i}"));
        ensure_eq!(winners(|i| rename(d.join("f"), to(i)), &[Errno::NOENT])?, 1);
        ensure_eq!((0..8).filter(|&i| exists(to(i))).count(), 1);
    }
    Ok(())
}

fn rename_back_and_forth(d: &Path) -> Outcome {
    let (a, b) = (d.join("a"), d.join("b"));
    file(&a, "content")?;
    let inode = ino(&a)?;
    let step = |i: usize| {
        let (from, to) = if i == 0 { (&a, &b) } else { (&b, &a) };
        or_gone(rename(from, to))?;
        Ok(())
    };
    meanwhile(2, step, || {
        for _ in 0..500 {
            for path in [&a, &b] {
                if let Some(f) = or_gone(open(path, RD))? {
                    ensure_eq!(f.metadata()?.ino(), inode);
                    ensure_eq!(f.metadata()?.nlink(), 1);
                }
            }
        }
        Ok(())
    })?;
    ensure!(exists(&a) != exists(&b), "not one of both names is there");
    ensure_eq!(names(d)?.len(), 1);
    Ok(())
}

fn rename_replaces_atomically(d: &Path) -> Outcome {
    let target = d.join("target");
    file(&target, vec![b'0'; 5000])?;
    let look = |_| {
        let mut got = Vec::new();
        open(&target, RD)?.read_to_end(&mut got)?;
        ensure_eq!(got.len(), 5000);
        ensure!(got.iter().all(|byte| *byte == got[0]), "parts of two versions");
        Ok(())
    };
    meanwhile(2, look, || {
        for i in 0..200 {
            file(d.join("new"), vec![b'0' + i % 10; 5000])?;
            rename(d.join("new"), &target)?;
        }
        Ok(())
    })
}

fn exchange_atomically(d: &Path) -> Outcome {
    let (a, b) = (d.join("a"), d.join("b"));
    file(&a, "a")?;
    file(&b, "b")?;
    let exchange = || rfs::renameat_with(CWD, &a, CWD, &b, rfs::RenameFlags::EXCHANGE);
    match exchange() {
        Err(Errno::INVAL) => skip!("not supported: RENAME_EXCHANGE"),
        result => result.or_skip("RENAME_EXCHANGE")?,
    }
    let look = |i: usize| {
        st(if i == 0 { &a } else { &b })?;
        open(if i == 0 { &b } else { &a }, RD)?;
        Ok(())
    };
    meanwhile(2, look, || {
        for _ in 0..400 {
            exchange()?;
        }
        Ok(())
    })?;
    same(&read(&a)?, b"b")
}

fn rename_across(d: &Path) -> Outcome {
    mkdir(d.join("p"))?;
    mkdir(d.join("q"))?;
    for i in 0..4 {
        mkdir(d.join(if i % 2 == 0 { "p" } else { "q" }).join(format!("d{i}")))?;
    }
    parallel(4, |i| {
        let (mut from, mut to) = (d.join("p").join(format!("d{i}")), d.join("q").join(format!("d{i}")));
        if i % 2 == 1 {
            std::mem::swap(&mut from, &mut to);
        }
        for _ in 0..100 {
            rename(&from, &to)?;
            std::mem::swap(&mut from, &mut to);
        }
        Ok(())
    })?;
    ensure_eq!((names(d.join("p"))?.len(), names(d.join("q"))?.len()), (2, 2));
    let links = (nlink(d.join("p"))?, nlink(d.join("q"))?);
    ensure!(links == (4, 4) || links == (1, 1), "the link counts are {links:?}");
    Ok(())
}

fn rename_no_loops(d: &Path) -> Outcome {
    for name in ["a", "b"] {
        mkdir(d.join(name))?;
    }
    let may = [Errno::NOENT, Errno::INVAL, Errno::NOTEMPTY, Errno::EXIST];
    parallel(4, |i| {
        for _ in 0..100 {
            let result = match i {
                0 => rename(d.join("a"), d.join("b/a")),
                1 => rename(d.join("b"), d.join("a/b")),
                2 => rename(d.join("b/a"), d.join("a")),
                _ => rename(d.join("a/b"), d.join("b")),
            };
            if let Err(error) = result {
                ensure!(may.contains(&error), "rename failed with {error}");
            }
        }
        Ok(())
    })?;
    let mut found = Vec::new();
    for path in ["a", "b", "a/b", "b/a"] {
        if exists(d.join(path)) {
            found.push(path);
        }
    }
    let good: [&[&str]; 3] = [&["a", "b"], &["a", "a/b"], &["b", "b/a"]];
    ensure!(good.contains(&&found[..]), "the directories are {found:?}");
    Ok(())
}

fn readdir_and_create(d: &Path) -> Outcome {
    let mut stay = BTreeSet::new();
    for i in 0..100 {
        touch(d.join(format!("stays-{i}")))?;
        stay.insert(OsString::from(format!("stays-{i}")));
    }
    let churn = |i| {
        for n in 0..20 {
            touch(d.join(format!("comes-{i}-{n}")))?;
        }
        for n in 0..20 {
            unlink(d.join(format!("comes-{i}-{n}")))?;
        }
        Ok(())
    };
    meanwhile(2, churn, || {
        for _ in 0..40 {
            let mut times = BTreeMap::new();
            for entry in dents(&open(d, RD | DIRECTORY)?, 4096)? {
                *times.entry(entry.name).or_insert(0) += 1;
            }
            for name in &stay {
                ensure_eq!(times.get(name).copied().unwrap_or(0), 1, "times {name:?} was listed");
            }
        }
        Ok(())
    })?;
    ensure_eq!(names(d)?, stay);
    Ok(())
}

fn link_counts(d: &Path) -> Outcome {
    let f = touch(d.join("f"))?;
    parallel(4, |i| {
        for n in 0..60 {
            link(d.join("f"), d.join(format!("l-{i}-{n}")))?;
            if n % 2 == 0 {
                unlink(d.join(format!("l-{i}-{n}")))?;
            }
        }
        Ok(())
    })?;
    ensure_eq!(f.metadata()?.nlink(), 1 + 4 * 30);
    ensure_eq!(nlink(d.join("f"))?, 121);
    Ok(())
}

fn deep_lookup(d: &Path) -> Outcome {
    fs::create_dir_all(d.join("a/b/c"))?;
    file(d.join("a/b/c/f"), "content")?;
    let inode = ino(d.join("a/b/c/f"))?;
    let look = |_| {
        for path in ["a/b/c/f", "a/x/c/f"] {
            if let Some(f) = or_gone(open(d.join(path), RD))? {
                ensure_eq!(f.metadata()?.ino(), inode);
            }
        }
        Ok(())
    };
    meanwhile(2, look, || {
        for _ in 0..200 {
            rename(d.join("a/b"), d.join("a/x"))?;
            rename(d.join("a/x"), d.join("a/b"))?;
        }
        Ok(())
    })
}

fn rmdir_and_create(d: &Path) -> Outcome {
    for round in 0..50 {
        let dir = d.join(format!("d{round}"));
        mkdir(&dir)?;
        let (removed, created) = (AtomicBool::new(false), AtomicBool::new(false));
        parallel(2, |i| {
            let (result, done) =
                if i == 0 { (rmdir(&dir), &removed) } else { (touch(dir.join("f")).map(drop), &created) };
            match result {
                Ok(()) => done.store(true, Ordering::SeqCst),
                Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            Ok(())
        })?;
        let (removed, created) = (removed.into_inner(), created.into_inner());
        ensure!(removed != created, "round {round}: removed {removed}, created {created}");
        ensure_eq!(exists(&dir), created);
    }
    Ok(())
}
