//! `as2hook man` and `completions`: manual pages and what shells complete, made from the commands themselves.

use std::{fs, io::Write, path::PathBuf};

use clap::{Command, CommandFactory as _};
use clap_complete::{Shell, generate};
use clap_mangen::Man;

use super::{Cli, CommandError};

/// Prints the manual page of as2hook, or writes those of all its commands into a folder.
#[derive(Clone, Debug, clap::Args)]
pub struct ManualPages {
    /// The folder, which is made if it is not there.
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// Prints what a shell completes as2hook's commands and options with.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Completions {
    /// The shell.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// The command whose manual pages and completions are made.
const NAME: &str = "as2hook";

// === impl ManualPages ===

impl ManualPages {
    /// # Errors
    /// When the folder or `out` cannot be written to.
    pub fn run(self, out: &mut dyn Write) -> Result<(), CommandError> {
        let Some(folder) = self.folder else { return Ok(Man::new(command()).render(out)?) };
        let written =
            fs::create_dir_all(&folder).and_then(|()| clap_mangen::generate_to(command(), &folder));
        written.map_err(|error| {
            CommandError::Failed(format!("{} cannot be written: {error}", folder.display()))
        })
    }
}

// === impl Completions ===

impl Completions {
    /// # Errors
    /// When `out` cannot be written to.
    pub fn run(self, out: &mut dyn Write) -> Result<(), CommandError> {
        // It panics where it cannot write.
        let mut script = Vec::new();
        generate(self.shell, &mut Cli::command(), NAME, &mut script);
        Ok(out.write_all(&script)?)
    }
}

/// Without `help`, which would give each command a second page.
fn command() -> Command {
    Cli::command().disable_help_subcommand(true)
}
