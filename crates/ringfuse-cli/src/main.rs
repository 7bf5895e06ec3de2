//! `ringfuse`: filesystems served by the library of that name, as one program.
//!
//! `cli` is the command line, `serve` what all filesystems do alike; each filesystem has a module of its own, built on
//! the library's public interface alone.

#![deny(unsafe_code)]

mod caller;
mod cli;
mod failure;
mod holes;
mod mem;
mod mirror;
mod serve;
mod size;
#[allow(unsafe_code)]
mod sys;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command, Common};
use failure::Failure;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let (Command::Mem { common, .. } | Command::Mirror { common, .. }) = &command;
    let result = match common.remount() {
        Some((mountpoint, list)) => ringfuse::remount(mountpoint, list).map_err(Failure::from),
        None => serve(command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("ringfuse: error: {failure}");
            failure.status()
        }
    }
}

fn serve(command: Command) -> Result<(), Failure> {
    match command {
        Command::Mem { common, options } => serve_mem(&common, options),
        Command::Mirror { common, options } => serve_mirror(&common, options),
    }
}

fn serve_mem(common: &Common, mut options: mem::options::Options) -> Result<(), Failure> {
    let mut mount_options = common.mount_options("mem", &mut options)?;
    // The kernel checks permissions; it knows all groups of the caller.
    mount_options.default_permissions = true;
    serve::log(common)?;
    let depth = options.depth();
    let filesystem = mem::MemFs::new(options, &mount_options)
        .map_err(|error| Failure::System("cannot open /proc", error))?;
    let report = filesystem.report();
    serve::serve(common.mount(mount_options, depth), filesystem, report, common.stats)
}

fn serve_mirror(common: &Common, mut options: mirror::options::Options) -> Result<(), Failure> {
    let mut mount_options = common.mount_options("mirror", &mut options)?;
    // As for `mem`.
    mount_options.default_permissions = true;
    serve::log(common)?;
    let depth = options.depth();
    let filesystem = mirror::Mirror::new(options, &mount_options)?;
    let report = filesystem.report();
    serve::serve(common.mount(mount_options, depth), filesystem, report, common.stats)
}
