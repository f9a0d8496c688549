//! The handling of a process, tried on one that is no gateway: a shell script for the binary, and an
//! endpoint for its admin listener.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::endpoint::sink;
use crate::response::Response;

const SOON: Duration = Duration::from_secs(60);

fn script(folder: &Path, text: &str) -> PathBuf {
    let file = folder.join("stand-in");
    fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    file
}

#[test]
fn is_there_when_ready_and_survives_its_own_death() {
    let folder = tempfile::tempdir().unwrap();
    let admin = sink().start();
    admin.next([Response::status(503)]);
    let mut gateway = Gateway::new()
        .binary(script(folder.path(), "echo up \"$@\"; exec sleep 600"))
        .admin_at(admin.address())
        .start()
        .unwrap();
    assert_eq!(admin.requests().len(), 2);
    assert!(gateway.wait_for_log("up run -c", SOON));
    assert!(gateway.rss_kib().unwrap() > 0);
    let first = gateway.pid();
    gateway.restart().unwrap();
    assert_ne!(gateway.pid(), first);
    let ended = gateway.sigterm(SOON).unwrap();
    assert!(ended.is_some_and(|status| !status.success()));
    assert_eq!(gateway.pid(), None);
}

#[test]
fn an_early_end_tells_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let binary = script(folder.path(), "echo 'conf is wrong' >&2; exit 1");
    let error = Gateway::new().binary(binary).start().unwrap_err();
    assert!(matches!(&error, StartError::Ended { log, .. } if log.contains("conf is wrong")));
}

#[test]
fn the_config_says_what_was_asked_for() {
    let gateway = Gateway::new()
        .receiver_url("http://127.0.0.1:1/as2")
        .receiver_set("keepalive", "on")
        .outbound()
        .set("drain", "1s")
        .station("MY \"ORG\"", pki::station())
        .station("MY \"ORG\"", pki::old_station())
        .partner("ACME", pki::partner())
        .rule("a", |rule| rule.url("http://127.0.0.1:2/").events(&["*"]).always());
    let yaml = gateway.config.gateway_yaml();
    for expected in [
        "receiver:\n  url: \"http://127.0.0.1:1/as2\"\n  keepalive: on\n",
        "  - as2_id: \"MY \\\"ORG\\\"\"\n    keys:\n      - { certificate: \"keys/my-own-org.crt\"",
        "      - { certificate: \"keys/my-own-org-old.crt\"",
        "  - id: 123\n    as2_id: \"ACME\"\n    certificates: [\"keys/acme.crt\"]\n",
        "\ndrain: 1s\n",
    ] {
        assert!(yaml.contains(expected), "{expected} in:\n{yaml}");
    }
    assert_eq!(yaml.matches("drain:").count(), 1);
    let rules = config::rules_yaml(&gateway.config.rules);
    assert_eq!(
        rules,
        "webhooks:\n  - name: \"a\"\n    url: \"http://127.0.0.1:2/\"\n    events: [\"*\"]\n    route: always\n"
    );
}
