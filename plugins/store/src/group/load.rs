//! Loads the rows that the calls of a group name, with one list of statements. Their locks last until
//! the end of the transaction.

use std::collections::{BTreeSet, HashMap, HashSet};

use uuid::Uuid;

use super::{CallGroup, ClaimHolding, StoreCall};
use crate::{
    columns::{PayloadColumns, key, length},
    model::{NewDelivery, NewEvent},
    moves,
    order::Locks,
    record::{Before, RecordChange},
    rows::{FromSqlRow, SqlRow, SqlValue},
    store::{RAW, StoreError},
    transaction::{Reply, Statement, Transaction},
    write::Write,
};

/// The rows of a group.
#[derive(Default)]
pub(super) struct LoadedRows {
    /// Unused numbers for new events. They are given under the locks of the orders, so that their order
    /// is that of the commits.
    pub(super) numbers: std::vec::IntoIter<i64>,
    pub(super) events: HashMap<Uuid, LoadedEvent>,
    /// The places of events in orders, each a webhook and a key.
    pub(super) places: HashMap<Uuid, Vec<(i64, String)>>,
    /// The numbers of webhooks.
    pub(super) webhooks: HashMap<String, i64>,
    /// The webhook ids of existing deliveries.
    pub(super) webhook_ids: HashSet<String>,
    /// Records with their body and when they expire.
    pub(super) records: HashMap<String, (Vec<u8>, i64)>,
    pub(super) claims: HashMap<(i64, ClaimHolding), LoadedClaim>,
}

/// A stored event.
#[derive(Clone, Debug)]
pub(super) struct LoadedEvent {
    pub(super) number: i64,
    pub(super) occurred_at: i64,
    /// Whether its outcome is not known yet.
    pub(super) is_open: bool,
    /// Whether it has a payload that is not removed yet.
    pub(super) has_payload: bool,
    pub(super) file: Option<String>,
    pub(super) pieces: Option<Uuid>,
}

/// A claimed delivery.
pub(super) struct LoadedClaim {
    pub(super) event: i64,
    pub(super) webhook: i64,
    pub(super) order_key: Option<String>,
    pub(super) attempts: u32,
    pub(super) is_raw: bool,
}

/// What the calls name.
#[derive(Default)]
struct Names<'a> {
    new_events: usize,
    events: BTreeSet<Uuid>,
    webhooks: BTreeSet<&'a str>,
    webhook_ids: BTreeSet<String>,
    /// Keys of records whose content matters.
    records: BTreeSet<String>,
    claims: BTreeSet<(i64, ClaimHolding)>,
    /// Deliveries that have no work left.
    done: Vec<i64>,
    /// Events whose places end.
    endings: BTreeSet<Uuid>,
    locks: Locks,
}

/// Loads the rows of a group.
pub(super) async fn load<T: Transaction>(
    group: &CallGroup,
    transaction: &mut T,
) -> Result<LoadedRows, StoreError> {
    let mut names = Names::default();
    group.calls.iter().for_each(|call| names.add(call));
    let mut statements = group.opening.clone();
    names.locks.places.clone_from(&names.endings);
    statements.extend(std::mem::take(&mut names.locks).statement());
    let first = statements.len();
    statements.extend(names.statements());
    let replies = transaction.send(statements).await?;
    let mut loaded = names.read(&mut replies.into_iter().skip(first))?;
    let new = names.webhooks.iter().filter(|name| !loaded.webhooks.contains_key(**name));
    let new: Vec<_> = new.copied().collect();
    if !new.is_empty() {
        // Once for each webhook.
        let sql = "INSERT INTO webhook (name) VALUES ($1) ON CONFLICT (name) DO NOTHING";
        let added = new.iter().map(|name| Statement::new(sql, [(*name).into()]));
        transaction
            .send(added.chain(new.iter().map(|name| webhook(name))).collect())
            .await?
            .into_iter()
            .skip(new.len())
            .zip(new)
            .try_for_each(|(reply, name)| loaded.add_webhook(name, reply))?;
    }
    Ok(loaded)
}

fn webhook(name: &str) -> Statement {
    Statement::new("SELECT id FROM webhook WHERE name = $1", [name.into()])
}

// === impl Names ===

impl<'a> Names<'a> {
    fn add(&mut self, call: &'a StoreCall) {
        match call {
            StoreCall::Writes(writes) => writes.iter().for_each(|write| self.add_write(write)),
            StoreCall::Finish(records) => {
                for (record, holding) in records {
                    self.claims.insert((record.delivery, *holding));
                    self.locks.deliveries.push(record.delivery);
                    if moves::is_done(record.outcome.leads_to().0) {
                        self.done.push(record.delivery);
                    }
                }
            }
            StoreCall::Claim(_) => {}
            StoreCall::Enqueue(event, deliveries) => {
                self.events.insert(*event);
                self.add_deliveries(deliveries);
            }
            StoreCall::Log(made) => {
                self.new_events += 1;
                self.events.insert(made.event.id);
                self.add_deliveries(std::slice::from_ref(&made.delivery));
            }
        }
    }

    fn add_write(&mut self, write: &'a Write) {
        self.events.extend(write.event());
        self.add_deliveries(write.deliveries());
        match write {
            Write::Open(..) | Write::Publish(..) => self.new_events += 1,
            Write::Once(change, ..) => {
                self.new_events += 1;
                self.add_record(change);
            }
            Write::Record(change) => self.add_record(change),
            Write::Settle(settlement) => {
                self.endings.insert(settlement.event);
            }
            Write::Discard(event) => {
                self.endings.insert(*event);
            }
            Write::Reserve(_, places) => {
                for place in places {
                    self.webhooks.insert(&place.webhook);
                    self.locks.orders.insert(key(&place.order_key).into_owned());
                }
            }
            Write::Replace(_) => {}
        }
    }

    fn add_deliveries(&mut self, deliveries: &'a [NewDelivery]) {
        for delivery in deliveries {
            self.webhooks.insert(&delivery.webhook);
            self.webhook_ids.insert(key(&delivery.webhook_id).into_owned());
            let order = delivery.order_key.as_deref();
            self.locks.orders.extend(order.map(|order| key(order).into_owned()));
        }
    }

    fn add_record(&mut self, change: &RecordChange) {
        let key = key(&change.record.key).into_owned();
        if change.before != Before::Any {
            self.records.insert(key.clone());
        }
        self.locks.records.insert(key);
    }

    /// In the order of [`Self::read`].
    fn statements(&self) -> Vec<Statement> {
        let mut all = Vec::new();
        if self.new_events > 0 {
            let sql = "SELECT nextval('event_id_seq') FROM generate_series(1, $1::bigint)";
            // The first: nothing else takes numbers before the commit.
            let sqlite =
                "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'event'), 0)
                + 1 WHERE ?1 > 0";
            all.push(Statement::either(sql, sqlite, [length(self.new_events).into()]));
        }
        let text = |text: &String| [text.as_str().into()];
        all.extend(self.events.iter().map(|event| {
            let sql = "SELECT id, occurred_at, owner IS NOT NULL,
                    payload_size IS NOT NULL AND payload_spent_at IS NULL,
                    payload_path, payload_pieces
                FROM event WHERE uuid = $1 FOR NO KEY UPDATE";
            Statement::new(sql, [SqlValue::Id(*event)])
        }));
        all.extend(self.endings.iter().map(|event| {
            let sql = "SELECT p.webhook, p.order_key FROM event e
                JOIN order_place p ON p.event = e.id WHERE e.uuid = $1";
            Statement::new(sql, [SqlValue::Id(*event)])
        }));
        all.extend(self.webhooks.iter().map(|name| webhook(name)));
        all.extend(
            self.webhook_ids
                .iter()
                .map(|id| Statement::new("SELECT 1 FROM delivery WHERE webhook_id = $1", text(id))),
        );
        all.extend(
            self.records.iter().map(|key| {
                Statement::new("SELECT body, expires FROM note WHERE key = $1", text(key))
            }),
        );
        if !self.done.is_empty() {
            all.push(moves::lock_events(&self.done));
        }
        all.extend(self.claims.iter().map(|(delivery, holding)| {
            let sql = "SELECT event, webhook, order_key, attempts, mode FROM delivery
                WHERE id = $1 AND owner = $2 AND ticket = coalesce($3, ticket) FOR NO KEY UPDATE";
            let ClaimHolding { owner, ticket } = *holding;
            Statement::new(sql, [(*delivery).into(), owner.into(), ticket.into()])
        }));
        all
    }

    fn read(&self, replies: &mut impl Iterator<Item = Reply>) -> Result<LoadedRows, StoreError> {
        let mut loaded = LoadedRows::default();
        let mut next = || replies.next().unwrap_or_default();
        if self.new_events > 0 {
            let numbers: Vec<(i64,)> = next().read()?;
            loaded.numbers = match numbers[..] {
                [(first,)] => (first..first + length(self.new_events)).collect(),
                _ => numbers.into_iter().map(|(number,)| number).collect::<Vec<_>>(),
            }
            .into_iter();
        }
        for id in &self.events {
            loaded.events.extend(next().read()?.pop().map(|event| (*id, event)));
        }
        for id in &self.endings {
            loaded.places.insert(*id, next().read()?);
        }
        for name in &self.webhooks {
            loaded.add_webhook(name, next())?;
        }
        for id in &self.webhook_ids {
            loaded.webhook_ids.extend((!next().rows.is_empty()).then(|| id.clone()));
        }
        for key in &self.records {
            loaded.records.extend(next().read()?.pop().map(|record| (key.clone(), record)));
        }
        if !self.done.is_empty() {
            next();
        }
        for claim in &self.claims {
            loaded.claims.extend(next().read()?.pop().map(|delivery| (*claim, delivery)));
        }
        Ok(loaded)
    }
}

// === impl LoadedRows ===

impl LoadedRows {
    fn add_webhook(&mut self, name: &str, reply: Reply) -> Result<(), StoreError> {
        let found: Option<(i64,)> = reply.read()?.pop();
        self.webhooks.extend(found.map(|(number,)| (name.to_owned(), number)));
        Ok(())
    }
}

impl LoadedEvent {
    /// Creates one that is written now.
    pub(super) fn new(number: i64, event: &NewEvent, is_open: bool) -> Result<Self, StoreError> {
        let payload = PayloadColumns::of(&event.payload)?;
        Ok(Self {
            number,
            occurred_at: event.occurred_at,
            is_open,
            has_payload: payload.size.is_some(),
            file: payload.path.map(str::to_owned),
            pieces: payload.pieces,
        })
    }
}

impl FromSqlRow for LoadedEvent {
    fn read(row: &mut SqlRow) -> Result<Self, StoreError> {
        Ok(Self {
            number: row.get()?,
            occurred_at: row.get()?,
            is_open: row.get()?,
            has_payload: row.get()?,
            file: row.get()?,
            pieces: row.get()?,
        })
    }
}

impl FromSqlRow for LoadedClaim {
    fn read(row: &mut SqlRow) -> Result<Self, StoreError> {
        let (event, webhook, order_key, attempts) =
            (row.get()?, row.get()?, row.get()?, row.get()?);
        let is_raw = row.get::<String>()? == RAW;
        Ok(Self { event, webhook, order_key, attempts, is_raw })
    }
}
