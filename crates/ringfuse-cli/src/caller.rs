//! What the kernel does not tell of who asks.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use ringfuse::{Caller, Request};
use rustix::fs::{Mode, OFlags, openat};

/// Who asks, as far as the request says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    caller: Option<Caller>,
    pid: u32,
}

impl From<&Request<'_>> for Asker {
    fn from(rq: &Request<'_>) -> Self {
        Self { caller: rq.caller(), pid: rq.pid() }
    }
}

/// `/proc`, opened before there is a mount that could lie on it.
#[derive(Debug)]
pub(crate) struct Processes(OwnedFd);

impl Processes {
    /// Opens it.
    pub(crate) fn open() -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(c"/proc", flags, Mode::empty())?))
    }

    /// Who asks: as the request says, or else as the process is now. One that cannot be seen is not known.
    pub(crate) fn caller(&self, who: Asker) -> Option<Caller> {
        who.caller.or_else(|| {
            let status = self.status(who.pid).ok()?;
            Some(Caller { uid: fs_id(&status, "Uid:")?, gid: fs_id(&status, "Gid:")?, pid: who.pid })
        })
    }

    /// Whether who asks is in a group, by its filesystem group id or a supplementary one. Those of a process that cannot be
    /// seen are not known.
    pub(crate) fn in_group(&self, caller: Caller, group: u32) -> bool {
        caller.gid == group || self.status(caller.pid).is_ok_and(|status| lists(&status, group))
    }

    fn status(&self, pid: u32) -> io::Result<String> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = openat(self.0.as_fd(), format!("{pid}/status"), flags, Mode::empty())?;
        io::read_to_string(std::fs::File::from(file))
    }
}

/// The last of the four ids in a line of a file `/proc/PID/status`: the one that counts for files.
fn fs_id(status: &str, line: &str) -> Option<u32> {
    let ids = status.lines().find_map(|text| text.strip_prefix(line))?;
    ids.split_ascii_whitespace().nth(3)?.parse().ok()
}

/// Whether a file `/proc/PID/status` lists a supplementary group.
fn lists(status: &str, group: u32) -> bool {
    let groups = status.lines().find_map(|line| line.strip_prefix("Groups:"));
    groups.is_some_and(|groups| groups.split_ascii_whitespace().any(|one| one.parse() == Ok(group)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_found() {
        assert_eq!(fs_id("Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\n", "Gid:"), Some(8));
        assert_eq!(fs_id("Uid:\t1\t2\t3\n", "Uid:"), None);
        let processes = Processes::open().unwrap();
        let (uid, gid, pid) = (rustix::process::getuid(), rustix::process::getgid(), std::process::id());
        let myself = Caller { uid: uid.as_raw(), gid: gid.as_raw(), pid };
        assert_eq!(processes.caller(Asker { caller: None, pid }), Some(myself));
        assert_eq!(processes.caller(Asker { caller: None, pid: 0 }), None);
        let said = Caller { uid: 1, gid: 2, pid };
        assert_eq!(processes.caller(Asker { caller: Some(said), pid }), Some(said));
    }

    #[test]
    fn groups_are_found() {
        let status = "Gid:\t7\t7\t7\t7\nGroups:\t0 12 30100 \nNStgid:\t5\n";
        assert!([0, 12, 30100].iter().all(|group| lists(status, *group)));
        assert!(!lists(status, 7) && !lists(status, 1) && !lists("Groups:\t\n", 0));
        let processes = Processes::open().unwrap();
        let caller = Caller { uid: 1, gid: 4242, pid: std::process::id() };
        assert!(processes.in_group(caller, 4242) && !processes.in_group(caller, 4_294_967_294));
        assert!(!processes.in_group(Caller { pid: 0, ..caller }, 1));
    }
}
