//! Waiting: grants, cancellation, deadlocks, and what a close gives up.

use std::cell::Cell;
use std::future::{self, Ready};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::task::{Context, Wake};

use super::*;

const FILE: File = File { node: NodeId::ROOT, flock: false };
const OTHER: File = File { node: NodeId::ROOT, flock: true };

#[derive(Default)]
struct Wakes(AtomicU32);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

fn want(owner: u64, kind: LockKind) -> Want {
    Want::new(LockOwner(owner), Fh(owner), Lock::new(kind, 0, u64::MAX, owner as u32))
}

fn second(node: u64) -> File {
    File { node: NodeId::new(node).unwrap(), flock: false }
}

fn never() -> future::Pending<()> {
    future::pending()
}

fn poll(future: &mut Pin<Box<impl Future<Output = Result<()>>>>, wakes: &Arc<Wakes>) -> Poll<Result<()>> {
    future.as_mut().poll(&mut Context::from_waker(&Arc::clone(wakes).into()))
}

#[test]
fn who_waits_is_woken_and_gets_it() {
    let (locks, wakes) = (Locks::new(), Arc::<Wakes>::default());
    locks.set(FILE, want(1, LockKind::Write)).unwrap();
    assert_eq!(locks.set(FILE, want(2, LockKind::Read)), Err(Errno::EAGAIN));
    assert_eq!(locks.test(FILE, &want(2, LockKind::Read)).pid, 1);
    let mut second = Box::pin(locks.wait(FILE, want(2, LockKind::Read), never()));
    assert_eq!(poll(&mut second, &wakes), Poll::Pending);
    assert_eq!((locks.count(), wakes.0.load(Relaxed)), ((1, 1), 0));
    locks.set(FILE, want(1, LockKind::Read)).unwrap();
    assert_eq!(wakes.0.load(Relaxed), 1);
    assert_eq!(poll(&mut second, &wakes), Poll::Ready(Ok(())));
    drop(second);
    assert_eq!(locks.count(), (2, 0));
    locks.release_owner(FILE, LockOwner(1));
    locks.release_owner(FILE, LockOwner(2));
    assert_eq!((locks.count(), locks.state().files.len()), ((0, 0), 0));
}

#[test]
fn a_signal_ends_the_wait_and_nothing_is_locked() {
    let (locks, wakes) = (Locks::new(), Arc::<Wakes>::default());
    locks.set(FILE, want(1, LockKind::Write)).unwrap();
    let signal = Cell::new(false);
    let cancelled = poll_fn(|_| if signal.get() { Poll::Ready(()) } else { Poll::Pending });
    let mut second = Box::pin(locks.wait(FILE, want(2, LockKind::Write), cancelled));
    assert_eq!(poll(&mut second, &wakes), Poll::Pending);
    signal.set(true);
    assert_eq!(poll(&mut second, &wakes), Poll::Ready(Err(Errno::EINTR)));
    drop(second);
    assert_eq!(locks.count(), (1, 0));
}

#[test]
fn a_dropped_wait_leaves_the_line() {
    let (locks, wakes) = (Locks::new(), Arc::<Wakes>::default());
    locks.set(FILE, want(1, LockKind::Write)).unwrap();
    let mut second = Box::pin(locks.wait(FILE, want(2, LockKind::Write), never()));
    assert_eq!(poll(&mut second, &wakes), Poll::Pending);
    drop(second);
    assert_eq!(locks.count(), (1, 0));
    locks.release_handle(FILE, Fh(1));
    assert_eq!((wakes.0.load(Relaxed), locks.state().files.len()), (0, 0));
}

#[test]
fn a_circle_of_waits_is_refused() {
    let (locks, wakes) = (Locks::new(), Arc::<Wakes>::default());
    for owner in 1..=3 {
        locks.set(second(owner), want(owner, LockKind::Write)).unwrap();
    }
    let mut first = Box::pin(locks.wait(second(2), want(1, LockKind::Write), never()));
    let mut next = Box::pin(locks.wait(second(3), want(2, LockKind::Write), never()));
    assert_eq!(poll(&mut first, &wakes), Poll::Pending);
    assert_eq!(poll(&mut next, &wakes), Poll::Pending);
    let mut last = Box::pin(locks.wait(second(1), want(3, LockKind::Read), never()));
    assert_eq!(poll(&mut last, &wakes), Poll::Ready(Err(Errno::EDEADLK)));
    drop(next);
    let mut last = Box::pin(locks.wait(second(1), want(3, LockKind::Read), never()));
    assert_eq!(poll(&mut last, &wakes), Poll::Pending);
}

#[test]
fn a_flock_is_given_up_before_another_is_asked_for() {
    let (locks, wakes) = (Locks::new(), Arc::<Wakes>::default());
    locks.set(OTHER, want(1, LockKind::Read)).unwrap();
    locks.set(OTHER, want(2, LockKind::Read)).unwrap();
    let mut first = Box::pin(locks.wait(OTHER, want(1, LockKind::Write), never()));
    assert_eq!(poll(&mut first, &wakes), Poll::Pending);
    locks.set(OTHER, want(2, LockKind::Write)).unwrap();
    assert_eq!(locks.set(OTHER, want(3, LockKind::Read)), Err(Errno::EAGAIN));
    locks.set(OTHER, want(2, LockKind::Unlock)).unwrap();
    assert_eq!(poll(&mut first, &wakes), Poll::Ready(Ok(())));
    // The two kinds do not know of each other.
    locks.set(FILE, want(9, LockKind::Write)).unwrap();
}

#[test]
fn the_line_has_a_limit() {
    let (locks, wakes) = (Locks::new(), Arc::<Wakes>::default());
    locks.limit_waiters(1);
    locks.set(FILE, want(1, LockKind::Write)).unwrap();
    let mut second = Box::pin(locks.wait(FILE, want(2, LockKind::Write), never()));
    assert_eq!(poll(&mut second, &wakes), Poll::Pending);
    let mut third = Box::pin(locks.wait(FILE, want(3, LockKind::Write), never()));
    assert_eq!(poll(&mut third, &wakes), Poll::Ready(Err(Errno::ENOLCK)));
    let mut free = Box::pin(locks.wait(OTHER, want(3, LockKind::Write), never()));
    assert_eq!(poll(&mut free, &wakes), Poll::Ready(Ok(())), "nobody need wait here");
}

#[test]
fn what_is_cancelled_at_once_takes_nothing() {
    let locks = Locks::new();
    let done: Ready<()> = future::ready(());
    let mut wait = Box::pin(locks.wait(FILE, want(1, LockKind::Write), done));
    assert_eq!(poll(&mut wait, &Arc::default()), Poll::Ready(Err(Errno::EINTR)));
    assert_eq!(locks.count(), (0, 0));
}
