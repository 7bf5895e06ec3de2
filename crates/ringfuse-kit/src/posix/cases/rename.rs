//! rename(2) and renameat2(2).

use crate::posix::base::*;
use rustix::fs::RenameFlags;

cases! { "rename":
    moves [] "rename keeps inode and content, and the old name is gone (rename(2))";
    replaces_file [] "an existing file is replaced (rename(2))";
    replaced_stays_open [] "a replaced file that is open can be read and written on (rename(2))";
    moved_stays_open [] "a file that is open can be read and written on after it was renamed (rename(2))";
    replaces_empty_dir [] "a directory replaces an empty directory (rename(2))";
    replaced_dir_fd [] "a replaced directory that is open has no links and takes no entries (rename(2))";
    dir_not_empty [] "a directory that is not empty is not replaced: ENOTEMPTY (rename(2))";
    into_itself [] "a directory cannot be moved into itself: EINVAL (rename(2))";
    onto_ancestor [] "a directory cannot replace one above it: ENOTEMPTY (rename(2))";
    file_over_dir [] "a file does not replace a directory: EISDIR (rename(2))";
    dir_over_file [] "a directory does not replace a file: ENOTDIR (rename(2))";
    missing [] "a missing source or parent fails with ENOENT, a file as parent with ENOTDIR (rename(2))";
    dot_names [] "'.' and '..' cannot be renamed or replaced: EBUSY or EINVAL (rename(2))";
    same_name [] "rename of a name to itself does nothing (rename(2))";
    same_file [HARD_LINK] "rename onto another link of the same file does nothing (rename(2))";
    replaced_link_count [HARD_LINK] "the replaced file loses a link (rename(2))";
    link_count_kept [HARD_LINK] "the renamed file keeps its links (rename(2))";
    link_itself [SYMLINK] "a symbolic link is renamed itself, and replaced itself (rename(2))";
    parents_nlink [DIR_NLINK] "moving a directory moves its '..' link from parent to parent (inode(7))";
    parents_nlink_replaced [DIR_NLINK] "replacing a directory takes a link from the parent (inode(7))";
    dir_with_content [] "a moved directory keeps its tree, and open files in it (rename(2))";
    noreplace [RENAME_NOREPLACE] "RENAME_NOREPLACE fails with EEXIST on an existing target, else renames (renameat2(2))";
    exchange_files [RENAME_EXCHANGE] "RENAME_EXCHANGE swaps two files (renameat2(2))";
    exchange_kinds [RENAME_EXCHANGE] "RENAME_EXCHANGE swaps a directory and a file of two directories (renameat2(2))";
    exchange_nlink [RENAME_EXCHANGE DIR_NLINK] "RENAME_EXCHANGE moves the parents' link counts (renameat2(2))";
    exchange_dirs [RENAME_EXCHANGE] "RENAME_EXCHANGE swaps directories that are not empty, and their '..' (renameat2(2))";
    exchange_missing [RENAME_EXCHANGE] "RENAME_EXCHANGE fails with ENOENT if either is missing (renameat2(2))";
    exchange_ancestor [RENAME_EXCHANGE] "RENAME_EXCHANGE with a directory above fails with EINVAL (renameat2(2))";
    bad_flags [RENAME_EXCHANGE RENAME_NOREPLACE] "RENAME_EXCHANGE with NOREPLACE, and unknown flags, fail with EINVAL (renameat2(2))";
    whiteout [RENAME_WHITEOUT MKNOD ROOT] "RENAME_WHITEOUT leaves a character device 0/0 (renameat2(2))";
    seen_at_once [] "looked-up names are right after each of many renames (rename(2))";
    long_name [] "a name of 255 bytes is taken, one of 256 fails with ENAMETOOLONG (rename(2))";
    by_descriptors [] "renameat between two open directories (renameat(2))";
    chain [] "a file moved through 30 directories, and back by their descriptors (renameat(2))";
    listed_once [] "a directory lists the new name and not the old one (rename(2))";
}

fn with_flags(from: impl AsRef<Path>, to: impl AsRef<Path>, flags: RenameFlags) -> Result<(), Errno> {
    rfs::renameat_with(CWD, from.as_ref(), CWD, to.as_ref(), flags)
}

fn exchange(a: impl AsRef<Path>, b: impl AsRef<Path>) -> Result<(), Errno> {
    with_flags(a, b, RenameFlags::EXCHANGE)
}

/// EINVAL is how a filesystem says that it does not know a rename flag.
fn need_flag(d: &Path, flag: RenameFlags, what: &str) -> Outcome {
    let (a, b) = (d.join("probe-a"), d.join("probe-b"));
    touch(&a)?;
    if flag == RenameFlags::EXCHANGE {
        touch(&b)?;
    }
    let result = with_flags(&a, &b, flag);
    for path in [&a, &b] {
        if exists(path) {
            unlink(path)?;
        }
    }
    match result {
        Err(Errno::INVAL) => skip!("not supported: {what}"),
        result => result.or_skip(what),
    }
}

fn need_exchange(d: &Path) -> Outcome {
    need_flag(d, RenameFlags::EXCHANGE, "RENAME_EXCHANGE")
}

fn moves(d: &Path) -> Outcome {
    file(d.join("a"), "content")?;
    let before = st(d.join("a"))?;
    rename(d.join("a"), d.join("b"))?;
    let after = st(d.join("b"))?;
    ensure_eq!(after.ino(), before.ino());
    ensure_eq!(after.mode(), before.mode());
    ensure_eq!(after.nlink(), 1);
    expect_errno!(st(d.join("a")), NOENT);
    same(&read(d.join("b"))?, b"content")
}

fn replaces_file(d: &Path) -> Outcome {
    file(d.join("a"), "new")?;
    file(d.join("b"), "old content")?;
    let inode = ino(d.join("a"))?;
    rename(d.join("a"), d.join("b"))?;
    ensure_eq!(ino(d.join("b"))?, inode);
    ensure_eq!(names(d)?.len(), 1);
    same(&read(d.join("b"))?, b"new")
}

fn replaced_stays_open(d: &Path) -> Outcome {
    file(d.join("a"), "new")?;
    let old = file(d.join("b"), "old content")?;
    rename(d.join("a"), d.join("b"))?;
    ensure_eq!(old.metadata()?.nlink(), 0);
    same(&read_at(&old, 0, 11)?, b"old content")?;
    old.write_all_at(b"OLD", 0)?;
    old.set_len(100_000)?;
    same(&read_at(&old, 0, 4)?, b"OLD ")?;
    same(&read(d.join("b"))?, b"new")
}

fn moved_stays_open(d: &Path) -> Outcome {
    mkdir(d.join("dir"))?;
    let f = file(d.join("a"), "content")?;
    rename(d.join("a"), d.join("dir/b"))?;
    f.write_all_at(b"CON", 0)?;
    f.set_len(5)?;
    same(&read(d.join("dir/b"))?, b"CONte")?;
    ensure_eq!(f.metadata()?.ino(), ino(d.join("dir/b"))?);
    Ok(())
}

fn replaces_empty_dir(d: &Path) -> Outcome {
    mkdir(d.join("a"))?;
    touch(d.join("a/f"))?;
    mkdir(d.join("b"))?;
    let inode = ino(d.join("a"))?;
    rename(d.join("a"), d.join("b"))?;
    ensure_eq!(ino(d.join("b"))?, inode);
    ensure!(exists(d.join("b/f")), "the content did not move");
    expect_errno!(st(d.join("a")), NOENT);
    Ok(())
}

fn replaced_dir_fd(d: &Path) -> Outcome {
    mkdir(d.join("a"))?;
    mkdir(d.join("b"))?;
    let old = open(d.join("b"), RD | DIRECTORY)?;
    rename(d.join("a"), d.join("b"))?;
    ensure_eq!(old.metadata()?.nlink(), 0);
    expect_errno!(open_at(&old, "f", CREAT | RDWR), NOENT);
    touch(d.join("b/f"))?;
    Ok(())
}

fn dir_not_empty(d: &Path) -> Outcome {
    mkdir(d.join("a"))?;
    mkdir(d.join("b"))?;
    touch(d.join("b/f"))?;
    expect_errno!(rename(d.join("a"), d.join("b")), NOTEMPTY | EXIST);
    ensure!(exists(d.join("a")) && exists(d.join("b/f")), "something is gone");
    Ok(())
}

fn into_itself(d: &Path) -> Outcome {
    mkdir(d.join("a"))?;
    mkdir(d.join("a/b"))?;
    mkdir(d.join("a/b/c"))?;
    expect_errno!(rename(d.join("a"), d.join("a/new")), INVAL);
    expect_errno!(rename(d.join("a"), d.join("a/b/new")), INVAL);
    expect_errno!(rename(d.join("a"), d.join("a/b/c")), INVAL);
    expect_errno!(rename(d.join("a/b"), d.join("a/b/c/new")), INVAL);
    ensure!(exists(d.join("a/b/c")), "the tree is gone");
    Ok(())
}

fn onto_ancestor(d: &Path) -> Outcome {
    mkdir(d.join("a"))?;
    mkdir(d.join("a/b"))?;
    mkdir(d.join("a/b/c"))?;
    touch(d.join("a/f"))?;
    expect_errno!(rename(d.join("a/b"), d.join("a")), NOTEMPTY | EXIST);
    expect_errno!(rename(d.join("a/b/c"), d.join("a")), NOTEMPTY | EXIST);
    expect_errno!(rename(d.join("a/f"), d.join("a")), NOTEMPTY | EXIST | ISDIR);
    ensure!(exists(d.join("a/b/c")), "the tree is gone");
    Ok(())
}

fn file_over_dir(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    mkdir(d.join("dir"))?;
    mkdir(d.join("full"))?;
    touch(d.join("full/g"))?;
    expect_errno!(rename(d.join("f"), d.join("dir")), ISDIR);
    expect_errno!(rename(d.join("f"), d.join("full")), ISDIR);
    ensure!(exists(d.join("f")), "the file is gone");
    Ok(())
}

fn dir_over_file(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    mkdir(d.join("dir"))?;
    expect_errno!(rename(d.join("dir"), d.join("f")), NOTDIR);
    ensure!(st(d.join("f"))?.is_file() && st(d.join("dir"))?.is_dir(), "something changed");
    Ok(())
}

fn missing(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    expect_errno!(rename(d.join("none"), d.join("x")), NOENT);
    expect_errno!(rename(d.join("none"), d.join("f")), NOENT);
    expect_errno!(rename(d.join("f"), d.join("none/x")), NOENT);
    expect_errno!(rename(d.join("none/x"), d.join("x")), NOENT);
    expect_errno!(rename(d.join("f/x"), d.join("x")), NOTDIR);
    touch(d.join("g"))?;
    expect_errno!(rename(d.join("f"), d.join("g/x")), NOTDIR);
    Ok(())
}

fn dot_names(d: &Path) -> Outcome {
    mkdir(d.join("dir"))?;
    mkdir(d.join("dir/sub"))?;
    expect_errno!(rename(d.join("dir/."), d.join("x")), BUSY | INVAL);
    expect_errno!(rename(d.join("dir/.."), d.join("x")), BUSY | INVAL);
    expect_errno!(rename(d.join("dir/sub"), d.join("dir/.")), BUSY | INVAL | EXIST | NOTEMPTY);
    expect_errno!(rename(d.join("dir/sub"), d.join("dir/..")), BUSY | INVAL | EXIST | NOTEMPTY);
    Ok(())
}

fn same_name(d: &Path) -> Outcome {
    file(d.join("f"), "x")?;
    mkdir(d.join("dir"))?;
    rename(d.join("f"), d.join("f"))?;
    rename(d.join("dir"), d.join("dir"))?;
    same(&read(d.join("f"))?, b"x")?;
    ensure_eq!(names(d)?.len(), 2);
    Ok(())
}

fn same_file(d: &Path) -> Outcome {
    file(d.join("a"), "x")?;
    link(d.join("a"), d.join("b"))?;
    rename(d.join("a"), d.join("b"))?;
    ensure_eq!(nlink(d.join("a"))?, 2);
    ensure_eq!(nlink(d.join("b"))?, 2);
    Ok(())
}

fn replaced_link_count(d: &Path) -> Outcome {
    touch(d.join("a"))?;
    touch(d.join("b"))?;
    link(d.join("b"), d.join("b2"))?;
    link(d.join("b"), d.join("b3"))?;
    rename(d.join("a"), d.join("b"))?;
    ensure_eq!(nlink(d.join("b2"))?, 2);
    ensure_eq!(nlink(d.join("b"))?, 1);
    ensure_ne!(ino(d.join("b"))?, ino(d.join("b2"))?);
    Ok(())
}

fn link_count_kept(d: &Path) -> Outcome {
    mkdir(d.join("dir"))?;
    touch(d.join("a"))?;
    link(d.join("a"), d.join("b"))?;
    rename(d.join("a"), d.join("dir/c"))?;
    ensure_eq!(nlink(d.join("b"))?, 2);
    ensure_eq!(nlink(d.join("dir/c"))?, 2);
    ensure_eq!(ino(d.join("b"))?, ino(d.join("dir/c"))?);
    Ok(())
}

fn link_itself(d: &Path) -> Outcome {
    file(d.join("f"), "x")?;
    symlink("f", d.join("l"))?;
    rename(d.join("l"), d.join("m"))?;
    ensure!(st(d.join("m"))?.is_symlink(), "not the link was renamed");
    ensure_eq!(fs::read_link(d.join("m"))?, Path::new("f"));
    touch(d.join("g"))?;
    rename(d.join("g"), d.join("m"))?;
    ensure!(st(d.join("m"))?.is_file(), "not the link was replaced");
    same(&read(d.join("f"))?, b"x")?;
    mkdir(d.join("dir"))?;
    symlink("dir", d.join("dl"))?;
    expect_errno!(rename(d.join("dir"), d.join("dl")), NOTDIR);
    rename(d.join("f"), d.join("dl"))?;
    ensure!(st(d.join("dl"))?.is_file(), "a link to a directory was followed");
    Ok(())
}

fn parents_nlink(d: &Path) -> Outcome {
    mkdir(d.join("a"))?;
    mkdir(d.join("b"))?;
    mkdir(d.join("a/sub"))?;
    ensure_eq!((nlink(d.join("a"))?, nlink(d.join("b"))?), (3, 2));
    rename(d.join("a/sub"), d.join("b/sub"))?;
    ensure_eq!((nlink(d.join("a"))?, nlink(d.join("b"))?), (2, 3));
    ensure_eq!(nlink(d.join("b/sub"))?, 2);
    rename(d.join("b/sub"), d.join("b/other"))?;
    ensure_eq!(nlink(d.join("b"))?, 3);
    Ok(())
}

fn parents_nlink_replaced(d: &Path) -> Outcome {
    for dir in ["a", "b", "a/sub", "b/sub", "a/x", "a/y"] {
        mkdir(d.join(dir))?;
    }
    rename(d.join("a/sub"), d.join("b/sub"))?;
    ensure_eq!((nlink(d.join("a"))?, nlink(d.join("b"))?), (4, 3));
    rename(d.join("a/x"), d.join("a/y"))?;
    ensure_eq!(nlink(d.join("a"))?, 3);
    Ok(())
}

fn dir_with_content(d: &Path) -> Outcome {
    mkdir(d.join("a"))?;
    mkdir(d.join("a/b"))?;
    let f = file(d.join("a/b/f"), "content")?;
    let inode = ino(d.join("a/b/f"))?;
    rename(d.join("a"), d.join("c"))?;
    ensure_eq!(ino(d.join("c/b/f"))?, inode);
    f.write_all_at(b"C", 0)?;
    same(&read(d.join("c/b/f"))?, b"Content")?;
    expect_errno!(read(d.join("a/b/f")), NOENT);
    touch(d.join("c/b/g"))?;
    ensure_eq!(names(d.join("c/b"))?.len(), 2);
    Ok(())
}

fn noreplace(d: &Path) -> Outcome {
    let flag = RenameFlags::NOREPLACE;
    need_flag(d, flag, "RENAME_NOREPLACE")?;
    file(d.join("a"), "a")?;
    file(d.join("b"), "b")?;
    mkdir(d.join("dir"))?;
    expect_errno!(with_flags(d.join("a"), d.join("b"), flag), EXIST);
    expect_errno!(with_flags(d.join("a"), d.join("dir"), flag), EXIST);
    expect_errno!(with_flags(d.join("a"), d.join("a"), flag), EXIST);
    same(&read(d.join("b"))?, b"b")?;
    with_flags(d.join("a"), d.join("c"), flag)?;
    same(&read(d.join("c"))?, b"a")?;
    ensure!(!exists(d.join("a")), "the old name is there");
    with_flags(d.join("c"), d.join("dir/c"), flag)?;
    expect_errno!(with_flags(d.join("none"), d.join("x"), flag), NOENT);
    Ok(())
}

fn exchange_files(d: &Path) -> Outcome {
    need_exchange(d)?;
    mkdir(d.join("dir"))?;
    let a = file(d.join("a"), "a")?;
    file(d.join("b"), "b")?;
    file(d.join("dir/c"), "c")?;
    exchange(d.join("a"), d.join("b"))?;
    same(&read(d.join("a"))?, b"b")?;
    same(&read(d.join("b"))?, b"a")?;
    exchange(d.join("b"), d.join("dir/c"))?;
    same(&read(d.join("b"))?, b"c")?;
    same(&read(d.join("dir/c"))?, b"a")?;
    ensure_eq!(a.metadata()?.ino(), ino(d.join("dir/c"))?);
    ensure_eq!(a.metadata()?.nlink(), 1);
    exchange(d.join("a"), d.join("a"))?;
    Ok(())
}

fn exchange_kinds(d: &Path) -> Outcome {
    need_exchange(d)?;
    for dir in ["p", "q", "p/dir"] {
        mkdir(d.join(dir))?;
    }
    touch(d.join("p/dir/inside"))?;
    file(d.join("q/f"), "f")?;
    exchange(d.join("p/dir"), d.join("q/f"))?;
    ensure!(exists(d.join("q/f/inside")), "the directory did not move");
    same(&read(d.join("p/dir"))?, b"f")?;
    ensure_eq!(st(d.join("q/f/.."))?.ino(), ino(d.join("q"))?);
    Ok(())
}

fn exchange_nlink(d: &Path) -> Outcome {
    need_exchange(d)?;
    for dir in ["p", "q", "p/dir"] {
        mkdir(d.join(dir))?;
    }
    touch(d.join("q/f"))?;
    ensure_eq!((nlink(d.join("p"))?, nlink(d.join("q"))?), (3, 2));
    exchange(d.join("p/dir"), d.join("q/f"))?;
    ensure_eq!((nlink(d.join("p"))?, nlink(d.join("q"))?), (2, 3));
    Ok(())
}

fn exchange_dirs(d: &Path) -> Outcome {
    need_exchange(d)?;
    for dir in ["p", "q", "p/a", "q/b"] {
        mkdir(d.join(dir))?;
    }
    touch(d.join("p/a/in-a"))?;
    touch(d.join("q/b/in-b"))?;
    exchange(d.join("p/a"), d.join("q/b"))?;
    ensure!(exists(d.join("p/a/in-b")) && exists(d.join("q/b/in-a")), "not swapped");
    ensure_eq!(st(d.join("p/a/.."))?.ino(), ino(d.join("p"))?);
    ensure_eq!(st(d.join("q/b/.."))?.ino(), ino(d.join("q"))?);
    Ok(())
}

fn exchange_missing(d: &Path) -> Outcome {
    need_exchange(d)?;
    touch(d.join("f"))?;
    expect_errno!(exchange(d.join("f"), d.join("none")), NOENT);
    expect_errno!(exchange(d.join("none"), d.join("f")), NOENT);
    ensure!(exists(d.join("f")), "the file is gone");
    Ok(())
}

fn exchange_ancestor(d: &Path) -> Outcome {
    need_exchange(d)?;
    mkdir(d.join("a"))?;
    mkdir(d.join("a/b"))?;
    touch(d.join("a/b/f"))?;
    expect_errno!(exchange(d.join("a"), d.join("a/b")), INVAL);
    expect_errno!(exchange(d.join("a/b"), d.join("a")), INVAL);
    expect_errno!(exchange(d.join("a/b/f"), d.join("a")), INVAL);
    Ok(())
}

fn bad_flags(d: &Path) -> Outcome {
    touch(d.join("a"))?;
    touch(d.join("b"))?;
    for flags in [
        RenameFlags::EXCHANGE | RenameFlags::NOREPLACE,
        RenameFlags::EXCHANGE | RenameFlags::WHITEOUT,
        RenameFlags::from_bits_retain(1 << 20),
    ] {
        expect_errno!(with_flags(d.join("a"), d.join("b"), flags), INVAL);
    }
    ensure_eq!(names(d)?.len(), 2);
    Ok(())
}

fn whiteout(d: &Path) -> Outcome {
    need_flag(d, RenameFlags::WHITEOUT, "RENAME_WHITEOUT")?;
    file(d.join("a"), "x")?;
    with_flags(d.join("a"), d.join("b"), RenameFlags::WHITEOUT)?;
    same(&read(d.join("b"))?, b"x")?;
    let left = st(d.join("a"))?;
    ensure!(left.file_type().is_char_device(), "left behind: {:?}", left.file_type());
    ensure_eq!(left.rdev(), 0);
    Ok(())
}

fn seen_at_once(d: &Path) -> Outcome {
    mkdir(d.join("dir"))?;
    file(d.join("x"), "x")?;
    let inode = ino(d.join("x"))?;
    let places = ["a", "dir/a", "b", "dir/b", "x"];
    let mut at = "x";
    for round in 0..40 {
        let to = places[round % places.len()];
        if to == at {
            continue;
        }
        expect_errno!(st(d.join(to)), NOENT);
        rename(d.join(at), d.join(to))?;
        ensure_eq!(ino(d.join(to))?, inode);
        expect_errno!(st(d.join(at)), NOENT);
        at = to;
    }
    Ok(())
}

fn long_name(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    let long = "n".repeat(255);
    rename(d.join("f"), d.join(&long))?;
    expect_errno!(rename(d.join(&long), d.join(format!("{long}n"))), NAMETOOLONG);
    rename(d.join(&long), d.join("f"))?;
    ensure_eq!(names(d)?, BTreeSet::from(["f".into()]));
    Ok(())
}

fn by_descriptors(d: &Path) -> Outcome {
    mkdir(d.join("a"))?;
    mkdir(d.join("b"))?;
    file(d.join("a/f"), "x")?;
    let (a, b) = (open(d.join("a"), O_PATH)?, open(d.join("b"), RD)?);
    rfs::renameat(&a, "f", &b, "g")?;
    same(&read(d.join("b/g"))?, b"x")?;
    let f = open(d.join("b/g"), RD)?;
    expect_errno!(rfs::renameat(&f, "x", &a, "y"), NOTDIR);
    Ok(())
}

fn chain(d: &Path) -> Outcome {
    let mut dirs = Vec::new();
    for i in 0..30 {
        mkdir(d.join(format!("d{i}")))?;
        dirs.push(open(d.join(format!("d{i}")), RD | DIRECTORY)?);
    }
    file(d.join("d0/f"), "content")?;
    for i in 1..30 {
        rename(d.join(format!("d{}/f", i - 1)), d.join(format!("d{i}/f")))?;
    }
    same(&read(d.join("d29/f"))?, b"content")?;
    for i in (1..30).rev() {
        rfs::renameat(&dirs[i], "f", &dirs[i - 1], "f")?;
    }
    same(&read(d.join("d0/f"))?, b"content")
}

fn listed_once(d: &Path) -> Outcome {
    mkdir(d.join("dir"))?;
    for i in 0..50 {
        touch(d.join(format!("f{i}")))?;
    }
    names(d)?;
    for i in 0..50 {
        rename(d.join(format!("f{i}")), d.join(format!("dir/g{i}")))?;
    }
    ensure_eq!(names(d)?, BTreeSet::from(["dir".into()]));
    let want: BTreeSet<OsString> = (0..50).map(|i| format!("g{i}").into()).collect();
    ensure_eq!(names(d.join("dir"))?, want);
    Ok(())
}
