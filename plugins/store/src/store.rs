//! The trait, and the promise each call makes.

use async_trait::async_trait;

use crate::{
    gateways::{Change, GatewayReport},
    model::{
        AttemptRecord, Claimed, DeliveryState, DueWebhook, NewDelivery, NewEvent, Settlement,
        StoredEvent, WebhookState,
    },
    note::{Note, Write},
    partner_webhook::{AttemptLog, Made, PartnerWebhook, PartnerWebhookChange},
    query::{AttemptRow, DeliveryRow, EventRow, Filter, Page},
};

pub use crate::error::StoreError;

/// Keeps events and deliveries. When a call returns `Ok`, what it wrote survives a power cut.
///
/// A call that fails, runs out of time or is dropped half-way may or may not have been carried out,
/// and leaves the store usable. Each of them may be repeated with the same arguments: what is there
/// already is not written twice, and a claim that nobody took delivery of goes back.
///
/// Every process that opens a store is an owner of its own: open exchanges and claims carry its mark,
/// and no other process touches them while it lives.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Writes down an event whose outcome is not known yet, with those who are told if it never is.
    async fn open(&self, event: NewEvent, if_unknown: Vec<NewDelivery>) -> Result<(), StoreError>;

    /// Adds the outcome, and makes the deliveries due; those planned at [`Self::open`] are dropped.
    /// Settling twice changes nothing.
    ///
    /// # Errors
    /// [`StoreError::UnknownEvent`] when it was never written down, or is forgotten.
    async fn settle(&self, settlement: Settlement) -> Result<(), StoreError>;

    /// Forgets an open exchange that turned out to be no event, with its payload file. A settled one
    /// is left alone.
    async fn discard(&self, event: uuid::Uuid) -> Result<(), StoreError>;

    /// Writes down an event that has no outcome to wait for.
    async fn publish(
        &self,
        event: NewEvent,
        deliveries: Vec<NewDelivery>,
    ) -> Result<(), StoreError>;

    /// Several writes in one commit, in their order: all of them or none.
    ///
    /// # Errors
    /// [`StoreError::UnknownEvent`] as [`Self::settle`]; then nothing is written.
    async fn apply(&self, writes: Vec<Write>) -> Result<(), StoreError>;

    /// What is remembered under a key.
    async fn note(&self, key: &str) -> Result<Option<Note>, StoreError>;

    /// Up to `limit` notes that are due at `at`, longest due first.
    async fn due_notes(&self, at: i64, limit: usize) -> Result<Vec<Note>, StoreError>;

    /// Forgets up to `limit` notes that expired at `at`. Returns how many.
    async fn forget_notes(&self, at: i64, limit: usize) -> Result<u64, StoreError>;

    /// Frees the claims of dead processes and returns the open exchanges they left, each with its
    /// planned deliveries; they are this process's from now on. Called at start and now and then; each
    /// call returns again what earlier ones did, as long as it is neither settled nor discarded.
    /// Payloads are not read here: [`StoredEvent::payload`] is `None`, whatever the store keeps.
    async fn adopt(&self) -> Result<Vec<(StoredEvent, Vec<NewDelivery>)>, StoreError>;

    /// The webhooks that have pending deliveries, with the time of the first, soonest first.
    async fn due(&self) -> Result<Vec<DueWebhook>, StoreError>;

    /// Takes up to `limit` deliveries of a webhook that are due at `now`, oldest first; of those with
    /// an order key only the first unfinished one.
    async fn claim(
        &self,
        webhook: &str,
        now: i64,
        limit: usize,
    ) -> Result<Vec<Claimed>, StoreError>;

    /// Writes down what became of claimed deliveries. Records of a delivery that this process has not
    /// claimed, or of an attempt that is logged already, are passed over. Of one delivery the newest
    /// [`Attempt::KEPT`] attempts stay in the log.
    ///
    /// [`Attempt::KEPT`]: crate::Attempt::KEPT
    async fn finish(&self, attempts: Vec<AttemptRecord>) -> Result<(), StoreError>;

    /// Moves all of a webhook's deliveries from one state to another; into pending they are due at
    /// once, on the retry schedule where they stood. Returns how many.
    async fn shift(
        &self,
        webhook: &str,
        from: DeliveryState,
        to: DeliveryState,
    ) -> Result<u64, StoreError>;

    /// What is remembered of webhooks' health.
    async fn webhook_states(&self) -> Result<Vec<WebhookState>, StoreError>;

    /// Remembers one webhook's health.
    async fn set_webhook_state(&self, state: WebhookState) -> Result<(), StoreError>;

    /// How many deliveries are in each state, and the time of the oldest undelivered event.
    async fn counts(&self) -> Result<Counts, StoreError>;

    /// Removes events all of whose deliveries are done (or dead) since before `before`, with their
    /// attempts and payload files; at most `limit` a call. Returns how many.
    async fn prune(&self, before: i64, limit: usize) -> Result<u64, StoreError>;

    /// Removes events as [`Self::prune`] does, longest done first, so that the newest `keep` of them are
    /// left; at most `limit` a call. Those with a dead delivery are neither counted nor removed: nobody
    /// was told of them yet, so their number is no reason to forget them. Returns how many.
    async fn prune_beyond(&self, keep: u64, limit: usize) -> Result<u64, StoreError>;

    /// Removes attempts that began before `before` from the log, whatever became of their deliveries,
    /// which stay as they are; at most `limit` a call. Returns how many.
    async fn prune_attempts(&self, before: i64, limit: usize) -> Result<u64, StoreError>;

    /// Takes the payloads away of events whose `raw` deliveries ([`RAW`]) have all been delivered, or
    /// that have none, since before `before`; at most `limit` a call, longest first. The event stays,
    /// and its payload reads as [`crate::Payload::Spent`]. A delivery that is dead, held or orphaned
    /// still needs it, and so does an event whose outcome is not known. Files are removed; pieces are
    /// the caller's to remove.
    async fn spend(&self, before: i64, limit: usize) -> Result<Spent, StoreError>;

    /// Adds deliveries to an event whose outcome is known: a replay to other webhooks. Returns how many
    /// are new; those that are there already stay as they are.
    ///
    /// # Errors
    /// [`StoreError::UnknownEvent`] when it is not there, or still open.
    async fn tell(
        &self,
        event: uuid::Uuid,
        deliveries: Vec<NewDelivery>,
    ) -> Result<u64, StoreError>;

    /// Makes all matching deliveries that are delivered, dead or orphaned due at once, from the
    /// beginning of the retry schedule. Returns how many.
    async fn replay(&self, filter: &Filter) -> Result<u64, StoreError>;

    /// One event with all that is kept of it.
    async fn event(&self, id: uuid::Uuid) -> Result<Option<StoredEvent>, StoreError>;

    /// Matching events, in the order they were written down, newest first; up to `limit` after
    /// `cursor` (see [`Page::next`]).
    async fn events(
        &self,
        filter: &Filter,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page<EventRow>, StoreError>;

    /// Matching deliveries, newest first.
    async fn deliveries(
        &self,
        filter: &Filter,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page<DeliveryRow>, StoreError>;

    /// Attempts of matching deliveries, newest first.
    async fn attempts(
        &self,
        filter: &Filter,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page<AttemptRow>, StoreError>;

    /// Every webhook of the config API.
    async fn partner_webhooks(&self) -> Result<Vec<PartnerWebhook>, StoreError>;

    /// Makes a partner's webhook, or changes what is given of it, and returns it as it is now.
    /// `None`: the partner has none, and the change has no URL to make one with.
    async fn configure_partner_webhook(
        &self,
        change: PartnerWebhookChange,
    ) -> Result<Option<PartnerWebhook>, StoreError>;

    /// Writes down a delivery that was made besides the queue, with its event and its attempt. Nobody
    /// claims it.
    async fn record(&self, made: Made) -> Result<(), StoreError>;

    /// A webhook's attempts, newest first: up to `limit` behind the first `offset`.
    async fn attempt_log(
        &self,
        webhook: &str,
        offset: u64,
        limit: usize,
    ) -> Result<AttemptLog, StoreError>;

    /// Those of `files` that no event names as its payload.
    async fn unnamed_payloads(
        &self,
        files: Vec<std::path::PathBuf>,
    ) -> Result<Vec<std::path::PathBuf>, StoreError>;

    /// Those of `payloads` that no event names: their [`crate::Pieces`] may go.
    async fn unnamed_pieces(
        &self,
        payloads: Vec<uuid::Uuid>,
    ) -> Result<Vec<uuid::Uuid>, StoreError>;

    /// Says that this gateway lives, and what it runs. Repeated while it does.
    async fn report(&self, report: GatewayReport) -> Result<(), StoreError>;

    /// The gateways of this store that reported since `since`, by the time of their start. Older reports
    /// are forgotten.
    async fn gateways(&self, since: i64) -> Result<Vec<GatewayReport>, StoreError>;

    /// What other gateways change, as far as the store hears of it by itself; a poll stays the net.
    /// One that lags behind has missed something and looks at all of it.
    fn changes(&self) -> tokio::sync::broadcast::Receiver<Change>;

    /// Round trips to the database since the start, without those that set a connection up. `None`: the
    /// store is in this process.
    fn round_trips(&self) -> Option<u64> {
        None
    }

    /// Gives up this process's ownership after the last call; what is open stays for the next.
    async fn close(&self);
}

/// The [`NewDelivery::mode`] of deliveries that send their event's payload.
pub const RAW: &str = "raw";

/// What [`Store::spend`] took away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Events that had a payload and have none any more.
    pub events: u64,
    /// Those of their payloads that are kept in [`crate::Pieces`], to be removed there. What is not is
    /// found by [`Store::unnamed_pieces`].
    pub pieces: Vec<uuid::Uuid>,
}

/// The figures of `/admin/status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Deliveries by state.
    pub deliveries: Vec<(DeliveryState, u64)>,
    /// Exchanges whose outcome is not known yet.
    pub open: u64,
    /// When the oldest event with a pending or claimed delivery happened.
    pub oldest_undelivered: Option<i64>,
}
