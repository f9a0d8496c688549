//! `as2hook run`: the gateway.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use crate::{life, log};

/// Runs the gateway.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The config.
    #[arg(short, long, value_name = "FILE", default_value = "conf/as2hook.yaml")]
    config: PathBuf,
}

// === impl Args ===

impl Args {
    /// Runs until a signal ends it.
    pub fn run(&self) -> ExitCode {
        log::start();
        match life::live(&self.config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(life::LifeError::Config(mistakes)) => {
                let mut stderr = std::io::stderr().lock();
                for mistake in mistakes {
                    // Without a stderr there is nobody to tell.
                    let _ = writeln!(stderr, "{mistake}");
                }
                super::fail("the config cannot be used: put right what stands above")
            }
            Err(error) => super::fail(error),
        }
    }
}
