//! GCM with additional data that comes too late.
//!
//! In AuthEnvelopedData the authenticated attributes stand behind the content, while GCM wants them
//! in front. GHASH is a polynomial, though, so what they add to the tag can be computed apart: the
//! content is decrypted as if there were none, and the tag is corrected by that much
//! (NIST SP 800-38D section 6.4).

use openssl::{cipher::Cipher, cipher_ctx::CipherCtx, error::ErrorStack};

/// The hash key of one content key: AES over zeros.
#[derive(Clone, Copy)]
pub(super) struct HashKey(u128);

// === impl HashKey ===

impl HashKey {
    pub(super) fn new(key: &[u8]) -> Result<Self, ErrorStack> {
        let block_cipher = Cipher::fetch(None, &format!("aes-{}-ecb", key.len() * 8), None)?;
        let mut context = CipherCtx::new()?;
        context.encrypt_init(Some(&block_cipher), Some(key), None)?;
        context.set_padding(false);
        let mut block = [0; 32];
        context.cipher_update(&[0; 16], Some(&mut block))?;
        let mut hash_key = [0; 16];
        hash_key.copy_from_slice(&block[..16]);
        Ok(Self(u128::from_be_bytes(hash_key)))
    }

    /// What `additional` data adds to the tag of a content of so many bytes.
    pub(super) fn correction(self, additional: &[u8], content: u64) -> [u8; 16] {
        let mut sum = 0u128;
        for chunk in additional.chunks(16) {
            let mut block = [0; 16];
            block[..chunk.len()].copy_from_slice(chunk);
            sum = multiply(sum ^ u128::from_be_bytes(block), self.0);
        }
        // The content's blocks and the block of lengths follow.
        let shifted = multiply(sum, self.power(content.div_ceil(16) + 1));
        let bits = (additional.len() as u128).wrapping_mul(8) << 64;
        (shifted ^ multiply(bits, self.0)).to_be_bytes()
    }

    fn power(self, mut exponent: u64) -> u128 {
        let (mut result, mut base) = (1 << 127, self.0);
        while exponent > 0 {
            if exponent & 1 == 1 {
                result = multiply(result, base);
            }
            base = multiply(base, base);
            exponent >>= 1;
        }
        result
    }
}

/// In GF(2^128) with GCM's order of bits, without a branch on the operands.
fn multiply(a: u128, b: u128) -> u128 {
    const REDUCTION: u128 = 0xe1 << 120;
    let (mut product, mut factor) = (0, b);
    for bit in (0..128).rev() {
        product ^= factor & (a >> bit & 1).wrapping_neg();
        factor = factor >> 1 ^ REDUCTION & (factor & 1).wrapping_neg();
    }
    product
}
