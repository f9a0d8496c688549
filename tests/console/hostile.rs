//! What a partner controls is text on every page, whatever it says.

use as2hook_testing::{Digest, Mdn, Message, Part, Post, Receipt, Response, receiver, sink};

use super::{ALL, Browser, attempted, gateway, list};

const EVIL: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>";

#[test]
fn text_of_a_partner_is_escaped_wherever_it_is_shown() {
    let mdn = Mdn::new(
        "automatic-action/MDN-sent-automatically; processed/error: <script>alert(1)</script>",
        EVIL,
    );
    let server = receiver().respond(Response::mdn(mdn)).start();
    let hook = sink().respond(Response::status(503).body("<script>alert(1)</script>")).start();
    let gateway = gateway(&server, "")
        .rule("all", |rule| rule.to(&hook, "/").events(&["*"]).set("retry", "[1h]"))
        .start()
        .unwrap();
    let message = Message::new(EVIL, "MY-OWN-ORG")
        .id(&format!("<{EVIL}@acme>"))
        .subject(EVIL)
        .header("X-Evil", EVIL)
        .attach(Part::text(EVIL, EVIL, "UNA"))
        .receipt(Receipt::SignedSync(Digest::Sha256))
        .build();
    gateway.inbound().send(&Post::message("/as2", &message)).unwrap();
    attempted(&gateway, "pending", 2);
    let mut browser = Browser::of(&gateway, ALL);
    let mut paths: Vec<_> = list(&gateway, "/admin/events")
        .iter()
        .map(|event| format!("/console/exchanges/{}", event["id"].as_str().unwrap()))
        .collect();
    let encoded: String = EVIL.bytes().map(|byte| format!("%{byte:02X}")).collect();
    paths.extend(
        [
            "/console/exchanges",
            "/console/deliveries",
            "/console/webhooks",
            "/console/webhooks/all",
            "/console/config",
            "/console/",
        ]
        .map(str::to_owned),
    );
    for query in [
        "exchanges?q=",
        "exchanges?partner=",
        "deliveries?q=",
        "deliveries?webhook=",
        "webhooks?te=message.received&tp=",
        "webhooks?after=",
        "partners?q=",
        "exchanges?event=",
        "exchanges?from=",
    ] {
        paths.push(format!("/console/{query}{encoded}"));
    }
    paths.push(format!("/console/partners/{encoded}"));
    let mut shown = 0;
    for path in &paths {
        let reply = browser.get(path);
        let page = reply.text();
        assert!(matches!(reply.status, 200 | 404), "{path}: {}", reply.status);
        assert!(!page.contains("<script>alert") && !page.contains("<img"), "{path}: {page}");
        // Within an attribute it does not end the value.
        assert!(!page.contains("\"'><"), "{path}: {page}");
        shown += usize::from(page.contains("&lt;script&gt;alert(1)"));
    }
    assert!(shown > 8, "it is shown as text: {shown} of {}", paths.len());
    // Names with a slash, a question mark or a hash stay within their links.
    let page = browser.page("/console/exchanges");
    assert!(!page.contains("href=\"javascript"), "{page}");
}
