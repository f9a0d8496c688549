//! Notes, and several writes in one commit.

use as2hook_store::{Before, DeliveryState, Prune, Record, RecordChange, StoreError, Write};

use super::{Factory, delivery, event, id, settlement};

/// Far in the future by any clock.
const FAR: i64 = i64::MAX;

fn note(key: &str, body: &str) -> Record {
    Record { key: key.to_owned(), body: body.as_bytes().to_vec(), due: None, expires: FAR }
}

fn over(before: Before, note: Record) -> RecordChange {
    RecordChange { record: note, before }
}

pub(crate) async fn a_note_is_found_by_its_key_until_it_expires(stores: &dyn Factory) {
    let store = stores.owner().await;
    assert_eq!(store.record("a").await.unwrap(), None);
    let change = over(Before::Any, note("a", "one"));
    store.commit(vec![Write::Record(change)]).await.unwrap();
    assert_eq!(store.record("a").await.unwrap(), Some(note("a", "one")));
    let over_already = Record { expires: 1, ..note("a", "two") };
    store.commit(vec![Write::Record(over(Before::Any, over_already))]).await.unwrap();
    assert_eq!(store.record("a").await.unwrap(), None);
    assert_eq!(store.prune(Prune::Records(1), 10).await.unwrap(), 1);
    assert_eq!(store.prune(Prune::Records(1), 10).await.unwrap(), 0);
}

pub(crate) async fn note_is_written_only_over_the_expected_one(stores: &dyn Factory) {
    let store = stores.owner().await;
    let write =
        |before, body: &str| store.commit(vec![Write::Record(over(before, note("a", body)))]);
    write(Before::Body(b"none".to_vec()), "never").await.unwrap();
    assert_eq!(store.record("a").await.unwrap(), None);
    write(Before::Absent, "first").await.unwrap();
    write(Before::Absent, "second").await.unwrap();
    assert_eq!(store.record("a").await.unwrap(), Some(note("a", "first")));
    write(Before::Body(b"other".to_vec()), "second").await.unwrap();
    assert_eq!(store.record("a").await.unwrap(), Some(note("a", "first")));
    write(Before::Body(b"first".to_vec()), "second").await.unwrap();
    assert_eq!(store.record("a").await.unwrap(), Some(note("a", "second")));
    // An expired note counts as absent.
    let gone = Record { expires: 1, ..note("a", "gone") };
    store.commit(vec![Write::Record(over(Before::Any, gone))]).await.unwrap();
    write(Before::Absent, "new").await.unwrap();
    assert_eq!(store.record("a").await.unwrap(), Some(note("a", "new")));
}

pub(crate) async fn due_notes_are_returned_longest_due_first(stores: &dyn Factory) {
    let store = stores.owner().await;
    let due = |key: &str, due| Write::Record(over(Before::Any, Record { due, ..note(key, "x") }));
    let all = vec![due("c", Some(30)), due("a", Some(10)), due("b", Some(20)), due("d", None)];
    store.commit(all).await.unwrap();
    let keys = |notes: Vec<Record>| notes.into_iter().map(|note| note.key).collect::<Vec<_>>();
    assert_eq!(keys(store.due_records(20, 10).await.unwrap()), ["a", "b"]);
    assert_eq!(keys(store.due_records(FAR, 1).await.unwrap()), ["a"]);
    store.commit(vec![due("a", None)]).await.unwrap();
    assert_eq!(keys(store.due_records(FAR, 10).await.unwrap()), ["b", "c"]);
}

pub(crate) async fn one_of_several_callers_publishes(stores: &dyn Factory) {
    let (one, other) = (stores.owner().await, stores.owner().await);
    for (store, name) in [(&one, "a"), (&other, "b")] {
        let planned = vec![delivery(name, "erp")];
        let change = over(Before::Absent, note("published", name));
        store.commit(vec![Write::Once(change, event(name), planned)]).await.unwrap();
    }
    assert!(one.event(id("a")).await.unwrap().is_some());
    assert!(one.event(id("b")).await.unwrap().is_none());
    let counts = one.counts().await.unwrap();
    assert!(counts.deliveries.contains(&(DeliveryState::Pending, 1)), "{counts:?}");
}

pub(crate) async fn several_writes_are_one_commit(stores: &dyn Factory) {
    let store = stores.owner().await;
    let open = Write::Open(event("a"), vec![delivery("unknown", "erp")]);
    store.commit(vec![open, Write::Record(over(Before::Any, note("k", "open")))]).await.unwrap();
    assert_eq!(store.counts().await.unwrap().open, 1);
    let settle = || {
        vec![
            Write::Settle(settlement("a", vec![delivery("w1", "erp")])),
            Write::Publish(event("b"), vec![delivery("w2", "erp")]),
            Write::Record(over(Before::Any, note("k", "settled"))),
        ]
    };
    // Repeated, it changes nothing.
    store.commit(settle()).await.unwrap();
    store.commit(settle()).await.unwrap();
    let counts = store.counts().await.unwrap();
    assert_eq!(counts.open, 0);
    assert!(counts.deliveries.contains(&(DeliveryState::Pending, 2)), "{counts:?}");
    assert_eq!(store.record("k").await.unwrap(), Some(note("k", "settled")));
    // All or none.
    let lost = vec![
        Write::Record(over(Before::Any, note("k", "lost"))),
        Write::Publish(event("c"), vec![]),
        Write::Settle(settlement("never opened", vec![])),
    ];
    let refused = store.commit(lost).await;
    assert!(matches!(refused, Err(StoreError::UnknownEvent(_))), "{refused:?}");
    assert_eq!(store.record("k").await.unwrap(), Some(note("k", "settled")));
    assert!(store.event(id("c")).await.unwrap().is_none());
}

pub(crate) async fn notes_that_expire_first_are_trimmed_from_a_large_group(stores: &dyn Factory) {
    let store = stores.owner().await;
    let group = |group: char| group.to_string().repeat(Record::GROUP as usize);
    let key = |name: char, n: i64| format!("{}:{n}", group(name));
    let mut writes = Vec::new();
    for n in 0..10 {
        for (name, kept) in [('a', 10), ('b', 3), ('c', 2)] {
            if n < kept {
                let note = Record { expires: FAR - 10 + n, ..note(&key(name, n), "x") };
                writes.push(Write::Record(over(Before::Any, note)));
            }
        }
    }
    store.commit(writes).await.unwrap();
    assert_eq!(store.prune(Prune::RecordsBeyond(10), 100).await.unwrap(), 0);
    assert_eq!(store.prune(Prune::RecordsBeyond(2), 5).await.unwrap(), 5);
    assert_eq!(store.prune(Prune::RecordsBeyond(2), 100).await.unwrap(), 4);
    assert_eq!(store.prune(Prune::RecordsBeyond(2), 100).await.unwrap(), 0);
    for (name, n, kept) in
        [('a', 7, false), ('a', 8, true), ('a', 9, true), ('b', 0, false), ('c', 0, true)]
    {
        assert_eq!(store.record(&key(name, n)).await.unwrap().is_some(), kept, "{name} {n}");
    }
}
