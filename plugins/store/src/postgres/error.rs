//! Sorts PostgreSQL's errors by the reaction that they need.

use std::{error::Error as _, time::Duration};

use deadpool_postgres::PoolError;
use tokio_postgres::{error::SqlState, types::WrongType};

use super::address::ConnectFailure;
use crate::store::StoreError;

/// The SQLSTATE of a group that reached the database after its callers gave up.
const LATE: &str = "AH001";

/// The SQLSTATE of a group of an owner that is not known any more.
const LOST: &str = "AH002";

/// Why a database call failed.
#[derive(Clone, Debug)]
pub(super) struct DatabaseFailure {
    pub(super) kind: FailureKind,
    pub(super) text: String,
}

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// The connection broke: the statement may have been executed.
    Broken,
    /// No connection is available.
    Unreachable,
    /// The database refused the user, password, rights or name, or an object is missing.
    Refused,
    /// It took too long; it may still be executed.
    Slow(Duration),
    /// It arrived too late and was not executed.
    Late,
    /// This process's lease has ended, and another one has reclaimed what it held; not executed.
    Lost,
    /// Another transaction conflicted; everything was rolled back and may be repeated.
    Conflict,
    /// A lock was not available in time.
    Busy,
    /// The disk is full.
    Full,
    /// The server is read-only: most likely a standby, or a former primary.
    ReadOnly,
    /// Its files cannot be read or written.
    Disk,
    /// Its files are damaged.
    Corrupt,
    /// The store was closed.
    Closed,
    /// The statement itself is at fault: it fails whenever it is repeated.
    Database,
}

// === impl DatabaseFailure ===

impl DatabaseFailure {
    pub(super) fn new(kind: FailureKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    pub(super) fn slow(wait: Duration) -> Self {
        Self::new(FailureKind::Slow(wait), String::new())
    }

    /// Whether the same statement may succeed at once, over another connection.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self.kind, FailureKind::Broken | FailureKind::Conflict)
    }

    /// Whether the connection cannot be used any more.
    pub(super) fn spoils_connection(&self) -> bool {
        matches!(
            self.kind,
            FailureKind::Broken
                | FailureKind::Slow(_)
                | FailureKind::ReadOnly
                | FailureKind::Unreachable
        )
    }
}

impl From<tokio_postgres::Error> for DatabaseFailure {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            // Without the detail, which may contain values of a row.
            Some(db_error) => Self::new(
                sort(db_error.code()),
                format!("{} (SQLSTATE {})", db_error.message(), db_error.code().code()),
            ),
            None => {
                let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
                Self::new(sort_own(&error), format!("{error}{cause}"))
            }
        }
    }
}

impl From<ConnectFailure> for DatabaseFailure {
    fn from(unconnected: ConnectFailure) -> Self {
        match unconnected {
            ConnectFailure::Failed(error) => {
                let failure = Self::from(error);
                match failure.kind {
                    // No statement was sent yet.
                    FailureKind::Broken | FailureKind::Database => {
                        Self { kind: FailureKind::Unreachable, ..failure }
                    }
                    _ => failure,
                }
            }
            ConnectFailure::Slow => {
                Self::new(FailureKind::Unreachable, "no server answered in time")
            }
        }
    }
}

impl From<PoolError> for DatabaseFailure {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => ConnectFailure::Failed(error).into(),
            PoolError::Timeout(_) => Self::new(
                FailureKind::Unreachable,
                "no server answered in time, or no connection was free",
            ),
            PoolError::Closed => Self::new(FailureKind::Closed, String::new()),
            error => Self::new(FailureKind::Unreachable, error.to_string()),
        }
    }
}

impl From<DatabaseFailure> for StoreError {
    fn from(DatabaseFailure { kind, text }: DatabaseFailure) -> Self {
        match kind {
            FailureKind::Broken | FailureKind::Unreachable => Self::Unreachable(text),
            FailureKind::Refused => Self::Refused(text),
            FailureKind::Slow(wait) => Self::Slow(wait),
            FailureKind::Late | FailureKind::Lost | FailureKind::Conflict | FailureKind::Busy => {
                Self::Busy(text)
            }
            FailureKind::Full => Self::Full(text),
            FailureKind::ReadOnly => Self::ReadOnly(text),
            FailureKind::Disk => Self::Disk(text),
            FailureKind::Corrupt => Self::Corrupt(text),
            FailureKind::Closed => Self::Closed,
            FailureKind::Database => Self::Database(text),
        }
    }
}

impl From<&StoreError> for DatabaseFailure {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Unreachable(text) => Self::new(FailureKind::Unreachable, text),
            StoreError::Slow(wait) => Self::slow(*wait),
            StoreError::Busy(text) => Self::new(FailureKind::Busy, text),
            StoreError::Full(text) => Self::new(FailureKind::Full, text),
            StoreError::ReadOnly(text) => Self::new(FailureKind::ReadOnly, text),
            StoreError::Disk(text) => Self::new(FailureKind::Disk, text),
            StoreError::Corrupt(text) => Self::new(FailureKind::Corrupt, text),
            StoreError::Refused(text) => Self::new(FailureKind::Refused, text),
            // The call is not at fault, so it is kept.
            error => Self::new(FailureKind::Refused, error.to_string()),
        }
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        DatabaseFailure::from(error).into()
    }
}

/// Only errors about the event itself are [`FailureKind::Database`], because such an event is dropped. All
/// others, unknown ones included, may pass.
fn sort(code: &SqlState) -> FailureKind {
    match code.code() {
        LATE => FailureKind::Late,
        LOST => FailureKind::Lost,
        // The last one: another transaction has written a row since this one has read.
        "40001" | "40P01" | "23505" => FailureKind::Conflict,
        "53100" => FailureKind::Full,
        "25006" => FailureKind::ReadOnly,
        "XX001" | "XX002" => FailureKind::Corrupt,
        "57P03" | "53300" => FailureKind::Unreachable,
        // The time limit of the statement, which is the caller's.
        "57014" => FailureKind::Busy,
        // A prepared statement is missing or outdated: behind a pooler, or after a migration.
        "26000" | "42P05" | "0A000" => FailureKind::Broken,
        code => match code.get(..2) {
            // Data exceptions, constraints, and program limits.
            Some("22" | "23" | "54") => FailureKind::Database,
            // The connection, the transaction's state, and operator intervention.
            Some("08" | "25" | "40" | "57") => FailureKind::Broken,
            Some("53" | "55") => FailureKind::Busy,
            Some("58" | "XX") => FailureKind::Disk,
            // User, password, rights, names, and an incomplete schema, as during a restore.
            _ => FailureKind::Refused,
        },
    }
}

/// Sorts errors on this side of the connection. In doubt the connection is discarded.
fn sort_own(error: &tokio_postgres::Error) -> FailureKind {
    let unwritable = error.source().is_some_and(|cause| {
        cause.downcast_ref::<WrongType>().is_some()
            || cause.downcast_ref::<serde_json::Error>().is_some()
    });
    if unwritable { FailureKind::Database } else { FailureKind::Broken }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlstates_are_sorted_by_reaction() {
        let sorted = |code: &str| {
            StoreError::from(DatabaseFailure::new(sort(&SqlState::from_code(code)), "x"))
        };
        assert!(matches!(sorted("53100"), StoreError::Full(_)));
        assert!(matches!(sorted("25006"), StoreError::ReadOnly(_)));
        assert!(matches!(sorted("XX001"), StoreError::Corrupt(_)));
        assert!(matches!(sorted("40P01"), StoreError::Busy(_)));
        assert!(matches!(sorted("57014"), StoreError::Busy(_)));
        for code in ["57P01", "57P03", "53300", "08006"] {
            assert!(matches!(sorted(code), StoreError::Unreachable(_)), "{code}");
        }
        for code in ["28P01", "28000", "3D000", "42501"] {
            assert!(matches!(sorted(code), StoreError::Refused(_)), "{code}");
        }
        for code in ["53200", "53000", "55P03"] {
            assert!(matches!(sorted(code), StoreError::Busy(_)), "{code}");
        }
        for code in ["58030", "58P01", "XX000"] {
            assert!(matches!(sorted(code), StoreError::Disk(_)), "{code}");
        }
        for code in ["25P03", "25P04", "57P05", "26000", "42P05"] {
            assert_eq!(sort(&SqlState::from_code(code)), FailureKind::Broken, "{code}");
        }
        for code in ["22001", "23514", "54000"] {
            assert!(matches!(sorted(code), StoreError::Database(_)), "{code}");
        }
    }

    #[test]
    fn unknown_sqlstates_may_pass() {
        for code in ["42P01", "42883", "3F000", "P0001", "72000", "F0000"] {
            let error =
                StoreError::from(DatabaseFailure::new(sort(&SqlState::from_code(code)), "x"));
            assert!(matches!(error, StoreError::Refused(_)) && error.may_pass(), "{code}");
        }
    }
}
