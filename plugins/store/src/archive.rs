//! Moves a site from one store to another, as plain rows. Times are milliseconds since 1970.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use uuid::Uuid;

use crate::{
    model::{Attempt, DeliveryState, NewDelivery, NewEvent, Payload},
    payload::places,
    pieces::BlobStore,
    postgres::PostgresStore,
    sqlite::SqliteStore,
    store::{DeliveryQueue as _, EventStore as _, Store as _, StoreError},
    write::Write,
};

/// The most rows of one commit.
const STEP: usize = 500;
/// Their approximate bytes.
const STEP_BYTES: usize = 8 * 1024 * 1024;

/// What was moved, or has been moved so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Events.
    pub events: u64,
    /// Exchanges among them whose outcome is unknown.
    pub open: u64,
    /// Payload files that are stored in the new store now.
    pub payloads: u64,
    /// Missing payload files: their `raw` deliveries cannot be made.
    pub lost_payloads: u64,
    /// Deliveries.
    pub deliveries: u64,
    /// Those among them that are not made yet: pending, held and orphaned ones.
    pub undelivered: u64,
    /// Notes.
    pub notes: u64,
    /// Events and deliveries that the new store already had from an earlier attempt.
    pub there_before: u64,
}

/// Why a site was not moved completely. A repeated move continues where this one ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// A gateway is running on the old store.
    #[error("another process uses the store that is to be moved: stop as2hook first")]
    InUse,
    /// The old store failed.
    #[error("the store that is to be moved cannot be read: {0}")]
    From(#[source] StoreError),
    /// The new store failed.
    #[error("the new store does not accept it: {0}")]
    To(#[source] StoreError),
}

/// An event with everything stored about it except its deliveries.
#[derive(Clone, Debug, PartialEq)]
pub struct ArchivedEvent {
    /// The store's number for it; events are archived in this order.
    pub number: i64,
    /// The event and its payload.
    pub event: NewEvent,
    /// Its outcome, if known.
    pub verdict: Option<Vec<u8>>,
    /// Set while its outcome is not known: the deliveries to make if it never is.
    pub open: Option<Vec<NewDelivery>>,
    /// Since when no work is left for it.
    pub idle_since: Option<i64>,
}

/// A delivery with its attempts.
#[derive(Clone, Debug, PartialEq)]
pub struct ArchivedDelivery {
    /// The store's number for it. Deliveries are archived in this order, in which those of one
    /// order key are made.
    pub number: i64,
    /// The event that it delivers.
    pub event: Uuid,
    /// The delivery as planned.
    pub delivery: NewDelivery,
    /// Its state; a claimed one is archived as pending.
    pub state: DeliveryState,
    /// All attempts.
    pub attempts: u32,
    /// The attempts since the last replay.
    pub tries: u32,
    /// Whether it is a replay.
    pub replay: bool,
    /// The attempts in the log, oldest first.
    pub log: Vec<ArchivedAttempt>,
}

/// An attempt, and its outcome for the delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct ArchivedAttempt {
    /// The attempt.
    pub attempt: Attempt,
    /// See [`crate::AttemptRow::state`].
    pub state: DeliveryState,
    /// See [`crate::AttemptRow::next_at`].
    pub next_at: Option<i64>,
}

/// Moves everything; payload files go into the new store. The old store stays as it was, except for
/// exchanges that a terminated process left open. `progress` is called after each step.
///
/// # Errors
/// At the first call that fails; a second run continues from there.
pub async fn migrate(
    from: &SqliteStore,
    to: &PostgresStore,
    progress: impl FnMut(&Moved),
) -> Result<Moved, MigrateError> {
    if from.in_use().map_err(MigrateError::From)? {
        return Err(MigrateError::InUse);
    }
    from.adopt().await.map_err(MigrateError::From)?;
    let states = from.webhook_states().await.map_err(MigrateError::From)?;
    to.import_states(&states).await.map_err(MigrateError::To)?;
    let webhooks = from.partner_webhooks().await.map_err(MigrateError::From)?;
    to.import_partner_webhooks(webhooks).await.map_err(MigrateError::To)?;
    let roots = from.payload_roots().await.map_err(MigrateError::From)?;
    let mut moving = Moving { from, to, roots, moved: Moved::default(), progress };
    moving.events().await?;
    moving.deliveries().await?;
    to.import_done().await.map_err(MigrateError::To)?;
    moving.notes().await?;
    Ok(moving.moved)
}

/// A move in progress.
struct Moving<'a, P> {
    from: &'a SqliteStore,
    to: &'a PostgresStore,
    roots: Vec<PathBuf>,
    moved: Moved,
    progress: P,
}

// === impl Moving ===

impl<P: FnMut(&Moved)> Moving<'_, P> {
    async fn events(&mut self) -> Result<(), MigrateError> {
        let mut after = 0;
        loop {
            let events = self.from.export_events(after, STEP).await.map_err(MigrateError::From)?;
            let Some(last) = events.last() else { return Ok(()) };
            after = last.number;
            let mut known = Vec::with_capacity(events.len());
            for mut event in events {
                self.moved.events += 1;
                event.event.payload = self.payload(&event).await?;
                match event.open.take() {
                    Some(planned) => {
                        self.moved.open += 1;
                        let open = vec![Write::Open(event.event, planned)];
                        self.to.commit(open).await.map_err(MigrateError::To)?;
                    }
                    None => known.push(event),
                }
            }
            for known in batches(known, event_bytes) {
                let count = known.len();
                let new = self.to.import_events(known).await.map_err(MigrateError::To)?;
                self.arrived(count, new);
            }
        }
    }

    async fn deliveries(&mut self) -> Result<(), MigrateError> {
        let mut after = 0;
        loop {
            let rows = self.from.export_deliveries(after, STEP).await;
            let deliveries = rows.map_err(MigrateError::From)?;
            let Some(last) = deliveries.last() else { return Ok(()) };
            after = last.number;
            let waits = deliveries.iter().filter(|row| is_undelivered(row.state));
            self.moved.undelivered += waits.count() as u64;
            self.moved.deliveries += deliveries.len() as u64;
            for batch in batches(deliveries, delivery_bytes) {
                let count = batch.len();
                let new = self.to.import_deliveries(batch).await.map_err(MigrateError::To)?;
                self.arrived(count, new);
            }
        }
    }

    async fn notes(&mut self) -> Result<(), MigrateError> {
        let mut after = String::new();
        loop {
            let notes = self.from.export_notes(&after, STEP).await.map_err(MigrateError::From)?;
            let Some(last) = notes.last() else { return Ok(()) };
            after.clone_from(&last.key);
            self.moved.notes += notes.len() as u64;
            for batch in batches(notes, |note| 200 + note.key.len() + note.body.len()) {
                self.to.import_notes(batch).await.map_err(MigrateError::To)?;
                (self.progress)(&self.moved);
            }
        }
    }

    /// Reports a batch of rows, `new` of which were new.
    fn arrived(&mut self, batch: usize, new: u64) {
        self.moved.there_before += (batch as u64).saturating_sub(new);
        (self.progress)(&self.moved);
    }

    /// Stores a payload file as pieces under its event's id, so that a second attempt writes the
    /// same ones.
    async fn payload(&mut self, event: &ArchivedEvent) -> Result<Payload, MigrateError> {
        // A sealed payload moves as it is: it is sealed for its event.
        let kept = match &event.event.payload {
            Payload::Sealed { kept, .. } => kept,
            payload => payload,
        };
        let Payload::File { path, size } = kept else { return Ok(event.event.payload.clone()) };
        let id = event.event.id;
        let mut put = false;
        for place in places(path, self.roots.iter().map(PathBuf::as_path)) {
            put = put || put_file(&place, *size, id, self.to).await?;
        }
        if !put {
            self.moved.lost_payloads += 1;
            tracing::warn!(
                path = %path.display(),
                event = %id,
                "A payload file is missing or truncated; its raw deliveries cannot be made."
            );
            return Ok(event.event.payload.clone());
        }
        self.moved.payloads += 1;
        let stored = Payload::Stored { id, size: *size };
        Ok(match &event.event.payload {
            Payload::Sealed { size, .. } => Payload::Sealed { size: *size, kept: Box::new(stored) },
            _ => stored,
        })
    }
}

fn is_undelivered(state: DeliveryState) -> bool {
    matches!(state, DeliveryState::Pending | DeliveryState::Held | DeliveryState::Orphaned)
}

/// Splits rows, in their order, into batches of about [`STEP_BYTES`]; a larger row is a batch of
/// its own.
fn batches<R>(rows: Vec<R>, bytes: impl Fn(&R) -> usize) -> Vec<Vec<R>> {
    let mut all = Vec::new();
    let (mut batch, mut so_far) = (Vec::new(), 0);
    for row in rows {
        let more = bytes(&row);
        if so_far + more > STEP_BYTES && !batch.is_empty() {
            all.push(std::mem::take(&mut batch));
            so_far = 0;
        }
        so_far += more;
        batch.push(row);
    }
    if !batch.is_empty() {
        all.push(batch);
    }
    all
}

fn event_bytes(event: &ArchivedEvent) -> usize {
    let verdict = event.verdict.as_ref().map_or(0, Vec::len);
    1_000 + event.event.body.len() + event.event.payload.in_memory() + verdict
}

fn delivery_bytes(delivery: &ArchivedDelivery) -> usize {
    let size = |log: &ArchivedAttempt| {
        300 + log.attempt.url.len() + log.attempt.error.as_ref().map_or(0, String::len)
    };
    1_000 + delivery.log.iter().map(size).sum::<usize>()
}

/// Returns `false` when the file differs from what was written.
async fn put_file(
    path: &Path,
    size: u64,
    id: Uuid,
    to: &dyn BlobStore,
) -> Result<bool, MigrateError> {
    let unreadable =
        |source| MigrateError::From(StoreError::Payload { path: path.to_owned(), source });
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(unreadable(error)),
    };
    if file.metadata().map_err(unreadable)?.len() != size {
        return Ok(false);
    }
    for index in 0.. {
        let mut piece = Vec::with_capacity(to.size());
        let read = (&mut file).take(to.size() as u64).read_to_end(&mut piece);
        if read.map_err(unreadable)? == 0 {
            break;
        }
        to.put(id, index, Bytes::from(piece)).await.map_err(MigrateError::To)?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_of_some_megabytes_and_none_is_empty() {
        let of = |sizes: &[usize]| {
            let all = batches(sizes.to_vec(), |size| *size);
            assert_eq!(all.concat(), sizes);
            all.iter().map(Vec::len).collect::<Vec<_>>()
        };
        let half = STEP_BYTES / 2;
        assert_eq!(of(&[]), [0; 0]);
        assert_eq!(of(&[half; 5]), [2, 2, 1]);
        assert_eq!(of(&[1, STEP_BYTES * 3, 1, 1]), [1, 1, 2]);
    }
}
