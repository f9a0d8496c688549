//! Who is told of what, decided at the head of an exchange: an exchange in flight finishes on the
//! rules it began with.

use std::sync::Arc;

use as2hook_delivery::Target;
use as2hook_webhooks::{Direction, Event, EventKind, Order, PartnerType, PayloadMode, Query, Rule};

use super::head::Parties;
use crate::snapshot::Snapshot;

/// The rules of one exchange.
pub(super) struct Routes {
    snapshot: Arc<Snapshot>,
    parties: Parties,
    pub(super) site: String,
    pub(super) partner_type: PartnerType,
    wants_any: bool,
    wants_raw: bool,
    wants_order: bool,
}

// === impl Routes ===

impl Routes {
    /// Looks up what this exchange can become, and whether anybody wants to know.
    pub(super) fn new(snapshot: Arc<Snapshot>, parties: &Parties, direction: Direction) -> Self {
        let partner = snapshot.config.partner(&parties.partner);
        let site = partner.map_or_else(|| snapshot.config.site.clone(), |p| p.site.clone());
        let partner_type = partner.map_or(PartnerType::Production, |p| p.partner_type);
        let parties = parties.clone();
        let mut routes = Self {
            snapshot,
            parties,
            site,
            partner_type,
            wants_any: false,
            wants_raw: false,
            wants_order: false,
        };
        for &kind in outcomes(direction) {
            for rule in routes.webhooks(kind) {
                routes.wants_any = true;
                routes.wants_raw |=
                    kind.sends_payload() && rule.endpoint.payload == PayloadMode::Raw;
                routes.wants_order |= rule.endpoint.order == Order::Partner;
            }
        }
        routes
    }

    /// The config and rules that the exchange began with.
    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Whether any outcome of the exchange is told to anybody.
    pub(super) fn wants_any(&self) -> bool {
        self.wants_any
    }

    /// Whether any outcome is told with its payload.
    pub(super) fn wants_raw(&self) -> bool {
        self.wants_raw
    }

    /// Whether any outcome is told in order.
    pub(super) fn wants_order(&self) -> bool {
        self.wants_order
    }

    /// Whether an event of this kind is told with its payload.
    pub(super) fn wants_raw_of(&self, kind: EventKind) -> bool {
        let mut webhooks = self.webhooks(kind).into_iter();
        kind.sends_payload() && webhooks.any(|rule| rule.endpoint.payload == PayloadMode::Raw)
    }

    /// Who is told when the exchange turns out to be this.
    pub(super) fn targets(&self, kind: EventKind, event: &Event) -> Vec<Target> {
        self.webhooks(kind).iter().map(|rule| Target::of(rule, event)).collect()
    }

    /// Whether anybody is told when the exchange turns out to be this.
    pub(super) fn wants(&self, kind: EventKind) -> bool {
        !self.webhooks(kind).is_empty()
    }

    fn webhooks(&self, kind: EventKind) -> Vec<Arc<Rule>> {
        let query = Query {
            event: kind,
            site: &self.site,
            partner: Some(&self.parties.partner),
            station: Some(&self.parties.station),
            partner_type: self.partner_type,
        };
        self.snapshot.webhooks(&query)
    }
}

/// What an exchange of this direction can become.
fn outcomes(direction: Direction) -> &'static [EventKind] {
    match direction {
        Direction::Inbound => &[
            EventKind::MessageReceived,
            EventKind::MessageRejected,
            EventKind::MessageDuplicate,
            EventKind::MdnSent,
            EventKind::MdnReceived,
            EventKind::SendError,
        ],
        Direction::Outbound => &[
            EventKind::MessageSent,
            EventKind::SendError,
            EventKind::MdnReceived,
            EventKind::MdnOverdue,
            EventKind::MdnSent,
        ],
    }
}
