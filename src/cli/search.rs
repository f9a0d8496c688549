//! `as2hook events`, `deliveries`, `retry`, `cancel` and `replay`: lists, and what is changed of them.

use std::io::Write;

use as2hook_config::Plugins;
use bytes::Bytes;
use serde_json::{Map, Value};

use super::{
    CommandError,
    remote::{AdminClient, RemoteArgs, json, text, time, with_query},
    terminal::TextTable,
};

/// Which events or deliveries.
#[derive(Clone, Debug, Default, clap::Args)]
struct SearchFilters {
    /// The event's kind, such as message.received.
    #[arg(long, value_name = "EVENT")]
    event: Option<String>,
    /// AS2 id of the remote side.
    #[arg(long, value_name = "AS2-ID")]
    partner: Option<String>,
    /// AS2 id of our side.
    #[arg(long, value_name = "AS2-ID")]
    station: Option<String>,
    /// The webhook's name.
    #[arg(long, value_name = "NAME")]
    webhook: Option<String>,
    /// Where the delivery stands: pending, claimed, delivered, dead, held, orphaned or cancelled.
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// The AS2 Message-ID, with or without angle brackets.
    #[arg(long, value_name = "ID")]
    message_id: Option<String>,
    /// The name of the first attachment that has one.
    #[arg(long, value_name = "NAME")]
    file_name: Option<String>,
    /// The code of one of its processing errors, such as 800.
    #[arg(long, value_name = "CODE")]
    error_code: Option<String>,
    /// When the event happened at the earliest, such as 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// When the event happened, before this.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
struct PageArgs {
    /// The most rows, up to 500 [default: 50].
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Begins behind the page before, which ends with this.
    #[arg(long, value_name = "N")]
    cursor: Option<u64>,
}

/// Lists events, newest first.
#[derive(Clone, Debug, clap::Args)]
pub struct Events {
    /// Of this message alone: its AS2 Message-ID, with or without angle brackets.
    #[arg(value_name = "MESSAGE-ID", conflicts_with = "message_id")]
    id: Option<String>,
    #[command(flatten)]
    filters: SearchFilters,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Lists deliveries, newest first.
#[derive(Clone, Debug, clap::Args)]
pub struct Deliveries {
    #[command(flatten)]
    filters: SearchFilters,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// One delivery, or all that match.
#[derive(Clone, Debug, clap::Args)]
pub struct Change {
    /// The delivery's number. Left out: all that match the filters, one at least.
    #[arg(value_name = "NUMBER")]
    number: Option<u64>,
    #[command(flatten)]
    filters: SearchFilters,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// One delivery, or all that match, to their webhook or to another one.
#[derive(Clone, Debug, clap::Args)]
pub struct Replay {
    #[command(flatten)]
    change: Change,
    /// The webhook that receives the events instead.
    #[arg(long, value_name = "NAME", conflicts_with = "number")]
    to: Option<String>,
}

type Pairs = Vec<(&'static str, String)>;

// === impl SearchFilters ===

impl SearchFilters {
    fn pairs(&self) -> Pairs {
        let all = [
            ("event", &self.event),
            ("partner", &self.partner),
            ("station", &self.station),
            ("webhook", &self.webhook),
            ("status", &self.status),
            ("message_id", &self.message_id),
            ("file_name", &self.file_name),
            ("error_code", &self.error_code),
            ("from", &self.from),
            ("until", &self.until),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
    }
}

fn list(client: &AdminClient, path: &str, pairs: &Pairs) -> Result<Bytes, CommandError> {
    client.get(&with_query(path, pairs))
}

/// Returns the ids of the events of a message, newest first.
pub(super) fn events_of(client: &AdminClient, id: &str) -> Result<Vec<String>, CommandError> {
    let body = list(client, "/admin/events", &vec![("message_id", id.to_owned())])?;
    Ok(rows(&json(&body)?).iter().map(|row| text(&row["id"])).collect())
}

fn rows(body: &Value) -> &[Value] {
    body["data"].as_array().map_or(&[], Vec::as_slice)
}

fn more(body: &Value, out: &mut dyn Write) -> Result<(), CommandError> {
    if rows(body).is_empty() {
        writeln!(out, "There are none.")?;
    }
    if let Some(cursor) = body["next_cursor"].as_u64() {
        writeln!(out, "There are more: --cursor {cursor}")?;
    }
    Ok(())
}

// === impl PageArgs ===

impl PageArgs {
    fn add_to(&self, pairs: &mut Pairs) {
        pairs.extend(self.limit.map(|limit| ("limit", limit.to_string())));
        pairs.extend(self.cursor.map(|cursor| ("cursor", cursor.to_string())));
    }
}

// === impl Events ===

impl Events {
    /// # Errors
    /// When the gateway does not list them, or `out` cannot be written to.
    pub fn run(self, plugins: &Plugins, out: &mut dyn Write) -> Result<(), CommandError> {
        let mut pairs = self.filters.pairs();
        pairs.extend(self.id.map(|id| ("message_id", id)));
        self.page.add_to(&mut pairs);
        let client = self.remote.client(plugins)?;
        let body = list(&client, "/admin/events", &pairs)?;
        client.print(&body, out, |body, out| {
            let mut table = TextTable::new(["AT", "EVENT", "PARTNER", "STATION", "ID"]);
            for row in rows(body) {
                // `event` takes both.
                let id = if row["message_id"].is_null() { &row["id"] } else { &row["message_id"] };
                let open = if row["open"] == true { " (open)" } else { "" };
                table.row([
                    time(&row["occurred_at"]),
                    text(&row["event"]) + open,
                    text(&row["partner"]),
                    text(&row["station"]),
                    text(id),
                ]);
            }
            table.print(out)?;
            more(body, out)
        })
    }
}

/// Returns a delivery's last error, from the status of the response on.
fn last_error(row: &Value) -> String {
    let error = text(&row["last_error"]);
    let code = text(&row["last_http_code"]);
    match error.split_once(&code) {
        Some((_, reason)) if row["last_http_code"].is_u64() => code + reason,
        _ => error,
    }
}

// === impl Deliveries ===

impl Deliveries {
    /// # Errors
    /// When the gateway does not list them, or `out` cannot be written to.
    pub fn run(self, plugins: &Plugins, out: &mut dyn Write) -> Result<(), CommandError> {
        let mut pairs = self.filters.pairs();
        self.page.add_to(&mut pairs);
        let client = self.remote.client(plugins)?;
        let body = list(&client, "/admin/deliveries", &pairs)?;
        client.print(&body, out, |body, out| {
            let head = ["NUMBER", "WEBHOOK", "PARTNER", "STATUS", "TRIES", "NEXT", "LAST ERROR"];
            let mut table = TextTable::new(head).cut();
            for row in rows(body) {
                table.row([
                    text(&row["id"]),
                    text(&row["webhook"]),
                    text(&row["event"]["partner"]),
                    text(&row["status"]),
                    text(&row["attempts"]),
                    time(&row["next_attempt_at"]),
                    last_error(row),
                ]);
            }
            table.print(out)?;
            more(body, out)
        })
    }
}

// === impl Change ===

impl Change {
    /// # Errors
    /// When nothing can be retried, or `out` cannot be written to.
    pub fn retry(self, plugins: &Plugins, out: &mut dyn Write) -> Result<(), CommandError> {
        self.run("retry", "retried", None, plugins, out)
    }

    /// # Errors
    /// When nothing can be cancelled, or `out` cannot be written to.
    pub fn cancel(self, plugins: &Plugins, out: &mut dyn Write) -> Result<(), CommandError> {
        self.run("cancel", "cancelled", None, plugins, out)
    }

    fn run(
        self,
        call: &str,
        done: &str,
        to: Option<&str>,
        plugins: &Plugins,
        out: &mut dyn Write,
    ) -> Result<(), CommandError> {
        let pairs = self.filters.pairs();
        if self.number.is_some() != pairs.is_empty() {
            return Err(CommandError::Usage(
                "which deliveries? Give either a delivery's number, or filters such as --status dead \
                 --webhook NAME",
            ));
        }
        let client = self.remote.client(plugins)?;
        let body = match self.number {
            Some(number) => client.post(&format!("/admin/deliveries/{number}/{call}"), None)?,
            None => {
                let all = pairs.into_iter().chain(to.map(|to| ("to", to.to_owned())));
                let fields: Map<_, _> =
                    all.map(|(name, value)| (name.to_owned(), value.into())).collect();
                client.post(&format!("/admin/{call}"), Some(&fields.into()))?
            }
        };
        client.print(&body, out, |body, out| {
            let deliveries = match body[done].as_u64() {
                Some(1) => "one delivery".to_owned(),
                number => format!("{} deliveries", number.unwrap_or_default()),
            };
            Ok(writeln!(out, "{deliveries} {done}")?)
        })
    }
}

// === impl Replay ===

impl Replay {
    /// # Errors
    /// When nothing can be replayed, or `out` cannot be written to.
    pub fn run(self, plugins: &Plugins, out: &mut dyn Write) -> Result<(), CommandError> {
        self.change.run("replay", "replayed", self.to.as_deref(), plugins, out)
    }
}
