//! The webhooks of the config API.

use as2hook_store::{Attempt, DeliveryState, Filter, PartnerWebhookChange, UnqueuedDelivery};

use super::{Factory, delivery, event};

fn change(site: &str, partner: u64) -> PartnerWebhookChange {
    PartnerWebhookChange {
        site: site.to_owned(),
        partner,
        url: None,
        sealed_secret: None,
        enabled: None,
        events: None,
    }
}

pub(crate) async fn partner_webhook_keeps_fields_that_are_not_changed(factory: &dyn Factory) {
    let store = factory.owner().await;
    let first = PartnerWebhookChange {
        url: Some("https://a.example/".to_owned()),
        sealed_secret: Some(vec![1, 2, 3]),
        events: Some(vec!["mdn.received".to_owned()]),
        ..change("main", 123)
    };
    let made = store.configure_partner_webhook(first).await.unwrap().unwrap();
    assert!(made.enabled);
    let off = PartnerWebhookChange { enabled: Some(false), ..change("main", 123) };
    let now = store.configure_partner_webhook(off).await.unwrap().unwrap();
    assert_eq!((now.url.as_str(), now.enabled), ("https://a.example/", false));
    assert_eq!((now.sealed_secret.as_slice(), now.events.len()), ([1, 2, 3].as_slice(), 1));
    let bare = PartnerWebhookChange {
        sealed_secret: Some(Vec::new()),
        events: Some(Vec::new()),
        ..change("main", 123)
    };
    store.configure_partner_webhook(bare).await.unwrap();
    let other = PartnerWebhookChange { url: Some("http://b/".to_owned()), ..change("b", 123) };
    store.configure_partner_webhook(other).await.unwrap();
    // Another process sees the same.
    let all = factory.owner().await.partner_webhooks().await.unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!((all[1].site.as_str(), all[1].enabled), ("main", false));
    assert!(all[1].sealed_secret.is_empty() && all[1].events.is_empty());
}

pub(crate) async fn first_change_of_a_partner_webhook_requires_a_url(factory: &dyn Factory) {
    let store = factory.owner().await;
    let off = PartnerWebhookChange { enabled: Some(true), ..change("main", 5) };
    assert!(store.configure_partner_webhook(off).await.unwrap().is_none());
    assert!(store.partner_webhooks().await.unwrap().is_empty());
}

pub(crate) async fn delivery_made_outside_the_queue_is_logged_and_never_claimed(
    factory: &dyn Factory,
) {
    let store = factory.owner().await;
    for (name, state) in [("a", DeliveryState::Delivered), ("b", DeliveryState::Dead)] {
        let attempt = Attempt {
            number: 1,
            at: 7,
            url: "https://a.example/".to_owned(),
            http_code: Some(200),
            error: None,
            duration_ms: 12,
        };
        let made = UnqueuedDelivery {
            event: event(name),
            delivery: delivery(name, "partner/main/1"),
            attempt,
            state,
        };
        store.log_attempt(made).await.unwrap();
    }
    assert!(store.due().await.unwrap().is_empty());
    let log = store.attempt_log("partner/main/1", 0, 10).await.unwrap();
    assert_eq!((log.total, log.rows.len()), (2, 2));
    assert_eq!((log.rows[0].state, log.rows[0].attempt.number), (DeliveryState::Dead, 1));
    let failed = Filter { webhook_id: Some("b".to_owned()), ..Filter::default() };
    let failed = store.deliveries(&failed, None, 1).await.unwrap().rows.remove(0);
    assert_eq!(failed.state, DeliveryState::Cancelled, "it needs no person");
    let log = store.attempt_log("partner/main/1", 1, 10).await.unwrap();
    assert_eq!((log.total, log.rows[0].webhook_id.as_str()), (2, "a"));
    let none = store.attempt_log("partner/main/2", 0, 10).await.unwrap();
    assert_eq!((none.total, none.rows.len()), (0, 0));
}
