//! The commands that ask the running gateway, and those of an installation.

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

#[path = "command_line/installed.rs"]
mod installed;

use std::{path::PathBuf, process::Command, time::Duration};

use as2hook_testing::{
    Endpoint, Gateway, Message, Part, Post, Ran, Response, Running, as2hook,
    gateway::{built_binary, free_address},
    pki, receiver, sink, wait_until,
};
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);
const ADMIN: &str = "admin-of-main";
const READ: &str = "read-of-main";

/// A gateway with a rule "erp" for ACME's messages. Its receiver lives as long as the test program.
fn gateway(hook: &Endpoint, retry: &str) -> Running {
    let receiver: &Endpoint = Box::leak(Box::new(receiver().start()));
    let token = |name: &str, scopes: &str| {
        let digest = openssl::sha::sha256(name.as_bytes());
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{{ name: {name}, sha256: \"{digest}\", scopes: [{scopes}] }}")
    };
    let tokens =
        [token("test-token", "read, write, admin"), token(ADMIN, "admin"), token(READ, "read")];
    Gateway::new()
        .receiver(receiver)
        .station("MY-OWN-ORG", pki::station())
        .partner("ACME", pki::partner())
        .rule("erp", |rule| {
            rule.to(hook, "/hook").payload("json").set("partner", "ACME").set("retry", retry)
        })
        .set("api", &format!("{{ language: en, tokens: [{}] }}", tokens.join(", ")))
        .start()
        .unwrap()
}

fn send(gateway: &Running, id: &str) {
    let message = Message::new("ACME", "MY-OWN-ORG")
        .id(id)
        .attach(Part::text("order.edi", "application/edifact", "UNA:+.? '"))
        .build();
    assert_eq!(gateway.inbound().send(&Post::message("/as2", &message)).unwrap().status, 200);
}

/// Runs a command with its config and this token file.
fn run_as(gateway: &Running, token: &str, words: &[&str]) -> Ran {
    let file: PathBuf = gateway.folder().join(format!("{token}.token"));
    std::fs::write(&file, format!("{token}\n")).unwrap();
    let config = gateway.config_file();
    let remote = ["-c", config.to_str().unwrap(), "--token-file", file.to_str().unwrap()];
    let ran = as2hook(&[words, &remote].concat());
    assert!(!ran.stdout.contains(token) || words.is_empty(), "{ran:?}");
    ran
}

fn run(gateway: &Running, words: &[&str]) -> String {
    let ran = run_as(gateway, ADMIN, words);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{words:?}: {}", ran.stdout);
    ran.stdout
}

fn wait_for(gateway: &Running, words: &[&str], text: &str) -> String {
    assert!(wait_until(SOON, || run(gateway, words).contains(text)), "{}", run(gateway, words));
    run(gateway, words)
}

#[test]
fn failing_endpoint_is_found_out_and_its_delivery_retried() {
    let hook = sink().respond(Response::status(503)).start();
    let gateway = gateway(&hook, "[1h, 1h]");
    send(&gateway, "<1@acme>");
    let event = wait_for(&gateway, &["event", "1@acme"], "503 Service Unavailable");
    for text in [
        "message.received ",
        "ACME to MY-OWN-ORG",
        "<1@acme>",
        "1: order.edi, 9 bytes, application/edifact",
        "erp (json): pending",
        "attempt 1 ",
        "http 503",
        "    next  ",
        "retrying, failures in a row: 1",
        "as2hook retry 1",
    ] {
        assert!(event.contains(text), "{text} is not in\n{event}");
    }
    assert_eq!(run(&gateway, &["event", "<1@acme>"]), event);
    let events = run(&gateway, &["events", "1@acme"]);
    assert!(events.lines().nth(1).unwrap().ends_with("ACME     MY-OWN-ORG  <1@acme>"), "{events}");
    let pending = run(&gateway, &["deliveries", "--webhook", "erp", "--status", "pending"]);
    assert!(pending.contains("  503 Service Unavailable"), "{pending}");
    assert!(run(&gateway, &["deliveries", "--status", "dead"]).contains("There are none."));
    hook.script(|_| Response::ok());
    let retried = run(&gateway, &["retry", "--message-id", "1@acme"]);
    assert_eq!(retried, "one delivery retried\n");
    let delivery = wait_for(&gateway, &["delivery", "1"], "erp (json): delivered");
    assert!(delivery.contains("attempt 2 "), "{delivery}");
    // What is over is not retried, and the message says what to do.
    let over = run_as(&gateway, ADMIN, &["retry", "1"]);
    assert_eq!(over.status, Some(1));
    assert!(over.stderr.contains("a replay makes it again (409)"), "{over:?}");
    assert_eq!(run(&gateway, &["replay", "1"]), "one delivery replayed\n");
    hook.wait_for(3, SOON).unwrap();
}

#[test]
fn waiting_deliveries_are_cancelled_by_a_filter() {
    let hook = sink().respond(Response::status(500)).start();
    let gateway = gateway(&hook, "[1h]");
    send(&gateway, "<1@acme>");
    send(&gateway, "<2@acme>");
    let tried = || run(&gateway, &["deliveries", "--partner", "ACME"]).matches("500").count() == 2;
    assert!(wait_until(SOON, tried));
    let page = run(&gateway, &["deliveries", "--limit", "1"]);
    assert!(page.contains("There are more: --cursor 2"), "{page}");
    let rest = run(&gateway, &["deliveries", "--limit", "1", "--cursor", "2", "--json"]);
    let rest: serde_json::Value = serde_json::from_str(&rest).unwrap();
    assert_eq!((&rest["data"][0]["id"], &rest["next_cursor"]), (&json!(1), &json!(null)));
    let cancelled = run(&gateway, &["cancel", "--webhook", "erp", "--json"]);
    assert_eq!(cancelled, "{\"status\":\"success\",\"cancelled\":2}\n");
    assert!(run(&gateway, &["events", "--status", "cancelled"]).contains("<2@acme>"));
    for words in [&["cancel"][..], &["retry", "1", "--webhook", "erp"], &["delivery", "x"]] {
        assert_eq!(run_as(&gateway, ADMIN, words).status, Some(2), "{words:?}");
    }
    let wrong = run_as(&gateway, ADMIN, &["retry", "--status", "held"]);
    assert_eq!(wrong.status, Some(1));
    assert!(wrong.stderr.contains("it must be pending or dead (400)"), "{wrong:?}");
    let none = run_as(&gateway, ADMIN, &["event", "none@acme"]);
    assert_eq!(none.status, Some(1));
    assert!(none.stderr.contains("no event of the token's site"), "{none:?}");
}

#[test]
fn hostile_text_is_shown_safely() {
    let hook = sink().respond(Response::status(500).body("\u{202e}red")).start();
    let gateway = gateway(&hook, "[1h]");
    send(&gateway, "<1@acme>");
    let event = wait_for(&gateway, &["event", "<1@acme>"], "attempt 1 ");
    assert!(event.contains("Error: \\u{202e}red"), "{event}");
    let json = run(&gateway, &["event", "<1@acme>", "--json"]);
    for printed in [event, json] {
        let is_safe = |c: char| c == '\n' || (!c.is_control() && c != '\u{202e}');
        assert!(printed.chars().all(is_safe), "{printed:?}");
    }
}

#[test]
fn status_and_a_test_of_a_rule() {
    let hook = sink().start();
    let gateway = gateway(&hook, "[]");
    let status = run(&gateway, &["status"]);
    for text in ["configuration   1, the last reload ok", "webhooks        1\n", "store "] {
        assert!(status.contains(text), "{text} is not in\n{status}");
    }
    assert_eq!(run_as(&gateway, READ, &["status", "--json"]).json()["generation"], 1);
    let passed = run(&gateway, &["send-test", "erp"]);
    assert_eq!(passed, "The endpoint took a test of message.received: http 200\n");
    assert_eq!(hook.requests()[0].header("X-AS2-Test"), Some("1"));
    hook.script(|_| Response::status(500));
    let failed = run_as(&gateway, ADMIN, &["send-test", "erp", "--json"]);
    assert_eq!((failed.status, &failed.json()["http_code"]), (Some(1), &json!(500)));
    assert!(failed.stderr.contains("the test failed: "), "{failed:?}");
    let unknown = run_as(&gateway, ADMIN, &["send-test", "none"]);
    assert_eq!(unknown.status, Some(1));
    assert!(unknown.stderr.contains("(404)"), "{unknown:?}");
}

#[test]
fn errors_say_what_to_do() {
    let gateway = gateway(&sink().start(), "[]");
    let wrong = run_as(&gateway, "not-a-token", &["status"]);
    assert_eq!(wrong.status, Some(1));
    assert!(wrong.stderr.contains("does not know the token of "), "{wrong:?}");
    assert!(!wrong.stderr.contains("Bearer"), "{wrong:?}");
    let scope = run_as(&gateway, READ, &["retry", "1"]);
    assert_eq!(scope.status, Some(1));
    assert!(scope.stderr.contains("it needs the scope admin"), "{scope:?}");
    let url = format!("http://{}", free_address());
    let ask = |url: &str, token: &str| {
        let mut command = Command::new(built_binary());
        command.args(["events", "--admin", url]).env("AS2HOOK_TOKEN", token);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (status, away) = ask(&url, ADMIN);
    assert_eq!(status, Some(1));
    assert!(away.contains("is it running? The address is that of --admin"), "{away}");
    assert_eq!(ask(&url, "").0, Some(2));
    assert_eq!(ask("https://127.0.0.1:8081", ADMIN).0, Some(2));
}
