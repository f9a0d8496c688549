//! What every store does, whatever it is built on. A store's own test file gives a [`Factory`].

pub(crate) mod deliveries;
pub(crate) mod events;
pub(crate) mod gateways;
pub(crate) mod lists;
pub(crate) mod notes;
pub(crate) mod order;
pub(crate) mod partner_webhooks;
pub(crate) mod payloads;
pub(crate) mod retention;

use std::{path::PathBuf, sync::Arc};

use as2hook_store::{
    Attempt, AttemptRecord, Claimed, Counts, DeliveryState, Fate, NewDelivery, NewEvent, Payload,
    Settlement, Store,
};
use async_trait::async_trait;
use uuid::Uuid;

/// Opens one store as often as it is asked: each time as another process would.
#[async_trait]
pub(crate) trait Factory: Send + Sync {
    /// One more owner of the same store.
    async fn owner(&self) -> Arc<dyn Store>;

    /// Ends an owner as `kill -9` would: nothing is given up, nothing is said.
    async fn kill(&self, owner: Arc<dyn Store>);
}

/// Runs all of it; each test on a store of its own, made by `fresh`.
macro_rules! suite {
    ($fresh:ident) => {
        $crate::behaviour::suite!($fresh, events: [
            an_opened_event_is_no_delivery_until_it_is_settled,
            planned_deliveries_are_dropped_at_settle,
            settling_twice_changes_nothing,
            settling_an_unknown_event_says_so,
            opening_twice_changes_nothing,
            a_discarded_event_is_forgotten,
            discarding_spares_what_is_settled,
            a_published_event_is_due_and_published_once,
            inline_payloads_come_back,
            adopt_hands_over_what_the_dead_left_and_nothing_of_the_living,
            adopted_events_are_handed_over_until_they_are_settled,
            a_closed_store_says_so_and_leaves_its_open_events,
            prune_removes_what_is_done_and_its_files,
            webhook_health_is_remembered,
        ]);
        $crate::behaviour::suite!($fresh, deliveries: [
            a_duplicate_webhook_id_is_ignored,
            only_due_deliveries_are_claimed_oldest_first,
            what_is_claimed_is_nobody_elses,
            attempts_are_counted_and_releases_are_not,
            finishing_twice_changes_nothing,
            nobody_finishes_what_another_claimed,
            due_names_each_webhook_once_soonest_first,
            shift_moves_one_webhooks_deliveries,
            shifted_deliveries_keep_their_place_in_the_schedule,
            counts_follow_every_move,
            claims_of_the_dead_come_back,
            a_retry_keeps_its_time_and_its_place_over_a_restart,
            what_is_large_is_claimed_whole,
            a_claim_that_nobody_waited_for_goes_back,
        ]);
        $crate::behaviour::suite!($fresh, partner_webhooks: [
            a_partner_webhook_keeps_what_is_not_changed,
            a_first_change_needs_a_url,
            a_delivery_made_besides_the_queue_is_logged_and_never_claimed,
        ]);
        $crate::behaviour::suite!($fresh, order: [
            one_at_a_time_in_the_order_they_came,
            a_retry_blocks_its_key_and_no_other,
            a_dead_one_does_not_block,
            a_held_one_keeps_its_place,
            a_blocked_webhook_is_not_due,
            claims_of_the_dead_keep_their_order,
            orphans_come_back_in_their_place,
        ]);
        $crate::behaviour::suite!($fresh, lists: [
            lists_are_newest_first_and_paged,
            filters_find_what_matches_all_of_them,
            attempts_are_logged_with_what_came_of_them,
            replayed_deliveries_begin_their_schedule_again,
            a_replayed_delivery_goes_before_later_ones,
            many_are_replayed_in_one_call,
            an_event_can_be_told_to_another,
        ]);
        $crate::behaviour::suite!($fresh, gateways: [
            gateways_are_listed_while_they_report,
            a_payload_in_pieces_is_named_by_its_event,
        ]);
        $crate::behaviour::suite!($fresh, retention: [
            beyond_their_number_the_longest_done_go_and_dead_ones_stay,
            a_replayed_event_is_not_too_old,
            old_attempts_leave_the_log_and_their_delivery_stays,
            an_attempt_of_a_clock_gone_wrong_keeps_no_other_in_the_log,
            of_one_delivery_the_newest_attempts_are_kept,
        ]);
        $crate::behaviour::suite!($fresh, payloads: [
            sealed_payloads_come_back_sealed,
            what_was_delivered_is_spent_and_its_event_stays,
            the_pieces_of_what_is_spent_are_named,
            whoever_still_needs_a_payload_has_it,
            a_replay_needs_its_payload_again,
            an_event_whose_payload_is_spent_is_pruned_as_ever,
        ]);
        $crate::behaviour::suite!($fresh, notes: [
            a_note_is_found_by_its_key_until_it_expires,
            a_note_is_written_over_what_was_expected_alone,
            due_notes_come_longest_due_first,
            of_several_that_try_one_tells,
            several_writes_are_one,
        ]);
    };
    ($fresh:ident, $module:ident: [$($test:ident,)*]) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    $crate::behaviour::$module::$test(&super::$fresh()).await;
                }
            )*
        }
    };
}
pub(crate) use suite;

/// An event of that name; the same name gives the same id.
pub(crate) fn event(name: &str) -> NewEvent {
    NewEvent {
        id: id(name),
        kind: "message.received".to_owned(),
        site: "main".to_owned(),
        partner: Some("ACME".to_owned()),
        station: Some("MY-OWN-ORG".to_owned()),
        message_id: Some(format!("<{name}@acme>")),
        occurred_at: 1_000,
        body: name.as_bytes().to_vec(),
        payload: Payload::None,
    }
}

pub(crate) fn id(name: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes())
}

/// A delivery to a webhook that may be made at once.
pub(crate) fn delivery(webhook_id: &str, webhook: &str) -> NewDelivery {
    NewDelivery {
        webhook_id: webhook_id.to_owned(),
        webhook: webhook.to_owned(),
        mode: "json".to_owned(),
        order_key: None,
        due: 0,
    }
}

/// As [`delivery`], in an order.
pub(crate) fn ordered(webhook_id: &str, webhook: &str, key: &str) -> NewDelivery {
    NewDelivery { order_key: Some(key.to_owned()), ..delivery(webhook_id, webhook) }
}

pub(crate) fn settlement(name: &str, deliveries: Vec<NewDelivery>) -> Settlement {
    Settlement {
        event: id(name),
        kind: "message.received".to_owned(),
        verdict: b"answered".to_vec(),
        deliveries,
    }
}

/// One event for each webhook id, each with that one delivery.
pub(crate) async fn publish(store: &dyn Store, deliveries: Vec<NewDelivery>) {
    for delivery in deliveries {
        store.publish(event(&delivery.webhook_id), vec![delivery]).await.unwrap();
    }
}

pub(crate) fn record(claimed: &Claimed, fate: Fate) -> AttemptRecord {
    let attempt = Attempt {
        number: claimed.attempts + 1,
        at: 5,
        url: "https://erp.example/".to_owned(),
        http_code: Some(500),
        error: None,
        duration_ms: 7,
    };
    AttemptRecord { delivery: claimed.id, attempt: Some(attempt), fate }
}

pub(crate) fn release(claimed: &Claimed, due: i64) -> AttemptRecord {
    AttemptRecord { delivery: claimed.id, attempt: None, fate: Fate::Released(due) }
}

pub(crate) async fn finish(store: &dyn Store, claimed: &Claimed, fate: Fate) {
    store.finish(vec![record(claimed, fate)]).await.unwrap();
}

/// Claims all that is due at `now`.
pub(crate) async fn claim(store: &dyn Store, webhook: &str, now: i64) -> Vec<Claimed> {
    store.claim(webhook, now, 100).await.unwrap()
}

pub(crate) fn webhook_ids(claimed: &[Claimed]) -> Vec<&str> {
    claimed.iter().map(|claimed| claimed.webhook_id.as_str()).collect()
}

/// How many deliveries are in a state.
pub(crate) fn of(counts: &Counts, state: DeliveryState) -> u64 {
    counts.deliveries.iter().filter(|(counted, _)| *counted == state).map(|(_, n)| n).sum()
}

pub(crate) fn file(folder: &tempfile::TempDir, name: &str) -> (PathBuf, Payload) {
    let path = folder.path().join(name);
    std::fs::write(&path, name).unwrap();
    (path.clone(), Payload::File { path, size: name.len() as u64 })
}
