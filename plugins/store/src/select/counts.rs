//! Statements that count.

use uuid::Uuid;

use super::{Conditions, in_state};
use crate::{
    columns::number, model::DeliveryState, query::Filter, rows::SqlValue, transaction::Statement,
};

/// Selects the figures of the status page, as of one moment: for each state of a delivery its number, and
/// in each row how many are claimed, how many events are open, and the time of the oldest undelivered.
pub(crate) fn counts() -> Statement {
    let states = DeliveryState::ALL.map(|state| format!("SELECT '{}' AS state", state.as_str()));
    let sql = format!(
        "SELECT s.state,
            CAST(coalesce((SELECT sum(n) FROM tally t WHERE t.state = s.state), 0) AS bigint),
            (SELECT count(*) FROM delivery WHERE owner IS NOT NULL),
            (SELECT count(*) FROM event WHERE owner IS NOT NULL),
            (SELECT min(occurred_at) FROM delivery WHERE state IN ('pending', 'claimed'))
        FROM ({}) s",
        states.join(" UNION ALL ")
    );
    Statement::new(sql, [])
}

/// Selects the figures of one site with these webhooks, as of one moment: the number of unfinished
/// deliveries, that of dead ones, that of open events, and the time of the oldest undelivered. Each part
/// has the condition of an index.
pub(crate) fn counts_of(site: &str, webhooks: Vec<String>) -> Statement {
    let sql = "WITH own AS (SELECT id FROM webhook WHERE name = ANY ($2)), unfinished AS (
            SELECT occurred_at FROM delivery WHERE webhook IN (SELECT id FROM own)
                AND state = 'pending' AND blocked = false AND owner IS NULL
            UNION ALL SELECT occurred_at FROM delivery WHERE webhook IN (SELECT id FROM own)
                AND state = 'pending' AND blocked = true
            UNION ALL SELECT occurred_at FROM delivery WHERE webhook IN (SELECT id FROM own)
                AND owner IS NOT NULL AND blocked = false)
        SELECT (SELECT count(*) FROM unfinished),
            (SELECT count(*) FROM delivery WHERE webhook IN (SELECT id FROM own)
                AND state IN ('held', 'orphaned', 'dead') AND state = 'dead'),
            (SELECT count(*) FROM event WHERE owner IS NOT NULL AND NOT (site <> $1)),
            (SELECT min(occurred_at) FROM unfinished)";
    Statement::new(sql, [site.into(), SqlValue::Texts(webhooks)])
}

/// Counts the matching deliveries, at most so many.
pub(crate) fn count_deliveries(filter: &Filter, most: u64) -> Statement {
    let mut conditions = Conditions::default();
    conditions.of_event(filter);
    let event = if conditions.all.is_empty() { "" } else { "JOIN event e ON e.id = d.event" };
    let whole = Filter { state: None, ..filter.clone() };
    conditions.of_delivery(&whole);
    conditions.all.push("TRUE".to_owned());
    let rest = conditions.all.join(" AND ");
    let parts = parts_of(filter);
    let parts = parts
        .iter()
        .map(|part| format!("SELECT 1 AS one FROM delivery d {event} WHERE {rest} AND {part}"));
    let parts = parts.collect::<Vec<_>>().join(" UNION ALL ");
    conditions.counted(&parts, most)
}

/// Counts matching deliveries by webhook in each of these states, of each webhook, state and index at most `most`.
/// Where the filter has more than site, webhook and state, and for claimed ones and those that are over, it is those of
/// all webhooks together. A count may be 0.
pub(crate) fn tally(filter: &Filter, states: &[DeliveryState], most: u64) -> Statement {
    use DeliveryState::{Dead, Held, Orphaned, Pending};
    let mut conditions = Conditions::default();
    conditions.of_event(filter);
    let of_event = conditions.all.clone();
    conditions.of_delivery(&Filter { state: None, ..filter.clone() });
    let of_webhook: String = conditions.all[of_event.len()..]
        .iter()
        .map(|all| format!(" AND {}", all.replacen("d.webhook", "w.id", 1)))
        .collect();
    conditions.all.push("TRUE".to_owned());
    let rest = conditions.all.join(" AND ");
    let most = conditions.value(number(most));
    let whole = Filter { site: None, webhook: None, state: None, ..filter.clone() };
    let is_whole = whole == Filter::default();
    let mut counts = Vec::new();
    for state in states {
        // Those whose index begins with the webhook.
        let by_webhook = is_whole && matches!(state, Pending | Dead | Held | Orphaned);
        let webhook = filter.webhook.clone().or_else(|| by_webhook.then(String::new));
        for part in parts_of(&Filter { state: Some(*state), webhook, ..filter.clone() }) {
            counts.push(if by_webhook {
                count_by_webhook(*state, &part, &of_event, &of_webhook, &most)
            } else {
                format!(
                    "SELECT w.name, '{}', count(*) FROM
                        (SELECT d.webhook AS webhook FROM delivery d JOIN event e ON e.id = d.event
                            WHERE {rest} AND {part} LIMIT {most}) found
                    JOIN webhook w ON w.id = found.webhook GROUP BY w.name",
                    state.as_str()
                )
            });
        }
    }
    Statement::new(counts.join(" UNION ALL "), conditions.values)
}

/// Returns the part of [`tally`] that counts each webhook's deliveries by themselves: the backlog of one does not hide
/// another's. Events are looked at last, since a webhook is of one site: another's backlog is not read to its end.
fn count_by_webhook(
    state: DeliveryState,
    part: &str,
    of_event: &[String],
    of_webhook: &str,
    most: &str,
) -> String {
    let of_event = match of_event {
        [] => String::new(),
        all => format!("JOIN event e ON e.id = found.event WHERE {}", all.join(" AND ")),
    };
    format!(
        "SELECT w.name, '{}', (SELECT count(*) FROM
            (SELECT d.event AS event FROM delivery d WHERE d.webhook = w.id AND {part}
                LIMIT {most}) found {of_event})
        FROM webhook w WHERE EXISTS
            (SELECT 1 FROM delivery d WHERE d.webhook = w.id AND {part}){of_webhook}",
        state.as_str()
    )
}

/// Counts the deliveries of these events by state.
pub(crate) fn tally_events(events: &[Uuid]) -> Statement {
    let sql = "SELECT e.uuid, CASE WHEN d.owner IS NULL THEN d.state ELSE 'claimed' END, count(*)
        FROM event e JOIN delivery d ON d.event = e.id WHERE e.uuid = ANY ($1) GROUP BY 1, 2";
    let sqlite =
        "SELECT e.uuid, CASE WHEN d.owner IS NULL THEN d.state ELSE 'claimed' END, count(*)
        FROM event e JOIN delivery d ON d.event = e.id
        WHERE e.uuid IN (SELECT unhex(value) FROM json_each(?1)) GROUP BY 1, 2";
    Statement::either(sql, sqlite, [SqlValue::Ids(events.to_vec())])
}

/// Returns the condition on the state of a filter, in parts that each have the condition of an index.
pub(super) fn parts_of(filter: &Filter) -> Vec<String> {
    match (filter.state, &filter.webhook) {
        (Some(DeliveryState::Pending), Some(_)) => vec![
            "d.state = 'pending' AND d.blocked = false AND d.owner IS NULL".to_owned(),
            "d.state = 'pending' AND d.blocked = true AND d.owner IS NULL".to_owned(),
        ],
        (Some(DeliveryState::Pending), None) => vec![
            "d.state IN ('pending', 'claimed') AND d.state = 'pending' AND d.owner IS NULL"
                .to_owned(),
        ],
        (Some(state), _) => vec![in_state(state)],
        (None, _) => vec!["TRUE".to_owned()],
    }
}

// === impl Conditions ===

impl Conditions {
    /// Completes the statement that counts rows.
    fn counted(mut self, rows: &str, most: u64) -> Statement {
        let most = self.value(number(most));
        let sql =
            format!("SELECT count(*) FROM (SELECT one FROM ({rows}) found LIMIT {most}) counted");
        Statement::new(sql, self.values)
    }
}
