//! Translates SQLite's errors to sentences that say what to do.

use rusqlite::{Error, ErrorCode};

use crate::store::StoreError;

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

impl From<&Error> for StoreError {
    fn from(error: &Error) -> Self {
        let text = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full(text),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly(text),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy(text),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(text),
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => {
                let code = error.sqlite_error().map_or(0, |error| error.extended_code);
                Self::Disk(format!("{text}, SQLite's code {code}"))
            }
            _ => Self::Database(text),
        }
    }
}

impl StoreError {
    /// Returns the same error for another caller.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::Full(text) => Self::Full(text.clone()),
            Self::ReadOnly(text) => Self::ReadOnly(text.clone()),
            Self::Busy(text) => Self::Busy(text.clone()),
            Self::Corrupt(text) => Self::Corrupt(text.clone()),
            Self::Disk(text) => Self::Disk(text.clone()),
            Self::Database(text) => Self::Database(text.clone()),
            Self::Slow(wait) => Self::Slow(*wait),
            Self::Open { path, source } => {
                let source = std::io::Error::new(source.kind(), source.to_string());
                Self::Open { path: path.clone(), source }
            }
            Self::TooNew { found, known } => Self::TooNew { found: *found, known: *known },
            other => Self::Database(other.to_string()),
        }
    }
}
