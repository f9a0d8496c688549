//! CMS structures (RFC 5652, RFC 3274): a detached signature, an envelope, a compressed content.

use std::io::{self, Write};

use openssl::encrypt::Encrypter;
use openssl::hash::MessageDigest;
use openssl::rand::rand_bytes;
use openssl::rsa::Padding;
use openssl::sign::Signer;
use openssl::symm::{self, Crypter, Mode};
use openssl::x509::X509;

use super::der::{
    self, CONTEXT_0, CONTEXT_0_BYTES, CONTEXT_1, END, NULL, OCTETS, SEQUENCE, SET, algorithm,
    number, oid, tlv,
};
use super::layer::{Digest, Signature};

const DATA: &str = "1.2.840.113549.1.7.1";
const SIGNED_DATA: &str = "1.2.840.113549.1.7.2";
const ENVELOPED_DATA: &str = "1.2.840.113549.1.7.3";
const COMPRESSED_DATA: &str = "1.2.840.113549.1.9.16.1.9";
const ZLIB: &str = "1.2.840.113549.1.9.16.3.8";
const RSA: &str = "1.2.840.113549.1.1.1";
const RSA_OAEP: &str = "1.2.840.113549.1.1.7";
const MGF1: &str = "1.2.840.113549.1.1.8";
const CONTENT_TYPE: &str = "1.2.840.113549.1.9.3";
const MESSAGE_DIGEST: &str = "1.2.840.113549.1.9.4";
const SIGNING_TIME: &str = "1.2.840.113549.1.9.5";

/// How a content is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// AES-128-CBC.
    Aes128Cbc,
    /// AES-256-CBC.
    Aes256Cbc,
    /// Triple DES in CBC mode, with three keys.
    TripleDes,
}

/// How a structure's lengths are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// DER: every length known before its content. The content is made twice.
    Definite,
    /// BER: indefinite lengths, the content in segments of this many bytes.
    Segments(usize),
}

/// A `SignedData` without its content, over content with this digest. RSA signers only: their signatures
/// are all of one length, which the definite form around them relies on.
pub(super) fn signed_data(signature: &Signature, content_digest: &[u8]) -> Vec<u8> {
    let digest = algorithm(signature.digest.oid(), &NULL);
    let attributes = signed_attributes(content_digest);
    let signed = tlv(SET, &[&attributes]);
    let md = signature.digest.message_digest();
    let mut signer = Signer::new(md, &signature.key).expect("a key that signs");
    let value = signer.sign_oneshot_to_vec(&signed).expect("a key that signs");
    let signer_info = tlv(
        SEQUENCE,
        &[
            &number(1),
            &issuer_and_serial(&signature.certificate),
            &digest,
            &tlv(CONTEXT_0, &[&attributes]),
            &algorithm(RSA, &NULL),
            &tlv(OCTETS, &[&value]),
        ],
    );
    let certificates = if signature.embed {
        let certificate = signature.certificate.to_der().expect("a certificate that was made");
        tlv(CONTEXT_0, &[&certificate])
    } else {
        Vec::new()
    };
    let signed_data = tlv(
        SEQUENCE,
        &[
            &number(1),
            &tlv(SET, &[&digest]),
            &tlv(SEQUENCE, &[&oid(DATA)]),
            &certificates,
            &tlv(SET, &[&signer_info]),
        ],
    );
    tlv(SEQUENCE, &[&oid(SIGNED_DATA), &tlv(CONTEXT_0, &[&signed_data])])
}

/// An envelope being written: what goes in is encrypted.
pub(super) struct EnvelopeWriter<'a> {
    crypter: Crypter,
    content: ContentWriter<'a>,
    cipher_text: Vec<u8>,
}

impl<'a> EnvelopeWriter<'a> {
    /// Begins an envelope. `plain`: how many bytes will be written, for the definite form.
    pub(super) fn begin(
        envelope: &super::layer::Envelope,
        plain: Option<u64>,
        to: &'a mut dyn Write,
    ) -> io::Result<Self> {
        let cipher = envelope.cipher.symmetric();
        let mut key = vec![0; cipher.key_len()];
        let mut iv = vec![0; cipher.block_size()];
        rand_bytes(&mut key)?;
        rand_bytes(&mut iv)?;
        let crypter = Crypter::new(cipher, Mode::Encrypt, &key, Some(&iv))?;

        let (transport, wrapped) = wrap_key(&envelope.recipient, envelope.oaep, &key)?;
        let recipient = tlv(
            SEQUENCE,
            &[
                &number(0),
                &issuer_and_serial(&envelope.recipient),
                &transport,
                &tlv(OCTETS, &[&wrapped]),
            ],
        );
        let before = [number(0), tlv(SET, &[&recipient])].concat();
        let inner = [oid(DATA), algorithm(envelope.cipher.oid(), &tlv(OCTETS, &[&iv]))].concat();
        let block = cipher.block_size() as u64;
        let length = plain.map(|plain| (plain / block + 1) * block);
        let shape = Shape { kind: ENVELOPED_DATA, before: &before, inner: &inner, implicit: true };
        let content = ContentWriter::begin(&shape, envelope.form, length, to)?;
        Ok(Self { crypter, content, cipher_text: Vec::new() })
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        let mut last = [0; 64];
        let length = self.crypter.finalize(&mut last)?;
        self.content.write_all(&last[..length])?;
        self.content.finish()
    }
}

impl Write for EnvelopeWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.cipher_text.resize(bytes.len() + 64, 0);
        let length = self.crypter.update(bytes, &mut self.cipher_text)?;
        self.content.write_all(&self.cipher_text[..length])?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Begins a `CompressedData`; the zlib stream is then written into it. `length`: of that stream, for
/// the definite form.
pub(super) fn compressed_data(
    form: Form,
    length: Option<u64>,
    to: &mut dyn Write,
) -> io::Result<ContentWriter<'_>> {
    let before = [number(0), algorithm(ZLIB, &[])].concat();
    let inner = oid(DATA);
    let shape = Shape { kind: COMPRESSED_DATA, before: &before, inner: &inner, implicit: false };
    ContentWriter::begin(&shape, form, length, to)
}

/// `ContentInfo { kind, [0] { before, { inner, [0] content } } }`, the shape that both have.
struct Shape<'a> {
    kind: &'a str,
    before: &'a [u8],
    inner: &'a [u8],
    /// Whether `[0]` stands for the OCTET STRING itself or around it.
    implicit: bool,
}

/// The content of a structure being written.
pub(super) struct ContentWriter<'a> {
    to: &'a mut dyn Write,
    segment: Option<usize>,
    held: Vec<u8>,
    ends: usize,
}

impl<'a> ContentWriter<'a> {
    fn begin(
        shape: &Shape<'_>,
        form: Form,
        length: Option<u64>,
        to: &'a mut dyn Write,
    ) -> io::Result<Self> {
        let kind = oid(shape.kind);
        let (segment, ends) = match form {
            Form::Definite => {
                let length = length.expect("the definite form is given its length");
                let content = if shape.implicit {
                    der::header(CONTEXT_0_BYTES, length)
                } else {
                    let octets = der::header(OCTETS, length);
                    let around = der::header(CONTEXT_0, octets.len() as u64 + length);
                    [around, octets].concat()
                };
                // From the inside out: each length covers what follows it and the content.
                let mut head = [shape.inner, &content].concat();
                for (tag, lead) in
                    [(SEQUENCE, shape.before), (SEQUENCE, &[]), (CONTEXT_0, &kind), (SEQUENCE, &[])]
                {
                    let around = der::header(tag, head.len() as u64 + length);
                    head = [lead, &around, &head].concat();
                }
                to.write_all(&head)?;
                (None, 0)
            }
            Form::Segments(size) => {
                let open = |tag| [tag, 0x80];
                to.write_all(&open(SEQUENCE))?;
                to.write_all(&kind)?;
                to.write_all(&open(CONTEXT_0))?;
                to.write_all(&open(SEQUENCE))?;
                to.write_all(shape.before)?;
                to.write_all(&open(SEQUENCE))?;
                to.write_all(shape.inner)?;
                to.write_all(&open(CONTEXT_0))?;
                if !shape.implicit {
                    to.write_all(&open(OCTETS | 0x20))?;
                }
                (Some(size.max(1)), if shape.implicit { 5 } else { 6 })
            }
        };
        Ok(Self { to, segment, held: Vec::new(), ends })
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        if !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            self.put(&held)?;
        }
        for _ in 0..self.ends {
            self.to.write_all(&END)?;
        }
        Ok(())
    }

    fn put(&mut self, segment: &[u8]) -> io::Result<()> {
        self.to.write_all(&der::header(OCTETS, segment.len() as u64))?;
        self.to.write_all(segment)
    }
}

impl Write for ContentWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(size) = self.segment else {
            self.to.write_all(bytes)?;
            return Ok(bytes.len());
        };
        let take = bytes.len().min(size - self.held.len());
        self.held.extend_from_slice(&bytes[..take]);
        if self.held.len() == size {
            let full = std::mem::take(&mut self.held);
            self.put(&full)?;
        }
        Ok(take)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// === impl Cipher ===

impl Cipher {
    fn symmetric(self) -> symm::Cipher {
        match self {
            Self::Aes128Cbc => symm::Cipher::aes_128_cbc(),
            Self::Aes256Cbc => symm::Cipher::aes_256_cbc(),
            Self::TripleDes => symm::Cipher::des_ede3_cbc(),
        }
    }

    fn oid(self) -> &'static str {
        match self {
            Self::Aes128Cbc => "2.16.840.1.101.3.4.1.2",
            Self::Aes256Cbc => "2.16.840.1.101.3.4.1.42",
            Self::TripleDes => "1.2.840.113549.3.7",
        }
    }
}

/// Content type, signing time and digest, sorted as DER wants a SET OF.
fn signed_attributes(content_digest: &[u8]) -> Vec<u8> {
    let attribute = |name, value: &[u8]| tlv(SEQUENCE, &[&oid(name), &tlv(SET, &[value])]);
    let now = jiff::Timestamp::now().strftime("%y%m%d%H%M%SZ").to_string();
    let mut all = [
        attribute(CONTENT_TYPE, &oid(DATA)),
        attribute(SIGNING_TIME, &tlv(der::UTC_TIME, &[now.as_bytes()])),
        attribute(MESSAGE_DIGEST, &tlv(OCTETS, &[content_digest])),
    ];
    all.sort();
    all.concat()
}

pub(crate) fn issuer_and_serial(certificate: &X509) -> Vec<u8> {
    let issuer = certificate.issuer_name().to_der().expect("a certificate that was made");
    let serial = certificate.serial_number().to_bn().expect("a certificate that was made");
    let mut serial = serial.to_vec();
    if serial.first().is_none_or(|first| first & 0x80 != 0) {
        serial.insert(0, 0);
    }
    tlv(SEQUENCE, &[&issuer, &tlv(der::INTEGER, &[&serial])])
}

/// The key transport's `AlgorithmIdentifier`, and the wrapped key.
fn wrap_key(recipient: &X509, oaep: bool, key: &[u8]) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let public = recipient.public_key()?;
    let mut encrypter = Encrypter::new(&public)?;
    let transport = if oaep {
        encrypter.set_rsa_padding(Padding::PKCS1_OAEP)?;
        encrypter.set_rsa_oaep_md(MessageDigest::sha256())?;
        encrypter.set_rsa_mgf1_md(MessageDigest::sha256())?;
        let hash = algorithm(Digest::Sha256.oid(), &NULL);
        let mask = tlv(CONTEXT_1, &[&algorithm(MGF1, &hash)]);
        algorithm(RSA_OAEP, &tlv(SEQUENCE, &[&tlv(CONTEXT_0, &[&hash]), &mask]))
    } else {
        encrypter.set_rsa_padding(Padding::PKCS1)?;
        algorithm(RSA, &NULL)
    };
    let mut wrapped = vec![0; encrypter.encrypt_len(key)?];
    let length = encrypter.encrypt(key, &mut wrapped)?;
    wrapped.truncate(length);
    Ok((transport, wrapped))
}
