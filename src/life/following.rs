//! What other gateways of the same store do, done here too: as soon as the store says it, and by a
//! look every few seconds, since not every store does.

use std::{sync::Arc, time::Duration};

use as2hook_delivery::Dispatcher;
use as2hook_store::{Change, Store};
use tokio::{
    sync::broadcast::error::RecvError,
    time::{Instant, sleep_until},
};

use crate::partner_webhooks::Keeper;

/// How often it is looked for what the store did not say.
const EVERY: Duration = Duration::from_secs(5);

/// Follows the others for ever.
pub(super) async fn run(store: Arc<dyn Store>, keeper: Arc<Keeper>, dispatcher: Arc<Dispatcher>) {
    let follower = Follower { keeper, dispatcher };
    let mut changes = store.changes();
    let mut said = true;
    let mut next = Instant::now() + EVERY;
    loop {
        let change = tokio::select! {
            change = changes.recv(), if said => match change {
                Ok(change) => change,
                Err(RecvError::Lagged(_)) => Change::All,
                // The store is closed, or says nothing of itself.
                Err(RecvError::Closed) => {
                    said = false;
                    continue;
                }
            },
            () = sleep_until(next) => {
                next = Instant::now() + EVERY;
                follower.partner_webhooks().await;
                follower.webhook_states().await;
                continue;
            }
        };
        tracing::trace!(?change, "The store says that another gateway changed something.");
        match change {
            Change::PartnerWebhooks => follower.partner_webhooks().await,
            Change::WebhookState(_) => follower.webhook_states().await,
            Change::Due(webhook) => follower.dispatcher.ring(&webhook),
            Change::All => {
                follower.partner_webhooks().await;
                follower.webhook_states().await;
                follower.dispatcher.rules_changed();
            }
        }
    }
}

struct Follower {
    keeper: Arc<Keeper>,
    dispatcher: Arc<Dispatcher>,
}

// === impl Follower ===

impl Follower {
    async fn partner_webhooks(&self) {
        match self.keeper.load().await {
            Ok(true) => self.dispatcher.rules_changed(),
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, "Partners' webhooks could not be read."),
        }
    }

    async fn webhook_states(&self) {
        if let Err(error) = self.dispatcher.take_over().await {
            tracing::debug!(%error, "The webhooks' states could not be read.");
        }
    }
}
