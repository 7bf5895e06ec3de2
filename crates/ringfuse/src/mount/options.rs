//! Mount options: plain data, read from a `-o` list, written for mount(2) and for `fusermount3`.
//!
//! One table says what each name sets; the two ways of writing them are functions of the data, not of the text that
//! was read, so what they give cannot depend on the order or the spelling of the list.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{FileType, Gid, Uid};
use rustix::mount::MountFlags;

use crate::error::{Error, ErrorKind};
use crate::mount::mountinfo;

#[cfg(test)]
mod tests;

/// How a filesystem is mounted.
///
/// The defaults are those of `fusermount3`: read-write, `nosuid`, `nodev`, `exec`, for the mounting user only. Options
/// that need a block device (`blkdev`, `blksize`, type `fuseblk`) are left out: nothing here has one.
///
/// See mount(8) for the generic options, mount.fuse3(8) and fuse(4) for those of FUSE.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MountOptions {
    /// The source shown by mount(8) and df(1); `None` means "ringfuse". Any bytes except NUL, at most 4095, not empty.
    pub fsname: Option<OsString>,
    /// Shown as the second half of the type, `fuse.SUBTYPE`; `subtype=` in a list takes it away. The same limits.
    pub subtype: Option<OsString>,
    /// Lets users other than the mounting one in. Unless root mounts, `fusermount3` asks for `user_allow_other` in
    /// `/etc/fuse.conf`. Without it not even root may enter.
    pub allow_other: bool,
    /// The kernel checks owner, group and mode on each access. Without it the filesystem decides, if it wants to.
    pub default_permissions: bool,
    /// `fusermount3` stays, and unmounts when this process ends in any way. Such mounts are never made directly.
    ///
    /// For an ordinary user `fusermount3` before 3.15 (Debian 12, Ubuntu 24.04) cannot look into a mount that has no
    /// [`allow_other`](Self::allow_other), and leaves it behind; a warning is logged then.
    pub auto_unmount: bool,
    /// No writes.
    pub read_only: bool,
    /// Honours set-user-ID and set-group-ID bits. `fusermount3` ignores it, with a warning, unless root asks.
    pub suid: bool,
    /// Honours device nodes. `fusermount3` ignores it, with a warning, unless root asks.
    pub dev: bool,
    /// Allows programs to be executed. On by default.
    pub exec: bool,
    /// When the access time is updated. The kernel leaves that to a FUSE server; the choice is only shown.
    pub atime: Atime,
    /// No access times for directories.
    pub nodiratime: bool,
    /// Inode times are written back lazily.
    pub lazytime: bool,
    /// Every write reaches the server before it returns.
    pub synchronous: bool,
    /// The same for changes of directories.
    pub dirsync: bool,
    /// Symbolic links in the filesystem are not followed.
    pub nosymfollow: bool,
    /// The largest read request in bytes; the kernel's smallest value is 4096. `None`: as large as is negotiated.
    pub max_read: Option<u32>,
}

/// When access times are updated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Atime {
    /// If older than the modification, or than a day. The kernel's default (`relatime`).
    #[default]
    Relative,
    /// Never (`noatime`).
    Never,
    /// At each access (`strictatime`).
    Strict,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            fsname: None,
            subtype: None,
            allow_other: false,
            default_permissions: false,
            auto_unmount: false,
            read_only: false,
            suid: false,
            dev: false,
            exec: true,
            atime: Atime::Relative,
            nodiratime: false,
            lazytime: false,
            synchronous: false,
            dirsync: false,
            nosymfollow: false,
            max_read: None,
        }
    }
}

type Set = fn(&mut MountOptions);

/// The options without a value, and what they set.
const FLAGS: &[(&str, Set)] = &[
    ("allow_other", |o| o.allow_other = true),
    ("default_permissions", |o| o.default_permissions = true),
    ("auto_unmount", |o| o.auto_unmount = true),
    ("ro", |o| o.read_only = true),
    ("rw", |o| o.read_only = false),
    ("suid", |o| o.suid = true),
    ("nosuid", |o| o.suid = false),
    ("dev", |o| o.dev = true),
    ("nodev", |o| o.dev = false),
    ("exec", |o| o.exec = true),
    ("noexec", |o| o.exec = false),
    ("atime", |o| o.atime = Atime::Relative),
    ("noatime", |o| o.atime = Atime::Never),
    ("relatime", |o| o.atime = Atime::Relative),
    ("norelatime", |o| o.atime = Atime::Relative), // since 2.6.30 the kernel's default all the same
    ("strictatime", |o| o.atime = Atime::Strict),
    ("nostrictatime", |o| o.atime = Atime::Relative),
    ("diratime", |o| o.nodiratime = false),
    ("nodiratime", |o| o.nodiratime = true),
    ("lazytime", |o| o.lazytime = true),
    ("nolazytime", |o| o.lazytime = false),
    ("sync", |o| o.synchronous = true),
    ("async", |o| o.synchronous = false),
    ("dirsync", |o| o.dirsync = true),
    ("symfollow", |o| o.nosymfollow = false),
    ("nosymfollow", |o| o.nosymfollow = true),
];

/// The options with a value.
const VALUES: &[&str] = &["fsname", "subtype", "max_read"];

/// What fstab(5) and mount(8) have for themselves, and what older libraries needed.
const IGNORED: &[&str] = &[
    "defaults",
    "auto",
    "noauto",
    "nofail",
    "_netdev",
    "user",
    "nouser",
    "users",
    "nousers",
    "owner",
    "noowner",
    "group",
    "nogroup",
    "comment",
    "helper",
    "uhelper",
    "silent",
    "loud",
    "nonempty",
    "nomand",
    "noiversion",
];

/// Names that people do try, with what to do instead.
const REFUSED: &[(&str, &str)] = &[
    ("allow_root", "pass allow_other, and let the filesystem check who calls"),
    ("blkdev", "this library does not serve block devices"),
    ("blksize", "this library does not serve block devices"),
    ("fd", "the library sets it"),
    ("rootmode", "the library sets it"),
    ("user_id", "the library sets it"),
    ("group_id", "the library sets it"),
    ("remount", "a mount that exists is changed by `ringfuse::remount`, or `mount -i -o remount,...`"),
];

impl MountOptions {
    /// Reads a list as mount(8) passes it after `-o`: the defaults, then [`merge`](Self::merge).
    ///
    /// # Errors
    ///
    /// As `merge`.
    pub fn parse(list: impl AsRef<OsStr>) -> Result<Self, Error> {
        let mut options = Self::default();
        options.merge(list)?;
        Ok(options)
    }

    /// Applies a comma-separated list; see [`split`](Self::split) for its syntax. Of conflicting options the last wins.
    /// What mount(8) keeps for itself (`x-*`, `nofail`, `_netdev`, `user`, `noauto`, `comment=`, ...) is ignored.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Options`] for the first option that is unknown, with names that resemble it, or that has a bad
    /// value. The options before it have been applied.
    pub fn merge(&mut self, list: impl AsRef<OsStr>) -> Result<(), Error> {
        for (name, value) in Self::split(list) {
            if !self.apply(&name, value.as_deref())? {
                return Err(unknown(&name));
            }
        }
        Ok(())
    }

    /// Applies what has no value, and passes over all else.
    pub(crate) fn merge_flags(&mut self, list: &OsStr) {
        for (name, _) in Self::split(list).into_iter().filter(|(_, value)| value.is_none()) {
            if let Some((_, set)) = FLAGS.iter().find(|(flag, _)| *flag == name) {
                set(self);
            }
        }
    }

    /// Splits a list into names and values, for a filesystem that has options of its own: take those, and give the
    /// rest to [`apply`](Self::apply).
    ///
    /// Items are separated by commas; empty ones are dropped; the name ends at the first `=`. A backslash takes the
    /// special meaning from the byte after it (`fsname=a\,b`), and three octal digits after one are the byte of that
    /// number (`\054`), as in libfuse. Bytes in a name that are not UTF-8 are replaced: no option has any.
    pub fn split(list: impl AsRef<OsStr>) -> Vec<(String, Option<OsString>)> {
        let mut items = Vec::new();
        let mut rest = list.as_ref().as_bytes();
        while !rest.is_empty() {
            let (mut item, mut equals) = (Vec::new(), None);
            while let Some((&byte, tail)) = rest.split_first() {
                rest = tail;
                match (byte, tail) {
                    (b',', _) => break,
                    (b'=', _) if equals.is_none() => equals = Some(item.len()),
                    (b'\\', [escaped, after @ ..]) => {
                        let (byte, after) = mountinfo::octal(byte, tail).unwrap_or((*escaped, after));
                        item.push(byte);
                        rest = after;
                    }
                    _ => item.push(byte),
                }
            }
            let value = equals.map(|at| OsString::from_vec(item.split_off(at)));
            if !item.is_empty() || value.is_some() {
                items.push((String::from_utf8_lossy(&item).into_owned(), value));
            }
        }
        items
    }

    /// Applies one option, and tells whether the name is a mount option at all (an ignored one is).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Options`] if the value is missing, bad or too much, or if the option exists and is not for FUSE
    /// servers (`remount`, `fd`, `blkdev`, ...).
    pub fn apply(&mut self, name: &str, value: Option<&OsStr>) -> Result<bool, Error> {
        if let Some((_, set)) = FLAGS.iter().find(|(flag, _)| *flag == name) {
            if value.is_some() {
                return Err(bad(name, "takes no value"));
            }
            set(self);
        } else if name == "subtype" && value.is_some_and(OsStr::is_empty) {
            self.subtype = None;
        } else if VALUES.contains(&name) {
            let value = value
                .filter(|value| !value.is_empty())
                .ok_or_else(|| bad(name, "needs a value, as in NAME=VALUE"))?;
            match name {
                "fsname" => self.fsname = Some(value.into()),
                "subtype" => self.subtype = Some(value.into()),
                _ => {
                    let number = value.to_str().and_then(|text| text.parse().ok());
                    self.max_read = Some(number.ok_or_else(|| bad(name, "needs a number of bytes"))?);
                }
            }
        } else if let Some((_, instead)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
            return Err(bad(name, "is not possible").remedy(*instead));
        } else {
            return Ok(IGNORED.contains(&name) || name.starts_with("x-") || name.starts_with("X-"));
        }
        Ok(true)
    }

    /// Checks what neither mount(2) nor `fusermount3` would report in words.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let subtype_limit = NAME_MAX - "fuse.".len();
        for (name, value, limit) in
            [("fsname", &self.fsname, NAME_MAX), ("subtype", &self.subtype, subtype_limit)]
        {
            let Some(value) = value else { continue };
            if value.is_empty() || value.as_bytes().contains(&0) {
                return Err(bad(name, "is empty or contains a NUL byte"));
            }
            if value.len() > limit {
                return Err(bad(name, &format!("is longer than {limit} bytes")));
            }
        }
        Ok(())
    }

    /// The source of the mount.
    pub(crate) fn source(&self) -> &OsStr {
        self.fsname.as_deref().unwrap_or(OsStr::new("ringfuse"))
    }

    /// The type of the mount: the kernel takes what follows the first dot as the subtype.
    pub(crate) fn fs_type(&self) -> OsString {
        let mut fs_type = OsString::from("fuse");
        if let Some(subtype) = &self.subtype {
            fs_type.push(".");
            fs_type.push(subtype);
        }
        fs_type
    }

    /// The flags argument of mount(2).
    pub(crate) fn mount_flags(&self) -> MountFlags {
        [
            (self.read_only, MountFlags::RDONLY),
            (!self.suid, MountFlags::NOSUID),
            (!self.dev, MountFlags::NODEV),
            (!self.exec, MountFlags::NOEXEC),
            (self.atime == Atime::Never, MountFlags::NOATIME),
            (self.atime == Atime::Strict, MountFlags::STRICTATIME),
            (self.nodiratime, MountFlags::NODIRATIME),
            (self.lazytime, MountFlags::LAZYTIME),
            (self.synchronous, MountFlags::SYNCHRONOUS),
            (self.dirsync, MountFlags::DIRSYNC),
            (self.nosymfollow, MountFlags::NOSYMFOLLOW),
        ]
        .into_iter()
        .filter_map(|(on, flag)| on.then_some(flag))
        .collect()
    }

    /// The data argument of mount(2). Only numbers and fixed words go in: names are the source and the type, so
    /// nothing here needs an escape, which the kernel would not know.
    pub(crate) fn mount_data(&self, fd: i32, root: FileType, uid: Uid, gid: Gid) -> String {
        let mut data = format!(
            "fd={fd},rootmode={:o},user_id={},group_id={}",
            root.as_raw_mode(),
            uid.as_raw(),
            gid.as_raw()
        );
        for (on, name) in self.fuse_flags() {
            if on {
                data += ",";
                data += name;
            }
        }
        if let Some(bytes) = self.max_read {
            let _ = write!(data, ",max_read={bytes}");
        }
        data
    }

    /// The `-o` list of `fusermount3`, with what its version 3.14 accepts.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Options`] for options that are set and that it would refuse.
    pub(crate) fn helper_list(&self) -> Result<OsString, Error> {
        for (on, name) in [
            (self.atime == Atime::Strict, "strictatime"),
            (self.nodiratime, "nodiratime"),
            (self.lazytime, "lazytime"),
            (self.nosymfollow, "nosymfollow"),
        ] {
            if on {
                return Err(bad(name, "is not accepted by fusermount3")
                    .remedy("leave it out, or mount directly: as root, without auto_unmount"));
            }
        }
        let mut list = b"fsname=".to_vec();
        escape(&mut list, self.source());
        if let Some(subtype) = &self.subtype {
            list.extend(b",subtype=");
            escape(&mut list, subtype);
        }
        let generic = [
            (self.auto_unmount, "auto_unmount"),
            (self.read_only, "ro"),
            (self.suid, "suid"),
            (self.dev, "dev"),
            (!self.exec, "noexec"),
            (self.atime == Atime::Never, "noatime"),
            (self.synchronous, "sync"),
            (self.dirsync, "dirsync"),
        ];
        for (_, name) in self.fuse_flags().into_iter().chain(generic).filter(|(on, _)| *on) {
            list.push(b',');
            list.extend(name.as_bytes());
        }
        if let Some(bytes) = self.max_read {
            list.extend(format!(",max_read={bytes}").as_bytes());
        }
        Ok(OsString::from_vec(list))
    }

    fn fuse_flags(&self) -> [(bool, &'static str); 2] {
        [(self.default_permissions, "default_permissions"), (self.allow_other, "allow_other")]
    }
}

/// mount(2) copies source and type as strings of at most PATH_MAX bytes with their NUL.
const NAME_MAX: usize = 4095;

/// Escapes a value for `fusermount3`, which takes the byte after a backslash literally in fsname and subtype.
fn escape(list: &mut Vec<u8>, value: &OsStr) {
    for &byte in value.as_bytes() {
        if matches!(byte, b',' | b'\\') {
            list.push(b'\\');
        }
        list.push(byte);
    }
}

fn bad(name: &str, why: &str) -> Error {
    Error::new(ErrorKind::Options, format!("mount option `{name}` {why}"))
}

fn unknown(name: &str) -> Error {
    let known = FLAGS.iter().map(|(name, _)| *name).chain(VALUES.iter().copied());
    let limit = if name.len() < 4 { 1 } else { 2 };
    let mut near: Vec<_> =
        known.map(|known| (distance(name, known), known)).filter(|(d, _)| *d <= limit).collect();
    near.sort_unstable();
    let near: Vec<_> = near.iter().take(3).map(|(_, known)| format!("`{known}`")).collect();
    let error = bad(name, "is unknown");
    match near.is_empty() {
        true => error.remedy("see mount(8) and mount.fuse3(8) for those that exist"),
        false => error.remedy(format!("did you mean {}?", near.join(" or "))),
    }
}

/// Edit distance (Levenshtein), row by row.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
