//! `/console/certificates`: the configured certificates and keys, and when each ends.
//!
//! # Layout
//! - `configured`: those of the config in force

mod configured;

use as2hook_config::TokenScope;
use axum::{
    Router,
    extract::{Path, Query, State},
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use maud::{Markup, html};
use serde::Deserialize;

pub(super) use configured::{ConfiguredCertificate, certificate_ends, of_partner};

use super::{
    components::{Tone, chip, count, note, things},
    layout::{self, NavItem, head},
    phrases::shortened,
    search::ROWS,
    session::Session,
    times::{span, time},
    url::segment,
};
use crate::{error::ApiError, gateway::ApiState};

const PATH: &str = "/console/certificates";

pub(super) fn routes() -> Router<ApiState> {
    Router::new().route(PATH, get(certificates)).route("/console/certificates/{file}", get(pem))
}

/// Where a page begins: so many of the sorted list are before it.
#[derive(Deserialize)]
struct CertificatePage {
    after: Option<usize>,
}

async fn certificates(
    State(api): State<ApiState>,
    session: Session,
    Query(page): Query<CertificatePage>,
) -> Result<Markup, ApiError> {
    session.caller.needs(TokenScope::Read)?;
    let all = configured::all(&session.caller);
    let after = page.after.unwrap_or(0).min(all.len());
    let shown = &all[after..all.len().min(after + ROWS)];
    let next = (after + ROWS < all.len()).then_some(after + ROWS);
    let main = html! {
        (head(&html! { "Certificates" }, &heading(&all), &html! {
            "What the config names: keys of your stations, certificates of partners and listeners. The file of each is read again at every reload."
        }))
        @if all.is_empty() { (nothing()) } @else {
            section.panel {
                header { h2 { "All certificates" } p { (count(u64::try_from(all.len()).unwrap_or(u64::MAX))) ", those that end first" } }
                (table(shown))
                @if next.is_some() || after > 0 {
                    footer { span.acts {
                        @if after > 0 { a.btn href=(PATH) { "From the beginning" } }
                        @if let Some(next) = next { a.btn rel="next" href={ (PATH) "?after=" (next) } { "More" } }
                    } }
                }
            }
        }
    };
    Ok(layout::page(&api, &session, NavItem::Certificates, "Certificates", &main).await)
}

/// Sends a certificate, which is public, as PEM.
async fn pem(session: Session, Path(file): Path<String>) -> Result<Response, ApiError> {
    session.caller.needs(TokenScope::Read)?;
    let wanted = file.strip_suffix(".pem").ok_or(ApiError::NotFound)?;
    let all = configured::all(&session.caller);
    let found = all.iter().find(|one| one.sha256 == wanted).ok_or(ApiError::NotFound)?;
    let pem = found.pem().ok_or(ApiError::NotFound)?;
    let headers = [
        (header::CONTENT_TYPE, "application/x-pem-file".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}.pem\"", &wanted[..8])),
    ];
    Ok((headers, pem).into_response())
}

fn heading(all: &[ConfiguredCertificate<'_>]) -> String {
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let ended = number(all.iter().filter(|one| one.days_left() < 0).count());
    let soon = number(all.iter().filter(|one| (0..30).contains(&one.days_left())).count());
    match (all.len(), ended, soon) {
        (0, ..) => "No certificate is configured".to_owned(),
        (_, 0, 0) => "No certificate ends within 30 days".to_owned(),
        (_, 0, n) => {
            format!("{} within 30 days", things(n, "certificate ends", "certificates end"))
        }
        (_, n, 0) => format!("{} ended", things(n, "certificate has", "certificates have")),
        (_, n, soon) => {
            let ended = things(n, "certificate has ended", "certificates have ended");
            format!("{ended}, {} within 30 days", things(soon, "ends", "end"))
        }
    }
}

fn nothing() -> Markup {
    note(
        Tone::Off,
        "What to do first",
        &html! {
            p { "Name your station's key and your partners' certificates in " code { "as2hook.yaml" }
                ". Without a key messages pass, but what is in them is not known; without a partner's certificate its signature is not checked." }
            p { "Take stations, keys and partners over from an OpenAS2:" }
            pre.copy tabindex="0" { "as2hook init --from-openas2 /opt/openas2/config/config.xml" }
        },
    )
}

/// Returns certificates as a table.
pub(super) fn table(shown: &[ConfiguredCertificate<'_>]) -> Markup {
    html! {
        div.scroll {
            table.cards role="table" {
                caption.vh { "Configured certificates" }
                thead role="rowgroup" {
                    tr role="row" {
                        @for name in ["Certificate", "State", "Used for", "Ends", "File"] {
                            th scope="col" role="columnheader" { (name) }
                        }
                    }
                }
                tbody role="rowgroup" { @for one in shown { (line(one)) } }
            }
        }
    }
}

fn line(one: &ConfiguredCertificate<'_>) -> Markup {
    html! {
        tr role="row" {
            th.lead scope="row" role="rowheader" { (one.name) small.id { "serial " (shortened(&one.serial)) } }
            td.row role="cell" { (state(one)) }
            td role="cell" data-label="Used for" {
                @if let Some(partner) = one.partner {
                    a href={ "/console/partners/" (segment(partner)) } { (partner) } " " (one.usage)
                } @else { (one.usage) }
            }
            td role="cell" data-label="Ends" { (time(one.ends.saturating_mul(1000))) }
            td role="cell" data-label="File" { a href={ (PATH) "/" (one.sha256) ".pem" } { "PEM" span.vh { " of " (one.name) } } small.id { "SHA-256 " (shortened(&one.sha256)) } }
        }
    }
}

/// Returns the chip of a certificate's validity.
pub(super) fn state(one: &ConfiguredCertificate<'_>) -> Markup {
    let left = one.seconds_left();
    match one.days_left() {
        ..0 => chip(Tone::Bad, &format!("Ended {} ago", span(left.saturating_mul(1000)))),
        0..30 => chip(Tone::Wait, &format!("Ends in {}", span(left.saturating_mul(1000)))),
        _ => chip(Tone::Ok, "Valid"),
    }
}
