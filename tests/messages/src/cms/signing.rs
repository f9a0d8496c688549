//! SignedData, detached from what it signs or around it.

use as2hook_as2::{Digest, ber::oid as ids};
use openssl::{hash::hash, pkey_ctx::PkeyCtx, rsa::Padding, sign::RsaPssSaltlen};

use super::{
    base64_lines, content_info,
    digests::{digest_id, md, message_digest},
    identifier, smime,
};
use crate::{
    Identity,
    der::{Encoding, NULL, int, octets, oid, seq, set, tlv},
    mime::{entity, multipart},
};

/// How to sign.
#[derive(Clone)]
pub struct SignOptions<'a> {
    pub by: &'a Identity,
    pub digest: Digest,
    pub scheme: Scheme,
    pub attributes: bool,
    pub embed: bool,
    pub by_key_identifier: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Pkcs1,
    Pss,
    Ecdsa,
}

/// The shape of a signed entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// multipart/signed with the signature in base64 or binary.
    Detached {
        base64: bool,
    },
    Opaque(Encoding),
}

// === impl SignOptions ===

impl<'a> SignOptions<'a> {
    pub fn new(by: &'a Identity, digest: Digest) -> Self {
        let scheme =
            if by.key.id() == openssl::pkey::Id::EC { Scheme::Ecdsa } else { Scheme::Pkcs1 };
        Self { by, digest, scheme, attributes: true, embed: true, by_key_identifier: false }
    }

    /// A detached SignedData over content of this digest.
    pub fn sign_sum(&self, sum: &[u8]) -> Vec<u8> {
        self.sign_with(sum, &[], None)
    }

    /// A SignedData's ContentInfo, with the content inside or not.
    pub fn sign(&self, content: &[u8], inside: Option<Encoding>) -> Vec<u8> {
        let sum = hash(message_digest(self.digest), content).unwrap();
        self.sign_with(&sum, content, inside)
    }

    /// Content of the SET of signed attributes for content of this digest.
    fn attributes(sum: &[u8]) -> Vec<u8> {
        let attribute = |id: &[u8], value: &[u8]| seq(&[&oid(id), &set(&[value])]);
        let now = jiff::Timestamp::now().strftime("%y%m%d%H%M%SZ").to_string();
        let mut attributes = [
            attribute(b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x03", &oid(ids::DATA)),
            attribute(b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x05", &tlv(0x17, now.as_bytes())),
            attribute(ids::MESSAGE_DIGEST, &octets(sum)),
        ];
        attributes.sort();
        attributes.concat()
    }

    /// What this content was signed with, shown without the signed attributes as a signature over
    /// them.
    pub fn confused(&self, content: &[u8], shape: Signing) -> Vec<u8> {
        let sum = hash(message_digest(self.digest), content).unwrap();
        let set = tlv(0x31, &Self::attributes(&sum));
        Self { attributes: false, ..self.clone() }.entity(&set, shape, self.digest.name())
    }

    fn sign_with(&self, sum: &[u8], content: &[u8], inside: Option<Encoding>) -> Vec<u8> {
        let encoding = inside.unwrap_or(Encoding::Der);
        let digest = seq(&[&oid(digest_id(self.digest)), NULL]);
        let attributes = Self::attributes(sum);
        let signed = if self.attributes {
            hash(message_digest(self.digest), &tlv(0x31, &attributes)).unwrap().to_vec()
        } else {
            sum.to_vec()
        };
        let (algorithm, signature) = self.signature(&signed);
        let kept: Vec<u8> = if self.attributes { tlv(0xa0, &attributes) } else { Vec::new() };
        let signer = seq(&[
            &int(if self.by_key_identifier { 3 } else { 1 }),
            &identifier(&self.by.certificate, self.by_key_identifier),
            &digest,
            &kept,
            &algorithm,
            &octets(&signature),
        ]);
        let content = match inside {
            Some(encoding) => {
                let string = encoding.string(4, content);
                encoding.open(0x30, &[oid(ids::DATA), encoding.open(0xa0, &string)].concat())
            }
            None => seq(&[&oid(ids::DATA)]),
        };
        let certificate = self.by.certificate.to_der().unwrap();
        let certificates = if self.embed { encoding.open(0xa0, &certificate) } else { Vec::new() };
        let fields = [
            int(1),
            encoding.open(0x31, &digest),
            content,
            certificates,
            encoding.open(0x31, &signer),
        ];
        content_info(encoding, ids::SIGNED_DATA, &encoding.open(0x30, &fields.concat()))
    }

    fn signature(&self, value: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut context = PkeyCtx::new(&self.by.key).unwrap();
        context.sign_init().unwrap();
        let digest = seq(&[&oid(digest_id(self.digest)), NULL]);
        let algorithm = match self.scheme {
            Scheme::Pkcs1 => {
                context.set_rsa_padding(Padding::PKCS1).unwrap();
                seq(&[&oid(ids::RSA), NULL])
            }
            Scheme::Pss => {
                context.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
                let salt = openssl::md::MdRef::size(md(self.digest)) as u8;
                let mask = seq(&[&oid(ids::MGF1), &digest]);
                let parameters =
                    seq(&[&tlv(0xa0, &digest), &tlv(0xa1, &mask), &tlv(0xa2, &int(salt))]);
                seq(&[&oid(ids::RSA_PSS), &parameters])
            }
            Scheme::Ecdsa => seq(&[&oid(match self.digest {
                Digest::Sha1 => ids::ECDSA_WITH_SHA1,
                Digest::Sha224 => ids::ECDSA_WITH_SHA224,
                Digest::Sha384 => ids::ECDSA_WITH_SHA384,
                Digest::Sha512 => ids::ECDSA_WITH_SHA512,
                Digest::Sha3_224 => ids::ECDSA_WITH_SHA3_224,
                Digest::Sha3_256 => ids::ECDSA_WITH_SHA3_256,
                Digest::Sha3_384 => ids::ECDSA_WITH_SHA3_384,
                Digest::Sha3_512 => ids::ECDSA_WITH_SHA3_512,
                _ => ids::ECDSA_WITH_SHA256,
            })]),
        };
        context.set_signature_md(md(self.digest)).unwrap();
        if self.scheme == Scheme::Pss {
            context.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH).unwrap();
            context.set_rsa_mgf1_md(md(self.digest)).unwrap();
        }
        let mut out = Vec::new();
        context.sign_to_vec(value, &mut out).unwrap();
        (algorithm, out)
    }

    /// A signed entity; `micalg` as the sender spells it.
    pub fn entity(&self, content: &[u8], shape: Signing, micalg: &str) -> Vec<u8> {
        let base64 = match shape {
            Signing::Opaque(encoding) => {
                return smime("signed-data", &self.sign(content, Some(encoding)));
            }
            Signing::Detached { base64 } => base64,
        };
        let signature = self.sign(content, None);
        let kind = "Content-Type: application/pkcs7-signature; name=\"smime.p7s\"";
        let part = if base64 {
            entity(&[kind, "Content-Transfer-Encoding: base64"], &base64_lines(&signature))
        } else {
            entity(&[kind], &signature)
        };
        multipart(
            &format!("multipart/signed; protocol=\"application/pkcs7-signature\"; micalg={micalg}"),
            "----=_Part_7_42.1",
            &[content, &part],
        )
    }
}
