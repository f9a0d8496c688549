//! One request and its response, or the error.

mod connections;
mod headers;
mod interim;
mod payloads;

use std::time::Duration;

use as2hook_event::Endpoint;
use as2hook_sink::{
    Client, DeliveryError, EndpointResponse, Guard, Request, RequestBody,
    client::{ConnectError, Step},
};
use bytes::Bytes;
use http::HeaderMap;
use tokio::time::Instant;

use crate::support::{
    AMPLE,
    sink::{Reply, Sink, closed_port},
};

const SECOND: Duration = Duration::from_secs(1);

fn request(body: RequestBody) -> Request {
    Request { headers: HeaderMap::new(), names: Vec::new(), body }
}

fn empty() -> Request {
    request(RequestBody::Bytes(Bytes::new()))
}

async fn post(
    url: &str,
    request: Request,
    within: Duration,
) -> Result<EndpointResponse, DeliveryError> {
    let client = Client::new().await.unwrap();
    post_by(&client, url, request, within).await
}

async fn post_by(
    client: &Client,
    url: &str,
    request: Request,
    within: Duration,
) -> Result<EndpointResponse, DeliveryError> {
    let endpoint = Endpoint::new(url.parse().unwrap());
    client.deliver(&endpoint, &Guard::Open, request, Instant::now() + within).await
}

#[tokio::test]
async fn response_of_any_status_is_returned() {
    for status in [200, 204, 302, 404, 410, 500] {
        let sink = Sink::answering(status).await;
        let answer = post(&sink.url(), empty(), AMPLE).await.unwrap();
        assert_eq!((answer.status, answer.is_success()), (status, status < 300));
        assert_eq!(sink.count(), 1, "redirects are not followed");
    }
}

#[tokio::test]
async fn connection_to_a_closed_port_is_refused() {
    let reserved = closed_port();
    let address = reserved.local_addr().unwrap();
    let error = post(&format!("http://{address}/"), empty(), AMPLE).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Connect(ConnectError::Tcp { .. })), "{error:?}");
    let text = format!("could not connect to 127.0.0.1 port {}: ", address.port());
    assert!(error.to_string().starts_with(&text), "{error}");
}

#[tokio::test]
async fn name_that_does_not_exist_is_a_resolve_error() {
    let error = post("http://no-such-name.invalid/", empty(), AMPLE).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Connect(ConnectError::Resolve { .. })), "{error:?}");
    assert!(error.to_string().starts_with("no-such-name.invalid could not be resolved: "));
}

#[tokio::test]
async fn localhost_is_resolved() {
    let sink = Sink::answering(200).await;
    let url = format!("http://localhost:{}/hook", sink.address.port());
    assert_eq!(post(&url, empty(), AMPLE).await.unwrap().status, 200);
}

#[tokio::test]
async fn timeout_names_the_step_that_was_waited_for() {
    let sink = Sink::start(|_| Reply::Hang).await;
    with_time_enough(SECOND / 5, async |within| {
        let error = post(&sink.url(), empty(), within).await.unwrap_err();
        timed_out(&error, within) == Step::Response
    })
    .await;

    // A listener whose queue is full accepts no more connections.
    let deaf = Deaf::start().await;
    let error = post(&deaf.url(), empty(), SECOND / 5).await.unwrap_err();
    assert_eq!(timed_out(&error, SECOND / 5), Step::Connect);

    // A reader that stops reading blocks a large body.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let body = RequestBody::Bytes(Bytes::from(vec![0; 64 * 1024 * 1024]));
    with_time_enough(SECOND / 2, async |within| {
        let error = post(&url, request(body.clone()), within).await.unwrap_err();
        timed_out(&error, within) == Step::Send
    })
    .await;
    let error = DeliveryError::TimedOut { after: SECOND / 2, step: Step::Send };
    assert_eq!(error.to_string(), "timed out after 0.5 s while sending the request");
}

#[tokio::test]
async fn incomplete_response_is_a_failure() {
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this".to_vec();
    let sink = Sink::start(move |_| Reply::Raw(half.clone())).await;
    let error = post(&sink.url(), empty(), AMPLE).await.unwrap_err();
    assert!(matches!(error, DeliveryError::HalfResponse { status: 200 }), "{error:?}");

    let half = b"HTTP/1.1 200 OK\r\nContent-Le".to_vec();
    let sink = Sink::start(move |_| Reply::Raw(half.clone())).await;
    let error = post(&sink.url(), empty(), AMPLE).await.unwrap_err();
    assert!(matches!(error, DeliveryError::NoResponse), "{error:?}");
    assert_eq!(sink.count(), 1, "a fresh connection is not tried twice");
}

#[tokio::test]
async fn response_that_is_not_http_is_reported_as_such() {
    let sink = Sink::start(|_| Reply::Raw(b"220 smtp.example ESMTP\r\n\r\n".to_vec())).await;
    let error = post(&sink.url(), empty(), AMPLE).await.unwrap_err();
    assert!(matches!(error, DeliveryError::NotHttp(_)), "{error:?}");
}

#[tokio::test]
async fn endless_response_head_is_cut_off() {
    let mut head = b"HTTP/1.1 200 OK\r\n".to_vec();
    for n in 0..100_000 {
        head.extend_from_slice(format!("X-{n}: y\r\n").as_bytes());
    }
    let sink = Sink::start(move |_| Reply::Raw(head.clone())).await;
    let error = post(&sink.url(), empty(), AMPLE).await.unwrap_err();
    assert!(matches!(error, DeliveryError::NotHttp(_)), "{error:?}");
}

#[tokio::test]
async fn response_with_an_endless_body_is_judged_by_its_status() {
    let sink = Sink::start(|_| Reply::Endless).await;
    let answer = post(&sink.url(), empty(), AMPLE).await.unwrap();
    assert_eq!((answer.status, answer.body_start.len()), (200, EndpointResponse::BODY_MAX));
}

#[tokio::test]
async fn response_whose_body_exceeds_the_deadline_is_judged_by_its_status() {
    let sink = Sink::start(|_| Reply::Drip(202)).await;
    with_time_enough(SECOND / 4, async |within| {
        let Ok(answer) = post(&sink.url(), empty(), within).await else { return false };
        assert_eq!(answer.status, 202);
        assert!(answer.body_start.len() < 1000, "it does not wait for the end");
        !answer.body_start.is_empty()
    })
    .await;
}

#[tokio::test]
async fn retry_after_is_read() {
    let sink = Sink::start(|_| Reply::With(429, "Retry-After: 7".into())).await;
    let answer = post(&sink.url(), empty(), AMPLE).await.unwrap();
    assert_eq!((answer.status, answer.retry_after), (429, Some(SECOND * 7)));
}

/// Tries with longer and longer limits, because nothing succeeds in a short time on a machine that
/// stalls. At most eight seconds.
async fn with_time_enough(first: Duration, attempt: impl AsyncFn(Duration) -> bool) {
    let mut within = first;
    while !attempt(within).await {
        within *= 2;
        assert!(within <= SECOND * 8, "there was time enough");
    }
}

/// Returns the step of a timeout after this time.
fn timed_out(error: &DeliveryError, within: Duration) -> Step {
    let DeliveryError::TimedOut { step, after } = error else { panic!("{error:?}") };
    assert!((within..AMPLE).contains(after), "{after:?}");
    *step
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
