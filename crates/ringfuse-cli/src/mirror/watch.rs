//! What others change at the source, told to the kernel (`--watch`).
//!
//! fanotify reports the changes of the whole filesystem, each by the file handles of the directory and the file and by the
//! name: exactly what nodes are told apart by, so that an event is a look into the table, without a system call, and costs
//! nothing where the kernel knows neither. Our own changes come too, and are left out by their process id. (inotify would
//! need a watch a directory, by a path.)
//!
//! A thread reads the events, waits a little for more, and has each name and each inode dropped once. It waits for the
//! notifier, whose own thread may have to wait in the kernel for a request in progress; no request ever waits for it. So
//! whatever is slow here delays the news, and nothing else.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use futures_lite::future::block_on;
use ringfuse::{NodeId, Notifier};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use super::Core;
use super::node::{Identity, Key};
use super::source::Source;
use crate::sys::{self, FileHandle};

/// How long events are gathered.
const GATHER: Duration = Duration::from_millis(5);
/// The bytes of events that are read at once.
const BUFFER: usize = 64 << 10;

/// A change of something the kernel knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum News {
    /// The name leads elsewhere.
    Name(NodeId, CString),
    /// The attributes are others.
    Attributes(NodeId),
    /// The content is another, and the attributes are.
    Content(NodeId),
}

/// An event as the kernel reports it, as far as it concerns us.
#[derive(Debug, Default, PartialEq, Eq)]
struct Event {
    mask: u64,
    pid: i32,
    directory: Option<FileHandle>,
    name: Option<CString>,
    file: Option<FileHandle>,
}

/// The events that are asked for.
const NAMES: u64 = libc::FAN_CREATE | libc::FAN_DELETE | libc::FAN_MOVED_FROM | libc::FAN_MOVED_TO;
const CONTENT: u64 = libc::FAN_MODIFY;
const EVENTS: u64 = NAMES | CONTENT | libc::FAN_ATTRIB | libc::FAN_ONDIR;

/// A watch that has been set up, and has not started yet.
#[derive(Debug)]
pub(super) struct Watch {
    group: OwnedFd,
    end: Arc<OwnedFd>,
}

impl Watch {
    /// Sets up a watch of the source's filesystem.
    ///
    /// # Errors
    ///
    /// `EPERM` without `CAP_SYS_ADMIN`; others where the filesystem has no file handles.
    pub(super) fn new(source: &Source) -> io::Result<Self> {
        let mount = source.mount(0);
        let anchor = mount.anchor.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        let flags = libc::FAN_CLASS_NOTIF | libc::FAN_UNLIMITED_QUEUE | libc::FAN_REPORT_DFID_NAME_TARGET;
        let group = sys::fanotify(flags)?;
        sys::fanotify_mark(&group, EVENTS, std::os::fd::AsFd::as_fd(anchor))?;
        let end = eventfd(0, EventfdFlags::CLOEXEC)?;
        Ok(Self { group, end: Arc::new(end) })
    }

    /// Starts a thread that tells the kernel. It ends when what is returned is written to.
    pub(super) fn start(self, core: Weak<Core>, notifier: Notifier) -> Arc<OwnedFd> {
        let end = Arc::clone(&self.end);
        let work = move || {
            if let Err(error) = self.run(&core, &notifier) {
                tracing::error!(%error, "the source is watched no longer");
            }
        };
        if let Err(error) = thread::Builder::new().name("ringfuse-watch".to_owned()).spawn(work) {
            tracing::error!(%error, "the source is not watched");
        }
        end
    }

    fn run(&self, core: &Weak<Core>, notifier: &Notifier) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let mut ready = [
                PollFd::new(&self.group, PollFlags::IN),
                PollFd::from_borrowed_fd(std::os::fd::AsFd::as_fd(&*self.end), PollFlags::IN),
            ];
            match poll(&mut ready, None) {
                Err(rustix::io::Errno::INTR) => continue,
                result => result?,
            };
            if !ready[1].revents().is_empty() {
                return Ok(());
            }
            thread::sleep(GATHER);
            let len = rustix::io::read(&self.group, &mut buffer)?;
            let Some(core) = core.upgrade() else { return Ok(()) };
            let mut news = HashSet::new();
            for event in events(&buffer[..len]) {
                core.take_news(&event, &mut news);
            }
            drop(core);
            for one in news {
                tell(notifier, &one);
            }
        }
    }
}

/// Tells the kernel. That it does not know the node, or no longer, is nothing to report.
fn tell(notifier: &Notifier, news: &News) {
    let told = match news {
        News::Name(parent, name) => block_on(notifier.inval_entry(*parent, name.to_bytes())),
        News::Attributes(node) => block_on(notifier.inval_inode(*node, -1, 0)),
        News::Content(node) => block_on(notifier.inval_inode(*node, 0, 0)),
    };
    tracing::trace!(?news, ?told);
}

impl Core {
    /// What of an event concerns the kernel.
    fn take_news(&self, event: &Event, news: &mut HashSet<News>) {
        if event.pid == std::process::id() as i32 {
            return;
        }
        if event.mask & libc::FAN_Q_OVERFLOW != 0 {
            news.extend(self.table.ids_of_all().into_iter().map(News::Content));
            return;
        }
        let find = |handle: &Option<FileHandle>| {
            let identity = Identity::Handle(handle.clone()?);
            self.table.find(&Key { dev: self.source.dev, identity }).map(|node| node.id)
        };
        if event.mask & NAMES != 0
            && let Some(parent) = find(&event.directory)
        {
            news.extend(event.name.clone().map(|name| News::Name(parent, name)));
            // Listings are cached as its content.
            news.insert(News::Content(parent));
        }
        if let Some(file) = find(&event.file) {
            let content = event.mask & CONTENT != 0;
            news.insert(if content { News::Content(file) } else { News::Attributes(file) });
        }
    }
}

/// Takes a number from the start of some bytes.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

/// The events in a buffer (`fanotify(7)`).
fn events(mut bytes: &[u8]) -> impl Iterator<Item = Event> {
    std::iter::from_fn(move || {
        let len = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
        let (event, rest) = bytes.split_at_checked(len)?;
        bytes = rest;
        parse(event)
    })
}

/// One `struct fanotify_event_metadata` and the records behind it.
fn parse(mut bytes: &[u8]) -> Option<Event> {
    let _len_and_version: [u8; 6] = take(&mut bytes)?;
    let head = usize::from(u16::from_ne_bytes(take(&mut bytes)?));
    let mask = u64::from_ne_bytes(take(&mut bytes)?);
    let _fd: [u8; 4] = take(&mut bytes)?;
    let pid = i32::from_ne_bytes(take(&mut bytes)?);
    let mut records = bytes.get(head.checked_sub(24)?..)?;
    let mut event = Event { mask, pid, ..Event::default() };
    while let Some([kind, _, low, high]) = records.first_chunk() {
        let len = usize::from(u16::from_ne_bytes([*low, *high]));
        let (record, rest) = records.split_at_checked(len)?;
        records = rest;
        let (handle, name) = parse_record(record)?;
        match *kind {
            libc::FAN_EVENT_INFO_TYPE_FID => event.file = Some(handle),
            libc::FAN_EVENT_INFO_TYPE_DFID | libc::FAN_EVENT_INFO_TYPE_DFID_NAME => {
                event.directory = Some(handle);
                event.name = name;
            }
            _ => {}
        }
    }
    Some(event)
}

/// A `struct fanotify_event_info_fid`: head, filesystem, handle, and the name if there is one.
fn parse_record(mut record: &[u8]) -> Option<(FileHandle, Option<CString>)> {
    let _head_and_fsid: [u8; 12] = take(&mut record)?;
    let len = u32::from_ne_bytes(take(&mut record)?) as usize;
    let kind = i32::from_ne_bytes(take(&mut record)?);
    let (handle, name) = record.split_at_checked(len)?;
    let name = CStr::from_bytes_until_nul(name).ok().filter(|name| !name.is_empty()).map(CStr::to_owned);
    Some((FileHandle::new(kind, handle)?, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, handle: &[u8], name: &[u8]) -> Vec<u8> {
        let len = (20 + handle.len() + name.len()).next_multiple_of(4);
        let mut bytes = vec![kind, 0];
        bytes.extend((len as u16).to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend((handle.len() as u32).to_ne_bytes());
        bytes.extend(7i32.to_ne_bytes());
        bytes.extend(handle);
        bytes.extend(name);
        bytes.resize(len, 0);
        bytes
    }

    fn event(mask: u64, records: &[Vec<u8>]) -> Vec<u8> {
        let records = records.concat();
        let mut bytes = Vec::new();
        bytes.extend((24 + records.len() as u32).to_ne_bytes());
        bytes.extend([3, 0]);
        bytes.extend(24u16.to_ne_bytes());
        bytes.extend(mask.to_ne_bytes());
        bytes.extend((-1i32).to_ne_bytes());
        bytes.extend(42i32.to_ne_bytes());
        bytes.extend(records);
        bytes
    }

    #[test]
    fn events_are_read_as_the_kernel_writes_them() {
        let created = event(
            libc::FAN_CREATE,
            &[
                record(libc::FAN_EVENT_INFO_TYPE_DFID_NAME, b"directory", b"name\0"),
                record(libc::FAN_EVENT_INFO_TYPE_FID, b"file", b""),
            ],
        );
        let overflow = event(libc::FAN_Q_OVERFLOW, &[]);
        let found: Vec<Event> = events(&[created, overflow].concat()).collect();
        let expected = Event {
            mask: libc::FAN_CREATE,
            pid: 42,
            directory: FileHandle::new(7, b"directory"),
            name: Some(c"name".to_owned()),
            file: FileHandle::new(7, b"file"),
        };
        assert_eq!(found[0], expected);
        assert_eq!((found.len(), found[1].mask), (2, libc::FAN_Q_OVERFLOW));
    }

    #[test]
    fn half_an_event_is_none() {
        let whole = event(libc::FAN_MODIFY, &[record(libc::FAN_EVENT_INFO_TYPE_FID, b"file", b"")]);
        for len in 0..whole.len() {
            assert_eq!(events(&whole[..len]).count(), 0, "{len} bytes");
        }
    }
}
