//! The set-user-id and set-group-id bits.

use crate::posix::base::*;

cases! { "setid":
    chmod_drops_setgid [USERS] "chmod by an owner not in the file's group drops the set-group-id bit (chmod(2))";
    chmod_keeps_setgid [USERS] "chmod by an owner in the file's group keeps it (chmod(2))";
    write_clears [USERS] "a write by a user clears both bits (inode(7), chmod(2))";
    write_by_root_keeps [ROOT] "a write by root keeps both bits (capabilities(7), CAP_FSETID)";
    truncate_clears [USERS] "truncate by a user clears both bits (truncate(2))";
    chown_clears [USERS] "chown by a user clears both bits of a program (chown(2))";
    chown_keeps_lock_bit [USERS] "chown keeps set-group-id without group execution (chown(2))";
    chown_keeps_on_directory [USERS] "chown of a directory keeps its bits (chown(2))";
    append_clears [USERS] "an appending write and a vectored one clear the bits, too (inode(7))";
    map_write_clears [USERS MMAP] "a shared map can be written with the bits set, then a write clears them (inode(7))";
    directory_group [USERS] "files in a set-group-id directory get its group (inode(7))";
    directory_inherits [USERS] "directories in a set-group-id directory get the bit and the group (inode(7))";
    directory_other_kinds [USERS SYMLINK MKNOD] "links and FIFOs in a set-group-id directory get its group (inode(7))";
    directory_no_setgid_file [USERS] "a file made set-group-id for a group its maker is not in loses the bit (inode(7))";
    copy_clears [USERS] "copy_file_range into a file clears the bits (copy_file_range(2))";
    fallocate_clears [USERS FALLOCATE] "fallocate by a user clears the bits (fallocate(2))";
    lock_bit_by_member [USERS FALLOCATE] "changes of the content by a member of the group keep set-group-id without group execution (inode(7))";
    lock_bit_by_others [USERS FALLOCATE] "changes of the content by others clear it, also where the group is root's (inode(7))";
    capability_cleared_by_write [ROOT XATTR_SECURITY] "a write removes the file's capabilities (capabilities(7))";
    capability_cleared_by_chown [ROOT XATTR_SECURITY] "chown removes the file's capabilities (capabilities(7))";
}

/// A program of Alice's with both bits set, writable for all.
fn program(d: &Path, group: u32) -> Result<PathBuf, Failure> {
    let path = d.join("f");
    if !exists(&path) {
        file(&path, "content")?;
    }
    chown(&path, ALICE.uid, group)?;
    chmod(&path, 0o6777)?;
    ensure_eq!(bits(&path)?, 0o6777);
    Ok(path)
}

fn chmod_drops_setgid(d: &Path) -> Outcome {
    let path = program(d, STRANGERS)?;
    as_user(d, ALICE, || Ok(chmod("f", 0o6755)?))?;
    ensure_eq!(bits(&path)?, 0o4755);
    Ok(())
}

fn chmod_keeps_setgid(d: &Path) -> Outcome {
    for group in [ALICE.gid, CREW] {
        let path = program(d, group)?;
        as_user(d, ALICE, || Ok(chmod("f", 0o6755)?))?;
        ensure_eq!(bits(&path)?, 0o6755);
    }
    Ok(())
}

fn write_clears(d: &Path) -> Outcome {
    for user in [ALICE, BOB] {
        let path = program(d, CREW)?;
        as_user(d, user, || Ok(open("f", WR)?.write_all_at(b"x", 0)?))?;
        ensure_eq!(bits(&path)?, 0o777);
    }
    Ok(())
}

fn write_by_root_keeps(d: &Path) -> Outcome {
    let path = program(d, CREW)?;
    open(&path, WR)?.write_all_at(b"x", 0)?;
    ensure_eq!(bits(&path)?, 0o6777);
    Ok(())
}

fn truncate_clears(d: &Path) -> Outcome {
    let ways: [fn() -> Outcome; 3] = [
        || Ok(sys::truncate(Path::new("f"), 3)?),
        || Ok(open("f", WR)?.set_len(5)?),
        || Ok(open("f", WR | TRUNC).map(drop)?),
    ];
    for way in ways {
        let path = program(d, CREW)?;
        as_user(d, BOB, way)?;
        ensure_eq!(bits(&path)?, 0o777);
    }
    Ok(())
}

fn chown_clears(d: &Path) -> Outcome {
    let path = program(d, ALICE.gid)?;
    as_user(d, ALICE, || Ok(chown("f", None, CREW)?))?;
    ensure_eq!(bits(&path)?, 0o777);
    Ok(())
}

fn chown_keeps_lock_bit(d: &Path) -> Outcome {
    let path = program(d, ALICE.gid)?;
    chmod(&path, 0o2644)?;
    as_user(d, ALICE, || Ok(chown("f", None, CREW)?))?;
    ensure_eq!(bits(&path)?, 0o2644);
    Ok(())
}

fn chown_keeps_on_directory(d: &Path) -> Outcome {
    mkdir(d.join("dir"))?;
    chown(d.join("dir"), ALICE.uid, ALICE.gid)?;
    chmod(d.join("dir"), 0o6755)?;
    as_user(d, ALICE, || Ok(chown("dir", None, CREW)?))?;
    ensure_eq!(bits(d.join("dir"))?, 0o6755);
    Ok(())
}

fn append_clears(d: &Path) -> Outcome {
    let path = program(d, CREW)?;
    as_user(d, BOB, || Ok(open("f", WR | APPEND)?.write_all(b"x")?))?;
    ensure_eq!(bits(&path)?, 0o777);
    chmod(&path, 0o4755)?;
    as_user(d, ALICE, || {
        let parts = [IoSlice::new(b"a"), IoSlice::new(b"b")];
        ensure_eq!(open("f", WR)?.write_vectored(&parts)?, 2);
        Ok(())
    })?;
    ensure_eq!(bits(&path)?, 0o755);
    Ok(())
}

fn map_write_clears(d: &Path) -> Outcome {
    let path = program(d, CREW)?;
    as_user(d, BOB, || {
        let f = open("f", RDWR)?;
        let map = sys::Map::new(&f, 0, 7, true, true)?;
        map.write(0, b"C");
        map.sync()?;
        f.write_all_at(b"!", 6)?;
        Ok(())
    })?;
    ensure_eq!(bits(&path)?, 0o777);
    same(&read(&path)?, b"Conten!")
}

/// A directory with the set-group-id bit and a group that Bob is not in.
fn setgid_dir(d: &Path) -> Outcome {
    mkdir(d.join("dir"))?;
    chown(d.join("dir"), 0, STRANGERS)?;
    chmod(d.join("dir"), 0o2777)?;
    Ok(())
}

fn directory_group(d: &Path) -> Outcome {
    setgid_dir(d)?;
    as_user(d, BOB, || Ok(touch("dir/f").map(drop)?))?;
    let meta = st(d.join("dir/f"))?;
    ensure_eq!((meta.uid(), meta.gid()), (BOB.uid, STRANGERS));
    ensure_eq!(meta.mode() & 0o7777, 0o644);
    Ok(())
}

fn directory_inherits(d: &Path) -> Outcome {
    setgid_dir(d)?;
    as_user(d, BOB, || {
        mkdir("dir/sub")?;
        mkdir("dir/sub/sub")?;
        touch("dir/sub/sub/f")?;
        Ok(())
    })?;
    for sub in ["dir/sub", "dir/sub/sub"] {
        let meta = st(d.join(sub))?;
        ensure_eq!((meta.uid(), meta.gid()), (BOB.uid, STRANGERS));
        ensure_eq!(meta.mode() & 0o7777, 0o2755);
    }
    ensure_eq!(st(d.join("dir/sub/sub/f"))?.gid(), STRANGERS);
    Ok(())
}

fn directory_other_kinds(d: &Path) -> Outcome {
    setgid_dir(d)?;
    as_user(d, BOB, || {
        symlink("x", "dir/l")?;
        mkfifo("dir/p")?;
        Ok(())
    })?;
    for name in ["dir/l", "dir/p"] {
        ensure_eq!(st(d.join(name))?.gid(), STRANGERS, "{name}");
    }
    Ok(())
}

fn directory_no_setgid_file(d: &Path) -> Outcome {
    setgid_dir(d)?;
    as_user(d, BOB, || Ok(open_mode("dir/f", CREAT | EXCL | RDWR, 0o2775).map(drop)?))?;
    ensure_eq!(bits(d.join("dir/f"))?, 0o755);
    Ok(())
}

fn copy_clears(d: &Path) -> Outcome {
    let path = program(d, CREW)?;
    file(d.join("source"), "other")?;
    as_user(d, BOB, || {
        let n = rfs::copy_file_range(open("source", RD)?, None, open("f", WR)?, None, 5);
        ensure_eq!(n.or_skip("copy_file_range")?, 5);
        Ok(())
    })?;
    ensure_eq!(bits(&path)?, 0o777);
    Ok(())
}

fn fallocate_clears(d: &Path) -> Outcome {
    let path = program(d, CREW)?;
    as_user(d, BOB, || {
        rfs::fallocate(open("f", WR)?, rfs::FallocateFlags::empty(), 0, 10_000).or_skip("fallocate")
    })?;
    ensure_eq!(bits(&path)?, 0o777);
    Ok(())
}

type Change = (&'static str, fn() -> Outcome);

/// All ways to change the content of `f`.
const CHANGES: [Change; 6] = [
    ("write", || Ok(open("f", WR)?.write_all_at(b"x", 0)?)),
    ("ftruncate", || Ok(open("f", WR)?.set_len(5)?)),
    ("truncate", || Ok(sys::truncate(Path::new("f"), 3)?)),
    ("O_TRUNC", || Ok(open("f", WR | TRUNC).map(drop)?)),
    ("fallocate", || Ok(rfs::fallocate(open("f", WR)?, rfs::FallocateFlags::empty(), 0, 9000)?)),
    ("copy_file_range", || {
        let n = rfs::copy_file_range(open("source", RD)?, None, open("f", WR)?, None, 5);
        ensure_eq!(n.or_skip("copy_file_range")?, 5);
        Ok(())
    }),
];

/// What is left of `before` after each way to change the content of a file of that group.
fn lock_bit(d: &Path, user: User, group: u32, before: u32, after: u32) -> Outcome {
    file(d.join("source"), "other")?;
    for (name, change) in CHANGES {
        let path = program(d, group)?;
        chmod(&path, before)?;
        as_user(d, user, change)?;
        let bits = bits(&path)?;
        ensure!(bits == after, "{name} by {} makes {before:o} {bits:o}, not {after:o}", user.uid);
    }
    unlink(d.join("source"))?;
    Ok(())
}

fn lock_bit_by_member(d: &Path) -> Outcome {
    for group in [ALICE.gid, CREW] {
        lock_bit(d, ALICE, group, 0o2666, 0o2666)?;
        lock_bit(d, ALICE, group, 0o6666, 0o2666)?;
    }
    Ok(())
}

fn lock_bit_by_others(d: &Path) -> Outcome {
    for group in [CREW, 0] {
        lock_bit(d, BOB, group, 0o2666, 0o666)?;
        lock_bit(d, BOB, group, 0o6666, 0o666)?;
    }
    Ok(())
}

/// Version 2 of `security.capability`, with CAP_NET_RAW permitted and effective.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const CAPABILITY_NAME: &str = "security.capability";

fn with_capability(d: &Path) -> Result<PathBuf, Failure> {
    let path = d.join("f");
    file(&path, "content")?;
    rfs::setxattr(&path, CAPABILITY_NAME, &CAPABILITY, rfs::XattrFlags::empty())
        .or_skip("security.* attributes")?;
    let mut buf = [0; 64];
    let n = rfs::getxattr(&path, CAPABILITY_NAME, &mut buf[..])?;
    same(&buf[..n], &CAPABILITY)?;
    Ok(path)
}

fn capability_cleared_by_write(d: &Path) -> Outcome {
    let path = with_capability(d)?;
    open(&path, WR)?.write_all_at(b"x", 0)?;
    expect_errno!(rfs::getxattr(&path, CAPABILITY_NAME, &mut [0; 64][..]), NODATA);
    Ok(())
}

fn capability_cleared_by_chown(d: &Path) -> Outcome {
    let path = with_capability(d)?;
    chown(&path, ALICE.uid, None)?;
    expect_errno!(rfs::getxattr(&path, CAPABILITY_NAME, &mut [0; 64][..]), NODATA);
    Ok(())
}
