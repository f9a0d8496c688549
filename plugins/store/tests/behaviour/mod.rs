//! The behaviour of every store, whatever its database. Each store's own test file provides a
//! [`Factory`].

pub(crate) mod clocks;
pub(crate) mod deliveries;
pub(crate) mod events;
pub(crate) mod filters;
pub(crate) mod gateways;
pub(crate) mod lists;
pub(crate) mod notes;
pub(crate) mod order;
pub(crate) mod partner_webhooks;
pub(crate) mod payloads;
pub(crate) mod retention;
pub(crate) mod steering;

use std::{path::PathBuf, sync::Arc};

use as2hook_store::{
    Attempt, AttemptRecord, Claimed, Counts, DeliveryOutcome, DeliveryState, EventTerms,
    NewDelivery, NewEvent, Payload, Settlement, Store, Write,
};
use async_trait::async_trait;
use uuid::Uuid;

/// Opens one store repeatedly, each time like another process.
#[async_trait]
pub(crate) trait Factory: Send + Sync {
    /// Opens one more owner of the same store.
    async fn owner(&self) -> Arc<dyn Store>;

    /// Ends an owner like `kill -9`: it releases and writes nothing.
    async fn kill(&self, owner: Arc<dyn Store>);

    /// Executes statements on its database.
    fn execute(&self, sql: &str);

    /// The statement that makes the next owner find tables of the first version.
    fn first_version(&self) -> &'static str;

    /// Returns the payload root of every owner.
    fn payload_root(&self) -> PathBuf;
}

/// Runs all tests, each on a store of its own that `fresh` creates.
macro_rules! suite {
    ($fresh:ident) => {
        $crate::behaviour::suite!($fresh, events: [
            opened_event_has_no_delivery_until_it_is_settled,
            planned_deliveries_are_dropped_at_settle,
            settling_twice_changes_nothing,
            settling_an_unknown_event_is_an_error,
            opening_twice_changes_nothing,
            discarded_event_is_removed,
            discarding_does_not_remove_a_settled_event,
            open_event_has_its_replaced_content_once_it_is_settled,
            settled_event_is_not_replaced,
            a_published_event_is_due_and_published_once,
            inline_payloads_are_read_as_written,
            adopt_returns_open_exchanges_of_terminated_owners_only,
            adopted_events_are_returned_until_they_are_settled,
            closed_store_is_an_error_and_keeps_its_open_events,
            prune_removes_done_events_and_their_files,
            webhook_health_is_stored,
        ]);
        $crate::behaviour::suite!($fresh, deliveries: [
            a_duplicate_webhook_id_is_ignored,
            only_due_deliveries_are_claimed_oldest_first,
            claimed_delivery_is_not_claimed_by_another_owner,
            attempts_are_counted_and_releases_are_not,
            finishing_twice_changes_nothing,
            delivery_claimed_by_another_owner_is_not_finished,
            due_names_each_webhook_once_soonest_first,
            shift_moves_one_webhooks_deliveries,
            shifted_deliveries_keep_their_place_in_the_schedule,
            counts_follow_every_move,
            counts_of_a_site_are_those_of_its_webhooks,
            claims_of_terminated_owners_are_released,
            a_retry_keeps_its_time_and_its_place_over_a_restart,
            large_event_is_claimed_completely,
            claim_whose_caller_is_gone_is_released,
            waiting_claim_takes_a_delivery_with_the_commit_that_makes_it_due,
            waiting_claim_that_is_dropped_leaves_the_delivery_to_others,
            waiting_claim_that_is_dropped_after_the_commit_is_released,
            waiting_claim_ends_with_its_store,
        ]);
        $crate::behaviour::suite!($fresh, clocks: [
            deliveries_planned_by_a_clock_ahead_become_due_earlier_once,
            newest_time_is_that_of_the_last_record,
            many_expired_notes_are_forgotten_in_one_call,
        ]);
        $crate::behaviour::suite!($fresh, partner_webhooks: [
            partner_webhook_keeps_fields_that_are_not_changed,
            first_change_of_a_partner_webhook_requires_a_url,
            delivery_made_outside_the_queue_is_logged_and_never_claimed,
        ]);
        $crate::behaviour::suite!($fresh, order: [
            ordered_deliveries_are_claimed_one_at_a_time_in_order,
            a_retry_blocks_its_key_and_no_other,
            dead_delivery_does_not_block_its_order,
            held_delivery_keeps_its_place,
            a_blocked_webhook_is_not_due,
            claims_of_terminated_owners_keep_their_order,
            orphaned_deliveries_become_pending_in_their_place,
            later_event_waits_for_the_outcome_of_an_earlier_one,
            discarded_event_loses_its_place,
            event_settled_late_goes_before_later_ones,
            place_of_an_adopted_event_is_kept_until_it_is_settled,
        ]);
        $crate::behaviour::suite!($fresh, lists: [
            lists_are_newest_first_and_paged,
            filters_find_rows_that_match_all_fields,
            attempts_are_logged_with_their_outcome,
            replayed_deliveries_restart_their_schedule,
            a_replayed_delivery_goes_before_later_ones,
            many_deliveries_are_replayed_in_one_call,
            replays_come_after_others_and_get_a_quarter_of_each_claim,
            replays_get_one_of_four_claims_of_one_delivery,
            event_can_be_delivered_to_another_webhook,
        ]);
        $crate::behaviour::suite!($fresh, steering: [
            retry_of_a_pending_delivery_is_due_at_once_and_uses_up_no_step,
            retry_of_a_dead_delivery_begins_its_schedule_anew,
            retry_that_is_not_made_is_still_none_of_the_schedule,
            recovery_makes_waiting_deliveries_due_only,
            cancelled_delivery_is_never_claimed_and_can_be_replayed,
            cancelled_delivery_lets_the_next_of_its_order_go_on,
            claimed_delivery_is_neither_retried_nor_cancelled,
            event_with_cancelled_deliveries_is_pruned,
            actions_are_kept_for_their_site_newest_first,
            store_of_the_first_version_is_migrated_with_its_deliveries,
        ]);
        $crate::behaviour::suite!($fresh, filters: [
            message_id_is_found_with_and_without_its_brackets,
            mdn_is_found_by_the_message_that_it_is_about,
            deliveries_are_found_by_their_state_and_counted_by_webhook,
            file_name_and_error_codes_are_found,
        ]);
        $crate::behaviour::suite!($fresh, gateways: [
            gateways_are_listed_while_they_report,
            changed_content_has_a_newer_generation_and_the_same_content_the_same,
            older_configuration_moves_no_deliveries_while_a_newer_one_is_reported,
            webhooks_with_deliveries_set_aside_are_named,
            a_payload_in_pieces_is_named_by_its_event,
        ]);
        $crate::behaviour::suite!($fresh, retention: [
            events_beyond_the_limit_are_pruned_longest_done_first_and_dead_ones_stay,
            replayed_event_is_not_pruned_by_age,
            old_attempts_leave_the_log_and_their_delivery_stays,
            attempt_with_a_wrong_time_does_not_keep_others_in_the_log,
            newest_attempts_of_a_delivery_are_kept,
            bytes_follow_what_is_kept,
        ]);
        $crate::behaviour::suite!($fresh, payloads: [
            sealed_payloads_are_returned_sealed,
            payload_of_delivered_event_is_spent_and_its_event_stays,
            spend_returns_the_pieces_to_remove,
            payload_that_a_delivery_needs_is_not_spent,
            a_replay_needs_its_payload_again,
            event_with_a_spent_payload_is_pruned,
            payload_file_is_recognized_in_any_root,
            store_has_one_identity_and_remembers_its_payload_roots,
        ]);
        $crate::behaviour::suite!($fresh, notes: [
            a_note_is_found_by_its_key_until_it_expires,
            note_is_written_only_over_the_expected_one,
            due_notes_are_returned_longest_due_first,
            one_of_several_callers_publishes,
            several_writes_are_one_commit,
            notes_that_expire_first_are_trimmed_from_a_large_group,
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

/// Returns an event of that name; the same name gives the same id.
pub(crate) fn event(name: &str) -> NewEvent {
    NewEvent {
        id: id(name),
        kind: "message.received".to_owned(),
        site: "main".to_owned(),
        partner: Some("ACME".to_owned()),
        station: Some("MY-OWN-ORG".to_owned()),
        about: None,
        terms: EventTerms::default(),
        message_id: Some(format!("<{name}@acme>")),
        occurred_at: 1_000,
        body: name.as_bytes().to_vec(),
        payload: Payload::None,
    }
}

pub(crate) fn id(name: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes())
}

/// Returns a delivery to a webhook, due at once.
pub(crate) fn delivery(webhook_id: &str, webhook: &str) -> NewDelivery {
    NewDelivery {
        webhook_id: webhook_id.to_owned(),
        webhook: webhook.to_owned(),
        mode: "json".to_owned(),
        order_key: None,
        due: 0,
    }
}

/// Like [`delivery`], in an order.
pub(crate) fn ordered(webhook_id: &str, webhook: &str, key: &str) -> NewDelivery {
    NewDelivery { order_key: Some(key.to_owned()), ..delivery(webhook_id, webhook) }
}

pub(crate) fn settlement(name: &str, deliveries: Vec<NewDelivery>) -> Settlement {
    Settlement {
        event: id(name),
        kind: "message.received".to_owned(),
        errors: Vec::new(),
        verdict: b"answered".to_vec(),
        deliveries,
    }
}

/// Publishes one event for each webhook id, each with that one delivery.
pub(crate) async fn publish(store: &dyn Store, deliveries: Vec<NewDelivery>) {
    for delivery in deliveries {
        store
            .commit(vec![Write::Publish(event(&delivery.webhook_id), vec![delivery])])
            .await
            .unwrap();
    }
}

pub(crate) fn record(claimed: &Claimed, outcome: DeliveryOutcome) -> AttemptRecord {
    let attempt = Attempt {
        number: claimed.attempts + 1,
        at: 5,
        url: "https://erp.example/".to_owned(),
        http_code: Some(500),
        error: None,
        duration_ms: 7,
    };
    AttemptRecord { delivery: claimed.id, attempt: Some(attempt), outcome }
}

pub(crate) fn release(claimed: &Claimed, due: i64) -> AttemptRecord {
    AttemptRecord { delivery: claimed.id, attempt: None, outcome: DeliveryOutcome::Released(due) }
}

pub(crate) async fn finish(store: &dyn Store, claimed: &Claimed, outcome: DeliveryOutcome) {
    store.finish(vec![record(claimed, outcome)]).await.unwrap();
}

/// Claims everything due at `now`.
pub(crate) async fn claim(store: &dyn Store, webhook: &str, now: i64) -> Vec<Claimed> {
    store.claim(webhook, now, 100).await.unwrap()
}

pub(crate) fn webhook_ids(claimed: &[Claimed]) -> Vec<&str> {
    claimed.iter().map(|claimed| claimed.webhook_id.as_str()).collect()
}

/// Returns how many deliveries are in a state.
pub(crate) fn of(counts: &Counts, state: DeliveryState) -> u64 {
    counts.deliveries.iter().filter(|(counted, _)| *counted == state).map(|(_, n)| n).sum()
}

/// Creates a payload file in the payload root.
pub(crate) fn file(factory: &dyn Factory, name: &str) -> (PathBuf, Payload) {
    let (root, path) = (factory.payload_root(), PathBuf::from("process").join(name));
    std::fs::create_dir_all(root.join("process")).unwrap();
    std::fs::write(root.join(&path), name).unwrap();
    (root.join(&path), Payload::File { path, size: name.len() as u64 })
}
