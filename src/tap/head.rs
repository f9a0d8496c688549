//! What an exchange begins with, and what its answer begins with.

use std::net::IpAddr;

use as2hook_as2::Headers;
use as2hook_webhooks::Direction;

/// The head of a request that passes.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// Which listener it came in on.
    pub direction: Direction,
    /// The request's method.
    pub method: String,
    /// The partner's address, where it is known.
    pub peer: Option<IpAddr>,
    /// Every header as it came.
    pub headers: Headers,
}

/// The head of an answer that passes.
#[derive(Clone, Debug)]
pub struct AnswerHead {
    /// The HTTP status; interim ones (1xx) are not answers.
    pub status: u16,
    /// Every header as it came.
    pub headers: Headers,
}

/// Who talks to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parties {
    /// AS2 id of the remote side.
    pub partner: String,
    /// AS2 id of our side.
    pub station: String,
}

// === impl RequestHead ===

impl RequestHead {
    /// Who talks to whom, when this is an AS2 request: a POST with `AS2-From` and `AS2-To`.
    pub(super) fn parties(&self) -> Option<Parties> {
        if self.method != "POST" {
            return None;
        }
        let from = self.headers.as2_name("AS2-From")?;
        let to = self.headers.as2_name("AS2-To")?;
        Some(match self.direction {
            Direction::Inbound => Parties { partner: from, station: to },
            Direction::Outbound => Parties { partner: to, station: from },
        })
    }
}

// === impl AnswerHead ===

impl AnswerHead {
    /// Whether the other side took the request.
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}
