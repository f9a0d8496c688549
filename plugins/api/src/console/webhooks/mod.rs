//! `/console/webhooks`: the rules in force, how each is, and which of them fires.
//!
//! # Layout
//! - `list`: all of them
//! - `one`: one, with its attempts
//! - `describe`: what a rule sends, and where, in words
//! - `tester`: which rule fires for an event
//! - `act`: tests, and webhooks that are enabled again

mod act;
mod describe;
mod list;
mod one;
mod tester;

use std::sync::Arc;

use as2hook_event::Rule;
use axum::{
    Router,
    routing::{get, post},
};

use crate::gateway::ApiState;

const PATH: &str = "/console/webhooks";

pub(super) fn routes() -> Router<ApiState> {
    Router::new()
        .route(PATH, get(list::webhooks))
        .route("/console/webhooks/{name}", get(one::webhook))
        .route("/console/webhooks/{name}/test", post(act::test))
        .route("/console/webhooks/{name}/enable", post(act::enable))
}

/// Returns the names of a site's webhooks, sorted, at most so many.
pub(super) fn webhook_names(api: &ApiState, site: &str, most: usize) -> Vec<String> {
    let rules = part_of(api, site, "", most).0;
    rules.iter().map(|rule| rule.name.clone()).collect()
}

/// Returns the webhooks of a site by name, those behind `after`, at most so many; and whether there are more.
fn part_of(api: &ApiState, site: &str, after: &str, most: usize) -> (Vec<Arc<Rule>>, bool) {
    let mut rules = api.gateway.webhooks();
    rules.retain(|rule| rule.site == site && (after.is_empty() || rule.name.as_str() > after));
    let more = rules.len() > most;
    if more {
        // There may be a hundred thousand, of which a page shows a few.
        rules.select_nth_unstable_by(most, |a, b| a.name.cmp(&b.name));
        rules.truncate(most);
    }
    rules.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    (rules, more)
}
