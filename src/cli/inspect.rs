//! `as2hook event` and `delivery`: what happened to a message, and why a webhook did not come.

use std::io::{self, Write};

use as2hook_config::Plugins;
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::{
    CommandError,
    remote::{AdminClient, RemoteArgs, escaped, json, text, time},
    search::events_of,
    terminal::printable,
};

/// Shows what happened: verdict, errors, deliveries with their attempts, attachments, related events.
#[derive(Clone, Debug, clap::Args)]
pub struct ShowEvent {
    /// The event's id, or an AS2 Message-ID, with or without angle brackets.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Shows a delivery with its attempts.
#[derive(Clone, Debug, clap::Args)]
pub struct ShowDelivery {
    /// Its number.
    #[arg(value_name = "NUMBER")]
    number: u64,
    #[command(flatten)]
    remote: RemoteArgs,
}

// === impl ShowEvent ===

impl ShowEvent {
    /// # Errors
    /// When the gateway has no such event, or `out` cannot be written to.
    pub fn run(self, plugins: &Plugins, out: &mut dyn Write) -> Result<(), CommandError> {
        let client = self.remote.client(plugins)?;
        let ids = match self.id.parse::<Uuid>() {
            Ok(id) => match events_of(&client, &self.id)? {
                // A Message-ID may look like one.
                ids if ids.is_empty() => vec![id.to_string()],
                ids => ids,
            },
            Err(_) => events_of(&client, &self.id)?,
        };
        if ids.is_empty() {
            let id = printable(&self.id);
            return Err(CommandError::Failed(format!(
                "no event of the token's site has the Message-ID {id}: what no webhook matches is not kept (ask \
                 as2hook match), nor what is older than retention.events; as2hook events lists the newest"
            )));
        }
        for (n, id) in ids.iter().enumerate() {
            if n > 0 && !self.remote.json {
                writeln!(out)?;
            }
            let body = client.get(&format!("/admin/events/{id}"))?;
            client.print(&body, out, |body, out| {
                event(&body["data"], out)?;
                let deliveries = list(&body["data"]["deliveries"]);
                let none = if deliveries.is_empty() { ": none" } else { "" };
                writeln!(out, "Deliveries{none}")?;
                Ok(show_deliveries(&client, deliveries, out)?)
            })?;
        }
        Ok(())
    }
}

// === impl ShowDelivery ===

impl ShowDelivery {
    /// # Errors
    /// When the gateway has no such delivery, or `out` cannot be written to.
    pub fn run(self, plugins: &Plugins, out: &mut dyn Write) -> Result<(), CommandError> {
        let client = self.remote.client(plugins)?;
        let body = client.get(&format!("/admin/deliveries/{}", self.number))?;
        client.print(&body, out, |body, out| {
            let delivery = &body["data"];
            show_deliveries(&client, std::slice::from_ref(delivery), out)?;
            Ok(writeln!(out, "    event       {}", text(&delivery["event_id"]))?)
        })
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn line(out: &mut dyn Write, name: &str, value: &str) -> io::Result<()> {
    writeln!(out, "  {name:<12}{value}")
}

/// What happened, to whom, and how it was judged. Absent values have no line.
fn event(detail: &Value, out: &mut dyn Write) -> io::Result<()> {
    let event = &detail["event"];
    writeln!(out, "{} {}", text(&event["event"]), text(&event["eventId"]))?;
    line(out, "at", &time(&event["occurredAt"]))?;
    if !event["senderId"].is_null() || !event["receiverId"].is_null() {
        let parties = [&event["senderId"], &event["receiverId"], &event["partnerType"]].map(text);
        line(out, "from", &format!("{} to {} ({})", parties[0], parties[1], parties[2]))?;
    }
    for (name, key) in [
        ("partner", "partner"),
        ("station", "station"),
        ("message", "as2MessageId"),
        ("MDN", "mdnId"),
        ("subject", "subject"),
        ("webhook", "webhook"),
        ("reason", "reason"),
        ("signature", "signatureStatus"),
        ("disposition", "disposition"),
        ("MIC matches", "micMatches"),
        ("says", "humanMessage"),
        ("expires", "notAfter"),
    ] {
        if !event[key].is_null() {
            line(out, name, &text(&event[key]))?;
        }
    }
    let layers = ["compressed", "signed", "encrypted"];
    let layers: Vec<_> = layers.into_iter().filter(|layer| event[*layer] == true).collect();
    if !layers.is_empty() {
        line(out, "content", &layers.join(", "))?;
    }
    let error = &event["error"];
    match &error["stage"] {
        Value::Null if error.is_string() => line(out, "error", &text(error))?,
        Value::Null => {}
        stage => line(out, "error", &format!("{}: {}", text(stage), text(&error["message"])))?,
    }
    for (name, key) in [("error", "errors"), ("warning", "warnings")] {
        for one in list(&event[key]) {
            line(out, name, &format!("{}: {}", text(&one["code"]), text(&one["message"])))?;
        }
    }
    for one in list(&detail["attachments"]) {
        let kept = if one["available"] == true { ", kept" } else { "" };
        let [n, name, size, kind] =
            ["n", "name", "size", "content_type"].map(|key| text(&one[key]));
        line(out, "attachment", &format!("{n}: {name}, {size} bytes, {kind}{kept}"))?;
    }
    for one in list(&detail["related"]) {
        let [relation, kind, id] = ["relation", "event", "event_id"].map(|key| text(&one[key]));
        line(out, "related", &format!("{relation}: {kind} {id}"))?;
    }
    Ok(())
}

/// Each delivery with its attempts, what comes next, and what a person can do.
fn show_deliveries(
    client: &AdminClient,
    deliveries: &[Value],
    out: &mut dyn Write,
) -> io::Result<()> {
    let is_open = deliveries.iter().any(|one| one["status"] != "delivered");
    // The state of the webhooks explains a wait; without it the rest is shown all the same.
    let webhooks = if is_open { client.get("/admin/webhooks").ok() } else { None };
    let webhooks = webhooks.and_then(|body| json(&body).ok()).unwrap_or_default();
    for delivery in deliveries {
        let [id, webhook, mode, status] =
            ["id", "webhook", "payload", "status"].map(|key| text(&delivery[key]));
        let replay = if delivery["replay"] == true { ", replay" } else { "" };
        writeln!(out, "  {id}  {webhook} ({mode}{replay}): {status}")?;
        writeln!(out, "    webhook-id  {}", text(&delivery["webhook_id"]))?;
        let attempts = list(&delivery["attempts"]);
        if attempts.is_empty() {
            writeln!(out, "    attempts    none yet")?;
        }
        for attempt in attempts {
            let [n, code, ms] = ["n", "http_code", "duration_ms"].map(|key| text(&attempt[key]));
            let at = time(&attempt["at"]);
            writeln!(
                out,
                "    attempt {n:<3} {at}  http {code}, {ms} ms, {}",
                text(&attempt["url"])
            )?;
            if !attempt["error"].is_null() {
                writeln!(out, "                {}", text(&attempt["error"]))?;
            }
        }
        if !delivery["next_attempt_at"].is_null() {
            writeln!(out, "    next        {}", time(&delivery["next_attempt_at"]))?;
        }
        // Without the list of webhooks nothing is known of this one.
        if status != "delivered" && webhooks["data"].is_array() {
            let rule =
                list(&webhooks["data"]).iter().find(|one| one["name"] == delivery["webhook"]);
            state(rule, out)?;
        }
        writeln!(out, "    to do       {}", to_do(delivery, Timestamp::now()))?;
    }
    Ok(())
}

fn state(rule: Option<&Value>, out: &mut dyn Write) -> io::Result<()> {
    let Some(rule) = rule else {
        return writeln!(out, "    webhook     no rule of the token's site has this name");
    };
    let state = &rule["state"];
    let mut line = text(&state["standing"]);
    if !state["reason"].is_null() {
        line += &format!(": {}", text(&state["reason"]));
    } else if !state["failing_since"].is_null() {
        let (failures, since) = (&state["consecutive_failures"], &state["failing_since"]);
        line += &format!(", failures in a row: {}, since {}", text(failures), time(since));
    }
    if !state["paused_until"].is_null() {
        line += &format!("; the endpoint asked for a pause until {}", time(&state["paused_until"]));
    }
    writeln!(out, "    webhook     {line}")
}

/// Quotes a name for a shell, where it needs it.
fn shell_word(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./@".contains(c);
    match name.chars().all(is_plain) && !name.is_empty() {
        true => name.to_owned(),
        false => format!("'{}'", name.replace('\'', r"'\''")),
    }
}

fn to_do(delivery: &Value, now: Timestamp) -> String {
    let [id, webhook, status] = ["id", "webhook", "status"].map(|key| text(&delivery[key]));
    let quoted = shell_word(&webhook);
    let next = delivery["next_attempt_at"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
    match status.as_str() {
        "pending" if next.is_some_and(|next| next <= now) => format!(
            "it is due, and waits for its turn behind those of as2hook deliveries --webhook {quoted}"
        ),
        "pending" => format!("nothing, it is tried again; as2hook retry {id} tries now"),
        "claimed" => "nothing, an attempt is under way".to_owned(),
        "dead" => format!("mend the endpoint, then as2hook retry {id}"),
        "held" => format!(
            "enable the webhook: change its rule, or POST /admin/webhooks/{}/enable",
            escaped(&webhook)
        ),
        "orphaned" => format!(
            "as2hook replay --status orphaned --webhook {quoted} --to NAME sends it to another webhook"
        ),
        _ => format!("nothing; as2hook replay {id} makes it again"),
    }
}
