//! `order_patience`: a delivery that its endpoint keeps refusing does not block its order forever.

use std::time::Duration;

use as2hook_event::{clock, event::test_message_id};
use as2hook_store::{
    Attempt, AttemptRow, Claimed, DeliveryOutcome, DeliveryState, Filter, StoreError,
};

use super::DispatcherState;
use as2hook_sink::is_refusal;

use crate::time::now;

/// Decides the outcome of a refused delivery. It is dead when the first refusal is longer ago than
/// the limit and the endpoint has accepted another delivery since. Without the second condition the
/// endpoint may refuse everything.
pub(super) async fn judge(
    shared: &DispatcherState,
    claimed: &Claimed,
    limit: Duration,
    outcome: DeliveryOutcome,
) -> DeliveryOutcome {
    let DeliveryOutcome::Retry(at) = outcome else { return outcome };
    if clock::doubt().is_some() {
        // The limit cannot have passed yet.
        return outcome;
    }
    let limit = i64::try_from(limit.as_millis()).unwrap_or(i64::MAX);
    let first = match first_refusal(shared, claimed).await {
        Ok(first) => first.unwrap_or_else(now),
        Err(_) => return outcome,
    };
    let over = first.saturating_add(limit);
    if now() < over {
        // Retried when the limit passes, so that it is judged then.
        return DeliveryOutcome::Retry(at.min(over));
    }
    match took_another_since(shared, claimed, first).await {
        Ok(true) => DeliveryOutcome::Dead,
        Ok(false) | Err(_) => outcome,
    }
}

/// Returns the time of the first refusal among the earlier attempts on this retry schedule.
async fn first_refusal(
    shared: &DispatcherState,
    claimed: &Claimed,
) -> Result<Option<i64>, StoreError> {
    if claimed.tries == 0 {
        return Ok(None);
    }
    let filter = Filter { delivery: Some(claimed.id), ..Filter::default() };
    let page = shared.store.attempts(&filter, None, Attempt::KEPT as usize).await?;
    let before = claimed.attempts.saturating_sub(claimed.tries.saturating_add(claimed.extra));
    Ok(first_refusal_of(page.rows.iter().map(|row| &row.attempt), before))
}

/// Considers attempts with a number above `before`. Other failures say nothing about the delivery.
fn first_refusal_of<'a>(attempts: impl Iterator<Item = &'a Attempt>, before: u32) -> Option<i64> {
    let refused = attempts
        .filter(|attempt| attempt.number > before)
        .filter(|attempt| attempt.http_code.is_some_and(is_refusal));
    refused.map(|attempt| attempt.at).min()
}

/// The attempts among which one of a document is looked for.
const NEWEST: usize = 50;

async fn took_another_since(
    shared: &DispatcherState,
    claimed: &Claimed,
    since: i64,
) -> Result<bool, StoreError> {
    let filter = Filter {
        webhook: Some(claimed.webhook.clone()),
        state: Some(DeliveryState::Delivered),
        ..Filter::default()
    };
    let page = shared.store.attempts(&filter, None, NEWEST).await?;
    // A test says nothing about documents.
    let is_test =
        |row: &&AttemptRow| row.event.message_id.as_deref() == Some(&test_message_id(row.event.id));
    let newest = page.rows.iter().find(|row| !is_test(row));
    Ok(newest.is_some_and(|row| row.attempt.at >= since))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(number: u32, http_code: Option<u16>) -> Attempt {
        let at = i64::from(number) * 1000;
        let (url, error) = (String::new(), None);
        Attempt { number, at, url, http_code, error, duration_ms: 1 }
    }

    #[test]
    fn order_patience_counts_from_the_first_refusal_not_from_another_failure() {
        let attempts = [
            attempt(1, Some(422)),
            attempt(2, Some(503)),
            attempt(3, None),
            attempt(4, Some(422)),
            attempt(5, Some(400)),
        ];
        // The first attempt was on an earlier schedule, before a replay.
        assert_eq!(first_refusal_of(attempts.iter(), 1), Some(4000));
        assert_eq!(first_refusal_of(attempts.iter(), 0), Some(1000));
        assert_eq!(first_refusal_of(attempts[1..3].iter(), 0), None);
    }
}
