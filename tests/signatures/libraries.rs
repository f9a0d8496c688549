//! Libraries for Standard Webhooks against deliveries of the gateway: `docs/verify.md` has a table of what they do.

use std::{fs, path::Path, process::Command};

use as2hook_testing::{Content, Gateway, Message, Part, Post, as2hook, receiver, sink};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};

use super::{SOON, fields, page};

/// What is taken for base64 by none of them.
const PLAIN: &str = "my-secret";

/// Deliveries of messages with these documents: one for each column of the table, and one that is signed with a
/// secret without `whsec_`.
fn deliveries() -> Vec<Value> {
    let secret = as2hook(&["secret"]).stdout.trim().to_owned();
    let (receiver, sink) = (receiver().start(), sink().start());
    let modes = ["json", "headers", "raw", "plain"];
    let gateway = modes.iter().fold(Gateway::new().receiver(&receiver), |gateway, mode| {
        gateway.rule(mode, |rule| {
            let plain = *mode == "plain";
            rule.to(&sink, &format!("/{mode}"))
                .payload(if plain { "json" } else { mode })
                .set("secret", if plain { PLAIN } else { &secret })
                .set("route", "always")
        })
    });
    let gateway = gateway.binary(env!("CARGO_BIN_EXE_as2hook")).start().unwrap();
    let documents: [&[u8]; 3] = [b"{\"order\": 1}", "UNA:+.? 'ä".as_bytes(), b"\xff\x00\x80"];
    let mut deliveries = Vec::new();
    for (number, document) in documents.into_iter().enumerate() {
        let part =
            Part::new("order", "application/octet-stream", Content::Bytes(document.to_vec()));
        let message = Message::new("ACME", "MY-OWN-ORG").attach(part).build();
        assert_eq!(gateway.inbound().send(&Post::message("/as2", &message)).unwrap().status, 200);
        let delivered = sink.wait_for(4, SOON).unwrap();
        sink.forget();
        for mode in modes.iter().filter(|mode| **mode == "raw" || number == 0) {
            let target = format!("/{mode}");
            let request = delivered.iter().find(|request| request.target() == target).unwrap();
            deliveries.push(json!({
                "secret": if *mode == "plain" { PLAIN } else { &secret },
                "headers": fields(request).into_iter().collect::<std::collections::BTreeMap<_, _>>(),
                "body": BASE64_STANDARD.encode(&request.body.bytes),
            }));
        }
    }
    // The plain one last.
    let plain = deliveries.remove(3);
    deliveries.push(plain);
    deliveries
}

#[test]
#[ignore = "needs the libraries: tests/signatures/run"]
fn libraries_verify_what_the_table_says() {
    let installed =
        std::env::var("AS2HOOK_SIGNATURES").expect("tests/signatures/run installs them");
    let installed = Path::new(&installed);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("deliveries.json");
    fs::write(&file, Value::from(deliveries()).to_string()).unwrap();
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/signatures");
    let mut rows = String::new();
    for (interpreter, script) in
        [(installed.join("venv/bin/python"), "libraries.py"), ("node".into(), "libraries.js")]
    {
        let ran = Command::new(interpreter)
            .arg(scripts.join(script))
            .arg(&file)
            .env("NODE_PATH", installed.join("node/node_modules"))
            .output()
            .unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        rows.push_str(&String::from_utf8(ran.stdout).unwrap());
    }
    let page = page();
    let (_, table) = page.split_once("\n| library |").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let table: String = table.lines().skip(2).map(|row| format!("{row}\n")).collect();
    assert_eq!(table, rows, "the table of docs/verify.md, and what the libraries did");
}
