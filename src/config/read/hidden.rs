//! Text that is never shown.

use std::fmt;

/// Text that may hold a secret: never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(String);

// === impl Hidden ===

impl Hidden {
    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Hidden {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(***)")
    }
}
