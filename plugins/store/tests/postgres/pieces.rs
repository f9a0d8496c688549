//! Large payloads in pieces.

use as2hook_store::{
    BlobStore, DeliveryOutcome, EventStore, NewEvent, Payload, PostgresStore, Prune, Store, Write,
};
use as2hook_testing::Postgres;
use bytes::Bytes;
use uuid::Uuid;

use super::{
    behaviour::{claim, delivery, event, finish, id},
    connect,
};

async fn put(store: &PostgresStore, payload: Uuid, pieces: u32) {
    for index in 0..pieces {
        let bytes = Bytes::from(vec![u8::try_from(index).unwrap(); store.size()]);
        store.put(payload, index, bytes).await.unwrap();
    }
}

#[tokio::test]
async fn pieces_are_read_and_removed_with_their_payload() {
    let postgres = Postgres::shared();
    let store = connect(&postgres).await;
    put(&store, id("a"), 3).await;
    // A repeated write changes nothing.
    store.put(id("a"), 1, Bytes::from_static(b"other")).await.unwrap();
    let piece = store.get(id("a"), 1).await.unwrap().unwrap();
    assert!(piece.len() == store.size() && piece.iter().all(|byte| *byte == 1));
    assert_eq!(store.get(id("a"), 3).await.unwrap(), None);
    store.remove(id("a")).await.unwrap();
    store.remove(id("a")).await.unwrap();
    assert_eq!(store.get(id("a"), 0).await.unwrap(), None);
}

#[tokio::test]
async fn old_pieces_are_listed_in_pages() {
    let postgres = Postgres::shared();
    let store = connect(&postgres).await;
    let mut all = Vec::new();
    for name in ["a", "b", "c"] {
        put(&store, id(name), 2).await;
        all.push(id(name));
    }
    all.sort();
    assert_eq!(store.older(i64::MAX, None, 2).await.unwrap(), all[..2]);
    assert_eq!(store.older(i64::MAX, Some(all[1]), 2).await.unwrap(), all[2..]);
    assert!(store.older(0, None, 2).await.unwrap().is_empty());
}

#[tokio::test]
async fn pieces_are_removed_with_their_event() {
    let postgres = Postgres::shared();
    let store = connect(&postgres).await;
    let of = |name: &str| {
        let payload = Payload::Stored { id: id(name), size: 1 };
        NewEvent { payload, ..event(name) }
    };
    for name in ["published", "discarded", "open"] {
        put(&store, id(name), 2).await;
    }
    store.commit(vec![Write::Publish(of("published"), vec![delivery("w1", "erp")])]).await.unwrap();
    store.commit(vec![Write::Open(of("discarded"), vec![])]).await.unwrap();
    store.commit(vec![Write::Open(of("open"), vec![])]).await.unwrap();
    store.commit(vec![Write::Discard(id("discarded"))]).await.unwrap();
    let claimed = claim(&*store, "erp", 0).await;
    finish(&*store, &claimed[0], DeliveryOutcome::Delivered).await;
    assert_eq!(store.prune(Prune::Events(i64::MAX), 10).await.unwrap(), 1);
    assert_eq!(store.older(i64::MAX, None, 10).await.unwrap(), [id("open")]);
    assert_eq!(postgres.sql("SELECT count(*) FROM as2hook.piece"), "2");
}

#[tokio::test]
async fn many_pieces_are_removed_in_steps_the_first_one_last() {
    let postgres = Postgres::shared();
    let store = connect(&postgres).await;
    let of = |name: &str| {
        let payload = Payload::Stored { id: id(name), size: 1 };
        NewEvent { payload, ..event(name) }
    };
    let put = |name: &str| {
        let id = id(name);
        postgres.sql(&format!(
            "INSERT INTO as2hook.piece SELECT '{id}', n, 'x', 0 FROM generate_series(0, 299) AS n"
        ));
    };
    // Only small statements succeed.
    postgres.sql(
        "CREATE TABLE as2hook.step (n int, first boolean);
        CREATE FUNCTION as2hook.step() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO as2hook.step SELECT count(*), bool_or(number = 0) FROM gone; RETURN NULL;
        END $$;
        CREATE TRIGGER step AFTER DELETE ON as2hook.piece REFERENCING OLD TABLE AS gone
            FOR EACH STATEMENT EXECUTE FUNCTION as2hook.step();
        GRANT ALL ON as2hook.step TO as2hook",
    );
    for name in ["pruned", "discarded", "removed"] {
        put(name);
    }
    store.commit(vec![Write::Publish(of("pruned"), vec![])]).await.unwrap();
    store.commit(vec![Write::Open(of("discarded"), vec![])]).await.unwrap();
    store.commit(vec![Write::Discard(id("discarded"))]).await.unwrap();
    assert_eq!(store.prune(Prune::Events(i64::MAX), 10).await.unwrap(), 1);
    store.remove(id("removed")).await.unwrap();
    assert_eq!(postgres.sql("SELECT count(*) FROM as2hook.piece"), "0");
    assert_eq!(postgres.sql("SELECT max(n) FROM as2hook.step"), "64");
    assert_eq!(postgres.sql("SELECT max(n) FROM as2hook.step WHERE first"), "44");
}
