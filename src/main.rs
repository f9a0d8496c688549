//! The `as2hook` command; everything is in the library.

use std::process::ExitCode;

use as2hook::cli::Cli;
use clap::Parser as _;

fn main() -> ExitCode {
    Cli::parse().run()
}
