//! `as2hook migrate`: a site moves from SQLite to PostgreSQL.

use std::{
    fmt::Display,
    io::{self, IsTerminal as _, Write},
    path::Path,
    time::{Duration, Instant},
};

use as2hook_store::{
    MigrateError, Moved, PostgresOptions, PostgresStore, SqliteOptions, SqliteStore, Store as _,
    migrate,
};

use super::CommandError;

/// Says where it is to be, if the command line does not.
const TO: &str = "AS2HOOK_MIGRATE_TO";

/// How long one step may take: it is large, and nothing waits behind it.
const STEP_WITHIN: Duration = Duration::from_secs(120);

/// How often a long move says how far it is.
const EVERY: Duration = Duration::from_secs(2);

/// Moves everything that a store keeps into another, payload files included.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where it is now. No gateway may run on it.
    #[arg(long, value_name = "sqlite:FILE")]
    from: StoreUrl,
    /// Where it is to be. Without it the environment's AS2HOOK_MIGRATE_TO says so, which the list of
    /// processes does not show.
    #[arg(long, value_name = "postgres://USER@HOST/DATABASE")]
    to: Option<StoreUrl>,
    /// A value without `--from` or `--to`: clap would repeat it, and its password.
    #[arg(hide = true)]
    stray: Vec<StoreUrl>,
}

/// Either end, not looked at yet: clap repeats what it rejects, and a password may stand in it.
#[derive(Clone)]
struct StoreUrl(String);

// === impl Args ===

impl Args {
    /// Moves, and writes the progress to `err`; what was moved goes to `out`.
    ///
    /// # Errors
    /// When not everything is moved, or `out` cannot be written to.
    pub fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), CommandError> {
        Ok(summarize(&self.migrate(err)?, out)?)
    }

    fn migrate(&self, err: &mut dyn Write) -> Result<Moved, CommandError> {
        if !self.stray.is_empty() {
            return Err(CommandError::Usage(
                "the two stores are named behind --from and --to, nothing without them",
            ));
        }
        let from = sqlite(&self.from.0).ok_or(CommandError::Usage(
            "--from needs a file behind sqlite:, as in sqlite:data/as2hook.db",
        ))?;
        let to = self.to.as_ref().map(|to| to.0.clone());
        let to = to.or_else(|| std::env::var(TO).ok()).filter(|to| is_postgres(to));
        let to = to.ok_or(CommandError::Usage(
            "--to, or AS2HOOK_MIGRATE_TO in the environment, needs an address, as in \
             postgres://user@host/database",
        ))?;
        if !from.exists() {
            return Err(CommandError::Failed(format!(
                "{}: there is no such file; name the store of the old config behind sqlite:",
                from.display()
            )));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(failed("threads cannot be started"))?;
        let end = if io::stderr().is_terminal() { '\r' } else { '\n' };
        let mut reported = Instant::now();
        let progress = |Moved { events, deliveries, notes, .. }: &Moved| {
            if reported.elapsed() >= EVERY {
                reported = Instant::now();
                // The migration goes on where progress cannot be written.
                let _ = write!(
                    err,
                    "{events} events, {deliveries} deliveries, {notes} notes so far{end}"
                );
            }
        };
        runtime.block_on(async {
            let from = SqliteStore::open(from, &SqliteOptions::default());
            let from = from.map_err(failed("the store that is to be moved cannot be opened"))?;
            let options = PostgresOptions { wait: STEP_WITHIN, ..PostgresOptions::default() };
            let to = PostgresStore::connect(&to, options).await;
            let to = to.map_err(failed("the new store cannot be opened"))?;
            let moved = migrate(&from, &to, progress).await;
            from.close().await;
            to.close().await;
            moved.map_err(|error| {
                let again = match error {
                    MigrateError::To(_) | MigrateError::From(_) => {
                        "\nRun the same command again: it goes on where it was."
                    }
                    _ => "",
                };
                CommandError::Failed(format!("{error}{again}"))
            })
        })
    }
}

fn failed<E: Display>(what: &str) -> impl Fn(E) -> CommandError {
    move |error| CommandError::Failed(format!("{what}: {error}"))
}

fn summarize(moved: &Moved, out: &mut dyn Write) -> io::Result<()> {
    let Moved { events, open, deliveries, undelivered, notes, payloads, .. } = moved;
    writeln!(out, "events      {events}, {open} of them without a known outcome")?;
    writeln!(out, "deliveries  {deliveries}, {undelivered} of them still to be made")?;
    writeln!(out, "payloads    {payloads} files")?;
    writeln!(out, "notes       {notes}")?;
    if moved.there_before > 0 {
        writeln!(out, "{} of these were there already.", moved.there_before)?;
    }
    if moved.lost_payloads > 0 {
        let lost = moved.lost_payloads;
        writeln!(out, "{lost} payload files were gone: their raw deliveries cannot be made.")?;
    }
    writeln!(
        out,
        "Now name the new store in the config, with `payloads: store` beside it: payload files"
    )?;
    writeln!(out, "are in the database now. Then start the gateways.")
}

/// The file behind `sqlite:`.
fn sqlite(text: &str) -> Option<&Path> {
    text.strip_prefix("sqlite:").filter(|path| !path.is_empty()).map(Path::new)
}

fn is_postgres(text: &str) -> bool {
    let split = text.split_once("://");
    matches!(split, Some(("postgres" | "postgresql", rest)) if !rest.is_empty())
}

impl From<String> for StoreUrl {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreUrl(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::process::ExitCode;

    use clap::Parser as _;

    use super::{
        super::{USAGE, exit},
        *,
    };

    #[derive(Debug, clap::Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn mistake_is_reported_without_the_password() {
        let password = "hunter2";
        for wrong in [
            &["--from", "sqlite:a.db", "--to", "mysql://me:hunter2@one/db"][..],
            &["--from", "sqlite:a.db", "--to", "hunter2"],
            &["--from", "postgres://me:hunter2@one/db", "--to", "sqlite:a.db"],
            &["--from", "sqlite:a.db", "postgres://me:hunter2@one/db"],
        ] {
            let command = Command::try_parse_from([&["migrate"], wrong].concat()).unwrap();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let done = command.args.run(&mut out, &mut err);
            let status = exit(done, &mut out, &mut err);
            assert_eq!(status, ExitCode::from(USAGE), "{wrong:?}");
            let output = String::from_utf8(err).unwrap() + &format!("{command:?}");
            assert!(!output.contains(password) && output.contains("--"), "{output}");
        }
    }
}
