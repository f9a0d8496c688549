//! Makes one attempt: from the stored row to the response.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
};

use as2hook_event::{Event, Rule};
use as2hook_format::{Body, Format, RawPayload, Rendered, Rendering, render};
use as2hook_sink::{
    BodyError, BodySource, BodyStream, Delivered, Notification, RequestBody, SinkError,
    SinkErrorKind,
};
use as2hook_store::{
    Attempt, AttemptRecord, Claimed, DeliveryOutcome, Payload, Payloads, StoreError,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use http::Uri;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::{
    DispatcherState,
    concurrency::{AttemptSlot, ConcurrencyPool},
    health::AttemptResult,
    judgement::{AttemptJudgement, judge},
    order_patience,
};
use crate::{
    directory::{Attempted, DeadDelivery},
    outbox::writes,
    time::now,
};

/// An event's payload and where it is stored.
#[derive(Clone, Debug)]
pub struct KeptPayload {
    /// Where payloads are stored.
    pub payloads: Payloads,
    /// The event of the payload.
    pub event: Uuid,
    /// The payload.
    pub payload: Payload,
    /// How many bytes from its beginning are sent.
    pub size: u64,
}

/// A claimed delivery with a slot for its attempt.
pub(super) struct ClaimedJob {
    pub(super) claimed: Claimed,
    pub(super) slot: AttemptSlot,
}

/// How an attempt ended, for its webhook's worker.
pub(super) struct AttemptEnd {
    pub(super) result: AttemptResult,
    /// The endpoint is gone for good.
    pub(super) gone: bool,
    /// When the delivery is retried.
    pub(super) retry: Option<i64>,
    /// The rule that applied to the attempt.
    pub(super) rule: Arc<Rule>,
    /// A delivery that is dead now.
    pub(super) dead: Option<DeadDelivery>,
}

/// Makes the attempt and passes the outcome to the completion batcher. The slot becomes free when
/// the batcher has it. `url`: as it is stored.
pub(super) async fn make(
    shared: &DispatcherState,
    rule: &Arc<Rule>,
    url: &str,
    job: ClaimedJob,
) -> AttemptEnd {
    let ClaimedJob { claimed, mut slot } = job;
    let begun = Instant::now();
    let at = now();
    let endpoint = &rule.endpoint;
    let sent = match prepare(shared, rule, &claimed) {
        Ok(notification) => {
            // A stored payload is read once more where it is signed.
            let is_read_twice = matches!(notification.body, RequestBody::Streamed(_))
                && !endpoint.secrets.is_empty();
            let allowed = endpoint.time_allowed(notification.body.size());
            let deadline = Instant::now() + allowed.saturating_mul(1 + u32::from(is_read_twice));
            let mut sending = pin!(shared.sinks.send(endpoint, notification, deadline));
            match timeout(ConcurrencyPool::SLOW_AFTER, &mut sending).await {
                Ok(sent) => sent,
                Err(_) => {
                    shared.slots.slow_down(&mut slot);
                    sending.await
                }
            }
        }
        Err(error) => Err(error),
    };
    let AttemptJudgement { outcome, gone, pause } = judged(shared, rule, &claimed, &sent).await;
    let http_code = sent.as_ref().map_or_else(SinkError::http_code, |taken| taken.http_code);
    let error = sent.as_ref().err().map(SinkError::to_string);
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
            webhook_id: &claimed.webhook_id,
            delivery: claimed.id,
            event: claimed.event.id,
            number,
            replay: claimed.replay,
            began: begun.into_std(),
            http_code,
            outcome,
        });
    }
    let attempt =
        Attempt { number, at, url: url.to_owned(), http_code, error: error.clone(), duration_ms };
    let record = AttemptRecord { delivery: claimed.id, attempt: Some(attempt), outcome };
    // The next delivery of the same order can be claimed once this one is stored as done.
    let ordered = endpoint.order != as2hook_event::Order::None;
    let ring = ordered.then(|| claimed.webhook.clone());
    let has_recovered = outcome == DeliveryOutcome::Delivered
        && shared.health.get(&claimed.webhook).is_some_and(|health| health.keeps_failing());
    if outcome == DeliveryOutcome::Held || has_recovered {
        // Stored before the webhook is seen as disabled, so that enabling it finds this delivery held; and
        // with all failures before this success, so that its recovery finds those deliveries.
        shared.completions.add_and_wait(record, ring).await;
    } else {
        shared.completions.add(record, ring).await;
    }
    drop(slot);
    let retry = match outcome {
        DeliveryOutcome::Retry(at) => Some(at),
        _ => None,
    };
    let is_ignored = sent.is_err_and(|error| {
        matches!(error.kind(), SinkErrorKind::Local | SinkErrorKind::Impossible)
    });
    let is_about_webhooks = error.is_some()
        && writes::read(&claimed.event).is_ok_and(|event| event.kind.is_about_webhooks());
    let dead = (outcome == DeliveryOutcome::Dead).then(|| DeadDelivery {
        webhook_id: claimed.webhook_id.clone(),
        event: claimed.event.id,
        attempts: number,
        error: outline(http_code, error.as_deref()),
    });
    let result = AttemptResult {
        http_code,
        error,
        is_ignored,
        dead: outcome == DeliveryOutcome::Dead,
        is_about_webhooks,
        pause,
    };
    AttemptEnd { result, gone, retry, rule: rule.clone(), dead }
}

async fn judged(
    shared: &DispatcherState,
    rule: &Arc<Rule>,
    claimed: &Claimed,
    sent: &Result<Delivered, SinkError>,
) -> AttemptJudgement {
    let endpoint = &rule.endpoint;
    // One that was asked for stays at its place in the schedule.
    let tries = claimed.tries.saturating_sub(u32::from(claimed.asked));
    let mut judged = judge(sent, &endpoint.retry, tries, now(), fastrand::f64());
    if let (Err(error), Some(limit)) = (sent, endpoint.order_patience)
        && error.kind() == SinkErrorKind::Refused
    {
        judged.outcome = order_patience::judge(shared, claimed, limit, judged.outcome).await;
    }
    match sent {
        // What cannot be attempted at all has nothing to do with the target.
        Err(error) if error.kind() != SinkErrorKind::Impossible => {
            judged.in_force(shared.is_target_of(rule), shared.directory.is_newest(), now())
        }
        _ => judged,
    }
}

/// Renders the notification.
fn prepare(
    shared: &DispatcherState,
    rule: &Rule,
    claimed: &Claimed,
) -> Result<Notification, SinkError> {
    let impossible = |what: String| SinkError::new(SinkErrorKind::Impossible, what);
    let event = writes::read(&claimed.event)
        .map_err(|error| impossible(format!("the recorded event cannot be read: {error}")))?;
    let format = format_named(shared, &claimed.mode)?;
    let payload = match &claimed.event.payload {
        Payload::None => RawPayload::None,
        Payload::Inline(bytes) => {
            let part = event.raw_range(bytes.len() as u64);
            let end = usize::try_from(part.end).unwrap_or(usize::MAX).min(bytes.len());
            RawPayload::Bytes(bytes.slice(..end))
        }
        // A replay reports this error instead of sending an empty order.
        Payload::Purged { .. } if format.needs_payload() && event.kind.sends_payload() => {
            return Err(impossible(StoreError::Purged.to_string()));
        }
        Payload::Purged { .. } => RawPayload::None,
        kept => RawPayload::Stream { size: event.raw_range(kept.size()).end },
    };
    let rendering = Rendering {
        format,
        webhook_id: &claimed.webhook_id,
        attempt: claimed.attempts.saturating_add(1),
        replay: claimed.replay,
        payload,
        leading: &shared.directory.leading(rule, &event),
    };
    let mut rendered = rendered(rule, &event, &rendering, &claimed.mode)?;
    if event.is_test() {
        rendered.headers.mark_as_test();
    }
    let (event, attempt) = (claimed.event.id, rendering.attempt);
    if let Some(parent) = shared.directory.trace_parent(event, claimed.id, attempt) {
        rendered.headers.trace(&parent);
    }
    let body = match rendered.body {
        Body::Bytes(bytes) => RequestBody::Bytes(bytes),
        Body::Payload { size } => RequestBody::Streamed(Arc::new(KeptPayload {
            payloads: shared.options.payloads.clone(),
            event: claimed.event.id,
            payload: claimed.event.payload.clone(),
            size,
        })),
    };
    Ok(Notification { headers: rendered.headers, body })
}

/// Sends a notification that is marked as a test, beside the queue.
pub(super) async fn send_test(
    shared: &DispatcherState,
    rule: &Rule,
    event: &Event,
    deadline: Instant,
) -> Result<Delivered, SinkError> {
    let mode = rule.endpoint.payload.name;
    let rendering = Rendering {
        format: format_named(shared, mode)?,
        webhook_id: &event.webhook_id(&rule.name),
        attempt: 1,
        replay: false,
        payload: RawPayload::Bytes(Bytes::from_static(b"as2hook test delivery\r\n")),
        leading: &shared.directory.leading(rule, event),
    };
    let Rendered { mut headers, body, .. } = rendered(rule, event, &rendering, mode)?;
    let Body::Bytes(body) = body else {
        let message = format!("the format \"{mode}\" has no body for a test");
        return Err(SinkError::new(SinkErrorKind::Impossible, message));
    };
    headers.mark_as_test();
    let notification = Notification { headers, body: RequestBody::Bytes(body) };
    shared.sinks.send(&rule.endpoint, notification, deadline).await
}

fn format_named<'a>(shared: &'a DispatcherState, mode: &str) -> Result<&'a dyn Format, SinkError> {
    shared.options.formats.get(mode).ok_or_else(|| {
        let message = format!(
            "the format \"{mode}\" is not in this program; replay the delivery with a program that has it"
        );
        SinkError::new(SinkErrorKind::Impossible, message)
    })
}

fn rendered(
    rule: &Rule,
    event: &Event,
    rendering: &Rendering<'_>,
    mode: &str,
) -> Result<Rendered, SinkError> {
    let rendered = catch_unwind(AssertUnwindSafe(|| {
        render(event, rendering, &rule.endpoint, jiff::Timestamp::now())
    }))
    .map_err(|_| {
        let message = format!("the format \"{mode}\" panicked");
        SinkError::new(SinkErrorKind::Local, message)
    })?;
    if !rendered.dropped.is_empty() {
        let (webhook, dropped) = (&rule.name, &rendered.dropped);
        tracing::warn!(webhook, ?dropped, "Left out headers that are not legal HTTP.");
    }
    Ok(rendered)
}

#[async_trait]
impl BodySource for KeptPayload {
    fn size(&self) -> u64 {
        self.size
    }

    async fn open(&self) -> Result<BodyStream, BodyError> {
        let reader = self.payloads.part_reader(self.event, &self.payload, 0..self.size).await;
        let pieces = stream::try_unfold(reader.map_err(io::Error::other)?, |mut reader| async {
            let read = reader.next().await.map_err(io::Error::other)?;
            Ok::<_, BodyError>(read.map(|bytes| (bytes, reader)))
        });
        Ok(Box::pin(pieces))
    }
}

/// Returns a URL without user name and password, as it may be stored.
pub(super) fn shown(url: &Uri) -> String {
    let mut shown = url.scheme_str().map(|scheme| format!("{scheme}://")).unwrap_or_default();
    let authority = url.authority().map_or("", |authority| authority.as_str());
    shown.push_str(authority.rsplit_once('@').map_or(authority, |(_, host)| host));
    shown.push_str(url.path_and_query().map_or("", |path| path.as_str()));
    shown
}

/// What is said of a failure outside of the delivery log: the beginning of a response's body stands there alone.
pub(super) fn outline(http_code: Option<u16>, error: Option<&str>) -> String {
    match http_code {
        Some(code) => format!("the endpoint responded with {code}"),
        None => error.unwrap_or_default().to_owned(),
    }
}
