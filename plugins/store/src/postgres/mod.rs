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
mod claims;
mod database;
mod error;
mod group;
mod listen;
mod lists;
mod owner;
mod pieces;
mod rows;
mod schema;
mod writer;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use tokio::{
    sync::{Mutex, broadcast},
    task::JoinSet,
};
use tokio_postgres::types::Json;
use uuid::Uuid;

use self::{
    address::Address,
    claims::Claims,
    database::{Database, Use},
    group::{Group, number, text},
    lists::length,
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
    store::{Counts, Store, StoreError},
};

/// Rows that one step of a long change touches at most, so that no exchange waits long behind it.
const STEP: usize = 200;
/// Changes that a slow listener may be behind before it is told that it missed some.
const CHANGES: usize = 1_024;
/// Connections for what is not sent in groups: heartbeats, replays, pruning.
const BESIDES: usize = 2;

/// How the shared store works. The defaults suit a handful of gateways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresOptions {
    /// The schema that the tables stand in: another for each installation that shares the database.
    pub schema: String,
    /// Groups that may be on their way at once; each has its connection.
    pub writers: usize,
    /// Calls that may read at once; each has its connection.
    pub readers: usize,
    /// Calls that may wait for a writer before others wait for a place.
    pub queue: usize,
    /// Calls that share one commit at most.
    pub group: usize,
    /// How long a call waits, all in all, before it fails with [`StoreError::Slow`].
    pub wait: Duration,
    /// How long connecting may take, of that.
    pub connect: Duration,
    /// How long a gateway that is not heard of keeps its claims and open exchanges.
    pub lease: Duration,
}

/// The store in a PostgreSQL database.
pub struct PostgresStore {
    writer: Writer,
    writing: Database,
    reading: Database,
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

// === impl PostgresOptions ===

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            schema: "as2hook".to_owned(),
            writers: 2,
            readers: 4,
            queue: 1_024,
            group: 256,
            wait: Duration::from_secs(10),
            connect: Duration::from_secs(5),
            lease: Duration::from_secs(30),
        }
    }
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

    /// Removes events in steps, as a statement of a bound and a number does. Returns how many.
    async fn remove(&self, sql: &str, bound: i64, limit: usize) -> Result<u64, StoreError> {
        let mut removed = 0;
        while removed < limit {
            let step = STEP.min(limit - removed);
            let rows = self.writing.query(sql, &[&bound, &length(step)]).await?;
            let Some(row) = rows.first() else { break };
            let files: Vec<String> = row.try_get(1)?;
            crate::payload::remove_files(files.into_iter().map(PathBuf::from).collect()).await;
            let events = rows::count(row, 0)? as usize;
            removed += events;
            if events < step {
                break;
            }
        }
        Ok(removed as u64)
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
        if let Answer::File(file) = self.writer.run(Work::Discard(event)).await? {
            crate::payload::remove_files(vec![file]).await;
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
        let sql =
            "SELECT key, body, due, expires FROM note WHERE key = $1 AND expires > clock_ms()";
        let rows = self.reading.query(sql, &[&text(key)]).await?;
        // Its key as the caller knows it.
        let note = |row| rows::note(row).map(|note| Note { key: key.to_owned(), ..note });
        Ok(rows.first().map(note).transpose()?)
    }

    async fn due_notes(&self, at: i64, limit: usize) -> Result<Vec<Note>, StoreError> {
        let sql = "SELECT key, body, due, expires FROM note WHERE due <= $1 ORDER BY due LIMIT $2";
        let rows = self.reading.query(sql, &[&at, &length(limit)]).await?;
        Ok(rows.iter().map(rows::note).collect::<Result<_, _>>()?)
    }

    async fn forget_notes(&self, at: i64, limit: usize) -> Result<u64, StoreError> {
        let sql = "WITH gone AS (DELETE FROM note WHERE key IN
                (SELECT key FROM note WHERE expires <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
            RETURNING 1) SELECT count(*) FROM gone";
        let rows = self.writing.query(sql, &[&at, &length(limit)]).await?;
        Ok(first::<i64>(&rows)?.unsigned_abs())
    }

    async fn adopt(&self) -> Result<Vec<(StoredEvent, Vec<NewDelivery>)>, StoreError> {
        self.owner.bury().await?;
        let sql = "SELECT e.uuid, c.body, e.planned FROM event e JOIN content c ON c.event = e.id
            WHERE e.owner = $1 AND e.adopted ORDER BY e.id";
        let rows = self.reading.query(sql, &[&self.owner.id()]).await?;
        rows.iter().map(rows::open_event).collect()
    }

    async fn due(&self) -> Result<Vec<DueWebhook>, StoreError> {
        // One look into the index for each webhook, however many deliveries wait.
        let sql = "SELECT w.name, d.first FROM webhook w, LATERAL
                (SELECT min(due) AS first FROM delivery
                WHERE webhook = w.id AND state = 'pending' AND NOT blocked) d
            WHERE d.first IS NOT NULL ORDER BY d.first, w.id";
        let rows = self.writing.query(sql, &[]).await?;
        let due = |row: &tokio_postgres::Row| {
            Ok(DueWebhook { webhook: row.try_get(0)?, due: row.try_get(1)? })
        };
        rows.iter().map(due).collect()
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
            Answer::Done | Answer::File(_) => Ok(Vec::new()),
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
        // Those that come into the state meanwhile may be left for the next call: no endless chase.
        let sql = "SELECT coalesce(cardinality(deliveries_in(id, $2, NULL)), 0)::bigint
            FROM webhook WHERE name = $1";
        let rows = self.writing.query(sql, &[&text(webhook), &from.as_str()]).await?;
        let all: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
        let mut moved = 0;
        while moved < all {
            let sql = "SELECT shift($1, $2, $3, $4, $5)::bigint";
            let (from, to) = (from.as_str(), to.as_str());
            let rows = self
                .writing
                .query(sql, &[&text(webhook), &from, &to, &now(), &length(STEP)])
                .await?;
            let step: i64 = first(&rows)?;
            moved += step;
            if step == 0 {
                break;
            }
        }
        Ok(moved.unsigned_abs())
    }

    async fn webhook_states(&self) -> Result<Vec<WebhookState>, StoreError> {
        let sql = "SELECT name, disabled, failing_since, fingerprint FROM webhook
            WHERE fingerprint IS NOT NULL ORDER BY name";
        let rows = self.reading.query(sql, &[]).await?;
        Ok(rows.iter().map(rows::webhook_state).collect::<Result<_, _>>()?)
    }

    async fn set_webhook_state(&self, state: WebhookState) -> Result<(), StoreError> {
        let sql = "SELECT set_state($1, $2, $3, $4)";
        let (name, why) = (text(&state.webhook), state.disabled.as_deref().map(text));
        let fingerprint = text(&state.fingerprint);
        self.writing.query(sql, &[&name, &why, &state.failing_since, &fingerprint]).await?;
        Ok(())
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        let sql = "SELECT coalesce((SELECT sum(n) FROM tally WHERE state = s), 0)::bigint,
                (SELECT count(*) FROM event WHERE owner IS NOT NULL),
                (SELECT min(occurred_at) FROM delivery WHERE state IN ('pending', 'claimed'))
            FROM unnest($1::text[]) WITH ORDINALITY AS states (s, place) ORDER BY place";
        let states = DeliveryState::ALL.map(DeliveryState::as_str).to_vec();
        let rows = self.reading.query(sql, &[&states]).await?;
        let mut counts = Counts::default();
        for (state, row) in DeliveryState::ALL.into_iter().zip(&rows) {
            counts.deliveries.push((state, row.try_get::<_, i64>(0)?.unsigned_abs()));
            counts.open = row.try_get::<_, i64>(1)?.unsigned_abs();
            counts.oldest_undelivered = row.try_get(2)?;
        }
        Ok(counts)
    }

    async fn prune(&self, before: i64, limit: usize) -> Result<u64, StoreError> {
        self.remove("SELECT removed, files FROM prune($1, $2)", before, limit).await
    }

    async fn prune_beyond(&self, keep: u64, limit: usize) -> Result<u64, StoreError> {
        let sql = "SELECT removed, files FROM prune_beyond($1, $2)";
        self.remove(sql, number(keep), limit).await
    }

    async fn prune_attempts(&self, before: i64, limit: usize) -> Result<u64, StoreError> {
        let sql = "SELECT prune_attempts($1, $2)";
        let rows = self.writing.query(sql, &[&before, &length(limit)]).await?;
        Ok(first::<i64>(&rows)?.unsigned_abs())
    }

    async fn tell(&self, event: Uuid, deliveries: Vec<NewDelivery>) -> Result<(), StoreError> {
        let told = Group::default().deliveries(&deliveries);
        let rows = self.writing.query("SELECT tell($1, $2)", &[&event, &Json(&told)]).await?;
        if first(&rows)? { Ok(()) } else { Err(StoreError::UnknownEvent(event)) }
    }

    async fn replay(&self, filter: &Filter) -> Result<u64, StoreError> {
        let (mut replayed, mut after) = (0, 0);
        loop {
            let ids = lists::replayable(&self.reading, filter, after, STEP).await?;
            let Some(&last) = ids.last() else { return Ok(replayed) };
            after = last;
            let sql = "SELECT replay($1, $2)::bigint";
            let rows = self.writing.query(sql, &[&ids, &now()]).await?;
            replayed += first::<i64>(&rows)?.unsigned_abs();
        }
    }

    async fn event(&self, id: Uuid) -> Result<Option<StoredEvent>, StoreError> {
        let sql = "SELECT e.uuid, c.body, e.verdict, c.payload, e.payload_path, e.payload_size,
                e.payload_pieces
            FROM event e JOIN content c ON c.event = e.id WHERE e.uuid = $1";
        let rows = self.reading.query(sql, &[&id]).await?;
        Ok(rows.first().map(rows::stored_event).transpose()?)
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
        let columns = rows::PARTNER_WEBHOOK;
        let sql =
            format!("SELECT {columns} FROM partner_webhook ORDER BY site COLLATE \"C\", partner");
        let rows = self.reading.query(&sql, &[]).await?;
        rows.iter().map(rows::partner_webhook).collect()
    }

    async fn configure_partner_webhook(
        &self,
        change: PartnerWebhookChange,
    ) -> Result<Option<PartnerWebhook>, StoreError> {
        let events = change.events.as_ref().map(serde_json::to_string).transpose();
        let events = events.map_err(|error| StoreError::Database(error.to_string()))?;
        let columns = rows::PARTNER_WEBHOOK;
        let sql = format!("SELECT {columns} FROM configure($1, $2, $3, $4, $5, $6)");
        let (site, partner) = (text(&change.site), number(change.partner));
        let url = change.url.as_deref().map(text);
        let rows = self
            .writing
            .query(&sql, &[&site, &partner, &url, &change.sealed_secret, &change.enabled, &events])
            .await?;
        rows.first().map(rows::partner_webhook).transpose()
    }

    async fn record(&self, made: Made) -> Result<(), StoreError> {
        let mut sent = Group::default();
        let event = sent.event(&made.event)?;
        let told = sent.deliveries(std::slice::from_ref(&made.delivery));
        let attempt = group::attempt(&made.attempt);
        let blobs: Vec<&[u8]> = sent.blobs.iter().map(|bytes| &**bytes).collect();
        let sql = "SELECT record_made($1, $2, $3, $4, $5)";
        let state = made.state.as_str();
        self.writing
            .query(sql, &[&Json(&event), &Json(&told), &Json(&attempt), &state, &blobs])
            .await?;
        Ok(())
    }

    async fn attempt_log(
        &self,
        webhook: &str,
        offset: u64,
        limit: usize,
    ) -> Result<AttemptLog, StoreError> {
        let sql = "SELECT count(*) FROM attempt
            WHERE webhook = (SELECT id FROM webhook WHERE name = $1)";
        let rows = self.reading.query(sql, &[&text(webhook)]).await?;
        let total = first::<i64>(&rows)?.unsigned_abs();
        let rows = lists::attempts_from(&self.reading, webhook, number(offset), limit).await?;
        Ok(AttemptLog { total, rows })
    }

    async fn unnamed_payloads(&self, files: Vec<PathBuf>) -> Result<Vec<PathBuf>, StoreError> {
        let paths: Vec<_> = files.iter().filter_map(|file| file.to_str()).collect();
        let sql = "SELECT DISTINCT payload_path FROM event WHERE payload_path = ANY ($1)";
        let rows = self.reading.query(sql, &[&paths]).await?;
        let named: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        let named: std::collections::BTreeSet<_> = named.into_iter().map(PathBuf::from).collect();
        Ok(files.into_iter().filter(|file| !named.contains(file)).collect())
    }

    async fn unnamed_pieces(&self, payloads: Vec<Uuid>) -> Result<Vec<Uuid>, StoreError> {
        let sql = "SELECT p FROM unnest($1::uuid[]) WITH ORDINALITY AS asked (p, place)
            WHERE NOT EXISTS (SELECT 1 FROM event WHERE payload_pieces = p) ORDER BY place";
        let rows = self.reading.query(sql, &[&payloads]).await?;
        Ok(rows::ids(&rows)?)
    }

    async fn report(&self, report: GatewayReport) -> Result<(), StoreError> {
        let sql = "SELECT report($1, $2, $3, $4, $5, $6, $7)";
        let (host, version, rules) =
            (text(&report.host), text(&report.version), text(&report.rules));
        let process = i64::from(report.process);
        let (id, started, seen) = (report.id, report.started_at, report.seen_at);
        self.writing.query(sql, &[&id, &host, &process, &version, &started, &seen, &rules]).await?;
        Ok(())
    }

    async fn gateways(&self, since: i64) -> Result<Vec<GatewayReport>, StoreError> {
        let sql = "SELECT uuid, host, process, version, started_at, seen_at, rules FROM gateway
            WHERE seen_at >= $1 ORDER BY started_at, uuid";
        let rows = self.reading.query(sql, &[&since]).await?;
        Ok(rows.iter().map(rows::gateway).collect::<Result<_, _>>()?)
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
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

/// The time, in milliseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
