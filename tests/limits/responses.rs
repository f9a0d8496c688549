//! Responses that have no end.

use super::*;

/// An AS2 server that begins a chunked response and goes on with this piece as long as it is read.
fn endless(piece: String, pause: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"last") {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        socket.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        // The pauses are the scenario.
        while socket.write_all(piece.as_bytes()).is_ok() {
            thread::sleep(pause);
        }
    });
    url
}

fn gateway(receiver: &str, sink: &Endpoint, limits: &str) -> Running {
    Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver_url(receiver)
        .rule("all", |rule| rule.to(sink, "/").events(&["*"]))
        .set("limits", limits)
        .start()
        .unwrap()
}

const MESSAGE: &str = "POST / HTTP/1.1\r\nAS2-From: A\r\nAS2-To: B\r\nMessage-ID: <a@b>\r\nHost: a\r\n\
    Content-Length: 4\r\n\r\nlast";

/// Each of its pieces came in time, so it held its exchange for ever.
#[test]
fn trickling_response_is_ended_and_reported() {
    let sink = sink().start();
    let receiver = endless("1\r\nx\r\n".to_owned(), Duration::from_millis(50));
    // So long that the response's beginning, which is to be passed on, has come by then.
    let gateway = gateway(&receiver, &sink, "{ body_time: 5s, body_rate: 1GiB }");
    let response = read_to_close(&mut open(&gateway, MESSAGE));
    assert!(response.starts_with("HTTP/1.1 200 "), "what had come was passed on: {response}");
    sink.wait_for(1, SOON).unwrap();
    assert!(wait_until(SOON, || gateway.figure("as2hook_in_flight") == 0));
    assert!(gateway.wait_for_log("the response takes too long", SOON));
}

/// It was read and dropped, as fast as it came.
#[test]
fn flooding_response_is_read_as_long_as_the_partner_is_connected() {
    let piece = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    let sink = sink().start();
    let receiver = endless(piece, Duration::ZERO);
    let gateway = gateway(&receiver, &sink, "{}");
    let mut partner = open(&gateway, MESSAGE);
    partner.read_exact(&mut [0; 64 << 10]).unwrap();
    drop(partner);
    sink.wait_for(1, SOON).unwrap();
    assert!(wait_until(SOON, || gateway.figure("as2hook_in_flight") == 0));
    assert!(gateway.wait_for_log("the partner is gone", SOON));
}
