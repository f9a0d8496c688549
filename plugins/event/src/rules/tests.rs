use as2hook_as2::{ErrorCode, SignatureStatus};
use http::Uri;

use super::*;
use crate::rule::{Endpoint, ErrorFilter, Filters, Route};

mod filters;
mod naive;

// From one partner's rule to the fallback of all.

#[test]
fn seed_semi_global_fallback() {
    let set = compile([
        rule("fallback").partner("ACME"),
        rule("both").partner("ACME").station("MY-OWN-ORG"),
    ]);
    assert_eq!(fired(&set, &query(Some("ACME"), Some("MY-OWN-ORG"))), ["both"]);
    assert_eq!(fired(&set, &query(Some("ACME"), Some("MY-SECOND-ORG"))), ["fallback"]);
}

#[test]
fn seed_global_fallback() {
    let set = compile([
        rule("global"),
        rule("fallback").partner("ACME"),
        rule("both").partner("ACME").station("MY-OWN-ORG"),
    ]);
    assert_eq!(fired(&set, &query(Some("AMZN"), Some("MY-OWN-ORG"))), ["global"]);
}

// Specificity: the first difference in the contract's order decides.

#[test]
fn a_partner_outweighs_all_else() {
    let set = compile([
        rule("partner").partner("ACME").events(None),
        rule("rest").station("MY-OWN-ORG").partner_type(PartnerType::Production),
    ]);
    assert_eq!(fired(&set, &query(Some("ACME"), Some("MY-OWN-ORG"))), ["partner"]);
}

#[test]
fn a_station_outweighs_type_and_event() {
    let set = compile([
        rule("station").station("MY-OWN-ORG").events(None),
        rule("rest").partner_type(PartnerType::Production),
    ]);
    assert_eq!(fired(&set, &query(Some("ACME"), Some("MY-OWN-ORG"))), ["station"]);
}

#[test]
fn a_type_outweighs_an_event() {
    let set =
        compile([rule("type").partner_type(PartnerType::Production).events(None), rule("event")]);
    assert_eq!(fired(&set, &query(None, None)), ["type"]);
}

#[test]
fn a_named_event_outweighs_the_star() {
    let set = compile([rule("star").events(None), rule("event")]);
    assert_eq!(fired(&set, &query(None, None)), ["event"]);
    let other = Query { event: EventKind::MdnReceived, ..query(None, None) };
    assert_eq!(fired(&set, &other), ["star"]);
}

// What matches at all.

#[test]
fn an_event_without_partner_matches_only_rules_that_leave_it_out() {
    let set = compile([rule("partner").partner("ACME"), rule("station").station("MY-OWN-ORG")]);
    assert_eq!(fired(&set, &query(None, None)), [""; 0]);
    assert_eq!(fired(&set, &query(None, Some("MY-OWN-ORG"))), ["station"]);
}

#[test]
fn as2_ids_are_case_sensitive() {
    let set = compile([rule("acme").partner("ACME")]);
    assert_eq!(fired(&set, &query(Some("Acme"), None)), [""; 0]);
}

#[test]
fn sites_do_not_see_each_other() {
    let mut other = rule("other").0;
    other.site = "other".into();
    let set = compile([Builder(other), rule("main")]);
    assert_eq!(fired(&set, &query(None, None)), ["main"]);
    assert_eq!(fired(&set, &Query { site: "other", ..query(None, None) }), ["other"]);
    assert_eq!(fired(&set, &Query { site: "unknown", ..query(None, None) }), [""; 0]);
}

#[test]
fn a_rule_of_another_partner_type_does_not_fire() {
    let set = compile([rule("test").partner_type(PartnerType::Test), rule("all")]);
    assert_eq!(fired(&set, &query(None, None)), ["all"]);
    let test = Query { partner_type: PartnerType::Test, ..query(None, None) };
    assert_eq!(fired(&set, &test), ["test"]);
}

#[test]
fn always_rules_fire_besides() {
    let set = compile([
        rule("audit").always().events(None),
        rule("audit-acme").always().partner("ACME"),
        rule("winner").partner("ACME"),
        rule("loser"),
    ]);
    assert_eq!(fired(&set, &query(Some("ACME"), None)), ["winner", "audit-acme", "audit"]);
    assert_eq!(set.matches(&query(Some("ACME"), None), &clean()).iter().count(), 3);
}

#[test]
fn a_disabled_rule_leaves_its_place_to_others() {
    let set = compile([rule("off").partner("ACME").disabled(), rule("on")]);
    assert_eq!(fired(&set, &query(Some("ACME"), None)), ["on"]);
    assert!(set.get("off").is_some_and(|rule| !rule.enabled));
    assert_eq!(set.iter().len(), 2);
}

#[test]
fn nothing_is_allocated_when_nothing_matches() {
    let set = compile([rule("acme").partner("ACME"), rule("audit").always().partner("ACME")]);
    assert_eq!(set.matches(&query(Some("AMZN"), None), &clean()).always.capacity(), 0);
}

#[test]
fn a_query_is_made_of_an_event() {
    use crate::event::{Direction, Event};
    let event = Event {
        id: uuid::Uuid::nil(),
        kind: EventKind::MdnSent,
        occurred_at: jiff::Timestamp::UNIX_EPOCH,
        direction: Direction::Inbound,
        site: "other".into(),
        partner: Some("ACME".into()),
        station: None,
        partner_type: PartnerType::Test,
        peer: None,
        headers: as2hook_as2::Headers::new(),
        decoded: None,
        errors: Vec::new(),
        send_error: None,
        mic_matches: None,
        supersedes: None,
        extra: serde_json::Map::new(),
    };
    let expected = Query {
        event: EventKind::MdnSent,
        site: "other",
        partner: Some("ACME"),
        station: None,
        partner_type: PartnerType::Test,
    };
    assert_eq!(Query::from(&event), expected);
    let none = Findings::default().signature(None).errors([]).documents(Vec::new());
    assert_eq!(Findings::of(&event), none);
    let refused = as2hook_as2::ProcessingError::new(ErrorCode::Receiver, "processed/error");
    let verdict =
        crate::event::Verdict { errors: vec![refused], ..crate::event::Verdict::of(event.kind) };
    let mut event = event;
    event.settle(verdict);
    assert_eq!(Findings::of(&event), none.errors([ErrorCode::Receiver]));
}

// Conflicts.

#[test]
fn equal_rules_are_named() {
    let conflicts = conflicts([
        rule("one")
            .partner("ACME")
            .events(Some(&[EventKind::MessageReceived, EventKind::MdnReceived])),
        rule("two").partner("ACME").events(Some(&[EventKind::MdnReceived, EventKind::MdnSent])),
    ]);
    let [conflict] = conflicts.as_slice() else { panic!("{conflicts:?}") };
    assert_eq!((conflict.first.as_str(), conflict.second.as_str()), ("one", "two"));
    assert_eq!((conflict.first_place, conflict.second_place), (0, 1));
    assert_eq!(conflict.why, Conflict::Routing(vec![EventKind::MdnReceived]));
    let text = conflict.to_string();
    assert!(text.contains("\"one\" and \"two\"") && text.contains("mdn.received"), "{text}");
}

#[test]
fn two_global_rules_are_equal() {
    let conflicts = conflicts([rule("one").events(None), rule("two").events(None)]);
    assert_eq!(conflicts.len(), 1);
    assert!(conflicts[0].to_string().contains("\"*\""), "{}", conflicts[0]);
}

#[test]
fn every_conflict_is_told() {
    let conflicts = conflicts([rule("same"), rule("same").partner("A"), rule("c"), rule("d")]);
    let pairs: Vec<_> = conflicts.iter().map(|c| (c.first_place, c.second_place)).collect();
    assert_eq!(pairs, [(0, 1), (0, 2), (0, 3)]);
    assert_eq!(conflicts[0].why, Conflict::Name);
}

#[test]
fn disabled_and_always_rules_are_equal_to_nothing() {
    compile([
        rule("one"),
        rule("off").disabled(),
        rule("always").always(),
        rule("always2").always(),
    ]);
}

#[test]
fn a_disabled_rule_keeps_its_name() {
    let conflicts = conflicts([rule("same"), rule("same").partner("ACME").disabled()]);
    assert_eq!(conflicts[0].why, Conflict::Name);
}

#[test]
fn an_event_named_twice_is_no_conflict() {
    use EventKind::MdnSent;
    let set = compile([
        rule("one").events(Some(&[MdnSent, MdnSent])),
        rule("audit").always().events(Some(&[MdnSent, MdnSent])),
    ]);
    assert_eq!(fired(&set, &Query { event: MdnSent, ..query(None, None) }), ["one", "audit"]);
}

// Explanations.

#[test]
fn explains_most_specific_first() {
    let set = compile([
        rule("global"),
        rule("acme").partner("ACME"),
        rule("audit").always().events(None),
        rule("off").partner("ACME").station("MY-OWN-ORG").disabled(),
        rule("mdns").partner("ACME").events(Some(&[EventKind::MdnReceived])),
        rule("test").partner_type(PartnerType::Test),
        rule("lower").partner("acme"),
        rule("elsewhere").partner("AMZN"),
    ]);
    let explanations = set.explain(&query(Some("ACME"), Some("MY-OWN-ORG")), &clean());
    let lines: Vec<_> = explanations.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "off: does not fire: it is disabled (names partner, station, event)",
            "acme: fires: it is the most specific rule that matches (names partner, event)",
            "mdns: does not fire: it does not subscribe to message.received (names partner, event)",
            "lower: does not fire: the partner is \"ACME\", and AS2 ids are case-sensitive (names \
             partner, event)",
            "test: does not fire: the partner is of type Production (names partner_type, event)",
            "global: does not fire: \"acme\" is more specific, since it names the partner (names \
             event)",
            "audit: fires: route: always fires besides (names nothing)",
        ]
    );
}

struct Builder(Rule);

fn rule(name: &str) -> Builder {
    Builder(Rule {
        name: name.to_owned(),
        events: Some(vec![EventKind::MessageReceived]),
        partner: None,
        station: None,
        partner_type: None,
        filters: Filters::default(),
        site: "main".to_owned(),
        route: Route::MostSpecific,
        enabled: true,
        endpoint: Endpoint::new(Uri::from_static("https://erp.example/hooks/as2")),
    })
}

impl Builder {
    fn partner(mut self, id: &str) -> Self {
        self.0.partner = Some(id.to_owned());
        self
    }

    fn station(mut self, id: &str) -> Self {
        self.0.station = Some(id.to_owned());
        self
    }

    fn partner_type(mut self, partner_type: PartnerType) -> Self {
        self.0.partner_type = Some(partner_type);
        self
    }

    fn documents(mut self, types: &[&str]) -> Self {
        self.0.filters.documents = Some(types.iter().flat_map(|of| of.parse()).collect());
        self
    }

    fn events(mut self, events: Option<&[EventKind]>) -> Self {
        self.0.events = events.map(<[_]>::to_vec);
        self
    }

    fn signature(mut self, statuses: &[SignatureStatus]) -> Self {
        self.0.filters.signature = Some(statuses.to_vec());
        self
    }

    fn errors(mut self, errors: ErrorFilter) -> Self {
        self.0.filters.errors = Some(errors);
        self
    }

    fn always(mut self) -> Self {
        self.0.route = Route::Always;
        self
    }

    fn disabled(mut self) -> Self {
        self.0.enabled = false;
        self
    }
}

fn compile<const N: usize>(rules: [Builder; N]) -> RuleSet {
    RuleSet::compile(rules.into_iter().map(|builder| builder.0).collect()).unwrap()
}

fn conflicts<const N: usize>(rules: [Builder; N]) -> Vec<RuleConflict> {
    RuleSet::compile(rules.into_iter().map(|builder| builder.0).collect()).unwrap_err()
}

fn query<'a>(partner: Option<&'a str>, station: Option<&'a str>) -> Query<'a> {
    Query {
        event: EventKind::MessageReceived,
        site: "main",
        partner,
        station,
        partner_type: PartnerType::Production,
    }
}

/// The findings of a message without signature and errors.
fn clean() -> Findings {
    Findings::default().signature(Some(SignatureStatus::Unsigned)).errors([])
}

fn fired<'a>(set: &'a RuleSet, query: &Query<'_>) -> Vec<&'a str> {
    fired_with(set, query, &clean())
}

fn fired_with<'a>(set: &'a RuleSet, query: &Query<'_>, findings: &Findings) -> Vec<&'a str> {
    set.matches(query, findings).iter().map(|rule| rule.name.as_str()).collect()
}
