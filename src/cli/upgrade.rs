//! `as2hook upgrade`: a new process takes over from the gateway that runs.

use std::{
    env,
    io::{BufRead as _, BufReader, Write},
    num::NonZeroU32,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use super::CommandError;
use crate::lifecycle::SERVES;

/// Starts a new process that takes over from the gateway that runs, without refusing a connection, and waits
/// until it serves.
#[derive(Clone, Debug, clap::Args)]
pub struct Upgrade {
    /// The config.
    #[arg(short, long, value_name = "FILE", default_value = "conf/as2hook.yaml")]
    config: PathBuf,
    /// The gateway's process [default: the one that listens on an address of the config].
    #[arg(long, value_name = "PID")]
    pid: Option<NonZeroU32>,
    /// How long the new process may take until it could take over.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

/// What the two processes may take beyond that for the handover itself.
const HANDOVER: Duration = Duration::from_secs(15);

// === impl Upgrade ===

impl Upgrade {
    /// The new process has this one's stderr for its log.
    ///
    /// # Errors
    /// When the new process does not serve: the old one does then.
    pub fn run(self, out: &mut dyn Write) -> Result<(), CommandError> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("run").arg("-c").arg(&self.config);
        command.arg("--replace-within").arg(self.timeout.to_string());
        if let Some(pid) = self.pid {
            command.arg("--replace-pid").arg(pid.to_string());
        }
        // It outlives this command, and a Ctrl-C for it.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| {
            CommandError::Failed(format!("the new process cannot be started: {error}"))
        })?;
        let stdout = child.stdout.take();
        let (reports, report) = mpsc::channel();
        thread::spawn(move || {
            let first_line = stdout.and_then(|stdout| BufReader::new(stdout).lines().next()?.ok());
            // Nothing waits for it any more once this command has given up.
            drop(reports.send(first_line));
        });
        let number = child.id();
        match report.recv_timeout(Duration::from_secs(self.timeout).saturating_add(HANDOVER)) {
            Ok(Some(line)) if line == SERVES => {
                Ok(writeln!(out, "Process {number} has taken over and serves.")?)
            }
            Ok(_) => {
                let status = child.wait()?;
                Err(CommandError::Failed(format!(
                    "the new process did not take over ({status}): its reason is printed above; the gateway \
                     that runs serves on"
                )))
            }
            Err(_) => Err(CommandError::Failed(format!(
                "the new process {number} has not reported in time whether it serves: its log and \
                 `as2hook healthcheck` show it"
            ))),
        }
    }
}
