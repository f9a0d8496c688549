//! The request as plain data, for any HTTP client.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

/// A `POST` to the endpoint's URL. `Host` and `Connection` are the client's.
#[derive(Clone, Debug)]
pub struct Request {
    /// Every header, `Content-Length` included.
    pub headers: Fields,
    /// What follows them.
    pub body: Body,
    /// Names of headers that were left out since they are not legal HTTP, or since a rule set one
    /// that is as2hook's own: to be counted and logged. Made printable, and at most 64 characters.
    pub dropped: Vec<String>,
}

/// The body of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// No byte.
    Empty,
    /// All of it.
    Bytes(Bytes),
    /// The payload that the caller holds.
    Payload {
        /// Its length in bytes.
        size: u64,
    },
}

/// Headers in the order they are sent, duplicates kept, every name and value legal HTTP.
///
/// Names keep their case here, and whoever sends them has to: the header map of the `http` crate is
/// lower-case. Header names have no case in HTTP, but partners' systems spell them as they do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<Field>);

/// One header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// In the case of the contract, or of the partner.
    pub name: Cow<'static, str>,
    /// Legal HTTP: no CR, LF or NUL.
    pub value: HeaderValue,
}

// === impl Fields ===

impl Fields {
    /// All headers in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Field> {
        self.0.iter()
    }

    /// The first header of this name, whatever its case.
    pub fn get(&self, name: &str) -> Option<&HeaderValue> {
        let mut fields = self.0.iter();
        let found = fields.find(|field| field.name.eq_ignore_ascii_case(name));
        found.map(|field| &field.value)
    }

    /// Every header of this name, whatever its case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a HeaderValue> {
        let same = move |field: &&Field| field.name.eq_ignore_ascii_case(name);
        self.0.iter().filter(same).map(|field| &field.value)
    }

    /// The headers as hyper takes them.
    pub fn to_map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.0.len());
        for Field { name, value } in &self.0 {
            let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { continue };
            // A map holds 24,576 headers. Ours come first, so only a partner's could be too many.
            if map.try_append(name, value.clone()).is_err() {
                break;
            }
        }
        map
    }

    /// What HTTP reads when a header stands there several times.
    pub(super) fn joined(&self, name: &str) -> Vec<u8> {
        let values: Vec<_> = self.all(name).map(HeaderValue::as_bytes).collect();
        values.join(b", ".as_slice())
    }

    /// Adds a header of our own making. Its text is legal by the way it was made; if ever it were not,
    /// it would be left out rather than sent.
    pub(super) fn own(&mut self, name: &'static str, value: &str) {
        let value = HeaderValue::from_str(value);
        self.0.extend(value.map(|value| Field { name: Cow::Borrowed(name), value }));
    }

    /// Adds a header from outside. Answers whether it is legal; one that is not is left out.
    pub(super) fn foreign(&mut self, name: &str, value: &[u8]) -> bool {
        let legal = HeaderName::from_bytes(name.as_bytes()).is_ok();
        match HeaderValue::from_bytes(value) {
            Ok(value) if legal => {
                self.0.push(Field { name: Cow::Owned(name.to_owned()), value });
                true
            }
            _ => false,
        }
    }
}

impl<'a> IntoIterator for &'a Fields {
    type Item = &'a Field;
    type IntoIter = std::slice::Iter<'a, Field>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

// === impl Body ===

impl Body {
    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => crate::sign::length(bytes),
            Self::Payload { size } => *size,
        }
    }
}
