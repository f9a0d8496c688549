//! A MIME entity: its header first, then the body that the header announces or the bytes reveal.

use super::{Body, MAX_LAYERS, leaf::Leaf, multipart::Multipart, report::Report, signed::Signed};
use crate::{
    Headers,
    cms::{self, Cms},
    digest::Digests,
    fault::Fault,
    mic,
    mime::{ContentType, HeaderBlock, header},
    state::{End, Flow},
};

/// One entity on its way.
pub(crate) struct Entity {
    stage: Stage,
    place: Place,
    /// Digests this entity for the MIC, where no signature does.
    tap: Option<Digests>,
    textual: bool,
}

/// Where an entity stands among the layers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Layers around it.
    pub(crate) depth: u8,
    /// What of it the MIC is over, if no signature follows.
    pub(crate) mic: Mic,
    /// Only layers are around it, no multipart of attachments: more layers may follow.
    pub(crate) in_chain: bool,
    /// It came out of a cipher without authentication, so it must look like an entity.
    pub(crate) must_be_mime: bool,
    /// A signature is around it.
    pub(crate) in_signed: bool,
    /// A part of a certificate exchange, no payload.
    pub(crate) in_exchange: bool,
}

/// What the MIC is over (RFC 4130 section 7.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mic {
    /// Something around it has the MIC.
    Elsewhere,
    /// The body: neither signed nor encrypted.
    Body,
    /// Header and body: encrypted or compressed.
    Entity,
}

enum Stage {
    /// Deciding whether decryption gave anything sensible.
    Plausible(Vec<u8>),
    Head(HeaderBlock),
    /// A vague type: the first bytes decide.
    Sniff {
        headers: Headers,
        first: Vec<u8>,
    },
    Body(Body),
    Over,
}

/// The type of a certificate exchange message (CEM), which is no payload.
pub(crate) const CERTIFICATE_EXCHANGE: &str = "application/ediint-cert-exchange+xml";

/// Bytes that decide whether something was decrypted rightly. Random bytes pass once in 10^16.
const PLAUSIBLE: usize = 40;
/// Bytes that decide what a vague type really is.
const SNIFFED: usize = 96;

// === impl Place ===

impl Place {
    /// Of the body itself, whose header is HTTP's.
    pub(crate) const ROOT: Self = Self {
        depth: 0,
        mic: Mic::Body,
        in_chain: true,
        must_be_mime: false,
        in_signed: false,
        in_exchange: false,
    };

    /// Of what a cipher or a compression held.
    pub(crate) fn unwrapped(self, must_be_mime: bool) -> Self {
        let mic = if self.mic == Mic::Elsewhere { Mic::Elsewhere } else { Mic::Entity };
        Self { depth: self.depth + 1, mic, must_be_mime, ..self }
    }

    /// Of what a signature covers.
    pub(crate) fn signed(self) -> Self {
        Self {
            depth: self.depth + 1,
            mic: Mic::Elsewhere,
            must_be_mime: false,
            in_signed: true,
            ..self
        }
    }

    /// Of a part among attachments.
    pub(crate) fn part(self, in_exchange: bool) -> Self {
        Self {
            depth: self.depth + 1,
            mic: Mic::Elsewhere,
            in_chain: false,
            must_be_mime: false,
            in_exchange,
            ..self
        }
    }
}

// === impl Entity ===

impl Entity {
    pub(crate) fn new(place: Place, header_limit: usize) -> Self {
        let stage = if place.must_be_mime {
            Stage::Plausible(Vec::with_capacity(PLAUSIBLE))
        } else {
            Stage::Head(HeaderBlock::new(header_limit))
        };
        Self { stage, place, tap: None, textual: true }
    }

    /// The outermost one: its header is HTTP's.
    pub(crate) fn root(headers: Headers, flow: &mut Flow<'_>) -> Result<Self, Fault> {
        let mut entity = Self { stage: Stage::Over, place: Place::ROOT, tap: None, textual: true };
        entity.begin_body(headers, b"", flow)?;
        Ok(entity)
    }

    /// Whether senders may have digested it with other line ends. Not known before the header is.
    pub(crate) fn textual(&self) -> bool {
        self.textual
    }

    /// Whether it belongs to a certificate exchange.
    pub(crate) fn is_exchange(&self) -> bool {
        self.place.in_exchange
    }

    pub(crate) fn push(&mut self, bytes: &[u8], flow: &mut Flow<'_>) -> Result<(), Fault> {
        match &mut self.stage {
            Stage::Body(body) => {
                if let Some(tap) = &mut self.tap {
                    tap.update(bytes);
                }
                body.push(bytes, flow)
            }
            Stage::Plausible(first) => {
                let take = bytes.len().min(PLAUSIBLE - first.len());
                first.extend_from_slice(&bytes[..take]);
                if first.len() < PLAUSIBLE {
                    return Ok(());
                }
                self.accept(flow)?;
                self.push(&bytes[take..], flow)
            }
            Stage::Head(block) => {
                let (head, rest) = block.push(bytes)?;
                match head {
                    None => Ok(()),
                    Some(head) => {
                        self.begin(head, flow)?;
                        self.push(rest, flow)
                    }
                }
            }
            Stage::Sniff { first, .. } => {
                let take = bytes.len().min(SNIFFED - first.len());
                first.extend_from_slice(&bytes[..take]);
                if first.len() < SNIFFED {
                    return Ok(());
                }
                self.reveal(flow)?;
                self.push(&bytes[take..], flow)
            }
            Stage::Over => Ok(()),
        }
    }

    pub(crate) fn finish(mut self, end: End, flow: &mut Flow<'_>) -> Result<(), Fault> {
        if end == End::Whole {
            if matches!(self.stage, Stage::Plausible(_)) {
                self.accept(flow)?;
            }
            if let Stage::Head(_) = &self.stage
                && let Stage::Head(block) = std::mem::replace(&mut self.stage, Stage::Over)
            {
                self.begin(block.finish(), flow)?;
            }
            if matches!(self.stage, Stage::Sniff { .. }) {
                self.reveal(flow)?;
            }
        }
        if let Stage::Body(body) = self.stage {
            body.finish(end, flow)?;
        }
        if let Some(tap) = self.tap
            && end == End::Whole
            && let Some(digest) = flow.state.requested_mic
        {
            flow.state.facts.mic = tap.finish().by(digest).map(|s| mic::format(digest, &s.raw));
        }
        Ok(())
    }

    /// Judges the first decrypted bytes.
    fn accept(&mut self, flow: &mut Flow<'_>) -> Result<(), Fault> {
        let Stage::Plausible(first) = &mut self.stage else { return Ok(()) };
        let first = std::mem::take(first);
        if !is_plausible(&first) {
            return Err(Fault::NotMime);
        }
        self.stage = Stage::Head(HeaderBlock::new(flow.state.options.limits.header));
        self.push(&first, flow)
    }

    fn begin(&mut self, head: header::Head, flow: &mut Flow<'_>) -> Result<(), Fault> {
        match head {
            header::Head::Block { headers, raw } => self.begin_body(headers, &raw, flow),
            header::Head::Missing { raw } => {
                self.begin_body(Headers::new(), b"", flow)?;
                self.push(&raw, flow)
            }
        }
    }

    /// The header is known.
    fn begin_body(
        &mut self,
        headers: Headers,
        raw: &[u8],
        flow: &mut Flow<'_>,
    ) -> Result<(), Fault> {
        let kind = ContentType::of(&headers);
        self.textual = is_textual(&headers, &kind);
        self.place.in_exchange |= kind.essence == CERTIFICATE_EXCHANGE;
        if self.place.depth >= MAX_LAYERS {
            return Err(Fault::Limit { what: "layers", limit: u64::from(MAX_LAYERS) });
        }
        if self.place.in_chain && is_doubtful(self.place, &headers, &kind) {
            self.begin_tap(raw, flow);
            self.stage = Stage::Sniff { headers, first: Vec::with_capacity(SNIFFED) };
            return Ok(());
        }
        let body = self.body(&headers, &kind, flow)?;
        if !matches!(body, Body::Cms(_) | Body::Signed(_)) {
            self.begin_tap(raw, flow);
        }
        self.stage = Stage::Body(body);
        Ok(())
    }

    fn begin_tap(&mut self, raw: &[u8], flow: &mut Flow<'_>) {
        if self.place.mic == Mic::Elsewhere || flow.state.facts.mic_claimed {
            return;
        }
        if let Some(digest) = flow.state.requested_mic {
            let mut tap = Digests::new([digest], false, false);
            if self.place.mic == Mic::Entity {
                tap.update(raw);
            }
            self.tap = Some(tap);
        }
    }

    /// A vague type's first bytes are there: what is it really?
    fn reveal(&mut self, flow: &mut Flow<'_>) -> Result<(), Fault> {
        let Stage::Sniff { headers, first } = std::mem::replace(&mut self.stage, Stage::Over)
        else {
            return Ok(());
        };
        let declared = headers.get("content-type").is_some_and(|v| !v.trim_ascii().is_empty());
        if cms::sniff(&first, !declared) {
            self.tap = None;
            self.stage = Stage::Body(Body::Cms(Box::new(Cms::new(self.place))));
        } else if self.place.depth == 0 && is_multipart_header(&first) {
            // An MDN served under another type, its own header in the body.
            self.tap = None;
            self.place.depth += 1;
            self.stage = Stage::Head(HeaderBlock::new(flow.state.options.limits.header));
        } else {
            let leaf = Leaf::begin(&headers, self.place.in_exchange, flow)?;
            self.stage = Stage::Body(Body::Leaf(leaf));
        }
        self.push(&first, flow)
    }

    fn body(
        &self,
        headers: &Headers,
        kind: &ContentType,
        flow: &mut Flow<'_>,
    ) -> Result<Body, Fault> {
        let place = self.place;
        let body = match kind.essence.as_str() {
            _ if place.in_chain && kind.is_cms() && !is_document(place, headers, kind) => {
                Body::Cms(Box::new(Cms::new(place)))
            }
            "multipart/signed" if place.in_chain => {
                Body::Signed(Box::new(Signed::new(kind, place, flow)))
            }
            "multipart/report" if place.in_chain => Body::Report(Box::new(Report::new(kind))),
            "message/disposition-notification" if place.in_chain => {
                Body::Report(Box::new(Report::bare()))
            }
            _ if kind.is_multipart() => Body::Multipart(Box::new(Multipart::new(kind, place))),
            _ => Body::Leaf(Leaf::begin(headers, place.in_exchange, flow)?),
        };
        Ok(body)
    }
}

/// Whether the first bytes have to tell what it is: no type at all, or at the very outside one that
/// says little. Further inside, and with a file name, an encrypted file is a document.
fn is_doubtful(place: Place, headers: &Headers, kind: &ContentType) -> bool {
    let name = || crate::mime::file_name::of(headers);
    kind.essence.is_empty()
        || (place.depth == 0 && kind.is_vague() && name().is_none_or(|name| is_layer_name(&name)))
}

/// The names that S/MIME gives its own layers.
fn is_layer_name(name: &str) -> bool {
    name.to_ascii_lowercase().starts_with("smime.p7")
}

/// A signed file that is itself the document (`invoice.xml.p7m`), not a layer of the message.
fn is_document(place: Place, headers: &Headers, kind: &ContentType) -> bool {
    if !place.in_signed || kind.parameter("smime-type").is_some_and(|t| t.contains("nveloped")) {
        return false;
    }
    let compressed = kind.parameter("smime-type").is_some_and(|t| t.contains("ompressed"));
    let has_name = crate::mime::file_name::of(headers).is_some_and(|name| !is_layer_name(&name));
    !compressed && has_name
}

fn is_textual(headers: &Headers, kind: &ContentType) -> bool {
    match headers.text("content-transfer-encoding") {
        Some(encoding) => !encoding.trim().eq_ignore_ascii_case("binary"),
        None => kind.is_textual(),
    }
}

fn is_multipart_header(first: &[u8]) -> bool {
    let start = String::from_utf8_lossy(first).to_ascii_lowercase();
    let kind = start.trim_start().strip_prefix("content-type:").map(str::trim_start);
    kind.is_some_and(|k| k.starts_with("multipart/signed") || k.starts_with("multipart/report"))
}

/// Whether decrypted bytes begin like an entity: a known field, plain text, or another CMS.
fn is_plausible(first: &[u8]) -> bool {
    header::is_known_field(first) || cms::sniff(first, true) || is_text(first)
}

/// UTF-8 without control characters; the last character may be cut.
fn is_text(first: &[u8]) -> bool {
    let text = match std::str::from_utf8(first) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&first[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    text.chars().all(|c| !c.is_control() || matches!(c, '\t' | '\r' | '\n'))
}
