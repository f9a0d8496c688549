//! Partners and certificates of the config.

use as2hook_testing::{pki, sink};
use openssl::{asn1::Asn1Time, hash::MessageDigest, x509::X509};

use super::{ALL, Browser, OTHER, any_receiver, attempted, gateway, send_from};

#[test]
fn partner_shows_its_certificates_and_what_passed_last() {
    let hook = sink().start();
    let gateway =
        gateway(any_receiver(), "").rule("all", |rule| rule.to(&hook, "/")).start().unwrap();
    let mut browser = Browser::of(&gateway, ALL);
    let page = browser.page("/console/partners");
    assert!(page.contains("<h1>1 partner</h1>") && page.contains("ACME"), "{page}");
    assert!(!page.contains("BETA"), "another site's");
    assert!(browser.page("/console/partners?q=acm").contains("1 partner matches"));
    assert!(browser.page("/console/partners?q=x").contains("No partner matches"));
    assert!(browser.page("/console/partners/ACME").contains("Nothing of ACME has passed yet"));
    send_from(&gateway, "ACME");
    send_from(&gateway, "STRANGER");
    attempted(&gateway, "delivered", 2);
    let page = browser.page("/console/partners/ACME");
    for text in
        ["ACME: last exchange", "order.edi", "Certificates", "/console/exchanges?partner=ACME"]
    {
        assert!(page.contains(text), "{text}: {page}");
    }
    let page = browser.page("/console/partners/STRANGER");
    assert!(page.contains("STRANGER is not configured"), "{page}");
    for unknown in ["BETA", "NONE", "acme"] {
        assert_eq!(browser.get(&format!("/console/partners/{unknown}")).status, 404, "{unknown}");
    }
    let mut other = Browser::of(&gateway, OTHER);
    assert_eq!(other.get("/console/partners/ACME").status, 404);
    assert_eq!(other.get("/console/partners/STRANGER").status, 404);
    let page = other.page("/console/partners/BETA");
    assert!(page.contains("Its signatures are not checked"), "{page}");
}

#[test]
fn certificates_are_those_of_the_site_and_can_be_downloaded() {
    let gateway = gateway(any_receiver(), "").start().unwrap();
    let mut browser = Browser::of(&gateway, ALL);
    let page = browser.page("/console/certificates");
    assert!(page.contains("key of MY-OWN-ORG") && page.contains("signs with it"), "{page}");
    let (_, rest) = page.split_once("href=\"/console/certificates/").unwrap();
    let file = rest.split_once('"').unwrap().0;
    let pem = browser.get(&format!("/console/certificates/{file}"));
    assert!(pem.text().starts_with("-----BEGIN CERTIFICATE-----"), "{}", pem.text());
    assert_eq!(browser.get("/console/certificates/none.pem").status, 404);
    let mut other = Browser::of(&gateway, OTHER);
    let page = other.page("/console/certificates");
    assert!(
        page.contains("No certificate is configured") && !page.contains("MY-OWN-ORG"),
        "{page}"
    );
    assert_eq!(other.get(&format!("/console/certificates/{file}")).status, 404);
}

#[test]
fn listener_certificate_that_ends_soon_is_counted_in_the_navigation() {
    let hook = sink().start();
    let mut gateway = gateway(any_receiver(), "")
        .inbound_tls(false)
        .rule("all", |rule| rule.to(&hook, "/"))
        .prepare()
        .unwrap();
    let server = pki::server();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(server.certificate.serial_number()).unwrap();
    builder.set_subject_name(server.certificate.subject_name()).unwrap();
    builder.set_issuer_name(server.certificate.subject_name()).unwrap();
    builder.set_pubkey(&server.key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(5).unwrap()).unwrap();
    builder.sign(&server.key, MessageDigest::sha256()).unwrap();
    let file = gateway.folder().join("keys/localhost.crt");
    std::fs::write(file, builder.build().to_pem().unwrap()).unwrap();
    gateway.start().unwrap();
    let needs_attention = "1<span class=\"vh\"> needs attention</span>";
    let page = Browser::of(&gateway, ALL).page("/console/certificates");
    assert!(page.contains("TLS of the inbound listener"), "{page}");
    assert!(page.contains(needs_attention), "{page}");
    let page = Browser::of(&gateway, OTHER).page("/console/certificates");
    assert!(!page.contains(needs_attention), "{page}");
}

#[test]
fn stations_and_host_of_the_gateway_are_shown_to_the_default_site_alone() {
    let hook = sink().start();
    let gateway = gateway(any_receiver(), "")
        .rule("tests", |rule| rule.to(&hook, "/").set("site", "other").set("partner_type", "Test"))
        .partner_with("GAMMA", |partner| partner.set("type", "Test").set("site", "main"))
        .start()
        .unwrap();
    let (mut own, mut other) = (Browser::of(&gateway, ALL), Browser::of(&gateway, OTHER));
    let page = own.page("/console/exchanges");
    assert!(page.contains("MY-OWN-ORG") && page.contains("Gateway <b>"), "{page}");
    for path in ["/console/exchanges", "/console/webhooks"] {
        let page = other.page(path);
        assert!(!page.contains("MY-OWN-ORG") && !page.contains("Gateway <b>"), "{page}");
    }
    // Nor does a question say of which type another site's partner is.
    let page = other.page("/console/webhooks?te=message.received&tp=GAMMA");
    assert!(page.contains("No webhook gets a message.received of GAMMA."), "{page}");
}
