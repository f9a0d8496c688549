//! Why a rule fires or does not, in words: what `as2hook match` prints.

use std::{cmp::Reverse, fmt, sync::Arc};

use super::{Query, RuleSet, index};
use crate::{
    event::{EventKind, PartnerType},
    rule::{Route, Rule},
};

/// What becomes of one rule for an event. Displays as one line.
#[derive(Clone, Debug)]
pub struct Explanation<'a> {
    /// The rule.
    pub rule: &'a Arc<Rule>,
    /// Whether it fires, and why.
    pub outcome: Outcome<'a>,
    /// What the rule names of partner, station, partner_type and event.
    pub names: Vec<&'static str>,
}

/// Whether a rule fires, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// It fires: no other that matches names more.
    MostSpecific,
    /// It fires: `route: always`.
    Always,
    /// Another rule names more.
    Lost {
        /// Name of the rule that fires.
        to: &'a str,
        /// The first field in the contract's order that the other names and this one does not.
        because: &'static str,
    },
    /// `enabled: false`.
    Disabled,
    /// It does not subscribe to this event.
    OtherEvent(EventKind),
    /// It is for partners of another type.
    OtherPartnerType(PartnerType),
    /// It names the partner or the station in another case.
    OtherCase {
        /// `partner` or `station`.
        field: &'static str,
        /// What the event has.
        actual: String,
    },
}

// === impl RuleSet ===

impl RuleSet {
    /// Every rule of the site that does not name another partner or station, most specific first.
    /// One that differs in nothing but the case of an AS2 id is told too, since that is easily
    /// overlooked. Looks at every rule: for people, not for traffic.
    pub fn explain(&self, query: &Query<'_>) -> Vec<Explanation<'_>> {
        let winner = self.matches(query).winner;
        let near = |rule: &Rule| {
            rule.site == query.site
                && nearly(rule.partner.as_deref(), query.partner)
                && nearly(rule.station.as_deref(), query.station)
        };
        let mut explanations: Vec<_> = self
            .iter()
            .filter(|rule| near(rule))
            .map(|rule| Explanation {
                rule,
                outcome: outcome(rule, query, winner),
                names: index::named(index::shape(rule)).collect(),
            })
            .collect();
        // A stable sort: rules that name as much stay in the order of the files.
        explanations.sort_by_key(|one| Reverse((index::shape(one.rule), one.outcome.fires())));
        explanations
    }
}

fn outcome<'a>(rule: &Rule, query: &Query<'_>, winner: Option<&'a Arc<Rule>>) -> Outcome<'a> {
    let differs = |named: Option<&str>, actual: Option<&str>| named.is_some() && named != actual;
    let other_case = |field, actual: Option<&str>| Outcome::OtherCase {
        field,
        actual: actual.unwrap_or_default().to_owned(),
    };
    if differs(rule.partner.as_deref(), query.partner) {
        return other_case("partner", query.partner);
    }
    if differs(rule.station.as_deref(), query.station) {
        return other_case("station", query.station);
    }
    match (rule.partner_type, winner) {
        _ if !rule.enabled => Outcome::Disabled,
        (Some(wanted), _) if wanted != query.partner_type => {
            Outcome::OtherPartnerType(query.partner_type)
        }
        _ if !rule.wants(query.event) => Outcome::OtherEvent(query.event),
        _ if rule.route == Route::Always => Outcome::Always,
        (_, Some(winner)) if winner.name != rule.name => {
            let more = index::shape(winner) & !index::shape(rule);
            let because = index::named(more).next().unwrap_or("event");
            Outcome::Lost { to: &winner.name, because }
        }
        _ => Outcome::MostSpecific,
    }
}

/// Whether a field of a rule leaves the event in, its case aside.
fn nearly(named: Option<&str>, actual: Option<&str>) -> bool {
    match (named, actual) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(named), Some(actual)) => named.eq_ignore_ascii_case(actual),
    }
}

// === impl Explanation ===

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fires = if self.outcome.fires() { "fires" } else { "does not fire" };
        let names = match self.names.as_slice() {
            [] => "names nothing".to_owned(),
            names => format!("names {}", names.join(", ")),
        };
        write!(f, "{}: {fires}: {} ({names})", self.rule.name, self.outcome)
    }
}

// === impl Outcome ===

impl Outcome<'_> {
    /// Whether the webhook is told.
    pub const fn fires(&self) -> bool {
        matches!(self, Self::MostSpecific | Self::Always)
    }
}

impl fmt::Display for Outcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MostSpecific => f.write_str("it is the most specific rule that matches"),
            Self::Always => f.write_str("route: always fires besides"),
            Self::Lost { to, because } => {
                write!(f, "\"{to}\" is more specific, since it names the {because}")
            }
            Self::Disabled => f.write_str("it is disabled"),
            Self::OtherEvent(event) => write!(f, "it does not subscribe to {event}"),
            Self::OtherPartnerType(actual) => {
                write!(f, "the partner is of type {}", actual.as_str())
            }
            Self::OtherCase { field, actual } => {
                write!(f, "the {field} is \"{actual}\", and AS2 ids are case-sensitive")
            }
        }
    }
}
