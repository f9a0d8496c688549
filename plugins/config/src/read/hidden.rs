//! Text that is never shown.

use std::fmt;

/// Text that may hold a secret: never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretString(String);

// === impl SecretString ===

impl SecretString {
    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for SecretString {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for SecretString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(***)")
    }
}
