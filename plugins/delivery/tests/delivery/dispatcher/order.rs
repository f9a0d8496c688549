//! Concurrency and order.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use as2hook_event::Order;

use crate::support::{
    delivered, event,
    gateway::Gateway,
    rule,
    sink::{Gate, Reply, Sink},
    until,
};

#[tokio::test]
async fn concurrency_is_that_of_the_rule() {
    let gate = Gate::default();
    let behind = gate.clone();
    let sink = Sink::start(move |_| match behind.is_open() {
        false => Reply::Behind(behind.clone(), 200),
        true => Reply::After(Duration::from_millis(20), 200),
    })
    .await;
    let mut few = rule("a", &sink.url());
    few.endpoint.concurrency = 3;
    let gateway = Gateway::start([few]).await;
    for _ in 0..30 {
        gateway.exchange(&event(), &["a"]).await;
    }
    until("three at once", || sink.count() == 3).await;
    gate.open();
    delivered(&gateway, 30).await;
    assert_eq!(sink.state.most_at_once.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn order_is_kept_for_each_pair_and_other_pairs_do_not_wait() {
    // The first delivery of ACME fails at least twice, and until all of OTHER are delivered.
    let first = event();
    let poor = first.webhook_id("a");
    let (failed, others_delivered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let sink = Sink::start(move |request| {
        let is_poor = request.header("webhook-id") == Some(poor.as_str());
        let waits = || others_delivered.load(Ordering::SeqCst) < 5;
        if is_poor && (failed.fetch_add(1, Ordering::SeqCst) < 2 || waits()) {
            return Reply::Status(500);
        }
        // Others of ACME that overtook it are found below.
        others_delivered.fetch_add(1, Ordering::SeqCst);
        Reply::Status(200)
    })
    .await;
    let mut ordered = rule("a", &sink.url());
    ordered.endpoint.order = Order::Partner;
    ordered.endpoint.retry = vec![Duration::from_millis(100); 1000];
    let gateway = Gateway::start([ordered]).await;
    let mut acme = vec![first];
    acme.extend((0..4).map(|_| event()));
    let others: Vec<_> =
        (0..5).map(|_| as2hook_event::Event { partner: Some("OTHER".into()), ..event() }).collect();
    for (ours, theirs) in acme.iter().zip(&others) {
        gateway.exchange(ours, &["a"]).await;
        gateway.exchange(theirs, &["a"]).await;
    }
    delivered(&gateway, 10).await;
    let delivered: Vec<String> =
        sink.requests().iter().map(|r| r.header("webhook-id").unwrap().to_owned()).collect();
    let place = |event: &as2hook_event::Event| {
        delivered.iter().rposition(|id| *id == event.webhook_id("a")).unwrap()
    };
    assert!(acme.is_sorted_by_key(place) && others.is_sorted_by_key(place), "{delivered:?}");
    assert!(place(&others[4]) < place(&acme[0]), "another pair did not wait");
}
