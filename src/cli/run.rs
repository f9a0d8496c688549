//! `as2hook run`: the gateway.

use std::{path::PathBuf, process::ExitCode};

use as2hook_config::Plugins;

use crate::{
    lifecycle::{self, LifecycleError, StartMode},
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
    pub fn run(&self, plugins: &Plugins) -> ExitCode {
        if let Err(error) = log::start() {
            return super::fail(&error);
        }
        let mode = if self.upgrade { StartMode::Upgrade } else { StartMode::Fresh };
        let lived = lifecycle::run(&self.config, mode, plugins);
        if let Err(error) = &lived {
            explain(error);
        }
        log::flush();
        if lived.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Through the queue of the log, since its thread may be in the middle of a line.
fn explain(error: &LifecycleError) {
    let LifecycleError::Config(mistakes) = error else {
        return log::print(format_args!("as2hook: {error}"));
    };
    for mistake in mistakes {
        log::print(mistake);
    }
    log::print("as2hook: the config cannot be used: put right what stands above");
}
