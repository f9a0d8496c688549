//! Events of as2hook itself: what it notices about webhooks, not about traffic.

use std::sync::Arc;

use as2hook_delivery::{Attempted, Disabled, Notices, Outbox, writes};
use as2hook_event::{Event, EventKind, clock};
use as2hook_store::Payload;
use async_trait::async_trait;
use serde_json::{Map, json};

use crate::TapHost;

/// Notifies the other webhooks when one is disabled.
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
    async fn disabled(&self, notice: Disabled) {
        let event = event(&notice);
        let mut targets = self.host.rules().targets(&event);
        targets.retain(|target| target.webhook != notice.webhook);
        if targets.is_empty() {
            return;
        }
        self.host.event(event.id, event.kind);
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

fn event(notice: &Disabled) -> Event {
    let mut extra = Map::new();
    extra.insert("webhook".to_owned(), json!(notice.webhook));
    extra.insert("reason".to_owned(), json!(notice.reason));
    let since = notice.failing_since.map(clock::timestamp);
    extra.insert("failingSince".to_owned(), json!(since));
    Event {
        occurred_at: clock::timestamp(notice.at),
        site: notice.site.clone(),
        extra,
        ..Event::new(EventKind::WebhookDisabled)
    }
}
