//! What is checked and opened before there is a mount.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock};

use ringfuse::MountOptions;
use rustix::process::{Resource, getrlimit};
use rustix::thread::CapabilitySet;

use super::files::Handles;
use super::locks::SourceLocks;
use super::node::{self, Table};
use super::options::{LockPlace, Options};
use super::reaper::Reaper;
use super::source::{self, Source};
use super::watch::Watch;
use super::{Core, Mirror, ident, reach};
use crate::failure::Failure;

impl Mirror {
    /// A mirror of the options' source. To be made before there are other threads.
    ///
    /// # Errors
    ///
    /// If the source cannot be mirrored so, with the reason.
    pub(crate) fn new(options: Options, mount: &MountOptions) -> std::result::Result<Self, Failure> {
        options.check().map_err(Failure::Usage)?;
        let path = options.source.display();
        for (wanted, name) in [(options.passthrough, "passthrough"), (options.watch, "watch")] {
            if wanted && !ident::has(CapabilitySet::SYS_ADMIN) {
                return Err(Failure::Usage(format!("{name} needs CAP_SYS_ADMIN: it is for root")));
            }
        }
        if options.watch && options.cross_mounts {
            let why = "watch and cross_mounts exclude each other: what is watched is one filesystem";
            return Err(Failure::Usage(why.to_owned()));
        }
        ident::settle();
        let source = Source::open(&options.source, options.cross_mounts, mount)
            .map_err(|error| Failure::Usage(format!("{path} cannot be mirrored: {error}")))?;
        if options.cross_mounts && !source.detached {
            return Err(Failure::Usage("cross_mounts needs CAP_SYS_ADMIN: it is for root".to_owned()));
        }
        let watch = if options.watch {
            Some(
                Watch::new(&source)
                    .map_err(|error| Failure::Usage(format!("{path} cannot be watched: {error}")))?,
            )
        } else {
            None
        };
        Self::assemble(options, mount, source, watch)
            .map_err(|error| Failure::System("cannot look at the source", error))
    }

    fn assemble(
        options: Options,
        mount: &MountOptions,
        source: Source,
        watch: Option<Watch>,
    ) -> std::io::Result<Self> {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20).min(1 << 20) as usize;
        let fds = options.fds.unwrap_or(limit / 4).max(16);
        let mut core = Core {
            ttl: options.ttl(),
            read_only: mount.read_only,
            table: Table::new(node::Key { dev: 0, identity: node::Identity::Number(0, 0, 0) }, 0),
            cache: reach::Cache::new(fds),
            pins: Arc::default(),
            pin_limit: limit / 4,
            open_limit: limit - (limit / 4).min(64),
            handles: Handles::default(),
            // The kernel keeps 32 bits; zero is for those that are the same in each mount.
            generation: RandomState::new().hash_one(0) & 0x7fff_ffff | 1,
            locks: (options.locks == LockPlace::Source).then(SourceLocks::new),
            notifier: OnceLock::new(),
            watch: Mutex::new(watch),
            watch_end: OnceLock::new(),
            reaper: Reaper::new(),
            options,
            source,
        };
        let stat = source::stat(&core.source.root)?;
        let (root, mount) = core.identify(&core.source.root, &stat)?;
        core.table = Table::new(root, mount);
        Ok(Self(Arc::new(core)))
    }

    /// Tells, whenever it is asked, what is alive.
    pub(crate) fn report(&self) -> impl Fn() -> String + Send + Sync + 'static {
        let core = Arc::clone(&self.0);
        move || {
            let (nodes, lookups) = core.table.census();
            let mut text = format!(
                "nodes {nodes}, lookups {lookups}, open {}, fds kept {}, pinned {}, fd hits {}, misses {}",
                core.handles.count.load(Relaxed),
                core.cache.len(),
                core.pins.load(Relaxed),
                core.cache.hits.load(Relaxed),
                core.cache.misses.load(Relaxed)
            );
            if let Some(locks) = &core.locks {
                let (held, waiting) = locks.table.count();
                text += &format!(", locks {held}, waiting {waiting}");
            }
            text
        }
    }
}
