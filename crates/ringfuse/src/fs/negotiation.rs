//! What kernel and filesystem agree on when a mount begins.

use std::time::Duration;

use ringfuse_abi as abi;

use crate::types::{Capabilities, Errno, Result};

use Capabilities as C;

/// Taken whenever the kernel offers them, unless the filesystem forbids them.
const DEFAULT: Capabilities = C::ASYNC_READ
    .union(C::AUTO_INVAL_DATA)
    .union(C::ASYNC_DIO)
    .union(C::PARALLEL_DIROPS)
    .union(C::ABORT_ERROR);

/// Decided by the library, which sends and parses what belongs to them.
const OWN: Capabilities = C::BIG_WRITES
    .union(C::MAX_PAGES)
    .union(C::SETXATTR_EXT)
    .union(C::INIT_EXT)
    .union(C::OVER_IO_URING)
    .union(C::REQUEST_TIMEOUT);

/// Statements of the kernel about itself: there is nothing to ask for, so that asking is neither here nor there.
#[cfg(test)]
const INFORMATION: Capabilities = C::SPLICE_WRITE
    .union(C::SPLICE_MOVE)
    .union(C::SPLICE_READ)
    .union(C::HAS_IOCTL_DIR)
    .union(C::NO_OPEN_SUPPORT)
    .union(C::NO_OPENDIR_SUPPORT)
    .union(C::HAS_EXPIRE_ONLY)
    .union(C::HAS_RESEND);

/// For a filesystem to ask for.
const OPTIONAL: Capabilities = C::POSIX_LOCKS
    .union(C::ATOMIC_O_TRUNC)
    .union(C::EXPORT_SUPPORT)
    .union(C::DONT_MASK)
    .union(C::FLOCK_LOCKS)
    .union(C::DO_READDIRPLUS)
    .union(C::READDIRPLUS_AUTO)
    .union(C::WRITEBACK_CACHE)
    .union(C::HANDLE_KILLPRIV)
    .union(C::POSIX_ACL)
    .union(C::CACHE_SYMLINKS)
    .union(C::EXPLICIT_INVAL_DATA)
    .union(C::HANDLE_KILLPRIV_V2)
    .union(C::SECURITY_CTX)
    .union(C::CREATE_SUPP_GROUP)
    .union(C::DIRECT_IO_ALLOW_MMAP)
    .union(C::PASSTHROUGH)
    .union(C::NO_EXPORT_SUPPORT)
    .union(C::ALLOW_IDMAP);

/// Never asked for, each with what would go wrong.
const REFUSED: [(Capabilities, &str); 4] = [
    (C::FILE_OPS, "no kernel implements it"),
    (C::MAP_ALIGNMENT, "it is for virtiofs, and changes nothing on /dev/fuse"),
    (C::SUBMOUNTS, "it is for virtiofs, and changes nothing on /dev/fuse"),
    (C::HAS_INODE_DAX, "it is for virtiofs, and changes nothing on /dev/fuse"),
];

/// Limits that the mount was set up with, and that the kernel is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) max_write: u32,
    pub(crate) max_pages: u16,
    pub(crate) max_background: u16,
    pub(crate) max_readahead: Option<u32>,
    pub(crate) default_permissions: bool,
}

/// The talk between kernel and filesystem at mount time: what is offered, and what is wanted of it.
///
/// A filesystem gets it in [`Filesystem::init`](crate::Filesystem::init). What it says nothing about is left at
/// defaults that suit any filesystem; see [`Capabilities`] for which those are.
#[derive(Debug)]
pub struct Negotiation {
    kernel: abi::fuse_init_in,
    offered: Capabilities,
    wanted: Capabilities,
    limits: Limits,
    max_readahead: u32,
    congestion_threshold: Option<u16>,
    time_gran: u32,
    max_stack_depth: Option<u32>,
    request_timeout: u16,
    refusal: Option<String>,
}

/// What came out of a negotiation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Agreement {
    pub(crate) capabilities: Capabilities,
    pub(crate) reply: abi::fuse_init_out,
}

impl Negotiation {
    pub(crate) fn new(kernel: abi::fuse_init_in, limits: Limits) -> Self {
        let offered = Capabilities::from_bits_truncate(offered_bits(&kernel));
        Self {
            kernel,
            offered,
            wanted: offered & DEFAULT,
            limits,
            max_readahead: limits.max_readahead.unwrap_or(kernel.max_readahead.max(limits.max_write)),
            congestion_threshold: None,
            time_gran: 1,
            max_stack_depth: None,
            request_timeout: 0,
            refusal: None,
        }
    }

    /// The kernel's version of the protocol, major and minor: 7 and 45 for Linux 6.18.
    pub fn kernel_version(&self) -> (u32, u32) {
        (self.kernel.major, self.kernel.minor)
    }

    /// What the kernel offers.
    pub fn offered(&self) -> Capabilities {
        self.offered
    }

    /// What is asked for so far.
    pub fn requested(&self) -> Capabilities {
        self.wanted
    }

    /// Asks for capabilities that the filesystem cannot do without.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` where the kernel does not offer one, or the library cannot honour it: pass it on, and the mount
    /// fails with an error that says which and why.
    pub fn require(&mut self, capabilities: Capabilities) -> Result<()> {
        for one in capabilities.iter() {
            if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| refused.contains(one)) {
                return self.refuse(format!("{} can not be asked for: {why}", name(one)));
            }
            if OWN.contains(one) {
                return self.refuse(format!("{} is decided by the library", name(one)));
            }
            if !self.offered.contains(one) {
                let (major, minor) = self.kernel_version();
                return self.refuse(format!(
                    "{} is required, and this kernel (FUSE {major}.{minor}) does not offer it",
                    name(one)
                ));
            }
        }
        self.wanted |= capabilities & (DEFAULT | OPTIONAL);
        Ok(())
    }

    /// Asks for capabilities where they can be had, and returns those of them that can.
    pub fn prefer(&mut self, capabilities: Capabilities) -> Capabilities {
        let had = capabilities & self.offered & (DEFAULT | OPTIONAL);
        self.wanted |= had;
        had
    }

    /// Does without capabilities, default ones included.
    pub fn forbid(&mut self, capabilities: Capabilities) {
        self.wanted &= !(capabilities & (DEFAULT | OPTIONAL));
    }

    /// Has the kernel read at most this many bytes ahead of a program that reads in sequence, and around a page of a
    /// mapped file that is not there. By default as many as [`Mount::max_readahead`](crate::Mount::max_readahead) says,
    /// where it is told what that takes.
    pub fn max_readahead(&mut self, bytes: u32) {
        self.max_readahead = bytes;
    }

    /// How far the kernel is to read ahead, and how far it does unless it is told otherwise than by the reply.
    pub(crate) fn readahead(&self) -> (u32, u32) {
        (self.max_readahead, self.kernel.max_readahead)
    }

    /// Lets this many background requests (readahead, writeback, asynchronous direct I/O) be in flight at once, 1
    /// to 65535. By default twice the entries of the ring, or more.
    pub fn max_background(&mut self, requests: u16) {
        self.limits.max_background = requests.max(1);
    }

    /// From this many background requests on the kernel counts the mount as congested, and reads ahead less. By
    /// default three quarters of `max_background`.
    pub fn congestion_threshold(&mut self, requests: u16) {
        self.congestion_threshold = Some(requests.max(1));
    }

    /// The precision of the filesystem's times in nanoseconds, a power of ten up to 1,000,000,000; 1 unless set.
    /// Without it the kernel rounds to nothing and finds other times than it set.
    pub fn time_gran(&mut self, nanos: u32) {
        self.time_gran = nanos.clamp(1, 1_000_000_000);
    }

    /// How deep the stack of filesystems below may be for passthrough: 1 allows backing files on plain
    /// filesystems, 2 on stacked ones such as overlayfs. 1 unless set.
    pub fn max_stack_depth(&mut self, depth: u32) {
        self.max_stack_depth = Some(depth.clamp(1, 2));
    }

    /// Has the kernel abort the whole mount when a request is not answered in time. It counts in seconds, checks
    /// every 15 of them, and takes at least 15.
    pub fn request_timeout(&mut self, timeout: Duration) {
        self.request_timeout = timeout.as_secs().clamp(1, u64::from(u16::MAX)) as u16;
    }

    /// The reason of the last refusal, for the error of the mount.
    pub(crate) fn refusal(&mut self) -> Option<String> {
        self.refusal.take()
    }

    fn refuse<T>(&mut self, why: String) -> Result<T> {
        self.refusal = Some(why);
        Err(Errno::EOPNOTSUPP)
    }

    /// Checks what was asked for as a whole, and makes the reply of it.
    ///
    /// # Errors
    ///
    /// `EINVAL` for combinations that the kernel drops silently or refuses the mount for.
    pub(crate) fn conclude(&mut self, ring: bool) -> Result<Agreement> {
        let mut wanted = self.wanted;
        if wanted.contains(C::PASSTHROUGH | C::WRITEBACK_CACHE) {
            return self.refuse_combination(
                "PASSTHROUGH and WRITEBACK_CACHE exclude each other: the kernel would drop PASSTHROUGH",
            );
        }
        if wanted.contains(C::ALLOW_IDMAP)
            && !self.limits.default_permissions
            && !wanted.contains(C::POSIX_ACL)
        {
            return self.refuse_combination(
                "ALLOW_IDMAP needs the mount option default_permissions, or POSIX_ACL: the kernel would fail the mount",
            );
        }
        if wanted.contains(C::EXPORT_SUPPORT | C::NO_EXPORT_SUPPORT) {
            return self.refuse_combination("EXPORT_SUPPORT and NO_EXPORT_SUPPORT exclude each other");
        }
        if wanted.contains(C::READDIRPLUS_AUTO) {
            wanted |= C::DO_READDIRPLUS & self.offered;
        }
        wanted |= self.offered & (C::BIG_WRITES | C::MAX_PAGES | C::SETXATTR_EXT | C::INIT_EXT);
        if ring {
            wanted |= self.offered & C::OVER_IO_URING;
        }
        if self.request_timeout != 0 {
            wanted |= self.offered & C::REQUEST_TIMEOUT;
        }
        let bits = wanted.bits();
        let threshold = (u32::from(self.limits.max_background) * 3 / 4).max(1) as u16;
        let passthrough = wanted.contains(C::PASSTHROUGH);
        let reply = abi::fuse_init_out {
            major: abi::FUSE_KERNEL_VERSION,
            minor: abi::FUSE_KERNEL_MINOR_VERSION.min(self.kernel.minor),
            max_readahead: self.max_readahead,
            flags: bits as u32,
            max_background: self.limits.max_background,
            congestion_threshold: self.congestion_threshold.unwrap_or(threshold),
            max_write: self.limits.max_write,
            time_gran: self.time_gran,
            max_pages: self.limits.max_pages,
            flags2: (bits >> 32) as u32,
            max_stack_depth: if passthrough { self.max_stack_depth.unwrap_or(1) } else { 0 },
            request_timeout: self.request_timeout,
            ..Default::default()
        };
        Ok(Agreement { capabilities: wanted, reply })
    }

    fn refuse_combination<T>(&mut self, why: &str) -> Result<T> {
        self.refusal = Some(why.to_owned());
        Err(Errno::EINVAL)
    }
}

fn name(one: Capabilities) -> &'static str {
    one.iter_names().next().map_or("an unknown capability", |(name, _)| name)
}

fn offered_bits(kernel: &abi::fuse_init_in) -> u64 {
    let low = u64::from(kernel.flags);
    // Without INIT_EXT the second word is not valid.
    if low & abi::FUSE_INIT_EXT != 0 { low | u64::from(kernel.flags2) << 32 } else { low }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        max_write: 1 << 20,
        max_pages: 256,
        max_background: 64,
        max_readahead: None,
        default_permissions: false,
    };

    fn negotiation(offered: Capabilities) -> Negotiation {
        let bits = offered.bits();
        let kernel = abi::fuse_init_in {
            major: 7,
            minor: 45,
            max_readahead: 131_072,
            flags: bits as u32,
            flags2: (bits >> 32) as u32,
            ..Default::default()
        };
        Negotiation::new(kernel, LIMITS)
    }

    #[test]
    fn each_capability_has_exactly_one_fate() {
        let refused = REFUSED.iter().fold(C::empty(), |all, (one, _)| all | *one);
        let classes = [DEFAULT, OWN, INFORMATION, OPTIONAL, refused];
        for (name, one) in C::all().iter_names() {
            let fates = classes.iter().filter(|class| class.contains(one)).count();
            assert_eq!(fates, 1, "{name}");
        }
    }

    #[test]
    fn nothing_is_echoed_that_was_not_asked_for() {
        let agreement = negotiation(C::all()).conclude(false).unwrap();
        let expected = DEFAULT | C::BIG_WRITES | C::MAX_PAGES | C::SETXATTR_EXT | C::INIT_EXT;
        assert_eq!(agreement.capabilities, expected);
        let unknown = abi::fuse_init_in { flags: u32::MAX, flags2: u32::MAX, ..Default::default() };
        let reply = Negotiation::new(unknown, LIMITS).conclude(true).unwrap().reply;
        let bits = u64::from(reply.flags) | u64::from(reply.flags2) << 32;
        assert_eq!(bits & !C::all().bits(), 0);
    }

    #[test]
    fn the_ring_is_asked_for_only_where_it_is_offered() {
        let ring =
            |offered| negotiation(offered).conclude(true).unwrap().capabilities.contains(C::OVER_IO_URING);
        assert!(ring(C::all()));
        assert!(!ring(C::all() - C::OVER_IO_URING));
    }

    #[test]
    fn the_kernel_reads_ahead_as_far_as_a_request_goes() {
        let readahead = |limits, kernel| {
            let kernel = abi::fuse_init_in { max_readahead: kernel, ..Default::default() };
            Negotiation::new(kernel, limits).conclude(true).unwrap().reply.max_readahead
        };
        assert_eq!(readahead(LIMITS, 128 << 10), 1 << 20);
        assert_eq!(readahead(LIMITS, 4 << 20), 4 << 20);
        assert_eq!(readahead(Limits { max_readahead: Some(64 << 10), ..LIMITS }, 128 << 10), 64 << 10);
    }

    #[test]
    fn a_refusal_says_why() {
        let mut k = negotiation(C::all() - C::PASSTHROUGH);
        assert_eq!(k.require(C::PASSTHROUGH), Err(Errno::EOPNOTSUPP));
        assert!(k.refusal().unwrap().contains("PASSTHROUGH is required"));
        assert_eq!(k.require(C::HAS_INODE_DAX), Err(Errno::EOPNOTSUPP));
        assert!(k.refusal().unwrap().contains("virtiofs"));
        assert_eq!(k.require(C::OVER_IO_URING), Err(Errno::EOPNOTSUPP));
        assert_eq!(k.prefer(C::PASSTHROUGH | C::POSIX_LOCKS), C::POSIX_LOCKS);
    }

    #[test]
    fn combinations_that_the_kernel_would_drop_are_refused() {
        let mut k = negotiation(C::all());
        k.require(C::PASSTHROUGH | C::WRITEBACK_CACHE).unwrap();
        assert_eq!(k.conclude(false).unwrap_err(), Errno::EINVAL);
        let mut k = negotiation(C::all());
        k.require(C::ALLOW_IDMAP).unwrap();
        assert_eq!(k.conclude(false).unwrap_err(), Errno::EINVAL);
        k.require(C::POSIX_ACL).unwrap();
        k.conclude(false).unwrap();
    }

    #[test]
    fn a_kernel_without_the_second_word_offers_nothing_of_it() {
        let kernel = abi::fuse_init_in { flags: 1, flags2: u32::MAX, ..Default::default() };
        assert_eq!(Negotiation::new(kernel, LIMITS).offered(), C::ASYNC_READ);
    }
}
