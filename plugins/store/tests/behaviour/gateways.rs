//! Gateways that share the store, and payloads that they keep in pieces.

use as2hook_store::{GatewayReport, NewEvent, Payload};

use super::{Factory, delivery, event, id};

fn now() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

fn report(name: &str, started_at: i64, seen_at: i64) -> GatewayReport {
    GatewayReport {
        id: id(name),
        host: name.to_owned(),
        process: 7,
        version: "0.1.0".to_owned(),
        started_at,
        seen_at,
        rules: "same".to_owned(),
    }
}

pub(crate) async fn gateways_are_listed_while_they_report(stores: &dyn Factory) {
    let (store, other) = (stores.owner().await, stores.owner().await);
    let now = now();
    store.report(report("second", 2_000, now)).await.unwrap();
    other.report(report("first", 1_000, now)).await.unwrap();
    let changed = GatewayReport { rules: "other".to_owned(), ..report("second", 2_000, now) };
    store.report(changed.clone()).await.unwrap();
    // The time is the store's own.
    let listed = |listed: Vec<GatewayReport>| -> Vec<_> {
        listed.into_iter().map(|report| GatewayReport { seen_at: now, ..report }).collect()
    };
    let all = vec![report("first", 1_000, now), changed.clone()];
    assert_eq!(listed(other.gateways(now - 60_000).await.unwrap()), all);
    assert_eq!(other.gateways(now + 3_600_000).await.unwrap(), []);
    other.report(report("first", 1_000, 0)).await.unwrap();
    assert_eq!(listed(store.gateways(now - 60_000).await.unwrap()), vec![changed]);
}

pub(crate) async fn a_payload_in_pieces_is_named_by_its_event(stores: &dyn Factory) {
    let store = stores.owner().await;
    let kept = Payload::Stored { id: id("kept"), size: 300_000 };
    let told = NewEvent { payload: kept.clone(), ..event("one") };
    store.publish(told, vec![delivery("w1", "erp")]).await.unwrap();
    assert_eq!(store.event(id("one")).await.unwrap().unwrap().payload, kept);
    assert_eq!(store.claim("erp", i64::MAX, 1).await.unwrap()[0].event.payload, kept);
    let both = vec![id("kept"), id("orphan")];
    assert_eq!(store.unnamed_pieces(both).await.unwrap(), vec![id("orphan")]);
}
