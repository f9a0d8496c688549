//! Sinks besides http.

use std::{sync::Arc, time::Duration};

use as2hook_delivery::DispatcherOptions;
use as2hook_event::{Event, PayloadMode, Rule, SinkChoice};
use as2hook_format::{Content, Format, Rendering};
use as2hook_sink::{Delivered, Notification, Sink, SinkError, SinkErrorKind, Sinks};
use as2hook_store::DeliveryState;
use async_trait::async_trait;
use tokio::time::Instant;

use crate::support::{
    event,
    gateway::{Gateway, Rules},
    rule,
    store::MemoryStore,
    until,
};

/// Fails every attempt like this; hangs without a kind.
struct Failing(Option<SinkErrorKind>);

#[async_trait]
impl Sink for Failing {
    type Settings = ();

    async fn send(&self, _: &(), _: Notification, _: Instant) -> Result<Delivered, SinkError> {
        match self.0 {
            Some(kind) => Err(SinkError::new(kind, "no such topic")),
            None => std::future::pending().await,
        }
    }
}

/// Panics in each attempt.
struct Panicking;

#[async_trait]
impl Sink for Panicking {
    type Settings = ();

    async fn send(&self, _: &(), _: Notification, _: Instant) -> Result<Delivered, SinkError> {
        panic!("a sink is to break")
    }
}

impl Format for Panicking {
    fn content<'a>(&self, _: &'a Event, _: &Rendering<'_>) -> Content<'a> {
        panic!("a format is to break")
    }
}

async fn gateway(kind: Option<SinkErrorKind>, change: impl FnOnce(&mut Rule)) -> Gateway {
    gateway_with(Failing(kind), change).await
}

async fn gateway_with(sink: impl Sink<Settings = ()>, change: impl FnOnce(&mut Rule)) -> Gateway {
    let mut own = rule("a", "own");
    own.endpoint.sink =
        Some(SinkChoice { name: "own", keys: serde_json::Value::Null, settings: Arc::new(()) });
    change(&mut own);
    let rules = Arc::new(Rules::default());
    rules.set(own);
    let mut sinks = Sinks::default();
    sinks.insert("own", Arc::new(sink));
    let mut options = DispatcherOptions::default();
    options.formats.insert("panicking", Panicking);
    let gateway = Gateway::of(MemoryStore::new(), rules, options, sinks).await;
    gateway.exchange(&event(), &["a"]).await;
    gateway
}

fn errors(gateway: &Gateway) -> Vec<(String, Option<u16>, String)> {
    let attempts = gateway.store.attempts().into_iter().filter_map(|record| record.attempt);
    attempts.map(|it| (it.url, it.http_code, it.error.unwrap_or_default())).collect()
}

#[tokio::test]
async fn sink_that_fails_is_retried_until_the_delivery_is_dead() {
    let gateway = gateway(Some(SinkErrorKind::Failed), |_| ()).await;
    until("it to be dead", || gateway.store.count(DeliveryState::Dead) == 1).await;
    assert_eq!(errors(&gateway), vec![("own".to_owned(), None, "no such topic".to_owned()); 4]);
}

#[tokio::test]
async fn sink_that_is_gone_disables_its_webhook_with_its_reason() {
    let gateway = gateway(Some(SinkErrorKind::Gone), |_| ()).await;
    until("the notice", || !gateway.rules.disabled().is_empty()).await;
    assert_eq!(gateway.rules.disabled()[0].1, "no such topic");
    assert_eq!(gateway.store.count(DeliveryState::Held), 1);
}

#[tokio::test]
async fn delivery_that_a_sink_cannot_make_at_all_is_dead_at_once() {
    let gateway = gateway(Some(SinkErrorKind::Impossible), |_| ()).await;
    until("it to be dead", || gateway.store.count(DeliveryState::Dead) == 1).await;
    assert_eq!(errors(&gateway).len(), 1);
}

#[tokio::test]
async fn refusal_of_a_sink_is_logged_as_order_patience_reads_it() {
    let gateway = gateway(Some(SinkErrorKind::Refused), |rule| rule.endpoint.retry.clear()).await;
    until("it to be dead", || gateway.store.count(DeliveryState::Dead) == 1).await;
    assert_eq!(errors(&gateway)[0].1, Some(422));
}

#[tokio::test]
async fn sink_that_hangs_is_left_a_second_after_its_deadline() {
    let begun = std::time::Instant::now();
    let gateway = gateway(None, |rule| {
        rule.endpoint.retry.clear();
        rule.endpoint.timeout = Duration::from_millis(10);
    })
    .await;
    until("it to be dead", || gateway.store.count(DeliveryState::Dead) == 1).await;
    assert_eq!(errors(&gateway)[0].2, "the sink \"own\" did not end in time");
    assert!(begun.elapsed() > Duration::from_secs(1));
}

#[tokio::test]
async fn panic_of_a_sink_or_a_format_is_a_failed_attempt() {
    let gateway = gateway_with(Panicking, |_| ()).await;
    until("it to be dead", || gateway.store.count(DeliveryState::Dead) == 1).await;
    let panicked = |what: &str| vec![("own".to_owned(), None, format!("{what} panicked")); 4];
    assert_eq!(errors(&gateway), panicked("the sink \"own\""));
    let own = PayloadMode { name: "panicking", needs_payload: false };
    let gateway = gateway_with(Panicking, |rule| rule.endpoint.payload = own).await;
    until("it to be dead", || gateway.store.count(DeliveryState::Dead) == 1).await;
    assert_eq!(errors(&gateway), panicked("the format \"panicking\""));
}
