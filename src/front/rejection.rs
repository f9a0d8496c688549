//! The responses that the gateway gives itself, each with a sentence that says what to do.

use as2hook_event::Direction;

use super::{
    chunks::ChunkFlaw, connection_limiter::LimitReached, head::HeadError, in_flight::GaveWay,
};

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
    GaveWay(#[from] GaveWay),
    #[error("Too many exchanges are under way (limits.in_flight). Send it again later.")]
    Busy,
    #[error(
        "The exchanges under way take all the memory that they may (limits.memory). Send it again later."
    )]
    Memory,
    #[error(transparent)]
    Crowded(#[from] LimitReached),
    #[error("The notification of this message cannot be stored now. Send it again later.")]
    NotStored,
    #[error("{} cannot be reached. Send it again later.", other_side(.0))]
    Unreachable(Direction),
    #[error("{} sent no response in time. Send it again later.", other_side(.0))]
    NoResponse(Direction),
    #[error("{} closed the connection without a response. Send it again later.", other_side(.0))]
    Closed(Direction),
    #[error("{} sent a response that could not be read.", other_side(.0))]
    BadResponse(Direction),
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

// === impl Rejection ===

impl Rejection {
    /// The HTTP status.
    pub(crate) fn status(&self) -> u16 {
        self.status_and_reason().0
    }

    /// The word for it in metrics, one of [`crate::observe::REFUSALS`].
    pub(crate) fn reason(&self) -> &'static str {
        self.status_and_reason().1
    }

    /// Whether the AS2 server could not be reached.
    pub(crate) fn is_of_receiver(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Unresolved { .. } | Self::Unresolving { .. })
    }

    fn status_and_reason(&self) -> (u16, &'static str) {
        match self {
            Self::Head(flaw) => (flaw.status(), "malformed"),
            Self::Target | Self::Chunk(_) | Self::BadRequest => (400, "malformed"),
            Self::HeadTooLarge { .. } => (431, "header"),
            Self::BodyTooLarge { .. } => (413, "body"),
            Self::Slow => (408, "slow"),
            Self::GaveWay(_) => (408, "gave_way"),
            Self::Busy => (503, "in_flight"),
            Self::Memory => (503, "memory"),
            Self::Crowded(LimitReached::All) => (503, "connections"),
            Self::Crowded(LimitReached::Address) => (503, "connections_per_address"),
            Self::NotStored => (503, "not_stored"),
            Self::Unreachable(_) | Self::Unresolved { .. } => (502, "unreachable"),
            Self::NoResponse(_) | Self::Unresolving { .. } => (504, "no_answer"),
            Self::Closed(_) | Self::BadResponse(_) => (502, "bad_answer"),
            Self::Connect => (405, "no_partner"),
            Self::Foreign => (403, "no_partner"),
            Self::NoPartner(_) | Self::NoUrl(_) | Self::NoRecipient => (404, "no_partner"),
            Self::Browser | Self::Host => (403, "forbidden"),
            Self::Internal => (500, "internal"),
        }
    }

    /// The whole response, for a connection that Pingora has not got.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let status = http::StatusCode::from_u16(self.status()).unwrap_or_default();
        let reason = status.canonical_reason().unwrap_or_default();
        let text = format!("as2hook: {self}\n");
        let later = if self.status() == 503 { "Retry-After: 30\r\n" } else { "" };
        format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
             {later}Connection: close\r\n\r\n{text}",
            status.as_u16(),
            text.len(),
        )
        .into_bytes()
    }
}

fn other_side(direction: &Direction) -> &'static str {
    match direction {
        Direction::Inbound => "The AS2 server",
        Direction::Outbound => "The partner",
    }
}
