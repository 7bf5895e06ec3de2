//! The cases, a file for each topic.

use super::Case;

mod acl;
mod alloc;
mod concurrent;
mod concurrent_io;
mod copy;
mod dirs;
mod exec;
mod idmap;
mod links;
mod locks;
mod mmap;
mod names;
mod notify;
mod open;
mod perm;
mod readdir;
mod rename;
mod rw;
mod setid;
mod special;
mod stat;
mod sync;
mod times;
mod truncate;
mod unlink;
mod xattr;

/// The tables of all topics, in the order they are run.
pub(super) const TOPICS: &[&[Case]] = &[
    open::CASES,
    rw::CASES,
    truncate::CASES,
    times::CASES,
    dirs::CASES,
    readdir::CASES,
    rename::CASES,
    links::CASES,
    unlink::CASES,
    names::CASES,
    perm::CASES,
    setid::CASES,
    special::CASES,
    xattr::CASES,
    acl::CASES,
    locks::CASES,
    alloc::CASES,
    copy::CASES,
    mmap::CASES,
    stat::CASES,
    sync::CASES,
    exec::CASES,
    idmap::CASES,
    notify::CASES,
    concurrent::CASES,
    concurrent_io::CASES,
];
