//! The seed's own example, verbatim, run by Python.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use super::{ALL, started};

/// Seed 000's "Python example".
const EXAMPLE: &str = r#"response = requests.post(
    f"{BASE_URL}/webhooks/configure",
    headers=headers,
    json={
        "partner_id": 123,
        "webhook_url": "https://myapp.com/webhook/as2",
        "webhook_secret": "my_secret",
        "webhook_enabled": True,
        "webhook_events": ["message.received", "mdn.received"]
    }
)
"#;

#[test]
fn the_seeds_python_example_gets_the_seeds_response() {
    // Debian's own Python has the package that `.ci/setup` installs, whichever comes first in the PATH.
    let python = ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        let mut has = Command::new(python);
        has.args(["-c", "import requests"]).stderr(Stdio::null());
        has.status().is_ok_and(|status| status.success())
    });
    let python = python.expect("python3-requests is installed; .ci/setup does it");
    let gateway = started();
    let base = gateway.admin().url("/api/v1");
    let script = format!(
        "import requests\nBASE_URL = {base:?}\n\
         headers = {{\"Authorization\": \"Bearer {ALL}\"}}\n{EXAMPLE}\
         assert response.status_code == 200, response.text\n\
         print(response.text)\n"
    );
    let mut python = Command::new(python)
        .arg("-")
        .env("NO_PROXY", "*")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    let response: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(response, serde_json::json!({"status": "success", "msg": "Webhook configured"}));
}
