//! What a message or an MDN turned out to be.

use std::fmt;

use as2hook_edi::{Ack, DocumentCount, Edi};
use serde::{Deserialize, Serialize};

use crate::{MessageMic, Warning};

/// The result of a decode, returned by [`crate::Decoder::finish`]. Serialises to the JSON of
/// `as2hook decode`; what is unknown is `null`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decoded {
    /// A message or an MDN, decided from the content.
    pub kind: ContentKind,
    /// `Message-ID` as it came, angle brackets included.
    pub as2_message_id: Option<String>,
    /// `AS2-From`, unquoted.
    pub sender_id: Option<String>,
    /// `AS2-To`, unquoted.
    pub receiver_id: Option<String>,
    /// `Subject`, decoded as file names are.
    pub subject: Option<String>,
    /// Whether any layer was enveloped. `None`: that is not known.
    pub encrypted: Option<bool>,
    /// Whether any layer was signed. `None`: it stands inside a layer that could not be opened.
    pub signed: Option<bool>,
    /// Whether any layer was compressed. `None`: as for `signed`.
    pub compressed: Option<bool>,
    /// Content encryption, such as `aes-256-cbc`.
    pub encryption_algorithm: Option<String>,
    /// Serial of the station certificate whose key opened it, lower-case hex.
    pub decrypted_with: Option<String>,
    /// True, false, or `None` where it cannot be judged.
    pub signature_verified: Option<bool>,
    /// Why `signature_verified` is what it is. `None`: as for `signed`.
    pub signature_status: Option<SignatureStatus>,
    /// Serial of the signer's certificate, lower-case hex.
    pub signer: Option<String>,
    /// The signature's digest, such as `sha-256`.
    pub digest_algorithm: Option<String>,
    /// `"<base64>, sha-256"` over what RFC 4130 section 7.3.1 says.
    pub mic: Option<String>,
    /// The same and, since servers disagree, those of other forms and algorithms that a receipt may
    /// have: for [`crate::mic::compare`].
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub mics: Vec<MessageMic>,
    /// The attachments in order.
    pub attachments: Vec<Attachment>,
    /// How many EDI documents of each type they have.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub documents: Vec<DocumentCount>,
    /// What their documents acknowledge.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub acks: Vec<Ack>,
    /// What went wrong, in the order it was found.
    pub errors: Vec<ProcessingError>,
    /// What is odd and no error, each code once.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// The MDN's fields, when `kind` is [`ContentKind::Mdn`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mdn: Option<Mdn>,
}

/// What the content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContentKind {
    /// Business documents.
    Message,
    /// A message disposition notification: multipart/report inside whatever layers.
    Mdn,
}

/// How a signature stands towards the sender's configured certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureStatus {
    /// Made by a certificate configured for this sender.
    Valid,
    /// By a certificate or a key that is not this sender's, whose certificates are configured; or by
    /// a certificate that is configured for another.
    OtherCertificate,
    /// The digest or the signature is wrong, or the signature cannot be read.
    Invalid,
    /// The sender has no certificate configured to judge it by.
    UnknownCertificate,
    /// Made in a way that cannot be verified here.
    Unsupported,
    /// There is no signature.
    Unsigned,
}

/// One business document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// The sender's file name: decoded, without path and control characters.
    pub name: Option<String>,
    /// Bytes after decoding its Content-Transfer-Encoding.
    pub size: u64,
    /// `Content-Type` as it came, unfolded.
    pub content_type: Option<String>,
    /// Lower-case hex of the decoded bytes.
    pub sha256: String,
    /// Its envelopes. `None`: it is no EDI that is read.
    #[serde(default)]
    pub edi: Option<Edi>,
}

/// The fields of a disposition notification (RFC 8098, RFC 4130 section 7.4).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mdn {
    /// `Original-Message-ID` as it came.
    pub original_message_id: Option<String>,
    /// The whole `Disposition` field, unfolded.
    pub disposition: Option<String>,
    /// `automatic-action/MDN-sent-automatically`.
    pub action: Option<String>,
    /// `processed`, `failed`, `displayed`, ...; lower case.
    pub disposition_type: Option<String>,
    /// `error`, `warning`, `failure`; lower case.
    pub modifier: Option<String>,
    /// What stands behind the modifier's colon.
    pub modifier_text: Option<String>,
    /// Whether the message was not accepted.
    pub error: bool,
    /// The first text part.
    pub human_message: Option<String>,
    /// `Received-Content-MIC` as it came, unfolded.
    pub mic: Option<String>,
    /// `Reporting-UA`.
    pub reporting_ua: Option<String>,
    /// `Final-Recipient`.
    pub final_recipient: Option<String>,
}

/// Something that stands in `X-Processing-Error`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessingError {
    /// Its class.
    pub code: ErrorCode,
    /// One sentence for a person; no CR, LF or `;`.
    pub message: String,
}

/// The classes of processing errors. `docs/webhooks.md` says what each means for a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "u16", try_from = "u16")]
#[repr(u16)]
pub enum ErrorCode {
    /// The envelope could not be opened.
    Decryption = 800,
    /// The signature is invalid, or by another certificate than this partner's.
    Signature = 900,
    /// CompressedData could not be inflated.
    Decompression = 1000,
    /// The structure could not be read.
    Parse = 1100,
    /// The receiver's own MDN was negative.
    Receiver = 1200,
    /// Over a configured limit.
    Limit = 1300,
    /// Not decoded, since no key is configured.
    NotDecoded = 1400,
    /// The gateway died before the receiver answered.
    OutcomeUnknown = 1500,
}

// === impl ProcessingError ===

impl ProcessingError {
    /// An error whose text is made fit for a header: control characters become blanks, `;` commas.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let message = message.into().replace(';', ",").replace(char::is_control, " ");
        Self { code, message }
    }
}

impl fmt::Display for ProcessingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.number(), self.message)
    }
}

// === impl ErrorCode ===

impl ErrorCode {
    /// Every code.
    pub const ALL: [Self; 8] = [
        Self::Decryption,
        Self::Signature,
        Self::Decompression,
        Self::Parse,
        Self::Receiver,
        Self::Limit,
        Self::NotDecoded,
        Self::OutcomeUnknown,
    ];

    /// The number on the wire.
    pub const fn number(self) -> u16 {
        self as u16
    }
}

impl From<ErrorCode> for u16 {
    fn from(code: ErrorCode) -> Self {
        code.number()
    }
}

impl TryFrom<u16> for ErrorCode {
    type Error = String;

    fn try_from(number: u16) -> Result<Self, Self::Error> {
        let known = Self::ALL.into_iter().find(|code| code.number() == number);
        known.ok_or_else(|| format!("{number} is not a processing error code"))
    }
}

// === impl SignatureStatus ===

impl SignatureStatus {
    /// Every status.
    pub const ALL: [Self; 6] = [
        Self::Valid,
        Self::OtherCertificate,
        Self::Invalid,
        Self::UnknownCertificate,
        Self::Unsupported,
        Self::Unsigned,
    ];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::OtherCertificate => "other-certificate",
            Self::Invalid => "invalid",
            Self::UnknownCertificate => "unknown-certificate",
            Self::Unsupported => "unsupported",
            Self::Unsigned => "unsigned",
        }
    }

    /// What `signatureVerified` says for it.
    pub const fn verified(self) -> Option<bool> {
        match self {
            Self::Valid => Some(true),
            Self::OtherCertificate | Self::Invalid => Some(false),
            Self::UnknownCertificate | Self::Unsupported | Self::Unsigned => None,
        }
    }
}
