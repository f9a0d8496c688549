//! The store that several gateways share: one PostgreSQL database, version 13 or later.
//!
//! All of it stands in a schema of its own, `as2hook` unless told otherwise, which is made at the first
//! start. What is on the way of a message (open, settle, claim, finish) is sent in groups, one round trip
//! and one commit each; the rest goes straight.
//!
//! Rows are changed by the functions in `schema/`, so that a group is one statement. Locks are always
//! taken in one order: the owner's, then the lanes of order keys and notes by number, then rows. Where
//! two transactions get in each other's way all the same, PostgreSQL rolls one back, and it is tried
//! again.

mod address;
mod archive;
mod claims;
mod database;
mod deliveries;
mod error;
mod events;
mod gateways;
mod group;
mod listen;
mod lists;
mod notes;
mod options;
mod owner;
mod partner_webhooks;
mod pieces;
mod queries;
mod rows;
mod schema;
mod writer;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::{Mutex, broadcast},
    task::JoinSet,
};
use uuid::Uuid;

pub use self::options::PostgresOptions;
use self::{
    address::Address,
    claims::Claims,
    database::{Database, Use},
    owner::Owner,
    writer::{Answer, Means, Work, Writer},
};
use crate::{
    gateways::{Change, GatewayReport},
    model::{
        AttemptRecord, Claimed, DeliveryState, DueWebhook, NewDelivery, NewEvent, Settlement,
        StoredEvent, WebhookState,
    },
    note::{Note, Write},
    partner_webhook::{AttemptLog, Made, PartnerWebhook, PartnerWebhookChange},
    query::{AttemptRow, DeliveryRow, EventRow, Filter, Page},
    store::{Counts, Spent, Store, StoreError},
};

/// Changes that a slow listener may be behind before it is told that it missed some.
const CHANGES: usize = 1_024;
/// Connections for what is not sent in groups: heartbeats, replays, pruning.
const BESIDES: usize = 2;

/// The store in a PostgreSQL database.
pub struct PostgresStore {
    writer: Writer,
    writing: Database,
    reading: Database,
    /// Connections for large payloads, so that they keep nobody waiting.
    moving: Database,
    owner: Arc<Owner>,
    claims: Claims,
    changes: broadcast::Sender<Change>,
    commits: Arc<AtomicU64>,
    trips: Arc<AtomicU64>,
    wait: Duration,
    /// Those that send groups: they end with the queue.
    senders: Mutex<JoinSet<()>>,
    /// The heartbeat and the listener: they end with the store.
    attendants: std::sync::Mutex<JoinSet<()>>,
}

// === impl PostgresStore ===

impl PostgresStore {
    /// Connects, and makes or updates the tables if need be. The runtime it is called on has to last as
    /// long as the store.
    ///
    /// `url` is `postgres://user:password@host:port/database`, with several hosts where there are
    /// standbys (`host1,host2` and `?target_session_attrs=read-write`), and `sslmode=disable|prefer|
    /// require|verify-ca|verify-full` with `sslrootcert`, `sslcert` and `sslkey`.
    ///
    /// # Errors
    /// [`StoreError::Address`] for a URL that is none, [`StoreError::Unreachable`],
    /// [`StoreError::Refused`], [`StoreError::TooNew`], and what the database says.
    pub async fn connect(url: &str, options: PostgresOptions) -> Result<Self, StoreError> {
        let address = Address::parse(url, options.connect.min(options.wait))?;
        schema::migrate(&address, &options.schema).await?;
        let trips = Arc::new(AtomicU64::new(0));
        let database = |purpose: Use, size| {
            let session = purpose.session(&options.schema, options.wait);
            Database::new(&address, size, session, options.wait, Arc::clone(&trips))
        };
        let writers = options.writers.max(1);
        let writing = database(Use::Write, writers + BESIDES)?;
        let reading = database(Use::Read, options.readers)?;
        let moving = database(Use::Read, options.readers)?;
        let owner = Arc::new(Owner::register(writing.clone(), options.lease).await?);
        let claims = Claims::default();
        let commits = Arc::new(AtomicU64::new(0));
        let means = Means {
            writing: writing.clone(),
            owner: Arc::clone(&owner),
            claims: claims.clone(),
            commits: Arc::clone(&commits),
            group: options.group.max(1),
            wait: options.wait,
        };
        let (writer, senders) = Writer::start(options.queue, writers, &means);
        let changes = broadcast::channel(CHANGES).0;
        let mut attendants = JoinSet::new();
        attendants.spawn(Arc::clone(&owner).beat(claims.clone()));
        attendants.spawn(listen::listen(address, options.schema, options.wait, changes.clone()));
        Ok(Self {
            writer,
            writing,
            reading,
            moving,
            owner,
            claims,
            changes,
            commits,
            trips,
            wait: options.wait,
            senders: Mutex::new(senders),
            attendants: std::sync::Mutex::new(attendants),
        })
    }

    /// Groups committed by this process. Less than the calls made: they share commits.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Round trips to the database, without those that set a connection up.
    pub fn round_trips(&self) -> u64 {
        self.trips.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn open(&self, event: NewEvent, if_unknown: Vec<NewDelivery>) -> Result<(), StoreError> {
        self.writer.write(vec![Write::Open(event, if_unknown)]).await
    }

    async fn settle(&self, settlement: Settlement) -> Result<(), StoreError> {
        self.writer.write(vec![Write::Settle(settlement)]).await
    }

    async fn discard(&self, event: Uuid) -> Result<(), StoreError> {
        if let Answer::Left(left) = self.writer.run(Work::Discard(event)).await? {
            crate::payload::remove_files(left.file.into_iter().collect()).await;
            pieces::remove_all(&self.moving, left.pieces).await;
        }
        Ok(())
    }

    async fn publish(
        &self,
        event: NewEvent,
        deliveries: Vec<NewDelivery>,
    ) -> Result<(), StoreError> {
        self.writer.write(vec![Write::Publish(event, deliveries)]).await
    }

    async fn apply(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.writer.write(writes).await
    }

    async fn note(&self, key: &str) -> Result<Option<Note>, StoreError> {
        notes::read(&self.reading, key).await
    }

    async fn due_notes(&self, at: i64, limit: usize) -> Result<Vec<Note>, StoreError> {
        notes::due(&self.reading, at, limit).await
    }

    async fn forget_notes(&self, at: i64, limit: usize) -> Result<u64, StoreError> {
        notes::forget(&self.writing, at, limit).await
    }

    async fn adopt(&self) -> Result<Vec<(StoredEvent, Vec<NewDelivery>)>, StoreError> {
        self.owner.bury().await?;
        let sql = "SELECT e.uuid, c.body, e.planned FROM event e JOIN content c ON c.event = e.id
            WHERE e.owner = $1 AND e.adopted ORDER BY e.id";
        let rows = self.reading.query(sql, &[&self.owner.id()]).await?;
        rows.iter().map(rows::open_event).collect()
    }

    async fn due(&self) -> Result<Vec<DueWebhook>, StoreError> {
        queries::due(&self.writing).await
    }

    async fn claim(
        &self,
        webhook: &str,
        now: i64,
        limit: usize,
    ) -> Result<Vec<Claimed>, StoreError> {
        let work = Work::Claim { webhook: webhook.to_owned(), now, limit };
        match self.writer.run(work).await? {
            Answer::Claimed(taken) => Ok(taken.keep()),
            Answer::Done | Answer::Left(_) => Ok(Vec::new()),
        }
    }

    async fn finish(&self, attempts: Vec<AttemptRecord>) -> Result<(), StoreError> {
        let held: Vec<_> = attempts
            .into_iter()
            .filter_map(|record| Some((self.claims.holding(record.delivery)?, record)))
            .map(|(holding, record)| (record, holding))
            .collect();
        if held.is_empty() {
            return Ok(());
        }
        self.writer.run(Work::Finish(held)).await.map(|_| ())
    }

    async fn shift(
        &self,
        webhook: &str,
        from: DeliveryState,
        to: DeliveryState,
    ) -> Result<u64, StoreError> {
        deliveries::shift(&self.writing, webhook, from, to).await
    }

    async fn webhook_states(&self) -> Result<Vec<WebhookState>, StoreError> {
        queries::webhook_states(&self.reading).await
    }

    async fn set_webhook_state(&self, state: WebhookState) -> Result<(), StoreError> {
        queries::set_webhook_state(&self.writing, &state).await
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        queries::counts(&self.reading).await
    }

    async fn prune(&self, before: i64, limit: usize) -> Result<u64, StoreError> {
        deliveries::prune(&self.writing, &self.moving, before, limit).await
    }

    async fn prune_beyond(&self, keep: u64, limit: usize) -> Result<u64, StoreError> {
        deliveries::prune_beyond(&self.writing, &self.moving, keep, limit).await
    }

    async fn spend(&self, before: i64, limit: usize) -> Result<Spent, StoreError> {
        deliveries::spend(&self.writing, before, limit).await
    }

    async fn prune_attempts(&self, before: i64, limit: usize) -> Result<u64, StoreError> {
        deliveries::prune_attempts(&self.writing, before, limit).await
    }

    async fn tell(&self, event: Uuid, deliveries: Vec<NewDelivery>) -> Result<(), StoreError> {
        events::tell(&self.writing, event, &deliveries).await
    }

    async fn replay(&self, filter: &Filter) -> Result<u64, StoreError> {
        deliveries::replay(&self.reading, &self.writing, filter).await
    }

    async fn event(&self, id: Uuid) -> Result<Option<StoredEvent>, StoreError> {
        events::read(&self.reading, id).await
    }

    async fn events(
        &self,
        filter: &Filter,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page<EventRow>, StoreError> {
        Ok(lists::events(&self.reading, filter, cursor, limit).await?)
    }

    async fn deliveries(
        &self,
        filter: &Filter,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page<DeliveryRow>, StoreError> {
        Ok(lists::deliveries(&self.reading, filter, cursor, limit).await?)
    }

    async fn attempts(
        &self,
        filter: &Filter,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page<AttemptRow>, StoreError> {
        Ok(lists::attempts(&self.reading, filter, cursor, limit).await?)
    }

    async fn partner_webhooks(&self) -> Result<Vec<PartnerWebhook>, StoreError> {
        partner_webhooks::all(&self.reading).await
    }

    async fn configure_partner_webhook(
        &self,
        change: PartnerWebhookChange,
    ) -> Result<Option<PartnerWebhook>, StoreError> {
        partner_webhooks::configure(&self.writing, &change).await
    }

    async fn record(&self, made: Made) -> Result<(), StoreError> {
        partner_webhooks::record(&self.writing, &made).await
    }

    async fn attempt_log(
        &self,
        webhook: &str,
        offset: u64,
        limit: usize,
    ) -> Result<AttemptLog, StoreError> {
        partner_webhooks::log(&self.reading, webhook, offset, limit).await
    }

    async fn unnamed_payloads(&self, files: Vec<PathBuf>) -> Result<Vec<PathBuf>, StoreError> {
        events::unnamed_payloads(&self.reading, files).await
    }

    async fn unnamed_pieces(&self, payloads: Vec<Uuid>) -> Result<Vec<Uuid>, StoreError> {
        events::unnamed_pieces(&self.reading, &payloads).await
    }

    async fn report(&self, report: GatewayReport) -> Result<(), StoreError> {
        gateways::report(&self.writing, &report).await
    }

    async fn gateways(&self, since: i64) -> Result<Vec<GatewayReport>, StoreError> {
        gateways::list(&self.reading, since).await
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    fn round_trips(&self) -> Option<u64> {
        Some(Self::round_trips(self))
    }

    async fn close(&self) {
        self.writer.close().await;
        let mut senders = self.senders.lock().await;
        if senders.is_empty() {
            return;
        }
        let ended = async { while senders.join_next().await.is_some() {} };
        if tokio::time::timeout(self.wait, ended).await.is_err() {
            tracing::warn!("The store is still busy; what is queued may not be written down.");
        }
        senders.abort_all();
        self.attendants.lock().unwrap_or_else(std::sync::PoisonError::into_inner).abort_all();
        if let Err(error) = self.owner.resign().await {
            // Its lease ends soon, and the next one adopts what is left.
            tracing::warn!(?error, "The store could not be left in order.");
        }
        self.writing.close();
        self.reading.close();
        self.moving.close();
    }
}

/// The first column of the one row.
fn first<T>(rows: &[tokio_postgres::Row]) -> Result<T, StoreError>
where
    T: for<'a> tokio_postgres::types::FromSql<'a>,
{
    let row = rows.first().ok_or_else(|| StoreError::Database("it gave no answer".to_owned()))?;
    Ok(row.try_get(0)?)
}
