//! An async FUSE library for Linux: FUSE-over-io_uring on compio.
