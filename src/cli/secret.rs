//! `as2hook secret`: a new secret for a webhook.

use std::io::Write;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use openssl::rand::rand_bytes;

use super::CommandError;

/// Prints a new secret to sign a webhook's deliveries with.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct NewSecret {}

/// Standard Webhooks wants 24 to 64 bytes; more than the signature has are of no use.
const BYTES: usize = 32;

// === impl NewSecret ===

impl NewSecret {
    /// The secret goes to `out`.
    ///
    /// # Errors
    /// When the system has no random bytes, or `out` cannot be written to.
    pub fn run(self, out: &mut dyn Write) -> Result<(), CommandError> {
        Ok(writeln!(out, "{}", generate()?)?)
    }
}

/// A new secret as text: `whsec_` and base64, which the libraries for Standard Webhooks read as well.
pub(super) fn generate() -> Result<String, CommandError> {
    Ok(format!("whsec_{}", BASE64_STANDARD.encode(random()?)))
}

/// As many random bytes as a secret or a token has.
pub(super) fn random() -> Result<[u8; BYTES], CommandError> {
    let mut key = [0; BYTES];
    rand_bytes(&mut key)
        .map_err(|error| CommandError::Failed(format!("there are no random bytes: {error}")))?;
    Ok(key)
}
