//! A response: its head, its bytes as far as they may be an MDN, and what the decoder made of them.

use as2hook_as2::{ContentKind, Decoded, ErrorCode, Headers, ProcessingError};
use bytes::Bytes;

use crate::memory::{Memory, Share};

/// An MDN is a few kilobytes, and may return the message that it is about. A larger response is not looked
/// into.
const RESPONSE_MAX: usize = 16 << 20;

/// So much of a response costs no more than what is counted for its exchange.
const COUNTED: usize = 256 * 1024;

/// How much memory is taken at once for more than that.
const STEP: u64 = 1 << 20;

/// The head of a response that passes.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// The HTTP status; interim ones (1xx) are not responses.
    pub status: u16,
    /// Every header as it came.
    pub headers: Headers,
}

/// The body of a response, as far as it may be an MDN.
#[derive(Debug, Default)]
pub(crate) struct ResponseBody {
    bytes: Vec<u8>,
    /// The memory beyond what is counted for the exchange, in bytes.
    more: u64,
    share: Option<Share>,
    /// It is not kept.
    given_up: bool,
    /// It is not kept although it may be an MDN: why.
    unread: Option<&'static str>,
}

/// What the decoder made of a response.
#[derive(Clone, Debug, Default)]
pub(crate) struct MdnDecode {
    /// The MDN in it.
    pub(crate) mdn: Option<Decoded>,
    /// Its MIME entity, where that is kept: without the response's content coding.
    pub(crate) entity: Option<Bytes>,
    /// Why there may be one although none was found.
    pub(crate) errors: Vec<ProcessingError>,
    /// Why none was looked for.
    pub(crate) unread: Option<&'static str>,
}

// === impl ResponseHead ===

impl ResponseHead {
    /// Whether the other side took the request.
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

// === impl ResponseBody ===

impl ResponseBody {
    /// Adds a piece. Of a response that cannot be an MDN no more is kept than costs nothing.
    pub(crate) fn push(
        &mut self,
        head: &ResponseHead,
        piece: &[u8],
        (memory, limit): (&Memory, u64),
    ) {
        if self.given_up {
            return;
        }
        let length = self.bytes.len() + piece.len();
        let more = length.saturating_sub(COUNTED) as u64;
        if more > 0 && !may_be_mdn(head) {
            return self.give_up(None);
        }
        if length > RESPONSE_MAX {
            return self.give_up(Some("The response is larger than 16 MiB"));
        }
        if more > self.more {
            let bytes = (more - self.more).next_multiple_of(STEP);
            let grown = match &mut self.share {
                Some(share) => share.grow(bytes, limit),
                none => {
                    *none = memory.take(bytes, limit);
                    none.is_some()
                }
            };
            if !grown {
                return self.give_up(Some("There was no memory for the response (limits.memory)"));
            }
            self.more += bytes;
        }
        if length > self.bytes.capacity() {
            // A vector would take up to twice of what is counted.
            let counted = COUNTED.saturating_add(usize::try_from(self.more).unwrap_or(usize::MAX));
            let capacity = (2 * self.bytes.capacity()).min(counted).max(length);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
    }

    /// All of it. Nothing where it is not kept.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Why it is not known whether there is an MDN in it.
    pub(crate) fn unread(&self) -> Option<&'static str> {
        self.unread
    }

    fn give_up(&mut self, unread: Option<&'static str>) {
        *self = Self { given_up: true, unread, ..Self::default() };
    }
}

// === impl MdnDecode ===

impl MdnDecode {
    /// Out of a response with this head.
    pub(crate) fn of(head: &ResponseHead, decoded: Decoded) -> Self {
        match decoded.kind {
            ContentKind::Mdn => Self { mdn: Some(decoded), ..Self::default() },
            ContentKind::Message => {
                let is_coded = head.headers.get("Content-Encoding").is_some() && may_be_mdn(head);
                let mut errors = decoded.errors;
                errors.retain(|error| match error.code {
                    ErrorCode::Limit => true,
                    ErrorCode::Parse | ErrorCode::Decompression => is_coded,
                    _ => false,
                });
                Self { errors, ..Self::default() }
            }
        }
    }

    /// Why it is not known whether there is an MDN in the response.
    pub(crate) fn doubt(&self) -> Option<String> {
        let unread = self.unread.map(str::to_owned);
        let failed = || {
            let error = self.errors.first()?;
            Some(format!("The response cannot be decoded ({})", error.message))
        };
        unread.or_else(failed)
    }
}

/// Whether a response of this type may be an MDN: a report, in whatever signature or envelope.
fn may_be_mdn(head: &ResponseHead) -> bool {
    let types = head.headers.all("Content-Type");
    types.into_iter().any(|value| {
        let value = value.to_ascii_lowercase();
        let kinds: [&[u8]; 3] = [b"multipart/", b"pkcs7-mime", b"disposition-notification"];
        kinds.iter().any(|kind| value.windows(kind.len()).any(|part| part == *kind))
    })
}

/// The headers of a response for the decoder; `from` and `to` are whose its MDN has to be, whatever they
/// say themselves.
pub(crate) fn headers_of(head: &ResponseHead, from: &str, to: &str) -> Headers {
    let mut headers = Headers::new();
    for field in &head.headers {
        let name = field.name.as_str();
        // Some proxies double the type of a response.
        let is_copy = name.eq_ignore_ascii_case("Content-Type")
            && headers.all("Content-Type").any(|other| other == field.value.as_slice());
        let is_party = name.eq_ignore_ascii_case("AS2-From") || name.eq_ignore_ascii_case("AS2-To");
        if !is_copy && !is_party {
            headers.push(name, field.value.clone());
        }
    }
    headers.push("AS2-From", from);
    headers.push("AS2-To", to);
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn response_takes_no_more_memory_than_is_counted() {
        let headers = Headers::parse(b"Content-Type: multipart/report\n");
        let head = ResponseHead { status: 200, headers };
        for piece in [1000, 65536, 3 << 20] {
            let (memory, mut body) = (Memory::default(), ResponseBody::default());
            let piece = vec![b'x'; piece];
            while body.bytes().len() + piece.len() <= RESPONSE_MAX {
                body.push(&head, &piece, (&memory, u64::MAX));
                let counted = COUNTED as u64 + memory.used();
                assert!(body.bytes.capacity() as u64 <= counted, "{counted}");
            }
            assert!(body.bytes().len() > RESPONSE_MAX - piece.len());
            assert_eq!(body.unread(), None);
        }
    }

    #[test]
    fn content_type_of_a_response_counts_once_when_it_is_doubled() {
        let types = |block: &[u8]| {
            let head = ResponseHead { status: 200, headers: Headers::parse(block) };
            headers_of(&head, "ACME", "US").all("content-type").count()
        };
        assert_eq!(types(b"Content-Type: a/b\ncontent-type: a/b\n"), 1);
        assert_eq!(types(b"Content-Type: a/b\nContent-Type: a/c\n"), 2);
    }
}
