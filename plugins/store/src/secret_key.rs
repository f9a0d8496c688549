//! Secrets at rest: AES-256-GCM with a key that lies beside the store, readable by its owner alone.

use std::{
    fmt, fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use as2hook_as2::hex;
use base64::{Engine, engine::general_purpose::STANDARD};
use openssl::{
    rand::rand_bytes,
    symm::{Cipher, decrypt_aead, encrypt_aead},
};

use crate::{
    payload::PayloadKey,
    private_files::{create_folder, create_whole, folder_of},
};

/// The key of `secret_key_file`.
pub struct SecretKey([u8; 32]);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretKeyError {
    /// It could not be read or created.
    #[error("secret_key_file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// It exists, but contains no key.
    #[error("secret_key_file {0} does not hold a key: 64 hexadecimal digits; put back your backup")]
    Form(PathBuf),
    /// OpenSSL has no randomness.
    #[error("no key can be made: {0}")]
    Random(#[from] openssl::error::ErrorStack),
}

/// A sealed value cannot be opened: it was sealed with another key or for another partner, or it is
/// damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secret was not sealed with the key in secret_key_file")]
pub struct Unopened;

/// The first byte of a sealed value: its format.
const VERSION: u8 = 1;
/// The beginning of a sealed text; no URL begins with it.
const SEALED: &str = "sealed:";
const NONCE: usize = 12;
const TAG: usize = 16;

// === impl SecretKey ===

impl SecretKey {
    /// Reads the key. Creates it first, readable only by its owner, if there is no file. Blocks.
    ///
    /// # Errors
    /// When the file cannot be read or made, or holds no key.
    pub fn open_or_make(path: &Path) -> Result<Self, SecretKeyError> {
        let failed = |source| SecretKeyError::File { path: path.to_owned(), source };
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut key = [0; 32];
                rand_bytes(&mut key)?;
                let made = create_folder(folder_of(path));
                made.and_then(|()| create_whole(path, &hex::encode(&key))).map_err(failed)?;
                // Another process may have been faster: what is in the file counts.
                fs::read_to_string(path).map_err(failed)?
            }
            read => read.map_err(failed)?,
        };
        let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            let path = path.display();
            tracing::warn!(%path, "Others can read secret_key_file; chmod 600 it.");
        }
        parse(text.trim()).map(Self).ok_or_else(|| SecretKeyError::Form(path.to_owned()))
    }

    /// Encrypts a secret of a site's partner. It opens only for this partner.
    ///
    /// # Errors
    /// When OpenSSL cannot.
    pub fn seal(
        &self,
        site: &str,
        partner: u64,
        secret: &str,
    ) -> Result<Vec<u8>, openssl::error::ErrorStack> {
        self.seal_for(&owner(site, partner), secret)
    }

    /// Decrypts the result of [`Self::seal`].
    ///
    /// # Errors
    /// [`Unopened`].
    pub fn unseal(&self, site: &str, partner: u64, sealed: &[u8]) -> Result<String, Unopened> {
        self.unseal_for(&owner(site, partner), sealed)
    }

    /// Encrypts a URL of a webhook, which may hold a token, as text that stands in its place.
    ///
    /// # Errors
    /// When OpenSSL cannot.
    pub fn seal_url(&self, webhook: &str, url: &str) -> Result<String, openssl::error::ErrorStack> {
        let sealed = self.seal_for(&url_owner(webhook), url)?;
        Ok(format!("{SEALED}{}", STANDARD.encode(sealed)))
    }

    /// Decrypts the result of [`Self::seal_url`]; a URL that was stored unsealed stays as it is.
    ///
    /// # Errors
    /// [`Unopened`].
    pub fn unseal_url(&self, webhook: &str, kept: &str) -> Result<String, Unopened> {
        let Some(sealed) = kept.strip_prefix(SEALED) else { return Ok(kept.to_owned()) };
        let sealed = STANDARD.decode(sealed).map_err(|_| Unopened)?;
        self.unseal_for(&url_owner(webhook), &sealed)
    }

    /// Encrypts a short text that opens for this purpose alone: of the console, what a browser keeps for it.
    ///
    /// # Errors
    /// When OpenSSL cannot.
    pub fn seal_text(
        &self,
        purpose: &str,
        text: &str,
    ) -> Result<Vec<u8>, openssl::error::ErrorStack> {
        self.seal_for(&text_owner(purpose), text)
    }

    /// Decrypts the result of [`Self::seal_text`].
    ///
    /// # Errors
    /// [`Unopened`].
    pub fn unseal_text(&self, purpose: &str, sealed: &[u8]) -> Result<String, Unopened> {
        self.unseal_for(&text_owner(purpose), sealed)
    }

    fn seal_for(&self, owner: &[u8], text: &str) -> Result<Vec<u8>, openssl::error::ErrorStack> {
        let (mut nonce, mut tag) = ([0; NONCE], [0; TAG]);
        rand_bytes(&mut nonce)?;
        let (cipher, text) = (Cipher::aes_256_gcm(), text.as_bytes());
        let text = encrypt_aead(cipher, &self.0, Some(&nonce), owner, text, &mut tag)?;
        Ok([&[VERSION][..], &nonce, &tag, &text].concat())
    }

    fn unseal_for(&self, owner: &[u8], sealed: &[u8]) -> Result<String, Unopened> {
        let rest = sealed.strip_prefix(&[VERSION]).ok_or(Unopened)?;
        let (nonce, rest) = rest.split_at_checked(NONCE).ok_or(Unopened)?;
        let (tag, text) = rest.split_at_checked(TAG).ok_or(Unopened)?;
        let text = decrypt_aead(Cipher::aes_256_gcm(), &self.0, Some(nonce), owner, text, tag);
        String::from_utf8(text.map_err(|_| Unopened)?).map_err(|_| Unopened)
    }

    /// Derives the key that seals payloads.
    ///
    /// # Errors
    /// When OpenSSL cannot.
    pub fn of_payloads(&self) -> Result<PayloadKey, SecretKeyError> {
        Ok(PayloadKey::derive(&self.0)?)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(***)")
    }
}

/// Bound to the ciphertext, so that a row moved in the store does not open.
fn owner(site: &str, partner: u64) -> Vec<u8> {
    format!("as2hook webhook secret\n{partner}\n{site}").into_bytes()
}

fn url_owner(webhook: &str) -> Vec<u8> {
    format!("as2hook webhook url\n{webhook}").into_bytes()
}

fn text_owner(purpose: &str) -> Vec<u8> {
    format!("as2hook text\n{purpose}").into_bytes()
}

fn parse(text: &str) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_for_us_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data/secret.key");
        let first = SecretKey::open_or_make(&path).unwrap();
        let second = SecretKey::open_or_make(&path).unwrap();
        assert_eq!(first.0, second.0);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        fs::write(&path, "not a key").unwrap();
        assert!(matches!(SecretKey::open_or_make(&path), Err(SecretKeyError::Form(_))));
    }

    #[test]
    fn a_url_opens_for_its_webhook_and_by_its_key_alone() {
        let (key, other) = (SecretKey([7; 32]), SecretKey([8; 32]));
        let url = "https://erp.example/hooks?token=hunter2";
        let kept = key.seal_url("erp", url).unwrap();
        assert!(!kept.contains("erp.example") && !kept.contains("hunter2"), "{kept}");
        assert_eq!(key.unseal_url("erp", &kept).as_deref(), Ok(url));
        assert_eq!(key.unseal_url("other", &kept), Err(Unopened));
        assert_eq!(other.unseal_url("erp", &kept), Err(Unopened));
        assert_eq!(key.unseal_url("erp", "sealed:!"), Err(Unopened));
        assert_eq!(key.unseal_url("erp", url).as_deref(), Ok(url), "kept before it was sealed");
    }

    #[test]
    fn a_secret_opens_for_its_partner_and_by_its_key_alone() {
        let (key, other) = (SecretKey([7; 32]), SecretKey([8; 32]));
        let sealed = key.seal("main", 123, "my_secret").unwrap();
        assert!(!sealed.windows(9).any(|bytes| bytes == b"my_secret"));
        assert_ne!(sealed, key.seal("main", 123, "my_secret").unwrap());
        assert_eq!(key.unseal("main", 123, &sealed).as_deref(), Ok("my_secret"));
        assert_eq!(key.unseal("main", 124, &sealed), Err(Unopened));
        assert_eq!(key.unseal("other", 123, &sealed), Err(Unopened));
        assert_eq!(other.unseal("main", 123, &sealed), Err(Unopened));
        for cut in 0..sealed.len() {
            assert_eq!(key.unseal("main", 123, &sealed[..cut]), Err(Unopened));
        }
        let mut bent = sealed;
        *bent.last_mut().unwrap() ^= 1;
        assert_eq!(key.unseal("main", 123, &bent), Err(Unopened));
    }
}
