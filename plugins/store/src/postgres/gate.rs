//! Whether the tables are known to be this program's. Until they are nothing is asked of them: a gateway
//! that was started while its database was away goes to work when that is back.

use std::{
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use super::{
    address::Address,
    error::{Failure, Kind},
    schema,
};
use crate::store::StoreError;

/// How long after a failure the next try is made.
const PAUSE: Duration = Duration::from_secs(1);

/// Open for good once the tables are brought up to date. Clones are the same gate.
#[derive(Clone, Default)]
pub(super) struct Gate(Arc<State>);

#[derive(Default)]
struct State {
    open: OnceLock<()>,
    closed: RwLock<Option<Failure>>,
}

// === impl Gate ===

impl Gate {
    /// Lets a call through, or says why not.
    pub(super) fn pass(&self) -> Result<(), Failure> {
        if self.0.open.get().is_some() {
            return Ok(());
        }
        let closed = self.0.closed.read().unwrap_or_else(PoisonError::into_inner);
        Err(closed
            .clone()
            .unwrap_or_else(|| Failure::new(Kind::Unreachable, "no server was asked yet")))
    }

    pub(super) fn open(&self) {
        let _ = self.0.open.set(());
    }

    pub(super) fn shut(&self, error: &StoreError) {
        let mut closed = self.0.closed.write().unwrap_or_else(PoisonError::into_inner);
        *closed = Some(error.into());
    }

    /// Tries until it is open.
    pub(super) async fn keep_trying(self, address: Address, schema: String) {
        loop {
            tokio::time::sleep(PAUSE).await;
            match schema::migrate(&address, &schema).await {
                Ok(()) => break,
                Err(error) => self.shut(&error),
            }
        }
        self.open();
        tracing::info!("The store's database is there.");
    }
}
