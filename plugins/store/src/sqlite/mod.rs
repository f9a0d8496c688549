//! The embedded store: one SQLite file, one thread that writes, a few connections that read.
//!
//! Two processes may share one file, as they do during an upgrade without downtime; a network file
//! system may not be between them. Open it after the process has forked into the background: locks
//! do not follow a fork.

mod archive;
pub mod backup;
mod checkpoint;
mod deliveries;
mod error;
mod events;
mod gateways;
mod home;
mod lists;
mod notes;
mod owner;
mod partner_webhooks;
mod prune;
mod queries;
mod readers;
mod schema;
mod tally;
mod writer;

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::broadcast;
use uuid::Uuid;

use self::{
    checkpoint::Checkpointer, home::Home, owner::DeadOwner, prune::Found, readers::Readers,
    writer::Shared, writer::Writer,
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

/// Rows that one step of a long change touches at most, so that no exchange waits long behind it.
const STEP: usize = 200;

/// Steps of giving room back that one call makes at most: 64 MiB.
const SHRINK_STEPS: usize = 64;

/// How the embedded store works. The defaults suit one gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteOptions {
    /// Calls that may read at once.
    pub readers: usize,
    /// Calls that may wait for the writing thread before others wait for a place.
    pub queue: usize,
    /// Calls that share one commit at most.
    pub group: usize,
    /// How long a call waits, all in all, before it fails with [`StoreError::Slow`].
    pub wait: Duration,
    /// How long another process's lock is waited for.
    pub busy: Duration,
    /// How often the log is written back into the file.
    pub checkpoint: Duration,
}

/// The store in one SQLite file.
pub struct SqliteStore {
    path: PathBuf,
    owner: i64,
    /// Nobody tells one process what another wrote into the file, so this stays silent.
    changes: broadcast::Sender<Change>,
    writer: Writer,
    readers: Readers,
    _checkpointer: Checkpointer,
}

// === impl SqliteOptions ===

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            readers: 4,
            queue: 1_024,
            group: 256,
            wait: Duration::from_secs(30),
            busy: Duration::from_secs(10),
            checkpoint: Duration::from_millis(500),
        }
    }
}

// === impl SqliteStore ===

impl SqliteStore {
    /// Opens the store, and makes it with its folders if need be. Blocks: a large file that was not
    /// closed well is looked through first.
    ///
    /// # Errors
    /// [`StoreError::Open`] when a file or folder cannot be made, [`StoreError::TooNew`], and what
    /// the database says.
    pub fn open(path: &Path, options: &SqliteOptions) -> Result<Self, StoreError> {
        match Self::open_or_wait(path, options)? {
            (store, None) => Ok(store),
            (_, Some(error)) => Err(error),
        }
    }

    /// As [`Self::open`], and has a store too when its file cannot be used just now: with the reason.
    /// Every call fails then, and looks again.
    ///
    /// # Errors
    /// As [`Self::open`], when waiting would not help.
    pub fn open_or_wait(
        path: &Path,
        options: &SqliteOptions,
    ) -> Result<(Self, Option<StoreError>), StoreError> {
        let path = create(path)?;
        let shared = Arc::new(Shared::default());
        let mut home = Home::new(path.clone(), options.busy, Arc::clone(&shared));
        let owner = home.owner.id;
        let away = home.ready().err();
        let away = match away {
            Some(error) if !error.may_pass() => return Err(error),
            away => away,
        };
        let (writer, thread) = Writer::new(home, Arc::clone(&shared), options);
        let checkpointer = Checkpointer::start(
            path.clone(),
            options.checkpoint,
            options.busy,
            Arc::clone(&shared),
        )?;
        std::thread::Builder::new()
            .name("as2hook-store".to_owned())
            .spawn(move || thread.run())
            .map_err(|source| StoreError::Open { path: path.clone(), source })?;
        let readers = Readers::new(path.clone(), shared, options);
        let changes = broadcast::channel(1).0;
        let store = Self { path, owner, changes, writer, readers, _checkpointer: checkpointer };
        Ok((store, away))
    }

    /// Transactions committed by this process. Less than the calls made: they share commits.
    pub fn commits(&self) -> u64 {
        self.writer.shared().commits.load(Ordering::Relaxed)
    }

    /// Removes what was found, and gives the room back.
    async fn remove(&self, found: Found) -> Result<u64, StoreError> {
        let mut removed = 0;
        for step in found.steps() {
            let work = move |connection: &Connection| prune::remove(connection, &step);
            let (events, files) = self.writer.run(work).await?;
            crate::payload::remove_files(files).await;
            removed += events;
        }
        let mut steps = 0;
        while steps < SHRINK_STEPS && self.readers.run(prune::is_loose).await? {
            self.writer.run(prune::shrink).await?;
            steps += 1;
        }
        Ok(removed as u64)
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn open(&self, event: NewEvent, if_unknown: Vec<NewDelivery>) -> Result<(), StoreError> {
        let owner = Some(self.owner);
        self.writer
            .run(move |connection| {
                events::insert(connection, &event, owner, &if_unknown).map(|_| ())
            })
            .await
    }

    async fn settle(&self, settlement: Settlement) -> Result<(), StoreError> {
        self.writer.run(move |connection| events::settle(connection, &settlement)).await
    }

    async fn discard(&self, event: Uuid) -> Result<(), StoreError> {
        let file = self.writer.run(move |connection| events::discard(connection, event)).await?;
        crate::payload::remove_files(file.into_iter().collect()).await;
        Ok(())
    }

    async fn publish(
        &self,
        event: NewEvent,
        deliveries: Vec<NewDelivery>,
    ) -> Result<(), StoreError> {
        self.writer.run(move |connection| events::publish(connection, &event, &deliveries)).await
    }

    async fn apply(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let owner = self.owner;
        self.writer
            .run(move |connection| {
                writes.iter().try_for_each(|write| notes::apply(connection, owner, write))
            })
            .await
    }

    async fn note(&self, key: &str) -> Result<Option<Note>, StoreError> {
        let key = key.to_owned();
        self.readers.run(move |connection| notes::read(connection, &key)).await
    }

    async fn due_notes(&self, at: i64, limit: usize) -> Result<Vec<Note>, StoreError> {
        self.readers.run(move |connection| notes::due(connection, at, limit)).await
    }

    async fn forget_notes(&self, at: i64, limit: usize) -> Result<u64, StoreError> {
        self.writer.run(move |connection| notes::forget(connection, at, limit)).await
    }

    async fn adopt(&self) -> Result<Vec<(StoredEvent, Vec<NewDelivery>)>, StoreError> {
        let (path, own) = (self.path.clone(), self.owner);
        let dead =
            self.readers.run(move |connection| DeadOwner::find(&path, connection, own)).await?;
        if !dead.is_empty() {
            // Their locks go with the work, whatever becomes of it.
            self.writer
                .run(move |connection| dead.iter().try_for_each(|dead| dead.bury(connection, own)))
                .await?;
        }
        self.readers.run(move |connection| events::adopted(connection, own)).await
    }

    async fn due(&self) -> Result<Vec<DueWebhook>, StoreError> {
        self.readers.run(queries::due).await
    }

    async fn claim(
        &self,
        webhook: &str,
        now: i64,
        limit: usize,
    ) -> Result<Vec<Claimed>, StoreError> {
        let (owner, webhook) = (self.owner, webhook.to_owned());
        let taken = self
            .writer
            .take(move |connection| deliveries::claim(connection, owner, &webhook, now, limit))
            .await?;
        if !taken.is_partial() {
            return Ok(taken.keep());
        }
        Ok(self.readers.run(move |connection| taken.fill(connection)).await?.keep())
    }

    async fn finish(&self, attempts: Vec<AttemptRecord>) -> Result<(), StoreError> {
        let owner = self.owner;
        self.writer.run(move |connection| deliveries::finish(connection, owner, &attempts)).await
    }

    async fn shift(
        &self,
        webhook: &str,
        from: DeliveryState,
        to: DeliveryState,
    ) -> Result<u64, StoreError> {
        let name = webhook.to_owned();
        // Those that come into the state meanwhile may be left for the next call: no endless chase.
        let all =
            self.readers.run(move |connection| deliveries::count(connection, &name, from)).await?;
        let mut moved = 0;
        while moved < all {
            let name = webhook.to_owned();
            let step = self
                .writer
                .run(move |connection| deliveries::shift(connection, &name, from, to, STEP))
                .await?;
            moved += step;
            if step == 0 {
                break;
            }
        }
        Ok(moved as u64)
    }

    async fn webhook_states(&self) -> Result<Vec<WebhookState>, StoreError> {
        self.readers.run(queries::webhook_states).await
    }

    async fn set_webhook_state(&self, state: WebhookState) -> Result<(), StoreError> {
        self.writer.run(move |connection| queries::set_webhook_state(connection, &state)).await
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        self.readers.run(tally::counts).await
    }

    async fn prune(&self, before: i64, limit: usize) -> Result<u64, StoreError> {
        let find = move |connection: &Connection| prune::idle(connection, before, limit);
        let found = self.readers.run(find).await?;
        self.remove(found).await
    }

    async fn prune_beyond(&self, keep: u64, limit: usize) -> Result<u64, StoreError> {
        let find = move |connection: &Connection| prune::beyond(connection, keep, limit);
        let found = self.readers.run(find).await?;
        self.remove(found).await
    }

    async fn prune_attempts(&self, before: i64, limit: usize) -> Result<u64, StoreError> {
        let mut removed = 0;
        while removed < limit {
            let step = prune::ATTEMPTS.min(limit - removed);
            let work = move |connection: &Connection| prune::attempts(connection, before, step);
            let attempts = self.writer.run(work).await?;
            removed += attempts;
            if attempts < step {
                break;
            }
        }
        Ok(removed as u64)
    }

    async fn spend(&self, before: i64, limit: usize) -> Result<Spent, StoreError> {
        let mut spent = Spent::default();
        let mut left = limit;
        while left > 0 {
            let step = STEP.min(left);
            let (events, files, pieces) =
                self.writer.run(move |connection| prune::spend(connection, before, step)).await?;
            crate::payload::remove_files(files).await;
            spent.events += events as u64;
            spent.pieces.extend(pieces);
            left -= events;
            if events < step {
                break;
            }
        }
        if spent.events > 0 {
            self.writer.run(prune::shrink).await?;
        }
        Ok(spent)
    }

    async fn tell(&self, event: Uuid, deliveries: Vec<NewDelivery>) -> Result<(), StoreError> {
        self.writer.run(move |connection| lists::tell(connection, event, &deliveries)).await
    }

    async fn replay(&self, filter: &Filter) -> Result<u64, StoreError> {
        let (mut replayed, mut after) = (0, 0);
        loop {
            let filter = filter.clone();
            let ids = self
                .readers
                .run(move |connection| lists::replayable(connection, &filter, after, STEP))
                .await?;
            let Some(&last) = ids.last() else { return Ok(replayed) };
            after = last;
            replayed +=
                self.writer.run(move |connection| lists::replay(connection, &ids)).await? as u64;
        }
    }

    async fn event(&self, id: Uuid) -> Result<Option<StoredEvent>, StoreError> {
        self.readers.run(move |connection| lists::event(connection, id)).await
    }

    async fn events(
        &self,
        filter: &Filter,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page<EventRow>, StoreError> {
        let filter = filter.clone();
        self.readers.run(move |connection| lists::events(connection, &filter, cursor, limit)).await
    }

    async fn deliveries(
        &self,
        filter: &Filter,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page<DeliveryRow>, StoreError> {
        let filter = filter.clone();
        self.readers
            .run(move |connection| lists::deliveries(connection, &filter, cursor, limit))
            .await
    }

    async fn attempts(
        &self,
        filter: &Filter,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page<AttemptRow>, StoreError> {
        let filter = filter.clone();
        self.readers
            .run(move |connection| lists::attempts(connection, &filter, cursor, limit))
            .await
    }

    async fn partner_webhooks(&self) -> Result<Vec<PartnerWebhook>, StoreError> {
        self.readers.run(partner_webhooks::all).await
    }

    async fn configure_partner_webhook(
        &self,
        change: PartnerWebhookChange,
    ) -> Result<Option<PartnerWebhook>, StoreError> {
        self.writer.run(move |connection| partner_webhooks::configure(connection, &change)).await
    }

    async fn record(&self, made: Made) -> Result<(), StoreError> {
        self.writer.run(move |connection| partner_webhooks::record(connection, &made)).await
    }

    async fn attempt_log(
        &self,
        webhook: &str,
        offset: u64,
        limit: usize,
    ) -> Result<AttemptLog, StoreError> {
        let webhook = webhook.to_owned();
        self.readers
            .run(move |connection| partner_webhooks::log(connection, &webhook, offset, limit))
            .await
    }

    async fn unnamed_payloads(&self, files: Vec<PathBuf>) -> Result<Vec<PathBuf>, StoreError> {
        self.readers.run(move |connection| events::unnamed_payloads(connection, files)).await
    }

    async fn unnamed_pieces(&self, payloads: Vec<Uuid>) -> Result<Vec<Uuid>, StoreError> {
        self.readers.run(move |connection| events::unnamed_pieces(connection, &payloads)).await
    }

    async fn report(&self, report: GatewayReport) -> Result<(), StoreError> {
        self.writer.run(move |connection| gateways::report(connection, &report)).await
    }

    async fn gateways(&self, since: i64) -> Result<Vec<GatewayReport>, StoreError> {
        self.readers.run(move |connection| gateways::list(connection, since)).await
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    async fn close(&self) {
        self.writer.close().await;
        self.readers.close();
    }
}

/// Makes the file and its folders for nobody but us. Returns where it really is.
fn create(path: &Path) -> Result<PathBuf, StoreError> {
    let attempt = || -> io::Result<PathBuf> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        create_folder(folder)?;
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(file) => {
                file.sync_all()?;
                File::open(folder)?.sync_all()?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        fs::canonicalize(path)
    };
    attempt().map_err(|source| StoreError::Open { path: path.to_owned(), source })
}

fn create_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(test)]
mod tests;
