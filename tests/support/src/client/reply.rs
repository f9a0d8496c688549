//! Responses, interim ones included.

use std::borrow::Cow;
use std::io::{self, BufRead, ErrorKind};

use crate::http::{Body, Framing, Head, read_body, read_head};

/// More than any body under test that a client has to look at.
const KEEP: usize = 64 << 20;

/// A response as it came.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The final status.
    pub status: u16,
    /// Status line and fields.
    pub head: Head,
    /// The interim responses that came before it.
    pub interim: Vec<Head>,
    /// How the body was framed.
    pub framing: Framing,
    /// What the body was.
    pub body: Body,
    /// Whether the body came to its end.
    pub complete: bool,
    /// Length and SHA-256 of the request's body as it was sent; no bytes. Empty when it was not sent
    /// to its end, and behind [`Connection::pipeline`](super::Connection::pipeline).
    pub sent: Body,
}

// === impl Reply ===

impl Reply {
    /// The first field of this name as text, if it is UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The body as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body.bytes)
    }

    /// The body as JSON. Panics, with the body, when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body.bytes)
            .unwrap_or_else(|e| panic!("not JSON ({e}): {}", self.text()))
    }
}

/// Reads a response, and the interim ones before it.
pub(super) fn read(
    from: &mut impl BufRead,
    method: &str,
    mut interim: Vec<Head>,
) -> io::Result<Reply> {
    loop {
        let head = read_head(from)?.ok_or_else(|| {
            io::Error::new(ErrorKind::UnexpectedEof, "the connection closed without a response")
        })?;
        let status: u16 = head.word(1).parse().map_err(|_| {
            io::Error::new(ErrorKind::InvalidData, format!("no status line: {}", head.line))
        })?;
        if (100..200).contains(&status) && status != 101 {
            interim.push(head);
            continue;
        }
        let mut framing = Framing::of_response(&head, method);
        let (body, error) = read_body(from, &mut framing, KEEP);
        let complete = error.is_none();
        let sent = Body::default();
        return Ok(Reply { status, head, interim, framing, body, complete, sent });
    }
}

/// Whether an interim response comes next. Consumes nothing.
pub(super) fn peek_interim(from: &mut impl BufRead) -> io::Result<bool> {
    let there = from.fill_buf()?;
    if there.is_empty() {
        return Err(io::Error::new(ErrorKind::UnexpectedEof, "closed instead of an invitation"));
    }
    // A status line comes in one segment on loopback; "HTTP/1.1 1" is enough of it.
    Ok(there.get(9) == Some(&b'1'))
}
