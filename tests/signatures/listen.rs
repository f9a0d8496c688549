//! `as2hook secret`, and `as2hook listen` with a gateway's deliveries and with requests of others.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command},
};

use as2hook_testing::{
    Client, Gateway, Message, Part, Post, as2hook, gateway::built_binary, pki, receiver, wait_until,
};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use tempfile::TempDir;

use super::SOON;

/// A running `as2hook listen`, killed when dropped.
struct Listener {
    child: Child,
    output: PathBuf,
    _folder: TempDir,
}

// === impl Listener ===

impl Listener {
    /// On a free port, once it has printed its rule.
    fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("output");
        let child = Command::new(built_binary())
            .args(["listen", "--port", "0"])
            .args(arguments)
            .stdout(File::create(&output).unwrap())
            .spawn()
            .unwrap();
        let listener = Self { child, output, _folder: folder };
        listener.wait_for("    secret: ");
        listener
    }

    fn printed(&self) -> String {
        fs::read_to_string(&self.output).unwrap()
    }

    fn wait_for(&self, text: &str) {
        assert!(wait_until(SOON, || self.printed().contains(text)), "{text}: {}", self.printed());
    }

    /// The rule that it printed.
    fn yaml(&self) -> String {
        self.printed().split_once("\n\n").unwrap().1.to_owned()
    }

    fn client(&self) -> Client {
        let printed = self.printed();
        let (_, rest) = printed.split_once("http://").unwrap();
        Client::new(rest.split_once('/').unwrap().0.parse().unwrap())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn secret_is_new_each_time_and_has_32_bytes() {
    let secrets = [as2hook(&["secret"]), as2hook(&["secret"])].map(|ran| {
        assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""));
        ran.stdout
    });
    assert_ne!(secrets[0], secrets[1]);
    let encoded = secrets[0].trim_end().strip_prefix("whsec_").unwrap();
    assert_eq!(BASE64_STANDARD.decode(encoded).unwrap().len(), 32);
}

#[test]
fn printed_rule_sends_deliveries_that_are_printed_as_valid() {
    for arguments in [&[][..], &["--secret", "a${b$$\"c\\: #"]] {
        let (receiver, mut listener) = (receiver().start(), Listener::start(arguments));
        let mut gateway = Gateway::new()
            .receiver(&receiver)
            .station("MY-OWN-ORG", pki::station())
            .partner("ACME", pki::partner())
            .prepare()
            .unwrap();
        gateway.write("webhooks.yaml", &listener.yaml()).unwrap();
        gateway.start().unwrap();
        let message = Message::new("ACME", "MY-OWN-ORG")
            .attach(Part::text("order.edi", "application/edifact", "UNA:+.? '"))
            .sign(pki::partner())
            .build();
        let reply = gateway.inbound().send(&Post::message("/as2", &message)).unwrap();
        assert_eq!(reply.status, 200);
        for line in [
            " POST /\n  message.received, payload json, attempt 1\n",
            "\n  Signature: valid\n  Timestamp: valid\n  X-AS2-Signature: valid\n",
            "\n  AS2-From: ACME\n  AS2-To: MY-OWN-ORG\n",
            "\n      \"name\": \"order.edi\",\n",
        ] {
            listener.wait_for(line);
        }
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -INT {}", listener.child.id())])
            .status()
            .unwrap();
        assert!(sent.success());
        assert_eq!(listener.child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn request_of_another_is_printed_with_what_is_wrong_and_its_bytes_do_not_reach_the_terminal() {
    let listener = Listener::start(&["--secret", "my_secret"]);
    let post = Post::new("/x", b"\x1b[2J").header("webhook-timestamp", "soon");
    let reply = listener.client().send(&post.header("Subject", "a\u{9b}2J")).unwrap();
    assert_eq!(reply.status, 200);
    for line in [
        "\n  Signature: NOT VALID: there is none; the rule has no secret\n",
        "\n  Timestamp: NOT VALID: it is no number of seconds\n",
        "\n  Subject: a\\u{9b}2J\n",
        "\n\\u{1b}[2J\n",
    ] {
        listener.wait_for(line);
    }
    let binary = listener.client().send(&Post::new("/x", b"\xff\x1b[2J")).unwrap();
    assert_eq!(binary.status, 200);
    listener.wait_for("\n  Body: 5 bytes, not UTF-8\n");
    assert!(!listener.printed().contains(['\u{1b}', '\u{9b}']), "{}", listener.printed());
}

#[test]
fn body_over_the_limit_is_refused_and_the_endpoint_goes_on() {
    let listener = Listener::start(&[]);
    let body = vec![b'x'; 17 << 20];
    // The response may come before the body has gone.
    drop(listener.client().send(&Post::new("/", &body)));
    listener.wait_for("A request was not read: its body has more than 16 MiB.");
    let mut unfinished = listener.client().connect().unwrap();
    unfinished.write(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab").unwrap();
    drop(unfinished);
    listener.wait_for("A request was not read: its body did not come to its end.");
    assert_eq!(listener.client().get("/").unwrap().status, 200);
}

#[test]
fn port_in_use_and_wrong_secret_are_reported_without_the_secret() {
    let listener = Listener::start(&[]);
    let port = listener.client().address().port().to_string();
    let ran = as2hook(&["listen", "--port", &port]);
    assert_eq!(ran.status, Some(1));
    assert!(ran.stderr.contains("choose another port with --port"), "{}", ran.stderr);
    for secret in ["whsec_s3cr3t!", ""] {
        let ran = as2hook(&["listen", "--secret", secret]);
        assert_eq!(ran.status, Some(2));
        assert!(ran.stderr.contains("--secret"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("s3cr3t"), "{}", ran.stderr);
    }
}
