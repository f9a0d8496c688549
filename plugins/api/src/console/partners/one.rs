//! One partner: what the config says of it, its certificates, and what passed last.

use as2hook_config::{Partner, TokenScope};
use as2hook_store::{EventRow, EventTally, Filter};
use axum::extract::{Path, State};
use maud::{Markup, html};

use super::{
    super::{
        certificates::{self, of_partner},
        components::{Tone, facts, note, panel},
        exchanges,
        layout::{self, NavItem, head},
        session::Session,
        times::span,
        url::{segment, with_query},
    },
    PATH, type_name,
};
use crate::{
    error::ApiError, gateway::ApiState, partner_webhooks::partner_webhook_name, webhooks::masked,
};

/// The exchanges that are shown, the newest ones.
const LATEST: usize = 10;

pub(super) async fn partner(
    State(api): State<ApiState>,
    session: Session,
    Path(as2_id): Path<String>,
) -> Result<Markup, ApiError> {
    let caller = &session.caller;
    caller.needs(TokenScope::Read)?;
    let known = caller.config().partner(&as2_id).filter(|it| it.site == caller.site());
    let filter = Filter {
        site: Some(caller.site().to_owned()),
        partner: Some(as2_id.clone()),
        ..Filter::default()
    };
    let rows = api.store.events(&filter, None, LATEST).await?.rows;
    if known.is_none() && rows.is_empty() {
        return Err(ApiError::NotFound);
    }
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    let tallies = api.store.tally_events(&ids).await?;
    let below = html! {
        a href=(with_query("/console/exchanges", &[("partner", &as2_id)])) { "All its exchanges" } " · "
        a href=(with_query("/console/deliveries", &[("partner", &as2_id)])) { "all its deliveries" }
    };
    let main = html! {
        (head(&html! { a href=(PATH) { "Partners" } }, &heading(&as2_id, known, rows.first()), &below))
        @if let Some(partner) = known {
            @let all = of_partner(partner);
            @if all.is_empty() { (unverified(partner)) }
            div.cols.side-right {
                div.stack {
                    (latest(&rows, &tallies))
                    @if !all.is_empty() { (panel("Certificates", &html! { "those that end first" }, &certificates::table(&all))) }
                }
                (about(&api, partner))
            }
        } @else {
            (note(Tone::Wait, "It is not in the config", &html! {
                p { "Its messages pass, and count as those of a Production partner. Its signatures are not checked, since no certificate of it is known." }
                p { b { "What helps: " } "add it to " code { "partners" } " in " code { "as2hook.yaml" } ", with the certificate that it signs with." }
            }))
            (latest(&rows, &tallies))
        }
    };
    Ok(layout::page(&api, &session, NavItem::Partners, &as2_id, &main).await)
}

fn heading(as2_id: &str, known: Option<&Partner>, last: Option<&EventRow>) -> String {
    match (known, last) {
        (None, _) => format!("{as2_id} is not configured"),
        (Some(_), None) => format!("Nothing of {as2_id} has passed yet"),
        (Some(_), Some(last)) => {
            let ago = as2hook_store::clock::now().saturating_sub(last.occurred_at).max(0);
            format!("{as2_id}: last exchange {} ago", span(ago))
        }
    }
}

fn unverified(partner: &Partner) -> Markup {
    note(
        Tone::Wait,
        "Its signatures are not checked",
        &html! {
            p { "No certificate is configured for " (partner.as2_id) ". Anyone can claim to be it." }
            p { b { "What helps: " } "ask it for the certificate that it signs with, compare the fingerprint by phone, and add the file to its "
                code { "certificates" } "." }
        },
    )
}

fn latest(rows: &[EventRow], tallies: &[EventTally]) -> Markup {
    let content = html! {
        @if rows.is_empty() { div.body { p.sub { "An exchange is kept where a rule fires for it." } } } @else { (exchanges::table(rows, tallies, false)) }
    };
    panel("Latest exchanges", &html! { "newest first" }, &content)
}

fn about(api: &ApiState, partner: &Partner) -> Markup {
    let webhook = partner.id.and_then(|id| {
        let view = api.gateway.partner_webhook(&partner.site, id)?;
        Some((partner_webhook_name(&partner.site, id), view))
    });
    let others: Vec<_> = partner.mdn_urls.iter().map(masked).collect();
    let content = facts(&[
        ("AS2 id", Some(html! { span.id { (partner.as2_id) } })),
        ("Type", Some(type_name(partner.partner_type))),
        ("Number", partner.id.map(|id| html! { (id) ", for the config API" })),
        ("Site", Some(html! { (partner.site) })),
        ("Messages go to", partner.url.as_ref().map(|url| html! { (masked(url)) })),
        ("Receipts also to", (!others.is_empty()).then(|| html! { (others.join(", ")) })),
        ("Later receipts", Some(html! { @if partner.has_async_mdns_here() { "pass this gateway, and are missed when they do not come" } @else { "never pass here" } })),
        ("Unsigned receipts", Some(html! { @if partner.accepts_unsigned_mdns() { "count" } @else { "do not count where a signed one was asked for" } })),
        ("Own webhook", webhook.as_ref().map(|(name, view)| html! {
            @if view.webhook_url.is_none() { "none" }
            @else if view.webhook_enabled { a href={ "/console/webhooks/" (segment(name)) } { (name) } }
            @else { "off" }
        })),
    ]);
    panel("This partner", &html! {}, &html! { div.body { (content) } })
}
