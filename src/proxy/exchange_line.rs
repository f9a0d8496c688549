//! The log line of an exchange.

#[cfg(feature = "otel")]
mod span;

use std::net::IpAddr;

use as2hook_as2::{ErrorCode, SignatureStatus};
use as2hook_event::{
    Direction, EventKind,
    bounds::{AS2_NAME, MESSAGE_ID},
};
use http::Method;
use pingora::{Error, proxy::Session};
use tracing::Level;
use uuid::Uuid;

use super::ProxyContext;
use crate::tap::{Exchange, ExchangeOutcome};

/// What the log says of one exchange. It is collected when the traffic is over, and written when the tap knows
/// what came of it.
pub(super) struct ExchangeLine {
    direction: Direction,
    is_info: bool,
    id: Option<Uuid>,
    peer: Option<IpAddr>,
    method: Method,
    path: String,
    as2_from: Option<String>,
    as2_to: Option<String>,
    message_id: Option<String>,
    bytes: u64,
    status: Option<u16>,
    ms: u64,
    error: Option<String>,
    suppressed: u64,
    #[cfg(feature = "otel")]
    ended: std::time::SystemTime,
    #[cfg(feature = "otel")]
    caller: Option<opentelemetry::trace::SpanContext>,
}

/// Bytes of a request's path in a log line.
const PATH: usize = 256;

/// Bytes of an error in a log line.
const ERROR: usize = 1024;

/// The text of an error in a log line, cut to a bounded length.
pub(super) fn error_text(error: &Error) -> String {
    cut(error.to_string().as_bytes(), ERROR)
}

fn cut(bytes: &[u8], most: usize) -> String {
    match bytes.split_at_checked(most) {
        Some((begin, rest)) if !rest.is_empty() => format!("{}…", String::from_utf8_lossy(begin)),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

// === impl ExchangeLine ===

impl ExchangeLine {
    /// `suppressed`: so many lines of this kind were left out before it. `None`: its level is not logged.
    pub(super) fn of(
        direction: Direction,
        session: &Session,
        error: Option<&Error>,
        context: &ProxyContext,
        suppressed: u64,
    ) -> Option<Self> {
        let is_info = context.exchange.is_some() || error.is_some();
        if !is_info && !tracing::enabled!(Level::DEBUG) {
            return None;
        }
        let request = session.req_header();
        let as2 = |name: &str, most| Some(cut(request.headers.get(name)?.as_bytes(), most));
        Some(Self {
            direction,
            is_info,
            id: context.exchange.as_ref().and_then(Exchange::id),
            peer: context.peer,
            method: request.method.clone(),
            path: cut(request.uri.path().as_bytes(), PATH),
            as2_from: as2("as2-from", AS2_NAME),
            as2_to: as2("as2-to", AS2_NAME),
            message_id: as2("message-id", MESSAGE_ID),
            bytes: context.received,
            status: session.response_written().map(|head| head.status.as_u16()),
            ms: u64::try_from(context.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            error: error.map(error_text),
            suppressed,
            #[cfg(feature = "otel")]
            ended: std::time::SystemTime::now(),
            #[cfg(feature = "otel")]
            caller: span::caller(&request.headers),
        })
    }

    pub(super) fn write(self, outcome: Option<ExchangeOutcome>) {
        let side = match self.direction {
            Direction::Inbound => "Inbound",
            Direction::Outbound => "Outbound",
        };
        let (event, signature) = match &outcome {
            Some(ExchangeOutcome { event, signature, .. }) => (Some(*event), *signature),
            None => (None, None),
        };
        let codes = outcome.map(|outcome| outcome.codes).filter(|codes| !codes.is_empty());
        // As a list, also of one: a number would be a text in JSON.
        let codes = codes.map(|codes| {
            format!("{:?}", codes.into_iter().map(ErrorCode::number).collect::<Vec<_>>())
        });
        macro_rules! write {
            ($level:ident) => {
                tracing::$level!(
                    exchange = self.id.map(|id| id.to_string()),
                    peer = self.peer.map(|peer| peer.to_string()),
                    method = cut(self.method.as_str().as_bytes(), AS2_NAME),
                    path = self.path,
                    as2_from = self.as2_from,
                    as2_to = self.as2_to,
                    message_id = self.message_id,
                    bytes = self.bytes,
                    status = self.status,
                    ms = self.ms,
                    event = event.map(EventKind::as_str),
                    signature = signature.map(SignatureStatus::as_str),
                    codes,
                    error = self.error,
                    suppressed = (self.suppressed > 0).then_some(self.suppressed),
                    "{side} exchange.",
                )
            };
        }
        if self.is_info {
            write!(info);
        } else {
            write!(debug);
        }
    }
}
