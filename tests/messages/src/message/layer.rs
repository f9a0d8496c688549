//! MIME entities around each other: attachments, then what signs, compresses and encrypts them.

use std::io::{self, Write};

use as2hook_as2::Digest;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use openssl::hash::Hasher;

use super::content::{Count, Part, base64_lines};
use crate::cms::{
    Cipher, Envelope, KeyWay, Recipient, SignOptions, compressed_writer, message_digest,
};
use crate::{Identity, der::Encoding};

/// One layer around an entity.
#[derive(Clone, Debug)]
pub(super) enum Layer {
    /// `embed`: whether the signer's certificate comes along.
    Sign {
        signer: Identity,
        digest: Digest,
        embed: bool,
    },
    Compress(Encoding),
    Encrypt {
        recipient: Identity,
        cipher: Cipher,
        way: KeyWay,
        encoding: Encoding,
    },
}

/// Writes entities; each layer asks for the entity below it.
pub(super) struct Writer<'a> {
    pub(super) parts: &'a [Part],
    pub(super) layers: &'a [Layer],
    pub(super) mic: Digest,
    pub(super) id: &'a str,
}

/// A `multipart/signed` body around an entity: its `Content-Type` and the body.
pub fn sign_detached(
    entity: &[u8],
    signer: &Identity,
    digest: Digest,
    embed: bool,
) -> (String, Vec<u8>) {
    let signature = SignOptions { embed, ..SignOptions::new(signer, digest) };
    let mut body = Vec::new();
    let written = write_signed(&signature, "mdn", &mut body, |to| to.write_all(entity));
    written.expect("memory takes every byte");
    (signed_type(digest, "mdn"), body)
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
            Layer::Sign { digest, .. } => {
                vec![field("Content-Type", &signed_type(*digest, &self.boundary("signed")))]
            }
            Layer::Compress(_) => enveloped("compressed-data"),
            Layer::Encrypt { .. } => enveloped("enveloped-data"),
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
            Layer::Sign { signer, digest, embed } => {
                let signature = SignOptions { embed: *embed, ..SignOptions::new(signer, *digest) };
                let mut mic = Vec::new();
                write_signed(&signature, &self.boundary("signed"), to, |to| {
                    // What was signed is what the MIC is over, compressed or not (RFC 5402).
                    let mut tee = Tee::new(to, self.mic);
                    self.entity_at(below, &mut tee)?;
                    mic = tee.finish()?;
                    Ok(())
                })?;
                Ok(mic)
            }
            Layer::Compress(encoding) => {
                let length = self.length(*encoding, |to| self.deflated(below, to))?;
                let mut out = compressed_writer(*encoding, length, to)?;
                let mic = self.deflated(below, &mut out)?;
                out.finish()?;
                Ok(mic)
            }
            Layer::Encrypt { recipient, cipher, way, encoding } => {
                let length = self.length(*encoding, |to| self.entity_at(below, to))?;
                let certificate = &recipient.certificate;
                let recipient = Recipient { certificate, way: *way, by_key_identifier: false };
                let envelope = Envelope {
                    recipients: vec![recipient],
                    encoding: *encoding,
                    ..Envelope::of(*cipher)
                };
                let mut out = envelope.writer(length, to)?;
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

    /// How many bytes this writes, where DER has to know it before: they are written twice.
    fn length(
        &self,
        encoding: Encoding,
        write: impl FnOnce(&mut dyn Write) -> io::Result<Vec<u8>>,
    ) -> io::Result<Option<u64>> {
        if encoding != Encoding::Der {
            return Ok(None);
        }
        let mut count = Count::default();
        write(&mut count)?;
        Ok(Some(count.bytes))
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
        format!("----={what}_{}", super::content::hex(&hash[..12]))
    }
}

/// Passes bytes on and digests them.
struct Tee<'a> {
    to: &'a mut dyn Write,
    hash: Hasher,
}

impl<'a> Tee<'a> {
    fn new(to: &'a mut dyn Write, digest: Digest) -> Self {
        let hash = Hasher::new(message_digest(digest)).expect("a digest that OpenSSL has");
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

fn signed_type(digest: Digest, boundary: &str) -> String {
    let micalg = digest.name();
    format!(
        "multipart/signed; protocol=\"application/pkcs7-signature\"; micalg={micalg}; boundary=\"{boundary}\""
    )
}

/// `multipart/signed` around what `entity` writes.
fn write_signed(
    signature: &SignOptions<'_>,
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
    to.write_all(&base64_lines(&signature.sign_sum(&digest)))?;
    write!(to, "\r\n--{boundary}--\r\n")
}

// === impl Layer ===

impl Layer {
    pub(super) fn digest(&self) -> Option<Digest> {
        match self {
            Self::Sign { digest, .. } => Some(*digest),
            Self::Compress(_) | Self::Encrypt { .. } => None,
        }
    }
}
