//! Detects rules that conflict.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::RuleSet;
use crate::{event::EventKind, rule::Rule};

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
    /// that are equal on partner, station, partner type and event and whose filters one event could
    /// satisfy together. Of several equal rules each is reported against the first.
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
                    "{}: partner, station, partner_type and event are the same{}, so it is not \
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
