//! The overview: its conclusion, what needs a person, and what a token without the scope sees.

use as2hook_testing::{Response, faults, gateway::wait_until, sink};

use super::{ALL, Browser, READ, SOON, any_receiver, gateway, send_from};

#[test]
fn gateway_that_nothing_has_passed_says_what_to_do_first() {
    let gateway = gateway(any_receiver(), "").start().unwrap();
    let page = Browser::of(&gateway, ALL).get("/console/").text().into_owned();
    assert!(page.contains("<h1>The gateway runs. Nothing has passed yet.</h1>"), "{page}");
    assert!(page.contains("Add a webhook") && page.contains("as2hook listen --port 9000"));
}

#[test]
fn overview_is_calm_when_all_is_delivered() {
    let hook = sink().start();
    let gateway =
        gateway(any_receiver(), "").rule("erp", |rule| rule.to(&hook, "/")).start().unwrap();
    send_from(&gateway, "ACME");
    hook.wait_for(1, SOON).unwrap();
    let mut browser = Browser::of(&gateway, READ);
    let is_calm = || {
        let page = browser.get("/console/").text().into_owned();
        page.contains(">All is well") && page.contains("1 of 1") && page.contains("order.edi")
    };
    assert!(wait_until(SOON, is_calm));
}

#[test]
fn webhook_that_fails_heads_the_list_of_what_needs_attention() {
    let hook = sink().respond(Response::status(503)).start();
    let gateway = gateway(any_receiver(), "")
        .rule("erp", |rule| rule.to(&hook, "/").set("retry", "[1h]"))
        .start()
        .unwrap();
    send_from(&gateway, "ACME");
    hook.wait_for(1, SOON).unwrap();
    let mut browser = Browser::of(&gateway, ALL);
    let mut page = String::new();
    assert!(wait_until(SOON, || {
        page = browser.get("/console/").text().into_owned();
        page.contains(">1 thing needs attention</h1>")
    }));
    assert!(page.contains("erp returns 503") && page.contains("Retry 1 delivery now"), "{page}");
    assert!(page.contains("action=\"/console/deliveries/retry\""));
    let page = Browser::of(&gateway, READ).get("/console/").text().into_owned();
    assert!(page.contains("Retrying needs scope <b>admin</b>."), "{page}");
    assert!(!page.contains("action=\"/console/deliveries/retry\""));
}

#[test]
fn dead_deliveries_and_a_refused_change_are_named() {
    let hook = sink().respond(Response::status(400)).start();
    let gateway = gateway(any_receiver(), "")
        .rule("erp", |rule| rule.to(&hook, "/").set("retry", "[]"))
        .start()
        .unwrap();
    send_from(&gateway, "ACME");
    gateway.write("webhooks.yaml", "webhooks: [ { name: 1 } ]").unwrap();
    let mut browser = Browser::of(&gateway, ALL);
    assert!(wait_until(SOON, || {
        let page = browser.get("/console/").text().into_owned();
        page.contains("1 delivery of erp is dead")
            && page.contains("The last configuration change was refused")
    }));
}

#[test]
fn overview_and_configuration_are_there_while_the_store_fails() {
    let hook = sink().start();
    let gateway =
        gateway(any_receiver(), "").rule("erp", |rule| rule.to(&hook, "/")).start().unwrap();
    send_from(&gateway, "ACME");
    hook.wait_for(1, SOON).unwrap();
    let mut browser = Browser::of(&gateway, READ);
    faults::damage(&gateway.folder().join("data/as2hook.db")).unwrap();
    assert!(wait_until(SOON, || {
        let page = browser.page("/console/");
        page.contains("Events cannot be stored") && page.contains("The store does not respond")
    }));
    let page = browser.page("/console/config");
    assert!(page.contains("The store does not respond"), "{page}");
    assert!(page.contains("as2hook.yaml as in force"), "{page}");
    assert_eq!(browser.get("/console/exchanges").status, 503);
}
