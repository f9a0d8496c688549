//! multipart/related, multipart/mixed and their kin: one attachment for each part (RFC 6362).

use super::{Child, Entity, Place, entity::CERTIFICATE_EXCHANGE};
use crate::{
    fault::Fault,
    mime::{
        ContentType,
        splitter::{Event, Splitter},
    },
    state::{End, Flow},
};

/// A body of parts.
pub(crate) struct Multipart {
    splitter: Splitter,
    place: Place,
    child: Child,
    /// A certificate exchange message (CEM): certificates, no documents.
    is_exchange: bool,
}

// === impl Multipart ===

impl Multipart {
    pub(crate) fn new(kind: &ContentType, place: Place) -> Self {
        let is_exchange = place.in_exchange
            || kind.parameter("type").is_some_and(|t| t.eq_ignore_ascii_case(CERTIFICATE_EXCHANGE));
        let splitter = Splitter::new(kind.parameter("boundary"));
        Self { splitter, place, child: Child::none(), is_exchange }
    }

    pub(crate) fn push(&mut self, bytes: &[u8], flow: &mut Flow<'_>) -> Result<(), Fault> {
        let Self { splitter, place, child, is_exchange } = self;
        splitter.push(bytes, &mut |event| {
            on_event(event, *place, is_exchange, child, flow);
            Ok(())
        })
    }

    pub(crate) fn finish(mut self, end: End, flow: &mut Flow<'_>) -> Result<(), Fault> {
        if end == End::Cut {
            self.child.finish(end, flow);
            return Ok(());
        }
        let Self { splitter, place, child, is_exchange } = &mut self;
        splitter.finish(&mut |event| {
            on_event(event, *place, is_exchange, child, flow);
            Ok(())
        })?;
        if splitter.is_closed() { Ok(()) } else { Err(Fault::Truncated) }
    }
}

fn on_event(
    event: Event<'_>,
    place: Place,
    is_exchange: &mut bool,
    child: &mut Child,
    flow: &mut Flow<'_>,
) {
    match event {
        Event::Begin => {
            let limit = flow.state.options.limits.header;
            *child = Child::new(Entity::new(place.part(*is_exchange), limit));
        }
        Event::Data(bytes) => child.push(bytes, flow),
        Event::End => {
            // The exchange's XML comes first, its certificates behind it.
            *is_exchange |= child.entity().is_some_and(Entity::is_exchange);
            child.finish(End::Whole, flow);
        }
    }
}
