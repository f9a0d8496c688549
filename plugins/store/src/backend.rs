//! What a database has to do itself, so that the calls of a store are written once.

use std::{path::PathBuf, sync::atomic::AtomicI64};

use tokio::sync::broadcast;
use uuid::Uuid;

use crate::{
    gateways::GatewayChange,
    group::{
        call::{CallOutcome, StoreCall},
        claim::ClaimHolding,
    },
    model::Claimed,
    payload::StoreIdentity,
    rows::FromSqlRow,
    store::StoreError,
    transaction::{Statement, StoreChange},
};

/// The database of a store.
pub(crate) trait StoreBackend: Send + Sync + 'static {
    /// The most events that one transaction removes.
    const PRUNED: usize;

    /// Returns the number of this process in the tables.
    fn owner(&self) -> i64;

    /// The generation of the configuration that this process reported last; 0 before the first report.
    fn generation(&self) -> &AtomicI64;

    /// Makes a change in a transaction of its own.
    fn change<C: StoreChange>(
        &self,
        change: C,
    ) -> impl Future<Output = Result<C::Outcome, StoreError>> + Send;

    /// Performs a call in a message's path, together with others.
    fn perform(
        &self,
        call: StoreCall,
    ) -> impl Future<Output = Result<CallOutcome, StoreError>> + Send;

    /// Claims due deliveries of a webhook; what does not reach the caller is released.
    fn take(
        &self,
        webhook: &str,
        now: i64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Claimed>, StoreError>> + Send;

    /// See [`crate::DeliveryQueue::claim_next`].
    fn take_next(
        &self,
        webhook: &str,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Claimed>, StoreError>> + Send;

    /// Returns how this process has claimed a delivery. `None`: it has not.
    fn holding(&self, delivery: i64) -> Option<ClaimHolding>;

    /// Releases the claims of terminated processes, and takes over their open exchanges.
    fn reclaim(&self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns the rows of a statement that finds a few by an index.
    fn select<R: FromSqlRow + Send + 'static>(
        &self,
        statement: Statement,
    ) -> impl Future<Output = Result<Vec<R>, StoreError>> + Send;

    /// Returns the rows of a statement that finds a few by an index, for each message.
    fn look_up<R: FromSqlRow + Send + 'static>(
        &self,
        statement: Statement,
    ) -> impl Future<Output = Result<Vec<R>, StoreError>> + Send;

    /// Returns the rows of a statement that may read many.
    fn find<R: FromSqlRow + Send + 'static>(
        &self,
        statement: Statement,
    ) -> impl Future<Output = Result<Vec<R>, StoreError>> + Send;

    /// Removes payloads that no event names any more.
    fn remove_payloads(
        &self,
        files: Vec<PathBuf>,
        pieces: Vec<Uuid>,
    ) -> impl Future<Output = ()> + Send;

    /// Returns free space to the system, after rows were removed.
    fn shrink(&self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// See [`crate::Store::bytes`].
    fn used_bytes(&self) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// See [`crate::Store::identity`].
    fn identify(
        &self,
        root: Option<String>,
    ) -> impl Future<Output = Result<StoreIdentity, StoreError>> + Send;

    /// See [`crate::Store::changes`].
    fn subscribe(&self) -> broadcast::Receiver<GatewayChange>;

    /// See [`crate::Store::round_trips`].
    fn trips(&self) -> Option<u64>;

    /// See [`crate::Store::close`].
    fn shut(&self) -> impl Future<Output = ()> + Send;
}
