//! The cost of calls does not grow with the backlog.

use std::time::Instant;

use super::*;
use crate::{
    group::{CallGroup, StoreCall, claim},
    lists, order, retention, select,
};

#[tokio::test]
async fn calls_are_fast_with_a_long_backlog() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions { wait: Duration::from_secs(300), ..SqliteOptions::default() };
    let store = open_with(&folder, &options);
    store.writer.run(lay_backlog).await.unwrap();
    assert_eq!(store.counts().await.unwrap().deliveries[0].1, 100_000);
    let started = Instant::now();
    for n in 0..50 {
        assert_eq!(store.due().await.unwrap().len(), 50);
        let claimed = store.claim(&format!("hook-{n}"), 0, 4).await.unwrap();
        assert_eq!(claimed.len(), 4);
        let outcome = crate::model::DeliveryOutcome::Delivered;
        let records = claimed
            .iter()
            .map(|claimed| AttemptRecord { delivery: claimed.id, attempt: None, outcome })
            .collect();
        store.finish(records).await.unwrap();
        store.counts().await.unwrap();
    }
    // Reading all of them each time would take at least a minute in a build without optimisation.
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

#[tokio::test]
async fn frequent_statements_use_their_indexes() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let (set_aside, due) = (select::set_aside().sql, select::due().sql);
    let counts = select::counts().sql;
    for (sql, index) in [
        (
            claim::CLAIM,
            "SEARCH delivery USING INDEX delivery_due (webhook=? AND replay=? AND due<?)",
        ),
        (claim::CLAIM, "SEARCH delivery USING INTEGER PRIMARY KEY (rowid=?)"),
        (order::UNBLOCK, "INDEX delivery_order (webhook=? AND order_key=? AND blocked=?)"),
        (
            order::BLOCK,
            "SEARCH delivery USING INDEX delivery_order (webhook=? AND order_key=? AND blocked=?",
        ),
        (
            order::BLOCK,
            "SEARCH o USING INDEX delivery_order (webhook=? AND order_key=? AND blocked=? AND event<?)",
        ),
        (claim::READ, "SEARCH d USING INDEX delivery_claimed (owner=? AND ticket=?)"),
        (&set_aside, "USING COVERING INDEX delivery_parked (webhook=? AND state=?)"),
        (&due, "SEARCH delivery USING INDEX delivery_due (webhook=? AND replay=?)"),
        (&counts, "SEARCH delivery USING INDEX delivery_undelivered"),
        (select::NAMED, "INDEX event_payload_file (<expr>=?)"),
        (retention::BEFORE, "INDEX event_idle (idle_since<?)"),
        (retention::BEYOND, "USING COVERING INDEX event_delivered (idle_since>?)"),
        (retention::UP_TO, "INDEX event_delivered (idle_since"),
        (prune::PAYLOAD_BYTES, "USING COVERING INDEX event_payload"),
        (
            "SELECT 1 FROM event e WHERE e.message_id = ? AND substr(e.message_id, 1, 200) = ?",
            "USING INDEX event_message (<expr>=?)",
        ),
        (retention::LARGE, "USING COVERING INDEX note_group"),
        (retention::TRIM, "INDEX note_group (<expr>=?)"),
        (retention::PURGEABLE, "USING INDEX event_payload_idle (payload_idle_since<?)"),
    ] {
        let statement = readers::translated(sql, 0, false).sql;
        let plan =
            store.readers.run(move |connection| Ok(plan(connection, &statement)?)).await.unwrap();
        assert!(plan.contains(index), "{sql}\n{plan}");
        // A claim sorts the few rows that it has taken.
        let sorts = sql != claim::READ && plan.contains("TEMP B-TREE FOR ORDER");
        assert!(!plan.contains("SCAN delivery\n") && !sorts, "{plan}");
    }
}

/// SQLite put the value of a column into the expression of its index, and then read every row.
#[tokio::test]
async fn each_condition_of_a_list_has_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let some = |text: &str| Some(text.to_owned());
    let all = Filter {
        site: some("main"),
        event: Some(Uuid::nil()),
        kind: some("send.error"),
        partner: some("ACME"),
        station: some("US"),
        message_id: some("1@acme"),
        about: some("1@us"),
        file_name: some("o.edi"),
        error: Some(900),
        delivery: Some(1),
        webhook: some("erp"),
        webhook_id: some("msg_1"),
        ..Filter::default()
    };
    let plan_of = async |filter: Filter| {
        let statement = readers::translated(&lists::counts_of(&filter).sql, 0, false).sql;
        store.readers.run(move |connection| Ok(plan(connection, &statement)?)).await.unwrap()
    };
    let found = plan_of(all).await;
    for index in [
        "sqlite_autoindex_event_1 (uuid=?)",
        "event_kind (site=? AND kind=?)",
        "event_kind (site=?)",
        "event_partner (<expr>=?)",
        "event_station (site=? AND <expr>=?)",
        "event_message (<expr>=?)",
        "event_about (<expr>=?)",
        "event_file (<expr>=?)",
        "event_errors",
        "delivery_webhook (<expr>>? AND <expr><?)",
        "sqlite_autoindex_delivery_1 (webhook_id=?)",
    ] {
        assert!(found.contains(index), "{index}\n{found}");
    }
    for (state, index) in [
        (DeliveryState::Pending, "delivery_undelivered"),
        (DeliveryState::Claimed, "delivery_claimed"),
        (DeliveryState::Dead, "delivery_parked"),
        (DeliveryState::Cancelled, "delivery_cancelled"),
    ] {
        let found = plan_of(Filter { state: Some(state), ..Filter::default() }).await;
        assert!(found.contains(index), "{index}\n{found}");
    }
}

/// An index of all rows of a webhook or a site was taken in the place of the smaller one of those that are open.
#[tokio::test]
async fn count_of_open_deliveries_reads_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let site = Filter { site: Some("main".to_owned()), ..Filter::default() };
    let webhook = Filter {
        webhook: Some("erp".to_owned()),
        state: Some(DeliveryState::Pending),
        ..site.clone()
    };
    let open = DeliveryState::ALL.into_iter().filter(|state| *state != DeliveryState::Delivered);
    for statement in [
        select::tally(&site, &open.collect::<Vec<_>>(), 10),
        select::counts_of("main", vec!["erp".to_owned()]),
        select::count_deliveries(&webhook, 10),
    ] {
        let sql = readers::translated(&statement.sql, 0, false).sql;
        let text = sql.clone();
        let plan = store.readers.run(move |connection| Ok(plan(connection, &sql)?)).await.unwrap();
        for index in ["delivery_webhook", "delivery_event", "event_kind", "event_station"] {
            assert!(!plan.contains(index), "{text}\n{plan}");
        }
    }
}

/// 100,000 deliveries for 50 webhooks, a third of them in an order.
fn lay_backlog(connection: &rusqlite::Connection) -> Result<(), StoreError> {
    let calls = StoreCall::Writes(vec![Write::Publish(event(), vec![])]);
    transaction::make(connection, &CallGroup::of(0, calls))?;
    for n in 0..50 {
        connection.execute("INSERT INTO webhook (name) VALUES (?1)", [format!("hook-{n}")])?;
    }
    connection.execute_batch(
        "WITH RECURSIVE numbers (n) AS
            (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 99999)
        INSERT INTO delivery
            (webhook_id, event, webhook, mode, order_key, state, due, occurred_at, blocked)
        SELECT 'id-' || n, event.id, webhook.id, 'json', iif(n % 3 = 0, 'ACME', NULL), 'pending',
            0, 0, n % 3 = 0 AND n >= 150
        FROM numbers, event, webhook WHERE webhook.name = 'hook-' || (n % 50)",
    )?;
    connection.execute("UPDATE tally SET n = 100000 WHERE state = 'pending'", [])?;
    Ok(())
}

fn plan(connection: &rusqlite::Connection, sql: &str) -> rusqlite::Result<String> {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
    let mut rows = statement.raw_query();
    let mut plan = String::new();
    while let Some(row) = rows.next()? {
        plan += &row.get::<_, String>(3)?;
        plan.push('\n');
    }
    Ok(plan)
}
