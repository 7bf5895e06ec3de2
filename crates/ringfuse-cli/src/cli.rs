//! The command line: a subcommand a filesystem, each with the options that all have.
//!
//! A new filesystem is one more variant of [`Command`], with [`Common`] and its own options flattened into it, and a
//! function that mounts it (see `main.rs`). What it takes after `-o` beside the mount options it tells by
//! [`OwnOptions`].

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use ringfuse::{Mount, MountOptions, Transport};

use crate::failure::Failure;
use crate::{mem, mirror, size};

/// Filesystems served by ringfuse: FUSE over io_uring where the kernel has it, over /dev/fuse elsewhere.
///
/// Each filesystem is a command. It mounts, prints a line when it is ready, and serves in the foreground until it is
/// unmounted: by `umount`, by `fusermount3 -u`, or by Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "ringfuse", version, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// Which filesystem.
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Signals:
  SIGINT, SIGTERM, SIGHUP  unmount; if the mount is in use, lazily: it leaves the tree at once, and is served
                           until the last who uses it leaves. A second one aborts what goes on.
  SIGUSR1                  print statistics to standard error.

Exit status:
  0  it was mounted, and was unmounted by somebody
  1  an error, told on standard error
  2  wrong usage";

/// The filesystems.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// A filesystem in memory: everything a local filesystem has, gone when it is unmounted
    #[command(after_help = MEM_HELP)]
    Mem {
        /// Those of all filesystems.
        #[command(flatten)]
        common: Common,
        /// Its own.
        #[command(flatten)]
        options: mem::options::Options,
    },
    /// A directory, shown once more at another place: everything Linux can do with it, with the same results
    #[command(after_help = MIRROR_HELP)]
    Mirror {
        /// Its own, the source first.
        #[command(flatten)]
        options: mirror::options::Options,
        /// Those of all filesystems.
        #[command(flatten)]
        common: Common,
    },
}

const MEM_HELP: &str = "\
Examples:
  ringfuse mem /mnt/scratch --size 1G
      a gigabyte of scratch space for yourself
  ringfuse mem /mnt/shared --allow-other --mode 1777 -o dev,suid
      for all users, as /tmp is, with devices and set-user-id programs; as root
  ringfuse mem /mnt/fast --writeback --transport ring
      small writes collected by the kernel; fails where there is no io_uring for FUSE
  RINGFUSE_LOG=debug ringfuse mem /mnt/x --stats -o size=64M,noatime
      tells what it does, and at the end what it did";

const MIRROR_HELP: &str = "\
Examples:
  ringfuse mirror /srv/data /mnt/data --allow-other -o dev,suid
      for all users, as `mount --bind` would; as root
  ringfuse mirror /srv/data /mnt/data --read-only --squash 1000:1000
      to look at, as if all of it were one's own
  ringfuse mirror /srv/data /mnt/data --cache always --watch
      everything cached by the kernel, and dropped as soon as somebody changes it at the source
  ringfuse mirror /srv/data /mnt/data --passthrough
      names and attributes come by here, reads and writes are the kernel's own";

/// Options of every filesystem.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Where to mount: a directory that exists
    mountpoint: PathBuf,
    /// Mount options as of mount(8), separated by commas: ro, dev, suid, noexec, noatime, max_read=N, auto_unmount and
    /// others, and those in brackets below. With `remount` they change the mount there is, and nothing is served. May be
    /// given several times
    #[arg(short = 'o', value_name = "LIST")]
    options: Vec<OsString>,
    /// Which way requests take: `ring` by io_uring or not at all, `device` by /dev/fuse, `prefer` by io_uring where it
    /// can be had
    #[arg(long, value_enum, value_name = "WAY", default_value_t = Way::Prefer)]
    transport: Way,
    /// Threads that serve requests [default: one for each CPU there can be]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    workers: Option<u16>,
    /// Requests that each queue can have in service at once, 1 to 4096 [default: 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    depth: Option<u16>,
    /// Bytes that a write request carries at most; a read request, too [default: 1M]
    #[arg(long, value_name = "SIZE", value_parser = size::parse_u32)]
    max_write: Option<u32>,
    /// Bytes that the kernel reads ahead of a program at most; root alone gets more than 128K [default: as --max-write]
    #[arg(long, value_name = "SIZE", value_parser = size::parse_u32)]
    max_readahead: Option<u32>,
    /// Memory that requests in service may take at most; where it is too small for --depth and --max-write, it wins
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    memory: Option<u64>,
    /// Lets other users in; without it not even root may enter a user's mount [-o allow_other]
    #[arg(long)]
    allow_other: bool,
    /// Mounts without writing [-o ro]
    #[arg(long)]
    read_only: bool,
    /// The source that mount(8) and df(1) show [-o fsname=NAME] [default: the command]
    #[arg(long, value_name = "NAME")]
    fsname: Option<OsString>,
    /// What is logged to standard error: error, warn, info, debug, trace, or a filter as of RINGFUSE_LOG, which counts
    /// where this is not given [default: warn]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log: Option<String>,
    /// Stays in the foreground, as it does anyway: for scripts that say so
    #[arg(long, short)]
    foreground: bool,
    /// Prints statistics to standard error at the end, as SIGUSR1 does at any time
    #[arg(long)]
    pub(crate) stats: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Way {
    Ring,
    Prefer,
    Device,
}

/// What a filesystem takes after `-o`, beside the mount options.
pub(crate) trait OwnOptions {
    /// The names of all.
    const NAMES: &'static [&'static str];

    /// Takes one of them.
    ///
    /// # Errors
    ///
    /// What is wrong with its value.
    fn set(&mut self, name: &str, value: Option<&OsStr>) -> Result<(), String>;
}

/// What has to be asked for on other filesystems, and is always so on these.
const ALWAYS: &[&str] = &["acl", "user_xattr"];

impl Common {
    /// The changes to a mount that exists, if it is these that are wanted: so mount(8) passes on `mount -o remount`.
    pub(crate) fn remount(&self) -> Option<(&Path, OsString)> {
        let mut list = self.options.join(OsStr::new(","));
        if self.read_only {
            list.push(",ro");
        }
        let wanted = MountOptions::split(&list).iter().any(|(name, _)| name == "remount");
        wanted.then_some((&self.mountpoint, list))
    }

    /// The mount options; those of the filesystem go to `own`.
    ///
    /// # Errors
    ///
    /// If one is unknown or has a wrong value.
    pub(crate) fn mount_options<O: OwnOptions>(
        &self,
        name: &str,
        own: &mut O,
    ) -> Result<MountOptions, Failure> {
        let mut options = MountOptions::default();
        options.fsname = Some(name.into());
        options.subtype = Some("ringfuse".into());
        for (name, value) in self.options.iter().flat_map(MountOptions::split) {
            if ALWAYS.contains(&name.as_str()) && value.is_none() {
                continue;
            } else if O::NAMES.contains(&name.as_str()) {
                own.set(&name, value.as_deref())
                    .map_err(|why| Failure::Usage(format!("mount option `{name}`: {why}")))?;
            } else if !options.apply(&name, value.as_deref()).map_err(usage)? {
                return Err(unknown::<O>(&mut options, &name));
            }
        }
        options.allow_other |= self.allow_other;
        options.read_only |= self.read_only;
        options.fsname = self.fsname.clone().or(options.fsname);
        Ok(options)
    }

    /// The mount to be made.
    pub(crate) fn mount(&self, options: MountOptions, depth: Option<u16>) -> Mount {
        let mut mount = Mount::new(&self.mountpoint).options(options).transport(match self.transport {
            Way::Ring => Transport::RequireRing,
            Way::Prefer => Transport::PreferRing,
            Way::Device => Transport::DeviceOnly,
        });
        if let Some(workers) = self.workers {
            mount = mount.workers(workers.into());
        }
        if let Some(depth) = self.depth.or(depth) {
            mount = mount.depth(depth.into());
        }
        if let Some(bytes) = self.max_write {
            mount = mount.max_write(bytes);
        }
        if let Some(bytes) = self.max_readahead {
            mount = mount.max_readahead(bytes);
        }
        if let Some(bytes) = self.memory {
            mount = mount.memory(usize::try_from(bytes).unwrap_or(usize::MAX));
        }
        mount
    }
}

fn usage(error: ringfuse::Error) -> Failure {
    Failure::Usage(error.to_string())
}

/// The error for a name that nobody knows: the library looks for one that resembles it among the mount options, and
/// here it is done for those of the filesystem.
fn unknown<O: OwnOptions>(options: &mut MountOptions, name: &str) -> Failure {
    let limit = if name.len() < 4 { 1 } else { 2 };
    match O::NAMES.iter().min_by_key(|known| distance(name, known)) {
        Some(near) if distance(name, near) <= limit => {
            Failure::Usage(format!("mount option `{name}` is unknown; did you mean `{near}`?"))
        }
        _ => options
            .merge(name)
            .map_or_else(usage, |()| Failure::Usage(format!("mount option `{name}` is unknown"))),
    }
}

/// How many letters must be changed, added or left out to make one name of the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    struct Own(Vec<String>);

    impl OwnOptions for Own {
        const NAMES: &'static [&'static str] = &["size", "cache"];

        fn set(&mut self, name: &str, value: Option<&OsStr>) -> Result<(), String> {
            self.0.push(format!("{name}={}", value.ok_or("needs a value")?.display()));
            Ok(())
        }
    }

    fn common(arguments: &[&str]) -> Common {
        let arguments = ["ringfuse", "mem", "/mnt"].iter().chain(arguments);
        match Cli::try_parse_from(arguments).unwrap().command {
            Command::Mem { common, .. } | Command::Mirror { common, .. } => common,
        }
    }

    fn options(arguments: &[&str]) -> Result<(MountOptions, Vec<String>), String> {
        let mut own = Own(Vec::new());
        match common(arguments).mount_options("mem", &mut own) {
            Ok(options) => Ok((options, own.0)),
            Err(failure) => Err(failure.to_string()),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_list_is_split_between_mount_and_filesystem() {
        let (options, own) =
            options(&["-o", "ro,size=1G,noatime", "-o", "cache=x", "--allow-other"]).unwrap();
        assert!(options.read_only && options.allow_other);
        assert_eq!(options.fsname.as_deref(), Some(OsStr::new("mem")));
        assert_eq!(own, ["size=1G", "cache=x"]);
    }

    #[test]
    fn arguments_win_over_the_list() {
        let (options, _) = options(&["--fsname", "mine", "-o", "fsname=other,rw"]).unwrap();
        assert_eq!(options.fsname.as_deref(), Some(OsStr::new("mine")));
    }

    #[test]
    fn unknown_names_come_with_those_that_resemble_them() {
        for (list, near) in [("sizw=1", "`size`"), ("allow_ohter", "`allow_other`"), ("cahce=1", "`cache`")] {
            let error = options(&["-o", list]).unwrap_err();
            assert!(error.contains("is unknown") && error.contains(near), "{error}");
        }
        assert!(options(&["-o", "frobnicate"]).unwrap_err().contains("is unknown"));
        assert!(options(&["-o", "cache"]).unwrap_err().contains("needs a value"));
    }
}
