//! Webhooks with their live state; events and deliveries; replay.

use as2hook_api::{
    Refusal, Wrong,
    admin::{DeliveryView, EventView, HealthView, ListPage, Search, Slice, WebhookView},
};
use as2hook_delivery::{DISABLE_AFTER, Health, HealthState, Target};
use as2hook_event::{EventKind, PartnerType, Route, Rule, bounds};
use as2hook_store::{DeliveryRow, DeliveryState, EventRow, Filter};
use http::Uri;

use super::{RunningGateway, failed, rfc3339};
use crate::partner_webhooks;

/// Deliveries looked at in one step of a replay to another webhook.
const STEP: usize = 200;

const MASK: &str = "***";

// === impl RunningGateway ===

impl RunningGateway {
    pub(super) fn views(&self, site: &str) -> Vec<WebhookView> {
        let snapshot = self.live.load();
        let all = snapshot.rules.iter().chain(snapshot.partner_rules.iter());
        let mut views: Vec<_> = all
            .filter(|rule| rule.site == site)
            .map(|rule| view(rule, self.dispatcher.health(&rule.name)))
            .collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }

    pub(super) async fn bring_back(&self, site: &str, webhook: &str) -> Result<u64, Refusal> {
        let snapshot = self.live.load();
        snapshot.webhook(webhook).filter(|rule| rule.site == site).ok_or(Refusal::Unknown)?;
        self.dispatcher.enable(webhook).await.map_err(|error| failed(&error))
    }

    pub(super) async fn event_page(
        &self,
        site: &str,
        search: &Search,
        slice: Slice,
    ) -> Result<ListPage<EventView>, Refusal> {
        let filter = filter(site, search)?;
        let page = self.store.events(&filter, slice.cursor, slice.limit).await;
        let page = page.map_err(|error| failed(&error))?;
        Ok(ListPage { data: page.rows.into_iter().map(event).collect(), next_cursor: page.next })
    }

    pub(super) async fn delivery_page(
        &self,
        site: &str,
        search: &Search,
        slice: Slice,
    ) -> Result<ListPage<DeliveryView>, Refusal> {
        let filter = filter(site, search)?;
        let page = self.store.deliveries(&filter, slice.cursor, slice.limit).await;
        let page = page.map_err(|error| failed(&error))?;
        Ok(ListPage { data: page.rows.into_iter().map(delivery).collect(), next_cursor: page.next })
    }

    pub(super) async fn make_again(&self, site: &str, delivery: i64) -> Result<(), Refusal> {
        let filter =
            Filter { site: Some(site.to_owned()), delivery: Some(delivery), ..Filter::default() };
        let replayed = self.store.replay(&filter).await.map_err(|error| failed(&error))?;
        if replayed > 0 {
            return Ok(());
        }
        let found = self.store.deliveries(&filter, None, 1).await.map_err(|e| failed(&e))?;
        Err(if found.rows.is_empty() { Refusal::Unknown } else { Refusal::NotOver })
    }

    pub(super) async fn make_all_again(
        &self,
        site: &str,
        search: &Search,
        to: Option<&str>,
    ) -> Result<u64, Refusal> {
        let filter = filter(site, search)?;
        match to {
            None => self.store.replay(&filter).await.map_err(|error| failed(&error)),
            Some(to) => self.tell_another(site, &filter, to).await,
        }
    }

    /// Enqueues the events of matching deliveries for a webhook, each once. An event that it has had
    /// before is left out. Returns how many deliveries are new.
    async fn tell_another(&self, site: &str, filter: &Filter, to: &str) -> Result<u64, Refusal> {
        let snapshot = self.live.load();
        let rule = snapshot.webhook(to).filter(|rule| rule.site == site);
        let rule = rule.ok_or(Refusal::Unknown)?.clone();
        let (mut enqueued, mut cursor) = (0, None);
        loop {
            let page = self.store.deliveries(filter, cursor, STEP).await;
            let page = page.map_err(|error| failed(&error))?;
            for row in page.rows.iter().filter(|row| is_over(row.state) && row.webhook != to) {
                let (partner, station) =
                    (row.event.partner.as_deref(), row.event.station.as_deref());
                let mut target = Target::for_parties(&rule, partner, station);
                if target.order_key.is_some() && row.order_key.is_some() {
                    // What is not proven to be the partner's stays apart.
                    target.order_key.clone_from(&row.order_key);
                }
                let delivery = target.delivery(row.event.id);
                let tell = self.store.enqueue(row.event.id, vec![delivery]).await;
                enqueued += tell.map_err(|error| failed(&error))?;
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(enqueued);
            }
        }
    }
}

fn is_over(state: DeliveryState) -> bool {
    matches!(state, DeliveryState::Delivered | DeliveryState::Dead | DeliveryState::Orphaned)
}

fn filter(site: &str, search: &Search) -> Result<Filter, Refusal> {
    if let Some(name) = &search.event
        && name.parse::<EventKind>().is_err()
    {
        return Err(Refusal::Wrong(Wrong::Value("event", "message.received, mdn.received, …")));
    }
    let state = match &search.status {
        None => None,
        Some(word) => Some(DeliveryState::named(word).ok_or(Refusal::Wrong(Wrong::Value(
            "status",
            "pending, claimed, delivered, dead, held, orphaned",
        )))?),
    };
    // As they are kept.
    let name = |name: &String| bounds::as2_name(name).into_owned();
    Ok(Filter {
        site: Some(site.to_owned()),
        event: None,
        kind: search.event.clone(),
        partner: search.partner.as_ref().map(name),
        station: search.station.as_ref().map(name),
        message_id: search.message_id.as_ref().map(|id| bounds::message_id(id).into_owned()),
        from: search.from,
        until: search.until,
        delivery: None,
        webhook: search.webhook.clone(),
        state,
    })
}

fn view(rule: &Rule, health: Option<Health>) -> WebhookView {
    let events = match &rule.events {
        None => vec!["*"],
        Some(events) => events.iter().map(|event| event.as_str()).collect(),
    };
    let endpoint = &rule.endpoint;
    WebhookView {
        name: rule.name.clone(),
        source: if partner_webhooks::is_api(rule) { "api" } else { "file" },
        site: rule.site.clone(),
        events,
        partner: rule.partner.clone(),
        station: rule.station.clone(),
        partner_type: rule.partner_type.map(PartnerType::as_str),
        signature: rule
            .filters
            .signature
            .as_ref()
            .map(|statuses| statuses.iter().map(|status| status.as_str()).collect()),
        errors: rule.filters.errors.as_ref().map(ToString::to_string),
        url: masked(&endpoint.url),
        payload: endpoint.payload.as_str(),
        secrets: endpoint.secrets.iter().map(|_| MASK).collect(),
        headers: endpoint.headers.iter().map(|(name, _)| name.as_str().to_owned()).collect(),
        route: match rule.route {
            Route::MostSpecific => "most-specific",
            Route::Always => "always",
        },
        rate: endpoint.rate.map(|rate| rate.to_string()),
        disable_after: endpoint.disable_after.unwrap_or(DISABLE_AFTER).as_secs(),
        enabled: rule.enabled,
        state: health.map_or_else(unused, state),
    }
}

/// Masks a user's password and any token in the query.
fn masked(url: &Uri) -> String {
    let scheme = url.scheme_str().unwrap_or_default();
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let query = if url.query().is_some() { "?***" } else { "" };
    format!("{scheme}://{host}{}{query}", url.path())
}

fn unused() -> HealthView {
    HealthView { standing: "healthy", ..HealthView::default() }
}

fn state(health: Health) -> HealthView {
    let (standing, reason) = match health.health_state {
        HealthState::Healthy => ("healthy", None),
        HealthState::Retrying => ("retrying", None),
        HealthState::Disabled { reason } => ("disabled", Some(reason)),
        HealthState::Orphaned => ("orphaned", None),
    };
    HealthView {
        standing,
        reason,
        failing_since: health.failing_since.and_then(rfc3339),
        consecutive_failures: health.consecutive_failures,
        delivered: health.delivered,
        failed: health.failed,
        dead: health.dead,
        in_flight: health.in_flight,
        last_attempt: health.last_attempt.and_then(rfc3339),
        last_http_code: health.last_http_code,
        last_error: health.last_error,
        paused_until: health.paused_until.and_then(rfc3339),
    }
}

fn event(row: EventRow) -> EventView {
    EventView {
        id: row.id.to_string(),
        event: row.kind,
        site: row.site,
        partner: row.partner,
        station: row.station,
        message_id: row.message_id,
        occurred_at: rfc3339(row.occurred_at).unwrap_or_default(),
        open: row.open,
    }
}

fn delivery(row: DeliveryRow) -> DeliveryView {
    let pending = row.state == DeliveryState::Pending;
    DeliveryView {
        id: row.id,
        webhook_id: row.webhook_id,
        webhook: row.webhook,
        payload: row.mode,
        status: row.state.as_str(),
        attempts: row.attempts,
        replay: row.replay,
        next_attempt_at: pending.then(|| rfc3339(row.due)).flatten(),
        event: event(row.event),
    }
}
