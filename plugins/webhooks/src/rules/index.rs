//! From an event to its rules in at most 16 lookups.
//!
//! A rule names any of four things: partner, station, partner type, event. Which of them it names is
//! its *shape*, a number of four bits; since the bits stand in the contract's order, the greater shape
//! is the more specific one. The names become small numbers, and all that a rule names becomes one
//! packed [`Key`]. An event then has one key for each shape. The shapes in use are kept beside every
//! name, so that most of the 16 lookups are never made.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use super::Query;
use crate::{
    event::{EventKind, PartnerType},
    rule::{Route, Rule},
};

/// The enabled rules by what they name.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    sites: Names,
    partners: Names,
    stations: Names,
    slots: HashMap<Key, Slot, BuildHasherDefault<KeyHasher>>,
}

/// What one rule names, for one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// Partner and station, 32 bits each; 0 is "not named".
    ids: u64,
    /// Site, partner type and event; 0 is "not named".
    rest: u64,
}

/// The rules of one key, as places in the rule set.
#[derive(Clone, Debug, Default)]
struct Slot {
    winner: Option<usize>,
    always: Vec<usize>,
}

/// Names of one sort as numbers from 1, with the shapes of the rules that use them.
///
/// Partners choose the names that are looked up, so this map keeps the keyed hasher.
#[derive(Clone, Debug, Default)]
struct Names(HashMap<String, Name>);

#[derive(Clone, Copy, Debug)]
struct Name {
    id: u32,
    shapes: Shapes,
}

/// Sets of shapes, one bit each: of the rules that compete, and of those that always fire.
#[derive(Clone, Copy, Debug, Default)]
struct Shapes {
    competing: u16,
    always: u16,
}

/// For keys of our own numbers, which nobody outside can choose.
#[derive(Clone, Copy, Debug, Default)]
struct KeyHasher(u64);

const PARTNER: usize = 8;
const STATION: usize = 4;
const PARTNER_TYPE: usize = 2;
const EVENT: usize = 1;

// === impl Index ===

impl Index {
    /// Adds a rule. Answers who holds its place already, once for each event; `None` in the pair is
    /// `"*"`. Whatever competes for a taken place is left out.
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
        for event in events {
            let key = Key::new(site, partner, station, rule.partner_type, event);
            let slot = self.slots.entry(key).or_default();
            match (rule.route, slot.winner) {
                (Route::Always, _) => slot.always.push(place),
                (Route::MostSpecific, None) => slot.winner = Some(place),
                (Route::MostSpecific, Some(holder)) => taken.push((holder, event)),
            }
        }
        taken
    }

    /// Tells the place of every rule that fires, most specific first, and whether it competes. Of
    /// those that compete only the first is told.
    pub(super) fn find(&self, query: &Query<'_>, mut told: impl FnMut(usize, bool)) {
        let Some(site) = self.sites.0.get(query.site) else { return };
        let (partner, shapes) = self.partners.narrow(query.partner, PARTNER, site.shapes);
        let (station, shapes) = self.stations.narrow(query.station, STATION, shapes);
        let Shapes { mut competing, always } = shapes;
        for shape in (0..16).rev() {
            let bit = 1 << shape;
            if (competing | always) & bit == 0 {
                continue;
            }
            let key = Key::new(
                site.id,
                if shape & PARTNER == 0 { 0 } else { partner },
                if shape & STATION == 0 { 0 } else { station },
                (shape & PARTNER_TYPE != 0).then_some(query.partner_type),
                (shape & EVENT != 0).then_some(query.event),
            );
            let Some(slot) = self.slots.get(&key) else { continue };
            if let Some(winner) = slot.winner.filter(|_| competing != 0) {
                told(winner, true);
                competing = 0;
            }
            for &place in &slot.always {
                told(place, false);
            }
        }
    }
}

/// How specific a rule is for an event that it subscribes to: the greater wins.
pub(super) fn shape(rule: &Rule) -> usize {
    shape_but_event(rule) | if rule.events.is_some() { EVENT } else { 0 }
}

/// What a shape names, in the contract's words and order.
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

// === impl Key ===

impl Key {
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

// === impl Names ===

impl Names {
    fn intern(&mut self, name: &str, uses: Shapes) -> u32 {
        if let Some(known) = self.0.get_mut(name) {
            known.shapes.add(uses);
            return known.id;
        }
        let id = u32::try_from(self.0.len() + 1).expect("memory holds fewer than 2^32 rules");
        self.0.insert(name.to_owned(), Name { id, shapes: uses });
        id
    }

    /// The number of the event's name, and those of the shapes that can match it: none that names
    /// this sort when the event has no such name or no rule knows it.
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

/// The set of all shapes that lack this bit.
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
        // The multiplication carries low bits up, the shift brings them back down: the table
        // looks at both ends.
        let mixed = (self.0 ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn finish(&self) -> u64 {
        let mixed = self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed ^ (mixed >> 29)
    }
}
