//! Receipts: what a message asks for, and what an MDN makes of it (RFC 4130 section 7).

use as2hook_as2::{
    Decoded, ErrorCode, Headers, MessageMic, MicComparison, ProcessingError, SignatureStatus, mic,
};
use as2hook_event::{SendError, Stage};

/// The receipt that a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MdnRequest {
    /// When it is to come.
    pub(crate) when: MdnMode,
    /// Whether it is to be signed.
    pub(crate) signed: bool,
}

/// When a receipt is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MdnMode {
    /// None is asked for.
    Never,
    /// In the response.
    InResponse,
    /// On a connection of its own.
    Later,
}

/// What a receipt is held against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MdnExpectation<'a> {
    /// Whether it was to be signed.
    pub(crate) signed: bool,
    /// Whether the partner has certificates in the config.
    pub(crate) has_certificates: bool,
    /// Whether one in a response counts although it is not signed (`mdn: any`).
    pub(crate) accepts_unsigned: bool,
    /// `Message-ID` of the message.
    pub(crate) message_id: Option<&'a str>,
    /// The MICs of what was sent, where it could be seen.
    pub(crate) mics: &'a [MessageMic],
}

// === impl MdnRequest ===

impl MdnRequest {
    /// By the message's headers.
    pub(crate) fn of(headers: &Headers) -> Self {
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
    pub(crate) fn compare_mic(&self, mdn: &Decoded) -> MicComparison {
        let theirs = mdn.mdn.as_ref().and_then(|mdn| mdn.mic.as_deref());
        theirs.map_or(MicComparison::Unknown, |theirs| mic::compare(self.mics, theirs))
    }

    /// Whether anything may be believed that the MDN says. Where a signed one was asked for, any sender
    /// could have made another.
    pub(crate) fn trusts(&self, mdn: &Decoded) -> bool {
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
    pub(crate) fn distrust(&self, mdn: &Decoded) -> Option<ProcessingError> {
        let known = mdn.errors.iter().any(|error| error.code == ErrorCode::Signature);
        (!known && !self.trusts(mdn))
            .then(|| ProcessingError::new(ErrorCode::Signature, unverified(mdn)))
    }

    /// Whether an MDN in a response counts as far as its signature goes.
    pub(crate) fn counts_in_response(&self, mdn: &Decoded) -> bool {
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
    pub(crate) fn came_early(&self, mdn: &Decoded) -> bool {
        self.counts_in_response(mdn) && self.is_about(mdn)
    }

    /// What speaks against a message that got this MDN in its response.
    pub(crate) fn objection(&self, mdn: &Decoded) -> Option<SendError> {
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
    pub(crate) fn refusal(&self, mdn: &Decoded) -> Option<SendError> {
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
pub(crate) fn comparable_id(message_id: &str) -> String {
    let id = message_id.trim();
    let id = id.strip_prefix('<').and_then(|id| id.strip_suffix('>')).unwrap_or(id);
    id.split_whitespace().collect()
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
