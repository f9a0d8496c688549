//! Signs requests with OpenSSL.

use object_store::{
    Error, Result,
    client::{
        CryptoProvider, DigestAlgorithm, DigestContext, HmacContext, Signer, SigningAlgorithm,
    },
};
use openssl::{
    error::ErrorStack,
    hash::{DigestBytes, Hasher, MessageDigest},
    pkey::{PKey, Private},
    sign,
};

/// OpenSSL, as the object store requires it.
#[derive(Debug)]
pub(super) struct OpenSsl;

/// `update` cannot return an error, so `finish` does.
struct OpenSslDigest {
    hasher: Hasher,
    failed: Option<ErrorStack>,
    sum: Option<DigestBytes>,
}

struct OpenSslHmac {
    /// Keys have tens of bytes, and the signed data is short.
    key: PKey<Private>,
    data: Vec<u8>,
    sum: Vec<u8>,
}

// === impl OpenSsl ===

impl CryptoProvider for OpenSsl {
    fn digest(&self, algorithm: DigestAlgorithm) -> Result<Box<dyn DigestContext>> {
        let hasher = Hasher::new(digest(&algorithm)?).map_err(failed)?;
        Ok(Box::new(OpenSslDigest { hasher, failed: None, sum: None }))
    }

    fn hmac(&self, algorithm: DigestAlgorithm, secret: &[u8]) -> Result<Box<dyn HmacContext>> {
        digest(&algorithm)?;
        let key = PKey::hmac(secret).map_err(failed)?;
        Ok(Box::new(OpenSslHmac { key, data: Vec::new(), sum: Vec::new() }))
    }

    /// Google's, not S3's.
    fn sign(&self, _: SigningAlgorithm, _: &[u8]) -> Result<Box<dyn Signer>> {
        Err(unknown())
    }
}

// === impl OpenSslDigest ===

impl DigestContext for OpenSslDigest {
    fn update(&mut self, data: &[u8]) {
        if let Err(error) = self.hasher.update(data) {
            self.failed = Some(error);
        }
    }

    fn finish(&mut self) -> Result<&[u8]> {
        if let Some(error) = self.failed.take() {
            return Err(failed(error));
        }
        Ok(self.sum.insert(self.hasher.finish().map_err(failed)?))
    }
}

// === impl OpenSslHmac ===

impl HmacContext for OpenSslHmac {
    fn update(&mut self, data: &[u8]) {
        self.data.extend_from_slice(data);
    }

    fn finish(&mut self) -> Result<&[u8]> {
        let mut signer = sign::Signer::new(MessageDigest::sha256(), &self.key).map_err(failed)?;
        self.sum = signer.sign_oneshot_to_vec(&self.data).map_err(failed)?;
        Ok(&self.sum)
    }
}

fn digest(algorithm: &DigestAlgorithm) -> Result<MessageDigest> {
    match algorithm {
        DigestAlgorithm::Sha256 => Ok(MessageDigest::sha256()),
        _ => Err(unknown()),
    }
}

fn failed(error: ErrorStack) -> Error {
    Error::Generic { store: "S3", source: Box::new(error) }
}

fn unknown() -> Error {
    Error::NotSupported { source: "an algorithm that as2hook does not know".into() }
}
