//! Keeps an entry for each queue whose worker has not been started, so that the kernel finds the ring complete; and has the
//! worker started when the first request for it comes.

use std::io;
use std::os::fd::BorrowedFd;
use std::thread;
use std::time::{Duration, Instant};

use crate::mem::{Room, Slot};
use crate::session::crew::HandOver;
use crate::session::entries::{FIRST_ENTRIES, REGISTER_PAUSE, REGISTER_TRIES};
use crate::session::entry::framing;
use crate::session::plan::Plan;
use crate::transport::ring::{Completion, Drained, Ring};

/// How long the kernel may take to give entries back.
const PATIENCE: Duration = Duration::from_secs(2);

/// The control thread's ring.
pub(crate) struct Concierge {
    ring: Ring,
    /// By number, each until it is handed over or the mount has gone.
    entries: Vec<Option<Place>>,
    completed: Vec<usize>,
}

/// The one entry of a queue, and room for those that it gets with its worker.
struct Place {
    queue: u16,
    slot: Slot,
    room: Room,
}

impl Concierge {
    /// Makes a ring on this thread, and prepares an entry for each of the queues. `watched` end its waits.
    pub(crate) fn new(
        device: BorrowedFd<'_>,
        watched: &[BorrowedFd<'_>],
        plan: &Plan,
        queues: &[u16],
    ) -> io::Result<Self> {
        let ring = Ring::new(device, watched)?;
        let place = |&queue: &u16| {
            let mut room = Room::new(plan.layout, FIRST_ENTRIES.min(plan.depth))?;
            let slot = room.next().ok_or(io::ErrorKind::OutOfMemory)?;
            Ok(Some(Place { queue, slot, room }))
        };
        let entries = queues.iter().map(place).collect::<io::Result<_>>()?;
        (0..queues.len()).for_each(|number| ring.expect(number));
        Ok(Self { ring, entries, completed: Vec::new() })
    }

    /// The slots, for the registry of interrupts.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.entries.iter().flatten().map(|place| &place.slot)
    }

    /// Registers the entries.
    pub(crate) fn register(&mut self) -> io::Result<()> {
        for (number, Place { queue, slot, .. }) in present(&mut self.entries) {
            self.ring.register(number, *queue, slot)?;
        }
        for _ in 0..REGISTER_TRIES {
            self.ring.submit()?;
            self.ring.drain(&mut self.completed)?;
            if self.completed.is_empty() {
                break;
            }
            for number in self.completed.drain(..) {
                let Some(Place { queue, slot, .. }) = &mut self.entries[number] else { continue };
                match self.ring.completed(number, slot) {
                    Some(Completion::Again) => self.ring.register(number, *queue, slot)?,
                    Some(Completion::Refused(error)) => return Err(io::Error::from_raw_os_error(-error)),
                    // No request is among them: those come within waits only, and none is made here.
                    _ => {}
                }
            }
            thread::sleep(REGISTER_PAUSE);
        }
        Ok(())
    }

    /// Lets requests that wait for the ring go to the device, as the ring will not be had.
    pub(crate) fn give_up(self) {
        if let Err(error) = self.ring.lift_gate() {
            tracing::warn!(%error, "cannot tell the kernel that the ring will not be used");
        }
    }

    /// Waits for a request, or for what is watched.
    pub(crate) fn wait(&mut self, mut each: impl FnMut(HandOver)) -> io::Result<Drained> {
        self.ring.wait(None)?;
        let drained = self.ring.drain(&mut self.completed)?;
        for number in self.completed.drain(..) {
            let Some(Place { queue, mut slot, room }) = self.entries[number].take() else { continue };
            if self.ring.completed(number, &mut slot) != Some(Completion::Request) {
                continue;
            }
            let framing = framing(&slot);
            each(HandOver { queue, slot, framing, room: Some(room) });
        }
        Ok(drained)
    }

    /// The mount is gone: waits until the kernel has given all entries back, or their memory would have to be leaked.
    pub(crate) fn close(mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.entries.iter().any(Option::is_some) && Instant::now() < deadline {
            if self
                .ring
                .wait(Some(REGISTER_PAUSE))
                .and_then(|()| self.ring.drain(&mut self.completed))
                .is_err()
            {
                return;
            }
            for number in self.completed.drain(..) {
                if let Some(mut place) = self.entries[number].take() {
                    self.ring.completed(number, &mut place.slot);
                }
            }
        }
    }
}

fn present(entries: &mut [Option<Place>]) -> impl Iterator<Item = (usize, &mut Place)> {
    entries.iter_mut().enumerate().filter_map(|(number, entry)| Some((number, entry.as_mut()?)))
}
