//! Pages that change by themselves.

use as2hook_testing::{Response, gateway::wait_until, sink};

use super::{
    super::{ALL, SOON, any_receiver, attempted, gateway, send_from},
    Window,
};

#[test]
#[ignore = "needs Chromium: tests/browser/run"]
fn new_exchange_appears_by_itself() {
    let hook = sink().start();
    let gateway =
        gateway(any_receiver(), "").rule("erp", |rule| rule.to(&hook, "/")).start().unwrap();
    let window = Window::of(&gateway, ALL);
    window.reads("The gateway runs. Nothing has passed yet.");
    // With the first message the first steps are over.
    send_from(&gateway, "ACME");
    window.reads("Exchanges, as they come");
    window.reads("Live");
    window.chromium.script("window.isTheSamePage = true");
    send_from(&gateway, "STRANGER");
    window.chromium.wait_for(
        "[...document.querySelectorAll('table[data-live=exchanges] tbody tr')].length == 2 && \
         document.querySelector('tbody tr').innerText.includes('STRANGER')",
    );
    // What became of it is brought up to date in its row.
    window.chromium.wait_for("document.querySelector('tbody tr').innerText.includes('1 of 1')");
    assert_eq!(window.chromium.script("return window.isTheSamePage"), true);
    window.assert_clean("the live overview");
}

#[test]
#[ignore = "needs Chromium: tests/browser/run"]
fn heading_and_webhook_follow_what_happens() {
    let hook = sink().start();
    let gateway = gateway(any_receiver(), "")
        .rule("erp", |rule| rule.to(&hook, "/").set("retry", "[1h]"))
        .start()
        .unwrap();
    send_from(&gateway, "ACME");
    attempted(&gateway, "delivered", 1);
    let window = Window::of(&gateway, ALL);
    window.reads("All is well");
    window.reads("Live");
    hook.script(|_| Response::status(503));
    send_from(&gateway, "ACME");
    window.reads("1 thing needs attention");
    window.reads("Show what has changed");
    window.chromium.wait_for(
        "document.querySelector('[data-webhook=erp]').innerText.startsWith('Failing since')",
    );
    window.press("Show what has changed");
    window.reads("erp returns 503");
    window.assert_clean("a webhook that begins to fail");
}

#[test]
#[ignore = "needs Chromium: tests/browser/run"]
fn page_of_a_gateway_that_terminated_says_so_and_goes_on_with_the_next() {
    let hook = sink().start();
    let mut gateway =
        gateway(any_receiver(), "").rule("erp", |rule| rule.to(&hook, "/")).start().unwrap();
    send_from(&gateway, "ACME");
    attempted(&gateway, "delivered", 1);
    let window = Window::of(&gateway, ALL);
    window.reads("Live");
    gateway.kill9();
    window.reads("Reconnecting");
    gateway.start().unwrap();
    window.reads("Live");
    assert!(wait_until(SOON, || gateway.readiness().is_some()));
    send_from(&gateway, "STRANGER");
    window.reads("STRANGER");
}
