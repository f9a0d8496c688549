//! Verdicts on exchanges that a terminated process left open.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use as2hook_delivery::{Adoption, Outbox, OutboxError, OutboxOptions, Wakeups};
use as2hook_event::{Event, EventKind, Verdict};
use as2hook_store::{Payload, StoreError, Write};
use async_trait::async_trait;
use uuid::Uuid;

use crate::support::{event, opened, published, store::MemoryStore};

/// The next result for each event; without one, one further event comes of it.
#[derive(Debug, Default)]
struct Judge {
    next: Mutex<HashMap<Uuid, Option<OutboxError>>>,
}

// === impl Judge ===

#[async_trait]
impl Adoption for Judge {
    async fn judge(
        &self,
        event: &Event,
        _outbox: &Outbox,
    ) -> Result<Option<(Verdict, Vec<Write>)>, OutboxError> {
        match self.next.lock().unwrap().remove(&event.id) {
            Some(Some(error)) => return Err(error),
            Some(None) => return Ok(None),
            None => {}
        }
        let beside = Event { id: beside(event.id), ..event.clone() };
        let further = published(&beside, Payload::None, &[]);
        Ok(Some((Verdict::of(EventKind::MessageReceived), further)))
    }
}

/// The further event of an exchange.
fn beside(event: Uuid) -> Uuid {
    Uuid::new_v5(&event, b"beside")
}

/// Three exchanges that a terminated process left open, with an outbox that judges them.
async fn left_open() -> (Arc<MemoryStore>, Outbox, Arc<Judge>, [Uuid; 3]) {
    let store = MemoryStore::new();
    let before = Outbox::new(store.clone(), Wakeups::new(), OutboxOptions::default());
    let events = [event(), event(), event()];
    for event in &events {
        before.open(opened(event, Payload::None, &[])).await.unwrap();
    }
    store.orphan_everything();
    let judge = Arc::new(Judge::default());
    let adoption: Arc<dyn Adoption> = judge.clone();
    let options = OutboxOptions { adoption: Some(adoption), ..OutboxOptions::default() };
    let outbox = Outbox::new(store.clone(), Wakeups::new(), options);
    (store, outbox, judge, events.map(|event| event.id))
}

fn is_settled(store: &MemoryStore, event: Uuid) -> bool {
    let verdict = store.event(event).unwrap().verdict.is_some();
    assert_eq!(verdict, store.event(beside(event)).is_some(), "both are one commit");
    verdict
}

#[tokio::test]
async fn adopted_exchange_that_cannot_be_judged_yet_stays_open_alone() {
    let (store, outbox, judge, [first, second, third]) = left_open().await;
    let lasting = OutboxError::Store(StoreError::Database("no such row".to_owned()));
    judge.next.lock().unwrap().extend([(first, None), (second, Some(lasting))]);
    assert_eq!(outbox.recover().await.unwrap(), 1);
    assert!(!is_settled(&store, first) && !is_settled(&store, second));
    assert!(is_settled(&store, third));
    assert_eq!(outbox.recover().await.unwrap(), 2);
    assert!(is_settled(&store, first) && is_settled(&store, second));
}

#[tokio::test]
async fn store_that_cannot_be_read_leaves_all_adopted_exchanges_open() {
    let (store, outbox, judge, events) = left_open().await;
    let away = || OutboxError::Failing("the store is away".to_owned());
    judge.next.lock().unwrap().extend(events.map(|event| (event, Some(away()))));
    assert_eq!(outbox.recover().await.unwrap(), 0);
    assert_eq!(judge.next.lock().unwrap().len(), 2, "each would have waited for the store");
    judge.next.lock().unwrap().clear();
    assert_eq!(outbox.recover().await.unwrap(), 3);
    assert!(events.iter().all(|event| is_settled(&store, *event)));
}
