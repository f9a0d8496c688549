//! All rules together, compiled so that finding the webhooks of an event costs the same whether
//! there are ten rules or a hundred thousand. `conf/webhooks.yaml` says which of them fire.
//!
//! A [`RuleSet`] is one immutable snapshot: a reload compiles another and swaps it in.
//!
//! # Layout
//! - `index`: the packed keys and the lookup
//! - [`compile`]: which rules conflict
//! - [`explain`]: why a rule fires or does not, as text

use std::{collections::HashMap, sync::Arc};

use crate::{
    event::{Event, EventKind, PartnerType},
    rule::{Findings, Rule},
};

pub mod compile;
pub mod explain;
mod index;
#[cfg(test)]
mod tests;

use index::Hit;

pub use compile::{Conflict, RuleConflict};
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

// === impl RuleSet ===

impl RuleSet {
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

    /// Returns how many rules there are, including disabled ones.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

impl<'a> IntoIterator for &'a RuleSet {
    type Item = &'a Arc<Rule>;
    type IntoIter = std::slice::Iter<'a, Arc<Rule>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
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

    /// Returns how many fire.
    pub fn len(&self) -> usize {
        self.always.len() + usize::from(self.winner.is_some())
    }

    /// Whether no webhook fires.
    pub fn is_empty(&self) -> bool {
        self.winner.is_none() && self.always.is_empty()
    }
}
