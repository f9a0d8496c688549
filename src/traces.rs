//! Traces by OTLP, in builds with the feature `otel`: a span for each exchange that a webhook may want and one for each
//! attempt of its deliveries, all of one event in one trace.
//!
//! The ids are made of the event's id. So a delivery belongs to the trace of its exchange whichever process makes it,
//! and however late, and nothing is stored for that. A partner's own `traceparent` is linked, never continued: it comes
//! from a stranger.
//!
//! Traffic and deliveries only put a finished span into a bounded queue. One that finds no room is dropped and counted.
//!
//! # Layout
//! - `settings`: the environment variables of OpenTelemetry
//! - `ids`: traces and spans of an event
//! - `export`: the queue, and the task that sends what is in it
//! - `client`: the HTTP client towards the collector

mod client;
mod export;
mod ids;
mod settings;

use std::{
    borrow::Cow,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use as2hook_delivery::Attempted;
use as2hook_store::DeliveryOutcome;
use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use uuid::Uuid;

use self::{export::SpanQueue, ids::EventTrace, settings::Settings};
use crate::observe::attempt_result;

/// Makes spans. Clones share one queue.
#[derive(Clone)]
pub struct Traces(Arc<Exporting>);

struct Exporting {
    settings: Settings,
    queue: SpanQueue,
    scope: InstrumentationScope,
}

/// A span of an event that has ended.
pub(crate) struct EndedSpan {
    pub(crate) name: Cow<'static, str>,
    pub(crate) kind: SpanKind,
    pub(crate) began: SystemTime,
    pub(crate) ended: SystemTime,
    pub(crate) attributes: Vec<KeyValue>,
    /// The span of the caller, in a trace of its own.
    pub(crate) link: Option<SpanContext>,
    pub(crate) error: Option<String>,
}

/// Why traces cannot be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TracesError {
    /// A variable has a value that means nothing here.
    #[error("{name}={value}: {expected}")]
    Variable {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// The exporter, such as for an endpoint that is no URL.
    #[error("the OTLP exporter cannot be made: {0}")]
    Exporter(String),
    /// The roots of the collector's certificate.
    #[error("the OTLP exporter's TLS: {0}")]
    Tls(#[from] openssl::error::ErrorStack),
}

// === impl Traces ===

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Traces")
    }
}

impl Traces {
    /// Exports as the environment says. `None`: it names no endpoint. Call within a tokio runtime.
    ///
    /// # Errors
    /// When a variable is wrong.
    pub fn from_environment() -> Result<Option<Self>, TracesError> {
        let Some(settings) = Settings::read(|name| std::env::var(name).ok())? else {
            return Ok(None);
        };
        let queue = SpanQueue::start(export::exporter(&settings)?);
        let scope = InstrumentationScope::builder("as2hook")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        Ok(Some(Self(Arc::new(Exporting { settings, queue, scope }))))
    }

    /// The `traceparent` of an attempt of a delivery (W3C Trace Context).
    pub fn parent(&self, event: Uuid, delivery: i64, attempt: u32) -> String {
        let trace = EventTrace::of(event);
        let flags = trace.flags(self.0.settings.ratio).to_u8();
        let span = trace.attempt(delivery, attempt);
        format!("00-{}-{span}-{flags:02x}", trace.id)
    }

    /// The exchange that an event comes of is over.
    pub(crate) fn exchange(&self, event: Uuid, span: EndedSpan) {
        let trace = EventTrace::of(event);
        self.record(&trace, trace.exchange, SpanId::INVALID, span);
    }

    /// A delivery was attempted.
    pub(crate) fn attempted(&self, attempt: &Attempted<'_>) {
        let trace = EventTrace::of(attempt.event);
        let result = attempt_result(attempt.outcome);
        let error = (attempt.outcome != DeliveryOutcome::Delivered).then(|| result.to_owned());
        let ended = SystemTime::now();
        let mut attributes = vec![
            KeyValue::new("as2hook.event.id", attempt.event.to_string()),
            KeyValue::new("as2hook.webhook", attempt.webhook.to_owned()),
            KeyValue::new("as2hook.webhook_id", attempt.webhook_id.to_owned()),
            KeyValue::new("as2hook.attempt", i64::from(attempt.number)),
            KeyValue::new("as2hook.replay", attempt.replay),
            KeyValue::new("as2hook.result", result),
        ];
        attributes.extend(
            attempt
                .http_code
                .map(|code| KeyValue::new("http.response.status_code", i64::from(code))),
        );
        let span = EndedSpan {
            name: format!("deliver {}", attempt.webhook).into(),
            kind: SpanKind::Client,
            began: ended.checked_sub(attempt.began.elapsed()).unwrap_or(ended),
            ended,
            attributes,
            link: None,
            error,
        };
        let id = trace.attempt(attempt.delivery, attempt.number);
        self.record(&trace, id, trace.exchange, span);
    }

    /// Sends what is in the queue, for so long at the most.
    pub(crate) async fn flush(&self, within: Duration) {
        self.0.queue.flush(within).await;
    }

    /// Spans that were not sent, since the start.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.queue.dropped()
    }

    fn record(&self, trace: &EventTrace, id: SpanId, parent: SpanId, span: EndedSpan) {
        let flags = trace.flags(self.0.settings.ratio);
        if !flags.is_sampled() {
            return;
        }
        let mut links = SpanLinks::default();
        links.links.extend(span.link.map(Link::with_context));
        self.0.queue.push(SpanData {
            span_context: SpanContext::new(trace.id, id, flags, false, TraceState::NONE),
            parent_span_id: parent,
            parent_span_is_remote: false,
            span_kind: span.kind,
            name: span.name,
            start_time: span.began,
            end_time: span.ended,
            attributes: span.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links,
            status: span.error.map_or(Status::Unset, Status::error),
            instrumentation_scope: self.0.scope.clone(),
        });
    }
}
