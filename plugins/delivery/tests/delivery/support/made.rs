//! Default events and rules of the tests and the measuring examples.

use as2hook_as2::Headers;
use as2hook_event::{Direction, Endpoint, Event, EventKind, Filters, PartnerType, Route, Rule};
use uuid::Uuid;

/// A received message, with its headers only.
pub fn event(id: Uuid, headers: Headers) -> Event {
    Event {
        id,
        kind: EventKind::MessageReceived,
        occurred_at: jiff::Timestamp::now(),
        direction: Direction::Inbound,
        site: "main".to_owned(),
        partner: Some("ACME".to_owned()),
        station: Some("MY-OWN-ORG".to_owned()),
        partner_type: PartnerType::Production,
        peer: None,
        headers,
        decoded: None,
        errors: Vec::new(),
        send_error: None,
        mic_matches: None,
        supersedes: None,
        extra: serde_json::Map::new(),
    }
}

/// A rule for every event.
pub fn rule(name: &str, endpoint: Endpoint) -> Rule {
    Rule {
        name: name.to_owned(),
        events: None,
        partner: None,
        station: None,
        partner_type: None,
        filters: Filters::default(),
        site: "main".to_owned(),
        route: Route::Always,
        enabled: true,
        endpoint,
    }
}
