//! The rules in force: how each is, tests, webhooks that are enabled again, and which rule fires.

use as2hook_testing::{Response, sink};

use super::{ALL, Browser, OTHER, any_receiver, attempted, gateway, last_action, list, send_from};

#[test]
fn webhook_shows_its_rule_and_its_attempts_and_is_tested_by_one_click() {
    let hook = sink().start();
    let gateway = gateway(any_receiver(), "")
        .rule("orders raw", |rule| {
            rule.to(&hook, "/in?token=hush")
                .payload("raw")
                .set("partner", "ACME")
                .set("secret", "my_secret")
        })
        .rule("off", |rule| rule.to(&hook, "/off").set("enabled", "false"))
        .start()
        .unwrap();
    let mut browser = Browser::of(&gateway, ALL);
    let page = browser.page("/console/webhooks");
    for text in [
        "orders raw",
        "messages received",
        "127.0.0.1",
        "raw, signed",
        "Not called since the start",
        "Which rule fires?",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let here = "/console/webhooks/orders%20raw";
    let page = browser.follow(&format!("{here}/test"), &[]);
    assert!(page.contains("orders raw took the test with 200."), "{page}");
    assert!(
        page.contains("orders raw took its last delivery") && page.contains("Latest attempts"),
        "{page}"
    );
    assert_eq!(last_action(&gateway), [ALL, "test", "delivered"]);
    assert_eq!(hook.requests()[0].header("X-AS2-Test"), Some("1"));
    hook.next([Response::status(500)]);
    let page = browser.follow(&format!("{here}/test"), &[]);
    assert!(page.contains("note bad") && page.contains("did not take the test"), "{page}");
    let page = browser.follow("/console/webhooks/off/test", &[]);
    assert!(page.contains("The webhook is off."), "{page}");
    let page = browser.follow("/console/webhooks/off/enable", &[]);
    assert!(page.contains("note bad") && page.contains("The webhook is off."), "{page}");
    assert!(!page.contains("hush") && !page.contains("my_secret"));
    let mut other = Browser::of(&gateway, OTHER);
    assert_eq!(other.get(here).status, 404);
    assert_eq!(other.act(&format!("{here}/test"), &[]).status, 404);
    assert_eq!(other.act(&format!("{here}/enable"), &[]).status, 404);
    let page = other.page("/console/webhooks");
    assert!(
        page.contains("There is no webhook yet") && page.contains("What to do first"),
        "{page}"
    );
}

#[test]
fn disabled_webhook_is_enabled_and_what_was_held_goes_out() {
    let hook = sink().respond(Response::status(410)).start();
    let gateway =
        gateway(any_receiver(), "").rule("orders", |rule| rule.to(&hook, "/")).start().unwrap();
    send_from(&gateway, "ACME");
    attempted(&gateway, "held", 1);
    let mut browser = Browser::of(&gateway, ALL);
    assert!(browser.page("/console/webhooks").contains("1 webhook needs attention"));
    let page = browser.page("/console/webhooks/orders");
    assert!(
        page.contains("orders is disabled") && page.contains("Enable orders and send 1 held"),
        "{page}"
    );
    hook.script(|_| Response::ok());
    let page = browser.follow("/console/webhooks/orders/enable", &[]);
    assert!(page.contains("orders is enabled. 1 held delivery goes out now."), "{page}");
    attempted(&gateway, "delivered", 1);
    assert_eq!(list(&gateway, "/admin/audit")[0]["action"], "enable");
}

#[test]
fn tester_says_which_rule_fires_and_why_the_others_do_not() {
    let hook = sink().start();
    let gateway = gateway(any_receiver(), "")
        .rule("all", |rule| rule.to(&hook, "/"))
        .rule("acme", |rule| rule.to(&hook, "/").set("partner", "ACME"))
        .rule("archive", |rule| rule.to(&hook, "/").always())
        .rule("good", |rule| {
            rule.to(&hook, "/").set("partner", "GLOBEX").set("signature", "[valid]")
        })
        .start()
        .unwrap();
    let mut browser = Browser::of(&gateway, ALL);
    let page = browser.page("/console/webhooks?te=message.received&tp=ACME&ts=MY-OWN-ORG");
    assert!(page.contains("acme and archive get a message.received of ACME."), "{page}");
    assert!(
        page.contains("&quot;acme&quot; is more specific, since it names the partner."),
        "{page}"
    );
    let page = browser.page("/console/webhooks?te=message.received&tp=GLOBEX");
    assert!(
        page.contains("May fire") && page.contains("It depends on document, signature and errors"),
        "{page}"
    );
    let page = browser.page("/console/webhooks?te=message.received&tp=GLOBEX&tg=valid&tx=none");
    assert!(page.contains("good and archive get a message.received of GLOBEX."), "{page}");
    let page = browser.page("/console/webhooks?te=mdn.sent&tp=ACME");
    assert!(page.contains("No webhook gets a mdn.sent of ACME."), "{page}");
    // An event that does not exist is no question.
    assert!(!browser.page("/console/webhooks?te=evil").contains("Why each rule fires"));
}
