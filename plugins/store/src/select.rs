//! Statements that both databases understand: lists for the admin API, and other reads.

use uuid::Uuid;

use crate::{
    clock::now,
    columns::{length, number},
    model::{Attempt, AuditEntry, DeliveryState, NewDelivery, Payload, StoredEvent, WebhookState},
    partner_webhook::PartnerWebhook,
    query::{AttemptRow, EventRow, Filter, Page},
    record::Record,
    rows::{FromSqlRow, SqlValue},
    steering::DeliveryChange,
    transaction::Statement,
};

mod counts;

pub(crate) use counts::{count_deliveries, counts, counts_of, tally, tally_events};

/// The conditions of a list.
#[derive(Default)]
pub(crate) struct Conditions {
    pub(crate) all: Vec<String>,
    pub(crate) values: Vec<SqlValue>,
}

/// Selects attempts of matching deliveries, newest first, each after its number.
pub(crate) fn attempts(filter: &Filter, cursor: Option<i64>, limit: usize) -> Statement {
    let mut conditions = Conditions::default();
    conditions.of_event(filter);
    conditions.of_delivery(filter);
    if let Some(webhook) = &filter.webhook {
        // Also by its own column: its index has them newest first.
        conditions.webhook("a.webhook", webhook);
    }
    conditions.before("a.id", cursor);
    let sql = format!(
        "SELECT a.id, {}, {}, {} FROM attempt a JOIN delivery d ON d.id = a.delivery
            JOIN event e ON e.id = d.event JOIN webhook w ON w.id = d.webhook",
        AttemptRow::COLUMNS,
        Attempt::COLUMNS,
        EventRow::COLUMNS
    );
    conditions.page::<AttemptRow>(&sql, "a.id", limit)
}

/// Counts a webhook's attempts.
pub(crate) fn attempt_count(webhook: &str) -> Statement {
    let sql = "SELECT count(*) FROM attempt
        WHERE webhook = (SELECT id FROM webhook WHERE name = $1)";
    Statement::new(sql, [webhook.into()])
}

/// Selects a webhook's attempts after the first `offset`, newest first.
pub(crate) fn attempt_log(webhook: &str, offset: u64, limit: usize) -> Statement {
    // Skipped rows are only read in the index.
    let sql = format!(
        "SELECT {}, {}, {} FROM
            (SELECT id FROM attempt WHERE webhook = (SELECT id FROM webhook WHERE name = $1)
                ORDER BY id DESC LIMIT $2 OFFSET $3) chosen
            JOIN attempt a ON a.id = chosen.id JOIN delivery d ON d.id = a.delivery
            JOIN event e ON e.id = d.event JOIN webhook w ON w.id = d.webhook
        ORDER BY a.id DESC",
        AttemptRow::COLUMNS,
        Attempt::COLUMNS,
        EventRow::COLUMNS
    );
    Statement::new(sql, [webhook.into(), length(limit).into(), number(offset).into()])
}

/// Selects the numbers of the matching deliveries that can be changed so, after `after`, to `upto`, at most
/// `limit`, oldest first.
pub(crate) fn changeable(
    change: DeliveryChange,
    filter: &Filter,
    after: i64,
    upto: i64,
    limit: usize,
) -> Statement {
    let mut conditions = Conditions::default();
    conditions.of_event(filter);
    conditions.of_delivery(filter);
    let states: Vec<_> = change.takes().iter().map(|state| in_state(*state)).collect();
    conditions.all.push(format!("({})", states.join(" OR ")));
    if change == DeliveryChange::Recover {
        // The others are due already.
        conditions.and("d.due >", now());
    }
    conditions.and("d.id >", after);
    conditions.and("d.id <=", upto);
    let limit = conditions.value(length(limit));
    let sql = format!(
        "SELECT d.id FROM delivery d JOIN event e ON e.id = d.event WHERE {}
        ORDER BY d.id LIMIT {limit}",
        conditions.all.join(" AND ")
    );
    Statement::new(sql, conditions.values)
}

/// Selects one event.
pub(crate) fn event(id: Uuid) -> Statement {
    let sql = format!(
        "SELECT {}, {} FROM event e JOIN content c ON c.event = e.id WHERE e.uuid = $1",
        StoredEvent::COLUMNS,
        Payload::COLUMNS
    );
    Statement::new(sql, [SqlValue::Id(id)])
}

/// Selects the open events that `owner` has taken over.
pub(crate) fn adopted(owner: i64) -> Statement {
    let sql = format!(
        "SELECT {} FROM event e JOIN content c ON c.event = e.id
        WHERE e.owner = $1 AND e.adopted ORDER BY e.id",
        <(StoredEvent, Vec<NewDelivery>)>::COLUMNS
    );
    Statement::new(sql, [owner.into()])
}

/// Selects the records of these keys, unless they are expired.
pub(crate) fn records(keys: Vec<String>) -> Statement {
    // Written out, so that its translation is known: it is executed for each message.
    let sql = "SELECT key, body, due, expires FROM note WHERE key = ANY ($1) AND expires > $2";
    Statement::new(sql, [SqlValue::Texts(keys), now().into()])
}

/// Selects the records that are due at `at`, longest due first.
pub(crate) fn due_records(at: i64, limit: usize) -> Statement {
    let columns = Record::COLUMNS;
    let sql = format!("SELECT {columns} FROM note WHERE due <= $1 ORDER BY due LIMIT $2");
    Statement::new(sql, [at.into(), length(limit).into()])
}

/// Selects the webhooks with pending deliveries, with the time of the first: two index look-ups for each,
/// however many deliveries wait.
pub(crate) fn due() -> Statement {
    let sql = "SELECT name, min(first) FROM
        (SELECT w.id, w.name, (SELECT min(due) FROM delivery WHERE webhook = w.id
                AND replay = r.replay AND state = 'pending' AND blocked = false AND owner IS NULL) AS first
        FROM webhook w CROSS JOIN (SELECT false AS replay UNION ALL SELECT true) r) firsts
        WHERE first IS NOT NULL GROUP BY id, name";
    Statement::new(sql, [])
}

/// Selects the names of payload files that events name, wherever the files are.
pub(crate) fn named_files(names: Vec<String>) -> Statement {
    let sql = "SELECT DISTINCT \"right\"(payload_path, 36) FROM event
        WHERE payload_path IS NOT NULL AND \"right\"(payload_path, 36) = ANY ($1)";
    Statement::either(sql, NAMED, [SqlValue::Texts(names)])
}

/// The statement of [`named_files`] in SQLite.
pub(crate) const NAMED: &str = "SELECT DISTINCT substr(payload_path, -36) FROM event
    WHERE payload_path IS NOT NULL
        AND substr(payload_path, -36) IN (SELECT value FROM json_each(?1))";

/// Selects the payloads in pieces that events name.
pub(crate) fn named_pieces(payloads: Vec<Uuid>) -> Statement {
    let sql = "SELECT DISTINCT payload_pieces FROM event WHERE payload_pieces = ANY ($1)";
    let sqlite = "SELECT DISTINCT payload_pieces FROM event
        WHERE payload_pieces IN (SELECT unhex(value) FROM json_each(?1))";
    Statement::either(sql, sqlite, [SqlValue::Ids(payloads)])
}

/// Selects the newest time that the clock of a running process stamped, by indexes and single values.
pub(crate) fn newest() -> Statement {
    // 0 means that a gateway has terminated.
    let sql = "SELECT max(at) FROM (
        SELECT max(nullif(seen_at, 0)) AS at FROM gateway
        UNION ALL SELECT max(idle_since) FROM event WHERE idle_since IS NOT NULL
        UNION ALL SELECT occurred_at FROM event WHERE id = (SELECT max(id) FROM event)
        UNION ALL SELECT at FROM attempt WHERE id = (SELECT max(id) FROM attempt)) times";
    Statement::new(sql, [])
}

/// Selects the stored health of webhooks.
pub(crate) fn webhook_states() -> Statement {
    let columns = WebhookState::COLUMNS;
    let sql = format!("SELECT {columns} FROM webhook WHERE fingerprint IS NOT NULL ORDER BY name");
    Statement::new(sql, [])
}

/// Selects the webhooks with held or orphaned deliveries: one index look-up for each webhook and
/// state.
pub(crate) fn set_aside() -> Statement {
    let sql = "SELECT w.name, s.state
        FROM webhook w, (SELECT 'held' AS state UNION ALL SELECT 'orphaned') s
        WHERE EXISTS (SELECT 1 FROM delivery d WHERE d.state IN ('held', 'orphaned', 'dead')
            AND d.webhook = w.id AND d.state = s.state)
        ORDER BY w.name, s.state";
    Statement::new(sql, [])
}

/// Selects what callers of a site did, newest first, each after its number.
pub(crate) fn audit_log(site: &str, cursor: Option<i64>, limit: usize) -> Statement {
    let mut conditions = Conditions::default();
    conditions.and("site =", site);
    conditions.before("id", cursor);
    let sql = format!("SELECT id, {} FROM audit", AuditEntry::COLUMNS);
    conditions.page::<AuditEntry>(&sql, "id", limit)
}

/// Selects all webhooks of the config API.
pub(crate) fn partner_webhooks() -> Statement {
    let sql = format!("SELECT {} FROM partner_webhook", PartnerWebhook::COLUMNS);
    Statement::new(sql, [])
}

// === impl Conditions ===

impl Conditions {
    /// Adds a value, and returns its placeholder.
    pub(crate) fn value(&mut self, value: impl Into<SqlValue>) -> String {
        self.values.push(value.into());
        format!("${}", self.values.len())
    }

    pub(crate) fn and(&mut self, condition: &str, value: impl Into<SqlValue>) {
        let value = self.value(value);
        self.all.push(format!("{condition} {value}"));
    }

    fn webhook(&mut self, column: &str, name: &str) {
        let name = self.value(name);
        self.all.push(format!("{column} = (SELECT id FROM webhook WHERE name = {name})"));
    }

    /// Adds a condition on a column whose index only has its beginning.
    fn long(&mut self, column: &str, value: &str) {
        let value = self.value(value);
        // The expression and the condition of the index. SQLite would put the value of a bare column into the
        // expression, and then find no index for it.
        self.all.push(format!(
            "{column} IS NOT NULL AND substr({column}, 1, 200) = substr({value}, 1, 200)
                AND {column} || '' = {value}"
        ));
    }

    /// Adds a condition on a Message-ID, with its angle brackets or without.
    fn message_id(&mut self, column: &str, id: &str) {
        let bare = id.strip_prefix('<').and_then(|id| id.strip_suffix('>')).unwrap_or(id);
        let bare_value = self.value(bare);
        let whole = self.value(format!("<{bare}>").as_str());
        self.all.push(format!(
            "substr({column}, 1, 200) IN (substr({bare_value}, 1, 200), substr({whole}, 1, 200))
                AND {column} IN ({bare_value}, {whole})"
        ));
    }

    pub(crate) fn before(&mut self, column: &str, cursor: Option<i64>) {
        if let Some(cursor) = cursor {
            self.and(&format!("{column} <"), cursor);
        }
    }

    /// Adds the conditions on an event, each in the form of its index.
    pub(crate) fn of_event(&mut self, filter: &Filter) {
        self.of_event_with(filter, Self::long);
    }

    /// Like [`Self::of_event`], in a form that has no index: where the newest rows are read until a page is full.
    pub(crate) fn of_listed_event(&mut self, filter: &Filter) {
        self.of_event_with(filter, |all, column, value| all.and(&format!("{column} ="), value));
    }

    fn of_event_with(&mut self, filter: &Filter, long: fn(&mut Self, &str, &str)) {
        if let Some(event) = filter.event {
            self.and("e.uuid =", SqlValue::Id(event));
        }
        if let Some(site) = &filter.site {
            // Most events are of one site: SQLite is not to take the index that begins with it. For PostgreSQL this
            // is an equation, of which it knows how many rows it has.
            let site = self.value(site.as_str());
            self.all.push(format!("NOT (e.site <> {site})"));
        }
        if let Some(kind) = &filter.kind {
            self.and("e.kind =", kind.as_str());
        }
        if filter.exchanges {
            let kinds = "(e.kind LIKE 'message.%' OR e.kind LIKE 'mdn.%' OR e.kind = 'send.error')";
            self.all.push(kinds.to_owned());
        }
        for (column, value) in [("e.message_id", &filter.message_id), ("e.about", &filter.about)] {
            if let Some(value) = value {
                self.message_id(column, value);
            }
        }
        if let Some(code) = filter.error {
            let code = self.value(format!("%,{code},%").as_str());
            self.all.push(format!("e.errors IS NOT NULL AND e.errors LIKE {code}"));
        }
        let texts = [
            ("e.partner", &filter.partner),
            ("e.station", &filter.station),
            ("e.file_name", &filter.file_name),
        ];
        for (column, value) in texts {
            if let Some(value) = value {
                long(self, column, value);
            }
        }
        if let Some(from) = filter.from {
            self.and("e.occurred_at >=", from);
        }
        if let Some(until) = filter.until {
            self.and("e.occurred_at <", until);
        }
    }

    pub(crate) fn of_delivery(&mut self, filter: &Filter) {
        if let Some(number) = filter.delivery {
            self.and("d.id =", number);
        }
        if let Some(id) = &filter.webhook_id {
            self.and("d.webhook_id =", id.as_str());
        }
        if let Some(name) = &filter.webhook {
            self.webhook("d.webhook", name);
        }
        if let Some(state) = filter.state {
            self.all.push(in_state(state));
        }
    }

    /// Completes the statement of a page.
    pub(crate) fn page<T>(mut self, sql: &str, number: &str, limit: usize) -> Statement {
        let condition =
            if self.all.is_empty() { "TRUE".to_owned() } else { self.all.join(" AND ") };
        let more = self.value(Page::<T>::reads(limit));
        let sql = format!("{sql} WHERE {condition} ORDER BY {number} DESC LIMIT {more}");
        Statement::new(sql, self.values)
    }
}

/// Returns the condition for a state, in the expression of its index.
fn in_state(state: DeliveryState) -> String {
    let word = state.as_str();
    match state {
        DeliveryState::Pending => {
            format!("d.state IN ('pending', 'claimed') AND d.state = '{word}' AND d.owner IS NULL")
        }
        DeliveryState::Claimed => "d.owner IS NOT NULL".to_owned(),
        DeliveryState::Delivered | DeliveryState::Cancelled => format!("d.state = '{word}'"),
        DeliveryState::Dead | DeliveryState::Held | DeliveryState::Orphaned => {
            format!("d.state IN ('held', 'orphaned', 'dead') AND d.state = '{word}'")
        }
    }
}
