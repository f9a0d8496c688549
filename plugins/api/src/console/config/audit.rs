//! What people and programs did, by token.

use as2hook_store::Filter;
use axum::extract::{Query, State};
use maud::{Markup, html};

use super::{
    super::{
        layout::{self, NavItem, head},
        phrases::time_of,
        search::{ROWS, SearchForm, pager},
        session::Session,
    },
    PATH,
};
use crate::{
    audit::{AuditLog, AuditView, audit},
    error::ApiError,
    events::Listing,
    gateway::ApiState,
};

const ACTIONS: &str = "/console/config/actions";

/// Returns what tokens of the site did, newest first.
pub(super) async fn read(
    api: &ApiState,
    session: &Session,
    cursor: Option<i64>,
    limit: usize,
) -> Result<AuditLog, ApiError> {
    let listing = Listing { filter: Filter::default(), cursor, limit };
    let log = audit(State(api.clone()), session.caller.clone(), Ok(listing)).await?;
    Ok(log.0)
}

pub(super) async fn actions(
    State(api): State<ApiState>,
    session: Session,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Markup, ApiError> {
    let form = SearchForm::of(pairs);
    let log = read(&api, &session, form.cursor, ROWS).await?;
    let heading = match (log.data.len(), form.cursor) {
        (0, None) => "No token has changed anything yet",
        (0, Some(_)) => "Nothing is older",
        _ => "What people and programs did",
    };
    let main = html! {
        (head(&html! { a href=(PATH) { "Configuration" } }, heading, &html! { "Each action over the API or this console, by token. The newest 10,000 are kept." }))
        @if !log.data.is_empty() || form.cursor.is_some() {
            section.panel {
                header { h2 { "Actions" } p { "newest first" } }
                (table(&log.data))
                (pager(&form, ACTIONS, log.next_cursor, &html! {}))
            }
        }
    };
    Ok(layout::page(&api, &session, NavItem::Configuration, "Actions", &main).await)
}

/// Returns actions as a table.
pub(super) fn table(actions: &[AuditView]) -> Markup {
    html! {
        div.scroll tabindex="0" role="group" aria-label="Actions" {
            table.cards role="table" {
                caption.vh { "Actions by token" }
                thead role="rowgroup" {
                    tr role="row" {
                        @for name in ["Time", "Token", "Action", "Of", "Result"] {
                            th scope="col" role="columnheader" { (name) }
                        }
                    }
                }
                tbody role="rowgroup" {
                    @for action in actions {
                        tr role="row" {
                            td.nowrap role="cell" { (time_of(&action.at)) }
                            td.end role="cell" { (action.token) }
                            td.row role="cell" { (action.action) }
                            td.row.id role="cell" { (action.target) }
                            td.row role="cell" { (action.result) }
                        }
                    }
                }
            }
        }
    }
}
