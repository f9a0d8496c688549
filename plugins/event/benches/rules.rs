//! Finding an event's webhooks among 100,000 rules; the bar is 1 µs.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;

use as2hook_event::{
    Endpoint, EventKind, Filters, Findings, PartnerType, Query, Route, Rule, RuleSet,
};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::Uri;

const RULES: usize = 100_000;

/// Six rules for each of many partners and seven that name none, so that every lookup but those of
/// "*" for all types has to be made.
fn rules() -> Vec<Rule> {
    let endpoint = Endpoint::new(Uri::from_static("https://erp.example/hooks/as2"));
    let with_partner = [9, 10, 11, 13, 14, 15].into_iter().cycle().take(RULES - 7);
    let shapes = [0, 1, 2, 3, 5, 6, 7].into_iter().chain(with_partner);
    let rule = |(place, shape): (usize, usize)| Rule {
        name: format!("rule-{place}"),
        events: (shape & 1 != 0).then(|| vec![EventKind::MessageReceived]),
        partner: (shape & 8 != 0).then(|| format!("PARTNER-{}", (place - 7) / 6)),
        station: (shape & 4 != 0).then(|| "STATION".to_owned()),
        partner_type: (shape & 2 != 0).then_some(PartnerType::Production),
        filters: Filters::default(),
        site: "main".into(),
        route: Route::MostSpecific,
        enabled: true,
        endpoint: endpoint.clone(),
    };
    shapes.enumerate().map(rule).collect()
}

fn matching(criterion: &mut Criterion) {
    let set = RuleSet::compile(rules()).expect("the rules differ");
    let partners: Vec<_> = (0..RULES / 6).map(|number| format!("PARTNER-{number}")).collect();
    let findings = Findings::default().signature(None).errors([]);
    let mut place = 0;
    let mut next = || {
        // Far from the last one, so that no cache line is warm.
        place = (place + 7919) % partners.len();
        Query {
            event: EventKind::MessageReceived,
            site: "main",
            partner: Some(&partners[place]),
            station: Some("STATION"),
            partner_type: PartnerType::Production,
        }
    };

    let mut group = criterion.benchmark_group("match among 100,000 rules");
    group.bench_function("first lookup", |bench| {
        bench.iter(|| black_box(set.matches(&next(), &findings).iter().count()));
    });
    group.bench_function("thirteenth lookup", |bench| {
        let (event, partner_type) = (EventKind::MdnSent, PartnerType::Test);
        bench.iter(|| {
            let query = Query { event, partner_type, ..next() };
            black_box(set.matches(&query, &findings).iter().count())
        });
    });
    group.bench_function("unknown partner", |bench| {
        bench.iter(|| {
            let query = Query { partner: Some("UNKNOWN"), ..next() };
            black_box(set.matches(&query, &findings).iter().count())
        });
    });
    group.bench_function("unknown site", |bench| {
        bench.iter(|| {
            black_box(set.matches(&Query { site: "elsewhere", ..next() }, &findings).iter().count())
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("compile");
    group.sample_size(10);
    group.bench_function("100,000 rules", |bench| {
        bench.iter_batched(rules, |rules| RuleSet::compile(rules).is_ok(), BatchSize::LargeInput);
    });
    group.finish();
}

criterion_group!(benches, matching);
criterion_main!(benches);
