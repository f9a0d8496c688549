//! All rules together, compiled so that finding the webhooks of an event costs the same whether
//! there are ten rules or a hundred thousand. `conf/webhooks.yaml` says which of them fire.
//!
//! A [`RuleSet`] is one immutable snapshot: a reload compiles another and swaps it in.
//!
//! # Layout
//! - `index`: the packed keys and the lookup
//! - [`compile`]: which rules cannot stand beside each other
//! - [`explain`]: why a rule fires or does not, in words

use std::{collections::HashMap, sync::Arc};

use crate::{
    event::{Event, EventKind, PartnerType},
    rule::Rule,
};

pub mod compile;
pub mod explain;
mod index;
#[cfg(test)]
mod tests;

pub use compile::{Conflict, RuleConflict};
pub use explain::{Explanation, Outcome};

/// Every rule in force.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    rules: Vec<Arc<Rule>>,
    names: HashMap<String, usize>,
    index: index::Index,
}

/// What is asked for: the webhooks of an event like this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// What happened.
    pub event: EventKind,
    /// The tenant to whom it happened.
    pub site: &'a str,
    /// AS2 id of the remote side. AS2 ids are compared with their case.
    pub partner: Option<&'a str>,
    /// AS2 id of our side.
    pub station: Option<&'a str>,
    /// What the partner is configured as.
    pub partner_type: PartnerType,
}

/// The webhooks that fire: at most one that won, and all that fire besides.
#[derive(Clone, Debug, Default)]
pub struct Matches<'a> {
    /// The most specific of the rules that compete.
    pub winner: Option<&'a Arc<Rule>>,
    /// The rules with `route: always`, most specific first. Empty costs no allocation.
    pub always: Vec<&'a Arc<Rule>>,
}

// === impl RuleSet ===

impl RuleSet {
    /// The most specific rule for such an event, and every `route: always` rule that matches it.
    pub fn matches(&self, query: &Query<'_>) -> Matches<'_> {
        let mut matches = Matches::default();
        self.index.find(query, |place, competes| {
            let rule = &self.rules[place];
            if competes { matches.winner = Some(rule) } else { matches.always.push(rule) }
        });
        matches
    }

    /// The rule of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Rule>> {
        self.names.get(name).map(|&place| &self.rules[place])
    }

    /// Every rule, disabled ones too, in the order of the files.
    pub fn iter(&self) -> std::slice::Iter<'_, Arc<Rule>> {
        self.rules.iter()
    }

    /// How many rules there are, disabled ones too.
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
    /// Every webhook that fires, the winner first.
    pub fn iter(&self) -> impl Iterator<Item = &'a Arc<Rule>> {
        self.winner.into_iter().chain(self.always.iter().copied())
    }

    /// How many fire.
    pub fn len(&self) -> usize {
        self.always.len() + usize::from(self.winner.is_some())
    }

    /// Whether nobody is told.
    pub fn is_empty(&self) -> bool {
        self.winner.is_none() && self.always.is_empty()
    }
}
