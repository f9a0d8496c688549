//! The overview: its conclusion, what needs a person, and what a token without the scope sees.

use as2hook_testing::{Message, Part, Post, Response, faults, gateway::wait_until, receiver, sink};

use super::{ALL, Browser, OTHER, READ, SOON, any_receiver, gateway, list, send_from};

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

#[test]
fn as2_server_that_cannot_be_reached_heads_the_overview_of_every_site() {
    let server = receiver().start();
    let gateway = gateway(&server, "").start().unwrap();
    let page = Browser::of(&gateway, OTHER).page("/console/");
    assert!(page.contains("Nothing has passed yet.") && page.contains("1 of 4 done"), "{page}");
    server.stop();
    let message = Message::new("ACME", "MY-OWN-ORG")
        .attach(Part::text("order.edi", "application/edifact", "UNA"))
        .build();
    assert_eq!(gateway.inbound().send(&Post::message("/as2", &message)).unwrap().status, 502);
    // Nothing of it was kept, and the trouble is shown all the same.
    for (token, text) in [(ALL, "cannot be reached since"), (OTHER, "Partners are refused until")] {
        let page = Browser::of(&gateway, token).page("/console/");
        assert!(page.contains(">1 thing needs attention</h1>") && page.contains(text), "{page}");
    }
}

#[test]
fn failed_test_of_a_webhook_is_no_traffic_and_needs_no_person() {
    let hook = sink().respond(Response::status(500)).start();
    let gateway =
        gateway(any_receiver(), "").rule("erp", |rule| rule.to(&hook, "/")).start().unwrap();
    let mut browser = Browser::of(&gateway, ALL);
    let page = browser.follow("/console/webhooks/erp/test", &[]);
    assert!(page.contains("did not take the test"), "{page}");
    assert!(browser.page("/console/").contains("Nothing has passed yet."));
    let event = list(&gateway, "/admin/events").remove(0);
    assert!(browser.page("/console/exchanges").contains(">Test</span>"));
    let page = browser.page(&format!("/console/exchanges/{}", event["id"].as_str().unwrap()));
    assert!(page.contains("The endpoint did not take it.") && page.contains("A test."), "{page}");
    assert_eq!(list(&gateway, "/admin/deliveries?status=dead").len(), 0);
}
