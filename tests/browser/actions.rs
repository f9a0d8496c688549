//! What a person does: finds a message, sees why a webhook does not have it, and sets it right.

use as2hook_testing::{Response, gateway::wait_until, sink};

use super::{
    super::{ALL, SOON, any_receiver, attempted, gateway, last_action, list, send_from},
    Window,
};

#[test]
#[ignore = "needs Chromium: tests/browser/run"]
fn exchange_is_found_and_its_delivery_is_retried_and_cancelled() {
    let hook = sink().respond(Response::status(503)).start();
    let gateway = gateway(any_receiver(), "")
        .rule("orders", |rule| rule.to(&hook, "/").set("retry", "[1h, 1h, 1h]"))
        .start()
        .unwrap();
    send_from(&gateway, "ACME");
    attempted(&gateway, "pending", 1);
    let window = Window::of(&gateway, ALL);
    window.press("Exchanges");
    window.chromium.type_into("document.querySelector('#q')", "order.edi");
    window.press("Search");
    window.reads("1 exchange matches");
    window.chromium.click("document.querySelector('tbody a')");
    window.reads("The message arrived safely. orders does not have it yet.");
    window.reads("Why orders does not have it");
    window.press("Retry this delivery now");
    window.reads("1 delivery is due now.");
    let retried = || {
        list(&gateway, "/admin/deliveries?status=pending").iter().any(|row| row["attempts"] == 2)
    };
    assert!(wait_until(SOON, retried));
    window.press("Cancel this delivery");
    window.reads("1 delivery is cancelled.");
    attempted(&gateway, "cancelled", 1);
    assert_eq!(last_action(&gateway), [ALL, "cancel", "1 cancelled"]);
    window.assert_clean("actions of one delivery");
}

#[test]
#[ignore = "needs Chromium: tests/browser/run"]
fn cancel_of_many_asks_once_more() {
    let hook = sink().respond(Response::status(503)).start();
    let gateway = gateway(any_receiver(), "")
        .rule("orders", |rule| rule.to(&hook, "/").set("retry", "[1h]"))
        .start()
        .unwrap();
    for _ in 0..11 {
        send_from(&gateway, "ACME");
    }
    attempted(&gateway, "pending", 11);
    let window = Window::of(&gateway, ALL);
    window.open("/console/deliveries?webhook=orders&status=pending");
    window.press("Cancel 11 deliveries of orders …");
    window.reads("Cancel 11 deliveries of orders?");
    window.press("Keep them");
    window.chromium.wait_for("!document.querySelector('[role=dialog]').checkVisibility()");
    attempted(&gateway, "pending", 11);
    window.press("Cancel 11 deliveries of orders …");
    window.press("Cancel 11 deliveries of orders");
    window.reads("11 deliveries are cancelled.");
    attempted(&gateway, "cancelled", 11);
    window.assert_clean("cancel of many");
}

#[test]
#[ignore = "needs Chromium: tests/browser/run"]
fn tester_says_which_rule_fires() {
    let hook = sink().start();
    let gateway = gateway(any_receiver(), "")
        .rule("all", |rule| rule.to(&hook, "/"))
        .rule("acme", |rule| rule.to(&hook, "/").set("partner", "ACME"))
        .start()
        .unwrap();
    let window = Window::of(&gateway, ALL);
    window.press("Webhooks");
    window.chromium.type_into("document.querySelector('#tp')", "ACME");
    window.press("Which rule fires?");
    window.reads("acme gets a message.received of ACME.");
    window.reads("Does not fire");
    assert!(hook.requests().is_empty(), "nothing is sent");
    window.press("acme");
    window.press("Send a test");
    window.reads("acme took the test with 200.");
    window.assert_clean("the tester");
}

#[test]
#[ignore = "needs Chromium: tests/browser/run"]
fn reload_with_a_mistake_shows_its_place() {
    let hook = sink().start();
    let gateway =
        gateway(any_receiver(), "").rule("orders", |rule| rule.to(&hook, "/")).start().unwrap();
    let window = Window::of(&gateway, ALL);
    window.press("Configuration");
    window.reads("Configuration 1 is in force");
    let rules = "webhooks:\n  - name: orders\n    ulr: \"http://127.0.0.1/\"\n";
    gateway.write("webhooks.yaml", rules).unwrap();
    window.press("Reload now");
    window.reads("The last change was refused. Configuration 1 stays in force.");
    window.reads("webhooks.yaml:3:5");
    window.reads("ulr");
    window.assert_clean("a refused reload");
}
