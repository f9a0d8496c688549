//! The command line: one file a command. `docs/operating.md` has its exit statuses.

pub mod backup;
pub mod check;
pub mod config;
pub mod decode;
pub mod hash_token;
pub mod matches;
pub mod migrate;
pub mod run;

use std::{
    fmt::Display,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use as2hook_config::{ConfigDiagnostic, Plugins};

/// Webhooks for any AS2 server: a reverse proxy that notifies your systems of what came in, what was
/// acknowledged and what failed.
#[derive(Debug, Parser)]
#[command(name = "as2hook", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the gateway: SIGTERM drains and exits, SIGHUP reloads, SIGQUIT hands over to a new process.
    Run(run::Args),
    /// Loads config, keys and rules, and prints every mistake in them.
    Check(check::Check),
    /// Prints the config and the rules that are in force, defaults included and secrets left out.
    Config(config::ShowConfig),
    /// Prints the JSON Schema of as2hook.yaml or webhooks.yaml.
    Schema(config::Schema),
    /// Decodes one AS2 message or MDN and prints what it is as JSON.
    Decode(decode::Args),
    /// Prints which webhooks would get an event, and why.
    Match(matches::Match),
    /// Copies the store while the gateway runs.
    Backup(backup::Backup),
    /// Puts a backup where the store is to be.
    Restore(backup::Restore),
    /// Moves everything from a SQLite store to a PostgreSQL one.
    Migrate(migrate::Args),
    /// Reads a token on standard input and prints the digest to put in the config.
    HashToken(hash_token::HashToken),
}

// === impl Cli ===

impl Cli {
    /// Runs the command that was asked for: 0 ok, 1 it failed; clap exits with 2 on wrong usage.
    pub fn run(self, plugins: &Plugins) -> ExitCode {
        let (mut out, mut err) = (io::stdout(), io::stderr());
        let done = match self.command {
            Command::Run(args) => return args.run(plugins),
            Command::Decode(args) => return args.run(plugins),
            Command::Check(check) => check.run(plugins, &mut out, &mut err),
            Command::Config(config) => config.run(plugins, &mut out, &mut err),
            Command::Schema(schema) => schema.run(plugins, &mut out),
            Command::Match(matches) => matches.run(plugins, &mut out, &mut err),
            Command::Backup(backup) => backup.run(plugins, &mut out, &mut err),
            Command::Restore(restore) => restore.run(plugins, &mut out, &mut err),
            Command::Migrate(args) => args.run(&mut out, &mut err),
            Command::HashToken(hash) => hash.run(&mut io::stdin().lock(), &mut out, &mut err),
        };
        done.unwrap_or_else(|error| fail(format_args!("the result cannot be written: {error}")))
    }
}

/// Prints each mistake on a line of its own, and their number to `err`.
fn tell(
    mistakes: &[ConfigDiagnostic],
    config: &Path,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<()> {
    for mistake in mistakes {
        writeln!(out, "{mistake}")?;
    }
    let count = match mistakes.len() {
        1 => "one mistake".to_owned(),
        many => format!("{many} mistakes"),
    };
    writeln!(err, "{} cannot be used: it has {count}.", config.display())
}

/// Writes to stderr what went wrong: exit status 1.
fn fail(error: impl Display) -> ExitCode {
    // Without a stderr there is no place to report it.
    let _ = writeln!(io::stderr(), "as2hook: {error}");
    ExitCode::FAILURE
}
