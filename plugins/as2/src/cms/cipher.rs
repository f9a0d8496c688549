//! Content encryption, decrypted while it passes.

use std::sync::OnceLock;

use openssl::{
    cipher::{Cipher, CipherRef},
    cipher_ctx::CipherCtx,
    error::ErrorStack,
    lib_ctx::LibCtx,
    provider::Provider,
};

use subtle::{ConstantTimeEq, ConstantTimeGreater};

use super::ghash::HashKey;
use crate::{
    ber::{Tag, oid, read::Element},
    fault::Fault,
};

/// A content encryption algorithm with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ContentEncryption {
    kind: CipherKind,
    iv: Vec<u8>,
    tag: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CipherKind {
    Aes128Cbc,
    Aes192Cbc,
    Aes256Cbc,
    Aes128Gcm,
    Aes192Gcm,
    Aes256Gcm,
    TripleDes,
    Des,
    Rc2 { bits: u8 },
}

/// Decrypts one content.
pub(super) struct Decryptor {
    context: CipherCtx,
    ending: CipherEnd,
    plain: Vec<u8>,
}

/// What the end of the content has to prove.
enum CipherEnd {
    /// Of CBC: the padding. The last block is held back at the beginning of `plain`, since it may
    /// have some.
    Padding { block: usize, held: usize },
    /// Of GCM: the tag is the last bytes of the content, held back.
    InContent { length: usize, held: Vec<u8> },
    /// Of GCM: the tag is a field behind the content, after attributes that it covers too.
    Separate { length: usize, hash_key: HashKey, content: u64 },
}

/// Bytes decrypted at once: small enough that the layers inside find them in the cache.
const PIECE: usize = 16 * 1024;

// === impl ContentEncryption ===

impl ContentEncryption {
    pub(super) fn parse(element: Element<'_>) -> Result<Self, Fault> {
        let (id, parameters) = element.algorithm()?;
        let missing = Fault::Malformed("the content encryption has no parameters");
        let kind = match id {
            oid::AES128_CBC => CipherKind::Aes128Cbc,
            oid::AES192_CBC => CipherKind::Aes192Cbc,
            oid::AES256_CBC => CipherKind::Aes256Cbc,
            oid::AES128_GCM => CipherKind::Aes128Gcm,
            oid::AES192_GCM => CipherKind::Aes192Gcm,
            oid::AES256_GCM => CipherKind::Aes256Gcm,
            oid::DES_EDE3_CBC => CipherKind::TripleDes,
            oid::DES_CBC => CipherKind::Des,
            oid::RC2_CBC => return Self::parse_rc2(parameters.ok_or(missing)?),
            _ => {
                return Err(Fault::Algorithm { what: "content encryption", oid: oid::dotted(id) });
            }
        };
        let parameters = parameters.ok_or(missing)?;
        if !kind.is_gcm() {
            return Self::with_iv(kind, parameters.content, 0);
        }
        if parameters.tag == Tag::OCTET_STRING {
            // pkijs, and with it libas2, writes the nonce as CBC has its own, and a whole tag.
            return Self::with_iv(kind, parameters.content, 16);
        }
        let mut fields = parameters.inside();
        let nonce = fields.expect(Tag::OCTET_STRING)?.content;
        // RFC 5084 section 3.2: a length that is left out is 12.
        let tag = fields.next()?.and_then(Element::small_integer).unwrap_or(12);
        Self::with_iv(kind, nonce, usize::try_from(tag).unwrap_or(0))
    }

    /// RC2-CBC-Parameter: the effective key bits in a code (RFC 3370 section 5.2).
    fn parse_rc2(parameters: Element<'_>) -> Result<Self, Fault> {
        if parameters.tag == Tag::OCTET_STRING {
            return Err(Fault::Algorithm { what: "content encryption", oid: "RC2-32".to_owned() });
        }
        let mut fields = parameters.inside();
        let version = fields.expect(Tag::INTEGER)?.small_integer();
        let bits = match version {
            Some(160) => 40,
            Some(120) => 64,
            Some(58) => 128,
            _ => return Err(Fault::Malformed("the RC2 key length is not supported")),
        };
        Self::with_iv(CipherKind::Rc2 { bits }, fields.expect(Tag::OCTET_STRING)?.content, 0)
    }

    fn with_iv(kind: CipherKind, iv: &[u8], tag: usize) -> Result<Self, Fault> {
        let good = if kind.is_gcm() {
            (1..=64).contains(&iv.len()) && (12..=16).contains(&tag)
        } else {
            iv.len() == kind.block()
        };
        if good {
            Ok(Self { kind, iv: iv.to_vec(), tag })
        } else {
            Err(Fault::Malformed("the content encryption's parameters have the wrong length"))
        }
    }

    /// `aes-256-cbc`.
    pub(super) fn name(&self) -> &'static str {
        match self.kind {
            CipherKind::Aes128Cbc => "aes-128-cbc",
            CipherKind::Aes192Cbc => "aes-192-cbc",
            CipherKind::Aes256Cbc => "aes-256-cbc",
            CipherKind::Aes128Gcm => "aes-128-gcm",
            CipherKind::Aes192Gcm => "aes-192-gcm",
            CipherKind::Aes256Gcm => "aes-256-gcm",
            CipherKind::TripleDes => "des-ede3-cbc",
            CipherKind::Des => "des-cbc",
            CipherKind::Rc2 { bits: 40 } => "rc2-40-cbc",
            CipherKind::Rc2 { bits: 64 } => "rc2-64-cbc",
            CipherKind::Rc2 { .. } => "rc2-128-cbc",
        }
    }

    /// Bytes of its key.
    pub(super) fn key_length(&self) -> usize {
        match self.kind {
            CipherKind::Aes128Cbc | CipherKind::Aes128Gcm => 16,
            CipherKind::Aes192Cbc | CipherKind::Aes192Gcm | CipherKind::TripleDes => 24,
            CipherKind::Aes256Cbc | CipherKind::Aes256Gcm => 32,
            CipherKind::Des => 8,
            CipherKind::Rc2 { bits } => usize::from(bits / 8),
        }
    }

    pub(super) fn is_legacy(&self) -> bool {
        matches!(self.kind, CipherKind::Des | CipherKind::Rc2 { .. })
    }

    pub(super) fn is_authenticated(&self) -> bool {
        self.kind.is_gcm()
    }

    /// `separate_tag`: AuthEnvelopedData has the tag in a field of its own.
    pub(super) fn decryptor(&self, key: &[u8], separate_tag: bool) -> Result<Decryptor, Fault> {
        if separate_tag && !self.kind.is_gcm() {
            return Err(Fault::Malformed("an authenticated envelope has no authenticated cipher"));
        }
        let mut context = CipherCtx::new().map_err(|_| Fault::Unavailable(self.name()))?;
        self.kind
            .with_cipher(|cipher| {
                context.decrypt_init(Some(cipher), None, None)?;
                if self.kind.is_gcm() {
                    context.set_iv_length(self.iv.len())?;
                }
                context.decrypt_init(None, Some(key), Some(&self.iv))?;
                context.set_padding(false);
                Ok(())
            })
            .map_err(|_| Fault::Unavailable(self.name()))?;
        let length = self.tag;
        let ending = match (self.kind.is_gcm(), separate_tag) {
            (false, _) => CipherEnd::Padding { block: self.kind.block(), held: 0 },
            (true, true) => {
                let hash_key = HashKey::new(self.kind.block_cipher(), key)
                    .map_err(|_| Fault::Unavailable(self.name()))?;
                CipherEnd::Separate { length, hash_key, content: 0 }
            }
            (true, false) => CipherEnd::InContent { length, held: Vec::new() },
        };
        Ok(Decryptor { context, ending, plain: Vec::new() })
    }
}

// === impl CipherKind ===

impl CipherKind {
    fn is_gcm(self) -> bool {
        matches!(self, Self::Aes128Gcm | Self::Aes192Gcm | Self::Aes256Gcm)
    }

    /// Of GCM.
    fn block_cipher(self) -> &'static CipherRef {
        match self {
            Self::Aes128Gcm => Cipher::aes_128_ecb(),
            Self::Aes192Gcm => Cipher::aes_192_ecb(),
            _ => Cipher::aes_256_ecb(),
        }
    }

    fn block(self) -> usize {
        match self {
            Self::TripleDes | Self::Des | Self::Rc2 { .. } => 8,
            _ => 16,
        }
    }

    fn with_cipher(
        self,
        using: impl FnOnce(&CipherRef) -> Result<(), ErrorStack>,
    ) -> Result<(), ErrorStack> {
        match self {
            Self::Aes128Cbc => using(Cipher::aes_128_cbc()),
            Self::Aes192Cbc => using(Cipher::aes_192_cbc()),
            Self::Aes256Cbc => using(Cipher::aes_256_cbc()),
            Self::Aes128Gcm => using(Cipher::aes_128_gcm()),
            Self::Aes192Gcm => using(Cipher::aes_192_gcm()),
            Self::Aes256Gcm => using(Cipher::aes_256_gcm()),
            Self::TripleDes => using(Cipher::des_ede3_cbc()),
            Self::Des => legacy("DES-CBC").and_then(|cipher| using(&cipher)),
            Self::Rc2 { bits: 40 } => legacy("RC2-40-CBC").and_then(|cipher| using(&cipher)),
            Self::Rc2 { bits: 64 } => legacy("RC2-64-CBC").and_then(|cipher| using(&cipher)),
            Self::Rc2 { .. } => legacy("RC2-CBC").and_then(|cipher| using(&cipher)),
        }
    }
}

/// A cipher of OpenSSL's legacy provider, which is loaded at its first use and into a context of its
/// own: the default context, and with it TLS, never gets these algorithms.
fn legacy(name: &str) -> Result<Cipher, ErrorStack> {
    static LEGACY: OnceLock<Result<(LibCtx, Provider), ErrorStack>> = OnceLock::new();
    let loaded = LEGACY.get_or_init(|| {
        let context = LibCtx::new()?;
        let provider = Provider::load(Some(&context), "legacy")?;
        Ok((context, provider))
    });
    match loaded {
        Ok((context, _)) => Cipher::fetch(Some(context), name, None),
        Err(error) => Err(error.clone()),
    }
}

// === impl Decryptor ===

impl Decryptor {
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        out: &mut dyn FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let (length, held) = match &mut self.ending {
            CipherEnd::InContent { length, held } => (*length, held),
            CipherEnd::Separate { content, .. } => {
                *content += bytes.len() as u64;
                return self.decrypt(bytes, out);
            }
            CipherEnd::Padding { .. } => return self.decrypt(bytes, out),
        };
        // The tag is only known to be the tag when the content ends.
        let mut ready = std::mem::take(held);
        let over = (ready.len() + bytes.len()).saturating_sub(length);
        let from_held = over.min(ready.len());
        let rest = ready.split_off(from_held);
        let (now, later) = bytes.split_at(over - from_held);
        *held = [rest.as_slice(), later].concat();
        self.decrypt(&ready, out)?;
        self.decrypt(now, out)
    }

    /// Checks the padding or the tag. Whatever is wrong is told in the same way. `separate`: the
    /// tag and the attributes that it covers.
    pub(super) fn finish(
        &mut self,
        separate: Option<(&[u8], &[u8])>,
        out: &mut dyn FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let (length, tag) = match &self.ending {
            CipherEnd::Padding { block, held } => {
                let held = &self.plain[..*held];
                let content = unpad(held, *block);
                out(&held[..content.unwrap_or(held.len())])?;
                self.context.cipher_final(&mut [0; 64]).map_err(|_| Fault::NotOpened)?;
                return content.map(|_| ()).ok_or(Fault::NotOpened);
            }
            CipherEnd::InContent { length, held } => (*length, held.clone()),
            CipherEnd::Separate { length, hash_key, content } => {
                let (tag, attributes) = separate.unwrap_or_default();
                let mut tag = tag.to_vec();
                if !attributes.is_empty() {
                    let correction = hash_key.correction(attributes, *content);
                    tag.iter_mut().zip(correction).for_each(|(byte, by)| *byte ^= by);
                }
                (*length, tag)
            }
        };
        if tag.len() != length {
            return Err(Fault::NotOpened);
        }
        self.context.set_tag(&tag).map_err(|_| Fault::NotOpened)?;
        self.context.cipher_final(&mut [0; 64]).map_err(|_| Fault::NotOpened)?;
        Ok(())
    }

    fn decrypt(
        &mut self,
        bytes: &[u8],
        out: &mut dyn FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        for piece in bytes.chunks(PIECE) {
            let (from, block) = match self.ending {
                CipherEnd::Padding { block, held } => (held, block),
                _ => (0, 0),
            };
            if self.plain.len() < from + piece.len() + 32 {
                self.plain.resize(from + piece.len() + 32, 0);
            }
            let count = self
                .context
                .cipher_update(piece, Some(&mut self.plain[from..]))
                .map_err(|_| Fault::NotOpened)?;
            // Without its padding a cipher hands on whole blocks.
            let end = from + count;
            let ready = end.saturating_sub(block);
            if ready > 0 {
                out(&self.plain[..ready])?;
                self.plain.copy_within(ready..end, 0);
            }
            if let CipherEnd::Padding { held, .. } = &mut self.ending {
                *held = end - ready;
            }
        }
        Ok(())
    }
}

/// How much of the last block is content (RFC 5652 section 6.3), found without a branch on the bytes.
fn unpad(last: &[u8], block: usize) -> Option<usize> {
    let (&count, _) = last.split_last().filter(|_| last.len() == block)?;
    let most = u8::try_from(block).unwrap_or(u8::MAX);
    let mut good = !count.ct_eq(&0) & !count.ct_gt(&most);
    for (at, byte) in (1..=most).zip(last.iter().rev()) {
        good &= at.ct_gt(&count) | byte.ct_eq(&count);
    }
    bool::from(good).then(|| block - usize::from(count))
}
