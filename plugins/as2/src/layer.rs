//! The layers between the body and the documents. Each takes bytes and hands on what is inside.

pub(crate) mod entity;
pub(crate) mod leaf;
pub(crate) mod multipart;
pub(crate) mod report;
pub(crate) mod signed;

pub(crate) use entity::{Entity, Place};

use crate::{
    fault::Fault,
    state::{End, Flow},
};

/// What an entity's body is.
pub(crate) enum Body {
    Leaf(leaf::Leaf),
    Multipart(Box<multipart::Multipart>),
    Signed(Box<signed::Signed>),
    Report(Box<report::Report>),
    Cms(Box<crate::cms::Cms>),
}

/// An entity within another layer. Its fault is told and then it is gone, while the layer around
/// goes on: a signature can be judged although what it signs cannot be read.
pub(crate) struct Child(Option<Box<Entity>>);

/// Layers within layers; real messages have five at the most.
pub(crate) const MAX_LAYERS: u8 = 16;

// === impl Body ===

impl Body {
    pub(crate) fn push(&mut self, bytes: &[u8], flow: &mut Flow<'_>) -> Result<(), Fault> {
        match self {
            Self::Leaf(leaf) => leaf.push(bytes, flow),
            Self::Multipart(multipart) => multipart.push(bytes, flow),
            Self::Signed(signed) => signed.push(bytes, flow),
            Self::Report(report) => report.push(bytes),
            Self::Cms(cms) => cms.push(bytes, flow),
        }
    }

    pub(crate) fn finish(self, end: End, flow: &mut Flow<'_>) -> Result<(), Fault> {
        match self {
            Self::Leaf(leaf) => leaf.finish(end, flow),
            Self::Multipart(multipart) => multipart.finish(end, flow),
            Self::Signed(signed) => signed.finish(end, flow),
            Self::Report(report) => report.finish(end, flow),
            Self::Cms(cms) => cms.finish(end, flow),
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

    pub(crate) fn push(&mut self, bytes: &[u8], flow: &mut Flow<'_>) {
        if let Some(entity) = &mut self.0
            && let Err(fault) = entity.push(bytes, flow)
        {
            flow.report(&fault);
            self.0 = None;
        }
    }

    pub(crate) fn finish(&mut self, end: End, flow: &mut Flow<'_>) {
        if let Some(entity) = self.0.take()
            && let Err(fault) = entity.finish(end, flow)
        {
            flow.report(&fault);
        }
    }
}
