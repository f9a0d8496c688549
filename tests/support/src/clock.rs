//! The clock of a gateway's machine, which a test sets while the gateway runs.
//!
//! Debian's `libfaketime` gives the time to processes that load it, in place of the kernel. Durations stay true: the
//! monotonic clock is left alone, as it is where a machine's clock is set.

use std::fs;
use std::io;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::gateway::Gateway;

/// A clock that differs from the machine's by a set offset.
#[derive(Debug)]
pub struct Clock {
    folder: TempDir,
}

// === impl Clock ===

impl Clock {
    /// A clock that is right.
    pub fn new() -> io::Result<Self> {
        let clock = Self { folder: tempfile::Builder::new().prefix("as2hook-clock-").tempdir()? };
        clock.set("+0")?;
        Ok(clock)
    }

    /// From now on it differs by this from the machine's: `+31d`, `-1h`, `+90s`, `+0`.
    pub fn set(&self, offset: &str) -> io::Result<()> {
        // In one rename: a process reads the file whenever it asks for the time.
        let new = self.folder.path().join("new");
        fs::write(&new, offset)?;
        fs::rename(new, self.file())
    }

    /// What a process that goes by this clock needs in its environment.
    ///
    /// # Errors
    /// When the Debian package `faketime` is not installed.
    pub fn environment(&self) -> io::Result<Vec<(String, String)>> {
        Ok(vec![
            ("LD_PRELOAD".to_owned(), library()?.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE".to_owned(), self.file().display().to_string()),
            ("FAKETIME_NO_CACHE".to_owned(), "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()),
            // Times of files are the kernel's.
            ("NO_FAKE_STAT".to_owned(), "1".to_owned()),
        ])
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }
}

// === impl Gateway ===

impl Gateway {
    /// Its machine's clock is this one. Panics where the Debian package `faketime` is missing.
    pub fn clock(self, clock: &Clock) -> Self {
        let environment = clock.environment().expect("the package faketime is installed");
        environment.iter().fold(self, |this, (name, value)| this.environment(name, value))
    }

    /// Its machine's clock differs by this from the others', and stays so: it costs less than one that may
    /// be set. Panics where the Debian package `faketime` is missing.
    pub fn clock_off_by(self, offset: &str) -> Self {
        let library = library().expect("the package faketime is installed");
        self.environment("LD_PRELOAD", &library.display().to_string())
            .environment("FAKETIME", offset)
            .environment("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .environment("NO_FAKE_STAT", "1")
    }
}

fn library() -> io::Result<PathBuf> {
    let missing = || io::Error::other("libfaketimeMT.so.1 is missing: install Debian's faketime");
    for machine in fs::read_dir("/usr/lib")? {
        let library = machine?.path().join("faketime/libfaketimeMT.so.1");
        if library.exists() {
            return Ok(library);
        }
    }
    Err(missing())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn clock_that_is_set_is_read_so_by_the_next_process() {
        let clock = Clock::new().unwrap();
        let seconds = || -> i64 {
            let mut date = Command::new("date");
            let date = date.arg("+%s").envs(clock.environment().unwrap()).output().unwrap();
            String::from_utf8(date.stdout).unwrap().trim().parse().unwrap()
        };
        let right = seconds();
        clock.set("+31d").unwrap();
        assert!(seconds() >= right + 31 * 86_400);
        clock.set("-1h").unwrap();
        assert!(seconds() < right);
    }
}
