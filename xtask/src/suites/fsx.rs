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
    /// One operation of so many is run: those of large files take longer.
    share: u32,
    /// Size of the file, and how often which operation is done. Reading, writing, truncating and both by mappings count
    /// 10 where they are not named.
    config: &'static str,
}

const MIXES: [Mix; 7] = [
    Mix {
        name: "plain",
        share: 1,
        config: "
            flen = 262144
            weights = { mapread = 0, mapwrite = 0, close_open = 1 }",
    },
    Mix {
        name: "mmap",
        share: 1,
        config: "
            flen = 262144
            weights.truncate = 4
            weights.fsync = 1
            weights.fdatasync = 1
            weights.invalidate = 2
            weights.posix_fadvise = 2
            weights.close_open = 2",
    },
    // What is mapped is written back when the kernel likes.
    Mix {
        name: "lazy",
        share: 1,
        config: "
            flen = 262144
            nomsyncafterwrite = true
            weights = { mapread = 5, write = 5, truncate = 4, posix_fadvise = 1, close_open = 2 }",
    },
    // At least a byte: fsx takes EINVAL for an allocation of nothing as one that is not supported.
    Mix {
        name: "alloc",
        share: 1,
        config: "
            flen = 1048576
            opsize = { min = 1, max = 65536, align = 1 }
            weights.punch_hole = 10
            weights.posix_fallocate = 10
            weights.mapread = 5
            weights.mapwrite = 5
            weights.truncate = 4
            weights.fsync = 1
            weights.close_open = 2",
    },
    // Whole blocks, as direct I/O is made of.
    Mix {
        name: "aligned",
        share: 1,
        config: "
            flen = 1048576
            opsize = { max = 131072, align = 4096 }
            weights = { mapread = 0, mapwrite = 0, truncate = 2, punch_hole = 2, fsync = 1, close_open = 2 }",
    },
    Mix {
        name: "big",
        share: 20,
        config: "
            flen = 67108864
            opsize = { max = 4194304, align = 1 }
            weights = { mapread = 2, mapwrite = 2, truncate = 2, close_open = 1 }",
    },
    Mix {
        name: "copy",
        share: 1,
        config: "
            flen = 524288
            weights = { copy_file_range = 10, sendfile = 10, mapread = 0, mapwrite = 0, truncate = 2, close_open = 2 }",
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
