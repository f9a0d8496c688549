//! How a signature stands.

use crate::{ErrorCode, ProcessingError, SignatureStatus, digest::Digest, fault::Fault};

/// How a signature stands.
#[derive(Clone, Debug)]
pub(crate) struct Judgement {
    pub(crate) status: SignatureStatus,
    /// Serial of the signer's certificate, lower-case hex.
    pub(crate) signer: Option<String>,
    pub(crate) digest: Option<Digest>,
    /// The digest's value that the MIC is made of has canonical line ends.
    pub(super) is_canonical: bool,
    /// Why it is not valid.
    pub(super) reasons: Vec<ProcessingError>,
}

// === impl Judgement ===

impl Judgement {
    pub(super) fn invalid(reason: &'static str) -> Self {
        Self::because(ProcessingError::new(ErrorCode::Signature, reason))
    }

    /// Made in a way that cannot be verified here.
    pub(super) fn unsupported(reason: ProcessingError) -> Self {
        Self { status: SignatureStatus::Unsupported, ..Self::because(reason) }
    }

    /// By an algorithm that is not known.
    pub(super) fn by_algorithm(what: &str, oid: &str) -> Self {
        let reason = format!("the signature's {what} algorithm {oid} is not supported");
        Self::unsupported(ProcessingError::new(ErrorCode::Signature, reason))
    }

    /// By what its SignerInfo failed to be read for.
    pub(super) fn unreadable(fault: &Fault) -> Self {
        match fault {
            Fault::Algorithm { what, oid } => Self::by_algorithm(what, oid),
            _ => Self::invalid("the signature cannot be read"),
        }
    }

    fn because(reason: ProcessingError) -> Self {
        Self {
            status: SignatureStatus::Invalid,
            signer: None,
            digest: None,
            is_canonical: false,
            reasons: vec![reason],
        }
    }
}
