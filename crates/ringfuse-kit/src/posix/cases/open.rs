//! open(2): flags, and what they refuse.

use crate::posix::base::*;

cases! { "open":
    creates [] "O_CREAT makes an empty regular file with one link (open(2))";
    excl_exists [] "O_CREAT|O_EXCL fails with EEXIST on an existing file (open(2))";
    excl_dangling_link [SYMLINK] "O_CREAT|O_EXCL fails with EEXIST on a dangling symbolic link (open(2))";
    create_through_link [SYMLINK] "O_CREAT through a dangling symbolic link makes its target (open(2))";
    create_existing [] "O_CREAT without O_EXCL opens an existing file and leaves mode and content (open(2))";
    trunc_empties [] "O_TRUNC empties a file and keeps its inode (open(2))";
    append_goes_to_end [] "O_APPEND puts every write at the end, wherever the offset is (open(2))";
    append_pwrite [] "pwrite on an O_APPEND descriptor appends (pwrite(2), BUGS)";
    append_set_later [] "O_APPEND set by F_SETFL has effect on the next write (fcntl(2), F_SETFL)";
    nofollow [SYMLINK] "O_NOFOLLOW on a symbolic link fails with ELOOP (open(2))";
    path_of_link [SYMLINK] "O_PATH|O_NOFOLLOW opens a symbolic link itself (open(2), O_PATH)";
    path_no_io [] "an O_PATH descriptor refuses I/O with EBADF, but can be examined (open(2), O_PATH)";
    path_as_base [] "an O_PATH descriptor of a directory is a base for openat (open(2), O_PATH)";
    directory_on_file [] "O_DIRECTORY on a file fails with ENOTDIR (open(2))";
    directory_for_writing [] "a directory cannot be opened for writing: EISDIR (open(2))";
    directory_create [] "O_CREAT on an existing directory fails with EISDIR (open(2))";
    missing [] "a missing file or a missing parent fails with ENOENT (open(2))";
    file_as_directory [] "a file used as a directory fails with ENOTDIR (path_resolution(7))";
    empty_path [] "an empty path fails with ENOENT (path_resolution(7))";
    path_too_long [] "a path of 4096 bytes fails with ENAMETOOLONG (path_resolution(7))";
    access_mode_kept [] "reading O_WRONLY and writing O_RDONLY fail with EBADF (read(2), write(2))";
    read_directory [] "read(2) on a directory fails with EISDIR (read(2))";
    own_offsets [] "two opens have offsets of their own, a dup shares its (dup(2))";
    reopen_by_proc [] "an open file can be opened again by /proc/self/fd, with other access (proc(5))";
    tmpfile_nameless [TMPFILE] "O_TMPFILE makes a file without name and with link count 0 (open(2), O_TMPFILE)";
    tmpfile_linked [TMPFILE HARD_LINK] "linkat gives an O_TMPFILE file a name (open(2), O_TMPFILE)";
    tmpfile_excl [TMPFILE] "an O_TMPFILE|O_EXCL file cannot be linked: ENOENT (open(2), O_TMPFILE)";
    tmpfile_read_only [TMPFILE] "O_TMPFILE needs write access: EINVAL (open(2), O_TMPFILE)";
    tmpfile_needs_directory [TMPFILE] "O_TMPFILE on a file fails with ENOTDIR (open(2), O_TMPFILE)";
    tmpfile_goes_away [TMPFILE] "a directory is empty after an O_TMPFILE file is closed (open(2), O_TMPFILE)";
    sync_flags [] "O_SYNC and O_DSYNC writes can be read back (open(2))";
    resolve_beneath [SYMLINK] "RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS hold (openat2(2))";
    noatime_owner [ATIME] "O_NOATIME reads do not change the access time (open(2))";
    many_descriptors [] "200 files are open at once, each with its own content (open(2))";
}

fn creates(d: &Path) -> Outcome {
    let f = d.join("f");
    drop(touch(&f)?);
    let meta = st(&f)?;
    ensure!(meta.is_file(), "not a regular file");
    ensure_eq!(meta.len(), 0);
    ensure_eq!(meta.nlink(), 1);
    ensure_eq!(meta.mode() & 0o7777, 0o644);
    ensure_eq!(names(d)?.len(), 1);
    Ok(())
}

fn excl_exists(d: &Path) -> Outcome {
    let f = d.join("f");
    file(&f, "kept")?;
    expect_errno!(open(&f, CREAT | EXCL | WR), EXIST);
    expect_errno!(open(&f, CREAT | EXCL | WR | TRUNC), EXIST);
    mkdir(d.join("dir"))?;
    expect_errno!(open(d.join("dir"), CREAT | EXCL | WR), EXIST);
    same(&read(&f)?, b"kept")
}

fn excl_dangling_link(d: &Path) -> Outcome {
    symlink("target", d.join("l"))?;
    expect_errno!(open(d.join("l"), CREAT | EXCL | WR), EXIST);
    ensure!(!exists(d.join("target")), "the target was made");
    Ok(())
}

fn create_through_link(d: &Path) -> Outcome {
    symlink("target", d.join("l"))?;
    let f = open(d.join("l"), CREAT | RDWR)?;
    f.write_all_at(b"x", 0)?;
    same(&read(d.join("target"))?, b"x")?;
    ensure!(st(d.join("l"))?.is_symlink(), "the link was replaced");
    Ok(())
}

fn create_existing(d: &Path) -> Outcome {
    let f = d.join("f");
    file(&f, "content")?;
    chmod(&f, 0o600)?;
    let before = ino(&f)?;
    drop(open_mode(&f, CREAT | RDWR, 0o666)?);
    ensure_eq!(bits(&f)?, 0o600);
    ensure_eq!(ino(&f)?, before);
    same(&read(&f)?, b"content")
}

fn trunc_empties(d: &Path) -> Outcome {
    let f = d.join("f");
    let old = file(&f, "content")?;
    let before = ino(&f)?;
    drop(open(&f, WR | TRUNC)?);
    ensure_eq!(st(&f)?.len(), 0);
    ensure_eq!(ino(&f)?, before);
    ensure_eq!(old.metadata()?.len(), 0, "by a descriptor from before");
    ensure_eq!(old.read_at(&mut [0; 8], 0)?, 0);
    Ok(())
}

fn append_goes_to_end(d: &Path) -> Outcome {
    let f = d.join("f");
    file(&f, "start")?;
    let mut a = open(&f, RDWR | APPEND)?;
    a.seek(SeekFrom::Start(0))?;
    ensure_eq!(a.write(b"-one")?, 4);
    ensure_eq!(a.stream_position()?, 9);
    let mut b = open(&f, WR | APPEND)?;
    ensure_eq!(b.write(b"-two")?, 4);
    ensure_eq!(a.write(b"-three")?, 6);
    same(&read(&f)?, b"start-one-two-three")
}

fn append_pwrite(d: &Path) -> Outcome {
    let f = d.join("f");
    file(&f, "start")?;
    let a = open(&f, WR | APPEND)?;
    ensure_eq!(rustix::io::pwrite(&a, b"-end", 0)?, 4);
    same(&read(&f)?, b"start-end")
}

fn append_set_later(d: &Path) -> Outcome {
    let f = d.join("f");
    let mut a = file(&f, "start")?;
    rfs::fcntl_setfl(&a, APPEND)?;
    a.write_all(b"-end")?;
    rfs::fcntl_setfl(&a, OFlags::empty())?;
    a.seek(SeekFrom::Start(0))?;
    a.write_all(b"S")?;
    same(&read(&f)?, b"Start-end")
}

fn nofollow(d: &Path) -> Outcome {
    file(d.join("f"), "x")?;
    symlink("f", d.join("l"))?;
    expect_errno!(open(d.join("l"), RD | NOFOLLOW), LOOP);
    open(d.join("f"), RD | NOFOLLOW)?;
    mkdir(d.join("dir"))?;
    symlink("dir", d.join("dl"))?;
    expect_errno!(open(d.join("dl"), RD | NOFOLLOW | DIRECTORY), NOTDIR | LOOP);
    file(d.join("dir/g"), "x")?;
    open(d.join("dl/g"), RD | NOFOLLOW)?;
    Ok(())
}

fn path_of_link(d: &Path) -> Outcome {
    symlink("nowhere", d.join("l"))?;
    let l = open(d.join("l"), O_PATH | NOFOLLOW)?;
    ensure!(l.metadata()?.is_symlink(), "the descriptor is not of the link");
    let target = rfs::readlinkat(&l, "", Vec::new())?;
    ensure_eq!(target.to_bytes(), b"nowhere");
    Ok(())
}

fn path_no_io(d: &Path) -> Outcome {
    file(d.join("f"), "x")?;
    let f = open(d.join("f"), O_PATH)?;
    expect_errno!(rustix::io::read(&f, &mut [0; 1][..]), BADF);
    expect_errno!(rustix::io::write(&f, b"y"), BADF);
    expect_errno!(rfs::fchmod(&f, mode(0o600)), BADF);
    expect_errno!(rfs::ftruncate(&f, 0), BADF);
    ensure_eq!(f.metadata()?.len(), 1);
    same(&read(proc_fd(&f))?, b"x")
}

fn path_as_base(d: &Path) -> Outcome {
    mkdir(d.join("dir"))?;
    let dir = open(d.join("dir"), O_PATH | DIRECTORY)?;
    open_at(&dir, "f", CREAT | EXCL | WR)?;
    ensure!(exists(d.join("dir/f")), "openat made no file");
    expect_errno!(dents(&dir, 4096), BADF);
    Ok(())
}

fn directory_on_file(d: &Path) -> Outcome {
    file(d.join("f"), "x")?;
    expect_errno!(open(d.join("f"), RD | DIRECTORY), NOTDIR);
    open(d, RD | DIRECTORY)?;
    Ok(())
}

fn directory_for_writing(d: &Path) -> Outcome {
    mkdir(d.join("dir"))?;
    expect_errno!(open(d.join("dir"), WR), ISDIR);
    expect_errno!(open(d.join("dir"), RDWR), ISDIR);
    expect_errno!(open(d.join("dir"), RD | TRUNC), ISDIR);
    open(d.join("dir"), RD)?;
    Ok(())
}

fn directory_create(d: &Path) -> Outcome {
    mkdir(d.join("dir"))?;
    expect_errno!(open(d.join("dir"), CREAT | RD), ISDIR);
    expect_errno!(open(d.join("dir"), CREAT | RDWR), ISDIR);
    Ok(())
}

fn missing(d: &Path) -> Outcome {
    expect_errno!(open(d.join("none"), RD), NOENT);
    expect_errno!(open(d.join("none"), RDWR | TRUNC), NOENT);
    expect_errno!(open(d.join("none/f"), RD), NOENT);
    expect_errno!(open(d.join("none/f"), CREAT | RDWR), NOENT);
    expect_errno!(st(d.join("none")), NOENT);
    expect_errno!(unlink(d.join("none")), NOENT);
    Ok(())
}

fn file_as_directory(d: &Path) -> Outcome {
    file(d.join("f"), "x")?;
    expect_errno!(open(d.join("f/g"), RD), NOTDIR);
    expect_errno!(open(d.join("f/g"), CREAT | RDWR), NOTDIR);
    expect_errno!(mkdir(d.join("f/g")), NOTDIR);
    expect_errno!(unlink(d.join("f/g")), NOTDIR);
    expect_errno!(st(d.join("f/..")), NOTDIR);
    expect_errno!(rmdir(d.join("f")), NOTDIR);
    Ok(())
}

fn empty_path(_: &Path) -> Outcome {
    expect_errno!(open("", RD), NOENT);
    expect_errno!(st(""), NOENT);
    expect_errno!(mkdir(""), NOENT);
    Ok(())
}

fn path_too_long(d: &Path) -> Outcome {
    let padded = |len: usize| {
        let mut path = d.as_os_str().to_owned();
        while path.len() + 2 < len - 1 {
            path.push("/.");
        }
        while path.len() + 1 < len {
            path.push("/");
        }
        path.push("f");
        path
    };
    file(d.join("f"), "x")?;
    ensure_eq!(padded(4095).len(), 4095);
    same(&read(padded(4095))?, b"x")?;
    expect_errno!(open(padded(4096), RD), NAMETOOLONG);
    Ok(())
}

fn access_mode_kept(d: &Path) -> Outcome {
    file(d.join("f"), "x")?;
    expect_errno!(rustix::io::read(open(d.join("f"), WR)?, &mut [0; 1][..]), BADF);
    expect_errno!(rustix::io::write(open(d.join("f"), RD)?, b"y"), BADF);
    expect_errno!(rustix::io::pwrite(open(d.join("f"), RD)?, b"y", 0), BADF);
    same(&read(d.join("f"))?, b"x")
}

fn read_directory(d: &Path) -> Outcome {
    let dir = open(d, RD)?;
    expect_errno!(rustix::io::read(&dir, &mut [0; 16][..]), ISDIR);
    expect_errno!(rustix::io::pread(&dir, &mut [0; 16][..], 0), ISDIR);
    expect_errno!(rustix::io::write(&dir, b"x"), BADF);
    Ok(())
}

fn own_offsets(d: &Path) -> Outcome {
    let mut a = file(d.join("f"), "abcdef")?;
    let mut b = open(d.join("f"), RD)?;
    let mut c = a.try_clone()?;
    let mut byte = [0];
    for (file, want) in [(&mut a, b'a'), (&mut b, b'a'), (&mut c, b'b')] {
        file.read_exact(&mut byte)?;
        ensure_eq!(byte[0], want);
    }
    a.read_exact(&mut byte)?;
    ensure_eq!(byte[0], b'c');
    Ok(())
}

fn reopen_by_proc(d: &Path) -> Outcome {
    let f = file(d.join("f"), "abc")?;
    let read_only = open(proc_fd(&f), RD)?;
    expect_errno!(rustix::io::write(&read_only, b"x"), BADF);
    let again = open(proc_fd(&read_only), RDWR)?;
    again.write_all_at(b"B", 1)?;
    same(&read(d.join("f"))?, b"aBc")
}

fn tmpfile(dir: &Path, flags: OFlags) -> Result<File, Failure> {
    open(dir, OFlags::TMPFILE | flags).or_skip("O_TMPFILE")
}

fn tmpfile_nameless(d: &Path) -> Outcome {
    let f = tmpfile(d, RDWR)?;
    ensure_eq!(names(d)?, BTreeSet::new());
    let meta = f.metadata()?;
    ensure!(meta.is_file(), "not a regular file");
    ensure_eq!(meta.nlink(), 0);
    ensure_eq!(meta.len(), 0);
    let data = pattern(300_001, 1);
    f.write_all_at(&data, 7)?;
    same(&read_at(&f, 7, data.len())?, &data)?;
    ensure_eq!(f.metadata()?.len(), 300_008);
    Ok(())
}

fn tmpfile_linked(d: &Path) -> Outcome {
    let f = tmpfile(d, WR)?;
    f.write_all_at(b"content", 0)?;
    rfs::linkat(CWD, proc_fd(&f), CWD, d.join("f"), AtFlags::SYMLINK_FOLLOW)?;
    ensure_eq!(f.metadata()?.nlink(), 1);
    ensure_eq!(ino(d.join("f"))?, f.metadata()?.ino());
    drop(f);
    same(&read(d.join("f"))?, b"content")?;
    let g = tmpfile(d, WR)?;
    expect_errno!(rfs::linkat(CWD, proc_fd(&g), CWD, d.join("f"), AtFlags::SYMLINK_FOLLOW), EXIST);
    Ok(())
}

fn tmpfile_excl(d: &Path) -> Outcome {
    let f = tmpfile(d, RDWR | EXCL)?;
    expect_errno!(rfs::linkat(CWD, proc_fd(&f), CWD, d.join("f"), AtFlags::SYMLINK_FOLLOW), NOENT);
    ensure!(!exists(d.join("f")), "a name was made");
    Ok(())
}

fn tmpfile_read_only(d: &Path) -> Outcome {
    tmpfile(d, WR)?;
    expect_errno!(open(d, OFlags::TMPFILE | RD), INVAL);
    Ok(())
}

fn tmpfile_needs_directory(d: &Path) -> Outcome {
    tmpfile(d, WR)?;
    file(d.join("f"), "x")?;
    expect_errno!(open(d.join("f"), OFlags::TMPFILE | RDWR), NOTDIR);
    expect_errno!(open(d.join("none"), OFlags::TMPFILE | RDWR), NOENT);
    Ok(())
}

fn tmpfile_goes_away(d: &Path) -> Outcome {
    mkdir(d.join("dir"))?;
    for _ in 0..50 {
        tmpfile(&d.join("dir"), RDWR)?.write_all_at(&[1; 5000], 0)?;
    }
    ensure_eq!(names(d.join("dir"))?.len(), 0);
    let held = tmpfile(&d.join("dir"), RDWR)?;
    rmdir(d.join("dir"))?;
    held.write_all_at(b"x", 0)?;
    ensure_eq!(held.metadata()?.nlink(), 0);
    Ok(())
}

fn sync_flags(d: &Path) -> Outcome {
    for (name, flag) in [("s", OFlags::SYNC), ("d", OFlags::DSYNC)] {
        let data = pattern(10_000, 2);
        let f = open(d.join(name), CREAT | RDWR | flag)?;
        f.write_all_at(&data, 3)?;
        f.write_all_at(b"!", 0)?;
        same(&read_at(&f, 3, data.len())?, &data)?;
        ensure_eq!(st(d.join(name))?.len(), 10_003);
    }
    Ok(())
}

fn resolve_beneath(d: &Path) -> Outcome {
    use rfs::ResolveFlags as R;
    mkdir(d.join("dir"))?;
    file(d.join("outside"), "x")?;
    file(d.join("dir/f"), "x")?;
    symlink("f", d.join("dir/inner"))?;
    symlink("../outside", d.join("dir/outer"))?;
    let dir = open(d.join("dir"), RD | DIRECTORY)?;
    let at = |path: &str, how| rfs::openat2(&dir, path, RD | OFlags::CLOEXEC, Mode::empty(), how);
    at("inner", R::BENEATH).or_skip("openat2")?;
    at("f", R::NO_SYMLINKS)?;
    expect_errno!(at("../outside", R::BENEATH), XDEV);
    expect_errno!(at("outer", R::BENEATH), XDEV);
    expect_errno!(at("inner", R::NO_SYMLINKS), LOOP);
    Ok(())
}

fn noatime_owner(d: &Path) -> Outcome {
    let f = d.join("f");
    file(&f, "content")?;
    set_times(&f, (1_000_000, 0), (2_000_000, 0))?;
    let mut open_file = open(&f, RD | OFlags::NOATIME)?;
    open_file.read_to_end(&mut Vec::new())?;
    drop(open_file);
    ensure_eq!(times(&f)?.a, (1_000_000, 0));
    Ok(())
}

fn many_descriptors(d: &Path) -> Outcome {
    let mut files = Vec::new();
    for i in 0..200u64 {
        files.push(file(d.join(format!("f{i}")), pattern(100, i))?);
    }
    for (i, f) in (0..).zip(&files) {
        same(&read_at(f, 0, 100)?, &pattern(100, i))?;
    }
    Ok(())
}
