//! Exports the embedded store as plain rows.

use std::path::PathBuf;

use rusqlite::Connection;

use super::{SqliteStore, identity, readers::rows};
use crate::{
    archive::{ArchivedAttempt, ArchivedDelivery, ArchivedEvent},
    columns::{error_codes, length},
    model::{Attempt, EventTerms, NewDelivery, NewEvent, Payload},
    private_files::folder_of,
    record::Record,
    rows::{FromSqlRow, SqlRow},
    store::StoreError,
    transaction::Statement,
};

/// What `archive::migrate` reads. Nothing else may use the store meanwhile.
impl SqliteStore {
    /// Whether another running process has the store open.
    pub fn in_use(&self) -> Result<bool, StoreError> {
        Ok(!self.owners.is_alone()?)
    }

    /// Returns where its payload files may be, the likeliest root first.
    pub async fn payload_roots(&self) -> Result<Vec<PathBuf>, StoreError> {
        let mut roots = self.readers.run(identity::roots).await?;
        // The store may have been moved, with its payloads, since it was last used.
        roots.push(folder_of(&self.path).join("payloads"));
        Ok(roots)
    }

    /// Returns up to `limit` events after number `after`.
    pub async fn export_events(
        &self,
        after: i64,
        limit: usize,
    ) -> Result<Vec<ArchivedEvent>, StoreError> {
        let sql = format!(
            "SELECT {}, {} FROM event e JOIN content c ON c.event = e.id
            WHERE e.id > $1 ORDER BY e.id LIMIT $2",
            ArchivedEvent::COLUMNS,
            Payload::COLUMNS
        );
        self.readers.select(Statement::new(sql, [after.into(), length(limit).into()])).await
    }

    /// Returns up to `limit` deliveries after number `after`.
    pub async fn export_deliveries(
        &self,
        after: i64,
        limit: usize,
    ) -> Result<Vec<ArchivedDelivery>, StoreError> {
        let deliveries = format!(
            "SELECT {} FROM delivery d JOIN event e ON e.id = d.event JOIN webhook w ON w.id = d.webhook
            WHERE d.id > $1 ORDER BY d.id LIMIT $2",
            ArchivedDelivery::COLUMNS
        );
        let attempts = format!(
            "SELECT {}, a.state, a.next_at FROM attempt a WHERE a.delivery = $1 ORDER BY a.number",
            Attempt::COLUMNS
        );
        let deliveries = Statement::new(deliveries, [after.into(), length(limit).into()]);
        let read = move |connection: &Connection| {
            let mut deliveries: Vec<ArchivedDelivery> = rows(connection, &deliveries)?;
            for delivery in &mut deliveries {
                let attempts = Statement::new(attempts.clone(), [delivery.number.into()]);
                delivery.log = rows(connection, &attempts)?;
            }
            Ok(deliveries)
        };
        self.readers.run(read).await
    }

    /// Returns up to `limit` notes after the key `after`, in the order of their keys.
    pub async fn export_notes(&self, after: &str, limit: usize) -> Result<Vec<Record>, StoreError> {
        let columns = Record::COLUMNS;
        let sql = format!("SELECT {columns} FROM note WHERE key > $1 ORDER BY key LIMIT $2");
        self.readers.select(Statement::new(sql, [after.into(), length(limit).into()])).await
    }
}

impl FromSqlRow for ArchivedEvent {
    /// Those of [`Payload`] follow.
    const COLUMNS: &'static str = "e.id, e.verdict, e.idle_since,
        CASE WHEN e.owner IS NULL THEN 'null' ELSE coalesce(e.planned, '[]') END, e.uuid, e.kind,
        e.site, e.partner, e.station, e.message_id, e.about, e.file_name,
        e.errors, e.occurred_at, c.body";

    fn read(row: &mut SqlRow) -> Result<Self, StoreError> {
        Ok(Self {
            number: row.get()?,
            verdict: row.get()?,
            idle_since: row.get()?,
            open: row.json()?,
            event: NewEvent {
                id: row.get()?,
                kind: row.get()?,
                site: row.get()?,
                partner: row.get()?,
                station: row.get()?,
                message_id: row.get()?,
                about: row.get()?,
                terms: EventTerms { file_name: row.get()?, errors: error_codes(row.get()?) },
                occurred_at: row.get()?,
                body: row.get()?,
                payload: Payload::read(row)?,
            },
        })
    }
}

impl FromSqlRow for ArchivedDelivery {
    const COLUMNS: &'static str = "d.id, e.uuid, d.webhook_id, w.name, d.mode, d.order_key, d.due,
        d.state, d.attempts, d.tries, d.replay";

    fn read(row: &mut SqlRow) -> Result<Self, StoreError> {
        Ok(Self {
            number: row.get()?,
            event: row.get()?,
            delivery: NewDelivery {
                webhook_id: row.get()?,
                webhook: row.get()?,
                mode: row.get()?,
                order_key: row.get()?,
                due: row.get()?,
            },
            state: row.get()?,
            attempts: row.get()?,
            tries: row.get()?,
            replay: row.get()?,
            log: Vec::new(),
        })
    }
}

impl FromSqlRow for ArchivedAttempt {
    fn read(row: &mut SqlRow) -> Result<Self, StoreError> {
        Ok(Self { attempt: Attempt::read(row)?, state: row.get()?, next_at: row.get()? })
    }
}
