//! "Which rule fires?": a question to the rules in force, by the matcher of `as2hook match`.

use std::collections::BTreeMap;

use as2hook_as2::{ErrorCode, SignatureStatus};
use as2hook_event::{EventKind, Explanation, Findings, Outcome, PartnerType, Query, Rule, RuleSet};
use maud::{Markup, html};

use super::{
    super::{
        components::{Tone, chip, select},
        phrases::{capital, listed},
        search::suggest,
        session::Session,
        url::segment,
    },
    PATH,
};
use crate::gateway::ApiState;

/// The most rules that are explained.
const EXPLAINED: usize = 100;

/// An event that did not happen.
pub(super) struct Question {
    event: Option<EventKind>,
    partner: String,
    station: String,
    partner_type: Option<PartnerType>,
    document: String,
    signature: String,
    errors: String,
}

// === impl Question ===

impl Question {
    /// Reads the form; without an event there is no question.
    pub(super) fn of(pairs: &BTreeMap<String, String>) -> Self {
        let text = |name: &str| pairs.get(name).map_or("", |value| value.trim()).to_owned();
        let types = [PartnerType::Production, PartnerType::Test];
        Self {
            event: text("te").parse().ok(),
            partner: text("tp"),
            station: text("ts"),
            partner_type: types.into_iter().find(|kind| kind.as_str() == text("tt")),
            document: text("td"),
            signature: text("tg"),
            errors: text("tx"),
        }
    }

    fn findings(&self) -> Findings {
        let status = SignatureStatus::ALL.into_iter().find(|it| it.as_str() == self.signature);
        let findings = match status {
            Some(status) => Findings::default().signature(Some(status)),
            None => Findings::default(),
        };
        let findings = match self.document.as_str() {
            "" => findings,
            "none" => findings.documents(Vec::new()),
            types => {
                let types = types.split([',', ' ']).filter(|of| !of.is_empty());
                findings.documents(types.flat_map(str::parse).collect())
            }
        };
        match self.errors.as_str() {
            "none" => findings.errors([]),
            "any" => findings.some_errors(),
            code => match code.parse().ok().and_then(|code: u16| ErrorCode::try_from(code).ok()) {
                Some(code) => findings.errors([code]),
                None => findings,
            },
        }
    }

    fn query<'a>(&'a self, event: EventKind, session: &'a Session) -> Query<'a> {
        let some = |text: &'a String| Some(text.as_str()).filter(|text| !text.is_empty());
        let known = session.caller.config().partner(&self.partner);
        let known = known.filter(|partner| partner.site == session.caller.site());
        Query {
            event,
            site: session.caller.site(),
            partner: some(&self.partner),
            station: some(&self.station),
            partner_type: self
                .partner_type
                .or(known.map(|partner| partner.partner_type))
                .unwrap_or_default(),
        }
    }
}

/// Returns the form, and what the rules in force say.
pub(super) fn panel(api: &ApiState, session: &Session, question: &Question) -> Markup {
    let config = session.caller.config();
    let partners = config.partners.iter().filter(|it| it.site == session.caller.site());
    // Stations belong to the gateway, and are named to the default site alone.
    let statuses = SignatureStatus::ALL.map(SignatureStatus::as_str);
    let codes = ErrorCode::ALL.map(|code| code.number().to_string());
    let errors = ["none", "any"].into_iter().chain(codes.iter().map(String::as_str));
    let event = question.event.unwrap_or(EventKind::MessageReceived);
    html! {
        section.panel #tester {
            header { h2 { "Which rule fires?" } p { "A question to the rules in force. Nothing is sent." } }
            div.body {
                form.stack method="get" action={ (PATH) "#tester" } {
                    div.fields {
                        div {
                            label for="te" { "Event" }
                            select #te name="te" {
                                @for kind in EventKind::ALL { option selected[kind == event] { (kind) } }
                            }
                        }
                        (suggest("Partner", "tp", &question.partner, partners.map(|partner| partner.as2_id.as_str())))
                        (suggest("Station", "ts", &question.station, session.caller.stations().map(|it| it.as2_id.as_str())))
                        (select("Partner type", "tt", question.partner_type.map_or("", PartnerType::as_str), ["Production", "Test"]))
                        (suggest("Document", "td", &question.document, ["850", "ORDERS", "none"].into_iter()))
                        (select("Signature", "tg", &question.signature, statuses))
                        (select("Errors", "tx", &question.errors, errors))
                        div { button.btn.primary { "Which\u{a0}rule\u{a0}fires?" } }
                    }
                }
                @if let Some(event) = question.event { (verdict(api, session, question, event)) }
            }
        }
    }
}

fn verdict(api: &ApiState, session: &Session, question: &Question, event: EventKind) -> Markup {
    let query = question.query(event, session);
    // Rules that name another partner or station cannot fire: of a hundred thousand, few are left to compile.
    let may_match = |rule: &Rule| {
        let fits = |named: &Option<String>, actual: Option<&str>| {
            named
                .as_ref()
                .is_none_or(|named| actual.is_some_and(|actual| named.eq_ignore_ascii_case(actual)))
        };
        rule.site == query.site
            && fits(&rule.partner, query.partner)
            && fits(&rule.station, query.station)
    };
    let rules = api.gateway.webhooks().into_iter().filter(|rule| may_match(rule));
    let Ok(rules) = RuleSet::compile(rules.map(|rule| (*rule).clone()).collect()) else {
        return html! { p { "The rules in force cannot be asked now. Try again." } };
    };
    let explanations = rules.explain(&query, &question.findings());
    html! {
        p { b { (summary(&explanations, &query)) } }
        @if !explanations.is_empty() { (table(&explanations)) }
        @if explanations.len() > EXPLAINED { p.sub { (explanations.len() - EXPLAINED) " more rules come near, and are not shown." } }
    }
}

fn summary(explanations: &[Explanation<'_>], query: &Query<'_>) -> String {
    let named = |outcome| -> Vec<&str> {
        let some = explanations.iter().filter(|one| one.outcome == outcome);
        some.map(|one| one.rule.name.as_str()).collect()
    };
    let (fire, may) = (named(Outcome::Fires), named(Outcome::MayFire));
    let of = query.partner.map(|partner| format!(" of {partner}")).unwrap_or_default();
    let event = format!("{}{of}", query.event);
    let gets = if fire.len() == 1 { "gets" } else { "get" };
    let fire_text = match fire.as_slice() {
        [] => format!("No webhook certainly gets a {event}."),
        names => format!("{} {gets} a {event}.", listed(names)),
    };
    match may.as_slice() {
        [] if fire.is_empty() => format!("No webhook gets a {event}."),
        [] => fire_text,
        names => format!(
            "{fire_text} It depends on document, signature and errors whether {} does.",
            listed(names)
        ),
    }
}

fn table(explanations: &[Explanation<'_>]) -> Markup {
    html! {
        div.scroll {
            table.cards role="table" {
                caption.vh { "Why each rule fires or not" }
                thead role="rowgroup" {
                    tr role="row" {
                        @for name in ["Rule", "Fires?", "Why"] { th scope="col" role="columnheader" { (name) } }
                    }
                }
                tbody role="rowgroup" {
                    @for one in explanations.iter().take(EXPLAINED) {
                        tr role="row" {
                            th.lead scope="row" role="rowheader" { a href={ (PATH) "/" (segment(&one.rule.name)) } { (one.rule.name) } }
                            td.end role="cell" {
                                @match one.outcome {
                                    Outcome::Fires => (chip(Tone::Ok, "Fires")),
                                    Outcome::MayFire => (chip(Tone::Wait, "May fire")),
                                    Outcome::DoesNotFire => (chip(Tone::Off, "Does not fire")),
                                }
                            }
                            td.row role="cell" { (capital(&one.why)) "."
                                @if !one.names.is_empty() { small { "It names " (one.names.join(", ")) "." } } }
                        }
                    }
                }
            }
        }
    }
}
