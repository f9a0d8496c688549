//! The console in Debian's Chromium: what scripts, styles and policies make of its pages. `tests/browser/run` installs
//! it, and runs these tests.

mod accessibility;
mod actions;
mod driver;
mod hostile;
mod live;
mod origins;
mod policy;
mod screenshots;
mod signin;
mod stage;

use as2hook_testing::Running;
use driver::Chromium;

/// A window on the console of a gateway.
struct Window {
    chromium: Chromium,
    base: String,
}

// === impl Window ===

impl Window {
    fn new(gateway: &Running) -> Self {
        Self { chromium: Chromium::start(), base: gateway.admin().url("") }
    }

    /// One that has signed in.
    fn of(gateway: &Running, token: &str) -> Self {
        let window = Self::new(gateway);
        window.open("/console/");
        window.sign_in(token);
        window.chromium.wait_for("location.pathname == '/console/'");
        // A table that is pointed at stands still.
        let away = serde_json::json!({ "type": "mouseMoved", "x": 1, "y": 1 });
        window.chromium.devtools("Input.dispatchMouseEvent", &away);
        window
    }

    fn open(&self, path: &str) {
        self.chromium.open(&format!("{}{path}", self.base));
    }

    fn sign_in(&self, token: &str) {
        self.chromium.type_into("document.querySelector('#token')", token);
        self.press("Sign in");
    }

    /// Clicks on the button or link with this text.
    fn press(&self, text: &str) {
        self.chromium.click(&format!(
            "[...document.querySelectorAll('button, a, summary')].find((it) => it.checkVisibility() && \
             it.innerText.replace(/\\s+/g, ' ').trim() == {text:?})"
        ));
    }

    /// Waits until a person can read this text.
    fn reads(&self, text: &str) {
        self.chromium.wait_for(&format!("document.body.innerText.includes({text:?})"));
    }

    /// Returns what a person can read.
    fn text(&self) -> String {
        self.chromium.script("return document.body.innerText").as_str().unwrap().to_owned()
    }

    /// Returns what is wider than the window, if the page is.
    fn overflow(&self) -> serde_json::Value {
        self.chromium.script(
            "const width = document.documentElement.clientWidth;
             if (document.documentElement.scrollWidth <= width) return null;
             return [...document.querySelectorAll('main *, .side *')]
                 .filter((it) => it.getBoundingClientRect().right > width && !it.closest('.scroll, pre, .code'))
                 .slice(0, 8).map((it) => it.cloneNode().outerHTML.slice(0, 200))",
        )
    }

    /// Fails when a page since the last call broke its policy, had an error in its script, or opened a dialog.
    fn assert_clean(&self, what: &str) {
        let seen = self.chromium.script("return window.__seen");
        assert_eq!(seen, serde_json::json!([]), "{what}");
        let log = self.chromium.take_log();
        // A page with another status than 200 is a line of the log, too.
        let faults: Vec<_> = log
            .iter()
            .filter(|line| line["level"] == "SEVERE" && line["source"] != "network")
            .collect();
        assert!(faults.is_empty(), "{what}: {faults:?}");
    }
}
