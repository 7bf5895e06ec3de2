//! Locks, kept at the source, so that they hold against programs that use it directly.
//!
//! - `flock(2)` of a program is `flock(2)` on the handle's own file of the source.
//! - A lock of `fcntl(2)` has an owner, a process or an open file, that is not us. For each owner that has locked something
//!   of a node a file of its own is opened, and its ranges are locked by that file (`F_OFD_SETLK`): these conflict with each
//!   other, and with all locks at the source, as the owners' own would.
//!
//! The same locks are written down here, in the table that `ringfuse mem` has: it knows who stands in whose way within this
//! mount, finds deadlocks, tells process ids, and wakes those who wait as soon as a lock is given up. The source has its
//! say about each, under the lock of that table, without waiting.
//!
//! Of the end of an open file, and with it of its locks, the kernel tells by a request that nobody waits for. It may come
//! after one for the same lock, by a program that has seen the file closed. So who would be refused a lock waits for a moment,
//! if an open file of the node may be about to end.
//!
//! Who waits for a program that uses the source directly is told by nobody. It looks again, after a millisecond at first and
//! ten times a second in the end. It waits as a future: no thread is held, and a signal for the waiting program ends it. It
//! does hold an entry of the ring, so only half of a queue may wait.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use ringfuse::{Errno, Fh, Lock, LockKind, LockOwner, NodeId, Result, op};
use rustix::fs::{FlockOperation, OFlags, flock};

use super::files::Handle;
use super::node::{Node, lock};
use super::{Core, os};
use crate::mem::locks::{File, Locks, Want};
use crate::sys::{RangeLock, get_lock, set_lock};

/// How long who waits for the source sleeps, at first and at most.
const NAPS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));

/// How long the end of an open file is waited for, when a descriptor of it was closed.
const CLOSING: Duration = Duration::from_millis(10);

/// The locks of a mount that are kept at the source.
#[derive(Debug)]
pub(super) struct SourceLocks {
    pub(super) table: Locks,
    /// The file by which the ranges of an owner are locked.
    files: Mutex<HashMap<(NodeId, LockOwner), Arc<OwnedFd>>>,
}

impl SourceLocks {
    pub(super) fn new() -> Self {
        Self { table: Locks::new(), files: Mutex::default() }
    }
}

fn posix(node: NodeId) -> File {
    File { node, flock: false }
}

fn range(kind: LockKind, start: u64, end: u64) -> RangeLock {
    let kind = match kind {
        LockKind::Read => libc::F_RDLCK,
        LockKind::Write => libc::F_WRLCK,
        LockKind::Unlock => libc::F_UNLCK,
    };
    let (start, end) = (start.min(i64::MAX as u64) as i64, end.min(i64::MAX as u64) as i64);
    // Zero means "to the end".
    let len = if end == i64::MAX { 0 } else { end - start + 1 };
    RangeLock { kind: kind as i16, start, len, pid: 0 }
}

/// What of the source stands in the way, as the kernel wants it told.
fn blocker(found: RangeLock) -> Lock {
    let kind = match i32::from(found.kind) {
        libc::F_RDLCK => LockKind::Read,
        libc::F_WRLCK => LockKind::Write,
        _ => return Lock::free(),
    };
    let end = if found.len == 0 { i64::MAX } else { found.start + found.len - 1 };
    Lock::new(kind, found.start as u64, end as u64, found.pid.max(0) as u32)
}

/// Wakes its task again and again, later each time; ready when `ended` is.
async fn naps(ended: impl Future<Output = ()>) {
    let mut ended = pin!(ended);
    let (mut nap, most) = NAPS;
    let mut sleep = Box::pin(compio_runtime::time::sleep(nap));
    poll_fn(|cx| {
        if ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        while sleep.as_mut().poll(cx).is_ready() {
            nap = (nap * 2).min(most);
            sleep.set(compio_runtime::time::sleep(nap));
        }
        Poll::Pending
    })
    .await;
}

fn mark_closing(node: &Node, fh: Fh, closing: bool) {
    let mut opens = lock(&node.more().opens);
    if let Some(open) = opens.iter_mut().find(|open| open.fh == fh) {
        open.closing = closing;
    }
}

/// Whether another open file of the node may be about to end.
fn is_closing(node: &Node, fh: Fh) -> bool {
    lock(&node.more().opens).iter().any(|open| open.closing && open.fh != fh)
}

impl Core {
    fn locks(&self) -> Result<&SourceLocks> {
        self.locks.as_ref().ok_or(Errno::ENOSYS)
    }

    /// The file by which an owner's ranges are locked.
    fn lock_file(&self, handle: &Handle, owner: LockOwner) -> Result<Arc<OwnedFd>> {
        let mut files = lock(&self.locks()?.files);
        let key = (handle.node.id, owner);
        if let Some(file) = files.get(&key) {
            return Ok(Arc::clone(file));
        }
        let file = match self.reopen(&handle.file, OFlags::RDWR) {
            // It is run, or may not be written: then nobody asks for more than to share it.
            Err(Errno::ETXTBSY | Errno::EROFS | Errno::EACCES | Errno::EPERM) => {
                self.reopen(&handle.file, OFlags::RDONLY)
            }
            file => file,
        }?;
        Ok(Arc::clone(files.entry(key).or_insert(Arc::new(file))))
    }

    /// Closes the file of an owner that has nothing locked any more, and with it whatever it has at the source.
    fn close_lock_file(&self, locks: &SourceLocks, node: NodeId, owner: LockOwner) {
        if !locks.table.has(posix(node), owner) {
            let file = lock(&locks.files).remove(&(node, owner));
            drop(file);
        }
    }

    /// Serves `getlk`.
    pub(super) async fn getlk(&self, op: &op::Getlk) -> Result<Lock> {
        let node = self.table.get(op.node)?;
        let mut found = self.find_lock(op)?;
        let mut patience = CLOSING;
        while found != Lock::free() && !patience.is_zero() && is_closing(&node, op.fh) {
            compio_runtime::time::sleep(NAPS.0).await;
            patience = patience.saturating_sub(NAPS.0);
            found = self.find_lock(op)?;
        }
        Ok(found)
    }

    fn find_lock(&self, op: &op::Getlk) -> Result<Lock> {
        let locks = self.locks()?;
        let found = locks.table.test(posix(op.node), &Want::new(op.owner, op.fh, op.lock));
        if found != Lock::free() || op.lock.kind == LockKind::Unlock {
            return Ok(found);
        }
        let handle = self.handles.get(op.fh)?;
        let own = lock(&locks.files).get(&(op.node, op.owner)).map(Arc::clone);
        let file = own.unwrap_or_else(|| Arc::clone(&handle.file));
        Ok(blocker(get_lock(&file, range(op.lock.kind, op.lock.start, op.lock.end))?))
    }

    /// Serves `setlk`.
    pub(super) async fn setlk(&self, op: &op::Setlk, cancelled: impl Future<Output = ()>) -> Result<()> {
        let locks = self.locks()?;
        let handle = self.handles.get(op.fh)?;
        let file = File { node: op.node, flock: op.flock };
        let want = Want::new(op.owner, op.fh, op.lock);
        mark_closing(&handle.node, op.fh, false);
        let ask = |want: &Want| -> Result<()> {
            if op.flock {
                if handle.shared {
                    // A lock of the whole file would be the other's, too.
                    return Err(Errno::ENOLCK);
                }
                let how = match want.kind {
                    LockKind::Read => FlockOperation::NonBlockingLockShared,
                    LockKind::Write => FlockOperation::NonBlockingLockExclusive,
                    LockKind::Unlock => FlockOperation::Unlock,
                };
                return os(flock(&handle.file, how));
            }
            if want.kind == LockKind::Unlock && !lock(&locks.files).contains_key(&(op.node, want.owner)) {
                return Ok(());
            }
            let file = self.lock_file(&handle, want.owner)?;
            Ok(set_lock(&file, range(want.kind, want.start, want.end))?)
        };
        let done = match locks.table.set_with(file, want, ask) {
            Err(Errno::EAGAIN) if op.wait => locks.table.wait_with(file, want, naps(cancelled), ask).await,
            Err(Errno::EAGAIN) if is_closing(&handle.node, op.fh) => {
                let ended = compio_runtime::time::sleep(CLOSING);
                locks.table.wait_with(file, want, ended, ask).await.map_err(|_| Errno::EAGAIN)
            }
            result => result,
        };
        if !op.flock {
            self.close_lock_file(locks, op.node, op.owner);
        }
        done
    }

    /// A descriptor was closed: what its owner had locked goes.
    pub(super) fn unlock_owner(&self, node: NodeId, fh: Fh, owner: LockOwner) {
        let Some(locks) = &self.locks else { return };
        if let Ok(handle) = self.handles.get(fh) {
            mark_closing(&handle.node, fh, true);
        }
        // At the source first, so that who is woken by this finds it free.
        let file = lock(&locks.files).remove(&(node, owner));
        drop(file);
        locks.table.release_owner(posix(node), owner);
    }

    /// An open file was closed for good: what was locked by it goes.
    pub(super) fn unlock_handle(&self, node: NodeId, fh: Fh) {
        let (Some(locks), Ok(handle)) = (&self.locks, self.handles.get(fh)) else { return };
        // What is left of ranges now belongs to the open file, and to no other.
        for lost in locks.table.release_handle(posix(node), fh) {
            if let Some(file) = lock(&locks.files).get(&(node, lost.owner)) {
                let _ = set_lock(file, range(LockKind::Unlock, lost.start, lost.end));
            }
            self.close_lock_file(locks, node, lost.owner);
            locks.table.wake(posix(node));
        }
        let whole = File { node, flock: true };
        if !locks.table.release_handle(whole, fh).is_empty() {
            let _ = flock(&handle.file, FlockOperation::Unlock);
            locks.table.wake(whole);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_go_to_the_source_and_back() {
        let whole = range(LockKind::Write, 0, i64::MAX as u64);
        assert_eq!((whole.start, whole.len), (0, 0));
        assert_eq!(range(LockKind::Read, 0, u64::MAX).len, 0);
        for (start, end) in [(0, 0), (7, 99), (5, i64::MAX as u64)] {
            let found = range(LockKind::Read, start, end);
            assert_eq!(blocker(found), Lock::new(LockKind::Read, start, end, 0));
        }
        assert_eq!(blocker(RangeLock { kind: libc::F_UNLCK as i16, ..whole }), Lock::free());
        // The kernel says -1 for a lock of an open file.
        assert_eq!(blocker(RangeLock { pid: -1, ..whole }).pid, 0);
    }
}
