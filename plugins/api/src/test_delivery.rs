//! `POST /api/v1/webhooks/test` and `/admin/webhooks/{name}/test`: a delivery that is made at once, and waited for.

use std::time::Duration;

use as2hook_as2::Headers;
use as2hook_config::{Config, Partner, TokenScope};
use as2hook_delivery::Target;
use as2hook_event::{Direction, Event, EventKind, Rule, event::test_message_id};
use as2hook_sink::SinkError;
use as2hook_store::{
    Attempt, DeliveryState, EventRow, EventTerms, NewEvent, Payload, UnqueuedDelivery, clock,
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, json};
use tokio::time::Instant;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    audit::record,
    caller::Caller,
    error::{ApiError, BodyRefused, Denied, Problem},
    fields::JsonFields,
    gateway::ApiState,
    partner_events::spanish_name,
    partner_webhooks::{PartnerRefusal, PartnerRequest, partner_webhook_name},
    webhooks::rule_of,
};

/// Test deliveries under way at once.
pub(crate) const TESTS: usize = 32;

/// The limit of a test delivery, all of it, as `docs/api.md` promises.
const TEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Makes a test delivery, and waits for it at most 15 s. Scope write.
#[utoipa::path(
    post, path = "/api/v1/webhooks/test", tag = "webhooks", security(("token" = [])),
    request_body = PartnerRequest,
    responses(
        (status = 200, description = "The endpoint took it", body = TestPassed),
        (status = 409, description = "The webhook is off", body = Problem),
        (status = 502, description = "The endpoint failed", body = TestFailed),
        PartnerRefusal, BodyRefused, Denied,
    ),
)]
pub(crate) async fn test(
    State(api): State<ApiState>,
    caller: Caller,
    fields: Result<JsonFields, ApiError>,
) -> Result<Response, ApiError> {
    caller.needs(TokenScope::Write)?;
    let partner = caller.partner(fields?.partner()?)?;
    let name = partner_webhook_name(&partner.site, partner.id.unwrap_or_default());
    let rule = api.directory.endpoint(&name).ok_or(ApiError::Inactive)?;
    let event = test_event(caller.config(), &rule, Some(partner));
    let made = make(&api, &rule, &event).await;
    let made = record(&api, &caller, ("test", &name), made, TestResult::in_words).await?;
    Ok(made.respond(event.kind))
}

/// Sends a test to a webhook, and waits for it at most 15 s. It is marked as one and not retried. Scope
/// admin.
#[utoipa::path(
    post, path = "/admin/webhooks/{name}/test", tag = "admin", security(("token" = [])),
    params(("name" = String, Path, description = "The webhook's name, a slash as %2F")),
    responses(
        (status = 200, description = "The endpoint took it", body = TestPassed),
        (status = 404, description = "There is none in the token's site", body = Problem),
        (status = 409, description = "The webhook is off", body = Problem),
        (status = 502, description = "The endpoint failed", body = TestFailed),
        (status = 503, description = "32 tests are under way", body = Problem),
        Denied,
    ),
)]
pub(crate) async fn test_rule(
    State(api): State<ApiState>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let (kind, made) = test_webhook(&api, &caller, &name).await?;
    Ok(made.respond(kind))
}

/// Sends a test to a webhook of the caller's site. Returns the kind of its event, and what came of it.
pub(crate) async fn test_webhook(
    api: &ApiState,
    caller: &Caller,
    name: &str,
) -> Result<(EventKind, TestResult), ApiError> {
    caller.needs(TokenScope::Admin)?;
    let rule = rule_of(api, caller, name)?;
    let config = caller.config();
    let mut partners = config.partners.iter().filter(|partner| partner.site == rule.site);
    let partner = match &rule.partner {
        Some(id) => config.partner(id),
        None => partners.next(),
    };
    let event = test_event(config, &rule, partner);
    let made = make(api, &rule, &event).await;
    let made = record(api, caller, ("test", name), made, TestResult::in_words).await?;
    Ok((event.kind, made))
}

/// Whether an event is of a test, which no partner sent.
pub(crate) fn is_test(row: &EventRow) -> bool {
    row.message_id.as_deref() == Some(test_message_id(row.id).as_str())
}

async fn make(api: &ApiState, rule: &Rule, event: &Event) -> Result<TestResult, ApiError> {
    if !rule.enabled {
        return Err(ApiError::Inactive);
    }
    let _permit = api.tests.try_acquire().map_err(|_| ApiError::Busy)?;
    let (at, begun) = (clock::now(), Instant::now());
    let sent = api.dispatcher.send_test(rule, event, begun + TEST_TIMEOUT).await;
    let http_code = sent.as_ref().map_or_else(SinkError::http_code, |taken| taken.http_code);
    let failure = sent.err().map(|error| error.to_string());
    let attempt = Attempt {
        number: 1,
        at,
        url: api.directory.at_rest(&rule.name, rule.endpoint.url.to_string()),
        http_code,
        error: failure.clone(),
        duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    let made = made(rule, event, attempt).map_err(|error| {
        tracing::error!(%error, "A test delivery has no JSON form.");
        ApiError::Store
    })?;
    if let Err(error) = api.store.log_attempt(made).await {
        // The response is what was asked for; the log is not worth losing it.
        tracing::warn!(%error, "A test delivery was not stored.");
    }
    Ok(TestResult { http_code, failure })
}

/// Builds the event of an exchange that did not take place, and is marked so.
fn test_event(config: &Config, rule: &Rule, partner: Option<&Partner>) -> Event {
    let id = Uuid::now_v7();
    let subscribed = rule.events.as_ref().and_then(|events| events.first());
    let kind = subscribed.copied().unwrap_or(EventKind::MessageReceived);
    let first = || config.stations.first().map(|station| station.as2_id.clone());
    let station = rule.station.clone().or_else(first);
    let partner_id = partner.map(|partner| partner.as2_id.clone()).or(rule.partner.clone());
    let inbound = matches!(kind, EventKind::MessageReceived | EventKind::MdnReceived);
    let own = station.as_deref().unwrap_or("as2hook");
    let remote = partner_id.as_deref().unwrap_or("as2hook");
    let (from, to) = if inbound { (remote, own) } else { (own, remote) };
    let mut headers = Headers::new();
    headers.push("AS2-From", from.as_bytes());
    headers.push("AS2-To", to.as_bytes());
    headers.push("Message-ID", test_message_id(id).as_bytes());
    headers.push("Subject", b"as2hook test delivery");
    Event {
        id,
        direction: if inbound { Direction::Inbound } else { Direction::Outbound },
        site: rule.site.clone(),
        partner_type: partner.map_or_else(Default::default, |partner| partner.partner_type),
        partner: partner_id,
        station,
        headers,
        extra: Map::from_iter([("test".to_owned(), json!(true))]),
        ..Event::new(kind)
    }
}

fn made(
    rule: &Rule,
    event: &Event,
    attempt: Attempt,
) -> Result<UnqueuedDelivery, serde_json::Error> {
    let state =
        if attempt.error.is_none() { DeliveryState::Delivered } else { DeliveryState::Dead };
    let row = NewEvent {
        id: event.id,
        kind: event.kind.as_str().to_owned(),
        site: event.site.clone(),
        partner: event.partner.clone(),
        station: event.station.clone(),
        about: None,
        terms: EventTerms::default(),
        message_id: event.headers.text("Message-ID").map(|id| id.into_owned()),
        occurred_at: event.occurred_at.as_millisecond(),
        body: serde_json::to_vec(event)?,
        payload: Payload::None,
    };
    // A test that is made again is in no partner's way.
    let target = Target { order_key: None, ..Target::of(rule, event) };
    let delivery = target.delivery(event.id);
    Ok(UnqueuedDelivery { event: row, delivery, attempt, state })
}

/// What came of a test.
pub(crate) struct TestResult {
    /// The status of the response.
    pub(crate) http_code: Option<u16>,
    /// Why the endpoint did not take it.
    pub(crate) failure: Option<String>,
}

// === impl TestResult ===

impl TestResult {
    fn in_words(&self) -> String {
        if self.failure.is_none() { "delivered" } else { "failed" }.to_owned()
    }

    fn respond(self, kind: EventKind) -> Response {
        let Self { http_code, failure } = self;
        if let Some(msg) = failure {
            let body = TestFailed { status: "error", http_code, msg };
            return (StatusCode::BAD_GATEWAY, Json(body)).into_response();
        }
        let (name, event) = (spanish_name(kind), kind.as_str());
        let body = TestPassed {
            status: "success",
            http_code,
            requested_event_name: name,
            event_name: name,
            event,
        };
        Json(body).into_response()
    }
}

/// The endpoint took the test.
#[derive(Serialize, ToSchema)]
struct TestPassed {
    #[schema(example = "success")]
    status: &'static str,
    #[schema(example = 200)]
    http_code: Option<u16>,
    #[schema(example = "mensaje.recibido")]
    requested_event_name: &'static str,
    #[schema(example = "mensaje.recibido")]
    event_name: &'static str,
    #[schema(example = "message.received")]
    event: &'static str,
}

/// The endpoint did not take the test.
#[derive(Serialize, ToSchema)]
struct TestFailed {
    #[schema(example = "error")]
    status: &'static str,
    http_code: Option<u16>,
    msg: String,
}
