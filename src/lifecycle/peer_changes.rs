//! What other gateways of the same store do, done here too: as soon as the store says it, and by a
//! look every few seconds, since not every store does.

use std::{sync::Arc, time::Duration};

use as2hook_delivery::Dispatcher;
use as2hook_store::GatewayChange;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Instant, sleep_until},
};

use crate::partner_webhooks::loader::PartnerWebhookLoader;

/// How often it is looked for what the store did not say.
pub(super) const EVERY: Duration = Duration::from_secs(5);

/// Follows the others for ever, by what the store says and by a look after each time of `every`.
pub(super) async fn run(
    mut changes: Receiver<GatewayChange>,
    keeper: Arc<PartnerWebhookLoader>,
    dispatcher: Arc<Dispatcher>,
    every: Duration,
) {
    let mut said = true;
    let mut next = Instant::now() + every;
    loop {
        // `None`: the time for a look has come.
        let change = tokio::select! {
            change = changes.recv(), if said => match change {
                Ok(change) => Some(change),
                Err(RecvError::Lagged(_)) => Some(GatewayChange::All),
                // The store is closed, or says nothing of itself.
                Err(RecvError::Closed) => {
                    said = false;
                    continue;
                }
            },
            () = sleep_until(next) => {
                next = Instant::now() + every;
                None
            }
        };
        tracing::trace!(?change, "Another gateway may have changed something.");
        if let None | Some(GatewayChange::PartnerWebhooks | GatewayChange::All) = &change {
            match keeper.load().await {
                Ok(true) => dispatcher.rules_changed(),
                Ok(false) => {}
                Err(error) => tracing::debug!(%error, "Partners' webhooks could not be read."),
            }
        }
        if let None | Some(GatewayChange::WebhookState(_) | GatewayChange::All) = &change
            && let Err(error) = dispatcher.take_over().await
        {
            tracing::debug!(%error, "The webhooks' states could not be read.");
        }
        match change {
            Some(GatewayChange::Due(webhook)) => dispatcher.ring(&webhook),
            Some(GatewayChange::All) => dispatcher.rules_changed(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use as2hook_delivery::{DispatcherOptions, HealthState, Wakeups};
    use as2hook_sink::Client;
    use as2hook_store::{
        DeliveryQueue as _, EventStore as _, EventTerms, NewDelivery, NewEvent,
        PartnerWebhookChange, Payload, SqliteOptions, SqliteStore, Store, WebhookState, Write,
    };
    use tokio::sync::broadcast;

    use super::*;
    use crate::{reload, secret_key::SecretKey, snapshot::Live};

    const HOUR: Duration = Duration::from_secs(3600);

    const CONFIG: &str = "receiver: { url: \"http://127.0.0.1:9\" }\n\
                          partners: [{ id: 7, as2_id: ACME }]\n";
    const RULES: &str = "webhooks: [{ name: orders, url: \"http://127.0.0.1:9/\" }]\n";

    /// Waits, not for ever, until it is so.
    async fn until(what: &str, mut so: impl FnMut() -> bool) {
        let waited = async {
            while !so() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), waited).await;
        assert!(waited.is_ok(), "waited in vain for: {what}");
    }

    /// Nothing here is looked for within the hour: only what the store says is heard.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_the_store_says_is_done_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("as2hook.yaml");
        fs::write(&path, CONFIG).unwrap();
        fs::write(folder.path().join("webhooks.yaml"), RULES).unwrap();
        let loaded = as2hook_config::load(&path, &as2hook_config::Plugins::default()).unwrap();
        let key = SecretKey::open_or_make(&folder.path().join("secret.key")).unwrap();
        let live = Arc::new(Live::new(reload::snapshot(loaded, None).await, key));
        let open = || {
            let path = folder.path().join("as2hook.db");
            Arc::new(SqliteStore::open(&path, &SqliteOptions::default()).unwrap())
        };
        let (store, other) = (open(), open());
        let keeper = Arc::new(PartnerWebhookLoader::new(store.clone(), live.clone()));
        let client = Arc::new(Client::new().await.unwrap());
        let options = DispatcherOptions { poll: HOUR, ..DispatcherOptions::default() };
        let wakeups = Wakeups::new();
        let dispatcher =
            Dispatcher::start(store, client.into(), live.clone(), None, wakeups, options)
                .await
                .unwrap();
        let dispatcher = Arc::new(dispatcher);
        let (say, changes) = broadcast::channel(2);
        tokio::spawn(run(changes, keeper, dispatcher.clone(), HOUR));
        let health_state = || dispatcher.health("orders").map(|health| health.health_state);

        let fingerprint = live.load().webhook("orders").unwrap().fingerprint();
        let mut state = WebhookState {
            webhook: "orders".to_owned(),
            disabled: Some("the endpoint responded with 410 Gone".to_owned()),
            failing_since: None,
            fingerprint,
        };
        other.set_webhook_state(state.clone()).await.unwrap();
        say.send(GatewayChange::WebhookState("orders".to_owned())).unwrap();
        until("the webhook to be disabled", || {
            matches!(health_state(), Some(HealthState::Disabled { .. }))
        })
        .await;

        let change = PartnerWebhookChange {
            site: "main".to_owned(),
            partner: 7,
            url: Some("https://erp.example/".to_owned()),
            sealed_secret: None,
            enabled: None,
            events: None,
        };
        other.configure_partner_webhook(change).await.unwrap();
        say.send(GatewayChange::PartnerWebhooks).unwrap();
        until("the partner's webhook", || live.load().webhook("partner/main/7").is_some()).await;

        state.disabled = None;
        other.set_webhook_state(state).await.unwrap();
        say.send(GatewayChange::All).unwrap();
        until("the webhook to be back", || health_state() == Some(HealthState::Healthy)).await;

        let event = NewEvent {
            id: uuid::Uuid::now_v7(),
            kind: "message.received".to_owned(),
            site: "main".to_owned(),
            partner: None,
            station: None,
            about: None,
            terms: EventTerms::default(),
            message_id: None,
            occurred_at: 0,
            // No attempt can be made of it, and that is noted as one.
            body: b"none".to_vec(),
            payload: Payload::None,
        };
        let delivery = NewDelivery {
            webhook_id: "msg_1".to_owned(),
            webhook: "orders".to_owned(),
            mode: "json".to_owned(),
            order_key: None,
            due: 0,
        };
        other.commit(vec![Write::Publish(event, vec![delivery])]).await.unwrap();
        say.send(GatewayChange::Due("orders".to_owned())).unwrap();
        until("the attempt", || dispatcher.health("orders").is_some_and(|h| h.dead == 1)).await;
    }
}
