//! multipart/related, multipart/mixed and their kin: one attachment for each part (RFC 6362).

use super::{Child, Entity, EntityPosition, entity::CERTIFICATE_EXCHANGE, report::Report};
use crate::{
    Warning,
    fault::Fault,
    mime::{
        ContentType,
        splitter::{MimeEvent, Splitter},
    },
    state::{DecodeFlow, End},
};

/// A body of parts.
pub(crate) struct Multipart {
    splitter: Splitter,
    parts: MultipartProgress,
}

/// The part at hand, and what is known of those before it.
struct MultipartProgress {
    place: EntityPosition,
    child: Child,
    /// A certificate exchange message (CEM): certificates, no documents.
    is_exchange: bool,
    search: ReportSearch,
}

/// Looks for an MDN among the parts: the report, or the notification behind text.
struct ReportSearch {
    /// Nothing but text has come.
    is_open: bool,
    /// The beginning of the first part, which may be for a person.
    remark: Vec<u8>,
    has_part: bool,
    /// A notification stands before the part at hand.
    has_notification: bool,
}

/// Bytes kept of what may be the text of an MDN.
const MAX_REMARK: usize = 16 * 1024;

/// What a part costs, however short it is, in bytes of work.
const ENTITY_WORK: usize = 2048;

// === impl Multipart ===

impl Multipart {
    pub(crate) fn new(splitter: Splitter, kind: &ContentType, place: EntityPosition) -> Self {
        let is_exchange = place.in_exchange
            || kind.parameter("type").is_some_and(|t| t.eq_ignore_ascii_case(CERTIFICATE_EXCHANGE));
        let is_open = place.may_report
            && matches!(
                kind.essence.as_str(),
                "multipart/mixed"
                    | "multipart/related"
                    | "multipart/alternative"
                    | "multipart/signed"
            );
        let search =
            ReportSearch { is_open, remark: Vec::new(), has_part: false, has_notification: false };
        Self {
            splitter,
            parts: MultipartProgress { place, child: Child::none(), is_exchange, search },
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8], flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        let Self { splitter, parts } = self;
        splitter.push(bytes, &mut |event| parts.on_event(event, flow))
    }

    pub(crate) fn finish(mut self, end: End, flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        if end == End::Cut {
            return self.parts.child.finish(end, flow);
        }
        let Self { splitter, parts } = &mut self;
        splitter.finish(&mut |event| parts.on_event(event, flow))?;
        parts.search.explain(flow);
        if splitter.is_closed() {
            return Ok(());
        }
        if !parts.place.in_signed {
            return Err(Fault::Truncated);
        }
        // Within a signature it is that which says whether all is there.
        flow.state.facts.warn(Warning::no_closing_delimiter());
        Ok(())
    }
}

// === impl MultipartProgress ===

impl MultipartProgress {
    fn on_event(&mut self, event: MimeEvent<'_>, flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        let Self { place, child, is_exchange, search } = self;
        match event {
            MimeEvent::Begin => {
                flow.work(ENTITY_WORK)?;
                search.has_notification = flow.state.facts.mdn.is_some();
                if let Err(fault) = flow.state.admit() {
                    *child = Child::none();
                    return flow.absorb(fault);
                }
                let limit = flow.state.options.limits.header;
                *child = Child::new(Entity::new(place.part(*is_exchange, search.is_open), limit));
                Ok(())
            }
            MimeEvent::Data(bytes) => {
                search.keep(bytes);
                child.push(bytes, flow)
            }
            MimeEvent::End => {
                // The exchange's XML comes first, its certificates behind it.
                *is_exchange |= child.entity().is_some_and(Entity::is_exchange);
                search.has_part = true;
                search.is_open &= child.entity().is_some_and(Entity::is_remark);
                if search.has_notification && child.entity().is_some_and(Entity::is_document) {
                    // What carries documents is a message, whatever stands before them.
                    flow.state.facts.mdn = None;
                }
                child.finish(End::Whole, flow)
            }
        }
    }
}

// === impl ReportSearch ===

impl ReportSearch {
    fn keep(&mut self, bytes: &[u8]) {
        if self.is_open && !self.has_part {
            let room = MAX_REMARK - self.remark.len();
            self.remark.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    /// Gives a notification that was found its text.
    fn explain(&mut self, flow: &mut DecodeFlow<'_>) {
        if let Some(mdn) = &mut flow.state.facts.mdn
            && mdn.human_message.is_none()
            && !self.remark.is_empty()
        {
            mdn.human_message = Report::human_message(&self.remark);
        }
    }
}
