//! The errors of a store.

use std::{io, path::Path};

use crate::payload::seal::SealError;

/// Why a call to the store failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database returned an error.
    #[error("the store failed: {0}")]
    Database(String),
    /// The store's disk is full. The next call may succeed.
    #[error("the store's disk is full ({0}): free some space, nothing else needs to be done")]
    Full(String),
    /// The store is read-only.
    #[error(
        "the store may not be written ({0}): check the owner and the permissions of its file and folder (chown --reference=FOLDER FILE), and how the disk is mounted"
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
    /// The store took too long. The call may still be carried out.
    #[error("the store did not respond within {} ms", .0.as_millis())]
    Slow(std::time::Duration),
    /// The address of the store's database is invalid.
    #[error("the store's address is not understood: {0}")]
    Address(String),
    /// The store's database cannot be reached. The call may have been carried out; the next one
    /// tries again.
    #[error("the store's database cannot be reached ({0}): check that it runs, and the way to it")]
    Unreachable(String),
    /// The store's database refused the connection.
    #[error(
        "the store's database refused us ({0}): check the user, its password and rights, and the database's name"
    )]
    Refused(String),
    /// The event does not exist.
    #[error("the store has no event {0}")]
    UnknownEvent(uuid::Uuid),
    /// The store's folder, file or lock could not be created or opened.
    #[error("cannot open the store: {path}: {source}")]
    Open {
        /// The file or folder.
        path: std::path::PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// A payload file could not be written, read or removed.
    #[error("payload file {path}: {source}")]
    Payload {
        /// The file.
        path: std::path::PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The folder or prefix for payloads belongs to another store.
    #[error(
        "{place} belongs to another store (id {owner}, and this store's is {store}): give each config \
         a place of its own behind `payloads:`, and check that `store:` names the right one; move what \
         is in the place away if its store is gone for good"
    )]
    OtherStore {
        /// The folder or prefix.
        place: String,
        /// The id of its store.
        owner: uuid::Uuid,
        /// The id of the store that wanted to use it.
        store: uuid::Uuid,
    },
    /// A payload in pieces could not be written, read or removed.
    #[error("payload {payload}: {reason}")]
    Blobs {
        /// The payload's id.
        payload: uuid::Uuid,
        /// The reason.
        reason: String,
    },
    /// A payload could not be sealed or opened.
    #[error("the payload of event {event}: {source}")]
    Seal {
        /// The event of the payload.
        event: uuid::Uuid,
        /// The reason.
        source: SealError,
    },
    /// The payload was removed, since all deliveries that needed it were made:
    /// [`crate::Store::purge_payloads`].
    #[error("the payload is no longer kept (retention.payloads)")]
    Purged,
    /// There is no place for payloads that are too large for their event's row.
    #[error("there is no place for large payloads")]
    NoPlace,
    /// An earlier write of the payload failed, so no more of it is accepted.
    #[error("the payload was abandoned when an earlier write failed")]
    GivenUp,
    /// The store has a schema of a newer as2hook.
    #[error(
        "the store's schema is version {found}, and this as2hook knows {known}: run a newer as2hook, or restore a backup made by this one"
    )]
    TooNew {
        /// The version of the store.
        found: i64,
        /// The newest version that this program supports.
        known: i64,
    },
    /// Another gateway has a newer configuration, which decides about deliveries.
    #[error(
        "another gateway of this store has a newer configuration, which decides: reload or restart this gateway with it, or ask that one"
    )]
    OlderConfiguration,
    /// The store is closed, or its thread has ended.
    #[error("the store is closed")]
    Closed,
}

/// Returns the error of a payload file.
pub(crate) fn payload_error(path: &Path, source: io::Error) -> StoreError {
    StoreError::Payload { path: path.to_owned(), source }
}

/// Returns the error of an event's payload.
pub(crate) fn seal_error(event: uuid::Uuid) -> impl Fn(SealError) -> StoreError {
    move |source| StoreError::Seal { event, source }
}

// === impl StoreError ===

impl StoreError {
    /// Whether the error concerns the store as a whole and may pass, by itself or once its cause is
    /// fixed. Any other error concerns the call, and recurs when the call is repeated.
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
            | Self::OtherStore { .. }
            | Self::Blobs { .. }
            | Self::Seal { .. }
            | Self::Purged
            | Self::NoPlace
            | Self::GivenUp
            | Self::TooNew { .. }
            | Self::OlderConfiguration
            | Self::Closed => false,
        }
    }

    /// Whether the call may have been committed all the same: the last step of the commit failed, or
    /// the process did not see its end in time, for example because it was stopped meanwhile.
    pub fn may_be_committed(&self) -> bool {
        matches!(self, Self::Disk(_) | Self::Unreachable(_) | Self::Slow(_) | Self::Closed)
    }
}
