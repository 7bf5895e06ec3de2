//! What can be said of a filesystem in memory: on the command line, and by the same names as for tmpfs after `-o`.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use clap::Args;

use super::space::PAGE;
use crate::cli::OwnOptions;
use crate::size;

/// How much, for whom, and how it is cached.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Space for the content of files: bytes, with K, M, G or T if you like, or a percentage of the memory of the machine.
    /// A write beyond it fails with "no space left" [-o size=SIZE]
    #[arg(long, value_name = "SIZE", default_value = "50%", value_parser = parse_size)]
    size: u64,
    /// Files, directories and all else there can be [-o nr_inodes=N] [default: half as many as the memory has pages]
    #[arg(long, value_name = "N", default_value_t = memory() / PAGE as u64 / 2, hide_default_value = true,
        value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) inodes: u64,
    /// Has the kernel collect what is written and hand it over later: fewer, larger requests. A full filesystem is then
    /// noticed by fsync or close, if at all [-o writeback]
    #[arg(long, conflicts_with = "direct")]
    pub(super) writeback: bool,
    /// Passes the kernel's page cache by: each read and write comes here as it is made [-o direct]
    #[arg(long)]
    pub(super) direct: bool,
    /// Keeps locks (fcntl, flock) here, as a filesystem shared by machines must, instead of leaving them to the kernel.
    /// Who waits for one takes up a request of a queue, so that queues have 256 unless --depth says otherwise [-o locks]
    #[arg(long)]
    pub(super) locks: bool,
    /// Permissions of the root, in octal [-o mode=MODE]
    #[arg(long, value_name = "MODE", default_value = "755", value_parser = parse_mode)]
    pub(super) mode: u32,
    /// Owner of the root, by number [-o uid=N] [default: who mounts]
    #[arg(long, value_name = "N", default_value_t = rustix::process::geteuid().as_raw(), hide_default_value = true)]
    pub(super) uid: u32,
    /// Group of the root, by number [-o gid=N] [default: that of who mounts]
    #[arg(long, value_name = "N", default_value_t = rustix::process::getegid().as_raw(), hide_default_value = true)]
    pub(super) gid: u32,
}

impl Options {
    pub(super) fn pages(&self) -> u64 {
        self.size / PAGE as u64
    }

    /// How many requests a queue should be able to have in service, if it is not the library's default.
    pub(crate) fn depth(&self) -> Option<u16> {
        // Who waits for a lock has one in service for as long.
        self.locks.then_some(256)
    }
}

impl OwnOptions for Options {
    const NAMES: &'static [&'static str] =
        &["size", "nr_inodes", "writeback", "direct", "locks", "mode", "uid", "gid"];

    fn set(&mut self, name: &str, value: Option<&OsStr>) -> Result<(), String> {
        let flag = match name {
            "writeback" => &mut self.writeback,
            "direct" => &mut self.direct,
            "locks" => &mut self.locks,
            _ => return self.set_value(name, value),
        };
        if value.is_some() {
            return Err("it takes no value".into());
        }
        *flag = true;
        if self.writeback && self.direct {
            return Err("`writeback` and `direct` exclude each other".into());
        }
        Ok(())
    }
}

impl Options {
    fn set_value(&mut self, name: &str, value: Option<&OsStr>) -> Result<(), String> {
        let text = value.and_then(OsStr::to_str).ok_or("it needs a value, as in NAME=VALUE")?;
        let number = || text.parse::<u32>().map_err(|_| format!("`{text}` is no number"));
        match name {
            "size" => self.size = parse_size(text)?,
            "nr_inodes" => self.inodes = size::parse(text)?.max(1),
            "mode" => self.mode = parse_mode(text)?,
            "uid" => self.uid = number()?,
            _ => self.gid = number()?,
        }
        Ok(())
    }
}

/// The memory of the machine in bytes.
fn memory() -> u64 {
    let text = fs::read_to_string(Path::new("/proc/meminfo")).unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map_or(1 << 30, |kib| kib << 10)
}

fn parse_size(text: &str) -> Result<u64, String> {
    let Some(percent) = text.strip_suffix('%') else { return size::parse(text) };
    let percent: u64 = percent.parse().map_err(|_| format!("`{text}` is no percentage"))?;
    (memory() / 100).checked_mul(percent).ok_or_else(|| format!("`{text}` is too much"))
}

fn parse_mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| format!("`{text}` is no mode in octal, as 1777 is"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches;

    fn options() -> Options {
        let command = Options::augment_args(clap::Command::new("test"));
        Options::from_arg_matches(&command.get_matches_from(["test"])).unwrap()
    }

    fn set(options: &mut Options, name: &str, value: &str) -> Result<(), String> {
        options.set(name, (!value.is_empty()).then(|| OsStr::new(value)))
    }

    #[test]
    fn the_defaults_are_those_of_tmpfs() {
        let options = options();
        assert!(options.size.abs_diff(memory() / 2) < 100);
        assert_eq!((options.inodes, options.mode), (memory() / PAGE as u64 / 2, 0o755));
    }

    #[test]
    fn mount_options_set_what_arguments_set() {
        let mut options = options();
        for (name, value) in
            [("size", "10M"), ("nr_inodes", "1k"), ("mode", "1777"), ("uid", "7"), ("gid", "8")]
        {
            set(&mut options, name, value).unwrap();
        }
        assert_eq!((options.pages(), options.inodes, options.mode), (2560, 1024, 0o1777));
        assert_eq!((options.uid, options.gid), (7, 8));
        set(&mut options, "direct", "").unwrap();
        assert!(options.direct && options.depth().is_none());
        for (name, value) in
            [("writeback", ""), ("locks", "1"), ("size", ""), ("size", "x"), ("mode", "8"), ("uid", "-1")]
        {
            assert!(set(&mut options, name, value).is_err(), "{name}={value}");
        }
    }
}
