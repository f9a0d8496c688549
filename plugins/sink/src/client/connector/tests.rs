//! A name that resolves to another address between the check and the connection (DNS rebinding).

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Mutex,
};

use as2hook_event::Tls;
use tokio::net::{TcpListener, UdpSocket};

use super::*;

/// A name server that returns the current address for each A query and nothing for AAAA, with TTL
/// 0.
async fn rebinding(current: Arc<Mutex<Ipv4Addr>>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            // The name with its length in front (RFC 1035).
            let is_there = buffer[..length].windows(7).all(|part| part != b"\x06absent");
            let address = |kind| (kind == 1 && is_there).then(|| *current.lock().unwrap());
            let response = response(&buffer[..length], 0, address);
            socket.send_to(&response, from).await.unwrap();
        }
    });
    address
}

/// Builds a response to a query (RFC 1035 section 4): its header and question, and an address if
/// there is one.
fn response(query: &[u8], ttl: u8, address: impl FnOnce(u16) -> Option<Ipv4Addr>) -> Vec<u8> {
    let name_end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
    let kind = u16::from_be_bytes([query[name_end], query[name_end + 1]]);
    let address = address(kind);
    let count = u8::from(address.is_some());
    let mut response = query[..2].to_vec();
    response.extend([0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0]);
    response.extend(&query[12..name_end + 4]);
    if let Some(address) = address {
        response.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, ttl, 0, 4]);
        response.extend(address.octets());
    }
    response
}

fn shared(names: NameResolver, guard: Guard) -> ConnectorState {
    ConnectorState { names, guard, tls: tls::connector(&Tls::default()).unwrap() }
}

#[tokio::test]
async fn name_that_resolves_differently_later_is_checked_again() {
    let private = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = private.local_addr().unwrap().port();
    let url: Uri = format!("http://rebind.example:{port}/").parse().unwrap();
    let public = Ipv4Addr::new(93, 184, 215, 14);

    let current = Arc::new(Mutex::new(public));
    let server = rebinding(current.clone()).await;
    let shared = shared(NameResolver::of_server(server, 0), Guard::public([]));
    // The check sees a public address; at connect time the name resolves to loopback.
    let checked = shared.addresses("rebind.example").await.unwrap();
    assert_eq!(checked, [IpAddr::from(public)]);
    *current.lock().unwrap() = Ipv4Addr::LOCALHOST;
    let refused = shared.connect(&url).await;
    assert!(matches!(refused, Err(ConnectError::Refused { .. })));
    let accepted = tokio::time::timeout(Duration::from_millis(200), private.accept()).await;
    assert!(accepted.is_err(), "the private listener was connected to");
}

#[tokio::test]
async fn name_that_resolves_differently_later_is_connected_to_without_a_guard() {
    let private = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = private.local_addr().unwrap().port();
    let url: Uri = format!("http://rebind.example:{port}/").parse().unwrap();
    let server = rebinding(Arc::new(Mutex::new(Ipv4Addr::LOCALHOST))).await;
    let shared = shared(NameResolver::of_server(server, 0), Guard::Open);
    assert!(shared.connect(&url).await.is_ok());
    assert!(private.accept().await.is_ok());
}

/// A client that sets webhooks over the API must not learn which names the private network has,
/// neither from the error nor from its timing.
#[tokio::test]
async fn name_that_does_not_resolve_is_refused_as_one_that_resolves_to_a_private_address() {
    let server = rebinding(Arc::new(Mutex::new(Ipv4Addr::LOCALHOST))).await;
    let guarded = shared(NameResolver::of_server(server, 0), Guard::public([]));
    let refusal = async |host: &str| {
        let begun = Instant::now();
        let error = guarded.addresses(host).await.unwrap_err();
        assert!(begun.elapsed() >= NameResolver::BUDGET, "{host}");
        error.to_string().replace(host, "HOST")
    };
    let (absent, private) = tokio::join!(refusal("absent.example"), refusal("there.example"));
    assert_eq!(absent, private);

    let open = shared(NameResolver::of_server(server, 0), Guard::Open);
    let known = open.addresses("absent.example").await.unwrap_err();
    assert!(matches!(known, ConnectError::Resolve { .. }), "an operator's rule says why: {known}");
}

#[tokio::test]
async fn host_that_takes_no_connection_is_looked_up_again_and_others_are_remembered() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = socket.local_addr().unwrap();
    let queries = Arc::new(Mutex::new(Vec::new()));
    let asked = queries.clone();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let address = |kind| (kind == 1).then_some(Ipv4Addr::LOCALHOST);
            let response = response(&buffer[..length], 200, address);
            // The first letter of the name.
            asked.lock().unwrap().push(buffer[13]);
            socket.send_to(&response, from).await.unwrap();
        }
    });
    let shared = shared(NameResolver::of_server(server, 4096), Guard::Open);
    let count = |letter| queries.lock().unwrap().iter().filter(|first| **first == letter).count();
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let dead: Uri = format!("http://dead.example:{dead}/").parse().unwrap();
    for attempt in 1..=3 {
        shared.addresses("other.example").await.unwrap();
        assert!(matches!(shared.connect(&dead).await, Err(ConnectError::Tcp { .. })));
        assert!(count(b'd') >= attempt, "{queries:?}");
    }
    // A lookup asks for both families, and a lost packet is sent again.
    assert!(count(b'o') < count(b'd'), "{queries:?}");
}
