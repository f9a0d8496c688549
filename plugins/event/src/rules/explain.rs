//! Explains why a rule fires or does not: the output of `as2hook match`.

use std::{cmp::Reverse, fmt, sync::Arc};

use super::{Query, RuleSet, index};
use crate::{
    event::{EventKind, PartnerType},
    rule::{FilterMatch, Findings, Route, Rule},
};

/// The outcome of one rule for an event. Displays as one line.
#[derive(Clone, Debug)]
pub struct Explanation<'a> {
    /// The rule.
    pub rule: &'a Arc<Rule>,
    /// Whether it fires, and why.
    pub outcome: Outcome<'a>,
    /// Which of partner, station, partner_type and event the rule names.
    pub names: Vec<&'static str>,
}

/// Whether a rule fires, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// It fires: no other that matches names more.
    MostSpecific,
    /// It fires: `route: always`.
    Always,
    /// It may fire: its filters need something that is unknown.
    IfFiltersHold {
        /// The condition, as in "it has no errors".
        filters: String,
    },
    /// It fires unless a more specific one does, whose filters need something that is unknown.
    Otherwise {
        /// Name of that rule.
        to: &'a str,
    },
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
    /// Its filters do not hold.
    FiltersDoNotHold {
        /// The condition that does not hold, as in "it has no errors".
        filters: String,
    },
    /// It is for partners of another type.
    OtherPartnerType(PartnerType),
    /// It names the partner or the station in another case.
    OtherCase {
        /// `partner` or `station`.
        field: &'static str,
        /// The event's value.
        actual: String,
    },
}

// === impl RuleSet ===

impl RuleSet {
    /// Explains every rule of the site that does not name another partner or station, most specific
    /// first. A rule that only differs in the case of an AS2 id is included, since that is easily
    /// overlooked. Reads every rule: for people, not for traffic.
    pub fn explain(&self, query: &Query<'_>, findings: &Findings) -> Vec<Explanation<'_>> {
        let mut competing = Vec::new();
        self.index.find(query, findings, |hit| {
            if hit.competes {
                competing.push((&self.rules[hit.place], hit.certain));
            }
        });
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
                outcome: outcome(rule, query, findings, &competing),
                names: index::named(index::shape(rule)).collect(),
            })
            .collect();
        // A stable sort: rules that name as much stay in the order of the files.
        explanations.sort_by_key(|one| Reverse((index::shape(one.rule), one.outcome.fires())));
        explanations
    }
}

/// `competing`: the rules that compete and match, most specific first, and whether that is certain.
fn outcome<'a>(
    rule: &Rule,
    query: &Query<'_>,
    findings: &Findings,
    competing: &[(&'a Arc<Rule>, bool)],
) -> Outcome<'a> {
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
    if !rule.enabled {
        return Outcome::Disabled;
    }
    if rule.partner_type.is_some_and(|wanted| wanted != query.partner_type) {
        return Outcome::OtherPartnerType(query.partner_type);
    }
    if !rule.wants(query.event) {
        return Outcome::OtherEvent(query.event);
    }
    let filters = rule.filters.to_string();
    let matched = rule.filters.mask().matches(findings);
    if matched == FilterMatch::No {
        return Outcome::FiltersDoNotHold { filters };
    }
    let certain = |(_, certain): &&(&'a Arc<Rule>, bool)| *certain;
    let more_specific =
        |(other, _): &&(&'a Arc<Rule>, bool)| index::shape(other) > index::shape(rule);
    let winner = competing.iter().find(certain).filter(more_specific);
    match (rule.route, winner) {
        (Route::MostSpecific, Some((winner, _))) => {
            let more = index::shape(winner) & !index::shape(rule);
            let because = index::named(more).next().unwrap_or("event");
            Outcome::Lost { to: &winner.name, because }
        }
        _ if matched == FilterMatch::Maybe => Outcome::IfFiltersHold { filters },
        (Route::Always, _) => Outcome::Always,
        (Route::MostSpecific, None) => match competing.first().filter(more_specific) {
            Some((other, _)) => Outcome::Otherwise { to: &other.name },
            None => Outcome::MostSpecific,
        },
    }
}

/// Whether a field of a rule admits the event, ignoring case.
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
        let fires = match (self.outcome.fires(), self.outcome.may_fire()) {
            (true, _) => "fires",
            (false, true) => "may fire",
            (false, false) => "does not fire",
        };
        let names = match self.names.as_slice() {
            [] => "names nothing".to_owned(),
            names => format!("names {}", names.join(", ")),
        };
        write!(f, "{}: {fires}: {} ({names})", self.rule.name, self.outcome)
    }
}

// === impl Outcome ===

impl Outcome<'_> {
    /// Whether the webhook fires.
    pub const fn fires(&self) -> bool {
        matches!(self, Self::MostSpecific | Self::Always)
    }

    /// Whether that depends on something unknown.
    pub const fn may_fire(&self) -> bool {
        matches!(self, Self::IfFiltersHold { .. } | Self::Otherwise { .. })
    }
}

impl fmt::Display for Outcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MostSpecific => f.write_str("it is the most specific rule that matches"),
            Self::Always => f.write_str("route: always fires besides"),
            Self::IfFiltersHold { filters } => write!(f, "it fires if {filters}"),
            Self::Otherwise { to } => {
                write!(f, "\"{to}\" is more specific, and fires instead if its filters hold")
            }
            Self::FiltersDoNotHold { filters } => write!(f, "it fires only if {filters}"),
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
