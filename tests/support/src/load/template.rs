//! One AS2 message, sent many times under ids of its own.

use crate::message::Built;

/// A message as bytes, all but its `Message-ID`.
#[derive(Clone, Debug)]
pub struct Template {
    head: String,
    body: Vec<u8>,
}

// === impl Template ===

impl Template {
    /// A `POST` of this message.
    pub fn new(target: &str, message: &Built) -> Self {
        Self::leaving_out(target, message, &[])
    }

    /// The same without these header fields. Without `AS2-From` the gateway passes it on and looks no
    /// further.
    pub fn leaving_out(target: &str, message: &Built, names: &[&str]) -> Self {
        let mut head = format!("POST {target} HTTP/1.1\r\nHost: as2.example\r\n");
        let dropped = |name: &str| {
            let mut all = names.iter().chain(&["Message-ID"]);
            all.any(|dropped| dropped.eq_ignore_ascii_case(name))
        };
        for (name, value) in message.headers.iter().filter(|(name, _)| !dropped(name)) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n", message.body.len()));
        Self { head, body: message.body.clone() }
    }

    /// Writes the request with the `Message-ID` of this number.
    pub fn write(&self, number: usize, out: &mut Vec<u8>) {
        self.write_with(&[("Message-ID", &Self::id(number))], out);
    }

    /// Writes the request with these header fields, of which one is its `Message-ID`.
    pub fn write_with(&self, fields: &[(&str, &str)], out: &mut Vec<u8>) {
        out.extend_from_slice(self.head.as_bytes());
        for (name, value) in fields {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.body);
    }

    /// The `Message-ID` of a number.
    pub fn id(number: usize) -> String {
        format!("<load-{number}@as2hook.test>")
    }

    /// The number of a `Message-ID` that [`Template::id`] made.
    pub fn number(id: &str) -> Option<usize> {
        id.strip_prefix("<load-")?.strip_suffix("@as2hook.test>")?.parse().ok()
    }
}
