//! What a reload compares.

use super::*;

/// What `new` changes of `old` that cannot change, as `line:column: path`.
fn differences(old: &str, new: &str) -> Vec<String> {
    let (old, _files) = right(old, NO_RULES);
    let (new, files) = right(new, NO_RULES);
    // Two folders here, where a reload has one.
    let differences = old.config.fixed_differences(&new.config);
    assert!(differences.iter().all(|d| d.file == files.folder.path().join("as2hook.yaml")));
    differences.iter().map(|d| format!("{}:{}: {}", d.line, d.column, d.path)).collect()
}

const BASE: &str = "store: \"sqlite:/var/a.db\"\npayloads: /var/p\nsecret_key_file: /var/k\n";

#[test]
fn what_can_reload_is_no_difference() {
    let new = format!(
        "{BASE}site: other\nstations: [{{ as2_id: A }}]\nlimits: {{ in_flight: 1 }}\ndrain: 1s\n\
         receiver: {{ url: \"http://192.0.2.1\" }}\nlisten: {{ inbound: {{ address: \"0.0.0.0:8080\" }} }}"
    );
    assert!(differences(BASE, &new).is_empty());
}

#[test]
fn fixed_setting_that_changes_is_reported_at_its_place() {
    assert_eq!(
        differences(
            BASE,
            "store: \"postgres://u:secret@h/d\"\npayloads: \"s3://b\"\nsecret_key_file: /etc/k\n\
             listen:\n  inbound: { address: \"0.0.0.0:8088\" }\n  \
             outbound: { address: \"127.0.0.1:8085\" }\n  \
             admin: { tls: { certificate: keys/rsa.crt, private_key: keys/rsa.key } }"
        ),
        [
            "5:12: listen.inbound",
            "6:13: listen.outbound",
            "7:10: listen.admin",
            "1:8: store",
            "2:11: payloads",
            "3:18: secret_key_file",
        ]
    );
}

#[test]
fn fixed_setting_that_is_removed_is_reported_at_its_parent() {
    let with = format!("{BASE}listen: {{ outbound: {{ address: \"127.0.0.1:8085\" }} }}");
    assert_eq!(differences(&with, BASE), ["1:1: listen.outbound"]);
    let empty = format!("{BASE}listen: {{}}");
    assert_eq!(differences(&with, &empty), ["4:9: listen.outbound"]);
}

#[test]
fn a_changed_certificate_is_no_difference() {
    let with = |name: &str| {
        format!(
            "{BASE}listen: {{ inbound: {{ tls: {{ certificate: keys/{name}.crt, private_key: \
             keys/{name}.key }} }} }}"
        )
    };
    assert!(differences(&with("rsa"), &with("ec")).is_empty());
}

#[test]
fn the_hash_is_over_everything_that_was_read() {
    let files = Files::new(&[
        ("as2hook.yaml", &format!("{RECEIVER}webhooks: rules")),
        ("rules/a.yaml", "webhooks: [{ name: a, url: \"http://a/\", secret_file: ../s }]"),
        ("s", "one"),
    ]);
    let root = files.folder.path();
    let first = files.attempt();
    assert_eq!(first.sources.hash, files.attempt().sources.hash);
    assert_eq!(first.sources.hash, first.sources.current_hash());
    let watched: Vec<_> = first.sources.paths.iter().collect();
    assert_eq!(
        watched,
        [
            &root.join("as2hook.yaml"),
            &root.join("rules"),
            &root.join("rules/../s"),
            &root.join("rules/a.yaml"),
        ]
    );
    let loaded = first.outcome.unwrap();
    assert_eq!(loaded.hash, first.sources.hash);

    fs::write(root.join("s"), "two").unwrap();
    let second = first.sources.current_hash();
    assert_ne!(second, loaded.hash);
    fs::write(root.join("rules/b.yaml"), NO_RULES).unwrap();
    let third = first.sources.current_hash();
    assert_ne!(third, second);
    fs::remove_file(root.join("s")).unwrap();
    assert_ne!(first.sources.current_hash(), third);
}

#[test]
fn a_broken_load_tells_what_to_watch() {
    let files = Files::new(&[("as2hook.yaml", &format!("{RECEIVER}webhooks: none.yaml"))]);
    let attempt = files.attempt();
    assert!(attempt.outcome.is_err());
    assert!(attempt.sources.paths.contains(&files.folder.path().join("none.yaml")));
    let before = attempt.sources.current_hash();
    assert_eq!(before, attempt.sources.hash);
    fs::write(files.folder.path().join("none.yaml"), NO_RULES).unwrap();
    assert_ne!(attempt.sources.current_hash(), before);
}

#[test]
fn a_load_goes_to_other_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Loaded>();
    shared::<LoadAttempt>();
}
