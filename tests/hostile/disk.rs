//! Disk and log: what hostile names and noise leave behind.

use std::{
    io::Write as _,
    net::{Shutdown, TcpStream},
};

use as2hook_testing::{Gateway, Post, stream::read_to_close};

use crate::stage::{SOON, Stage};

/// Messages of a test that counts bytes on disk.
const MESSAGES: u64 = 150;

/// What each of many messages with these header fields adds to the data folder.
fn disk_for_each(stage: &mut Stage, fields: impl Fn(u64) -> Vec<(&'static str, String)>) -> u64 {
    let before = disk_at_rest(stage);
    for nth in 0..MESSAGES {
        let mut post = Post::new("/as2", b"hello").header("Content-Type", "text/plain");
        for (name, value) in fields(nth) {
            post = post.header(name, value);
        }
        let reply = stage.gateway.inbound().send(&post).unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let json = |request: &as2hook_testing::Request| request.target() == "/json";
    let total = usize::try_from(MESSAGES).unwrap() + 1;
    stage.sink.wait_until(total, SOON, json).unwrap();
    stage.rest();
    disk_at_rest(stage).saturating_sub(before) / MESSAGES
}

/// The data folder after a shutdown, which leaves nothing in the store's log alone.
fn disk_at_rest(stage: &mut Stage) -> u64 {
    assert!(stage.gateway.sigterm(SOON).unwrap().is_some());
    let size = stage.disk();
    stage.gateway.start().unwrap();
    size
}

fn named(from: String, id: String) -> Vec<(&'static str, String)> {
    vec![("AS2-From", from), ("AS2-To", "MY-OWN-ORG".to_owned()), ("Message-ID", id)]
}

#[test]
fn as2_name_of_60_kb_is_cut_in_what_is_stored() {
    let mut stage = Stage::new();
    let each = disk_for_each(&mut stage, |nth| {
        named(format!("{nth}{}", "n".repeat(60_000)), format!("<{nth}@x>"))
    });
    assert!(each <= 16 << 10, "{each} bytes for each");
    assert!(stage.gateway.log().len() < 256 << 10, "{} of log", stage.gateway.log().len());
    stage.order_is_notified_whole();
}

#[test]
fn message_id_of_60_kb_is_cut_in_what_is_stored() {
    let mut stage = Stage::new();
    let each = disk_for_each(&mut stage, |nth| {
        let mut fields = named("STRANGER".to_owned(), format!("<{nth}{}@x>", "i".repeat(60_000)));
        // So that it is kept to be found by an MDN, too.
        fields.push(("Disposition-Notification-To", "a@b".to_owned()));
        fields.push(("Receipt-Delivery-Option", "http://127.0.0.1:9/".to_owned()));
        fields
    });
    assert!(each <= 32 << 10, "{each} bytes for each");
    stage.order_is_notified_whole();
}

#[test]
fn header_of_60_kb_is_stored_at_most_twice() {
    let mut stage = Stage::new();
    let each = disk_for_each(&mut stage, |nth| {
        let mut fields = named("STRANGER".to_owned(), format!("<{nth}@x>"));
        fields.extend((0..60).map(|_| ("X-Junk", "j".repeat(980))));
        fields
    });
    assert!(each <= 128 << 10, "{each} bytes for each");
    stage.order_is_notified_whole();
}

/// What the log of this gateway gains while `noise` is made.
fn log_of(stage: &Stage, noise: impl Fn()) -> String {
    stage.rest();
    let before = stage.gateway.log().len();
    noise();
    stage.rest();
    stage.gateway.log().split_off(before)
}

fn is_short_and_calm(log: &str) {
    let longest = log.lines().map(str::len).max().unwrap_or_default();
    assert!(longest <= 4 << 10, "a line of {longest} bytes");
    assert!(log.len() <= 64 << 10, "{} bytes of log", log.len());
    assert!(!log.contains("ERROR"), "{log}");
}

#[test]
fn malformed_heads_are_logged_briefly() {
    let stage = Stage::new();
    let log = log_of(&stage, || {
        for _ in 0..300 {
            let mut socket = TcpStream::connect(stage.gateway.inbound().address()).unwrap();
            let head =
                format!("POST / HTTP/1.1\r\nHost: a\r\nX {}: y\r\n\r\n", "\u{1b}x".repeat(10_000));
            // It may be refused before its end.
            let _ = socket.write_all(head.as_bytes());
            read_to_close(&mut socket);
        }
    });
    is_short_and_calm(&log);
    stage.order_is_notified_whole();
}

#[test]
fn probes_that_hang_up_are_logged_briefly() {
    let stage = Stage::new();
    let log = log_of(&stage, || {
        for nth in 0..300 {
            for address in [
                stage.gateway.inbound().address(),
                stage.gateway.outbound().address(),
                stage.gateway.admin().address(),
            ] {
                let mut socket = TcpStream::connect(address).unwrap();
                let bytes: &[u8] = [b"".as_slice(), b"\x16\x03\x01", b"GET / HT", b"\0"][nth % 4];
                socket.write_all(bytes).unwrap();
                socket.shutdown(Shutdown::Write).unwrap();
                read_to_close(&mut socket);
            }
        }
    });
    is_short_and_calm(&log);
    stage.order_is_notified_whole();
}

#[test]
fn failed_handshakes_are_logged_briefly() {
    let stage = Stage::with(|gateway: Gateway| gateway.inbound_tls(false));
    let log = log_of(&stage, || {
        for nth in 0..300 {
            let mut socket = TcpStream::connect(stage.gateway.inbound().address()).unwrap();
            let bytes: &[u8] =
                [b"".as_slice(), b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\0\x05hello"][nth % 3];
            socket.write_all(bytes).unwrap();
            socket.shutdown(Shutdown::Write).unwrap();
            read_to_close(&mut socket);
        }
    });
    is_short_and_calm(&log);
    stage.order_is_notified_whole();
}

#[test]
fn names_of_control_and_bidi_characters_are_escaped_in_the_log() {
    for format in ["text", "json"] {
        let stage = Stage::with(|gateway| gateway.environment("AS2HOOK_LOG_FORMAT", format));
        // C1 and bidi characters are no control characters to HTTP.
        let name = "EVIL\u{202e}\u{9b}31m\u{2028}";
        for at in ["/as2", "/\u{202e}\u{9b}"] {
            let post = Post::new(at, b"hello").header("Content-Type", "text/plain");
            let post = post.header("AS2-From", name).header("AS2-To", name);
            let post =
                post.header("Message-ID", format!("<\u{9b}{}\u{202e}@x>", fastrand::u64(..)));
            // Whether it is passed on or refused is not asked here.
            let _ = stage.gateway.inbound().send(&post);
            let _ = stage.gateway.outbound().send(&post);
        }
        stage.rest();
        let log = stage.gateway.log();
        let is_raw = |c: char| {
            (c.is_control() && c != '\n')
                || ('\u{202a}'..='\u{202e}').contains(&c)
                || c == '\u{2028}'
        };
        let raw: Vec<_> = log.lines().filter(|line| line.contains(is_raw)).collect();
        assert!(raw.is_empty(), "{format}: {raw:?}");
    }
}
