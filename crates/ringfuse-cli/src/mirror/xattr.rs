//! Extended attributes, access control lists among them, and the inode flags that `chattr(1)` sets.
//!
//! An `O_PATH` descriptor has no attributes for `fgetxattr(2)`; the inode behind `/proc/self/fd/N` has, symbolic links and
//! devices included, and no name is involved. What the kernel lets through is passed on as it is, in all namespaces. The
//! names of `trusted.*` attributes are told to root alone, as the source's filesystem would.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use ringfuse::{Errno, Result};
use rustix::fs::{XattrFlags, getxattr, listxattr, removexattr, setxattr};
use rustix::io::Errno as Raw;

use super::node::Node;
use super::source::{number, stat};
use super::{Core, os};
use crate::caller::Asker;
use crate::sys;

/// The longest value and the longest list of names, `XATTR_SIZE_MAX` and `XATTR_LIST_MAX`.
const MOST: usize = 64 << 10;

fn path(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", number(fd))
}

impl Core {
    fn refuses(&self, name: &CStr) -> bool {
        // Lists name users, of whom there is one here.
        self.options.squash.is_some() && name.to_bytes().starts_with(b"system.posix_acl_")
    }

    /// The value of an attribute.
    pub(super) fn getxattr(&self, fd: &OwnedFd, name: &CStr) -> Result<Vec<u8>> {
        if self.refuses(name) {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut value = Vec::with_capacity(256);
        match getxattr(path(fd), name, rustix::buffer::spare_capacity(&mut value)) {
            Err(Raw::RANGE) => {
                value.reserve(MOST);
                os(getxattr(path(fd), name, rustix::buffer::spare_capacity(&mut value)))?;
            }
            result => {
                os(result)?;
            }
        }
        Ok(value)
    }

    /// The names of all attributes that the caller may see, each with a NUL behind it.
    pub(super) fn listxattr(&self, fd: &OwnedFd, who: Asker) -> Result<Vec<u8>> {
        let mut list = Vec::with_capacity(1024);
        match listxattr(path(fd), rustix::buffer::spare_capacity(&mut list)) {
            Err(Raw::RANGE) => {
                list.reserve(MOST);
                os(listxattr(path(fd), rustix::buffer::spare_capacity(&mut list)))?;
            }
            result => {
                os(result)?;
            }
        }
        let names = || list.split_inclusive(|byte| *byte == 0);
        let trusted = |name: &&[u8]| name.starts_with(b"trusted.");
        let root = || self.source.processes.caller(who).is_some_and(|caller| caller.uid == 0);
        if !names().any(|name| trusted(&name)) || root() {
            return Ok(list);
        }
        Ok(names().filter(|name| !trusted(name)).flatten().copied().collect())
    }

    /// Sets an attribute. Where it is an access control list of one who may not set setgid, that goes.
    pub(super) fn setxattr(
        &self,
        node: &Arc<Node>,
        name: &CStr,
        value: &[u8],
        (flags, kill_sgid): (u32, bool),
    ) -> Result<()> {
        if self.refuses(name) {
            return Err(Errno::EOPNOTSUPP);
        }
        let fd = self.reach(node)?;
        let flags = XattrFlags::from_bits_retain(flags);
        os(setxattr(path(&fd), name, value, flags))?;
        if kill_sgid {
            let mode = u32::from(stat(&fd)?.stx_mode);
            if mode & libc::S_ISGID != 0 {
                self.chmod(&fd, mode & !libc::S_ISGID)?;
            }
        }
        Ok(())
    }

    /// Removes an attribute.
    pub(super) fn removexattr(&self, node: &Arc<Node>, name: &CStr) -> Result<()> {
        if self.refuses(name) {
            return Err(Errno::EOPNOTSUPP);
        }
        os(removexattr(path(&*self.reach(node)?), name))
    }

    /// Passes an ioctl on: its result, and what it wrote.
    pub(super) fn ioctl(&self, fd: &OwnedFd, command: u32, mut data: Vec<u8>) -> Result<(i32, Vec<u8>)> {
        let size = (command >> 16 & 0x3fff) as usize;
        data.resize(data.len().max(size), 0);
        let result = sys::ioctl(fd, command, &mut data)?;
        // Its number says `long`; all filesystems write an `int`, and programs have room for no more.
        if command == libc::FS_IOC_GETVERSION as u32 {
            data.truncate(size_of::<i32>());
        }
        Ok((result, data))
    }
}
