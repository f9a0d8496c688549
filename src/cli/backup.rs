//! `as2hook backup` and `as2hook restore`: a copy of the store while the gateway runs, and the way
//! back.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use as2hook_config::{Config, PayloadLocation, Plugins, StoreLocation};
use as2hook_store::sqlite::backup;

use super::{CommandError, load};

/// How often progress is reported, from the first such time on.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// Copies the store, with the payload files that it needs, while the gateway runs.
#[derive(Clone, Debug, clap::Args)]
pub struct Backup {
    /// The new file; payload files go into a folder beside it, FILE.payloads.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The gateway's config file.
    #[arg(short, long, value_name = "FILE", default_value = "conf/as2hook.yaml")]
    pub config: PathBuf,
}

/// Puts a backup where the config has its store, which must not be there yet.
#[derive(Clone, Debug, clap::Args)]
pub struct Restore {
    /// What `as2hook backup` made; FILE.payloads beside it belongs to it.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The gateway's config file.
    #[arg(short, long, value_name = "FILE", default_value = "conf/as2hook.yaml")]
    pub config: PathBuf,
}

// === impl Backup ===

impl Backup {
    /// The result goes to `out`, progress to `err`.
    ///
    /// # Errors
    /// When there is no complete backup, or `out` or `err` cannot be written to.
    pub fn run(
        &self,
        plugins: &Plugins,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> Result<(), CommandError> {
        let config = load(&self.config, plugins)?.config;
        let database = database(
            &config,
            "the store is PostgreSQL: back it up with pg_dump, which copies it while gateways \
             run, and restore it with pg_restore",
        )?;
        let payloads = match &config.payloads {
            PayloadLocation::Folder(folder) => Some(folder.as_path()),
            _ => None,
        };
        let mut next = Instant::now() + PROGRESS_EVERY;
        let mut progress = |at: u64, of: u64| {
            if Instant::now() >= next && of > 0 {
                next = Instant::now() + PROGRESS_EVERY;
                // The copy goes on where progress cannot be written.
                let _ = writeln!(err, "{} % of {}", at * 100 / of, in_words(of));
            }
        };
        let done = backup::backup(database, &self.file, payloads, &mut progress);
        let done = done.map_err(|error| CommandError::Failed(error.to_string()))?;
        let (file, size) = (self.file.display(), in_words(done.bytes));
        writeln!(out, "{file} holds the store: {size}, and {}.", files(done.payloads))?;
        Ok(missing(done.missing, err)?)
    }
}

// === impl Restore ===

impl Restore {
    /// The result goes to `out`, warnings to `err`.
    ///
    /// # Errors
    /// When nothing is restored, or `out` or `err` cannot be written to.
    pub fn run(
        &self,
        plugins: &Plugins,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> Result<(), CommandError> {
        let config = load(&self.config, plugins)?.config;
        let database = database(&config, "the store is PostgreSQL: restore it with pg_restore")?;
        let PayloadLocation::Folder(payloads) = &config.payloads else {
            let text =
                "payloads are not kept in a folder: name one, where those of the backup are to go";
            return Err(CommandError::Failed(text.to_owned()));
        };
        let done = backup::restore(&self.file, database, payloads);
        let done = done.map_err(|error| CommandError::Failed(error.to_string()))?;
        let (files, folder) = (files(done.payloads), payloads.display());
        writeln!(out, "{} is restored, and {files} to {folder}.", database.display())?;
        Ok(missing(done.missing, err)?)
    }
}

/// Returns the store's file; fails with this text if the store is PostgreSQL.
fn database<'a>(config: &'a Config, otherwise: &str) -> Result<&'a Path, CommandError> {
    match &config.store {
        StoreLocation::Sqlite(path) => Ok(path),
        StoreLocation::Postgres(_) => Err(CommandError::Failed(otherwise.to_owned())),
    }
}

fn missing(number: u64, err: &mut dyn Write) -> io::Result<()> {
    if number > 0 {
        writeln!(
            err,
            "{number} payload files that an event names are not there: deliveries that need one will \
             fail and say so."
        )?;
    }
    Ok(())
}

fn files(number: u64) -> String {
    match number {
        1 => "one payload file".to_owned(),
        many => format!("{many} payload files"),
    }
}

fn in_words(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    match bytes {
        small if small < MIB => format!("{} KiB", small.div_ceil(1024)),
        medium if medium < 1024 * MIB => format!("{} MiB", medium / MIB),
        large => {
            format!("{}.{} GiB", large / (1024 * MIB), large % (1024 * MIB) * 10 / (1024 * MIB))
        }
    }
}
