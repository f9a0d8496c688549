//! Blocks calls until the tables are migrated. A gateway that is started while its database is
//! unavailable begins to work when the database is reachable.

use std::{
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use super::{
    address::DatabaseAddress,
    error::{DatabaseFailure, FailureKind},
    schema,
};
use crate::store::StoreError;

/// The pause between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// Opens permanently once the tables are migrated. Clones share the state.
#[derive(Clone, Default)]
pub(super) struct SchemaGate(Arc<GateState>);

#[derive(Default)]
struct GateState {
    open: OnceLock<()>,
    closed: RwLock<Option<DatabaseFailure>>,
}

// === impl SchemaGate ===

impl SchemaGate {
    /// Lets a call through, or returns why not.
    pub(super) fn pass(&self) -> Result<(), DatabaseFailure> {
        if self.0.open.get().is_some() {
            return Ok(());
        }
        let closed = self.0.closed.read().unwrap_or_else(PoisonError::into_inner);
        Err(closed.clone().unwrap_or_else(|| {
            DatabaseFailure::new(FailureKind::Unreachable, "no server was asked yet")
        }))
    }

    pub(super) fn open(&self) {
        let _ = self.0.open.set(());
    }

    pub(super) fn shut(&self, error: &StoreError) {
        let mut closed = self.0.closed.write().unwrap_or_else(PoisonError::into_inner);
        *closed = Some(error.into());
    }

    /// Migrates, until it succeeds.
    pub(super) async fn keep_trying(self, address: DatabaseAddress, schema: String) {
        loop {
            tokio::time::sleep(PAUSE).await;
            match schema::migrate(&address, &schema).await {
                Ok(()) => break,
                Err(error) => self.shut(&error),
            }
        }
        self.open();
        tracing::info!("The store's database is reachable again.");
    }
}
