//! Exchanges whose decode is late: every slot of the decoder is taken until the test gives them back.

use std::time::Duration;

use as2hook_as2::Headers;
use as2hook_delivery::{Outbox, OutboxOptions, Wakeups};
use as2hook_event::EventKind;
use as2hook_store::{
    AttemptRecord, Claimed, DeliveryOutcome, DeliveryQueue, EventStore, PayloadDir, SqliteOptions,
    SqliteStore,
};
use as2hook_testing::{Digest, Mdn, Message, Part, Receipt, pki};
use tempfile::TempDir;
use tokio::{runtime::Handle, time::sleep};

use super::*;
use crate::{Tap, TapRules, sent};

mod under_way;

struct Scene {
    tap: Tap,
    store: Arc<SqliteStore>,
    payloads: Payloads,
    _folder: TempDir,
}

const RULES: &str = r#"
webhooks:
  - { name: raw, events: "*", url: "http://127.0.0.1:9/", payload: raw, order: partner }
"#;

const CONFIG: &str = r#"
listen: { inbound: { address: "127.0.0.1:0" } }
receiver: { url: "http://127.0.0.1:9" }
webhooks: webhooks.yaml
stations: [{ as2_id: US }]
partners: [{ id: 1, as2_id: ACME }]
"#;

/// As long as a test waits for what it knows will come.
const SOON: Duration = Duration::from_secs(300);

impl Scene {
    async fn new() -> Self {
        Self::of(CONFIG).await
    }

    /// Where the partner has a certificate.
    async fn with_certificate() -> Self {
        Self::of(&CONFIG.replace("as2_id: ACME", "as2_id: ACME, certificates: [acme.crt]")).await
    }

    async fn of(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        pki::partner().write(folder.path()).unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
        write("as2hook.yaml", config).unwrap();
        write("webhooks.yaml", RULES).unwrap();
        let loaded = as2hook_config::load(
            &folder.path().join("as2hook.yaml"),
            &as2hook_config::Plugins::default(),
        )
        .unwrap();
        let host = Arc::new(TapRules::new(loaded.config, loaded.rules));
        let database = folder.path().join("as2hook.db");
        let store = Arc::new(SqliteStore::open(&database, &SqliteOptions::default()).unwrap());
        let payloads =
            Payloads::in_folder(PayloadDir::open(&folder.path().join("payloads")).unwrap());
        let outbox = Outbox::new(store.clone(), Wakeups::new(), OutboxOptions::default());
        let tap = Tap::new(host, outbox, payloads.clone(), Handle::current()).unwrap();
        Self { tap, store, payloads, _folder: folder }
    }

    fn begin(&self, direction: Direction, id: &str, more: &[(&str, &str)]) -> Exchange {
        let (from, to) = match direction {
            Direction::Inbound => ("ACME", "US"),
            Direction::Outbound => ("US", "ACME"),
        };
        let mut headers = Headers::new();
        for (name, value) in [("AS2-From", from), ("AS2-To", to), ("Message-ID", id)]
            .iter()
            .chain([&("Content-Type", "application/edifact")])
            .chain(more)
        {
            headers.push(*name, *value);
        }
        self.tap.begin(RequestHead { direction, method: "POST".into(), peer: None, headers })
    }

    /// Begins what is in this message or MDN.
    fn begin_built(&self, direction: Direction, built: &[(String, String)]) -> Exchange {
        let mut headers = Headers::new();
        for (name, value) in built {
            headers.push(name.as_str(), value.as_str());
        }
        self.tap.begin(RequestHead { direction, method: "POST".into(), peer: None, headers })
    }

    /// Waits until every exchange that is over is written down.
    async fn concluded(&self) {
        let concluded = async {
            while self.tap.concluding() > 0 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(SOON, concluded).await.unwrap();
    }

    /// The deliveries that are due, each of one order key made when the one before is.
    async fn deliver(&self) -> Vec<Claimed> {
        let mut delivered = Vec::new();
        loop {
            let claimed = self.store.claim("raw", i64::MAX, 10).await.unwrap();
            if claimed.is_empty() {
                return delivered;
            }
            let done = claimed.iter().map(|claimed| AttemptRecord {
                delivery: claimed.id,
                attempt: None,
                outcome: DeliveryOutcome::Delivered,
            });
            self.store.finish(done.collect()).await.unwrap();
            delivered.extend(claimed);
        }
    }
}

fn event(claimed: &Claimed) -> Event {
    let mut event: Event = serde_json::from_slice(&claimed.event.body).unwrap();
    event.settle(serde_json::from_slice(claimed.event.verdict.as_ref().unwrap()).unwrap());
    event
}

fn ok_head() -> ResponseHead {
    ResponseHead { status: 200, headers: Headers::new() }
}

fn order(n: u8) -> Bytes {
    // Too large for the event's row.
    Bytes::from(vec![n; Payload::INLINE_MAX + 1])
}

#[tokio::test(flavor = "multi_thread")]
async fn late_decode_holds_back_the_delivery_and_makes_it_whole() {
    let scene = Scene::new().await;
    let held = scene.tap.shared.decoding.occupy().await;
    let mut exchange = scene.begin(Direction::Inbound, "<1@acme>", &[]);
    let id = exchange.id().unwrap();
    for piece in order(1).chunks(64 * 1024) {
        exchange.request(Bytes::copy_from_slice(piece), false).await.unwrap();
    }
    // Returns although nothing is decoded: the traffic goes on.
    exchange.request(Bytes::new(), true).await.unwrap();
    let stored = scene.store.event(id).await.unwrap().unwrap();
    let pending: Event = serde_json::from_slice(&stored.body).unwrap();
    assert_eq!(pending.errors[0].code, ErrorCode::NotDecoded);
    assert_eq!(stored.payload, Payload::None);

    exchange.response_head(ok_head()).await.unwrap();
    let memory = scene.tap.memory();
    exchange.hold(memory.take(exchange.memory(), u64::MAX).unwrap());
    let counted = exchange.memory();
    exchange.end();
    // A shutdown waits for it, and its memory is counted as long.
    sleep(Duration::from_millis(100)).await;
    assert_eq!(scene.tap.concluding(), 1);
    assert!(memory.used() >= counted);
    assert!(scene.deliver().await.is_empty());

    drop(held);
    scene.concluded().await;
    assert_eq!(memory.used(), 0);
    let delivered = scene.deliver().await;
    assert_eq!(delivered.len(), 1);
    let reported = event(&delivered[0]);
    assert_eq!((reported.id, reported.kind), (id, EventKind::MessageReceived));
    assert_eq!(reported.processing_errors().count(), 0);
    assert_eq!(reported.decoded.unwrap().attachments[0].size, order(1).len() as u64);
    let mut reader = scene.payloads.reader(id, &delivered[0].event.payload).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = reader.next().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    assert_eq!(bytes, order(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn late_decodes_keep_their_order_and_a_duplicate_among_them_is_found() {
    let scene = Scene::new().await;
    let held = scene.tap.shared.decoding.occupy().await;
    let begin = |id| scene.begin(Direction::Inbound, id, &[]);
    let (mut first, mut second, mut again) = (begin("<1@a>"), begin("<2@a>"), begin("<1@a>"));
    let ids = [&first, &second, &again].map(|exchange| exchange.id().unwrap());
    // Too large to be decoded at once.
    let order = |n: u8| Bytes::from(vec![n; 20_000]);
    // Their order is that in which they are recorded.
    tokio::try_join!(
        biased;
        first.request(order(1), true),
        second.request(order(2), true),
        again.request(order(1), true)
    )
    .unwrap();
    for exchange in [&mut first, &mut second, &mut again] {
        exchange.response_head(ok_head()).await.unwrap();
    }
    for exchange in [again, second, first] {
        exchange.end();
    }
    drop(held);
    scene.concluded().await;
    let reported: Vec<_> = scene.deliver().await.iter().map(event).collect();
    assert_eq!(reported.iter().map(|event| event.id).collect::<Vec<_>>(), ids);
    assert_eq!(reported[2].kind, EventKind::MessageDuplicate);
    assert_eq!(reported[2].extra["duplicateOf"], ids[0].to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn sent_message_that_is_decoded_late_is_remembered_with_its_mic() {
    let scene = Scene::new().await;
    let held = scene.tap.shared.decoding.occupy().await;
    let asks = [
        ("Disposition-Notification-To", "us@example"),
        ("Receipt-Delivery-Option", "http://us.example/mdn"),
        (
            "Disposition-Notification-Options",
            "signed-receipt-protocol=optional, pkcs7-signature; signed-receipt-micalg=optional, sha-256",
        ),
    ];
    let mut exchange = scene.begin(Direction::Outbound, "<1@us>", &asks);
    // In pieces: a small document in one would be decoded at once.
    exchange.request(Bytes::from_static(b"an "), false).await.unwrap();
    exchange.request(Bytes::from_static(b"order"), true).await.unwrap();
    let remembered = || async {
        // It has a deadline for its receipt.
        let records = scene.store.due_records(i64::MAX, 10).await.unwrap();
        assert_eq!(records.len(), 1);
        sent::Sent::read(&records[0]).unwrap()
    };
    // An asynchronous MDN may come before the response.
    let before = remembered().await;
    assert_eq!((before.event, before.mics), (exchange.id().unwrap(), Vec::new()));
    exchange.response_head(ok_head()).await.unwrap();
    exchange.end();
    drop(held);
    scene.concluded().await;
    let after = remembered().await;
    assert!(after.mics[0].mic.ends_with("sha-256"));
    assert_eq!((after.event, after.state), (before.event, before.state));
}

#[tokio::test(flavor = "multi_thread")]
async fn late_decode_of_a_rejected_message_says_what_it_was() {
    let scene = Scene::new().await;
    let held = scene.tap.shared.decoding.occupy().await;
    let mut exchange = scene.begin(Direction::Inbound, "<1@acme>", &[]);
    for piece in order(1).chunks(64 * 1024) {
        exchange.request(Bytes::copy_from_slice(piece), false).await.unwrap();
    }
    exchange.request(Bytes::new(), true).await.unwrap();
    let id = exchange.id().unwrap();
    drop(held);
    exchange.response_head(ResponseHead { status: 500, headers: Headers::new() }).await.unwrap();
    exchange.end();
    scene.concluded().await;
    let delivered = scene.deliver().await;
    let reported = event(&delivered[0]);
    assert_eq!((reported.id, reported.kind), (id, EventKind::MessageRejected));
    assert_eq!(reported.decoded.unwrap().attachments.len(), 1);
}

fn signed(id: &str) -> Message {
    let part = Part::text("o.xml", "text/xml", "<o/>");
    Message::new("ACME", "US").id(id).attach(part).sign(pki::partner())
}

#[tokio::test(flavor = "multi_thread")]
async fn verified_message_that_is_decoded_behind_its_response_comes_before_the_next_one() {
    let scene = Scene::with_certificate().await;
    let messages = [signed("<1@acme>").build(), signed("<2@acme>").build()];
    let [mut first, mut second] =
        [0, 1].map(|n: usize| scene.begin_built(Direction::Inbound, &messages[n].headers));
    let ids = [&first, &second].map(|exchange| exchange.id().unwrap());
    let [body, next] = messages.map(|message| Bytes::from(message.body));
    // Our receiver responds before it has the last bytes.
    first.request(body.slice(..100), false).await.unwrap();
    first.response_head(ok_head()).await.unwrap();
    second.request(next, true).await.unwrap();
    second.response_head(ok_head()).await.unwrap();
    second.end();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(scene.tap.concluding(), 1);
    first.request(body.slice(100..), true).await.unwrap();
    first.end();
    scene.concluded().await;
    let delivered: Vec<_> = scene.deliver().await.iter().map(|claimed| event(claimed).id).collect();
    assert_eq!(delivered, ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn late_message_that_an_asynchronous_mdn_refused_is_no_duplicate_when_it_comes_again() {
    for scene in [Scene::new().await, Scene::with_certificate().await] {
        let asks = Receipt::SignedAsync(Digest::Sha256, "http://acme.example/mdn".to_owned());
        let message = signed("<1@acme>").receipt(asks).build();
        let body = Bytes::from(message.body);
        let held = scene.tap.shared.decoding.occupy().await;
        let mut late = scene.begin_built(Direction::Inbound, &message.headers);
        late.request(body.clone(), true).await.unwrap();
        drop(held);
        // Our receiver's MDN is faster than its response.
        let refusal = Mdn::error("authentication-failed").about("US", "ACME", "<1@acme>");
        let (headers, mdn) = refusal.into_parts();
        let mut refused = scene.begin_built(Direction::Outbound, &headers);
        refused.request(Bytes::from(mdn), true).await.unwrap();
        refused.response_head(ok_head()).await.unwrap();
        refused.end();
        scene.concluded().await;
        late.response_head(ok_head()).await.unwrap();
        late.end();
        scene.concluded().await;

        let mut again = scene.begin_built(Direction::Inbound, &message.headers);
        let id = again.id().unwrap();
        again.request(body, true).await.unwrap();
        again.response_head(ok_head()).await.unwrap();
        again.end();
        scene.concluded().await;
        let delivered: Vec<_> = scene.deliver().await.iter().map(event).collect();
        let reported = delivered.iter().find(|event| event.id == id).unwrap();
        assert_eq!(reported.kind, EventKind::MessageReceived);
    }
}

#[test]
fn parties_are_those_that_the_decoder_reads() {
    for (name, id) in [
        (r#""a\b""#, r"a\b"),
        (r#""a\\b""#, r"a\b"),
        (r#""a\"b""#, r#"a"b"#),
        (r#""a b\""#, r"a b\"),
        (r"a\b", r"a\b"),
        (r#"" a ""#, " a "),
    ] {
        let block = format!("AS2-From: {name}\nAS2-To: US\n");
        let head = RequestHead {
            direction: Direction::Inbound,
            method: "POST".to_owned(),
            peer: None,
            headers: Headers::parse(block.as_bytes()),
        };
        let parties = head.parties().unwrap();
        assert_eq!(parties.partner, id, "{name}");
        let decoder = as2hook_as2::Decoder::new(
            &head.headers,
            Arc::default(),
            as2hook_as2::Options::default(),
        );
        assert_eq!(decoder.finish(true, &mut ()).sender_id.as_deref(), Some(id), "{name}");
    }
}
