//! Converts plain values to columns of either database: neither has unsigned numbers.

use std::{borrow::Cow, io, path::Path};

use uuid::Uuid;

use crate::{error::StoreError, model::Payload};

/// The most bytes that always fit into an index.
const KEY: usize = 1_000;

/// The columns of a payload. Whether it is spent is in another column.
#[derive(Default)]
pub(crate) struct PayloadColumns<Bytes, Text> {
    /// The bytes, if there are few.
    pub(crate) inline: Option<Bytes>,
    /// The file that holds them.
    pub(crate) path: Option<Text>,
    /// The pieces that hold them.
    pub(crate) pieces: Option<Uuid>,
    /// Their stored length: the sealed length if they are sealed.
    pub(crate) size: Option<i64>,
    /// Their length before they were sealed.
    pub(crate) sealed: Option<i64>,
}

// === impl PayloadColumns ===

impl<'a> PayloadColumns<&'a [u8], &'a str> {
    /// Returns the columns of a new event's payload.
    pub(crate) fn of(payload: &'a Payload) -> Result<Self, StoreError> {
        let (sealed, kept) = match payload {
            Payload::Sealed { size, kept } => (Some(number(*size)), &**kept),
            payload => (None, payload),
        };
        let size = Some(number(kept.size()));
        let columns = match kept {
            // A spent payload has nothing to keep, and none is sealed twice.
            Payload::None | Payload::Purged { .. } | Payload::Sealed { .. } => Self::default(),
            Payload::Inline(bytes) => Self { inline: Some(bytes), size, ..Self::default() },
            Payload::File { path, .. } => {
                Self { path: Some(path_text(path)?), size, ..Self::default() }
            }
            Payload::Stored { id, .. } => Self { pieces: Some(*id), size, ..Self::default() },
        };
        Ok(Self { sealed, ..columns })
    }
}

impl PayloadColumns<Vec<u8>, String> {
    /// Returns the payload, unless it is spent.
    pub(crate) fn payload(self) -> Payload {
        let size = self.size.unwrap_or(0).unsigned_abs();
        let kept = match (self.path, self.pieces, self.inline) {
            (Some(path), ..) => Payload::File { path: path.into(), size },
            (None, Some(id), _) => Payload::Stored { id, size },
            (None, None, Some(bytes)) => Payload::Inline(bytes.into()),
            (None, None, None) => Payload::None,
        };
        match self.sealed {
            Some(size) => Payload::Sealed { size: size.unsigned_abs(), kept: Box::new(kept) },
            None => kept,
        }
    }
}

/// Converts a number without a sign.
pub(crate) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Converts a limit of rows.
pub(crate) fn length(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Removes NUL, which PostgreSQL text cannot contain.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{FFFD}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Shortens text for an index: a long one is cut and ends in a hash that distinguishes it.
pub(crate) fn key(whole: &str) -> Cow<'_, str> {
    if whole.len() <= KEY {
        return text(whole);
    }
    let rest = Uuid::new_v5(&Uuid::NAMESPACE_OID, whole.as_bytes());
    let first: String = whole.chars().take(KEY / 8).collect();
    text(&format!("{first}...{rest}")).into_owned().into()
}

/// Reads codes as [`codes`](crate::group::statements::codes) writes them.
pub(crate) fn error_codes(stored: Option<String>) -> Vec<u16> {
    stored.unwrap_or_default().split(',').filter_map(|code| code.parse().ok()).collect()
}

fn path_text(path: &Path) -> Result<&str, StoreError> {
    path.to_str().ok_or_else(|| StoreError::Payload {
        path: path.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidInput, "the path is not UTF-8"),
    })
}
