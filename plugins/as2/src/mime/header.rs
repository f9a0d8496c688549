//! Header blocks: gathered up to the blank line, and told apart from content without a header.

use crate::{
    fault::Fault,
    headers::{Headers, MAX_FIELDS, is_token, parse_lines},
};

/// Gathers a header block.
pub(crate) struct HeaderBlock {
    buffer: Vec<u8>,
    /// Where the line at hand begins in `buffer`.
    line: usize,
    /// What is known of that line, so that none of its bytes is looked at twice.
    shape: Shape,
    known: bool,
    limit: usize,
}

/// What a header line is so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Nothing of it has come.
    Empty,
    /// A field's name.
    Name,
    /// Blanks behind a field's name.
    Blanks,
    /// A field up to its colon, or a fold: the rest may be anything.
    Field,
    /// No field.
    Content,
}

/// Bytes of a small part's header.
const MAX_SMALL: usize = 64 * 1024;

/// What the beginning of an entity turned out to be.
pub(crate) enum Head {
    /// A header block, the blank line included in `raw`.
    Block { headers: Headers, raw: Vec<u8> },
    /// No header: these bytes are content already.
    Missing { raw: Vec<u8> },
}

// === impl HeaderBlock ===

impl HeaderBlock {
    pub(crate) fn new(limit: usize) -> Self {
        Self { buffer: Vec::new(), line: 0, shape: Shape::Empty, known: false, limit }
    }

    /// Takes bytes up to the block's end. The second value is what was not taken.
    pub(crate) fn push<'a>(
        &mut self,
        mut bytes: &'a [u8],
    ) -> Result<(Option<Head>, &'a [u8]), Fault> {
        while !bytes.is_empty() {
            let room = self.limit.saturating_add(1).saturating_sub(self.buffer.len());
            let window = &bytes[..bytes.len().min(room)];
            let line = memchr::memchr(b'\n', window).map_or(window.len(), |at| at + 1);
            self.shape = self.shape.extend(&bytes[..line], self.line == 0);
            self.buffer.extend_from_slice(&bytes[..line]);
            bytes = &bytes[line..];
            if self.buffer.len() > self.limit {
                return if self.known || self.line_is_known() {
                    Err(Fault::Limit { what: "bytes of a MIME header", limit: self.limit as u64 })
                } else {
                    Ok((Some(self.missing()), bytes))
                };
            }
            let is_complete = self.buffer.last() == Some(&b'\n');
            if is_complete && trim_line_end(&self.buffer[self.line..]).is_empty() {
                let head =
                    if self.known || self.line == 0 { self.block()? } else { self.missing() };
                return Ok((Some(head), bytes));
            }
            // A damaged line within a header is passed over; without one this is content.
            if self.shape == Shape::Content && !self.known {
                return Ok((Some(self.missing()), bytes));
            }
            if is_complete {
                self.known |= self.line_is_known();
                self.line = self.buffer.len();
                self.shape = Shape::Empty;
            }
        }
        Ok((None, bytes))
    }

    /// The entity ends within its header.
    pub(crate) fn finish(mut self) -> Result<Head, Fault> {
        self.known |= self.line_is_known();
        if self.known { self.block() } else { Ok(self.missing()) }
    }

    fn line_is_known(&self) -> bool {
        is_known_field(&self.buffer[self.line..])
    }

    fn block(&mut self) -> Result<Head, Fault> {
        let raw = std::mem::take(&mut self.buffer);
        let headers = parse(&raw);
        if headers.len() > MAX_FIELDS {
            return Err(Fault::Limit { what: "fields of a MIME header", limit: MAX_FIELDS as u64 });
        }
        Ok(Head::Block { headers, raw })
    }

    fn missing(&mut self) -> Head {
        Head::Missing { raw: std::mem::take(&mut self.buffer) }
    }
}

// === impl Shape ===

impl Shape {
    /// With more bytes of the line. `is_first`: no line is in front of it that it could fold.
    fn extend(mut self, bytes: &[u8], is_first: bool) -> Self {
        for &byte in bytes {
            self = match (self, byte) {
                (Self::Field | Self::Content, _) => break,
                (Self::Empty, b':') => Self::Content,
                (Self::Empty, b' ' | b'\t') if !is_first => Self::Field,
                (Self::Name | Self::Blanks, b':') => Self::Field,
                (_, b'\n') => Self::Content,
                (_, byte) if byte.is_ascii_whitespace() => Self::Blanks,
                (Self::Empty | Self::Name, byte) if is_token(byte) => Self::Name,
                _ => Self::Content,
            };
        }
        self
    }
}

/// Whether a line begins with a field that MIME entities have, unlike EDI that merely looks so
/// (`UNA:+.? '`).
pub(crate) fn is_known_field(line: &[u8]) -> bool {
    let Some(colon) = line.iter().take(80).position(|&b| b == b':') else { return false };
    let name = line[..colon].trim_ascii_end().to_ascii_lowercase();
    const PREFIXES: [&[u8]; 7] =
        [b"content-", b"mime-", b"x-", b"as2-", b"disposition-", b"ediint-", b"receipt-"];
    const NAMES: [&[u8]; 12] = [
        b"date",
        b"from",
        b"to",
        b"subject",
        b"message-id",
        b"received",
        b"reply-to",
        b"sender",
        b"user-agent",
        b"server",
        b"recipient-address",
        b"importance",
    ];
    PREFIXES.iter().any(|p| name.len() > p.len() && name.starts_with(p))
        || NAMES.contains(&name.as_slice())
}

/// Header and body of a small part; without a header all of it is the body.
pub(crate) fn split(part: &[u8]) -> (Headers, &[u8]) {
    match HeaderBlock::new(MAX_SMALL).push(part) {
        Ok((Some(Head::Block { headers, .. }), body)) => (headers, body),
        _ => (Headers::new(), part),
    }
}

/// Parses a header block leniently: lines that are no fields are passed over, and so is what follows
/// one field more than a block may have.
pub(crate) fn parse(block: &[u8]) -> Headers {
    parse_lines(block.split(|&b| b == b'\n'))
}

fn trim_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}
