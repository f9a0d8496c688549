//! Partners and certificates of the config.

use as2hook_testing::sink;

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
