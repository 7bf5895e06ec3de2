//! inotify(7): events for what this process does itself.

use crate::posix::base::*;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags as Seen, WatchFlags as Watch};
use std::os::fd::OwnedFd;

cases! { "notify":
    create_and_delete [] "IN_CREATE and IN_DELETE name the entry (inotify(7))";
    create_directory [] "events of a directory have IN_ISDIR (inotify(7))";
    open_write_close [] "IN_OPEN, IN_MODIFY and IN_CLOSE_WRITE in this order (inotify(7))";
    read_close [] "IN_ACCESS and IN_CLOSE_NOWRITE for a reader (inotify(7))";
    move_within [] "IN_MOVED_FROM and IN_MOVED_TO have one cookie (inotify(7))";
    move_between [] "a move between two watched directories has one cookie (inotify(7))";
    attributes [] "IN_ATTRIB for chmod and utimensat (inotify(7))";
    link_count [HARD_LINK] "IN_ATTRIB for a change of the link count (inotify(7))";
    delete_self [] "IN_DELETE_SELF and IN_IGNORED once the file is gone (inotify(7))";
    move_self [] "IN_MOVE_SELF when the watched file is renamed (inotify(7))";
    truncated [] "IN_MODIFY for truncate (inotify(7))";
    copied [] "IN_MODIFY for the target of copy_file_range (inotify(7))";
    watch_refused [] "watching fails with ENOENT and ENOTDIR (inotify_add_watch(2))";
}

/// What was seen: the event's flags, the name and the cookie.
#[derive(Debug)]
struct Event {
    flags: Seen,
    name: String,
    cookie: u32,
}

struct Watcher(OwnedFd);

impl Watcher {
    fn new(path: impl AsRef<Path>) -> Result<Self, Errno> {
        let watcher = Self(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?);
        watcher.add(path)?;
        Ok(watcher)
    }

    fn add(&self, path: impl AsRef<Path>) -> Result<(), Errno> {
        inotify::add_watch(&self.0, path.as_ref(), Watch::ALL_EVENTS).map(drop)
    }

    /// All events up to now.
    fn events(&self) -> Result<Vec<Event>, Errno> {
        let mut buf = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.0, &mut buf);
        let mut events = Vec::new();
        loop {
            match reader.next() {
                Ok(event) => events.push(Event {
                    flags: event.events(),
                    name: event.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned()),
                    cookie: event.cookie(),
                }),
                Err(Errno::AGAIN) => return Ok(events),
                Err(error) => return Err(error),
            }
        }
    }

    /// Checks that the events among `of` up to now are those, in this order; an event that comes
    /// twice in a row counts once.
    #[track_caller]
    fn expect(&self, of: Seen, want: &[(Seen, &str)]) -> Outcome {
        let events = self.events()?;
        let mut got: Vec<_> = events
            .iter()
            .filter(|event| event.flags.intersects(of))
            .map(|event| (event.flags & (of | Seen::ISDIR), event.name.as_str()))
            .collect();
        got.dedup();
        if got == want {
            return Ok(());
        }
        Err(Failure::check(format!("the events are {got:?}, expected {want:?}")))
    }
}

fn create_and_delete(d: &Path) -> Outcome {
    let w = Watcher::new(d)?;
    touch(d.join("f"))?;
    unlink(d.join("f"))?;
    w.expect(Seen::CREATE | Seen::DELETE, &[(Seen::CREATE, "f"), (Seen::DELETE, "f")])
}

fn create_directory(d: &Path) -> Outcome {
    let w = Watcher::new(d)?;
    mkdir(d.join("dir"))?;
    rmdir(d.join("dir"))?;
    let dir = Seen::ISDIR;
    w.expect(Seen::CREATE | Seen::DELETE, &[(Seen::CREATE | dir, "dir"), (Seen::DELETE | dir, "dir")])
}

fn open_write_close(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    let w = Watcher::new(d)?;
    open(d.join("f"), WR)?.write_all_at(b"x", 0)?;
    w.expect(
        Seen::OPEN | Seen::MODIFY | Seen::CLOSE_WRITE,
        &[(Seen::OPEN, "f"), (Seen::MODIFY, "f"), (Seen::CLOSE_WRITE, "f")],
    )
}

fn read_close(d: &Path) -> Outcome {
    file(d.join("f"), "x")?;
    let w = Watcher::new(d.join("f"))?;
    read(d.join("f"))?;
    w.expect(
        Seen::OPEN | Seen::ACCESS | Seen::CLOSE_NOWRITE,
        &[(Seen::OPEN, ""), (Seen::ACCESS, ""), (Seen::CLOSE_NOWRITE, "")],
    )
}

/// The cookies of the event a name has moved from, and the one another has moved to.
fn moved(events: &[Event], from: &str, to: &str) -> Outcome {
    let cookie =
        |flag, name| events.iter().find(|e| e.flags.contains(flag) && e.name == name).map(|e| e.cookie);
    let (left, came) = (cookie(Seen::MOVED_FROM, from), cookie(Seen::MOVED_TO, to));
    ensure!(left.is_some() && left == came && left != Some(0), "the events are {events:?}");
    Ok(())
}

fn move_within(d: &Path) -> Outcome {
    touch(d.join("a"))?;
    let w = Watcher::new(d)?;
    rename(d.join("a"), d.join("b"))?;
    moved(&w.events()?, "a", "b")
}

fn move_between(d: &Path) -> Outcome {
    mkdir(d.join("p"))?;
    mkdir(d.join("q"))?;
    touch(d.join("p/a"))?;
    let w = Watcher::new(d.join("p"))?;
    w.add(d.join("q"))?;
    rename(d.join("p/a"), d.join("q/b"))?;
    moved(&w.events()?, "a", "b")
}

fn attributes(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    let w = Watcher::new(d.join("f"))?;
    chmod(d.join("f"), 0o600)?;
    w.expect(Seen::ATTRIB, &[(Seen::ATTRIB, "")])?;
    set_times(d.join("f"), (1000, 0), (1000, 0))?;
    w.expect(Seen::ATTRIB, &[(Seen::ATTRIB, "")])
}

fn link_count(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    let w = Watcher::new(d.join("f"))?;
    link(d.join("f"), d.join("g"))?;
    w.expect(Seen::ATTRIB, &[(Seen::ATTRIB, "")])?;
    unlink(d.join("g"))?;
    w.expect(Seen::ATTRIB, &[(Seen::ATTRIB, "")])
}

fn delete_self(d: &Path) -> Outcome {
    let f = touch(d.join("f"))?;
    let w = Watcher::new(d.join("f"))?;
    unlink(d.join("f"))?;
    w.expect(Seen::DELETE_SELF | Seen::IGNORED, &[])?;
    drop(f);
    w.expect(Seen::DELETE_SELF | Seen::IGNORED, &[(Seen::DELETE_SELF, ""), (Seen::IGNORED, "")])
}

fn move_self(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    let w = Watcher::new(d.join("f"))?;
    rename(d.join("f"), d.join("g"))?;
    w.expect(Seen::MOVE_SELF, &[(Seen::MOVE_SELF, "")])
}

fn truncated(d: &Path) -> Outcome {
    let f = file(d.join("f"), "content")?;
    let w = Watcher::new(d.join("f"))?;
    f.set_len(3)?;
    w.expect(Seen::MODIFY, &[(Seen::MODIFY, "")])
}

fn copied(d: &Path) -> Outcome {
    let (a, b) = (file(d.join("a"), "content")?, touch(d.join("b"))?);
    let w = Watcher::new(d.join("b"))?;
    rfs::copy_file_range(&a, None, &b, None, 7).or_skip("copy_file_range")?;
    w.expect(Seen::MODIFY, &[(Seen::MODIFY, "")])
}

fn watch_refused(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    let w = Watcher::new(d)?;
    expect_errno!(w.add(d.join("none")), NOENT);
    expect_errno!(w.add(d.join("f/x")), NOTDIR);
    Ok(())
}
