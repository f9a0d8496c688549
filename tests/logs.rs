//! What any client can write into the log: little, escaped, and no credentials.

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use as2hook_testing::{
    Endpoint, Gateway, Message, Part, Post, Running, gateway::wait_until, pki, receiver, sink,
};

const SOON: Duration = Duration::from_secs(60);

fn gateway(receiver: &Endpoint, log: &str, format: &str) -> Gateway {
    Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(receiver)
        .environment("AS2HOOK_LOG", log)
        .environment("AS2HOOK_LOG_FORMAT", format)
}

/// Sends bytes, and waits for the end of what comes of it.
fn provoke(gateway: &Running, bytes: &[u8]) {
    let mut socket = TcpStream::connect(gateway.inbound().address()).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    // It may be refused before its end.
    let _ = socket.write_all(bytes);
    let _ = socket.shutdown(std::net::Shutdown::Write);
    let _ = socket.read_to_end(&mut Vec::new());
}

fn lines_with(gateway: &Running, text: &str) -> usize {
    gateway.log().lines().filter(|line| line.contains(text)).count()
}

/// Ten lines of a kind in each ten seconds, however many these were.
fn assert_throttled(gateway: &Running, text: &str, began: Instant) {
    let lines = lines_with(gateway, text);
    let windows = usize::try_from(began.elapsed().as_secs() / 10).unwrap() + 1;
    assert!((10..=10 * windows).contains(&lines), "{lines} in {windows}: {}", gateway.log());
}

/// It was a line for each, 9 MB in four seconds.
#[test]
fn lines_that_strangers_cause_are_throttled_by_kind() {
    let receiver = receiver().start();
    let gateway = gateway(&receiver, "info", "text").start().unwrap();
    let began = Instant::now();
    for _ in 0..200 {
        provoke(&gateway, b"GET /\n");
    }
    assert_throttled(&gateway, "refused because of its head", began);
    let began = Instant::now();
    for _ in 0..200 {
        provoke(&gateway, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nx");
    }
    assert_throttled(&gateway, "Inbound exchange.", began);
    assert!(!gateway.log().contains("ERROR"), "{}", gateway.log());
}

#[test]
fn lines_of_aborted_as2_requests_are_throttled() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let gateway = gateway(&receiver, "info", "text");
    let gateway = gateway.rule("all", |rule| rule.to(&sink, "/")).start().unwrap();
    let began = Instant::now();
    for _ in 0..200 {
        provoke(
            &gateway,
            b"POST / HTTP/1.1\r\nHost: a\r\nAS2-From: A\r\nAS2-To: B\r\nMessage-ID: <1@a>\r\n\
              Content-Type: text/plain\r\nContent-Length: 10\r\n\r\nx",
        );
    }
    assert_throttled(&gateway, "Inbound exchange.", began);
}

#[test]
fn failed_handshakes_are_throttled_and_no_errors() {
    let receiver = receiver().start();
    let gateway = gateway(&receiver, "info", "text").inbound_tls(false).start().unwrap();
    let began = Instant::now();
    for _ in 0..100 {
        provoke(&gateway, b"GET / HTTP/1.1\r\n\r\n");
        provoke(&gateway, b"");
    }
    assert!(gateway.wait_for_log("handshake", SOON));
    assert_throttled(&gateway, "handshake", began);
    assert!(!gateway.log().contains("ERROR"), "{}", gateway.log());
}

#[test]
fn names_with_control_and_bidirectional_characters_are_escaped_in_both_formats() {
    for format in ["text", "json"] {
        let (receiver, sink) = (receiver().start(), sink().start());
        let gateway = gateway(&receiver, "info", format);
        let gateway = gateway.rule("all", |rule| rule.to(&sink, "/")).start().unwrap();
        let hostile = "A\u{202e}B\u{85}C\u{2028}D\u{9b}31m";
        let head = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nAS2-From: {hostile}\r\nAS2-To: {}\r\n\
             Message-ID: <{}@a>\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx",
            "t".repeat(10_000),
            "m".repeat(10_000),
        );
        provoke(&gateway, head.as_bytes());
        assert!(gateway.wait_for_log("Inbound exchange.", SOON), "{}", gateway.log());
        let log = gateway.log();
        for one in log.chars() {
            let bidi = matches!(one, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            assert!(!bidi && (!one.is_control() || one == '\n'), "{one:?} in {log}");
        }
        let line = log.lines().find(|line| line.contains("Inbound exchange.")).unwrap();
        assert!(line.contains("202e") && line.len() < 4096, "{line}");
    }
}

#[test]
fn line_of_an_exchange_has_its_event_signature_and_codes() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let gateway = gateway(&receiver, "info", "json")
        .station("US", pki::station())
        .partner("ACME", pki::partner())
        .rule("all", |rule| rule.to(&sink, "/"))
        .start()
        .unwrap();
    let line_of = |signer, id| {
        let order = Part::text("o.xml", "text/xml", "<o/>");
        let message = Message::new("ACME", "US").id(id).attach(order);
        let message = message.sign(signer).build();
        gateway.inbound().send(&Post::message("/as2", &message)).unwrap();
        let is_line = |line: &&str| line.contains("Inbound exchange.") && line.contains(id);
        assert!(wait_until(SOON, || gateway.log().lines().any(|line| is_line(&line))));
        let log = gateway.log();
        let line = log.lines().find(is_line).unwrap();
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        ["event", "signature", "codes"].map(|name| line[name].as_str().map(str::to_owned))
    };
    let some = |text: &str| Some(text.to_owned());
    let received = some("message.received");
    let good = line_of(pki::partner(), "<good@acme>");
    assert_eq!(good, [received.clone(), some("valid"), None]);
    let forged = line_of(pki::stranger(), "<forged@acme>");
    assert_eq!(forged, [received, some("other-certificate"), some("[900]")]);
}

#[test]
fn numbers_are_numbers_in_json_lines() {
    let receiver = receiver().start();
    let gateway = gateway(&receiver, "debug", "json").start().unwrap();
    gateway.inbound().get("/").unwrap();
    assert!(gateway.wait_for_log("Inbound exchange.", SOON), "{}", gateway.log());
    let mut seen = 0;
    for line in gateway.log().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        for (name, value) in line.as_object().unwrap() {
            let is_number = value.as_str().is_some_and(|text| text.parse::<f64>().is_ok());
            assert!(!is_number, "{name} in {line}");
            seen += usize::from(value.is_number());
        }
    }
    assert!(seen >= 3, "{}", gateway.log());
}

#[test]
fn unknown_log_format_ends_the_start_with_what_is_allowed() {
    let ran = Command::new(env!("CARGO_BIN_EXE_as2hook"))
        .args(["run", "-c", "conf/as2hook.yaml"])
        .env("AS2HOOK_LOG_FORMAT", "nonsense")
        .output()
        .unwrap();
    assert_eq!(ran.status.code(), Some(1));
    let said = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(said, "as2hook: AS2HOOK_LOG_FORMAT must be text (the default) or json\n");
}

#[test]
fn credentials_are_not_logged_at_any_level() {
    for format in ["text", "json"] {
        let receiver = receiver().start();
        let gateway = gateway(&receiver, "trace", format).start().unwrap();
        let message = Message::new("ACME", "MY-OWN-ORG")
            .attach(Part::text("a.edi", "application/edifact", "UNA:+.? '"))
            .build();
        let secrets = ["Basic s3cr3t-basic", "Basic s3cr3t-proxy", "session=s3cr3t-cookie"];
        let post = Post::message("/", &message)
            .header("Authorization", secrets[0])
            .header("Proxy-Authorization", secrets[1])
            .header("Cookie", secrets[2]);
        assert_eq!(gateway.inbound().send(&post).unwrap().status, 200);
        let call =
            Post::method("GET", "/admin/status").header("Authorization", "Bearer s3cr3t-api");
        gateway.admin().send(&call).unwrap();
        assert!(gateway.wait_for_log("xchange", SOON));
        // Head that Pingora cannot read, which it prints in its error.
        provoke(&gateway, b"GET /\xff[ HTTP/1.1\r\nAuthorization: Basic s3cr3t-bad\r\n\r\n");
        assert!(!gateway.log().contains("s3cr3t"), "{}", gateway.log());
    }
}

/// Starts a gateway whose stderr is a named pipe that nothing reads yet.
fn unread(receiver: &Endpoint, format: &str) -> (Running, PathBuf) {
    let mut gateway = gateway(receiver, "info", format).prepare().unwrap();
    let pipe = gateway.folder().join("stderr");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Open for reading too, so that the pipe is full and not broken.
    gateway.set_wrapper(&["sh", "-c", "exec \"$@\" 2<>\"$0\"", pipe.to_str().unwrap()]);
    gateway.start().unwrap();
    (gateway, pipe)
}

/// An exchange with a log line of more than 1 KiB.
fn long_line(gateway: &Running, nth: usize) {
    let post = Post::new("/", b"UNA:+.? '")
        .header("AS2-From", "ACME")
        .header("AS2-To", "MY-OWN-ORG")
        .header("Message-ID", format!("<{nth}-{}@a>", "m".repeat(900)));
    assert_eq!(gateway.inbound().send(&post).unwrap().status, 200, "{nth}");
}

/// It was 287 exchanges, and then none.
#[test]
fn stalled_reader_of_stderr_does_not_stop_traffic() {
    for format in ["text", "json"] {
        let receiver = receiver().start();
        let (gateway, pipe) = unread(&receiver, format);
        // A pipe has 64 KiB, the queue 1 MiB.
        for nth in 0..1500 {
            long_line(&gateway, nth);
        }
        let dropped = || gateway.figure("as2hook_log_lines_dropped_total");
        assert!(dropped() > 0);

        let mut lines = BufReader::new(File::open(pipe).unwrap()).lines();
        let report = lines.find(|line| line.as_ref().unwrap().contains("Log lines were dropped"));
        let report = report.unwrap().unwrap();
        let count = match format {
            "text" => report.rsplit("dropped=").next().unwrap().parse().unwrap(),
            _ => serde_json::from_str::<serde_json::Value>(&report).unwrap()["dropped"]
                .as_u64()
                .unwrap(),
        };
        // The last of them may be of the call above.
        assert_eq!(count, dropped(), "{report}");
        long_line(&gateway, 1500);
        assert!(lines.any(|line| line.unwrap().contains("<1500-")), "it is written again");
    }
}

#[test]
fn stalled_reader_of_stderr_does_not_keep_the_process_from_its_end() {
    let receiver = receiver().start();
    let (mut gateway, _pipe) = unread(&receiver, "text");
    for nth in 0..100 {
        long_line(&gateway, nth);
    }
    assert!(gateway.sigterm(SOON).unwrap().unwrap().success());
}

#[test]
fn last_lines_are_written_before_the_process_ends() {
    let receiver = receiver().start();
    let (mut gateway, pipe) = unread(&receiver, "text");
    for nth in 0..100 {
        long_line(&gateway, nth);
    }
    let reader = thread::spawn(move || {
        let lines = BufReader::new(File::open(pipe).unwrap()).lines();
        lines.map(Result::unwrap).find(|line| line.contains("Stopped."))
    });
    assert!(gateway.sigterm(SOON).unwrap().unwrap().success());
    assert!(wait_until(SOON, || reader.is_finished()));
    assert!(reader.join().unwrap().is_some());
}
