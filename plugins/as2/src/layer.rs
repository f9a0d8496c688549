//! The layers between the body and the documents. Each takes bytes and hands on what is inside.

pub(crate) mod doubtful;
pub(crate) mod entity;
pub(crate) mod leaf;
mod mic_digests;
pub(crate) mod multipart;
mod place;
mod recognise;
pub(crate) mod report;
pub(crate) mod signed;

pub(crate) use entity::Entity;
pub(crate) use place::EntityPosition;

use crate::{
    fault::Fault,
    state::{DecodeFlow, End},
};

/// What an entity's body is.
pub(crate) enum EntityBody {
    Leaf(leaf::Leaf),
    Multipart(Box<multipart::Multipart>),
    Signed(Box<signed::Signed>),
    Report(Box<report::Report>),
    Cms(Box<crate::cms::Cms>),
    Doubtful(Box<doubtful::Doubtful>),
}

/// An entity within another layer. Its fault is told and then it is gone, while the layer around
/// goes on: a signature can be judged although what it signs cannot be read.
pub(crate) struct Child(Option<Box<Entity>>);

/// Layers within layers; real messages have five at the most.
pub(crate) const MAX_LAYERS: u8 = 16;

/// More of them take more memory than usual messages do.
pub(crate) const USUAL_LAYERS: u8 = 5;

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
