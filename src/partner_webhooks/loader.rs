//! Brings the webhooks of the config API from the store into force.

use std::sync::Arc;

use as2hook_store::{PartnerWebhook, PartnerWebhookChange, Store, StoreError};

use super::PartnerWebhooks;
use crate::snapshot::Live;

/// Brings partners' webhooks from the store into force.
pub struct PartnerWebhookLoader {
    store: Arc<dyn Store>,
    live: Arc<Live>,
    turn: tokio::sync::Mutex<()>,
}

// === impl PartnerWebhookLoader ===

impl PartnerWebhookLoader {
    /// Keeps those in `store`.
    pub fn new(store: Arc<dyn Store>, live: Arc<Live>) -> Self {
        Self { store, live, turn: tokio::sync::Mutex::new(()) }
    }

    /// Reads them from the store. Returns whether another process had changed them.
    ///
    /// # Errors
    /// When the store does not give them; those in force stay.
    pub async fn load(&self) -> Result<bool, StoreError> {
        let _turn = self.turn.lock().await;
        let rows = self.store.partner_webhooks().await?;
        let current = self.live.load();
        let same = rows.iter().eq(current.partner_webhooks.0.iter().map(|kept| &kept.row));
        if !same {
            self.put(rows);
        }
        Ok(!same)
    }

    /// Makes or changes one, durably, and puts it in force. False: there is none to change, and no URL
    /// to make one with.
    ///
    /// # Errors
    /// When the store does not take it; nothing has changed then.
    pub async fn configure(&self, change: PartnerWebhookChange) -> Result<bool, StoreError> {
        let _turn = self.turn.lock().await;
        if self.store.configure_partner_webhook(change).await?.is_none() {
            return Ok(false);
        }
        self.put(self.store.partner_webhooks().await?);
        Ok(true)
    }

    fn put(&self, rows: Vec<PartnerWebhook>) {
        self.live.set_partner_webhooks(PartnerWebhooks::open(rows, self.live.key()));
    }
}
