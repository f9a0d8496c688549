//! Request heads: their header names and the spelling of these.

use as2hook_sink::{Client, Request, RequestBody};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{empty, post, post_by};
use crate::support::{AMPLE, sink::Sink};

#[tokio::test]
async fn an_empty_body_has_a_length_of_zero() {
    let sink = Sink::answering(200).await;
    post(&sink.url(), empty(), AMPLE).await.unwrap();
    let [received] = &sink.requests()[..] else { panic!("one request") };
    assert!(received.head.starts_with("POST /hook HTTP/1.1\r\n"), "{}", received.head);
    assert_eq!(received.header("content-length"), Some("0"));
    assert_eq!(received.header("transfer-encoding"), None);
    assert_eq!(received.header("host"), Some(sink.address.to_string().as_str()));
}

#[tokio::test]
async fn header_names_are_spelled_as_in_the_seed_messages() {
    let sink = Sink::answering(200).await;
    let mut headers = HeaderMap::new();
    let names = ["as2-from", "message-id", "x-partner-type", "webhook-id", "x-as2-event", "x-own"];
    for name in names {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static("1"));
    }
    let message = Request { headers, names: Vec::new(), body: RequestBody::Bytes(Bytes::new()) };
    post(&sink.url(), message, AMPLE).await.unwrap();
    let head = &sink.requests()[0].head;
    for name in ["AS2-From", "Message-ID", "X-Partner-Type", "webhook-id", "X-AS2-Event", "X-Own"] {
        assert!(head.contains(&format!("\r\n{name}: 1\r\n")), "{name} in {head}");
    }
}

#[tokio::test]
async fn spelling_of_a_partner_is_kept() {
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
        post_by(&client, &sink.url(), message, AMPLE).await.unwrap();
    }
    for received in sink.requests() {
        for name in names {
            let line = format!("\r\n{name}: 1\r\n");
            assert!(received.head.contains(&line), "{name} in {}", received.head);
        }
    }
}

#[tokio::test]
async fn spelling_of_a_partner_is_kept_when_others_send_new_names_each_time() {
    let sink = Sink::answering(200).await;
    let client = Client::new().await.unwrap();
    let send = async |name: String| {
        let mut headers = HeaderMap::new();
        headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_static("1"));
        let names = vec![name.into()];
        let message = Request { headers, names, body: RequestBody::Bytes(Bytes::new()) };
        post_by(&client, &sink.url(), message, AMPLE).await.unwrap();
    };
    for n in 0..1500 {
        send(format!("sTRANGE-{n}")).await;
    }
    send("as2-FROM".to_owned()).await;
    let last = sink.requests().pop().unwrap();
    assert!(last.head.contains("\r\nas2-FROM: 1\r\n"), "{}", last.head);
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
        post_by(&client, &sink.url(), message, AMPLE).await.unwrap();
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
    post(&sink.url(), message, AMPLE).await.unwrap();
    let head = &sink.requests()[0].head;
    assert_eq!(head.matches("\r\nReceived: ").count(), 2, "{head}");
}
