//! All rules together, compiled so that finding the webhooks of an event costs the same whether
//! there are ten rules or a hundred thousand. `conf/webhooks.yaml` says which of them fire.
//!
//! A [`RuleSet`] is one immutable snapshot: a reload compiles another and swaps it in.
//!
//! # Layout
//! - `index`: the packed keys and the lookup
//! - [`explain`]: why a rule fires or does not, as text

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use crate::{
    event::{Event, EventKind, PartnerType},
    rule::{Findings, Rule},
};

pub mod explain;
mod index;
#[cfg(test)]
mod tests;

use index::Hit;

pub use explain::{Explanation, Outcome};

/// Every rule in force.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    rules: Vec<Arc<Rule>>,
    names: HashMap<String, usize>,
    index: index::Index,
}

/// A query for the webhooks of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// The kind of the event.
    pub event: EventKind,
    /// The tenant of the event.
    pub site: &'a str,
    /// AS2 id of the remote side. AS2 ids are case-sensitive.
    pub partner: Option<&'a str>,
    /// AS2 id of our side.
    pub station: Option<&'a str>,
    /// The configured type of the partner.
    pub partner_type: PartnerType,
}

/// The webhooks that fire: at most one winner, and all that fire in addition.
#[derive(Clone, Debug, Default)]
pub struct Matches<'a> {
    /// The most specific of the rules that compete.
    pub winner: Option<&'a Arc<Rule>>,
    /// The rules with `route: always`, most specific first. Empty costs no allocation.
    pub always: Vec<&'a Arc<Rule>>,
}

/// Two rules that cannot both be in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleConflict {
    /// The name of the earlier rule.
    pub first: String,
    /// Its index in the list that was compiled.
    pub first_place: usize,
    /// The name of the later rule.
    pub second: String,
    /// Its index in the list that was compiled.
    pub second_place: usize,
    /// What they conflict in.
    pub why: Conflict,
    /// Whether one of them has filters.
    pub filtered: bool,
}

/// What two rules conflict in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// A delivery finds its webhook by its name, so names are unique.
    Name,
    /// Both would be the most specific rule for the same events of one site. Empty: for all of
    /// them, since both have `"*"`.
    Routing(Vec<EventKind>),
}

// === impl RuleSet ===

impl RuleSet {
    /// Compiles rules to be matched.
    ///
    /// # Errors
    /// Every conflict: two rules of the same name, or two enabled `most-specific` rules of one site
    /// that are equal on partner, station, partner type, document and event and whose filters one event could
    /// satisfy together, by the same document. Of several equal rules each is reported against the first.
    pub fn compile(rules: Vec<Rule>) -> Result<Self, Vec<RuleConflict>> {
        let mut set = Self::default();
        set.rules.reserve(rules.len());
        set.names.reserve(rules.len());
        let mut conflicts = Vec::new();
        for (place, rule) in rules.into_iter().enumerate() {
            let mut clash = |earlier: usize, earlier_rule: &Rule, why| {
                conflicts.push(RuleConflict {
                    first: earlier_rule.name.clone(),
                    first_place: earlier,
                    second: rule.name.clone(),
                    second_place: place,
                    why,
                    filtered: [&rule, earlier_rule].iter().any(|r| r.filters.mask().is_some()),
                });
            };
            if let Some(&earlier) = set.names.get(&rule.name) {
                clash(earlier, &set.rules[earlier], Conflict::Name);
            } else {
                set.names.insert(rule.name.clone(), place);
            }
            if rule.enabled {
                let mut holders = BTreeMap::<usize, Vec<EventKind>>::new();
                for (holder, event) in set.index.add(place, &rule) {
                    holders.entry(holder).or_default().extend(event);
                }
                for (holder, events) in holders {
                    clash(holder, &set.rules[holder], Conflict::Routing(events));
                }
            }
            set.rules.push(Arc::new(rule));
        }
        if conflicts.is_empty() { Ok(set) } else { Err(conflicts) }
    }

    /// Returns the most specific rule for such an event, and every `route: always` rule that
    /// matches it. A rule with a filter on something unknown does not match.
    pub fn matches(&self, query: &Query<'_>, findings: &Findings) -> Matches<'_> {
        let mut matches = Matches::default();
        self.index.find(query, findings, |hit| {
            let rule = &self.rules[hit.place];
            match hit {
                Hit { certain: false, .. } => {}
                Hit { competes: true, .. } => matches.winner = Some(rule),
                Hit { competes: false, .. } => matches.always.push(rule),
            }
        });
        matches
    }

    /// Returns every rule that can fire for such an event, whatever its signature and errors turn
    /// out to be.
    pub fn candidates(&self, query: &Query<'_>) -> Vec<&Arc<Rule>> {
        let mut rules = Vec::new();
        self.index.find(query, &Findings::default(), |hit| rules.push(&self.rules[hit.place]));
        rules
    }

    /// Returns the rule of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Rule>> {
        self.names.get(name).map(|&place| &self.rules[place])
    }

    /// Returns every rule, including disabled ones, in the order of the files.
    pub fn iter(&self) -> std::slice::Iter<'_, Arc<Rule>> {
        self.rules.iter()
    }
}

// === impl Query ===

impl<'a> From<&'a Event> for Query<'a> {
    fn from(event: &'a Event) -> Self {
        Self {
            event: event.kind,
            site: &event.site,
            partner: event.partner.as_deref(),
            station: event.station.as_deref(),
            partner_type: event.partner_type,
        }
    }
}

// === impl Matches ===

impl<'a> Matches<'a> {
    /// Returns every webhook that fires, the winner first.
    pub fn iter(&self) -> impl Iterator<Item = &'a Arc<Rule>> {
        self.winner.into_iter().chain(self.always.iter().copied())
    }
}

// === impl RuleConflict ===

impl fmt::Display for RuleConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, second, filtered, .. } = self;
        match &self.why {
            Conflict::Name => write!(f, "two webhooks are named \"{first}\"; names are unique"),
            Conflict::Routing(events) => {
                write!(f, "webhooks \"{first}\" and \"{second}\" are equally specific for ")?;
                let names: Vec<_> = events.iter().map(|event| event.as_str()).collect();
                f.write_str(if names.is_empty() { "\"*\"" } else { "" })?;
                write!(
                    f,
                    "{}: partner, station, partner_type, document and event are the same{}, so it is not \
                     decided which of them fires; change one of these, or give one of the two \
                     `route: always`",
                    names.join(", "),
                    if *filtered {
                        ", and one message could satisfy the filters of both"
                    } else {
                        ""
                    }
                )
            }
        }
    }
}

impl std::error::Error for RuleConflict {}
