//! `as2hook run`: the gateway.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use crate::{
    life::{self, Beginning},
    log,
};

/// Runs the gateway.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The config.
    #[arg(short, long, value_name = "FILE", default_value = "conf/as2hook.yaml")]
    config: PathBuf,
    /// Takes the listeners over from the gateway that runs, without refusing a connection: it waits,
    /// with everything checked, until that one gets SIGQUIT. Where none runs, it just starts.
    #[arg(short, long)]
    upgrade: bool,
}

// === impl Args ===

impl Args {
    /// Runs until a signal ends it.
    pub fn run(&self) -> ExitCode {
        log::start();
        let beginning = if self.upgrade { Beginning::Upgrade } else { Beginning::Fresh };
        match life::live(&self.config, beginning) {
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
