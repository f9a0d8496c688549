//! Finds the rules of an event in at most 32 lookups.
//!
//! A rule names any of five things: partner, station, partner type, document, event. Which of them it
//! names is its *shape*, a number of five bits; since the bits stand in the contract's order, the greater
//! shape is the more specific one. All that a rule names becomes one [`RuleKey`], in which documents are
//! only named or not: a message has several, and which ones is known late. An event then has one key for
//! each shape that rules of its site have.

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::RandomState;

use super::Query;
use crate::{
    event::{EventKind, PartnerType},
    rule::{DocumentType, FilterMask, FilterMatch, Findings, Route, Rule},
};

/// The enabled rules by what they name.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    sites: HashMap<String, SiteRules>,
    /// The numbers of partners and stations. Partners choose the names that are looked up, so this map
    /// keeps the keyed hasher.
    names: HashMap<String, u32>,
}

/// The rules of one site.
#[derive(Clone, Debug, Default)]
struct SiteRules {
    /// The shapes of the rules that compete, a bit for each.
    competing: u32,
    /// The shapes of the rules that always fire.
    always: u32,
    /// By our own numbers, which partners cannot choose.
    slots: HashMap<RuleKey, KeyRules, RandomState>,
}

/// What one rule names, for one event: partner and station, as numbers, partner type, whether documents, and
/// event.
type RuleKey = (Option<u32>, Option<u32>, Option<PartnerType>, bool, Option<EventKind>);

/// The rules of one key.
#[derive(Clone, Debug, Default)]
struct KeyRules {
    /// Nearly always one. Several have filters that no event satisfies together, or are of other documents: a
    /// dozen at most.
    competing: Vec<Filtered>,
    always: Vec<Filtered>,
}

/// An index into the rule set, and the filters of the rule there.
#[derive(Clone, Debug)]
struct Filtered {
    place: usize,
    filter: FilterMask,
    documents: Option<Arc<[DocumentType]>>,
}

/// A rule that was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    /// Its index in the rule set.
    pub(super) place: usize,
    /// False: it fires in addition.
    pub(super) competes: bool,
    /// False: it has a filter on something unknown.
    pub(super) certain: bool,
}

const PARTNER: usize = 16;
const STATION: usize = 8;
const PARTNER_TYPE: usize = 4;
const DOCUMENT: usize = 2;
const EVENT: usize = 1;
const SHAPES: usize = 32;

// === impl Index ===

impl Index {
    /// Adds a rule. Returns the rules that hold its place already, once for each event; `None` in
    /// the pair is `"*"`. A rule that competes for a taken place is left out.
    pub(super) fn add(&mut self, place: usize, rule: &Rule) -> Vec<(usize, Option<EventKind>)> {
        let mut taken = Vec::new();
        let documents = rule.filters.documents.as_deref().map(Arc::from);
        let filtered = Filtered { place, filter: rule.filters.mask(), documents };
        let mut events = match &rule.events {
            None => vec![None],
            Some(events) => events.iter().copied().map(Some).collect(),
        };
        events.sort_unstable();
        events.dedup();
        let partner = rule.partner.as_deref().map(|name| self.number(name));
        let station = rule.station.as_deref().map(|name| self.number(name));
        let site = self.sites.entry(rule.site.clone()).or_default();
        match rule.route {
            Route::MostSpecific => site.competing |= 1 << shape(rule),
            Route::Always => site.always |= 1 << shape(rule),
        }
        for event in events {
            let key = (partner, station, rule.partner_type, filtered.documents.is_some(), event);
            let slot = site.slots.entry(key).or_default();
            let holder = slot.competing.iter().find(|other| other.overlaps(&filtered));
            match (rule.route, holder) {
                (Route::Always, _) => slot.always.push(filtered.clone()),
                (Route::MostSpecific, Some(holder)) => taken.push((holder.place, event)),
                (Route::MostSpecific, None) => slot.competing.push(filtered.clone()),
            }
        }
        taken
    }

    /// Reports every rule that fires or may fire, most specific first. Among those that compete,
    /// the first one that is certain to fire is the last one reported.
    pub(super) fn find(&self, query: &Query<'_>, findings: &Findings, mut report: impl FnMut(Hit)) {
        let Some(site) = self.sites.get(query.site) else { return };
        let number = |name: Option<&str>| name.and_then(|name| self.names.get(name).copied());
        let (partner, station) = (number(query.partner), number(query.station));
        let mut competing = site.competing;
        for shape in (0..SHAPES).rev() {
            let is_named = |bit| shape & bit != 0;
            // No rule knows a name without a number.
            let is_unknown =
                is_named(PARTNER) && partner.is_none() || is_named(STATION) && station.is_none();
            if is_unknown || (competing | site.always) & 1 << shape == 0 {
                continue;
            }
            let key = (
                partner.filter(|_| is_named(PARTNER)),
                station.filter(|_| is_named(STATION)),
                is_named(PARTNER_TYPE).then_some(query.partner_type),
                is_named(DOCUMENT),
                is_named(EVENT).then_some(query.event),
            );
            let Some(slot) = site.slots.get(&key) else { continue };
            let mut try_one = |rule: &Filtered, competes| {
                let matched = rule.matches(findings);
                let certain = matched == FilterMatch::Yes;
                if matched != FilterMatch::No {
                    report(Hit { place: rule.place, competes, certain });
                }
                certain
            };
            let has_winner = match (competing, is_named(DOCUMENT)) {
                (0, _) => false,
                (_, true) => slot.by_document(findings).into_iter().any(|rule| try_one(rule, true)),
                (_, false) => slot.competing.iter().any(|rule| try_one(rule, true)),
            };
            if has_winner {
                competing = 0;
            }
            for rule in &slot.always {
                try_one(rule, false);
            }
        }
    }

    fn number(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.names.get(name) {
            return number;
        }
        let number = u32::try_from(self.names.len()).expect("memory holds fewer than 2^32 names");
        self.names.insert(name.to_owned(), number);
        number
    }
}

// === impl KeyRules ===

impl KeyRules {
    /// Returns the rules that compete by their documents: the one that comes first in the message decides.
    fn by_document(&self, findings: &Findings) -> Vec<&Filtered> {
        let mut rules: Vec<_> = self.competing.iter().collect();
        rules.sort_by_key(|rule| findings.first_of(rule.documents.as_deref()).1);
        rules
    }
}

// === impl Filtered ===

impl Filtered {
    fn matches(&self, findings: &Findings) -> FilterMatch {
        let (of_documents, _) = findings.first_of(self.documents.as_deref());
        self.filter.matches(findings).and(of_documents)
    }

    /// Whether one event could satisfy both, by the same document.
    fn overlaps(&self, other: &Self) -> bool {
        let both = self.documents.as_deref().zip(other.documents.as_deref());
        let documents = both.is_none_or(|(own, others)| {
            own.iter().any(|one| others.iter().any(|other| one.overlaps(other)))
        });
        documents && self.filter.overlaps(other.filter)
    }
}

/// Returns how specific a rule is for an event that it subscribes to: the greater wins.
pub(super) fn shape(rule: &Rule) -> usize {
    let bits = [
        (rule.partner.is_some(), PARTNER),
        (rule.station.is_some(), STATION),
        (rule.partner_type.is_some(), PARTNER_TYPE),
        (rule.filters.documents.is_some(), DOCUMENT),
        (rule.events.is_some(), EVENT),
    ];
    bits.into_iter().filter(|(is_named, _)| *is_named).map(|(_, bit)| bit).sum()
}

/// Returns what a shape names, in the contract's words and order.
pub(super) fn named(shape: usize) -> impl Iterator<Item = &'static str> {
    let words = [
        (PARTNER, "partner"),
        (STATION, "station"),
        (PARTNER_TYPE, "partner_type"),
        (DOCUMENT, "document"),
        (EVENT, "event"),
    ];
    words.into_iter().filter(move |(bit, _)| shape & bit != 0).map(|(_, word)| word)
}
