//! Moves requests and replies between entries' memory and the kernel.
//!
//! Two ways: [`ring`], FUSE over io_uring, and [`device`], `/dev/fuse` read and written. Neither knows what a request
//! says. This module has `unsafe`, for io_uring and for one ioctl; what keeps the kernel's copies sound is in `mem`.

pub(crate) mod device;
pub(crate) mod ring;
