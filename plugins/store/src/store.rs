//! The traits of a store, and the promise of each call.

use async_trait::async_trait;

use crate::{
    gateways::{GatewayChange, GatewayReport},
    model::{
        AttemptRecord, AuditEntry, Claimed, DeliveryState, DueWebhook, NewDelivery, SetAside,
        StoredEvent, WebhookState,
    },
    partner_webhook::{AttemptLog, PartnerWebhook, PartnerWebhookChange, UnqueuedDelivery},
    payload::ownership::StoreIdentity,
    query::{AttemptRow, DeliveryRow, DeliveryTally, EventRow, EventTally, Filter, Page},
    record::Record,
    steering::DeliveryChange,
    write::Write,
};

pub use crate::error::StoreError;

/// Keeps events: what is written of them, and what has to be read for that.
///
/// When a call of a store returns `Ok`, what it wrote survives a power cut. A call that fails, times
/// out or is dropped half-way may or may not have been carried out, and leaves the store usable. Each
/// call may be repeated with the same arguments: existing rows are not written twice, and a claim
/// that did not reach its caller is released.
///
/// Every process that opens a store is an owner: open exchanges and claims carry its mark, and no
/// other process touches them while it is alive.
#[async_trait]
pub trait EventStore: Send + Sync + 'static {
    /// Performs writes in one commit, in their order: all of them or none. Returns the webhooks
    /// of deliveries that are due now and that no [`DeliveryQueue::claim_next`] took with it.
    ///
    /// # Errors
    /// [`StoreError::UnknownEvent`] when a settlement's event was never stored, or has been
    /// removed; then nothing is written.
    async fn commit(&self, writes: Vec<Write>) -> Result<Vec<String>, StoreError>;

    /// Releases the claims of terminated processes and returns their open exchanges, each with its
    /// planned deliveries; this process owns them from now on. Called at start and periodically.
    /// Each call also returns the exchanges of earlier calls that are neither settled nor
    /// discarded. Payloads are not read here: [`StoredEvent::payload`] is always `None`.
    async fn adopt(&self) -> Result<Vec<(StoredEvent, Vec<NewDelivery>)>, StoreError>;

    /// Returns one event.
    async fn event(&self, id: uuid::Uuid) -> Result<Option<StoredEvent>, StoreError>;

    /// Returns matching events in the order of their storage, newest first; up to `limit` after
    /// `cursor` (see [`Page::next`]).
    async fn events(
        &self,
        filter: &Filter,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page<EventRow>, StoreError>;

    /// Returns the record of each key.
    async fn records(&self, keys: &[String]) -> Result<Vec<Option<Record>>, StoreError>;

    /// Returns the record of a key.
    async fn record(&self, key: &str) -> Result<Option<Record>, StoreError> {
        Ok(self.records(&[key.to_owned()]).await?.pop().flatten())
    }

    /// Returns up to `limit` records that are due at `at`, longest due first.
    async fn due_records(&self, at: i64, limit: usize) -> Result<Vec<Record>, StoreError>;
}

/// Keeps deliveries until they are made, and the health of their webhooks.
#[async_trait]
pub trait DeliveryQueue: Send + Sync + 'static {
    /// Returns the webhooks with pending deliveries, with the time of the first, soonest first.
    async fn due(&self) -> Result<Vec<DueWebhook>, StoreError>;

    /// Claims up to `limit` deliveries of a webhook that are due at `now`, oldest first; of those
    /// with an order key only the first unfinished one. Replays come after the others. While others
    /// wait, a quarter of the claims are replays (`replay_share`).
    async fn claim(
        &self,
        webhook: &str,
        now: i64,
        limit: usize,
    ) -> Result<Vec<Claimed>, StoreError>;

    /// Waits for a commit of this process that makes deliveries of the webhook due, and claims in it as
    /// [`Self::claim`] does. The last call for a webhook is the one that waits; what it took is released
    /// when it is dropped. A store that claims nothing with a commit waits forever.
    async fn claim_next(&self, webhook: &str, limit: usize) -> Result<Vec<Claimed>, StoreError> {
        let _ = (webhook, limit);
        std::future::pending().await
    }

    /// Stores the outcomes of claimed deliveries. Skips records of deliveries that this process has
    /// not claimed, and of attempts that are logged already. The log keeps the newest
    /// [`Attempt::KEPT`] attempts of a delivery.
    ///
    /// [`Attempt::KEPT`]: crate::Attempt::KEPT
    async fn finish(&self, attempts: Vec<AttemptRecord>) -> Result<(), StoreError>;

    /// Moves all of a webhook's deliveries from one state to another. Those that become pending are
    /// due at once, at their place in the retry schedule. Returns how many.
    ///
    /// # Errors
    /// [`StoreError::OlderConfiguration`] while a running gateway reports a newer configuration
    /// than this process did; not from orphaned to pending, which any gateway with the webhook's
    /// rule may do.
    async fn change_state(
        &self,
        webhook: &str,
        from: DeliveryState,
        to: DeliveryState,
    ) -> Result<u64, StoreError>;

    /// Changes all matching deliveries in the states that [`DeliveryChange::takes`]. Returns how many.
    async fn change_deliveries(
        &self,
        change: DeliveryChange,
        filter: &Filter,
    ) -> Result<u64, StoreError>;

    /// Returns the stored health of webhooks.
    async fn webhook_states(&self) -> Result<Vec<WebhookState>, StoreError>;

    /// Stores one webhook's health.
    ///
    /// # Errors
    /// [`StoreError::OlderConfiguration`] like [`Self::change_state`].
    async fn set_webhook_state(&self, state: WebhookState) -> Result<(), StoreError>;

    /// Returns the webhooks that have held or orphaned deliveries, by name.
    async fn set_aside(&self) -> Result<Vec<SetAside>, StoreError>;

    /// Returns attempts of matching deliveries, newest first.
    async fn attempts(
        &self,
        filter: &Filter,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page<AttemptRow>, StoreError>;
}

/// A whole store: beside events and their queue what operators see, what ages, and what gateways
/// share.
#[async_trait]
pub trait Store: EventStore + DeliveryQueue {
    /// Returns the newest stored time, for [`crate::clock::compare`]. `None`: there is none.
    async fn newest(&self) -> Result<Option<i64>, StoreError>;

    /// Makes deliveries due earlier that were planned by a clock ahead of `now`: a retry after its
    /// original wait, the others at once. Returns how many. A second call finds none of them.
    async fn advance_due_times(&self, now: i64) -> Result<u64, StoreError>;

    /// Returns matching deliveries, newest first.
    async fn deliveries(
        &self,
        filter: &Filter,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page<DeliveryRow>, StoreError>;

    /// Returns how many deliveries match, counted up to `most`. Without conditions on their events, its cost
    /// grows with this number alone.
    async fn count_deliveries(&self, filter: &Filter, most: u64) -> Result<u64, StoreError>;

    /// Returns how many deliveries are in each state, and the time of the oldest undelivered event.
    async fn counts(&self) -> Result<Counts, StoreError>;

    /// Returns how many matching deliveries are in each state, by webhook. Of each webhook and state at most `most` are
    /// counted; of all webhooks together where the filter has more than site, webhook and state, and for those that
    /// are claimed or over. Without a state in the filter, delivered and cancelled ones are not counted: they have no
    /// index.
    async fn tally(&self, filter: &Filter, most: u64) -> Result<Vec<DeliveryTally>, StoreError>;

    /// Returns how many deliveries of these events are in each state.
    async fn tally_events(&self, events: &[uuid::Uuid]) -> Result<Vec<EventTally>, StoreError>;

    /// Returns the figures of one site: from [`Self::counts`] the pending (including claimed) and
    /// dead deliveries of these webhooks, and the site's open exchanges. Its cost grows with these
    /// numbers.
    async fn counts_of(&self, site: &str, webhooks: Vec<String>) -> Result<Counts, StoreError>;

    /// Adds deliveries to an event whose outcome is known: a replay to other webhooks. Returns how
    /// many are new; existing ones stay as they are.
    ///
    /// # Errors
    /// [`StoreError::UnknownEvent`] when it does not exist, or is still open.
    async fn enqueue(
        &self,
        event: uuid::Uuid,
        deliveries: Vec<NewDelivery>,
    ) -> Result<u64, StoreError>;

    /// Removes up to `limit` rows, and about as many files, of one kind. Returns how many.
    async fn prune(&self, what: Prune, limit: usize) -> Result<u64, StoreError>;

    /// Removes the payloads of events whose `raw` deliveries ([`RAW`]) were all delivered before
    /// `before`, or that have none; at most `limit` in one call, longest first. The event stays,
    /// and its payload reads as [`crate::Payload::Purged`]. A delivery that is dead, held or
    /// orphaned still needs it, and so does an event whose outcome is not known. Files are removed
    /// here, blobs by the caller.
    async fn purge_payloads(&self, before: i64, limit: usize)
    -> Result<PurgedPayloads, StoreError>;

    /// Returns the bytes in use: of the database without free space, and of payloads elsewhere.
    /// Cheap: it reads no rows except those of large payloads.
    async fn bytes(&self) -> Result<u64, StoreError>;

    /// Returns all webhooks of the config API.
    async fn partner_webhooks(&self) -> Result<Vec<PartnerWebhook>, StoreError>;

    /// Creates or changes a partner's webhook, and returns it. `None`: the partner has none, and
    /// the change has no URL.
    async fn configure_partner_webhook(
        &self,
        change: PartnerWebhookChange,
    ) -> Result<Option<PartnerWebhook>, StoreError>;

    /// Keeps what a caller of the API did.
    async fn audit(&self, entry: AuditEntry) -> Result<(), StoreError>;

    /// Returns what callers of a site did, newest first.
    async fn audit_log(
        &self,
        site: &str,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page<AuditEntry>, StoreError>;

    /// Stores a delivery that was made outside the queue, with its event and its attempt. It is
    /// never claimed.
    async fn log_attempt(&self, made: UnqueuedDelivery) -> Result<(), StoreError>;

    /// Returns a webhook's attempts, newest first: up to `limit` after the first `offset`.
    async fn attempt_log(
        &self,
        webhook: &str,
        offset: u64,
        limit: usize,
    ) -> Result<AttemptLog, StoreError>;

    /// Returns the identity of this store towards its payload places. `root`: the payload root from
    /// now on.
    async fn identity(&self, root: Option<String>) -> Result<StoreIdentity, StoreError>;

    /// Returns those of `files` that no event names as its payload. Files are identified by their
    /// own names alone, which are unique.
    async fn unnamed_payloads(
        &self,
        files: Vec<std::path::PathBuf>,
    ) -> Result<Vec<std::path::PathBuf>, StoreError>;

    /// Returns those of `payloads` that no event names: their [`crate::BlobStore`] may be removed.
    async fn unnamed_blobs(&self, payloads: Vec<uuid::Uuid>)
    -> Result<Vec<uuid::Uuid>, StoreError>;

    /// Stores the periodic report of this gateway. Returns the generation of its configuration:
    /// that of the newest one with the same hash; the next one if [`GatewayReport::generation`] is
    /// 0; otherwise the former one.
    async fn report(&self, report: GatewayReport) -> Result<i64, StoreError>;

    /// Returns the gateways of this store that reported since `since`, by the time of their start.
    /// Older reports are removed.
    async fn gateways(&self, since: i64) -> Result<Vec<GatewayReport>, StoreError>;

    /// Returns the changes by other gateways, as far as the store receives notifications; callers
    /// poll as well. A receiver that lags has missed changes and checks everything.
    fn changes(&self) -> tokio::sync::broadcast::Receiver<GatewayChange>;

    /// Returns the round trips to the database since the start, without those for setting up
    /// connections. `None`: the store is in this process.
    fn round_trips(&self) -> Option<u64> {
        None
    }

    /// Ends this process's ownership after the last call; open exchanges stay for the next process.
    async fn close(&self);
}

/// What [`Store::prune`] removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prune {
    /// Events whose deliveries were all done (or dead) before this time, with their attempts and
    /// payload files.
    Events(i64),
    /// Events like those, longest done first, so that the newest this many of them are left. Events
    /// with a dead delivery are neither counted nor removed: they have not reached all their
    /// webhooks, so a limit of events must not remove them.
    EventsBeyond(u64),
    /// Attempts that began before this time, from the log, whatever their outcome; their deliveries
    /// stay as they are.
    Attempts(i64),
    /// Records that are expired at this time.
    Records(i64),
    /// Records from each group that has more than this many, those that expire first. Records whose
    /// keys begin with the same [`Record::GROUP`] characters are one group.
    RecordsBeyond(u64),
}

/// The [`NewDelivery::mode`] of deliveries that send their event's payload.
pub const RAW: &str = "raw";

/// Returns how many of a claim's `limit` deliveries are replays while others wait: a quarter on
/// average. Of claims of a single delivery, one in four is a replay.
pub(crate) fn replay_share(limit: usize) -> usize {
    limit.saturating_add(fastrand::usize(..4)) / 4
}

/// The result of [`Store::purge_payloads`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PurgedPayloads {
    /// Events whose payload was removed.
    pub events: u64,
    /// Those of their payloads that are in a [`crate::BlobStore`], to be removed there.
    /// [`Store::unnamed_blobs`] finds those that are left over.
    pub blobs: Vec<uuid::Uuid>,
}

/// The figures of `/admin/status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Deliveries by state.
    pub deliveries: Vec<(DeliveryState, u64)>,
    /// Exchanges whose outcome is not known yet.
    pub open: u64,
    /// The time of the oldest event with a pending or claimed delivery.
    pub oldest_undelivered: Option<i64>,
}
