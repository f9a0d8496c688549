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
use crate::{
    clock,
    group::ReleaseClaims,
    store::StoreError,
    transaction::{Statement, StoreChange, Transaction},
};

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

/// Reclaims what one terminated owner held. Only one: the lock of a second one would come after those of
/// the first one's orders. Returns whether there was one.
struct Reclaim {
    id: i32,
    lease: i64,
}

/// Ends an owner: its claims are released, and its open exchanges are taken over at once. Its calls in
/// progress are waited for; later ones find the owner gone.
struct EndOwner(i64);

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

    fn milliseconds(&self) -> i64 {
        clock::milliseconds(self.lease)
    }

    /// Returns the statement that makes sure that the lease lasts until the end of the transaction.
    pub(super) fn keep(&self) -> Statement {
        let sql = "SELECT keep_lease($1, $2::bigint * interval '1 millisecond')";
        Statement::new(sql, [i64::from(self.id()).into(), self.milliseconds().into()])
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
    /// transaction for each owner.
    pub(super) async fn reclaim(&self) -> Result<(), StoreError> {
        let mut reclaimed = 0;
        // The next call handles the rest.
        for _ in 0..RECLAIMED_AT_ONCE {
            let id = self.id();
            match self.writing.change(&Reclaim { id, lease: self.milliseconds() }).await {
                Ok(Ok(true)) => reclaimed += 1,
                Ok(Ok(false)) => break,
                Ok(Err(error)) => return Err(error),
                Err(failure) if failure.kind == FailureKind::Lost => self.replace(id).await?,
                Err(failure) => return Err(failure.into()),
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
    pub(super) async fn release(&self) -> Result<(), StoreError> {
        self.writing.change(&EndOwner(self.id().into())).await?
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
        let sql =
            "SELECT keep_lease($1, $2::bigint * interval '1 millisecond'), clock_ms(), sum_up(),
            ARRAY(SELECT DISTINCT ticket FROM delivery WHERE owner = $1)";
        let rows = match self.writing.query(sql, &[&id, &self.milliseconds()]).await {
            Err(failure) if failure.kind == FailureKind::Lost => return self.replace(id).await,
            rows => rows?,
        };
        self.set_clock(&rows, 1)?;
        let tickets: Vec<i64> = rows.first().map_or(Ok(Vec::new()), |row| row.try_get(3))?;
        if tickets.iter().any(|ticket| !claims.is_live(*ticket)) {
            let claims = claims.clone();
            let is_released = move |_, ticket| !claims.is_live(ticket);
            let released = ReleaseClaims { owner: id.into(), is_released };
            // A failure is no reason not to renew the lease; the next heartbeat tries again.
            let _ = self.writing.change(&released).await?;
        }
        Ok(())
    }

    async fn take_place(&self) -> Result<(), DatabaseFailure> {
        let sql = "INSERT INTO owner (lease_until)
            VALUES (clock_timestamp() + $1::bigint * interval '1 millisecond') RETURNING id, clock_ms()";
        let rows = self.writing.query(sql, &[&self.milliseconds()]).await?;
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

impl StoreChange for Reclaim {
    type Outcome = bool;

    async fn make<T: Transaction>(&self, transaction: &mut T) -> Result<bool, StoreError> {
        let id = i64::from(self.id);
        let sql = "SELECT find_dead($1, $2::bigint * interval '1 millisecond')";
        let found = transaction.rows(sql, vec![id.into(), self.lease.into()]).await?.pop();
        let Some((dead,)) = found.filter(|(dead,): &(i64,)| *dead != 0) else { return Ok(false) };
        let claims = ReleaseClaims { owner: dead, is_released: |_, _| true };
        claims.make(transaction).await?;
        let taken_over = "UPDATE event SET owner = $1, adopted = true WHERE owner = $2";
        let removed = "DELETE FROM owner WHERE id = $1";
        let statements = vec![
            Statement::new(taken_over, [id.into(), dead.into()]),
            Statement::new(removed, [dead.into()]),
        ];
        transaction.end(statements).await.map(|_| true)
    }
}

impl StoreChange for EndOwner {
    type Outcome = ();

    async fn make<T: Transaction>(&self, transaction: &mut T) -> Result<(), StoreError> {
        let lock = "SELECT pg_advisory_xact_lock(1634882403, $1)";
        transaction.send(vec![Statement::new(lock, [self.0.into()])]).await?;
        let claims = ReleaseClaims { owner: self.0, is_released: |_, _| true };
        claims.make(transaction).await?;
        let ended = "UPDATE owner SET lease_until = '-infinity' WHERE id = $1";
        let removed = "DELETE FROM owner
            WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM event WHERE owner = $1)";
        let statements = [ended, removed].map(|sql| Statement::new(sql, [self.0.into()]));
        transaction.end(statements.into()).await.map(drop)
    }
}
