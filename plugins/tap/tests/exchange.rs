//! An exchange through the tap alone: no proxy, no socket, no gateway.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{fs, sync::Arc, time::Duration};

use as2hook_as2::Headers;
use as2hook_delivery::{Outbox, OutboxOptions, Wakeups};
use as2hook_event::{Direction, Event, EventKind};
use as2hook_store::{DeliveryQueue as _, PayloadDir, Payloads, SqliteOptions, SqliteStore};
use as2hook_tap::{Exchange, RequestHead, ResponseHead, Tap, TapRules};
use as2hook_testing::{Message, Part, pki};
use bytes::Bytes;
use tempfile::TempDir;
use tokio::{
    runtime::Handle,
    time::{sleep, timeout},
};

const CONFIG: &str = r#"
listen: { inbound: { address: "127.0.0.1:0" } }
receiver: { url: "http://127.0.0.1:9" }
stations: [{ as2_id: US, keys: [{ certificate: my-own-org.crt, private_key: my-own-org.key }] }]
partners: [{ id: 1, as2_id: ACME, certificates: [acme.crt] }]
"#;

const RULES: &str = r#"
webhooks:
  - { name: all, events: "*", url: "http://127.0.0.1:9/" }
"#;

/// As long as a test waits for what it knows will come.
const SOON: Duration = Duration::from_secs(60);

struct Scene {
    tap: Tap,
    store: Arc<SqliteStore>,
    _folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        pki::partner().write(folder.path()).unwrap();
        pki::station().write(folder.path()).unwrap();
        fs::write(folder.path().join("as2hook.yaml"), CONFIG).unwrap();
        fs::write(folder.path().join("webhooks.yaml"), RULES).unwrap();
        let loaded = as2hook_config::load(
            &folder.path().join("as2hook.yaml"),
            &as2hook_config::Plugins::default(),
        )
        .unwrap();
        let rules = TapRules::new(loaded.config, loaded.rules);
        let database = folder.path().join("as2hook.db");
        let store = Arc::new(SqliteStore::open(&database, &SqliteOptions::default()).unwrap());
        let payloads =
            Payloads::in_folder(PayloadDir::open(&folder.path().join("payloads")).unwrap());
        let outbox = Outbox::new(store.clone(), Wakeups::new(), OutboxOptions::default());
        let tap = Tap::new(Arc::new(rules), outbox, payloads, Handle::current()).unwrap();
        Self { tap, store, _folder: folder }
    }

    /// The request of an exchange, up to its end. Returns the exchange.
    async fn send(&self) -> Exchange {
        let message = Message::new("ACME", "US")
            .attach(Part::text("order.edi", "application/edifact", "UNA:+.? '"))
            .sign(pki::partner())
            .encrypt(pki::station())
            .build();
        let mut headers = Headers::new();
        for (name, value) in &message.headers {
            headers.push(name.as_str(), value.as_str());
        }
        let method = "POST".to_owned();
        let direction = Direction::Inbound;
        let mut exchange = self.tap.begin(RequestHead { direction, method, peer: None, headers });
        let mut pieces = message.body.chunks(100).peekable();
        while let Some(piece) = pieces.next() {
            exchange.request(Bytes::copy_from_slice(piece), pieces.peek().is_none()).await.unwrap();
        }
        exchange
    }

    /// The event to deliver, once every verdict is written down.
    async fn delivered(&self) -> Event {
        let concluded = async {
            while self.tap.concluding() > 0 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(SOON, concluded).await.unwrap();
        let claimed = self.store.claim("all", i64::MAX, 10).await.unwrap();
        let [claimed] = claimed.as_slice() else { panic!("{} deliveries", claimed.len()) };
        let mut event: Event = serde_json::from_slice(&claimed.event.body).unwrap();
        event.settle(serde_json::from_slice(claimed.event.verdict.as_ref().unwrap()).unwrap());
        event
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exchange_that_ends_well_is_delivered_as_received() {
    let scene = Scene::new();
    let mut exchange = scene.send().await;
    let head = ResponseHead { status: 200, headers: Headers::new() };
    exchange.response_head(head).await.unwrap();
    exchange.response(b"thank you");
    exchange.end();
    let event = scene.delivered().await;
    assert_eq!(event.kind, EventKind::MessageReceived);
    let decoded = event.decoded.unwrap();
    assert_eq!(decoded.signature_verified, Some(true));
    assert_eq!(decoded.attachments[0].name.as_deref(), Some("order.edi"));
}

#[tokio::test(flavor = "multi_thread")]
async fn exchange_that_is_dropped_is_delivered_with_an_unknown_outcome() {
    let scene = Scene::new();
    drop(scene.send().await);
    let event = scene.delivered().await;
    assert_eq!(event.kind, EventKind::MessageReceived);
    assert!(event.errors.iter().any(|error| error.code.number() == 1500), "{:?}", event.errors);
}
