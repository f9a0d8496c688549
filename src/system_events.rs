//! Events of as2hook itself: what it notices about webhooks, not about traffic.

use std::sync::Arc;

use as2hook_delivery::{Attempted, Disabled, Notices, Outbox, writes};
use as2hook_event::{Event, EventKind, clock};
use as2hook_store::Payload;
use async_trait::async_trait;
use serde_json::{Map, json};

use crate::snapshot::Live;

/// Notifies the other webhooks when one is disabled.
pub(crate) struct Announcer {
    live: Arc<Live>,
    outbox: Outbox,
}

// === impl Announcer ===

impl Announcer {
    pub(crate) fn new(live: Arc<Live>, outbox: Outbox) -> Self {
        Self { live, outbox }
    }
}

#[async_trait]
impl Notices for Announcer {
    async fn disabled(&self, notice: Disabled) {
        let snapshot = self.live.load();
        let event = event(&notice);
        let mut targets = snapshot.targets(&event);
        targets.retain(|target| target.webhook != notice.webhook);
        if targets.is_empty() {
            return;
        }
        self.live.observer().event(event.id, event.kind);
        match writes::publish(&event, Payload::None, &targets) {
            Ok(published) => {
                self.outbox.write(vec![published]).await;
            }
            Err(error) => tracing::error!(%error, "A notice was not stored."),
        }
    }

    fn attempted(&self, attempt: &Attempted<'_>) {
        self.live.observer().attempted(attempt);
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
