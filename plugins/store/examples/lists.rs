//! Prints how long the lists of the admin API take over many deliveries, by each filter that must match exactly.
//!
//! `cargo run --release -p as2hook-store --example lists [-- WHERE [COUNT]]`
//!
//! WHERE is a folder for the embedded store, or `postgres` for a server from this machine's packages. COUNT is the
//! number of delivered events (a million); what is rare is older than all of them, or is not there at all.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a report on the terminal")]

mod opened;

use std::time::{Duration, Instant};

use as2hook_store::{
    DeliveryChange, DeliveryState, EventTerms, Filter, NewDelivery, NewEvent, Payload, Store, Write,
};
use uuid::Uuid;

/// Events of one commit while the store is filled.
const BATCH: usize = 500;

/// Rows of a page.
const PAGE: usize = 50;

/// How often each list is asked for; the median is printed.
const TIMES: usize = 5;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let place = arguments.next();
    let count: usize = arguments.next().map_or(1_000_000, |count| count.parse().unwrap());
    let opened = opened::open(place, Duration::from_secs(600)).await;
    let store = &*opened.store;
    fill(store, count).await;
    for (what, filter) in filters() {
        let deliveries =
            median(async || store.deliveries(&filter, None, PAGE).await.unwrap().rows.len());
        let (took, rows) = deliveries.await;
        let events = median(async || store.events(&filter, None, PAGE).await.unwrap().rows.len());
        let (events_took, event_rows) = events.await;
        println!(
            "{what:34} deliveries {:7.1} ms ({rows:2} rows)   events {:7.1} ms ({event_rows:2} rows)",
            took.as_secs_f64() * 1e3,
            events_took.as_secs_f64() * 1e3,
        );
    }
    store.close().await;
}

/// What is rare first, then what is delivered.
async fn fill(store: &dyn Store, count: usize) {
    for (webhook, state) in [
        ("rare-dead", Some(DeliveryState::Dead)),
        ("rare-held", Some(DeliveryState::Held)),
        ("rare-orphaned", Some(DeliveryState::Orphaned)),
        ("rare-cancelled", None),
        ("rare-pending", None),
    ] {
        store.commit((0..10).map(|n| rare(webhook, n)).collect()).await.unwrap();
        if let Some(state) = state {
            store.change_state(webhook, DeliveryState::Pending, state).await.unwrap();
        }
    }
    let cancelled = Filter { webhook: Some("rare-cancelled".to_owned()), ..Filter::default() };
    store.change_deliveries(DeliveryChange::Cancel, &cancelled).await.unwrap();
    for first in (0..count).step_by(BATCH) {
        let batch = first..(first + BATCH).min(count);
        store.commit(batch.map(common).collect()).await.unwrap();
    }
    for webhook in (0..4).map(|n| format!("erp-{n}")) {
        let (from, to) = (DeliveryState::Pending, DeliveryState::Delivered);
        store.change_state(&webhook, from, to).await.unwrap();
    }
}

fn filters() -> Vec<(&'static str, Filter)> {
    let all = Filter::default;
    let text = |text: &str| Some(text.to_owned());
    let mut filters = vec![
        ("none", all()),
        ("partner, common", Filter { partner: text("P17"), ..all() }),
        ("partner, rare", Filter { partner: text("RARE"), ..all() }),
        ("partner, unknown", Filter { partner: text("NONE"), ..all() }),
        ("station, common", Filter { station: text("MY-OWN-ORG"), ..all() }),
        ("station, rare", Filter { station: text("OTHER-ORG"), ..all() }),
        ("station, unknown", Filter { station: text("NONE"), ..all() }),
        ("event, common", Filter { kind: text("message.received"), ..all() }),
        ("event, rare", Filter { kind: text("send.error"), ..all() }),
        ("event, none of it", Filter { kind: text("mdn.overdue"), ..all() }),
        ("site, unknown", Filter { site: text("other"), ..all() }),
        ("message_id", Filter { message_id: text("rare-dead-3@acme"), ..all() }),
        ("message_id, unknown", Filter { message_id: text("none@acme"), ..all() }),
        ("file_name, rare", Filter { file_name: text("rare.edi"), ..all() }),
        ("file_name, common", Filter { file_name: text("order.edi"), ..all() }),
        ("error_code, rare", Filter { error: Some(900), ..all() }),
        ("error_code, none of it", Filter { error: Some(800), ..all() }),
        ("webhook, common", Filter { webhook: text("erp-1"), ..all() }),
        ("webhook, rare", Filter { webhook: text("rare-dead"), ..all() }),
        ("webhook, unknown", Filter { webhook: text("none"), ..all() }),
        (
            "webhook and partner, unknown",
            Filter { webhook: text("erp-1"), partner: text("NONE"), ..all() },
        ),
        (
            "station and event, none of both",
            Filter { station: text("OTHER-ORG"), kind: text("message.received"), ..all() },
        ),
    ];
    for state in DeliveryState::ALL {
        filters.push((state.as_str(), Filter { state: Some(state), ..all() }));
    }
    let dead = Some(DeliveryState::Dead);
    filters
        .push(("dead of a webhook, none", Filter { state: dead, webhook: text("erp-1"), ..all() }));
    filters.push(("dead of a site", Filter { state: dead, site: text("main"), ..all() }));
    for (_, filter) in &mut filters {
        // Every list of the API is one site's.
        filter.site.get_or_insert_with(|| "main".to_owned());
    }
    filters
}

async fn median(list: impl AsyncFn() -> usize) -> (Duration, usize) {
    let (mut took, mut rows) = (Vec::new(), 0);
    for _ in 0..TIMES {
        let began = Instant::now();
        rows = list().await;
        took.push(began.elapsed());
    }
    took.sort();
    (took[TIMES / 2], rows)
}

fn rare(webhook: &str, n: usize) -> Write {
    let event = NewEvent {
        kind: "send.error".to_owned(),
        partner: Some("RARE".to_owned()),
        station: Some("OTHER-ORG".to_owned()),
        message_id: Some(format!("<{webhook}-{n}@acme>")),
        terms: EventTerms { file_name: Some("rare.edi".to_owned()), errors: vec![900] },
        ..event()
    };
    published(event, webhook)
}

fn common(n: usize) -> Write {
    let partner = Some(format!("P{}", n % 1_000));
    published(NewEvent { partner, ..event() }, &format!("erp-{}", n % 4))
}

fn event() -> NewEvent {
    let id = Uuid::now_v7();
    NewEvent {
        id,
        kind: "message.received".to_owned(),
        site: "main".to_owned(),
        partner: None,
        station: Some("MY-OWN-ORG".to_owned()),
        about: None,
        terms: EventTerms { file_name: Some("order.edi".to_owned()), errors: Vec::new() },
        message_id: Some(format!("<{id}@acme>")),
        occurred_at: 1_700_000_000_000,
        body: vec![b' '; 1_000],
        payload: Payload::None,
    }
}

fn published(event: NewEvent, webhook: &str) -> Write {
    let delivery = NewDelivery {
        webhook_id: event.id.to_string(),
        webhook: webhook.to_owned(),
        mode: "json".to_owned(),
        order_key: None,
        due: 0,
    };
    Write::Publish(event, vec![delivery])
}
