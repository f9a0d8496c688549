//! Events and rules as the tests and the measuring examples have them, but for what each of them is
//! about.

use as2hook_as2::Headers;
use as2hook_webhooks::{Direction, Endpoint, Event, EventKind, PartnerType, Route, Rule};
use uuid::Uuid;

/// A message that came in, as far as its headers.
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

/// For every event.
pub fn rule(name: &str, endpoint: Endpoint) -> Rule {
    Rule {
        name: name.to_owned(),
        events: None,
        partner: None,
        station: None,
        partner_type: None,
        site: "main".to_owned(),
        route: Route::Always,
        enabled: true,
        endpoint,
    }
}
