//! Mounting and unmounting with the setuid helper `fusermount3` of libfuse.
//!
//! The helper inherits one end of a socket pair, opens `/dev/fuse`, mounts it, and sends it over the socket. It gets
//! its end as standard input, number 0: that is the one way to give an fd to one child and to no other that another
//! thread may be starting at the same time. All fds here are close-on-exec.
//!
//! What it has to say, on standard error, goes to an unnamed file in memory: no pipe must be drained while it runs, and
//! none breaks under a helper that stays.

use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, MemfdFlags, access, memfd_create};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg,
    socketpair,
};
use rustix::process::{Pid, PidfdFlags, getuid, pidfd_open};

use super::unmount::failed;
use super::{MountOptions, Target};
use crate::error::{Error, ErrorKind};

#[cfg(test)]
mod tests;

/// The helper.
#[derive(Debug)]
pub(crate) struct Fusermount {
    program: PathBuf,
    /// How long it may take to mount before it is killed.
    patience: Duration,
}

impl Fusermount {
    /// Looks for it in `PATH` and in the usual places.
    pub(crate) fn find() -> Result<Self, Error> {
        match find_in(&env::var_os("PATH").unwrap_or_default()) {
            Some(program) => Ok(Self { program, patience: Duration::from_secs(30) }),
            None => Err(Error::new(ErrorKind::Fusermount, "cannot find fusermount3")
                .remedy("install it with `apt-get install fuse3`, or mount as root")),
        }
    }

    /// Mounts. With `auto_unmount` there is a socket too: the helper unmounts when the last copy of it is closed, if
    /// the mount is dead then.
    pub(crate) fn mount(
        &self,
        target: &Target,
        options: &MountOptions,
    ) -> Result<(OwnedFd, Option<OwnedFd>), Error> {
        let list = options.helper_list()?;
        if options.auto_unmount && !options.allow_other && !getuid().is_root() {
            self.warn_if_it_cannot_look_inside();
        }
        let what = || format!("fusermount3 cannot mount {}", target.path.display());
        let broken = |errno: Errno| Error::new(ErrorKind::Io, what()).because(io::Error::from(errno));

        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(broken)?;
        let mut command = self.command();
        command.env("_FUSE_COMMFD", "0").stdin(theirs).arg("-o").arg(list).arg("--").arg(&target.path);
        let mut helper = Helper::start(command)?;

        let deadline = Instant::now() + self.patience;
        let device = match helper.receive(&ours, deadline) {
            Ok(Some(device)) => device,
            Ok(None) => {
                let status = helper.wait(Some(deadline)).unwrap_or_default();
                return Err(refused(&what(), &helper.words(), status));
            }
            Err(Errno::TIMEDOUT) => {
                let what = format!("{} within {} s, and was killed", what(), self.patience.as_secs_f32());
                return Err(Error::new(ErrorKind::Fusermount, what).remedy(
                    "is the mountpoint below a filesystem that does not answer? Look for processes in state D",
                ));
            }
            Err(errno) => return Err(broken(errno)),
        };
        let keeper = options.auto_unmount.then_some(ours);
        if keeper.is_none() && helper.wait(Some(deadline)).is_err() {
            tracing::warn!("fusermount3 has mounted, does not end, and is killed");
        }
        let words = helper.words();
        if !words.is_empty() {
            tracing::warn!("fusermount3 has mounted, and says: {words}");
        }
        if keeper.is_some() {
            helper.let_it_stay();
        }
        Ok((device, keeper))
    }

    /// Unmounts. Takes as long as umount(2) does.
    pub(crate) fn unmount(&self, path: &Path, lazy: bool) -> Result<(), Error> {
        let mut command = self.command();
        command.stdin(Stdio::null()).arg("-u").args(lazy.then_some("-z")).arg("--").arg(path);
        let mut helper = Helper::start(command)?;
        let status = helper.wait(None).unwrap_or_default();
        if status.is_some_and(|status| status.success()) {
            return Ok(());
        }
        let words = helper.words();
        // Its words are not translated.
        if words.contains("Device or resource busy") {
            return Err(failed(path, Errno::BUSY));
        }
        Err(refused(&format!("fusermount3 cannot unmount {}", path.display()), &words, status))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg0("fusermount3"); // its words begin with it
        command
    }

    /// Before 3.15 the helper of `auto_unmount` looks at the mountpoint as root, whom a mount without `allow_other`
    /// keeps out: it takes the mount for alive.
    fn warn_if_it_cannot_look_inside(&self) {
        let mut command = self.command();
        command.stdin(Stdio::null()).arg("-V");
        let Ok(mut helper) = Helper::start(command) else { return };
        let _ = helper.wait(Some(Instant::now() + self.patience));
        let words = helper.words();
        if version(&words).is_none_or(|version| version < (3, 15)) {
            tracing::warn!(
                version = words,
                "auto_unmount leaves dead mounts of ordinary users behind before fusermount3 3.15, unless allow_other \
                 is given too"
            );
        }
    }
}

/// Only absolute directories: what lies in the current one is not a helper to trust.
fn find_in(path: &OsStr) -> Option<PathBuf> {
    let usual = ["/usr/bin", "/bin", "/usr/local/bin"].map(PathBuf::from);
    env::split_paths(path)
        .chain(usual)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join("fusermount3"))
        .find(|program| program.is_file() && access(program, Access::EXEC_OK).is_ok())
}

/// "fusermount3 version: 3.14.0"
fn version(words: &str) -> Option<(u32, u32)> {
    let mut numbers = words.rsplit(' ').next()?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.trim().parse().ok()?))
}

/// What the helper says when it refuses, and what to do.
const REASONS: &[(&str, ErrorKind, &str)] = &[
    ("fuse device not found", ErrorKind::NoDevice, "load the module with `modprobe fuse`"),
    (
        "failed to open /dev/fuse",
        ErrorKind::Permission,
        "let users open it: `chmod 666 /dev/fuse`, or the udev rule KERNEL==\"fuse\", MODE=\"0666\"",
    ),
    (
        "user_allow_other",
        ErrorKind::Permission,
        "add the line `user_allow_other` to /etc/fuse.conf, or do without allow_other",
    ),
    ("not owned by user", ErrorKind::Mountpoint, "mount on a directory of your own"),
    ("no write access to mountpoint", ErrorKind::Mountpoint, "mount on a directory of your own"),
    ("failed to access mountpoint", ErrorKind::Mountpoint, "the user must be able to reach it"),
    ("bad mount point", ErrorKind::Mountpoint, "the user must be able to reach it"),
    (
        "mounting over filesystem type",
        ErrorKind::Mountpoint,
        "mount on a directory of an ordinary filesystem",
    ),
    ("too many FUSE filesystems", ErrorKind::Fusermount, "raise mount_max in /etc/fuse.conf"),
    ("unknown option", ErrorKind::Options, "this version of fusermount3 does not have it: leave it out"),
    ("could not determine username", ErrorKind::Fusermount, "the user must be known to getent(1)"),
    (
        "Operation not permitted",
        ErrorKind::Permission,
        "the helper must be setuid root (`chmod u+s`), in a container with CAP_SYS_ADMIN and without no_new_privs",
    ),
    ("Permission denied", ErrorKind::Permission, "a directory above, or a security module, forbids it"),
];

fn refused(what: &str, words: &str, status: Option<ExitStatus>) -> Error {
    let reason = REASONS.iter().find(|(said, ..)| words.contains(said));
    let (kind, remedy) =
        reason.map_or((ErrorKind::Fusermount, None), |(_, kind, remedy)| (*kind, Some(*remedy)));
    let cause = match (words, status) {
        ("", Some(status)) => format!("it says nothing ({status})"),
        ("", None) => "it says nothing".to_owned(),
        (words, _) => words.to_owned(),
    };
    let error = Error::new(kind, what).because(cause);
    match remedy {
        Some(remedy) => error.remedy(remedy),
        None => error,
    }
}

/// A running helper. Dropping it kills it, and collects it without waiting.
struct Helper {
    /// `None` once it is collected, or left to itself.
    child: Option<Child>,
    /// Readable when it has ended.
    exit: OwnedFd,
    words: File,
}

impl Helper {
    fn start(mut command: Command) -> Result<Self, Error> {
        let failed =
            |error: io::Error| Error::new(ErrorKind::Fusermount, "cannot start fusermount3").because(error);
        let words = memory().map_err(|errno| failed(errno.into()))?;
        let copy = || words.try_clone().map_err(failed);
        command.stdout(copy()?).stderr(copy()?);
        let child = command.spawn().map_err(failed)?;
        match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(exit) => Ok(Self { child: Some(child), exit, words }),
            Err(errno) => {
                collect(child, true);
                Err(failed(errno.into()))
            }
        }
    }

    /// Waits for the device. `None` if the helper ends, or closes the socket, without having sent one.
    fn receive(&self, socket: &OwnedFd, deadline: Instant) -> Result<Option<OwnedFd>, Errno> {
        loop {
            let mut fds = [PollFd::new(socket, PollFlags::IN), PollFd::new(&self.exit, PollFlags::IN)];
            poll_until(&mut fds, Some(deadline))?;
            let ended = !fds[1].revents().is_empty();
            match receive(socket) {
                Err(Errno::AGAIN) if !ended => {}
                Err(Errno::AGAIN) => return Ok(None),
                result => return result,
            }
        }
    }

    /// Waits for its end and collects it; TIMEDOUT at the deadline. A program that ignores SIGCHLD gets no status.
    fn wait(&mut self, deadline: Option<Instant>) -> Result<Option<ExitStatus>, Errno> {
        poll_until(&mut [PollFd::new(&self.exit, PollFlags::IN)], deadline)?;
        Ok(self.child.take().and_then(|mut child| child.wait().ok()))
    }

    /// Lets it run, and has it collected whenever it ends.
    fn let_it_stay(mut self) {
        if let Some(child) = self.child.take() {
            collect(child, false);
        }
    }

    /// What it wrote, without its name, as one line.
    fn words(&self) -> String {
        let mut bytes = [0; 2048];
        let length = self.words.read_at(&mut bytes, 0).unwrap_or(0);
        let text = String::from_utf8_lossy(&bytes[..length]);
        let lines = text.lines().map(|line| line.strip_prefix("fusermount3: ").unwrap_or(line).trim());
        lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            collect(child, true);
        }
    }
}

/// Collects a child, so that no zombie stays, on a thread: it may be in the kernel, where a signal does not reach it.
fn collect(mut child: Child, kill: bool) {
    if kill {
        let _ = child.kill();
    }
    let wait = move || drop(child.wait());
    if let Err(error) = std::thread::Builder::new().name("fusermount3".into()).spawn(wait) {
        tracing::debug!(%error, "no thread to collect fusermount3, which stays as a zombie");
    }
}

/// An unnamed file in memory. Not executable, which `vm.memfd_noexec` may demand and kernels before 6.3 do not know.
fn memory() -> Result<File, Errno> {
    let create = |flags| memfd_create("fusermount3", MemfdFlags::CLOEXEC | flags);
    let file = match create(MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => create(MemfdFlags::empty()),
        result => result,
    };
    file.map(File::from)
}

/// Waits until one of the fds is ready; TIMEDOUT at the deadline.
fn poll_until(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> Result<(), Errno> {
    loop {
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match poll(fds, timeout.as_ref()) {
            Ok(0) => return Err(Errno::TIMEDOUT),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Takes what the socket has. `None` at its end, or if a message comes without an fd.
fn receive(socket: &OwnedFd) -> Result<Option<OwnedFd>, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, flags)?;
    Ok(control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    }))
}
