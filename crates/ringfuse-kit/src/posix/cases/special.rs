//! FIFOs, sockets and devices.

use crate::posix::base::*;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

cases! { "special":
    fifo_between_threads [MKNOD] "a FIFO carries data from one thread to another (fifo(7))";
    fifo_no_reader [MKNOD] "opening a FIFO for writing without a reader fails with ENXIO if non-blocking (fifo(7))";
    fifo_poll_end [MKNOD] "the reader of a FIFO sees its end when the writer has closed (fifo(7))";
    fifo_two_names [MKNOD HARD_LINK] "two names of a FIFO are one FIFO, also after a rename (fifo(7))";
    fifo_no_size [MKNOD] "a FIFO has size 0 and refuses lseek: ESPIPE (lseek(2))";
    socket_stream [MKNOD] "a stream socket is bound, connected and carries data (unix(7))";
    socket_datagram [MKNOD] "a datagram socket is bound and receives (unix(7))";
    socket_bind_exists [MKNOD] "binding to an existing name fails with EADDRINUSE (bind(2))";
    socket_renamed [MKNOD] "a bound socket is reached by its new name (unix(7))";
    socket_unlinked [MKNOD] "connecting fails with ENOENT after unlink, ECONNREFUSED without listener (connect(2))";
    socket_open [MKNOD] "opening a socket file fails with ENXIO (open(2))";
    device_numbers [MKNOD ROOT] "numbers of character and block devices come back (mknod(2))";
    device_works [MKNOD ROOT] "a device node made here works as the device (mknod(2))";
    mknod_file [MKNOD] "mknod makes a regular file (mknod(2))";
    mknod_refused [MKNOD] "mknod fails with EEXIST and ENOENT, EPERM for a directory (mknod(2))";
    mknod_mode [MKNOD] "mknod takes the mode less the umask (mknod(2))";
    node_attributes [MKNOD] "nodes can be chmoded, linked to times and renamed (inode(7))";
}

fn mknod(path: impl AsRef<Path>, kind: FileType, dev: u64) -> Result<(), Errno> {
    rfs::mknodat(CWD, path.as_ref(), kind, mode(0o644), dev)
}

fn fifo_between_threads(d: &Path) -> Outcome {
    let path = d.join("p");
    mkfifo(&path)?;
    let data = pattern(300_000, 1);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            open(&path, WR)?.write_all(&data)?;
            Ok(())
        });
        let mut got = Vec::new();
        open(&path, RD)?.read_to_end(&mut got)?;
        join(writer)?;
        same(&got, &data)
    })
}

fn fifo_no_reader(d: &Path) -> Outcome {
    let path = d.join("p");
    mkfifo(&path)?;
    expect_errno!(open(&path, WR | OFlags::NONBLOCK), NXIO);
    let reader = open(&path, RD | OFlags::NONBLOCK)?;
    let mut writer = open(&path, WR | OFlags::NONBLOCK)?;
    writer.write_all(b"x")?;
    drop(reader);
    expect_errno!(open(&path, WR | OFlags::NONBLOCK), NXIO);
    Ok(())
}

fn fifo_poll_end(d: &Path) -> Outcome {
    let path = d.join("p");
    mkfifo(&path)?;
    let mut reader = open(&path, RD | OFlags::NONBLOCK)?;
    let mut buf = [0; 8];
    ensure_eq!(reader.read(&mut buf)?, 0, "without a writer");
    let mut writer = open(&path, WR)?;
    expect_errno!(rustix::io::read(&reader, &mut buf[..]), AGAIN);
    writer.write_all(b"abc")?;
    ensure_eq!(reader.read(&mut buf)?, 3);
    drop(writer);
    ensure_eq!(reader.read(&mut buf)?, 0, "after the writer has closed");
    Ok(())
}

fn fifo_two_names(d: &Path) -> Outcome {
    mkfifo(d.join("p"))?;
    link(d.join("p"), d.join("q"))?;
    let mut reader = open(d.join("p"), RD | OFlags::NONBLOCK)?;
    rename(d.join("q"), d.join("r"))?;
    open(d.join("r"), WR | OFlags::NONBLOCK)?.write_all(b"x")?;
    ensure_eq!(reader.read(&mut [0; 8])?, 1);
    Ok(())
}

fn fifo_no_size(d: &Path) -> Outcome {
    mkfifo(d.join("p"))?;
    let mut reader = open(d.join("p"), RD | OFlags::NONBLOCK)?;
    open(d.join("p"), WR)?.write_all(b"abc")?;
    ensure_eq!(st(d.join("p"))?.len(), 0);
    expect_errno!(reader.seek(SeekFrom::Start(0)), SPIPE);
    expect_errno!(rustix::io::pread(&reader, &mut [0; 1][..], 0), SPIPE);
    Ok(())
}

/// A short path to the directory; socket addresses have room for 107 bytes.
fn short(d: &Path) -> Result<(File, PathBuf), Errno> {
    let dir = open(d, O_PATH | DIRECTORY)?;
    let path = proc_fd(&dir);
    Ok((dir, path))
}

fn socket_stream(d: &Path) -> Outcome {
    let (_dir, path) = short(d)?;
    let listener = UnixListener::bind(path.join("s"))?;
    ensure!(st(d.join("s"))?.file_type().is_socket(), "no socket file");
    let mut client = UnixStream::connect(path.join("s"))?;
    client.write_all(b"hello")?;
    let (mut server, _) = listener.accept()?;
    let mut buf = [0; 5];
    server.read_exact(&mut buf)?;
    same(&buf, b"hello")
}

fn socket_datagram(d: &Path) -> Outcome {
    let (_dir, path) = short(d)?;
    let receiver = UnixDatagram::bind(path.join("s"))?;
    UnixDatagram::unbound()?.send_to(b"hello", path.join("s"))?;
    let mut buf = [0; 8];
    ensure_eq!(receiver.recv(&mut buf)?, 5);
    Ok(())
}

fn socket_bind_exists(d: &Path) -> Outcome {
    let (_dir, path) = short(d)?;
    touch(d.join("f"))?;
    expect_errno!(UnixListener::bind(path.join("f")), ADDRINUSE);
    drop(UnixListener::bind(path.join("s"))?);
    expect_errno!(UnixListener::bind(path.join("s")), ADDRINUSE);
    unlink(d.join("s"))?;
    UnixListener::bind(path.join("s"))?;
    Ok(())
}

fn socket_renamed(d: &Path) -> Outcome {
    let (_dir, path) = short(d)?;
    let _listener = UnixListener::bind(path.join("s"))?;
    rename(d.join("s"), d.join("t"))?;
    UnixStream::connect(path.join("t"))?;
    expect_errno!(UnixStream::connect(path.join("s")), NOENT);
    Ok(())
}

fn socket_unlinked(d: &Path) -> Outcome {
    let (_dir, path) = short(d)?;
    let listener = UnixListener::bind(path.join("s"))?;
    UnixStream::connect(path.join("s"))?;
    drop(listener);
    expect_errno!(UnixStream::connect(path.join("s")), CONNREFUSED);
    unlink(d.join("s"))?;
    expect_errno!(UnixStream::connect(path.join("s")), NOENT);
    Ok(())
}

fn socket_open(d: &Path) -> Outcome {
    mknod(d.join("s"), FileType::Socket, 0)?;
    ensure!(st(d.join("s"))?.file_type().is_socket(), "no socket file");
    expect_errno!(open(d.join("s"), RDWR), NXIO);
    open(d.join("s"), O_PATH)?;
    Ok(())
}

fn device_numbers(d: &Path) -> Outcome {
    let numbers = [(1, 3), (8, 17), (255, 255), (259, 4), (4, 70_000), (4095, 0xfffff)];
    for (i, (major, minor)) in numbers.into_iter().enumerate() {
        let dev = rfs::makedev(major, minor);
        let (c, b) = (d.join(format!("c{i}")), d.join(format!("b{i}")));
        mknod(&c, FileType::CharacterDevice, dev)?;
        mknod(&b, FileType::BlockDevice, dev)?;
        ensure!(st(&c)?.file_type().is_char_device(), "no character device");
        ensure!(st(&b)?.file_type().is_block_device(), "no block device");
        ensure_eq!(st(&c)?.rdev(), dev);
        ensure_eq!(st(&b)?.rdev(), dev);
    }
    let of_file = touch(d.join("f"))?.metadata()?.rdev();
    ensure_eq!(of_file, 0);
    Ok(())
}

fn device_works(d: &Path) -> Outcome {
    mknod(d.join("zero"), FileType::CharacterDevice, rfs::makedev(1, 5))?;
    mknod(d.join("null"), FileType::CharacterDevice, rfs::makedev(1, 3))?;
    let mut zero = match open(d.join("zero"), RD) {
        Err(Errno::ACCESS) if rfs::statvfs(d)?.f_flag.contains(rfs::StatVfsMountFlags::NODEV) => {
            skip!("mounted with nodev")
        }
        result => result?,
    };
    let mut buf = [1; 10];
    zero.read_exact(&mut buf)?;
    same(&buf, &[0; 10])?;
    let mut null = open(d.join("null"), RDWR)?;
    null.write_all(b"gone")?;
    ensure_eq!(null.read(&mut buf)?, 0);
    Ok(())
}

fn mknod_file(d: &Path) -> Outcome {
    mknod(d.join("f"), FileType::RegularFile, 0)?;
    let meta = st(d.join("f"))?;
    ensure!(meta.is_file(), "not a regular file");
    ensure_eq!((meta.len(), meta.nlink()), (0, 1));
    open(d.join("f"), RDWR)?.write_all_at(b"x", 0)?;
    same(&read(d.join("f"))?, b"x")
}

fn mknod_refused(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    mkdir(d.join("dir"))?;
    for name in ["f", "dir"] {
        expect_errno!(mkfifo(d.join(name)), EXIST);
    }
    expect_errno!(mkfifo(d.join("none/p")), NOENT);
    expect_errno!(mkfifo(d.join("f/p")), NOTDIR);
    expect_errno!(mknod(d.join("x"), FileType::Directory, 0), PERM | INVAL);
    Ok(())
}

fn mknod_mode(d: &Path) -> Outcome {
    for (name, kind) in [("p", FileType::Fifo), ("s", FileType::Socket), ("f", FileType::RegularFile)] {
        rfs::mknodat(CWD, d.join(name), kind, mode(0o666), 0)?;
        ensure_eq!(bits(d.join(name))?, 0o644, "{name}");
    }
    Ok(())
}

fn node_attributes(d: &Path) -> Outcome {
    mkfifo(d.join("p"))?;
    chmod(d.join("p"), 0o600)?;
    set_times(d.join("p"), (1000, 0), (2000, 0))?;
    let inode = ino(d.join("p"))?;
    rename(d.join("p"), d.join("q"))?;
    let meta = st(d.join("q"))?;
    ensure!(meta.file_type().is_fifo(), "not a FIFO");
    ensure_eq!((meta.ino(), meta.mode() & 0o7777, meta.mtime()), (inode, 0o600, 2000));
    Ok(())
}
