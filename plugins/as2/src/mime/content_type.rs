//! `Content-Type`, read for what to do with the content.

use super::parameters::Parameters;
use crate::headers::Headers;

/// A media type with its parameters.
#[derive(Clone, Debug, Default)]
pub(crate) struct ContentType {
    /// `type/subtype`, lower case; empty when there is none.
    pub(crate) essence: String,
    pub(crate) parameters: Parameters,
}

// === impl ContentType ===

impl ContentType {
    pub(crate) fn of(headers: &Headers) -> Self {
        let Some(field) = headers.get("content-type") else { return Self::default() };
        let parameters = Parameters::parse(field);
        let mut essence = parameters.value.to_ascii_lowercase();
        essence.retain(|c| !c.is_ascii_whitespace());
        Self { essence, parameters }
    }

    /// A parameter by its lower-case name.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name)
    }

    /// Whether it has parts. Archives that type lists call `multipart/x-zip` and the like have none.
    pub(crate) fn is_multipart(&self) -> bool {
        const ARCHIVES: [&str; 5] = ["x-zip", "x-gzip", "x-tar", "x-ustar", "x-rar"];
        let kind = self.essence.strip_prefix("multipart/");
        kind.is_some_and(|kind| !ARCHIVES.contains(&kind))
    }

    /// An S/MIME layer by its declared type.
    pub(crate) fn is_cms(&self) -> bool {
        matches!(
            self.essence.as_str(),
            "application/pkcs7-mime"
                | "application/x-pkcs7-mime"
                | "application/pkcs7"
                | "application/x-pkcs7"
                | "application/cms"
        )
    }

    /// Says so little that the content may well be something else.
    pub(crate) fn is_vague(&self) -> bool {
        self.essence.is_empty()
            || matches!(
                self.essence.as_str(),
                "application/octet-stream" | "text/plain" | "text/html" | "application/binary"
            )
    }

    /// Text for which senders disagree about line ends, so that a canonical digest is worth it.
    pub(crate) fn is_textual(&self) -> bool {
        self.essence.is_empty()
            || self.essence.starts_with("text/")
            || self.is_multipart()
            || self.essence.starts_with("message/")
            || self.essence.starts_with("application/edi")
            || ["/xml", "+xml", "/json", "+json"].iter().any(|end| self.essence.ends_with(end))
    }
}
