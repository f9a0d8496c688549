//! `/console/partners`: the configured partners of the site.
//!
//! # Layout
//! - `one`: one partner

mod one;

use std::collections::BTreeMap;

use as2hook_config::{Partner, TokenScope};
use as2hook_event::PartnerType;
use axum::{
    Router,
    extract::{Query, State},
    routing::get,
};
use maud::{Markup, html};

use super::{
    certificates::{of_partner, state},
    components::{Tone, count, note, things},
    layout::{self, NavItem, head},
    search::ROWS,
    session::Session,
    url::{segment, with_query},
};
use crate::{error::ApiError, gateway::ApiState, webhooks::masked};

const PATH: &str = "/console/partners";

pub(super) fn routes() -> Router<ApiState> {
    Router::new().route(PATH, get(partners)).route("/console/partners/{as2_id}", get(one::partner))
}

async fn partners(
    State(api): State<ApiState>,
    session: Session,
    Query(pairs): Query<BTreeMap<String, String>>,
) -> Result<Markup, ApiError> {
    session.caller.needs(TokenScope::Read)?;
    let caller = &session.caller;
    let text = |name: &str| pairs.get(name).map_or("", |value| value.trim());
    let (after, part) = (text("after"), text("q"));
    let own = caller.config().partners.iter().filter(|it| it.site == caller.site());
    let mut all: Vec<&Partner> = own.filter(|it| contains(&it.as2_id, part)).collect();
    all.sort_unstable_by(|a, b| a.as2_id.cmp(&b.as2_id));
    let begin = all.partition_point(|it| !after.is_empty() && it.as2_id.as_str() <= after);
    let shown = &all[begin..all.len().min(begin + ROWS)];
    let next = shown.last().filter(|_| begin + ROWS < all.len());
    let number = u64::try_from(all.len()).unwrap_or(u64::MAX);
    let heading = match (number, part.is_empty()) {
        (0, true) => "No partner is configured".to_owned(),
        (0, false) => "No partner matches".to_owned(),
        (n, true) => things(n, "partner", "partners"),
        (n, false) => things(n, "partner matches", "partners match"),
    };
    let main = html! {
        (head(&html! { "Partners" }, &heading, &html! {
            "Who exchanges messages with you, as the config says. Messages of other partners pass, too; their signatures are not checked."
        }))
        @if number == 0 && part.is_empty() { (nothing()) } @else {
            form method="get" action=(PATH) role="search" {
                div.find {
                    label.vh for="q" { "Find" }
                    input #q name="q" type="search" value=(part) placeholder="A part of the AS2 id";
                    button.btn.primary { "Search" }
                }
            }
            @if shown.is_empty() { p { a href=(PATH) { "Show all partners" } } } @else {
                section.panel {
                    header { h2 { "Configured partners" } p { (count(number)) ", by AS2 id" } }
                    (table(shown))
                    @if next.is_some() || begin > 0 {
                        footer { span.acts {
                            @if begin > 0 { a.btn href=(with_query(PATH, &[("q", part)])) { "From the beginning" } }
                            @if let Some(next) = next { a.btn rel="next" href=(with_query(PATH, &[("q", part), ("after", &next.as2_id)])) { "More" } }
                        } }
                    }
                }
            }
        }
    };
    Ok(layout::page(&api, &session, NavItem::Partners, "Partners", &main).await)
}

fn contains(as2_id: &str, part: &str) -> bool {
    part.is_empty() || as2_id.to_lowercase().contains(&part.to_lowercase())
}

fn nothing() -> Markup {
    note(
        Tone::Off,
        "What to do first",
        &html! {
            p { "Name your partners in " code { "as2hook.yaml" } ", each with the certificate that it signs with:" }
            pre.copy tabindex="0" { "partners:\n  - as2_id: ACME\n    certificates: [keys/acme.crt]" }
            p { "Or take them over from an OpenAS2:" }
            pre.copy tabindex="0" { "as2hook init --from-openas2 /opt/openas2/config/config.xml" }
        },
    )
}

fn table(shown: &[&Partner]) -> Markup {
    html! {
        div.scroll {
            table.cards role="table" {
                caption.vh { "Configured partners" }
                thead role="rowgroup" {
                    tr role="row" {
                        @for name in ["Partner", "Type", "Certificates", "URL", "Number", "Show"] {
                            th scope="col" role="columnheader" { (name) }
                        }
                    }
                }
                tbody role="rowgroup" { @for partner in shown { (line(partner)) } }
            }
        }
    }
}

fn line(partner: &Partner) -> Markup {
    let id = &partner.as2_id;
    html! {
        tr role="row" {
            th.lead scope="row" role="rowheader" { a href={ (PATH) "/" (segment(id)) } { (id) } }
            td.end role="cell" { (type_name(partner.partner_type)) }
            td role="cell" data-label="Certificates" { (certificates(partner)) }
            td role="cell" data-label="URL" { @if let Some(url) = &partner.url { (masked(url)) } @else { "–" } }
            td role="cell" data-label="Number" { @if let Some(id) = partner.id { (id) } @else { "–" } }
            td.row role="cell" {
                a href=(with_query("/console/exchanges", &[("partner", id)])) { "exchanges" } ", "
                a href=(with_query("/console/deliveries", &[("partner", id)])) { "deliveries" }
            }
        }
    }
}

/// A type is no state: one that differs from the usual is marked by weight.
fn type_name(partner_type: PartnerType) -> Markup {
    match partner_type {
        PartnerType::Test => html! { b { (partner_type.as_str()) } },
        PartnerType::Production => html! { (partner_type.as_str()) },
    }
}

/// Returns how many certificates a partner has, and how the first to end is.
fn certificates(partner: &Partner) -> Markup {
    let all = of_partner(partner);
    html! {
        @match all.first() {
            None => "none: its signatures are not checked",
            Some(first) => { (all.len()) " " (state(first)) },
        }
    }
}
