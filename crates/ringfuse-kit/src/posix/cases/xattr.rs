//! Extended attributes: xattr(7).

use crate::posix::base::*;
use rustix::fs::XattrFlags;

cases! { "xattr":
    set_and_get [XATTR_USER] "an attribute is set, read, replaced and removed (setxattr(2))";
    create_flag [XATTR_USER] "XATTR_CREATE fails with EEXIST if the attribute is there (setxattr(2))";
    replace_flag [XATTR_USER] "XATTR_REPLACE fails with ENODATA if it is not (setxattr(2))";
    missing [XATTR_USER] "reading or removing a missing attribute fails with ENODATA (getxattr(2))";
    size_query [XATTR_USER] "size 0 asks for the size of value and list (getxattr(2), listxattr(2))";
    small_buffer [XATTR_USER] "a buffer that is too small fails with ERANGE (getxattr(2), listxattr(2))";
    empty_value [XATTR_USER] "an empty value is not a missing one (setxattr(2))";
    binary_value [XATTR_USER] "a value may hold any bytes (xattr(7))";
    sizes [XATTR_USER] "values of many sizes grow and shrink (setxattr(2))";
    large_value [XATTR_USER] "a value of 60 KiB, if the filesystem has room for it (xattr(7))";
    too_large_value [XATTR_USER] "a value above 64 KiB fails with E2BIG (setxattr(2))";
    names_limits [XATTR_USER] "a name of 255 bytes is taken, a longer one fails with ERANGE (setxattr(2))";
    many [XATTR_USER] "40 attributes are listed complete, and removed one by one (listxattr(2))";
    list_empty [XATTR_USER] "a new file lists no user attributes (listxattr(2))";
    on_directory [XATTR_USER] "a directory has attributes (xattr(7))";
    by_descriptor [XATTR_USER] "attributes by descriptor and by path are the same (fsetxattr(2))";
    through_link [XATTR_USER SYMLINK] "setxattr follows a symbolic link (setxattr(2))";
    not_on_links_and_nodes [XATTR_USER SYMLINK MKNOD] "user attributes on links and FIFOs fail with EPERM (xattr(7))";
    follow_file [XATTR_USER HARD_LINK] "attributes go with the file through rename and link (xattr(7))";
    gone_with_file [XATTR_USER] "a new file under an old name has none of the old attributes (xattr(7))";
    needs_permission [XATTR_USER USERS] "user attributes need read or write permission: EACCES (xattr(7))";
    sticky_directory [XATTR_USER USERS] "in a sticky directory only its owner sets user attributes: EPERM (xattr(7))";
    unknown_namespace [XATTR_USER] "an unknown namespace fails with EOPNOTSUPP (setxattr(2))";
    missing_file [XATTR_USER] "attributes of a missing file fail with ENOENT (setxattr(2))";
    trusted [XATTR_TRUSTED ROOT] "trusted attributes are set, listed and removed by root (xattr(7))";
    trusted_hidden [XATTR_TRUSTED USERS] "trusted attributes are hidden from users (xattr(7))";
    trusted_on_link [XATTR_TRUSTED ROOT SYMLINK] "a symbolic link has trusted attributes of its own (xattr(7))";
    security [XATTR_SECURITY ROOT] "security attributes are set and read by root (xattr(7))";
    copy_keeps_content [XATTR_USER] "attributes leave content, size and mtime as they are (setxattr(2))";
}

const ANY: XattrFlags = XattrFlags::empty();

fn set(path: impl AsRef<Path>, name: &str, value: &[u8]) -> Result<(), Errno> {
    rfs::setxattr(path.as_ref(), name, value, ANY)
}

fn get(path: impl AsRef<Path>, name: &str) -> Result<Vec<u8>, Errno> {
    let mut buf = vec![0; 70_000];
    let n = rfs::getxattr(path.as_ref(), name, &mut buf[..])?;
    buf.truncate(n);
    Ok(buf)
}

fn remove(path: impl AsRef<Path>, name: &str) -> Result<(), Errno> {
    rfs::removexattr(path.as_ref(), name)
}

fn split(list: &[u8]) -> BTreeSet<String> {
    list.split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect()
}

/// The listed names that begin with the prefix.
fn list(path: impl AsRef<Path>, prefix: &str) -> Result<BTreeSet<String>, Errno> {
    let mut buf = vec![0; 65_536];
    let n = rfs::llistxattr(path.as_ref(), &mut buf[..])?;
    Ok(split(&buf[..n]).into_iter().filter(|name| name.starts_with(prefix)).collect())
}

/// A file that has taken one attribute.
fn probed(d: &Path, name: &str) -> Result<PathBuf, Failure> {
    let path = d.join("f");
    drop(file(&path, "content")?);
    set(&path, name, b"probe").or_skip(name)?;
    remove(&path, name)?;
    Ok(path)
}

fn user(d: &Path) -> Result<PathBuf, Failure> {
    probed(d, "user.probe")
}

fn set_and_get(d: &Path) -> Outcome {
    let f = user(d)?;
    set(&f, "user.a", b"value")?;
    set(&f, "user.b", b"other")?;
    same(&get(&f, "user.a")?, b"value")?;
    set(&f, "user.a", b"replaced by a longer value")?;
    same(&get(&f, "user.a")?, b"replaced by a longer value")?;
    same(&get(&f, "user.b")?, b"other")?;
    ensure_eq!(list(&f, "user.")?, BTreeSet::from(["user.a".into(), "user.b".into()]));
    remove(&f, "user.a")?;
    expect_errno!(get(&f, "user.a"), NODATA);
    same(&get(&f, "user.b")?, b"other")
}

fn create_flag(d: &Path) -> Outcome {
    let f = user(d)?;
    rfs::setxattr(&f, "user.a", b"1", XattrFlags::CREATE)?;
    expect_errno!(rfs::setxattr(&f, "user.a", b"2", XattrFlags::CREATE), EXIST);
    same(&get(&f, "user.a")?, b"1")
}

fn replace_flag(d: &Path) -> Outcome {
    let f = user(d)?;
    expect_errno!(rfs::setxattr(&f, "user.a", b"1", XattrFlags::REPLACE), NODATA);
    set(&f, "user.a", b"1")?;
    rfs::setxattr(&f, "user.a", b"2", XattrFlags::REPLACE)?;
    same(&get(&f, "user.a")?, b"2")?;
    expect_errno!(rfs::setxattr(&f, "user.a", b"3", XattrFlags::from_bits_retain(64)), INVAL);
    Ok(())
}

fn missing(d: &Path) -> Outcome {
    let f = user(d)?;
    expect_errno!(get(&f, "user.none"), NODATA);
    expect_errno!(remove(&f, "user.none"), NODATA);
    Ok(())
}

fn size_query(d: &Path) -> Outcome {
    let f = user(d)?;
    set(&f, "user.a", b"0123456789")?;
    ensure_eq!(rfs::getxattr_query(&f, "user.a")?, 10);
    let size = rfs::listxattr_query(&f)?;
    let mut buf = vec![0; size];
    ensure_eq!(rfs::listxattr(&f, &mut buf[..])?, size);
    ensure!(split(&buf).contains("user.a"), "the list is {buf:?}");
    Ok(())
}

fn small_buffer(d: &Path) -> Outcome {
    let f = user(d)?;
    set(&f, "user.a", b"0123456789")?;
    expect_errno!(rfs::getxattr(&f, "user.a", &mut [0; 9][..]), RANGE);
    ensure_eq!(rfs::getxattr(&f, "user.a", &mut [0; 10][..])?, 10);
    expect_errno!(rfs::listxattr(&f, &mut [0; 3][..]), RANGE);
    Ok(())
}

fn empty_value(d: &Path) -> Outcome {
    let f = user(d)?;
    set(&f, "user.empty", b"")?;
    ensure_eq!(rfs::getxattr_query(&f, "user.empty")?, 0);
    ensure_eq!(get(&f, "user.empty")?.len(), 0);
    ensure!(list(&f, "user.")?.contains("user.empty"), "not listed");
    expect_errno!(rfs::setxattr(&f, "user.empty", b"x", XattrFlags::CREATE), EXIST);
    Ok(())
}

fn binary_value(d: &Path) -> Outcome {
    let f = user(d)?;
    let value: Vec<u8> = (0..=255).collect();
    set(&f, "user.bytes", &value)?;
    same(&get(&f, "user.bytes")?, &value)
}

fn sizes(d: &Path) -> Outcome {
    let f = user(d)?;
    for len in [1, 100, 3, 1000, 999, 2000, 0, 63, 64, 65, 1500] {
        let value = pattern(len, len as u64);
        set(&f, "user.a", &value)?;
        same(&get(&f, "user.a")?, &value)?;
        ensure_eq!(rfs::getxattr_query(&f, "user.a")?, len);
    }
    Ok(())
}

fn large_value(d: &Path) -> Outcome {
    let f = user(d)?;
    let value = pattern(60 * KIB, 1);
    match set(&f, "user.large", &value) {
        Err(Errno::NOSPC | Errno::TOOBIG) => skip!("no room for an attribute of 60 KiB"),
        result => result?,
    }
    same(&get(&f, "user.large")?, &value)?;
    ensure_eq!(rfs::getxattr_query(&f, "user.large")?, value.len());
    remove(&f, "user.large")?;
    expect_errno!(get(&f, "user.large"), NODATA);
    Ok(())
}

fn too_large_value(d: &Path) -> Outcome {
    let f = user(d)?;
    expect_errno!(set(&f, "user.a", &vec![0; 64 * KIB + 1]), TOOBIG);
    expect_errno!(get(&f, "user.a"), NODATA);
    Ok(())
}

fn names_limits(d: &Path) -> Outcome {
    let f = user(d)?;
    let name = format!("user.{}", "n".repeat(250));
    set(&f, &name, b"x")?;
    same(&get(&f, &name)?, b"x")?;
    ensure!(list(&f, "user.")?.contains(&name), "not listed");
    expect_errno!(set(&f, &format!("{name}n"), b"x"), RANGE);
    expect_errno!(set(&f, "", b"x"), RANGE | INVAL | OPNOTSUPP);
    expect_errno!(set(&f, "user.", b"x"), INVAL | OPNOTSUPP);
    Ok(())
}

fn many(d: &Path) -> Outcome {
    let f = user(d)?;
    let mut want = BTreeSet::new();
    for i in 0..40 {
        let name = format!("user.n{i}");
        set(&f, &name, format!("v{i}").as_bytes())?;
        want.insert(name);
    }
    ensure_eq!(list(&f, "user.")?, want);
    for i in 0..40 {
        let name = format!("user.n{i}");
        same(&get(&f, &name)?, format!("v{i}").as_bytes())?;
        remove(&f, &name)?;
        want.remove(&name);
        ensure_eq!(list(&f, "user.")?, want);
    }
    Ok(())
}

fn list_empty(d: &Path) -> Outcome {
    let f = user(d)?;
    ensure_eq!(list(&f, "user.")?, BTreeSet::new());
    ensure_eq!(list(d, "user.")?, BTreeSet::new());
    Ok(())
}

fn on_directory(d: &Path) -> Outcome {
    user(d)?;
    let dir = d.join("dir");
    mkdir(&dir)?;
    set(&dir, "user.a", b"1")?;
    touch(dir.join("f"))?;
    mkdir(dir.join("sub"))?;
    same(&get(&dir, "user.a")?, b"1")?;
    ensure_eq!(list(dir.join("f"), "user.")?.len(), 0);
    ensure_eq!(list(dir.join("sub"), "user.")?.len(), 0);
    remove(&dir, "user.a")?;
    expect_errno!(get(&dir, "user.a"), NODATA);
    Ok(())
}

fn by_descriptor(d: &Path) -> Outcome {
    let path = user(d)?;
    let f = open(&path, RD)?;
    rfs::fsetxattr(&f, "user.a", b"by fd", ANY)?;
    same(&get(&path, "user.a")?, b"by fd")?;
    set(&path, "user.b", b"by path")?;
    let mut buf = [0; 100];
    let n = rfs::fgetxattr(&f, "user.b", &mut buf[..])?;
    same(&buf[..n], b"by path")?;
    let n = rfs::flistxattr(&f, &mut buf[..])?;
    ensure!(split(&buf[..n]).is_superset(&BTreeSet::from(["user.a".into(), "user.b".into()])), "not listed");
    rfs::fremovexattr(&f, "user.b")?;
    expect_errno!(get(&path, "user.b"), NODATA);
    expect_errno!(rfs::fsetxattr(open(&path, O_PATH)?, "user.a", b"x", ANY), BADF);
    Ok(())
}

fn through_link(d: &Path) -> Outcome {
    let f = user(d)?;
    symlink("f", d.join("l"))?;
    set(d.join("l"), "user.a", b"x")?;
    same(&get(&f, "user.a")?, b"x")?;
    ensure_eq!(list(d.join("l"), "user.")?, BTreeSet::new());
    Ok(())
}

fn not_on_links_and_nodes(d: &Path) -> Outcome {
    user(d)?;
    symlink("f", d.join("l"))?;
    mkfifo(d.join("p"))?;
    expect_errno!(rfs::lsetxattr(d.join("l"), "user.a", b"x", ANY), PERM);
    expect_errno!(rfs::lgetxattr(d.join("l"), "user.a", &mut [0; 9][..]), NODATA | PERM);
    expect_errno!(set(d.join("p"), "user.a", b"x"), PERM);
    Ok(())
}

fn follow_file(d: &Path) -> Outcome {
    let f = user(d)?;
    set(&f, "user.a", b"x")?;
    link(&f, d.join("g"))?;
    same(&get(d.join("g"), "user.a")?, b"x")?;
    set(d.join("g"), "user.a", b"y")?;
    rename(&f, d.join("h"))?;
    same(&get(d.join("h"), "user.a")?, b"y")
}

fn gone_with_file(d: &Path) -> Outcome {
    let f = user(d)?;
    set(&f, "user.a", b"x")?;
    unlink(&f)?;
    drop(file(&f, "new")?);
    expect_errno!(get(&f, "user.a"), NODATA);
    set(&f, "user.b", b"x")?;
    file(d.join("g"), "newer")?;
    rename(d.join("g"), &f)?;
    expect_errno!(get(&f, "user.b"), NODATA);
    Ok(())
}

fn needs_permission(d: &Path) -> Outcome {
    let f = user(d)?;
    set(&f, "user.a", b"x")?;
    chmod(&f, 0o644)?;
    as_user(d, BOB, || {
        same(&get("f", "user.a")?, b"x")?;
        expect_errno!(set("f", "user.a", b"y"), ACCESS);
        expect_errno!(remove("f", "user.a"), ACCESS);
        Ok(())
    })?;
    chmod(&f, 0o602)?;
    as_user(d, BOB, || {
        expect_errno!(get("f", "user.a"), ACCESS);
        set("f", "user.a", b"y")?;
        Ok(())
    })
}

fn sticky_directory(d: &Path) -> Outcome {
    user(d)?;
    mkdir(d.join("dir"))?;
    chmod(d.join("dir"), 0o1777)?;
    as_user(d, BOB, || {
        expect_errno!(set("dir", "user.a", b"x"), PERM);
        Ok(())
    })?;
    chown(d.join("dir"), BOB.uid, None)?;
    as_user(d, BOB, || Ok(set("dir", "user.a", b"x")?))
}

fn unknown_namespace(d: &Path) -> Outcome {
    let f = user(d)?;
    expect_errno!(set(&f, "unknown.a", b"x"), OPNOTSUPP);
    expect_errno!(set(&f, "noprefix", b"x"), OPNOTSUPP);
    expect_errno!(get(&f, "unknown.a"), OPNOTSUPP | NODATA);
    Ok(())
}

fn missing_file(d: &Path) -> Outcome {
    user(d)?;
    expect_errno!(set(d.join("none"), "user.a", b"x"), NOENT);
    expect_errno!(get(d.join("none"), "user.a"), NOENT);
    expect_errno!(list(d.join("none"), ""), NOENT);
    Ok(())
}

fn trusted(d: &Path) -> Outcome {
    let f = probed(d, "trusted.probe")?;
    set(&f, "trusted.a", b"x")?;
    same(&get(&f, "trusted.a")?, b"x")?;
    ensure_eq!(list(&f, "trusted.")?, BTreeSet::from(["trusted.a".into()]));
    remove(&f, "trusted.a")?;
    expect_errno!(get(&f, "trusted.a"), NODATA);
    Ok(())
}

fn trusted_hidden(d: &Path) -> Outcome {
    let f = probed(d, "trusted.probe")?;
    set(&f, "trusted.a", b"x")?;
    chmod(&f, 0o666)?;
    chown(&f, BOB.uid, BOB.gid)?;
    as_user(d, BOB, || {
        ensure_eq!(list("f", "trusted.")?, BTreeSet::new());
        expect_errno!(get("f", "trusted.a"), NODATA | PERM);
        expect_errno!(set("f", "trusted.a", b"y"), PERM);
        expect_errno!(remove("f", "trusted.a"), PERM);
        Ok(())
    })
}

fn trusted_on_link(d: &Path) -> Outcome {
    let f = probed(d, "trusted.probe")?;
    symlink("f", d.join("l"))?;
    rfs::lsetxattr(d.join("l"), "trusted.a", b"x", ANY)?;
    ensure_eq!(list(d.join("l"), "trusted.")?, BTreeSet::from(["trusted.a".into()]));
    expect_errno!(get(&f, "trusted.a"), NODATA);
    rfs::lremovexattr(d.join("l"), "trusted.a")?;
    ensure_eq!(list(d.join("l"), "trusted.")?, BTreeSet::new());
    Ok(())
}

fn security(d: &Path) -> Outcome {
    let f = probed(d, "security.ringfuse_probe")?;
    set(&f, "security.ringfuse_test", b"x")?;
    same(&get(&f, "security.ringfuse_test")?, b"x")?;
    ensure!(list(&f, "security.")?.contains("security.ringfuse_test"), "not listed");
    Ok(())
}

fn copy_keeps_content(d: &Path) -> Outcome {
    let f = user(d)?;
    set_times(&f, (1000, 0), (2000, 0))?;
    set(&f, "user.a", &pattern(500, 1))?;
    let meta = st(&f)?;
    ensure_eq!((meta.len(), meta.mtime()), (7, 2000));
    same(&read(&f)?, b"content")
}
