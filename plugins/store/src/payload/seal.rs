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
    error::ErrorStack,
    md::Md,
    pkey::Id,
    pkey_ctx::PkeyCtx,
    rand::rand_bytes,
    symm::{Cipher, decrypt_aead, encrypt_aead},
};
use uuid::Uuid;

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
    header: [u8; HEADER],
    key: [u8; 32],
    counter: u32,
    /// Plain bytes of the current chunk. A full one waits for more bytes: it may be the last.
    filling: Vec<u8>,
}

/// Opens one payload.
pub(super) struct Opener {
    header: [u8; HEADER],
    key: [u8; 32],
    counter: u32,
    waiting: BytesMut,
    is_done: bool,
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

    /// Derives the key of one payload.
    fn of_payload(&self, salt: &[u8], event: Uuid) -> Result<[u8; 32], ErrorStack> {
        let mut key = [0; 32];
        hkdf(&self.key, Some(salt), &[b"as2hook payload: ", event.as_bytes()], &mut key)?;
        Ok(key)
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
        let key = key.of_payload(&header[MAGIC.len() + KEY_ID..], event)?;
        Ok(Self { header, key, counter: 0, filling: Vec::new() })
    }

    /// Returns the bytes before the chunks.
    pub(super) fn header(&self) -> [u8; HEADER] {
        self.header
    }

    /// Returns how many bytes [`Self::push`] would return for this many.
    pub(super) fn output(&self, bytes: usize) -> usize {
        (self.filling.len() + bytes).saturating_sub(1) / CHUNK * (CHUNK + TAG)
    }

    /// Adds plain bytes, and returns the chunks that are full.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut sealed = Vec::with_capacity(self.output(bytes.len()));
        while !bytes.is_empty() {
            if self.filling.len() == CHUNK {
                self.seal(false, &mut sealed)?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK - self.filling.len()));
            self.filling.extend_from_slice(now);
            bytes = later;
        }
        Ok(sealed)
    }

    /// Returns the last chunk.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, SealError> {
        let mut sealed = Vec::new();
        self.seal(true, &mut sealed)?;
        Ok(sealed)
    }

    fn seal(&mut self, last: bool, sealed: &mut Vec<u8>) -> Result<(), SealError> {
        let (nonce, mut tag) = (next_nonce(&mut self.counter, last)?, [0; TAG]);
        let (cipher, header) = (Cipher::aes_256_gcm(), &self.header);
        let text = encrypt_aead(cipher, &self.key, Some(&nonce), header, &self.filling, &mut tag)?;
        self.filling.clear();
        sealed.extend_from_slice(&text);
        sealed.extend_from_slice(&tag);
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
        let key = key.of_payload(salt, event)?;
        Ok(Self { header, key, counter: 0, waiting: BytesMut::new(), is_done: false })
    }

    /// Adds sealed bytes after the header.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// Whether there is a chunk that is not the last one.
    pub(super) fn has_chunk(&self) -> bool {
        self.waiting.len() > CHUNK + TAG
    }

    /// Returns the next chunk: the last one, unless [`Self::has_chunk`]. `None` after that one.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, SealError> {
        if self.is_done {
            return Ok(None);
        }
        self.is_done = !self.has_chunk();
        let length = self.waiting.len().min(CHUNK + TAG);
        let length = length.checked_sub(TAG).ok_or(SealError::Damaged)?;
        let nonce = next_nonce(&mut self.counter, self.is_done)?;
        let (text, tag) = self.waiting[..length + TAG].split_at(length);
        let (cipher, header) = (Cipher::aes_256_gcm(), &self.header);
        // Only the tag can be wrong here.
        let plain = decrypt_aead(cipher, &self.key, Some(&nonce), header, text, tag)
            .map_err(|_| SealError::Damaged)?;
        self.waiting.advance(length + TAG);
        // An empty payload has an empty chunk.
        Ok(Some(plain.into()).filter(|plain: &Bytes| !plain.is_empty()))
    }
}

/// Returns a chunk's nonce, and counts it.
fn next_nonce(counter: &mut u32, last: bool) -> Result<[u8; 12], SealError> {
    let mut nonce = [0; 12];
    nonce[7..11].copy_from_slice(&counter.to_be_bytes());
    nonce[11] = u8::from(last);
    *counter = counter.checked_add(1).ok_or(SealError::TooLong)?;
    Ok(nonce)
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
