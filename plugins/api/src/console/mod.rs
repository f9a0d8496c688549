//! The console, `/console/` on the admin listener: pages for people, over the same reads and actions as the API.
//!
//! # How a page is written
//! A page is a module with `routes() -> Router<ApiState>`, merged in [`router`]; its paths are whole, such as
//! `/console/deliveries/{id}/retry`. The router guards all of them: `Host`, origin, session, headers.
//!
//! - **Read.** A handler takes `State(api): State<ApiState>` and `session: Session`; without a session the browser
//!   goes to the sign-in page and comes back. `session.caller` is the API's [`Caller`](crate::caller::Caller): its
//!   `needs(TokenScope::Read)?` comes first, its `site()` is part of every filter, and the functions that the
//!   API's views read with take it. A handler returns `Result<_, ApiError>`: an error becomes a page, with
//!   [`error_sentence`]; an object of another site is [`ApiError::NotFound`].
//! - **Render.** [`layout::page`] makes the frame, [`layout::head`] its heading, [`components`] the parts,
//!   [`times::time`] a time, [`url`] the paths. Markup is maud's: every value is escaped, and there is no inline
//!   style or script, which the policy forbids.
//! - **Act.** [`components::action`] is a form of one button; a form of its own has [`components::csrf`]. Its
//!   `POST` handler takes [`session::ActionForm`] last, which has checked the token in it, calls what the API
//!   calls, and ends with `form.session.done(&api, to, &result, |done| …)`: 303 to a page which shows once what came
//!   of it. Where the token lacks the scope, [`components::needs`] stands in place of the form.
//! - **Live.** An element with `data-live="NAME"` is brought up to date by the stream's event of this
//!   name, and one with `data-webhook="NAME"` shows that webhook's state; see [`live`].
//!
//! - **One exchange.** The elements `data-live="exchange-…"` within `data-exchange="ID"` are those of the page as it is
//!   now, whenever the stream says that its digest is not `data-state`; see [`watched`].
//! - **Paths of actions**, with the fields of the API's search where they take many: `/console/deliveries/retry`,
//!   `/cancel`, `/replay` (`webhook`, `status`, …, `back`); `/console/deliveries/{id}/retry`, `/cancel`, `/replay`;
//!   `/console/webhooks/{name}/enable`, `/test`; `/console/config/reload`. `form.back(…)` is where they lead to.
//! - **New rows.** `span data-new-rows=""` in a footer says how many exchanges came since. `input data-utc=""` of type
//!   `datetime-local` is sent, and given as `value`, in RFC 3339.
//!
//! # Layout
//! - `security`, `session`, `signin`, `assets`: the way in
//! - `layout`, `components`, `times`, `url`: what pages are made of
//! - `rows`: an exchange as a row; `phrases`: words that several pages say alike
//! - `standing`: how things stand in a site
//! - the others: a page each, by its path

mod assets;
mod certificates;
pub(crate) mod components;
mod config;
mod deliveries;
mod exchange;
mod exchanges;
pub(crate) mod layout;
mod live;
mod overview;
mod partners;
pub(crate) mod phrases;
pub(crate) mod rows;
pub(crate) mod search;
mod security;
pub(crate) mod session;
mod signin;
pub(crate) mod standing;
pub(crate) mod times;
pub(crate) mod url;
mod watched;
mod webhooks;

pub(crate) use live::LiveHub;

use axum::{Router, middleware::from_fn_with_state, response::Redirect, routing::any};

use crate::{error::ApiError, gateway::ApiState};

/// Returns every route below `/console`, guarded.
pub(crate) fn router(api: &ApiState) -> Router<ApiState> {
    Router::new()
        .route("/console", any(|| async { Redirect::permanent("/console/") }))
        .route("/console/{*other}", any(|| async { ApiError::NoRoute }))
        .merge(assets::routes())
        .merge(signin::routes())
        .merge(overview::routes())
        .merge(live::routes())
        .merge(exchanges::routes())
        .merge(exchange::routes())
        .merge(deliveries::routes())
        .merge(webhooks::routes())
        .merge(partners::routes())
        .merge(certificates::routes())
        .merge(config::routes())
        .method_not_allowed_fallback(|| async { ApiError::Method })
        .layer(from_fn_with_state(api.clone(), security::guard))
}

/// Returns the API's sentence for an error, always in English.
pub(crate) fn error_sentence(error: &ApiError) -> String {
    match error {
        ApiError::ScopeMissing(scope) => format!("It needs scope {scope}."),
        ApiError::UnknownPartner => "There is no such partner.".to_owned(),
        ApiError::Inactive => "The webhook is off.".to_owned(),
        other => format!("{other}."),
    }
}
