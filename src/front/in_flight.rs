//! Limits the exchanges under way, and the memory that they take together; and has idle connections give way to
//! others (see `connection_limiter`), by the same shares.
//!
//! The shares of addresses bind only when a limit is reached. Then the slowest of the bodies that are
//! waited for gives way, among those of the address that holds most: the one whose time for its body
//! (`limits.body_time`, `body_rate`) ends first. An exchange whose request is complete never does.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::fair_share::{Asked, FairShare, Holder, Weight, counted};
use crate::{
    handles::{HandleShare, TrafficHandles},
    memory::{Memory, Share},
};

/// The exchanges under way, of both listeners. Clones count together.
#[derive(Clone, Debug)]
pub struct InFlight(Arc<Limiter>);

/// A place among them, or memory without a place. It is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    limiter: Arc<Limiter>,
    number: u64,
    holder: Holder,
    _handles: Option<HandleShare>,
}

/// A permit's way to say that what it is for is waited for, and to learn that it is to give way.
#[derive(Debug)]
pub(crate) struct GiveWay {
    limiter: Arc<Limiter>,
    number: u64,
    holder: Holder,
    due: Arc<AtomicU64>,
    asked: Option<Asked>,
}

/// What is waited for has to give way to another address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it gave way to another address")]
pub(crate) struct GaveWay;

#[derive(Debug)]
struct Limiter {
    began: Instant,
    memory: Memory,
    handles: TrafficHandles,
    state: Mutex<LimiterState>,
}

#[derive(Debug, Default)]
struct LimiterState {
    places: usize,
    fair: FairShare,
    permits: HashMap<u64, PermitShare>,
    /// Permits that have been asked to give way and are not dropped yet, and their places.
    leaving: HashMap<u64, usize>,
    /// How many of them there may be, at least.
    most_leaving: usize,
}

/// What a permit holds.
#[derive(Debug)]
struct PermitShare {
    holder: Holder,
    places: usize,
    bytes: u64,
    share: Option<Share>,
}

/// So many may be on their way out beyond the limit, as a part of it, and so many at least. One that gives
/// way takes a moment to end, and its place is another's by then.
const LEAVING_PART: usize = 8;
const LEAVING: usize = 16;

/// File handles of an exchange beside its connection's: to the other side, and of a payload.
const HANDLES: usize = 2;

/// So many give way at the most to let one in, when it is memory that is scarce.
const FOR_ONE: usize = 16;

// === impl InFlight ===

impl InFlight {
    pub(crate) fn new(memory: Memory, handles: TrafficHandles) -> Self {
        Self::leaving(LEAVING, memory, handles)
    }

    /// For what costs next to nothing and is gone at once when it gives way, as any number may.
    pub(crate) fn of_idle() -> Self {
        Self::leaving(usize::MAX, Memory::default(), TrafficHandles::default())
    }

    fn leaving(most_leaving: usize, memory: Memory, handles: TrafficHandles) -> Self {
        let state = Mutex::new(LimiterState { most_leaving, ..LimiterState::default() });
        Self(Arc::new(Limiter { began: Instant::now(), memory, handles, state }))
    }

    /// How many exchanges there are.
    pub fn count(&self) -> usize {
        let state = self.0.state.lock();
        state.places + state.leaving.values().sum::<usize>()
    }

    /// A place among `limit` for an exchange of this address, `None` for one that is not counted by
    /// address. Where all are taken, another address may have to give way.
    pub(crate) fn enter(&self, limit: usize, address: Option<IpAddr>) -> Option<Permit> {
        let holder = address.map(counted);
        let mut state = self.0.state.lock();
        let handles = self.0.handles.take(HANDLES);
        // Our own server is not held up by how many handles partners have.
        let is_full = state.places >= limit || (handles.is_over && holder.is_some());
        if is_full && !state.make_room_for(holder) {
            return None;
        }
        Some(self.0.permit(&mut state, holder, 1, Some(handles)))
    }

    /// A place beyond any limit.
    pub(crate) fn join(&self, address: Option<IpAddr>) -> Permit {
        self.0.permit(&mut self.0.state.lock(), address.map(counted), 1, None)
    }

    /// For memory without a place among the exchanges: a head that is large.
    pub(crate) fn beside(&self, address: Option<IpAddr>) -> Permit {
        self.0.permit(&mut self.0.state.lock(), address.map(counted), 0, None)
    }

    /// Lets the slowest body of the address that holds most give way to a connection of this one.
    pub(crate) fn make_room(&self, address: Option<IpAddr>) -> bool {
        self.0.state.lock().make_room_for(address.map(counted))
    }
}

// === impl Permit ===

impl Permit {
    /// Takes memory, unless more than `limit` bytes would be in use then and no other address has to give
    /// way.
    #[must_use]
    pub(crate) fn take_memory(&self, bytes: u64, limit: u64) -> bool {
        let memory = &self.limiter.memory;
        let mut state = self.limiter.state.lock();
        for _ in 0..FOR_ONE {
            if let Some(share) = memory.take(bytes, limit) {
                // Given way already, it needs none.
                let Some(held) = state.permits.get_mut(&self.number) else { return false };
                held.bytes += bytes;
                match &mut held.share {
                    Some(all) => all.merge(share),
                    none => *none = Some(share),
                }
                state.fair.add(self.holder, 0, bytes);
                return true;
            }
            let own = state.permits.get(&self.number).map_or(0, |held| held.bytes);
            let others = state.has(Weight::Bytes, self.holder).saturating_sub(own);
            if !state.make_room(Weight::Bytes, others, bytes) {
                return false;
            }
        }
        false
    }

    /// Takes the memory out, to be counted elsewhere for longer.
    pub(crate) fn take_share(&self) -> Option<Share> {
        self.limiter.state.lock().permits.get_mut(&self.number)?.share.take()
    }

    /// Lets what this permit is for give way while it is waited for. `None` where it is not counted by
    /// address.
    pub(crate) fn gives_way(&self) -> Option<GiveWay> {
        self.holder.is_some().then(|| self.gives_way_last())
    }

    /// As [`Self::gives_way`]; what is not counted by address gives way when no address can.
    pub(crate) fn gives_way_last(&self) -> GiveWay {
        let (limiter, due) = (self.limiter.clone(), Arc::default());
        GiveWay { limiter, number: self.number, holder: self.holder, due, asked: None }
    }

    /// What was waited for is there: from now on it does not give way.
    ///
    /// # Errors
    /// When it has given way already.
    pub(crate) fn complete(&self) -> Result<(), GaveWay> {
        let mut state = self.limiter.state.lock();
        if state.leaving.contains_key(&self.number) {
            return Err(GaveWay);
        }
        state.fair.withdraw(self.number);
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.limiter.state.lock();
        if state.leaving.remove(&self.number).is_none() {
            state.fair.withdraw(self.number);
            state.give_back(self.number);
        }
    }
}

// === impl GiveWay ===

impl GiveWay {
    /// It is waited for until then, if it is not asked before.
    pub(crate) fn due(&self, at: Instant) {
        let due = at.saturating_duration_since(self.limiter.began).as_millis();
        self.due.store(u64::try_from(due).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The signal to give way; it is waited for from now on.
    pub(crate) fn asked(&mut self) -> &mut Asked {
        self.asked.get_or_insert_with(|| {
            let (mut state, due) = (self.limiter.state.lock(), self.due.clone());
            let has_place = state.permits.get(&self.number).is_some_and(|held| held.places > 0);
            state.fair.offer(self.number, self.holder, has_place, due)
        })
    }
}

impl Drop for GiveWay {
    fn drop(&mut self) {
        if let Some(asked) = &mut self.asked {
            // Or the end of the sender would wake the connection's task, which is running.
            asked.close();
            self.limiter.state.lock().fair.withdraw(self.number);
        }
    }
}

// === impl Limiter ===

impl Limiter {
    fn permit(
        self: &Arc<Self>,
        state: &mut LimiterState,
        holder: Holder,
        places: usize,
        handles: Option<HandleShare>,
    ) -> Permit {
        let number = state.fair.number();
        state.places += places;
        state.fair.add(holder, places as u64, 0);
        state.permits.insert(number, PermitShare { holder, places, bytes: 0, share: None });
        Permit { limiter: self.clone(), number, holder, _handles: handles }
    }
}

// === impl LimiterState ===

impl LimiterState {
    /// How much a newcomer's address has. What is not counted by address is our own server's, or a
    /// trusted proxy's: nothing is held against it.
    fn has(&self, by: Weight, newcomer: Holder) -> u64 {
        newcomer.map_or(0, |_| self.fair.weight(newcomer, by))
    }

    fn make_room_for(&mut self, newcomer: Holder) -> bool {
        self.make_room(Weight::Places, self.has(Weight::Places, newcomer), 1)
    }

    /// Lets one give way to a newcomer that needs so much. A newcomer whose address has nothing may push
    /// out any; another one only an address that has as much as its own afterwards.
    fn make_room(&mut self, by: Weight, has: u64, need: u64) -> bool {
        let floor = if has == 0 { 1 } else { has.saturating_add(need.saturating_mul(2)) };
        if self.leaving.len() >= self.most_leaving.max(self.places / LEAVING_PART) {
            return false;
        }
        let Some(number) = self.fair.ask(by, floor) else { return false };
        let places = self.give_back(number);
        self.leaving.insert(number, places);
        true
    }

    /// Gives back what a permit holds. How many places that are.
    fn give_back(&mut self, number: u64) -> usize {
        let Some(held) = self.permits.remove(&number) else { return 0 };
        self.places = self.places.saturating_sub(held.places);
        self.fair.remove(held.holder, held.places as u64, held.bytes);
        held.places
    }
}

#[cfg(test)]
mod tests;
