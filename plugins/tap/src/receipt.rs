//! Receipts: what a message asks for, and what an MDN makes of it (RFC 4130 section 7).

use as2hook_as2::{
    ContentKind, Decoded, ErrorCode, Headers, MessageMic, MicComparison, ProcessingError,
    SignatureStatus, mic,
};
use as2hook_event::{SendError, Stage};
use bytes::Bytes;

use super::ResponseHead;
use crate::memory::{Memory, Share};

/// An MDN is a few kilobytes, and may return the message that it is about. A larger response is not looked
/// into.
const RESPONSE_MAX: usize = 16 << 20;

/// So much of a response costs no more than what is counted for its exchange.
const COUNTED: usize = 256 * 1024;

/// How much memory is taken at once for more than that.
const STEP: u64 = 1 << 20;

/// The body of a response, as far as it may be an MDN.
#[derive(Debug, Default)]
pub(super) struct ResponseBody {
    bytes: Vec<u8>,
    /// The memory beyond what is counted for the exchange, in bytes.
    more: u64,
    share: Option<Share>,
    /// It is not kept.
    given_up: bool,
    /// It is not kept although it may be an MDN: why.
    unread: Option<&'static str>,
}

// === impl ResponseBody ===

impl ResponseBody {
    /// Adds a piece. Of a response that cannot be an MDN no more is kept than costs nothing.
    pub(super) fn push(
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
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Why it is not known whether there is an MDN in it.
    pub(super) fn unread(&self) -> Option<&'static str> {
        self.unread
    }

    fn give_up(&mut self, unread: Option<&'static str>) {
        *self = Self { given_up: true, unread, ..Self::default() };
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

/// The receipt that a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MdnRequest {
    /// When it is to come.
    pub(super) when: MdnMode,
    /// Whether it is to be signed.
    pub(super) signed: bool,
}

/// When a receipt is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MdnMode {
    /// None is asked for.
    Never,
    /// In the response.
    InResponse,
    /// On a connection of its own.
    Later,
}

/// What a receipt is held against.
#[derive(Clone, Copy, Debug)]
pub(super) struct MdnExpectation<'a> {
    /// Whether it was to be signed.
    pub(super) signed: bool,
    /// Whether the partner has certificates in the config.
    pub(super) has_certificates: bool,
    /// Whether one in a response counts although it is not signed (`mdn: any`).
    pub(super) accepts_unsigned: bool,
    /// `Message-ID` of the message.
    pub(super) message_id: Option<&'a str>,
    /// The MICs of what was sent, where it could be seen.
    pub(super) mics: &'a [MessageMic],
}

/// What the decoder made of a response.
#[derive(Clone, Debug, Default)]
pub(super) struct MdnDecode {
    /// The MDN in it.
    pub(super) mdn: Option<Decoded>,
    /// Its MIME entity, where that is kept: without the response's content coding.
    pub(super) entity: Option<Bytes>,
    /// Why there may be one although none was found.
    pub(super) errors: Vec<ProcessingError>,
    /// Why none was looked for.
    pub(super) unread: Option<&'static str>,
}

// === impl MdnDecode ===

impl MdnDecode {
    /// Out of a response with this head.
    pub(super) fn of(head: &ResponseHead, decoded: Decoded) -> Self {
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
    pub(super) fn doubt(&self) -> Option<String> {
        let unread = self.unread.map(str::to_owned);
        let failed = || {
            let error = self.errors.first()?;
            Some(format!("The response cannot be decoded ({})", error.message))
        };
        unread.or_else(failed)
    }
}

// === impl MdnRequest ===

impl MdnRequest {
    /// By the message's headers.
    pub(super) fn of(headers: &Headers) -> Self {
        let when = if headers.get("Disposition-Notification-To").is_none() {
            MdnMode::Never
        } else if headers.all("Receipt-Delivery-Option").any(|url| !url.trim_ascii().is_empty()) {
            MdnMode::Later
        } else {
            MdnMode::InResponse
        };
        let options = headers.text("Disposition-Notification-Options");
        let signed = when != MdnMode::Never
            && options.is_some_and(|options| {
                options.to_ascii_lowercase().contains("signed-receipt-protocol")
            });
        Self { when, signed }
    }
}

// === impl MdnExpectation ===

impl MdnExpectation<'_> {
    /// How the MDN's MIC stands towards those of the message.
    pub(super) fn compare_mic(&self, mdn: &Decoded) -> MicComparison {
        let theirs = mdn.mdn.as_ref().and_then(|mdn| mdn.mic.as_deref());
        theirs.map_or(MicComparison::Unknown, |theirs| mic::compare(self.mics, theirs))
    }

    /// Whether anything may be believed that the MDN says. Where a signed one was asked for, any sender
    /// could have made another.
    pub(super) fn trusts(&self, mdn: &Decoded) -> bool {
        match mdn.signature_status {
            Some(SignatureStatus::Valid) => true,
            Some(
                SignatureStatus::UnknownCertificate
                | SignatureStatus::Unsupported
                | SignatureStatus::Unsigned,
            ) => !self.signed,
            Some(SignatureStatus::Invalid | SignatureStatus::OtherCertificate) | None => false,
        }
    }

    /// Code 900 for an MDN that is not believed, unless its decoder said so already.
    pub(super) fn distrust(&self, mdn: &Decoded) -> Option<ProcessingError> {
        let known = mdn.errors.iter().any(|error| error.code == ErrorCode::Signature);
        (!known && !self.trusts(mdn))
            .then(|| ProcessingError::new(ErrorCode::Signature, unverified(mdn)))
    }

    /// Whether an MDN in a response counts as far as its signature goes.
    pub(super) fn counts_in_response(&self, mdn: &Decoded) -> bool {
        match mdn.signature_status {
            Some(SignatureStatus::Valid) => true,
            // Without any certificate of the partner there is nothing to verify it by; it came on the
            // connection that we made, so no other sender made it.
            Some(SignatureStatus::UnknownCertificate | SignatureStatus::Unsupported) => {
                !self.signed || !self.has_certificates || self.accepts_unsigned
            }
            Some(SignatureStatus::Unsigned) => !self.signed || self.accepts_unsigned,
            Some(SignatureStatus::Invalid | SignatureStatus::OtherCertificate) => false,
            None => !self.signed,
        }
    }

    /// Whether an MDN that came in the response is the one that was to come later: what it says holds then, and no
    /// other is waited for.
    pub(super) fn came_early(&self, mdn: &Decoded) -> bool {
        self.counts_in_response(mdn) && self.is_about(mdn)
    }

    /// What speaks against a message that got this MDN in its response.
    pub(super) fn objection(&self, mdn: &Decoded) -> Option<SendError> {
        let is_forged = matches!(
            mdn.signature_status,
            Some(SignatureStatus::Invalid | SignatureStatus::OtherCertificate)
        );
        if is_forged {
            return Some(error(Stage::Signature, unverified(mdn)));
        }
        let refused = self.refusal(mdn);
        if refused.as_ref().is_some_and(|refused| refused.stage == Stage::Mdn) {
            return refused;
        }
        if !self.counts_in_response(mdn) {
            return Some(error(Stage::Signature, unverified(mdn)));
        }
        refused
    }

    /// What an MDN says against its message: it is negative, about another, or of another MIC.
    pub(super) fn refusal(&self, mdn: &Decoded) -> Option<SendError> {
        let fields = mdn.mdn.as_ref()?;
        if fields.error {
            let disposition = fields.disposition.as_deref().unwrap_or("it has no disposition");
            return Some(error(Stage::Mdn, format!("The MDN is negative: {disposition}")));
        }
        if !self.is_about(mdn) {
            let text = "The MDN in the response is about another message";
            return Some(error(Stage::Mdn, text.to_owned()));
        }
        (self.compare_mic(mdn) == MicComparison::Different).then(|| {
            let theirs = fields.mic.as_deref().unwrap_or_default();
            let ours: Vec<_> = self.mics.iter().map(|own| own.mic.as_str()).collect();
            let ours = ours.join(" or ");
            let what = match mic::is_readable(theirs) {
                true => format!("The MDN's MIC is {theirs}"),
                false => format!("The MDN's MIC {theirs} cannot be read"),
            };
            error(Stage::Mic, format!("{what}, the message's is {ours}"))
        })
    }

    /// Whether it names no other message.
    fn is_about(&self, mdn: &Decoded) -> bool {
        let fields = mdn.mdn.as_ref();
        let about =
            fields.and_then(|fields| fields.original_message_id.as_deref()).map(comparable_id);
        about.is_none() || about == self.message_id.map(comparable_id)
    }
}

/// A Message-ID without its brackets and without blanks: some servers leave out the brackets, others fold
/// a long id in their MDN.
pub(super) fn comparable_id(message_id: &str) -> String {
    let id = message_id.trim();
    let id = id.strip_prefix('<').and_then(|id| id.strip_suffix('>')).unwrap_or(id);
    id.split_whitespace().collect()
}

/// The headers of a response for the decoder; `from` and `to` are whose its MDN has to be, whatever they
/// say themselves.
pub(super) fn headers_of(head: &ResponseHead, from: &str, to: &str) -> Headers {
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

fn unverified(mdn: &Decoded) -> String {
    let what = match mdn.signature_status {
        Some(SignatureStatus::OtherCertificate) => {
            "is signed by another certificate than the partner's"
        }
        Some(SignatureStatus::UnknownCertificate) => {
            "cannot be verified: no certificate of the partner is in the config"
        }
        Some(SignatureStatus::Unsupported) => "cannot be verified: its signature is not supported",
        Some(SignatureStatus::Unsigned) | None => {
            "is not signed, although a signed one was asked for"
        }
        Some(SignatureStatus::Invalid | SignatureStatus::Valid) => "has an invalid signature",
    };
    format!("The MDN {what}")
}

fn error(stage: Stage, message: String) -> SendError {
    SendError { stage, http_status: None, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mdn(status: SignatureStatus) -> Decoded {
        let decoder = as2hook_as2::Decoder::new(
            &Headers::new(),
            std::sync::Arc::default(),
            as2hook_as2::Options::default(),
        );
        let mut decoded = decoder.finish(true, &mut ());
        decoded.signature_status = Some(status);
        decoded.mdn = Some(as2hook_as2::Mdn::default());
        decoded
    }

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
    fn unverified_mdn_is_objected_to_where_the_partner_has_certificates() {
        let expected = |signed, has_certificates, accepts_unsigned| MdnExpectation {
            signed,
            has_certificates,
            accepts_unsigned,
            message_id: None,
            mics: &[],
        };
        let stage = |status, signed, has_certificates| {
            let expected = expected(signed, has_certificates, false);
            expected.objection(&mdn(status)).map(|error| error.stage)
        };
        for status in SignatureStatus::ALL {
            let is_valid = status == SignatureStatus::Valid;
            assert_eq!(stage(status, true, true), (!is_valid).then_some(Stage::Signature));
        }
        for status in [SignatureStatus::UnknownCertificate, SignatureStatus::Unsupported] {
            assert_eq!(stage(status, true, false), None);
            assert_eq!(stage(status, false, true), None);
        }
        for status in SignatureStatus::ALL {
            let is_wrong =
                [SignatureStatus::Invalid, SignatureStatus::OtherCertificate].contains(&status);
            let objection = expected(true, true, true).objection(&mdn(status));
            assert_eq!(objection.is_some(), is_wrong, "{status:?} where any is accepted");
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

    #[test]
    fn message_ids_are_compared_without_brackets() {
        assert_eq!(comparable_id(" <a@c> "), "a@c");
        assert_eq!(comparable_id("a@c"), "a@c");
        assert_eq!(comparable_id("<a@c"), "<a@c");
    }

    #[test]
    fn message_ids_are_compared_without_blanks() {
        for id in ["<a b@c>", "<a\r\n b@c>", "< a\tb@c >", " a b @c "] {
            assert_eq!(comparable_id(id), "ab@c");
        }
        assert_eq!(comparable_id("<\"a b\"@c>"), "\"ab\"@c");
    }

    #[test]
    fn a_wish_stands_in_three_headers() {
        let wish = |block: &str| MdnRequest::of(&Headers::parse(block.as_bytes()));
        let to = "Disposition-Notification-To: x\n";
        let options =
            "Disposition-Notification-Options: Signed-Receipt-Protocol=optional, pkcs7-signature\n";
        let option = "Receipt-Delivery-Option: http://a/\n";
        assert_eq!(wish(""), MdnRequest { when: MdnMode::Never, signed: false });
        assert_eq!(wish(option), MdnRequest { when: MdnMode::Never, signed: false });
        assert_eq!(wish(to), MdnRequest { when: MdnMode::InResponse, signed: false });
        let signed = format!("{to}{options}");
        assert_eq!(wish(&signed), MdnRequest { when: MdnMode::InResponse, signed: true });
        let later = format!("{to}{option}{options}");
        assert_eq!(wish(&later), MdnRequest { when: MdnMode::Later, signed: true });
        for empty in ["", " ", "\t"] {
            let empty = format!("{to}Receipt-Delivery-Option:{empty}\n");
            assert_eq!(wish(&empty), MdnRequest { when: MdnMode::InResponse, signed: false });
            assert_eq!(wish(&format!("{empty}{option}")).when, MdnMode::Later);
        }
    }
}
