//! The answers that the gateway gives itself, each with a sentence that says what to do.

use std::{
    fmt,
    io::{self, ErrorKind},
};

use as2hook_webhooks::{Direction, Stage};
use bytes::Bytes;
use http::header;
use pingora::{Error, ErrorSource, ErrorType, http::ResponseHeader, proxy::Session};

use super::{chunks::ChunkFlaw, head::Flaw};

/// Why a request was not passed on, or its answer not passed back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Rejection {
    #[error(transparent)]
    Head(#[from] Flaw),
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
        "The receiver's answer has no Content-Length, and an HTTP/1.0 client cannot read it otherwise. \
         The message was passed on; send with HTTP/1.1 to get the answer."
    )]
    NeedsHttp11,
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
    Unreachable(Far),
    #[error("{0} did not answer in time. Send it again later.")]
    NoAnswer(Far),
    #[error("{0} gave an answer that could not be read.")]
    BadAnswer(Far),
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
    #[error("No partner {0:?} is in the config (partners[].as2_id; AS2 ids are case-sensitive).")]
    NoPartner(String),
    #[error("The partner {0:?} has no url in the config (partners[].url).")]
    NoUrl(String),
    #[error("The request names no partner: send to /out/<AS2 id>, or with an AS2-To header.")]
    Nobody,
    #[error("The request could not be read.")]
    BadRequest,
    #[error("The gateway failed on this request.")]
    Internal,
}

/// The other side of the gateway, as its answers call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Far {
    Receiver,
    Partner,
}

// === impl Far ===

impl Far {
    pub(super) fn of(direction: Direction) -> Self {
        match direction {
            Direction::Inbound => Self::Receiver,
            Direction::Outbound => Self::Partner,
        }
    }
}

impl fmt::Display for Far {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Receiver => "The AS2 server",
            Self::Partner => "The partner",
        })
    }
}

// === impl Rejection ===

impl Rejection {
    /// The HTTP status.
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::Head(flaw) => flaw.status(),
            Self::HeadTooLarge { .. } => 431,
            Self::BodyTooLarge { .. } => 413,
            Self::Target | Self::Chunk(_) | Self::BadRequest => 400,
            Self::Slow => 408,
            Self::NeedsHttp11 => 505,
            Self::Busy | Self::Memory | Self::Crowded | Self::CrowdedAddress | Self::NotStored => {
                503
            }
            Self::Unreachable(_) | Self::BadAnswer(_) | Self::Unresolved { .. } => 502,
            Self::NoAnswer(_) | Self::Unresolving { .. } => 504,
            Self::Foreign => 403,
            Self::NoPartner(_) | Self::NoUrl(_) | Self::Nobody => 404,
            Self::Connect => 405,
            Self::Internal => 500,
        }
    }

    /// The word for it in metrics.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Head(_) | Self::Target | Self::Chunk(_) | Self::BadRequest => "malformed",
            Self::HeadTooLarge { .. } => "header",
            Self::BodyTooLarge { .. } => "body",
            Self::Slow => "slow",
            Self::Busy => "in_flight",
            Self::Memory => "memory",
            Self::Crowded => "connections",
            Self::CrowdedAddress => "connections_per_address",
            Self::NotStored => "not_stored",
            Self::NeedsHttp11 => "http10",
            Self::Unreachable(_) | Self::Unresolved { .. } => "unreachable",
            Self::NoAnswer(_) | Self::Unresolving { .. } => "no_answer",
            Self::BadAnswer(_) => "bad_answer",
            Self::Connect | Self::Foreign | Self::NoPartner(_) | Self::NoUrl(_) | Self::Nobody => {
                "no_partner"
            }
            Self::Internal => "internal",
        }
    }

    /// Ends the exchange from within a Pingora hook; [`Rejection::of`] finds it again.
    pub(super) fn into_error(self) -> Box<Error> {
        Error::because(ErrorType::HTTPStatus(self.status()), "rejected", self)
    }

    /// What to answer to an error that ended an exchange. `None`: the partner is gone.
    pub(super) fn of(error: &Error, direction: Direction) -> Option<Self> {
        let far = Far::of(direction);
        if let Some(rejection) = error.root_cause().downcast_ref::<Self>() {
            return Some(rejection.clone());
        }
        let cause = error.root_cause().downcast_ref::<io::Error>();
        let kind = cause.map(io::Error::kind);
        let chunk = cause.and_then(|cause| cause.get_ref()?.downcast_ref::<ChunkFlaw>());
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
                Some(Self::NoAnswer(far))
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
            (ErrorSource::Upstream, _) => Some(Self::BadAnswer(far)),
            _ => Some(Self::Internal),
        }
    }

    /// The whole answer, for a connection that Pingora has not got.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
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
    pub(super) async fn send(&self, session: &mut Session) -> pingora::Result<()> {
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

/// When to try again, for whoever is told so.
const RETRY_AFTER: &str = "Retry-After: 30\r\n";

/// Which stage of an exchange an error belongs to, for `X-Send-Error`.
pub(super) fn stage_of(error: &Error) -> Stage {
    match error.root_cause().downcast_ref() {
        Some(Rejection::Unresolving { .. }) => return Stage::Timeout,
        Some(
            Rejection::Unreachable(_)
            | Rejection::Unresolved { .. }
            | Rejection::Connect
            | Rejection::Foreign
            | Rejection::NoPartner(_)
            | Rejection::NoUrl(_)
            | Rejection::Nobody,
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
