//! One digest while its bytes come in.

use openssl::{
    error::ErrorStack,
    hash::Hasher,
    sha::{Sha1, Sha256, Sha384, Sha512},
};

use super::Digest;

/// The usual digests without OpenSSL's EVP contexts: to look an algorithm up and to set a context up takes
/// longer than to digest a small message.
#[derive(Clone)]
pub(super) enum RunningDigest {
    Sha1(Sha1),
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
    Other(Hasher),
}

// === impl RunningDigest ===

impl RunningDigest {
    /// # Errors
    /// When this OpenSSL refuses it.
    pub(super) fn new(digest: Digest) -> Result<Self, ErrorStack> {
        Ok(match digest {
            Digest::Sha1 => Self::Sha1(Sha1::new()),
            Digest::Sha256 => Self::Sha256(Sha256::new()),
            Digest::Sha384 => Self::Sha384(Sha384::new()),
            Digest::Sha512 => Self::Sha512(Sha512::new()),
            other => Self::Other(Hasher::new(other.message_digest())?),
        })
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(sum) => sum.update(bytes),
            Self::Sha256(sum) => sum.update(bytes),
            Self::Sha384(sum) => sum.update(bytes),
            Self::Sha512(sum) => sum.update(bytes),
            // Updating a digest in memory cannot fail once it was begun; a lost one would give a wrong
            // sum, which is reported as an invalid signature.
            Self::Other(hasher) => drop(hasher.update(bytes)),
        }
    }

    pub(super) fn finish(self) -> Option<Vec<u8>> {
        Some(match self {
            Self::Sha1(sum) => sum.finish().to_vec(),
            Self::Sha256(sum) => sum.finish().to_vec(),
            Self::Sha384(sum) => sum.finish().to_vec(),
            Self::Sha512(sum) => sum.finish().to_vec(),
            Self::Other(mut hasher) => hasher.finish().ok()?.to_vec(),
        })
    }
}
