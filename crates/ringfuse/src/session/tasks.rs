//! The tasks of a worker's entries: polled by the worker itself, straight from a completion.
//!
//! They are not tasks of compio's executor, since that tells its driver of each wake-up, with a system call while the
//! driver is not being waited on. What they await may be anything of compio's.

use std::cell::RefCell;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};
use std::thread::{self, ThreadId};

type Entry = Pin<Box<dyn Future<Output = ()>>>;

/// The tasks, by number.
pub(crate) struct Tasks {
    tasks: RefCell<Vec<Task>>,
    /// Numbers of tasks that have ended, to be used again.
    ended: RefCell<Vec<usize>>,
    ready: Arc<Ready>,
    /// Numbers of woken tasks while they are being polled; kept for its memory.
    batch: RefCell<Vec<usize>>,
}

struct Task {
    /// `None` once it has ended, and while it is polled.
    future: Option<Entry>,
    waker: Waker,
    wake: Arc<TaskWake>,
}

/// The tasks that were woken.
struct Ready {
    owner: ThreadId,
    woken: Mutex<Vec<usize>>,
    any: AtomicBool,
    /// Ends the worker's wait.
    driver: Waker,
}

struct TaskWake {
    number: usize,
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Wake for TaskWake {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        self.ready.woken.lock().unwrap_or_else(PoisonError::into_inner).push(self.number);
        self.ready.any.store(true, Ordering::Release);
        if thread::current().id() != self.ready.owner {
            self.ready.driver.wake_by_ref();
        }
    }
}

impl Tasks {
    /// Tasks of the current thread. `driver` is woken when another thread wakes one of them.
    pub(crate) fn new(driver: Waker) -> Self {
        let ready = Ready {
            owner: thread::current().id(),
            woken: Mutex::default(),
            any: AtomicBool::new(false),
            driver,
        };
        Self {
            tasks: RefCell::default(),
            ended: RefCell::default(),
            ready: Arc::new(ready),
            batch: RefCell::default(),
        }
    }

    /// Adds a task, which is polled with the woken ones for a first time. `make` is told its number: that of a task which has
    /// ended, or the next.
    pub(crate) fn add<T: Future<Output = ()> + 'static>(&self, make: impl FnOnce(usize) -> T) {
        let number = self.ended.borrow_mut().pop().unwrap_or_else(|| self.tasks.borrow().len());
        let future: Option<Entry> = Some(Box::pin(make(number)));
        let mut tasks = self.tasks.borrow_mut();
        if let Some(task) = tasks.get_mut(number) {
            task.future = future;
        } else {
            let wake = TaskWake { number, queued: AtomicBool::new(false), ready: self.ready.clone() };
            let wake = Arc::new(wake);
            tasks.push(Task { future, waker: Waker::from(wake.clone()), wake });
        }
        tasks[number].waker.wake_by_ref();
    }

    /// Whether a task was woken and not polled since.
    pub(crate) fn any_woken(&self) -> bool {
        self.ready.any.load(Ordering::Acquire)
    }

    /// Polls the tasks that were woken so far.
    pub(crate) fn poll_woken(&self) {
        if !self.any_woken() {
            return;
        }
        self.ready.any.store(false, Ordering::Release);
        let mut batch = self.batch.take();
        mem::swap(&mut *self.ready.woken.lock().unwrap_or_else(PoisonError::into_inner), &mut batch);
        for number in batch.drain(..) {
            self.poll(number);
        }
        self.batch.replace(batch);
    }

    /// Polls a task, because what it waits for has come.
    pub(crate) fn poll(&self, number: usize) {
        // The future is taken out, so that it may add tasks.
        let Some((mut future, waker)) = self.tasks.borrow_mut().get_mut(number).and_then(|task| {
            task.wake.queued.store(false, Ordering::Release);
            Some((task.future.take()?, task.waker.clone()))
        }) else {
            return;
        };
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            self.tasks.borrow_mut()[number].future = Some(future);
        } else {
            self.ended.borrow_mut().push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::rc::Rc;
    use std::task::Poll;

    use super::*;

    type Place = Rc<RefCell<Option<Waker>>>;

    /// A task that counts its polls and never ends; its waker is left in the returned place.
    fn counting(tasks: &Tasks) -> (Rc<Cell<u32>>, Place) {
        let (polls, waker) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(None)));
        let (count, place) = (polls.clone(), waker.clone());
        tasks.add(|_| {
            poll_fn(move |cx| {
                count.set(count.get() + 1);
                place.replace(Some(cx.waker().clone()));
                Poll::Pending
            })
        });
        (polls, waker)
    }

    #[test]
    fn a_task_is_polled_once_however_often_it_was_woken() {
        let tasks = Tasks::new(Waker::noop().clone());
        let (polls, waker) = counting(&tasks);
        tasks.poll_woken();
        assert_eq!(polls.get(), 1);
        for _ in 0..3 {
            waker.borrow().as_ref().unwrap().wake_by_ref();
        }
        tasks.poll_woken();
        tasks.poll_woken();
        assert_eq!(polls.get(), 2);
    }

    #[test]
    fn another_threads_wake_reaches_the_driver() {
        struct Flag(AtomicBool);
        impl Wake for Flag {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::Release);
            }
        }
        let flag = Arc::new(Flag(AtomicBool::new(false)));
        let tasks = Tasks::new(Waker::from(flag.clone()));
        let (polls, waker) = counting(&tasks);
        tasks.poll_woken();
        assert!(!flag.0.load(Ordering::Acquire), "its own thread needs no telling");
        let waker = waker.borrow().clone().unwrap();
        thread::spawn(move || waker.wake()).join().unwrap();
        assert!(flag.0.load(Ordering::Acquire));
        tasks.poll_woken();
        assert_eq!(polls.get(), 2);
    }

    #[test]
    fn a_task_that_ended_gives_its_number_to_the_next() {
        let tasks = Rc::new(Tasks::new(Waker::noop().clone()));
        let inner = tasks.clone();
        tasks.add(|number| async move {
            assert_eq!(number, 0);
            counting(&inner);
        });
        tasks.poll_woken();
        tasks.poll(0);
        tasks.poll_woken();
        assert_eq!(tasks.tasks.borrow().len(), 2);
        tasks.add(|number| async move { assert_eq!(number, 0) });
        tasks.poll_woken();
        assert_eq!(tasks.ended.borrow().as_slice(), [0]);
    }
}
