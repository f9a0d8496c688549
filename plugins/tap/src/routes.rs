//! Which webhooks get what, decided at the head of an exchange: an exchange in flight finishes on the
//! rules it began with.

use std::{sync::Arc, time::Duration};

use as2hook_as2::SignatureStatus;
use as2hook_config::Partner;
use as2hook_delivery::Target;
use as2hook_event::{
    Direction, Event, EventKind, Findings, KeptAttachments, Order, PartnerType, Query, Rule,
    Verdict,
};
use as2hook_store::OrderPlace;

use super::TapRules;

/// The rules of one exchange.
pub(crate) struct Routes {
    /// What the exchange began with.
    pub rules: Arc<TapRules>,
    pub parties: Parties,
    pub site: String,
    pub partner_type: PartnerType,
    /// Whether any outcome of the exchange goes to a webhook.
    pub wants_any: bool,
    /// Whether any outcome goes with its payload.
    pub wants_raw: bool,
    /// Whether the attachments of any outcome are all kept.
    pub keeps_all: bool,
    /// The webhooks that any outcome is reported to in order.
    in_order: Vec<Arc<Rule>>,
    /// Whether the config knows the partner, and our station.
    pub is_known: (bool, bool),
    /// Whether the partner's signature can be judged.
    pub has_certificates: bool,
}

/// The AS2 ids of both sides, as they are kept: one that is longer than allowed is cut, and then no partner's
/// of the config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parties {
    /// AS2 id of the remote side.
    pub partner: String,
    /// AS2 id of our side.
    pub station: String,
}

/// The kinds of events that an exchange can still bring about when it is recorded as this kind.
pub(crate) fn outcomes(recorded: EventKind) -> &'static [EventKind] {
    match recorded {
        EventKind::MessageReceived => &[
            EventKind::MessageReceived,
            EventKind::MessageRejected,
            EventKind::MessageDuplicate,
            EventKind::MdnSent,
        ],
        EventKind::MdnReceived => &[EventKind::MdnReceived, EventKind::SendError],
        EventKind::MdnSent => &[EventKind::MdnSent, EventKind::SendError],
        _ => &[
            EventKind::MessageSent,
            EventKind::SendError,
            EventKind::MdnReceived,
            EventKind::MdnOverdue,
        ],
    }
}

// === impl Routes ===

impl Routes {
    /// Looks up what this exchange can become, and whether any webhook wants it.
    pub(crate) fn new(rules: Arc<TapRules>, parties: Parties, direction: Direction) -> Self {
        let partner = rules.config.partner(&parties.partner);
        let site = partner.map_or_else(|| rules.config.site.clone(), |p| p.site.clone());
        let partner_type = partner.map_or(PartnerType::Production, |p| p.partner_type);
        let is_known = (partner.is_some(), rules.config.is_station(&parties.station));
        let has_certificates = partner.is_some_and(|p| !p.certificates.is_empty());
        let mut routes = Self {
            rules,
            parties,
            site,
            partner_type,
            wants_any: false,
            wants_raw: false,
            keeps_all: false,
            in_order: Vec::new(),
            is_known,
            has_certificates,
        };
        let recorded = match direction {
            Direction::Inbound => [EventKind::MessageReceived, EventKind::MdnReceived],
            Direction::Outbound => [EventKind::MessageSent, EventKind::MdnSent],
        };
        for &kind in recorded.into_iter().flat_map(outcomes) {
            let (mut any, mut raw, mut all, mut in_order) = (false, false, false, Vec::new());
            for rule in routes.rules.candidates(&routes.query(kind)) {
                any = true;
                raw |= kind.sends_payload() && rule.endpoint.payload.needs_payload;
                all |= rule.endpoint.keep == KeptAttachments::All;
                if rule.endpoint.order == Order::Partner {
                    in_order.push(rule.clone());
                }
            }
            routes.wants_any |= any;
            routes.wants_raw |= raw;
            routes.keeps_all |= all;
            routes.in_order.append(&mut in_order);
        }
        routes.in_order.sort_by(|a, b| a.name.cmp(&b.name));
        routes.in_order.dedup_by(|a, b| a.name == b.name);
        routes
    }

    /// Whether any outcome goes in order.
    pub(crate) fn wants_order(&self) -> bool {
        !self.in_order.is_empty()
    }

    /// The places that an exchange has in the orders of its deliveries from its record on, whatever comes of
    /// it.
    pub(crate) fn places(&self, event: &Event) -> Vec<OrderPlace> {
        let is_unverified = self.is_unverified(event);
        let place = |rule: &Arc<Rule>| {
            let order_key = Target::in_order(rule, event, is_unverified).order_key?;
            Some(OrderPlace { webhook: rule.name.clone(), order_key })
        };
        self.in_order.iter().filter_map(place).collect()
    }

    /// Whether the payload of a settled event is delivered, or kept for download.
    pub(crate) fn wants_payload_of(&self, event: &Event) -> bool {
        let mut webhooks = self.webhooks(event.kind, &Findings::of(event)).into_iter();
        webhooks.any(|rule| {
            let is_sent = event.kind.sends_payload() && rule.endpoint.payload.needs_payload;
            is_sent || rule.endpoint.keep == KeptAttachments::All
        })
    }

    /// Whether a message in the name of a partner with certificates is not verified. Only inbound ones can be.
    pub(crate) fn is_unverified(&self, event: &Event) -> bool {
        let status = event.decoded.as_ref().and_then(|decoded| decoded.signature_status);
        event.direction == Direction::Inbound
            && self.has_certificates
            && status != Some(SignatureStatus::Valid)
    }

    /// Whether an MDN of the partner in a response counts although it is not signed as it was asked for.
    pub(crate) fn accepts_unsigned_mdns(&self) -> bool {
        self.partner().is_some_and(|partner| partner.accepts_unsigned_mdns())
    }

    /// How long an asynchronous MDN of the partner is waited for. `None`: they never pass here.
    pub(crate) fn mdn_deadline(&self) -> Option<Duration> {
        let is_here = self.partner().is_none_or(|partner| partner.has_async_mdns_here());
        is_here.then_some(self.rules.config.mdn_deadline)
    }

    /// As [`Self::is_unverified`], of an exchange whose request is not decoded yet.
    pub(crate) fn is_unverified_yet(&self, direction: Direction) -> bool {
        direction == Direction::Inbound && self.has_certificates
    }

    /// The deliveries of a settled event.
    pub(crate) fn targets(&self, event: &Event) -> Vec<Target> {
        self.targets_beside(event, event)
    }

    /// As [`Self::targets`], for a further event of an exchange whose own event is `exchange`: it keeps that
    /// one's order.
    pub(crate) fn targets_beside(&self, event: &Event, exchange: &Event) -> Vec<Target> {
        self.targets_of(event.kind, &Findings::of(event), event, exchange)
    }

    /// The deliveries of an event that is settled by this verdict.
    pub(crate) fn targets_when(&self, event: &Event, verdict: &Verdict) -> Vec<Target> {
        self.targets_of(verdict.kind, &Findings::of(event).with(&verdict.errors), event, event)
    }

    /// Whether any rule may fire when the exchange turns out to be this.
    pub(crate) fn wants(&self, kind: EventKind) -> bool {
        self.rules.candidates(&self.query(kind)).next().is_some()
    }

    fn targets_of(
        &self,
        kind: EventKind,
        findings: &Findings,
        event: &Event,
        exchange: &Event,
    ) -> Vec<Target> {
        let is_unverified = self.is_unverified(exchange);
        let target = |rule: &Arc<Rule>| Target::in_order(rule, event, is_unverified);
        self.webhooks(kind, findings).iter().map(target).collect()
    }

    fn webhooks(&self, kind: EventKind, findings: &Findings) -> Vec<Arc<Rule>> {
        self.rules.webhooks(&self.query(kind), findings)
    }

    fn partner(&self) -> Option<&Partner> {
        self.rules.config.partner(&self.parties.partner)
    }

    fn query(&self, kind: EventKind) -> Query<'_> {
        Query {
            event: kind,
            site: &self.site,
            partner: Some(&self.parties.partner),
            station: Some(&self.parties.station),
            partner_type: self.partner_type,
        }
    }
}
