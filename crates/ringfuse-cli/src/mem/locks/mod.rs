//! Locks that the filesystem keeps itself (`--locks`), instead of the kernel: of `fcntl(2)` and of `flock(2)`.
//!
//! One mutex guards all locks of the mount: taking one is rare, and a deadlock can only be found by one who sees all.
//! Who waits does so as a future, which any change of the file's locks wakes, and which a signal for the waiting
//! program ends.
//!
//! The kernel says whose locks go when a descriptor is closed (`flush`), and which `flock` goes with an open file
//! (`release`). It does not say so of a lock of an open file description (`F_OFD_SETLK`), which looks like any other.
//! Hence each lock remembers the handle it was taken by: what a handle has left when it is released, after the flush of
//! each of its descriptors, can only be of that kind.

mod ranges;

use std::collections::{HashMap, HashSet};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use ringfuse::{Errno, Fh, Lock, LockKind, LockOwner, NodeId, Result};

use ranges::Ranges;
pub(crate) use ranges::Want;

/// The locks of a mount.
#[derive(Debug)]
pub(crate) struct Locks {
    state: Mutex<State>,
    /// How many may wait at once.
    waiters: AtomicUsize,
}

/// A file, and which of its two independent sets of locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct File {
    pub(crate) node: NodeId,
    pub(crate) flock: bool,
}

#[derive(Debug, Default)]
struct State {
    files: HashMap<File, FileLocks>,
    waiting: usize,
    next_ticket: u64,
}

#[derive(Debug, Default)]
struct FileLocks {
    held: Ranges,
    waiters: Vec<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    want: Want,
    waker: Waker,
}

impl Locks {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::default(), waiters: AtomicUsize::new(usize::MAX) }
    }

    /// Lets no more than that many wait at once; more get `ENOLCK`.
    pub(crate) fn limit_waiters(&self, limit: usize) {
        self.waiters.store(limit, Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock that stands in the way of one, or none.
    pub(crate) fn test(&self, file: File, want: &Want) -> Lock {
        let state = self.state();
        let blocker = state.files.get(&file).and_then(|locks| locks.held.conflict(want));
        blocker.map_or(Lock::free(), |held| Lock::new(held.kind, held.start, held.end, held.pid))
    }

    /// Takes, changes or gives up a lock, if nobody stands in the way.
    ///
    /// # Errors
    ///
    /// `EAGAIN` where one does.
    pub(crate) fn set(&self, file: File, want: Want) -> Result<()> {
        self.set_with(file, want, |_| Ok(()))
    }

    /// As [`Locks::set`], where another has a say, too: `grant` is asked for each lock that is about to be taken or given up,
    /// once nobody here stands in the way.
    ///
    /// # Errors
    ///
    /// As there, and those of `grant`; the lock is not taken then.
    pub(crate) fn set_with(
        &self,
        file: File,
        want: Want,
        mut grant: impl FnMut(&Want) -> Result<()>,
    ) -> Result<()> {
        self.state().set(file, want, &mut grant)
    }

    /// As [`Locks::set`], and waits as long as another lock stands in the way, or until `cancelled`.
    ///
    /// # Errors
    ///
    /// `EINTR` if it is cancelled; `EDEADLK` if a holder waits for this owner, directly or by others; `ENOLCK` if too
    /// many wait.
    pub(crate) async fn wait(
        &self,
        file: File,
        want: Want,
        cancelled: impl Future<Output = ()>,
    ) -> Result<()> {
        self.wait_with(file, want, cancelled, |_| Ok(())).await
    }

    /// As [`Locks::wait`], where another has a say as in [`Locks::set_with`]. Who waits looks again whenever `cancelled` has
    /// it woken.
    ///
    /// # Errors
    ///
    /// As there.
    pub(crate) async fn wait_with(
        &self,
        file: File,
        want: Want,
        cancelled: impl Future<Output = ()>,
        mut grant: impl FnMut(&Want) -> Result<()>,
    ) -> Result<()> {
        let mut turn = Turn { locks: self, file, ticket: None };
        let mut cancelled = pin!(cancelled);
        poll_fn(|cx| {
            if cancelled.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(Errno::EINTR));
            }
            let mut state = self.state();
            match (state.set(file, want, &mut grant), turn.ticket) {
                (Err(Errno::EAGAIN), Some(ticket)) => {
                    state.wake_later(file, ticket, cx.waker());
                    Poll::Pending
                }
                (Err(Errno::EAGAIN), None) => {
                    match state.enqueue(file, want, cx.waker(), self.waiters.load(Relaxed)) {
                        Ok(ticket) => turn.ticket = Some(ticket),
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                    Poll::Pending
                }
                (result, _) => Poll::Ready(result),
            }
        })
        .await
    }

    /// Gives up all that an owner has locked of a file, and returns what that was.
    pub(crate) fn release_owner(&self, file: File, owner: LockOwner) -> Vec<Want> {
        self.state().release(file, |want| want.owner == owner)
    }

    /// Gives up all that was locked of a file by a handle, and returns what that was.
    pub(crate) fn release_handle(&self, file: File, handle: Fh) -> Vec<Want> {
        self.state().release(file, |want| want.handle == handle)
    }

    /// Whether an owner has locked anything of a file.
    pub(crate) fn has(&self, file: File, owner: LockOwner) -> bool {
        self.state().files.get(&file).is_some_and(|locks| locks.held.has(owner))
    }

    /// Has all who wait for a lock of a file look again.
    pub(crate) fn wake(&self, file: File) {
        if let Some(locks) = self.state().files.get(&file) {
            locks.wake();
        }
    }

    /// How many locks are held, and how many are waited for.
    pub(crate) fn count(&self) -> (usize, usize) {
        let state = self.state();
        (state.files.values().map(|locks| locks.held.len()).sum(), state.waiting)
    }
}

/// A place among those who wait. Whoever gets what it wants, or gives up, leaves it.
struct Turn<'a> {
    locks: &'a Locks,
    file: File,
    ticket: Option<u64>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.locks.state().leave(self.file, ticket);
        }
    }
}

impl State {
    fn set(&mut self, file: File, want: Want, grant: &mut dyn FnMut(&Want) -> Result<()>) -> Result<()> {
        let locks = self.files.entry(file).or_default();
        // A flock is not converted: what the open file has is given up first (flock(2)), also where it is not granted
        // another then. Otherwise two who share could never both ask for more.
        let mine = |held: &Want| held.owner == want.owner && held.kind != want.kind;
        let converted = if file.flock { locks.held.remove(mine) } else { Vec::new() };
        for lost in &converted {
            grant(&Want { kind: LockKind::Unlock, ..*lost })?;
        }
        let converted = !converted.is_empty();
        let granted = if locks.held.conflict(&want).is_some() { Err(Errno::EAGAIN) } else { grant(&want) };
        let blocked = granted.is_err();
        if !blocked {
            locks.held.set(want);
        }
        if converted || !blocked && want.kind != LockKind::Write {
            locks.wake();
        }
        self.tidy(file);
        granted
    }

    fn release(&mut self, file: File, whose: impl Fn(&Want) -> bool) -> Vec<Want> {
        let mut released = Vec::new();
        if let Some(locks) = self.files.get_mut(&file) {
            released = locks.held.remove(whose);
            if !released.is_empty() {
                locks.wake();
            }
        }
        self.tidy(file);
        released
    }

    /// Forgets a file that has no locks.
    fn tidy(&mut self, file: File) {
        if self.files.get(&file).is_some_and(|locks| locks.held.len() == 0 && locks.waiters.is_empty()) {
            self.files.remove(&file);
        }
    }

    fn enqueue(&mut self, file: File, want: Want, waker: &Waker, limit: usize) -> Result<u64> {
        // A flock waits for an open file, which may be shared by many: there is no telling who could not go on.
        if !file.flock && self.deadlocks(file, &want) {
            return Err(Errno::EDEADLK);
        }
        if self.waiting >= limit {
            return Err(Errno::ENOLCK);
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting += 1;
        let waiter = Waiter { ticket, want, waker: waker.clone() };
        self.files.entry(file).or_default().waiters.push(waiter);
        Ok(ticket)
    }

    fn wake_later(&mut self, file: File, ticket: u64, waker: &Waker) {
        let waiters = self.files.get_mut(&file).map(|locks| locks.waiters.iter_mut());
        if let Some(waiter) = waiters.into_iter().flatten().find(|waiter| waiter.ticket == ticket) {
            waiter.waker.clone_from(waker);
        }
    }

    fn leave(&mut self, file: File, ticket: u64) {
        if let Some(locks) = self.files.get_mut(&file) {
            locks.waiters.retain(|waiter| waiter.ticket != ticket);
        }
        self.waiting -= 1;
        self.tidy(file);
    }

    /// Whether someone whom this one would wait for waits for its owner already.
    ///
    /// Who waits later looks then, so all that is to be looked at is here.
    fn deadlocks(&self, file: File, want: &Want) -> bool {
        let mut ahead = vec![(file, *want)];
        let mut seen = HashSet::new();
        while let Some((file, waiting)) = ahead.pop() {
            let blockers = self.files.get(&file).map(|locks| locks.held.conflicts(&waiting));
            for blocker in blockers.into_iter().flatten() {
                if blocker.owner == want.owner {
                    return true;
                }
                if seen.insert(blocker.owner) {
                    let posix = self.files.iter().filter(|(file, _)| !file.flock);
                    let waits = posix.flat_map(|(file, locks)| {
                        locks.waiters.iter().map(move |waiter| (*file, waiter.want))
                    });
                    ahead.extend(waits.filter(|(_, other)| other.owner == blocker.owner));
                }
            }
        }
        false
    }
}

impl FileLocks {
    /// Has all who wait look again. They stay in line until they have what they want.
    fn wake(&self) {
        self.waiters.iter().for_each(|waiter| waiter.waker.wake_by_ref());
    }
}

#[cfg(test)]
mod tests;
