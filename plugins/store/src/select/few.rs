//! Rows that an index names, where they are few: the newest rows of a rare state or partner are found without a
//! scan of all rows, which is what the databases do for a list that is in the order of another index.

use super::{Conditions, counts::parts_of, in_state};
use crate::{
    columns::length, model::DeliveryState, query::Filter, rows::SqlValue, transaction::Statement,
};

/// The most rows that are few. Where there are more, the newest ones are soon found by a scan.
pub(crate) const FEW: usize = 5_000;

/// What is known of the rows that a filter selects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum FewRows {
    /// Nothing: they may be many, or another index finds them.
    #[default]
    Unknown,
    /// They are among these deliveries, each with its event.
    Deliveries(Vec<(i64, i64)>),
    /// They are among these events.
    Events(Vec<i64>),
}

/// Selects the deliveries in a rare state, and their events: one more than [`FEW`] says that they are many. `None`:
/// the filter has no such state, or another condition finds its rows.
pub(crate) fn few_deliveries(filter: &Filter) -> Option<Statement> {
    if is_selective(filter) || matches!(filter.state?, DeliveryState::Delivered) {
        return None;
    }
    let mut conditions = Conditions::default();
    if let Some(webhook) = &filter.webhook {
        conditions.webhook("d.webhook", webhook);
    }
    conditions.all.push("TRUE".to_owned());
    let webhook = conditions.all.join(" AND ");
    let parts = match filter.state {
        Some(DeliveryState::Cancelled) => vec![in_state(DeliveryState::Cancelled)],
        _ => parts_of(filter),
    };
    let parts = parts.iter().map(|part| {
        format!("SELECT d.id AS id, d.event AS event FROM delivery d WHERE {webhook} AND {part}")
    });
    let parts = parts.collect::<Vec<_>>().join(" UNION ALL ");
    let most = conditions.value(length(FEW + 1));
    let sql = format!("SELECT id, event FROM ({parts}) found LIMIT {most}");
    Some(Statement::new(sql, conditions.values))
}

/// Selects the events of a partner, likewise.
pub(crate) fn few_events(filter: &Filter) -> Option<Statement> {
    let partner = filter.partner.as_ref().filter(|_| !is_selective(filter))?;
    let mut conditions = Conditions::default();
    conditions.long("e.partner", partner);
    let partner = conditions.all.join(" AND ");
    let most = conditions.value(length(FEW + 1));
    Some(Statement::new(
        format!("SELECT e.id FROM event e WHERE {partner} LIMIT {most}"),
        conditions.values,
    ))
}

/// Whether a condition finds a few rows by an index of its own.
fn is_selective(filter: &Filter) -> bool {
    let Filter { event, message_id, about, file_name, delivery, webhook_id, .. } = filter;
    event.is_some()
        || delivery.is_some()
        || [message_id, about, file_name, webhook_id].into_iter().any(Option::is_some)
}

// === impl FewRows ===

impl FewRows {
    /// Adds the condition on the deliveries of a list.
    pub(super) fn add_to_deliveries(&self, conditions: &mut Conditions) {
        match self {
            Self::Unknown => {}
            Self::Deliveries(rows) => {
                conditions.any_of("d.id", rows.iter().map(|(delivery, _)| *delivery).collect());
            }
            Self::Events(events) => conditions.any_of("d.event", events.clone()),
        }
    }

    /// Adds the condition on the events of a list.
    pub(super) fn add_to_events(&self, conditions: &mut Conditions) {
        match self {
            Self::Unknown => {}
            Self::Deliveries(rows) => {
                conditions.any_of("e.id", rows.iter().map(|(_, event)| *event).collect());
            }
            Self::Events(events) => conditions.any_of("e.id", events.clone()),
        }
    }
}

// === impl Conditions ===

impl Conditions {
    fn any_of(&mut self, column: &str, numbers: Vec<i64>) {
        self.values.push(SqlValue::Numbers(numbers));
        self.all.push(format!("{column} = ANY (${})", self.values.len()));
    }
}
