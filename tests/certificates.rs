//! Certificates of the config are reported before they end, once each (section 4 of the design).

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use std::{collections::BTreeSet, fs, time::Duration};

use as2hook_testing::{Gateway, Request, pki, receiver, sink, wait_until};
use openssl::{asn1::Asn1Time, hash::MessageDigest, x509::X509};

const SOON: Duration = Duration::from_secs(60);

/// A certificate for the partner's key that ends in this many days and an hour.
fn ending_in(days: i64, pem: &std::path::Path) {
    let identity = pki::partner();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(identity.certificate.serial_number()).unwrap();
    builder.set_subject_name(identity.certificate.subject_name()).unwrap();
    builder.set_issuer_name(identity.certificate.subject_name()).unwrap();
    builder.set_pubkey(&identity.key).unwrap();
    let now = jiff::Timestamp::now().as_second();
    builder.set_not_before(&Asn1Time::from_unix(now - 100 * 86_400).unwrap()).unwrap();
    let end = Asn1Time::from_unix(now + days * 86_400 + 3600).unwrap();
    builder.set_not_after(&end).unwrap();
    builder.sign(&identity.key, MessageDigest::sha256()).unwrap();
    fs::write(pem, builder.build().to_pem().unwrap()).unwrap();
}

#[test]
fn expiring_certificate_is_reported_once() {
    let receiver = receiver().start();
    let sink = sink().start();
    let mut gateway = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(&receiver)
        .station("MY-OWN-ORG", pki::station())
        .partner("ACME", pki::partner())
        .rule("all", |rule| {
            rule.to(&sink, "/hook").payload("json").events(&["certificate.expiring"])
        })
        .prepare()
        .unwrap();
    let file = gateway.folder().join("keys/acme.crt");
    ending_in(40, &file);
    gateway.start().unwrap();
    // Each change of the file is a reload, and each reload looks at all of them.
    let ids = || -> BTreeSet<String> {
        let id = |request: &std::sync::Arc<Request>| request.header("webhook-id").unwrap().into();
        sink.requests().iter().map(id).collect()
    };
    for (nth, (days, left, expired)) in
        [(20, 20, false), (5, 5, false), (0, 0, false), (-2, 0, true)].into_iter().enumerate()
    {
        ending_in(days, &file);
        assert!(wait_until(SOON, || ids().len() > nth), "{days} days are not reported");
        let delivered = sink.requests().last().unwrap().clone();
        assert_eq!(delivered.header("X-AS2-Event"), Some("certificate.expiring"));
        let delivered = delivered.json();
        assert_eq!(delivered["daysLeft"], left, "{delivered}");
        assert_eq!(delivered["expired"], expired);
        assert_eq!(delivered["partner"], "ACME");
        assert_eq!(delivered["usage"], "partner");
        assert_eq!(delivered["serial"], pki::partner().serial());
    }
    // Not again after a restart; a new one is reported behind it.
    gateway.kill9();
    gateway.restart().unwrap();
    ending_in(6, &file);
    assert!(wait_until(SOON, || ids().len() > 4));
    assert_eq!(ids().len(), 5);
}
