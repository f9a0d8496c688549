use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::Instant,
};

use super::*;

/// A guarded stream, the client's end of it, and what it holds.
async fn scene(
    seats: &ConnectionLimiter,
) -> (HandshakeStream, TcpStream, Arc<Mutex<Option<Handshake>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let seat = seats.enter(1, None, 1, || false).unwrap();
    let mut limit = Deadline::default();
    limit.set(HELLO);
    let handshake = Handshake {
        waiting: seat.wait(),
        _seat: seat,
        _memory: None,
        _counted: crate::observe::Observer::new().handshake("inbound"),
        limit,
        hello: ClientHello::default(),
    };
    let handshake = Arc::new(Mutex::new(Some(handshake)));
    let guarded =
        HandshakeStream { stream: Some(server.into()), handshake: Some(handshake.clone()) };
    (guarded, client, handshake)
}

fn ended(error: &io::Error) -> HandshakeError {
    *error.get_ref().and_then(|inner| inner.downcast_ref()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn silent_connection_is_ended_after_the_time_for_a_hello() {
    let (mut guarded, _client, _) = scene(&ConnectionLimiter::default()).await;
    let began = Instant::now();
    let error = guarded.read_u8().await.unwrap_err();
    assert_eq!(
        (ended(&error), began.elapsed().as_secs()),
        (HandshakeError::NoHello, HELLO.as_secs())
    );
}

#[test]
fn hello_is_whole_with_its_record_however_it_is_cut() {
    let record = [22, 3, 1, 0, 3, 1, 2, 3];
    for cut in 0..record.len() {
        let mut hello = ClientHello::default();
        assert!(!hello.came(&record[..cut]), "{cut}");
        assert!(hello.came(&record[cut..]), "{cut}");
        assert!(!hello.came(&record), "once");
    }
}

#[tokio::test(start_paused = true)]
async fn handshake_that_stops_behind_its_hello_is_ended_after_the_whole_time() {
    let (mut guarded, mut client, _) = scene(&ConnectionLimiter::default()).await;
    let began = Instant::now();
    client.write_all(&[22, 3, 1, 0, 1, 1]).await.unwrap();
    guarded.read_exact(&mut [0; 6]).await.unwrap();
    let error = guarded.read_u8().await.unwrap_err();
    assert_eq!((ended(&error), began.elapsed().as_secs()), (HandshakeError::Slow, WHOLE.as_secs()));
}

#[tokio::test(start_paused = true)]
async fn oldest_handshake_gives_way_to_a_newcomer() {
    let seats = ConnectionLimiter::default();
    let (mut guarded, _client, _) = scene(&seats).await;
    let _newcomer = seats.enter(1, None, 1, || false).unwrap();
    assert_eq!(ended(&guarded.read_u8().await.unwrap_err()), HandshakeError::GaveWay);
}

#[tokio::test(start_paused = true)]
async fn connection_has_all_time_once_its_handshake_is_over() {
    let seats = ConnectionLimiter::default();
    let (mut guarded, _client, handshake) = scene(&seats).await;
    *handshake.lock().unwrap() = None;
    assert_eq!(seats.taken(), 0);
    let hour = Duration::from_secs(3600);
    assert!(tokio::time::timeout(hour, guarded.read_u8()).await.is_err());
    assert!(guarded.handshake.is_none());
}
