//! The admin listener of a tap in another proxy.

use std::sync::Arc;

use as2hook_config::{Config, ConfigDiagnostic};
use as2hook_event::Rule;
use as2hook_store::{PartnerWebhookChange, StoreError, clock, secret_key::SecretKey};
use as2hook_tap::{RunningTap, storage, timers};
use async_trait::async_trait;
use tokio::{net::TcpListener, sync::watch};
use uuid::Uuid;

use crate::{
    activity::Activity,
    gateway::{GatewayControl, GatewayFigures, Handles, LastReload, PartnerWebhookView, Reloaded},
    server::serve_on,
};

/// Serves the admin API of a tap on a bound socket. Webhooks of partners cannot be set there, and
/// `/metrics` is empty: the proxy around it counts its traffic. Runs until it is dropped.
pub async fn serve_tap(socket: TcpListener, tap: RunningTap) {
    let handles = Handles {
        store: tap.store.clone(),
        outbox: tap.outbox.clone(),
        payloads: tap.payloads.clone(),
        dispatcher: tap.dispatcher.clone(),
        directory: tap.rules.clone(),
        gateway: Arc::new(TapControl { tap, activity: Activity::default(), id: Uuid::now_v7() }),
    };
    let (_never, handed_on) = watch::channel(false);
    serve_on(socket, handles, handed_on).await;
}

struct TapControl {
    tap: RunningTap,
    /// The proxy around it counts its traffic; here is what the store has.
    activity: Activity,
    id: Uuid,
}

#[async_trait]
impl GatewayControl for TapControl {
    fn config(&self) -> Arc<Config> {
        self.tap.rules.in_force().rules.config.clone()
    }

    fn webhooks(&self) -> Vec<Arc<Rule>> {
        self.tap.rules.in_force().rules.rules.iter().cloned().collect()
    }

    fn partner_webhook(&self, _site: &str, _partner: u64) -> Option<PartnerWebhookView> {
        None
    }

    async fn configure(&self, _change: PartnerWebhookChange) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn key(&self) -> &SecretKey {
        &self.tap.key
    }

    fn activity(&self) -> &Activity {
        &self.activity
    }

    fn figures(&self) -> GatewayFigures {
        let in_force = self.tap.rules.in_force();
        let (at, error) = self.tap.rules.last();
        GatewayFigures {
            generation: in_force.generation,
            hash: in_force.hash.clone(),
            last_reload: LastReload { at: at.to_string(), ok: error.is_none(), error },
            in_flight: 0,
            receiver_failure: None,
            receiver_reached: false,
            host: std::fs::read_to_string("/proc/sys/kernel/hostname")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            id: self.id,
            rules: String::new(),
        }
    }

    async fn reload(&self) -> Result<Reloaded, Vec<ConfigDiagnostic>> {
        let [before, now] = self.tap.reload().await?;
        Ok(Reloaded::new(now.generation, &before.rules.rules, &now.rules.rules))
    }

    fn mistakes(&self) -> Vec<ConfigDiagnostic> {
        self.tap.rules.mistakes()
    }

    async fn readiness(&self) -> Result<Vec<String>, Vec<String>> {
        let reasons = storage::failures(&self.tap.outbox, &self.tap.payloads);
        if !reasons.is_empty() {
            return Err(reasons);
        }
        Ok(clock::doubt().and_then(timers::in_words).into_iter().collect())
    }

    async fn metrics(&self) -> String {
        "# EOF\n".to_owned()
    }
}
