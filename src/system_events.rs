//! Events of as2hook itself: what it notices about webhooks, not about traffic.

use std::sync::Arc;

use as2hook_as2::Headers;
use as2hook_delivery::{Attempted, Disabled, Notices, Outbox, Target, writes};
use as2hook_event::{Direction, Event, EventKind, Findings, PartnerType, Query};
use as2hook_store::Payload;
use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::snapshot::Live;

/// Tells the other webhooks when one is disabled.
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
        tracing::error!(
            webhook = notice.webhook,
            reason = notice.reason,
            "A webhook was disabled; its deliveries are held until it is enabled or its rule changes."
        );
        let snapshot = self.live.load();
        let event = event(&notice);
        let webhooks = snapshot.webhooks(&Query::from(&event), &Findings::of(&event));
        let others = webhooks.iter().filter(|rule| rule.name != notice.webhook);
        let targets: Vec<_> = others.map(|rule| Target::of(rule, &event)).collect();
        if targets.is_empty() {
            return;
        }
        self.live.observer().event(event.id, event.kind);
        match writes::publish(&event, Payload::None, &targets) {
            Ok(published) => {
                self.outbox.write(vec![published]).await;
            }
            Err(error) => tracing::error!(%error, "A notice was not written down."),
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
    let since = notice.failing_since.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    extra.insert("failingSince".to_owned(), json!(since));
    Event {
        occurred_at: Timestamp::from_millisecond(notice.at).unwrap_or_else(|_| Timestamp::now()),
        site: notice.site.clone(),
        ..own_event(EventKind::WebhookDisabled, extra)
    }
}

/// An event that no exchange brought about.
pub(crate) fn own_event(kind: EventKind, extra: Map<String, Value>) -> Event {
    Event {
        id: Uuid::now_v7(),
        kind,
        occurred_at: Timestamp::now(),
        direction: Direction::Outbound,
        site: String::new(),
        partner: None,
        station: None,
        partner_type: PartnerType::Production,
        peer: None,
        headers: Headers::new(),
        decoded: None,
        errors: Vec::new(),
        send_error: None,
        mic_matches: None,
        supersedes: None,
        extra,
    }
}
