//! Hostile messages: each is small on the wire, and large or slow for a decoder without bounds.
//!
//! # Layout
//! - `bomb`: compression
//! - `cms`: signatures and envelopes without number
//! - `mime`: header lines, names, parameters, boundaries and reports

mod bomb;
mod cms;
mod mime;

pub use bomb::{COMPRESSED, bomb, endless};
pub use cms::{
    attributes_as_content, certificate, in_segments, many_recipients, many_signers,
    nested_envelopes, nested_signatures, signed, slow_signers, tiny_segments,
};
pub use mime::{
    boundary_near_misses, encoded_words, folded_lines, header_of_one_line, long_names,
    many_parameters, multipart_without_boundary, nested_multipart_signed, nested_reports,
    tiny_parts,
};

use crate::{cms::compressed, der::Encoding, message::Built, mime::entity};

/// A hostile body and its type.
#[derive(Clone, Debug)]
pub struct Attack {
    /// `Content-Type`.
    pub content_type: String,
    /// The HTTP body.
    pub body: Vec<u8>,
    /// How many bytes its layers put out together, if nothing stops them.
    pub output: u64,
}

// === impl Attack ===

impl Attack {
    /// It, as one body of this type.
    pub fn new(content_type: &str, body: Vec<u8>) -> Self {
        let output = body.len() as u64;
        Self { content_type: content_type.to_owned(), body, output }
    }

    /// It, compressed: what costs much for each byte then costs it for even fewer on the wire.
    pub fn compressed(&self) -> Self {
        let entity = self.entity();
        let body = compressed(&bomb::deflated(&entity), Encoding::Der);
        let output = self.output + entity.len() as u64;
        Self { content_type: bomb::COMPRESSED.to_owned(), body, output }
    }

    /// Its MIME entity.
    pub fn entity(&self) -> Vec<u8> {
        entity(&[&format!("Content-Type: {}", self.content_type)], &self.body)
    }

    /// Its headers and body, in the name of one AS2 identity to another.
    pub fn message(&self, from: &str, to: &str) -> Built {
        let id = format!("<hostile-{}@as2hook.test>", fastrand::u64(..));
        let headers = [
            ("AS2-Version", "1.2"),
            ("AS2-From", from),
            ("AS2-To", to),
            ("Message-ID", &id),
            ("MIME-Version", "1.0"),
            ("Content-Type", &self.content_type),
        ];
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Built { headers, body: self.body.clone(), mic: String::new(), id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bomb_inflates_to_its_size_through_every_layer() {
        for layers in 1..=5 {
            let mut body = super::bomb(layers, 2).body;
            for layer in 0..layers {
                let entity = bomb::inflated(&body);
                let head = b"\r\n\r\n";
                let at = entity.windows(4).position(|four| four == head).expect("a header") + 4;
                body = entity[at..].to_vec();
                assert!(layer + 1 == layers || entity.len() < 1 << 20, "{layer} of {layers}");
            }
            assert_eq!(body.len(), 2 << 20);
        }
    }
}
