//! Shared code of the tests.

pub mod gateway;
mod made;
pub mod sink;
pub mod store;

use std::{
    future::Future,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use as2hook_delivery::{Target, writes};
use as2hook_event::{Endpoint, Event, PayloadMode, Rule, Verdict};
use as2hook_store::{DeliveryState, Payload, Write};
use uuid::Uuid;

use gateway::Gateway;
use sink::{Reply, Sink};

/// The limit of waits that succeed, however slow the machine is.
pub const AMPLE: Duration = Duration::from_secs(60);

/// Waits until the condition holds, at most [`AMPLE`].
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    until_async(what, || std::future::ready(so())).await;
}

/// Like [`until`], for conditions that are asynchronous.
pub async fn until_async<F: Future<Output = bool>>(what: &str, mut so: impl FnMut() -> F) {
    let end = Instant::now() + AMPLE;
    while !so().await {
        assert!(Instant::now() < end, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Starts an endpoint that fails `times` times, then succeeds.
pub async fn failing(times: usize, reply: Reply) -> Sink {
    let seen = AtomicUsize::new(0);
    Sink::start(move |_| match seen.fetch_add(1, Ordering::SeqCst) < times {
        true => reply.clone(),
        false => Reply::Status(200),
    })
    .await
}

/// Waits until this many are delivered.
pub async fn delivered(gateway: &Gateway, count: usize) {
    until("deliveries", || gateway.store.count(DeliveryState::Delivered) == count).await;
}

pub fn event() -> Event {
    let mut headers = as2hook_as2::Headers::new();
    headers.push("AS2-From", "ACME");
    headers.push("AS2-To", "MY-OWN-ORG");
    headers.push("Message-ID", "<1@acme>");
    headers.push("Subject", "Orders");
    made::event(Uuid::now_v7(), headers)
}

pub fn opened(event: &Event, payload: Payload, targets: &[Target]) -> Vec<Write> {
    vec![writes::open(event, payload, targets).unwrap()]
}

pub fn settled(event: Uuid, verdict: &Verdict, targets: &[Target]) -> Vec<Write> {
    vec![writes::settle(event, verdict, targets).unwrap()]
}

pub fn published(event: &Event, payload: Payload, targets: &[Target]) -> Vec<Write> {
    vec![writes::publish(event, payload, targets).unwrap()]
}

/// A rule with a short schedule: three retries, 10 ms apart.
pub fn rule(name: &str, url: &str) -> Rule {
    let mut endpoint = Endpoint::new(url.parse().unwrap());
    endpoint.retry = vec![Duration::from_millis(10); 3];
    endpoint.timeout = AMPLE;
    endpoint.payload = PayloadMode::HEADERS;
    made::rule(name, endpoint)
}
