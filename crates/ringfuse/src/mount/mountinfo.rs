//! The mount table of this thread's namespace, `/proc/thread-self/mountinfo`; see proc_pid_mountinfo(5).
//!
//! The table is the only safe source about a FUSE mount: looking at the mountpoint itself may ask the server, which
//! may be dead, or be the one who asks. The thread's own file is read, since a thread may have left the namespace of
//! its process, and mount(2) and umount(2) act on the thread's.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind};

#[cfg(test)]
mod tests;

const PATH: &str = "/proc/thread-self/mountinfo";

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) id: u64,
    pub(crate) parent: u64,
    /// `st_dev` of the filesystem, major and minor.
    pub(crate) device: (u64, u64),
    pub(crate) mountpoint: PathBuf,
    pub(crate) fs_type: OsString,
    /// Those of the mount, then those of the filesystem.
    pub(crate) options: OsString,
    pub(crate) source: OsString,
}

/// Reads the table.
pub(crate) fn read() -> Result<Vec<Row>, Error> {
    let text = std::fs::read(PATH).map_err(|error| {
        Error::new(ErrorKind::Io, format!("cannot read {PATH}"))
            .because(error)
            .remedy("mount procfs on /proc: mounts are recognised by it")
    })?;
    Ok(parse(&text))
}

/// Takes the table apart. Lines that are not of the documented form are left out.
pub(crate) fn parse(text: &[u8]) -> Vec<Row> {
    text.split(|byte| *byte == b'\n').filter_map(Row::parse).collect()
}

impl Row {
    /// `36 35 98:0 /root /mnt rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue`
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let id = number(fields.next()?)?;
        let parent = number(fields.next()?)?;
        let mut device = fields.next()?.split(|byte| *byte == b':');
        let device = (number(device.next()?)?, number(device.next()?)?);
        let _root = fields.next()?;
        let mountpoint = unescape(fields.next()?).into();
        let options = fields.next()?;
        // Any number of optional fields ends with a lone hyphen.
        fields.find(|field| field == b"-")?;
        let fs_type = unescape(fields.next()?);
        let source = unescape(fields.next()?); // may be empty
        let options = OsString::from_vec([options, fields.next()?].join(&b','));
        Some(Self { id, parent, device, mountpoint, fs_type, options, source })
    }

    pub(crate) fn is_fuse(&self) -> bool {
        let fs_type = self.fs_type.as_encoded_bytes();
        fs_type == b"fuse" || fs_type.starts_with(b"fuse.")
    }

    /// The number of the FUSE connection: its filesystems have anonymous devices, major 0.
    pub(crate) fn connection(&self) -> Option<u64> {
        (self.is_fuse() && self.device.0 == 0).then_some(self.device.1)
    }
}

/// The mount that a path of `row`'s mountpoint leads to: `row` itself, or what hides it, be it mounted on top or on a
/// directory above.
///
/// The order of the table says nothing about that, so this walks down as the kernel does: from the root, through each
/// mount on the way, at each step to the topmost.
pub(crate) fn reached<'a>(rows: &'a [Row], row: &'a Row) -> Option<&'a Row> {
    let by_id = |id| rows.iter().find(|row| row.id == id);
    // The walk begins above the last ancestor that can be seen. Loops are bounded, in case the table is not a tree.
    let mut start = row;
    for _ in rows {
        match by_id(start.parent) {
            Some(parent) if parent.id != start.id => start = parent,
            _ => break,
        }
    }
    let mut found = (start.parent == start.id).then_some(start);
    let mut at = start.parent;
    let prefixes: Vec<&Path> = row.mountpoint.ancestors().collect();
    for prefix in prefixes.into_iter().rev() {
        for _ in rows {
            let next = rows.iter().find(|row| row.parent == at && row.id != at && row.mountpoint == prefix);
            let Some(next) = next else { break };
            (at, found) = (next.id, Some(next));
        }
    }
    found
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// Undoes the kernel's escapes, a backslash and three octal digits for space, tab, newline, backslash and `#`.
fn unescape(mut field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    while let Some((&byte, tail)) = field.split_first() {
        let (byte, tail) = octal(byte, tail).unwrap_or((byte, tail));
        bytes.push(byte);
        field = tail;
    }
    OsString::from_vec(bytes)
}

/// The byte that a backslash and three octal digits stand for, and what follows them.
pub(super) fn octal(byte: u8, tail: &[u8]) -> Option<(u8, &[u8])> {
    match (byte, tail) {
        (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) => {
            Some(((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), tail))
        }
        _ => None,
    }
}
