//! Why a layer stopped.

use crate::decoded::{ErrorCode, ProcessingError};

/// What ends a layer. Its text becomes the message of a [`ProcessingError`]; nothing of the content
/// and nothing of a key stands in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Wrong padding, wrong key length, wrong tag, garbage: one text for all, so that it is no oracle.
    #[error("the envelope could not be opened with the station's key")]
    NotOpened,
    /// None of the recipients is a station key.
    #[error("the envelope is for other recipients than the configured station keys")]
    NoRecipient,
    /// No station key is configured at all.
    #[error("the content is encrypted and no station key is configured")]
    NoKey,
    /// A content encryption, key transport or key agreement that is not known.
    #[error("the {what} algorithm {oid} is not supported")]
    Algorithm {
        /// What the algorithm is for.
        what: &'static str,
        /// Its object identifier, dotted.
        oid: String,
    },
    /// DES or RC2 without `legacy_algorithms`.
    #[error("{0} is a legacy algorithm and legacy_algorithms is off")]
    Legacy(&'static str),
    /// OpenSSL lacks the algorithm on this machine.
    #[error("{0} is not available in this machine's OpenSSL")]
    Unavailable(&'static str),
    /// The zlib stream is damaged or incomplete.
    #[error("the compressed content is damaged")]
    Inflate,
    /// A content coding of HTTP is damaged or incomplete.
    #[error("the body's content coding {0} is damaged")]
    DamagedCoding(&'static str),
    /// A content coding of HTTP that is not known.
    #[error("the content coding {0} is not known")]
    Coding(String),
    /// A bound was reached.
    #[error("{what} over the limit of {limit}")]
    Limit {
        /// What is bounded.
        what: &'static str,
        /// The bound, in the unit that `what` implies.
        limit: u64,
    },
    /// The signature is by a digest that did not run: the announcement named another.
    #[error(
        "the signature is by the digest {used}, but {announced}, and the signed content is over the limit of {limit} bytes for a second look"
    )]
    OtherDigest {
        /// The signature's.
        used: &'static str,
        /// What `micalg`, or the signature's `digestAlgorithms`, announced.
        announced: String,
        /// Bytes that are kept.
        limit: u64,
    },
    /// The decode took longer than it may: made by [`crate::ContentReceiver::checkpoint`].
    #[error("CPU time over the limit of {limit} ms")]
    CpuTime {
        /// The bound in milliseconds.
        limit: u64,
    },
    /// The structure is not what its standard says.
    #[error("{0}")]
    Malformed(&'static str),
    /// The end came too early.
    #[error("the content ends before it is complete")]
    Truncated,
    /// Decrypted bytes that do not begin like a MIME entity. The envelope's layer turns it into
    /// [`Fault::NotOpened`].
    #[error("the decrypted content is no MIME entity")]
    NotMime,
    /// A CMS structure under the name of a document is no layer of the message. The layer around it
    /// makes it a document.
    #[error("the content is no layer of the message")]
    NoLayer,
}

// === impl Fault ===

impl Fault {
    /// Its class.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotOpened
            | Self::NotMime
            | Self::NoRecipient
            | Self::Algorithm { .. }
            | Self::Legacy(_)
            | Self::Unavailable(_) => ErrorCode::Decryption,
            Self::NoKey => ErrorCode::NotDecoded,
            Self::Inflate | Self::DamagedCoding(_) => ErrorCode::Decompression,
            Self::Limit { .. } | Self::OtherDigest { .. } | Self::CpuTime { .. } => {
                ErrorCode::Limit
            }
            Self::Malformed(_) | Self::Truncated | Self::NoLayer | Self::Coding(_) => {
                ErrorCode::Parse
            }
        }
    }
}

impl From<&Fault> for ProcessingError {
    fn from(fault: &Fault) -> Self {
        Self::new(fault.code(), fault.to_string())
    }
}
