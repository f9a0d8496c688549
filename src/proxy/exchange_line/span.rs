//! The span of an exchange, made of its log line.

use std::time::Duration;

use opentelemetry::{
    KeyValue,
    propagation::TextMapPropagator as _,
    trace::{SpanContext, SpanKind, TraceContextExt as _},
};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;

use super::{AS2_NAME, Direction, ExchangeLine, ExchangeOutcome, cut};
use crate::traces::{EndedSpan, Traces};

/// The span that the caller says its request belongs to.
pub(super) fn caller(headers: &http::HeaderMap) -> Option<SpanContext> {
    let none = opentelemetry::Context::new();
    let context =
        TraceContextPropagator::new().extract_with_context(&none, &HeaderExtractor(headers));
    let caller = context.span().span_context().clone();
    caller.is_valid().then_some(caller)
}

// === impl ExchangeLine ===

impl ExchangeLine {
    /// An exchange that no webhook may want has no trace.
    pub(in crate::proxy) fn trace(&self, traces: &Traces, outcome: Option<&ExchangeOutcome>) {
        let Some(event) = self.id else { return };
        let listener = crate::front::listener_name(self.direction);
        let mut attributes = vec![
            KeyValue::new("as2hook.event.id", event.to_string()),
            KeyValue::new("as2hook.listener", listener),
            KeyValue::new("http.request.method", cut(self.method.as_str().as_bytes(), AS2_NAME)),
            KeyValue::new("url.path", self.path.clone()),
            KeyValue::new("http.request.body.size", i64::try_from(self.bytes).unwrap_or(i64::MAX)),
        ];
        let mut add = |key: &'static str, value: Option<String>| {
            attributes.extend(value.map(|value| KeyValue::new(key, value)));
        };
        add("as2.from", self.as2_from.clone());
        add("as2.to", self.as2_to.clone());
        add("as2.message_id", self.message_id.clone());
        add("network.peer.address", self.peer.map(|peer| peer.to_string()));
        if let Some(ExchangeOutcome { event, signature, codes }) = outcome {
            add("as2hook.event", Some(event.as_str().to_owned()));
            add("as2hook.signature", signature.map(|it| it.as_str().to_owned()));
            let codes: Vec<_> = codes.iter().map(|code| code.number().to_string()).collect();
            add("as2hook.codes", (!codes.is_empty()).then(|| codes.join(",")));
        }
        let status = self.status.map(i64::from);
        attributes.extend(status.map(|it| KeyValue::new("http.response.status_code", it)));
        let refused = self.status.filter(|status| *status >= 500);
        let span = EndedSpan {
            name: match self.direction {
                Direction::Inbound => "AS2 inbound".into(),
                Direction::Outbound => "AS2 outbound".into(),
            },
            kind: SpanKind::Server,
            began: self.ended.checked_sub(Duration::from_millis(self.ms)).unwrap_or(self.ended),
            ended: self.ended,
            attributes,
            link: self.caller.clone(),
            error: self.error.clone().or_else(|| refused.map(|status| status.to_string())),
        };
        traces.exchange(event, span);
    }
}
