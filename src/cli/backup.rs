//! `as2hook backup` and `as2hook restore`: a copy of the store while the gateway runs, and the way
//! back.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use as2hook_store::sqlite::backup;

use super::{fail, tell};
use as2hook_config::{self as config, Config, PayloadLocation, Plugins, StoreLocation};

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

/// Reports how far a copy is.
struct Progress<'a> {
    err: &'a mut dyn Write,
    next: Instant,
}

// === impl Backup ===

impl Backup {
    /// The result goes to `out`, progress to `err`.
    ///
    /// # Errors
    /// When `out` or `err` cannot be written to.
    pub fn run(
        &self,
        plugins: &Plugins,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> io::Result<ExitCode> {
        let config = match load(&self.config, plugins, out, err)? {
            Ok(config) => config,
            Err(code) => return Ok(code),
        };
        let Some(database) = database(&config) else {
            return Ok(fail(
                "the store is PostgreSQL: back it up with pg_dump, which copies it while gateways \
                 run, and restore it with pg_restore",
            ));
        };
        let mut progress = Progress { next: Instant::now() + PROGRESS_EVERY, err };
        let payloads = match &config.payloads {
            PayloadLocation::Folder(folder) => Some(folder.as_path()),
            _ => None,
        };
        let mut progress = |at, of| progress.at(at, of);
        let done = match backup::backup(database, &self.file, payloads, &mut progress) {
            Ok(done) => done,
            Err(error) => return Ok(fail(error)),
        };
        let (file, size) = (self.file.display(), in_words(done.bytes));
        writeln!(out, "{file} holds the store: {size}, and {}.", files(done.payloads))?;
        missing(done.missing, err)?;
        Ok(ExitCode::SUCCESS)
    }
}

// === impl Restore ===

impl Restore {
    /// The result goes to `out`, warnings to `err`.
    ///
    /// # Errors
    /// When `out` or `err` cannot be written to.
    pub fn run(
        &self,
        plugins: &Plugins,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> io::Result<ExitCode> {
        let config = match load(&self.config, plugins, out, err)? {
            Ok(config) => config,
            Err(code) => return Ok(code),
        };
        let Some(database) = database(&config) else {
            return Ok(fail("the store is PostgreSQL: restore it with pg_restore"));
        };
        let PayloadLocation::Folder(payloads) = &config.payloads else {
            return Ok(fail(
                "payloads are not kept in a folder: name one, where those of the backup are to go",
            ));
        };
        let done = match backup::restore(&self.file, database, payloads) {
            Ok(done) => done,
            Err(error) => return Ok(fail(error)),
        };
        writeln!(
            out,
            "{} is restored, and {} to {}.",
            database.display(),
            files(done.payloads),
            payloads.display()
        )?;
        missing(done.missing, err)?;
        Ok(ExitCode::SUCCESS)
    }
}

// === impl Progress ===

impl Progress<'_> {
    fn at(&mut self, at: u64, of: u64) {
        if Instant::now() < self.next || of == 0 {
            return;
        }
        self.next = Instant::now() + PROGRESS_EVERY;
        // The copy goes on where progress cannot be written.
        let _ = writeln!(self.err, "{} % of {}", at * 100 / of, in_words(of));
    }
}

fn load(
    path: &Path,
    plugins: &Plugins,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Result<Config, ExitCode>> {
    match config::load(path, plugins) {
        Ok(loaded) => Ok(Ok(loaded.config)),
        Err(mistakes) => {
            tell(&mistakes, path, out, err)?;
            Ok(Err(ExitCode::FAILURE))
        }
    }
}

fn database(config: &Config) -> Option<&Path> {
    match &config.store {
        StoreLocation::Sqlite(path) => Some(path),
        StoreLocation::Postgres(_) => None,
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
