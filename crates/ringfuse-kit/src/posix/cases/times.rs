//! Time stamps: utimensat(2), and what each call updates (inode(7)).

use crate::posix::base::*;
use rustix::fs::{UTIME_NOW, UTIME_OMIT};

cases! { "times":
    set_exact [WIDE_TIMES] "utimensat keeps nanoseconds of both times (utimensat(2))";
    set_now [] "UTIME_NOW sets the current time (utimensat(2))";
    omit_one [] "UTIME_OMIT leaves one time as it is (utimensat(2))";
    omit_both [] "UTIME_OMIT for both changes nothing, not even ctime (utimensat(2))";
    set_by_fd [] "futimens sets the times of an open file (futimens(3))";
    set_of_link [SYMLINK] "AT_SYMLINK_NOFOLLOW sets the times of the link, else of its target (utimensat(2))";
    set_of_directory [] "the times of a directory can be set and stay (utimensat(2))";
    set_changes_ctime [] "setting times changes ctime (utimensat(2))";
    bad_nanoseconds [] "nanoseconds above 999999999 fail with EINVAL (utimensat(2))";
    before_1970 [WIDE_TIMES] "times before 1970 come back as given (utimensat(2))";
    after_2038 [WIDE_TIMES] "times after 2038 and 2106 come back as given (utimensat(2))";
    new_file_is_new [] "a new file has all times at about now (inode(7))";
    create_touches_parent [] "creating any kind of file sets mtime and ctime of the directory (inode(7))";
    mkfifo_touches_parent [MKNOD] "mknod sets mtime and ctime of the directory (inode(7))";
    link_touches_parent [HARD_LINK] "link sets mtime and ctime of the directory, and ctime of the file (inode(7))";
    symlink_touches_parent [SYMLINK] "symlink sets mtime and ctime of the directory (inode(7))";
    remove_touches_parent [] "unlink and rmdir set mtime and ctime of the directory (inode(7))";
    unlink_changes_ctime [HARD_LINK] "unlink sets ctime of a file that has another link (inode(7))";
    rename_touches_parents [] "rename sets mtime and ctime of both directories (inode(7))";
    rename_keeps_mtime [] "rename leaves mtime and atime of the file as they are (rename(2))";
    write_sets_mtime [] "write sets mtime and ctime, and leaves atime (inode(7))";
    write_keeps_parent [] "writing a file leaves the times of its directory (inode(7))";
    chmod_sets_ctime [] "chmod sets ctime and nothing else (inode(7))";
    chown_sets_ctime [ROOT] "chown sets ctime and nothing else (inode(7))";
    xattr_sets_ctime [XATTR_USER] "setxattr and removexattr set ctime and not mtime (inode(7))";
    read_sets_atime [ATIME] "read sets atime and not mtime or ctime (inode(7))";
    read_of_cached_sets_atime [ATIME] "the first read after a change sets atime, also of what is cached (inode(7))";
    readdir_sets_atime [ATIME] "reading a directory sets its atime (inode(7))";
    stat_changes_nothing [] "stat, open, access and readlink change no mtime or ctime (inode(7))";
    seen_by_all [] "path and descriptor give the same times after each change (fstat(2))";
    order_of_writes [] "of two files written in turn, the later has the later mtime (inode(7))";
}

/// Runs `op` on an aged path: its mtime is long past, and the clock has gone on since.
fn aged(path: &Path, op: impl FnOnce() -> Outcome) -> Result<(Times, Times), Failure> {
    set_times(path, (1_000_000, 0), (1_000_000, 0))?;
    let before = times(path)?;
    tick();
    op()?;
    Ok((before, times(path)?))
}

/// Checks that `op` sets mtime and ctime of `dir`.
#[track_caller]
fn touches(dir: &Path, what: &str, op: impl FnOnce() -> Outcome) -> Outcome {
    let (before, after) = aged(dir, op)?;
    if after.m <= before.m || after.c <= before.c {
        return Err(Failure::check(format!("{what}: the times went from {before:?} to {after:?}")));
    }
    Ok(())
}

/// Checks that `op` sets ctime of `path`, and no other time.
#[track_caller]
fn changes(path: &Path, what: &str, op: impl FnOnce() -> Outcome) -> Outcome {
    let (before, after) = aged(path, op)?;
    if after.c <= before.c || after.m != before.m || after.a != before.a {
        return Err(Failure::check(format!("{what}: the times went from {before:?} to {after:?}")));
    }
    Ok(())
}

fn set_exact(d: &Path) -> Outcome {
    let f = d.join("f");
    touch(&f)?;
    let (a, m) = ((1_234_567_890, 123_456_789), (987_654_321, 999_999_999));
    set_times(&f, a, m)?;
    let got = times(&f)?;
    ensure_eq!(got.a, a);
    ensure_eq!(got.m, m);
    Ok(())
}

fn set_now(d: &Path) -> Outcome {
    let (f, g) = (d.join("f"), d.join("g"));
    touch(&f)?;
    set_times(&f, (1000, 0), (1000, 0))?;
    set_times(&f, (0, UTIME_NOW), (0, UTIME_NOW))?;
    touch(&g)?;
    let (set, new) = (times(&f)?, times(&g)?);
    ensure!((set.m.0 - new.m.0).abs() <= 2, "set to {:?}, a new file has {:?}", set.m, new.m);
    ensure!((set.a.0 - new.a.0).abs() <= 2, "set to {:?}, a new file has {:?}", set.a, new.a);
    Ok(())
}

fn omit_one(d: &Path) -> Outcome {
    let f = d.join("f");
    touch(&f)?;
    set_times(&f, (1000, 0), (2000, 0))?;
    set_times(&f, (0, UTIME_OMIT), (3000, 0))?;
    let got = times(&f)?;
    ensure_eq!((got.a, got.m), ((1000, 0), (3000, 0)));
    set_times(&f, (4000, 0), (0, UTIME_OMIT))?;
    let got = times(&f)?;
    ensure_eq!((got.a, got.m), ((4000, 0), (3000, 0)));
    set_times(&f, (0, UTIME_OMIT), (0, UTIME_NOW))?;
    let got = times(&f)?;
    ensure_eq!(got.a, (4000, 0));
    ensure!(got.m.0 > 1_000_000, "mtime is {:?}", got.m);
    Ok(())
}

fn omit_both(d: &Path) -> Outcome {
    let f = d.join("f");
    touch(&f)?;
    let (before, after) = aged(&f, || Ok(set_times(&f, (0, UTIME_OMIT), (0, UTIME_OMIT))?))?;
    ensure_eq!(after, before);
    Ok(())
}

fn set_by_fd(d: &Path) -> Outcome {
    let f = touch(d.join("f"))?;
    let stamp = |tv_sec| rfs::Timespec { tv_sec, tv_nsec: 0 };
    rfs::futimens(&f, &rfs::Timestamps { last_access: stamp(5000), last_modification: stamp(6000) })?;
    let got = times(d.join("f"))?;
    ensure_eq!((got.a.0, got.m.0), (5000, 6000));
    let read_only = open(d.join("f"), RD)?;
    rfs::futimens(&read_only, &rfs::Timestamps { last_access: stamp(7000), last_modification: stamp(8000) })?;
    ensure_eq!(times(d.join("f"))?.m.0, 8000);
    Ok(())
}

fn set_of_link(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    symlink("f", d.join("l"))?;
    set_times(d.join("f"), (1000, 0), (1000, 0))?;
    set_times(d.join("l"), (2000, 0), (3000, 0))?;
    ensure_eq!(times(d.join("f"))?.m.0, 1000);
    ensure_eq!(times(d.join("l"))?.m.0, 3000);
    let stamp = rfs::Timespec { tv_sec: 4000, tv_nsec: 0 };
    let both = rfs::Timestamps { last_access: stamp, last_modification: stamp };
    rfs::utimensat(CWD, d.join("l"), &both, AtFlags::empty())?;
    ensure_eq!(times(d.join("f"))?.m.0, 4000);
    ensure_eq!(times(d.join("l"))?.m.0, 3000);
    Ok(())
}

fn set_of_directory(d: &Path) -> Outcome {
    let dir = d.join("dir");
    mkdir(&dir)?;
    let f = touch(dir.join("f"))?;
    set_times(&dir, (1000, 0), (2000, 0))?;
    f.write_all_at(b"x", 0)?;
    drop(f);
    ensure_eq!(times(&dir)?.m, (2000, 0));
    names(&dir)?;
    ensure_eq!(times(&dir)?.m, (2000, 0));
    Ok(())
}

fn set_changes_ctime(d: &Path) -> Outcome {
    let f = d.join("f");
    touch(&f)?;
    let before = times(&f)?;
    tick();
    set_times(&f, (1000, 0), (1000, 0))?;
    ensure!(times(&f)?.c > before.c, "ctime did not change");
    Ok(())
}

fn bad_nanoseconds(d: &Path) -> Outcome {
    let f = d.join("f");
    touch(&f)?;
    expect_errno!(set_times(&f, (1, 1_000_000_000), (1, 0)), INVAL);
    expect_errno!(set_times(&f, (1, 0), (1, -1)), INVAL);
    expect_errno!(set_times(d.join("none"), (1, 0), (1, 0)), NOENT);
    Ok(())
}

fn before_1970(d: &Path) -> Outcome {
    let f = d.join("f");
    touch(&f)?;
    for stamp in [(-1, 0), (-1, 999_999_999), (-1_000_000_000, 5)] {
        set_times(&f, stamp, stamp)?;
        let got = times(&f)?;
        ensure_eq!((got.a, got.m), (stamp, stamp));
    }
    Ok(())
}

fn after_2038(d: &Path) -> Outcome {
    let f = d.join("f");
    touch(&f)?;
    for stamp in [(0x7fff_ffff, 1), (0x8000_0000, 2), (0xffff_ffff, 3), (0x1_0000_0000, 4)] {
        set_times(&f, stamp, stamp)?;
        let got = times(&f)?;
        ensure_eq!((got.a, got.m), (stamp, stamp));
    }
    Ok(())
}

fn new_file_is_new(d: &Path) -> Outcome {
    let now = || {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |age| age.as_secs() as i64)
    };
    let start = now() - 1;
    touch(d.join("f"))?;
    mkdir(d.join("dir"))?;
    let end = now() + 1;
    for name in ["f", "dir"] {
        let t = times(d.join(name))?;
        for (which, stamp) in [("atime", t.a), ("mtime", t.m), ("ctime", t.c)] {
            ensure!((start..=end).contains(&stamp.0), "{which} of {name} is {stamp:?}, now is {end}");
        }
    }
    Ok(())
}

fn create_touches_parent(d: &Path) -> Outcome {
    touches(d, "open(O_CREAT)", || Ok(touch(d.join("f")).map(drop)?))?;
    touches(d, "mkdir", || Ok(mkdir(d.join("dir"))?))?;
    let (before, after) = aged(d, || Ok(open(d.join("f"), CREAT | RDWR).map(drop)?))?;
    ensure_eq!(after.m, before.m, "open(O_CREAT) of an existing file");
    Ok(())
}

fn mkfifo_touches_parent(d: &Path) -> Outcome {
    touches(d, "mknod", || Ok(mkfifo(d.join("p"))?))
}

fn link_touches_parent(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    touches(d, "link", || Ok(link(d.join("f"), d.join("g"))?))?;
    changes(&d.join("f"), "link", || Ok(link(d.join("f"), d.join("h"))?))
}

fn symlink_touches_parent(d: &Path) -> Outcome {
    touches(d, "symlink", || Ok(symlink("x", d.join("l"))?))
}

fn remove_touches_parent(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    mkdir(d.join("dir"))?;
    touches(d, "unlink", || Ok(unlink(d.join("f"))?))?;
    touches(d, "rmdir", || Ok(rmdir(d.join("dir"))?))
}

fn unlink_changes_ctime(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    link(d.join("f"), d.join("g"))?;
    changes(&d.join("f"), "unlink", || Ok(unlink(d.join("g"))?))
}

fn rename_touches_parents(d: &Path) -> Outcome {
    let (a, b) = (d.join("a"), d.join("b"));
    mkdir(&a)?;
    mkdir(&b)?;
    touch(a.join("f"))?;
    touches(&a, "rename in a directory", || Ok(rename(a.join("f"), a.join("g"))?))?;
    touches(&a, "rename out of a directory", || Ok(rename(a.join("g"), b.join("g"))?))?;
    touches(&a, "rename into a directory", || Ok(rename(b.join("g"), a.join("g"))?))
}

fn rename_keeps_mtime(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    set_times(d.join("f"), (1000, 0), (2000, 0))?;
    rename(d.join("f"), d.join("g"))?;
    let got = times(d.join("g"))?;
    ensure_eq!((got.a, got.m), ((1000, 0), (2000, 0)));
    Ok(())
}

fn write_sets_mtime(d: &Path) -> Outcome {
    let path = d.join("f");
    let f = touch(&path)?;
    for at in [0, 0, 100_000] {
        let (before, after) = aged(&path, || Ok(f.write_all_at(b"x", at)?))?;
        ensure!(after.m > before.m, "mtime did not change for a write at {at}");
        ensure!(after.c > before.c, "ctime did not change for a write at {at}");
        ensure_eq!(after.a, before.a);
    }
    drop(f);
    let after = times(&path)?;
    ensure!(after.m.0 > 1_000_000, "the last close set mtime back to {:?}", after.m);
    Ok(())
}

fn write_keeps_parent(d: &Path) -> Outcome {
    let f = touch(d.join("f"))?;
    let (before, after) = aged(d, || Ok(f.write_all_at(b"x", 0)?))?;
    ensure_eq!(after, before);
    Ok(())
}

fn chmod_sets_ctime(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    mkdir(d.join("dir"))?;
    changes(&d.join("f"), "chmod", || Ok(chmod(d.join("f"), 0o600)?))?;
    changes(&d.join("dir"), "chmod", || Ok(chmod(d.join("dir"), 0o700)?))
}

fn chown_sets_ctime(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    changes(&d.join("f"), "chown", || Ok(chown(d.join("f"), ALICE.uid, ALICE.gid)?))
}

fn xattr_sets_ctime(d: &Path) -> Outcome {
    let path = d.join("f");
    touch(&path)?;
    let flags = rfs::XattrFlags::empty();
    rfs::setxattr(&path, "user.probe", b"x", flags).or_skip("user.* attributes")?;
    changes(&path, "setxattr", || Ok(rfs::setxattr(&path, "user.a", b"1", flags)?))?;
    changes(&path, "removexattr", || Ok(rfs::removexattr(&path, "user.a")?))
}

fn skip_noatime(d: &Path) -> Outcome {
    let flags = rfs::statvfs(d)?.f_flag;
    if flags.intersects(rfs::StatVfsMountFlags::NOATIME | rfs::StatVfsMountFlags::NODIRATIME) {
        skip!("mounted with noatime or nodiratime");
    }
    Ok(())
}

fn read_sets_atime(d: &Path) -> Outcome {
    skip_noatime(d)?;
    let path = d.join("f");
    file(&path, "content")?;
    let (before, after) = aged(&path, || Ok(read(&path).map(drop)?))?;
    ensure!(after.a > before.a, "atime did not change");
    ensure_eq!((after.m, after.c), (before.m, before.c));
    Ok(())
}

fn read_of_cached_sets_atime(d: &Path) -> Outcome {
    skip_noatime(d)?;
    let path = d.join("f");
    file(&path, "content")?;
    read(&path)?;
    for _ in 0..3 {
        tick();
        open(&path, WR | APPEND)?.write_all(b"more")?;
        let before = times(&path)?;
        tick();
        read(&path)?;
        ensure!(times(&path)?.a > before.a, "atime did not change");
    }
    Ok(())
}

fn readdir_sets_atime(d: &Path) -> Outcome {
    skip_noatime(d)?;
    let dir = d.join("dir");
    mkdir(&dir)?;
    touch(dir.join("f"))?;
    let (before, after) = aged(&dir, || names(&dir).map(drop))?;
    ensure!(after.a > before.a, "atime did not change");
    ensure_eq!((after.m, after.c), (before.m, before.c));
    Ok(())
}

fn stat_changes_nothing(d: &Path) -> Outcome {
    let path = d.join("f");
    file(&path, "x")?;
    symlink("f", d.join("l"))?;
    for target in [&path, &d.join("l"), &d.to_owned()] {
        let (before, after) = aged(target, || {
            st(target)?;
            fs::metadata(target)?;
            fs::read_link(d.join("l"))?;
            rfs::access(target, rfs::Access::READ_OK)?;
            drop(open(target, RD)?);
            Ok(())
        })?;
        ensure_eq!((after.m, after.c), (before.m, before.c));
    }
    Ok(())
}

fn seen_by_all(d: &Path) -> Outcome {
    let path = d.join("f");
    let f = touch(&path)?;
    let agree = || {
        let (by_path, by_fd) = (times(&path)?, times_of(&f.metadata()?));
        ensure_eq!(by_path, by_fd);
        Ok(())
    };
    f.write_all_at(&[1; 9000], 0)?;
    agree()?;
    set_times(&path, (1000, 7), (2000, 9))?;
    agree()?;
    chmod(&path, 0o640)?;
    agree()?;
    f.write_all_at(&[2; 10], 20_000)?;
    agree()?;
    f.set_len(5)?;
    agree()?;
    f.sync_all()?;
    agree()
}

fn order_of_writes(d: &Path) -> Outcome {
    let (a, b) = (touch(d.join("a"))?, touch(d.join("b"))?);
    let m = |f: &File| -> Result<Stamp, Failure> { Ok(times_of(&f.metadata()?).m) };
    for i in 0..3 {
        a.write_all_at(b"x", i)?;
        tick();
        b.write_all_at(b"x", i)?;
        ensure!(m(&b)? > m(&a)?, "b was written later, but has mtime {:?} and a {:?}", m(&b)?, m(&a)?);
        tick();
        a.write_all_at(b"y", i)?;
        ensure!(m(&a)? > m(&b)?, "a was written later, but has mtime {:?} and b {:?}", m(&a)?, m(&b)?);
    }
    Ok(())
}
