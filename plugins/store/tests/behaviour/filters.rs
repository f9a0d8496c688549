//! What events and deliveries are found by.

use as2hook_store::{
    DeliveryChange, DeliveryState, DeliveryTally, EventTerms, Filter, NewEvent, Settlement, Store,
    Write,
};

use super::{Factory, delivery, event, settlement};

/// Returns the deliveries that match, by their webhook ids.
async fn found(store: &dyn Store, filter: Filter) -> Vec<String> {
    let page = store.deliveries(&filter, None, 10).await.unwrap();
    let events = store.events(&filter, None, 10).await.unwrap();
    assert_eq!(events.rows.len(), page.rows.len());
    let mut found: Vec<_> = page.rows.into_iter().map(|row| row.webhook_id).collect();
    found.sort();
    found
}

async fn publish(store: &dyn Store, name: &str, change: impl FnOnce(NewEvent) -> NewEvent) {
    let event = change(event(name));
    let write = Write::Publish(event, vec![delivery(name, "erp")]);
    store.commit(vec![write]).await.unwrap();
}

fn of_message(id: &str) -> Filter {
    Filter { message_id: Some(id.to_owned()), ..Filter::default() }
}

fn of_code(code: u16) -> Filter {
    Filter { error: Some(code), ..Filter::default() }
}

pub(crate) async fn message_id_is_found_with_and_without_its_brackets(factory: &dyn Factory) {
    let store = factory.owner().await;
    let with = |id: &str| Some(id.to_owned());
    publish(&*store, "a", |event| NewEvent { message_id: with("<1@acme>"), ..event }).await;
    publish(&*store, "b", |event| NewEvent { message_id: with("2@acme"), ..event }).await;
    for (id, expected) in [("<1@acme>", "a"), ("1@acme", "a"), ("<2@acme>", "b"), ("2@acme", "b")] {
        assert_eq!(found(&*store, of_message(id)).await, [expected], "{id}");
    }
    assert!(found(&*store, of_message("1@acme>")).await.is_empty());
}

pub(crate) async fn mdn_is_found_by_the_message_that_it_is_about(factory: &dyn Factory) {
    let store = factory.owner().await;
    publish(&*store, "a", |event| event).await;
    publish(&*store, "b", |event| NewEvent { about: Some("<a@acme>".to_owned()), ..event }).await;
    let about = |id: &str| Filter { about: Some(id.to_owned()), ..Filter::default() };
    assert_eq!(found(&*store, about("a@acme")).await, ["b"]);
    assert!(found(&*store, about("b@acme")).await.is_empty());
}

pub(crate) async fn file_name_and_error_codes_are_found(factory: &dyn Factory) {
    let store = factory.owner().await;
    let terms = |file: &str, errors: &[u16]| EventTerms {
        file_name: Some(file.to_owned()),
        errors: errors.to_vec(),
    };
    publish(&*store, "a", |event| NewEvent { terms: terms("order.edi", &[800, 1100]), ..event })
        .await;
    publish(&*store, "b", |event| NewEvent { terms: terms("order.edi", &[]), ..event }).await;
    let file = Filter { file_name: Some("order.edi".to_owned()), ..Filter::default() };
    assert_eq!(found(&*store, file).await, ["a", "b"]);
    let like = Filter { file_name: Some("order_edi".to_owned()), ..Filter::default() };
    assert!(found(&*store, like).await.is_empty());
    for code in [800, 1100] {
        assert_eq!(found(&*store, of_code(code)).await, ["a"], "{code}");
    }
    assert!(found(&*store, of_code(900)).await.is_empty());
    // What the verdict adds is found, too.
    let opened = NewEvent { terms: terms("c.edi", &[800]), ..event("c") };
    store.commit(vec![Write::Open(opened, vec![])]).await.unwrap();
    let verdict = Settlement { errors: vec![1200], ..settlement("c", vec![delivery("c", "erp")]) };
    store.commit(vec![Write::Settle(verdict)]).await.unwrap();
    assert_eq!(found(&*store, of_code(1200)).await, ["c"]);
    assert_eq!(found(&*store, of_code(800)).await, ["a", "c"]);
}

pub(crate) async fn deliveries_are_found_by_their_state_and_counted_by_webhook(
    factory: &dyn Factory,
) {
    let store = factory.owner().await;
    let from = |partner: &str| Some(partner.to_owned());
    publish(&*store, "a", |event| NewEvent { partner: from("ACME"), ..event }).await;
    publish(&*store, "b", |event| NewEvent { partner: from("GLOBEX"), ..event }).await;
    let terms = EventTerms { file_name: Some("c.edi".to_owned()), errors: vec![800, 900] };
    publish(&*store, "c", |event| NewEvent { partner: from("ACME"), terms, ..event }).await;
    let of =
        |webhook_id: &str| Filter { webhook_id: Some(webhook_id.to_owned()), ..Filter::default() };
    assert_eq!(found(&*store, of("b")).await, ["b"]);
    assert_eq!(store.change_deliveries(DeliveryChange::Cancel, &of("b")).await.unwrap(), 1);
    let in_state = |state| Filter { state: Some(state), ..Filter::default() };
    let pending = in_state(DeliveryState::Pending);
    assert_eq!(found(&*store, pending.clone()).await, ["a", "c"]);
    assert_eq!(found(&*store, in_state(DeliveryState::Cancelled)).await, ["b"]);
    assert!(found(&*store, in_state(DeliveryState::Dead)).await.is_empty());
    let of_partner = Filter { partner: from("ACME"), ..pending.clone() };
    assert_eq!(found(&*store, of_partner).await, ["a", "c"]);
    let other = Filter { webhook: Some("other".to_owned()), ..pending.clone() };
    assert!(found(&*store, other).await.is_empty());
    let tally =
        |count| DeliveryTally { webhook: "erp".to_owned(), state: DeliveryState::Pending, count };
    assert_eq!(store.tally(&Filter::default(), 10).await.unwrap(), [tally(2)]);
    assert_eq!(store.tally(&pending, 1).await.unwrap(), [tally(1)]);
    let of_erp = Filter { webhook: Some("erp".to_owned()), ..pending.clone() };
    for (filter, counted) in [(&Filter::default(), 3), (&pending, 2), (&of_erp, 2), (&of("b"), 1)] {
        assert_eq!(store.count_deliveries(filter, 10).await.unwrap(), counted, "{filter:?}");
    }
    assert_eq!(store.count_deliveries(&pending, 1).await.unwrap(), 1);
    let rows = store.events(&Filter::default(), None, 10).await.unwrap().rows;
    assert_eq!((rows[0].file_name.as_deref(), &rows[0].errors), (Some("c.edi"), &vec![800, 900]));
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    let tallies = store.tally_events(&ids).await.unwrap();
    assert_eq!(tallies.len(), 3);
    let of_b = tallies.iter().find(|tally| tally.event == ids[1]).unwrap();
    assert_eq!((of_b.state, of_b.count), (DeliveryState::Cancelled, 1));
    assert!(store.tally_events(&[]).await.unwrap().is_empty());
    assert_eq!(store.tally(&of_erp, 10).await.unwrap(), [tally(2)]);
    let site = |site: &str| Filter { site: Some(site.to_owned()), ..Filter::default() };
    assert_eq!(store.tally(&site("main"), 10).await.unwrap(), [tally(2)]);
    assert!(store.tally(&site("other"), 10).await.unwrap().is_empty());
    // One webhook's backlog does not hide another's.
    let to_edi = vec![delivery("d", "edi")];
    store.commit(vec![Write::Publish(event("d"), to_edi)]).await.unwrap();
    let mut all = store.tally(&pending, 1).await.unwrap();
    all.sort_by(|a, b| a.webhook.cmp(&b.webhook));
    assert_eq!(all, [DeliveryTally { webhook: "edi".to_owned(), ..tally(1) }, tally(1)]);
}
