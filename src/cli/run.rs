//! `as2hook run`: the gateway.

use std::{num::NonZeroU32, path::PathBuf, process::ExitCode, time::Duration};

use as2hook_config::Plugins;
use rustix::process::Pid;

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
    /// Asks the gateway that runs to hand over, and ends if this takes longer. For `as2hook upgrade`.
    #[arg(long, value_name = "SECONDS", hide = true)]
    replace_within: Option<u64>,
    /// The process of the gateway that runs. For `as2hook upgrade`.
    #[arg(long, hide = true, requires = "replace_within")]
    replace_pid: Option<NonZeroU32>,
}

// === impl Args ===

impl Args {
    /// Runs until a signal ends it.
    pub fn run(&self, plugins: &Plugins) -> ExitCode {
        if let Err(error) = log::start() {
            return super::fail(&error);
        }
        let mode = match self.replace_within {
            Some(seconds) => {
                let process = self.replace_pid.and_then(|pid| i32::try_from(pid.get()).ok());
                let process = process.and_then(Pid::from_raw);
                StartMode::Replace { process, within: Duration::from_secs(seconds) }
            }
            None if self.upgrade => StartMode::Upgrade,
            None => StartMode::Fresh,
        };
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
