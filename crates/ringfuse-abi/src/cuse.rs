//! CUSE, character devices in user space: the `CUSE_INIT` negotiation.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Most bytes of device information that may follow [`cuse_init_out`].
pub const CUSE_INIT_INFO_MAX: usize = 4096;

/// `CUSE_INIT` flag: ioctls are not limited to what their command number encodes.
pub const CUSE_UNRESTRICTED_IOCTL: u32 = 1 << 0;

/// Request body of `CUSE_INIT`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct cuse_init_in {
    /// Major version of the kernel.
    pub major: u32,
    /// Minor version of the kernel.
    pub minor: u32,
    /// Unused.
    pub unused: u32,
    /// Bits `CUSE_*` that the kernel offers.
    pub flags: u32,
}

/// Reply body of `CUSE_INIT`; `KEY=value` strings, each with its NUL, follow, `DEVNAME` being required.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct cuse_init_out {
    /// Major version of the server.
    pub major: u32,
    /// Minor version of the server, at least 11.
    pub minor: u32,
    /// Unused.
    pub unused: u32,
    /// Bits `CUSE_*` that the server accepts.
    pub flags: u32,
    /// Largest `READ` in bytes; less than 4096 counts as 4096.
    pub max_read: u32,
    /// Largest data of one `WRITE` in bytes; less than 4096 counts as 4096.
    pub max_write: u32,
    /// Major number of the device; 0 lets the kernel choose.
    pub dev_major: u32,
    /// Minor number of the device.
    pub dev_minor: u32,
    /// Unused.
    pub spare: [u32; 10],
}
