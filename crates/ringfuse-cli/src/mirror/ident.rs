//! Who a thread is while it works for somebody.
//!
//! The kernel checks permissions before it asks us (`default_permissions`), by the caller's groups and all that we do not
//! know. So nearly everything is done as the server itself, with all its capabilities. Two things are not:
//!
//! - What is *created* belongs to the caller, and inherits group, ACL and mode as the source's filesystem has it for that
//!   caller. So the thread that creates takes on the caller's effective user and group (and with them those of the
//!   filesystem), the one supplementary group that matters, and umask. It keeps its capabilities (`SECBIT_NO_SETUID_FIXUP`),
//!   as permission has been granted. The umask is a thread's own after `unshare(CLONE_FS)`. To chown afterwards would leave
//!   a moment in which the file is somebody else's, and could not reproduce default ACLs.
//! - A write or truncation by one *without `CAP_FSETID`* clears setuid and setgid, the latter of a file that its group may
//!   not execute only if the caller is not in that group. For these the thread gives up that capability and takes on a group
//!   that tells, so that the source's filesystem does the clearing, in the same step.
//!
//! Identities are those of threads, not of the process (the system calls themselves are, the C library's functions would
//! not be). A guard puts them back, on all ways out, and nothing here awaits.
//!
//! `CAP_SYS_RESOURCE` goes at the start, as with it quotas and reserved blocks are no limits. A server that is not root
//! switches nothing: all it creates is its own.

use std::cell::Cell;
use std::io;
use std::sync::OnceLock;

use rustix::fs::Mode;
use rustix::process::{Gid, Resource, Rlimit, Uid, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities, capabilities_secure_bits,
    set_capabilities, set_capabilities_secure_bits, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use crate::sys;

/// What is needed to act for others without being held up by permissions.
const POWERS: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID);

/// The capabilities that threads have between requests; unset if there is no switching.
static POWERFUL: OnceLock<CapabilitySets> = OnceLock::new();

/// Readies the calling thread, and those that it will start: to be called before any other is.
///
/// Returns whether identities can be switched.
pub(super) fn settle() -> bool {
    for limit in [Resource::Nofile, Resource::Fsize] {
        let Rlimit { maximum, .. } = getrlimit(limit);
        // What cannot be raised stays as it is, and is a limit then.
        let _ = setrlimit(limit, Rlimit { current: maximum, maximum });
    }
    let switched = try_settle();
    if let Err(error) = &switched {
        tracing::info!(%error, "files will be created as the user who runs this");
    }
    switched.is_ok()
}

fn try_settle() -> io::Result<()> {
    let mut sets = capabilities(None)?;
    if !sets.effective.contains(POWERS) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    set_capabilities_secure_bits(capabilities_secure_bits()? | CapabilitiesSecureBits::NO_SETUID_FIXUP)?;
    sets.effective.remove(CapabilitySet::SYS_RESOURCE);
    set_capabilities(None, sets)?;
    // Groups of the server's must not count where those of the caller should.
    set_thread_groups(&[])?;
    let _ = POWERFUL.set(sets);
    Ok(())
}

/// Whether what is created belongs to who has it created.
pub(super) fn switches() -> bool {
    POWERFUL.get().is_some()
}

/// Whether the process may do this.
pub(super) fn has(capability: CapabilitySet) -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(capability))
}

/// For whom something is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Creator {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// The supplementary group that the directory has, if any.
    pub(super) group: Option<u32>,
    pub(super) umask: u32,
}

/// Creates something as somebody.
///
/// # Errors
///
/// Those of `create`, and if the identity cannot be had.
pub(super) fn create_as<T>(who: &Creator, create: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    set_umask(who.umask)?;
    let myself = Creator { uid: 0, gid: 0, group: None, umask: who.umask };
    if *who == myself || POWERFUL.get().is_none() {
        return create();
    }
    let _back = Back::Identity;
    if let Some(group) = who.group {
        set_thread_groups(&[Gid::from_raw(group)])?;
    }
    set_thread_res_gid(None, Gid::from_raw(who.gid), None)?;
    set_thread_res_uid(None, Uid::from_raw(who.uid), None)?;
    create()
}

/// Opens something as somebody, permissions checked as the source's filesystem would for that user and group.
///
/// # Errors
///
/// As for [`create_as`].
pub(super) fn open_as<T>(who: &Creator, open: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let override_ = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH | CapabilitySet::FOWNER;
    if who.uid == 0 { create_as(who, open) } else { create_as(who, || without(override_, open)) }
}

/// Does something without `CAP_FSETID`, as one who is in that group, if one is given.
///
/// # Errors
///
/// Those of `work`, and if the capability cannot be given up.
pub(super) fn clearing_setid<T>(group: Option<u32>, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let Some(group) = group.filter(|_| POWERFUL.get().is_some()) else { return work() };
    let _back = Back::Identity;
    set_thread_res_gid(None, Gid::from_raw(group), None)?;
    without(CapabilitySet::FSETID, work)
}

fn without<T>(lost: CapabilitySet, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let Some(all) = POWERFUL.get() else { return work() };
    let _back = Back::Capabilities(all);
    set_capabilities(None, CapabilitySets { effective: all.effective - lost, ..*all })?;
    work()
}

/// Sets the umask of this thread alone.
fn set_umask(umask: u32) -> io::Result<()> {
    thread_local! {
        /// The umask that this thread has of its own.
        static OWN: Cell<Option<u32>> = const { Cell::new(None) };
    }
    if OWN.get() != Some(umask) {
        if OWN.get().is_none() {
            sys::unshare_fs()?;
        }
        rustix::process::umask(Mode::from_raw_mode(umask));
        OWN.set(Some(umask));
    }
    Ok(())
}

/// What is to be put back.
enum Back<'a> {
    Identity,
    Capabilities(&'a CapabilitySets),
}

impl Drop for Back<'_> {
    fn drop(&mut self) {
        let back = match self {
            Self::Identity => set_thread_res_uid(None, Uid::ROOT, None)
                .and_then(|()| set_thread_res_gid(None, Gid::ROOT, None))
                .and_then(|()| set_thread_groups(&[])),
            Self::Capabilities(all) => set_capabilities(None, **all),
        };
        if let Err(error) = back {
            // A thread that is somebody else must not serve another.
            tracing::error!(%error, "a thread cannot become itself again");
            std::process::abort();
        }
    }
}
