//! The counts of the status page equal those of the table after every operation.

use super::*;
use crate::{
    model::{Attempt, DeliveryOutcome},
    partner_webhook::UnqueuedDelivery,
};

fn planned(webhook_id: &str, webhook: &str, due: i64) -> NewDelivery {
    NewDelivery {
        webhook_id: webhook_id.to_owned(),
        webhook: webhook.to_owned(),
        mode: "json".to_owned(),
        order_key: Some("ACME".to_owned()),
        due,
    }
}

fn attempt(number: u32) -> Attempt {
    let url = "https://erp.example/".to_owned();
    Attempt { number, at: 0, url, http_code: None, error: None, duration_ms: 0 }
}

/// Compares with a count of all rows.
async fn agrees(store: &SqliteStore) {
    let counted = store.counts().await.unwrap();
    let count = |connection: &rusqlite::Connection| {
        let mut numbers = Vec::new();
        for state in DeliveryState::ALL {
            let sql = "SELECT count(*) FROM delivery
                WHERE iif(owner IS NULL, state, 'claimed') = ?1";
            let n: i64 = connection.query_row(sql, [state.as_str()], |row| row.get(0))?;
            numbers.push((state, n.unsigned_abs()));
        }
        Ok(numbers)
    };
    assert_eq!(counted.deliveries, store.readers.run(count).await.unwrap());
}

#[tokio::test]
async fn counts_equal_the_table_after_every_operation() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let fates = [
        DeliveryOutcome::Delivered,
        DeliveryOutcome::Retry(5),
        DeliveryOutcome::Dead,
        DeliveryOutcome::Held,
        DeliveryOutcome::Orphaned,
    ];
    for n in 0..60 {
        let id = format!("w{n}");
        store
            .commit(vec![Write::Publish(
                event(),
                vec![planned(&id, "erp", 0), planned(&id, "erp", 0)],
            )])
            .await
            .unwrap();
    }
    agrees(&store).await;
    for n in 0..40 {
        let Some(claimed) = store.claim("erp", i64::MAX, 1).await.unwrap().pop() else { break };
        agrees(&store).await;
        let attempt = Some(attempt(claimed.attempts + 1));
        let record = AttemptRecord { delivery: claimed.id, attempt, outcome: fates[n % 5] };
        store.finish(vec![record.clone(), record]).await.unwrap();
        agrees(&store).await;
        if n % 7 == 0 {
            store.change_state("erp", DeliveryState::Held, DeliveryState::Pending).await.unwrap();
            agrees(&store).await;
        }
    }
    assert!(store.replay(&Filter::default()).await.unwrap() > 0);
    agrees(&store).await;
    let attempt = attempt(1);
    let state = DeliveryState::Dead;
    let made =
        UnqueuedDelivery { event: event(), delivery: planned("test", "crm", 0), attempt, state };
    store.log_attempt(made).await.unwrap();
    agrees(&store).await;
    store.change_state("erp", DeliveryState::Pending, DeliveryState::Dead).await.unwrap();
    agrees(&store).await;
    assert!(store.prune(Prune::Events(i64::MAX), 1_000).await.unwrap() > 0);
    agrees(&store).await;
}

/// An as2hook that marked claims by their state wrote this, and died.
#[tokio::test]
async fn claims_of_an_older_version_are_counted_and_released() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    store.commit(vec![Write::Publish(event(), vec![planned("w1", "erp", 0)])]).await.unwrap();
    let claim = |connection: &rusqlite::Connection| {
        connection.execute_batch(
            "INSERT INTO owner (id, uuid, started_at) VALUES (99, 'older', 0);
            UPDATE delivery SET state = 'claimed', owner = 99;
            UPDATE tally SET n = 0 WHERE state = 'pending';
            UPDATE tally SET n = 1 WHERE state = 'claimed';",
        )?;
        Ok(())
    };
    store.writer.run(claim).await.unwrap();
    agrees(&store).await;
    assert!(store.claim("erp", 0, 1).await.unwrap().is_empty());
    store.adopt().await.unwrap();
    agrees(&store).await;
    assert_eq!(store.claim("erp", 0, 1).await.unwrap().len(), 1);
    agrees(&store).await;
}
