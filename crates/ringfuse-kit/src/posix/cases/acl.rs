//! POSIX access control lists: acl(5), set by the raw attributes.

use crate::posix::base::*;

cases! { "acl":
    round_trip [ACL] "an access list comes back as it was set (acl(5))";
    sets_mode [ACL] "setting a list sets the mode, with the mask as group bits (acl(5))";
    minimal_is_mode [ACL] "a list with nothing but the mode is the mode, and is not stored (acl(5))";
    chmod_sets_mask [ACL] "chmod changes the mask, and owner and others (acl(5))";
    chmod_keeps_entries [ACL] "chmod keeps named entries and the group's (acl(5))";
    named_user [ACL USERS] "a named user has the access the list gives (acl(5))";
    named_user_denied [ACL USERS] "a named user without access is denied though others may (acl(5))";
    named_group [ACL USERS] "a named group has the access the list gives (acl(5))";
    mask_limits [ACL USERS] "the mask limits named entries and the group, not owner and others (acl(5))";
    default_to_file [ACL] "a default list gives a new file its list, and the umask has no part (acl(5))";
    default_mode_limits [ACL] "the mode given to open limits an inherited list (acl(5))";
    default_to_directory [ACL] "a default list gives a new directory its list and its default list (acl(5))";
    default_on_file [ACL] "a default list on a file fails with EACCES (acl(5))";
    default_minimal [ACL] "a default list without named entries sets the mode of new files (acl(5))";
    removed [ACL] "a list can be removed, the mode stays (acl(5))";
    invalid [ACL] "a list without the three basic entries, or without a needed mask, fails with EINVAL (acl(5))";
    owner_only [ACL USERS] "only the owner sets a list: EPERM (acl(5))";
    listed [ACL] "lists appear among the attributes (listxattr(2))";
    create_after_default_removed [ACL] "without the default list new files follow the umask again (acl(5))";
    directory_access [ACL USERS] "a named user may search and write a directory by its list (acl(5))";
    survives_rename [ACL] "a list goes with the file through rename (acl(5))";
}

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// An entry: tag, permission bits, id.
type Entry = (u16, u16, u32);

/// The id of an entry that has none.
const NONE: u32 = u32::MAX;

fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, perm, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(perm.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

fn decode(bytes: &[u8]) -> Option<Vec<Entry>> {
    let (version, entries) = bytes.split_first_chunk()?;
    let entries = entries.as_chunks::<8>();
    if u32::from_le_bytes(*version) != 2 || !entries.1.is_empty() {
        return None;
    }
    let entry = |&[a, b, c, d, e, f, g, h]: &[u8; 8]| {
        (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]), u32::from_le_bytes([e, f, g, h]))
    };
    Some(entries.0.iter().map(entry).collect())
}

fn set(path: impl AsRef<Path>, which: &str, entries: &[Entry]) -> Result<(), Errno> {
    rfs::setxattr(path.as_ref(), which, &encode(entries), rfs::XattrFlags::empty())
}

fn get(path: impl AsRef<Path>, which: &str) -> Result<Vec<Entry>, Failure> {
    let mut buf = [0; 1024];
    let n = rfs::getxattr(path.as_ref(), which, &mut buf[..])?;
    decode(&buf[..n]).ok_or_else(|| Failure::check(format!("not a list: {:?}", &buf[..n])))
}

/// A basic list with one named user and a mask.
fn with_user(user: u16, mask: u16, others: u16) -> [Entry; 5] {
    [
        (USER_OBJ, 6, NONE),
        (USER, user, ALICE.uid),
        (GROUP_OBJ, 4, NONE),
        (MASK, mask, NONE),
        (OTHER, others, NONE),
    ]
}

/// A new file of mode 0640, on a filesystem that has access lists.
fn subject(d: &Path) -> Result<PathBuf, Failure> {
    let path = d.join("f");
    drop(file(&path, "content")?);
    set(&path, ACCESS, &with_user(4, 4, 0)).or_skip("access control lists")?;
    rfs::removexattr(&path, ACCESS)?;
    chmod(&path, 0o640)?;
    Ok(path)
}

/// A directory with that default list.
fn parent(d: &Path, entries: &[Entry]) -> Result<PathBuf, Failure> {
    subject(d)?;
    let dir = d.join("dir");
    mkdir(&dir)?;
    set(&dir, DEFAULT, entries)?;
    Ok(dir)
}

fn round_trip(d: &Path) -> Outcome {
    let f = subject(d)?;
    let list = [
        (USER_OBJ, 7, NONE),
        (USER, 5, ALICE.uid),
        (USER, 0, BOB.uid),
        (GROUP_OBJ, 4, NONE),
        (GROUP, 6, CREW),
        (GROUP, 1, STRANGERS),
        (MASK, 7, NONE),
        (OTHER, 1, NONE),
    ];
    set(&f, ACCESS, &list)?;
    ensure_eq!(get(&f, ACCESS)?, list);
    Ok(())
}

fn sets_mode(d: &Path) -> Outcome {
    let f = subject(d)?;
    set(&f, ACCESS, &with_user(7, 5, 1))?;
    ensure_eq!(bits(&f)?, 0o651);
    Ok(())
}

fn minimal_is_mode(d: &Path) -> Outcome {
    let f = subject(d)?;
    set(&f, ACCESS, &[(USER_OBJ, 7, NONE), (GROUP_OBJ, 5, NONE), (OTHER, 4, NONE)])?;
    ensure_eq!(bits(&f)?, 0o754);
    expect_errno!(rfs::getxattr(&f, ACCESS, &mut [0; 100][..]), NODATA);
    Ok(())
}

fn chmod_sets_mask(d: &Path) -> Outcome {
    let f = subject(d)?;
    set(&f, ACCESS, &with_user(7, 7, 0))?;
    chmod(&f, 0o751)?;
    let got = get(&f, ACCESS)?;
    ensure!(got.contains(&(MASK, 5, NONE)), "the mask is not r-x: {got:?}");
    ensure!(got.contains(&(USER_OBJ, 7, NONE)), "the owner is not rwx: {got:?}");
    ensure!(got.contains(&(OTHER, 1, NONE)), "the others are not --x: {got:?}");
    Ok(())
}

fn chmod_keeps_entries(d: &Path) -> Outcome {
    let f = subject(d)?;
    set(&f, ACCESS, &with_user(6, 6, 0))?;
    chmod(&f, 0o600)?;
    let got = get(&f, ACCESS)?;
    ensure!(got.contains(&(USER, 6, ALICE.uid)), "the named user changed: {got:?}");
    ensure!(got.contains(&(GROUP_OBJ, 4, NONE)), "the group changed: {got:?}");
    ensure!(got.contains(&(MASK, 0, NONE)), "the mask is not empty: {got:?}");
    Ok(())
}

fn named_user(d: &Path) -> Outcome {
    let f = subject(d)?;
    set(&f, ACCESS, &with_user(6, 6, 0))?;
    as_user(d, ALICE, || opens("f", RDWR))?;
    as_user(d, BOB, || {
        expect_errno!(open("f", RD), ACCESS);
        Ok(())
    })?;
    set(&f, ACCESS, &with_user(4, 6, 0))?;
    as_user(d, ALICE, || {
        open("f", RD)?;
        expect_errno!(open("f", WR), ACCESS);
        Ok(())
    })
}

fn named_user_denied(d: &Path) -> Outcome {
    let f = subject(d)?;
    set(&f, ACCESS, &with_user(0, 7, 6))?;
    as_user(d, BOB, || opens("f", RDWR))?;
    as_user(d, ALICE, || {
        expect_errno!(open("f", RD), ACCESS);
        expect_errno!(rfs::access("f", rfs::Access::READ_OK), ACCESS);
        Ok(())
    })
}

fn named_group(d: &Path) -> Outcome {
    let f = subject(d)?;
    let list =
        [(USER_OBJ, 6, NONE), (GROUP_OBJ, 0, NONE), (GROUP, 6, CREW), (MASK, 6, NONE), (OTHER, 0, NONE)];
    set(&f, ACCESS, &list)?;
    as_user(d, ALICE, || opens("f", RDWR))?;
    as_user(d, BOB, || {
        expect_errno!(open("f", RD), ACCESS);
        Ok(())
    })
}

fn mask_limits(d: &Path) -> Outcome {
    let f = subject(d)?;
    set(&f, ACCESS, &with_user(6, 4, 6))?;
    as_user(d, ALICE, || {
        open("f", RD)?;
        expect_errno!(open("f", WR), ACCESS);
        Ok(())
    })?;
    as_user(d, BOB, || opens("f", RDWR))?;
    chown(&f, BOB.uid, None)?;
    set(&f, ACCESS, &with_user(6, 0, 0))?;
    as_user(d, BOB, || opens("f", RDWR))
}

fn default_to_file(d: &Path) -> Outcome {
    let list = with_user(6, 7, 5);
    let dir = parent(d, &list)?;
    ensure_eq!(get(&dir, DEFAULT)?, list);
    rustix::process::umask(mode(0o077));
    let made = open_mode(dir.join("f"), CREAT | EXCL | RDWR, 0o666);
    rustix::process::umask(mode(0o022));
    drop(made?);
    ensure_eq!(bits(dir.join("f"))?, 0o664);
    let want =
        [(USER_OBJ, 6, NONE), (USER, 6, ALICE.uid), (GROUP_OBJ, 4, NONE), (MASK, 6, NONE), (OTHER, 4, NONE)];
    ensure_eq!(get(dir.join("f"), ACCESS)?, want);
    expect_errno!(rfs::getxattr(dir.join("f"), DEFAULT, &mut [0; 100][..]), NODATA | ACCESS);
    Ok(())
}

fn default_mode_limits(d: &Path) -> Outcome {
    let dir = parent(d, &with_user(7, 7, 7))?;
    open_mode(dir.join("f"), CREAT | EXCL | RDWR, 0o600)?;
    ensure_eq!(bits(dir.join("f"))?, 0o600);
    let got = get(dir.join("f"), ACCESS)?;
    ensure!(got.contains(&(MASK, 0, NONE)), "the mask is not empty: {got:?}");
    ensure!(got.contains(&(USER, 7, ALICE.uid)), "the named user changed: {got:?}");
    Ok(())
}

fn default_to_directory(d: &Path) -> Outcome {
    let list =
        [(USER_OBJ, 7, NONE), (USER, 5, ALICE.uid), (GROUP_OBJ, 5, NONE), (MASK, 7, NONE), (OTHER, 0, NONE)];
    let dir = parent(d, &list)?;
    rfs::mkdir(dir.join("sub"), mode(0o777))?;
    ensure_eq!(get(dir.join("sub"), DEFAULT)?, list);
    ensure_eq!(get(dir.join("sub"), ACCESS)?, list);
    ensure_eq!(bits(dir.join("sub"))?, 0o770);
    drop(touch(dir.join("sub/f"))?);
    ensure!(get(dir.join("sub/f"), ACCESS)?.contains(&(USER, 5, ALICE.uid)), "not inherited twice");
    Ok(())
}

fn default_on_file(d: &Path) -> Outcome {
    let f = subject(d)?;
    expect_errno!(set(&f, DEFAULT, &with_user(4, 4, 0)), ACCESS);
    Ok(())
}

fn default_minimal(d: &Path) -> Outcome {
    let dir = parent(d, &[(USER_OBJ, 7, NONE), (GROUP_OBJ, 7, NONE), (OTHER, 0, NONE)])?;
    open_mode(dir.join("f"), CREAT | EXCL | RDWR, 0o666)?;
    ensure_eq!(bits(dir.join("f"))?, 0o660);
    expect_errno!(rfs::getxattr(dir.join("f"), ACCESS, &mut [0; 100][..]), NODATA);
    rfs::mkdir(dir.join("sub"), mode(0o777))?;
    ensure_eq!(bits(dir.join("sub"))?, 0o770);
    Ok(())
}

fn removed(d: &Path) -> Outcome {
    let f = subject(d)?;
    set(&f, ACCESS, &with_user(6, 6, 4))?;
    rfs::removexattr(&f, ACCESS)?;
    expect_errno!(rfs::getxattr(&f, ACCESS, &mut [0; 100][..]), NODATA);
    ensure_eq!(bits(&f)?, 0o664);
    Ok(())
}

fn invalid(d: &Path) -> Outcome {
    let f = subject(d)?;
    let no_other = [(USER_OBJ, 7, NONE), (GROUP_OBJ, 5, NONE)];
    let no_mask = [(USER_OBJ, 7, NONE), (USER, 5, ALICE.uid), (GROUP_OBJ, 5, NONE), (OTHER, 0, NONE)];
    let bad_perm = [(USER_OBJ, 8, NONE), (GROUP_OBJ, 5, NONE), (OTHER, 0, NONE)];
    for list in [&no_other[..], &no_mask[..], &bad_perm[..]] {
        expect_errno!(set(&f, ACCESS, list), INVAL);
    }
    let flags = rfs::XattrFlags::empty();
    expect_errno!(rfs::setxattr(&f, ACCESS, b"\x02\0\0", flags), INVAL);
    expect_errno!(rfs::setxattr(&f, ACCESS, b"\x09\0\0\0", flags), INVAL | OPNOTSUPP);
    ensure_eq!(bits(&f)?, 0o640);
    Ok(())
}

fn owner_only(d: &Path) -> Outcome {
    let f = subject(d)?;
    chmod(&f, 0o666)?;
    as_user(d, ALICE, || {
        expect_errno!(set("f", ACCESS, &with_user(7, 7, 7)), PERM);
        Ok(())
    })?;
    chown(&f, ALICE.uid, None)?;
    as_user(d, ALICE, || Ok(set("f", ACCESS, &with_user(6, 6, 0))?))
}

fn listed(d: &Path) -> Outcome {
    let f = subject(d)?;
    let lists = |path: &Path, name: &str| -> Result<bool, Failure> {
        let mut buf = [0; 1024];
        let n = rfs::listxattr(path, &mut buf[..])?;
        Ok(buf[..n].split(|&byte| byte == 0).any(|found| found == name.as_bytes()))
    };
    ensure!(!lists(&f, ACCESS)?, "listed without a list");
    set(&f, ACCESS, &with_user(6, 6, 0))?;
    ensure!(lists(&f, ACCESS)?, "the access list is not listed");
    mkdir(d.join("dir"))?;
    set(d.join("dir"), DEFAULT, &with_user(6, 6, 0))?;
    ensure!(lists(&d.join("dir"), DEFAULT)?, "the default list is not listed");
    Ok(())
}

fn create_after_default_removed(d: &Path) -> Outcome {
    let dir = parent(d, &with_user(7, 7, 7))?;
    rfs::removexattr(&dir, DEFAULT)?;
    open_mode(dir.join("f"), CREAT | EXCL | RDWR, 0o666)?;
    ensure_eq!(bits(dir.join("f"))?, 0o644);
    expect_errno!(rfs::getxattr(dir.join("f"), ACCESS, &mut [0; 100][..]), NODATA);
    Ok(())
}

fn directory_access(d: &Path) -> Outcome {
    subject(d)?;
    let dir = d.join("dir");
    mkdir(&dir)?;
    let list = |perm| {
        [
            (USER_OBJ, 7, NONE),
            (USER, perm, ALICE.uid),
            (GROUP_OBJ, 0, NONE),
            (MASK, 7, NONE),
            (OTHER, 0, NONE),
        ]
    };
    set(&dir, ACCESS, &list(7))?;
    as_user(d, ALICE, || {
        touch("dir/f")?;
        ensure_eq!(names("dir")?.len(), 1);
        Ok(())
    })?;
    as_user(d, BOB, || {
        expect_errno!(st("dir/f"), ACCESS);
        Ok(())
    })?;
    set(&dir, ACCESS, &list(1))?;
    as_user(d, ALICE, || {
        st("dir/f")?;
        expect_errno!(unlink("dir/f"), ACCESS);
        expect_errno!(open("dir", RD), ACCESS);
        Ok(())
    })
}

fn survives_rename(d: &Path) -> Outcome {
    let f = subject(d)?;
    set(&f, ACCESS, &with_user(6, 6, 0))?;
    rename(&f, d.join("g"))?;
    ensure_eq!(get(d.join("g"), ACCESS)?, with_user(6, 6, 0));
    Ok(())
}
