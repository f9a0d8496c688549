//! Loads config and rules again. With a mistake the page after it shows all of them.

use axum::{extract::State, response::Response};

use super::{
    super::{
        components::things,
        phrases::listed,
        session::{ActionForm, FlashNote},
    },
    PATH,
};
use crate::{
    gateway::{ApiState, Reloaded},
    status::reload_for,
};

pub(super) async fn reload(State(api): State<ApiState>, form: ActionForm) -> Response {
    let session = &form.session;
    let reloaded = match reload_for(&api, &session.caller).await {
        Ok(reloaded) => reloaded,
        refused => return session.done(&api, PATH, &refused, |_| String::new()),
    };
    let note = match reloaded {
        Ok(done) => FlashNote::ok(in_words(&done)),
        Err(mistakes) => {
            let n = u64::try_from(mistakes.len()).unwrap_or(u64::MAX);
            let mistakes = things(n, "mistake", "mistakes");
            FlashNote::bad(format!("The files have {mistakes}. What was in force stays in force."))
        }
    };
    session.redirect(&api, PATH, &note)
}

/// Returns what a reload changed.
fn in_words(done: &Reloaded) -> String {
    let changes = [("added", &done.added), ("changed", &done.changed), ("removed", &done.removed)];
    let changes = changes.iter().filter(|(_, names)| !names.is_empty()).map(|(what, names)| {
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        format!("{what} {}", listed(&names))
    });
    let changes = changes.collect::<Vec<_>>().join("; ");
    let changes = if changes.is_empty() { "no rule changed".to_owned() } else { changes };
    format!("Configuration {} is in force: {changes}.", done.generation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reload_names_the_rules_that_it_changed() {
        let mut done = Reloaded {
            status: "ok",
            generation: 42,
            added: Vec::new(),
            changed: Vec::new(),
            removed: Vec::new(),
        };
        assert_eq!(in_words(&done), "Configuration 42 is in force: no rule changed.");
        done.added = vec!["a".into(), "b".into()];
        done.removed = vec!["c".into()];
        assert_eq!(in_words(&done), "Configuration 42 is in force: added a and b; removed c.");
    }
}
