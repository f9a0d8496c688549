//! `webhooks.yaml`: the rules. `conf/webhooks.yaml` explains each key.

use std::{collections::HashMap, path::PathBuf, time::Duration};

use as2hook_event::{Endpoint, EventKind, Order, PayloadMode, Route, Rule, RuleSet, Secret};

use super::{
    Config, as2_id,
    mistake::ConfigDiagnostic,
    partners::partner_type,
    read::{SourceFile, Table, Value},
    site,
    source::Context,
};

mod filters;
mod headers;
mod tls;

/// A rule, and the place that a mistake about the whole of it is reported at.
pub(super) struct Placed {
    pub(super) rule: Rule,
    /// Its message is still empty.
    pub(super) place: ConfigDiagnostic,
}

pub(super) const KEYS: &[&str] = &[
    "name",
    "events",
    "partner",
    "station",
    "partner_type",
    "signature",
    "errors",
    "site",
    "url",
    "payload",
    "secret",
    "secret_file",
    "headers",
    "route",
    "tls",
    "pass_headers",
    "timeout",
    "retry",
    "concurrency",
    "order",
    "order_patience",
    "rate",
    "disable_after",
    "enabled",
];

/// Reads all rules of a file, or of a folder's `*.yaml` in the order of their names. `Err` says in
/// words why there is nothing to read.
pub(super) fn read(
    context: &Context<'_>,
    path: &std::path::Path,
    default_site: &str,
) -> Result<Vec<Placed>, String> {
    let mut rules = Rules::default();
    if path.is_dir() {
        for file in context.list(path)? {
            // It was there a moment ago: what is wrong with it now is reported at the file itself.
            if let Err(what) = rules.read_file(context, &file, default_site) {
                let at = super::mistake::Position::START;
                context.mistake(ConfigDiagnostic::new(&file, at, "document", what));
            }
        }
    } else {
        rules.read_file(context, path, default_site)?;
    }
    Ok(rules.all)
}

/// Compiles them. Rules that cannot stand beside each other are reported at both places.
pub(super) fn compile(context: &Context<'_>, placed: Vec<Placed>) -> Option<RuleSet> {
    let (rules, places): (Vec<_>, Vec<_>) =
        placed.into_iter().map(|placed| (placed.rule, placed.place)).unzip();
    let conflicts = match RuleSet::compile(rules) {
        Ok(rules) => return Some(rules),
        Err(conflicts) => conflicts,
    };
    for conflict in conflicts {
        let (first, second) = (&places[conflict.first_place], &places[conflict.second_place]);
        for (here, other) in [(first, second), (second, first)] {
            let other = format!("the other one stands at {}:{}", other.file.display(), other.line);
            context.mistake(ConfigDiagnostic {
                message: format!("{conflict}; {other}"),
                ..here.clone()
            });
        }
    }
    None
}

/// Warns of rules that name a partner or station in another case than the config does: AS2 ids
/// that differ in case are two.
pub(super) fn judge_case(context: &Context<'_>, placed: &[Placed], config: &Config) {
    let folded = |ids: &mut dyn Iterator<Item = &String>| -> HashMap<String, String> {
        ids.map(|id| (id.to_ascii_lowercase(), id.clone())).collect()
    };
    let partners = folded(&mut config.partners.iter().map(|partner| &partner.as2_id));
    let stations = folded(&mut config.stations.iter().map(|station| &station.as2_id));
    let is_partner = |id: &str| config.partner(id).is_some();
    let is_station = |id: &str| config.is_station(id);
    for Placed { rule, place } in placed {
        for (what, id, known, is_known) in [
            ("partner", &rule.partner, &partners, &is_partner as &dyn Fn(&str) -> bool),
            ("station", &rule.station, &stations, &is_station),
        ] {
            let Some(id) = id.as_deref().filter(|id| !is_known(id)) else { continue };
            if let Some(meant) = known.get(&id.to_ascii_lowercase()) {
                let message = format!("the {what} {id:?} is not {meant:?}: case counts in AS2 ids");
                context.warning(ConfigDiagnostic { message, ..place.clone() });
            }
        }
    }
}

/// Warns of filters that no event of their rule can satisfy.
pub(super) fn judge_filters(context: &Context<'_>, placed: &[Placed]) {
    /// They are about no message and no MDN.
    const BARE: [EventKind; 3] =
        [EventKind::MdnOverdue, EventKind::CertificateExpiring, EventKind::WebhookDisabled];
    for Placed { rule, place } in placed {
        let events = rule.events.as_deref().unwrap_or_default();
        if rule.filters.signature.is_some()
            && !events.is_empty()
            && events.iter().all(|event| BARE.contains(event))
        {
            let message = "it never fires: its events have no signature".to_owned();
            context.warning(ConfigDiagnostic { message, ..place.clone() });
        }
    }
}

#[derive(Default)]
struct Rules {
    all: Vec<Placed>,
    /// Where each name stands.
    names: HashMap<String, (PathBuf, usize)>,
}

// === impl Rules ===

impl Rules {
    fn read_file(
        &mut self,
        context: &Context<'_>,
        file: &std::path::Path,
        default_site: &str,
    ) -> Result<(), String> {
        let Some(root) = context.tree(file)? else { return Ok(()) };
        let value = Value::root(SourceFile { context, file }, &root);
        let Some(table) = value.table(&["webhooks"]) else { return Ok(()) };
        // An empty file is more likely half written than meant: `webhooks: []` is how to say none.
        let items = table.need("webhooks", Value::list).unwrap_or_default();
        self.all.reserve(items.len());
        self.names.reserve(items.len());
        for item in items {
            let before = context.mistakes();
            let Some(rule) = read_rule(&item, default_site) else { continue };
            let sound = context.mistakes() == before;
            let place = item.here("");
            match self.names.get(&rule.name) {
                Some((file, line)) => {
                    let first = format!("{}:{line}", file.display());
                    let name = &rule.name;
                    item.wrong::<()>(format!("the name {name:?} is taken already, at {first}"));
                }
                None => {
                    self.names.insert(rule.name.clone(), (file.to_owned(), place.line));
                    // One that was read by half would seem to conflict with others.
                    if sound {
                        self.all.push(Placed { rule, place });
                    }
                }
            }
        }
        Ok(())
    }
}

/// `None`: the rule has no name or no url. Any other mistake has been noted and leaves a default.
fn read_rule(value: &Value<'_>, default_site: &str) -> Option<Rule> {
    let table = value.table(KEYS)?;
    let name = table.need("name", name);
    let endpoint = read_endpoint(&table);
    let events = table.read("events", events);
    let rule = Rule {
        events: events.unwrap_or_else(|| Some(vec![EventKind::MessageReceived])),
        partner: table.read("partner", as2_id),
        station: table.read("station", as2_id),
        partner_type: table.read("partner_type", partner_type),
        filters: filters::read(&table),
        site: table.read("site", site).unwrap_or_else(|| default_site.to_owned()),
        route: table.read_or("route", Route::default(), |value| {
            value.choice(&[("most-specific", Route::MostSpecific), ("always", Route::Always)])
        }),
        enabled: table.read_or("enabled", true, Value::switch),
        name: name?,
        endpoint: endpoint?,
    };
    Some(rule)
}

fn read_endpoint(table: &Table<'_>) -> Option<Endpoint> {
    let url = table.need("url", Value::webhook_url);
    // The rest is judged even so.
    let mut endpoint = Endpoint::new(url.clone().unwrap_or_default());
    endpoint.secrets = secrets(table);
    endpoint.headers = table.read_or("headers", Vec::new(), headers::read);
    endpoint.tls = table.read("tls", |value| tls::read(value, url.as_ref())).unwrap_or_default();
    endpoint.payload = table.read_or("payload", endpoint.payload, |value| {
        value.choice(&[
            ("headers", PayloadMode::Headers),
            ("json", PayloadMode::Json),
            ("raw", PayloadMode::Raw),
        ])
    });
    endpoint.pass_headers =
        table.read("pass_headers", headers::passed).unwrap_or(endpoint.pass_headers);
    endpoint.timeout = table.read_or("timeout", endpoint.timeout, timeout);
    endpoint.concurrency = table.read_or("concurrency", endpoint.concurrency, |value| {
        usize::try_from(value.whole(1, 10_000)?).ok()
    });
    endpoint.order = table.read_or("order", endpoint.order, |value| {
        value.choice(&[("none", Order::None), ("partner", Order::Partner)])
    });
    endpoint.order_patience = table.read("order_patience", Value::duration);
    if let (Some(place), Order::None) = (table.get("order_patience"), endpoint.order) {
        place.wrong::<()>("is of use with `order: partner` alone");
    }
    endpoint.rate = table.read("rate", Value::rate);
    endpoint.disable_after = table.read("disable_after", Value::duration);
    if let Some(waits) = table.read("retry", retry) {
        endpoint.retry = waits;
    }
    url.is_some().then_some(endpoint)
}

/// It stands in the paths of the admin API, in logs and in metrics.
fn name(value: &Value<'_>) -> Option<String> {
    let name = value.line()?;
    if name.chars().count() > 128 {
        return value.wrong("must have 128 characters at most");
    }
    if name.contains('/') || name.trim() != name {
        return value.wrong("must not hold a slash, or begin or end with a blank");
    }
    Some(name)
}

/// `Some(None)`: all.
#[expect(clippy::option_option, reason = "the outer one says whether it could be read")]
fn events(value: &Value<'_>) -> Option<Option<Vec<EventKind>>> {
    if value.is_word("*") {
        return Some(None);
    }
    let items = value.list()?;
    if let Some(all) = items.iter().find(|item| item.is_word("*")) {
        if items.len() > 1 {
            return all.wrong("\"*\" means all events; nothing else may stand beside it");
        }
        return Some(None);
    }
    if items.is_empty() {
        return value.wrong("needs one event at least, or \"*\" for all");
    }
    let words = EventKind::ALL.map(|kind| (kind.as_str(), kind));
    let mut events = Vec::new();
    for item in items {
        let Some(event) = item.choice(&words) else { continue };
        if events.contains(&event) {
            item.wrong::<()>("this event is given twice");
        } else {
            events.push(event);
        }
    }
    Some(Some(events))
}

fn secrets(table: &Table<'_>) -> Vec<Secret> {
    if table.get("secret_file").is_some() {
        let read = table.secret("secret", "secret_file");
        let parsed = read.map(|text| (Secret::parse(text.expose()), table.get("secret_file")));
        return match parsed {
            Some((Ok(secret), _)) => vec![secret],
            Some((Err(error), Some(place))) => {
                place.wrong::<()>(error.to_string());
                Vec::new()
            }
            _ => Vec::new(),
        };
    }
    let Some(value) = table.get("secret") else { return Vec::new() };
    let items = value.one_or_more().unwrap_or_default();
    if items.is_empty() {
        value.wrong::<()>("needs one secret at least; leave the key out to sign nothing");
    }
    let mut secrets = Vec::new();
    for item in &items {
        let Some(text) = item.hidden() else { continue };
        match Secret::parse(text.expose()) {
            Ok(secret) => secrets.push(secret),
            Err(error) => {
                item.wrong::<()>(error.to_string());
            }
        }
    }
    secrets
}

fn timeout(value: &Value<'_>) -> Option<Duration> {
    const MOST: Duration = Duration::from_secs(3600);
    match value.duration()? {
        timeout if timeout > MOST => value.wrong("must be at most 1h"),
        timeout => Some(timeout),
    }
}

fn retry(value: &Value<'_>) -> Option<Vec<Duration>> {
    let waits = value.each(Value::duration)?;
    if waits.len() > 100 {
        return value.wrong("must have 100 waits at most");
    }
    Some(waits)
}
