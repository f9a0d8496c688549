//! Events of as2hook itself: what it notices about webhooks, not about traffic.

use std::sync::Arc;

use as2hook_delivery::{Attempted, Notice, Notices, Outbox, WebhookChange, writes};
use as2hook_event::{Event, EventKind, clock};
use as2hook_store::Payload;
use async_trait::async_trait;
use serde_json::json;

use crate::TapHost;

/// Notifies the other webhooks of what becomes of one.
pub struct Announcer {
    host: Arc<dyn TapHost>,
    outbox: Outbox,
}

// === impl Announcer ===

impl Announcer {
    /// One that writes its events to this outbox, for the webhooks of the host's rules.
    pub fn new(host: Arc<dyn TapHost>, outbox: Outbox) -> Self {
        Self { host, outbox }
    }
}

#[async_trait]
impl Notices for Announcer {
    async fn notice(&self, notice: Notice) {
        let event = event(&notice);
        let mut targets = self.host.rules().targets(&event);
        targets.retain(|target| target.webhook != notice.webhook);
        if targets.is_empty() {
            return;
        }
        self.host.event(event.id, &event.site, event.kind);
        match writes::publish(&event, Payload::None, &targets) {
            Ok(published) => {
                self.outbox.write(vec![published]).await;
            }
            Err(error) => tracing::error!(%error, "A notice was not stored."),
        }
    }

    fn attempted(&self, attempt: &Attempted<'_>) {
        self.host.attempted(attempt);
    }
}

fn event(notice: &Notice) -> Event {
    let since = |at: &Option<i64>| json!(at.map(clock::timestamp));
    let (kind, keys) = match &notice.what {
        WebhookChange::Disabled { reason, failing_since } => (
            EventKind::WebhookDisabled,
            vec![("reason", json!(reason)), ("failingSince", since(failing_since))],
        ),
        WebhookChange::Failing { failures, error, failing_since } => (
            EventKind::WebhookFailing,
            vec![
                ("failures", json!(failures)),
                ("lastError", json!(error)),
                ("failingSince", since(failing_since)),
            ],
        ),
        WebhookChange::Recovered { failures, failing_since } => (
            EventKind::WebhookRecovered,
            vec![("failures", json!(failures)), ("failingSince", since(failing_since))],
        ),
        WebhookChange::Dead { count, last } => (
            EventKind::DeliveryDead,
            vec![
                ("count", json!(count)),
                ("webhookId", json!(last.webhook_id)),
                ("deadEvent", json!(last.event)),
                ("attempts", json!(last.attempts)),
                ("lastError", json!(last.error)),
            ],
        ),
    };
    let webhook = ("webhook", json!(notice.webhook));
    Event {
        occurred_at: clock::timestamp(notice.at),
        site: notice.site.clone(),
        extra: [webhook].into_iter().chain(keys).map(|(k, v)| (k.to_owned(), v)).collect(),
        ..Event::new(kind)
    }
}
