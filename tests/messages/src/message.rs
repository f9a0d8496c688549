//! AS2 messages, written as a stream so that one of 1 GiB costs no more memory than one of 1 KiB.

mod content;
mod layer;

use std::io::{self, Write};

use as2hook_as2::Digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

pub use content::{Content, Part};
pub use layer::sign_detached;
use layer::{Layer, Writer};

use crate::{Cipher, Identity, KeyWay, der::Encoding};

/// A message from one AS2 identity to another. Layers are put around each other in the order in which
/// they are asked for: `sign` then `encrypt` is what most partners send.
#[derive(Clone, Debug)]
pub struct Message {
    from: String,
    to: String,
    id: String,
    subject: Option<String>,
    receipt: Option<Receipt>,
    extra: Vec<(String, String)>,
    without: Vec<String>,
    parts: Vec<Part>,
    layers: Vec<Layer>,
    base64: bool,
}

/// The receipt that a message asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// In the response.
    Sync,
    /// In the response, signed, with a MIC by this algorithm.
    SignedSync(Digest),
    /// Later, at this URL, signed, with a MIC by this algorithm.
    SignedAsync(Digest, String),
}

/// A message as it goes on the wire.
#[derive(Clone, Debug)]
pub struct Built {
    /// The HTTP header fields.
    pub headers: Vec<(String, String)>,
    /// The HTTP body.
    pub body: Vec<u8>,
    /// The MIC that the receiver should find: base64, a comma, the algorithm.
    pub mic: String,
    /// `Message-ID`, angle brackets included.
    pub id: String,
}

// === impl Message ===

impl Message {
    /// An empty message with an id of its own.
    pub fn new(from: &str, to: &str) -> Self {
        let number = fastrand::u64(..);
        Self {
            from: from.to_owned(),
            to: to.to_owned(),
            id: format!("<AS2-{number}@{from}_{to}>").replace(' ', "-"),
            subject: None,
            receipt: None,
            extra: Vec::new(),
            without: Vec::new(),
            parts: Vec::new(),
            layers: Vec::new(),
            base64: false,
        }
    }

    /// `Message-ID`, as it is to stand in the header.
    pub fn id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.id);
        self
    }

    /// `Subject`.
    pub fn subject(mut self, subject: &str) -> Self {
        self.subject = Some(subject.to_owned());
        self
    }

    /// Asks for a receipt.
    pub fn receipt(mut self, receipt: Receipt) -> Self {
        self.receipt = Some(receipt);
        self
    }

    /// Adds a header field.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.extra.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Leaves out a header field that would otherwise be there.
    pub fn without(mut self, name: &str) -> Self {
        self.without.push(name.to_owned());
        self
    }

    /// Adds an attachment. More than one makes a `multipart/related`.
    pub fn attach(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    /// Signs with SHA-256.
    pub fn sign(self, signer: &Identity) -> Self {
        self.sign_by(signer, Digest::Sha256)
    }

    /// Signs with this digest.
    pub fn sign_by(mut self, signer: &Identity, digest: Digest) -> Self {
        self.layers.push(Layer::Sign { signer: signer.clone(), digest, embed: true });
        self
    }

    /// Compresses (zlib).
    pub fn compress(mut self) -> Self {
        self.layers.push(Layer::Compress(Encoding::Der));
        self
    }

    /// Encrypts for this recipient: AES-256-CBC, RSA PKCS#1 v1.5, DER.
    pub fn encrypt(self, recipient: &Identity) -> Self {
        self.encrypt_by(recipient, Cipher::Aes256Cbc)
    }

    /// Encrypts with this cipher.
    pub fn encrypt_by(mut self, recipient: &Identity, cipher: Cipher) -> Self {
        let (recipient, way, encoding) = (recipient.clone(), KeyWay::Pkcs1, Encoding::Der);
        self.layers.push(Layer::Encrypt { recipient, cipher, way, encoding });
        self
    }

    /// The last layer's key is transported by RSA-OAEP with SHA-256.
    pub fn oaep(mut self) -> Self {
        if let Some(Layer::Encrypt { way, .. }) = self.layers.last_mut() {
            *way = KeyWay::Oaep(Digest::Sha256, Digest::Sha256);
        }
        self
    }

    /// The last layer in BER: indefinite lengths, the content in segments of this many bytes, as
    /// every Bouncy Castle sender writes it.
    pub fn ber(mut self, segment: usize) -> Self {
        match self.layers.last_mut() {
            Some(Layer::Encrypt { encoding, .. } | Layer::Compress(encoding)) => {
                *encoding = Encoding::Ber(segment);
            }
            Some(Layer::Sign { .. }) | None => {}
        }
        self
    }

    /// The body in base64, with the header field that says so.
    pub fn base64(mut self) -> Self {
        self.base64 = true;
        self
    }

    /// The message in memory.
    pub fn build(&self) -> Built {
        let mut body = Vec::new();
        let mic = self.write(&mut body).expect("memory takes every byte");
        Built { headers: self.headers(), body, mic, id: self.id.clone() }
    }

    /// Writes the body and returns its MIC.
    pub fn write(&self, to: &mut dyn Write) -> io::Result<String> {
        let mic = if self.base64 {
            let mut lines = content::Base64Lines::new(to);
            let mic = self.writer().body(&mut lines)?;
            lines.finish()?;
            mic
        } else {
            self.writer().body(to)?
        };
        Ok(format!("{}, {}", STANDARD.encode(&mic), self.mic_digest().name()))
    }

    /// How many bytes [`Message::write`] writes. Costs as much as writing them.
    pub fn length(&self) -> u64 {
        let mut count = content::Count::default();
        self.write(&mut count).expect("counting does not fail");
        count.bytes
    }

    /// The HTTP header fields.
    pub fn headers(&self) -> Vec<(String, String)> {
        let mut headers = vec![
            ("AS2-Version".to_owned(), "1.2".to_owned()),
            ("AS2-From".to_owned(), self.from.clone()),
            ("AS2-To".to_owned(), self.to.clone()),
            ("Message-ID".to_owned(), self.id.clone()),
            ("Date".to_owned(), httpdate::fmt_http_date(std::time::SystemTime::now())),
            ("MIME-Version".to_owned(), "1.0".to_owned()),
        ];
        headers.extend(self.subject.iter().map(|s| ("Subject".to_owned(), s.clone())));
        self.receipt_fields(&mut headers);
        headers.extend(self.extra.iter().cloned());
        headers.extend(self.writer().fields());
        if self.base64 {
            headers.retain(|(name, _)| name != "Content-Transfer-Encoding");
            headers.push(("Content-Transfer-Encoding".to_owned(), "base64".to_owned()));
        }
        let dropped = |name: &str| self.without.iter().any(|w| w.eq_ignore_ascii_case(name));
        headers.retain(|(name, _)| !dropped(name));
        headers
    }

    fn receipt_fields(&self, headers: &mut Vec<(String, String)>) {
        let Some(receipt) = &self.receipt else { return };
        headers.push(("Disposition-Notification-To".to_owned(), "mdn@acme.example".to_owned()));
        let digest = match receipt {
            Receipt::Sync => return,
            Receipt::SignedSync(digest) | Receipt::SignedAsync(digest, _) => digest.name(),
        };
        headers.push((
            "Disposition-Notification-Options".to_owned(),
            format!(
                "signed-receipt-protocol=optional, pkcs7-signature; \
                 signed-receipt-micalg=optional, {digest}"
            ),
        ));
        if let Receipt::SignedAsync(_, url) = receipt {
            headers.push(("Receipt-Delivery-Option".to_owned(), url.clone()));
        }
    }

    /// By what the MIC is to be made: as the receipt asks, else as the signature has it.
    fn mic_digest(&self) -> Digest {
        match &self.receipt {
            Some(Receipt::SignedSync(digest) | Receipt::SignedAsync(digest, _)) => *digest,
            Some(Receipt::Sync) | None => {
                let signed = self.layers.iter().find_map(Layer::digest);
                signed.unwrap_or(Digest::Sha256)
            }
        }
    }

    fn writer(&self) -> Writer<'_> {
        Writer { parts: &self.parts, layers: &self.layers, mic: self.mic_digest(), id: &self.id }
    }
}

#[cfg(test)]
mod tests;
