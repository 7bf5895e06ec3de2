//! System calls that rustix has no safe wrapper for. All unsafe code of the suite is in this file.

use std::ffi::{CString, c_int};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mm::{MapFlags, MsyncFlags, ProtFlags};
use rustix::thread::UnshareFlags;

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Gives this thread a working directory, a root and a umask of its own.
pub(super) fn unshare_fs() -> Result<(), Errno> {
    // SAFETY: CLONE_FS takes no descriptor and no memory away from anyone.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }
}

/// Gives this thread a table of descriptors of its own, so that it owns its record locks as
/// another process would. The caller sees to it that no descriptor leaves or enters the thread
/// after this.
pub(super) fn unshare_files() -> Result<(), Errno> {
    // SAFETY: the descriptors open now stay valid in both tables, and the caller passes none
    // that is opened later.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FILES) }
}

/// Who owns a record lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The open file description (`F_OFD_*`).
    Description,
    /// The process, which is to say its table of descriptors.
    Process,
}

/// The type of a record lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
    Unlock,
}

/// A record lock, or the request for one. A `len` of 0 reaches to the end of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lock {
    pub kind: Kind,
    pub start: i64,
    pub len: i64,
    pub pid: i32,
}

fn fcntl_lock(file: &File, command: c_int, kind: Kind, start: i64, len: i64) -> Result<Lock, Errno> {
    let kind = match kind {
        Kind::Read => libc::F_RDLCK,
        Kind::Write => libc::F_WRLCK,
        Kind::Unlock => libc::F_UNLCK,
    };
    let mut request = libc::flock {
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: start,
        l_len: len,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open, and the structure lives through the call.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut request) };
    if result < 0 {
        return Err(last_errno());
    }
    let kind = match c_int::from(request.l_type) {
        libc::F_RDLCK => Kind::Read,
        libc::F_WRLCK => Kind::Write,
        _ => Kind::Unlock,
    };
    Ok(Lock { kind, start: request.l_start, len: request.l_len, pid: request.l_pid })
}

/// Sets, changes or drops a record lock; EAGAIN if that conflicts with one of another owner.
pub(super) fn set_lock(f: &File, owner: Owner, kind: Kind, start: i64, len: i64) -> Result<(), Errno> {
    let command = if owner == Owner::Description { libc::F_OFD_SETLK } else { libc::F_SETLK };
    fcntl_lock(f, command, kind, start, len).map(drop)
}

/// Like [`set_lock`], but waits while there is a conflict.
pub(super) fn wait_lock(f: &File, owner: Owner, kind: Kind, start: i64, len: i64) -> Result<(), Errno> {
    let command = if owner == Owner::Description { libc::F_OFD_SETLKW } else { libc::F_SETLKW };
    fcntl_lock(f, command, kind, start, len).map(drop)
}

/// A lock that conflicts with the given one, if there is one.
pub(super) fn get_lock(
    f: &File,
    owner: Owner,
    kind: Kind,
    start: i64,
    len: i64,
) -> Result<Option<Lock>, Errno> {
    let command = if owner == Owner::Description { libc::F_OFD_GETLK } else { libc::F_GETLK };
    let found = fcntl_lock(f, command, kind, start, len)?;
    Ok((found.kind != Kind::Unlock).then_some(found))
}

/// A memory map of a file, unmapped on drop.
pub(super) struct Map {
    start: *mut u8,
    len: usize,
    writable: bool,
}

// SAFETY: a map is plain memory; it is read and written only by volatile single-byte accesses.
unsafe impl Send for Map {}
// SAFETY: as above, and no reference to the memory is ever made.
unsafe impl Sync for Map {}

impl Map {
    /// Maps `len` bytes of the file from `offset` on.
    pub(super) fn new(
        file: &File,
        offset: u64,
        len: usize,
        writable: bool,
        shared: bool,
    ) -> Result<Self, Errno> {
        let prot = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        let flags = if shared { MapFlags::SHARED } else { MapFlags::PRIVATE };
        // SAFETY: without an address the kernel picks one that nothing else uses.
        let start = unsafe { rustix::mm::mmap(ptr::null_mut(), len, prot, flags, file, offset) }?;
        Ok(Self { start: start.cast(), len, writable })
    }

    /// A copy of `len` bytes from `offset` on.
    pub(super) fn read(&self, offset: usize, len: usize) -> Vec<u8> {
        assert!(offset.checked_add(len).is_some_and(|end| end <= self.len), "read outside of the map");
        (offset..offset + len)
            .map(|at| {
                // SAFETY: `at` is below `len`, checked above.
                let byte = unsafe { self.start.add(at) };
                // SAFETY: the byte is mapped; volatile, as others change it.
                unsafe { byte.read_volatile() }
            })
            .collect()
    }

    /// Stores `bytes` at `offset`.
    pub(super) fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(self.writable, "write to a read-only map");
        assert!(
            offset.checked_add(bytes.len()).is_some_and(|end| end <= self.len),
            "write outside of the map"
        );
        for (i, &byte) in bytes.iter().enumerate() {
            // SAFETY: `offset + i` is below `len`, checked above.
            let target = unsafe { self.start.add(offset + i) };
            // SAFETY: the byte is mapped writable; volatile, as others read it.
            unsafe { target.write_volatile(byte) };
        }
    }

    /// `pwrite(2)` of `len` bytes of the map to a file.
    pub(super) fn pwrite_to(&self, file: &File, offset: usize, len: usize, at: u64) -> Result<usize, Errno> {
        assert!(offset.checked_add(len).is_some_and(|end| end <= self.len), "write from outside of the map");
        // SAFETY: `offset` is below `len`, checked above.
        let from = unsafe { self.start.add(offset) };
        // SAFETY: the range is mapped, checked above; the kernel copes with others changing it.
        let n = unsafe { libc::pwrite(file.as_raw_fd(), from.cast(), len, at as i64) };
        usize::try_from(n).map_err(|_| last_errno())
    }

    /// `pread(2)` of `len` bytes from a file into the map.
    pub(super) fn pread_from(&self, file: &File, offset: usize, len: usize, at: u64) -> Result<usize, Errno> {
        assert!(self.writable, "read into a read-only map");
        assert!(offset.checked_add(len).is_some_and(|end| end <= self.len), "read to outside of the map");
        // SAFETY: `offset` is below `len`, checked above.
        let to = unsafe { self.start.add(offset) };
        // SAFETY: the range is mapped writable, checked above, and no reference to it exists.
        let n = unsafe { libc::pread(file.as_raw_fd(), to.cast(), len, at as i64) };
        usize::try_from(n).map_err(|_| last_errno())
    }

    /// Writes changed pages back to the file, and waits for that.
    pub(super) fn sync(&self) -> Result<(), Errno> {
        // SAFETY: the whole range is mapped by this value.
        unsafe { rustix::mm::msync(self.start.cast(), self.len, MsyncFlags::SYNC) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new`, and nothing points into it after this.
        let _ = unsafe { rustix::mm::munmap(self.start.cast(), self.len) };
    }
}

/// `sync_file_range(2)` with all three flags: start the writes and wait for them.
pub(super) fn sync_file_range(file: &File, offset: i64, len: i64) -> Result<(), Errno> {
    let flags =
        libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: the descriptor is open; no memory is passed.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, len, flags) };
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}

const HANDLE_ROOM: usize = 128;

/// A file handle of `name_to_handle_at(2)`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Handle {
    bytes: u32,
    kind: c_int,
    data: [u8; HANDLE_ROOM],
}

/// The handle of the file at `path`, not following a symbolic link.
pub(super) fn name_to_handle(path: &Path) -> Result<Handle, Errno> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)?;
    let mut handle = Handle { bytes: HANDLE_ROOM as u32, kind: 0, data: [0; HANDLE_ROOM] };
    let mut mount: c_int = 0;
    // SAFETY: the handle has the layout of `struct file_handle` with the room its first field
    // names; all three pointers live through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            libc::AT_FDCWD,
            path.as_ptr(),
            &raw mut handle,
            &raw mut mount,
            0 as c_int,
        )
    };
    if result < 0 { Err(last_errno()) } else { Ok(handle) }
}

/// Opens the file of a handle; `mount` is any descriptor on its filesystem.
pub(super) fn open_by_handle(mount: impl AsFd, handle: &Handle, flags: OFlags) -> Result<File, Errno> {
    let mut handle = *handle;
    let mount = mount.as_fd().as_raw_fd();
    let flags = (flags | OFlags::CLOEXEC).bits();
    // SAFETY: the handle was filled by the kernel and lives through the call.
    let fd = unsafe { libc::syscall(libc::SYS_open_by_handle_at, mount, &raw mut handle, flags) };
    if fd < 0 {
        return Err(last_errno());
    }
    // SAFETY: the kernel has just opened this descriptor, and nothing else owns it.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd as c_int) }))
}

/// `truncate(2)`.
pub(super) fn truncate(path: &Path, size: i64) -> Result<(), Errno> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)?;
    // SAFETY: the path is a string that lives through the call.
    let result = unsafe { libc::truncate(path.as_ptr(), size) };
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}

/// What `FS_IOC_GETVERSION` makes of a buffer that is full of `0xaa`.
pub(super) fn inode_version(file: &File) -> Result<[u8; 16], Errno> {
    let mut buf = [0xaa; 16];
    // SAFETY: the descriptor is open, and there is more room than for the `long` that the request's number says.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_GETVERSION, buf.as_mut_ptr()) };
    if result < 0 { Err(last_errno()) } else { Ok(buf) }
}

/// An ioctl that no filesystem knows.
pub(super) fn unknown_ioctl(file: &File) -> Result<(), Errno> {
    // `_IO('~', 0xee)`: no argument.
    // SAFETY: the descriptor is open, and the request passes no memory.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), 0x7eee, 0) };
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}

/// Has a mount that is not attached yet show other ids, as the user namespace maps them.
pub(super) fn map_ids(mount: impl AsFd, namespace: impl AsFd) -> Result<(), Errno> {
    let attr = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: namespace.as_fd().as_raw_fd() as u64,
    };
    // SAFETY: the path is a string, and the structure has the size that is told; both live through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of_val(&attr),
        )
    };
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}
