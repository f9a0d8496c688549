//! EnvelopedData and AuthEnvelopedData.

use as2hook_as2::ber::oid as ids;
use openssl::rand::rand_bytes;

use super::{
    cipher::Cipher,
    content_info,
    recipient::{KeyWay, Recipient},
    smime,
};
use crate::support::{
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
        Self {
            recipients: vec![recipient],
            cipher,
            encoding: Encoding::Der,
            authenticated: false,
            attributes: false,
            bare_nonce: false,
        }
    }

    /// The ContentInfo.
    pub fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let (key_length, iv_length) = self.cipher.lengths();
        let (mut key, mut iv) = (vec![0; key_length], vec![0; iv_length]);
        rand_bytes(&mut key).unwrap();
        rand_bytes(&mut iv).unwrap();
        let attributes =
            seq(&[&oid(b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x03"), &set(&[&oid(ids::DATA)])]);
        let aad = if self.attributes { set(&[&attributes]) } else { Vec::new() };
        let (mut content, tag) = self.cipher.encrypt(&key, &iv, &aad, plain);
        let parameters = match self.cipher {
            Cipher::Rc2(bits) => {
                let version: &[u8] = match bits {
                    40 => &[0, 160],
                    64 => &[120],
                    _ => &[58],
                };
                seq(&[&tlv(2, version), &octets(&iv)])
            }
            cipher if cipher.is_gcm() && !self.bare_nonce => seq(&[&octets(&iv), &int(16)]),
            _ => octets(&iv),
        };
        if self.cipher.is_gcm() && !self.authenticated {
            content.extend(&tag);
        }
        let algorithm = seq(&[&oid(self.cipher.id()), &parameters]);
        let recipients: Vec<u8> = self.recipients.iter().flat_map(|r| r.info(&key)).collect();
        let encoding = self.encoding;
        let content = encoding
            .open(0x30, &[oid(ids::DATA), algorithm, encoding.string(0x80, &content)].concat());
        let mut fields = [int(0), encoding.open(0x31, &recipients), content].concat();
        if self.authenticated {
            if self.attributes {
                fields.extend(tlv(0xa1, &attributes));
            }
            fields.extend(octets(&tag));
        }
        let id = if self.authenticated { ids::AUTH_ENVELOPED_DATA } else { ids::ENVELOPED_DATA };
        content_info(encoding, id, &encoding.open(0x30, &fields))
    }

    /// As a MIME entity.
    pub fn entity(&self, plain: &[u8]) -> Vec<u8> {
        let kind = if self.authenticated { "authEnveloped-data" } else { "enveloped-data" };
        smime(kind, &self.seal(plain))
    }
}
