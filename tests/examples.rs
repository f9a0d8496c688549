//! The shipped config and every example do what they say.

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

#[path = "examples/guides.rs"]
mod guides;
#[path = "examples/own_sink.rs"]
mod own_sink;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output},
    time::Duration,
};

use as2hook_testing::{
    Client, Gateway, Message, Part, Post, Rule,
    gateway::{free_address, wait_until},
    pki, receiver, sink,
};

const SOON: Duration = Duration::from_secs(120);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn as2hook(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_as2hook")).current_dir(root()).args(args).output().unwrap()
}

/// A built example.
fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_as2hook")).with_file_name("examples").join(name)
}

#[test]
fn every_config_in_the_tree_is_right() {
    let examples = root().join("examples/configs");
    let mut configs = vec![root().join("conf/as2hook.yaml")];
    for folder in fs::read_dir(examples).unwrap() {
        let config = folder.unwrap().path().join("as2hook.yaml");
        if config.exists() {
            configs.push(config);
        }
    }
    assert!(configs.len() >= 3, "{configs:?}");
    for config in configs {
        let output = as2hook(&["check", "--json", "-c", config.to_str().unwrap()]);
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(output.status.success(), "{said}");
        let warnings = said["warnings"].as_array().unwrap();
        // Its stations have no keys before they are put in.
        let expected = if config.ends_with("fan-out/as2hook.yaml") { 2 } else { 0 };
        assert_eq!(warnings.len(), expected, "{said}");
        let is_expected = |warning: &serde_json::Value| {
            warning["message"].as_str().unwrap().contains("has no key; give it `keys`")
        };
        assert!(warnings.iter().all(is_expected), "{said}");
    }
}

#[test]
fn the_fan_out_example_routes_as_it_says() {
    for (partner, station, expected) in [
        ("ACME", "SHOP", "acme-orders"),
        ("ACME", "WAREHOUSE", "warehouse"),
        ("ACME-TEST", "SHOP", "tests"),
        ("OTHER", "SHOP", "default"),
    ] {
        let config = "examples/configs/fan-out/as2hook.yaml";
        let event = "message.received";
        let output = as2hook(&[
            "match",
            "-c",
            config,
            "--event",
            event,
            "--partner",
            partner,
            "--station",
            station,
        ]);
        let delivered = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(delivered.contains(expected), "{partner} to {station}: {delivered}");
        assert!(delivered.contains("archive"), "{delivered}");
    }
}

#[test]
fn the_shipped_config_runs() {
    let folder = tempfile::tempdir().unwrap();
    let admin = free_address();
    let shipped = fs::read_to_string(root().join("conf/as2hook.yaml")).unwrap();
    let moved = shipped
        .replace("0.0.0.0:8080", &free_address().to_string())
        .replace("127.0.0.1:8081", &admin.to_string());
    fs::write(folder.path().join("as2hook.yaml"), moved).unwrap();
    fs::copy(root().join("conf/webhooks.yaml"), folder.path().join("webhooks.yaml")).unwrap();
    let _gateway = Killed(
        Command::new(env!("CARGO_BIN_EXE_as2hook"))
            .args(["run", "-c", "as2hook.yaml"])
            .current_dir(folder.path())
            .spawn()
            .unwrap(),
    );
    let ready = || Client::new(admin).get("/readyz").is_ok_and(|reply| reply.status == 200);
    assert!(wait_until(SOON, ready));
}

#[test]
fn the_tap_works_in_a_proxy_of_ones_own() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let prepared = Gateway::new()
        .receiver(&receiver)
        .station("MY-OWN-ORG", pki::station())
        .partner("ACME", pki::partner())
        .rule("all", |rule| rule.to(&sink, "/hook").payload("json"))
        .set("retention", "{ count: 1 }")
        .prepare()
        .unwrap();
    let listen = free_address();
    let _proxy = Killed(
        Command::new(example("own_proxy"))
            .arg(prepared.config_file())
            .args([listen.to_string(), receiver.address().to_string()])
            .spawn()
            .unwrap(),
    );
    let client = Client::new(listen);
    assert!(wait_until(SOON, || client.connect().is_ok()));
    let send = || {
        let message = Message::new("ACME", "MY-OWN-ORG")
            .attach(Part::text("order.edi", "application/edifact", "UNA:+.? '"))
            .sign(pki::partner())
            .encrypt(pki::station())
            .build();
        client.send(&Post::message("/as2", &message)).unwrap().status
    };
    assert_eq!(send(), 200);
    let delivered = sink.wait_for(1, SOON).unwrap()[0].json();
    assert_eq!(delivered["attachments"][0]["name"], "order.edi");
    assert_eq!(delivered["signatureStatus"], "valid");

    // A changed file is put in force, and its mistakes keep what is.
    prepared.write("webhooks.yaml", "webhooks: [{ name: all }]\n").unwrap();
    let status = || prepared.call("GET", "/admin/status", "").unwrap().json();
    assert!(wait_until(SOON, || status()["last_reload"]["ok"] == false), "{}", status());
    let events = ["message.received", "message.rejected"];
    let rule = Rule::new("moved").to(&sink, "/moved").payload("json").events(&events);
    prepared.write_rules(&[rule]).unwrap();
    assert!(wait_until(SOON, || status()["generation"] == 2), "{}", status());
    assert_eq!(send(), 200);
    assert_eq!(sink.wait_for(2, SOON).unwrap()[1].target(), "/moved");

    // Retention keeps the newest event.
    let events = || prepared.call("GET", "/admin/events", "").unwrap().json();
    let is_one = || events()["data"].as_array().is_some_and(|events| events.len() == 1);
    assert!(wait_until(SOON, is_one), "{}", events());
    assert_eq!(prepared.call("GET", "/readyz", "").unwrap().status, 200);

    // A receiver that is down is reported as such.
    receiver.stop();
    assert_eq!(send(), 502);
    let delivered = &sink.wait_for(3, SOON).unwrap()[2];
    assert_eq!(delivered.header("X-AS2-Event"), Some("message.rejected"));
    assert_eq!(delivered.json()["error"]["stage"], "connect");
}

/// Each block of Rust in `docs/embedding.md` stands in the example that the text before it names.
#[test]
fn code_of_the_embedding_guide_is_that_of_the_examples() {
    let page = fs::read_to_string(root().join("docs/embedding.md")).unwrap();
    let mut code = String::new();
    let mut checked = 0;
    for (number, part) in page.split("```").enumerate() {
        if let Some(block) = part.strip_prefix("rust\n").filter(|_| number % 2 == 1) {
            assert!(code.contains(block), "{block}");
            checked += 1;
        }
        for word in part.split('`').filter(|word| word.ends_with("main.rs")) {
            code = fs::read_to_string(root().join(word)).unwrap();
        }
    }
    assert!(checked >= 4, "{checked}");
}

#[test]
fn three_gateways_in_trouble_on_postgres_keep_every_promise() {
    survive_on("postgres");
}

#[test]
fn gateway_in_trouble_on_sqlite_keeps_every_promise() {
    survive_on("sqlite");
}

/// The short form of `./measure.sh cluster`.
fn survive_on(store: &str) {
    let output = Command::new(example("cluster"))
        .args(["--seconds", "40", "--store", store])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("| **lost** | **0** |"), "{said}");
}

#[test]
fn feature_that_is_not_built_in_is_reported_at_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("as2hook.yaml");
    fs::write(folder.path().join("webhooks.yaml"), "webhooks: []\n").unwrap();
    let text = "receiver: { url: \"http://127.0.0.1:1\" }\npayloads: \"s3://bucket/as2hook\"\n";
    fs::write(&config, text).unwrap();
    for command in ["check", "run"] {
        let output = as2hook(&[command, "-c", config.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1));
        let delivered = [output.stdout, output.stderr].concat();
        let delivered = String::from_utf8_lossy(&delivered);
        assert!(
            delivered.contains("as2hook.yaml:2:11: payloads: S3 is not built in"),
            "{delivered}"
        );
    }
}

/// Ends with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
