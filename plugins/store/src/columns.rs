//! How plain values stand in columns, in whatever database: none has a number without a sign.

use std::{
    io,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use uuid::Uuid;

use crate::{model::Payload, store::StoreError};

/// The columns that a payload is spread over. That it is spent is told by another.
#[derive(Default)]
pub(crate) struct PayloadColumns<Bytes, Text> {
    /// The bytes themselves, where they are few.
    pub(crate) inline: Option<Bytes>,
    /// The file that they are in.
    pub(crate) path: Option<Text>,
    /// The pieces that they are in.
    pub(crate) pieces: Option<Uuid>,
    /// Their length, as it is kept: sealed, where they are.
    pub(crate) size: Option<i64>,
    /// Their length before they were sealed.
    pub(crate) sealed: Option<i64>,
}

// === impl PayloadColumns ===

impl<'a> PayloadColumns<&'a [u8], &'a str> {
    /// The columns of a new event's payload.
    pub(crate) fn of(payload: &'a Payload) -> Result<Self, StoreError> {
        let (sealed, kept) = match payload {
            Payload::Sealed { size, kept } => (Some(number(*size)), &**kept),
            payload => (None, payload),
        };
        let size = Some(number(kept.size()));
        let columns = match kept {
            // There is nothing to keep of one that is gone, and none is sealed twice.
            Payload::None | Payload::Spent | Payload::Sealed { .. } => Self::default(),
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
    /// The payload, unless it is spent.
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

/// The time, in milliseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A number without a sign.
pub(crate) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// How many rows, at most.
pub(crate) fn length(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn path_text(path: &Path) -> Result<&str, StoreError> {
    path.to_str().ok_or_else(|| StoreError::Payload {
        path: path.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidInput, "the path is not UTF-8"),
    })
}
