//! Makes one attempt: from the stored row to the response.

use std::{io, pin::pin, sync::Arc};

use as2hook_event::{Event, PayloadMode, Rule, Verdict};
use as2hook_format::{Rendered, Rendering, Unsigned, render, sign::WrongLength};
use as2hook_sink::{BodySource, BodyStream, Client, DeliveryError, Request, RequestBody};
use as2hook_store::{
    Attempt, AttemptRecord, Claimed, DeliveryOutcome, Payload, Payloads, StoreError,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{TryStreamExt as _, stream};
use http::Uri;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::{
    DispatcherState,
    concurrency::{AttemptSlot, ConcurrencyPool},
    health::AttemptResult,
    judgement::{failure, judge},
    order_patience,
};
use crate::{directory::Attempted, time::now};

/// An event's payload and where it is stored.
#[derive(Clone, Debug)]
pub struct KeptPayload {
    /// Where payloads are stored.
    pub payloads: Payloads,
    /// The event of the payload.
    pub event: Uuid,
    /// The payload.
    pub payload: Payload,
}

/// A claimed delivery with a slot for its attempt.
pub(super) struct ClaimedJob {
    pub(super) claimed: Claimed,
    pub(super) slot: AttemptSlot,
}

/// How an attempt ended, for its webhook's worker.
pub(super) struct AttemptEnd {
    pub(super) result: AttemptResult,
    /// The endpoint responded with 410.
    pub(super) gone: bool,
    /// When the delivery is retried.
    pub(super) retry: Option<i64>,
    /// The rule that applied to the attempt.
    pub(super) rule: Arc<Rule>,
}

/// Why a delivery cannot be attempted at all.
#[derive(Debug, thiserror::Error)]
enum InvalidDelivery {
    #[error("the recorded event cannot be read: {0}")]
    Event(serde_json::Error),
    #[error("the recorded payload mode \"{0}\" is unknown")]
    Mode(String),
    /// A replay reports this error instead of sending an empty order.
    #[error(transparent)]
    Payload(StoreError),
    #[error("the request cannot be signed: {0}")]
    Length(#[from] WrongLength),
}

/// Why a request cannot be made.
enum PrepareError {
    /// Another attempt would fail too.
    ForGood(InvalidDelivery),
    /// Another attempt may succeed.
    ForNow(DeliveryError),
}

/// Makes the attempt and passes the outcome to the completion batcher. The slot becomes free when
/// the batcher has it.
pub(super) async fn make(
    shared: &DispatcherState,
    rule: &Arc<Rule>,
    job: ClaimedJob,
) -> AttemptEnd {
    let ClaimedJob { claimed, mut slot } = job;
    let begun = Instant::now();
    let at = now();
    let endpoint = &rule.endpoint;
    let response = match prepare(shared, rule, &claimed).await {
        Ok(request) => {
            let guard = shared.directory.guard(rule);
            let deadline = Instant::now() + Client::time_allowed(endpoint, &request.body);
            let mut delivery = pin!(shared.client.deliver(endpoint, &guard, request, deadline));
            Ok(match timeout(ConcurrencyPool::SLOW_AFTER, &mut delivery).await {
                Ok(response) => response,
                Err(_) => {
                    shared.slots.slow_down(&mut slot);
                    delivery.await
                }
            })
        }
        Err(PrepareError::ForNow(error)) => Ok(Err(error)),
        Err(PrepareError::ForGood(error)) => Err(error),
    };
    let (outcome, gone, pause, http_code, error) = match &response {
        Ok(response) => {
            let mut judged = judge(response, endpoint, claimed.tries, now(), fastrand::f64());
            if let (Ok(refusal), Some(limit)) = (response, endpoint.order_patience)
                && order_patience::is_refusal(refusal)
            {
                judged.outcome =
                    order_patience::judge(shared, &claimed, limit, judged.outcome).await;
            }
            if judged.outcome != DeliveryOutcome::Delivered {
                judged =
                    judged.in_force(shared.is_target_of(rule), shared.directory.is_newest(), now());
            }
            let status = response.as_ref().map_or_else(DeliveryError::status, |a| Some(a.status));
            (judged.outcome, judged.gone, judged.pause, status, failure(response))
        }
        Err(error) => (DeliveryOutcome::Dead, false, None, None, Some(error.to_string())),
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
        ?outcome,
        "Delivery attempted."
    );
    if let Some(notices) = &shared.notices {
        notices.attempted(&Attempted {
            webhook: &claimed.webhook,
            event: claimed.event.id,
            number,
            replay: claimed.replay,
            began: begun.into_std(),
            outcome,
        });
    }
    let attempt = Attempt {
        number,
        at,
        url: shared.directory.at_rest(&claimed.webhook, shown(&endpoint.url)),
        http_code,
        error: error.clone(),
        duration_ms,
    };
    let record = AttemptRecord { delivery: claimed.id, attempt: Some(attempt), outcome };
    // The next delivery of the same order can be claimed once this one is stored as done.
    let ordered = endpoint.order != as2hook_event::Order::None;
    let ring = ordered.then(|| claimed.webhook.clone());
    if outcome == DeliveryOutcome::Held {
        // Stored before the webhook is seen as disabled, so that enabling it finds this delivery
        // held.
        shared.completions.add_and_wait(record, ring).await;
    } else {
        shared.completions.add(record, ring).await;
    }
    drop(slot);
    let retry = match outcome {
        DeliveryOutcome::Retry(at) => Some(at),
        _ => None,
    };
    let is_ignored = matches!(response, Err(_) | Ok(Err(DeliveryError::Payload(_))));
    let result = AttemptResult {
        http_code,
        error,
        is_ignored,
        dead: outcome == DeliveryOutcome::Dead,
        pause,
    };
    AttemptEnd { result, gone, retry, rule: rule.clone() }
}

async fn prepare(
    shared: &DispatcherState,
    rule: &Rule,
    claimed: &Claimed,
) -> Result<Request, PrepareError> {
    let event = event(claimed)?;
    let mode = mode(&claimed.mode)?;
    let payload = match &claimed.event.payload {
        as2hook_store::Payload::None => as2hook_format::RawPayload::None,
        as2hook_store::Payload::Inline(bytes) => as2hook_format::RawPayload::Bytes(bytes.clone()),
        as2hook_store::Payload::Purged
            if mode == PayloadMode::Raw && event.kind.sends_payload() =>
        {
            return Err(InvalidDelivery::Payload(StoreError::Purged).into());
        }
        as2hook_store::Payload::Purged => as2hook_format::RawPayload::None,
        kept => as2hook_format::RawPayload::Stream { size: kept.size() },
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
        as2hook_format::Body::Bytes(bytes) => RequestBody::Bytes(bytes),
        as2hook_format::Body::Payload { .. } => {
            RequestBody::Streamed(Arc::new(kept(shared, claimed)))
        }
        as2hook_format::Body::Empty => RequestBody::Bytes(Bytes::new()),
    };
    let (headers, names) = request.headers.into_parts();
    Ok(Request { headers, names, body })
}

fn event(claimed: &Claimed) -> Result<Event, InvalidDelivery> {
    let mut event: Event =
        serde_json::from_slice(&claimed.event.body).map_err(InvalidDelivery::Event)?;
    if let Some(verdict) = &claimed.event.verdict {
        let verdict: Verdict = serde_json::from_slice(verdict).map_err(InvalidDelivery::Event)?;
        event.settle(verdict);
    }
    Ok(event)
}

fn mode(name: &str) -> Result<PayloadMode, InvalidDelivery> {
    let modes = [PayloadMode::Headers, PayloadMode::Json, PayloadMode::Raw];
    let known = modes.into_iter().find(|mode| mode.as_str() == name);
    known.ok_or_else(|| InvalidDelivery::Mode(name.to_owned()))
}

fn kept(shared: &DispatcherState, claimed: &Claimed) -> KeptPayload {
    KeptPayload {
        payloads: shared.options.payloads.clone(),
        event: claimed.event.id,
        payload: claimed.event.payload.clone(),
    }
}

#[async_trait]
impl BodySource for KeptPayload {
    fn size(&self) -> u64 {
        self.payload.size()
    }

    async fn open(&self) -> io::Result<BodyStream> {
        let reader = self.payloads.reader(self.event, &self.payload).await;
        let pieces = stream::try_unfold(reader.map_err(io::Error::other)?, |mut reader| async {
            let read = reader.next().await.map_err(io::Error::other)?;
            Ok(read.map(|bytes| (bytes, reader)))
        });
        Ok(Box::pin(pieces))
    }
}

/// Reads the payload once for its signature; it is read again when it is sent.
async fn sign(
    mut unsigned: Unsigned,
    rule: &Rule,
    kept: &KeptPayload,
) -> Result<as2hook_format::WebhookRequest, PrepareError> {
    let body = RequestBody::Streamed(Arc::new(kept.clone()));
    let read = async {
        let mut pieces = kept.open().await?;
        while let Some(bytes) = pieces.try_next().await? {
            unsigned.update(&bytes);
        }
        Ok(())
    };
    let read = timeout(Client::time_allowed(&rule.endpoint, &body), read).await;
    let read = read.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    read.map_err(|error| PrepareError::ForNow(DeliveryError::Payload(error)))?;
    Ok(unsigned.finish().map_err(InvalidDelivery::Length)?)
}

/// Returns a URL without user name and password, as it may be stored.
fn shown(url: &Uri) -> String {
    let mut shown = url.scheme_str().map(|scheme| format!("{scheme}://")).unwrap_or_default();
    let authority = url.authority().map_or("", |authority| authority.as_str());
    shown.push_str(authority.rsplit_once('@').map_or(authority, |(_, host)| host));
    shown.push_str(url.path_and_query().map_or("", |path| path.as_str()));
    shown
}

impl From<InvalidDelivery> for PrepareError {
    fn from(error: InvalidDelivery) -> Self {
        Self::ForGood(error)
    }
}
