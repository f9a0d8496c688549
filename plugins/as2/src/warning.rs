//! What is odd about a message, or reported in an MDN, and no error.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    Digest,
    cut::{self, cut},
};

/// Something that did not keep the message from being read, and that its sender may want to mend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// A stable word. No enum: an event may be read by a version that does not know it yet.
    pub code: Cow<'static, str>,
    /// One sentence for a person.
    pub message: String,
}

// === impl Warning ===

impl Warning {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into().replace(char::is_control, " ");
        Self { code: Cow::Borrowed(code), message: cut(message, cut::FIELD) }
    }

    pub(crate) fn no_closing_delimiter() -> Self {
        Self::new("no-closing-delimiter", "a signed multipart ends without its closing delimiter")
    }

    pub(crate) fn no_boundary() -> Self {
        let message = "a multipart without a usable boundary is taken for a document";
        Self::new("no-boundary", message)
    }

    pub(crate) fn other_digest(used: Digest, announced: &str) -> Self {
        let used = used.name();
        let message = format!("the signature is by the digest {used}, but {announced}");
        Self::new("other-digest", message)
    }

    pub(crate) fn unreadable_signer() -> Self {
        let message = "a signer of the signature cannot be verified here; another one is valid";
        Self::new("unreadable-signer", message)
    }

    pub(crate) fn compressed_in_base64() -> Self {
        Self::new("compressed-in-base64", "the compressed content is in base64")
    }

    /// `text`: what stands behind the modifier.
    pub(crate) fn mdn(text: Option<&str>) -> Self {
        let text = text.unwrap_or("without a text");
        Self::new("mdn-warning", format!("the disposition has a warning: {text}"))
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}
