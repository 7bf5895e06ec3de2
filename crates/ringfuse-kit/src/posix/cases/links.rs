//! Hard links and symbolic links.

use crate::posix::base::*;

cases! { "links":
    hard_link [HARD_LINK] "a hard link is the same file under another name, and counts (link(2))";
    unlink_one [HARD_LINK] "a file lives on under its other name (unlink(2))";
    link_exists [HARD_LINK SYMLINK] "link onto an existing name fails with EEXIST (link(2))";
    link_missing [HARD_LINK] "link of a missing file, or into a missing directory, fails with ENOENT (link(2))";
    link_directory [HARD_LINK] "a directory cannot be linked: EPERM (link(2))";
    link_of_symlink [HARD_LINK SYMLINK] "link does not follow a symbolic link, with AT_SYMLINK_FOLLOW it does (link(2))";
    link_of_fifo [HARD_LINK MKNOD] "a FIFO can be linked (link(2))";
    link_many [HARD_LINK] "200 links of one file in several directories (link(2))";
    link_shares_attributes [HARD_LINK] "mode, size and times change for every name at once (link(2))";
    link_shares_data [HARD_LINK] "what is written by one name is read by the other, with the cache warm (link(2))";
    link_while_open [HARD_LINK] "the link count of an open file follows link and unlink (fstat(2))";
    link_deleted [HARD_LINK] "an unlinked file cannot be linked again by /proc/self/fd: ENOENT (linkat(2))";
    link_then_replace [HARD_LINK] "the name is replaced, the other link keeps the content (rename(2))";
    symlink_reads_back [SYMLINK] "readlink gives the target as written, lstat its length (symlink(7))";
    symlink_long [SYMLINK] "a target of 4095 bytes is kept, 4096 fail with ENAMETOOLONG (symlink(2))";
    symlink_lengths [SYMLINK] "targets of many lengths come back (readlink(2))";
    symlink_bytes [SYMLINK] "a target may hold any bytes (symlink(2))";
    symlink_refused [SYMLINK] "symlink fails with EEXIST, and ENOENT for an empty target (symlink(2))";
    readlink_short_buffer [SYMLINK] "readlink cuts the target to the buffer (readlink(2))";
    readlink_refused [SYMLINK] "readlink fails with EINVAL on what is no link, ENOENT if missing (readlink(2))";
    symlink_dangling [SYMLINK] "a dangling link: stat gives ENOENT, lstat the link (symlink(7))";
    symlink_loop [SYMLINK] "links in a loop fail with ELOOP (path_resolution(7))";
    symlink_chain [SYMLINK] "40 links in a row are followed, 41 fail with ELOOP (path_resolution(7))";
    symlink_relative [SYMLINK] "a relative target starts at the link's directory (path_resolution(7))";
    symlink_absolute [SYMLINK] "an absolute target (path_resolution(7))";
    symlink_to_directory [SYMLINK] "a link to a directory serves as one in a path (path_resolution(7))";
    symlink_mode [SYMLINK] "a symbolic link has mode 0777 and one link (symlink(7))";
    symlink_unlink [SYMLINK] "unlink removes the link and not its target (unlink(2))";
    symlink_chmod [SYMLINK] "chmod follows a symbolic link (chmod(2))";
    symlink_lchown [SYMLINK ROOT] "lchown changes the link, chown its target (chown(2))";
    symlink_target_made_later [SYMLINK] "a link works as soon as its target is there (symlink(7))";
}

fn hard_link(d: &Path) -> Outcome {
    file(d.join("a"), "content")?;
    link(d.join("a"), d.join("b"))?;
    let (a, b) = (st(d.join("a"))?, st(d.join("b"))?);
    ensure_eq!((a.ino(), a.dev()), (b.ino(), b.dev()));
    ensure_eq!((a.nlink(), b.nlink()), (2, 2));
    same(&read(d.join("b"))?, b"content")
}

fn unlink_one(d: &Path) -> Outcome {
    file(d.join("a"), "content")?;
    link(d.join("a"), d.join("b"))?;
    unlink(d.join("a"))?;
    expect_errno!(st(d.join("a")), NOENT);
    ensure_eq!(nlink(d.join("b"))?, 1);
    same(&read(d.join("b"))?, b"content")
}

fn link_exists(d: &Path) -> Outcome {
    file(d.join("a"), "a")?;
    file(d.join("b"), "b")?;
    mkdir(d.join("dir"))?;
    symlink("nowhere", d.join("l"))?;
    for name in ["b", "dir", "l", "a"] {
        expect_errno!(link(d.join("a"), d.join(name)), EXIST);
    }
    ensure_eq!(nlink(d.join("a"))?, 1);
    Ok(())
}

fn link_missing(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    expect_errno!(link(d.join("none"), d.join("x")), NOENT);
    expect_errno!(link(d.join("f"), d.join("none/x")), NOENT);
    expect_errno!(link(d.join("f"), d.join("f/x")), NOTDIR);
    expect_errno!(link(d.join("f/x"), d.join("x")), NOTDIR);
    Ok(())
}

fn link_directory(d: &Path) -> Outcome {
    mkdir(d.join("dir"))?;
    expect_errno!(link(d.join("dir"), d.join("x")), PERM);
    ensure!(!exists(d.join("x")), "the link was made");
    Ok(())
}

fn link_of_symlink(d: &Path) -> Outcome {
    file(d.join("f"), "x")?;
    symlink("f", d.join("l"))?;
    rfs::linkat(CWD, d.join("l"), CWD, d.join("l2"), AtFlags::empty())?;
    ensure!(st(d.join("l2"))?.is_symlink(), "the link was followed");
    ensure_eq!(ino(d.join("l2"))?, ino(d.join("l"))?);
    ensure_eq!(nlink(d.join("l"))?, 2);
    rfs::linkat(CWD, d.join("l"), CWD, d.join("f2"), AtFlags::SYMLINK_FOLLOW)?;
    ensure!(st(d.join("f2"))?.is_file(), "the link was not followed");
    ensure_eq!(nlink(d.join("f"))?, 2);
    Ok(())
}

fn link_of_fifo(d: &Path) -> Outcome {
    mkfifo(d.join("p"))?;
    link(d.join("p"), d.join("q"))?;
    ensure!(st(d.join("q"))?.file_type().is_fifo(), "not a FIFO");
    ensure_eq!(nlink(d.join("p"))?, 2);
    Ok(())
}

fn link_many(d: &Path) -> Outcome {
    file(d.join("f"), "content")?;
    for i in 0..4 {
        mkdir(d.join(format!("d{i}")))?;
    }
    for i in 0..200 {
        link(d.join("f"), d.join(format!("d{}/l{i}", i % 4)))?;
        ensure_eq!(nlink(d.join("f"))?, i + 2);
    }
    for i in 0..200 {
        unlink(d.join(format!("d{}/l{i}", i % 4)))?;
        ensure_eq!(nlink(d.join("f"))?, 200 - i);
    }
    same(&read(d.join("f"))?, b"content")
}

fn link_shares_attributes(d: &Path) -> Outcome {
    let f = file(d.join("a"), "content")?;
    link(d.join("a"), d.join("b"))?;
    st(d.join("b"))?;
    chmod(d.join("a"), 0o600)?;
    ensure_eq!(bits(d.join("b"))?, 0o600);
    set_times(d.join("b"), (1000, 0), (2000, 0))?;
    ensure_eq!(times(d.join("a"))?.m, (2000, 0));
    f.set_len(100)?;
    ensure_eq!(st(d.join("b"))?.len(), 100);
    f.write_all_at(b"x", 1000)?;
    ensure_eq!(st(d.join("b"))?.len(), 1001);
    ensure_eq!(times(d.join("a"))?, times(d.join("b"))?);
    Ok(())
}

fn link_shares_data(d: &Path) -> Outcome {
    file(d.join("a"), pattern(20_000, 1))?;
    link(d.join("a"), d.join("b"))?;
    let (a, b) = (open(d.join("a"), RDWR)?, open(d.join("b"), RDWR)?);
    for i in 0..20u64 {
        let data = pattern(500, i);
        let (from, to) = if i % 2 == 0 { (&a, &b) } else { (&b, &a) };
        read_at(to, i * 900, 500)?;
        from.write_all_at(&data, i * 900)?;
        same(&read_at(to, i * 900, 500)?, &data)?;
    }
    Ok(())
}

fn link_while_open(d: &Path) -> Outcome {
    let f = touch(d.join("a"))?;
    link(d.join("a"), d.join("b"))?;
    ensure_eq!(f.metadata()?.nlink(), 2);
    link(d.join("b"), d.join("c"))?;
    ensure_eq!(f.metadata()?.nlink(), 3);
    for left in (0..3).rev() {
        unlink(d.join(["c", "b", "a"][left]))?;
        ensure_eq!(f.metadata()?.nlink(), left as u64);
    }
    Ok(())
}

fn link_deleted(d: &Path) -> Outcome {
    let f = touch(d.join("a"))?;
    unlink(d.join("a"))?;
    expect_errno!(rfs::linkat(CWD, proc_fd(&f), CWD, d.join("b"), AtFlags::SYMLINK_FOLLOW), NOENT);
    ensure_eq!(names(d)?.len(), 0);
    Ok(())
}

fn link_then_replace(d: &Path) -> Outcome {
    file(d.join("f"), "version 1")?;
    link(d.join("f"), d.join("backup"))?;
    file(d.join("new"), "version 2")?;
    rename(d.join("new"), d.join("f"))?;
    same(&read(d.join("f"))?, b"version 2")?;
    same(&read(d.join("backup"))?, b"version 1")?;
    ensure_eq!((nlink(d.join("f"))?, nlink(d.join("backup"))?), (1, 1));
    Ok(())
}

fn symlink_reads_back(d: &Path) -> Outcome {
    for (i, target) in ["f", "../a/b/", "/", ".", "a//b/./c", " spaces "].iter().enumerate() {
        let l = d.join(format!("l{i}"));
        symlink(target, &l)?;
        ensure_eq!(fs::read_link(&l)?.as_os_str(), *target);
        let meta = st(&l)?;
        ensure!(meta.is_symlink(), "not a link");
        ensure_eq!(meta.len(), target.len() as u64);
    }
    Ok(())
}

fn symlink_long(d: &Path) -> Outcome {
    let target = "t".repeat(4095);
    symlink(&target, d.join("l"))?;
    ensure_eq!(fs::read_link(d.join("l"))?.as_os_str().len(), 4095);
    ensure_eq!(st(d.join("l"))?.len(), 4095);
    expect_errno!(symlink(format!("{target}t"), d.join("m")), NAMETOOLONG);
    Ok(())
}

fn symlink_lengths(d: &Path) -> Outcome {
    for len in [1, 2, 15, 16, 58, 59, 60, 61, 127, 128, 255, 256, 1000, 1023, 1024, 2048, 4000] {
        let target: String = ('a'..='z').chain(['/']).cycle().take(len).collect();
        symlink(&target, d.join("l"))?;
        ensure_eq!(fs::read_link(d.join("l"))?.as_os_str(), OsStr::new(&target));
        ensure_eq!(st(d.join("l"))?.len(), len as u64);
        unlink(d.join("l"))?;
    }
    Ok(())
}

fn symlink_bytes(d: &Path) -> Outcome {
    let target: Vec<u8> = (1..=255).collect();
    symlink(OsStr::from_bytes(&target), d.join("l"))?;
    same(fs::read_link(d.join("l"))?.as_os_str().as_bytes(), &target)
}

fn symlink_refused(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    mkdir(d.join("dir"))?;
    symlink("x", d.join("l"))?;
    for name in ["f", "dir", "l", "."] {
        expect_errno!(symlink("x", d.join(name)), EXIST);
    }
    expect_errno!(symlink("", d.join("new")), NOENT);
    expect_errno!(symlink("x", d.join("none/l")), NOENT);
    expect_errno!(symlink("x", d.join("f/l")), NOTDIR);
    Ok(())
}

fn readlink_short_buffer(d: &Path) -> Outcome {
    symlink("0123456789", d.join("l"))?;
    let mut buf = [0; 4];
    let filled = rfs::readlinkat_raw(CWD, d.join("l"), &mut buf[..])?;
    ensure_eq!(filled, 4);
    same(&buf, b"0123")
}

fn readlink_refused(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    expect_errno!(fs::read_link(d.join("f")), INVAL);
    expect_errno!(fs::read_link(d), INVAL);
    expect_errno!(fs::read_link(d.join("none")), NOENT);
    Ok(())
}

fn symlink_dangling(d: &Path) -> Outcome {
    symlink("nowhere", d.join("l"))?;
    expect_errno!(fs::metadata(d.join("l")), NOENT);
    expect_errno!(open(d.join("l"), RD), NOENT);
    expect_errno!(chmod(d.join("l"), 0o600), NOENT);
    ensure!(st(d.join("l"))?.is_symlink(), "not a link");
    Ok(())
}

fn symlink_loop(d: &Path) -> Outcome {
    symlink("self", d.join("self"))?;
    symlink("b", d.join("a"))?;
    symlink("a", d.join("b"))?;
    for name in ["self", "a", "b"] {
        expect_errno!(fs::metadata(d.join(name)), LOOP);
        expect_errno!(open(d.join(name), RD), LOOP);
        expect_errno!(open(d.join(name), CREAT | RDWR), LOOP);
        expect_errno!(st(d.join(name).join("f")), LOOP);
    }
    Ok(())
}

fn symlink_chain(d: &Path) -> Outcome {
    file(d.join("l0"), "end")?;
    for i in 1..=41 {
        symlink(format!("l{}", i - 1), d.join(format!("l{i}")))?;
    }
    let dir = open(d, RD | DIRECTORY)?;
    let mut got = Vec::new();
    open_at(&dir, "l40", RD)?.read_to_end(&mut got)?;
    same(&got, b"end")?;
    expect_errno!(open_at(&dir, "l41", RD), LOOP);
    Ok(())
}

fn symlink_relative(d: &Path) -> Outcome {
    mkdir(d.join("a"))?;
    mkdir(d.join("b"))?;
    file(d.join("f"), "top")?;
    file(d.join("b/f"), "in b")?;
    symlink("../f", d.join("a/up"))?;
    symlink("../b/f", d.join("a/over"))?;
    same(&read(d.join("a/up"))?, b"top")?;
    same(&read(d.join("a/over"))?, b"in b")?;
    rename(d.join("a/up"), d.join("up"))?;
    expect_errno!(read(d.join("up")), NOENT);
    Ok(())
}

fn symlink_absolute(d: &Path) -> Outcome {
    file(d.join("f"), "x")?;
    mkdir(d.join("dir"))?;
    symlink(d.join("f"), d.join("dir/l"))?;
    same(&read(d.join("dir/l"))?, b"x")
}

fn symlink_to_directory(d: &Path) -> Outcome {
    mkdir(d.join("dir"))?;
    symlink("dir", d.join("l"))?;
    file(d.join("l/f"), "x")?;
    same(&read(d.join("dir/f"))?, b"x")?;
    ensure_eq!(names(d.join("l"))?.len(), 1);
    same(&read(d.join("l/../l/f"))?, b"x")?;
    expect_errno!(rmdir(d.join("l")), NOTDIR);
    Ok(())
}

fn symlink_mode(d: &Path) -> Outcome {
    symlink("x", d.join("l"))?;
    ensure_eq!(bits(d.join("l"))?, 0o777);
    ensure_eq!(nlink(d.join("l"))?, 1);
    Ok(())
}

fn symlink_unlink(d: &Path) -> Outcome {
    file(d.join("f"), "x")?;
    mkdir(d.join("dir"))?;
    symlink("f", d.join("l"))?;
    symlink("dir", d.join("dl"))?;
    unlink(d.join("l"))?;
    unlink(d.join("dl"))?;
    ensure_eq!(names(d)?, BTreeSet::from(["f".into(), "dir".into()]));
    Ok(())
}

fn symlink_chmod(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    symlink("f", d.join("l"))?;
    chmod(d.join("l"), 0o600)?;
    ensure_eq!(bits(d.join("f"))?, 0o600);
    ensure_eq!(bits(d.join("l"))?, 0o777);
    Ok(())
}

fn symlink_lchown(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    symlink("f", d.join("l"))?;
    let (uid, gid) = (rfs::Uid::from_raw(ALICE.uid), rfs::Gid::from_raw(ALICE.gid));
    rfs::chownat(CWD, d.join("l"), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    ensure_eq!(st(d.join("l"))?.uid(), ALICE.uid);
    ensure_ne!(st(d.join("f"))?.uid(), ALICE.uid);
    chown(d.join("l"), BOB.uid, BOB.gid)?;
    ensure_eq!(st(d.join("l"))?.gid(), ALICE.gid);
    ensure_eq!(st(d.join("f"))?.gid(), BOB.gid);
    Ok(())
}

fn symlink_target_made_later(d: &Path) -> Outcome {
    symlink("dir/f", d.join("l"))?;
    expect_errno!(read(d.join("l")), NOENT);
    mkdir(d.join("dir"))?;
    expect_errno!(read(d.join("l")), NOENT);
    file(d.join("dir/f"), "x")?;
    same(&read(d.join("l"))?, b"x")?;
    unlink(d.join("dir/f"))?;
    expect_errno!(read(d.join("l")), NOENT);
    Ok(())
}
