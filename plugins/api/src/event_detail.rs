//! `/admin/events/{eventId}`: one event with all that belongs to it, and its bytes while they are kept.

use std::ops::Range;

use as2hook_as2::Decoded;
use as2hook_config::TokenScope;
use as2hook_delivery::writes;
use as2hook_event::{Event, EventKind, PayloadMode};
use as2hook_format::{Body, Formats, RawPayload, Rendering, headers::is_never_passed};
use as2hook_store::{EventRow, Filter, Payload, StoredEvent};
use axum::{
    Json, body,
    extract::{Path, State},
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::stream;
use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoResponses, ToSchema};
use uuid::Uuid;

use crate::{
    caller::Caller,
    deliveries::{DeliveryDetail, with_attempts},
    error::{ApiError, Denied, Problem},
    gateway::ApiState,
    rfc3339,
};

/// The most deliveries that are shown of one event.
const SHOWN: usize = 200;

/// The most related events of each kind, each of which may be read whole.
const RELATED: usize = 20;

/// An event: its JSON, headers, deliveries with attempts, attachments, related events. Scope read.
#[utoipa::path(
    get, path = "/admin/events/{event_id}", tag = "admin", security(("token" = [])),
    params(("event_id" = String, Path, description = "The event's id")),
    responses((status = 200, description = "Done", body = OneEvent), EventRefused, Denied),
)]
pub(crate) async fn event(
    State(api): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<OneEvent>, ApiError> {
    let (event, stored) = find(&api, &caller, &id).await?;
    let data = EventDetail {
        headers: headers(&event),
        deliveries: deliveries_of(&api, &caller, event.id).await?,
        attachments: attachments(&event, &stored.payload),
        related: related(&api, &caller, &event).await?,
        event: document(&event),
    };
    Ok(Json(OneEvent { status: "success", data }))
}

/// The bytes of an attachment, counted from 1. Scope read.
#[utoipa::path(
    get, path = "/admin/events/{event_id}/attachments/{n}", tag = "admin", security(("token" = [])),
    params(
        ("event_id" = String, Path, description = "The event's id"),
        ("n" = usize, Path, description = "Counts from 1"),
    ),
    responses(
        (status = 200, description = "Its bytes", body = String, content_type = "application/octet-stream"),
        (status = 410, description = "They are not kept any more", body = Problem),
        EventRefused, Denied,
    ),
)]
pub(crate) async fn attachment(
    State(api): State<ApiState>,
    caller: Caller,
    Path((id, n)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let (event, stored) = find(&api, &caller, &id).await?;
    let number: usize = n.parse().map_err(|_| ApiError::NotFound)?;
    if !attachments(&event, &stored.payload).iter().any(|attachment| attachment.n == number) {
        return Err(ApiError::NotFound);
    }
    let part = event.attachment_range(number - 1).unwrap_or_default();
    download(&api, &event, &stored.payload, part).await
}

/// The bytes of an MDN. Scope read.
#[utoipa::path(
    get, path = "/admin/events/{event_id}/mdn", tag = "admin", security(("token" = [])),
    params(("event_id" = String, Path, description = "The event's id")),
    responses(
        (status = 200, description = "Its bytes", body = String, content_type = "application/octet-stream"),
        (status = 410, description = "They are not kept any more", body = Problem),
        EventRefused, Denied,
    ),
)]
pub(crate) async fn mdn(
    State(api): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let (event, stored) = find(&api, &caller, &id).await?;
    if !is_mdn(event.kind) {
        return Err(ApiError::NotFound);
    }
    download(&api, &event, &stored.payload, 0..stored.payload.size()).await
}

/// Returns an event of the caller's site.
pub(crate) async fn find(
    api: &ApiState,
    caller: &Caller,
    id: &str,
) -> Result<(Event, StoredEvent), ApiError> {
    caller.needs(TokenScope::Read)?;
    let id: Uuid = id.parse().map_err(|_| ApiError::NotFound)?;
    let stored = api.store.event(id).await?.ok_or(ApiError::NotFound)?;
    let event = writes::read(&stored).map_err(|error| {
        tracing::error!(event = %id, %error, "A stored event cannot be read.");
        ApiError::Store
    })?;
    if event.site != caller.site() {
        return Err(ApiError::NotFound);
    }
    Ok((event, stored))
}

/// Returns the names and values of the original headers that a delivery may have.
pub(crate) fn headers(event: &Event) -> Vec<(String, String)> {
    let headers = event.headers.iter().filter(|header| !is_never_passed(&header.name));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    headers.map(|header| (header.name.clone(), text(&header.value))).collect()
}

/// Returns the deliveries of an event, oldest first.
pub(crate) async fn deliveries_of(
    api: &ApiState,
    caller: &Caller,
    event: Uuid,
) -> Result<Vec<DeliveryDetail>, ApiError> {
    with_attempts(api, &Filter { event: Some(event), ..of_site(caller) }, SHOWN).await
}

fn of_site(caller: &Caller) -> Filter {
    Filter { site: Some(caller.site().to_owned()), ..Filter::default() }
}

/// Returns the JSON that a `json` delivery sends.
fn document(event: &Event) -> Value {
    let formats = Formats::default();
    let format = formats.get(PayloadMode::JSON.name).expect("it is built in");
    let rendering = Rendering {
        format,
        webhook_id: "",
        attempt: 1,
        replay: false,
        payload: RawPayload::None,
        leading: &[],
    };
    match format.content(event, &rendering).body {
        Body::Bytes(json) => serde_json::from_slice(&json).unwrap_or_default(),
        Body::Payload { .. } => Value::Null,
    }
}

/// Returns what a message has attached.
pub(crate) fn attachments(event: &Event, payload: &Payload) -> Vec<AttachmentView> {
    let decoded = event.decoded.as_ref().filter(|_| !is_mdn(event.kind));
    let all = decoded.map_or([].as_slice(), |decoded: &Decoded| &decoded.attachments);
    let gone_since = match payload {
        Payload::Purged { at } => rfc3339(*at),
        _ => None,
    };
    let view = |(index, attachment): (usize, &as2hook_as2::Attachment)| AttachmentView {
        n: index + 1,
        name: attachment.name.clone(),
        size: attachment.size,
        content_type: attachment.content_type.clone(),
        available: event.attachment_range(index).is_some_and(|part| is_kept(payload, &part)),
        gone_since: gone_since.clone(),
    };
    all.iter().enumerate().map(view).collect()
}

fn is_kept(payload: &Payload, part: &Range<u64>) -> bool {
    !matches!(payload, Payload::None | Payload::Purged { .. }) && part.end <= payload.size()
}

pub(crate) const fn is_mdn(kind: EventKind) -> bool {
    matches!(kind, EventKind::MdnReceived | EventKind::MdnSent)
}

/// Returns the events of the same message, and those that retract each other.
pub(crate) async fn related(
    api: &ApiState,
    caller: &Caller,
    event: &Event,
) -> Result<Vec<RelatedEvent>, ApiError> {
    let about = event.decoded.as_ref().and_then(|decoded| decoded.mdn.as_ref());
    let about = about.and_then(|mdn| mdn.original_message_id.clone());
    let own = event.decoded.as_ref().and_then(|decoded| decoded.as2_message_id.clone());
    let message = if is_mdn(event.kind) { about } else { own };
    let Some(message) = message else { return Ok(Vec::new()) };
    // Another partner may use the same id.
    let of_partner = Filter { partner: event.partner.clone(), ..of_site(caller) };
    let messages = Filter { message_id: Some(message.clone()), ..of_partner.clone() };
    let mdns = Filter { about: Some(message), ..of_partner };
    let mut rows = api.store.events(&messages, None, RELATED).await?.rows;
    rows.extend(api.store.events(&mdns, None, RELATED).await?.rows);
    rows.retain(|row| row.id != event.id && row.partner == event.partner);
    let mut related = Vec::new();
    for row in rows {
        let Some(relation) = relation(api, event, &row).await? else { continue };
        related.push(RelatedEvent { event_id: row.id.to_string(), event: row.kind, relation });
    }
    Ok(related)
}

/// Returns what another event of the same message is to this one.
async fn relation(
    api: &ApiState,
    event: &Event,
    other: &EventRow,
) -> Result<Option<&'static str>, ApiError> {
    if event.supersedes == Some(other.id) {
        return Ok(Some("supersedes"));
    }
    let Ok(kind) = other.kind.parse::<EventKind>() else { return Ok(None) };
    Ok(match (is_mdn(event.kind), is_mdn(kind)) {
        (false, true) => Some("mdn"),
        (true, false) => Some("message"),
        _ => {
            let stored = api.store.event(other.id).await?;
            let supersedes = stored.and_then(|stored| writes::read(&stored).ok()?.supersedes);
            if supersedes == Some(event.id) {
                Some("superseded-by")
            } else if event.kind == EventKind::MessageDuplicate {
                (kind != EventKind::MessageDuplicate).then_some("duplicate-of")
            } else {
                (kind == EventKind::MessageDuplicate).then_some("duplicated-by")
            }
        }
    })
}

/// Sends a part of a payload as a file that no browser shows.
async fn download(
    api: &ApiState,
    event: &Event,
    payload: &Payload,
    part: Range<u64>,
) -> Result<Response, ApiError> {
    if let Payload::Purged { at } = payload {
        return Err(ApiError::Gone(rfc3339(*at).unwrap_or_default()));
    }
    if !is_kept(payload, &part) {
        return Err(ApiError::NotKept);
    }
    let reader = api.payloads.part_reader(event.id, payload, part).await?;
    let size = reader.size();
    let pieces = stream::try_unfold(reader, |mut reader| async {
        let piece = reader.next().await;
        Ok::<_, as2hook_store::StoreError>(piece?.map(|piece| (piece, reader)))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, size.to_string()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", event.id)),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    Ok((headers, body::Body::from_stream(pieces)).into_response())
}

/// What these routes may respond.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "for the description")]
enum EventRefused {
    /// There is none in the token's site
    #[response(status = 404)]
    Unknown(Problem),
    /// The store does not respond
    #[response(status = 503)]
    Store(Problem),
}

/// One event.
#[derive(Serialize, ToSchema)]
pub(crate) struct OneEvent {
    #[schema(example = "success")]
    status: &'static str,
    data: EventDetail,
}

/// An event with all that belongs to it.
#[derive(Serialize, ToSchema)]
struct EventDetail {
    /// Its JSON, as a `json` delivery has it.
    #[schema(value_type = Object)]
    event: Value,
    /// Names and values of the original headers, in their order.
    headers: Vec<(String, String)>,
    /// Its deliveries, oldest first.
    deliveries: Vec<DeliveryDetail>,
    /// Its attachments.
    attachments: Vec<AttachmentView>,
    /// Other events of the same message.
    related: Vec<RelatedEvent>,
}

/// An attachment.
#[derive(Serialize, ToSchema)]
pub(crate) struct AttachmentView {
    /// Counts from 1.
    pub(crate) n: usize,
    /// The sender's file name.
    pub(crate) name: Option<String>,
    /// Bytes.
    pub(crate) size: u64,
    /// `Content-Type` as it came.
    pub(crate) content_type: Option<String>,
    /// Whether its bytes are kept.
    pub(crate) available: bool,
    /// When they were removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "date-time")]
    pub(crate) gone_since: Option<String>,
}

/// Another event of the same message.
#[derive(Serialize, ToSchema)]
pub(crate) struct RelatedEvent {
    /// Its id.
    pub(crate) event_id: String,
    /// Its kind.
    pub(crate) event: String,
    /// `mdn`, `message`, `duplicate-of`, `duplicated-by`, `supersedes` or `superseded-by`.
    pub(crate) relation: &'static str,
}
