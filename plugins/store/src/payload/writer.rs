//! Writes one payload as it is decoded.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

use uuid::Uuid;

use super::{PayloadDir, error, remove};
use crate::{model::Payload, store::StoreError};

/// Takes a payload's bytes and makes them durable. Blocks: it is for the decoder's threads. Dropped
/// unfinished it removes what it wrote.
#[derive(Debug)]
pub struct PayloadWriter {
    folder: PayloadDir,
    size: u64,
    held: Held,
}

#[derive(Debug)]
enum Held {
    Memory(Vec<u8>),
    Spilt {
        path: PathBuf,
        file: File,
    },
    /// A write failed, and the file is removed.
    Failed(PathBuf),
}

// === impl PayloadWriter ===

impl PayloadWriter {
    pub(super) const fn new(folder: PayloadDir) -> Self {
        Self { folder, size: 0, held: Held::Memory(Vec::new()) }
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// [`StoreError::Payload`] when the file cannot be made or written; so does every later call.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let written = match &mut self.held {
            Held::Memory(held) if held.len() + bytes.len() <= Payload::INLINE_MAX => {
                held.extend_from_slice(bytes);
                Ok(())
            }
            Held::Memory(_) => self.spill().and_then(|()| self.write_file(bytes)),
            Held::Spilt { .. } | Held::Failed(_) => self.write_file(bytes),
        };
        match written {
            Ok(()) => self.size += bytes.len() as u64,
            Err(_) => self.fail(),
        }
        written
    }

    /// Bytes taken so far.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Makes it durable: when this returns, the file and its name are on disk.
    ///
    /// # Errors
    /// [`StoreError::Payload`] when it cannot, or when a write before failed.
    pub fn finish(mut self) -> Result<Payload, StoreError> {
        if let Held::Spilt { path, file } = &self.held {
            let folder = self.folder.folder();
            let synced = file
                .sync_all()
                .map_err(|source| error(path, source))
                .and_then(|()| sync_folder(folder));
            if let Err(error) = synced {
                self.fail();
                return Err(error);
            }
        }
        match std::mem::replace(&mut self.held, Held::Memory(Vec::new())) {
            Held::Memory(bytes) => Ok(Payload::Inline(bytes.into())),
            Held::Spilt { path, .. } => Ok(Payload::File { path, size: self.size }),
            Held::Failed(path) => Err(failed_before(path)),
        }
    }

    fn spill(&mut self) -> Result<(), StoreError> {
        let path = self.folder.folder().join(Uuid::now_v7().to_string());
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let held = match opened {
            Ok(file) => Held::Spilt { path, file },
            Err(source) => {
                self.held = Held::Failed(path.clone());
                return Err(error(&path, source));
            }
        };
        match std::mem::replace(&mut self.held, held) {
            Held::Memory(bytes) => self.write_file(&bytes),
            Held::Spilt { .. } | Held::Failed(_) => Ok(()),
        }
    }

    fn write_file(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        match &mut self.held {
            Held::Spilt { path, file } => {
                file.write_all(bytes).map_err(|source| error(path, source))
            }
            Held::Failed(path) => Err(failed_before(path.clone())),
            Held::Memory(held) => {
                held.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    fn fail(&mut self) {
        if let Held::Spilt { path, .. } = &self.held {
            remove(path);
            self.held = Held::Failed(path.clone());
        }
    }
}

impl Drop for PayloadWriter {
    fn drop(&mut self) {
        self.fail();
    }
}

fn sync_folder(folder: &std::path::Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| error(folder, source))
}

fn failed_before(path: PathBuf) -> StoreError {
    StoreError::Payload { path, source: io::Error::other("an earlier write failed") }
}
