//! What was not delivered, and what is done with all of it at once.

use as2hook_testing::{Response, Rule, sink};

use super::{ALL, Browser, OTHER, any_receiver, attempted, gateway, last_action, send_from};

fn failing(rule: Rule) -> Rule {
    rule.set("retry", "[1h, 1h, 1h]")
}

#[test]
fn deliveries_of_a_webhook_are_retried_and_cancelled_at_once() {
    let hook = sink().respond(Response::status(503)).start();
    let gateway = gateway(any_receiver(), "")
        .rule("erp-orders", |rule| failing(rule.to(&hook, "/")))
        .start()
        .unwrap();
    for _ in 0..11 {
        send_from(&gateway, "ACME");
    }
    attempted(&gateway, "pending", 11);
    let mut browser = Browser::of(&gateway, ALL);
    let page = browser.page("/console/deliveries");
    assert!(page.contains("11 deliveries wait, and go out by themselves"), "{page}");
    assert!(page.contains("What is open, by webhook") && page.contains("order.edi"), "{page}");
    let here = "/console/deliveries?webhook=erp-orders&status=pending";
    let page = browser.page(here);
    assert!(page.contains("Retry 11 deliveries of erp-orders now"), "{page}");
    // More than ten are asked about once more.
    assert!(page.contains("Cancel 11 deliveries of erp-orders?"), "{page}");
    assert!(!page.contains("Replay 11"), "{page}");
    let search = [("webhook", "erp-orders"), ("status", "pending"), ("back", here)];
    assert!(
        browser.follow("/console/deliveries/retry", &search).contains("11 deliveries are due now.")
    );
    assert_eq!(last_action(&gateway), [ALL, "retry", "11 retried"]);
    let two = |rows: usize| attempted(&gateway, "pending", rows);
    assert!(as2hook_testing::gateway::wait_until(super::SOON, || two(11)
        .iter()
        .all(|row| row["attempts"] == 2)));
    let page = browser.follow("/console/deliveries/cancel", &search);
    assert!(page.contains("11 deliveries are cancelled."), "{page}");
    assert!(browser.page("/console/deliveries").contains("All deliveries are made"));
    let page = browser.page("/console/deliveries?status=cancelled&webhook=erp-orders");
    assert!(page.contains("Replay 11 deliveries of erp-orders"), "{page}");
    hook.script(|_| Response::ok());
    let search = [("webhook", "erp-orders"), ("status", "cancelled")];
    assert!(
        browser
            .follow("/console/deliveries/replay", &search)
            .contains("11 deliveries are made again.")
    );
    attempted(&gateway, "delivered", 11);
}

#[test]
fn chosen_deliveries_are_changed_and_the_others_stay() {
    let hook = sink().respond(Response::status(503)).start();
    let gateway = gateway(any_receiver(), "")
        .rule("orders", |rule| failing(rule.to(&hook, "/")))
        .start()
        .unwrap();
    for _ in 0..3 {
        send_from(&gateway, "ACME");
    }
    let rows = attempted(&gateway, "pending", 3);
    let (first, second) = (rows[0]["id"].to_string(), rows[1]["id"].to_string());
    let mut browser = Browser::of(&gateway, ALL);
    let choice = [("change", "cancel"), ("id", first.as_str()), ("id", second.as_str())];
    let page = browser.follow("/console/deliveries/chosen", &choice);
    assert!(page.contains("2 deliveries are cancelled."), "{page}");
    attempted(&gateway, "cancelled", 2);
    attempted(&gateway, "pending", 1);
    // One that is over does not stop the others.
    let third = rows[2]["id"].to_string();
    let choice = [("change", "cancel"), ("id", first.as_str()), ("id", third.as_str())];
    let page = browser.follow("/console/deliveries/chosen", &choice);
    assert!(
        page.contains("1 delivery is cancelled. 1 was refused: The delivery is over"),
        "{page}"
    );
    let page = browser.follow("/console/deliveries/chosen", &[("change", "cancel")]);
    assert!(page.contains("No delivery was chosen."), "{page}");
}

#[test]
fn deliveries_go_to_another_webhook() {
    let (hook, other) = (sink().respond(Response::status(500)).start(), sink().start());
    let gateway = gateway(any_receiver(), "")
        .rule("orders", |rule| rule.to(&hook, "/").set("retry", "[]"))
        .rule("other", |rule| rule.to(&other, "/").set("partner", "GLOBEX"))
        .start()
        .unwrap();
    send_from(&gateway, "ACME");
    attempted(&gateway, "dead", 1);
    let mut browser = Browser::of(&gateway, ALL);
    let page = browser.page("/console/deliveries?webhook=orders&status=dead");
    assert!(page.contains("1 delivery needs attention"), "{page}");
    assert!(page.contains("<option value=\"other\">other</option>"), "{page}");
    let search = [("webhook", "orders"), ("status", "dead"), ("to", "other")];
    assert!(
        browser.follow("/console/deliveries/replay", &search).contains("1 delivery is made again.")
    );
    other.wait_for(1, super::SOON).unwrap();
}

#[test]
fn change_of_all_without_a_search_is_refused() {
    let hook = sink().respond(Response::status(503)).start();
    let gateway = gateway(any_receiver(), "")
        .rule("orders", |rule| failing(rule.to(&hook, "/")))
        .start()
        .unwrap();
    send_from(&gateway, "ACME");
    attempted(&gateway, "pending", 1);
    let mut browser = Browser::of(&gateway, ALL);
    for call in ["retry", "cancel", "replay"] {
        let page = browser.follow(&format!("/console/deliveries/{call}"), &[]);
        assert!(page.contains("note bad"), "{page}");
    }
    // Another site's token changes nothing here.
    let search = [("webhook", "orders"), ("status", "pending")];
    let page = Browser::of(&gateway, OTHER).follow("/console/deliveries/cancel", &search);
    assert!(page.contains("note bad") && page.contains("Nothing was done"), "{page}");
    // Nor does a search with a field that is not known: without it, it would select more.
    let unknown = [&search[..], &[("message-id", "1@acme")]].concat();
    let page = browser.follow("/console/deliveries/cancel", &unknown);
    assert!(page.contains("Unknown parameter: message-id"), "{page}");
    attempted(&gateway, "pending", 1);
    // A form without the session's token does nothing.
    let refused = browser.post("/console/deliveries/cancel", &search);
    assert_eq!(refused.status, 403);
    attempted(&gateway, "pending", 1);
}
