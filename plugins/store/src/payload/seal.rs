//! Encryption at rest: AES-256-GCM in chunks, in constant memory.
//!
//! | bytes | content |
//! |---|---|
//! | 8 | `AS2SEAL` and the version of this format, 1 |
//! | 8 | the id of the key |
//! | 32 | a salt, random for each payload |
//! | the rest | chunks: up to 64 KiB of ciphertext and the tag of 16 bytes; all but the last are
//! full |
//!
//! Each payload has a key of its own: HKDF-SHA256 (RFC 5869) of the payload key, its salt and the
//! id of its event, so another event's payload cannot replace it. A chunk's nonce is its number and
//! whether it is the last one, as in STREAM (Hoang, Reyhanitabar, Rogaway and Vizár, 2015):
//! missing, moved, repeated or added chunks and a truncated end are detected. The header is
//! additional data of every chunk.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use openssl::{
    cipher::Cipher, cipher_ctx::CipherCtx, error::ErrorStack, md::Md, pkey::Id, pkey_ctx::PkeyCtx,
    rand::rand_bytes,
};
use uuid::Uuid;

use crate::store::StoreError;

/// The key that seals payloads.
pub struct PayloadKey {
    key: [u8; 32],
    id: [u8; KEY_ID],
}

/// Why a payload cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// There is no key.
    #[error("there is no key to seal or open it with")]
    NoKey,
    /// Its header names another key.
    #[error("it was sealed with another key than the one in secret_key_file: put that one back")]
    OtherKey,
    /// The bytes are not those sealed for this event.
    #[error("its sealed bytes are damaged, cut short or another event's")]
    Damaged,
    /// The format is unknown.
    #[error("it is not sealed in a way that this as2hook knows; was it written by a newer one?")]
    Form,
    /// It is longer than this format allows: 256 TiB.
    #[error("it is too long to be sealed")]
    TooLong,
    /// OpenSSL failed.
    #[error("OpenSSL failed: {0}")]
    OpenSsl(#[from] ErrorStack),
}

const MAGIC: &[u8; 8] = b"AS2SEAL\x01";
const KEY_ID: usize = 8;
const SALT: usize = 32;
const HEADER: usize = MAGIC.len() + KEY_ID + SALT;
const TAG: usize = 16;
const CHUNK: usize = 64 * 1024;

/// Seals one payload.
pub(super) struct Sealer {
    event: Uuid,
    header: [u8; HEADER],
    context: CipherCtx,
    counter: u32,
    /// Plain bytes of the current chunk. A full one waits for more bytes: it may be the last.
    filling: Vec<u8>,
    sealed: Vec<u8>,
}

/// Opens one payload.
pub(super) struct Opener {
    header: [u8; HEADER],
    context: CipherCtx,
    counter: u32,
    waiting: BytesMut,
}

// === impl PayloadKey ===

impl PayloadKey {
    /// Derives the key from a secret. The key reveals nothing about the secret or about other keys
    /// derived from it.
    ///
    /// # Errors
    /// When OpenSSL fails.
    pub fn derive(secret: &[u8]) -> Result<Self, ErrorStack> {
        let (mut key, mut id) = ([0; 32], [0; KEY_ID]);
        hkdf(secret, None, &[b"as2hook payloads at rest: key"], &mut key)?;
        hkdf(secret, None, &[b"as2hook payloads at rest: key id"], &mut id)?;
        Ok(Self { key, id })
    }

    /// Creates a cipher context with the key of one payload.
    fn context(&self, salt: &[u8], event: Uuid, seals: bool) -> Result<CipherCtx, ErrorStack> {
        let mut key = [0; 32];
        hkdf(&self.key, Some(salt), &[b"as2hook payload: ", event.as_bytes()], &mut key)?;
        let mut context = CipherCtx::new()?;
        let cipher = Some(Cipher::aes_256_gcm());
        if seals {
            context.encrypt_init(cipher, Some(&key), None)?;
        } else {
            context.decrypt_init(cipher, Some(&key), None)?;
        }
        Ok(context)
    }
}

impl fmt::Debug for PayloadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PayloadKey(***)")
    }
}

// === impl Sealer ===

impl Sealer {
    pub(super) fn new(key: &PayloadKey, event: Uuid) -> Result<Self, SealError> {
        let mut header = [0; HEADER];
        header[..MAGIC.len()].copy_from_slice(MAGIC);
        header[MAGIC.len()..MAGIC.len() + KEY_ID].copy_from_slice(&key.id);
        rand_bytes(&mut header[MAGIC.len() + KEY_ID..])?;
        let context = key.context(&header[MAGIC.len() + KEY_ID..], event, true)?;
        let filling = Vec::new();
        Ok(Self { event, header, context, counter: 0, filling, sealed: Vec::new() })
    }

    /// Returns the bytes before the chunks.
    pub(super) fn header(&self) -> [u8; HEADER] {
        self.header
    }

    /// Returns how many bytes [`Self::push`] would produce for this many.
    pub(super) fn output(&self, bytes: usize) -> usize {
        (self.filling.len() + bytes).saturating_sub(1) / CHUNK * (CHUNK + TAG)
    }

    /// Adds plain bytes, and passes each full chunk to `take`.
    pub(super) fn push(
        &mut self,
        mut bytes: &[u8],
        take: &mut dyn FnMut(&[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            if self.filling.len() == CHUNK {
                self.seal(false)?;
                take(&self.sealed)?;
            }
            let fit = bytes.len().min(CHUNK - self.filling.len());
            let (now, later) = bytes.split_at(fit);
            self.filling.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// Passes the last chunk to `take`.
    pub(super) fn finish(
        mut self,
        take: &mut dyn FnMut(&[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.seal(true)?;
        take(&self.sealed)
    }

    fn seal(&mut self, last: bool) -> Result<(), StoreError> {
        let event = self.event;
        self.try_seal(last).map_err(|source| StoreError::Seal { event, source })
    }

    fn try_seal(&mut self, last: bool) -> Result<(), SealError> {
        let nonce = nonce(self.counter, last);
        self.counter = self.counter.checked_add(1).ok_or(SealError::TooLong)?;
        self.context.encrypt_init(None, None, Some(&nonce))?;
        self.context.cipher_update(&self.header, None)?;
        self.sealed.resize(self.filling.len() + TAG, 0);
        let (text, tag) = self.sealed.split_at_mut(self.filling.len());
        self.context.cipher_update(&self.filling, Some(text))?;
        // GCM produces no final bytes.
        self.context.cipher_final(&mut [])?;
        self.context.tag(tag)?;
        self.filling.clear();
        Ok(())
    }
}

// === impl Opener ===

impl Opener {
    /// The length of the header.
    pub(super) const HEADER: usize = HEADER;

    /// Creates an opener from the header.
    pub(super) fn new(
        key: Option<&PayloadKey>,
        event: Uuid,
        header: [u8; HEADER],
    ) -> Result<Self, SealError> {
        let key = key.ok_or(SealError::NoKey)?;
        let (magic, rest) = header.split_at(MAGIC.len());
        let (id, salt) = rest.split_at(KEY_ID);
        if magic != MAGIC {
            return Err(SealError::Form);
        }
        if id != key.id {
            return Err(SealError::OtherKey);
        }
        let context = key.context(salt, event, false)?;
        Ok(Self { header, context, counter: 0, waiting: BytesMut::new() })
    }

    /// Adds sealed bytes after the header.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// Returns the next complete chunk that is not the last one.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, SealError> {
        if self.waiting.len() <= CHUNK + TAG {
            return Ok(None);
        }
        self.open(CHUNK, false).map(Some)
    }

    /// Returns the last chunk: no more bytes come.
    pub(super) fn finish(&mut self) -> Result<Bytes, SealError> {
        let length = self.waiting.len().checked_sub(TAG).ok_or(SealError::Damaged)?;
        self.open(length, true)
    }

    fn open(&mut self, length: usize, last: bool) -> Result<Bytes, SealError> {
        let nonce = nonce(self.counter, last);
        self.counter = self.counter.checked_add(1).ok_or(SealError::TooLong)?;
        self.context.decrypt_init(None, None, Some(&nonce))?;
        self.context.cipher_update(&self.header, None)?;
        let mut plain = BytesMut::zeroed(length);
        self.context.cipher_update(&self.waiting[..length], Some(&mut plain))?;
        self.context.set_tag(&self.waiting[length..length + TAG])?;
        // Only the tag can be wrong here.
        self.context.cipher_final(&mut []).map_err(|_| SealError::Damaged)?;
        self.waiting.advance(length + TAG);
        Ok(plain.freeze())
    }
}

fn nonce(counter: u32, last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[7..11].copy_from_slice(&counter.to_be_bytes());
    nonce[11] = u8::from(last);
    nonce
}

fn hkdf(
    secret: &[u8],
    salt: Option<&[u8]>,
    info: &[&[u8]],
    out: &mut [u8],
) -> Result<(), ErrorStack> {
    let mut context = PkeyCtx::new_id(Id::HKDF)?;
    context.derive_init()?;
    context.set_hkdf_md(Md::sha256())?;
    context.set_hkdf_key(secret)?;
    if let Some(salt) = salt {
        context.set_hkdf_salt(salt)?;
    }
    for part in info {
        context.add_hkdf_info(part)?;
    }
    context.derive(Some(out))?;
    Ok(())
}

#[cfg(test)]
mod tests;
