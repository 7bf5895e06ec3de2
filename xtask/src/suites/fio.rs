//! fio: each block is written with a checksum, read back and verified, by one way of doing I/O a case.

use super::case::{Env, Failure, Outcome, check};
use super::{Case, Scale, Stage, Suite, first_line};
use crate::run::Done;

pub(super) const SUITE: Suite = Suite {
    name: "fio",
    what: "writing and verifying checksums, by many ways of I/O (Debian: fio)",
    cases,
    run,
};

const CASES: [(&str, &[&str]); 14] = [
    ("sync-write", &["--ioengine=sync", "--rw=write", "--bs=128k"]),
    ("sync-odd", &["--ioengine=sync", "--rw=randwrite", "--bs=4567", "--bs_unaligned=1"]),
    ("sync-dsync", &["--ioengine=sync", "--rw=write", "--bs=16k", "--sync=dsync"]),
    ("psync-write", &["--ioengine=psync", "--rw=write", "--bs=64k"]),
    ("psync-randwrite", &["--ioengine=psync", "--rw=randwrite", "--bs=4k"]),
    ("psync-fsync", &["--ioengine=psync", "--rw=randwrite", "--bs=8k", "--fsync=16"]),
    ("psync-direct", &["--ioengine=psync", "--rw=randwrite", "--bs=4k", "--direct=1"]),
    ("pvsync2-randrw", &["--ioengine=pvsync2", "--rw=randrw", "--bs=32k"]),
    ("mmap-randwrite", &["--ioengine=mmap", "--rw=randwrite", "--bs=4k"]),
    ("libaio-direct", &["--ioengine=libaio", "--rw=randwrite", "--bs=4k", "--direct=1"]),
    ("posixaio-randwrite", &["--ioengine=posixaio", "--rw=randwrite", "--bs=16k"]),
    ("io_uring-randrw", &["--ioengine=io_uring", "--rw=randrw", "--bs=16k"]),
    ("io_uring-direct", &["--ioengine=io_uring", "--rw=randrw", "--bs=32k", "--direct=1"]),
    ("splice-write", &["--ioengine=splice", "--rw=write", "--bs=64k"]),
];

fn cases(_: &Stage, scale: Scale) -> Done<Vec<Case>> {
    let limit = scale.pick(60, 120, 1200);
    Ok(CASES.iter().map(|(name, _)| Case::new(*name, limit)).collect())
}

fn run(env: &Env, case: &str) -> Outcome {
    let (_, way) = CASES.iter().find(|(name, _)| *name == case).ok_or("no such case")?;
    let output = env
        .program("fio")
        .args(["--name=verify", "--numjobs=2", "--iodepth=8", "--fallocate=none"])
        .arg(format!("--directory={}", env.dir.display()))
        .arg(format!("--size={}m", env.scale.pick(8, 32, 512)))
        .args(*way)
        .args(["--verify=crc32c", "--do_verify=1", "--verify_fatal=1", "--verify_state_save=0", "--minimal"])
        .output()?;
    let told = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    println!("{told}");
    let fault = told.lines().find(|line| line.contains("verify:") || line.contains("error"));
    let fault = fault.unwrap_or_else(|| first_line(&told)).to_owned();
    if ["not loadable", "does not support direct"].iter().any(|words| told.contains(words)) {
        return Err(Failure::Skipped(fault));
    }
    check(output.status.success(), || format!("it ended with {}: {fault}", output.status))
}
