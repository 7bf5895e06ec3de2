//! cargo, with a crate that is made here.

use std::fmt::Write;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::super::case::{Env, Outcome, check, equal, output, status};

const MODULES: u64 = 24;

/// The cargo that runs this, in a folder, as if nothing else were being built.
fn cargo(env: &Env, dir: &Path, args: &[&str]) -> Command {
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut cargo = env.program(&program);
    cargo.current_dir(dir).args(args).arg("--offline");
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let ours = ["CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"].contains(&&*name);
        if !ours && (name.starts_with("CARGO") || name.starts_with("RUST")) {
            cargo.env_remove(&*name);
        }
    }
    cargo
}

fn module(i: u64, factor: u64) -> String {
    format!(
        "pub fn value() -> u64 {{\n    let v: Vec<u64> = (0..1000).map(|x: u64| x * {i}).collect();\n    \
         v.iter().sum::<u64>() * {factor}\n}}\n\n#[test]\nfn it_is_even() {{\n    assert_eq!(value() % 2, 0);\n}}\n"
    )
}

fn value(factor: impl Fn(u64) -> u64) -> String {
    (1..=MODULES).map(|i| (0..1000).sum::<u64>() * i * factor(i)).sum::<u64>().to_string()
}

/// Builds, runs, builds again with nothing changed and with something changed, tests.
pub(super) fn cargo_build(env: &Env) -> Outcome {
    let dir = env.dir.join("made");
    fs::create_dir_all(dir.join("src"))?;
    fs::write(
        dir.join("Cargo.toml"),
        "[package]\nname = \"made\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n",
    )?;
    let mut main = String::new();
    let mut sum = String::new();
    for i in 1..=MODULES {
        fs::write(dir.join(format!("src/m{i}.rs")), module(i, 1))?;
        let _ = writeln!(main, "mod m{i};");
        let _ = write!(sum, " + m{i}::value()");
    }
    fs::write(dir.join("src/main.rs"), format!("{main}fn main() {{\n    println!(\"{{}}\", 0{sum});\n}}\n"))?;

    let build = || -> Outcome<bool> {
        let log = env.scratch.join("cargo.log");
        let status = status(cargo(env, &dir, &["build"]).stderr(File::create(&log)?))?;
        let told = fs::read_to_string(&log)?;
        println!("{told}");
        check(status.success(), || format!("cargo build ended with {status}"))?;
        Ok(told.contains("Compiling"))
    };
    let made = || output(&mut env.program(&dir.join("target/debug/made").to_string_lossy()));
    equal("it is built", build()?, true)?;
    equal("what it prints", made()?, value(|_| 1))?;
    equal("it is built again with nothing changed", build()?, false)?;
    fs::write(dir.join("src/m3.rs"), module(3, 5))?;
    // Whatever the resolution of times is here.
    let later = SystemTime::now() + Duration::from_secs(2);
    File::options().write(true).open(dir.join("src/m3.rs"))?.set_modified(later)?;
    equal("it is built again after a change", build()?, true)?;
    equal("what it prints then", made()?, value(|i| if i == 3 { 5 } else { 1 }))?;
    let tested = output(&mut cargo(env, &dir, &["test", "--quiet"]))?;
    check(tested.contains(&format!("{MODULES} passed")), || format!("its tests: {tested}"))
}
