//! Attributes: stat(2), statx(2), statfs(2), inode flags, file handles.

use crate::posix::base::*;
use rustix::fs::{IFlags, Statx, StatxFlags};

cases! { "stat":
    statx_basic [] "statx gives all basic attributes, and they are those of stat (statx(2))";
    statx_birth [] "the birth time, if there is one, stays when the file changes (statx(2))";
    statx_of_link [SYMLINK] "AT_SYMLINK_NOFOLLOW examines the link, else its target (statx(2))";
    statx_of_fd [] "an empty path with AT_EMPTY_PATH examines the descriptor (statx(2))";
    statx_sync_modes [] "AT_STATX_FORCE_SYNC and DONT_SYNC agree (statx(2))";
    statx_refused [] "statx fails with ENOENT, ENOTDIR and EINVAL for unknown flags (statx(2))";
    statx_mask [] "a mask for one attribute gives at least that (statx(2))";
    statx_attributes [] "attributes are within the mask of those that are supported (statx(2))";
    same_by_all_ways [] "path, descriptor and O_PATH descriptor give the same attributes (fstat(2))";
    one_device [] "all files of a directory have its device number (stat(2))";
    own_inodes [SYMLINK MKNOD] "files of every kind have inode numbers of their own (stat(2))";
    inode_stays [] "the inode number stays through write, chmod, rename and reopening (stat(2))";
    blocks_grow [BLOCKS] "st_blocks is 0 for an empty file and grows with its content (stat(2))";
    block_size [] "st_blksize is a power of two (stat(2))";
    directory_attributes [] "a directory has its type, mode and a link count of 1 or above 1 (stat(2))";
    size_of_all [SYMLINK MKNOD] "sizes of a file, a link and a FIFO (stat(2))";
    statfs_sane [] "statfs: block size, counts in order, room for names of 255 bytes (statfs(2))";
    statfs_by_fd [] "statfs and fstatfs agree on what does not change (fstatfs(2))";
    statfs_by_any_file [] "statfs gives the same filesystem id for any file (statfs(2))";
    statfs_space [FREE_SPACE] "writing 8 MiB takes that from the free space (statfs(2))";
    statfs_files [FREE_SPACE] "a new file takes one from the free inodes, where those are counted (statfs(2))";
    inode_flags_read [INODE_FLAGS] "FS_IOC_GETFLAGS gives flags of files and directories (FS_IOC_GETFLAGS(2const))";
    inode_flags_append [INODE_FLAGS ROOT] "an append-only file refuses other writes and unlink: EPERM (FS_IOC_SETFLAGS(2const))";
    inode_flags_immutable [INODE_FLAGS ROOT] "an immutable file refuses all changes: EPERM (FS_IOC_SETFLAGS(2const))";
    inode_flags_ctime [INODE_FLAGS ROOT] "FS_IOC_SETFLAGS sets ctime (FS_IOC_SETFLAGS(2const))";
    inode_version [INODE_FLAGS] "FS_IOC_GETVERSION writes an int, and nothing behind it (ioctl_list(2))";
    handle_opens [HANDLES ROOT] "a file handle opens the file it was made for (open_by_handle_at(2))";
    handle_stays [HANDLES ROOT] "a handle stays the same through rename and write (name_to_handle_at(2))";
    handle_of_directory [HANDLES ROOT] "a handle of a directory opens it (open_by_handle_at(2))";
    handle_of_evicted [HANDLES ROOT] "a handle opens a file that the kernel has evicted from its caches (open_by_handle_at(2))";
    handle_stale [HANDLES ROOT] "a handle of a removed file fails with ESTALE (open_by_handle_at(2))";
    unknown_ioctl [] "an unknown ioctl fails with ENOTTY (ioctl(2))";
}

fn statx(path: impl AsRef<Path>, flags: AtFlags, mask: StatxFlags) -> Result<Statx, Errno> {
    rfs::statx(CWD, path.as_ref(), flags, mask)
}

fn plain(path: impl AsRef<Path>) -> Result<Statx, Errno> {
    statx(path, AtFlags::empty(), StatxFlags::BASIC_STATS | StatxFlags::BTIME)
}

fn statx_basic(d: &Path) -> Outcome {
    file(d.join("f"), pattern(5000, 1))?;
    chmod(d.join("f"), 0o640)?;
    set_times(d.join("f"), (1000, 0), (2000, 0))?;
    let (x, s) = (plain(d.join("f"))?, st(d.join("f"))?);
    let got = StatxFlags::from_bits_retain(x.stx_mask);
    ensure!(got.contains(StatxFlags::BASIC_STATS), "the mask is {:#x}", x.stx_mask);
    ensure_eq!(u32::from(x.stx_mode), s.mode());
    ensure_eq!(u64::from(x.stx_nlink), s.nlink());
    ensure_eq!((x.stx_uid, x.stx_gid), (s.uid(), s.gid()));
    ensure_eq!((x.stx_ino, x.stx_size), (s.ino(), 5000));
    ensure_eq!((x.stx_blocks, u64::from(x.stx_blksize)), (s.blocks(), s.blksize()));
    ensure_eq!(rfs::makedev(x.stx_dev_major, x.stx_dev_minor), s.dev());
    ensure_eq!((x.stx_atime.tv_sec, x.stx_mtime.tv_sec, x.stx_ctime.tv_sec), (1000, 2000, s.ctime()));
    Ok(())
}

fn statx_birth(d: &Path) -> Outcome {
    let f = file(d.join("f"), "x")?;
    let birth = || -> Result<Option<Stamp>, Failure> {
        let x = plain(d.join("f"))?;
        let known = StatxFlags::from_bits_retain(x.stx_mask).contains(StatxFlags::BTIME);
        Ok(known.then_some((x.stx_btime.tv_sec, i64::from(x.stx_btime.tv_nsec))))
    };
    let Some(born) = birth()? else { skip!("the filesystem has no birth times") };
    let created = times_of(&f.metadata()?).c;
    ensure!((born.0 - created.0).abs() <= 2, "born at {born:?}, ctime was {created:?}");
    tick();
    f.write_all_at(b"more", 10)?;
    chmod(d.join("f"), 0o600)?;
    set_times(d.join("f"), (1000, 0), (1000, 0))?;
    ensure_eq!(birth()?, Some(born));
    Ok(())
}

fn statx_of_link(d: &Path) -> Outcome {
    file(d.join("f"), "12345678")?;
    symlink("f", d.join("l"))?;
    let own = statx(d.join("l"), AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)?;
    ensure_eq!(own.stx_size, 1);
    ensure_eq!(FileType::from_raw_mode(own.stx_mode.into()), FileType::Symlink);
    let target = plain(d.join("l"))?;
    ensure_eq!((target.stx_size, target.stx_ino), (8, ino(d.join("f"))?));
    Ok(())
}

fn statx_of_fd(d: &Path) -> Outcome {
    let f = file(d.join("f"), "12345678")?;
    let x = rfs::statx(&f, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
    ensure_eq!((x.stx_size, x.stx_ino), (8, ino(d.join("f"))?));
    expect_errno!(rfs::statx(&f, "", AtFlags::empty(), StatxFlags::BASIC_STATS), NOENT);
    Ok(())
}

fn statx_sync_modes(d: &Path) -> Outcome {
    let f = file(d.join("f"), "12345678")?;
    f.write_all_at(b"x", 99)?;
    const FORCE_SYNC: u32 = 0x2000;
    const DONT_SYNC: u32 = 0x4000;
    for flag in [FORCE_SYNC, 0, DONT_SYNC] {
        let x = statx(d.join("f"), AtFlags::from_bits_retain(flag), StatxFlags::BASIC_STATS)?;
        ensure_eq!(x.stx_size, 100, "with flag {flag:#x}");
        ensure_eq!(x.stx_mtime.tv_sec, st(d.join("f"))?.mtime());
    }
    Ok(())
}

fn statx_refused(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    expect_errno!(plain(d.join("none")), NOENT);
    expect_errno!(plain(d.join("f/x")), NOTDIR);
    let unknown = AtFlags::from_bits_retain(0x8);
    expect_errno!(statx(d.join("f"), unknown, StatxFlags::BASIC_STATS), INVAL);
    expect_errno!(statx(d.join("f"), AtFlags::from_bits_retain(0x6000), StatxFlags::BASIC_STATS), INVAL);
    Ok(())
}

fn statx_mask(d: &Path) -> Outcome {
    file(d.join("f"), "12345678")?;
    for one in [StatxFlags::SIZE, StatxFlags::MODE, StatxFlags::NLINK, StatxFlags::MTIME, StatxFlags::INO] {
        let x = statx(d.join("f"), AtFlags::empty(), one)?;
        ensure!(
            StatxFlags::from_bits_retain(x.stx_mask).contains(one),
            "{one:?} is not in {:#x}",
            x.stx_mask
        );
    }
    ensure_eq!(statx(d.join("f"), AtFlags::empty(), StatxFlags::SIZE)?.stx_size, 8);
    Ok(())
}

fn statx_attributes(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    for path in [d.join("f"), d.to_owned()] {
        let x = plain(path)?;
        let beyond = x.stx_attributes.bits() & !x.stx_attributes_mask.bits();
        ensure_eq!(beyond, 0, "attributes {:?}", x.stx_attributes);
        ensure!(x.stx_blksize > 0, "no block size");
    }
    Ok(())
}

fn same_by_all_ways(d: &Path) -> Outcome {
    let f = file(d.join("f"), "12345678")?;
    f.write_all_at(&[1; 10_000], 5)?;
    chmod(d.join("f"), 0o600)?;
    let path = open(d.join("f"), O_PATH)?;
    let all = |m: fs::Metadata| (m.ino(), m.len(), m.mode(), m.nlink(), m.blocks(), times_of(&m));
    let want = all(st(d.join("f"))?);
    ensure_eq!(all(f.metadata()?), want);
    ensure_eq!(all(path.metadata()?), want);
    ensure_eq!(all(fs::metadata(proc_fd(&f))?), want);
    Ok(())
}

fn one_device(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    mkdir(d.join("dir"))?;
    touch(d.join("dir/g"))?;
    for name in ["f", "dir", "dir/g"] {
        ensure_eq!(st(d.join(name))?.dev(), st(d)?.dev(), "{name}");
    }
    Ok(())
}

fn own_inodes(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    mkdir(d.join("dir"))?;
    symlink("f", d.join("l"))?;
    mkfifo(d.join("p"))?;
    touch(d.join("dir/g"))?;
    let mut inodes = BTreeSet::from([ino(d)?]);
    for name in ["f", "dir", "l", "p", "dir/g"] {
        let inode = ino(d.join(name))?;
        ensure!(inode != 0 && inodes.insert(inode), "{name} has inode {inode}, which is 0 or of another");
    }
    Ok(())
}

fn inode_stays(d: &Path) -> Outcome {
    let f = touch(d.join("f"))?;
    let inode = ino(d.join("f"))?;
    f.write_all_at(&[1; 50_000], 0)?;
    ensure_eq!(ino(d.join("f"))?, inode);
    chmod(d.join("f"), 0o600)?;
    rename(d.join("f"), d.join("g"))?;
    ensure_eq!(ino(d.join("g"))?, inode);
    f.sync_all()?;
    drop(f);
    ensure_eq!(open(d.join("g"), RD)?.metadata()?.ino(), inode);
    Ok(())
}

fn blocks_grow(d: &Path) -> Outcome {
    let f = touch(d.join("f"))?;
    ensure_eq!(f.metadata()?.blocks(), 0);
    f.write_all_at(&[1; 100_000], 0)?;
    f.sync_all()?;
    let blocks = f.metadata()?.blocks();
    ensure!((195..600).contains(&blocks), "{blocks} blocks of 512 bytes for 100000 bytes");
    Ok(())
}

fn block_size(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    for path in [d.join("f"), d.to_owned()] {
        let size = st(path)?.blksize();
        ensure!(size.is_power_of_two() && (512..=1 << 30).contains(&size), "the block size is {size}");
    }
    Ok(())
}

fn directory_attributes(d: &Path) -> Outcome {
    mkdir(d.join("dir"))?;
    let meta = st(d.join("dir"))?;
    ensure!(meta.is_dir(), "not a directory");
    ensure_eq!(meta.mode(), 0o040_755);
    ensure!(meta.nlink() >= 1, "no links");
    ensure_eq!(meta.rdev(), 0);
    Ok(())
}

fn size_of_all(d: &Path) -> Outcome {
    file(d.join("f"), [0; 77])?;
    symlink("12345", d.join("l"))?;
    mkfifo(d.join("p"))?;
    let sizes = [st(d.join("f"))?.len(), st(d.join("l"))?.len(), st(d.join("p"))?.len()];
    ensure_eq!(sizes, [77, 5, 0]);
    Ok(())
}

fn statfs_sane(d: &Path) -> Outcome {
    let v = rfs::statvfs(d)?;
    ensure!(v.f_bsize.is_power_of_two(), "the block size is {}", v.f_bsize);
    ensure!(v.f_frsize.is_power_of_two(), "the fragment size is {}", v.f_frsize);
    ensure!(v.f_blocks >= v.f_bfree, "{} of {} blocks are free", v.f_bfree, v.f_blocks);
    ensure!(v.f_bfree >= v.f_bavail, "{} of {} free blocks are available", v.f_bavail, v.f_bfree);
    ensure!(v.f_files >= v.f_ffree, "{} of {} files are free", v.f_ffree, v.f_files);
    ensure!(v.f_namemax >= 255, "names may have {} bytes", v.f_namemax);
    ensure!(!v.f_flag.contains(rfs::StatVfsMountFlags::RDONLY), "read-only");
    Ok(())
}

fn statfs_by_fd(d: &Path) -> Outcome {
    let f = touch(d.join("f"))?;
    let (by_path, by_fd) = (rfs::statfs(d)?, rfs::fstatfs(&f)?);
    ensure_eq!(by_path.f_type, by_fd.f_type);
    ensure_eq!((by_path.f_bsize, by_path.f_blocks), (by_fd.f_bsize, by_fd.f_blocks));
    ensure_eq!(by_path.f_namelen, by_fd.f_namelen);
    Ok(())
}

fn statfs_by_any_file(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    mkdir(d.join("dir"))?;
    let of_dir = rfs::statvfs(d)?;
    for name in ["f", "dir"] {
        ensure_eq!(rfs::statvfs(d.join(name))?.f_fsid, of_dir.f_fsid, "{name}");
    }
    expect_errno!(rfs::statfs(d.join("none")), NOENT);
    Ok(())
}

fn statfs_space(d: &Path) -> Outcome {
    const SIZE: u64 = 8 << 20;
    let free = || -> Result<u64, Failure> {
        let v = rfs::statvfs(d)?;
        Ok(v.f_bfree * v.f_frsize)
    };
    let before = free()?;
    file(d.join("f"), pattern(SIZE as usize, 2))?.sync_all()?;
    let after = free()?;
    ensure!(after < before, "{before} bytes were free, now {after}");
    let taken = before - after;
    ensure!((SIZE / 2..SIZE * 2).contains(&taken), "8 MiB took {taken} bytes");
    Ok(())
}

fn statfs_files(d: &Path) -> Outcome {
    let before = rfs::statvfs(d)?;
    if before.f_files == 0 {
        skip!("inodes are not counted");
    }
    for i in 0..10 {
        touch(d.join(format!("f{i}")))?;
    }
    let after = rfs::statvfs(d)?;
    ensure!(after.f_ffree + 10 <= before.f_ffree, "{} were free, now {}", before.f_ffree, after.f_ffree);
    Ok(())
}

fn inode_flags_read(d: &Path) -> Outcome {
    let f = touch(d.join("f"))?;
    let flags = rfs::ioctl_getflags(&f).or_skip("FS_IOC_GETFLAGS")?;
    ensure!(!flags.intersects(IFlags::IMMUTABLE | IFlags::APPEND), "a new file has flags {flags:?}");
    rfs::ioctl_getflags(open(d, RD | DIRECTORY)?)?;
    Ok(())
}

/// Sets an inode flag, and takes it off again after `body`.
fn with_flag(f: &File, flag: IFlags, body: impl FnOnce() -> Outcome) -> Outcome {
    let flags = rfs::ioctl_getflags(f).or_skip("FS_IOC_GETFLAGS")?;
    rfs::ioctl_setflags(f, flags | flag).or_skip("FS_IOC_SETFLAGS")?;
    let outcome = body();
    rfs::ioctl_setflags(f, flags)?;
    outcome
}

fn inode_flags_append(d: &Path) -> Outcome {
    let f = file(d.join("f"), "abc")?;
    with_flag(&f, IFlags::APPEND, || {
        expect_errno!(open(d.join("f"), WR), PERM);
        expect_errno!(open(d.join("f"), WR | APPEND | TRUNC), PERM);
        expect_errno!(unlink(d.join("f")), PERM);
        expect_errno!(rename(d.join("f"), d.join("g")), PERM);
        open(d.join("f"), WR | APPEND)?.write_all(b"def")?;
        let x = plain(d.join("f"))?;
        // The mask says which attributes can be told at all: through FUSE, none.
        if x.stx_attributes_mask.contains(rfs::StatxAttributes::APPEND) {
            ensure!(x.stx_attributes.contains(rfs::StatxAttributes::APPEND), "statx does not tell");
        }
        Ok(())
    })?;
    same(&read(d.join("f"))?, b"abcdef")?;
    unlink(d.join("f"))?;
    Ok(())
}

fn inode_flags_immutable(d: &Path) -> Outcome {
    let f = file(d.join("f"), "abc")?;
    with_flag(&f, IFlags::IMMUTABLE, || {
        expect_errno!(open(d.join("f"), WR), PERM);
        expect_errno!(chmod(d.join("f"), 0o600), PERM);
        expect_errno!(set_times(d.join("f"), (1, 0), (1, 0)), PERM);
        expect_errno!(unlink(d.join("f")), PERM);
        expect_errno!(link(d.join("f"), d.join("g")), PERM);
        expect_errno!(rename(d.join("f"), d.join("g")), PERM);
        same(&read(d.join("f"))?, b"abc")
    })
}

fn inode_flags_ctime(d: &Path) -> Outcome {
    let path = d.join("f");
    let f = touch(&path)?;
    let before = times(&path)?;
    tick();
    with_flag(&f, IFlags::NODUMP, || {
        let after = times(&path)?;
        ensure!(after.c > before.c, "ctime did not change");
        ensure_eq!(after.m, before.m);
        Ok(())
    })
}

fn inode_version(d: &Path) -> Outcome {
    let f = touch(d.join("f"))?;
    let bytes = sys::inode_version(&f).or_skip("FS_IOC_GETVERSION")?;
    ensure_eq!(bytes[4..], [0xaa; 12]);
    Ok(())
}

fn handle(path: impl AsRef<Path>) -> Result<sys::Handle, Failure> {
    sys::name_to_handle(path.as_ref()).or_skip("name_to_handle_at")
}

fn by_handle(d: &Path, handle: &sys::Handle, flags: OFlags) -> Result<File, Failure> {
    Ok(sys::open_by_handle(open(d, RD | DIRECTORY)?, handle, flags)?)
}

fn handle_opens(d: &Path) -> Outcome {
    file(d.join("f"), "content")?;
    file(d.join("g"), "other")?;
    let (f, g) = (handle(d.join("f"))?, handle(d.join("g"))?);
    ensure!(f != g, "two files have one handle");
    let mut text = String::new();
    by_handle(d, &f, RD)?.read_to_string(&mut text)?;
    ensure_eq!(text, "content");
    by_handle(d, &f, RDWR)?.write_all_at(b"C", 0)?;
    same(&read(d.join("f"))?, b"Content")
}

fn handle_stays(d: &Path) -> Outcome {
    let f = file(d.join("f"), "content")?;
    mkdir(d.join("dir"))?;
    let before = handle(d.join("f"))?;
    f.write_all_at(b"C", 0)?;
    rename(d.join("f"), d.join("dir/g"))?;
    ensure!(handle(d.join("dir/g"))? == before, "the handle changed");
    ensure_eq!(by_handle(d, &before, RD)?.metadata()?.ino(), f.metadata()?.ino());
    Ok(())
}

fn handle_of_directory(d: &Path) -> Outcome {
    mkdir(d.join("dir"))?;
    touch(d.join("dir/f"))?;
    let dir = by_handle(d, &handle(d.join("dir"))?, RD | DIRECTORY)?;
    ensure_eq!(dir.metadata()?.ino(), ino(d.join("dir"))?);
    open_at(&dir, "f", RD)?;
    ensure_eq!(open_at(&dir, "..", RD)?.metadata()?.ino(), ino(d)?);
    Ok(())
}

fn handle_of_evicted(d: &Path) -> Outcome {
    file(d.join("f"), "content")?;
    mkdir(d.join("dir"))?;
    file(d.join("dir/g"), "other")?;
    let [f, dir, g] = ["f", "dir", "dir/g"].map(|name| handle(d.join(name)));
    let (f, dir, g) = (f?, dir?, g?);
    // 2: entries and inodes.
    fs::write("/proc/sys/vm/drop_caches", "2").or_skip("/proc/sys/vm/drop_caches")?;
    same(&read(proc_fd(&by_handle(d, &f, RD)?))?, b"content")?;
    same(&read(proc_fd(&by_handle(d, &g, RD)?))?, b"other")?;
    let dir = by_handle(d, &dir, RD | DIRECTORY)?;
    open_at(&dir, "g", RD)?;
    ensure_eq!(dir.metadata()?.ino(), ino(d.join("dir"))?);
    Ok(())
}

fn handle_stale(d: &Path) -> Outcome {
    touch(d.join("f"))?;
    let old = handle(d.join("f"))?;
    unlink(d.join("f"))?;
    touch(d.join("f"))?;
    expect_errno!(sys::open_by_handle(open(d, RD | DIRECTORY)?, &old, RD), STALE);
    Ok(())
}

fn unknown_ioctl(d: &Path) -> Outcome {
    let f = touch(d.join("f"))?;
    expect_errno!(sys::unknown_ioctl(&f), NOTTY);
    expect_errno!(sys::unknown_ioctl(&open(d, RD | DIRECTORY)?), NOTTY);
    Ok(())
}
