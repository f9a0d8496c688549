//! The index against the contract read word for word: a search of all rules.

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn matches_what_a_search_of_all_rules_finds(
        rules in proptest::collection::vec(any_rule(), 0..40),
        queries in proptest::collection::vec(any_query(), 1..20),
    ) {
        let mut kept: Vec<Rule> = Vec::new();
        for (place, mut rule) in rules.into_iter().enumerate() {
            rule.name = format!("rule-{place}");
            let clash = kept.iter().any(|other| equal(other, &rule));
            let mut tried = kept.clone();
            tried.push(rule.clone());
            prop_assert_eq!(RuleSet::compile(tried).is_err(), clash);
            if !clash {
                kept.push(rule);
            }
        }
        let set = RuleSet::compile(kept.clone()).unwrap();
        for (event, site, partner, station, partner_type) in queries {
            let query = Query { event, site, partner, station, partner_type };
            let found = set.matches(&query);
            let fitting: Vec<_> = kept.iter().filter(|rule| fits(rule, &query)).collect();
            let (always, competing): (Vec<_>, Vec<_>) =
                fitting.into_iter().partition(|rule| rule.route == Route::Always);
            let winner = competing.into_iter().max_by_key(|rule| specificity(rule));
            prop_assert_eq!(found.winner.map(|rule| &rule.name), winner.map(|rule| &rule.name));
            let mut found_always: Vec<_> = found.always.iter().map(|rule| &rule.name).collect();
            let mut always: Vec<_> = always.iter().map(|rule| &rule.name).collect();
            found_always.sort();
            always.sort();
            prop_assert_eq!(&found_always, &always);

            let told = set.explain(&query);
            let mut fired: Vec<_> =
                told.iter().filter(|one| one.outcome.fires()).map(|one| &one.rule.name).collect();
            let mut expected: Vec<_> = found.iter().map(|rule| &rule.name).collect();
            fired.sort();
            expected.sort();
            prop_assert_eq!(fired, expected);
        }
    }
}

fn fits(rule: &Rule, query: &Query<'_>) -> bool {
    rule.enabled
        && rule.site == query.site
        && rule.wants(query.event)
        && (rule.partner.is_none() || rule.partner.as_deref() == query.partner)
        && (rule.station.is_none() || rule.station.as_deref() == query.station)
        && rule.partner_type.is_none_or(|wanted| wanted == query.partner_type)
}

fn specificity(rule: &Rule) -> [bool; 4] {
    [
        rule.partner.is_some(),
        rule.station.is_some(),
        rule.partner_type.is_some(),
        rule.events.is_some(),
    ]
}

fn equal(one: &Rule, other: &Rule) -> bool {
    let competes = |rule: &Rule| rule.enabled && rule.route == Route::MostSpecific;
    let events = match (&one.events, &other.events) {
        (None, None) => true,
        (Some(one), Some(other)) => one.iter().any(|event| other.contains(event)),
        _ => false,
    };
    let key = |rule: &Rule| {
        (rule.site.clone(), rule.partner.clone(), rule.station.clone(), rule.partner_type)
    };
    competes(one) && competes(other) && events && key(one) == key(other)
}

const IDS: [&str; 4] = ["A", "a", "B", "C"];
const SITES: [&str; 2] = ["main", "other"];

fn any_rule() -> impl Strategy<Value = Rule> {
    let id = || proptest::option::of(proptest::sample::select(&IDS));
    let events = proptest::option::of(proptest::collection::vec(any_event(), 0..3));
    let (site, partner_type) =
        (proptest::sample::select(&SITES), proptest::option::of(any_partner_type()));
    (events, id(), id(), partner_type, site, any::<bool>(), 0..8).prop_map(
        |(events, partner, station, partner_type, site, always, enabled)| {
            let mut made = rule("any").0;
            made.events = events;
            made.partner = partner.map(Into::into);
            made.station = station.map(Into::into);
            made.partner_type = partner_type;
            made.site = site.into();
            made.route = if always { Route::Always } else { Route::MostSpecific };
            made.enabled = enabled > 0;
            made
        },
    )
}

type AnyQuery = (EventKind, &'static str, Option<&'static str>, Option<&'static str>, PartnerType);

fn any_query() -> impl Strategy<Value = AnyQuery> {
    let id = || proptest::option::of(proptest::sample::select(&["A", "a", "B", "unknown"]));
    (any_event(), proptest::sample::select(&SITES), id(), id(), any_partner_type())
}

fn any_event() -> impl Strategy<Value = EventKind> {
    proptest::sample::select(&EventKind::ALL[..4])
}

fn any_partner_type() -> impl Strategy<Value = PartnerType> {
    proptest::sample::select(&[PartnerType::Production, PartnerType::Test])
}
