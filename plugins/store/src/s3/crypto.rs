//! Signs requests with OpenSSL.

use object_store::{
    Error, Result,
    client::{
        CryptoProvider, DigestAlgorithm, DigestContext, HmacContext, Signer, SigningAlgorithm,
    },
};
use openssl::{
    error::ErrorStack,
    hash::MessageDigest,
    pkey::{PKey, Private},
    sha::Sha256,
    sign,
};

/// OpenSSL, as the object store requires it. S3 signs with SHA-256 alone.
#[derive(Debug)]
pub(super) struct OpenSsl;

struct OpenSslDigest {
    hasher: Sha256,
    sum: [u8; 32],
}

struct OpenSslHmac {
    /// Keys have tens of bytes, and the signed data is short.
    key: PKey<Private>,
    data: Vec<u8>,
    sum: Vec<u8>,
}

impl CryptoProvider for OpenSsl {
    fn digest(&self, algorithm: DigestAlgorithm) -> Result<Box<dyn DigestContext>> {
        check(&algorithm)?;
        Ok(Box::new(OpenSslDigest { hasher: Sha256::new(), sum: [0; 32] }))
    }

    fn hmac(&self, algorithm: DigestAlgorithm, secret: &[u8]) -> Result<Box<dyn HmacContext>> {
        check(&algorithm)?;
        let key = PKey::hmac(secret).map_err(failed)?;
        Ok(Box::new(OpenSslHmac { key, data: Vec::new(), sum: Vec::new() }))
    }

    /// Google's, not S3's.
    fn sign(&self, _: SigningAlgorithm, _: &[u8]) -> Result<Box<dyn Signer>> {
        Err(unknown())
    }
}

impl DigestContext for OpenSslDigest {
    fn update(&mut self, data: &[u8]) {
        self.hasher.update(data);
    }

    fn finish(&mut self) -> Result<&[u8]> {
        self.sum = self.hasher.clone().finish();
        Ok(&self.sum)
    }
}

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

fn check(algorithm: &DigestAlgorithm) -> Result<()> {
    match algorithm {
        DigestAlgorithm::Sha256 => Ok(()),
        _ => Err(unknown()),
    }
}

fn failed(error: ErrorStack) -> Error {
    Error::Generic { store: "S3", source: Box::new(error) }
}

fn unknown() -> Error {
    Error::NotSupported { source: "an algorithm that as2hook does not know".into() }
}
