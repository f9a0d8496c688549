//! The webhooks of partners: configured, tried, looked at.

use std::time::Duration;

use as2hook_api::{
    PartnerEvent, Refusal,
    partner::{Change, Log, LogEntry, PartnerWebhookView, Tested},
};
use as2hook_as2::Headers;
use as2hook_delivery::{Directory as _, Target};
use as2hook_event::{Direction, Event, EventKind, PayloadMode, Rule, Secret};
use as2hook_format::{Body, Rendered, Rendering, render};
use as2hook_sink::{DeliveryError, EndpointResponse, Request, RequestBody};
use as2hook_store::{
    Attempt, AttemptRow, DeliveryState, Made, NewEvent, PartnerWebhookChange, Payload, clock,
};
use bytes::Bytes;
use http::HeaderValue;
use jiff::Timestamp;
use serde_json::{Map, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::{RunningGateway, failed, rfc3339};
use crate::{partner_webhooks, snapshot::Snapshot};
use as2hook_config::Partner;

/// For a test delivery, all of it, as `docs/api.md` promises.
const TEST: Duration = Duration::from_secs(15);

// === impl RunningGateway ===

impl RunningGateway {
    pub(super) fn shown(&self, site: &str, id: u64) -> Result<PartnerWebhookView, Refusal> {
        let snapshot = self.live.load();
        partner(&snapshot, site, id)?;
        let row = snapshot.partner_webhooks.row(site, id);
        Ok(PartnerWebhookView {
            partner_id: id,
            webhook_url: row.and_then(|(_, url)| url.map(str::to_owned)),
            webhook_enabled: row.is_some_and(|(row, _)| row.enabled),
            webhook_events: row.map(|(row, _)| row.events.clone()).unwrap_or_default(),
            webhook_secret_set: row.is_some_and(|(row, _)| !row.sealed_secret.is_empty()),
        })
    }

    pub(super) async fn change(&self, site: &str, id: u64, change: Change) -> Result<(), Refusal> {
        let snapshot = self.live.load();
        partner(&snapshot, site, id)?;
        if let Some(url) = &change.url {
            // A name is judged when it is connected to. A lookup here would show a client of the API which
            // names the private network has.
            if !snapshot.partner_webhooks.guard().admits_url(url) {
                return Err(Refusal::PrivateUrl);
            }
        }
        let sealed_secret = match &change.secret {
            None => None,
            Some(secret) if secret.expose().is_empty() => Some(Vec::new()),
            Some(secret) => {
                Secret::parse(secret.expose()).map_err(|_| Refusal::BadSecret)?;
                let sealed = self.keeper.key().seal(site, id, secret.expose());
                Some(sealed.map_err(|error| {
                    tracing::error!(%error, "A secret could not be encrypted.");
                    Refusal::Store
                })?)
            }
        };
        let events = change
            .events
            .map(|events| events.into_iter().map(|event| event.as_str().to_owned()).collect());
        let name = partner_webhooks::name(site, id);
        let seal = |url: http::Uri| self.keeper.key().seal_url(&name, &url.to_string());
        let url = change.url.map(seal).transpose().map_err(|error| {
            tracing::error!(%error, "A URL could not be encrypted.");
            Refusal::Store
        })?;
        let change = PartnerWebhookChange {
            site: site.to_owned(),
            partner: id,
            url,
            sealed_secret,
            enabled: change.enabled,
            events,
        };
        match self.keeper.configure(change).await {
            Ok(true) => {
                self.dispatcher.rules_changed();
                tracing::info!(site, partner = id, "Configured a partner's webhook.");
                Ok(())
            }
            Ok(false) => Err(Refusal::UrlMissing),
            Err(error) => Err(failed(&error)),
        }
    }

    pub(super) async fn try_out(&self, site: &str, id: u64) -> Result<Tested, Refusal> {
        let deadline = Instant::now() + TEST;
        let snapshot = self.live.load();
        let partner = partner(&snapshot, site, id)?;
        let name = partner_webhooks::name(site, id);
        let rule = snapshot.partner_rules.get(&name).filter(|rule| rule.enabled);
        let rule = rule.ok_or(Refusal::Inactive)?;
        let _turn = self.tests.try_acquire().map_err(|_| Refusal::Busy)?;

        let subscribed = rule.events.as_ref().and_then(|events| events.first());
        let kind = subscribed.copied().unwrap_or(EventKind::MessageReceived);
        let event = test_event(&snapshot, partner, kind);
        let (at, begun) = (clock::now(), Instant::now());
        let request = test_request(&snapshot, rule, &event).ok_or(Refusal::Store)?;
        let guard = snapshot.partner_webhooks.guard();
        let outcome = self.client.deliver(&rule.endpoint, &guard, request, deadline).await;
        let tested = tested(kind, &outcome);
        let attempt = Attempt {
            number: 1,
            at,
            url: self.live.at_rest(&name, rule.endpoint.url.to_string()),
            http_code: tested.http_code,
            error: tested.failure.clone(),
            duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let made = made(rule, &event, attempt).map_err(|error| {
            tracing::error!(%error, "A test delivery has no JSON form.");
            Refusal::Store
        })?;
        if let Err(error) = self.store.record(made).await {
            // The response is what was asked for; the log is not worth losing it.
            tracing::warn!(%error, "A test delivery was not written down.");
        }
        Ok(tested)
    }

    pub(super) async fn log_of(
        &self,
        site: &str,
        id: u64,
        offset: u64,
        limit: usize,
    ) -> Result<Log, Refusal> {
        partner(&self.live.load(), site, id)?;
        let name = partner_webhooks::name(site, id);
        let log = self.store.attempt_log(&name, offset, limit).await;
        let log = log.map_err(|error| failed(&error))?;
        Ok(Log {
            total: log.total,
            data: log.rows.into_iter().map(|row| self.entry(row)).collect(),
        })
    }

    fn entry(&self, row: AttemptRow) -> LogEntry {
        let url = self.keeper.key().unseal_url(&row.webhook, &row.attempt.url);
        LogEntry {
            id: row.id,
            webhook_id: row.webhook_id,
            event: row.event.kind,
            // It is empty where the key that sealed it is gone.
            url: url.unwrap_or_default(),
            attempt: row.attempt.number,
            status: row.state.as_str().to_owned(),
            http_code: row.attempt.http_code,
            error: row.attempt.error,
            duration_ms: row.attempt.duration_ms,
            created_at: rfc3339(row.attempt.at).unwrap_or_default(),
            next_attempt_at: row.next_at.and_then(rfc3339),
        }
    }
}

/// The partner of this number, in this site.
fn partner<'a>(snapshot: &'a Snapshot, site: &str, id: u64) -> Result<&'a Partner, Refusal> {
    let mut partners = snapshot.config.partners.iter();
    partners.find(|p| p.id == Some(id) && p.site == site).ok_or(Refusal::UnknownPartner)
}

/// What a test tells: an exchange that never was, and says so.
fn test_event(snapshot: &Snapshot, partner: &Partner, kind: EventKind) -> Event {
    let id = Uuid::now_v7();
    let station = snapshot.config.stations.first().map(|station| station.as2_id.clone());
    let inbound = matches!(kind, EventKind::MessageReceived | EventKind::MdnReceived);
    let (own, remote) = (station.as_deref().unwrap_or("as2hook"), partner.as2_id.as_str());
    let (from, to) = if inbound { (remote, own) } else { (own, remote) };
    let mut headers = Headers::new();
    headers.push("AS2-From", from.as_bytes());
    headers.push("AS2-To", to.as_bytes());
    headers.push("Message-ID", format!("<test-{id}@as2hook>").as_bytes());
    headers.push("Subject", b"as2hook test delivery");
    let mut extra = Map::new();
    extra.insert("test".to_owned(), json!(true));
    Event {
        id,
        direction: if inbound { Direction::Inbound } else { Direction::Outbound },
        site: partner.site.clone(),
        partner: Some(partner.as2_id.clone()),
        station,
        partner_type: partner.partner_type,
        headers,
        extra,
        ..Event::new(kind)
    }
}

fn test_request(snapshot: &Snapshot, rule: &Rule, event: &Event) -> Option<Request> {
    let leading = snapshot.partner_webhooks.leading(&rule.name, event.kind);
    let rendering = Rendering {
        webhook_id: &event.webhook_id(&rule.name),
        mode: PayloadMode::Json,
        attempt: 1,
        replay: false,
        payload: as2hook_format::RawPayload::None,
        leading: &leading,
    };
    let request = match render(event, &rendering, &rule.endpoint, Timestamp::now()) {
        Rendered::Ready(request) => request,
        Rendered::Unsigned(unsigned) => unsigned.finish().ok()?,
    };
    let mut names: Vec<_> = request.headers.iter().map(|field| field.name.clone()).collect();
    names.push("X-AS2-Test".into());
    let mut headers = request.headers.to_map();
    headers.insert("x-as2-test", HeaderValue::from_static("1"));
    let body = match request.body {
        Body::Bytes(bytes) => bytes,
        Body::Empty | Body::Payload { .. } => Bytes::new(),
    };
    Some(Request { headers, names, body: RequestBody::Bytes(body) })
}

fn tested(kind: EventKind, outcome: &Result<EndpointResponse, DeliveryError>) -> Tested {
    let event = PartnerEvent::named(kind.as_str()).unwrap_or(PartnerEvent::MessageReceived);
    let (http_code, failure) = match outcome {
        Ok(response) if response.is_success() => (Some(response.status), None),
        Ok(response) => {
            (Some(response.status), Some(format!("the endpoint answered {}", response.status)))
        }
        Err(error) => (error.status(), Some(error.to_string())),
    };
    Tested { event, http_code, failure }
}

fn made(rule: &Rule, event: &Event, attempt: Attempt) -> Result<Made, serde_json::Error> {
    let state =
        if attempt.error.is_none() { DeliveryState::Delivered } else { DeliveryState::Dead };
    let row = NewEvent {
        id: event.id,
        kind: event.kind.as_str().to_owned(),
        site: event.site.clone(),
        partner: event.partner.clone(),
        station: event.station.clone(),
        message_id: event.headers.text("Message-ID").map(|id| id.into_owned()),
        occurred_at: event.occurred_at.as_millisecond(),
        body: serde_json::to_vec(event)?,
        payload: Payload::None,
    };
    let delivery = Target::of(rule, event).delivery(event.id);
    Ok(Made { event: row, delivery, attempt, state })
}
