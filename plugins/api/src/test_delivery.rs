//! `POST /api/v1/webhooks/test`: a delivery that is made at once, and waited for.

use std::time::Duration;

use as2hook_as2::Headers;
use as2hook_config::{Config, Partner, TokenScope};
use as2hook_delivery::Target;
use as2hook_event::{Direction, Event, EventKind, PayloadMode, Rule};
use as2hook_format::{Body, Formats, RawPayload, Rendering, render};
use as2hook_sink::{DeliveryError, EndpointResponse, Guard, Notification, Request, RequestBody};
use as2hook_store::{
    Attempt, DeliveryState, EventTerms, NewEvent, Payload, UnqueuedDelivery, clock,
};
use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    caller::Caller,
    error::{ApiError, BodyRefused, Denied, Problem},
    fields::JsonFields,
    gateway::ApiState,
    partner_events::spanish_name,
    partner_webhooks::{PartnerRefusal, PartnerRequest, partner_webhook_name},
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
    let deadline = Instant::now() + TEST_TIMEOUT;
    let name = partner_webhook_name(&partner.site, partner.id.unwrap_or_default());
    let rule = api.directory.endpoint(&name).filter(|rule| rule.enabled);
    let rule = rule.ok_or(ApiError::Inactive)?;
    let _permit = api.tests.try_acquire().map_err(|_| ApiError::Busy)?;

    let subscribed = rule.events.as_ref().and_then(|events| events.first());
    let kind = subscribed.copied().unwrap_or(EventKind::MessageReceived);
    let event = test_event(caller.config(), partner, kind);
    let (at, begun) = (clock::now(), Instant::now());
    let leading = api.directory.leading(&rule, &event);
    let request = test_request(&rule, &event, &leading).await.ok_or(ApiError::Store)?;
    let guard = Guard::of(&rule.endpoint);
    let outcome = api.client.deliver(&rule.endpoint, &guard, request, deadline).await;
    let (http_code, failure) = result(&outcome);
    let attempt = Attempt {
        number: 1,
        at,
        url: api.directory.at_rest(&name, rule.endpoint.url.to_string()),
        http_code,
        error: failure.clone(),
        duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    let made = made(&rule, &event, attempt).map_err(|error| {
        tracing::error!(%error, "A test delivery has no JSON form.");
        ApiError::Store
    })?;
    if let Err(error) = api.store.log_attempt(made).await {
        // The response is what was asked for; the log is not worth losing it.
        tracing::warn!(%error, "A test delivery was not stored.");
    }
    if let Some(msg) = failure {
        let body = TestFailed { status: "error", http_code, msg };
        return Ok((StatusCode::BAD_GATEWAY, Json(body)).into_response());
    }
    let (name, event) = (spanish_name(kind), kind.as_str());
    let body = TestPassed {
        status: "success",
        http_code,
        requested_event_name: name,
        event_name: name,
        event,
    };
    Ok(Json(body).into_response())
}

/// Builds the event of an exchange that did not take place, and is marked so.
fn test_event(config: &Config, partner: &Partner, kind: EventKind) -> Event {
    let id = Uuid::now_v7();
    let station = config.stations.first().map(|station| station.as2_id.clone());
    let inbound = matches!(kind, EventKind::MessageReceived | EventKind::MdnReceived);
    let (own, remote) = (station.as_deref().unwrap_or("as2hook"), partner.as2_id.as_str());
    let (from, to) = if inbound { (remote, own) } else { (own, remote) };
    let mut headers = Headers::new();
    headers.push("AS2-From", from.as_bytes());
    headers.push("AS2-To", to.as_bytes());
    headers.push("Message-ID", format!("<test-{id}@as2hook>").as_bytes());
    headers.push("Subject", b"as2hook test delivery");
    Event {
        id,
        direction: if inbound { Direction::Inbound } else { Direction::Outbound },
        site: partner.site.clone(),
        partner: Some(partner.as2_id.clone()),
        station,
        partner_type: partner.partner_type,
        headers,
        extra: Map::from_iter([("test".to_owned(), json!(true))]),
        ..Event::new(kind)
    }
}

async fn test_request(
    rule: &Rule,
    event: &Event,
    leading: &[(&'static str, Value)],
) -> Option<Request> {
    let formats = Formats::default();
    let rendering = Rendering {
        format: formats.get(PayloadMode::JSON.name)?,
        webhook_id: &event.webhook_id(&rule.name),
        attempt: 1,
        replay: false,
        payload: RawPayload::None,
        leading,
    };
    let rendered = render(event, &rendering, &rule.endpoint, Timestamp::now());
    let Body::Bytes(body) = rendered.body else { return None };
    let body = RequestBody::Bytes(body);
    let notification = Notification { headers: rendered.headers, body };
    let mut request = as2hook_sink::signed(&rule.endpoint, notification).await.ok()?;
    request.headers.insert("x-as2-test", HeaderValue::from_static("1"));
    request.names.push("X-AS2-Test".into());
    Some(request)
}

/// Returns the status of the endpoint's response, and why the delivery failed.
fn result(outcome: &Result<EndpointResponse, DeliveryError>) -> (Option<u16>, Option<String>) {
    match outcome {
        Ok(response) if response.is_success() => (Some(response.status), None),
        Ok(response) => {
            (Some(response.status), Some(format!("the endpoint answered {}", response.status)))
        }
        Err(error) => (error.status(), Some(error.to_string())),
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
    let delivery = Target::of(rule, event).delivery(event.id);
    Ok(UnqueuedDelivery { event: row, delivery, attempt, state })
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
