//! The headers of a notification, for any HTTP client.

use std::{borrow::Cow, fmt};

use as2hook_event::Secret;
use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::sign::{BodySigner, Covered, SignatureHeaders};

/// Headers in the order in which they are sent, duplicates kept, every name and value legal HTTP.
///
/// Names keep their case, and a sender must keep it too: the header map of the `http` crate is
/// lower-case. Header names are case-insensitive in HTTP, but partners' systems may compare them
/// with case.
#[derive(Clone, Default)]
pub struct Fields {
    list: Vec<Field>,
    /// Values are slices of this, so that they share one allocation and are cheap to clone.
    values: BytesMut,
}

/// One header. `Debug` shows its name alone: a value may be a credential.
#[derive(Clone, PartialEq, Eq)]
pub struct Field {
    /// In the case of the contract, or of the partner.
    pub name: Cow<'static, str>,
    /// Legal HTTP: no CR, LF or NUL.
    pub value: HeaderValue,
}

// === impl Field ===

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

// === impl Fields ===

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.list).finish()
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.list == other.list
    }
}

impl Eq for Fields {}

impl Fields {
    /// Returns all headers in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Field> {
        self.list.iter()
    }

    /// Returns the first header of this name, in any case.
    pub fn get(&self, name: &str) -> Option<&HeaderValue> {
        let mut fields = self.list.iter();
        let found = fields.find(|field| field.name.eq_ignore_ascii_case(name));
        found.map(|field| &field.value)
    }

    /// Returns every header of this name, in any case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a HeaderValue> {
        let same = move |field: &&Field| field.name.eq_ignore_ascii_case(name);
        self.list.iter().filter(same).map(|field| &field.value)
    }

    /// Returns the headers as hyper takes them.
    pub fn to_map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.list.len());
        for Field { name, value } in &self.list {
            let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { continue };
            // A map holds 24,576 headers. Ours come first, so only a partner's can exceed that.
            if map.try_append(name, value.clone()).is_err() {
                break;
            }
        }
        map
    }

    /// Returns the headers as hyper takes them, and their names as they are spelled.
    pub fn into_parts(self) -> (HeaderMap, Vec<Cow<'static, str>>) {
        let map = self.to_map();
        (map, self.list.into_iter().map(|field| field.name).collect())
    }

    /// Begins to sign a request with these headers and a body of this length.
    pub fn signer(&self, secrets: &[Secret], body_length: u64) -> BodySigner {
        // What is signed is read from the very headers that are sent. One that occurs several times
        // has its combined value, as HTTP defines it.
        let joined = |name| {
            let values: Vec<_> = self.all(name).map(HeaderValue::as_bytes).collect();
            values.join(b", ".as_slice())
        };
        let covered = Covered {
            webhook_id: &joined("webhook-id"),
            webhook_timestamp: &joined("webhook-timestamp"),
            event: &joined("X-AS2-Event"),
            partner_type: &joined("X-Partner-Type"),
            as2_from: &joined("AS2-From"),
            as2_to: &joined("AS2-To"),
            message_id: &joined("Message-ID"),
            processing_error: &joined("X-Processing-Error"),
            send_error: &joined("X-Send-Error"),
            event_id: &joined("X-AS2-Event-Id"),
            signature_status: &joined("X-AS2-Signature-Status"),
            document: &joined("X-AS2-Document"),
        };
        BodySigner::new(secrets, &covered, body_length)
    }

    /// Adds the signatures.
    pub fn sign(&mut self, signatures: &SignatureHeaders) {
        self.own("webhook-signature", &signatures.webhook);
        self.own("X-AS2-Signature", &signatures.as2);
    }

    /// Marks the notification as a test.
    pub fn mark_as_test(&mut self) {
        self.own("X-AS2-Test", "1");
    }

    /// Adds the span that the notification is made in (W3C Trace Context).
    pub fn trace(&mut self, parent: &str) {
        self.own("traceparent", parent);
    }

    /// Adds one of as2hook's own headers. Its text is legal by construction; otherwise it would be
    /// left out.
    pub(crate) fn own(&mut self, name: &'static str, value: &str) {
        let value = value.is_ascii().then(|| self.value(value.as_bytes())).flatten();
        self.list.extend(value.map(|value| Field { name: Cow::Borrowed(name), value }));
    }

    /// Adds a foreign header. Returns whether it is legal; an illegal one is left out.
    pub(crate) fn foreign(&mut self, name: &str, value: &[u8]) -> bool {
        let legal = HeaderName::from_bytes(name.as_bytes()).is_ok();
        match self.value(value) {
            Some(value) if legal => {
                self.list.push(Field { name: Cow::Owned(name.to_owned()), value });
                true
            }
            _ => false,
        }
    }

    fn value(&mut self, value: &[u8]) -> Option<HeaderValue> {
        /// Room for the values of most requests.
        const ROOM: usize = 1024;
        if self.values.capacity() < value.len() {
            self.values.reserve(value.len().max(ROOM));
        }
        self.values.extend_from_slice(value);
        HeaderValue::from_maybe_shared(self.values.split().freeze()).ok()
    }
}

impl<'a> IntoIterator for &'a Fields {
    type Item = &'a Field;
    type IntoIter = std::slice::Iter<'a, Field>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
