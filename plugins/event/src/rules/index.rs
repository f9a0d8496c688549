//! Finds the rules of an event in at most 16 lookups.
//!
//! A rule names any of four things: partner, station, partner type, event. Which of them it names
//! is its *shape*, a number of four bits; since the bits stand in the contract's order, the greater
//! shape is the more specific one. The names become small numbers, and all that a rule names
//! becomes one packed [`RuleKey`]. An event then has one key for each shape. The shapes in use are
//! stored with every name, so that most of the 16 lookups are never made.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use super::Query;
use crate::{
    event::{EventKind, PartnerType},
    rule::{FilterMask, FilterMatch, Findings, Route, Rule},
};

/// The enabled rules by what they name.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    sites: NameTable,
    partners: NameTable,
    stations: NameTable,
    slots: HashMap<RuleKey, KeyRules, BuildHasherDefault<KeyHasher>>,
}

/// What one rule names, for one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct RuleKey {
    /// Partner and station, 32 bits each; 0 is "not named".
    ids: u64,
    /// Site, partner type and event; 0 is "not named".
    rest: u64,
}

/// The rules of one key.
#[derive(Clone, Debug, Default)]
struct KeyRules {
    /// For nearly all keys only one rule competes.
    first: Option<Filtered>,
    /// More of them, with filters that no event satisfies together: a dozen at most.
    others: Vec<Filtered>,
    always: Vec<Filtered>,
}

/// An index into the rule set, and the filters of the rule there.
#[derive(Clone, Copy, Debug)]
struct Filtered {
    place: usize,
    filter: FilterMask,
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

/// Names of one sort as numbers from 1, with the shapes of the rules that use them.
///
/// Partners choose the names that are looked up, so this map keeps the keyed hasher.
#[derive(Clone, Debug, Default)]
struct NameTable(HashMap<String, InternedName>);

#[derive(Clone, Copy, Debug)]
struct InternedName {
    id: u32,
    shapes: Shapes,
}

/// Sets of shapes, one bit each: of the rules that compete, and of those that always fire.
#[derive(Clone, Copy, Debug, Default)]
struct Shapes {
    competing: u16,
    always: u16,
}

/// For keys of our own numbers, which partners cannot choose.
#[derive(Clone, Copy, Debug, Default)]
struct KeyHasher(u64);

const PARTNER: usize = 8;
const STATION: usize = 4;
const PARTNER_TYPE: usize = 2;
const EVENT: usize = 1;

// === impl Index ===

impl Index {
    /// Adds a rule. Returns the rules that hold its place already, once for each event; `None` in
    /// the pair is `"*"`. A rule that competes for a taken place is left out.
    pub(super) fn add(&mut self, place: usize, rule: &Rule) -> Vec<(usize, Option<EventKind>)> {
        let mut taken = Vec::new();
        let shape = shape_but_event(rule);
        let named = rule.events.as_deref().map(without_repeats);
        let (shape, events) = match named {
            None => (shape, vec![None]),
            Some(events) => (shape | EVENT, events.into_iter().map(Some).collect()),
        };
        let uses = Shapes::of(shape, rule.route);
        let site = self.sites.intern(&rule.site, uses);
        let partner = rule.partner.as_deref().map_or(0, |name| self.partners.intern(name, uses));
        let station = rule.station.as_deref().map_or(0, |name| self.stations.intern(name, uses));
        let filtered = Filtered { place, filter: rule.filters.mask() };
        for event in events {
            let key = RuleKey::new(site, partner, station, rule.partner_type, event);
            let slot = self.slots.entry(key).or_default();
            let holder = slot.competing().find(|other| other.filter.overlaps(filtered.filter));
            match (rule.route, holder) {
                (Route::Always, _) => slot.always.push(filtered),
                (Route::MostSpecific, Some(holder)) => taken.push((holder.place, event)),
                (Route::MostSpecific, None) if slot.first.is_none() => slot.first = Some(filtered),
                (Route::MostSpecific, None) => slot.others.push(filtered),
            }
        }
        taken
    }

    /// Reports every rule that fires or may fire, most specific first. Among those that compete,
    /// the first one that is certain to fire is the last one reported.
    pub(super) fn find(&self, query: &Query<'_>, findings: &Findings, mut report: impl FnMut(Hit)) {
        let Some(site) = self.sites.0.get(query.site) else { return };
        let (partner, shapes) = self.partners.narrow(query.partner, PARTNER, site.shapes);
        let (station, shapes) = self.stations.narrow(query.station, STATION, shapes);
        let Shapes { mut competing, always } = shapes;
        for shape in (0..16).rev() {
            let bit = 1 << shape;
            if (competing | always) & bit == 0 {
                continue;
            }
            let key = RuleKey::new(
                site.id,
                if shape & PARTNER == 0 { 0 } else { partner },
                if shape & STATION == 0 { 0 } else { station },
                (shape & PARTNER_TYPE != 0).then_some(query.partner_type),
                (shape & EVENT != 0).then_some(query.event),
            );
            let Some(slot) = self.slots.get(&key) else { continue };
            let mut try_one = |rule: &Filtered, competes| {
                let matched = rule.filter.matches(findings);
                let certain = matched == FilterMatch::Yes;
                if matched != FilterMatch::No {
                    report(Hit { place: rule.place, competes, certain });
                }
                certain
            };
            if competing != 0 && slot.competing().any(|rule| try_one(rule, true)) {
                competing = 0;
            }
            for rule in &slot.always {
                try_one(rule, false);
            }
        }
    }
}

/// Returns how specific a rule is for an event that it subscribes to: the greater wins.
pub(super) fn shape(rule: &Rule) -> usize {
    shape_but_event(rule) | if rule.events.is_some() { EVENT } else { 0 }
}

/// Returns what a shape names, in the contract's words and order.
pub(super) fn named(shape: usize) -> impl Iterator<Item = &'static str> {
    let words = [
        (PARTNER, "partner"),
        (STATION, "station"),
        (PARTNER_TYPE, "partner_type"),
        (EVENT, "event"),
    ];
    words.into_iter().filter(move |(bit, _)| shape & bit != 0).map(|(_, word)| word)
}

fn shape_but_event(rule: &Rule) -> usize {
    let bits = [
        (rule.partner.is_some(), PARTNER),
        (rule.station.is_some(), STATION),
        (rule.partner_type.is_some(), PARTNER_TYPE),
    ];
    bits.into_iter().filter(|(is_named, _)| *is_named).map(|(_, bit)| bit).sum()
}

fn without_repeats(events: &[EventKind]) -> Vec<EventKind> {
    let mut events = events.to_vec();
    events.sort_unstable();
    events.dedup();
    events
}

// === impl KeyRules ===

impl KeyRules {
    fn competing(&self) -> impl Iterator<Item = &Filtered> {
        self.first.iter().chain(&self.others)
    }
}

// === impl RuleKey ===

impl RuleKey {
    fn new(
        site: u32,
        partner: u32,
        station: u32,
        partner_type: Option<PartnerType>,
        event: Option<EventKind>,
    ) -> Self {
        let partner_type = match partner_type {
            None => 0,
            Some(PartnerType::Production) => 1,
            Some(PartnerType::Test) => 2,
        };
        let event = event.map_or(0, |event| 1 + event as u64);
        Self {
            ids: u64::from(partner) << 32 | u64::from(station),
            rest: u64::from(site) << 16 | partner_type << 8 | event,
        }
    }
}

// === impl NameTable ===

impl NameTable {
    fn intern(&mut self, name: &str, uses: Shapes) -> u32 {
        if let Some(known) = self.0.get_mut(name) {
            known.shapes.add(uses);
            return known.id;
        }
        let id = u32::try_from(self.0.len() + 1).expect("memory holds fewer than 2^32 rules");
        self.0.insert(name.to_owned(), InternedName { id, shapes: uses });
        id
    }

    /// Returns the number of the event's name, and those of the shapes that can match it: none that
    /// names this sort when the event has no such name or no rule knows it.
    fn narrow(&self, name: Option<&str>, bit: usize, shapes: Shapes) -> (u32, Shapes) {
        let unnamed = unnamed(bit);
        let (id, with_name) = match name.and_then(|name| self.0.get(name)) {
            Some(known) => (known.id, known.shapes),
            None => (0, Shapes::default()),
        };
        let keep = |all: u16, with_name: u16| all & (unnamed | with_name);
        let narrowed = Shapes {
            competing: keep(shapes.competing, with_name.competing),
            always: keep(shapes.always, with_name.always),
        };
        (id, narrowed)
    }
}

/// Returns the set of all shapes without this bit.
const fn unnamed(bit: usize) -> u16 {
    let (mut set, mut shape) = (0, 0);
    while shape < 16 {
        if shape & bit == 0 {
            set |= 1 << shape;
        }
        shape += 1;
    }
    set
}

// === impl Shapes ===

impl Shapes {
    fn of(shape: usize, route: Route) -> Self {
        let bit = 1 << shape;
        match route {
            Route::MostSpecific => Self { competing: bit, always: 0 },
            Route::Always => Self { competing: 0, always: bit },
        }
    }

    fn add(&mut self, other: Self) {
        self.competing |= other.competing;
        self.always |= other.always;
    }
}

// === impl KeyHasher ===

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        // The multiplication carries low bits up, and the shift brings them back down: the table
        // uses both ends.
        let mixed = (self.0 ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn finish(&self) -> u64 {
        let mixed = self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed ^ (mixed >> 29)
    }
}
