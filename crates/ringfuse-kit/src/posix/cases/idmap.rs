//! Id-mapped mounts: the same files, with other owners (mount_setattr(2)).

use crate::posix::base::*;
use rustix::mount::{OpenTreeFlags, open_tree};
use std::process::{Child, Command};

cases! { "idmap":
    shown [ROOT IDMAP] "owners and groups are shown mapped, and set unmapped (mount_setattr(2), chown(2))";
    created [USERS IDMAP] "what is created belongs to its creator, unmapped (mount_setattr(2))";
    unmapped [USERS IDMAP] "who has no id below creates nothing: EOVERFLOW (mount_setattr(2))";
    permissions [USERS IDMAP] "the mapped owner may what the owner may, and the owner not (mount_setattr(2))";
    setgid_directory [USERS IDMAP] "in a setgid directory the group is the directory's (mount_setattr(2))";
    setid_goes [USERS IDMAP] "writing, truncating, allocating and chown clear setuid and setgid (write(2))";
    acl [USERS IDMAP ACL] "access control lists name mapped users (acl(5))";
    trusted [USERS IDMAP XATTR_TRUSTED] "trusted.* attributes are root's alone to see (xattr(7))";
    whiteout [USERS IDMAP RENAME_WHITEOUT] "a whiteout belongs to who leaves it, unmapped (renameat2(2))";
}

/// A user whose file it is.
const CAROL: User = User { uid: 30_003, gid: 30_003, groups: &[] };

/// What is to be added to ids below to have those of the mount.
const SHIFT: u32 = 10_000;
/// The ids below that are mapped, from this on.
const FIRST: u32 = 20_000;
const COUNT: u32 = 20_000;

/// The same user, as he is below.
fn below(user: User) -> (u32, u32) {
    (user.uid - SHIFT, user.gid - SHIFT)
}

/// A process in a user namespace that is killed at the end.
struct Namespace(Child);

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A user namespace that maps ids as the mount is to.
fn namespace() -> Result<File, Failure> {
    let Ok(child) = Command::new("unshare").args(["--user", "sleep", "60"]).spawn() else {
        skip!("there is no program unshare");
    };
    let process = Namespace(child);
    let proc = PathBuf::from(format!("/proc/{}", process.0.id()));
    let link = proc.join("ns/user");
    let mine = fs::read_link("/proc/self/ns/user")?;
    for _ in 0..500 {
        let Ok(its) = fs::read_link(&link) else { break };
        if its != mine {
            for map in ["uid_map", "gid_map"] {
                fs::write(proc.join(map), format!("{FIRST} {} {COUNT}\n", FIRST + SHIFT))?;
            }
            return Ok(open(&link, RD)?);
        }
        tick();
    }
    skip!("no user namespace can be had");
}

/// A directory of everybody, and the same with other owners. The mount is nowhere in the tree: its path is one in `/proc`.
fn mapped(d: &Path) -> Result<(PathBuf, File), Failure> {
    let dir = d.join("below");
    mkdir(&dir)?;
    chmod(&dir, 0o777)?;
    let (uid, gid) = below(BOB);
    chown(&dir, uid, gid)?;
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(CWD, &dir, clone)?;
    match sys::map_ids(&mount, namespace()?) {
        Err(Errno::INVAL | Errno::NOSYS) => skip!("not supported: mount_setattr(MOUNT_ATTR_IDMAP)"),
        Err(Errno::PERM) => skip!("this is an id-mapped mount already"),
        result => result?,
    }
    Ok((dir, File::from(mount)))
}

/// That a file has that owner and group.
#[track_caller]
fn belongs(path: impl AsRef<Path>, ids: (u32, u32)) -> Outcome {
    let st = st(path)?;
    if (st.uid(), st.gid()) == ids {
        return Ok(());
    }
    Err(Failure::check(format!("it belongs to {}:{}, expected {ids:?}", st.uid(), st.gid())))
}

fn shown(d: &Path) -> Outcome {
    let (dir, mount) = mapped(d)?;
    let top = proc_fd(&mount);
    touch(dir.join("f"))?;
    let (uid, gid) = below(ALICE);
    chown(dir.join("f"), uid, gid)?;
    belongs(top.join("f"), (ALICE.uid, ALICE.gid))?;
    chown(top.join("f"), BOB.uid, STRANGERS)?;
    belongs(dir.join("f"), (below(BOB).0, STRANGERS - SHIFT))?;
    belongs(top.join("f"), (BOB.uid, STRANGERS))?;
    expect_errno!(chown(top.join("f"), FIRST, None), OVERFLOW);
    // What is not mapped is the overflow user's.
    chown(dir.join("f"), 1, 1)?;
    belongs(top.join("f"), (65_534, 65_534))
}

fn created(d: &Path) -> Outcome {
    let (dir, mount) = mapped(d)?;
    as_user(&proc_fd(&mount), ALICE, || {
        drop(touch("file")?);
        mkdir("directory")?;
        symlink("target", "link")?;
        mkfifo("fifo")?;
        for name in ["file", "directory", "link", "fifo"] {
            belongs(name, (ALICE.uid, ALICE.gid))?;
        }
        match open(".", OFlags::TMPFILE | RDWR) {
            Ok(file) => ensure_eq!(file.metadata()?.uid(), ALICE.uid),
            Err(error) => ensure_eq!(error, Errno::OPNOTSUPP),
        }
        Ok(())
    })?;
    for name in ["file", "directory", "link", "fifo"] {
        belongs(dir.join(name), below(ALICE))?;
    }
    Ok(())
}

fn unmapped(d: &Path) -> Outcome {
    let (_, mount) = mapped(d)?;
    for uid in [0, ALICE.uid - SHIFT] {
        as_user(&proc_fd(&mount), User { uid, ..ALICE }, || {
            expect_errno!(touch("file"), OVERFLOW);
            expect_errno!(mkdir("directory"), OVERFLOW);
            expect_errno!(symlink("target", "link"), OVERFLOW);
            Ok(())
        })?;
    }
    Ok(())
}

fn permissions(d: &Path) -> Outcome {
    let (dir, mount) = mapped(d)?;
    let top = proc_fd(&mount);
    drop(file(dir.join("f"), "text")?);
    chmod(dir.join("f"), 0o600)?;
    let (uid, gid) = below(ALICE);
    chown(dir.join("f"), uid, gid)?;
    as_user(&top, ALICE, || {
        same(&read("f")?, b"text")?;
        chmod("f", 0o640)?;
        Ok(())
    })?;
    for user in [BOB, User { uid, gid, groups: &[] }] {
        as_user(&top, user, || {
            expect_errno!(open("f", RD), ACCESS);
            expect_errno!(chmod("f", 0o666), PERM);
            Ok(())
        })?;
    }
    as_user(&top, User { groups: &[ALICE.gid], ..BOB }, || opens("f", RD))?;
    as_user(&dir, ALICE, || {
        expect_errno!(open("f", RD), ACCESS);
        Ok(())
    })
}

fn setgid_directory(d: &Path) -> Outcome {
    let (dir, mount) = mapped(d)?;
    let sub = dir.join("sub");
    mkdir(&sub)?;
    chown(&sub, below(BOB).0, CREW - SHIFT)?;
    chmod(&sub, 0o2777)?;
    for (user, kept) in [(ALICE, 0o2000), (BOB, 0)] {
        as_user(&proc_fd(&mount).join("sub"), user, || {
            drop(open_mode("file", CREAT | EXCL | RDWR, 0o2755)?);
            mkdir("directory")?;
            belongs("file", (user.uid, CREW))?;
            ensure_eq!(bits("file")?, 0o755 | kept);
            ensure_eq!(bits("directory")?, 0o2755);
            Ok(())
        })?;
        belongs(sub.join("file"), (below(user).0, CREW - SHIFT))?;
        unlink(sub.join("file"))?;
        rmdir(sub.join("directory"))?;
    }
    Ok(())
}

fn setid_goes(d: &Path) -> Outcome {
    let (dir, mount) = mapped(d)?;
    drop(file(dir.join("f"), "text")?);
    let (uid, gid) = below(ALICE);
    chown(dir.join("f"), uid, gid)?;
    let clears = |what: &str, change: fn(&File) -> Outcome| {
        chmod("f", 0o6755)?;
        change(&open("f", RDWR)?)?;
        ensure_eq!(bits("f")?, 0o755, "after {what}");
        Ok(())
    };
    as_user(&proc_fd(&mount), ALICE, || {
        clears("write", |file| Ok(file.write_all_at(b"more", 2)?))?;
        clears("ftruncate", |file| Ok(file.set_len(3)?))?;
        clears("truncate", |_| Ok(sys::truncate(Path::new("f"), 2)?))?;
        clears("chown", |file| Ok(rfs::fchown(file, None, Some(rfs::Gid::from_raw(CREW)))?))?;
        clears("fallocate", |file| match rfs::fallocate(file, rfs::FallocateFlags::empty(), 0, 8192) {
            Err(Errno::OPNOTSUPP) => chmod("f", 0o755).map_err(Failure::from),
            result => Ok(result?),
        })
    })
}

/// An access control list as xattr(7) has it: permissions of the owner, of a user, of group, mask and others.
fn list(user: u32) -> Vec<u8> {
    const NONE: u32 = u32::MAX;
    let mut list = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in
        [(1u16, 6u16, NONE), (2, 4, user), (4, 0, NONE), (16, 4, NONE), (32, 0, NONE)]
    {
        list.extend(tag.to_le_bytes().into_iter().chain(permissions.to_le_bytes()).chain(id.to_le_bytes()));
    }
    list
}

fn acl(d: &Path) -> Outcome {
    const NAME: &str = "system.posix_acl_access";
    let (dir, mount) = mapped(d)?;
    let top = proc_fd(&mount);
    drop(file(dir.join("f"), "text")?);
    let (uid, gid) = below(CAROL);
    chown(dir.join("f"), uid, gid)?;
    rfs::setxattr(top.join("f"), NAME, &list(ALICE.uid), rfs::XattrFlags::empty())?;
    let get = |path: PathBuf| {
        let mut value = vec![0; 100];
        let len = rfs::getxattr(path, NAME, &mut value[..])?;
        value.truncate(len);
        Ok::<_, Errno>(value)
    };
    ensure_eq!(get(top.join("f"))?, list(ALICE.uid));
    ensure_eq!(get(dir.join("f"))?, list(ALICE.uid - SHIFT));
    as_user(&top, ALICE, || opens("f", RD))?;
    as_user(&top, BOB, || {
        expect_errno!(open("f", RD), ACCESS);
        Ok(())
    })
}

fn trusted(d: &Path) -> Outcome {
    let (dir, mount) = mapped(d)?;
    let top = proc_fd(&mount);
    drop(touch(dir.join("f"))?);
    rfs::setxattr(dir.join("f"), "trusted.secret", b"1", rfs::XattrFlags::empty()).or_skip("trusted.*")?;
    let listed = |path: &Path| {
        let mut list = vec![0; 1000];
        let len = rfs::listxattr(path, &mut list[..])?;
        Ok::<_, Errno>(String::from_utf8_lossy(&list[..len]).contains("trusted.secret"))
    };
    ensure!(listed(&top.join("f"))?);
    as_user(&top, ALICE, || {
        ensure!(!listed(Path::new("f"))?);
        Ok(())
    })
}

fn whiteout(d: &Path) -> Outcome {
    let (dir, mount) = mapped(d)?;
    as_user(&proc_fd(&mount), ALICE, || {
        drop(touch("from")?);
        rfs::renameat_with(CWD, "from", CWD, "to", rfs::RenameFlags::WHITEOUT).or_skip("RENAME_WHITEOUT")?;
        belongs("from", (ALICE.uid, ALICE.gid))
    })?;
    belongs(dir.join("from"), below(ALICE))
}
