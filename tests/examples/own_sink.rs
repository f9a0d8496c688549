//! The sink and the format of `examples/own_sink`: what holds for http holds for them.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use as2hook_testing::{
    Gateway, Message, Part, Post,
    gateway::{Running, wait_until},
    pki, receiver,
};

use super::{SOON, example};

#[test]
fn own_sink_gets_each_notification_in_the_order_of_its_partner() {
    let (receiver, file) = (receiver().start(), Spool::new());
    let gateway = gateway(&receiver)
        .rule("journal", |rule| {
            rule.set("sink", &file.sink())
                .payload("csv")
                .set("order", "partner")
                .set("rate", "20/s")
        })
        .start()
        .unwrap();
    for number in 0..30 {
        send(&gateway, number);
    }
    assert!(wait_until(SOON, || file.lines().len() == 30), "{}", gateway.log());
    let lines = file.lines();
    let mut sorted = lines.clone();
    sorted.sort();
    assert_eq!(lines, sorted, "the times of the events stand first");
    assert!(lines[0].ends_with(",message.received,\"ACME\""), "{}", lines[0]);
    let log = gateway.call("GET", "/admin/deliveries?webhook=journal", "").unwrap();
    assert!(log.text().contains("delivered"), "{}", log.text());
}

#[test]
fn rate_of_a_rule_holds_for_an_own_sink() {
    let (receiver, file) = (receiver().start(), Spool::new());
    let gateway = gateway(&receiver)
        .rule("journal", |rule| rule.set("sink", &file.sink()).payload("csv").set("rate", "2/s"))
        .start()
        .unwrap();
    let begun = std::time::Instant::now();
    for number in 0..8 {
        send(&gateway, number);
    }
    assert!(wait_until(SOON, || file.lines().len() == 8), "{}", gateway.log());
    assert!(begun.elapsed() > Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn own_sink_that_fails_is_retried_and_its_delivery_dead_at_the_end() {
    let (receiver, file) = (receiver().start(), Spool::new());
    let gateway = gateway(&receiver)
        .rule("journal", |rule| {
            rule.set("sink", &file.sink()).payload("json").set("retry", "[100ms, 100ms]")
        })
        .start()
        .unwrap();
    // A folder that is missing fails every attempt.
    fs::remove_dir(file.path.parent().unwrap()).unwrap();
    send(&gateway, 1);
    let dead = || gateway.call("GET", "/admin/deliveries?status=dead", "").unwrap().json();
    assert!(wait_until(SOON, || dead()["data"][0]["attempts"] == 3), "{}", dead());
    let text = gateway.call("GET", "/admin/webhooks", "").unwrap().text().into_owned();
    assert!(text.contains("No such file or directory"), "{text}");
    fs::create_dir(file.path.parent().unwrap()).unwrap();
    send(&gateway, 2);
    assert!(wait_until(SOON, || file.lines().len() == 1), "{}", gateway.log());
}

#[test]
fn mistakes_in_the_keys_of_an_own_sink_are_reported_at_their_places() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("as2hook.yaml");
    fs::write(&config, "receiver: { url: \"http://127.0.0.1:1\" }\n").unwrap();
    let check = |binary: PathBuf, rules: &str| {
        fs::write(folder.path().join("webhooks.yaml"), rules).unwrap();
        let output = Command::new(binary).arg("check").arg("-c").arg(&config).output().unwrap();
        String::from_utf8(output.stdout).unwrap().replace(folder.path().to_str().unwrap(), "")
    };
    let rules = "webhooks:\n  - name: a\n    sink: {type: file, pfad: /x}\n  \
                 - name: b\n    sink: {type: fiel, path: /x}\n  \
                 - name: c\n    sink: {type: file, path: [x]}\n  \
                 - name: d\n    sink: {type: file, path: /x}\n    url: http://127.0.0.1/\n    payload: cvs\n";
    let found = check(example("own_sink"), rules);
    let expected = [
        "/webhooks.yaml:3:11: webhooks[0].sink: the key `path` is missing\n",
        "/webhooks.yaml:3:24: webhooks[0].sink.pfad: unknown key; ",
        "/webhooks.yaml:5:18: webhooks[1].sink.type: must be file; did you mean `file`?\n",
        "/webhooks.yaml:7:30: webhooks[2].sink.path: must be text, not a list\n",
        "/webhooks.yaml:10:10: webhooks[3].url: is of no use: the webhook has a `sink`, which is not http\n",
        "/webhooks.yaml:11:14: webhooks[3].payload: must be csv, headers, json or raw; did you mean `csv`?\n",
    ];
    for line in expected {
        assert!(found.contains(line), "{line} is not in\n{found}");
    }
    let found = check(env!("CARGO_BIN_EXE_as2hook").into(), rules);
    let none = "webhooks[0].sink: this program has no sink besides http; give the webhook a `url`";
    assert!(found.contains(none), "{found}");
    let output = Command::new(example("own_sink")).args(["schema", "webhooks"]).output().unwrap();
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let webhook = &schema["definitions"]["Webhook"];
    let sink = &webhook["properties"]["sink"]["anyOf"][0];
    assert_eq!(sink["properties"]["type"]["const"], "file", "{sink}");
    assert_eq!(sink["required"], serde_json::json!(["path", "type"]));
    assert!(webhook["properties"]["payload"].to_string().contains("\"csv\""));
}

/// A file in a folder of its own.
struct Spool {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Spool {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("spool")).unwrap();
        let path = folder.path().join("spool/journal");
        Self { _folder: folder, path }
    }

    /// As a rule has it.
    fn sink(&self) -> String {
        format!("{{type: file, path: \"{}\"}}", self.path.display())
    }

    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

fn gateway(receiver: &as2hook_testing::Endpoint) -> Gateway {
    Gateway::new()
        .binary(example("own_sink"))
        .receiver(receiver)
        .station("MY-OWN-ORG", pki::station())
}

fn send(gateway: &Running, number: u32) {
    let message = Message::new("ACME", "MY-OWN-ORG")
        .attach(Part::text("order.edi", "application/edifact", &format!("UNA{number}")))
        .build();
    assert_eq!(gateway.inbound().send(&Post::message("/as2", &message)).unwrap().status, 200);
}
