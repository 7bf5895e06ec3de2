//! Directories: mkdir(2), rmdir(2), paths.

use crate::posix::base::*;

cases! { "dirs":
    mkdir_makes [] "mkdir makes an empty directory with the mode less the umask (mkdir(2))";
    nlink_of_parent [DIR_NLINK] "sub-directories count in the parent's link count, files do not (inode(7))";
    mkdir_exists [SYMLINK] "mkdir fails with EEXIST on a file, a directory and a dangling link (mkdir(2))";
    mkdir_no_parent [] "mkdir fails with ENOENT and ENOTDIR for a bad parent (mkdir(2))";
    rmdir_not_empty [] "rmdir of a directory with an entry fails with ENOTEMPTY (rmdir(2))";
    rmdir_refused [] "rmdir fails with ENOTDIR on a file, EINVAL on '.', ENOTEMPTY on '..' (rmdir(2))";
    unlink_directory [] "unlink of a directory fails with EISDIR (unlink(2))";
    unlinkat_flags [] "unlinkat removes files, and with AT_REMOVEDIR directories, not the other way (unlinkat(2))";
    rmdir_of_cwd [] "the working directory can be removed; nothing can be made in it then (rmdir(2))";
    removed_dir_fd [] "a removed directory is empty, has no links and refuses new entries: ENOENT (rmdir(2))";
    removed_dir_again [] "a directory made again under a removed one's name is another (mkdir(2))";
    dotdot_after_rename [] "'..' leads to the new parent after a rename (rename(2))";
    deep_tree [] "a tree of 150 levels, longer than PATH_MAX, by openat (openat(2))";
    wide_tree [] "20 directories of 20 directories each, and their link counts (mkdir(2))";
    trailing_slash_file [] "a trailing slash on a file fails with ENOTDIR (path_resolution(7))";
    trailing_slash_dir [SYMLINK] "a trailing slash on a directory or a link to one is taken (path_resolution(7))";
    trailing_slash_new [] "a trailing slash: mkdir takes it, O_CREAT fails with EISDIR (path_resolution(7))";
    dot_paths [] "'.', '..' and double slashes in a path (path_resolution(7))";
    large_again [] "a directory can be filled and emptied five times over (mkdir(2))";
    fsync_directory [] "fsync of a directory succeeds (fsync(2))";
    fd_follows_rename [] "a descriptor of a directory stays valid when it is renamed (openat(2))";
    negative_then_create [] "a name that was looked up in vain is found once it is made (stat(2))";
    file_then_directory [] "one name is in turn a file, a directory and a link, each seen at once (stat(2))";
    mkdir_special_bits [] "mkdir takes the sticky bit (mkdir(2))";
}

fn mkdir_makes(d: &Path) -> Outcome {
    rfs::mkdir(d.join("dir"), mode(0o777))?;
    let meta = st(d.join("dir"))?;
    ensure!(meta.is_dir(), "not a directory");
    ensure_eq!(meta.mode() & 0o7777, 0o755);
    ensure_eq!(names(d.join("dir"))?.len(), 0);
    rmdir(d.join("dir"))?;
    expect_errno!(st(d.join("dir")), NOENT);
    Ok(())
}

fn nlink_of_parent(d: &Path) -> Outcome {
    mkdir(d.join("dir"))?;
    ensure_eq!(nlink(d.join("dir"))?, 2);
    touch(d.join("dir/f"))?;
    ensure_eq!(nlink(d.join("dir"))?, 2);
    mkdir(d.join("dir/a"))?;
    mkdir(d.join("dir/b"))?;
    ensure_eq!(nlink(d.join("dir"))?, 4);
    rmdir(d.join("dir/a"))?;
    ensure_eq!(nlink(d.join("dir"))?, 3);
    Ok(())
}

fn mkdir_exists(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    mkdir(d.join("dir"))?;
    symlink("nowhere", d.join("l"))?;
    for name in ["f", "dir", "l", ".", "..", "dir/", "dir/."] {
        expect_errno!(mkdir(d.join(name)), EXIST);
    }
    expect_errno!(mkdir("/"), EXIST);
    ensure!(!exists(d.join("nowhere")), "mkdir followed a dangling link");
    Ok(())
}

fn mkdir_no_parent(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    expect_errno!(mkdir(d.join("none/dir")), NOENT);
    expect_errno!(mkdir(d.join("f/dir")), NOTDIR);
    Ok(())
}

fn rmdir_not_empty(d: &Path) -> Outcome {
    mkdir(d.join("dir"))?;
    touch(d.join("dir/f"))?;
    expect_errno!(rmdir(d.join("dir")), NOTEMPTY | EXIST);
    unlink(d.join("dir/f"))?;
    mkdir(d.join("dir/sub"))?;
    expect_errno!(rmdir(d.join("dir")), NOTEMPTY | EXIST);
    rmdir(d.join("dir/sub"))?;
    rmdir(d.join("dir"))?;
    expect_errno!(rmdir(d.join("dir")), NOENT);
    Ok(())
}

fn rmdir_refused(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    symlink(".", d.join("l"))?;
    mkdir(d.join("dir"))?;
    expect_errno!(rmdir(d.join("f")), NOTDIR);
    expect_errno!(rmdir(d.join("l")), NOTDIR);
    expect_errno!(rmdir(d.join("dir/.")), INVAL);
    expect_errno!(rmdir(d.join("dir/..")), NOTEMPTY | EXIST);
    Ok(())
}

fn unlink_directory(d: &Path) -> Outcome {
    mkdir(d.join("dir"))?;
    expect_errno!(unlink(d.join("dir")), ISDIR);
    ensure!(exists(d.join("dir")), "the directory is gone");
    Ok(())
}

fn unlinkat_flags(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    mkdir(d.join("dir"))?;
    let dir = open(d, RD | DIRECTORY)?;
    expect_errno!(rfs::unlinkat(&dir, "f", AtFlags::REMOVEDIR), NOTDIR);
    expect_errno!(rfs::unlinkat(&dir, "dir", AtFlags::empty()), ISDIR);
    rfs::unlinkat(&dir, "f", AtFlags::empty())?;
    rfs::unlinkat(&dir, "dir", AtFlags::REMOVEDIR)?;
    ensure_eq!(names(d)?.len(), 0);
    Ok(())
}

fn rmdir_of_cwd(d: &Path) -> Outcome {
    mkdir(d.join("dir"))?;
    rustix::process::chdir(d.join("dir"))?;
    rmdir(d.join("dir"))?;
    expect_errno!(rustix::process::getcwd(Vec::new()), NOENT);
    expect_errno!(open("f", CREAT | RDWR), NOENT);
    expect_errno!(mkdir("sub"), NOENT);
    ensure!(fs::metadata(".")?.is_dir(), "'.' is no directory any more");
    rustix::process::chdir(d)?;
    Ok(())
}

fn removed_dir_fd(d: &Path) -> Outcome {
    mkdir(d.join("dir"))?;
    let f = touch(d.join("dir/f"))?;
    let dir = open(d.join("dir"), RD | DIRECTORY)?;
    unlink(d.join("dir/f"))?;
    rmdir(d.join("dir"))?;
    ensure_eq!(dir.metadata()?.nlink(), 0);
    ensure!(dir.metadata()?.is_dir(), "no directory any more");
    expect_errno!(open_at(&dir, "g", CREAT | RDWR), NOENT);
    expect_errno!(rfs::mkdirat(&dir, "sub", mode(0o755)), NOENT);
    expect_errno!(rfs::symlinkat("x", &dir, "l"), NOENT);
    touch(d.join("h"))?;
    expect_errno!(rfs::renameat(CWD, d.join("h"), &dir, "h"), NOENT);
    match dents(&dir, 4096) {
        Ok(found) => ensure_eq!(found.iter().filter(|e| e.name != "." && e.name != "..").count(), 0),
        Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    f.write_all_at(b"x", 0)?;
    Ok(())
}

fn removed_dir_again(d: &Path) -> Outcome {
    mkdir(d.join("dir"))?;
    let old = open(d.join("dir"), RD | DIRECTORY)?;
    rmdir(d.join("dir"))?;
    mkdir(d.join("dir"))?;
    touch(d.join("dir/f"))?;
    ensure_ne!(old.metadata()?.ino(), ino(d.join("dir"))?);
    expect_errno!(open_at(&old, "f", RD), NOENT);
    Ok(())
}

fn dotdot_after_rename(d: &Path) -> Outcome {
    mkdir(d.join("a"))?;
    mkdir(d.join("b"))?;
    mkdir(d.join("a/sub"))?;
    let sub = open(d.join("a/sub"), RD | DIRECTORY)?;
    rename(d.join("a/sub"), d.join("b/moved"))?;
    let parent = ino(d.join("b"))?;
    ensure_eq!(open_at(&sub, "..", RD)?.metadata()?.ino(), parent);
    ensure_eq!(st(d.join("b/moved/.."))?.ino(), parent);
    let dotdot = dents(&sub, 4096)?.into_iter().find(|entry| entry.name == "..");
    ensure_eq!(dotdot.map(|entry| entry.ino), Some(parent));
    touch(d.join("b/f"))?;
    open_at(&sub, "../f", RD)?;
    rename(d.join("b"), d.join("c"))?;
    open_at(&sub, "../f", RD)?;
    Ok(())
}

fn deep_tree(d: &Path) -> Outcome {
    const LEVELS: usize = 150;
    let name = "n".repeat(40);
    let mut stack = vec![open(d, RD | DIRECTORY)?];
    for _ in 0..LEVELS {
        let parent = &stack[stack.len() - 1];
        rfs::mkdirat(parent, &name, mode(0o755))?;
        let child = open_at(parent, &name, RD | DIRECTORY)?;
        stack.push(child);
    }
    let deepest = &stack[LEVELS];
    open_at(deepest, "f", CREAT | RDWR)?.write_all_at(b"deep", 0)?;
    let up = "../".repeat(LEVELS);
    ensure_eq!(open_at(deepest, &up, RD)?.metadata()?.ino(), ino(d)?);
    rfs::unlinkat(deepest, "f", AtFlags::empty())?;
    while stack.len() > 1 {
        stack.pop();
        rfs::unlinkat(&stack[stack.len() - 1], &name, AtFlags::REMOVEDIR)?;
    }
    ensure_eq!(names(d)?.len(), 0);
    Ok(())
}

fn wide_tree(d: &Path) -> Outcome {
    for i in 0..20 {
        mkdir(d.join(format!("d{i}")))?;
        for j in 0..20 {
            mkdir(d.join(format!("d{i}/e{j}")))?;
        }
    }
    let mut inodes = BTreeSet::new();
    for i in 0..20 {
        let dir = d.join(format!("d{i}"));
        ensure_eq!(names(&dir)?.len(), 20);
        let links = nlink(&dir)?;
        ensure!(links == 22 || links == 1, "{links} links for 20 sub-directories");
        for name in names(&dir)? {
            ensure!(inodes.insert(ino(dir.join(name))?), "two directories have one inode number");
        }
    }
    Ok(())
}

fn slash(path: PathBuf) -> PathBuf {
    let mut path = path.into_os_string();
    path.push("/");
    path.into()
}

fn trailing_slash_file(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    touch(d.join("g"))?;
    let f = || slash(d.join("f"));
    expect_errno!(open(f(), RD), NOTDIR);
    expect_errno!(st(f()), NOTDIR);
    expect_errno!(unlink(f()), NOTDIR);
    expect_errno!(rename(f(), d.join("x")), NOTDIR);
    expect_errno!(rename(d.join("g"), f()), NOTDIR);
    expect_errno!(rename(d.join("g"), slash(d.join("new"))), NOTDIR);
    expect_errno!(link(f(), d.join("x")), NOTDIR);
    Ok(())
}

fn trailing_slash_dir(d: &Path) -> Outcome {
    mkdir(d.join("dir"))?;
    symlink("dir", d.join("l"))?;
    open(slash(d.join("dir")), RD)?;
    ensure!(st(slash(d.join("l")))?.is_dir(), "'l/' is not the directory");
    expect_errno!(open(slash(d.join("dir")), CREAT | RDWR), ISDIR);
    expect_errno!(rmdir(slash(d.join("l"))), NOTDIR);
    expect_errno!(unlink(slash(d.join("dir"))), ISDIR);
    rename(slash(d.join("dir")), slash(d.join("moved")))?;
    rmdir(slash(d.join("moved")))?;
    ensure!(!exists(d.join("moved")), "rmdir left the directory");
    Ok(())
}

fn trailing_slash_new(d: &Path) -> Outcome {
    mkdir(slash(d.join("dir")))?;
    ensure!(st(d.join("dir"))?.is_dir(), "not made");
    expect_errno!(open(slash(d.join("new")), CREAT | RDWR), ISDIR);
    expect_errno!(open(slash(d.join("new")), RD), NOENT);
    expect_errno!(rfs::symlink("x", slash(d.join("new"))), NOENT);
    ensure_eq!(names(d)?.len(), 1);
    Ok(())
}

fn dot_paths(d: &Path) -> Outcome {
    mkdir(d.join("a"))?;
    mkdir(d.join("a/b"))?;
    file(d.join("a/b/f"), "x")?;
    let own = d.file_name().unwrap_or_default();
    for path in ["a/./b/./f", "a/b/../b/f", "a/b/../../a/b/f", "a//b///f", "./a/b/f"] {
        let mut full = d.as_os_str().to_owned();
        full.push("/");
        full.push(path);
        same(&read(&full)?, b"x")?;
    }
    same(&read(d.join("..").join(own).join("a/b/f"))?, b"x")?;
    ensure_eq!(st(d.join("a/b/../.."))?.ino(), ino(d)?);
    Ok(())
}

fn large_again(d: &Path) -> Outcome {
    for round in 0..5 {
        for i in 0..200 {
            touch(d.join(format!("round-{round}-file-{i}")))?;
        }
        let found = names(d)?;
        ensure_eq!(found.len(), 200);
        for name in found {
            unlink(d.join(name))?;
        }
        ensure_eq!(names(d)?.len(), 0);
    }
    Ok(())
}

fn fsync_directory(d: &Path) -> Outcome {
    mkdir(d.join("dir"))?;
    touch(d.join("dir/f"))?;
    rfs::fsync(open(d.join("dir"), RD | DIRECTORY)?)?;
    rfs::fdatasync(open(d, RD | DIRECTORY)?)?;
    Ok(())
}

fn fd_follows_rename(d: &Path) -> Outcome {
    mkdir(d.join("a"))?;
    let a = open(d.join("a"), RD | DIRECTORY)?;
    rename(d.join("a"), d.join("b"))?;
    open_at(&a, "f", CREAT | RDWR)?.write_all_at(b"x", 0)?;
    same(&read(d.join("b/f"))?, b"x")?;
    mkdir(d.join("a"))?;
    expect_errno!(st(d.join("a/f")), NOENT);
    Ok(())
}

fn negative_then_create(d: &Path) -> Outcome {
    for round in 0..20 {
        let f = d.join("f");
        expect_errno!(st(&f), NOENT);
        expect_errno!(open(&f, RD), NOENT);
        match round % 4 {
            0 => drop(touch(&f)?),
            1 => mkdir(&f)?,
            2 => symlink("x", &f)?,
            _ => {
                touch(d.join("other"))?;
                rename(d.join("other"), &f)?;
            }
        }
        let meta = st(&f)?;
        if meta.is_dir() { rmdir(&f)? } else { unlink(&f)? }
    }
    Ok(())
}

fn file_then_directory(d: &Path) -> Outcome {
    let x = d.join("x");
    touch(d.join("target"))?;
    for _ in 0..10 {
        touch(&x)?;
        ensure!(st(&x)?.is_file(), "not a file");
        unlink(&x)?;
        mkdir(&x)?;
        ensure!(st(&x)?.is_dir(), "not a directory");
        rmdir(&x)?;
        symlink("target", &x)?;
        ensure!(st(&x)?.is_symlink(), "not a link");
        ensure_eq!(fs::metadata(&x)?.ino(), ino(d.join("target"))?);
        unlink(&x)?;
    }
    Ok(())
}

fn mkdir_special_bits(d: &Path) -> Outcome {
    rfs::mkdir(d.join("dir"), mode(0o1777))?;
    ensure_eq!(bits(d.join("dir"))?, 0o1755);
    Ok(())
}
