//! Receipts: what a message asks for, and what an MDN makes of it (RFC 4130 section 7).

use as2hook_as2::{Decoded, Decoder, ErrorCode, Headers, Kind, ProcessingError, SignatureStatus};
use as2hook_webhooks::{SendError, Stage};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::AnswerHead;
use crate::snapshot::Snapshot;

/// An MDN is a few kilobytes; a larger answer is not looked into.
pub(super) const ANSWER_MAX: usize = 256 * 1024;

/// The receipt that a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// When it is to come.
    pub(super) when: When,
    /// Whether it is to be signed.
    pub(super) signed: bool,
}

/// When a receipt is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// None is asked for.
    Never,
    /// In the answer.
    InAnswer,
    /// On a connection of its own.
    Later,
}

/// What a receipt is held against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    /// Whether it was to be signed.
    pub(super) signed: bool,
    /// `Message-ID` of the message.
    pub(super) message_id: Option<&'a str>,
    /// The MIC of what was sent, where it could be seen.
    pub(super) mic: Option<&'a str>,
}

// === impl Wish ===

impl Wish {
    /// By the message's headers.
    pub(super) fn of(headers: &Headers) -> Self {
        let when = if headers.get("Disposition-Notification-To").is_none() {
            When::Never
        } else if headers.get("Receipt-Delivery-Option").is_some() {
            When::Later
        } else {
            When::InAnswer
        };
        let options = headers.text("Disposition-Notification-Options");
        let signed = when != When::Never
            && options.is_some_and(|options| {
                options.to_ascii_lowercase().contains("signed-receipt-protocol")
            });
        Self { when, signed }
    }
}

// === impl Expected ===

impl Expected<'_> {
    /// Whether the MDN's MIC is that of the message. `None`: one of them is not known, or they are
    /// made by different algorithms.
    pub(super) fn mic_matches(&self, mdn: &Decoded) -> Option<bool> {
        is_same_mic(self.mic?, mdn.mdn.as_ref()?.mic.as_deref()?)
    }

    /// Whether anything may be believed that the MDN says. Where a signed one was asked for, anybody
    /// could have made another.
    pub(super) fn trusts(&self, mdn: &Decoded) -> bool {
        match mdn.signature_status {
            Some(SignatureStatus::Valid) => true,
            Some(SignatureStatus::UnknownCertificate | SignatureStatus::Unsigned) => !self.signed,
            Some(SignatureStatus::Invalid | SignatureStatus::OtherCertificate) | None => false,
        }
    }

    /// Code 900 for an MDN that is not believed, unless its decoder said so already.
    pub(super) fn distrust(&self, mdn: &Decoded) -> Option<ProcessingError> {
        let known = mdn.errors.iter().any(|error| error.code == ErrorCode::Signature);
        (!known && !self.trusts(mdn))
            .then(|| ProcessingError::new(ErrorCode::Signature, unverified(mdn)))
    }

    /// What speaks against a message that got this MDN in its answer.
    pub(super) fn objection(&self, mdn: &Decoded) -> Option<SendError> {
        let is_forged = matches!(
            mdn.signature_status,
            Some(SignatureStatus::Invalid | SignatureStatus::OtherCertificate)
        );
        // Without any certificate of the partner there is nothing to verify it by; it came on the
        // connection that we made, so it is not anybody's.
        let is_unsigned =
            self.signed && matches!(mdn.signature_status, Some(SignatureStatus::Unsigned) | None);
        if is_forged {
            return Some(error(Stage::Signature, unverified(mdn)));
        }
        let refused = self.refusal(mdn);
        if refused.as_ref().is_some_and(|refused| refused.stage == Stage::Mdn) {
            return refused;
        }
        if is_unsigned {
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
        let about = fields.original_message_id.as_deref().map(bare);
        if about.is_some() && about != self.message_id.map(bare) {
            let text = "The MDN in the answer is about another message";
            return Some(error(Stage::Mdn, text.to_owned()));
        }
        (self.mic_matches(mdn) == Some(false)).then(|| {
            let (ours, theirs) = (self.mic.unwrap_or_default(), fields.mic.as_deref());
            let theirs = theirs.unwrap_or_default();
            error(Stage::Mic, format!("The MDN's MIC is {theirs}, the message's is {ours}"))
        })
    }
}

/// A Message-ID without its brackets and the blanks around it: not everybody echoes them.
pub(super) fn bare(message_id: &str) -> &str {
    let id = message_id.trim();
    id.strip_prefix('<').and_then(|id| id.strip_suffix('>')).unwrap_or(id).trim()
}

/// The MDN in an answer, when there is one; `from` and `to` are whose it has to be, whatever its
/// headers say.
pub(super) fn in_answer(
    head: &AnswerHead,
    body: &[u8],
    from: &str,
    to: &str,
    snapshot: &Snapshot,
) -> Option<Decoded> {
    if body.is_empty() || body.len() > ANSWER_MAX {
        return None;
    }
    let mut headers = Headers::new();
    for field in &head.headers {
        let name = field.name.as_str();
        if !name.eq_ignore_ascii_case("AS2-From") && !name.eq_ignore_ascii_case("AS2-To") {
            headers.push(name, field.value.clone());
        }
    }
    headers.push("AS2-From", from);
    headers.push("AS2-To", to);
    let config = &snapshot.config;
    let mut decoder = Decoder::new(&headers, config.keyring.clone(), config.decode_options());
    decoder.push(body, &mut ());
    let decoded = decoder.finish(true, &mut ());
    (decoded.kind == Kind::Mdn).then_some(decoded)
}

fn unverified(mdn: &Decoded) -> String {
    let what = match mdn.signature_status {
        Some(SignatureStatus::OtherCertificate) => {
            "is signed by another certificate than the partner's"
        }
        Some(SignatureStatus::UnknownCertificate) => {
            "cannot be verified: no certificate of the partner is in the config"
        }
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

/// `None`: made by different algorithms, or not to be read.
fn is_same_mic(ours: &str, theirs: &str) -> Option<bool> {
    let (our_sum, our_algorithm) = parts(ours)?;
    let (their_sum, their_algorithm) = parts(theirs)?;
    if their_algorithm.is_empty() {
        return (our_sum.len() == their_sum.len()).then(|| our_sum == their_sum);
    }
    (our_algorithm == their_algorithm).then(|| our_sum == their_sum)
}

/// The sum, and the algorithm in one spelling for all: partners write `sha-256`, `SHA256`, `sha_256`.
fn parts(mic: &str) -> Option<(Vec<u8>, String)> {
    let (sum, algorithm) = mic.split_once(',').unwrap_or((mic, ""));
    let sum: String = sum.chars().filter(|c| !c.is_whitespace()).collect();
    let algorithm = algorithm
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    Some((STANDARD.decode(sum).ok()?, algorithm))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mics_are_compared_by_what_they_say() {
        assert_eq!(is_same_mic("AAEC, sha-256", "AAEC, SHA256"), Some(true));
        assert_eq!(is_same_mic("AAEC, sha-256", " AA EC ,\"sha-256\""), Some(true));
        assert_eq!(is_same_mic("AAEC, sha-256", "AAEC"), Some(true));
        assert_eq!(is_same_mic("AAEC, sha-256", "AAED, sha-256"), Some(false));
        assert_eq!(is_same_mic("AAEC, sha-256", "AAED, sha1"), None);
        assert_eq!(is_same_mic("AAEC, sha-256", "not base64!, sha-256"), None);
    }

    #[test]
    fn message_ids_are_compared_without_brackets() {
        assert_eq!(bare(" <a b@c> "), "a b@c");
        assert_eq!(bare("a@c"), "a@c");
        assert_eq!(bare("<a@c"), "<a@c");
    }

    #[test]
    fn a_wish_stands_in_three_headers() {
        let wish = |block: &str| Wish::of(&Headers::parse(block.as_bytes()));
        let to = "Disposition-Notification-To: x\n";
        let options =
            "Disposition-Notification-Options: Signed-Receipt-Protocol=optional, pkcs7-signature\n";
        let option = "Receipt-Delivery-Option: http://a/\n";
        assert_eq!(wish(""), Wish { when: When::Never, signed: false });
        assert_eq!(wish(option), Wish { when: When::Never, signed: false });
        assert_eq!(wish(to), Wish { when: When::InAnswer, signed: false });
        let signed = format!("{to}{options}");
        assert_eq!(wish(&signed), Wish { when: When::InAnswer, signed: true });
        let later = format!("{to}{option}{options}");
        assert_eq!(wish(&later), Wish { when: When::Later, signed: true });
    }
}
