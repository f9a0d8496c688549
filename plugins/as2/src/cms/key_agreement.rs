//! Elliptic-curve key agreement: ephemeral-static ECDH, the X9.63 key derivation, and the key wraps
//! (RFC 5753, RFC 3394, RFC 3217).

use openssl::{
    aes::{AesKey, unwrap_key},
    bn::BigNumContext,
    cipher::Cipher,
    cipher_ctx::{CipherCtx, CipherCtxFlags},
    ec::{EcKey, EcPoint},
    error::ErrorStack,
    pkey::{PKey, PKeyRef, Private},
    pkey_ctx::PkeyCtx,
};

use crate::{
    ber::{
        Tag, oid,
        read::{Element, encode},
    },
    digest::Digest,
    fault::Fault,
};

/// What the recipients of one KeyAgreeRecipientInfo share.
pub(super) struct Agreement<'a> {
    /// The ephemeral public point.
    point: &'a [u8],
    /// UserKeyingMaterial.
    material: Option<&'a [u8]>,
    digest: Digest,
    wrap: Wrap,
    /// The wrap's AlgorithmIdentifier, which goes into the derivation.
    wrap_raw: &'a [u8],
}

#[derive(Clone, Copy)]
enum Wrap {
    Aes(usize),
    TripleDes,
}

// === impl Agreement ===

impl<'a> Agreement<'a> {
    /// From the originator, the keying material and the key encryption algorithm.
    pub(super) fn parse(
        originator: Element<'a>,
        material: Option<Element<'a>>,
        algorithm: Element<'a>,
    ) -> Result<Self, Fault> {
        let (id, wrap) = algorithm.algorithm()?;
        let digest = derivation(id).ok_or_else(|| {
            unsupported(
                if oid::ECMQV.contains(&id) { "ECMQV key agreement" } else { "key agreement" },
                id,
            )
        })?;
        // Only [1] OriginatorPublicKey: static-static agreement is not for S/MIME.
        let Some(key) = originator.inside().context(1)? else {
            return Err(Fault::Malformed("the key agreement has no ephemeral key"));
        };
        let mut key = key.inside();
        key.expect(Tag::SEQUENCE)?;
        // A BIT STRING begins with its count of unused bits.
        let point = key.any()?.content.get(1..).unwrap_or_default();
        let wrap = wrap.ok_or(Fault::Malformed("the key agreement has no key wrap"))?;
        let (wrap_id, _) = wrap.algorithm()?;
        let material = match material {
            Some(explicit) => Some(explicit.inside().any()?.content),
            None => None,
        };
        Ok(Self {
            point,
            material,
            digest,
            wrap: Wrap::by(wrap_id).ok_or_else(|| unsupported("key wrap", wrap_id))?,
            wrap_raw: wrap.raw,
        })
    }

    /// The content-encryption key. `None`: it does not open.
    pub(super) fn open(&self, key: &PKeyRef<Private>, wrapped: &[u8]) -> Option<Vec<u8>> {
        let shared = self.shared_secret(key).ok()?;
        let kek = self.derive(&shared).ok()?;
        self.wrap.open(&kek, wrapped)
    }

    fn shared_secret(&self, key: &PKeyRef<Private>) -> Result<Vec<u8>, ErrorStack> {
        let own = key.ec_key()?;
        let mut numbers = BigNumContext::new()?;
        let point = EcPoint::from_bytes(own.group(), self.point, &mut numbers)?;
        let peer = EcKey::from_public_key(own.group(), &point)?;
        // A point off the curve would leak the private key.
        peer.check_key()?;
        let mut context = PkeyCtx::new(key)?;
        context.derive_init()?;
        context.derive_set_peer(PKey::from_ec_key(peer)?.as_ref())?;
        let mut shared = Vec::new();
        context.derive_to_vec(&mut shared)?;
        Ok(shared)
    }

    /// ANSI X9.63 over the secret, a counter and ECC-CMS-SharedInfo (RFC 5753 section 7.2).
    fn derive(&self, shared: &[u8]) -> Result<Vec<u8>, ErrorStack> {
        let length = self.wrap.key_length();
        let bits = u32::try_from(length * 8).unwrap_or(0).to_be_bytes();
        let mut info = self.wrap_raw.to_vec();
        if let Some(material) = self.material {
            info.extend(encode(0xa0, &encode(Tag::OCTET_STRING.octet, material)));
        }
        info.extend(encode(0xa2, &encode(Tag::OCTET_STRING.octet, &bits)));
        let info = encode(Tag::SEQUENCE.octet, &info);
        let mut out = Vec::new();
        for counter in 1u32.. {
            out.extend(self.digest.of(&[shared, &counter.to_be_bytes(), &info].concat())?);
            if out.len() >= length {
                break;
            }
        }
        out.truncate(length);
        Ok(out)
    }
}

// === impl Wrap ===

impl Wrap {
    fn by(id: &[u8]) -> Option<Self> {
        Some(match id {
            oid::AES128_WRAP => Self::Aes(16),
            oid::AES192_WRAP => Self::Aes(24),
            oid::AES256_WRAP => Self::Aes(32),
            oid::DES_EDE3_WRAP => Self::TripleDes,
            _ => return None,
        })
    }

    fn key_length(self) -> usize {
        match self {
            Self::Aes(length) => length,
            Self::TripleDes => 24,
        }
    }

    fn open(self, kek: &[u8], wrapped: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Aes(_) => {
                // The wrap is whole blocks of eight and one more than the key has.
                if wrapped.len() < 24 || !wrapped.len().is_multiple_of(8) {
                    return None;
                }
                let mut out = vec![0; wrapped.len() - 8];
                let key = AesKey::new_decrypt(kek).ok()?;
                unwrap_key(&key, None, &mut out, wrapped).ok()?;
                Some(out)
            }
            Self::TripleDes => {
                if wrapped.len() != 40 {
                    return None;
                }
                let cipher = Cipher::fetch(None, "DES3-WRAP", None).ok()?;
                let mut context = CipherCtx::new().ok()?;
                context.set_flags(CipherCtxFlags::FLAG_WRAP_ALLOW);
                context.decrypt_init(Some(&cipher), Some(kek), None).ok()?;
                let mut out = Vec::new();
                context.cipher_update_vec(wrapped, &mut out).ok()?;
                Some(out)
            }
        }
    }
}

/// The key derivation's digest. With the curves in use, whose cofactor is 1, both schemes are one.
fn derivation(id: &[u8]) -> Option<Digest> {
    Some(match id {
        oid::ECDH_SHA1 | oid::ECDH_COFACTOR_SHA1 => Digest::Sha1,
        oid::ECDH_SHA224 | oid::ECDH_COFACTOR_SHA224 => Digest::Sha224,
        oid::ECDH_SHA256 | oid::ECDH_COFACTOR_SHA256 => Digest::Sha256,
        oid::ECDH_SHA384 | oid::ECDH_COFACTOR_SHA384 => Digest::Sha384,
        oid::ECDH_SHA512 | oid::ECDH_COFACTOR_SHA512 => Digest::Sha512,
        _ => return None,
    })
}

fn unsupported(what: &'static str, id: &[u8]) -> Fault {
    Fault::Algorithm { what, oid: oid::dotted(id) }
}
