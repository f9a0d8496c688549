//! The Content-Security-Policy, as the browser applies it.

use serde_json::json;

use super::{
    super::{ALL, any_receiver, gateway},
    Window,
    stage::{PAGES, Stage},
};

#[test]
#[ignore = "needs Chromium: tests/browser/run"]
fn no_page_breaks_its_policy_or_has_an_error_in_its_script() {
    let stage = Stage::set();
    let window = Window::new(&stage.gateway);
    window.open("/console/signin");
    window.assert_clean("the sign-in");
    window.sign_in(ALL);
    window.reads("Signed in with token");
    for page in PAGES.into_iter().chain(stage.objects.iter().map(String::as_str)) {
        window.open(page);
        window.assert_clean(page);
        let policy = window.chromium.evaluate(
            "fetch(location.href).then((reply) => reply.headers.get('content-security-policy'))",
        );
        let policy = policy.as_str().unwrap();
        assert!(
            policy.contains("default-src 'none'") && !policy.contains("unsafe"),
            "{page}: {policy}"
        );
        window.assert_clean(page);
    }
}

/// Shows that the tests would see it.
#[test]
#[ignore = "needs Chromium: tests/browser/run"]
fn inline_code_that_reached_a_page_would_not_run() {
    let gateway = gateway(any_receiver(), "").start().unwrap();
    let window = Window::of(&gateway, ALL);
    window.chromium.script(
        "document.querySelector('main').insertAdjacentHTML('beforeend',
             '<img src=x onerror=\"window.__xss=1\"><p style=\"color:red\">')
         const script = document.createElement('script');
         script.textContent = 'window.__xss=1';
         document.body.append(script);",
    );
    let blocked = "policy: script-src-attr inline,policy: style-src-attr inline,policy: script-src-elem inline";
    for one in blocked.split(',') {
        window.chromium.wait_for(&format!("window.__seen.includes({})", json!(one)));
    }
    assert_eq!(window.chromium.script("return typeof window.__xss"), "undefined");
    let log = window.chromium.take_log();
    assert!(
        log.iter().any(|line| line["source"] == "security" && line["level"] == "SEVERE"),
        "{log:?}"
    );
}
