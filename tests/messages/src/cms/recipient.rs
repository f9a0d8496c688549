//! Recipients of an envelope, each with its own way to the content key.

use as2hook_as2::{Digest, ber::oid as ids};
use openssl::{
    aes::{AesKey, wrap_key},
    bn::BigNumContext,
    ec::{EcKey, PointConversionForm},
    hash::hash,
    pkey::PKey,
    pkey_ctx::PkeyCtx,
    rsa::Padding,
    x509::X509,
};

use super::{
    digests::{digest_id, md, message_digest},
    identifier,
};
use crate::der::{NULL, int, octets, oid, seq, tlv};

/// How a recipient gets the content key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyWay {
    Pkcs1,
    /// Hash and mask.
    Oaep(Digest, Digest),
    /// Key derivation's digest, and the wrap's key length in bytes; keying material or not.
    Ecdh(Digest, usize, bool),
    /// PKCS#1 with this byte of its padding set to this value, counted back from the separator.
    Spoilt(usize, u8),
    /// PKCS#1 with a key of another length.
    BadLength,
}

#[derive(Clone)]
pub struct Recipient<'a> {
    pub certificate: &'a X509,
    pub way: KeyWay,
    pub by_key_identifier: bool,
}

// === impl Recipient ===

impl Recipient<'_> {
    fn identifier(&self) -> Vec<u8> {
        identifier(self.certificate, self.by_key_identifier)
    }

    pub fn info(&self, secret: &[u8]) -> Vec<u8> {
        let public = self.certificate.public_key().unwrap();
        let (algorithm, encrypted) = match self.way {
            KeyWay::Ecdh(digest, length, material) => {
                return self.agree(secret, digest, length, material);
            }
            KeyWay::Oaep(digest, mask) => {
                let mut context = PkeyCtx::new(&public).unwrap();
                context.encrypt_init().unwrap();
                context.set_rsa_padding(Padding::PKCS1_OAEP).unwrap();
                context.set_rsa_oaep_md(md(digest)).unwrap();
                context.set_rsa_mgf1_md(md(mask)).unwrap();
                let mut out = Vec::new();
                context.encrypt_to_vec(secret, &mut out).unwrap();
                let hash = |digest| seq(&[&oid(digest_id(digest)), NULL]);
                let mask = seq(&[&oid(ids::MGF1), &hash(mask)]);
                let parameters = seq(&[&tlv(0xa0, &hash(digest)), &tlv(0xa1, &mask)]);
                (seq(&[&oid(ids::RSA_OAEP), &parameters]), out)
            }
            way => {
                let mut context = PkeyCtx::new(&public).unwrap();
                context.encrypt_init().unwrap();
                let mut input = secret.to_vec();
                let padding = if let KeyWay::Spoilt(back, value) = way {
                    let separator = public.size() - secret.len() - 1;
                    let mut block = vec![0x7f; separator];
                    block[..2].copy_from_slice(&[0, 2]);
                    block.push(0);
                    block[separator - back] = value;
                    input = [block.as_slice(), secret].concat();
                    Padding::NONE
                } else {
                    Padding::PKCS1
                };
                if way == KeyWay::BadLength {
                    input.push(1);
                }
                context.set_rsa_padding(padding).unwrap();
                let mut out = Vec::new();
                context.encrypt_to_vec(&input, &mut out).unwrap();
                (seq(&[&oid(ids::RSA), NULL]), out)
            }
        };
        let version = int(if self.by_key_identifier { 2 } else { 0 });
        seq(&[&version, &self.identifier(), &algorithm, &octets(&encrypted)])
    }

    fn agree(&self, secret: &[u8], digest: Digest, length: usize, material: bool) -> Vec<u8> {
        let public = self.certificate.public_key().unwrap();
        let theirs = public.ec_key().unwrap();
        let own = EcKey::generate(theirs.group()).unwrap();
        let mut numbers = BigNumContext::new().unwrap();
        let form = PointConversionForm::UNCOMPRESSED;
        let point = own.public_key().to_bytes(theirs.group(), form, &mut numbers).unwrap();
        let own = PKey::from_ec_key(own).unwrap();
        let mut context = PkeyCtx::new(&own).unwrap();
        context.derive_init().unwrap();
        context.derive_set_peer(&public).unwrap();
        let mut shared = Vec::new();
        context.derive_to_vec(&mut shared).unwrap();
        let wrap = seq(&[&oid(match length {
            16 => ids::AES128_WRAP,
            24 => ids::AES192_WRAP,
            _ => ids::AES256_WRAP,
        })]);
        let ukm = octets(b"keying material");
        let ukm: Vec<u8> = if material { tlv(0xa0, &ukm) } else { Vec::new() };
        let bits = tlv(0xa2, &octets(&(length as u32 * 8).to_be_bytes()));
        let info = seq(&[&wrap, &ukm, &bits]);
        let mut kek = Vec::new();
        for counter in 1u32..4 {
            let input = [shared.as_slice(), &counter.to_be_bytes(), &info].concat();
            kek.extend(hash(message_digest(digest), &input).unwrap().iter());
        }
        kek.truncate(length);
        let mut wrapped = vec![0; secret.len() + 8];
        let key = AesKey::new_encrypt(&kek).unwrap();
        wrap_key(&key, None, &mut wrapped, secret).unwrap();
        let scheme = match digest {
            Digest::Sha1 => ids::ECDH_SHA1,
            Digest::Sha224 => ids::ECDH_SHA224,
            Digest::Sha256 => ids::ECDH_SHA256,
            Digest::Sha384 => ids::ECDH_SHA384,
            _ => ids::ECDH_SHA512,
        };
        let key_algorithm = seq(&[&oid(b"\x2a\x86\x48\xce\x3d\x02\x01")]);
        let bits = tlv(3, &[&[0], point.as_slice()].concat());
        let originator = tlv(0xa0, &tlv(0xa1, &[key_algorithm, bits].concat()));
        let material: Vec<u8> =
            if material { tlv(0xa1, &octets(b"keying material")) } else { Vec::new() };
        let identifier = if self.by_key_identifier {
            let id = self.certificate.subject_key_id().unwrap();
            tlv(0xa0, &octets(id.as_slice()))
        } else {
            self.identifier()
        };
        let keys = seq(&[&seq(&[&identifier, &octets(&wrapped)])]);
        let algorithm = seq(&[&oid(scheme), &wrap]);
        tlv(0xa1, &[int(3), originator, material, algorithm, keys].concat())
    }
}
