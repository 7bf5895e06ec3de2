//! Runs the POSIX suite on a directory; see `posix-suite --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ringfuse_kit::posix::cli::main(std::env::args_os().skip(1))
}
