//! MIME entities around each other: attachments, then what signs, compresses and encrypts them.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use openssl::hash::{Hasher, MessageDigest};
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;

use super::cms::{self, Cipher, EnvelopeWriter, Form};
use super::content::{Count, Part, base64_lines};
use crate::pki::Identity;

/// A message digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// SHA-1, which partners still use.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// One layer around an entity.
#[derive(Clone, Debug)]
pub(super) enum Layer {
    Sign(Signature),
    Compress(Form),
    Encrypt(Envelope),
}

#[derive(Clone, Debug)]
pub(crate) struct Signature {
    pub(super) certificate: X509,
    pub(super) key: PKey<Private>,
    pub(super) digest: Digest,
    /// Whether the signer's certificate comes along.
    pub(super) embed: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Envelope {
    pub(super) recipient: X509,
    pub(super) cipher: Cipher,
    pub(super) oaep: bool,
    pub(super) form: Form,
}

/// Writes entities; each layer asks for the entity below it.
pub(super) struct Writer<'a> {
    pub(super) parts: &'a [Part],
    pub(super) layers: &'a [Layer],
    pub(super) mic: Digest,
    pub(super) id: &'a str,
}

/// A `multipart/signed` body around an entity: its `Content-Type` and the body.
pub(crate) fn sign_detached(
    entity: &[u8],
    signer: &Identity,
    digest: Digest,
    embed: bool,
) -> (String, Vec<u8>) {
    let (certificate, key) = (signer.certificate.clone(), signer.key.clone());
    let signature = Signature { certificate, key, digest, embed };
    let mut body = Vec::new();
    let written = write_signed(&signature, "mdn", &mut body, |to| to.write_all(entity));
    written.expect("memory takes every byte");
    (signed_type(&signature, "mdn"), body)
}

// === impl Writer ===

impl Writer<'_> {
    /// The MIME fields of the outermost entity.
    pub(super) fn fields(&self) -> Vec<(String, String)> {
        self.fields_at(self.layers.len())
    }

    /// Writes the outermost entity's body and returns the MIC.
    pub(super) fn body(&self, to: &mut dyn Write) -> io::Result<Vec<u8>> {
        if self.layers.is_empty() {
            // RFC 4130 section 7.3.1: neither signed nor encrypted, the MIC is over the body alone.
            let mut tee = Tee::new(to, self.mic);
            self.body_at(0, &mut tee)?;
            return tee.finish();
        }
        self.body_at(self.layers.len(), to)
    }

    fn fields_at(&self, depth: usize) -> Vec<(String, String)> {
        let field = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        let enveloped = |kind: &str| {
            vec![
                field(
                    "Content-Type",
                    &format!("application/pkcs7-mime; smime-type={kind}; name=\"smime.p7m\""),
                ),
                field("Content-Transfer-Encoding", "binary"),
                field("Content-Disposition", "attachment; filename=\"smime.p7m\""),
            ]
        };
        let Some(below) = depth.checked_sub(1) else {
            return match self.parts {
                [one] => one.fields.clone(),
                _ => vec![field(
                    "Content-Type",
                    &format!("multipart/related; boundary=\"{}\"", self.boundary("related")),
                )],
            };
        };
        match &self.layers[below] {
            Layer::Sign(signature) => {
                vec![field("Content-Type", &signed_type(signature, &self.boundary("signed")))]
            }
            Layer::Compress(_) => enveloped("compressed-data"),
            Layer::Encrypt(_) => enveloped("enveloped-data"),
        }
    }

    /// Writes an entity, fields and body. The MIC it returns is the one that counts above it.
    fn entity_at(&self, depth: usize, to: &mut dyn Write) -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        for (name, value) in self.fields_at(depth) {
            write!(head, "{name}: {value}\r\n")?;
        }
        head.extend_from_slice(b"\r\n");
        if depth == 0 {
            let mut tee = Tee::new(to, self.mic);
            tee.write_all(&head)?;
            self.body_at(0, &mut tee)?;
            return tee.finish();
        }
        to.write_all(&head)?;
        self.body_at(depth, to)
    }

    fn body_at(&self, depth: usize, to: &mut dyn Write) -> io::Result<Vec<u8>> {
        let Some(below) = depth.checked_sub(1) else {
            return self.parts(to).map(|()| Vec::new());
        };
        match &self.layers[below] {
            Layer::Sign(signature) => {
                let mut mic = Vec::new();
                write_signed(signature, &self.boundary("signed"), to, |to| {
                    // What was signed is what the MIC is over, compressed or not (RFC 5402).
                    let mut tee = Tee::new(to, self.mic);
                    self.entity_at(below, &mut tee)?;
                    mic = tee.finish()?;
                    Ok(())
                })?;
                Ok(mic)
            }
            Layer::Compress(form) => {
                let length = match form {
                    Form::Definite => Some(self.counted(|to| self.deflated(below, to))?),
                    Form::Segments(_) => None,
                };
                let mut out = cms::compressed_data(*form, length, to)?;
                let mic = self.deflated(below, &mut out)?;
                out.finish()?;
                Ok(mic)
            }
            Layer::Encrypt(envelope) => {
                let length = match envelope.form {
                    Form::Definite => Some(self.counted(|to| self.entity_at(below, to))?),
                    Form::Segments(_) => None,
                };
                let mut out = EnvelopeWriter::begin(envelope, length, to)?;
                let mic = self.entity_at(below, &mut out)?;
                out.finish()?;
                Ok(mic)
            }
        }
    }

    fn deflated(&self, below: usize, to: &mut dyn Write) -> io::Result<Vec<u8>> {
        let mut zlib = ZlibEncoder::new(to, Compression::default());
        let mic = self.entity_at(below, &mut zlib)?;
        zlib.finish()?;
        Ok(mic)
    }

    fn counted(
        &self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<Vec<u8>>,
    ) -> io::Result<u64> {
        let mut count = Count::default();
        write(&mut count)?;
        Ok(count.bytes)
    }

    fn parts(&self, to: &mut dyn Write) -> io::Result<()> {
        if let [one] = self.parts {
            return one.content.write(to);
        }
        let boundary = self.boundary("related");
        for part in self.parts {
            write!(to, "--{boundary}\r\n")?;
            for (name, value) in &part.fields {
                write!(to, "{name}: {value}\r\n")?;
            }
            to.write_all(b"\r\n")?;
            part.content.write(to)?;
            to.write_all(b"\r\n")?;
        }
        write!(to, "--{boundary}--\r\n")
    }

    /// A boundary that is the same each time the message is written.
    fn boundary(&self, what: &str) -> String {
        let hash = openssl::sha::sha256(self.id.as_bytes());
        format!("----={what}_{}", crate::http::hex(&hash[..12]))
    }
}

/// Passes bytes on and digests them.
struct Tee<'a> {
    to: &'a mut dyn Write,
    hash: Hasher,
}

impl<'a> Tee<'a> {
    fn new(to: &'a mut dyn Write, digest: Digest) -> Self {
        let hash = Hasher::new(digest.message_digest()).expect("a digest that OpenSSL has");
        Self { to, hash }
    }

    fn finish(mut self) -> io::Result<Vec<u8>> {
        Ok(self.hash.finish()?.to_vec())
    }
}

impl Write for Tee<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write_all(bytes)?;
        self.hash.update(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn signed_type(signature: &Signature, boundary: &str) -> String {
    format!(
        "multipart/signed; protocol=\"application/pkcs7-signature\"; micalg={}; boundary=\"{boundary}\"",
        signature.digest.name()
    )
}

/// `multipart/signed` around what `entity` writes.
fn write_signed(
    signature: &Signature,
    boundary: &str,
    to: &mut dyn Write,
    entity: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    write!(to, "--{boundary}\r\n")?;
    let mut tee = Tee::new(to, signature.digest);
    entity(&mut tee)?;
    let digest = tee.finish()?;
    write!(
        to,
        "\r\n--{boundary}\r\n\
         Content-Type: application/pkcs7-signature; name=\"smime.p7s\"\r\n\
         Content-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment; filename=\"smime.p7s\"\r\n\r\n"
    )?;
    to.write_all(&base64_lines(&cms::signed_data(signature, &digest)))?;
    write!(to, "\r\n--{boundary}--\r\n")
}

// === impl Layer ===

impl Layer {
    pub(super) fn sign(signer: &Identity, digest: Digest) -> Self {
        let certificate = signer.certificate.clone();
        Self::Sign(Signature { certificate, key: signer.key.clone(), digest, embed: true })
    }

    pub(super) fn encrypt(recipient: &Identity, cipher: Cipher) -> Self {
        let recipient = recipient.certificate.clone();
        Self::Encrypt(Envelope { recipient, cipher, oaep: false, form: Form::Definite })
    }

    pub(super) fn digest(&self) -> Option<Digest> {
        match self {
            Self::Sign(signature) => Some(signature.digest),
            Self::Compress(_) | Self::Encrypt(_) => None,
        }
    }
}

// === impl Digest ===

impl Digest {
    /// The name that `micalg` and MICs have (RFC 5751 section 3.4.3.2).
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha-1",
            Self::Sha256 => "sha-256",
            Self::Sha384 => "sha-384",
            Self::Sha512 => "sha-512",
        }
    }

    pub(super) fn oid(self) -> &'static str {
        match self {
            Self::Sha1 => "1.3.14.3.2.26",
            Self::Sha256 => "2.16.840.1.101.3.4.2.1",
            Self::Sha384 => "2.16.840.1.101.3.4.2.2",
            Self::Sha512 => "2.16.840.1.101.3.4.2.3",
        }
    }

    pub(super) fn message_digest(self) -> MessageDigest {
        match self {
            Self::Sha1 => MessageDigest::sha1(),
            Self::Sha256 => MessageDigest::sha256(),
            Self::Sha384 => MessageDigest::sha384(),
            Self::Sha512 => MessageDigest::sha512(),
        }
    }
}
