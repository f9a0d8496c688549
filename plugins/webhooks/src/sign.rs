//! The two signatures of a delivery: that of Standard Webhooks over id, time and body, and
//! `X-AS2-Signature` over the headers that carry most of a notification (`docs/verify.md`).
//!
//! Both are made piece by piece, so that a body of any size is signed in constant memory.

use std::fmt::Write as _;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hmac::Hmac;
use openssl::memcmp;

use crate::rule::Secret;

mod hmac;
#[cfg(test)]
mod tests;

/// What `X-AS2-Signature` covers before the body, in this order. An absent header is empty; one that
/// stands there several times counts as its values joined by `", "`, as HTTP reads it.
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
}

/// Signatures in the making, while the body goes by.
pub struct Signer {
    pairs: Vec<Pair>,
    expected: u64,
    seen: u64,
}

/// The values of the two signature headers: one `v1,…` for each secret, separated by blanks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signatures {
    /// `webhook-signature`
    pub webhook: String,
    /// `X-AS2-Signature`
    pub as2: String,
}

/// The announced length stands in the signature and in `Content-Length`, so it has to be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the payload has {actual} bytes, but {expected} were announced")]
pub struct WrongLength {
    /// What was announced, in bytes.
    pub expected: u64,
    /// What came, in bytes.
    pub actual: u64,
}

/// Both signatures by one secret.
struct Pair {
    webhook: Hmac,
    as2: Hmac,
}

/// Whether a `webhook-signature` holds one made with this secret. Takes the same time whatever the
/// signatures are.
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

/// Whether an `X-AS2-Signature` holds one made with this secret over these headers and this body.
pub fn verify_as2(header: &str, secret: &Secret, covered: &Covered<'_>, body: &[u8]) -> bool {
    holds(header, &sign(std::slice::from_ref(secret), covered, body).as2)
}

/// Signs a body that is in memory.
pub fn sign(secrets: &[Secret], covered: &Covered<'_>, body: &[u8]) -> Signatures {
    let mut signer = Signer::new(secrets, covered, length(body));
    signer.update(body);
    signer.signatures()
}

// === impl Signer ===

impl Signer {
    /// Begins with what stands before a body of `body_length` bytes.
    pub fn new(secrets: &[Secret], covered: &Covered<'_>, body_length: u64) -> Self {
        let webhook = [covered.webhook_id, b".", covered.webhook_timestamp, b"."].concat();
        let as2 = covered.before_body(body_length);
        let pair = |secret: &Secret| {
            let mut pair = Pair { webhook: Hmac::new(secret.key()), as2: Hmac::new(secret.key()) };
            pair.webhook.update(&webhook);
            pair.as2.update(&as2);
            pair
        };
        Self { pairs: secrets.iter().map(pair).collect(), expected: body_length, seen: 0 }
    }

    /// Takes the next bytes of the body.
    pub fn update(&mut self, bytes: &[u8]) {
        self.seen = self.seen.saturating_add(length(bytes));
        for pair in &mut self.pairs {
            pair.webhook.update(bytes);
            pair.as2.update(bytes);
        }
    }

    /// The signatures of what came.
    ///
    /// # Errors
    /// When the body was not as long as announced.
    pub fn finish(self) -> Result<Signatures, WrongLength> {
        let Self { expected, seen: actual, .. } = self;
        if actual == expected {
            Ok(self.signatures())
        } else {
            Err(WrongLength { expected, actual })
        }
    }

    pub(crate) fn signatures(self) -> Signatures {
        let mut signatures = Signatures { webhook: String::new(), as2: String::new() };
        for pair in self.pairs {
            append(&mut signatures.webhook, pair.webhook);
            append(&mut signatures.as2, pair.as2);
        }
        signatures
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer")
            .field("expected", &self.expected)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

// === impl Covered ===

impl Covered<'_> {
    /// Each field as decimal length, `:`, bytes; then the same of the body up to its first byte.
    /// With its length before it, no field can pretend to be a part of the next.
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
        let mut bytes = Vec::with_capacity(256);
        for field in fields {
            bytes.extend_from_slice(format!("{}:", field.len()).as_bytes());
            bytes.extend_from_slice(field);
        }
        bytes.extend_from_slice(format!("{body_length}:").as_bytes());
        bytes
    }
}

// === helpers ===

fn append(header: &mut String, code: Hmac) {
    let separator = if header.is_empty() { "" } else { " " };
    // Writing to a String does not fail.
    let _ = write!(header, "{separator}v1,{}", BASE64_STANDARD.encode(code.finish()));
}

fn holds(header: &str, expected: &str) -> bool {
    let same =
        |one: &str| one.len() == expected.len() && memcmp::eq(one.as_bytes(), expected.as_bytes());
    header.split(' ').fold(false, |found, one| found | same(one))
}

/// `usize` has at most 64 bits on every machine that Rust knows.
pub(crate) fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
