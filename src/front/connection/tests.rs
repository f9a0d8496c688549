use std::{io, net::IpAddr, time::Duration};

use pingora::protocols::Shutdown;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    time::timeout,
};

use super::{
    read_head::More,
    writing::{is_final_head, with_dates},
    *,
};
use crate::{front::InFlight, handles::TrafficHandles, memory::Memory};

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nDate: now\r\nX-Dated: yes\r\n\r\n";

/// Writes a byte every 13 seconds and tells what reading them came to after how long.
async fn trickle(connection: &mut Connection, partner: &mut DuplexStream, bytes: usize) -> u64 {
    let began = tokio::time::Instant::now();
    for _ in 0..bytes {
        partner.write_all(b"x").await.unwrap();
        let read = connection.read_exact(&mut [0; 1]).await;
        if read.is_err() {
            break;
        }
        // The pause is the scenario; time is the test's own.
        let silence = timeout(Duration::from_secs(13), connection.read_u8()).await;
        if silence.is_ok() {
            break;
        }
    }
    began.elapsed().as_secs()
}

fn pair() -> (Connection, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(1024);
    (Connection::new(Box::new(ours)), theirs)
}

async fn more(connection: &mut Connection) -> More {
    std::future::poll_fn(|cx| connection.poll_more(cx)).await
}

#[tokio::test]
async fn what_was_read_ahead_comes_first() {
    let (mut connection, mut partner) = pair();
    partner.write_all(b"\r\nfirst, ").await.unwrap();
    assert_eq!(more(&mut connection).await, More::Came);
    assert_eq!(&connection.ahead[..], b"\r\nfirst, ");
    connection.expect(2..3, false);
    partner.write_all(b"second").await.unwrap();
    let mut all = [0; 13];
    connection.read_exact(&mut all).await.unwrap();
    assert_eq!(&all, b"first, second");
}

#[tokio::test(start_paused = true)]
async fn a_body_has_to_come_at_a_certain_rate() {
    let (mut connection, mut partner) = pair();
    connection.begin(Pace::default());
    assert_eq!(trickle(&mut connection, &mut partner, 100).await, 120);
}

#[tokio::test(start_paused = true)]
async fn a_resting_or_followed_connection_has_no_limit() {
    let (mut connection, _partner) = pair();
    let hour = Duration::from_secs(3600);
    assert!(timeout(hour, connection.read_u8()).await.is_err());
    connection.begin(Pace::default());
    connection.follow();
    assert!(timeout(hour, connection.read_u8()).await.is_err());
    connection.release();
    assert!(timeout(hour, connection.read_u8()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_comes_behind_a_request_is_kept_for_the_next() {
    let (mut connection, mut partner) = pair();
    connection.begin(Pace::default());
    connection.follow();
    let hour = Duration::from_secs(3600);
    for piece in [&b"\r\n"[..], b"next"] {
        partner.write_all(piece).await.unwrap();
        assert!(timeout(hour, connection.read_u8()).await.is_err());
    }
    connection.release();
    while connection.ahead.len() < 6 {
        assert_eq!(more(&mut connection).await, More::Came);
    }
    assert_eq!(&connection.ahead[..], b"\r\nnext");
}

#[tokio::test(start_paused = true)]
async fn one_who_is_always_ahead_takes_no_more_and_more() {
    let (mut connection, mut partner) = pair();
    for _ in 0..100 {
        partner.write_all(&[b'x'; 1000]).await.unwrap();
        assert_eq!(more(&mut connection).await, More::Came);
        connection.expect(0..999, false);
        connection.read_exact(&mut [0; 999]).await.unwrap();
        assert!(connection.ahead.len() < 3000, "{}", connection.ahead.len());
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_behind_chunks_waits_for_its_turn() {
    let (mut connection, mut partner) = pair();
    connection.expect(0..0, true);
    connection.begin(Pace::default());
    let body = b"3\r\nabc\r\n0\r\n\r\n";
    partner.write_all(&[body, &b"GET /"[..]].concat()).await.unwrap();
    let mut came = [0; 100];
    assert_eq!(connection.read(&mut came).await.unwrap(), body.len());
    let hour = Duration::from_secs(3600);
    assert!(timeout(hour, connection.read_u8()).await.is_err());
    assert_eq!(&connection.ahead[..], b"GET /");
    partner.write_all(b"next").await.unwrap();
    assert!(timeout(hour, connection.read_u8()).await.is_err());
    assert_eq!(more(&mut connection).await, More::Came);
    assert_eq!(&connection.ahead[..], b"GET /next");
    connection.expect(5..9, false);
    connection.ahead = BytesMut::from(&connection.ahead[..]);
    assert_eq!((&connection.ahead[..], connection.ahead.capacity()), (&b"next"[..], 4));
}

#[tokio::test(start_paused = true)]
async fn chunked_body_does_not_give_way_once_its_end_has_come() {
    let (mut connection, mut partner) = pair();
    let of = |last| Some(IpAddr::from([192, 0, 2, last]));
    let in_flight = InFlight::new(Memory::default(), TrafficHandles::default());
    let permit = in_flight.enter(1, of(1)).unwrap();
    connection.expect(0..0, true);
    connection.begin(Pace::default());
    connection.gives_way(permit.gives_way());
    let soon = Duration::from_secs(1);
    assert!(timeout(soon, connection.read_u8()).await.is_err(), "it is waited for");
    let body = b"3\r\nabc\r\n0\r\n\r\n";
    partner.write_all(body).await.unwrap();
    connection.read_exact(&mut [0; 13]).await.unwrap();
    // The decoder still has its pieces, and Pingora has not said that it is complete.
    assert!(in_flight.enter(1, of(2)).is_none());
    assert_eq!(permit.complete(), Ok(()));
}

/// Long enough that the pair above does not hold it.
fn long_head() -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(2000)).into_bytes()
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_is_given_up() {
    let day = Duration::from_secs(24 * 3600);
    for dated in [true, false] {
        let (mut connection, _partner) = pair();
        connection.begin(Pace::default());
        if dated {
            connection.keep_dates(Vec::new());
        }
        let began = tokio::time::Instant::now();
        let response = async {
            connection.write_all(&long_head()).await?;
            connection.flush().await
        };
        let written = timeout(day, response).await.expect("it ends");
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), Pace::default().piece);
        timeout(day, Shutdown::shutdown(&mut connection)).await.expect("it ends");
    }
}

#[tokio::test(start_paused = true)]
async fn who_takes_little_by_little_is_not_given_up() {
    let (mut connection, mut partner) = pair();
    connection.begin(Pace::default());
    connection.keep_dates(Vec::new());
    let taking = tokio::spawn(async move {
        let mut taken = 0;
        while taken < 2000 {
            // The pause is the scenario; time is the test's own.
            tokio::time::sleep(Pace::default().piece * 9 / 10).await;
            taken += partner.read(&mut [0; 200]).await.unwrap();
        }
    });
    connection.write_all(&long_head()).await.unwrap();
    connection.flush().await.unwrap();
    taking.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_is_given_up_is_followed_and_not_heard_again() {
    let (mut connection, mut partner) = pair();
    connection.begin(Pace::default());
    connection.follow();
    partner.write_all(b"next").await.unwrap();
    assert!(timeout(Duration::from_secs(1), connection.read_u8()).await.is_err());
    connection.write_all(&long_head()).await.unwrap();
    connection.release();
    assert!(connection.ahead.is_empty());
    assert_eq!(more(&mut connection).await, More::Over, "its response is torn");
    assert!(connection.write_all(b"HTTP/1.1 200 OK").await.is_err());
}

#[tokio::test]
async fn the_end_behind_a_request_is_noticed() {
    let (mut connection, partner) = pair();
    connection.begin(Pace::default());
    connection.follow();
    drop(partner);
    assert_eq!(connection.read(&mut [0; 1]).await.unwrap(), 0);
}

#[test]
fn the_receivers_date_replaces_pingoras() {
    let dates = [(b"dAte".to_vec(), b"Mon, 01 Jun 2020 16:12:51 GMT".to_vec())];
    assert_eq!(
        with_dates(RESPONSE, &dates),
        b"HTTP/1.1 200 OK\r\nX-Dated: yes\r\ndAte: Mon, 01 Jun 2020 16:12:51 GMT\r\n\r\n"
    );
}

/// A hostile partner may have no end of it.
#[tokio::test(start_paused = true)]
async fn what_comes_behind_a_flaw_has_the_time_of_the_body() {
    let (mut connection, mut partner) = pair();
    let pace = Pace { body: Duration::from_secs(60), ..Pace::default() };
    connection.expect(0..0, true);
    connection.begin(pace);
    partner.write_all(b"no length\r\n").await.unwrap();
    let flaw = connection.read_u8().await.unwrap_err();
    assert_eq!(flaw.kind(), io::ErrorKind::InvalidData);
    tokio::time::advance(Duration::from_secs(61)).await;
    partner.write_all(b"more").await.unwrap();
    let end = connection.read_u8().await.unwrap_err();
    assert_eq!(end.kind(), io::ErrorKind::TimedOut);
}

#[test]
fn a_receiver_without_a_date_gets_none() {
    assert_eq!(with_dates(RESPONSE, &[]), b"HTTP/1.1 200 OK\r\nX-Dated: yes\r\n\r\n");
}

#[test]
fn interim_responses_and_bodies_are_left_alone() {
    assert!(is_final_head(RESPONSE));
    assert!(!is_final_head(b"HTTP/1.1 100 Continue\r\n\r\n"));
    assert!(!is_final_head(b"HTTP/1.1 in a body"));
}

#[tokio::test(start_paused = true)]
async fn response_has_its_time_although_the_partner_is_gone() {
    for gone in [false, true] {
        let (mut connection, partner) = pair();
        connection.begin(Pace::default());
        connection.follow();
        let began = tokio::time::Instant::now();
        connection.response_by(Some(began + Duration::from_secs(60)));
        if gone {
            drop(partner);
            connection.write_all(RESPONSE).await.unwrap();
            assert!(connection.is_gone());
        } else {
            std::mem::forget(partner);
        }
        let error = connection.read_u8().await.unwrap_err();
        assert!(error.get_ref().unwrap().is::<NoResponse>());
        assert_eq!(began.elapsed().as_secs(), 60);
        connection.response_by(None);
        let hour = Duration::from_secs(3600);
        assert!(timeout(hour, connection.read_u8()).await.is_err(), "it is there");
    }
}
