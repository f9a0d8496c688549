//! Deliveries as a table.

use as2hook_store::{DeliveryRow, DeliveryState, Page};
use maud::{Markup, html};

use super::super::{
    phrases::{bare, preposition, state_chip},
    times::time,
    url::segment,
};

/// Returns deliveries as a table. `of_one`: the webhook that all are of, which needs no column then; empty for several.
pub(super) fn table(page: &Page<DeliveryRow>, is_choice: bool, of_one: &str) -> Markup {
    let names = [
        "State",
        "File or Message-ID",
        "Webhook",
        "Partner",
        "Happened",
        "Attempts",
        "Next attempt",
    ];
    let names = names.into_iter().filter(|name| of_one.is_empty() || *name != "Webhook");
    html! {
        div.scroll {
            table.cards role="table" {
                caption.vh { "Deliveries, newest first" }
                thead role="rowgroup" {
                    tr role="row" {
                        @if is_choice { th scope="col" role="columnheader" { span.vh { "Choose" } } }
                        @for name in names {
                            th scope="col" role="columnheader" { (name) }
                        }
                    }
                }
                tbody role="rowgroup" { @for row in &page.rows { (line(row, is_choice, of_one)) } }
            }
        }
    }
}

fn line(row: &DeliveryRow, is_choice: bool, of_one: &str) -> Markup {
    let event = &row.event;
    let what = event.file_name.as_deref().or(event.message_id.as_deref().map(bare));
    let what = what.unwrap_or(&event.kind);
    html! {
        tr role="row" {
            @if is_choice {
                td role="cell" {
                    input type="checkbox" name="id" value=(row.id)
                        aria-label={ "Choose the delivery of " (what) " to " (row.webhook) };
                }
            }
            td.end role="cell" { (state_chip(row.state.as_str())) }
            td.lead.id role="cell" { a href={ "/console/exchanges/" (event.id) "#d" (row.id) } { (what) } }
            @if of_one.is_empty() {
                td role="cell" { a href={ "/console/webhooks/" (segment(&row.webhook)) } { (row.webhook) } }
            }
            td role="cell" {
                @match &event.partner {
                    Some(partner) => { (preposition(&event.kind)) " " b { (partner) } },
                    None => "–",
                }
            }
            td.nowrap.end role="cell" data-pre="happened" { (time(event.occurred_at)) }
            td.row role="cell" data-pre="attempts:" { (attempts(row)) }
            td.nowrap.end.drop[row.state != DeliveryState::Pending] role="cell" data-pre="next" { (next(row)) }
        }
    }
}

fn attempts(row: &DeliveryRow) -> String {
    let error = row.last_error.as_deref();
    match (row.attempts, row.last_http_code, error) {
        (0, ..) => "none yet".to_owned(),
        // What the endpoint said stands behind its status.
        (n, Some(code), Some(error)) => match error.split_once(": ") {
            Some((_, said)) => format!("{n}, last {code} “{said}”"),
            None => format!("{n}, last {code}"),
        },
        (n, None, Some(error)) => format!("{n}, last “{error}”"),
        (n, Some(code), None) => format!("{n}, last {code}"),
        (n, None, None) => n.to_string(),
    }
}

fn next(row: &DeliveryRow) -> Markup {
    match row.state {
        DeliveryState::Pending if row.blocked => html! { "after the one before it" },
        DeliveryState::Pending => time(row.due),
        _ => html! { "–" },
    }
}
