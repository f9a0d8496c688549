//! The order of deliveries with the same webhook and order key: only the first unfinished one is not
//! blocked.

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::{rows::SqlValue, transaction::Statement};

/// Waits until no other transaction changes these orders or records, and holds their locks until this
/// one ends. There are 128 locks for all orders, and 128 for all records: all gateways together stay
/// within the few thousand locks of a server with default settings. All transactions take them in the
/// same order, before rows of events and of deliveries.
const LOCK: &str = "SELECT pg_advisory_xact_lock(1634882402, lane) FROM (
    SELECT hashtext(key) & 127 AS lane FROM unnest($1::text[]) AS key
    UNION SELECT hashtext(order_key) & 127 FROM delivery
        WHERE id = ANY ($2) AND order_key IS NOT NULL
    UNION SELECT hashtext(p.order_key) & 127 FROM event e JOIN order_place p ON p.event = e.id
        WHERE e.uuid = ANY ($3)
    UNION SELECT 128 + (hashtext(key) & 127) FROM unnest($4::text[]) AS key
    ORDER BY lane) AS lanes";

/// Blocks deliveries that are not the first, or not known to be: another one is not blocked either. A
/// claimed one stays as it is.
pub(crate) const BLOCK: &str = "UPDATE delivery SET blocked = true
    WHERE webhook = $1 AND order_key = $2 AND blocked = false AND state IN ('pending', 'held')
        AND owner IS NULL AND (EXISTS
            (SELECT 1 FROM delivery o WHERE o.webhook = $1 AND o.order_key = $2
                AND o.blocked = true AND o.state IN ('pending', 'held')
                AND (o.event, o.id) < (delivery.event, delivery.id))
        OR EXISTS
            (SELECT 1 FROM delivery o WHERE o.webhook = $1 AND o.order_key = $2
                AND o.blocked = false AND o.state IN ('pending', 'held') AND o.id <> delivery.id)
        OR EXISTS
            (SELECT 1 FROM order_place p WHERE p.webhook = $1 AND p.order_key = $2
                AND p.event < delivery.event))";

/// Unblocks the first delivery, unless another one is not blocked, or an earlier event has a place.
pub(crate) const UNBLOCK: &str = "UPDATE delivery SET blocked = false WHERE id =
        (SELECT id FROM delivery WHERE webhook = $1 AND order_key = $2
            AND blocked = true AND state IN ('pending', 'held') ORDER BY event, id LIMIT 1)
    AND NOT EXISTS
        (SELECT 1 FROM order_place p WHERE p.webhook = $1 AND p.order_key = $2
            AND p.event < delivery.event)
    AND NOT EXISTS
        (SELECT 1 FROM delivery WHERE webhook = $1 AND order_key = $2
            AND blocked = false AND state IN ('pending', 'held'))";

/// What a transaction locks before it reads.
#[derive(Default)]
pub(crate) struct Locks {
    /// Order keys.
    pub(crate) orders: BTreeSet<String>,
    /// Deliveries whose orders change.
    pub(crate) deliveries: Vec<i64>,
    /// Events whose places end. Places do not change while their event is open.
    pub(crate) places: BTreeSet<Uuid>,
    /// Keys of records.
    pub(crate) records: BTreeSet<String>,
}

/// Makes sure that of each order, a webhook and a key, only the first unfinished delivery is not
/// blocked, and none while one is claimed or an earlier event has a place. The orders are locked.
pub(crate) fn reorder(
    orders: impl IntoIterator<Item = (i64, String)>,
) -> impl Iterator<Item = Statement> {
    orders.into_iter().flat_map(|(webhook, key)| {
        let values = [webhook.into(), SqlValue::Text(key)];
        [Statement::new(BLOCK, values.clone()), Statement::new(UNBLOCK, values)]
    })
}

// === impl Locks ===

impl Locks {
    /// Returns the statement, if anything is to be locked.
    pub(crate) fn statement(self) -> Option<Statement> {
        let Self { orders, deliveries, places, records } = self;
        let none = orders.is_empty() && deliveries.is_empty() && places.is_empty();
        (!none || !records.is_empty()).then(|| {
            Statement::postgres(
                LOCK,
                [
                    SqlValue::Texts(orders.into_iter().collect()),
                    SqlValue::Numbers(deliveries),
                    SqlValue::Ids(places.into_iter().collect()),
                    SqlValue::Texts(records.into_iter().collect()),
                ],
            )
        })
    }

    /// Locks the orders of these deliveries.
    pub(crate) fn of(deliveries: &[i64]) -> Option<Statement> {
        Self { deliveries: deliveries.to_vec(), ..Self::default() }.statement()
    }
}
