//! Receipts (RFC 3798, RFC 4130 section 7): what an AS2 server returns, or posts later.

use crate::http::Request;
use crate::pki::Identity;
use crate::{Digest, message::sign_detached};

/// An MDN, made for the message that it confirms.
#[derive(Clone, Debug)]
pub struct Mdn {
    disposition: String,
    text: String,
    mic: Option<String>,
    signer: Option<(&'static Identity, Digest)>,
    embed: bool,
    from: Option<String>,
    to: Option<String>,
    original: Option<String>,
    id: Option<String>,
    returned: Option<usize>,
    wrapper: Option<String>,
}

// === impl Mdn ===

impl Mdn {
    /// All well.
    pub fn processed() -> Self {
        Self::new("automatic-action/MDN-sent-automatically; processed", "Message received.")
    }

    /// Something is wrong, such as `authentication-failed`.
    pub fn error(modifier: &str) -> Self {
        let disposition =
            format!("automatic-action/MDN-sent-automatically; processed/error: {modifier}");
        Self::new(&disposition, "Message not processed.")
    }

    /// This disposition and this text for people.
    pub fn new(disposition: &str, text: &str) -> Self {
        Self {
            disposition: disposition.to_owned(),
            text: text.to_owned(),
            mic: None,
            signer: None,
            embed: true,
            from: None,
            to: None,
            original: None,
            id: None,
            returned: None,
            wrapper: None,
        }
    }

    /// `Received-Content-MIC`.
    pub fn mic(mut self, mic: &str) -> Self {
        self.mic = Some(mic.to_owned());
        self
    }

    /// Signs it.
    pub fn sign(mut self, signer: &'static Identity, digest: Digest) -> Self {
        self.signer = Some((signer, digest));
        self
    }

    /// Leaves the signer's certificate out of the signature.
    pub fn without_certificate(mut self) -> Self {
        self.embed = false;
        self
    }

    /// Its own `Message-ID`.
    pub fn id(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    /// Returns content of so many bytes with it, as its third part (RFC 6522 section 3).
    pub fn returning(mut self, bytes: usize) -> Self {
        self.returned = Some(bytes);
        self
    }

    /// Puts the report into another multipart of this type, as its only part. A signature is around both.
    pub fn within(mut self, essence: &str) -> Self {
        self.wrapper = Some(essence.to_owned());
        self
    }

    /// Its sender, its recipient, and the message it is about.
    pub fn about(mut self, from: &str, to: &str, original: &str) -> Self {
        self.from = Some(from.to_owned());
        self.to = Some(to.to_owned());
        self.original = Some(original.to_owned());
        self
    }

    /// The same, filled in from the request that it confirms; what is set already stays.
    pub fn answering(&self, request: &Request) -> Self {
        let field = |name: &str| request.header(name).map(str::to_owned);
        let mut mdn = self.clone();
        mdn.from = mdn.from.or_else(|| field("AS2-To"));
        mdn.to = mdn.to.or_else(|| field("AS2-From"));
        mdn.original = mdn.original.or_else(|| field("Message-ID"));
        mdn
    }

    /// Header fields and body.
    pub fn into_parts(self) -> (Vec<(String, String)>, Vec<u8>) {
        let (content_type, body) = match self.signer {
            None => self.content(),
            Some((signer, digest)) => {
                sign_detached(&entity(&self.content()), signer, digest, self.embed)
            }
        };
        let id = self.id.unwrap_or_else(|| format!("<MDN-{}@as2hook.test>", fastrand::u64(..)));
        let headers = [
            ("AS2-Version", Some("1.2".to_owned())),
            ("AS2-From", self.from),
            ("AS2-To", self.to),
            ("Message-ID", Some(id)),
            ("MIME-Version", Some("1.0".to_owned())),
            ("Content-Type", Some(content_type)),
        ];
        let headers = headers.into_iter().filter_map(|(n, v)| Some((n.to_owned(), v?))).collect();
        (headers, body)
    }

    /// The report and what is around it: type and body.
    fn content(&self) -> (String, Vec<u8>) {
        let report = self.report();
        let Some(essence) = &self.wrapper else { return report };
        let body = [b"--around\r\n", entity(&report).as_slice(), b"\r\n--around--\r\n"].concat();
        (format!("{essence}; boundary=around"), body)
    }

    /// The `multipart/report`: its type and its body.
    fn report(&self) -> (String, Vec<u8>) {
        let recipient = self.from.as_deref().unwrap_or("unknown");
        let mut fields = format!(
            "Reporting-UA: as2hook-testing\r\n\
             Original-Recipient: rfc822; {recipient}\r\n\
             Final-Recipient: rfc822; {recipient}\r\n"
        );
        if let Some(original) = &self.original {
            fields.push_str(&format!("Original-Message-ID: {original}\r\n"));
        }
        fields.push_str(&format!("Disposition: {}\r\n", self.disposition));
        if let Some(mic) = &self.mic {
            fields.push_str(&format!("Received-Content-MIC: {mic}\r\n"));
        }
        let text = &self.text;
        let returned = self.returned.map_or_else(String::new, |bytes| {
            let line = "what was sent comes back\r\n";
            let content = line.repeat(bytes / line.len() + 1);
            format!("--report\r\nContent-Type: message/rfc822\r\n\r\n{content}\r\n")
        });
        let body = format!(
            "--report\r\nContent-Type: text/plain\r\n\r\n{text}\r\n\
             --report\r\nContent-Type: message/disposition-notification\r\n\r\n{fields}\r\n\
             {returned}--report--\r\n"
        );
        let content_type =
            "multipart/report; report-type=disposition-notification; boundary=report";
        (content_type.to_owned(), body.into_bytes())
    }
}

fn entity((content_type, body): &(String, Vec<u8>)) -> Vec<u8> {
    [format!("Content-Type: {content_type}\r\n\r\n").as_bytes(), body].concat()
}
