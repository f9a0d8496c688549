//! `as2hook status` and `send-test`: how the running gateway is, and a test of a webhook.

use std::io::Write;

use as2hook_config::Plugins;
use http::StatusCode;
use serde_json::Value;

use super::{
    CommandError,
    remote::{RemoteArgs, Response, escaped, json, text, time},
};

/// Shows version, last reload, store, queue, gateways and webhooks out of service.
#[derive(Clone, Debug, clap::Args)]
pub struct ShowStatus {
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Sends a marked test to a webhook, and waits for it. It is not retried.
#[derive(Clone, Debug, clap::Args)]
pub struct SendTest {
    /// The webhook's name.
    #[arg(value_name = "RULE")]
    rule: String,
    #[command(flatten)]
    remote: RemoteArgs,
}

// === impl ShowStatus ===

impl ShowStatus {
    /// # Errors
    /// When the gateway does not say it, or `out` cannot be written to.
    pub fn run(self, plugins: &Plugins, out: &mut dyn Write) -> Result<(), CommandError> {
        let client = self.remote.client(plugins)?;
        let body = client.get("/admin/status")?;
        client.print(&body, out, |status, out| {
            for (name, value) in lines(status) {
                writeln!(out, "{name:<16}{value}")?;
            }
            Ok(())
        })
    }
}

fn lines(status: &Value) -> Vec<(&'static str, String)> {
    let (reload, store) = (&status["last_reload"], &status["store"]);
    let fine = |is_fine: bool, error: &Value| match is_fine {
        true => "ok".to_owned(),
        false => format!("failed: {}", text(error)),
    };
    let reload = fine(reload["ok"] == true, &reload["error"]) + ", " + &time(&reload["at"]);
    let mut lines = vec![
        ("as2hook", text(&status["version"])),
        ("configuration", format!("{}, the last reload {reload}", text(&status["generation"]))),
        ("webhooks", text(&status["webhooks"])),
        ("in flight", text(&status["in_flight"])),
        ("store", fine(store["ok"] == true, &store["error"])),
    ];
    let since = &store["oldest_undelivered"];
    let since =
        if since.is_null() { String::new() } else { format!(", the oldest of {}", time(since)) };
    lines.push(("queue", text(&store["queue_depth"]) + &since));
    for name in ["dead", "held", "orphaned"] {
        lines.push((name, text(&store[name])));
    }
    lines.push(("open exchanges", text(&store["open_exchanges"])));
    if store["held_in_memory"].as_u64() > Some(0) {
        lines.push(("in memory", format!("{} events wait for the store", store["held_in_memory"])));
    }
    let list = |key: &str| status[key].as_array().cloned().unwrap_or_default();
    for one in list("gateways") {
        let is_self = if one["self"] == true { ", this one" } else { "" };
        let drift = if one["drift"] == true { ", OTHER RULES" } else { "" };
        let [host, pid, version] = ["host", "pid", "version"].map(|key| text(&one[key]));
        let since = time(&one["started"]);
        lines.push((
            "gateway",
            format!("{host}, process {pid}, {version}, since {since}{is_self}{drift}"),
        ));
    }
    for one in list("out_of_service") {
        let (webhook, reason) = (text(&one["webhook"]), text(&one["reason"]));
        lines.push(("out of service", format!("{webhook}: {reason}")));
    }
    lines
}

// === impl SendTest ===

impl SendTest {
    /// # Errors
    /// When the endpoint does not take it, or `out` cannot be written to.
    pub fn run(self, plugins: &Plugins, out: &mut dyn Write) -> Result<(), CommandError> {
        let client = self.remote.client(plugins)?;
        let path = format!("/admin/webhooks/{}/test", escaped(&self.rule));
        let Response { status, body } = client.call("POST", &path, None)?;
        if status == StatusCode::BAD_GATEWAY {
            if self.remote.json {
                client.print(&body, out, |_, _| Ok(()))?;
            }
            let failed = json(&body)?;
            let message = format!("the test failed: {}", text(&failed["msg"]));
            return Err(CommandError::Failed(message));
        }
        let body = Response { status, body }.success()?;
        client.print(&body, out, |passed, out| {
            let (event, code) = (text(&passed["event"]), text(&passed["http_code"]));
            Ok(writeln!(out, "The endpoint took a test of {event}: http {code}")?)
        })
    }
}
