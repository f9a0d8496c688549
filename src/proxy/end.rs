//! How an exchange ends: the partner gets a response of our own where it is owed one, the tap, the log
//! and the metrics learn what it came to.

use std::io::{self, ErrorKind};

use as2hook_event::{Direction, SendError, Stage};
use bytes::Bytes;
use http::header;
use pingora::{
    Error, ErrorSource, ErrorType,
    http::ResponseHeader,
    proxy::{FailToProxy, Session},
};

use super::{
    Proxy, ProxyContext,
    exchange_line::{ExchangeLine, error_text},
    request::expects_continue,
    upstream,
};
use crate::{
    front::{
        chunks::ChunkFlaw,
        connection::{Connection, NoResponse},
        in_flight::{GaveWay, Permit},
        listener_name,
        rejection::Rejection,
    },
    tap::OutcomeReport,
};

impl Proxy {
    /// Responds to an error, unless another response has begun or the partner is gone.
    pub(super) async fn respond_to_error(
        &self,
        session: &mut Session,
        error: &Error,
        context: &mut ProxyContext,
    ) -> FailToProxy {
        let rejection = Rejection::of(error, self.direction);
        let unanswered =
            session.response_written().is_none_or(|head| head.status.is_informational());
        if let Some(rejection) = &rejection {
            self.live.observer().refused(listener_name(self.direction), rejection.reason());
        }
        if let Some(rejection) = &rejection
            && unanswered
        {
            if let Err(error) = rejection.send(session).await {
                tracing::debug!(%error, "A response of our own could not be sent.");
            } else if !matches!(rejection, Rejection::GaveWay(_))
                && !expects_continue(&session.req_header().headers)
            {
                // A close with unread bytes would take the response away from the partner.
                let _ = session.as_downstream_mut().drain_request_body().await;
            }
        }
        let error_code = rejection.as_ref().map_or(0, Rejection::status);
        context.rejection = rejection;
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    /// The exchange is over, by an error or without.
    pub(super) fn conclude(
        &self,
        session: &Session,
        error: Option<&Error>,
        context: &mut ProxyContext,
    ) {
        if let Some(connection) = Connection::of(session) {
            connection.release();
        }
        let rejection = context.rejection.as_ref();
        let failure = error.and_then(|error| match self.direction {
            // A status means that the receiver got the message.
            Direction::Inbound if context.flow.is_some() => None,
            Direction::Inbound => inbound_failure(error, rejection),
            Direction::Outbound => Some(outbound_failure(error, rejection)),
        });
        let is_recorded =
            context.exchange.as_ref().is_some_and(|one| one.is_recorded(failure.is_some()));
        // A recorded exchange always has its line. Others can come at any rate, so their lines are throttled.
        let suppressed = match error {
            Some(_) if !is_recorded => self.log.due(rejection.map_or("aborted", Rejection::reason)),
            _ => Some(0),
        };
        let line = suppressed.and_then(|suppressed| {
            ExchangeLine::of(self.direction, session, error, context, suppressed)
        });
        #[cfg(feature = "otel")]
        let live = self.live.clone();
        let report = match line {
            Some(line) => OutcomeReport::new(move |outcome| {
                #[cfg(feature = "otel")]
                if let Some(traces) = live.traces() {
                    line.trace(traces, outcome.as_ref());
                }
                line.write(outcome);
            }),
            None => OutcomeReport::none(),
        };
        let status = session.response_written().map(|head| head.status.as_u16());
        self.live.observer().exchange(listener_name(self.direction), status, error.is_some());
        if self.direction == Direction::Inbound {
            match (rejection, context.flow.is_some()) {
                (Some(rejection), _) if rejection.is_of_receiver() => {
                    self.live.receiver().failed(&error.map(error_text).unwrap_or_default());
                }
                // It has begun a response.
                (_, true) => self.live.receiver().reached(),
                _ => {}
            }
        }
        if let Some(mut exchange) = context.exchange.take() {
            if let Some(share) = context.permit.as_ref().and_then(Permit::take_share) {
                exchange.hold(share);
            }
            exchange.report_to(report);
            match failure {
                Some(failure) => exchange.fail(failure),
                None => exchange.end(),
            }
        }
    }
}

/// Why the receiver did not get the message, unless the partner closed the connection.
fn inbound_failure(error: &Error, rejection: Option<&Rejection>) -> Option<SendError> {
    match rejection {
        // Not recorded, and the partner sends it again.
        None
        | Some(
            Rejection::NotStored
            | Rejection::Busy
            | Rejection::Memory
            | Rejection::Slow
            | Rejection::GaveWay(_)
            | Rejection::Chunk(_)
            | Rejection::BadRequest,
        ) => None,
        Some(rejection) => Some(SendError {
            stage: stage_of(error),
            http_status: None,
            message: rejection.to_string(),
        }),
    }
}

/// Every exchange that ended by an error failed: its sender learns it from the response, the webhooks
/// from the event.
fn outbound_failure(error: &Error, rejection: Option<&Rejection>) -> SendError {
    let text = |rejection: &Rejection| {
        let text = rejection.to_string();
        match error.root_cause().downcast_ref::<Rejection>() {
            Some(_) => text,
            None => {
                format!("{} ({})", text.replace(" Send it again later.", ""), described(error))
            }
        }
    };
    let (stage, message) = match rejection {
        None => {
            let text = "Our AS2 server broke off before the whole message had passed";
            (Stage::Http, text.to_owned())
        }
        Some(rejection) => (stage_of(error), text(rejection)),
    };
    SendError { stage, http_status: None, message }
}

/// The error's class, and what the system or the TLS stack said.
fn described(error: &Error) -> String {
    let class = error.etype().as_str();
    match &error.context {
        Some(context) => format!("{class}: {}", context.as_str()),
        None => class.to_owned(),
    }
}

// === impl Rejection ===

impl Rejection {
    /// Ends the exchange from within a Pingora hook; [`Rejection::of`] finds it again.
    pub(super) fn into_error(self) -> Box<Error> {
        Error::because(ErrorType::HTTPStatus(self.status()), "rejected", self)
    }

    /// The response to an error that ended an exchange. `None`: the partner is gone.
    fn of(error: &Error, direction: Direction) -> Option<Self> {
        if let Some(rejection) = error.root_cause().downcast_ref::<Self>() {
            return Some(rejection.clone());
        }
        let cause = error.root_cause().downcast_ref::<io::Error>();
        let kind = cause.map(io::Error::kind);
        let chunk = within::<ChunkFlaw>(error);
        if within::<GaveWay>(error).is_some() {
            return Some(GaveWay.into());
        }
        if within::<NoResponse>(error).is_some() {
            return Some(Self::NoResponse(direction));
        }
        match (error.esource(), error.etype()) {
            (ErrorSource::Downstream, ErrorType::ReadTimedout) => Some(Self::Slow),
            (ErrorSource::Downstream, _) if kind == Some(ErrorKind::TimedOut) => Some(Self::Slow),
            (ErrorSource::Downstream, _) if chunk.is_some() => chunk.copied().map(Self::Chunk),
            (
                ErrorSource::Downstream,
                ErrorType::InvalidHTTPHeader | ErrorType::Custom("InvalidChunk"),
            ) => Some(Self::BadRequest),
            (ErrorSource::Downstream, _) => None,
            (ErrorSource::Upstream, ErrorType::ReadTimedout | ErrorType::WriteTimedout) => {
                Some(Self::NoResponse(direction))
            }
            // Without a connection, or a TLS session on it.
            (ErrorSource::Upstream, class) if stage_of_class(class) != Stage::Http => {
                Some(Self::Unreachable(direction))
            }
            (ErrorSource::Upstream, _) if upstream::has_no_response(error) => {
                Some(Self::Closed(direction))
            }
            (ErrorSource::Upstream, _) => Some(Self::BadResponse(direction)),
            _ => Some(Self::Internal),
        }
    }

    /// Sends it, and closes the connection behind it.
    async fn send(&self, session: &mut Session) -> pingora::Result<()> {
        let text = Bytes::from(format!("as2hook: {self}\n"));
        let mut head = ResponseHeader::build(self.status(), Some(4))?;
        head.insert_header(header::CONTENT_TYPE, "text/plain; charset=utf-8")?;
        head.insert_header(header::CONTENT_LENGTH, text.len().to_string())?;
        if *self == Self::Connect {
            head.insert_header(header::ALLOW, "POST")?;
        }
        if self.status() == 503 {
            head.insert_header(header::RETRY_AFTER, "30")?;
        }
        session.set_keepalive(None);
        session.write_response_header(Box::new(head), false).await?;
        session.write_response_body(Some(text), true).await
    }
}

/// What a connection of ours ended with.
fn within<E: std::error::Error + 'static>(error: &Error) -> Option<&E> {
    error.root_cause().downcast_ref::<io::Error>()?.get_ref()?.downcast_ref()
}

/// Which stage of an exchange an error belongs to, for `X-Send-Error`.
fn stage_of(error: &Error) -> Stage {
    if within::<NoResponse>(error).is_some() {
        return Stage::Timeout;
    }
    match error.root_cause().downcast_ref() {
        Some(Rejection::Unresolving { .. }) => return Stage::Timeout,
        Some(
            Rejection::Unreachable(_)
            | Rejection::Unresolved { .. }
            | Rejection::Connect
            | Rejection::Foreign
            | Rejection::Browser
            | Rejection::Host
            | Rejection::NoPartner(_)
            | Rejection::NoUrl(_)
            | Rejection::NoRecipient,
        ) => return Stage::Connect,
        _ => {}
    }
    stage_of_class(error.etype())
}

fn stage_of_class(class: &ErrorType) -> Stage {
    match class {
        ErrorType::ConnectTimedout
        | ErrorType::ReadTimedout
        | ErrorType::WriteTimedout
        | ErrorType::TLSHandshakeTimedout => Stage::Timeout,
        ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert | ErrorType::HandshakeError => {
            Stage::Tls
        }
        ErrorType::ConnectRefused
        | ErrorType::ConnectNoRoute
        | ErrorType::ConnectError
        | ErrorType::BindError
        | ErrorType::SocketError => Stage::Connect,
        _ => Stage::Http,
    }
}
