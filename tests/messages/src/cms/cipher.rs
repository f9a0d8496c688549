//! Ciphers of contents, those included that are no longer safe.

use as2hook_as2::ber::oid as ids;
use openssl::{
    cipher::Cipher as Primitive, cipher_ctx::CipherCtx, lib_ctx::LibCtx, provider::Provider,
};

/// A content encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    Aes128Cbc,
    Aes192Cbc,
    Aes256Cbc,
    Aes128Gcm,
    Aes192Gcm,
    Aes256Gcm,
    TripleDes,
    Des,
    Rc2(u8),
}

// === impl Cipher ===

impl Cipher {
    pub fn id(self) -> &'static [u8] {
        match self {
            Self::Aes128Cbc => ids::AES128_CBC,
            Self::Aes192Cbc => ids::AES192_CBC,
            Self::Aes256Cbc => ids::AES256_CBC,
            Self::Aes128Gcm => ids::AES128_GCM,
            Self::Aes192Gcm => ids::AES192_GCM,
            Self::Aes256Gcm => ids::AES256_GCM,
            Self::TripleDes => ids::DES_EDE3_CBC,
            Self::Des => ids::DES_CBC,
            Self::Rc2(_) => ids::RC2_CBC,
        }
    }

    /// Of the key and of the initialization vector.
    pub fn lengths(self) -> (usize, usize) {
        match self {
            Self::Aes128Cbc => (16, 16),
            Self::Aes192Cbc => (24, 16),
            Self::Aes256Cbc => (32, 16),
            Self::Aes128Gcm => (16, 12),
            Self::Aes192Gcm => (24, 12),
            Self::Aes256Gcm => (32, 12),
            Self::TripleDes => (24, 8),
            Self::Des => (8, 8),
            Self::Rc2(bits) => (usize::from(bits) / 8, 8),
        }
    }

    pub fn is_gcm(self) -> bool {
        matches!(self, Self::Aes128Gcm | Self::Aes192Gcm | Self::Aes256Gcm)
    }

    /// Begins an encryption.
    pub fn begin(self, key: &[u8], iv: &[u8]) -> CipherCtx {
        let mut context = CipherCtx::new().unwrap();
        let legacy = |name| {
            // They last as long as the process: what is fetched from them may be used until then.
            let library = Box::leak(Box::new(LibCtx::new().unwrap()));
            std::mem::forget(Provider::load(Some(library), "legacy").unwrap());
            Primitive::fetch(Some(library), name, None).unwrap()
        };
        let fetched;
        let cipher = match self {
            Self::Aes128Cbc => Primitive::aes_128_cbc(),
            Self::Aes192Cbc => Primitive::aes_192_cbc(),
            Self::Aes256Cbc => Primitive::aes_256_cbc(),
            Self::Aes128Gcm => Primitive::aes_128_gcm(),
            Self::Aes192Gcm => Primitive::aes_192_gcm(),
            Self::Aes256Gcm => Primitive::aes_256_gcm(),
            Self::TripleDes => Primitive::des_ede3_cbc(),
            Self::Des | Self::Rc2(_) => {
                fetched = legacy(match self {
                    Self::Des => "DES-CBC",
                    Self::Rc2(40) => "RC2-40-CBC",
                    Self::Rc2(64) => "RC2-64-CBC",
                    _ => "RC2-CBC",
                });
                &fetched
            }
        };
        context.encrypt_init(Some(cipher), Some(key), Some(iv)).unwrap();
        context
    }

    /// Ciphertext and tag.
    pub fn encrypt(self, key: &[u8], iv: &[u8], aad: &[u8], plain: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut context = self.begin(key, iv);
        if !aad.is_empty() {
            context.cipher_update(aad, None).unwrap();
        }
        let mut out = Vec::new();
        context.cipher_update_vec(plain, &mut out).unwrap();
        context.cipher_final_vec(&mut out).unwrap();
        let mut tag = vec![0; if self.is_gcm() { 16 } else { 0 }];
        if self.is_gcm() {
            context.tag(&mut tag).unwrap();
        }
        (out, tag)
    }
}
