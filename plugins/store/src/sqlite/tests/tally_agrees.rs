//! The counts of the status page equal those of the table after every operation.

use super::*;
use crate::{
    model::{Attempt, DeliveryOutcome},
    partner_webhook::UnqueuedDelivery,
    steering::DeliveryChange,
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
    for change in [DeliveryChange::Cancel, DeliveryChange::Replay, DeliveryChange::Retry] {
        assert!(store.change_deliveries(change, &Filter::default()).await.unwrap() > 0);
        agrees(&store).await;
    }
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
