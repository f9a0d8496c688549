//! A client of chromedriver: as much of WebDriver (W3C) as the tests use, and Chromium's own commands beside it.

use std::{
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use as2hook_testing::{
    Client, Post,
    gateway::{free_address, wait_until},
};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};

use super::super::SOON;

/// The name of the key that holds an element's id (WebDriver, section 12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Runs before the scripts of each page, and notes what no page of the console may do.
const WITNESS: &str = r#"
    window.__seen = [];
    addEventListener("securitypolicyviolation", (e) => __seen.push(`policy: ${e.violatedDirective} ${e.blockedURI}`));
    addEventListener("error", (e) => __seen.push(`error: ${e.message ?? e.target.outerHTML}`), true);
    addEventListener("unhandledrejection", (e) => __seen.push(`rejection: ${e.reason}`));
    for (const name of ["alert", "confirm", "prompt", "print"]) window[name] = () => __seen.push(`dialog: ${name}`);
"#;

/// A Chromium with one window and a profile of its own. Both end when it is dropped.
pub(super) struct Chromium {
    driver: Child,
    wire: Client,
    session: String,
    _profile: tempfile::TempDir,
}

// === impl Chromium ===

impl Chromium {
    pub(super) fn start() -> Self {
        let (address, profile) = (free_address(), tempfile::tempdir().unwrap());
        let driver = Command::new("chromedriver")
            .arg(format!("--port={}", address.port()))
            // What the pages take for the viewer's zone.
            .env("TZ", "Europe/Berlin")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("tests/browser/run installs it");
        let wire = Client::new(address);
        let mut this = Self { driver, wire, session: String::new(), _profile: profile };
        let is_ready = || {
            this.request("GET", "/status", &json!({})).is_ok_and(|status| status["ready"] == true)
        };
        assert!(wait_until(SOON, is_ready), "chromedriver does not respond");
        let arguments = [
            "--headless",
            // For root, and for containers with a small /dev/shm.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--window-size=1280,900",
            // A name that another site lets point here.
            "--host-resolver-rules=MAP evil.example 127.0.0.1",
            &format!("--user-data-dir={}", this._profile.path().display()),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "timeouts": { "pageLoad": 60_000, "script": 60_000 },
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let session = this.request("POST", "/session", &wanted).expect("Chromium starts");
        this.session = format!("/session/{}", session["sessionId"].as_str().unwrap());
        this.devtools("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": WITNESS }));
        this
    }

    /// Loads a page, and waits until it is there.
    pub(super) fn open(&self, url: &str) {
        self.call("/url", &json!({ "url": url }));
    }

    /// Runs the body of a function in the page, and returns what it returns.
    pub(super) fn script(&self, body: &str) -> Value {
        self.call("/execute/sync", &json!({ "script": body, "args": [] }))
    }

    /// Waits until an expression holds in the page, whichever page that is then.
    pub(super) fn wait_for(&self, expression: &str) {
        let script = json!({ "script": format!("return !!({expression})"), "args": [] });
        let holds = || {
            let is = self.request("POST", &format!("{}/execute/sync", self.session), &script);
            // The machine has other work as well.
            is == Ok(Value::Bool(true)) || {
                thread::sleep(Duration::from_millis(50));
                false
            }
        };
        let page = "return location.href + '\\n' + document.body.innerText";
        assert!(wait_until(SOON, holds), "{expression}: {}", self.script(page));
    }

    /// Clicks on the first element that an expression returns, as a person does: what is hidden or covered cannot be.
    pub(super) fn click(&self, expression: &str) {
        self.on(expression, "click", &json!({}));
    }

    /// Types into an element.
    pub(super) fn type_into(&self, expression: &str, text: &str) {
        self.on(expression, "value", &json!({ "text": text }));
    }

    /// Has the scripts run in a frame from now on; without one, in the page.
    pub(super) fn enter_frame(&self, number: Option<u32>) {
        self.call("/frame", &json!({ "id": number }));
    }

    /// Takes the lines that the browser's console has got since the last call.
    pub(super) fn take_log(&self) -> Vec<Value> {
        self.call("/se/log", &json!({ "type": "browser" })).as_array().unwrap().clone()
    }

    /// Calls a command of Chromium's own protocol.
    pub(super) fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.call("/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    /// Evaluates a script, which may be a promise, past the policy of the page.
    pub(super) fn evaluate(&self, expression: &str) -> Value {
        let parameters =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let result = self.devtools("Runtime.evaluate", &parameters);
        assert!(result["exceptionDetails"].is_null(), "{}", result["exceptionDetails"]);
        result["result"]["value"].clone()
    }

    /// Gives the window this width and height, and the system these colours: `light` or `dark`.
    pub(super) fn show(&self, width: u32, height: u32, colours: &str) {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
        let feature = json!({ "name": "prefers-color-scheme", "value": colours });
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": [feature] }));
    }

    /// Presses a key, by its name and its code.
    pub(super) fn press_key(&self, name: &str, code: u32) {
        for kind in ["rawKeyDown", "char", "keyUp"] {
            let text = if name == "Enter" && kind == "char" { "\r" } else { "" };
            if kind == "char" && text.is_empty() {
                continue;
            }
            let event = json!({
                "type": kind, "key": name, "code": name, "windowsVirtualKeyCode": code, "text": text,
            });
            self.devtools("Input.dispatchKeyEvent", &event);
        }
    }

    /// Returns what the window shows, as PNG.
    pub(super) fn screenshot(&self) -> Vec<u8> {
        let image = self.request("GET", &format!("{}/screenshot", self.session), &json!({}));
        BASE64_STANDARD.decode(image.unwrap().as_str().unwrap()).unwrap()
    }

    fn on(&self, expression: &str, act: &str, with: &Value) {
        self.wait_for(expression);
        let element = self.script(&format!("return {expression}"));
        let id = element[ELEMENT].as_str().unwrap_or_else(|| panic!("{expression}: {element}"));
        self.call(&format!("/element/{id}/{act}"), with);
    }

    fn call(&self, path: &str, body: &Value) -> Value {
        let path = format!("{}{path}", self.session);
        self.request("POST", &path, body).unwrap_or_else(|error| panic!("{path} {body}: {error}"))
    }

    fn request(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let body = body.to_string();
        let request = match method {
            "POST" => Post::new(path, body.as_bytes()).header("Content-Type", "application/json"),
            _ => Post::method(method, path),
        };
        let reply = self.wire.send(&request.header("Host", "localhost"));
        let reply = reply.map_err(|error| error.to_string())?;
        let value = reply.json()["value"].take();
        if reply.status == 200 { Ok(value) } else { Err(value["message"].to_string()) }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            drop(self.request("DELETE", &self.session, &json!({})));
        }
        drop(self.driver.kill());
        drop(self.driver.wait());
    }
}
