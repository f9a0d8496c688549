//! The responses that the gateway gives itself, each with a sentence that says what to do.

use std::{
    fmt,
    io::{self, ErrorKind},
};

use as2hook_event::{Direction, Stage};
use bytes::Bytes;
use http::header;
use pingora::{Error, ErrorSource, ErrorType, http::ResponseHeader, proxy::Session};

use super::{
    chunks::ChunkFlaw, connection::NoResponse, connection_limiter::LimitReached, head::HeadError,
    in_flight::GaveWay,
};
use crate::proxy::upstream;

/// Why a request was not passed on, or its response not passed back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejection {
    #[error(transparent)]
    Head(#[from] HeadError),
    #[error("The request's head is larger than {limit} bytes (limits.header).")]
    HeadTooLarge { limit: usize },
    #[error("The request's body is larger than {limit} bytes (limits.body).")]
    BodyTooLarge { limit: u64 },
    #[error("The request's target has characters that a URL cannot have.")]
    Target,
    #[error("The chunks of the request's body are broken: {0}.")]
    Chunk(ChunkFlaw),
    #[error(
        "The request did not come in time; limits.head_time, body_time, body_rate and piece_time say how long it may take."
    )]
    Slow,
    #[error(
        "The request came slowly, and its place was needed for another address, since all are taken \
         (limits.in_flight, limits.memory). Send it again later."
    )]
    GaveWay,
    #[error("Too many exchanges are under way (limits.in_flight). Send it again later.")]
    Busy,
    #[error(
        "The exchanges under way take all the memory that they may (limits.memory). Send it again later."
    )]
    Memory,
    #[error("Too many connections are open (limits.connections). Send it again later.")]
    Crowded,
    #[error(
        "Too many connections of this address are open (limits.connections_per_address). Send it again later."
    )]
    CrowdedAddress,
    #[error("The notification of this message cannot be stored now. Send it again later.")]
    NotStored,
    #[error("{0} cannot be reached. Send it again later.")]
    Unreachable(OtherSide),
    #[error("{0} sent no response in time. Send it again later.")]
    NoResponse(OtherSide),
    #[error("{0} closed the connection without a response. Send it again later.")]
    Closed(OtherSide),
    #[error("{0} sent a response that could not be read.")]
    BadResponse(OtherSide),
    #[error("The name {host} of the partner cannot be resolved: {reason}.")]
    Unresolved { host: String, reason: String },
    #[error("The name {host} of the partner was not resolved in time.")]
    Unresolving { host: String },
    #[error(
        "CONNECT is not served: the gateway could not see the message. Send to /out/<AS2 id of the partner> \
         on this listener instead, with plain HTTP; the gateway speaks TLS to the partner."
    )]
    Connect,
    #[error(
        "This is no open proxy: the target is neither the url nor one of the mdn_urls of a partner in the \
         config."
    )]
    Foreign,
    #[error(
        "Browsers are not served: the request has Origin or Sec-Fetch headers, so a web page made it, and not \
         your AS2 server."
    )]
    Browser,
    #[error("The request's Host is none of listen.outbound.hosts.")]
    Host,
    #[error("No partner {0:?} is in the config (partners[].as2_id; AS2 ids are case-sensitive).")]
    NoPartner(String),
    #[error("The partner {0:?} has no url in the config (partners[].url).")]
    NoUrl(String),
    #[error("The request names no partner: send to /out/<AS2 id>, or with an AS2-To header.")]
    NoRecipient,
    #[error("The request could not be read.")]
    BadRequest,
    #[error("The gateway failed on this request.")]
    Internal,
}

/// The other side of the gateway, as its responses call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OtherSide {
    Receiver,
    Partner,
}

// === impl OtherSide ===

impl OtherSide {
    pub(crate) fn of(direction: Direction) -> Self {
        match direction {
            Direction::Inbound => Self::Receiver,
            Direction::Outbound => Self::Partner,
        }
    }
}

impl fmt::Display for OtherSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Receiver => "The AS2 server",
            Self::Partner => "The partner",
        })
    }
}

impl From<LimitReached> for Rejection {
    fn from(full: LimitReached) -> Self {
        match full {
            LimitReached::All => Self::Crowded,
            LimitReached::Address => Self::CrowdedAddress,
        }
    }
}

impl From<GaveWay> for Rejection {
    fn from(_: GaveWay) -> Self {
        Self::GaveWay
    }
}

// === impl Rejection ===

impl Rejection {
    /// The HTTP status.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Head(flaw) => flaw.status(),
            Self::HeadTooLarge { .. } => 431,
            Self::BodyTooLarge { .. } => 413,
            Self::Target | Self::Chunk(_) | Self::BadRequest => 400,
            Self::Slow | Self::GaveWay => 408,
            Self::Busy | Self::Memory | Self::Crowded | Self::CrowdedAddress | Self::NotStored => {
                503
            }
            Self::Unreachable(_)
            | Self::Closed(_)
            | Self::BadResponse(_)
            | Self::Unresolved { .. } => 502,
            Self::NoResponse(_) | Self::Unresolving { .. } => 504,
            Self::Foreign | Self::Browser | Self::Host => 403,
            Self::NoPartner(_) | Self::NoUrl(_) | Self::NoRecipient => 404,
            Self::Connect => 405,
            Self::Internal => 500,
        }
    }

    /// The word for it in metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Head(_) | Self::Target | Self::Chunk(_) | Self::BadRequest => "malformed",
            Self::HeadTooLarge { .. } => "header",
            Self::BodyTooLarge { .. } => "body",
            Self::Slow => "slow",
            Self::GaveWay => "gave_way",
            Self::Busy => "in_flight",
            Self::Memory => "memory",
            Self::Crowded => "connections",
            Self::CrowdedAddress => "connections_per_address",
            Self::NotStored => "not_stored",
            Self::Unreachable(_) | Self::Unresolved { .. } => "unreachable",
            Self::NoResponse(_) | Self::Unresolving { .. } => "no_answer",
            Self::Closed(_) | Self::BadResponse(_) => "bad_answer",
            Self::Connect
            | Self::Foreign
            | Self::NoPartner(_)
            | Self::NoUrl(_)
            | Self::NoRecipient => "no_partner",
            Self::Browser | Self::Host => "forbidden",
            Self::Internal => "internal",
        }
    }

    /// Ends the exchange from within a Pingora hook; [`Rejection::of`] finds it again.
    pub(crate) fn into_error(self) -> Box<Error> {
        Error::because(ErrorType::HTTPStatus(self.status()), "rejected", self)
    }

    /// The response to an error that ended an exchange. `None`: the partner is gone.
    pub(crate) fn of(error: &Error, direction: Direction) -> Option<Self> {
        let far = OtherSide::of(direction);
        if let Some(rejection) = error.root_cause().downcast_ref::<Self>() {
            return Some(rejection.clone());
        }
        let cause = error.root_cause().downcast_ref::<io::Error>();
        let kind = cause.map(io::Error::kind);
        let chunk = within::<ChunkFlaw>(error);
        if within::<GaveWay>(error).is_some() {
            return Some(Self::GaveWay);
        }
        if within::<NoResponse>(error).is_some() {
            return Some(Self::NoResponse(far));
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
                Some(Self::NoResponse(far))
            }
            (
                ErrorSource::Upstream,
                ErrorType::ConnectTimedout
                | ErrorType::ConnectRefused
                | ErrorType::ConnectNoRoute
                | ErrorType::ConnectError
                | ErrorType::BindError
                | ErrorType::AcceptError
                | ErrorType::SocketError
                | ErrorType::TLSHandshakeFailure
                | ErrorType::TLSHandshakeTimedout
                | ErrorType::InvalidCert
                | ErrorType::HandshakeError,
            ) => Some(Self::Unreachable(far)),
            (ErrorSource::Upstream, _) if upstream::has_no_response(error) => {
                Some(Self::Closed(far))
            }
            (ErrorSource::Upstream, _) => Some(Self::BadResponse(far)),
            _ => Some(Self::Internal),
        }
    }

    /// The whole response, for a connection that Pingora has not got.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let status = http::StatusCode::from_u16(self.status()).unwrap_or_default();
        let reason = status.canonical_reason().unwrap_or_default();
        let text = format!("as2hook: {self}\n");
        let later = if self.status() == 503 { RETRY_AFTER } else { "" };
        format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
             {later}Connection: close\r\n\r\n{text}",
            status.as_u16(),
            text.len(),
        )
        .into_bytes()
    }

    /// Sends it, and closes the connection behind it.
    pub(crate) async fn send(&self, session: &mut Session) -> pingora::Result<()> {
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

/// When to try again.
const RETRY_AFTER: &str = "Retry-After: 30\r\n";

/// Which stage of an exchange an error belongs to, for `X-Send-Error`.
pub(crate) fn stage_of(error: &Error) -> Stage {
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
    match error.etype() {
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
