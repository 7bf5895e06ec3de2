//! Files that are removed while they are in use.

use crate::posix::base::*;

cases! { "unlink":
    read_after [] "an unlinked file can be read, also after the cache was dropped (unlink(2))";
    write_after [] "an unlinked file can be written, extended and truncated (unlink(2))";
    no_links [] "fstat of an unlinked file gives link count 0 and the right size (fstat(2))";
    name_is_free [] "the name can be used for another file, which has its own content (unlink(2))";
    reopen [] "an unlinked file can be opened again by /proc/self/fd (proc(5))";
    attributes_after [] "mode and times of an unlinked file can be changed (fchmod(2), futimens(3))";
    owner_after [ROOT] "the owner of an unlinked file can be changed (fchown(2))";
    xattr_after [XATTR_USER] "an unlinked file has its attributes and takes new ones (fsetxattr(2))";
    map_after [MMAP] "a map of an unlinked and closed file stays valid (mmap(2))";
    lock_after [LOCKS OFD_RELEASE] "an unlinked file can be locked (fcntl(2))";
    fsync_after [] "fsync of an unlinked file succeeds (fsync(2))";
    other_link_stays [HARD_LINK] "one of two links is removed while the file is open (unlink(2))";
    twice [] "the second unlink of a name fails with ENOENT (unlink(2))";
    link_to_file [SYMLINK] "the target of a link is removed: the link dangles (unlink(2))";
    node [MKNOD] "unlink removes FIFOs and sockets (unlink(2))";
    many_times [] "a name is made, used and removed 300 times (unlink(2))";
    many_open [] "100 unlinked files are open at once, each with its own content (unlink(2))";
    path_as_opened [] "an O_PATH descriptor keeps an unlinked file (open(2), O_PATH)";
    dir_with_open_file [] "a directory can be removed once its last file is unlinked, though that is open (rmdir(2))";
    gives_space_back [FREE_SPACE] "the space of an unlinked file is free after the last close (unlink(2))";
    rename_over_open [] "a file replaced 100 times while readers hold old versions (rename(2))";
}

/// A file that is open and has no name.
fn nameless(d: &Path, content: &[u8]) -> Result<File, Failure> {
    let f = file(d.join("f"), content)?;
    unlink(d.join("f"))?;
    expect_errno!(st(d.join("f")), NOENT);
    Ok(f)
}

fn read_after(d: &Path) -> Outcome {
    let data = pattern(200_000, 1);
    let f = nameless(d, &data)?;
    same(&read_at(&f, 0, data.len())?, &data)?;
    drop_cache(&f)?;
    same(&read_at(&f, 0, data.len())?, &data)
}

fn write_after(d: &Path) -> Outcome {
    let f = nameless(d, b"content")?;
    let data = pattern(100_000, 2);
    f.write_all_at(&data, 3)?;
    same(&read_at(&f, 0, 3)?, b"con")?;
    drop_cache(&f)?;
    same(&read_at(&f, 3, data.len())?, &data)?;
    f.set_len(5)?;
    f.set_len(10)?;
    same(&read_at(&f, 5, 5)?, &[0; 5])
}

fn no_links(d: &Path) -> Outcome {
    let f = nameless(d, b"content")?;
    let meta = f.metadata()?;
    ensure_eq!(meta.nlink(), 0);
    ensure_eq!(meta.len(), 7);
    ensure!(meta.is_file(), "not a file");
    f.write_all_at(b"x", 99)?;
    ensure_eq!(f.metadata()?.len(), 100);
    Ok(())
}

fn name_is_free(d: &Path) -> Outcome {
    let old = nameless(d, b"old")?;
    let new = file(d.join("f"), "new content")?;
    ensure_ne!(old.metadata()?.ino(), new.metadata()?.ino());
    old.write_all_at(b"OLD", 0)?;
    same(&read(d.join("f"))?, b"new content")?;
    same(&read_at(&old, 0, 3)?, b"OLD")?;
    ensure_eq!(old.metadata()?.len(), 3);
    drop(old);
    same(&read(d.join("f"))?, b"new content")
}

fn reopen(d: &Path) -> Outcome {
    let f = nameless(d, b"content")?;
    let again = open(proc_fd(&f), RDWR)?;
    again.write_all_at(b"CON", 0)?;
    same(&read_at(&f, 0, 7)?, b"CONtent")?;
    drop(f);
    same(&read_at(&again, 0, 7)?, b"CONtent")?;
    let empty = open(proc_fd(&again), WR | TRUNC)?;
    ensure_eq!(empty.metadata()?.len(), 0);
    Ok(())
}

fn attributes_after(d: &Path) -> Outcome {
    let f = nameless(d, b"content")?;
    rfs::fchmod(&f, mode(0o600))?;
    ensure_eq!(f.metadata()?.mode() & 0o7777, 0o600);
    let stamp = |tv_sec| rfs::Timespec { tv_sec, tv_nsec: 0 };
    rfs::futimens(&f, &rfs::Timestamps { last_access: stamp(1000), last_modification: stamp(2000) })?;
    ensure_eq!(f.metadata()?.mtime(), 2000);
    Ok(())
}

fn owner_after(d: &Path) -> Outcome {
    let f = nameless(d, b"content")?;
    rfs::fchown(&f, Some(rfs::Uid::from_raw(ALICE.uid)), None)?;
    ensure_eq!(f.metadata()?.uid(), ALICE.uid);
    Ok(())
}

fn xattr_after(d: &Path) -> Outcome {
    let f = file(d.join("f"), "x")?;
    let flags = rfs::XattrFlags::empty();
    rfs::fsetxattr(&f, "user.old", b"1", flags).or_skip("user.* attributes")?;
    unlink(d.join("f"))?;
    rfs::fsetxattr(&f, "user.new", b"22", flags)?;
    let mut buf = [0; 16];
    ensure_eq!(rfs::fgetxattr(&f, "user.old", &mut buf[..])?, 1);
    ensure_eq!(rfs::fgetxattr(&f, "user.new", &mut buf[..])?, 2);
    rfs::fremovexattr(&f, "user.old")?;
    expect_errno!(rfs::fgetxattr(&f, "user.old", &mut buf[..]), NODATA);
    Ok(())
}

fn map_after(d: &Path) -> Outcome {
    let data = pattern(20_000, 3);
    let f = file(d.join("f"), &data)?;
    let map = sys::Map::new(&f, 0, data.len(), true, true)?;
    unlink(d.join("f"))?;
    drop(f);
    same(&map.read(0, data.len()), &data)?;
    map.write(10_000, b"changed");
    map.sync()?;
    same(&map.read(10_000, 7), b"changed")
}

fn lock_after(d: &Path) -> Outcome {
    let f = nameless(d, b"content")?;
    let other = open(proc_fd(&f), RDWR)?;
    let owner = sys::Owner::Description;
    sys::set_lock(&f, owner, sys::Kind::Write, 0, 0).or_skip("record locks")?;
    expect_errno!(sys::set_lock(&other, owner, sys::Kind::Write, 0, 0), AGAIN | ACCESS);
    drop(f);
    sys::set_lock(&other, owner, sys::Kind::Write, 0, 0)?;
    Ok(())
}

fn fsync_after(d: &Path) -> Outcome {
    let f = nameless(d, b"content")?;
    f.write_all_at(&[1; 50_000], 0)?;
    f.sync_all()?;
    f.sync_data()?;
    Ok(())
}

fn other_link_stays(d: &Path) -> Outcome {
    let f = file(d.join("a"), "content")?;
    link(d.join("a"), d.join("b"))?;
    unlink(d.join("a"))?;
    ensure_eq!(f.metadata()?.nlink(), 1);
    f.write_all_at(b"C", 0)?;
    same(&read(d.join("b"))?, b"Content")?;
    drop(f);
    same(&read(d.join("b"))?, b"Content")?;
    ensure_eq!(nlink(d.join("b"))?, 1);
    Ok(())
}

fn twice(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    unlink(d.join("f"))?;
    expect_errno!(unlink(d.join("f")), NOENT);
    expect_errno!(open(d.join("f"), RD), NOENT);
    Ok(())
}

fn link_to_file(d: &Path) -> Outcome {
    file(d.join("f"), "x")?;
    symlink("f", d.join("l"))?;
    same(&read(d.join("l"))?, b"x")?;
    unlink(d.join("f"))?;
    expect_errno!(read(d.join("l")), NOENT);
    ensure!(exists(d.join("l")), "the link is gone, too");
    Ok(())
}

fn node(d: &Path) -> Outcome {
    mkfifo(d.join("p"))?;
    rfs::mknodat(CWD, d.join("s"), FileType::Socket, mode(0o644), 0)?;
    unlink(d.join("p"))?;
    unlink(d.join("s"))?;
    ensure_eq!(names(d)?.len(), 0);
    Ok(())
}

fn many_times(d: &Path) -> Outcome {
    let path = d.join("f");
    for i in 0..300u64 {
        let data = pattern(100, i);
        let f = file(&path, &data)?;
        if i % 2 == 0 {
            unlink(&path)?;
            same(&read_at(&f, 0, 100)?, &data)?;
        } else {
            drop(f);
            same(&read(&path)?, &data)?;
            unlink(&path)?;
        }
    }
    ensure_eq!(names(d)?.len(), 0);
    Ok(())
}

fn many_open(d: &Path) -> Outcome {
    let mut files = Vec::new();
    for i in 0..100u64 {
        files.push(nameless(d, &pattern(5000, i))?);
    }
    for (i, f) in (0..).zip(&files) {
        same(&read_at(f, 0, 5000)?, &pattern(5000, i))?;
        ensure_eq!(f.metadata()?.nlink(), 0);
    }
    Ok(())
}

fn path_as_opened(d: &Path) -> Outcome {
    file(d.join("f"), "content")?;
    let path = open(d.join("f"), O_PATH)?;
    unlink(d.join("f"))?;
    ensure_eq!(path.metadata()?.nlink(), 0);
    same(&read(proc_fd(&path))?, b"content")
}

fn dir_with_open_file(d: &Path) -> Outcome {
    mkdir(d.join("dir"))?;
    let f = file(d.join("dir/f"), "content")?;
    expect_errno!(rmdir(d.join("dir")), NOTEMPTY | EXIST);
    unlink(d.join("dir/f"))?;
    rmdir(d.join("dir"))?;
    same(&read_at(&f, 0, 7)?, b"content")?;
    f.write_all_at(b"C", 0)?;
    same(&read_at(&f, 0, 7)?, b"Content")
}

fn gives_space_back(d: &Path) -> Outcome {
    const SIZE: u64 = 16 << 20;
    // The first to ask is told, too, what was lost of others' files before: that is no matter of this case.
    let _ = rfs::syncfs(open(d, RD | DIRECTORY)?);
    let free = || -> Result<u64, Failure> {
        rfs::syncfs(open(d, RD | DIRECTORY)?)?;
        let stat = rfs::statvfs(d)?;
        Ok(stat.f_bfree * stat.f_frsize)
    };
    let before = free()?;
    let f = file(d.join("f"), pattern(SIZE as usize, 4))?;
    f.sync_all()?;
    ensure!(free()? + SIZE / 2 < before, "16 MiB written take no space");
    unlink(d.join("f"))?;
    ensure!(free()? + SIZE / 2 < before, "the space is free while the file is open");
    drop(f);
    for _ in 0..100 {
        if free()? + SIZE / 2 > before {
            return Ok(());
        }
        tick();
    }
    Err(Failure::check(format!("{} bytes were free, now {}", before, free()?)))
}

fn rename_over_open(d: &Path) -> Outcome {
    let mut held = Vec::new();
    file(d.join("f"), "version 0")?;
    for i in 1..=100 {
        held.push((i - 1, open(d.join("f"), RD)?));
        file(d.join("new"), format!("version {i}"))?;
        rename(d.join("new"), d.join("f"))?;
        same(&read(d.join("f"))?, format!("version {i}").as_bytes())?;
    }
    for (i, mut f) in held {
        let mut text = String::new();
        f.read_to_string(&mut text)?;
        ensure_eq!(text, format!("version {i}"));
        ensure_eq!(f.metadata()?.nlink(), 0);
    }
    Ok(())
}
