//! Who holds what: each process is an owner, alive as long as it renews its lease. Leases go by the
//! database's clock alone.
//!
//! A process that could not renew its lease in time (it hung, or the database did) finds out with its
//! next group, or with its next heartbeat. Either nobody has buried it yet, and it goes on as if
//! nothing had been; or it becomes a new owner. What it had claimed may be another's by then: what it
//! says of those deliveries is passed over, and the other's word counts. What it had open is another's
//! too, and the first to settle it wins: the true outcome, where it comes before the heir has told
//! "outcome unknown"; never both.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{
    claims::Claims,
    database::Database,
    error::{Failure, Kind},
};
use crate::store::StoreError;

/// The number before there is one: the tables know nobody of it.
const NOBODY: i32 = 0;
/// Dead owners that one call takes over.
const BURIED_AT_ONCE: usize = 100;

/// This process's place among the owners.
pub(super) struct Owner {
    id: AtomicI32,
    lease: Duration,
    /// Held while a new place is taken, so that only one is.
    renewal: tokio::sync::Mutex<()>,
    clock: Mutex<Clock>,
    writing: Database,
}

/// What time it is in the database: its milliseconds since 1970 at one moment of ours.
#[derive(Clone, Copy)]
struct Clock {
    theirs: i64,
    ours: Instant,
}

// === impl Owner ===

impl Owner {
    /// Has no place yet.
    pub(super) fn new(writing: Database, lease: Duration) -> Self {
        let clock = Mutex::new(Clock { theirs: 0, ours: Instant::now() });
        let renewal = tokio::sync::Mutex::new(());
        Self { id: AtomicI32::new(NOBODY), lease, renewal, clock, writing }
    }

    /// Its number in the tables.
    pub(super) fn id(&self) -> i32 {
        self.id.load(Ordering::Acquire)
    }

    /// How long a lease lasts, in milliseconds, as SQL takes it.
    pub(super) fn lease(&self) -> f64 {
        self.lease.as_secs_f64() * 1000.0
    }

    /// What the database's clock says at a moment of ours.
    pub(super) fn database_time(&self, moment: Instant) -> i64 {
        let clock = *self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let since = moment.saturating_duration_since(clock.ours);
        clock.theirs.saturating_add(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// Asks the database for the time: it was restarted elsewhere, or its clock was set.
    pub(super) async fn ask_time(&self) -> Result<(), Failure> {
        let rows = self.writing.query("SELECT clock_ms()", &[]).await?;
        self.set_clock(&rows, 0)
    }

    /// `old` is not known, or not any more: takes a new place, unless another task has.
    pub(super) async fn replace(&self, old: i32) -> Result<(), Failure> {
        let _renewal = self.renewal.lock().await;
        if self.id() != old {
            return Ok(());
        }
        if old != NOBODY {
            tracing::warn!(
                "This gateway's lease ended before it was renewed: its claims and open exchanges are \
                another's."
            );
        }
        self.take_place().await
    }

    /// Frees what the dead left and takes their open events over, one owner a statement.
    pub(super) async fn bury(&self) -> Result<(), Failure> {
        let mut buried = 0;
        // Whoever is left is found by the next call.
        for _ in 0..BURIED_AT_ONCE {
            let id = self.id();
            let sql = "SELECT bury($1, $2 * interval '1 millisecond')";
            let rows = self.writing.query(sql, &[&id, &self.lease()]).await?;
            match rows.first().map_or(Ok(None), |row| row.try_get::<_, Option<i32>>(0))? {
                Some(0) => break,
                Some(more) => buried += more,
                None => self.replace(id).await?,
            }
        }
        if buried > 0 {
            tracing::info!(buried, "Dead gateways' claims and open exchanges were taken over.");
        }
        Ok(())
    }

    /// Gives this place up.
    pub(super) async fn resign(&self) -> Result<(), Failure> {
        self.writing.query("SELECT resign($1)", &[&self.id()]).await.map(|_| ())
    }

    /// Renews the lease as long as the store is open, and puts claims back that nobody holds.
    pub(super) async fn beat(self: Arc<Self>, claims: Claims) {
        let pause = self.lease / 6;
        loop {
            // A failure is followed up sooner: the lease goes on ending.
            let pause = match self.beat_once(&claims).await {
                Ok(()) => pause,
                Err(Failure { kind: Kind::Closed, .. }) => return,
                Err(error) => {
                    let error = StoreError::from(error);
                    tracing::debug!(%error, "The lease could not be renewed.");
                    pause.min(Duration::from_secs(1))
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn beat_once(&self, claims: &Claims) -> Result<(), Failure> {
        let id = self.id();
        // Looked at before the database is asked: what is claimed later has a later ticket.
        let (live, last) = claims.live();
        let sql = "SELECT keep_lease($1, $2 * interval '1 millisecond'), clock_ms(),
            free_claims($1, NULL, $3, $4), sum_up()";
        let rows = self.writing.query(sql, &[&id, &self.lease(), &live, &last]).await?;
        self.set_clock(&rows, 1)?;
        let is_known = rows.first().map_or(Ok(false), |row| row.try_get(0))?;
        if is_known { Ok(()) } else { self.replace(id).await }
    }

    async fn take_place(&self) -> Result<(), Failure> {
        let sql = "INSERT INTO owner (lease_until)
            VALUES (clock_timestamp() + $1 * interval '1 millisecond') RETURNING id, clock_ms()";
        let rows = self.writing.query(sql, &[&self.lease()]).await?;
        self.set_clock(&rows, 1)?;
        if let Some(row) = rows.first() {
            self.id.store(row.try_get(0)?, Ordering::Release);
        }
        Ok(())
    }

    fn set_clock(&self, rows: &[tokio_postgres::Row], column: usize) -> Result<(), Failure> {
        let theirs = match rows.first() {
            Some(row) => row.try_get(column)?,
            None => return Ok(()),
        };
        let clock = Clock { theirs, ours: Instant::now() };
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner) = clock;
        Ok(())
    }
}
