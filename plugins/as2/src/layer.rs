//! The layers between the body and the documents. Each takes bytes and hands on what is inside.

pub(crate) mod doubtful;
pub(crate) mod entity;
pub(crate) mod leaf;
mod mic_digests;
pub(crate) mod multipart;
mod recognise;
pub(crate) mod report;
pub(crate) mod signed;

pub(crate) use entity::{Entity, SNIFFED};
pub(crate) use recognise::{is_cms, is_multipart_header};

use crate::{
    fault::Fault,
    state::{DecodeFlow, End},
};

/// Where an entity stands among the layers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntityPosition {
    /// Layers around it.
    pub(crate) depth: u8,
    /// What of it the MIC is over, if no signature follows.
    pub(crate) mic: Mic,
    /// Only layers are around it, no multipart of attachments: more layers may follow.
    pub(crate) in_chain: bool,
    /// An MDN may stand here: nothing but text stands in front of it, in whatever multiparts.
    pub(crate) may_report: bool,
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

/// What an entity's body is.
pub(crate) enum EntityBody {
    Leaf(leaf::Leaf),
    Multipart(Box<multipart::Multipart>),
    Signed(Box<signed::Signed>),
    Report(Box<report::Report>),
    Cms(Box<crate::cms::Cms>),
    Doubtful(Box<doubtful::Doubtful>),
}

/// An entity within another layer. Its fault is reported and then it is dropped, while the layer around
/// goes on: a signature can be judged although what it signs cannot be read.
pub(crate) struct Child(Option<Box<Entity>>);

/// Layers within layers; real messages have five at the most.
pub(crate) const MAX_LAYERS: u8 = 16;

/// More of them take more memory than usual messages do.
pub(crate) const USUAL_LAYERS: u8 = 5;

// === impl EntityPosition ===

impl EntityPosition {
    /// Of the body itself, whose header is HTTP's.
    pub(crate) const ROOT: Self = Self {
        depth: 0,
        mic: Mic::Body,
        in_chain: true,
        may_report: true,
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
    pub(crate) fn part(self, in_exchange: bool, may_report: bool) -> Self {
        Self {
            depth: self.depth + 1,
            mic: Mic::Elsewhere,
            in_chain: false,
            may_report,
            must_be_mime: false,
            in_exchange,
            ..self
        }
    }
}

// === impl EntityBody ===

impl EntityBody {
    pub(crate) fn push(&mut self, bytes: &[u8], flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        match self {
            Self::Leaf(leaf) => leaf.push(bytes, flow),
            Self::Multipart(multipart) => multipart.push(bytes, flow),
            Self::Signed(signed) => signed.push(bytes, flow),
            Self::Report(report) => report.push(bytes, flow),
            Self::Cms(cms) => cms.push(bytes, flow),
            Self::Doubtful(doubtful) => doubtful.push(bytes, flow),
        }
    }

    pub(crate) fn finish(self, end: End, flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        match self {
            Self::Leaf(leaf) => leaf.finish(end, flow),
            Self::Multipart(multipart) => multipart.finish(end, flow),
            Self::Signed(signed) => signed.finish(end, flow),
            Self::Report(report) => report.finish(end, flow),
            Self::Cms(cms) => cms.finish(end, flow),
            Self::Doubtful(doubtful) => doubtful.finish(end, flow),
        }
    }

    /// No more bytes come: decides what is still in doubt.
    pub(crate) fn settle(&mut self, flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        match self {
            Self::Doubtful(doubtful) => doubtful.settle(flow),
            _ => Ok(()),
        }
    }

    /// Whether it is a layer, whose content has its own MIC.
    pub(crate) fn is_layer(&self) -> bool {
        match self {
            Self::Cms(_) | Self::Signed(_) => true,
            Self::Doubtful(doubtful) => doubtful.is_layer(),
            Self::Leaf(_) | Self::Multipart(_) | Self::Report(_) => false,
        }
    }
}

// === impl Child ===

impl Child {
    pub(crate) fn new(entity: Entity) -> Self {
        Self(Some(Box::new(entity)))
    }

    /// Nothing, or what has failed.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    pub(crate) fn entity(&self) -> Option<&Entity> {
        self.0.as_deref()
    }

    /// # Errors
    /// Only where the whole decode has ended.
    pub(crate) fn push(&mut self, bytes: &[u8], flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        if let Some(entity) = &mut self.0
            && let Err(fault) = entity.push(bytes, flow)
        {
            self.0 = None;
            return flow.absorb(fault);
        }
        Ok(())
    }

    /// # Errors
    /// Only where the whole decode has ended.
    pub(crate) fn finish(&mut self, end: End, flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        match self.0.take().map(|entity| entity.finish(end, flow)) {
            Some(Err(fault)) => flow.absorb(fault),
            Some(Ok(())) | None => Ok(()),
        }
    }
}
