//! From the commit to the webhook, and on until it has it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use as2hook_delivery::{DispatcherOptions, Guard, Standing};
use as2hook_store::{
    DeliveryState, Fate, Payload, PayloadDir, PayloadKey, Payloads, Store, WebhookState,
};
use as2hook_webhooks::{Order, PayloadMode, Secret, sign::verify_webhook};
use bytes::Bytes;

use crate::support::{
    event,
    gateway::{Gateway, Rules},
    rule,
    sink::{Reply, Sink},
    store::MemoryStore,
    until,
};

/// Fails so often, then succeeds.
async fn failing(times: usize, reply: Reply) -> Sink {
    let seen = AtomicUsize::new(0);
    Sink::start(move |_| match seen.fetch_add(1, Ordering::SeqCst) < times {
        true => reply.clone(),
        false => Reply::Status(200),
    })
    .await
}

async fn delivered(gateway: &Gateway, count: usize) {
    until("deliveries", || gateway.store.count(DeliveryState::Delivered) == count).await;
}

#[tokio::test]
async fn a_settled_exchange_is_told() {
    let sink = Sink::answering(204).await;
    let mut told = rule("a", &sink.url());
    told.endpoint.payload = PayloadMode::Json;
    let secret = Secret::parse("a shared secret").unwrap();
    told.endpoint.secrets = vec![secret.clone()];
    let gateway = Gateway::start([told]).await;
    let event = event();
    gateway.exchange(&event, &["a"]).await;
    delivered(&gateway, 1).await;

    let received = sink.requests().remove(0);
    let id = event.webhook_id("a");
    assert_eq!(received.header("webhook-id"), Some(id.as_str()));
    assert_eq!(received.header("X-AS2-Event"), Some("message.received"));
    assert_eq!(received.header("X-AS2-Attempt"), Some("1"));
    assert_eq!(received.header("AS2-From"), Some("ACME"));
    let signature = received.header("webhook-signature").unwrap();
    let time = received.header("webhook-timestamp").unwrap();
    assert!(verify_webhook(signature, &secret, &id, time, &received.body));
    let json: serde_json::Value = serde_json::from_slice(&received.body).unwrap();
    assert_eq!(json["eventId"], event.id.to_string());

    let attempt = gateway.store.attempts().remove(0).attempt.unwrap();
    assert_eq!((attempt.number, attempt.http_code, attempt.error), (1, Some(204), None));
    assert_eq!(attempt.url, sink.url());
    let health = gateway.dispatcher.health("a").unwrap();
    assert_eq!((health.standing, health.delivered, health.in_flight), (Standing::Healthy, 1, 0));
}

#[tokio::test]
async fn a_raw_payload_file_is_sent_and_signed() {
    let sink = Sink::answering(200).await;
    let mut raw = rule("a", &sink.url());
    raw.endpoint.payload = PayloadMode::Raw;
    let secret = Secret::parse("a shared secret").unwrap();
    raw.endpoint.secrets = vec![secret.clone()];
    let gateway = Gateway::start([raw]).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![b'E'; 300_000]).unwrap();
    let payload = Payload::File { path: file.path().into(), size: 300_000 };
    let event = event();
    gateway.exchange_with(&event, payload, &["a"]).await;
    delivered(&gateway, 1).await;
    let received = sink.requests().remove(0);
    assert_eq!(received.body.len(), 300_000);
    let signature = received.header("webhook-signature").unwrap();
    let time = received.header("webhook-timestamp").unwrap();
    let id = event.webhook_id("a");
    assert!(verify_webhook(signature, &secret, &id, time, &received.body));
}

#[tokio::test]
async fn a_raw_payload_in_the_row_is_sent() {
    let sink = Sink::answering(200).await;
    let mut raw = rule("a", &sink.url());
    raw.endpoint.payload = PayloadMode::Raw;
    let gateway = Gateway::start([raw]).await;
    let payload = Payload::Inline(Bytes::from_static(b"UNA:+.? 'UNB+"));
    gateway.exchange_with(&event(), payload, &["a"]).await;
    delivered(&gateway, 1).await;
    assert_eq!(sink.requests()[0].body, b"UNA:+.? 'UNB+");
}

fn key(secret: u8) -> PayloadKey {
    PayloadKey::derive(&[secret; 32]).unwrap()
}

/// Keeps sealed files in `folder`.
fn sealing(folder: &tempfile::TempDir, secret: u8) -> Payloads {
    let folder = PayloadDir::open(folder.path()).unwrap();
    Payloads::in_folder(folder).with_key(key(secret)).sealing(true)
}

fn sealed(payloads: &Payloads, event: uuid::Uuid, bytes: &[u8]) -> Payload {
    let mut writer = payloads.writer(event);
    writer.write(bytes).unwrap();
    writer.finish().unwrap()
}

fn raw_rule(sink: &Sink) -> as2hook_webhooks::Rule {
    let mut raw = rule("a", &sink.url());
    raw.endpoint.payload = PayloadMode::Raw;
    raw
}

#[tokio::test]
async fn sealed_payloads_are_opened_signed_and_sent() {
    let sink = Sink::answering(200).await;
    let folder = tempfile::tempdir().unwrap();
    let payloads = sealing(&folder, 7);
    let mut raw = raw_rule(&sink);
    let secret = Secret::parse("a shared secret").unwrap();
    raw.endpoint.secrets = vec![secret.clone()];
    let options = DispatcherOptions { payloads: payloads.sealing(false), ..Default::default() };
    let gateway = Gateway::over(MemoryStore::new(), [raw], options).await;
    for (n, size) in [10, 300_000].into_iter().enumerate() {
        let event = event();
        let payload = sealed(&payloads, event.id, &vec![b'E'; size]);
        gateway.exchange_with(&event, payload, &["a"]).await;
        delivered(&gateway, n + 1).await;
        let received = sink.requests().remove(n);
        assert!(received.body == vec![b'E'; size]);
        let signature = received.header("webhook-signature").unwrap();
        let time = received.header("webhook-timestamp").unwrap();
        let id = event.webhook_id("a");
        assert!(verify_webhook(signature, &secret, &id, time, &received.body));
    }
}

#[tokio::test]
async fn a_payload_of_another_key_waits_and_is_not_held_against_the_endpoint() {
    let sink = Sink::answering(200).await;
    let folder = tempfile::tempdir().unwrap();
    let options = DispatcherOptions { payloads: sealing(&folder, 8), ..Default::default() };
    let mut raw = raw_rule(&sink);
    raw.endpoint.retry = vec![Duration::from_secs(1000)];
    let gateway = Gateway::over(MemoryStore::new(), [raw], options).await;
    let event = event();
    let payload = sealed(&sealing(&folder, 7), event.id, b"UNB+");
    gateway.exchange_with(&event, payload, &["a"]).await;
    until("an attempt", || gateway.store.attempts().len() == 1).await;
    let attempt = gateway.store.attempts().remove(0);
    assert!(matches!(attempt.fate, Fate::Retry(_)));
    let error = attempt.attempt.unwrap().error.unwrap();
    assert!(error.contains("another key than the one in secret_key_file"), "{error}");
    let health = || gateway.dispatcher.health("a").unwrap();
    until("the health", || health().failed == 1).await;
    assert_eq!((health().standing, health().consecutive_failures), (Standing::Healthy, 0));
    assert!(sink.requests().is_empty());
}

#[tokio::test]
async fn a_payload_that_is_no_longer_kept_is_dead_and_said_so() {
    let sink = Sink::answering(200).await;
    let json = rule("b", &sink.url());
    let gateway = Gateway::start([raw_rule(&sink), json]).await;
    gateway.exchange_with(&event(), Payload::Spent, &["a", "b"]).await;
    // What does not need it is made.
    delivered(&gateway, 1).await;
    until("the other", || gateway.store.count(DeliveryState::Dead) == 1).await;
    let attempts = gateway.store.attempts();
    let error = attempts.iter().find_map(|one| one.attempt.as_ref()?.error.clone());
    assert_eq!(error.unwrap(), "the payload is no longer kept (retention.payloads)");
    assert_eq!(sink.requests().len(), 1);
    assert_eq!(gateway.dispatcher.health("a").unwrap().standing, Standing::Healthy);
}

#[tokio::test]
async fn every_kind_of_failure_is_tried_again() {
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf".to_vec();
    let replies = [
        Reply::Status(500),
        Reply::With(302, "Location: /elsewhere".into()),
        Reply::Status(404),
        Reply::Raw(half),
        Reply::Close,
    ];
    for reply in replies {
        let sink = failing(2, reply.clone()).await;
        let gateway = Gateway::start([rule("a", &sink.url())]).await;
        let event = event();
        gateway.exchange(&event, &["a"]).await;
        delivered(&gateway, 1).await;
        let requests = sink.requests();
        let attempts: Vec<_> = requests.iter().map(|r| r.header("X-AS2-Attempt")).collect();
        assert_eq!(attempts, [Some("1"), Some("2"), Some("3")], "{reply:?}");
        let id = event.webhook_id("a");
        assert!(requests.iter().all(|r| r.header("webhook-id") == Some(id.as_str())));
        assert!(requests.iter().all(|r| r.head.starts_with("POST /hook ")), "{reply:?}");
        let log = gateway.store.attempts();
        assert_eq!(log.len(), 3);
        assert!(log[0].attempt.as_ref().unwrap().error.is_some(), "{reply:?}");
        assert!(matches!(log[0].fate, Fate::Retry(_)));
    }
}

#[tokio::test]
async fn a_webhook_that_is_down_is_tried_until_it_is_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut down = rule("a", &format!("http://{address}/"));
    down.endpoint.retry = vec![Duration::from_millis(20); 1000];
    let gateway = Gateway::start([down]).await;
    gateway.exchange(&event(), &["a"]).await;
    until("failures", || gateway.store.attempts().len() > 2).await;
    assert_eq!(gateway.dispatcher.health("a").unwrap().standing, Standing::Retrying);
    let error = gateway.store.attempts()[0].attempt.clone().unwrap().error.unwrap();
    assert!(error.starts_with("could not connect to 127.0.0.1 port "), "{error}");

    let up = tokio::net::TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        loop {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let (mut tcp, _) = up.accept().await.unwrap();
            assert!(tcp.read(&mut [0; 4096]).await.unwrap() > 0);
            tcp.write_all(b"HTTP/1.1 204 Fine\r\n\r\n").await.unwrap();
        }
    });
    delivered(&gateway, 1).await;
    assert_eq!(gateway.dispatcher.health("a").unwrap().standing, Standing::Healthy);
}

#[tokio::test]
async fn out_of_retries_it_is_dead_and_kept() {
    let sink = Sink::answering(500).await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    gateway.exchange(&event(), &["a"]).await;
    until("it to be dead", || gateway.store.count(DeliveryState::Dead) == 1).await;
    assert_eq!(sink.count(), 4);
    assert_eq!(gateway.dispatcher.health("a").unwrap().dead, 1);
}

#[tokio::test]
async fn a_hanging_endpoint_uses_up_its_own_time_only() {
    let sink = failing(1, Reply::Hang).await;
    let mut hanging = rule("a", &sink.url());
    hanging.endpoint.timeout = Duration::from_millis(100);
    let gateway = Gateway::start([hanging]).await;
    gateway.exchange(&event(), &["a"]).await;
    delivered(&gateway, 1).await;
    let attempt = gateway.store.attempts()[0].attempt.clone().unwrap();
    assert_eq!(attempt.error.unwrap(), "timed out after 0.1 s while waiting for the answer");
    assert!((100..2000).contains(&attempt.duration_ms), "{}", attempt.duration_ms);
}

#[tokio::test]
async fn retry_after_holds_back_the_whole_webhook() {
    for status in [429, 503] {
        let sink = failing(1, Reply::With(status, "Retry-After: 1".into())).await;
        let gateway = Gateway::start([rule("a", &sink.url())]).await;
        gateway.exchange(&event(), &["a"]).await;
        until("the first attempt", || gateway.store.attempts().len() == 1).await;
        gateway.exchange(&event(), &["a"]).await;
        delivered(&gateway, 2).await;
        let requests = sink.requests();
        let waits = requests[1..].iter().map(|r| r.at.duration_since(requests[0].at));
        for wait in waits {
            assert!(wait >= Duration::from_millis(990), "{status}: {wait:?}");
        }
    }
}

#[tokio::test]
async fn gone_disables_the_webhook_and_holds_its_deliveries() {
    let gone = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let still = gone.clone();
    let sink = Sink::start(move |_| match still.load(Ordering::SeqCst) {
        true => Reply::Status(410),
        false => Reply::Status(200),
    })
    .await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    gateway.exchange(&event(), &["a"]).await;
    until("it to be disabled", || !gateway.rules.disabled.lock().unwrap().is_empty()).await;
    let notice = gateway.rules.disabled.lock().unwrap()[0].clone();
    assert_eq!((notice.webhook.as_str(), notice.site.as_str()), ("a", "main"));
    assert_eq!(notice.reason, "the endpoint answered 410 Gone");
    let reason = notice.reason;
    assert_eq!(gateway.dispatcher.health("a").unwrap().standing, Standing::Disabled { reason });
    let remembered = gateway.store.state("a").unwrap();
    assert_eq!(remembered.disabled.as_deref(), Some("the endpoint answered 410 Gone"));

    // It still wins its routing; what comes is held without an attempt.
    for _ in 0..3 {
        gateway.exchange(&event(), &["a"]).await;
    }
    until("all to be held", || gateway.store.count(DeliveryState::Held) == 4).await;
    assert_eq!(sink.count(), 1);

    gone.store(false, Ordering::SeqCst);
    gateway.dispatcher.enable("a").await.unwrap();
    delivered(&gateway, 4).await;
    assert_eq!(gateway.store.state("a").unwrap().disabled, None);
    assert_eq!(gateway.rules.disabled.lock().unwrap().len(), 1, "told once");
}

#[tokio::test]
async fn a_changed_rule_brings_a_disabled_webhook_back() {
    let (gone, there) = (Sink::answering(410).await, Sink::answering(200).await);
    let gateway = Gateway::start([rule("a", &gone.url())]).await;
    gateway.exchange(&event(), &["a"]).await;
    until("it to be held", || gateway.store.count(DeliveryState::Held) == 1).await;
    // The same rule anew changes nothing.
    gateway.rules.set(rule("a", &gone.url()));
    gateway.dispatcher.rules_changed();
    gateway.exchange(&event(), &["a"]).await;
    until("both to be held", || gateway.store.count(DeliveryState::Held) == 2).await;

    gateway.rules.set(rule("a", &there.url()));
    gateway.dispatcher.rules_changed();
    delivered(&gateway, 2).await;
    assert_eq!((gone.count(), there.count()), (1, 2));
}

#[tokio::test]
async fn a_disabled_webhook_stays_so_over_a_restart() {
    let sink = Sink::answering(200).await;
    let store = MemoryStore::new();
    let disabled = rule("a", &sink.url());
    let state = WebhookState {
        webhook: "a".into(),
        disabled: Some("the endpoint answered 410 Gone".into()),
        failing_since: None,
        fingerprint: disabled.fingerprint(),
    };
    store.set_webhook_state(state).await.unwrap();
    let gateway = Gateway::over(store, [disabled], DispatcherOptions::default()).await;
    gateway.exchange(&event(), &["a"]).await;
    until("it to be held", || gateway.store.count(DeliveryState::Held) == 1).await;
    assert_eq!(sink.count(), 0);
}

#[tokio::test]
async fn a_rule_that_is_switched_off_holds_its_backlog() {
    let sink = Sink::answering(200).await;
    let mut off = rule("a", &sink.url());
    off.enabled = false;
    let gateway = Gateway::start([off]).await;
    gateway.exchange(&event(), &["a"]).await;
    until("it to be held", || gateway.store.count(DeliveryState::Held) == 1).await;
    assert!(gateway.rules.disabled.lock().unwrap().is_empty(), "the operator knows");
    gateway.rules.set(rule("a", &sink.url()));
    gateway.dispatcher.rules_changed();
    delivered(&gateway, 1).await;
}

#[tokio::test]
async fn nothing_but_failures_for_long_disables() {
    let sink = Sink::answering(500).await;
    let mut failing = rule("a", &sink.url());
    failing.endpoint.retry = vec![Duration::from_millis(20); 1000];
    let options =
        DispatcherOptions { disable_after: Duration::from_millis(200), ..Default::default() };
    let gateway = Gateway::over(MemoryStore::new(), [failing], options).await;
    gateway.exchange(&event(), &["a"]).await;
    until("it to be held", || gateway.store.count(DeliveryState::Held) == 1).await;
    let notice = gateway.rules.disabled.lock().unwrap()[0].clone();
    assert!(notice.reason.starts_with("nothing but failures for "), "{}", notice.reason);
    assert!(notice.failing_since.is_some());
}

#[tokio::test]
async fn deliveries_of_a_removed_rule_are_orphaned_until_it_returns() {
    let sink = Sink::answering(200).await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    let targets = [as2hook_delivery::Target::of(&gateway.rules.get("a"), &event())];
    gateway.rules.remove("a");
    let event = event();
    gateway.outbox.publish(&event, Payload::None, &targets).await.unwrap();
    until("it to be orphaned", || gateway.store.count(DeliveryState::Orphaned) == 1).await;
    assert_eq!(gateway.dispatcher.health("a").unwrap().standing, Standing::Orphaned);

    // Another process remembers.
    let store = gateway.store.clone();
    gateway.stop().await;
    let rules = Arc::new(Rules::default());
    let gateway = Gateway::with(store, rules, DispatcherOptions::default()).await;
    assert_eq!(gateway.dispatcher.health("a").unwrap().standing, Standing::Orphaned);
    gateway.rules.set(rule("a", &sink.url()));
    gateway.dispatcher.rules_changed();
    delivered(&gateway, 1).await;
    let id = event.webhook_id("a");
    assert_eq!(sink.requests()[0].header("webhook-id"), Some(id.as_str()));
}

#[tokio::test]
async fn what_waits_for_its_retry_is_orphaned_too() {
    let sink = Sink::answering(500).await;
    let mut slow = rule("a", &sink.url());
    slow.endpoint.retry = vec![Duration::from_secs(3600)];
    let gateway = Gateway::start([slow]).await;
    gateway.exchange(&event(), &["a"]).await;
    until("the first attempt", || gateway.store.attempts().len() == 1).await;
    gateway.rules.remove("a");
    gateway.dispatcher.rules_changed();
    until("it to be orphaned", || gateway.store.count(DeliveryState::Orphaned) == 1).await;
}

#[tokio::test]
async fn enabling_says_how_many_go_on() {
    let sink = failing(1, Reply::Status(410)).await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    assert_eq!(gateway.dispatcher.enable("nobody").await.unwrap(), 0);
    for _ in 0..3 {
        gateway.exchange(&event(), &["a"]).await;
    }
    until("all to be held or told", || {
        let held = gateway.store.count(DeliveryState::Held);
        held > 0 && held + gateway.store.count(DeliveryState::Delivered) == 3
    })
    .await;
    let held = gateway.store.count(DeliveryState::Held) as u64;
    gateway.store.fail(true);
    gateway.dispatcher.enable("a").await.unwrap_err();
    gateway.store.fail(false);
    assert_eq!(gateway.dispatcher.enable("a").await.unwrap(), held);
    delivered(&gateway, 3).await;
}

#[tokio::test]
async fn concurrency_is_the_rules() {
    let sink = Sink::start(|_| Reply::After(Duration::from_millis(20), 200)).await;
    let mut few = rule("a", &sink.url());
    few.endpoint.concurrency = 3;
    let gateway = Gateway::start([few]).await;
    for _ in 0..30 {
        gateway.exchange(&event(), &["a"]).await;
    }
    delivered(&gateway, 30).await;
    assert_eq!(sink.state.most_at_once.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn order_is_kept_for_each_pair_and_no_other_waits() {
    // The first delivery of ACME fails twice; those of OTHER go on.
    let first = event();
    let poor = first.webhook_id("a");
    let seen = AtomicUsize::new(0);
    let sink = Sink::start(move |request| {
        let is_poor = request.header("webhook-id") == Some(poor.as_str());
        match is_poor && seen.fetch_add(1, Ordering::SeqCst) < 2 {
            true => Reply::Status(500),
            false => Reply::Status(200),
        }
    })
    .await;
    let mut ordered = rule("a", &sink.url());
    ordered.endpoint.order = Order::Partner;
    ordered.endpoint.retry = vec![Duration::from_millis(300); 3];
    let gateway = Gateway::start([ordered]).await;
    let mut acme = vec![first];
    acme.extend((0..4).map(|_| event()));
    let others: Vec<_> = (0..5)
        .map(|_| as2hook_webhooks::Event { partner: Some("OTHER".into()), ..event() })
        .collect();
    for (ours, theirs) in acme.iter().zip(&others) {
        gateway.exchange(ours, &["a"]).await;
        gateway.exchange(theirs, &["a"]).await;
    }
    delivered(&gateway, 10).await;
    let told: Vec<String> =
        sink.requests().iter().map(|r| r.header("webhook-id").unwrap().to_owned()).collect();
    let place = |event: &as2hook_webhooks::Event| {
        told.iter().rposition(|id| *id == event.webhook_id("a")).unwrap()
    };
    assert!(acme.is_sorted_by_key(place) && others.is_sorted_by_key(place), "{told:?}");
    assert!(place(&others[4]) < place(&acme[0]), "another pair did not wait");
}

#[tokio::test]
async fn what_cannot_be_rendered_is_dead_with_the_reason() {
    let sink = Sink::answering(200).await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    let mut row = as2hook_store::NewEvent {
        id: event().id,
        kind: "message.received".into(),
        site: "main".into(),
        partner: None,
        station: None,
        message_id: None,
        occurred_at: 0,
        body: b"{ half".to_vec(),
        payload: Payload::None,
    };
    gateway.store.backlog(&row, "a", "json", 1);
    row.body = serde_json::to_vec(&event()).unwrap();
    row.id = event().id;
    gateway.store.backlog(&row, "a", "xml", 1);
    until("both to be dead", || gateway.store.count(DeliveryState::Dead) == 2).await;
    let errors: Vec<_> =
        gateway.store.attempts().into_iter().map(|r| r.attempt.unwrap().error.unwrap()).collect();
    assert!(errors.iter().any(|e| e.starts_with("the recorded event cannot be read: ")));
    assert!(errors.iter().any(|e| e == "the recorded payload mode \"xml\" is unknown"));
    assert_eq!(sink.count(), 0);
}

#[tokio::test]
async fn the_guard_of_a_rule_is_asked() {
    let sink = Sink::answering(200).await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    *gateway.rules.guard.lock().unwrap() = Some(Guard::public([]));
    gateway.exchange(&event(), &["a"]).await;
    until("it to be dead", || gateway.store.count(DeliveryState::Dead) == 1).await;
    let error = gateway.store.attempts()[0].attempt.clone().unwrap().error.unwrap();
    assert!(error.starts_with("127.0.0.1 is not on the public internet"), "{error}");
    assert_eq!(sink.connections(), 0);
}

#[tokio::test]
async fn a_users_name_and_password_are_not_written_down() {
    let sink = Sink::answering(200).await;
    let url = format!("http://erp:hunter2@{}/hook?x=1", sink.address);
    let gateway = Gateway::start([rule("a", &url)]).await;
    gateway.exchange(&event(), &["a"]).await;
    delivered(&gateway, 1).await;
    let attempt = gateway.store.attempts()[0].attempt.clone().unwrap();
    assert_eq!(attempt.url, format!("http://{}/hook?x=1", sink.address));
}

#[tokio::test]
async fn a_store_that_fails_uses_up_no_retries() {
    let sink = Sink::answering(200).await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    for _ in 0..5 {
        gateway.exchange(&event(), &["a"]).await;
    }
    delivered(&gateway, 5).await;
    gateway.store.fail(true);
    for _ in 0..5 {
        gateway.exchange(&event(), &["a"]).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(sink.count(), 5);
    gateway.store.fail(false);
    delivered(&gateway, 10).await;
    assert_eq!(sink.count(), 10);
    assert!(gateway.store.attempts().iter().all(|r| r.attempt.as_ref().unwrap().number == 1));
}

#[tokio::test]
async fn an_outcome_that_cannot_be_written_now_is_written_later() {
    let store = MemoryStore::new();
    let failed = store.clone();
    let sink = Sink::start(move |_| {
        failed.fail(true);
        Reply::Status(200)
    })
    .await;
    let gateway = Gateway::over(store, [rule("a", &sink.url())], Default::default()).await;
    gateway.exchange(&event(), &["a"]).await;
    until("the attempt", || sink.count() == 1).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(gateway.store.count(DeliveryState::Claimed), 1);
    gateway.store.fail(false);
    delivered(&gateway, 1).await;
    assert_eq!(sink.count(), 1);
}

#[tokio::test]
async fn shutdown_is_at_once_when_idle() {
    let sink = Sink::answering(200).await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    gateway.exchange(&event(), &["a"]).await;
    delivered(&gateway, 1).await;
    let begun = Instant::now();
    assert_eq!(gateway.dispatcher.shutdown(Duration::from_secs(20)).await, 0);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn shutdown_lets_attempts_finish_and_gives_back_the_rest() {
    let sink = Sink::start(|_| Reply::After(Duration::from_millis(300), 200)).await;
    let mut few = rule("a", &sink.url());
    few.endpoint.concurrency = 2;
    let gateway = Gateway::start([few]).await;
    for _ in 0..10 {
        gateway.exchange(&event(), &["a"]).await;
    }
    until("attempts under way", || sink.count() == 2).await;
    assert_eq!(gateway.stop().await, 0);
    assert_eq!(sink.count(), 2, "nothing more was begun");
    assert_eq!(gateway.store.count(DeliveryState::Delivered), 2);
    assert_eq!(gateway.store.count(DeliveryState::Pending), 8);
    assert_eq!(gateway.store.count(DeliveryState::Claimed), 0);
    assert_eq!(gateway.store.attempts().len(), 2, "what was given back counts as no attempt");
}

#[tokio::test]
async fn shutdown_cuts_off_what_takes_too_long() {
    let sink = failing(1, Reply::Hang).await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    gateway.exchange(&event(), &["a"]).await;
    until("the attempt", || sink.count() == 1).await;
    let begun = Instant::now();
    assert_eq!(gateway.dispatcher.shutdown(Duration::from_millis(100)).await, 1);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(gateway.store.count(DeliveryState::Pending), 1);

    // Another process goes on.
    let store = gateway.store.clone();
    let gateway = Gateway::over(store, [rule("a", &sink.url())], Default::default()).await;
    delivered(&gateway, 1).await;
    let requests = sink.requests();
    assert_eq!(requests[0].header("webhook-id"), requests[1].header("webhook-id"));
}

#[test]
fn a_restart_goes_on_with_schedule_and_backlog() {
    let world = tokio::runtime::Runtime::new().unwrap();
    let broken = world.block_on(Sink::answering(500));
    let fine = world.block_on(Sink::answering(200));
    let store = MemoryStore::new();
    let mut slow = rule("a", &broken.url());
    slow.endpoint.retry = vec![Duration::from_millis(700)];
    let open = event();

    let killed = tokio::runtime::Runtime::new().unwrap();
    let first = killed.block_on(async {
        let gateway = Gateway::over(store.clone(), [slow.clone()], Default::default()).await;
        gateway.exchange(&event(), &["a"]).await;
        until("the first attempt", || gateway.store.attempts().len() == 1).await;
        let targets = [as2hook_delivery::Target::of(&slow, &open)];
        gateway.outbox.open(&open, Payload::None, &targets).await.unwrap();
        // Neither the outbox nor the dispatcher gets to say another word.
        std::mem::forget(gateway);
        Instant::now()
    });
    killed.shutdown_background();
    store.orphan_everything();

    slow.endpoint.url = fine.url().parse().unwrap();
    world.block_on(async {
        let gateway = Gateway::over(store, [slow], Default::default()).await;
        gateway.outbox.recover().await.unwrap();
        delivered(&gateway, 2).await;
    });
    let told = fine.requests();
    let id = open.webhook_id("a");
    let unknown = told.iter().find(|r| r.header("webhook-id") == Some(&id)).unwrap();
    let error = unknown.header("X-Processing-Error").unwrap();
    assert!(error.starts_with("1500: "), "{error}");
    let retried = told.iter().find(|r| r.header("X-AS2-Attempt") == Some("2")).unwrap();
    let wait = retried.at.duration_since(first);
    assert!(wait >= Duration::from_millis(500), "the schedule outlives the process: {wait:?}");
}

#[tokio::test]
async fn a_dispatcher_that_is_dropped_makes_nothing_more() {
    let sink = Sink::answering(200).await;
    let Gateway { store, outbox, dispatcher, rules } =
        Gateway::start([rule("a", &sink.url())]).await;
    drop(dispatcher);
    let event = event();
    let targets = [as2hook_delivery::Target::of(&rules.get("a"), &event)];
    outbox.publish(&event, Payload::None, &targets).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!((sink.count(), store.count(DeliveryState::Pending)), (0, 1));
}
