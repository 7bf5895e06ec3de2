//! A filesystem for end-to-end tests: each of its files does one thing that a test wants to see.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use compio_driver::SharedFd;
use compio_driver::op::ReadAt;
use ringfuse::{
    Attr, AttrReply, DirFiller, DirPos, Entry, Errno, Fh, FileType, Filesystem, Forgets, Negotiation, NodeId,
    Notifier, Opened, ReadBuf, Request, Result, SessionInfo, WriteBuf, Written, op,
};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// What the filesystem saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Lookup counts given out.
    pub lookups: AtomicU64,
    /// Lookup counts that came back.
    pub forgotten: AtomicU64,
    /// Calls of `forget`.
    pub forgets: AtomicU64,
    /// Which call of `forget` panics, if not zero.
    pub panic_at_forget: AtomicU64,
    /// Reads of [`Probe::PATIENT`] that began.
    pub waiting: AtomicU64,
    /// Requests whose program was interrupted.
    pub interrupted: AtomicU64,
    /// Calls of `ready`.
    pub ready: AtomicU64,
    /// Calls of `destroy`.
    pub destroyed: AtomicU64,
    /// Background work that a handler started and did not wait for.
    pub background: AtomicU64,
    /// Content version of [`Probe::VERSION`], set by the test.
    pub version: AtomicU64,
    /// Loans that outlive their requests.
    pub kept: Mutex<Vec<WriteBuf>>,
    /// The notifier that `ready` was given.
    pub notifier: Mutex<Option<Notifier>>,
}

impl Seen {
    /// A counter's value.
    pub fn get(&self, counter: impl Fn(&Self) -> &AtomicU64) -> u64 {
        counter(self).load(Ordering::SeqCst)
    }

    /// Waits until a counter has a value, or five seconds.
    pub fn wait_for(&self, counter: impl Fn(&Self) -> &AtomicU64, value: u64) -> u64 {
        for _ in 0..500 {
            if self.get(&counter) >= value {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.get(&counter)
    }
}

/// The filesystem. Names `n0`, `n1`, … are all there, with [`Probe::TEXT`] in them; so are the special ones.
#[derive(Clone, Debug, Default)]
pub struct Probe {
    /// What it saw.
    pub seen: Arc<Seen>,
    /// How long names and attributes are cached.
    pub ttl: Duration,
}

impl Probe {
    /// What is in ordinary files.
    pub const TEXT: &[u8] = b"as expected\n";
    /// Reading it waits until the program is interrupted.
    pub const PATIENT: &str = "patient";
    /// Reading it never ends, whatever happens.
    pub const STUBBORN: &str = "stubborn";
    /// Reading it panics.
    pub const PANIC: &str = "panic";
    /// Reading it panics after a wait.
    pub const LATE_PANIC: &str = "late-panic";
    /// Writing to it keeps the buffer until the test lets it go.
    pub const KEEP: &str = "keep";
    /// Reading it takes 200 milliseconds.
    pub const SLOW: &str = "slow";
    /// Reading it takes 100 milliseconds on a blocking thread.
    pub const BLOCKING: &str = "blocking";
    /// Its content is a number that changes behind the kernel's back.
    pub const VERSION: &str = "version";
    /// It exists while the version is even.
    pub const SOMETIMES: &str = "sometimes";
    /// Writing to it claims more than was written.
    pub const LIAR: &str = "liar";
    /// Reading it starts an I/O operation in the background, and does not wait for it.
    pub const SPAWNER: &str = "spawner";

    /// Reading it takes a millisecond of a CPU.
    pub const HEAVY: &str = "heavy";
    /// Reading it blocks its worker for a second, as no handler should.
    pub const STUCK: &str = "stuck";

    /// All of those, which a listing shows.
    pub const SPECIAL: [&str; 13] = [
        Self::PATIENT,
        Self::PANIC,
        Self::LATE_PANIC,
        Self::KEEP,
        Self::SLOW,
        Self::BLOCKING,
        Self::VERSION,
        Self::SOMETIMES,
        Self::LIAR,
        Self::SPAWNER,
        Self::STUBBORN,
        Self::HEAVY,
        Self::STUCK,
    ];
    const FIRST_SPECIAL: u64 = 10;
    const FIRST_ORDINARY: u64 = 1000;

    /// A filesystem whose names and attributes are cached for that long.
    pub fn with_ttl(ttl: Duration) -> Self {
        Self { ttl, ..Self::default() }
    }

    /// The node of a name.
    pub fn node(name: &str) -> Option<NodeId> {
        let special = Self::SPECIAL.iter().position(|special| *special == name);
        let number = match special {
            Some(at) => Self::FIRST_SPECIAL + at as u64,
            None => Self::FIRST_ORDINARY + name.strip_prefix('n')?.parse::<u64>().ok()?,
        };
        NodeId::new(number)
    }

    fn name(node: NodeId) -> Option<&'static str> {
        let at = node.get().checked_sub(Self::FIRST_SPECIAL)?;
        Self::SPECIAL.get(at as usize).copied()
    }

    fn text(&self, node: NodeId) -> Vec<u8> {
        match Self::name(node) {
            Some(Self::VERSION) => format!("version {:03}\n", self.seen.get(|s| &s.version)).into_bytes(),
            _ => Self::TEXT.to_vec(),
        }
    }

    fn attr(&self, node: NodeId) -> Attr {
        if node.is_root() {
            return Attr::dir(1).perm(0o777);
        }
        Attr::file(node.get(), Self::TEXT.len() as u64).perm(0o666)
    }

    fn entry(&self, name: &str) -> Result<Entry> {
        if name == Self::SOMETIMES && self.seen.get(|s| &s.version) % 2 == 1 {
            return Ok(Entry::negative(self.ttl));
        }
        let node = Self::node(name).ok_or(Errno::ENOENT)?;
        self.seen.lookups.fetch_add(1, Ordering::SeqCst);
        Ok(Entry::new(node, self.attr(node)).ttl(self.ttl))
    }
}

impl Filesystem for Probe {
    fn init(&self, kernel: &mut Negotiation) -> Result<()> {
        kernel.forbid(ringfuse::Capabilities::AUTO_INVAL_DATA);
        Ok(())
    }

    async fn ready(&self, _: &SessionInfo, notifier: Notifier) {
        self.seen.ready.fetch_add(1, Ordering::SeqCst);
        *self.seen.notifier.lock().expect("no test panics with it") = Some(notifier);
    }

    async fn destroy(&self) {
        self.seen.destroyed.fetch_add(1, Ordering::SeqCst);
    }

    fn forget(&self, batch: Forgets<'_>) {
        assert_ne!(
            self.seen.forgets.fetch_add(1, Ordering::SeqCst) + 1,
            self.seen.get(|s| &s.panic_at_forget)
        );
        for one in batch {
            self.seen.forgotten.fetch_add(one.nlookup, Ordering::SeqCst);
        }
    }

    async fn lookup(&self, _: &Request<'_>, op: op::Lookup<'_>) -> Result<Entry> {
        let name = std::str::from_utf8(op.name.as_bytes()).map_err(|_| Errno::ENOENT)?;
        self.entry(name)
    }

    async fn getattr(&self, _: &Request<'_>, op: op::Getattr) -> Result<AttrReply> {
        Ok(AttrReply::new(self.attr(op.node)).ttl(self.ttl))
    }

    async fn setattr(&self, _: &Request<'_>, op: op::Setattr) -> Result<AttrReply> {
        Ok(AttrReply::new(self.attr(op.node)).ttl(self.ttl))
    }

    async fn open(&self, _: &Request<'_>, op: op::Open) -> Result<Opened> {
        let opened = Opened::new(Fh(op.node.get()));
        Ok(match Self::name(op.node) {
            Some(Self::VERSION) => opened.keep_cache(),
            // The kernel forwards interrupts of requests that a program waits for itself, not of read-ahead.
            Some(Self::KEEP | Self::LIAR | Self::PATIENT | Self::SPAWNER | Self::HEAVY) => opened.direct_io(),
            _ if op.flags.contains(libc::O_DIRECT) => opened.direct_io(),
            _ => opened,
        })
    }

    async fn read(&self, rq: &Request<'_>, op: op::Read, buf: ReadBuf) -> Result<ReadBuf> {
        assert_eq!(op.fh, Fh(op.node.get()), "the handle that open gave");
        match Self::name(op.node) {
            Some(Self::PATIENT) => {
                self.seen.waiting.fetch_add(1, Ordering::SeqCst);
                rq.cancelled().await;
                self.seen.interrupted.fetch_add(1, Ordering::SeqCst);
                return Err(Errno::EINTR);
            }
            Some(Self::STUBBORN) => std::future::pending().await,
            Some(Self::PANIC) => panic!("as the test wants"),
            Some(Self::LATE_PANIC) => {
                compio_runtime::time::sleep(Duration::from_millis(10)).await;
                panic!("as the test wants");
            }
            Some(Self::SPAWNER) => {
                let seen = self.seen.clone();
                let work = async move {
                    let source = std::fs::File::open("/dev/zero").expect("it is there");
                    let read = ReadAt::new(SharedFd::new(source), 0, Vec::with_capacity(16));
                    let read = compio_runtime::submit(read).await.0;
                    assert_eq!(read.expect("zeros can be read"), 16);
                    seen.background.fetch_add(1, Ordering::SeqCst);
                };
                compio_runtime::spawn(work).detach();
            }
            Some(Self::HEAVY) => burn(Duration::from_millis(1)),
            Some(Self::STUCK) => std::thread::sleep(Duration::from_secs(1)),
            Some(Self::SLOW) => compio_runtime::time::sleep(Duration::from_millis(200)).await,
            Some(Self::BLOCKING) => {
                let slept = compio_runtime::spawn_blocking(|| std::thread::sleep(Duration::from_millis(100)));
                slept.await.map_err(|_| Errno::EIO)?;
            }
            _ => {}
        }
        let text = self.text(op.node);
        Ok(buf.copy_from(text.get(op.offset as usize..).unwrap_or_default()))
    }

    async fn write(&self, _: &Request<'_>, op: op::Write, data: WriteBuf) -> Result<Written> {
        match Self::name(op.node) {
            Some(Self::KEEP) => {
                let written = data.written();
                self.seen.kept.lock().expect("no test panics with it").push(data);
                Ok(written)
            }
            Some(Self::LIAR) => Ok(Written::new(op.size + 1)),
            _ => Ok(data.written()),
        }
    }

    async fn readdir(&self, _: &Request<'_>, op: op::Readdir, out: &mut DirFiller<'_>) -> Result<()> {
        let names = [(".", NodeId::ROOT), ("..", NodeId::ROOT)]
            .into_iter()
            .chain(Self::SPECIAL.iter().filter_map(|name| Some((*name, Self::node(name)?))));
        for (at, (name, node)) in names.enumerate().skip(op.pos.get() as usize) {
            let kind = if node.is_root() { FileType::Directory } else { FileType::Regular };
            if out.push(node.get(), DirPos(at as u64 + 1), Some(kind), name).is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// Has the calling thread run on that CPU only.
///
/// # Panics
///
/// If there is no such CPU.
pub fn stay_on(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).expect("it is there");
}

/// The threads of a process that serve requests, by number, and their directories in `/proc`.
pub fn workers(process: u32) -> Vec<(usize, PathBuf)> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    let worker = |task: std::io::Result<std::fs::DirEntry>| {
        let task = task.expect("it runs").path();
        // One that has just ended has no name.
        let name = std::fs::read_to_string(task.join("comm")).ok()?;
        Some((name.trim().strip_prefix("ringfuse-")?.parse().ok()?, task))
    };
    let mut workers: Vec<_> = tasks.filter_map(worker).collect();
    workers.sort_unstable();
    workers
}

/// Uses that much of this thread's CPU.
fn burn(time: Duration) {
    let used = || {
        let used = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
    };
    let start = used();
    while used() - start < time {
        std::hint::spin_loop();
    }
}
