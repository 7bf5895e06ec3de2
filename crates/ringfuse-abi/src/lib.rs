//! The FUSE wire protocol, version 7.45: structs, constants and ioctl numbers.
