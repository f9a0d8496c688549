//! What partners write never becomes part of a page.

use as2hook_testing::{Message, Part, Post, Response, gateway::wait_until, sink};

use super::{ALL, Browser, SOON, any_receiver, gateway};

const HOSTILE: &str = "x\"'><script>alert(1)</script><img src=x onerror=alert(2)>";

#[test]
fn text_of_a_partner_is_escaped_wherever_it_is_shown() {
    let hook = sink().respond(Response::status(500)).start();
    let gateway = gateway(any_receiver(), "")
        .rule("erp", |rule| rule.to(&hook, "/").set("retry", "[1h]"))
        .start()
        .unwrap();
    let message = Message::new(HOSTILE, "MY-OWN-ORG")
        .id(&format!("<{HOSTILE}@a>"))
        .subject(HOSTILE)
        .header("X-Hostile", HOSTILE)
        .attach(Part::text(HOSTILE, "application/edifact", HOSTILE))
        .build();
    gateway.inbound().send(&Post::message("/as2", &message)).unwrap();
    hook.wait_for(1, SOON).unwrap();
    let mut browser = Browser::of(&gateway, ALL);
    let mut exchange = String::new();
    assert!(wait_until(SOON, || {
        let page = browser.get("/console/").text().into_owned();
        let Some((_, rest)) = page.split_once("href=\"/console/exchanges/") else { return false };
        exchange = format!("/console/exchanges/{}", rest.split('"').next().unwrap());
        true
    }));
    for path in ["/console/", "/console/exchanges", "/console/deliveries", &exchange] {
        let page = browser.get(path);
        assert_eq!(page.status, 200, "{path}");
        let text = page.text().into_owned();
        assert!(!text.contains("<script>") && !text.contains("<img"), "{path}: {text}");
    }
    let none = format!("/console/exchanges/{}", "%3Cscript%3Ealert(1)%3C/script%3E");
    assert!(!browser.get(&none).text().contains("<script>"));
}
