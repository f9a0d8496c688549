//! A name that resolves to something else between the check and the connection (DNS rebinding).

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Mutex,
};

use as2hook_webhooks::Tls;
use tokio::net::{TcpListener, UdpSocket};

use super::*;

/// A name server that gives each A query the address of the moment, and no AAAA; valid for no time.
async fn rebinding(current: Arc<Mutex<Ipv4Addr>>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let address = |kind| (kind == 1).then(|| *current.lock().unwrap());
            let answer = answer(&buffer[..length], address);
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    address
}

/// An answer to a query (RFC 1035 section 4): its header and question, and the address if there is one.
fn answer(query: &[u8], address: impl FnOnce(u16) -> Option<Ipv4Addr>) -> Vec<u8> {
    let name_end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
    let kind = u16::from_be_bytes([query[name_end], query[name_end + 1]]);
    let address = address(kind);
    let count = u8::from(address.is_some());
    let mut answer = query[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0]);
    answer.extend(&query[12..name_end + 4]);
    if let Some(address) = address {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(address.octets());
    }
    answer
}

fn shared(names: Names, guard: Guard) -> Shared {
    Shared { names, guard, tls: tls::connector(&Tls::default()).unwrap() }
}

#[tokio::test]
async fn what_a_name_resolves_to_later_is_judged_again() {
    let private = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = private.local_addr().unwrap().port();
    let url: Uri = format!("http://rebind.example:{port}/").parse().unwrap();
    let public = Ipv4Addr::new(93, 184, 215, 14);

    let current = Arc::new(Mutex::new(public));
    let server = rebinding(current.clone()).await;
    let shared = shared(Names::of_server(server), Guard::public([]));
    // The check when it is set sees a public address; the connection would see loopback.
    let checked = shared.addresses("rebind.example").await.unwrap();
    assert_eq!(checked, [IpAddr::from(public)]);
    *current.lock().unwrap() = Ipv4Addr::LOCALHOST;
    let refused = shared.connect(&url).await;
    assert!(matches!(refused, Err(ConnectError::Refused { .. })));
    let nobody = tokio::time::timeout(Duration::from_millis(200), private.accept()).await;
    assert!(nobody.is_err(), "the private listener was connected to");
}

#[tokio::test]
async fn the_same_name_server_leads_there_without_a_guard() {
    let private = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = private.local_addr().unwrap().port();
    let url: Uri = format!("http://rebind.example:{port}/").parse().unwrap();
    let server = rebinding(Arc::new(Mutex::new(Ipv4Addr::LOCALHOST))).await;
    let shared = shared(Names::of_server(server), Guard::Open);
    assert!(shared.connect(&url).await.is_ok());
    assert!(private.accept().await.is_ok());
}
