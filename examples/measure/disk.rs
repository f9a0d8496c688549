//! The machine: its disk, its load, its processor.

use std::{
    fs::{self, File},
    io::{self, Seek as _, SeekFrom, Write as _},
    path::Path,
    time::{Duration, Instant},
};

/// About what one commit writes ahead: four pages.
const COMMIT: usize = 16 << 10;

/// So much of the file is written over and over, as a write-ahead log is.
const FILE: u64 = 4 << 20;

/// A file on the store's disk.
#[derive(Debug)]
pub(crate) struct Disk {
    file: File,
    took: Vec<Duration>,
}

// === impl Disk ===

impl Disk {
    /// On the disk of this folder.
    pub(crate) fn of(folder: &Path) -> io::Result<Self> {
        let mut file = File::create(folder.join("fsync.probe"))?;
        for _ in 0..FILE / COMMIT as u64 {
            file.write_all(&[0; COMMIT])?;
        }
        file.sync_all()?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Self { file, took: Vec::new() })
    }

    /// Writes and syncs for a while, with pauses like those between commits.
    pub(crate) fn probe(&mut self, lasting: Duration, pause: Duration) -> io::Result<()> {
        let began = Instant::now();
        while began.elapsed() < lasting {
            let wrote = Instant::now();
            if self.file.stream_position()? >= FILE {
                self.file.seek(SeekFrom::Start(0))?;
            }
            self.file.write_all(&[1; COMMIT])?;
            self.file.sync_data()?;
            self.took.push(wrote.elapsed());
            std::thread::sleep(pause);
        }
        Ok(())
    }

    /// How long they took.
    pub(crate) fn took(self) -> Vec<Duration> {
        self.took
    }
}

/// The load average of the last minute.
pub(crate) fn machine_load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// What the processor calls itself.
pub(crate) fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name"));
    name.map_or("an unknown processor", |name| name.trim_start_matches([' ', '\t', ':'])).to_owned()
}
