//! fsx: random operations on one file, against a model in memory: <https://crates.io/crates/fsx>.

use std::fs;
use std::process::Command;

use super::case::{Env, Failure, Outcome, all_at_once, check, status};
use super::{Case, Scale, Stage, Suite, text};
use crate::run::Done;

pub(super) const SUITE: Suite = Suite {
    name: "fsx",
    what: "random operations on one file, checked against a model (crates.io: fsx)",
    cases,
    run,
};

struct Mix {
    name: &'static str,
    config: &'static str,
    /// One operation of so many is run: those of large files take longer.
    share: u32,
}

const MIXES: [Mix; 7] = [
    Mix {
        name: "plain",
        share: 1,
        config: "flen = 262144\n[weights]\nmapread = 0\nmapwrite = 0\nclose_open = 1\n",
    },
    Mix {
        name: "mmap",
        share: 1,
        config: "flen = 262144\n[weights]\nmapread = 10\nmapwrite = 10\nread = 10\nwrite = 10\ntruncate = 4\n\
                 fsync = 1\nfdatasync = 1\ninvalidate = 2\nposix_fadvise = 2\nclose_open = 2\n",
    },
    // What is mapped is written back when the kernel likes.
    Mix {
        name: "lazy",
        share: 1,
        config: "flen = 262144\nnomsyncafterwrite = true\n[weights]\nmapread = 5\nmapwrite = 10\nread = 10\n\
                 write = 5\ntruncate = 4\nposix_fadvise = 1\nclose_open = 2\n",
    },
    Mix {
        name: "alloc",
        share: 1,
        config: "flen = 1048576\n[weights]\npunch_hole = 10\nposix_fallocate = 10\nread = 10\nwrite = 10\n\
                 mapread = 5\nmapwrite = 5\ntruncate = 4\nfsync = 1\nclose_open = 2\n",
    },
    // Whole blocks, as direct I/O is made of.
    Mix {
        name: "aligned",
        share: 1,
        config: "flen = 1048576\n[opsize]\nmax = 131072\nalign = 4096\n[weights]\nmapread = 0\nmapwrite = 0\n\
                 read = 10\nwrite = 10\ntruncate = 2\npunch_hole = 2\nfsync = 1\nclose_open = 2\n",
    },
    Mix {
        name: "big",
        share: 20,
        config: "flen = 67108864\n[opsize]\nmax = 4194304\n[weights]\nmapread = 2\nmapwrite = 2\nread = 10\n\
                 write = 10\ntruncate = 2\nclose_open = 1\n",
    },
    Mix {
        name: "copy",
        share: 1,
        config: "flen = 524288\n[weights]\ncopy_file_range = 10\nsendfile = 10\nread = 10\nwrite = 10\nmapread = 0\n\
                 mapwrite = 0\ntruncate = 2\nclose_open = 2\n",
    },
];

/// So many run at once, each on its own file.
const AT_ONCE: u32 = 4;

/// A case is named by its mix and its seed; `N-M` are several seeds at once.
fn cases(_: &Stage, scale: Scale) -> Done<Vec<Case>> {
    let limit = scale.pick(60, 300, 3000);
    let seeds = scale.pick(1, 2, 4);
    let single = MIXES.iter().flat_map(|mix| (1..=seeds).map(move |seed| format!("{}/{seed}", mix.name)));
    let several = ["mmap", "alloc"].map(|mix| format!("{mix}/1-{AT_ONCE}"));
    Ok(single.chain(several).map(|name| Case::new(name, limit)).collect())
}

fn run(env: &Env, case: &str) -> Outcome {
    let (name, seeds) = case.split_once('/').ok_or("no such case")?;
    let mix = MIXES.iter().find(|mix| mix.name == name).ok_or("no such case")?;
    let config = env.scratch.join("fsx.toml");
    fs::write(&config, mix.config)?;
    let operations = env.scale.pick(3_000, 20_000, 200_000) / mix.share;
    let fsx = |seed: &str| -> Command {
        let mut fsx = env.program("fsx");
        fsx.args(["-q", "-f", text(&config), "-P", text(&env.scratch), "-S", seed]);
        fsx.args(["-N", &operations.to_string(), &format!("file{seed}")]);
        fsx
    };
    if let Some((first, last)) = seeds.split_once('-') {
        let seeds = first.parse::<u32>().ok().zip(last.parse().ok()).ok_or("no such case")?;
        return all_at_once((seeds.0..=seeds.1).map(|seed| fsx(&seed.to_string())));
    }
    let told = env.scratch.join("told");
    let file = fs::File::create(&told)?;
    let status = status(fsx(seeds).stdout(file.try_clone()?).stderr(file))?;
    let told = fs::read_to_string(&told)?;
    println!("{told}");
    if status.success() {
        return Ok(());
    }
    let unsupported = told
        .lines()
        .find(|line| ["EOPNOTSUPP", "ENOSYS", "not support"].iter().any(|word| line.contains(word)));
    if let Some(line) = unsupported {
        return Err(Failure::Skipped(line.to_owned()));
    }
    let why = told
        .lines()
        .find(|line| line.contains("miscompare") || line.contains("panicked") || line.contains("rror"));
    check(false, || format!("fsx ended with {status}: {}", why.unwrap_or_default()))
}
