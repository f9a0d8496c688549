//! A MIME entity: its header first, then the body that the header announces or the bytes reveal.

use super::{
    EntityBody, EntityPosition, MAX_LAYERS, USUAL_LAYERS,
    doubtful::Doubtful,
    leaf::Leaf,
    mic_digests::MicDigests,
    multipart::Multipart,
    recognise::{
        has_document_name, has_two_types, is_beside_notification, is_cms, is_multipart_header,
        is_plausible, is_remark, is_textual,
    },
    report::Report,
    signed::Signed,
};
use crate::{
    Headers, Warning,
    cms::Cms,
    fault::Fault,
    gather::Gather,
    mime::{ContentType, HeaderBlock, header, splitter::Splitter},
    state::{DecodeFlow, End},
};

/// One entity on its way.
pub(crate) struct Entity {
    stage: EntityStage,
    place: EntityPosition,
    /// Digests this entity for the MIC, where no signature does.
    mics: Option<MicDigests>,
    textual: bool,
    /// Text for a person, or nothing known yet.
    is_remark: bool,
    /// A document, which makes a message of what a notification stands in.
    is_document: bool,
    /// Of the body: its small pieces.
    gather: Gather,
    /// It was decrypted and is garbage: taken through to its end like any document, so that a wrong
    /// key takes as long as a right one.
    is_garbage: bool,
}

enum EntityStage {
    /// Deciding whether decryption gave anything sensible.
    Plausible(Vec<u8>),
    Head(HeaderBlock),
    /// A vague type: the first bytes decide.
    Sniff {
        headers: Headers,
        first: Vec<u8>,
    },
    Body(EntityBody),
    Over,
}

/// The type of a certificate exchange message (CEM), which is no payload.
pub(crate) const CERTIFICATE_EXCHANGE: &str = "application/ediint-cert-exchange+xml";

/// What a push costs, however short it is, in bytes of work.
const PUSH_WORK: usize = 32;
/// Bytes that decide whether something was decrypted rightly. Random bytes pass once in 10^16.
const PLAUSIBLE: usize = 40;
/// Bytes that decide what a vague type really is.
pub(crate) const SNIFFED: usize = 96;

// === impl Entity ===

impl Entity {
    pub(crate) fn new(place: EntityPosition, header_limit: usize) -> Self {
        let stage = if place.must_be_mime {
            EntityStage::Plausible(Vec::with_capacity(PLAUSIBLE))
        } else {
            EntityStage::Head(HeaderBlock::new(header_limit))
        };
        Self::at(stage, place)
    }

    fn at(stage: EntityStage, place: EntityPosition) -> Self {
        Self {
            stage,
            place,
            mics: None,
            textual: true,
            is_remark: true,
            is_document: false,
            gather: Gather::default(),
            is_garbage: false,
        }
    }

    /// The outermost one: its header is HTTP's.
    pub(crate) fn root(headers: Headers, flow: &mut DecodeFlow<'_>) -> Result<Self, Fault> {
        let mut entity = Self::at(EntityStage::Over, EntityPosition::ROOT);
        entity.begin_body(headers, b"", flow)?;
        Ok(entity)
    }

    /// Whether senders may have digested it with other line ends. Not known before the header is.
    pub(crate) fn textual(&self) -> bool {
        self.textual
    }

    /// Whether it is text without a file name, as it stands in front of a notification.
    pub(crate) fn is_remark(&self) -> bool {
        self.is_remark
    }

    /// Whether it is what no MDN has beside its notification.
    pub(crate) fn is_document(&self) -> bool {
        self.is_document
    }

    /// Whether it belongs to a certificate exchange.
    pub(crate) fn is_exchange(&self) -> bool {
        self.place.in_exchange
    }

    pub(crate) fn push(&mut self, bytes: &[u8], flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        flow.work(bytes.len() + PUSH_WORK)?;
        let EntityStage::Body(body) = &mut self.stage else { return self.take(bytes, flow) };
        if let Some(mics) = &mut self.mics {
            mics.update(bytes)?;
        }
        if self.place.depth == 0 {
            // As long as the network made it, which costs the sender more than it costs us.
            body.push(bytes, flow)?;
        } else {
            self.gather.push(bytes, &mut |bytes| body.push(bytes, flow))?;
        }
        if body.is_layer() {
            self.mics = None;
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8], flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        match &mut self.stage {
            EntityStage::Body(_) => self.push(bytes, flow),
            EntityStage::Plausible(first) => {
                let take = bytes.len().min(PLAUSIBLE - first.len());
                first.extend_from_slice(&bytes[..take]);
                if first.len() < PLAUSIBLE {
                    return Ok(());
                }
                self.accept(flow)?;
                self.take(&bytes[take..], flow)
            }
            EntityStage::Head(block) => {
                let (head, rest) = block.push(bytes)?;
                match head {
                    None => Ok(()),
                    Some(head) => {
                        self.begin(head, flow)?;
                        self.take(rest, flow)
                    }
                }
            }
            EntityStage::Sniff { first, .. } => {
                let take = bytes.len().min(SNIFFED - first.len());
                first.extend_from_slice(&bytes[..take]);
                if first.len() < SNIFFED {
                    return Ok(());
                }
                self.reveal(flow)?;
                self.take(&bytes[take..], flow)
            }
            EntityStage::Over => Ok(()),
        }
    }

    pub(crate) fn finish(mut self, end: End, flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        if end == End::Whole {
            if matches!(self.stage, EntityStage::Plausible(_)) {
                self.accept(flow)?;
            }
            if let EntityStage::Head(_) = &self.stage
                && let EntityStage::Head(block) =
                    std::mem::replace(&mut self.stage, EntityStage::Over)
            {
                self.begin(block.finish()?, flow)?;
            }
            if matches!(self.stage, EntityStage::Sniff { .. }) {
                self.reveal(flow)?;
            }
        }
        if let EntityStage::Body(mut body) = self.stage {
            self.gather.flush(&mut |bytes| body.push(bytes, flow))?;
            body.settle(flow)?;
            if body.is_layer() {
                self.mics = None;
            }
            body.finish(if self.is_garbage { End::Cut } else { end }, flow)?;
        }
        if self.is_garbage {
            return Err(Fault::NotMime);
        }
        if let Some(mics) = self.mics
            && end == End::Whole
        {
            flow.state.facts.mics = mics.finish()?;
            let usual = flow.state.facts.mics.first().filter(|usual| !usual.unoffered);
            flow.state.facts.mic = usual.map(|usual| usual.mic.clone());
        }
        Ok(())
    }

    /// Judges the first decrypted bytes.
    fn accept(&mut self, flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        let EntityStage::Plausible(first) = &mut self.stage else { return Ok(()) };
        let first = std::mem::take(first);
        self.is_garbage = !is_plausible(&first);
        self.stage = if self.is_garbage {
            EntityStage::Body(EntityBody::Leaf(Leaf::begin(&Headers::new(), false, flow)?))
        } else {
            EntityStage::Head(HeaderBlock::new(flow.state.options.limits.header))
        };
        self.take(&first, flow)
    }

    fn begin(&mut self, head: header::Head, flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        match head {
            header::Head::Block { headers, raw } => self.begin_body(headers, &raw, flow),
            header::Head::Missing { raw } => {
                self.begin_body(Headers::new(), b"", flow)?;
                self.take(&raw, flow)
            }
        }
    }

    /// The header is known.
    fn begin_body(
        &mut self,
        headers: Headers,
        raw: &[u8],
        flow: &mut DecodeFlow<'_>,
    ) -> Result<(), Fault> {
        let kind = ContentType::of(&headers);
        self.textual = is_textual(&headers, &kind);
        self.is_remark = self.place.may_report && is_remark(&headers, &kind);
        self.is_document = !is_beside_notification(&headers, &kind);
        self.place.in_exchange |= kind.essence == CERTIFICATE_EXCHANGE;
        if has_two_types(&headers, self.place.depth) {
            // Two readers may each believe another one.
            if self.place.in_chain {
                flow.state.facts.hidden = true;
                flow.state.facts.unknown = true;
            }
            return Err(Fault::Malformed("there are two Content-Type fields"));
        }
        if self.place.depth >= MAX_LAYERS {
            return Err(Fault::Limit { what: "layers", limit: u64::from(MAX_LAYERS) });
        }
        if self.place.depth > USUAL_LAYERS {
            flow.grow()?;
        }
        let is_vague = kind.essence.is_empty() || (self.place.depth == 0 && kind.is_vague());
        if self.place.in_chain && is_vague {
            self.begin_mics(&headers, raw, flow);
            self.stage = EntityStage::Sniff { headers, first: Vec::with_capacity(SNIFFED) };
            return Ok(());
        }
        let body = self.body(&headers, &kind, flow)?;
        if !body.is_layer() {
            self.begin_mics(&headers, raw, flow);
        }
        self.stage = EntityStage::Body(body);
        Ok(())
    }

    fn begin_mics(&mut self, headers: &Headers, raw: &[u8], flow: &DecodeFlow<'_>) {
        if !flow.state.facts.mic_claimed {
            self.mics = MicDigests::new(self.place.mic, headers, raw, flow);
        }
    }

    /// A vague type's first bytes are there: what is it really?
    fn reveal(&mut self, flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        let EntityStage::Sniff { headers, first } =
            std::mem::replace(&mut self.stage, EntityStage::Over)
        else {
            return Ok(());
        };
        let declared = headers.get("content-type").is_some_and(|v| !v.trim_ascii().is_empty());
        let is_named = has_document_name(&headers);
        if is_cms(&first, !declared) {
            self.stage = EntityStage::Body(cms_body(self.place, &headers, false, flow));
        } else if self.place.depth == 0 && !is_named && is_multipart_header(&first) {
            // An MDN served under another type, its own header in the body.
            self.mics = None;
            self.place.depth += 1;
            self.stage = EntityStage::Head(HeaderBlock::new(flow.state.options.limits.header));
        } else {
            let leaf = Leaf::begin(&headers, self.place.in_exchange, flow)?;
            self.stage = EntityStage::Body(EntityBody::Leaf(leaf));
        }
        self.take(&first, flow)
    }

    fn body(
        &self,
        headers: &Headers,
        kind: &ContentType,
        flow: &mut DecodeFlow<'_>,
    ) -> Result<EntityBody, Fault> {
        let place = self.place;
        if place.in_chain && kind.is_cms() {
            return Ok(cms_body(place, headers, true, flow));
        }
        if place.may_report && kind.essence == "message/disposition-notification" {
            let report = match place.in_chain {
                true => Report::default(),
                false => Report::part_of(Leaf::begin(headers, place.in_exchange, flow)?),
            };
            return Ok(EntityBody::Report(Box::new(report)));
        }
        // Without a boundary it has no parts: it is a document.
        let splitter = kind.parameter("boundary").filter(|_| kind.is_multipart());
        let Some(splitter) = splitter.and_then(Splitter::new) else {
            if kind.is_multipart() {
                flow.state.facts.warn(Warning::no_boundary());
            }
            return Ok(EntityBody::Leaf(Leaf::begin(headers, place.in_exchange, flow)?));
        };
        Ok(match kind.essence.as_str() {
            "multipart/signed" if place.in_chain => {
                EntityBody::Signed(Box::new(Signed::new(splitter, kind, place, flow)))
            }
            "multipart/report" if place.may_report => {
                EntityBody::Report(Box::new(Report::new(splitter)))
            }
            _ => EntityBody::Multipart(Box::new(Multipart::new(splitter, kind, place))),
        })
    }
}

/// A CMS structure: under the name of a document it may be that (`invoice.xml.p7m`). `declared`: by its
/// type, not by its first bytes.
fn cms_body(
    place: EntityPosition,
    headers: &Headers,
    declared: bool,
    flow: &DecodeFlow<'_>,
) -> EntityBody {
    if has_document_name(headers) {
        let cms = Cms::doubtful(place, declared);
        EntityBody::Doubtful(Box::new(Doubtful::new(cms, headers, flow)))
    } else {
        EntityBody::Cms(Box::new(Cms::new(place)))
    }
}
