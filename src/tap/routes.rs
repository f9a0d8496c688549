//! Who is told of what, decided at the head of an exchange: an exchange in flight finishes on the
//! rules it began with.

use std::sync::Arc;

use as2hook_delivery::Target;
use as2hook_webhooks::{Direction, EventKind, PartnerType, PayloadMode, Query};

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
}

// === impl Routes ===

impl Routes {
    /// Looks up what this exchange can become, and whether anybody wants to know.
    pub(super) fn new(snapshot: Arc<Snapshot>, parties: &Parties, direction: Direction) -> Self {
        let partner = snapshot.config.partner(&parties.partner);
        let site = partner.map_or_else(|| snapshot.config.site.clone(), |p| p.site.clone());
        let partner_type = partner.map_or(PartnerType::Production, |p| p.partner_type);
        let parties = parties.clone();
        let mut routes =
            Self { snapshot, parties, site, partner_type, wants_any: false, wants_raw: false };
        for &kind in outcomes(direction) {
            for target in routes.targets(kind) {
                routes.wants_any = true;
                routes.wants_raw |= target.mode == PayloadMode::Raw;
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

    /// Who is told when the exchange turns out to be this.
    pub(super) fn targets(&self, kind: EventKind) -> Vec<Target> {
        let query = Query {
            event: kind,
            site: &self.site,
            partner: Some(&self.parties.partner),
            station: Some(&self.parties.station),
            partner_type: self.partner_type,
        };
        self.snapshot.targets(&query)
    }
}

/// What an exchange of this direction can become.
fn outcomes(direction: Direction) -> &'static [EventKind] {
    match direction {
        Direction::Inbound => {
            &[EventKind::MessageReceived, EventKind::MessageRejected, EventKind::MdnReceived]
        }
        Direction::Outbound => &[EventKind::MessageSent, EventKind::SendError, EventKind::MdnSent],
    }
}
