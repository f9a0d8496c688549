//! One attempt: from the stored row to the answer.

use std::{io, pin::pin};

use as2hook_store::{Attempt, AttemptRecord, Claimed, Fate, StoreError};
use as2hook_webhooks::{
    Event, PayloadMode, Rendered, Rendering, Rule, Unsigned, Verdict, render, sign::WrongLength,
};
use bytes::Bytes;
use http::Uri;
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    Shared,
    fate::{failure, judge},
    health::Sign,
    slots::{Slot, Slots},
};
use crate::{
    client::{Client, DeliveryError, KeptPayload, Request, RequestBody},
    directory::Attempted,
    time::now,
};

/// A claimed delivery with leave to make it.
pub(super) struct Job {
    pub(super) claimed: Claimed,
    pub(super) slot: Slot,
}

/// How an attempt ended, for its lane.
pub(super) struct Ended {
    pub(super) sign: Sign,
    /// 410.
    pub(super) gone: bool,
    /// When the delivery is tried again.
    pub(super) retry: Option<i64>,
}

/// Why a delivery cannot even be attempted.
#[derive(Debug, thiserror::Error)]
enum Unmakeable {
    #[error("the recorded event cannot be read: {0}")]
    Event(serde_json::Error),
    #[error("the recorded payload mode \"{0}\" is unknown")]
    Mode(String),
    /// Whoever asked for it again is told so, rather than sent an empty order as if it were one.
    #[error(transparent)]
    Payload(StoreError),
    #[error("the request cannot be signed: {0}")]
    Length(#[from] WrongLength),
}

/// What keeps an attempt from being made.
enum Failure {
    /// It will not be better next time.
    ForGood(Unmakeable),
    /// It may be.
    ForNow(DeliveryError),
}

/// Makes it, and hands the outcome to the ledger. The slot is free when the ledger has it.
pub(super) async fn make(shared: &Shared, rule: &Rule, job: Job) -> Ended {
    let Job { claimed, mut slot } = job;
    let begun = Instant::now();
    let at = now();
    let endpoint = &rule.endpoint;
    let outcome = match prepare(shared, rule, &claimed).await {
        Ok(request) => {
            let guard = shared.directory.guard(rule);
            let deadline = Instant::now() + Client::time_allowed(endpoint, &request.body);
            let mut delivery = pin!(shared.client.deliver(endpoint, &guard, request, deadline));
            Ok(match timeout(Slots::SLOW_AFTER, &mut delivery).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    shared.slots.slow_down(&mut slot);
                    delivery.await
                }
            })
        }
        Err(Failure::ForNow(error)) => Ok(Err(error)),
        Err(Failure::ForGood(error)) => Err(error),
    };
    let (fate, gone, pause, http_code, error) = match &outcome {
        Ok(outcome) => {
            let judged = judge(outcome, endpoint, claimed.tries, now(), fastrand::f64());
            let status = outcome.as_ref().map_or_else(DeliveryError::status, |a| Some(a.status));
            (judged.fate, judged.gone, judged.pause, status, failure(outcome))
        }
        Err(error) => (Fate::Dead, false, None, None, Some(error.to_string())),
    };
    let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let number = claimed.attempts.saturating_add(1);
    tracing::debug!(
        webhook = claimed.webhook,
        webhook_id = claimed.webhook_id,
        attempt = number,
        http_code,
        error,
        duration_ms,
        ?fate,
        "Delivery attempted."
    );
    if let Some(notices) = &shared.notices {
        notices.attempted(&Attempted {
            webhook: &claimed.webhook,
            event: claimed.event.id,
            number,
            replay: claimed.replay,
            began: begun.into_std(),
            fate,
        });
    }
    let attempt = Attempt {
        number,
        at,
        url: shown(&endpoint.url),
        http_code,
        error: error.clone(),
        duration_ms,
    };
    let record = AttemptRecord { delivery: claimed.id, attempt: Some(attempt), fate };
    // The next of the same order can be claimed once this one is written down as done.
    let ordered = endpoint.order != as2hook_webhooks::Order::None;
    let ring = ordered.then(|| claimed.webhook.clone());
    if fate == Fate::Held {
        // Before its webhook is seen to be disabled: whoever enables it then finds this one held.
        shared.ledger.enter_and_wait(record, ring).await;
    } else {
        shared.ledger.enter(record, ring).await;
    }
    slot.free();
    let retry = match fate {
        Fate::Retry(at) => Some(at),
        _ => None,
    };
    let own = matches!(outcome, Err(_) | Ok(Err(DeliveryError::Payload(_))));
    Ended { sign: Sign { http_code, error, own, dead: fate == Fate::Dead, pause }, gone, retry }
}

async fn prepare(shared: &Shared, rule: &Rule, claimed: &Claimed) -> Result<Request, Failure> {
    let event = event(claimed)?;
    let mode = mode(&claimed.mode)?;
    let payload = match &claimed.event.payload {
        as2hook_store::Payload::None => as2hook_webhooks::Payload::None,
        as2hook_store::Payload::Inline(bytes) => as2hook_webhooks::Payload::Bytes(bytes.clone()),
        as2hook_store::Payload::Spent if mode == PayloadMode::Raw && event.kind.sends_payload() => {
            return Err(Unmakeable::Payload(StoreError::Spent).into());
        }
        as2hook_store::Payload::Spent => as2hook_webhooks::Payload::None,
        kept => as2hook_webhooks::Payload::Stream { size: kept.size() },
    };
    let rendering = Rendering {
        webhook_id: &claimed.webhook_id,
        mode,
        attempt: claimed.attempts.saturating_add(1),
        replay: claimed.replay,
        payload,
        leading: &shared.directory.leading(rule, &event),
    };
    let rendered = render(&event, &rendering, &rule.endpoint, jiff::Timestamp::now());
    let request = match rendered {
        Rendered::Ready(request) => request,
        Rendered::Unsigned(unsigned) => sign(unsigned, rule, &kept(shared, claimed)).await?,
    };
    if !request.dropped.is_empty() {
        let (webhook, dropped) = (&claimed.webhook, &request.dropped);
        tracing::warn!(webhook, ?dropped, "Left out headers that are not legal HTTP.");
    }
    let body = match request.body {
        as2hook_webhooks::Body::Bytes(bytes) => RequestBody::Bytes(bytes),
        as2hook_webhooks::Body::Payload { .. } => RequestBody::Payload(kept(shared, claimed)),
        as2hook_webhooks::Body::Empty => RequestBody::Bytes(Bytes::new()),
    };
    let (headers, names) = request.headers.into_parts();
    Ok(Request { headers, names, body })
}

fn event(claimed: &Claimed) -> Result<Event, Unmakeable> {
    let mut event: Event =
        serde_json::from_slice(&claimed.event.body).map_err(Unmakeable::Event)?;
    if let Some(verdict) = &claimed.event.verdict {
        let verdict: Verdict = serde_json::from_slice(verdict).map_err(Unmakeable::Event)?;
        event.settle(verdict);
    }
    Ok(event)
}

fn mode(name: &str) -> Result<PayloadMode, Unmakeable> {
    let modes = [PayloadMode::Headers, PayloadMode::Json, PayloadMode::Raw];
    let known = modes.into_iter().find(|mode| mode.as_str() == name);
    known.ok_or_else(|| Unmakeable::Mode(name.to_owned()))
}

fn kept(shared: &Shared, claimed: &Claimed) -> KeptPayload {
    KeptPayload {
        payloads: shared.options.payloads.clone(),
        event: claimed.event.id,
        payload: claimed.event.payload.clone(),
    }
}

/// Reads the payload once for its signature; it is read again when it is sent.
async fn sign(
    mut unsigned: Unsigned,
    rule: &Rule,
    kept: &KeptPayload,
) -> Result<as2hook_webhooks::Request, Failure> {
    let body = RequestBody::Payload(kept.clone());
    let deadline = Instant::now() + Client::time_allowed(&rule.endpoint, &body);
    let failed = |error: io::Error| Failure::ForNow(DeliveryError::Payload(error));
    let mut reader = kept.open(deadline).await.map_err(Failure::ForNow)?;
    loop {
        let read = timeout_at(deadline, reader.next()).await;
        let read = read.map_err(|_| failed(io::ErrorKind::TimedOut.into()))?;
        match read.map_err(|error| failed(io::Error::other(error)))? {
            Some(bytes) => unsigned.update(&bytes),
            None => break,
        }
    }
    Ok(unsigned.finish().map_err(Unmakeable::Length)?)
}

/// A URL as it may be written down: without a user's name and password.
fn shown(url: &Uri) -> String {
    let mut shown = url.scheme_str().map(|scheme| format!("{scheme}://")).unwrap_or_default();
    let authority = url.authority().map_or("", |authority| authority.as_str());
    shown.push_str(authority.rsplit_once('@').map_or(authority, |(_, host)| host));
    shown.push_str(url.path_and_query().map_or("", |path| path.as_str()));
    shown
}

impl From<Unmakeable> for Failure {
    fn from(error: Unmakeable) -> Self {
        Self::ForGood(error)
    }
}
