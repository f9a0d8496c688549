//! Signing in and out, and what tokens see.

use as2hook_testing::{Response, sink};

use super::{
    super::{ALL, OTHER, READ, any_receiver, attempted, gateway, send_from},
    Window, stage,
};

#[test]
#[ignore = "needs Chromium: tests/browser/run"]
fn sign_in_leads_on_and_a_refusal_says_why() {
    let gateway = gateway(any_receiver(), "").start().unwrap();
    let window = Window::new(&gateway);
    window.open("/console/deliveries?status=dead");
    window.reads("Sign in to the console");
    window.sign_in("guess");
    window.reads("This token is not known here.");
    // The field says so to a screen reader as well.
    window.chromium.wait_for(
        "document.getElementById(document.querySelector('#token[aria-invalid=true]')\
         .getAttribute('aria-describedby')).innerText.includes('not known')",
    );
    window.sign_in(ALL);
    window.chromium.wait_for("location.href.endsWith('/console/deliveries?status=dead')");
    window.reads(&format!("Signed in with token {ALL}"));
    window.reads("Times are in Europe/Berlin (UTC+0");
    assert_eq!(window.chromium.script("return document.cookie"), "", "scripts see no session");
    window.press("Sign out");
    window.reads("Sign in to the console");
    window.open("/console/exchanges");
    window.reads("Sign in to the console");
    window.assert_clean("signing in and out");
}

#[test]
#[ignore = "needs Chromium: tests/browser/run"]
fn read_only_token_sees_no_button_that_acts() {
    let hook = sink().respond(Response::status(503)).start();
    let gateway = gateway(any_receiver(), "")
        .rule("orders", |rule| rule.to(&hook, "/").set("retry", "[1h]"))
        .start()
        .unwrap();
    send_from(&gateway, "ACME");
    let delivery = attempted(&gateway, "pending", 1).remove(0);
    let event = format!("/console/exchanges/{}", delivery["event"]["id"].as_str().unwrap());
    let window = Window::of(&gateway, READ);
    let searches = ["Search", "Which\u{a0}rule\u{a0}fires?"];
    let own = ["Menu", "Sign out", "light", "dark", "as the system"];
    let pages = stage::PAGES.into_iter().chain([
        event.as_str(),
        "/console/deliveries?webhook=orders",
        "/console/webhooks/orders",
        "/console/partners/ACME",
    ]);
    for page in pages {
        window.open(page);
        let buttons = window.chromium.script(
            "for (const all of document.querySelectorAll('details')) all.open = true;
             return [...document.querySelectorAll('button, input[type=submit], [role=button]')]
                 .map((it) => it.textContent)",
        );
        let buttons = buttons.as_array().unwrap().iter().map(|text| text.as_str().unwrap());
        let acting: Vec<_> =
            buttons.filter(|text| !searches.contains(text) && !own.contains(text)).collect();
        assert!(acting.is_empty(), "{page}: {acting:?}");
    }
    window.open(&event);
    window.reads("needs scope admin");
}

#[test]
#[ignore = "needs Chromium: tests/browser/run"]
fn token_of_another_site_sees_nothing() {
    let hook = sink().start();
    let gateway = gateway(any_receiver(), "")
        .rule("orders-of-main", |rule| rule.to(&hook, "/").set("site", "main"))
        .start()
        .unwrap();
    send_from(&gateway, "ACME");
    let delivery = attempted(&gateway, "delivered", 1).remove(0);
    let event = format!("/console/exchanges/{}", delivery["event"]["id"].as_str().unwrap());
    let window = Window::of(&gateway, OTHER);
    for page in stage::PAGES.into_iter().filter(|page| !page.contains("ACME")) {
        window.open(page);
        let source = window.chromium.script("return document.documentElement.outerHTML");
        for theirs in ["ACME", "orders-of-main", "order.edi", "MY-OWN-ORG"] {
            assert!(!source.as_str().unwrap().contains(theirs), "{theirs} in {page}");
        }
    }
    for page in [&event, "/console/webhooks/orders-of-main", "/console/partners/ACME"] {
        window.open(page);
        window.reads("There is no such page");
    }
    window.assert_clean("pages of another site");
}
