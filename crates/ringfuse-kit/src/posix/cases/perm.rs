//! Permissions: mode bits, owners, the sticky bit, access(2).

use crate::posix::base::*;
use rustix::fs::Access;

cases! { "perm":
    owner_bits [USERS] "the owner's bits decide for the owner, even if others may more (path_resolution(7))";
    group_bits [USERS] "the group's bits decide for the group and supplementary groups (path_resolution(7))";
    other_bits [USERS] "the bits for others decide for the rest (path_resolution(7))";
    root_reads_all [ROOT] "root reads and writes a file of mode 0 (capabilities(7))";
    search_permission [USERS] "a path needs search permission in each directory: EACCES (path_resolution(7))";
    search_without_read [USERS] "search without read: names work, listing fails with EACCES (path_resolution(7))";
    read_without_search [USERS] "read without search: listing works, names fail with EACCES (path_resolution(7))";
    directory_write [USERS] "entries are made and removed only with write and search permission (path_resolution(7))";
    unlink_of_others [USERS] "who may write a directory may remove files of others in it (unlink(2))";
    sticky_unlink [USERS] "in a sticky directory only the owner of file or directory removes: EPERM (unlink(2))";
    sticky_rename [USERS] "in a sticky directory only the owner renames or replaces: EPERM (rename(2))";
    rename_needs_both [USERS] "rename needs write permission in both directories: EACCES (rename(2))";
    rename_dir_needs_write [USERS] "a directory is moved to another parent only with write permission in it (rename(2))";
    chown_rules [USERS] "a user cannot give a file away, and gives it only own groups: EPERM (chown(2))";
    chown_root [ROOT] "root changes owner and group, -1 leaves either (chown(2))";
    chown_large_ids [ROOT] "large user and group ids come back (chown(2))";
    chown_by_fd [ROOT] "fchown changes an open file, and seen by path (fchown(2))";
    chmod_rules [USERS] "only the owner changes the mode: EPERM (chmod(2))";
    chmod_all_bits [] "all twelve bits can be set on files and directories (chmod(2))";
    chmod_by_fd [] "fchmod changes the mode seen by path, an open descriptor stays as it is (fchmod(2))";
    umask_applies [] "the umask is taken off the mode of new files and directories, and not by chmod (umask(2))";
    umask_not_for_links [SYMLINK] "the umask has no effect on symbolic links (umask(2))";
    owner_of_new [USERS] "a new file belongs to the user and the group that made it (open(2))";
    mode_zero_create [USERS] "a file made with mode 0 can be written by the descriptor that made it (open(2))";
    fd_keeps_access [USERS] "a descriptor keeps its access when the mode is taken away (open(2))";
    truncate_needs_write [USERS] "truncate and O_TRUNC need write permission: EACCES (truncate(2))";
    utimes_rules [USERS] "setting times needs ownership, setting now needs write permission (utimensat(2))";
    noatime_rules [USERS] "O_NOATIME on a file of another user fails with EPERM (open(2))";
    access_real_uid [USERS] "access goes by the real user, AT_EACCESS by the effective one (access(2))";
    access_modes [USERS] "access agrees with what open allows, for all modes (access(2))";
    access_root_exec [ROOT] "root has execute permission only if some x bit is set (access(2))";
    access_missing [] "access fails with ENOENT and ENOTDIR (access(2))";
    supplementary_group [USERS] "a user in a supplementary group may chgrp to it and use it (credentials(7))";
    mknod_device_refused [USERS MKNOD] "a user cannot make devices: EPERM (mknod(2))";
    mkdir_owner [USERS] "a new directory belongs to its maker, who may use it (mkdir(2))";
}

/// Opens `f` in the working directory for reading, for writing, and asks for execution.
fn allowed(f: &str) -> u32 {
    let read = open(f, RD).is_ok();
    let write = open(f, WR).is_ok();
    let exec = rfs::access(f, Access::EXEC_OK).is_ok();
    u32::from(read) << 2 | u32::from(write) << 1 | u32::from(exec)
}

/// Checks for each of the eight modes that `user` gets what `shift` selects.
fn check_class(d: &Path, owner: u32, group: u32, user: User, shift: u32) -> Outcome {
    touch(d.join("f"))?;
    chown(d.join("f"), owner, group)?;
    for allow in 0..8 {
        for rest in [0, 7] {
            let all = (rest << 6 | rest << 3 | rest) & !(7 << shift);
            chmod(d.join("f"), all | allow << shift)?;
            as_user(d, user, || {
                ensure_eq!(allowed("f"), allow, "mode {:o}", all | allow << shift);
                Ok(())
            })?;
        }
    }
    Ok(())
}

fn owner_bits(d: &Path) -> Outcome {
    check_class(d, ALICE.uid, ALICE.gid, ALICE, 6)
}

fn group_bits(d: &Path) -> Outcome {
    check_class(d, 0, ALICE.gid, ALICE, 3)?;
    unlink(d.join("f"))?;
    check_class(d, 0, CREW, ALICE, 3)
}

fn other_bits(d: &Path) -> Outcome {
    check_class(d, ALICE.uid, CREW, BOB, 0)
}

fn root_reads_all(d: &Path) -> Outcome {
    file(d.join("f"), "x")?;
    chown(d.join("f"), ALICE.uid, ALICE.gid)?;
    chmod(d.join("f"), 0)?;
    same(&read(d.join("f"))?, b"x")?;
    open(d.join("f"), WR)?.write_all_at(b"y", 0)?;
    mkdir(d.join("dir"))?;
    chmod(d.join("dir"), 0)?;
    touch(d.join("dir/f"))?;
    ensure_eq!(names(d.join("dir"))?.len(), 1);
    Ok(())
}

fn search_permission(d: &Path) -> Outcome {
    mkdir(d.join("a"))?;
    mkdir(d.join("a/b"))?;
    touch(d.join("a/b/f"))?;
    chmod(d.join("a/b/f"), 0o666)?;
    for (dir, closed) in [("a", 0o766), ("a/b", 0o766)] {
        chmod(d.join(dir), closed)?;
        as_user(d, BOB, || {
            expect_errno!(open("a/b/f", RD), ACCESS);
            expect_errno!(st("a/b/f"), ACCESS);
            expect_errno!(unlink("a/b/f"), ACCESS);
            expect_errno!(rename("a/b/f", "a/b/g"), ACCESS);
            expect_errno!(open("a/b/none", RD), ACCESS);
            Ok(())
        })?;
        chmod(d.join(dir), 0o755)?;
    }
    as_user(d, BOB, || opens("a/b/f", RDWR))
}

fn search_without_read(d: &Path) -> Outcome {
    mkdir(d.join("dir"))?;
    file(d.join("dir/f"), "x")?;
    chmod(d.join("dir"), 0o711)?;
    as_user(d, BOB, || {
        expect_errno!(open("dir", RD | DIRECTORY), ACCESS);
        same(&read("dir/f")?, b"x")?;
        let dir = open("dir", O_PATH | DIRECTORY)?;
        open_at(&dir, "f", RD)?;
        Ok(())
    })
}

fn read_without_search(d: &Path) -> Outcome {
    mkdir(d.join("dir"))?;
    touch(d.join("dir/f"))?;
    chmod(d.join("dir"), 0o744)?;
    as_user(d, BOB, || {
        let found = dents(&open("dir", RD | DIRECTORY)?, 4096)?;
        ensure!(found.iter().any(|entry| entry.name == "f"), "the file is not listed");
        expect_errno!(st("dir/f"), ACCESS);
        expect_errno!(open("dir/f", RD), ACCESS);
        Ok(())
    })
}

fn directory_write(d: &Path) -> Outcome {
    mkdir(d.join("dir"))?;
    touch(d.join("dir/f"))?;
    chmod(d.join("dir/f"), 0o666)?;
    for closed in [0o755, 0o756] {
        chmod(d.join("dir"), closed)?;
        as_user(d, BOB, || {
            expect_errno!(touch("dir/new"), ACCESS);
            expect_errno!(mkdir("dir/new"), ACCESS);
            expect_errno!(symlink("x", "dir/new"), ACCESS);
            expect_errno!(unlink("dir/f"), ACCESS);
            expect_errno!(rename("dir/f", "dir/g"), ACCESS);
            expect_errno!(rename("dir/f", "g"), ACCESS);
            Ok(())
        })?;
    }
    chmod(d.join("dir"), 0o757)?;
    as_user(d, BOB, || {
        touch("dir/new")?;
        rename("dir/new", "dir/newer")?;
        unlink("dir/newer")?;
        mkdir("dir/new")?;
        rmdir("dir/new")?;
        Ok(())
    })
}

fn unlink_of_others(d: &Path) -> Outcome {
    chmod(d, 0o777)?;
    touch(d.join("f"))?;
    chmod(d.join("f"), 0)?;
    touch(d.join("g"))?;
    as_user(d, BOB, || {
        unlink("f")?;
        rename("g", "h")?;
        Ok(())
    })
}

/// A sticky directory of `owner`, in which each user has files.
fn sticky(d: &Path, owner: u32) -> Outcome {
    mkdir(d.join("dir"))?;
    for (user, name) in [(ALICE, "alice"), (BOB, "bob")] {
        for n in 0..3 {
            let path = d.join(format!("dir/{name}{n}"));
            touch(&path)?;
            chown(&path, user.uid, user.gid)?;
        }
    }
    chown(d.join("dir"), owner, owner)?;
    chmod(d.join("dir"), 0o1777)?;
    Ok(())
}

fn sticky_unlink(d: &Path) -> Outcome {
    sticky(d, ALICE.uid)?;
    as_user(d, BOB, || {
        expect_errno!(unlink("dir/alice0"), PERM | ACCESS);
        unlink("dir/bob0")?;
        mkdir("dir/sub")?;
        Ok(())
    })?;
    as_user(d, ALICE, || {
        unlink("dir/bob1")?;
        unlink("dir/alice0")?;
        rmdir("dir/sub")?;
        Ok(())
    })?;
    chown(d.join("dir"), 0, 0)?;
    as_user(d, ALICE, || {
        expect_errno!(unlink("dir/bob2"), PERM | ACCESS);
        unlink("dir/alice1")?;
        Ok(())
    })
}

fn sticky_rename(d: &Path) -> Outcome {
    sticky(d, 0)?;
    mkdir(d.join("free"))?;
    chmod(d.join("free"), 0o777)?;
    as_user(d, BOB, || {
        expect_errno!(rename("dir/alice0", "dir/x"), PERM | ACCESS);
        expect_errno!(rename("dir/alice0", "free/x"), PERM | ACCESS);
        expect_errno!(rename("dir/bob0", "dir/alice0"), PERM | ACCESS);
        rename("dir/bob0", "dir/x")?;
        rename("dir/x", "dir/bob1")?;
        rename("dir/bob1", "free/x")?;
        rename("free/x", "dir/y")?;
        Ok(())
    })
}

fn rename_needs_both(d: &Path) -> Outcome {
    for (dir, bits) in [("open", 0o777), ("closed", 0o755)] {
        mkdir(d.join(dir))?;
        touch(d.join(dir).join("f"))?;
        chmod(d.join(dir), bits)?;
    }
    as_user(d, BOB, || {
        expect_errno!(rename("closed/f", "open/g"), ACCESS);
        expect_errno!(rename("open/f", "closed/g"), ACCESS);
        rename("open/f", "open/g")?;
        Ok(())
    })
}

fn rename_dir_needs_write(d: &Path) -> Outcome {
    for dir in ["a", "b"] {
        mkdir(d.join(dir))?;
        chmod(d.join(dir), 0o777)?;
    }
    mkdir(d.join("a/sub"))?;
    as_user(d, BOB, || {
        expect_errno!(rename("a/sub", "b/sub"), ACCESS | PERM);
        rename("a/sub", "a/other")?;
        mkdir("a/own")?;
        rename("a/own", "b/own")?;
        Ok(())
    })
}

fn chown_rules(d: &Path) -> Outcome {
    for (name, user) in [("f", ALICE), ("g", BOB)] {
        touch(d.join(name))?;
        chown(d.join(name), user.uid, user.gid)?;
    }
    as_user(d, ALICE, || {
        expect_errno!(chown("f", BOB.uid, None), PERM);
        expect_errno!(chown("f", 0, None), PERM);
        expect_errno!(chown("f", None, STRANGERS), PERM);
        expect_errno!(chown("g", ALICE.uid, None), PERM);
        expect_errno!(chown("g", None, ALICE.gid), PERM);
        chown("f", None, CREW)?;
        chown("f", ALICE.uid, ALICE.gid)?;
        chown("f", ALICE.uid, CREW)?;
        Ok(())
    })?;
    let meta = st(d.join("f"))?;
    ensure_eq!((meta.uid(), meta.gid()), (ALICE.uid, CREW));
    Ok(())
}

fn chown_root(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    mkdir(d.join("dir"))?;
    for name in ["f", "dir"] {
        let owners = || -> io::Result<(u32, u32)> {
            let meta = st(d.join(name))?;
            Ok((meta.uid(), meta.gid()))
        };
        chown(d.join(name), ALICE.uid, STRANGERS)?;
        ensure_eq!(owners()?, (ALICE.uid, STRANGERS));
        chown(d.join(name), None, BOB.gid)?;
        ensure_eq!(owners()?, (ALICE.uid, BOB.gid));
        chown(d.join(name), BOB.uid, None)?;
        ensure_eq!(owners()?, (BOB.uid, BOB.gid));
        chown(d.join(name), None, None)?;
        ensure_eq!(owners()?, (BOB.uid, BOB.gid));
    }
    Ok(())
}

fn chown_large_ids(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    for (uid, gid) in [(65_535, 65_536), (65_534, 70_000), (2_147_483_648, 4_000_000_000), (4_294_967_294, 1)]
    {
        chown(d.join("f"), uid, gid)?;
        let meta = st(d.join("f"))?;
        ensure_eq!((meta.uid(), meta.gid()), (uid, gid));
    }
    Ok(())
}

fn chown_by_fd(d: &Path) -> Outcome {
    let f = touch(d.join("f"))?;
    rfs::fchown(&f, Some(rfs::Uid::from_raw(ALICE.uid)), Some(rfs::Gid::from_raw(CREW)))?;
    let (by_fd, by_path) = (f.metadata()?, st(d.join("f"))?);
    ensure_eq!((by_fd.uid(), by_fd.gid()), (ALICE.uid, CREW));
    ensure_eq!((by_path.uid(), by_path.gid()), (ALICE.uid, CREW));
    Ok(())
}

fn chmod_rules(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    chown(d.join("f"), ALICE.uid, ALICE.gid)?;
    chmod(d.join("f"), 0o666)?;
    as_user(d, BOB, || {
        expect_errno!(chmod("f", 0o600), PERM);
        expect_errno!(rfs::fchmod(open("f", RDWR)?, mode(0o600)), PERM);
        Ok(())
    })?;
    as_user(d, ALICE, || Ok(chmod("f", 0o640)?))?;
    ensure_eq!(bits(d.join("f"))?, 0o640);
    Ok(())
}

fn chmod_all_bits(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    mkdir(d.join("dir"))?;
    for name in ["f", "dir"] {
        for bit in 0..12 {
            chmod(d.join(name), 1 << bit)?;
            ensure_eq!(bits(d.join(name))?, 1 << bit, "{name}");
        }
        chmod(d.join(name), 0o7777)?;
        ensure_eq!(bits(d.join(name))?, 0o7777);
        chmod(d.join(name), 0o700)?;
    }
    ensure!(st(d.join("f"))?.is_file() && st(d.join("dir"))?.is_dir(), "the type changed");
    expect_errno!(chmod(d.join("none"), 0o600), NOENT);
    Ok(())
}

fn chmod_by_fd(d: &Path) -> Outcome {
    let f = file(d.join("f"), "x")?;
    rfs::fchmod(&f, mode(0o444))?;
    ensure_eq!(bits(d.join("f"))?, 0o444);
    f.write_all_at(b"y", 0)?;
    ensure_eq!(f.metadata()?.permissions().mode() & 0o7777, 0o444);
    Ok(())
}

fn umask_applies(d: &Path) -> Outcome {
    for (mask, name) in [(0o000, "a"), (0o027, "b"), (0o077, "c"), (0o777, "d")] {
        rustix::process::umask(mode(mask));
        open_mode(d.join(name), CREAT | EXCL | RDWR, 0o6777)?;
        rfs::mkdir(d.join(format!("{name}-dir")), mode(0o777))?;
        let made = (bits(d.join(name))?, bits(d.join(format!("{name}-dir")))?);
        rustix::process::umask(mode(0o022));
        // A user could not look into it to remove it later.
        rmdir(d.join(format!("{name}-dir")))?;
        ensure_eq!(made, (0o6777 & !mask, 0o777 & !mask), "umask {mask:o}");
    }
    // chmod does not heed it.
    chmod(d.join("a"), 0o666)?;
    ensure_eq!(bits(d.join("a"))?, 0o666);
    Ok(())
}

fn umask_not_for_links(d: &Path) -> Outcome {
    rustix::process::umask(mode(0o777));
    symlink("x", d.join("l"))?;
    rustix::process::umask(mode(0o022));
    ensure_eq!(bits(d.join("l"))?, 0o777);
    Ok(())
}

fn owner_of_new(d: &Path) -> Outcome {
    chmod(d, 0o777)?;
    as_user(d, ALICE, || {
        touch("f")?;
        mkdir("dir")?;
        symlink("x", "l")?;
        Ok(())
    })?;
    for name in ["f", "dir", "l"] {
        let meta = st(d.join(name))?;
        ensure_eq!((meta.uid(), meta.gid()), (ALICE.uid, ALICE.gid), "{name}");
    }
    Ok(())
}

fn mode_zero_create(d: &Path) -> Outcome {
    chmod(d, 0o777)?;
    as_user(d, ALICE, || {
        for (name, bits) in [("zero", 0), ("read", 0o444), ("write", 0o222)] {
            let f = open_mode(name, CREAT | EXCL | RDWR, bits)?;
            f.write_all_at(b"x", 0)?;
            same(&read_at(&f, 0, 1)?, b"x")?;
            expect_errno!(open(name, RDWR), ACCESS);
        }
        Ok(())
    })
}

fn fd_keeps_access(d: &Path) -> Outcome {
    file(d.join("f"), "x")?;
    chown(d.join("f"), ALICE.uid, ALICE.gid)?;
    as_user(d, ALICE, || {
        let f = open("f", RDWR)?;
        chmod("f", 0)?;
        f.write_all_at(b"yz", 0)?;
        same(&read_at(&f, 0, 2)?, b"yz")?;
        f.set_len(1)?;
        expect_errno!(open("f", RD), ACCESS);
        Ok(())
    })
}

fn truncate_needs_write(d: &Path) -> Outcome {
    file(d.join("f"), "content")?;
    as_user(d, BOB, || {
        expect_errno!(sys::truncate(Path::new("f"), 0), ACCESS);
        expect_errno!(open("f", RD | TRUNC), ACCESS);
        Ok(())
    })?;
    same(&read(d.join("f"))?, b"content")?;
    chmod(d.join("f"), 0o666)?;
    as_user(d, BOB, || Ok(sys::truncate(Path::new("f"), 3)?))?;
    same(&read(d.join("f"))?, b"con")
}

fn utimes_rules(d: &Path) -> Outcome {
    use rustix::fs::UTIME_NOW;
    touch(d.join("f"))?;
    chmod(d.join("f"), 0o644)?;
    as_user(d, BOB, || {
        expect_errno!(set_times("f", (0, UTIME_NOW), (0, UTIME_NOW)), ACCESS);
        expect_errno!(set_times("f", (1000, 0), (1000, 0)), PERM);
        Ok(())
    })?;
    chmod(d.join("f"), 0o666)?;
    as_user(d, BOB, || {
        set_times("f", (0, UTIME_NOW), (0, UTIME_NOW))?;
        expect_errno!(set_times("f", (1000, 0), (1000, 0)), PERM);
        expect_errno!(set_times("f", (0, UTIME_NOW), (1000, 0)), PERM);
        Ok(())
    })?;
    chown(d.join("f"), BOB.uid, None)?;
    chmod(d.join("f"), 0)?;
    as_user(d, BOB, || Ok(set_times("f", (1000, 0), (1000, 0))?))?;
    ensure_eq!(times(d.join("f"))?.m, (1000, 0));
    Ok(())
}

fn noatime_rules(d: &Path) -> Outcome {
    file(d.join("f"), "x")?;
    as_user(d, BOB, || {
        expect_errno!(open("f", RD | OFlags::NOATIME), PERM);
        open("f", RD)?;
        Ok(())
    })?;
    chown(d.join("f"), BOB.uid, BOB.gid)?;
    as_user(d, BOB, || opens("f", RD | OFlags::NOATIME))
}

fn access_real_uid(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    chown(d.join("f"), ALICE.uid, STRANGERS)?;
    chmod(d.join("f"), 0o600)?;
    as_user_real(d, ALICE, BOB.uid, || {
        open("f", RDWR)?;
        expect_errno!(rfs::access("f", Access::READ_OK), ACCESS);
        rfs::accessat(CWD, "f", Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS)?;
        Ok(())
    })
}

fn access_modes(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    chown(d.join("f"), ALICE.uid, ALICE.gid)?;
    for allow in 0..8u32 {
        chmod(d.join("f"), allow << 6)?;
        as_user(d, ALICE, || {
            for ask in 0..8u32 {
                let granted = rfs::access("f", Access::from_bits_retain(ask)).is_ok();
                ensure_eq!(granted, ask & !allow == 0, "access {ask} with mode {allow}00");
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn access_root_exec(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    chmod(d.join("f"), 0o666)?;
    expect_errno!(rfs::access(d.join("f"), Access::EXEC_OK), ACCESS);
    chmod(d.join("f"), 0o001)?;
    rfs::access(d.join("f"), Access::EXEC_OK | Access::READ_OK | Access::WRITE_OK)?;
    Ok(())
}

fn access_missing(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    rfs::access(d.join("f"), Access::EXISTS)?;
    rfs::access(d, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)?;
    expect_errno!(rfs::access(d.join("none"), Access::EXISTS), NOENT);
    expect_errno!(rfs::access(d.join("f/x"), Access::EXISTS), NOTDIR);
    Ok(())
}

fn supplementary_group(d: &Path) -> Outcome {
    chmod(d, 0o777)?;
    as_user(d, ALICE, || {
        touch("f")?;
        chown("f", None, CREW)?;
        chmod("f", 0o060)?;
        expect_errno!(open("f", RD), ACCESS);
        Ok(())
    })?;
    chown(d.join("f"), BOB.uid, None)?;
    as_user(d, ALICE, || opens("f", RDWR))
}

fn mknod_device_refused(d: &Path) -> Outcome {
    chmod(d, 0o777)?;
    as_user(d, BOB, || {
        let null = rfs::makedev(1, 3);
        expect_errno!(rfs::mknodat(CWD, "c", FileType::CharacterDevice, mode(0o666), null), PERM);
        expect_errno!(rfs::mknodat(CWD, "b", FileType::BlockDevice, mode(0o666), null), PERM);
        mkfifo("p")?;
        Ok(())
    })?;
    ensure_eq!(names(d)?, BTreeSet::from(["p".into()]));
    Ok(())
}

fn mkdir_owner(d: &Path) -> Outcome {
    chmod(d, 0o777)?;
    as_user(d, ALICE, || {
        rfs::mkdir("dir", mode(0o700))?;
        touch("dir/f")?;
        Ok(())
    })?;
    as_user(d, BOB, || {
        expect_errno!(open("dir/f", RD), ACCESS);
        expect_errno!(open("dir", RD | DIRECTORY), ACCESS);
        Ok(())
    })
}
