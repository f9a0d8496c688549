//! Interim responses (1xx): an endpoint may send some before its response, but not more.

use std::sync::atomic::Ordering;

use as2hook_sink::{Client, DeliveryError, client::Step};

use super::{SECOND, empty, post, post_by, timed_out, with_time_enough};
use crate::support::{
    AMPLE,
    sink::{Reply, Sink},
    until,
};

const FINAL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Interim responses with a field of this length, followed by `behind`.
fn interim(count: usize, field: usize, behind: &str) -> Vec<u8> {
    let statuses = ["100 Continue", "102 Processing", "103 Early Hints"].into_iter().cycle();
    let link = "x".repeat(field);
    let one = |status| format!("HTTP/1.1 {status}\r\nLink: {link}\r\n\r\n");
    let all: String = statuses.take(count).map(one).collect();
    (all + behind).into_bytes()
}

#[tokio::test]
async fn response_after_sixteen_interim_responses_is_accepted() {
    let sink = Sink::start(|_| Reply::Raw(interim(16, 100, FINAL))).await;
    let answer = post(&sink.url(), empty(), AMPLE).await.unwrap();
    assert_eq!((answer.status, &answer.body_start[..]), (200, b"ok".as_slice()));
}

#[tokio::test]
async fn more_interim_responses_or_larger_ones_are_a_failure() {
    for (count, field) in [(17, 0), (9, 8 * 1024), (5000, 100)] {
        let sink = Sink::start(move |_| Reply::Raw(interim(count, field, FINAL))).await;
        let error = post(&sink.url(), empty(), AMPLE).await.unwrap_err();
        assert!(matches!(error, DeliveryError::InterimResponses), "{count}, {field}: {error:?}");
        assert_eq!(
            error.to_string(),
            "the endpoint sent more than 16 interim responses (1xx), or more than 64 KiB of them, before \
             its response"
        );
        assert_eq!((sink.count(), error.status()), (1, None));
    }
}

#[tokio::test]
async fn many_responses_on_a_kept_connection_are_accepted() {
    let sink = Sink::start(|_| Reply::With(200, format!("X-Long: {}", "x".repeat(8000)))).await;
    let client = Client::new().await.unwrap();
    for _ in 0..300 {
        assert_eq!(post_by(&client, &sink.url(), empty(), AMPLE).await.unwrap().status, 200);
    }
    assert_eq!(sink.connections(), 1);
}

/// The client reads and parses whatever the endpoint can write before its connection ends.
#[tokio::test]
async fn endpoint_that_streams_interim_responses_loses_its_connection() {
    let sink = Sink::start(|_| Reply::EndlessRaw(interim(100, 30, ""))).await;
    for _ in 0..3 {
        let error = post(&sink.url(), empty(), AMPLE).await.unwrap_err();
        assert!(matches!(error, DeliveryError::InterimResponses), "{error:?}");
    }
    let state = sink.state.clone();
    until("the connections to be closed", || state.at_once.load(Ordering::SeqCst) == 0).await;
    // Including the contents of both sockets' buffers on the loopback.
    assert!(sink.state.written.load(Ordering::SeqCst) < 3 * 16 * 1024 * 1024);
}

#[tokio::test]
async fn too_many_interim_responses_on_a_kept_connection_do_not_count_as_stale() {
    let sink = Sink::start(|request| match request.on_connection {
        0 => Reply::Status(200),
        _ => Reply::Raw(interim(17, 0, FINAL)),
    })
    .await;
    let client = Client::new().await.unwrap();
    post_by(&client, &sink.url(), empty(), AMPLE).await.unwrap();
    let error = post_by(&client, &sink.url(), empty(), AMPLE).await.unwrap_err();
    assert!(matches!(error, DeliveryError::InterimResponses), "{error:?}");
    assert_eq!((sink.count(), sink.connections()), (2, 1));
    // Those of one request do not count for another.
    for _ in 0..3 {
        assert_eq!(post_by(&client, &sink.url(), empty(), AMPLE).await.unwrap().status, 200);
        post_by(&client, &sink.url(), empty(), AMPLE).await.unwrap_err();
    }
}

#[tokio::test]
async fn interim_responses_do_not_extend_the_deadline() {
    let sink = Sink::start(|_| Reply::DripRaw(interim(1, 0, ""))).await;
    with_time_enough(SECOND / 5, async |within| {
        let error = post(&sink.url(), empty(), within).await.unwrap_err();
        matches!(error, DeliveryError::TimedOut { .. })
            && timed_out(&error, within) == Step::Response
    })
    .await;
}
