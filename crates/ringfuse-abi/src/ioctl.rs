//! The ioctls of `/dev/fuse`, and the encoding of Linux ioctl numbers.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Argument of [`FUSE_DEV_IOC_BACKING_OPEN`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct fuse_backing_map {
    /// File descriptor of the backing file.
    pub fd: i32,
    /// Unused; must be 0.
    pub flags: u32,
    /// Unused; must be 0.
    pub padding: u64,
}

/// Type byte of the ioctls of `/dev/fuse`.
pub const FUSE_DEV_IOC_MAGIC: u32 = 229;
/// Attach this freshly opened device to the connection of another one; argument: pointer to its descriptor.
pub const FUSE_DEV_IOC_CLONE: u32 = _IOR::<u32>(FUSE_DEV_IOC_MAGIC, 0);
/// Register a backing file for passthrough and return its id; argument: pointer to [`fuse_backing_map`].
pub const FUSE_DEV_IOC_BACKING_OPEN: u32 = _IOW::<fuse_backing_map>(FUSE_DEV_IOC_MAGIC, 1);
/// Drop the registration of a backing file; argument: pointer to its id.
pub const FUSE_DEV_IOC_BACKING_CLOSE: u32 = _IOW::<u32>(FUSE_DEV_IOC_MAGIC, 2);
/// Make mounting wait for the answer to `INIT`; no argument, before the mount.
pub const FUSE_DEV_IOC_SYNC_INIT: u32 = _IO(FUSE_DEV_IOC_MAGIC, 3);

// The architectures below kept the encoding of other Unix systems: three bits of direction, thirteen of size.
macro_rules! encoding {
    ($($(#[$doc:meta])* $name:ident = $common:literal, $other:literal;)*) => {
        $($(#[$doc])* pub const $name: u32 = if cfg!(any(
            target_arch = "mips",
            target_arch = "mips32r6",
            target_arch = "mips64",
            target_arch = "mips64r6",
            target_arch = "powerpc",
            target_arch = "powerpc64",
            target_arch = "sparc",
            target_arch = "sparc64",
        )) { $other } else { $common };)*
    };
}

encoding! {
    /// Direction of an ioctl whose argument points to no data.
    _IOC_NONE = 0, 1;
    /// Direction of an ioctl that hands data to the kernel.
    _IOC_WRITE = 1, 4;
    /// Direction of an ioctl that gets data from the kernel.
    _IOC_READ = 2, 2;
    /// Number of bits that hold the size of the data.
    _IOC_SIZEBITS = 14, 13;
}

/// An ioctl number: direction, type byte, number within the type, and size of the data in bytes.
#[must_use]
#[allow(non_snake_case, reason = "a macro of the kernel's ioctl header")]
pub const fn _IOC(dir: u32, r#type: u32, nr: u32, size: usize) -> u32 {
    assert!(r#type < 1 << 8 && nr < 1 << 8 && size < 1 << _IOC_SIZEBITS, "part of an ioctl number too large");
    dir << (16 + _IOC_SIZEBITS) | (size as u32) << 16 | r#type << 8 | nr
}

/// The number of an ioctl without data.
#[must_use]
#[allow(non_snake_case, reason = "a macro of the kernel's ioctl header")]
pub const fn _IO(r#type: u32, nr: u32) -> u32 {
    _IOC(_IOC_NONE, r#type, nr, 0)
}

/// The number of an ioctl that gets a `T` from the kernel, going by its name.
#[must_use]
#[allow(non_snake_case, reason = "a macro of the kernel's ioctl header")]
pub const fn _IOR<T>(r#type: u32, nr: u32) -> u32 {
    _IOC(_IOC_READ, r#type, nr, size_of::<T>())
}

/// The number of an ioctl that hands a `T` to the kernel.
#[must_use]
#[allow(non_snake_case, reason = "a macro of the kernel's ioctl header")]
pub const fn _IOW<T>(r#type: u32, nr: u32) -> u32 {
    _IOC(_IOC_WRITE, r#type, nr, size_of::<T>())
}
