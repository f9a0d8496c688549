//! One request and its answer, or why there is none.

use std::{sync::Arc, time::Duration};

use as2hook_delivery::{
    Answer, Client, DeliveryError, Guard, KeptPayload, Request, RequestBody,
    client::{ConnectError, Step},
};
use as2hook_store::{Payload, Payloads, Pieces, StoreError};
use as2hook_webhooks::Endpoint;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;
use uuid::Uuid;

use crate::support::{
    sink::{Reply, Sink},
    until,
};

const SECOND: Duration = Duration::from_secs(1);

fn request(body: RequestBody) -> Request {
    Request { headers: HeaderMap::new(), names: Vec::new(), body }
}

fn empty() -> Request {
    request(RequestBody::Bytes(Bytes::new()))
}

async fn post(url: &str, request: Request, within: Duration) -> Result<Answer, DeliveryError> {
    let client = Client::new().await.unwrap();
    post_by(&client, url, request, within).await
}

async fn post_by(
    client: &Client,
    url: &str,
    request: Request,
    within: Duration,
) -> Result<Answer, DeliveryError> {
    let endpoint = Endpoint::new(url.parse().unwrap());
    client.deliver(&endpoint, &Guard::Open, request, Instant::now() + within).await
}

#[tokio::test]
async fn an_answer_of_any_status_is_an_answer() {
    for status in [200, 204, 302, 404, 410, 500] {
        let sink = Sink::answering(status).await;
        let answer = post(&sink.url(), empty(), SECOND * 5).await.unwrap();
        assert_eq!((answer.status, answer.is_success()), (status, status < 300));
        assert_eq!(sink.count(), 1, "redirects are not followed");
    }
}

#[tokio::test]
async fn an_empty_body_has_a_length_of_zero() {
    let sink = Sink::answering(200).await;
    post(&sink.url(), empty(), SECOND * 5).await.unwrap();
    let [received] = &sink.requests()[..] else { panic!("one request") };
    assert!(received.head.starts_with("POST /hook HTTP/1.1\r\n"), "{}", received.head);
    assert_eq!(received.header("content-length"), Some("0"));
    assert_eq!(received.header("transfer-encoding"), None);
    assert_eq!(received.header("host"), Some(sink.address.to_string().as_str()));
}

#[tokio::test]
async fn names_are_spelt_as_the_seeds_have_them() {
    let sink = Sink::answering(200).await;
    let mut headers = HeaderMap::new();
    let names = ["as2-from", "message-id", "x-partner-type", "webhook-id", "x-as2-event", "x-own"];
    for name in names {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static("1"));
    }
    let message = Request { headers, names: Vec::new(), body: RequestBody::Bytes(Bytes::new()) };
    post(&sink.url(), message, SECOND * 5).await.unwrap();
    let head = &sink.requests()[0].head;
    for name in ["AS2-From", "Message-ID", "X-Partner-Type", "webhook-id", "X-AS2-Event", "X-Own"] {
        assert!(head.contains(&format!("\r\n{name}: 1\r\n")), "{name} in {head}");
    }
}

#[tokio::test]
async fn a_partners_own_spelling_is_kept() {
    let sink = Sink::answering(200).await;
    let client = Client::new().await.unwrap();
    let names = ["as2-FROM", "message-id", "EDIINT-FEATURES", "X-ODD", "webhook-id"];
    for _ in 0..3 {
        let mut headers = HeaderMap::new();
        for name in names {
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_static("1"));
        }
        let names = names.map(Into::into).to_vec();
        let message = Request { headers, names, body: RequestBody::Bytes(Bytes::new()) };
        post_by(&client, &sink.url(), message, SECOND * 5).await.unwrap();
    }
    for received in sink.requests() {
        for name in names {
            let line = format!("\r\n{name}: 1\r\n");
            assert!(received.head.contains(&line), "{name} in {}", received.head);
        }
    }
}

#[tokio::test]
async fn spelling_is_bounded_and_never_breaks_a_request() {
    let sink = Sink::answering(200).await;
    let client = Client::new().await.unwrap();
    let strange = ["", "a b", "x\r\ny: z", "transfer-ENCODING", "content-LENGTH", "HOST"];
    let many: Vec<_> = (0..500).map(|n| format!("oDD-{n}").into()).collect();
    for names in [strange.map(Into::into).to_vec(), many] {
        let message =
            Request { headers: HeaderMap::new(), names, body: RequestBody::Bytes(Bytes::new()) };
        post_by(&client, &sink.url(), message, SECOND * 5).await.unwrap();
    }
    for received in sink.requests() {
        assert_eq!(received.header("content-length"), Some("0"));
        assert_eq!(received.header("y"), None);
    }
}

#[tokio::test]
async fn duplicate_headers_stay_apart() {
    let sink = Sink::answering(200).await;
    let mut headers = HeaderMap::new();
    headers.append("received", HeaderValue::from_static("first"));
    headers.append("received", HeaderValue::from_bytes(b"second \xe9").unwrap());
    let message = Request { headers, names: Vec::new(), body: RequestBody::Bytes(Bytes::new()) };
    post(&sink.url(), message, SECOND * 5).await.unwrap();
    let head = &sink.requests()[0].head;
    assert_eq!(head.matches("\r\nReceived: ").count(), 2, "{head}");
}

#[tokio::test]
async fn a_payload_file_is_streamed_with_its_length() {
    let sink = Sink::answering(200).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    std::fs::write(file.path(), &bytes).unwrap();
    let body = file_body(file.path(), bytes.len() as u64);
    post(&sink.url(), request(body), SECOND * 10).await.unwrap();
    let received = sink.requests().remove(0);
    assert_eq!(received.header("content-length"), Some("3000000"));
    assert!(received.body == bytes);
}

#[tokio::test]
async fn a_payload_file_that_is_gone_or_too_short_is_our_fault() {
    let sink = Sink::answering(200).await;
    let folder = tempfile::tempdir().unwrap();
    let gone = file_body(&folder.path().join("gone"), 10);
    let error = post(&sink.url(), request(gone), SECOND * 5).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Payload(_)), "{error}");

    let short = folder.path().join("short");
    std::fs::write(&short, [0; 100]).unwrap();
    let error = post(&sink.url(), request(file_body(&short, 200_000)), SECOND * 5).await;
    let error = error.unwrap_err();
    assert!(matches!(error, DeliveryError::Payload(_)), "{error:?}");
    let text = "short: it is 100 bytes long and was written with 200000";
    assert!(error.to_string().ends_with(text), "{error}");
    // Nothing of it went out.
    assert!(sink.requests().is_empty());
}

#[tokio::test]
async fn a_payload_that_fails_on_the_way_is_never_sent_as_if_whole() {
    let sink = Sink::answering(200).await;
    let pieces = Arc::new(Cut);
    let payloads = Payloads::in_pieces(pieces, tokio::runtime::Handle::current());
    let payload = Payload::Stored { id: Uuid::nil(), size: 300_000 };
    let body = RequestBody::Payload(KeptPayload { payloads, event: Uuid::nil(), payload });
    let error = post(&sink.url(), request(body), SECOND * 5).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Payload(_)), "{error:?}");
    assert!(error.to_string().ends_with("piece 2 is missing"), "{error}");
    assert!(sink.requests().is_empty(), "half a request is none");
}

/// Pieces of which the third is lost.
struct Cut;

#[async_trait::async_trait]
impl Pieces for Cut {
    fn size(&self) -> usize {
        100_000
    }

    async fn put(&self, _: Uuid, _: u32, _: Bytes) -> Result<(), StoreError> {
        Ok(())
    }

    async fn get(&self, _: Uuid, index: u32) -> Result<Option<Bytes>, StoreError> {
        Ok((index < 2).then(|| vec![b'E'; 100_000].into()))
    }

    async fn remove(&self, _: Uuid) -> Result<(), StoreError> {
        Ok(())
    }

    async fn older(&self, _: i64, _: Option<Uuid>, _: usize) -> Result<Vec<Uuid>, StoreError> {
        Ok(Vec::new())
    }
}

fn file_body(path: &std::path::Path, size: u64) -> RequestBody {
    let payload = Payload::File { path: path.into(), size };
    RequestBody::Payload(KeptPayload { payloads: Payloads::default(), event: Uuid::nil(), payload })
}

#[tokio::test]
async fn nobody_listens() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = post(&format!("http://{address}/"), empty(), SECOND * 5).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Connect(ConnectError::Tcp { .. })), "{error:?}");
    let text = format!("could not connect to 127.0.0.1 port {}: ", address.port());
    assert!(error.to_string().starts_with(&text), "{error}");
}

#[tokio::test]
async fn a_name_that_does_not_exist() {
    let error = post("http://no-such-name.invalid/", empty(), SECOND * 10).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Connect(ConnectError::Resolve { .. })), "{error:?}");
    assert!(error.to_string().starts_with("no-such-name.invalid could not be resolved: "));
}

#[tokio::test]
async fn localhost_is_known() {
    let sink = Sink::answering(200).await;
    let url = format!("http://localhost:{}/hook", sink.address.port());
    assert_eq!(post(&url, empty(), SECOND * 5).await.unwrap().status, 200);
}

#[tokio::test]
async fn the_deadline_tells_what_was_waited_for() {
    let sink = Sink::start(|_| Reply::Hang).await;
    let begun = Instant::now();
    let error = post(&sink.url(), empty(), SECOND / 5).await.unwrap_err();
    assert!(begun.elapsed() < SECOND * 2);
    let DeliveryError::TimedOut { step, .. } = error else { panic!("{error:?}") };
    assert_eq!(step, Step::Answer);

    // A listener whose queue is full takes no more connections.
    let deaf = Deaf::start().await;
    let error = post(&deaf.url(), empty(), SECOND / 5).await.unwrap_err();
    let DeliveryError::TimedOut { step, .. } = error else { panic!("{error:?}") };
    assert_eq!(step, Step::Connect);

    // A reader that does not read stops a large body on its way.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let accepted = tokio::spawn(async move { listener.accept().await.unwrap() });
    let body = RequestBody::Bytes(Bytes::from(vec![0; 64 * 1024 * 1024]));
    let error = post(&url, request(body), SECOND / 2).await.unwrap_err();
    assert_eq!(error.to_string(), "timed out after 0.5 s while sending the request");
    drop(accepted.await.unwrap());
}

#[tokio::test]
async fn half_an_answer_is_a_failure() {
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this".to_vec();
    let sink = Sink::start(move |_| Reply::Raw(half.clone())).await;
    let error = post(&sink.url(), empty(), SECOND * 5).await.unwrap_err();
    assert!(matches!(error, DeliveryError::HalfAnswer { status: 200 }), "{error:?}");

    let half = b"HTTP/1.1 200 OK\r\nContent-Le".to_vec();
    let sink = Sink::start(move |_| Reply::Raw(half.clone())).await;
    let error = post(&sink.url(), empty(), SECOND * 5).await.unwrap_err();
    assert!(matches!(error, DeliveryError::NoAnswer), "{error:?}");
    assert_eq!(sink.count(), 1, "a fresh connection is not tried twice");
}

#[tokio::test]
async fn what_is_not_http_is_told_so() {
    let sink = Sink::start(|_| Reply::Raw(b"220 smtp.example ESMTP\r\n\r\n".to_vec())).await;
    let error = post(&sink.url(), empty(), SECOND * 5).await.unwrap_err();
    assert!(matches!(error, DeliveryError::NotHttp(_)), "{error:?}");
}

#[tokio::test]
async fn an_endless_head_is_cut_off() {
    let mut head = b"HTTP/1.1 200 OK\r\n".to_vec();
    for n in 0..100_000 {
        head.extend_from_slice(format!("X-{n}: y\r\n").as_bytes());
    }
    let sink = Sink::start(move |_| Reply::Raw(head.clone())).await;
    let error = post(&sink.url(), empty(), SECOND * 5).await.unwrap_err();
    assert!(matches!(error, DeliveryError::NotHttp(_)), "{error:?}");
}

#[tokio::test]
async fn an_endless_body_is_judged_by_its_status() {
    let sink = Sink::start(|_| Reply::Endless).await;
    let answer = post(&sink.url(), empty(), SECOND * 5).await.unwrap();
    assert_eq!((answer.status, answer.body_start.len()), (200, Answer::BODY_MAX));
}

#[tokio::test]
async fn a_body_that_drips_past_the_deadline_is_judged_by_its_status() {
    let sink = Sink::start(|_| Reply::Drip(202)).await;
    let answer = post(&sink.url(), empty(), SECOND / 4).await.unwrap();
    assert_eq!(answer.status, 202);
    assert!(answer.duration < SECOND * 2);
    assert!(!answer.body_start.is_empty());
}

#[tokio::test]
async fn retry_after_is_read() {
    let sink = Sink::start(|_| Reply::With(429, "Retry-After: 7".into())).await;
    let answer = post(&sink.url(), empty(), SECOND * 5).await.unwrap();
    assert_eq!((answer.status, answer.retry_after), (429, Some(SECOND * 7)));
}

#[tokio::test]
async fn connections_are_kept() {
    let sink = Sink::answering(200).await;
    let client = Client::new().await.unwrap();
    for _ in 0..20 {
        post_by(&client, &sink.url(), empty(), SECOND * 5).await.unwrap();
    }
    assert_eq!((sink.count(), sink.connections()), (20, 1));
}

#[tokio::test]
async fn a_connection_closed_while_idle_costs_nothing() {
    let sink = Sink::start(|_| Reply::ThenClose(200)).await;
    let client = Client::new().await.unwrap();
    for _ in 0..20 {
        assert_eq!(post_by(&client, &sink.url(), empty(), SECOND * 5).await.unwrap().status, 200);
    }
    assert_eq!(sink.count(), 20);
}

#[tokio::test]
async fn a_connection_closed_under_the_second_request_is_made_anew() {
    // The server's time for idle connections runs out just when the request is on its way.
    let sink = Sink::start(|request| match request.on_connection {
        0 => Reply::Status(200),
        _ => Reply::Close,
    })
    .await;
    let client = Client::new().await.unwrap();
    for _ in 0..10 {
        assert_eq!(post_by(&client, &sink.url(), empty(), SECOND * 5).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn it_is_made_anew_once_and_not_more() {
    let dead = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let died = dead.clone();
    let sink = Sink::start(move |_| match died.load(std::sync::atomic::Ordering::SeqCst) {
        false => Reply::Status(200),
        true => Reply::Close,
    })
    .await;
    let client = Client::new().await.unwrap();
    post_by(&client, &sink.url(), empty(), SECOND * 5).await.unwrap();
    dead.store(true, std::sync::atomic::Ordering::SeqCst);
    let error = post_by(&client, &sink.url(), empty(), SECOND * 5).await.unwrap_err();
    assert!(matches!(error, DeliveryError::NoAnswer), "{error:?}");
    assert_eq!(sink.count(), 3);
}

#[tokio::test]
async fn the_guard_is_asked_about_what_is_connected_to() {
    let sink = Sink::answering(200).await;
    let client = Client::new().await.unwrap();
    let guard = Guard::public([]);
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        let url = format!("http://{host}:{}/hook", sink.address.port());
        let endpoint = Endpoint::new(url.parse().unwrap());
        let deadline = Instant::now() + SECOND * 5;
        let error = client.deliver(&endpoint, &guard, empty(), deadline).await.unwrap_err();
        let DeliveryError::Connect(ConnectError::Refused { .. }) = error else {
            panic!("{host}: {error:?}")
        };
    }
    assert_eq!(sink.connections(), 0);

    // Another guard on the same address does not lend its connections.
    post_by(&client, &sink.url(), empty(), SECOND * 5).await.unwrap();
    let endpoint = Endpoint::new(sink.url().parse().unwrap());
    let deadline = Instant::now() + SECOND * 5;
    client.deliver(&endpoint, &guard, empty(), deadline).await.unwrap_err();

    let guard = Guard::public(["127.0.0.0/8".parse().unwrap()]);
    assert_eq!(client.deliver(&endpoint, &guard, empty(), deadline).await.unwrap().status, 200);
}

#[tokio::test]
async fn large_bodies_have_more_time() {
    let endpoint = Endpoint::new("http://erp.example/".parse().unwrap());
    let body = |size| file_body("x".as_ref(), size);
    assert_eq!(Client::time_allowed(&endpoint, &body(0)), SECOND * 15);
    assert_eq!(Client::time_allowed(&endpoint, &body(10 << 20)), SECOND * 25);
    assert_eq!(Client::time_allowed(&endpoint, &body(1 << 19)), SECOND * 31 / 2);
}

#[tokio::test]
async fn a_client_that_gave_up_leaves_no_connection() {
    let sink = Sink::start(|_| Reply::Hang).await;
    post(&sink.url(), empty(), SECOND / 10).await.unwrap_err();
    let state = sink.state.clone();
    until("the connection to be closed", || {
        state.at_once.load(std::sync::atomic::Ordering::SeqCst) == 0
    })
    .await;
}

/// A listener whose queue of connections is full.
struct Deaf {
    address: std::net::SocketAddr,
    _listener: tokio::net::TcpListener,
    _filling: Vec<tokio::net::TcpStream>,
}

impl Deaf {
    async fn start() -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut filling = Vec::new();
        while let Ok(Ok(stream)) =
            tokio::time::timeout(SECOND / 5, tokio::net::TcpStream::connect(address)).await
        {
            filling.push(stream);
        }
        Self { address, _listener: listener, _filling: filling }
    }

    fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}
