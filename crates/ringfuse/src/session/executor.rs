//! One thread's compio runtime, driven from outside: the worker waits on its own transport, and runs compio's tasks and
//! operations beside it.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::pin::pin;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use compio_driver::ProactorBuilder;
use compio_runtime::{JoinHandle, Runtime, RuntimeBuilder};

/// Submissions and completions of compio's own ring. A worker's handlers rarely have more operations staged at once; if
/// they do, compio hands them over early.
const DRIVER_ENTRIES: u32 = 64;

/// The runtime, and what its driver has to be told.
pub(crate) struct Executor {
    runtime: Runtime,
    /// Operations may be staged in the driver, or its waker may be asleep: flush before waiting.
    staged: Cell<bool>,
    /// A handler ran since the last flush. It may have started a task that staged an operation, unseen.
    unseen: Cell<bool>,
    /// For how long that may be left so.
    patience: Cell<Duration>,
}

/// How long an operation may lie staged that nobody saw being staged: by a task that a handler started on its way,
/// without waiting for anything itself. To look each time would cost a system call a request; and to look once in a
/// millisecond, a request in a hundred that takes twice as long. So it is the first as long as compio has something to do,
/// and twice as long after each look that nothing came of, up to the second.
const UNSEEN: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_millis(32);

/// Whether an entry is serving a request. A handler that was suspended may have staged operations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Activity(Rc<Cell<bool>>);

impl Activity {
    pub(crate) fn set(&self, serving: bool) {
        self.0.set(serving);
    }
}

impl AsFd for Executor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the driver is owned by the runtime, which lives as long as `self`.
        unsafe { BorrowedFd::borrow_raw(self.runtime.as_raw_fd()) }
    }
}

impl Executor {
    /// A runtime for this thread. `pool` sets up the threads for blocking work.
    pub(crate) fn new(pool: &ProactorBuilder) -> io::Result<Self> {
        let mut driver = pool.clone();
        // Deferred work would never wake whoever polls the driver's descriptor; cooperative work does, and costs no
        // interrupt.
        driver.capacity(DRIVER_ENTRIES).coop_taskrun(true).taskrun_flag(true);
        let mut builder = RuntimeBuilder::new();
        builder.with_proactor(driver);
        let executor = Self {
            runtime: builder.build()?,
            staged: Cell::new(true),
            unseen: Cell::new(false),
            patience: Cell::new(*UNSEEN.start()),
        };
        // Arms the driver's own wake-up, which it does only when it is polled.
        executor.poll();
        Ok(executor)
    }

    /// Runs `f` with the runtime as the current one, for all that spawns or does I/O.
    pub(crate) fn enter<T>(&self, f: impl FnOnce() -> T) -> T {
        self.runtime.enter(f)
    }

    /// Runs a future to its end, before or after the worker's own loop.
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.staged.set(true);
        self.runtime.block_on(future)
    }

    /// Starts a task. It ends when the handle is dropped, unless that was detached.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) -> JoinHandle<()> {
        self.runtime.spawn(task)
    }

    /// Wakes the driver: a wait on its descriptor ends.
    pub(crate) fn waker(&self) -> Waker {
        self.runtime.waker()
    }

    /// An entry's task, watched for whether it may have staged operations.
    pub(crate) async fn watch(&self, activity: Activity, task: impl Future<Output = ()>) {
        let mut task = pin!(task);
        std::future::poll_fn(|cx| {
            let before = activity.0.get();
            let polled = task.as_mut().poll(cx);
            self.unseen.set(true);
            // A handler that started and ended within this poll waited for nothing.
            if before || activity.0.get() {
                self.staged.set(true);
            }
            polled
        })
        .await;
    }

    /// Runs compio's tasks that are ready, a number of them, and returns whether more are.
    pub(crate) fn run(&self) -> bool {
        self.runtime.run()
    }

    /// Hands staged operations to the kernel and readies the driver for a wait elsewhere. Returns whether there is
    /// something to run already.
    pub(crate) fn prepare_wait(&self) -> bool {
        if !self.staged.replace(false) {
            return false;
        }
        self.flush()
    }

    /// When to [`look`](Executor::look) whether operations were staged unseen; `None` if there is no need.
    pub(crate) fn unseen(&self) -> Option<Duration> {
        self.unseen.get().then(|| self.patience.get())
    }

    /// Hands over what may have been staged unseen.
    pub(crate) fn look(&self) {
        self.patience.set((self.patience.get() * 2).min(*UNSEEN.end()));
        self.flush();
    }

    fn flush(&self) -> bool {
        self.unseen.set(false);
        if self.runtime.flush() {
            self.poll();
            return true;
        }
        false
    }

    /// How long a wait may last before a timer is due.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.runtime.current_timeout()
    }

    /// Takes the driver's completions, and fires timers.
    pub(crate) fn poll(&self) {
        self.runtime.poll_with(Some(Duration::ZERO));
        self.staged.set(true);
        self.patience.set(*UNSEEN.start());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_that_nothing_comes_of_grow_rare() {
        let executor = Executor::new(&ProactorBuilder::new()).unwrap();
        assert_eq!(executor.unseen(), None);
        let handler = || executor.block_on(executor.watch(Activity::default(), async {}));
        let mut waits = Vec::new();
        for _ in 0..8 {
            handler();
            waits.push(executor.unseen().unwrap().as_millis());
            executor.look();
            assert_eq!(executor.unseen(), None);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 32, 32]);
        // Something of compio's was ready: more may come.
        executor.poll();
        handler();
        assert_eq!(executor.unseen(), Some(*UNSEEN.start()));
    }
}
