//! What an exchange begins with, and what its response begins with.

use std::net::IpAddr;

use as2hook_as2::Headers;
use as2hook_event::{Direction, bounds};

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

/// The head of a response that passes.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// The HTTP status; interim ones (1xx) are not responses.
    pub status: u16,
    /// Every header as it came.
    pub headers: Headers,
}

/// The AS2 ids of both sides, as they are kept: one that is longer than allowed is cut, and then no partner's
/// of the config.
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
        let name = |field| Some(bounds::as2_name(&self.headers.as2_name(field)?).into_owned());
        let (from, to) = (name("AS2-From")?, name("AS2-To")?);
        Some(match self.direction {
            Direction::Inbound => Parties { partner: from, station: to },
            Direction::Outbound => Parties { partner: to, station: from },
        })
    }
}

// === impl ResponseHead ===

impl ResponseHead {
    /// Whether the other side took the request.
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use as2hook_as2::{Decoder, Options};

    use super::*;

    #[test]
    fn parties_are_those_that_the_decoder_reads() {
        for (name, id) in [
            (r#""a\b""#, r"a\b"),
            (r#""a\\b""#, r"a\b"),
            (r#""a\"b""#, r#"a"b"#),
            (r#""a b\""#, r"a b\"),
            (r"a\b", r"a\b"),
            (r#"" a ""#, " a "),
        ] {
            let block = format!("AS2-From: {name}\nAS2-To: US\n");
            let head = RequestHead {
                direction: Direction::Inbound,
                method: "POST".to_owned(),
                peer: None,
                headers: Headers::parse(block.as_bytes()),
            };
            let parties = head.parties().unwrap();
            assert_eq!(parties.partner, id, "{name}");
            let decoder = Decoder::new(&head.headers, Arc::default(), Options::default());
            assert_eq!(decoder.finish(true, &mut ()).sender_id.as_deref(), Some(id), "{name}");
        }
    }
}
