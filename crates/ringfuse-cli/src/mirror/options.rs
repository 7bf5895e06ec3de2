//! What can be said of a mirror: on the command line, and by the same names after `-o`.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cli::OwnOptions;

/// What is mirrored, and how.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// The directory to be mirrored
    pub(super) source: PathBuf,
    /// Mirrors what is mounted below the source, too, as it is when this starts; without it the directories below such
    /// mounts are seen, as `mount --bind` does [-o cross_mounts]
    #[arg(long, overrides_with = "one_file_system")]
    pub(super) cross_mounts: bool,
    /// Stays on the filesystem of the source [-o one_file_system] [default]
    #[arg(long, overrides_with = "cross_mounts")]
    one_file_system: bool,
    /// What the kernel keeps: `auto` names and attributes for a second, and pages until the file is found changed when it is
    /// opened, as on NFS; `always` all of it, for sources that nobody else changes (or with --watch); `never` nothing
    /// [-o cache=WHAT]
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = Cache::Auto)]
    pub(super) cache: Cache,
    /// How long names and attributes are kept, in seconds [-o ttl=SECONDS] [default: 1; with --cache always 3600]
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    ttl: Option<Duration>,
    /// Passes the kernel's page cache by: each read and write comes here as it is made [-o direct]
    #[arg(long)]
    pub(super) direct: bool,
    /// Has the kernel collect what is written and hand it over later: fewer, larger requests [-o writeback]
    #[arg(long, conflicts_with_all = ["direct", "passthrough"])]
    pub(super) writeback: bool,
    /// Has the kernel read and write the source's files itself; as root [-o passthrough]
    #[arg(long, conflicts_with = "direct")]
    pub(super) passthrough: bool,
    /// Has the kernel drop what it keeps as soon as the source is changed by others; as root [-o watch]
    #[arg(long)]
    pub(super) watch: bool,
    /// Where locks (fcntl, flock) are kept: at the `source`, so that they hold against programs that use it directly, or
    /// `local`, by the kernel, for this mount alone [-o locks=WHERE]
    #[arg(long, value_enum, value_name = "WHERE", default_value_t = LockPlace::Source)]
    pub(super) locks: LockPlace,
    /// Everything belongs to this user and group, and whoever comes acts as them [-o squash=UID:GID]
    #[arg(long, value_name = "UID:GID", value_parser = parse_squash)]
    pub(super) squash: Option<Squash>,
    /// On which thread the source's names and attributes are read and changed: `inline` on the one that serves the request,
    /// `pool` on one that may block, `auto` as suits the source's filesystem [-o metadata=WHERE]
    #[arg(long, value_enum, value_name = "WHERE", default_value_t = Metadata::Auto)]
    pub(super) metadata: Metadata,
    /// Opened files and directories that are kept to reach inodes by [-o fds=N] [default: a quarter of RLIMIT_NOFILE]
    #[arg(long, value_name = "N")]
    pub(super) fds: Option<usize>,
}

/// What the kernel keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Cache {
    Auto,
    Always,
    Never,
}

/// Where locks are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LockPlace {
    Source,
    Local,
}

/// On which thread work is done that may block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Metadata {
    Auto,
    Inline,
    Pool,
}

/// One owner for everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Squash {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Options {
    /// How long names and attributes may be kept.
    pub(super) fn ttl(&self) -> Duration {
        self.ttl.unwrap_or(match self.cache {
            Cache::Auto => Duration::from_secs(1),
            Cache::Always => Duration::from_secs(3600),
            Cache::Never => Duration::ZERO,
        })
    }

    /// How many requests a queue should be able to have in service, if it is not the library's default.
    pub(crate) fn depth(&self) -> Option<u16> {
        // Who waits for a lock has one in service for as long.
        (self.locks == LockPlace::Source).then_some(256)
    }

    /// Refuses what does not go together, with the reason.
    ///
    /// # Errors
    ///
    /// A text for people.
    pub(super) fn check(&self) -> Result<(), String> {
        let never = self.cache == Cache::Never;
        for (wrong, why) in [
            (
                self.writeback && self.passthrough,
                "writeback and passthrough exclude each other: the kernel cannot collect what it does not keep",
            ),
            (
                self.writeback && (self.direct || never),
                "writeback needs the page cache, which direct and cache=never do without",
            ),
            (
                self.passthrough && (self.direct || never),
                "passthrough and direct (or cache=never) exclude each other: one has the kernel do all reads and \
                 writes, the other has it do none",
            ),
            (self.fds.is_some_and(|fds| fds < 16), "fds must be at least 16"),
        ] {
            if wrong {
                return Err(why.to_owned());
            }
        }
        Ok(())
    }
}

impl OwnOptions for Options {
    const NAMES: &'static [&'static str] = &[
        "cross_mounts",
        "one_file_system",
        "cache",
        "ttl",
        "direct",
        "writeback",
        "passthrough",
        "watch",
        "locks",
        "squash",
        "metadata",
        "fds",
    ];

    fn set(&mut self, name: &str, value: Option<&OsStr>) -> Result<(), String> {
        let flag = match name {
            "cross_mounts" | "one_file_system" => &mut self.cross_mounts,
            "direct" => &mut self.direct,
            "writeback" => &mut self.writeback,
            "passthrough" => &mut self.passthrough,
            "watch" => &mut self.watch,
            _ => return self.set_value(name, value),
        };
        if value.is_some() {
            return Err("takes no value".into());
        }
        *flag = name != "one_file_system";
        Ok(())
    }
}

impl Options {
    fn set_value(&mut self, name: &str, value: Option<&OsStr>) -> Result<(), String> {
        let text = value.and_then(OsStr::to_str).ok_or("needs a value, as in NAME=VALUE")?;
        match name {
            "cache" => self.cache = parse_value(text)?,
            "locks" => self.locks = parse_value(text)?,
            "metadata" => self.metadata = parse_value(text)?,
            "ttl" => self.ttl = Some(parse_seconds(text)?),
            "squash" => self.squash = Some(parse_squash(text)?),
            _ => self.fds = Some(text.parse().map_err(|_| "needs a number")?),
        }
        Ok(())
    }
}

fn parse_value<T: ValueEnum>(text: &str) -> Result<T, String> {
    T::from_str(text, false).map_err(|_| {
        let names: Vec<String> = T::value_variants()
            .iter()
            .filter_map(|value| value.to_possible_value())
            .map(|value| value.get_name().to_owned())
            .collect();
        format!("is one of {}", names.join(", "))
    })
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| format!("`{text}` is no number of seconds"))
}

fn parse_squash(text: &str) -> Result<Squash, String> {
    let ids = text.split_once(':').and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
    // The greatest number stands for "no change" in the calls that set owners.
    match ids {
        Some((uid, gid)) if uid != u32::MAX && gid != u32::MAX => Ok(Squash { uid, gid }),
        _ => Err(format!("`{text}` is no pair of numbers, as 1000:1000 is")),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use clap::FromArgMatches;

    pub(in crate::mirror) fn options(arguments: &[&str]) -> Options {
        let command = Options::augment_args(clap::Command::new("test"));
        let arguments = ["test", "/source"].iter().chain(arguments);
        Options::from_arg_matches(&command.get_matches_from(arguments)).unwrap()
    }

    #[test]
    fn mount_options_set_what_arguments_set() {
        let mut options = options(&["--cross-mounts"]);
        let mut set =
            |name: &str, value: &str| options.set(name, (!value.is_empty()).then(|| OsStr::new(value)));
        for (name, value) in [
            ("one_file_system", ""),
            ("watch", ""),
            ("cache", "always"),
            ("ttl", "2.5"),
            ("locks", "local"),
            ("squash", "7:8"),
            ("metadata", "pool"),
            ("fds", "100"),
        ] {
            set(name, value).unwrap();
        }
        for (name, value) in [
            ("watch", "yes"),
            ("cache", ""),
            ("cache", "sometimes"),
            ("ttl", "-1"),
            ("squash", "7"),
            ("squash", "7:4294967295"),
            ("fds", "many"),
        ] {
            assert!(set(name, value).is_err(), "{name}={value}");
        }
        assert!(!options.cross_mounts && options.watch);
        assert_eq!((options.cache, options.ttl()), (Cache::Always, Duration::from_millis(2500)));
        assert_eq!((options.locks, options.depth()), (LockPlace::Local, None));
        assert_eq!(options.squash, Some(Squash { uid: 7, gid: 8 }));
        assert_eq!((options.metadata, options.fds), (Metadata::Pool, Some(100)));
    }

    #[test]
    fn what_excludes_each_other_is_refused() {
        for list in [
            &["writeback", "passthrough"][..],
            &["writeback", "direct"],
            &["passthrough", "direct"],
            &["fds=3"],
        ] {
            let mut options = options(&[]);
            for item in list {
                let (name, value) =
                    item.split_once('=').map_or((*item, None), |(name, value)| (name, Some(value)));
                options.set(name, value.map(OsStr::new)).unwrap();
            }
            assert!(options.check().is_err(), "{list:?}");
        }
        let mut never = options(&["--writeback"]);
        never.set("cache", Some(OsStr::new("never"))).unwrap();
        assert!(never.check().is_err());
        options(&["--writeback"]).check().unwrap();
    }
}
