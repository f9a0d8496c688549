//! Ownership: each process is an owner as long as it renews its lease. Leases depend on the
//! database's clock alone.
//!
//! A process that could not renew its lease in time (it hung, or the database did) finds out with
//! its next group or heartbeat. If its claims have not been reclaimed yet, it continues as before.
//! Otherwise it becomes a new owner. Another process may have taken over its claims by then: its
//! own outcomes of those deliveries are ignored, and the other's count. Its open exchanges are
//! taken over too, and the first to settle one wins: the true outcome, if it comes before the other
//! process has published "outcome unknown"; never both.

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
    error::{DatabaseFailure, FailureKind},
};
use crate::{clock, store::StoreError};

/// The number before registration: the tables contain no such owner.
const UNREGISTERED: i32 = 0;
/// The most terminated owners that one call reclaims.
const RECLAIMED_AT_ONCE: usize = 100;

/// The registration of this process as an owner.
pub(super) struct ProcessLease {
    id: AtomicI32,
    lease: Duration,
    /// Held during a registration, so that only one takes place.
    renewal: tokio::sync::Mutex<()>,
    clock: Mutex<DatabaseClock>,
    writing: Database,
}

/// Relates a moment of this process to the database's time, in milliseconds since 1970.
#[derive(Clone, Copy)]
struct DatabaseClock {
    theirs: i64,
    ours: Instant,
}

// === impl ProcessLease ===

impl ProcessLease {
    /// Creates an unregistered owner.
    pub(super) fn new(writing: Database, lease: Duration) -> Self {
        let clock = Mutex::new(DatabaseClock { theirs: 0, ours: Instant::now() });
        let renewal = tokio::sync::Mutex::new(());
        Self { id: AtomicI32::new(UNREGISTERED), lease, renewal, clock, writing }
    }

    /// Returns its number in the tables.
    pub(super) fn id(&self) -> i32 {
        self.id.load(Ordering::Acquire)
    }

    /// Returns the duration of a lease in milliseconds, as SQL takes it.
    pub(super) fn lease(&self) -> f64 {
        self.lease.as_secs_f64() * 1000.0
    }

    /// Returns the database's time at a moment of this process.
    pub(super) fn database_time(&self, moment: Instant) -> i64 {
        let clock = *self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let since = moment.saturating_duration_since(clock.ours);
        clock.theirs.saturating_add(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// Reads the database's time again: the server may be another, or its clock was set.
    pub(super) async fn ask_time(&self) -> Result<(), DatabaseFailure> {
        let rows = self.writing.query("SELECT clock_ms()", &[]).await?;
        self.set_clock(&rows, 0)
    }

    /// Registers again because `old` is unknown, unless another task has done that.
    pub(super) async fn replace(&self, old: i32) -> Result<(), DatabaseFailure> {
        let _renewal = self.renewal.lock().await;
        if self.id() != old {
            return Ok(());
        }
        if old != UNREGISTERED {
            tracing::warn!(
                "This gateway's lease ended before it was renewed: its claims and open exchanges are \
                another's."
            );
        }
        self.take_place().await
    }

    /// Releases the claims of terminated owners and takes over their open exchanges, with one
    /// statement for each owner.
    pub(super) async fn reclaim(&self) -> Result<(), DatabaseFailure> {
        let mut reclaimed = 0;
        // The next call handles the rest.
        for _ in 0..RECLAIMED_AT_ONCE {
            let id = self.id();
            let sql = "SELECT reclaim($1, $2 * interval '1 millisecond')";
            let rows = self.writing.query(sql, &[&id, &self.lease()]).await?;
            match rows.first().map_or(Ok(None), |row| row.try_get::<_, Option<i32>>(0))? {
                Some(0) => break,
                Some(more) => reclaimed += more,
                None => self.replace(id).await?,
            }
        }
        if reclaimed > 0 {
            tracing::info!(
                reclaimed,
                "Reclaimed the claims and open exchanges of gateways that terminated."
            );
        }
        Ok(())
    }

    /// Ends the registration.
    pub(super) async fn release(&self) -> Result<(), DatabaseFailure> {
        self.writing.query("SELECT release($1)", &[&self.id()]).await.map(|_| ())
    }

    /// Renews the lease while the store is open, and releases claims without a holder.
    pub(super) async fn beat(self: Arc<Self>, claims: Claims) {
        let pause = self.lease / 6;
        loop {
            // A failure is followed by an earlier try: the lease keeps running out.
            let pause = match self.beat_once(&claims).await {
                Ok(()) => pause,
                Err(DatabaseFailure { kind: FailureKind::Closed, .. }) => return,
                Err(error) => {
                    let error = StoreError::from(error);
                    tracing::debug!(%error, "The lease could not be renewed.");
                    pause.min(Duration::from_secs(1))
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn beat_once(&self, claims: &Claims) -> Result<(), DatabaseFailure> {
        let id = self.id();
        // Read before the query: later claims have later tickets.
        let (live, last) = claims.live();
        let sql = "SELECT keep_lease($1, $2 * interval '1 millisecond'), clock_ms(),
            free_claims($1, NULL, $3, $4), sum_up()";
        let rows = self.writing.query(sql, &[&id, &self.lease(), &live, &last]).await?;
        self.set_clock(&rows, 1)?;
        let is_known = rows.first().map_or(Ok(false), |row| row.try_get(0))?;
        if is_known { Ok(()) } else { self.replace(id).await }
    }

    async fn take_place(&self) -> Result<(), DatabaseFailure> {
        let sql = "INSERT INTO owner (lease_until)
            VALUES (clock_timestamp() + $1 * interval '1 millisecond') RETURNING id, clock_ms()";
        let rows = self.writing.query(sql, &[&self.lease()]).await?;
        self.set_clock(&rows, 1)?;
        if let Some(row) = rows.first() {
            self.id.store(row.try_get(0)?, Ordering::Release);
        }
        Ok(())
    }

    fn set_clock(
        &self,
        rows: &[tokio_postgres::Row],
        column: usize,
    ) -> Result<(), DatabaseFailure> {
        let theirs = match rows.first() {
            Some(row) => row.try_get(column)?,
            None => return Ok(()),
        };
        clock::database_says(theirs);
        let clock = DatabaseClock { theirs, ours: Instant::now() };
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner) = clock;
        Ok(())
    }
}
