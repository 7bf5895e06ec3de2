//! A mount being served: from the kernel's first message to its last.

mod attempts;
mod concierge;
mod control;
mod crew;
mod device_worker;
mod ending;
mod entries;
mod entry;
#[allow(unsafe_code)]
mod executor;
mod follower;
mod handshake;
mod home;
mod interrupt;
mod launch;
mod pages;
#[allow(unsafe_code)]
mod placement;
mod plan;
mod readers;
mod ring_worker;
mod shared;
mod stats;
mod tasks;
mod worker;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

pub(crate) use launch::{Config, Launch};
pub(crate) use plan::Wanted;
use shared::Shared;
pub use stats::Stats;

use crate::error::Error;
use crate::mount::{Mounted, Unmount};
use crate::notify::Notifier;
use crate::types::SessionInfo;

/// How long a dropped session is waited for: once after the mount was asked to go, once after it was forced to.
const DROP_PATIENCE: Duration = Duration::from_secs(3);

/// A filesystem that is mounted and being served, by threads in the background.
///
/// Dropping it unmounts, lazily if the mount is in use, and waits a bounded time for the threads to end.
pub struct Session {
    info: SessionInfo,
    shared: Arc<Shared>,
    notifier: Notifier,
    unmounter: Unmounter,
    finished: flume::Receiver<Result<(), Error>>,
    /// How the session ended, once that has been received.
    outcome: OnceLock<Result<(), Error>>,
    control: Option<JoinHandle<()>>,
}

/// Unmounts a session from anywhere. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Unmounter(Arc<Mounted>);

impl Unmounter {
    /// Unmounts, and leaves it to [`Session::join`] to wait until all is over. Blocks while dirty pages are written
    /// back, so call it from a thread that serves no requests. No error if somebody has unmounted it already.
    ///
    /// # Errors
    ///
    /// [`Error::is_busy`] where the mount is in use, with [`Unmount::Normal`]; others as the error says.
    pub fn unmount(&self, how: Unmount) -> Result<(), Error> {
        self.0.unmount(how)
    }

    /// Aborts the connection: all that wait for an answer get an error, and so does all that comes after. The mount
    /// stays, dead, until it is unmounted. Returns whether it could be done: it needs fusectl, mounted on
    /// `/sys/fs/fuse/connections`.
    ///
    /// # Errors
    ///
    /// Where the connection's file cannot be written: it belongs to the user who mounted.
    pub fn abort(&self) -> Result<bool, Error> {
        self.0.abort()
    }
}

impl Session {
    /// What it runs on, and why.
    pub fn info(&self) -> &SessionInfo {
        &self.info
    }

    /// A handle to tell the kernel what changed.
    pub fn notifier(&self) -> Notifier {
        self.notifier.clone()
    }

    /// A handle to unmount it with, from a signal handler's thread for instance.
    pub fn unmounter(&self) -> Unmounter {
        self.unmounter.clone()
    }

    /// What it has done so far.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Unmounts; see [`Unmounter::unmount`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn unmount(&self, how: Unmount) -> Result<(), Error> {
        self.unmounter.unmount(how)
    }

    /// Waits until the mount is gone, by whomever, and all requests have been answered. Returns what was done.
    ///
    /// # Errors
    ///
    /// If the session ended for another reason than an unmount or an abort.
    pub fn join(mut self) -> Result<Stats, Error> {
        let outcome = self.outcome.take().unwrap_or_else(|| self.finished.recv().unwrap_or(Ok(())));
        if let Some(control) = self.control.take() {
            let _ = control.join();
        }
        outcome.map(|()| self.shared.stats())
    }

    /// Waits like [`Session::join`], but no longer than that; returns whether it is over. How it ended is for `join` to tell.
    pub fn wait(&self, timeout: Duration) -> bool {
        if self.outcome.get().is_some() {
            return true;
        }
        match self.finished.recv_timeout(timeout) {
            Ok(outcome) => {
                let _ = self.outcome.set(outcome);
                true
            }
            // Another thread may have received it just now, or the control thread is gone.
            Err(flume::RecvTimeoutError::Timeout) => self.outcome.get().is_some(),
            Err(flume::RecvTimeoutError::Disconnected) => true,
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("info", &self.info).finish_non_exhaustive()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.control.is_none() || self.wait(Duration::ZERO) {
            return;
        }
        if let Err(error) = self.unmount(Unmount::Normal) {
            tracing::warn!("{error}; unmounting it lazily");
            if let Err(error) = self.unmount(Unmount::Lazy) {
                tracing::error!("{error}");
            }
        }
        if self.wait(DROP_PATIENCE) {
            return;
        }
        // Programs hold it still. The session goes all the same, as its owner wants.
        let aborted = self.unmounter.abort().unwrap_or(false);
        if !(aborted && self.wait(DROP_PATIENCE)) {
            tracing::error!("the mount is in use: its threads go on serving it until it is not");
        }
    }
}
