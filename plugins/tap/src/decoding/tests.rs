use std::{fs, future::pending, time::Duration};

use as2hook_as2::{DecoderLimits, ErrorCode, MAX_MEMORY, StationKey};
use as2hook_event::KeptAttachments;
use as2hook_store::{BlobStore, Payloads};
use as2hook_testing::{corpus, hostile};
use openssl::{pkey::PKey, x509::X509};
use uuid::Uuid;

use super::*;

/// What `limits.cpu` is by default.
const DEFAULT: Duration = Duration::from_secs(1);

fn sink(cpu: Duration) -> MeteredSink {
    let keeper = PayloadKeeper::nothing(Payloads::default(), Uuid::nil());
    MeteredSink::new(keeper, DecodeSlots::new(1, 0), cpu, (Memory::default(), MAX_MEMORY))
}

/// Decodes a body in pieces as the proxy hands them on.
async fn decode_all(
    headers: &Headers,
    keyring: Keyring,
    body: &[u8],
    sink: &mut MeteredSink,
) -> Decoded {
    let mut decoder = Decoder::new(headers, Arc::new(keyring), Options::default());
    for piece in body.chunks(64 * 1024) {
        sink.begin(piece.len()).await;
        decoder.push(piece, sink);
        sink.end();
    }
    sink.begin(0).await;
    let mut decoded = decoder.finish(true, sink);
    sink.end();
    sink.report(&mut decoded);
    decoded
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "how much of it is taken is worth a look")]
async fn no_message_of_the_corpus_takes_a_tenth_of_its_cpu_budget() {
    let mut most = (0.0, String::new());
    for case in corpus::cases() {
        let mut headers = Headers::new();
        for (name, value) in &case.headers {
            headers.push(name.as_str(), value.as_str());
        }
        let mut keyring = Keyring::new();
        for key in corpus::keys() {
            let bytes = fs::read(&key.certificate).unwrap();
            let certificate = X509::from_pem(&bytes).or_else(|_| X509::from_der(&bytes)).unwrap();
            let sender = case.header("AS2-From").unwrap_or_default().to_owned();
            keyring.add_certificate(sender, certificate.clone());
            if let Some(file) = key.private_key {
                let private_key = PKey::private_key_from_pem(&fs::read(file).unwrap()).unwrap();
                keyring.add_key(StationKey { certificate, private_key });
            }
        }
        let mut sink = sink(DEFAULT);
        decode_all(&headers, keyring, &case.body, &mut sink).await;
        let share = sink.share_used();
        assert!(share < 0.1, "{} takes {share} of its budget", case.id);
        if share > most.0 {
            most = (share, case.id);
        }
    }
    println!("The most is taken by {}: {:.4} of the budget.", most.1, most.0);
}

/// A thousand attachments in less than 1 MiB.
fn many_attachments() -> (Headers, Vec<u8>) {
    let mut headers = Headers::new();
    headers.push("Content-Type", "multipart/mixed; boundary=B");
    let count = DecoderLimits::default().attachments;
    let mut body = Vec::new();
    for number in 0..count {
        let part = format!(
            "--B\r\nContent-Type: text/plain; name=\"{number}.txt\"\r\nX-Filler: {}\r\n\r\nx\r\n",
            "=?utf-8?q?word?= ".repeat(40)
        );
        body.extend_from_slice(part.as_bytes());
    }
    body.extend_from_slice(b"--B--\r\n");
    assert!(body.len() < 1 << 20);
    (headers, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn message_over_its_cpu_budget_is_code_1300_and_not_decoded_further() {
    let (headers, body) = many_attachments();
    let mut sink = sink(Duration::from_micros(50));
    let decoded = decode_all(&headers, Keyring::new(), &body, &mut sink).await;
    let errors = &decoded.errors;
    assert!(errors.iter().any(|error| error.code == ErrorCode::Limit), "{errors:?}");
    assert!(errors.iter().any(|error| error.message.contains("CPU time")), "{errors:?}");
    assert!(decoded.attachments.len() < 1000, "{}", decoded.attachments.len());
    // The rest of the body costs next to nothing.
    let used = sink.used();
    let decoded = decode_all(&headers, Keyring::new(), &body, &mut self::sink(DEFAULT)).await;
    assert_eq!((decoded.attachments.len(), decoded.errors.as_slice()), (1000, &[][..]));
    let mut whole = self::sink(DEFAULT);
    decode_all(&headers, Keyring::new(), &body, &mut whole).await;
    assert!(used < whole.used() / 2, "{used:?} of {:?}", whole.used());
}

#[tokio::test]
async fn budget_grows_with_the_body_and_with_what_comes_out_of_it() {
    let mut sink = sink(DEFAULT);
    let mut limit = |body: u64, output: u64| {
        (sink.budget.body, sink.budget.output) = (body, output);
        sink.budget.limit() / meter::SLOWER
    };
    let mib = 1 << 20;
    assert_eq!(limit(mib - 1, 0), Duration::from_millis(1000));
    assert_eq!(limit(10 * mib, mib), Duration::from_millis(2500));
    assert_eq!(limit(10 * mib, 100 * mib), Duration::from_millis(16_000));
    assert_eq!(limit(u64::MAX, 0).as_secs(), u64::from(u32::MAX) * 150 / 1000 + 1);
}

/// Begins a message without bounds but those of this machine.
fn begin(decoding: &Decoding, content_type: &str) -> DecodeHandle {
    begin_kept(decoding, content_type, PayloadKeeper::nothing(Payloads::default(), Uuid::nil()))
}

fn begin_kept(decoding: &Decoding, content_type: &str, keeper: PayloadKeeper) -> DecodeHandle {
    let mut headers = Headers::new();
    headers.push("Content-Type", content_type);
    let bounds =
        DecoderLimits { decoded: u64::MAX, expansion: u32::MAX, ..DecoderLimits::default() };
    let limits = DecodeLimits {
        options: Options { limits: bounds, ..Options::default() },
        cpu: Duration::from_secs(3600),
        memory: (Memory::default(), u64::MAX),
    };
    decoding.feed(&headers, Arc::new(Keyring::new()), keeper, limits)
}

#[tokio::test(flavor = "multi_thread")]
async fn message_is_decoded_while_more_expensive_ones_than_cores_go_on() {
    let decoding = Decoding::start(2).unwrap();
    let endless = Bytes::from(hostile::endless().body);
    let attacks: Vec<_> = (0..6)
        .map(|_| tokio::spawn(begin(&decoding, hostile::COMPRESSED).finish(endless.clone(), true)))
        .collect();
    // Two compute, and the others wait.
    while decoding.slots.waiting() < 4 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for _ in 0..20 {
        let mut order = begin(&decoding, "application/edifact");
        order.push(Bytes::from_static(b"an ")).await;
        let outcome = order.finish(Bytes::from_static(b"order"), true).await.unwrap();
        assert_eq!(outcome.decoded.attachments[0].size, 8);
    }
    for attack in &attacks {
        assert!(!attack.is_finished());
        attack.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn small_document_is_decoded_at_once_and_what_may_have_layers_waits_for_a_slot() {
    let decoding = Decoding::start(2).unwrap();
    let held = decoding.occupy().await;
    const ENVELOPE: &[u8] = b"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03\xa0\x80";
    let small = Bytes::from_static(b"an order");
    let outcome = begin(&decoding, "application/edifact").finish(small.clone(), true).await;
    assert_eq!(outcome.unwrap().decoded.attachments[0].size, 8);
    let mut ours = begin(&decoding, "multipart/report; boundary=B");
    ours.trust();
    assert!(ours.finish(small.clone(), true).await.is_ok());
    let mut waiting = Vec::new();
    for (kind, body) in [
        ("multipart/report; boundary=B", small),
        ("application/octet-stream", Bytes::from_static(ENVELOPE)),
        ("application/edifact", Bytes::from(vec![b'x'; AT_ONCE + 1])),
    ] {
        waiting.push(tokio::spawn(begin(&decoding, kind).finish(body, true)));
    }
    while decoding.slots.waiting() < waiting.len() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(held);
    for decode in waiting {
        assert!(decode.await.unwrap().is_ok());
    }
}

/// Multiparts within each other.
fn nested(layers: usize) -> (Headers, Vec<u8>) {
    let mut headers = Headers::new();
    headers.push("Content-Type", "multipart/mixed; boundary=B0");
    let mut body = String::new();
    for layer in 1..layers {
        let outer = layer - 1;
        body += &format!("--B{outer}\r\nContent-Type: multipart/mixed; boundary=B{layer}\r\n\r\n");
    }
    body += &format!("--B{0}\r\n\r\nx\r\n--B{0}--\r\n", layers - 1);
    (headers, body.into_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn message_of_unusual_nesting_is_counted_for_the_memory_that_it_may_take() {
    for (layers, counted) in [(4, 0), (10, MAX_MEMORY - DECODING)] {
        let (headers, body) = nested(layers);
        let mut sink = sink(DEFAULT);
        decode_all(&headers, Keyring::new(), &body, &mut sink).await;
        assert_eq!(sink.memory.0.used(), counted, "{layers} layers");
    }
    let (headers, body) = nested(10);
    let mut sink = sink(DEFAULT);
    let _rest = sink.memory.0.take(DECODING + 1, MAX_MEMORY).unwrap();
    let decoded = decode_all(&headers, Keyring::new(), &body, &mut sink).await;
    assert_eq!(decoded.errors[0].code, ErrorCode::Limit, "{:?}", decoded.errors);
}

#[tokio::test(start_paused = true)]
async fn body_that_waits_for_a_slot_for_minutes_is_decoded_whole() {
    let decoding = Decoding::start(1).unwrap();
    let held = decoding.occupy().await;
    let mut order = begin(&decoding, "application/edifact");
    order.push(Bytes::from_static(b"part")).await;
    // The decoder's threads know no other time.
    while decoding.slots.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    let pushing = tokio::spawn(async move {
        for _ in 1..4 * QUEUE {
            order.push(Bytes::from_static(b"part")).await;
        }
        order.finish(Bytes::new(), true).await
    });
    tokio::time::sleep(LONGEST * 2).await;
    assert!(!pushing.is_finished());
    tokio::time::resume();
    drop(held);
    let outcome = pushing.await.unwrap().unwrap();
    assert_eq!(outcome.decoded.attachments[0].size, 4 * 4 * QUEUE as u64);
}

/// Takes pieces and keeps none.
struct NoPieces;

#[async_trait::async_trait]
impl BlobStore for NoPieces {
    fn size(&self) -> usize {
        64 * 1024
    }

    async fn put(&self, _: Uuid, _: u32, _: Bytes) -> Result<(), StoreError> {
        Ok(())
    }

    async fn get(&self, _: Uuid, _: u32) -> Result<Option<Bytes>, StoreError> {
        Ok(None)
    }

    async fn remove(&self, _: Uuid) -> Result<(), StoreError> {
        Ok(())
    }

    async fn older(&self, _: i64, _: Option<Uuid>, _: usize) -> Result<Vec<Uuid>, StoreError> {
        Ok(Vec::new())
    }
}

#[test]
fn payload_that_waits_for_its_place_leaves_the_slot_to_another_decode() {
    // Its tasks stand still until something blocks on it: the place is slow for as long.
    let place = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let payloads = Payloads::in_pieces(Arc::new(NoPieces), place.handle().clone());
    let decoding = Decoding::start(1).unwrap();
    let traffic = tokio::runtime::Runtime::new().unwrap();
    let keeper = PayloadKeeper::nothing(payloads, Uuid::nil()).message(KeptAttachments::Needed);
    let mut large = begin_kept(&decoding, "application/edifact", keeper);
    let piece = Bytes::from(vec![b'x'; 64 * 1024]);
    traffic.block_on(async {
        // The row's bytes are kept in memory, and two pieces are on their way.
        for _ in 0..Payload::INLINE_MAX / piece.len() + 4 {
            large.push(piece.clone()).await;
        }
        for _ in 0..20 {
            let order = begin(&decoding, "application/edifact");
            let outcome = order.finish(Bytes::from_static(b"an order"), true).await.unwrap();
            assert_eq!(outcome.decoded.attachments[0].size, 8);
        }
    });
    let outcome = place.block_on(large.finish(piece, true)).unwrap();
    assert!(matches!(outcome.payload, Ok(Payload::Stored { size, .. }) if size == 9 * 64 * 1024));
}

const STILL: Duration = Duration::from_secs(30);

#[tokio::test(start_paused = true)]
async fn decode_that_stands_still_is_given_up() {
    assert_eq!(DecodeProgress::default().wait(STILL, pending::<()>()).await, None);
}

#[tokio::test(start_paused = true)]
async fn decode_that_waits_for_a_slot_is_waited_for_until_it_stands_still() {
    let progress = DecodeProgress::default();
    progress.step();
    let mut waiting = pin!(progress.wait(STILL, pending::<()>()));
    assert!(timeout(STILL * 100, &mut waiting).await.is_err());
    progress.step();
    assert_eq!(timeout(STILL * 3, waiting).await, Ok(None));
}
