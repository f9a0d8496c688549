//! The command line: one file a command. `docs/operating.md` has its exit statuses.

pub mod backup;
pub mod check;
pub mod config;
pub mod decode;
pub mod hash_token;
pub mod healthcheck;
pub mod init;
pub mod inspect;
pub mod listen;
pub mod manual;
pub mod matches;
pub mod migrate;
mod remote;
pub mod run;
pub mod search;
pub mod secret;
pub mod status;
mod terminal;
pub mod upgrade;

use std::{
    io::{self, BufRead, IsTerminal as _, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use as2hook_config::{ConfigDiagnostic, Loaded, Plugins};
use clap::{Parser, Subcommand};

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
    /// Writes a config that works as it stands, or takes one over from an OpenAS2.
    Init(init::Init),
    /// Replaces the running gateway by a new process, and waits until that serves.
    ///
    /// No connection is refused. If the new process cannot start or take over, the old one serves on: exit status
    /// 1, and the reason on stderr. This is what `systemctl reload` runs.
    Upgrade(upgrade::Upgrade),
    /// Asks whether the running gateway should get traffic.
    Healthcheck(healthcheck::Healthcheck),
    /// Loads config, keys and rules, and prints every mistake in them and what cannot work.
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
    /// Prints a new secret to sign a webhook's deliveries with: whsec_ and base64.
    Secret(secret::NewSecret),
    /// Takes webhooks on this machine, and prints each and whether its signature is valid.
    ///
    /// It listens on 127.0.0.1 and prints a rule to put into webhooks.yaml. Ctrl-C ends it.
    Listen(listen::Args),
    /// Shows how the running gateway is: reload, store, queue, webhooks out of service.
    Status(status::ShowStatus),
    /// Lists events of the running gateway, newest first.
    Events(search::Events),
    /// Shows what happened to a message, and why a webhook did not come.
    Event(inspect::ShowEvent),
    /// Lists deliveries of the running gateway, newest first.
    Deliveries(search::Deliveries),
    /// Shows a delivery with its attempts.
    Delivery(inspect::ShowDelivery),
    /// Makes pending and dead deliveries now, with the same webhook-id: one, or all that match.
    Retry(search::Change),
    /// Gives up deliveries that are not delivered: one, or all that match.
    Cancel(search::Change),
    /// Makes deliveries again that are delivered, dead, orphaned or cancelled: one, or all that match.
    Replay(search::Replay),
    /// Sends a marked test to a webhook, and waits for it.
    SendTest(status::SendTest),
    /// Prints the manual page, or writes those of all commands into a folder.
    Man(manual::ManualPages),
    /// Prints what a shell completes the command line with.
    Completions(manual::Completions),
}

/// Why a command did not do what it was to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The config or the rules have mistakes.
    #[error("{} cannot be used: it has {}", config.display(), mistakes(diagnostics.len()))]
    Config {
        /// The gateway's config file.
        config: PathBuf,
        /// The mistakes.
        diagnostics: Vec<ConfigDiagnostic>,
    },
    /// The command line asks for what cannot be.
    #[error("{0}")]
    Usage(&'static str),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
    /// The result could not be written.
    #[error("the result cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// As clap exits for what it cannot read.
const USAGE: u8 = 2;

// === impl Cli ===

impl Cli {
    /// Runs the command that was asked for: 0 ok, 1 it failed; 2 wrong usage.
    pub fn run(self, plugins: &Plugins) -> ExitCode {
        let (mut out, mut err) = (io::stdout(), io::stderr());
        let done = match self.command {
            Command::Run(args) => return args.run(plugins),
            Command::Init(init) => {
                let mut stdin = io::stdin().is_terminal().then(|| io::stdin().lock());
                let input = stdin.as_mut().map(|stdin| stdin as &mut dyn BufRead);
                init.run(plugins, input, &mut out, &mut err)
            }
            Command::Decode(args) => args.run(plugins, &mut out, &mut err),
            Command::Check(check) => check.run(plugins, &mut out, &mut err),
            Command::Config(config) => config.run(plugins, &mut out),
            Command::Schema(schema) => schema.run(plugins, &mut out),
            Command::Match(matches) => matches.run(plugins, &mut out, &mut err),
            Command::Backup(backup) => backup.run(plugins, &mut out, &mut err),
            Command::Restore(restore) => restore.run(plugins, &mut out, &mut err),
            Command::Migrate(args) => args.run(&mut out, &mut err),
            Command::Secret(secret) => secret.run(&mut out),
            Command::Listen(listen) => listen.run(&mut out),
            Command::Status(status) => status.run(plugins, &mut out),
            Command::Events(events) => events.run(plugins, &mut out),
            Command::Event(event) => event.run(plugins, &mut out),
            Command::Deliveries(deliveries) => deliveries.run(plugins, &mut out),
            Command::Delivery(delivery) => delivery.run(plugins, &mut out),
            Command::Retry(change) => change.retry(plugins, &mut out),
            Command::Cancel(change) => change.cancel(plugins, &mut out),
            Command::Replay(replay) => replay.run(plugins, &mut out),
            Command::SendTest(test) => test.run(plugins, &mut out),
            Command::Upgrade(upgrade) => upgrade.run(&mut out),
            Command::Healthcheck(check) => check.run(plugins, &mut out),
            Command::Man(man) => man.run(&mut out),
            Command::Completions(completions) => completions.run(&mut out),
            Command::HashToken(hash) => {
                match hash.run(&mut io::stdin().lock(), &mut out, &mut err) {
                    Ok(code) => return code,
                    Err(error) => Err(error.into()),
                }
            }
        };
        exit(done, &mut out, &mut err)
    }
}

/// Loads config, keys and rules.
fn load(config: &Path, plugins: &Plugins) -> Result<Loaded, CommandError> {
    as2hook_config::load(config, plugins).map_err(in_config(config))
}

fn in_config(config: &Path) -> impl Fn(Vec<ConfigDiagnostic>) -> CommandError {
    |diagnostics| CommandError::Config { config: config.to_owned(), diagnostics }
}

fn mistakes(number: usize) -> String {
    match number {
        1 => "one mistake".to_owned(),
        many => count(many, "mistake"),
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Reports what went wrong. Mistakes of the config are a result: each is a line on `out`.
fn exit(done: Result<(), CommandError>, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    let Err(error) = done else { return ExitCode::SUCCESS };
    // Without a place to write to, the exit status says it.
    let _ = match &error {
        CommandError::Config { diagnostics, .. } => diagnostics
            .iter()
            .try_for_each(|mistake| writeln!(out, "{mistake}"))
            .and_then(|()| writeln!(err, "{error}.")),
        _ => writeln!(err, "as2hook: {error}"),
    };
    match error {
        CommandError::Usage(_) => ExitCode::from(USAGE),
        _ => ExitCode::FAILURE,
    }
}

/// Writes to stderr what went wrong: exit status 1.
fn fail(error: &io::Error) -> ExitCode {
    exit(Err(CommandError::Failed(error.to_string())), &mut io::sink(), &mut io::stderr())
}
