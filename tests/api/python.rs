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
fn the_seeds_python_example_gets_the_seeds_answer() {
    let has =
        Command::new("python3").args(["-c", "import requests"]).stderr(Stdio::null()).status();
    if !has.is_ok_and(|status| status.success()) {
        // `.ci/setup` installs it; elsewhere the same request is made by the other tests.
        return;
    }
    let gateway = started();
    let base = gateway.admin().url("/api/v1");
    let script = format!(
        "import requests\nBASE_URL = {base:?}\n\
         headers = {{\"Authorization\": \"Bearer {ALL}\"}}\n{EXAMPLE}\
         assert response.status_code == 200, response.text\n\
         print(response.text)\n"
    );
    let mut python = Command::new("python3")
        .arg("-")
        .env("NO_PROXY", "*")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer, serde_json::json!({"status": "success", "msg": "Webhook configured"}));
}
