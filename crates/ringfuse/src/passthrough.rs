//! Files whose data the kernel moves itself.

use std::fmt;
use std::os::fd::AsFd;
use std::sync::{Arc, Weak};

use crate::transport::device::Device;
use crate::types::{BackingId, Errno, Opened, Result};

/// A file that the kernel may read and write in place of the filesystem: a backing file, registered with the mount
/// (`FUSE_DEV_IOC_BACKING_OPEN`).
///
/// Made by [`Notifier::open_backing`](crate::Notifier::open_backing), and handed to the kernel with
/// [`Opened::passthrough`](crate::Opened::passthrough). All opens of one node must name the same backing, so keep it with the
/// node for as long as the node is open. The session has a clone of it until the file is released; when the last clone is
/// dropped the registration ends.
#[derive(Clone)]
pub struct Backing(Arc<Registration>);

struct Registration {
    id: BackingId,
    device: Weak<Device>,
}

impl Backing {
    /// Registers an open file.
    ///
    /// # Errors
    ///
    /// Those of the kernel, see [`Notifier::open_backing`](crate::Notifier::open_backing).
    pub(crate) fn open(device: &Arc<Device>, file: impl AsFd) -> Result<Self> {
        let id = device.open_backing(file.as_fd()).map_err(Errno::from)?;
        Ok(Self(Arc::new(Registration { id, device: Arc::downgrade(device) })))
    }

    /// The number that the kernel knows it by.
    pub fn id(&self) -> BackingId {
        self.0.id
    }
}

impl Opened {
    /// `FOPEN_PASSTHROUGH`: reads, writes and `mmap` of the open file go to the backing file, with the rights of the process
    /// that registered it, and reach the filesystem no more. All else still does, attributes in particular: report the
    /// backing file's size.
    ///
    /// With it go [`direct_io`](Opened::direct_io), [`parallel_direct_writes`](Opened::parallel_direct_writes) and
    /// [`no_flush`](Opened::no_flush). The `open(2)` fails with `EIO` with any other flag, while the node is open without
    /// passthrough and through the page cache, or with another backing.
    pub fn passthrough(self, backing: &Backing) -> Self {
        self.with_backing(backing.id(), backing.0.clone())
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // Without its device the mount has gone, and the registration with it.
        if let Some(device) = self.device.upgrade()
            && let Err(error) = device.close_backing(self.id)
        {
            tracing::warn!(%error, id = self.id.get(), "cannot give up a backing file");
        }
    }
}

impl fmt::Debug for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Backing").field(&self.0.id).finish()
    }
}
