//! Explains why a rule fires or does not: the output of `as2hook match`.

use std::{cmp::Reverse, fmt, sync::Arc};

use super::{Query, RuleSet, index};
use crate::rule::{FilterMatch, Findings, Route, Rule};

/// What an event does to one rule, and why. Displays as one line.
#[derive(Clone, Debug)]
pub struct Explanation<'a> {
    /// The rule.
    pub rule: &'a Arc<Rule>,
    /// Whether it fires.
    pub outcome: Outcome,
    /// Why.
    pub why: String,
    /// Which of partner, station, partner_type and event the rule names.
    pub names: Vec<&'static str>,
}

/// Whether a rule fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It does.
    Fires,
    /// That depends on something unknown.
    MayFire,
    /// It does not.
    DoesNotFire,
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
        let explained = self.iter().filter(|rule| near(rule)).map(|rule| {
            let (outcome, why) = outcome(rule, query, findings, &competing);
            let names = index::named(index::shape(rule)).collect();
            Explanation { rule, outcome, why, names }
        });
        let mut explanations: Vec<_> = explained.collect();
        // A stable sort: rules that name as much stay in the order of the files.
        explanations
            .sort_by_key(|one| Reverse((index::shape(one.rule), one.outcome == Outcome::Fires)));
        explanations
    }
}

/// `competing`: the rules that compete and match, most specific first, and whether that is certain.
fn outcome(
    rule: &Rule,
    query: &Query<'_>,
    findings: &Findings,
    competing: &[(&Arc<Rule>, bool)],
) -> (Outcome, String) {
    use Outcome::{DoesNotFire, Fires, MayFire};
    for (field, named, actual) in
        [("partner", &rule.partner, query.partner), ("station", &rule.station, query.station)]
    {
        if named.is_some() && named.as_deref() != actual {
            let actual = actual.unwrap_or_default();
            let why = format!("the {field} is \"{actual}\", and AS2 ids are case-sensitive");
            return (DoesNotFire, why);
        }
    }
    if !rule.enabled {
        return (DoesNotFire, "it is disabled".to_owned());
    }
    if rule.partner_type.is_some_and(|wanted| wanted != query.partner_type) {
        return (DoesNotFire, format!("the partner is of type {}", query.partner_type.as_str()));
    }
    if !rule.wants(query.event) {
        return (DoesNotFire, format!("it does not subscribe to {}", query.event));
    }
    let (of_documents, _) = findings.first_of(rule.filters.documents.as_deref());
    let matched = rule.filters.mask().matches(findings).and(of_documents);
    if matched == FilterMatch::No {
        return (DoesNotFire, format!("it fires only if {}", rule.filters));
    }
    let more_specific = |(other, _): &&(&Arc<Rule>, bool)| index::shape(other) > index::shape(rule);
    let winner = competing.iter().find(|(_, certain)| *certain).filter(more_specific);
    match (rule.route, winner) {
        (Route::MostSpecific, Some((winner, _))) => {
            let more = index::shape(winner) & !index::shape(rule);
            let because = index::named(more).next().unwrap_or("event");
            let to = &winner.name;
            (DoesNotFire, format!("\"{to}\" is more specific, since it names the {because}"))
        }
        _ if matched == FilterMatch::Maybe => (MayFire, format!("it fires if {}", rule.filters)),
        (Route::Always, _) => (Fires, "route: always fires besides".to_owned()),
        (Route::MostSpecific, None) => match competing.first().filter(more_specific) {
            Some((other, _)) => {
                let to = &other.name;
                let why = "is more specific, and fires instead if its filters hold";
                (MayFire, format!("\"{to}\" {why}"))
            }
            None => (Fires, "it is the most specific rule that matches".to_owned()),
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
        let fires = match self.outcome {
            Outcome::Fires => "fires",
            Outcome::MayFire => "may fire",
            Outcome::DoesNotFire => "does not fire",
        };
        let names = match self.names.as_slice() {
            [] => "names nothing".to_owned(),
            names => format!("names {}", names.join(", ")),
        };
        write!(f, "{}: {fires}: {} ({names})", self.rule.name, self.why)
    }
}
