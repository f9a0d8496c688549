//! Prints how long one call takes that replays a backlog.
//!
//! `cargo run --release -p as2hook-store --example replays [-- WHERE [COUNT]]`
//!
//! WHERE is a folder for the embedded store, or `postgres` for a server from this machine's
//! packages.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a report on the terminal")]

mod opened;

use std::time::{Duration, Instant};

use as2hook_store::{
    DeliveryChange, DeliveryState, EventTerms, Filter, NewDelivery, NewEvent, Payload, Write,
};
use uuid::Uuid;

/// Events of one commit while the backlog is created.
const BATCH: usize = 500;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let place = arguments.next();
    let count: usize = arguments.next().map_or(200_000, |count| count.parse().unwrap());
    let opened = opened::open(place, Duration::from_secs(60)).await;
    let store = &*opened.store;
    for first in (0..count).step_by(BATCH) {
        let batch = first..(first + BATCH).min(count);
        store.commit(batch.map(|_| published()).collect()).await.unwrap();
    }
    store.change_state("erp", DeliveryState::Pending, DeliveryState::Dead).await.unwrap();
    for (what, filter) in
        [("dead ones of a webhook", dead_of_a_webhook()), ("all delivered ones", Filter::default())]
    {
        let began = Instant::now();
        let replayed = store.change_deliveries(DeliveryChange::Replay, &filter).await.unwrap();
        println!("{what}: {replayed} in {:.2} s", began.elapsed().as_secs_f64());
        store.change_state("erp", DeliveryState::Pending, DeliveryState::Delivered).await.unwrap();
    }
}

fn dead_of_a_webhook() -> Filter {
    Filter {
        webhook: Some("erp".to_owned()),
        state: Some(DeliveryState::Dead),
        ..Filter::default()
    }
}

fn published() -> Write {
    let id = Uuid::now_v7();
    let event = NewEvent {
        id,
        kind: "message.received".to_owned(),
        site: "main".to_owned(),
        partner: Some("ACME".to_owned()),
        station: Some("MY-OWN-ORG".to_owned()),
        about: None,
        terms: EventTerms::default(),
        message_id: Some(format!("<{id}@acme>")),
        occurred_at: 0,
        body: vec![b' '; 1_000],
        payload: Payload::None,
    };
    let delivery = NewDelivery {
        webhook_id: id.to_string(),
        webhook: "erp".to_owned(),
        mode: "json".to_owned(),
        order_key: None,
        due: 0,
    };
    Write::Publish(event, vec![delivery])
}
