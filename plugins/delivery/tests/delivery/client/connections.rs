//! Connections: which are kept, replaced and refused.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use as2hook_event::Endpoint;
use as2hook_sink::{Client, DeliveryError, Guard, client::ConnectError};
use tokio::time::Instant;

use super::{SECOND, empty, post, post_by};
use crate::support::{
    AMPLE,
    sink::{Reply, Sink},
    until,
};

#[tokio::test]
async fn connections_are_kept() {
    let sink = Sink::answering(200).await;
    let client = Client::new().await.unwrap();
    for _ in 0..20 {
        post_by(&client, &sink.url(), empty(), AMPLE).await.unwrap();
    }
    assert_eq!((sink.count(), sink.connections()), (20, 1));
}

#[tokio::test]
async fn connection_closed_while_idle_costs_no_attempt() {
    let sink = Sink::start(|_| Reply::ThenClose(200)).await;
    let client = Client::new().await.unwrap();
    for _ in 0..20 {
        assert_eq!(post_by(&client, &sink.url(), empty(), AMPLE).await.unwrap().status, 200);
    }
    assert_eq!(sink.count(), 20);
}

#[tokio::test]
async fn request_on_a_connection_closed_under_it_is_sent_on_a_new_one() {
    // The server's idle timeout passes just when the request is sent.
    let sink = Sink::start(|request| match request.on_connection {
        0 => Reply::Status(200),
        _ => Reply::Close,
    })
    .await;
    let client = Client::new().await.unwrap();
    for _ in 0..10 {
        assert_eq!(post_by(&client, &sink.url(), empty(), AMPLE).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn request_is_repeated_on_a_new_connection_only_once() {
    let dead = Arc::new(AtomicBool::new(false));
    let died = dead.clone();
    let sink = Sink::start(move |_| match died.load(Ordering::SeqCst) {
        false => Reply::Status(200),
        true => Reply::Close,
    })
    .await;
    let client = Client::new().await.unwrap();
    post_by(&client, &sink.url(), empty(), AMPLE).await.unwrap();
    dead.store(true, Ordering::SeqCst);
    let error = post_by(&client, &sink.url(), empty(), AMPLE).await.unwrap_err();
    assert!(matches!(error, DeliveryError::NoResponse), "{error:?}");
    assert_eq!(sink.count(), 3);
}

#[tokio::test]
async fn guard_checks_the_address_that_is_connected_to() {
    let sink = Sink::answering(200).await;
    let client = Client::new().await.unwrap();
    let guard = Guard::public([]);
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        let url = format!("http://{host}:{}/hook", sink.address.port());
        let endpoint = Endpoint::new(url.parse().unwrap());
        let deadline = Instant::now() + AMPLE;
        let error = client.deliver(&endpoint, &guard, empty(), deadline).await.unwrap_err();
        let DeliveryError::Connect(ConnectError::Refused { .. }) = error else {
            panic!("{host}: {error:?}")
        };
    }
    assert_eq!(sink.connections(), 0);

    // Another guard on the same address does not share its connections.
    post_by(&client, &sink.url(), empty(), AMPLE).await.unwrap();
    let endpoint = Endpoint::new(sink.url().parse().unwrap());
    let deadline = Instant::now() + AMPLE;
    client.deliver(&endpoint, &guard, empty(), deadline).await.unwrap_err();

    let guard = Guard::public(["127.0.0.0/8".parse().unwrap()]);
    assert_eq!(client.deliver(&endpoint, &guard, empty(), deadline).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_client_that_gave_up_leaves_no_connection() {
    let sink = Sink::start(|_| Reply::Hang).await;
    post(&sink.url(), empty(), SECOND / 10).await.unwrap_err();
    let state = sink.state.clone();
    until("the connection to be closed", || state.at_once.load(Ordering::SeqCst) == 0).await;
}
