//! `as2hook upgrade`: a new process takes over from the gateway that runs.

use std::{
    env,
    io::{self, BufRead as _, BufReader, Write},
    num::NonZeroU32,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
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
    /// Starts the new process and waits for nothing.
    #[arg(long, hide = true)]
    detach: bool,
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
        if self.detach {
            self.start(&mut command)?;
            return Ok(());
        }
        // The process between the two ends at once, so that the new gateway is a child of the service manager,
        // as a main process has to be.
        command.args(env::args_os().skip(1)).arg("--detach");
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut between = command.spawn().map_err(cannot_start)?;
        let stdout = between.stdout.take();
        let (reports, report) = mpsc::channel();
        thread::spawn(move || {
            let first_line = stdout.and_then(|stdout| BufReader::new(stdout).lines().next()?.ok());
            // Nothing waits for it any more once this command has given up.
            drop(reports.send(first_line));
        });
        between.wait()?;
        let within = Duration::from_secs(self.timeout).saturating_add(HANDOVER);
        let line = report.recv_timeout(within).map_err(|_| {
            CommandError::Failed(format!(
                "the new process has not reported within {} s whether it serves: its log and `as2hook \
                 healthcheck` show it",
                within.as_secs()
            ))
        })?;
        match line.as_deref().and_then(|line| line.strip_prefix(SERVES)) {
            Some(pid) => Ok(writeln!(out, "Process {pid} has taken over and serves.")?),
            None => Err(CommandError::Failed(
                "the new process did not take over, for the reason above; a gateway that runs serves on"
                    .to_owned(),
            )),
        }
    }

    fn start(&self, command: &mut Command) -> Result<Child, CommandError> {
        command.arg("run").arg("-c").arg(&self.config);
        command.arg("--replace-within").arg(self.timeout.to_string());
        if let Some(pid) = self.pid {
            command.arg("--replace-pid").arg(pid.to_string());
        }
        // It outlives this command, and a Ctrl-C for it.
        command.process_group(0).stdin(Stdio::null()).spawn().map_err(cannot_start)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what map_err passes")]
fn cannot_start(error: io::Error) -> CommandError {
    CommandError::Failed(format!("the new process cannot be started: {error}"))
}
