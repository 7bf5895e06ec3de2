//! Record locks (fcntl(2)) and whole-file locks (flock(2)).

use crate::posix::base::*;
use rustix::fs::FlockOperation as Op;
use sys::Kind::{Read as Shared, Unlock, Write as Exclusive};
use sys::Owner::{Description, Process};
use sys::{Kind, Lock, Owner, get_lock, set_lock, wait_lock};

cases! { "locks":
    ofd_conflict [LOCKS] "an exclusive lock keeps other descriptions off: EAGAIN (fcntl(2), F_OFD_SETLK)";
    ofd_shared [LOCKS] "shared locks go together, an exclusive one does not (fcntl(2))";
    ofd_ranges [LOCKS] "locks of ranges that do not overlap go together (fcntl(2))";
    ofd_to_end [LOCKS] "a length of 0 reaches to the end, wherever that will be (fcntl(2))";
    ofd_split [LOCKS] "unlocking the middle of a lock leaves its two ends (fcntl(2))";
    ofd_merge [LOCKS] "adjacent locks act as one (fcntl(2))";
    ofd_convert [LOCKS] "a lock is turned into the other kind in place (fcntl(2))";
    ofd_convert_refused [LOCKS] "a shared lock does not become exclusive beside another shared one (fcntl(2))";
    ofd_query [LOCKS] "F_OFD_GETLK tells kind, range and pid -1 of a lock in the way (fcntl(2))";
    ofd_released_by_close [LOCKS OFD_RELEASE] "the last close of a description releases its locks (fcntl(2))";
    ofd_free_after_close [LOCKS OFD_RELEASE] "as soon as close has returned the lock is free, 200 times (fcntl(2))";
    ofd_dup_shares [LOCKS OFD_RELEASE] "a dup shares the lock, and its close does not release it (fcntl(2))";
    ofd_waits [LOCKS] "F_OFD_SETLKW waits until another thread unlocks (fcntl(2))";
    ofd_wait_released_by_close [LOCKS OFD_RELEASE] "F_OFD_SETLKW goes on when the holder closes (fcntl(2))";
    ofd_waits_range [LOCKS] "a waiting lock is granted as soon as its own range is free (fcntl(2))";
    ofd_far_offsets [LOCKS] "ranges near the largest offset (fcntl(2))";
    ofd_many [LOCKS] "200 locks of a byte each, every second one released (fcntl(2))";
    access_mode [LOCKS] "shared locks need read access, exclusive ones write access: EBADF (fcntl(2))";
    bad_range [LOCKS] "a range that begins before the file or ends past the largest offset fails (fcntl(2))";
    process_conflict [LOCKS] "a process's lock keeps another process off (fcntl(2), F_SETLK)";
    process_own [LOCKS] "two descriptors of one process do not conflict (fcntl(2))";
    process_close_any [LOCKS] "closing any descriptor of the file releases the process's locks (fcntl(2))";
    process_query [LOCKS] "F_GETLK tells kind, range and pid of another process's lock (fcntl(2))";
    process_waits [LOCKS] "F_SETLKW waits until another process unlocks (fcntl(2))";
    process_ends [LOCKS] "the locks of a process are released when it ends (fcntl(2))";
    process_and_ofd [LOCKS] "locks of a process and of a description conflict (fcntl(2))";
    flock_exclusive [FLOCK] "an exclusive flock keeps others off: EWOULDBLOCK (flock(2))";
    flock_shared [FLOCK] "shared flocks go together (flock(2))";
    flock_convert [FLOCK] "flock is turned from shared to exclusive and back (flock(2))";
    flock_close [FLOCK] "the last close releases the flock, that of a dup does not (flock(2))";
    flock_free_after_close [FLOCK] "as soon as close has returned the flock is free, 200 times (flock(2))";
    flock_dup_unlocks [FLOCK] "LOCK_UN by a dup releases the flock (flock(2))";
    flock_waits [FLOCK] "flock waits until another thread unlocks (flock(2))";
    flock_read_only [FLOCK] "flock needs no write access (flock(2))";
    flock_directory [FLOCK] "a directory can be flocked (flock(2))";
    flock_and_records [FLOCK LOCKS] "flock and record locks do not see each other (flock(2))";
}

/// A file with two descriptions of it.
fn pair(d: &Path) -> Result<(File, File), Failure> {
    let a = file(d.join("f"), "0123456789")?;
    let b = open(d.join("f"), RDWR)?;
    set_lock(&a, Description, Exclusive, 0, 0).or_skip("record locks")?;
    set_lock(&a, Description, Unlock, 0, 0)?;
    Ok((a, b))
}

/// Whether the description could lock the range exclusively.
fn free(f: &File, start: i64, len: i64) -> Result<bool, Errno> {
    get_lock(f, Description, Exclusive, start, len).map(|found| found.is_none())
}

/// Whether `waiter` is at it until `release` is called, and then done.
fn waits_for(waiter: impl FnOnce() -> Outcome + Send, release: impl FnOnce() -> Outcome) -> Outcome {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let outcome = waiter();
            done.store(true, Ordering::SeqCst);
            outcome
        });
        thread::sleep(Duration::from_millis(30));
        let early = done.load(Ordering::SeqCst);
        release()?;
        join(waiting)?;
        ensure!(!early, "the lock was granted, or failed, while it was in conflict");
        Ok(())
    })
}

fn ofd_conflict(d: &Path) -> Outcome {
    let (a, b) = pair(d)?;
    set_lock(&a, Description, Exclusive, 0, 0)?;
    expect_errno!(set_lock(&b, Description, Exclusive, 0, 0), AGAIN | ACCESS);
    expect_errno!(set_lock(&b, Description, Shared, 3, 1), AGAIN | ACCESS);
    set_lock(&a, Description, Unlock, 0, 0)?;
    set_lock(&b, Description, Exclusive, 0, 0)?;
    Ok(())
}

fn ofd_shared(d: &Path) -> Outcome {
    let (a, b) = pair(d)?;
    set_lock(&a, Description, Shared, 0, 10)?;
    set_lock(&b, Description, Shared, 0, 10)?;
    let c = open(d.join("f"), RDWR)?;
    expect_errno!(set_lock(&c, Description, Exclusive, 9, 1), AGAIN | ACCESS);
    set_lock(&a, Description, Unlock, 0, 10)?;
    expect_errno!(set_lock(&c, Description, Exclusive, 9, 1), AGAIN | ACCESS);
    set_lock(&b, Description, Unlock, 0, 10)?;
    set_lock(&c, Description, Exclusive, 9, 1)?;
    Ok(())
}

fn ofd_ranges(d: &Path) -> Outcome {
    let (a, b) = pair(d)?;
    set_lock(&a, Description, Exclusive, 0, 5)?;
    set_lock(&b, Description, Exclusive, 5, 5)?;
    expect_errno!(set_lock(&b, Description, Exclusive, 4, 1), AGAIN | ACCESS);
    expect_errno!(set_lock(&a, Description, Shared, 5, 1), AGAIN | ACCESS);
    Ok(())
}

fn ofd_to_end(d: &Path) -> Outcome {
    let (a, b) = pair(d)?;
    set_lock(&a, Description, Exclusive, 100, 0)?;
    ensure!(free(&b, 0, 100)?, "the bytes before the lock are locked");
    ensure!(!free(&b, 1 << 40, 1)?, "the lock does not reach far");
    a.set_len(1000)?;
    ensure!(!free(&b, 999, 1)?, "the lock does not cover what was added");
    Ok(())
}

fn ofd_split(d: &Path) -> Outcome {
    let (a, b) = pair(d)?;
    set_lock(&a, Description, Exclusive, 0, 100)?;
    set_lock(&a, Description, Unlock, 40, 20)?;
    ensure!(free(&b, 40, 20)?, "the middle is locked");
    ensure!(!free(&b, 39, 1)? && !free(&b, 60, 1)?, "an end is not locked");
    let first = get_lock(&b, Description, Exclusive, 0, 0)?.map(|lock| (lock.start, lock.len));
    ensure_eq!(first, Some((0, 40)));
    let second = get_lock(&b, Description, Exclusive, 50, 0)?.map(|lock| (lock.start, lock.len));
    ensure_eq!(second, Some((60, 40)));
    set_lock(&b, Description, Exclusive, 45, 10)?;
    expect_errno!(set_lock(&a, Description, Exclusive, 0, 100), AGAIN | ACCESS);
    Ok(())
}

fn ofd_merge(d: &Path) -> Outcome {
    let (a, b) = pair(d)?;
    set_lock(&a, Description, Exclusive, 0, 10)?;
    set_lock(&a, Description, Exclusive, 20, 10)?;
    set_lock(&a, Description, Exclusive, 10, 10)?;
    let found = get_lock(&b, Description, Exclusive, 0, 0)?.map(|lock| (lock.start, lock.len));
    ensure_eq!(found, Some((0, 30)));
    set_lock(&a, Description, Unlock, 0, 30)?;
    ensure!(free(&b, 0, 0)?, "something is still locked");
    Ok(())
}

fn ofd_convert(d: &Path) -> Outcome {
    let (a, b) = pair(d)?;
    set_lock(&a, Description, Shared, 0, 10)?;
    set_lock(&a, Description, Exclusive, 0, 10)?;
    expect_errno!(set_lock(&b, Description, Shared, 0, 10), AGAIN | ACCESS);
    set_lock(&a, Description, Shared, 0, 5)?;
    set_lock(&b, Description, Shared, 0, 5)?;
    expect_errno!(set_lock(&b, Description, Shared, 5, 1), AGAIN | ACCESS);
    Ok(())
}

fn ofd_convert_refused(d: &Path) -> Outcome {
    let (a, b) = pair(d)?;
    set_lock(&a, Description, Shared, 0, 10)?;
    set_lock(&b, Description, Shared, 0, 10)?;
    expect_errno!(set_lock(&a, Description, Exclusive, 0, 10), AGAIN | ACCESS);
    // The shared lock was kept.
    set_lock(&b, Description, Unlock, 0, 10)?;
    expect_errno!(set_lock(&b, Description, Exclusive, 0, 10), AGAIN | ACCESS);
    set_lock(&a, Description, Exclusive, 0, 10)?;
    Ok(())
}

fn ofd_query(d: &Path) -> Outcome {
    let (a, b) = pair(d)?;
    ensure_eq!(get_lock(&b, Description, Exclusive, 0, 0)?, None);
    set_lock(&a, Description, Shared, 3, 4)?;
    ensure_eq!(get_lock(&b, Description, Shared, 0, 0)?, None);
    let found = get_lock(&b, Description, Exclusive, 0, 0)?;
    ensure_eq!(found, Some(Lock { kind: Shared, start: 3, len: 4, pid: -1 }));
    ensure_eq!(get_lock(&a, Description, Exclusive, 0, 0)?, None, "its own lock");
    Ok(())
}

fn ofd_released_by_close(d: &Path) -> Outcome {
    let (a, b) = pair(d)?;
    set_lock(&a, Description, Exclusive, 0, 0)?;
    // Closing another description of the file does nothing.
    drop(open(d.join("f"), RDWR)?);
    ensure!(!free(&b, 0, 0)?, "the close of another description released the lock");
    drop(a);
    ensure!(free(&b, 0, 0)?, "the close did not release the lock");
    Ok(())
}

fn ofd_free_after_close(d: &Path) -> Outcome {
    let path = d.join("f");
    let mut holder = touch(&path)?;
    set_lock(&holder, Description, Exclusive, 0, 0).or_skip("record locks")?;
    for round in 0..200 {
        let next = open(&path, RDWR)?;
        drop(holder);
        ensure!(free(&next, 0, 0)?, "F_OFD_GETLK tells of a lock in round {round}");
        set_lock(&next, Description, Exclusive, 0, 0)?;
        holder = next;
    }
    Ok(())
}

fn flock_free_after_close(d: &Path) -> Outcome {
    let path = d.join("f");
    let mut holder = touch(&path)?;
    flock(&holder, Op::NonBlockingLockExclusive).or_skip("flock")?;
    for _ in 0..200 {
        let next = open(&path, RDWR)?;
        drop(holder);
        flock(&next, Op::NonBlockingLockExclusive)?;
        holder = next;
    }
    Ok(())
}

fn ofd_dup_shares(d: &Path) -> Outcome {
    let (a, b) = pair(d)?;
    set_lock(&a, Description, Exclusive, 0, 10)?;
    let copy = a.try_clone()?;
    set_lock(&copy, Description, Exclusive, 0, 20)?;
    drop(a);
    ensure!(!free(&b, 0, 10)?, "the close of one of two descriptors released the lock");
    drop(copy);
    ensure!(free(&b, 0, 0)?, "the last close did not release the lock");
    Ok(())
}

fn ofd_waits(d: &Path) -> Outcome {
    let (a, b) = pair(d)?;
    set_lock(&a, Description, Exclusive, 0, 10)?;
    waits_for(
        || Ok(wait_lock(&b, Description, Exclusive, 5, 10)?),
        || Ok(set_lock(&a, Description, Unlock, 0, 10)?),
    )?;
    ensure!(!free(&a, 5, 10)?, "the lock was not taken");
    Ok(())
}

fn ofd_wait_released_by_close(d: &Path) -> Outcome {
    let (a, b) = pair(d)?;
    set_lock(&a, Description, Exclusive, 0, 0)?;
    waits_for(
        || Ok(wait_lock(&b, Description, Shared, 0, 0)?),
        || {
            drop(a);
            Ok(())
        },
    )
}

fn ofd_waits_range(d: &Path) -> Outcome {
    let (a, b) = pair(d)?;
    set_lock(&a, Description, Exclusive, 0, 100)?;
    waits_for(
        || Ok(wait_lock(&b, Description, Exclusive, 50, 10)?),
        || {
            set_lock(&a, Description, Unlock, 0, 50)?;
            thread::sleep(Duration::from_millis(5));
            Ok(set_lock(&a, Description, Unlock, 50, 10)?)
        },
    )?;
    ensure!(!free(&b, 60, 40)?, "the rest of the lock is gone");
    Ok(())
}

fn ofd_far_offsets(d: &Path) -> Outcome {
    let (a, b) = pair(d)?;
    set_lock(&a, Description, Exclusive, i64::MAX, 1)?;
    set_lock(&a, Description, Exclusive, 1 << 62, 5)?;
    expect_errno!(set_lock(&b, Description, Exclusive, (1 << 62) + 4, 1), AGAIN | ACCESS);
    expect_errno!(set_lock(&b, Description, Exclusive, 1 << 62, 0), AGAIN | ACCESS);
    set_lock(&b, Description, Exclusive, 0, 1 << 62)?;
    ensure!(!free(&b, i64::MAX, 1)?, "the last byte is not locked");
    Ok(())
}

fn ofd_many(d: &Path) -> Outcome {
    let (a, b) = pair(d)?;
    for i in 0..200 {
        set_lock(&a, Description, Exclusive, i * 2, 1)?;
    }
    for i in (0..200).step_by(2) {
        set_lock(&a, Description, Unlock, i * 2, 1)?;
    }
    for i in 0..200 {
        ensure_eq!(free(&b, i * 2, 1)?, i % 2 == 0, "lock {i}");
        ensure!(free(&b, i * 2 + 1, 1)?, "the gap after lock {i} is locked");
    }
    Ok(())
}

fn access_mode(d: &Path) -> Outcome {
    pair(d)?;
    let (reader, writer) = (open(d.join("f"), RD)?, open(d.join("f"), WR)?);
    for owner in [Description, Process] {
        expect_errno!(set_lock(&reader, owner, Exclusive, 0, 1), BADF);
        expect_errno!(set_lock(&writer, owner, Shared, 0, 1), BADF);
        set_lock(&reader, owner, Shared, 0, 1)?;
        set_lock(&reader, owner, Unlock, 0, 1)?;
        set_lock(&writer, owner, Exclusive, 0, 1)?;
        set_lock(&writer, owner, Unlock, 0, 1)?;
    }
    Ok(())
}

fn bad_range(d: &Path) -> Outcome {
    let (a, _) = pair(d)?;
    expect_errno!(set_lock(&a, Description, Exclusive, -1, 1), INVAL);
    expect_errno!(set_lock(&a, Description, Exclusive, 5, -6), INVAL);
    expect_errno!(set_lock(&a, Description, Exclusive, i64::MAX, 2), OVERFLOW | INVAL);
    // A negative length is the range before the start.
    set_lock(&a, Description, Exclusive, 10, -5)?;
    let b = open(d.join("f"), RDWR)?;
    ensure!(free(&b, 0, 5)? && free(&b, 10, 0)? && !free(&b, 5, 5)?, "not the bytes 5 to 9 are locked");
    Ok(())
}

fn try_lock(path: &Path, owner: Owner, kind: Kind) -> Result<(), Errno> {
    set_lock(&open(path, RDWR)?, owner, kind, 0, 10)
}

fn process_conflict(d: &Path) -> Outcome {
    let (a, _) = pair(d)?;
    let path = d.join("f");
    set_lock(&a, Process, Exclusive, 0, 10)?;
    as_process(|| {
        expect_errno!(try_lock(&path, Process, Exclusive), AGAIN | ACCESS);
        expect_errno!(try_lock(&path, Process, Shared), AGAIN | ACCESS);
        Ok(())
    })?;
    set_lock(&a, Process, Shared, 0, 10)?;
    as_process(|| {
        try_lock(&path, Process, Shared)?;
        expect_errno!(try_lock(&path, Process, Exclusive), AGAIN | ACCESS);
        Ok(())
    })
}

fn process_own(d: &Path) -> Outcome {
    let (a, b) = pair(d)?;
    set_lock(&a, Process, Exclusive, 0, 10)?;
    set_lock(&b, Process, Exclusive, 5, 10)?;
    set_lock(&b, Process, Shared, 0, 3)?;
    ensure_eq!(get_lock(&b, Process, Exclusive, 0, 0)?, None);
    Ok(())
}

fn process_close_any(d: &Path) -> Outcome {
    let (a, b) = pair(d)?;
    let path = d.join("f");
    set_lock(&a, Process, Exclusive, 0, 10)?;
    as_process(|| {
        expect_errno!(try_lock(&path, Process, Exclusive), AGAIN | ACCESS);
        Ok(())
    })?;
    drop(b);
    as_process(|| Ok(try_lock(&path, Process, Exclusive)?))?;
    drop(a);
    Ok(())
}

fn process_query(d: &Path) -> Outcome {
    let (a, _) = pair(d)?;
    let path = d.join("f");
    set_lock(&a, Process, Exclusive, 7, 3)?;
    as_process(|| {
        let found = get_lock(&open(&path, RDWR)?, Process, Shared, 0, 0)?;
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        ensure_eq!(found, Some(Lock { kind: Exclusive, start: 7, len: 3, pid }));
        Ok(())
    })
}

fn process_waits(d: &Path) -> Outcome {
    let (a, _) = pair(d)?;
    let path = d.join("f");
    set_lock(&a, Process, Exclusive, 0, 10)?;
    waits_for(
        || as_process(|| Ok(wait_lock(&open(&path, RDWR)?, Process, Exclusive, 0, 0)?)),
        || Ok(set_lock(&a, Process, Unlock, 0, 10)?),
    )
}

fn process_ends(d: &Path) -> Outcome {
    let (a, _) = pair(d)?;
    let path = d.join("f");
    let (locked, is_locked) = mpsc::channel();
    let (end, may_end) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let other = scope.spawn(move || {
            as_process(move || {
                let f = open(&path, RDWR)?;
                set_lock(&f, Process, Exclusive, 0, 0)?;
                let _ = locked.send(());
                let _ = may_end.recv();
                // The end of the process is what closes the file.
                std::mem::forget(f);
                Ok(())
            })
        });
        let _ = is_locked.recv();
        let during = set_lock(&a, Process, Exclusive, 0, 0);
        drop(end);
        join(other)?;
        expect_errno!(during, AGAIN | ACCESS);
        wait_lock(&a, Process, Exclusive, 0, 0)?;
        Ok(())
    })
}

fn process_and_ofd(d: &Path) -> Outcome {
    let (a, b) = pair(d)?;
    set_lock(&a, Process, Exclusive, 0, 10)?;
    expect_errno!(set_lock(&b, Description, Exclusive, 0, 10), AGAIN | ACCESS);
    set_lock(&a, Process, Unlock, 0, 10)?;
    set_lock(&b, Description, Exclusive, 0, 10)?;
    expect_errno!(set_lock(&a, Process, Shared, 5, 1), AGAIN | ACCESS);
    Ok(())
}

fn flock(f: &File, op: Op) -> Result<(), Errno> {
    rfs::flock(f, op)
}

fn flock_pair(d: &Path) -> Result<(File, File), Failure> {
    let a = file(d.join("f"), "x")?;
    flock(&a, Op::NonBlockingLockShared).or_skip("flock")?;
    flock(&a, Op::Unlock)?;
    Ok((a, open(d.join("f"), RDWR)?))
}

fn flock_exclusive(d: &Path) -> Outcome {
    let (a, b) = flock_pair(d)?;
    flock(&a, Op::LockExclusive)?;
    expect_errno!(flock(&b, Op::NonBlockingLockExclusive), WOULDBLOCK);
    expect_errno!(flock(&b, Op::NonBlockingLockShared), WOULDBLOCK);
    flock(&a, Op::Unlock)?;
    flock(&b, Op::NonBlockingLockExclusive)?;
    Ok(())
}

fn flock_shared(d: &Path) -> Outcome {
    let (a, b) = flock_pair(d)?;
    flock(&a, Op::LockShared)?;
    flock(&b, Op::NonBlockingLockShared)?;
    let c = open(d.join("f"), RD)?;
    expect_errno!(flock(&c, Op::NonBlockingLockExclusive), WOULDBLOCK);
    flock(&c, Op::NonBlockingLockShared)?;
    Ok(())
}

fn flock_convert(d: &Path) -> Outcome {
    let (a, b) = flock_pair(d)?;
    flock(&a, Op::LockShared)?;
    flock(&a, Op::NonBlockingLockExclusive)?;
    expect_errno!(flock(&b, Op::NonBlockingLockShared), WOULDBLOCK);
    flock(&a, Op::NonBlockingLockShared)?;
    flock(&b, Op::NonBlockingLockShared)?;
    expect_errno!(flock(&a, Op::NonBlockingLockExclusive), WOULDBLOCK);
    Ok(())
}

fn flock_close(d: &Path) -> Outcome {
    let (a, b) = flock_pair(d)?;
    flock(&a, Op::LockExclusive)?;
    let copy = a.try_clone()?;
    drop(a);
    expect_errno!(flock(&b, Op::NonBlockingLockExclusive), WOULDBLOCK);
    drop(copy);
    flock(&b, Op::NonBlockingLockExclusive)?;
    Ok(())
}

fn flock_dup_unlocks(d: &Path) -> Outcome {
    let (a, b) = flock_pair(d)?;
    flock(&a, Op::LockExclusive)?;
    flock(&a.try_clone()?, Op::Unlock)?;
    flock(&b, Op::NonBlockingLockExclusive)?;
    Ok(())
}

fn flock_waits(d: &Path) -> Outcome {
    let (a, b) = flock_pair(d)?;
    flock(&a, Op::LockExclusive)?;
    waits_for(|| Ok(flock(&b, Op::LockExclusive)?), || Ok(flock(&a, Op::Unlock)?))?;
    expect_errno!(flock(&a, Op::NonBlockingLockShared), WOULDBLOCK);
    Ok(())
}

fn flock_read_only(d: &Path) -> Outcome {
    flock_pair(d)?;
    let (a, b) = (open(d.join("f"), RD)?, open(d.join("f"), RD)?);
    flock(&a, Op::NonBlockingLockExclusive)?;
    expect_errno!(flock(&b, Op::NonBlockingLockShared), WOULDBLOCK);
    Ok(())
}

fn flock_directory(d: &Path) -> Outcome {
    flock_pair(d)?;
    let (a, b) = (open(d, RD | DIRECTORY)?, open(d, RD | DIRECTORY)?);
    flock(&a, Op::NonBlockingLockExclusive)?;
    expect_errno!(flock(&b, Op::NonBlockingLockExclusive), WOULDBLOCK);
    Ok(())
}

fn flock_and_records(d: &Path) -> Outcome {
    let (a, b) = flock_pair(d)?;
    flock(&a, Op::LockExclusive)?;
    set_lock(&b, Description, Exclusive, 0, 0).or_skip("record locks")?;
    set_lock(&b, Description, Unlock, 0, 0)?;
    set_lock(&b, Process, Exclusive, 0, 0)?;
    expect_errno!(flock(&b, Op::NonBlockingLockShared), WOULDBLOCK);
    Ok(())
}
