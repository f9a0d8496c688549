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
        for ((event, site, partner, station, partner_type), signature, errors) in queries {
            let query = Query { event, site, partner, station, partner_type };
            let findings = Findings::default().signature(signature).errors(errors.iter().copied());
            let found = set.matches(&query, &findings);
            let fits = |rule: &&Rule| fits(rule, &query) && holds(rule, signature, &errors);
            let fitting: Vec<_> = kept.iter().filter(fits).collect();
            let (always, competing): (Vec<_>, Vec<_>) =
                fitting.into_iter().partition(|rule| rule.route == Route::Always);
            let winner = competing.into_iter().max_by_key(|rule| specificity(rule));
            prop_assert_eq!(found.winner.map(|rule| &rule.name), winner.map(|rule| &rule.name));
            let mut found_always: Vec<_> = found.always.iter().map(|rule| &rule.name).collect();
            let mut always: Vec<_> = always.iter().map(|rule| &rule.name).collect();
            found_always.sort();
            always.sort();
            prop_assert_eq!(&found_always, &always);

            let candidates = set.candidates(&query);
            prop_assert!(found.iter().all(|rule| candidates.iter().any(|one| one.name == rule.name)));

            let explained = set.explain(&query, &findings);
            let mut fired: Vec<_> =
                explained.iter().filter(|one| one.outcome == crate::rules::Outcome::Fires).map(|one| &one.rule.name).collect();
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

fn holds(rule: &Rule, signature: Option<SignatureStatus>, errors: &[ErrorCode]) -> bool {
    let Filters { signature: statuses, errors: filter, documents: _ } = &rule.filters;
    let right = |statuses: &Vec<_>| signature.is_some_and(|status| statuses.contains(&status));
    statuses.as_ref().is_none_or(right)
        && match filter {
            None => true,
            Some(ErrorFilter::None) => errors.is_empty(),
            Some(ErrorFilter::Any) => !errors.is_empty(),
            Some(ErrorFilter::Codes(codes)) => errors.iter().any(|error| codes.contains(error)),
        }
}

/// Whether any message at all satisfies the filters of both.
fn overlap(one: &Rule, other: &Rule) -> bool {
    let statuses = SignatureStatus::ALL.map(Some).into_iter().chain([None]);
    let errors = (0..1_u16 << ErrorCode::ALL.len()).map(|set| {
        let codes = ErrorCode::ALL.into_iter().enumerate();
        codes.filter(|(bit, _)| set & 1 << bit != 0).map(|(_, code)| code).collect::<Vec<_>>()
    });
    let errors: Vec<_> = errors.collect();
    let mut all = statuses.flat_map(|status| errors.iter().map(move |errors| (status, errors)));
    all.any(|(status, errors)| holds(one, status, errors) && holds(other, status, errors))
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
    competes(one) && competes(other) && events && key(one) == key(other) && overlap(one, other)
}

const IDS: [&str; 4] = ["A", "a", "B", "C"];
const SITES: [&str; 2] = ["main", "other"];

fn any_rule() -> impl Strategy<Value = Rule> {
    let id = || proptest::option::of(proptest::sample::select(&IDS));
    let events = proptest::option::of(proptest::collection::vec(any_event(), 0..3));
    let (site, partner_type) =
        (proptest::sample::select(&SITES), proptest::option::of(any_partner_type()));
    (events, id(), id(), partner_type, site, any::<bool>(), 0..8, any_filters()).prop_map(
        |(events, partner, station, partner_type, site, always, enabled, filters)| {
            let mut made = rule("any").0;
            made.events = events;
            made.partner = partner.map(Into::into);
            made.station = station.map(Into::into);
            made.partner_type = partner_type;
            made.site = site.into();
            made.route = if always { Route::Always } else { Route::MostSpecific };
            made.enabled = enabled > 0;
            made.filters = filters;
            made
        },
    )
}

fn any_filters() -> impl Strategy<Value = Filters> {
    let signature = proptest::option::of(proptest::collection::vec(any_status(), 1..3));
    let errors = prop_oneof![
        3 => Just(None),
        1 => Just(Some(ErrorFilter::None)),
        1 => Just(Some(ErrorFilter::Any)),
        1 => any_codes(1).prop_map(|codes| Some(ErrorFilter::Codes(codes))),
    ];
    (signature, errors).prop_map(|(signature, errors)| Filters {
        signature,
        errors,
        ..Filters::default()
    })
}

fn any_status() -> impl Strategy<Value = SignatureStatus> {
    proptest::sample::select(&SignatureStatus::ALL)
}

fn any_codes(least: usize) -> impl Strategy<Value = Vec<ErrorCode>> {
    proptest::collection::vec(proptest::sample::select(&ErrorCode::ALL), least..3)
}

type Parties = (EventKind, &'static str, Option<&'static str>, Option<&'static str>, PartnerType);
type AnyQuery = (Parties, Option<SignatureStatus>, Vec<ErrorCode>);

fn any_query() -> impl Strategy<Value = AnyQuery> {
    let id = || proptest::option::of(proptest::sample::select(&["A", "a", "B", "unknown"]));
    let parties = (any_event(), proptest::sample::select(&SITES), id(), id(), any_partner_type());
    (parties, proptest::option::of(any_status()), any_codes(0))
}

fn any_event() -> impl Strategy<Value = EventKind> {
    proptest::sample::select(&EventKind::ALL[..4])
}

fn any_partner_type() -> impl Strategy<Value = PartnerType> {
    proptest::sample::select(&[PartnerType::Production, PartnerType::Test])
}
