//! The command line (section 1 of the design): one file a command.

pub mod check;
pub mod decode;
pub mod hash_token;
pub mod matches;
pub mod run;

use std::{fmt::Display, io::Write as _, process::ExitCode};

use clap::{Parser, Subcommand};

/// Webhooks for any AS2 server: a reverse proxy that tells your systems what came in, what was
/// acknowledged and what failed.
#[derive(Debug, Parser)]
#[command(name = "as2hook", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the gateway: SIGTERM drains and exits, SIGHUP reloads.
    Run(run::Args),
    /// Loads config, keys and rules, and prints every mistake in them.
    Check(check::Args),
    /// Decodes one AS2 message or MDN and prints what it is as JSON.
    Decode(decode::Args),
    /// Prints which webhooks would be told of an event, and why.
    Match(matches::Args),
    /// Reads a token on standard input and prints the digest to put in the config.
    HashToken(hash_token::Args),
}

// === impl Cli ===

impl Cli {
    /// Runs the command that was asked for: 0 ok, 1 it failed; clap exits with 2 on wrong usage.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Run(args) => args.run(),
            Command::Check(args) => args.run(),
            Command::Decode(args) => args.run(),
            Command::Match(args) => args.run(),
            Command::HashToken(args) => args.run(),
        }
    }
}

/// Tells on stderr what went wrong: exit status 1.
fn fail(error: impl Display) -> ExitCode {
    // Without a stderr there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "as2hook: {error}");
    ExitCode::FAILURE
}
