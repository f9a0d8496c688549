//! A site moves from the embedded store to the shared one.

use std::{path::Path, sync::Arc};

use as2hook_store::{
    Before, BlobStore, DeliveryOutcome, DeliveryQueue, DeliveryState, EventStore, Filter,
    MigrateError, Moved, NewDelivery, NewEvent, PartnerWebhookChange, Payload, PostgresStore, RAW,
    Record, RecordChange, SqliteOptions, SqliteStore, Store, WebhookState, Write, migrate,
};
use as2hook_testing::Postgres;

use super::{
    behaviour::{claim, delivery, event, finish, id, ordered, settlement, webhook_ids},
    connect, end_lease, last_owner,
};

fn open(folder: &tempfile::TempDir) -> SqliteStore {
    SqliteStore::open(&folder.path().join("as2hook.db"), &SqliteOptions::default()).unwrap()
}

/// Everything that a stopped site may have.
async fn settle_in(store: &SqliteStore, folder: &Path) {
    let process = folder.join("payloads/process");
    std::fs::create_dir_all(&process).unwrap();
    std::fs::write(process.join("payload"), vec![7; 600_000]).unwrap();
    let kept = Payload::File { path: "process/payload".into(), size: 600_000 };
    let raw = NewEvent { payload: kept, ..event("raw") };
    store.commit(vec![Write::Publish(raw, vec![delivery("raw", "files")])]).await.unwrap();
    for name in ["first", "second", "third"] {
        store
            .commit(vec![Write::Publish(event(name), vec![ordered(name, "erp", "ACME")])])
            .await
            .unwrap();
    }
    let first = &claim(store, "erp", 0).await[0];
    finish(store, first, DeliveryOutcome::Retry(9_000)).await;
    store.commit(vec![Write::Publish(event("done"), vec![delivery("done", "log")])]).await.unwrap();
    finish(store, &claim(store, "log", 0).await[0], DeliveryOutcome::Delivered).await;
    store.commit(vec![Write::Publish(event("dead"), vec![delivery("dead", "log")])]).await.unwrap();
    finish(store, &claim(store, "log", 0).await[0], DeliveryOutcome::Dead).await;
    store.commit(vec![Write::Publish(event("held"), vec![delivery("held", "off")])]).await.unwrap();
    store.change_state("off", DeliveryState::Pending, DeliveryState::Held).await.unwrap();
    store.commit(vec![Write::Open(event("settled"), vec![])]).await.unwrap();
    store
        .commit(vec![Write::Settle(settlement("settled", vec![delivery("settled", "late")]))])
        .await
        .unwrap();
    store.commit(vec![Write::Open(event("open"), vec![delivery("open", "erp")])]).await.unwrap();
    let state = WebhookState {
        webhook: "off".to_owned(),
        disabled: Some("it responded with 410".to_owned()),
        failing_since: Some(5),
        fingerprint: "f".to_owned(),
    };
    store.set_webhook_state(state).await.unwrap();
    let change = PartnerWebhookChange {
        site: "main".to_owned(),
        partner: 123,
        url: Some("https://acme.example/hook".to_owned()),
        sealed_secret: Some(b"sealed".to_vec()),
        enabled: None,
        events: Some(vec!["message.received".to_owned()]),
    };
    store.configure_partner_webhook(change).await.unwrap();
    let note =
        Record { key: "sent:1".to_owned(), body: b"n".to_vec(), due: Some(3), expires: i64::MAX };
    store
        .commit(vec![Write::Record(RecordChange { record: note, before: Before::Any })])
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrated_site_continues_where_it_stopped() {
    let (folder, postgres) = (tempfile::tempdir().unwrap(), Postgres::shared());
    let old = open(&folder);
    settle_in(&old, folder.path()).await;
    old.close().await;
    let old = open(&folder);
    let new = connect(&postgres).await;

    let moved = migrate(&old, &new, |_| ()).await.unwrap();
    let wanted = Moved {
        events: 9,
        open: 1,
        payloads: 1,
        deliveries: 8,
        undelivered: 6,
        notes: 1,
        ..Moved::default()
    };
    assert_eq!(moved, wanted);
    let all = Filter::default();
    let listed = |store: Arc<dyn Store>| {
        let all = all.clone();
        async move {
            let mut rows = store.deliveries(&all, None, 100).await.unwrap().rows;
            // Each store has its own numbers.
            rows.iter_mut().for_each(|row| row.id = 0);
            let attempts = store.attempts(&all, None, 100).await.unwrap().rows;
            let attempts: Vec<_> =
                attempts.into_iter().map(|row| (row.webhook_id, row.attempt, row.state)).collect();
            (rows, attempts)
        }
    };
    let old: Arc<dyn Store> = Arc::new(old);
    assert_eq!(listed(new.clone()).await, listed(old.clone()).await);
    assert_eq!(new.counts().await.unwrap(), old.counts().await.unwrap());
    assert_eq!(new.webhook_states().await.unwrap(), old.webhook_states().await.unwrap());
    assert_eq!(new.partner_webhooks().await.unwrap(), old.partner_webhooks().await.unwrap());
    assert_eq!(new.record("sent:1").await.unwrap(), old.record("sent:1").await.unwrap());

    goes_on(&new).await;
    let owner = last_owner(&postgres);
    new.close().await;
    end_lease(&postgres, &owner);
    let next = connect(&postgres).await;
    let left = next.adopt().await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!((left[0].0.id, &left[0].1[0].webhook), (id("open"), &"erp".to_owned()));
}

/// Pending deliveries are made: the ordered ones in order, the payload complete.
async fn goes_on(new: &Arc<PostgresStore>) {
    assert!(claim(&**new, "erp", 8_000).await.is_empty(), "the first waits for its retry");
    for name in ["first", "second", "third"] {
        let claimed = claim(&**new, "erp", 9_000).await;
        assert_eq!(webhook_ids(&claimed), [name]);
        assert_eq!(claimed[0].attempts, u32::from(name == "first"));
        finish(&**new, &claimed[0], DeliveryOutcome::Delivered).await;
    }
    let claimed = &claim(&**new, "late", 0).await[0];
    assert_eq!(claimed.event.verdict.as_deref(), Some(&b"answered"[..]));
    let raw = &claim(&**new, "files", 0).await[0];
    let Payload::Stored { id, size: 600_000 } = raw.event.payload else { panic!("{raw:?}") };
    let mut bytes = Vec::new();
    while let Some(piece) =
        new.get(id, u32::try_from(bytes.len() / new.size()).unwrap()).await.unwrap()
    {
        bytes.extend_from_slice(&piece);
        if bytes.len() == 600_000 {
            break;
        }
    }
    assert!(bytes == vec![7; 600_000], "{} bytes", bytes.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_migration_moves_nothing_twice() {
    let (folder, postgres) = (tempfile::tempdir().unwrap(), Postgres::shared());
    let old = open(&folder);
    settle_in(&old, folder.path()).await;
    let new = connect(&postgres).await;
    migrate(&old, &new, |_| ()).await.unwrap();
    let before = new.counts().await.unwrap();
    let again = migrate(&old, &new, |_| ()).await.unwrap();
    assert_eq!(again.there_before, again.events - again.open + again.deliveries);
    assert_eq!(new.counts().await.unwrap(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_in_use_is_not_migrated() {
    let (folder, postgres) = (tempfile::tempdir().unwrap(), Postgres::shared());
    let (gateway, old) = (open(&folder), open(&folder));
    assert!(old.in_use().unwrap());
    let new = connect(&postgres).await;
    let refused = migrate(&old, &new, |_| ()).await;
    assert!(matches!(refused, Err(MigrateError::InUse)), "{refused:?}");
    gateway.close().await;
    assert!(!old.in_use().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrated_payloads_are_spent_as_before() {
    let (folder, postgres) = (tempfile::tempdir().unwrap(), Postgres::shared());
    let old = open(&folder);
    let raw = |name: &str| NewDelivery { mode: RAW.to_owned(), ..delivery(name, "files") };
    let of = |name: &str| {
        let payload = Payload::Inline(b"UNB+".to_vec().into());
        NewEvent { payload, ..event(name) }
    };
    old.commit(vec![Write::Publish(of("spent"), vec![raw("spent")])]).await.unwrap();
    finish(&old, &claim(&old, "files", 0).await[0], DeliveryOutcome::Delivered).await;
    assert_eq!(old.purge_payloads(i64::MAX, 10).await.unwrap().events, 1);
    old.commit(vec![Write::Publish(of("made"), vec![raw("made")])]).await.unwrap();
    finish(&old, &claim(&old, "files", 0).await[0], DeliveryOutcome::Delivered).await;
    old.commit(vec![Write::Publish(of("without deliveries"), vec![])]).await.unwrap();
    old.commit(vec![Write::Publish(of("waits"), vec![raw("waits")])]).await.unwrap();
    old.close().await;
    let (old, new) = (open(&folder), connect(&postgres).await);
    migrate(&old, &new, |_| ()).await.unwrap();

    let payload = |name: &str| {
        let (new, event) = (Arc::clone(&new), id(name));
        async move { new.event(event).await.unwrap().unwrap().payload }
    };
    assert!(matches!(payload("spent").await, Payload::Purged { .. }));
    assert!(!matches!(payload("made").await, Payload::Purged { .. }));
    assert_eq!(new.purge_payloads(i64::MAX, 10).await.unwrap().events, 2);
    for name in ["spent", "made", "without deliveries"] {
        assert!(matches!(payload(name).await, Payload::Purged { .. }), "{name}");
    }
    let claimed = claim(&*new, "files", i64::MAX).await;
    assert_eq!(claimed[0].event.payload, Payload::Inline(b"UNB+".to_vec().into()));
}
