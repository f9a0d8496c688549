//! PostgreSQL's errors, sorted by what is to be done about them.

use std::{error::Error as _, time::Duration};

use deadpool_postgres::PoolError;
use tokio_postgres::{error::SqlState, types::WrongType};

use super::address::Unconnected;
use crate::store::StoreError;

/// The state of a group that reached the database after its callers gave up.
const LATE: &str = "AH001";

/// Why the database did not do it.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    pub(super) text: String,
}

/// What a failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The connection broke: what was asked for may have been carried out.
    Broken,
    /// No connection can be had.
    Unreachable,
    /// The database turned us away: user, password, rights, or name; or something is not there.
    Refused,
    /// It took too long; it may still be carried out.
    Slow(Duration),
    /// It came too late, and was not carried out.
    Late,
    /// Another transaction was in the way; all of it was rolled back and may be tried again.
    Conflict,
    /// A lock was not to be had in time.
    Busy,
    /// No room is left.
    Full,
    /// The server takes no writes: most likely a standby, or one that was the first server once.
    ReadOnly,
    /// Its files cannot be read or written.
    Disk,
    /// Its files are damaged.
    Corrupt,
    /// The store was closed.
    Closed,
    /// What was asked for itself: it fails again whenever that is asked for.
    Database,
}

// === impl Failure ===

impl Failure {
    pub(super) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    pub(super) fn slow(wait: Duration) -> Self {
        Self::new(Kind::Slow(wait), String::new())
    }

    /// Whether the connection that it happened on is of no more use.
    pub(super) fn spoils_connection(&self) -> bool {
        matches!(self.kind, Kind::Broken | Kind::Slow(_) | Kind::ReadOnly | Kind::Unreachable)
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            // The detail is left out: it may tell what stands in a row.
            Some(said) => Self::new(
                sort(said.code()),
                format!("{} (SQLSTATE {})", said.message(), said.code().code()),
            ),
            None => {
                let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
                Self::new(sort_own(&error), format!("{error}{cause}"))
            }
        }
    }
}

impl From<Unconnected> for Failure {
    fn from(unconnected: Unconnected) -> Self {
        match unconnected {
            Unconnected::Failed(error) => {
                let failure = Self::from(error);
                match failure.kind {
                    // Nothing was asked for yet.
                    Kind::Broken | Kind::Database => Self { kind: Kind::Unreachable, ..failure },
                    _ => failure,
                }
            }
            Unconnected::Slow => Self::new(Kind::Unreachable, "no server answered in time"),
        }
    }
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => Unconnected::Failed(error).into(),
            PoolError::Timeout(_) => Self::new(
                Kind::Unreachable,
                "no server answered in time, or no connection was free",
            ),
            PoolError::Closed => Self::new(Kind::Closed, String::new()),
            error => Self::new(Kind::Unreachable, error.to_string()),
        }
    }
}

impl From<Failure> for StoreError {
    fn from(Failure { kind, text }: Failure) -> Self {
        match kind {
            Kind::Broken | Kind::Unreachable => Self::Unreachable(text),
            Kind::Refused => Self::Refused(text),
            Kind::Slow(wait) => Self::Slow(wait),
            Kind::Late | Kind::Conflict | Kind::Busy => Self::Busy(text),
            Kind::Full => Self::Full(text),
            Kind::ReadOnly => Self::ReadOnly(text),
            Kind::Disk => Self::Disk(text),
            Kind::Corrupt => Self::Corrupt(text),
            Kind::Closed => Self::Closed,
            Kind::Database => Self::Database(text),
        }
    }
}

impl From<&StoreError> for Failure {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Unreachable(text) => Self::new(Kind::Unreachable, text),
            StoreError::Slow(wait) => Self::slow(*wait),
            StoreError::Busy(text) => Self::new(Kind::Busy, text),
            StoreError::Full(text) => Self::new(Kind::Full, text),
            StoreError::ReadOnly(text) => Self::new(Kind::ReadOnly, text),
            StoreError::Disk(text) => Self::new(Kind::Disk, text),
            StoreError::Corrupt(text) => Self::new(Kind::Corrupt, text),
            StoreError::Refused(text) => Self::new(Kind::Refused, text),
            // It is not the fault of what was asked for, which is kept.
            error => Self::new(Kind::Refused, error.to_string()),
        }
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        Failure::from(error).into()
    }
}

/// Only what speaks of the event itself is [`Kind::Database`], for that is given up; all else may pass,
/// states that nobody thought of too.
fn sort(code: &SqlState) -> Kind {
    match code.code() {
        LATE => Kind::Late,
        "40001" | "40P01" => Kind::Conflict,
        "53100" => Kind::Full,
        "25006" => Kind::ReadOnly,
        "XX001" | "XX002" => Kind::Corrupt,
        "57P03" | "53300" => Kind::Unreachable,
        // A statement's own time limit, which is the caller's.
        "57014" => Kind::Busy,
        // What was prepared is not there, or not as it was: behind a pooler, or after the tables changed.
        "26000" | "42P05" | "0A000" => Kind::Broken,
        code => match code.get(..2) {
            // Data exceptions, constraints, and limits of the program.
            Some("22" | "23" | "54") => Kind::Database,
            // The connection, the state of its transaction, and what its operator did.
            Some("08" | "25" | "40" | "57") => Kind::Broken,
            Some("53" | "55") => Kind::Busy,
            Some("58" | "XX") => Kind::Disk,
            // User, password, rights, names, and a schema that is not whole, as while it is restored.
            _ => Kind::Refused,
        },
    }
}

/// What went wrong on this side of the connection. Where nobody can say, it is not trusted any more.
fn sort_own(error: &tokio_postgres::Error) -> Kind {
    let unwritable = error.source().is_some_and(|cause| {
        cause.downcast_ref::<WrongType>().is_some()
            || cause.downcast_ref::<serde_json::Error>().is_some()
    });
    if unwritable { Kind::Database } else { Kind::Broken }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_is_told_by_what_is_to_be_done() {
        let told =
            |code: &str| StoreError::from(Failure::new(sort(&SqlState::from_code(code)), "x"));
        assert!(matches!(told("53100"), StoreError::Full(_)));
        assert!(matches!(told("25006"), StoreError::ReadOnly(_)));
        assert!(matches!(told("XX001"), StoreError::Corrupt(_)));
        assert!(matches!(told("40P01"), StoreError::Busy(_)));
        assert!(matches!(told("57014"), StoreError::Busy(_)));
        for code in ["57P01", "57P03", "53300", "08006"] {
            assert!(matches!(told(code), StoreError::Unreachable(_)), "{code}");
        }
        for code in ["28P01", "28000", "3D000", "42501"] {
            assert!(matches!(told(code), StoreError::Refused(_)), "{code}");
        }
        for code in ["53200", "53000", "55P03"] {
            assert!(matches!(told(code), StoreError::Busy(_)), "{code}");
        }
        for code in ["58030", "58P01", "XX000"] {
            assert!(matches!(told(code), StoreError::Disk(_)), "{code}");
        }
        for code in ["25P03", "25P04", "57P05", "26000", "42P05"] {
            assert_eq!(sort(&SqlState::from_code(code)), Kind::Broken, "{code}");
        }
        for code in ["22001", "23514", "54000"] {
            assert!(matches!(told(code), StoreError::Database(_)), "{code}");
        }
    }

    #[test]
    fn what_nobody_thought_of_may_pass() {
        for code in ["42P01", "42883", "3F000", "P0001", "72000", "F0000"] {
            let error = StoreError::from(Failure::new(sort(&SqlState::from_code(code)), "x"));
            assert!(matches!(error, StoreError::Refused(_)) && error.may_pass(), "{code}");
        }
    }
}
