//! Files whose data the kernel moves itself.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use ringfuse::{
    Attr, AttrReply, Backing, Capabilities, Entry, Errno, Fh, Filesystem, Negotiation, NodeId, Notifier,
    Opened, ReadBuf, Request, Result, SessionInfo, WriteBuf, Written, op,
};
use ringfuse_kit::harness::{Setup, mount};

/// One file, backed by one of another filesystem.
struct Backed {
    file: File,
    backing: Mutex<Option<Backing>>,
    notifier: OnceLock<Notifier>,
    requests: Arc<AtomicU32>,
    /// Whether the backing is kept for as long as the file is open, as it should be, or dropped once it was handed over.
    keep: bool,
}

impl Backed {
    fn attr(&self) -> Result<Attr> {
        let mut attr = Attr::from(&self.file.metadata()?);
        attr.ino = 2;
        Ok(attr)
    }

    fn opened(&self) -> Result<Opened> {
        let notifier = self.notifier.get().ok_or(Errno::EIO)?;
        let mut kept = self.backing.lock().expect("no handler panics");
        let backing = match &*kept {
            Some(backing) => backing.clone(),
            None => notifier.open_backing(&self.file)?,
        };
        let opened = Opened::new(Fh(0)).passthrough(&backing);
        if self.keep {
            *kept = Some(backing);
        }
        Ok(opened)
    }
}

impl Filesystem for Backed {
    fn init(&self, kernel: &mut Negotiation) -> Result<()> {
        kernel.require(Capabilities::PASSTHROUGH)
    }

    async fn ready(&self, _: &SessionInfo, notifier: Notifier) {
        let _ = self.notifier.set(notifier);
    }

    async fn lookup(&self, _: &Request<'_>, op: op::Lookup<'_>) -> Result<Entry> {
        if op.name != "backed" {
            return Err(Errno::ENOENT);
        }
        Ok(Entry::new(NodeId::new(2).ok_or(Errno::EIO)?, self.attr()?))
    }

    async fn getattr(&self, _: &Request<'_>, op: op::Getattr) -> Result<AttrReply> {
        Ok(AttrReply::new(if op.node.is_root() { Attr::dir(1) } else { self.attr()? }))
    }

    async fn setattr(&self, _: &Request<'_>, _: op::Setattr) -> Result<AttrReply> {
        Ok(AttrReply::new(self.attr()?))
    }

    async fn open(&self, _: &Request<'_>, _: op::Open) -> Result<Opened> {
        self.opened()
    }

    async fn create(&self, _: &Request<'_>, _: op::Create<'_>) -> Result<(Entry, Opened)> {
        Ok((Entry::new(NodeId::new(2).ok_or(Errno::EIO)?, self.attr()?), self.opened()?))
    }

    async fn read(&self, _: &Request<'_>, _: op::Read, _: ReadBuf) -> Result<ReadBuf> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        Err(Errno::EIO)
    }

    async fn write(&self, _: &Request<'_>, _: op::Write, _: WriteBuf) -> Result<Written> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        Err(Errno::EIO)
    }
}

fn backed(keep: bool) -> (Backed, File, Arc<AtomicU32>) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("ringfuse-backing-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
    let path = std::env::temp_dir().join(name);
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let requests = Arc::new(AtomicU32::new(0));
    let filesystem = Backed {
        file: file.try_clone().unwrap(),
        backing: Mutex::default(),
        notifier: OnceLock::new(),
        requests: requests.clone(),
        keep,
    };
    (filesystem, file, requests)
}

#[test]
fn data_goes_to_the_backing_file_and_not_to_the_filesystem() {
    for setup in Setup::ALL {
        let (filesystem, file, requests) = backed(true);
        file.write_all_at(b"from below", 0).unwrap();
        let mounted = mount(filesystem, setup);
        mounted.step(|path| {
            let mut first = File::options().read(true).write(true).open(path.join("backed")).unwrap();
            let mut second = File::open(path.join("backed")).unwrap();
            let mut text = String::new();
            second.read_to_string(&mut text).unwrap();
            assert_eq!(text, "from below");
            first.write_all(b"from above").unwrap();
            let created = File::options().create(true).append(true).open(path.join("backed")).unwrap();
            drop(created);
        });
        let mut text = [0; 10];
        file.read_exact_at(&mut text, 0).unwrap();
        assert_eq!(&text, b"from above");
        assert_eq!(requests.load(Ordering::SeqCst), 0);
        mounted.finish();
    }
}

#[test]
fn a_backing_lives_until_its_file_is_released() {
    for setup in Setup::ALL {
        let (filesystem, file, _) = backed(false);
        file.write_all_at(b"0123456789", 0).unwrap();
        let mounted = mount(filesystem, setup);
        mounted.step(|path| {
            for _ in 0..200 {
                assert_eq!(fs::read(path.join("backed")).unwrap(), b"0123456789");
            }
        });
        mounted.finish();
    }
}

#[test]
fn a_mount_without_passthrough_refuses_backing_files() {
    for setup in [Setup::RING, Setup::DEVICE] {
        let mounted = mount(ringfuse_e2e::Probe::default(), setup);
        let file = File::open("/dev/null").unwrap();
        let error = mounted.session().notifier().open_backing(&file).unwrap_err();
        assert_eq!(error, Errno::EPERM);
        mounted.finish();
    }
}
