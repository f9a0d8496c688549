//! Retries, cancels and replays: one delivery, those that were chosen, or all that a search names.

use as2hook_store::DeliveryChange;
use axum::{
    extract::{Path, State},
    response::Response,
};

use super::{
    super::{
        components::things,
        error_sentence,
        session::{ActionForm, FlashNote},
    },
    PATH,
};
use crate::{
    error::ApiError,
    fields::JsonFields,
    gateway::ApiState,
    steering::{change_all, change_one, word},
};

/// The most deliveries that are chosen at once: those of a page.
const CHOSEN: usize = super::super::search::ROWS;

/// What an action came to that found no delivery in a state that it takes.
const NONE: &str = "Nothing was done: no delivery that the search names can be changed so now.";

pub(super) async fn retry(State(api): State<ApiState>, form: ActionForm) -> Response {
    all(&api, &form, DeliveryChange::Retry).await
}

pub(super) async fn cancel(State(api): State<ApiState>, form: ActionForm) -> Response {
    all(&api, &form, DeliveryChange::Cancel).await
}

pub(super) async fn replay(State(api): State<ApiState>, form: ActionForm) -> Response {
    all(&api, &form, DeliveryChange::Replay).await
}

async fn all(api: &ApiState, form: &ActionForm, change: DeliveryChange) -> Response {
    // Also those that the search does not know: it refuses them, for without them it would select more.
    let given = form.but(&["csrf", "back"]);
    let fields = JsonFields::of_texts(given.filter(|(_, value)| !value.is_empty()));
    let changed = change_all(api, &form.session.caller, &fields, change).await;
    if changed == Ok(0) {
        return form.session.redirect(api, form.back(PATH), &FlashNote::bad(NONE));
    }
    form.session.done(api, form.back(PATH), &changed, |count| done(change, *count))
}

pub(super) async fn one(
    State(api): State<ApiState>,
    Path((id, change)): Path<(String, String)>,
    form: ActionForm,
) -> Result<Response, ApiError> {
    let change = named(&change).ok_or(ApiError::NoRoute)?;
    let changed = change_one(&api, &form.session.caller, &id, change).await;
    if changed == Err(ApiError::NotFound) {
        return Err(ApiError::NotFound);
    }
    let otherwise = format!("{PATH}/{id}");
    Ok(form.session.done(&api, form.back(&otherwise), &changed, |count| done(change, *count)))
}

/// Changes those that were chosen, each for itself: one that is refused does not stop the others.
pub(super) async fn chosen(
    State(api): State<ApiState>,
    form: ActionForm,
) -> Result<Response, ApiError> {
    let change = named(form.field("change")).ok_or(ApiError::NoRoute)?;
    let (mut count, mut refusals) = (0, Vec::new());
    for id in form.all("id").take(CHOSEN) {
        match change_one(&api, &form.session.caller, id, change).await {
            Ok(changed) => count += changed,
            Err(refusal) => refusals.push(refusal),
        }
    }
    let done = done(change, count);
    let note = match refusals.first() {
        None if count == 0 => FlashNote::bad("No delivery was chosen."),
        None => FlashNote::ok(done),
        Some(first) => {
            let refused = u64::try_from(refusals.len()).unwrap_or(u64::MAX);
            let refused = things(refused, "was refused", "were refused");
            FlashNote::bad(format!("{done} {refused}: {}", error_sentence(first)))
        }
    };
    Ok(form.session.redirect(&api, form.back(PATH), &note))
}

fn named(change: &str) -> Option<DeliveryChange> {
    let all = [DeliveryChange::Retry, DeliveryChange::Cancel, DeliveryChange::Replay];
    all.into_iter().find(|one| word(*one) == change)
}

/// Returns what came of a change, in a sentence.
fn done(change: DeliveryChange, count: u64) -> String {
    let deliveries = match count {
        1 => "1 delivery".to_owned(),
        n => format!("{} deliveries", super::super::components::count(n)),
    };
    let is = if count == 1 { "is" } else { "are" };
    match change {
        DeliveryChange::Retry | DeliveryChange::Recover => format!("{deliveries} {is} due now."),
        DeliveryChange::Cancel => format!("{deliveries} {is} cancelled."),
        DeliveryChange::Replay => format!("{deliveries} {is} made again."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn note_says_how_many_deliveries_were_changed() {
        assert_eq!(done(DeliveryChange::Retry, 28), "28 deliveries are due now.");
        assert_eq!(done(DeliveryChange::Cancel, 1), "1 delivery is cancelled.");
        assert_eq!(done(DeliveryChange::Replay, 12_345), "12,345 deliveries are made again.");
    }
}
