//! The lists of the admin API, newest first. Each takes milliseconds over millions of rows, for every filter that
//! has to match exactly: neither database knows how many rows a value has, so they are counted first, up to a
//! limit. The condition with the fewest rows leads: its rows are read, by its index. Where every condition
//! has many, the newest rows are read until a page is full.

use crate::{
    backend::StoreBackend,
    model::DeliveryState,
    query::{DeliveryRow, EventRow, Filter, Page},
    rows::FromSqlRow,
    select::Conditions,
    store::StoreError,
    transaction::Statement,
};

/// A condition with fewer rows than this leads.
const FEW: i64 = 2_000;

/// A part of a filter that an index of its table has.
struct Lead {
    filter: Filter,
    table: LeadTable,
    /// How many rows it has, once they are counted.
    rows: i64,
}

/// So many rows may come between the count and the list.
const SLACK: i64 = 500;

#[derive(Clone, Copy, PartialEq, Eq)]
enum LeadTable {
    Event,
    Delivery,
}

/// Returns matching events.
pub(crate) async fn events(
    store: &impl StoreBackend,
    filter: &Filter,
    cursor: Option<i64>,
    limit: usize,
) -> Result<Page<EventRow>, StoreError> {
    let lead = Lead::choose(store, filter).await?;
    let mut conditions = Conditions::default();
    let (with, from) = match &lead {
        Some(lead) => {
            let chosen = match lead.table {
                LeadTable::Event => "SELECT lead.event AS id FROM lead",
                LeadTable::Delivery => "SELECT DISTINCT lead.event AS id FROM lead",
            };
            (lead.chosen(&mut conditions, chosen), "chosen CROSS JOIN event e")
        }
        None => (String::new(), "event e"),
    };
    if lead.is_some() {
        conditions.all.push("e.id = chosen.id".to_owned());
    }
    conditions.of_listed_event(filter);
    conditions.before("e.id", cursor);
    let outer = conditions.all.len();
    conditions.of_delivery(&Filter { webhook: None, ..filter.clone() });
    if let Some(webhook) = &filter.webhook {
        // The few deliveries of an event are read, and not those of the webhook.
        let name = conditions.value(webhook.as_str());
        conditions
            .all
            .push(format!("NOT (d.webhook <> (SELECT id FROM webhook WHERE name = {name}))"));
    }
    let inner = conditions.all.split_off(outer);
    if !inner.is_empty() {
        let inner = inner.join(" AND ");
        let any = "EXISTS (SELECT 1 FROM delivery d WHERE d.event = e.id AND";
        conditions.all.push(format!("{any} {inner})"));
    }
    let sql = format!("{with} SELECT e.id, {} FROM {from}", EventRow::COLUMNS);
    Ok(Page::of(limit, store.find(conditions.page::<EventRow>(&sql, "e.id", limit)).await?))
}

/// Returns matching deliveries.
pub(crate) async fn deliveries(
    store: &impl StoreBackend,
    filter: &Filter,
    cursor: Option<i64>,
    limit: usize,
) -> Result<Page<DeliveryRow>, StoreError> {
    let lead = Lead::choose(store, filter).await?;
    let mut conditions = Conditions::default();
    let (with, from) = match &lead {
        Some(lead) => {
            let chosen = match lead.table {
                LeadTable::Event => "SELECT d.id FROM lead JOIN delivery d ON d.event = lead.event",
                LeadTable::Delivery => "SELECT lead.delivery AS id FROM lead",
            };
            (lead.chosen(&mut conditions, chosen), "chosen CROSS JOIN delivery d")
        }
        None => (String::new(), "delivery d"),
    };
    if lead.is_some() {
        conditions.all.push("d.id = chosen.id".to_owned());
    }
    conditions.all.push("e.id = d.event".to_owned());
    conditions.of_listed_event(filter);
    conditions.of_delivery(filter);
    conditions.before("d.id", cursor);
    // SQLite reads the tables of a CROSS JOIN in this order: deliveries first, which are in the order of the list.
    let sql = format!(
        "{with} SELECT d.id, {}, {} FROM {from} CROSS JOIN event e JOIN webhook w ON w.id = d.webhook
            LEFT JOIN attempt a ON a.delivery = d.id AND a.number = d.attempts",
        DeliveryRow::COLUMNS,
        EventRow::COLUMNS
    );
    Ok(Page::of(limit, store.find(conditions.page::<DeliveryRow>(&sql, "d.id", limit)).await?))
}

// === impl Lead ===

impl Lead {
    /// Returns the part of a filter with the fewest rows. `None`: each has many.
    async fn choose(
        store: &impl StoreBackend,
        filter: &Filter,
    ) -> Result<Option<Self>, StoreError> {
        let mut leads = Self::of(filter);
        if leads.is_empty() {
            return Ok(None);
        }
        let counts: Vec<(i64, i64)> = store.find(counts_of(filter)).await?;
        let fewest =
            counts.into_iter().filter(|(_, rows)| *rows < FEW).min_by_key(|(_, rows)| *rows);
        let Some((place, rows)) = fewest else { return Ok(None) };
        let place = usize::try_from(place).ok().filter(|place| *place < leads.len());
        Ok(place.map(|place| Self { rows, ..leads.swap_remove(place) }))
    }

    /// Returns the parts of a filter that an index has.
    fn of(filter: &Filter) -> Vec<Self> {
        let Filter { site, event, kind, partner, station, .. } = filter.clone();
        let Filter {
            message_id,
            about,
            file_name,
            error,
            delivery,
            webhook_id,
            webhook,
            state,
            ..
        } = filter.clone();
        let none = Filter::default;
        let of_event = [
            event.map(|event| Filter { event: Some(event), ..none() }),
            partner.map(|partner| Filter { partner: Some(partner), ..none() }),
            message_id.map(|id| Filter { message_id: Some(id), ..none() }),
            about.map(|id| Filter { about: Some(id), ..none() }),
            file_name.map(|name| Filter { file_name: Some(name), ..none() }),
            error.map(|code| Filter { error: Some(code), ..none() }),
            // Their indexes begin with the site.
            kind.map(|kind| Filter { kind: Some(kind), site: site.clone(), ..none() }),
            station.map(|station| Filter { station: Some(station), site: site.clone(), ..none() }),
            site.map(|site| Filter { site: Some(site), ..none() }),
        ];
        let has_index = |state: &DeliveryState| *state != DeliveryState::Delivered;
        let state = state.filter(has_index);
        // Of these, and of no others, a webhook's have an index.
        let is_set_aside = !matches!(state, Some(DeliveryState::Pending | DeliveryState::Claimed));
        let of_state = state.map(|state| {
            let webhook = webhook.clone().filter(|_| is_set_aside);
            Filter { state: Some(state), webhook, ..none() }
        });
        let of_delivery = [
            delivery.map(|delivery| Filter { delivery: Some(delivery), ..none() }),
            webhook_id.map(|id| Filter { webhook_id: Some(id), ..none() }),
            webhook.map(|webhook| Filter { webhook: Some(webhook), ..none() }),
            of_state,
        ];
        let of_event = of_event.into_iter().flatten().map(|part| (part, LeadTable::Event));
        let of_delivery = of_delivery.into_iter().flatten().map(|part| (part, LeadTable::Delivery));
        of_event.chain(of_delivery).map(|(filter, table)| Self { filter, table, rows: 0 }).collect()
    }

    /// Adds its own condition, as text, in the order of its index: of a value that many rows have, PostgreSQL
    /// would read the whole table until there are enough.
    fn condition(&self, conditions: &mut Conditions) -> String {
        let only = |filter: Filter| self.filter == filter;
        if let Some(webhook) = &self.filter.webhook
            && only(Filter { webhook: Some(webhook.clone()), ..Filter::default() })
        {
            // As a range: an equation would leave nothing of the order that this index alone has.
            let name = conditions.value(webhook.as_str());
            // The index is one of an expression.
            let webhook = format!("(SELECT id + 0 FROM webhook WHERE name = {name})");
            return format!(
                "d.webhook + 0 >= {webhook} AND d.webhook + 0 <= {webhook}
                    ORDER BY d.webhook + 0, d.id"
            );
        }
        let before = conditions.all.len();
        if let Some(site) = &self.filter.site {
            conditions.and("e.site =", site.as_str());
        }
        conditions.of_event(&Filter { site: None, ..self.filter.clone() });
        conditions.of_delivery(&self.filter);
        let condition = conditions.all.split_off(before).join(" AND ");
        if only(Filter { site: self.filter.site.clone(), ..Filter::default() }) {
            format!("{condition} ORDER BY e.kind")
        } else if self.filter.state == Some(DeliveryState::Pending) {
            format!("{condition} ORDER BY d.occurred_at")
        } else {
            condition
        }
    }

    /// Returns the beginning of a statement that reads its rows first.
    fn chosen(&self, conditions: &mut Conditions, select: &str) -> String {
        let condition = self.condition(conditions);
        let rows = match self.table {
            LeadTable::Event => "e.id AS event FROM event e",
            LeadTable::Delivery => "d.id AS delivery, d.event AS event FROM delivery d",
        };
        // With the limit, which is not reached, PostgreSQL expects as few.
        let most = self.rows + SLACK;
        format!(
            "WITH lead AS MATERIALIZED (SELECT {rows} WHERE {condition} LIMIT {most}),
                chosen AS MATERIALIZED ({select})"
        )
    }
}

/// Counts the rows of each part of a filter that may lead, up to [`FEW`], after its place.
pub(crate) fn counts_of(filter: &Filter) -> Statement {
    let mut conditions = Conditions::default();
    let counts: Vec<_> = Lead::of(filter)
        .iter()
        .enumerate()
        .map(|(place, lead)| {
            let table = match lead.table {
                LeadTable::Event => "event e",
                LeadTable::Delivery => "delivery d",
            };
            let condition = lead.condition(&mut conditions);
            format!(
                "SELECT {place} AS place, count(*) AS n FROM
                    (SELECT 1 FROM {table} WHERE {condition} LIMIT {FEW}) some_{place}"
            )
        })
        .collect();
    Statement::new(counts.join(" UNION ALL "), conditions.values)
}
