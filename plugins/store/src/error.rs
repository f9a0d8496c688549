//! Why a store could not do it.

use std::io;

/// Why a store could not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database said no.
    #[error("the store failed: {0}")]
    Database(String),
    /// There is no room left where the store is. The next call may succeed.
    #[error("the store's disk is full ({0}): free some space, nothing else needs to be done")]
    Full(String),
    /// The store may not be written.
    #[error(
        "the store may not be written ({0}): check the permissions of its file and folder, and how the disk is mounted"
    )]
    ReadOnly(String),
    /// Another process kept the store locked for too long. The next call may succeed.
    #[error("the store is locked by another process ({0})")]
    Busy(String),
    /// The store's file is damaged.
    #[error(
        "the store's file is damaged ({0}): repair it or restore a backup, as docs/operating.md says"
    )]
    Corrupt(String),
    /// The store's file could not be opened, read or written. The next call may succeed.
    #[error(
        "the store's file cannot be read or written ({0}): look at the disk, and at the limit of open files"
    )]
    Disk(String),
    /// The store took too long. What was asked for may still be carried out.
    #[error("the store did not answer within {} ms", .0.as_millis())]
    Slow(std::time::Duration),
    /// The address of the store's database is not understood.
    #[error("the store's address is not understood: {0}")]
    Address(String),
    /// The store's database cannot be reached. What was asked for may have been carried out; the next
    /// call tries again.
    #[error("the store's database cannot be reached ({0}): check that it runs, and the way to it")]
    Unreachable(String),
    /// The store's database turned us away.
    #[error(
        "the store's database refused us ({0}): check the user, its password and rights, and the database's name"
    )]
    Refused(String),
    /// No such event is written down.
    #[error("the store knows no event {0}")]
    UnknownEvent(uuid::Uuid),
    /// The store's folder, file or lock could not be made or opened.
    #[error("cannot open the store: {path}: {source}")]
    Open {
        /// The file or folder.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A payload file could not be written, read or removed.
    #[error("payload file {path}: {source}")]
    Payload {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A payload that is kept in pieces could not be written, read or removed.
    #[error("payload {payload}: {reason}")]
    Pieces {
        /// Its name.
        payload: uuid::Uuid,
        /// What was in the way.
        reason: String,
    },
    /// A payload could not be sealed or opened.
    #[error("the payload of event {event}: {source}")]
    Seal {
        /// Whose it is.
        event: uuid::Uuid,
        /// What was in the way.
        source: crate::SealError,
    },
    /// A payload was taken away, since every delivery that needed it had been made: [`crate::Store::spend`].
    #[error("the payload is no longer kept (retention.payloads)")]
    Spent,
    /// There is no place for payloads that are too large for their event's row.
    #[error("there is no place for large payloads")]
    NoPlace,
    /// Nothing more is taken of a payload, since what was taken before could not be kept.
    #[error("the payload was given up when an earlier write failed")]
    GivenUp,
    /// The file holds a schema of a newer as2hook.
    #[error(
        "the store's schema is version {found}, and this as2hook knows {known}: run a newer as2hook, or restore a backup made by this one"
    )]
    TooNew {
        /// In the file.
        found: i64,
        /// The newest that we know.
        known: i64,
    },
    /// The store is shut, or its thread is gone.
    #[error("the store is closed")]
    Closed,
}

// === impl StoreError ===

impl StoreError {
    /// Whether it speaks of the store as a whole, and may be over by itself or once somebody has mended
    /// what it says. Another speaks of what was asked for, and comes again whenever that is asked for.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Full(_)
            | Self::ReadOnly(_)
            | Self::Busy(_)
            | Self::Corrupt(_)
            | Self::Disk(_)
            | Self::Unreachable(_)
            | Self::Refused(_)
            | Self::Slow(_) => true,
            Self::Open { source, .. } | Self::Payload { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::ReadOnlyFilesystem
            ),
            Self::Database(_)
            | Self::Address(_)
            | Self::UnknownEvent(_)
            | Self::Pieces { .. }
            | Self::Seal { .. }
            | Self::Spent
            | Self::NoPlace
            | Self::GivenUp
            | Self::TooNew { .. }
            | Self::Closed => false,
        }
    }
}
