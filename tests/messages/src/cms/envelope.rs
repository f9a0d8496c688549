//! EnvelopedData and AuthEnvelopedData.

use std::io::{self, Write};

use as2hook_as2::ber::oid as ids;
use openssl::{cipher_ctx::CipherCtx, rand::rand_bytes};

use super::{
    cipher::Cipher,
    content_info,
    recipient::{KeyWay, Recipient},
    smime,
    stream::{ContentWriter, Shape},
};
use crate::{
    Identity,
    der::{Encoding, int, octets, oid, seq, set, tlv},
};

/// An envelope to make.
#[derive(Clone)]
pub struct Envelope<'a> {
    pub recipients: Vec<Recipient<'a>>,
    pub cipher: Cipher,
    pub encoding: Encoding,
    /// AuthEnvelopedData instead of EnvelopedData.
    pub authenticated: bool,
    /// Authenticated attributes.
    pub attributes: bool,
    /// The nonce of GCM alone for parameters.
    pub bare_nonce: bool,
}

// === impl Envelope ===

impl<'a> Envelope<'a> {
    /// For one RSA recipient, DER.
    pub fn to(identity: &'a Identity, cipher: Cipher) -> Self {
        let recipient = Recipient {
            certificate: &identity.certificate,
            way: KeyWay::Pkcs1,
            by_key_identifier: false,
        };
        Self { recipients: vec![recipient], ..Self::of(cipher) }
    }

    /// Without recipients, DER.
    pub fn of(cipher: Cipher) -> Self {
        Self {
            recipients: Vec::new(),
            cipher,
            encoding: Encoding::Der,
            authenticated: false,
            attributes: false,
            bare_nonce: false,
        }
    }

    /// The ContentInfo.
    pub fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let (key, iv) = self.secrets();
        let attributes =
            seq(&[&oid(b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x03"), &set(&[&oid(ids::DATA)])]);
        let aad = if self.attributes { set(&[&attributes]) } else { Vec::new() };
        let (mut content, tag) = self.cipher.encrypt(&key, &iv, &aad, plain);
        if self.cipher.is_gcm() && !self.authenticated {
            content.extend(&tag);
        }
        let (encoding, before, inner) = (self.encoding, self.before(&key), self.inner(&iv));
        let content = encoding.open(0x30, &[inner, encoding.string(0x80, &content)].concat());
        let mut fields = [before, content].concat();
        if self.authenticated {
            if self.attributes {
                fields.extend(tlv(0xa1, &attributes));
            }
            fields.extend(octets(&tag));
        }
        let id = if self.authenticated { ids::AUTH_ENVELOPED_DATA } else { ids::ENVELOPED_DATA };
        content_info(encoding, id, &encoding.open(0x30, &fields))
    }

    /// Writes EnvelopedData around what is then written: so many bytes, which DER has to know before.
    pub fn writer<'w>(
        &self,
        length: Option<u64>,
        to: &'w mut dyn Write,
    ) -> io::Result<EnvelopeWriter<'w>> {
        let (key, iv) = self.secrets();
        let block = iv.len() as u64;
        let length = length.map(|plain| (plain / block + 1) * block);
        let (before, inner) = (self.before(&key), self.inner(&iv));
        let shape =
            Shape { kind: ids::ENVELOPED_DATA, before: &before, inner: &inner, is_implicit: true };
        let content = ContentWriter::begin(&shape, self.encoding, length, to)?;
        Ok(EnvelopeWriter { cipher: self.cipher.begin(&key, &iv), content, sealed: Vec::new() })
    }

    /// As a MIME entity.
    pub fn entity(&self, plain: &[u8]) -> Vec<u8> {
        let kind = if self.authenticated { "authEnveloped-data" } else { "enveloped-data" };
        smime(kind, &self.seal(plain))
    }

    /// A new key and initialization vector.
    fn secrets(&self) -> (Vec<u8>, Vec<u8>) {
        let (key_length, iv_length) = self.cipher.lengths();
        let (mut key, mut iv) = (vec![0; key_length], vec![0; iv_length]);
        rand_bytes(&mut key).unwrap();
        rand_bytes(&mut iv).unwrap();
        (key, iv)
    }

    /// What stands before the content: version and recipients.
    fn before(&self, key: &[u8]) -> Vec<u8> {
        let recipients: Vec<u8> = self.recipients.iter().flat_map(|r| r.info(key)).collect();
        [int(0), self.encoding.open(0x31, &recipients)].concat()
    }

    /// What stands before the content's bytes: its type and algorithm.
    fn inner(&self, iv: &[u8]) -> Vec<u8> {
        let parameters = match self.cipher {
            Cipher::Rc2(bits) => {
                let version: &[u8] = match bits {
                    40 => &[0, 160],
                    64 => &[120],
                    _ => &[58],
                };
                seq(&[&tlv(2, version), &octets(iv)])
            }
            cipher if cipher.is_gcm() && !self.bare_nonce => seq(&[&octets(iv), &int(16)]),
            _ => octets(iv),
        };
        [oid(ids::DATA), seq(&[&oid(self.cipher.id()), &parameters])].concat()
    }
}

/// Encrypts what is written.
pub struct EnvelopeWriter<'a> {
    cipher: CipherCtx,
    content: ContentWriter<'a>,
    sealed: Vec<u8>,
}

// === impl EnvelopeWriter ===

impl EnvelopeWriter<'_> {
    /// Writes the last block and what closes the structure.
    pub fn finish(mut self) -> io::Result<()> {
        self.sealed.clear();
        self.cipher.cipher_final_vec(&mut self.sealed)?;
        self.content.write_all(&self.sealed)?;
        self.content.finish()
    }
}

impl Write for EnvelopeWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sealed.clear();
        self.cipher.cipher_update_vec(bytes, &mut self.sealed)?;
        self.content.write_all(&self.sealed)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
