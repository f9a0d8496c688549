//! What pages of other origins can do to a browser that has signed in.

use as2hook_testing::{Response, sink};

use super::{
    super::{ALL, any_receiver, gateway, list},
    Window,
};

#[test]
#[ignore = "needs Chromium: tests/browser/run"]
fn name_that_another_site_lets_point_here_is_refused() {
    let gateway = gateway(any_receiver(), "").start().unwrap();
    let window = Window::new(&gateway);
    let port = gateway.admin().address().port();
    window.chromium.open(&format!("http://evil.example:{port}/console/signin"));
    window.reads("This console is not reached by this name");
    assert_eq!(
        window.chromium.script("return document.querySelector('#token')"),
        serde_json::Value::Null
    );
}

/// A page of another port is of the same site: the browser sends the session's cookie with what it asks for.
#[test]
#[ignore = "needs Chromium: tests/browser/run"]
fn page_of_another_origin_neither_acts_nor_reads() {
    let gateway = gateway(any_receiver(), "").start().unwrap();
    let console = gateway.admin().url("/console/");
    let page = format!(
        "<!doctype html><form method=post action={console}config/reload><button>Win</button></form>\
         <iframe src={console}></iframe>"
    );
    let html = Response::ok().header("Content-Type", "text/html").body(page);
    let elsewhere = sink().respond(html).start();
    let window = Window::of(&gateway, ALL);
    window.chromium.open(&elsewhere.url("/"));
    let read = window.chromium.evaluate(&format!(
        "fetch('{console}', {{ mode: 'no-cors', credentials: 'include' }}).then(() => 'read', () => 'refused')"
    ));
    assert_eq!(read, "refused");
    window.chromium.enter_frame(Some(0));
    assert_eq!(window.chromium.script("return location.protocol"), "chrome-error:");
    window.chromium.enter_frame(None);
    window.press("Win");
    window.reads("This form comes from another site");
    let actions = list(&gateway, "/admin/audit");
    assert!(actions.iter().all(|action| action["action"] != "reload"), "{actions:?}");
    window.open("/console/");
    window.reads(&format!("Signed in with token {ALL}"));
}
