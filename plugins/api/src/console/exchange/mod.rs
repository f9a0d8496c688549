//! One exchange: what became of it, step by step, and what can be done about it.
//!
//! # Layout
//! - `story`: the heading and the route, of all that is known
//! - `steps`: the time line; `inbound`, `outbound`, `receipt`, `content`: its steps; `system`: events of the gateway
//! - `why`: why something did not go as it should
//! - `webhooks`: which webhooks have it, in words; `hooks`: each delivery
//! - `page`: all of it as a page

mod content;
mod hooks;
mod inbound;
mod outbound;
mod page;
mod receipt;
mod steps;
mod story;
mod system;
#[cfg(test)]
mod tests;
mod webhooks;
mod why;

use as2hook_as2::ErrorCode;
use as2hook_event::{Event, EventKind};
use as2hook_store::Filter;
use axum::{
    Router,
    extract::{Path, State},
    response::Response,
    routing::get,
};
use maud::Markup;

use super::{session::Session, watched};
use crate::{
    error::ApiError,
    event_detail::{self, RelatedEvent, is_mdn},
    gateway::ApiState,
};

pub(super) fn routes() -> Router<ApiState> {
    Router::new()
        .route("/console/exchanges/{id}", get(exchange))
        .route("/console/exchanges/{id}/attachments/{n}", get(attachment))
        .route("/console/exchanges/{id}/mdn", get(mdn))
}

async fn exchange(
    State(api): State<ApiState>,
    session: Session,
    Path(id): Path<String>,
) -> Result<Markup, ApiError> {
    let caller = &session.caller;
    let (event, stored) = event_detail::find(&api, caller, &id).await?;
    let digest = watched::digest(&api, &event).await?;
    let row = Filter { event: Some(event.id), ..Filter::default() };
    let row = api.store.events(&row, None, 1).await?.rows.pop().ok_or(ApiError::NotFound)?;
    let deliveries = event_detail::deliveries_of(&api, caller, event.id).await?;
    let related = event_detail::related(&api, caller, &event).await?;
    let receipt = receipt_of(&api, &session, &event, &related).await?;
    let is_taken_back = related.iter().any(|other| other.relation == "superseded-by");
    let overdue = is_overdue(&api, &session, &event).await?;
    let facts = story::ExchangeFacts {
        event: &event,
        open: row.open,
        receipt: receipt.as_ref(),
        is_taken_back,
        overdue,
        deliveries: &deliveries,
    };
    let attachments = event_detail::attachments(&event, &stored.payload);
    let seen = page::SeenExchange {
        facts,
        stored: &stored,
        attachments: &attachments,
        related: &related,
        digest: &digest,
    };
    page::page(&api, &session, &seen).await
}

/// Returns the receipt of a message that counts: the earliest that is trusted and is about this very message, since
/// another may have the same Message-ID.
async fn receipt_of(
    api: &ApiState,
    session: &Session,
    event: &Event,
    related: &[RelatedEvent],
) -> Result<Option<Event>, ApiError> {
    if is_mdn(event.kind) {
        return Ok(None);
    }
    // They are newest first.
    for other in related.iter().filter(|other| other.relation == "mdn").rev() {
        let (mdn, _) = event_detail::find(api, &session.caller, &other.event_id).await?;
        if counts_for(&mdn, event) {
            return Ok(Some(mdn));
        }
    }
    Ok(None)
}

/// Whether a receipt was matched with this message when it came, and is trusted. One whose message was not known then
/// was never held against a certificate, so that it may be forged.
fn counts_for(mdn: &Event, message: &Event) -> bool {
    let is_about = mdn.extra.get("messageEventId") == Some(&message.id.to_string().into());
    // That it refuses the message, or names another fingerprint, is no reason to distrust it.
    let is_trusted = mdn.processing_errors().all(|error| error.code == ErrorCode::Receiver);
    let is_read = mdn.decoded.as_ref().is_some_and(|decoded| decoded.mdn.is_some());
    is_about && is_trusted && is_read
}

/// Whether it was reported that the receipt of a message did not come in time.
async fn is_overdue(api: &ApiState, session: &Session, event: &Event) -> Result<bool, ApiError> {
    let id = event.headers.text("Message-ID");
    let (EventKind::MessageSent, Some(id)) = (event.kind, id) else { return Ok(false) };
    let filter = Filter {
        site: Some(session.caller.site().to_owned()),
        kind: Some(EventKind::MdnOverdue.as_str().to_owned()),
        partner: event.partner.clone(),
        message_id: Some(id.into_owned()),
        ..Filter::default()
    };
    Ok(!api.store.events(&filter, None, 1).await?.rows.is_empty())
}

async fn attachment(
    state: State<ApiState>,
    session: Session,
    path: Path<(String, String)>,
) -> Result<Response, ApiError> {
    event_detail::attachment(state, session.caller, path).await
}

async fn mdn(
    state: State<ApiState>,
    session: Session,
    path: Path<String>,
) -> Result<Response, ApiError> {
    event_detail::mdn(state, session.caller, path).await
}
