//! The signatures of a delivery: that of Standard Webhooks over id, time and body, and those of
//! `X-AS2-Signature` over the headers that carry most of a notification (`docs/verify.md`).
//!
//! Both are computed piece by piece, so that a body of any size is signed in constant memory.

use std::fmt::Write as _;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hmac::Hmac;
use openssl::memcmp;

use as2hook_event::Secret;

mod hmac;
#[cfg(test)]
mod tests;

/// The fields that `X-AS2-Signature` covers: `v1` the first nine and then the body, `v2` also the
/// last three, which follow the body. An absent header is empty; one that occurs several times
/// counts as its values joined by `", "`, as HTTP defines it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Covered<'a> {
    /// `webhook-id`
    pub webhook_id: &'a [u8],
    /// `webhook-timestamp`, seconds since 1970 in decimal
    pub webhook_timestamp: &'a [u8],
    /// `X-AS2-Event`
    pub event: &'a [u8],
    /// `X-Partner-Type`
    pub partner_type: &'a [u8],
    /// `AS2-From`
    pub as2_from: &'a [u8],
    /// `AS2-To`
    pub as2_to: &'a [u8],
    /// `Message-ID`
    pub message_id: &'a [u8],
    /// `X-Processing-Error`
    pub processing_error: &'a [u8],
    /// `X-Send-Error`
    pub send_error: &'a [u8],
    /// `X-AS2-Event-Id`
    pub event_id: &'a [u8],
    /// `X-AS2-Signature-Status`
    pub signature_status: &'a [u8],
    /// `X-AS2-Document`
    pub document: &'a [u8],
}

/// Computes the signatures while the body passes.
pub struct BodySigner {
    pairs: Vec<SecretSigner>,
    /// The fields that `v2` covers after the body.
    behind_body: Vec<u8>,
    expected: u64,
    seen: u64,
}

/// The values of the two signature headers, separated by blanks: one `v1,…` for each secret, and in
/// `X-AS2-Signature` one `v2,…` for each after these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureHeaders {
    /// `webhook-signature`
    pub webhook: String,
    /// `X-AS2-Signature`
    pub as2: String,
}

/// The body had another length than announced, which is in the signature and in `Content-Length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the payload has {actual} bytes, but {expected} were announced")]
pub struct WrongLength {
    /// The announced length in bytes.
    pub expected: u64,
    /// The actual length in bytes.
    pub actual: u64,
}

/// The signatures by one secret.
struct SecretSigner {
    webhook: Hmac,
    as2: Hmac,
}

/// Whether a `webhook-signature` contains one made with this secret. Takes the same time whatever
/// the signatures are.
pub fn verify_webhook(
    header: &str,
    secret: &Secret,
    id: &str,
    timestamp: &str,
    body: &[u8],
) -> bool {
    let covered = Covered {
        webhook_id: id.as_bytes(),
        webhook_timestamp: timestamp.as_bytes(),
        ..Covered::default()
    };
    holds(header, &sign(std::slice::from_ref(secret), &covered, body).webhook)
}

/// Whether an `X-AS2-Signature` contains both values, `v1` and `v2`, made with this secret over
/// these headers and this body.
pub fn verify_as2(header: &str, secret: &Secret, covered: &Covered<'_>, body: &[u8]) -> bool {
    holds(header, &sign(std::slice::from_ref(secret), covered, body).as2)
}

/// Signs a body in memory.
pub fn sign(secrets: &[Secret], covered: &Covered<'_>, body: &[u8]) -> SignatureHeaders {
    let mut signer = BodySigner::new(secrets, covered, length(body));
    signer.update(body);
    signer.signatures()
}

// === impl BodySigner ===

impl BodySigner {
    /// Creates a signer, and signs the fields before a body of `body_length` bytes.
    pub fn new(secrets: &[Secret], covered: &Covered<'_>, body_length: u64) -> Self {
        let webhook = [covered.webhook_id, b".", covered.webhook_timestamp, b"."].concat();
        let as2 = covered.before_body(body_length);
        let pair = |secret: &Secret| {
            let mut pair =
                SecretSigner { webhook: Hmac::new(secret.key()), as2: Hmac::new(secret.key()) };
            pair.webhook.update(&webhook);
            pair.as2.update(&as2);
            pair
        };
        Self {
            pairs: secrets.iter().map(pair).collect(),
            behind_body: covered.behind_body(),
            expected: body_length,
            seen: 0,
        }
    }

    /// Adds the next bytes of the body.
    pub fn update(&mut self, bytes: &[u8]) {
        self.seen = self.seen.saturating_add(length(bytes));
        for pair in &mut self.pairs {
            pair.webhook.update(bytes);
            pair.as2.update(bytes);
        }
    }

    /// Returns the signatures of the body.
    ///
    /// # Errors
    /// When the body was not as long as announced.
    pub fn finish(self) -> Result<SignatureHeaders, WrongLength> {
        let Self { expected, seen: actual, .. } = self;
        if actual == expected {
            Ok(self.signatures())
        } else {
            Err(WrongLength { expected, actual })
        }
    }

    fn signatures(self) -> SignatureHeaders {
        let mut signatures = SignatureHeaders { webhook: String::new(), as2: String::new() };
        let mut second = String::new();
        for SecretSigner { webhook, as2 } in self.pairs {
            let mut more = as2.clone();
            more.update(&self.behind_body);
            append(&mut signatures.webhook, "v1", webhook);
            append(&mut signatures.as2, "v1", as2);
            append(&mut second, "v2", more);
        }
        if !second.is_empty() {
            signatures.as2.push(' ');
            signatures.as2.push_str(&second);
        }
        signatures
    }
}

impl std::fmt::Debug for BodySigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer")
            .field("expected", &self.expected)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

// === impl Covered ===

impl Covered<'_> {
    /// Encodes each field as decimal length, `:`, bytes; then the same for the body up to its first
    /// byte. Because of its length in front, no field can be taken for a part of the next.
    fn before_body(&self, body_length: u64) -> Vec<u8> {
        let fields = [
            self.webhook_id,
            self.webhook_timestamp,
            self.event,
            self.partner_type,
            self.as2_from,
            self.as2_to,
            self.message_id,
            self.processing_error,
            self.send_error,
        ];
        let mut bytes = framed(&fields);
        bytes.extend_from_slice(format!("{body_length}:").as_bytes());
        bytes
    }

    fn behind_body(&self) -> Vec<u8> {
        framed(&[self.event_id, self.signature_status, self.document])
    }
}

// === helpers ===

/// Encodes each field as decimal length, `:`, bytes.
fn framed(fields: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    for field in fields {
        bytes.extend_from_slice(format!("{}:", field.len()).as_bytes());
        bytes.extend_from_slice(field);
    }
    bytes
}

fn append(header: &mut String, version: &str, code: Hmac) {
    let separator = if header.is_empty() { "" } else { " " };
    // Writing to a String does not fail.
    let _ = write!(header, "{separator}{version},{}", BASE64_STANDARD.encode(code.finish()));
}

/// Whether each of the expected values is among those of the header.
fn holds(header: &str, expected: &str) -> bool {
    let same = |one: &str, other: &str| {
        one.len() == other.len() && memcmp::eq(one.as_bytes(), other.as_bytes())
    };
    expected.split(' ').fold(true, |all, wanted| {
        all & header.split(' ').fold(false, |found, one| found | same(one, wanted))
    })
}

/// `usize` has at most 64 bits on every machine that Rust knows.
pub(crate) fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
