//! `as2hook migrate`: a site moves from SQLite to PostgreSQL.

use std::{
    io::{self, IsTerminal as _, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use as2hook_store::{
    MigrateError, Moved, PostgresOptions, PostgresStore, SqliteOptions, SqliteStore, Store as _,
    StoreError, migrate,
};

/// How often a long move says how far it is.
const EVERY: Duration = Duration::from_secs(2);

/// Moves everything that a store keeps into another, payload files included.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where it is now. No gateway may run on it.
    #[arg(long, value_name = "sqlite:FILE", value_parser = sqlite)]
    from: PathBuf,
    /// Where it is to be.
    #[arg(long, value_name = "postgres://USER@HOST/DATABASE", value_parser = postgres)]
    to: Target,
}

/// A connection string; it may hold a password, so it is not shown.
#[derive(Clone)]
struct Target(String);

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{path}: there is no such file; name the store of the old config behind sqlite:")]
    Missing { path: PathBuf },
    #[error("the store that is to be moved cannot be opened: {0}")]
    From(StoreError),
    #[error("the new store cannot be opened: {0}")]
    To(StoreError),
    #[error("{0}")]
    Migrate(#[from] MigrateError),
    #[error("threads cannot be started: {0}")]
    Threads(io::Error),
}

// === impl Args ===

impl Args {
    /// Moves, and tells on `err` how far it is; what was moved goes to `out`.
    ///
    /// # Errors
    /// When `out` or `err` cannot be written to.
    pub fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<ExitCode> {
        match self.migrate(err) {
            Ok(moved) => {
                tell(&moved, out)?;
                Ok(ExitCode::SUCCESS)
            }
            Err(failure) => {
                writeln!(err, "as2hook: {failure}")?;
                if matches!(failure, Failure::Migrate(MigrateError::To(_) | MigrateError::From(_)))
                {
                    writeln!(err, "Run the same command again: it goes on where it was.")?;
                }
                Ok(ExitCode::FAILURE)
            }
        }
    }

    fn migrate(&self, err: &mut dyn Write) -> Result<Moved, Failure> {
        if !self.from.exists() {
            return Err(Failure::Missing { path: self.from.clone() });
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(Failure::Threads)?;
        let terminal = io::stderr().is_terminal();
        let mut told = Instant::now();
        let (progress, mut steps) = tokio::sync::watch::channel(Moved::default());
        runtime.block_on(async {
            let from = SqliteStore::open(&self.from, &SqliteOptions::default());
            let from = from.map_err(Failure::From)?;
            let to = PostgresStore::connect(&self.to.0, PostgresOptions::default()).await;
            let to = to.map_err(Failure::To)?;
            let moving = migrate(&from, &to, |moved| {
                progress.send_replace(*moved);
            });
            tokio::pin!(moving);
            let moved = loop {
                tokio::select! {
                    moved = &mut moving => break moved,
                    Ok(()) = steps.changed() => {
                        let so_far = *steps.borrow_and_update();
                        if told.elapsed() >= EVERY {
                            told = Instant::now();
                            let end = if terminal { '\r' } else { '\n' };
                            // Nobody to show it to is no reason to stop.
                            let _ = write!(
                                err,
                                "{} events, {} deliveries, {} notes so far{end}",
                                so_far.events, so_far.deliveries, so_far.notes
                            );
                        }
                    }
                }
            };
            from.close().await;
            to.close().await;
            Ok(moved?)
        })
    }
}

fn tell(moved: &Moved, out: &mut dyn Write) -> io::Result<()> {
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
    writeln!(out, "Now name the new store in the config, and start the gateways.")
}

/// The file behind `sqlite:`.
fn sqlite(text: &str) -> Result<PathBuf, String> {
    match text.strip_prefix("sqlite:") {
        Some(path) if !path.is_empty() => Ok(Path::new(path).to_owned()),
        _ => Err("a file behind sqlite: is needed, as in sqlite:data/as2hook.db".to_owned()),
    }
}

fn postgres(text: &str) -> Result<Target, String> {
    match text.split_once("://") {
        Some(("postgres" | "postgresql", rest)) if !rest.is_empty() => Ok(Target(text.to_owned())),
        _ => Err("an address is needed, as in postgres://user@host/database".to_owned()),
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Target(..)")
    }
}
