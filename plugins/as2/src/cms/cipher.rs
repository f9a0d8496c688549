//! Content encryption, decrypted while it passes.

use std::sync::OnceLock;

use openssl::{
    cipher::Cipher, cipher_ctx::CipherCtx, error::ErrorStack, lib_ctx::LibCtx, provider::Provider,
};

use subtle::{ConstantTimeEq, ConstantTimeGreater};

use super::ghash::HashKey;
use crate::{
    ber::{Tag, oid, read::Element},
    fault::Fault,
    gather::Out,
};

/// A content encryption algorithm with its parameters.
pub(super) struct ContentEncryption {
    cipher: &'static ContentCipher,
    iv: Vec<u8>,
    tag: usize,
}

/// A cipher, with the bytes of its key and of its blocks.
struct ContentCipher {
    id: &'static [u8],
    name: &'static str,
    key: usize,
    block: usize,
    mode: CipherMode,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CipherMode {
    Cbc,
    Gcm,
    /// CBC, by OpenSSL's legacy provider.
    LegacyCbc,
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
        let Some(cipher) = CIPHERS.iter().find(|cipher| cipher.id == id) else {
            return Err(Fault::Algorithm { what: "content encryption", oid: oid::dotted(id) });
        };
        let missing = Fault::Malformed("the content encryption has no parameters");
        let parameters = parameters.ok_or(missing)?;
        if id == oid::RC2_CBC {
            return Self::parse_rc2(parameters);
        }
        // pkijs, and with it libas2, writes the nonce of GCM as CBC has its own, and a whole tag.
        if cipher.mode != CipherMode::Gcm || parameters.tag == Tag::OCTET_STRING {
            return Self::with_iv(cipher, parameters.content, 16);
        }
        let mut fields = parameters.inside();
        let nonce = fields.expect(Tag::OCTET_STRING)?.content;
        // RFC 5084 section 3.2: a length that is left out is 12.
        let tag = fields.next()?.and_then(Element::small_integer).unwrap_or(12);
        Self::with_iv(cipher, nonce, usize::try_from(tag).unwrap_or(0))
    }

    /// RC2-CBC-Parameter: the effective key bits in a code (RFC 3370 section 5.2).
    fn parse_rc2(parameters: Element<'_>) -> Result<Self, Fault> {
        if parameters.tag == Tag::OCTET_STRING {
            return Err(Fault::Algorithm { what: "content encryption", oid: "RC2-32".to_owned() });
        }
        let mut fields = parameters.inside();
        let key = match fields.expect(Tag::INTEGER)?.small_integer() {
            Some(160) => 5,
            Some(120) => 8,
            Some(58) => 16,
            _ => 0,
        };
        let mut ciphers = CIPHERS.iter().filter(|cipher| cipher.id == oid::RC2_CBC);
        let unsupported = Fault::Malformed("the RC2 key length is not supported");
        let cipher = ciphers.find(|cipher| cipher.key == key).ok_or(unsupported)?;
        Self::with_iv(cipher, fields.expect(Tag::OCTET_STRING)?.content, 0)
    }

    fn with_iv(cipher: &'static ContentCipher, iv: &[u8], tag: usize) -> Result<Self, Fault> {
        let good = match cipher.mode {
            CipherMode::Gcm => (1..=64).contains(&iv.len()) && (12..=16).contains(&tag),
            CipherMode::Cbc | CipherMode::LegacyCbc => iv.len() == cipher.block,
        };
        if good {
            Ok(Self { cipher, iv: iv.to_vec(), tag })
        } else {
            Err(Fault::Malformed("the content encryption's parameters have the wrong length"))
        }
    }

    /// `aes-256-cbc`.
    pub(super) fn name(&self) -> &'static str {
        self.cipher.name
    }

    /// Bytes of its key.
    pub(super) fn key_length(&self) -> usize {
        self.cipher.key
    }

    pub(super) fn is_legacy(&self) -> bool {
        self.cipher.mode == CipherMode::LegacyCbc
    }

    pub(super) fn is_authenticated(&self) -> bool {
        self.cipher.mode == CipherMode::Gcm
    }

    /// `separate_tag`: AuthEnvelopedData has the tag in a field of its own.
    pub(super) fn decryptor(&self, key: &[u8], separate_tag: bool) -> Result<Decryptor, Fault> {
        if separate_tag && !self.is_authenticated() {
            return Err(Fault::Malformed("an authenticated envelope has no authenticated cipher"));
        }
        self.begin(key, separate_tag).map_err(|_| Fault::Unavailable(self.name()))
    }

    fn begin(&self, key: &[u8], separate_tag: bool) -> Result<Decryptor, ErrorStack> {
        let cipher = self.cipher.fetch()?;
        let mut context = CipherCtx::new()?;
        context.decrypt_init(Some(&cipher), None, None)?;
        if self.is_authenticated() {
            context.set_iv_length(self.iv.len())?;
        }
        context.decrypt_init(None, Some(key), Some(&self.iv))?;
        context.set_padding(false);
        let length = self.tag;
        let ending = match (self.is_authenticated(), separate_tag) {
            (false, _) => CipherEnd::Padding { block: self.cipher.block, held: 0 },
            (true, true) => {
                let hash_key = HashKey::new(key)?;
                CipherEnd::Separate { length, hash_key, content: 0 }
            }
            (true, false) => CipherEnd::InContent { length, held: Vec::new() },
        };
        Ok(Decryptor { context, ending, plain: Vec::new() })
    }
}

// === impl ContentCipher ===

static CIPHERS: [ContentCipher; 11] = [
    ContentCipher::aes(oid::AES128_CBC, "aes-128-cbc", 16, CipherMode::Cbc),
    ContentCipher::aes(oid::AES192_CBC, "aes-192-cbc", 24, CipherMode::Cbc),
    ContentCipher::aes(oid::AES256_CBC, "aes-256-cbc", 32, CipherMode::Cbc),
    ContentCipher::aes(oid::AES128_GCM, "aes-128-gcm", 16, CipherMode::Gcm),
    ContentCipher::aes(oid::AES192_GCM, "aes-192-gcm", 24, CipherMode::Gcm),
    ContentCipher::aes(oid::AES256_GCM, "aes-256-gcm", 32, CipherMode::Gcm),
    ContentCipher::old(oid::DES_EDE3_CBC, "des-ede3-cbc", 24, CipherMode::Cbc),
    ContentCipher::old(oid::DES_CBC, "des-cbc", 8, CipherMode::LegacyCbc),
    ContentCipher::old(oid::RC2_CBC, "rc2-40-cbc", 5, CipherMode::LegacyCbc),
    ContentCipher::old(oid::RC2_CBC, "rc2-64-cbc", 8, CipherMode::LegacyCbc),
    ContentCipher::old(oid::RC2_CBC, "rc2-128-cbc", 16, CipherMode::LegacyCbc),
];

impl ContentCipher {
    const fn aes(id: &'static [u8], name: &'static str, key: usize, mode: CipherMode) -> Self {
        Self { id, name, key, block: 16, mode }
    }

    const fn old(id: &'static [u8], name: &'static str, key: usize, mode: CipherMode) -> Self {
        Self { id, name, key, block: 8, mode }
    }

    fn fetch(&self) -> Result<Cipher, ErrorStack> {
        // OpenSSL's name of RC2 with a key of 128 bits has no number.
        let name = if self.name == "rc2-128-cbc" { "rc2-cbc" } else { self.name };
        match self.mode {
            CipherMode::Cbc | CipherMode::Gcm => Cipher::fetch(None, name, None),
            CipherMode::LegacyCbc => legacy(name),
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
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Out<'_>) -> Result<(), Fault> {
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
        out: &mut Out<'_>,
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

    fn decrypt(&mut self, bytes: &[u8], out: &mut Out<'_>) -> Result<(), Fault> {
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
