//! Which holder gives way when a limit is reached: the address that holds most loses what is slowest.
//!
//! A holder is an address, or the group of all that is not counted by address: of many together, it gives
//! way when no address can. What can give way is offered with a due time: the earlier it is, the slower it is. A due time may move later while its
//! offer stands, so an offer is filed under the time that was known last and filed again when it comes
//! up with a later one. Each choice costs a logarithm of what is held, and one step for each offer that
//! has made progress since it was filed.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::oneshot;

/// What an address holds, and what of it can give way.
#[derive(Debug, Default)]
pub(crate) struct FairShare {
    next: u64,
    holders: HashMap<Holder, HolderShare>,
    offers: HashMap<u64, GiveWayOffer>,
    /// Holders with an offer, by each weight.
    ranks: [BTreeSet<Rank>; 2],
}

/// An address as it is counted; `None` is not counted by address.
pub(crate) type Holder = Option<IpAddr>;

/// What a share is measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    Places,
    Bytes,
}

/// The signal to give way.
pub(crate) type Asked = oneshot::Receiver<()>;

/// Whether it is counted by address, the weight, the slowest offer's filed time, and the holder.
type Rank = (bool, u64, Reverse<u64>, Holder);

#[derive(Debug, Default)]
struct HolderShare {
    /// Places and bytes.
    weights: [u64; 2],
    /// The filed due time and the number of each offer, of those that have a place and of all.
    orders: [BTreeSet<(u64, u64)>; 2],
}

#[derive(Debug)]
struct GiveWayOffer {
    holder: Holder,
    has_place: bool,
    filed: u64,
    due: Arc<AtomicU64>,
    ask: oneshot::Sender<()>,
}

// === impl FairShare ===

impl FairShare {
    /// A number that nothing else has.
    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The holder has so much more.
    pub(crate) fn add(&mut self, holder: Holder, places: u64, bytes: u64) {
        self.change(holder, |holding| {
            let [all_places, all_bytes] = &mut holding.weights;
            *all_places += places;
            *all_bytes += bytes;
        });
    }

    /// The holder has so much less.
    pub(crate) fn remove(&mut self, holder: Holder, places: u64, bytes: u64) {
        self.change(holder, |holding| {
            let [all_places, all_bytes] = &mut holding.weights;
            *all_places = all_places.saturating_sub(places);
            *all_bytes = all_bytes.saturating_sub(bytes);
        });
    }

    /// How much the holder has.
    pub(crate) fn weight(&self, holder: Holder, by: Weight) -> u64 {
        self.holders.get(&holder).map_or(0, |holding| holding.weights[by as usize])
    }

    /// What has this number can be asked to give way; for places only if it has one.
    pub(crate) fn offer(
        &mut self,
        number: u64,
        holder: Holder,
        has_place: bool,
        due: Arc<AtomicU64>,
    ) -> Asked {
        let (ask, asked) = oneshot::channel();
        let filed = due.load(Ordering::Relaxed);
        self.offers.insert(number, GiveWayOffer { holder, has_place, filed, due, ask });
        self.change(holder, |holding| holding.file(filed, number, has_place));
        asked
    }

    /// What has this number cannot be asked any more.
    pub(crate) fn withdraw(&mut self, number: u64) {
        if let Some(GiveWayOffer { holder, filed, .. }) = self.offers.remove(&number) {
            self.change(holder, |holding| holding.unfile(filed, number));
        }
    }

    /// Asks the slowest of the holder that has most, if that has at least `floor`. Its number.
    pub(crate) fn ask(&mut self, by: Weight, floor: u64) -> Option<u64> {
        loop {
            let &(_, weight, _, holder) = self.ranks[by as usize].last()?;
            if weight < floor {
                return None;
            }
            let &(filed, number) = self.holders.get(&holder)?.orders[by as usize].first()?;
            let due = self.offers.get(&number)?.due.load(Ordering::Relaxed);
            if due > filed {
                self.file(number, holder, filed, due);
                continue;
            }
            let GiveWayOffer { ask, .. } = self.offers.remove(&number)?;
            self.change(holder, |holding| holding.unfile(filed, number));
            // One whose task is gone at this moment has given way by itself.
            let _ = ask.send(());
            return Some(number);
        }
    }

    fn file(&mut self, number: u64, holder: Holder, filed: u64, due: u64) {
        let Some(offer) = self.offers.get_mut(&number) else { return };
        offer.filed = due;
        let has_place = offer.has_place;
        self.change(holder, |holding| {
            holding.unfile(filed, number);
            holding.file(due, number, has_place);
        });
    }

    /// Changes what a holder has, and keeps its ranks.
    fn change(&mut self, holder: Holder, change: impl FnOnce(&mut HolderShare)) {
        let holding = self.holders.entry(holder).or_default();
        let (before, weights) = (holding.slowest(), holding.weights);
        change(holding);
        let (after, now) = (holding.slowest(), holding.weights);
        if after == [None, None] && now == [0, 0] {
            self.holders.remove(&holder);
        }
        for (by, ranks) in self.ranks.iter_mut().enumerate() {
            if let Some(filed) = before[by] {
                ranks.remove(&(holder.is_some(), weights[by], Reverse(filed), holder));
            }
            if let Some(filed) = after[by] {
                ranks.insert((holder.is_some(), now[by], Reverse(filed), holder));
            }
        }
    }
}

// === impl HolderShare ===

impl HolderShare {
    fn file(&mut self, filed: u64, number: u64, has_place: bool) {
        let [of_places, of_bytes] = &mut self.orders;
        if has_place {
            of_places.insert((filed, number));
        }
        of_bytes.insert((filed, number));
    }

    fn unfile(&mut self, filed: u64, number: u64) {
        for order in &mut self.orders {
            order.remove(&(filed, number));
        }
    }

    /// When the slowest offer of each order is due.
    fn slowest(&self) -> [Option<u64>; 2] {
        self.orders.each_ref().map(|order| order.first().map(|&(filed, _)| filed))
    }
}

/// The address that a client is counted by: one customer has one IPv6 /64 at the least.
pub(crate) fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(last: u8) -> Holder {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    /// One place with a due time.
    fn held(share: &mut FairShare, holder: Holder, due: u64) -> (u64, Arc<AtomicU64>, Asked) {
        let (number, due) = (share.number(), Arc::new(AtomicU64::new(due)));
        share.add(holder, 1, 0);
        let asked = share.offer(number, holder, true, due.clone());
        (number, due, asked)
    }

    #[test]
    fn slowest_offer_of_the_largest_holder_gives_way() {
        let mut share = FairShare::default();
        let (_one, _, _asked) = held(&mut share, of(1), 1);
        let (slow, _, mut asked) = held(&mut share, of(2), 20);
        let (fast, _, mut spared) = held(&mut share, of(2), 30);
        assert_eq!(share.ask(Weight::Places, 3), None, "no holder has so much");
        assert_eq!(share.ask(Weight::Places, 2), Some(slow));
        assert!(asked.try_recv().is_ok() && spared.try_recv().is_err());
        share.remove(of(2), 1, 0);
        share.withdraw(fast);
        assert_eq!(share.weight(of(2), Weight::Places), 1);
        assert_eq!(share.ask(Weight::Places, 2), None);
    }

    #[test]
    fn holder_without_an_offer_is_passed_over() {
        let mut share = FairShare::default();
        share.add(of(1), 100, 0);
        let (number, ..) = held(&mut share, of(2), 5);
        assert_eq!(share.ask(Weight::Places, 1), Some(number));
        assert_eq!(share.ask(Weight::Places, 1), None);
    }

    #[test]
    fn offer_that_made_progress_is_not_the_slowest_any_more() {
        let mut share = FairShare::default();
        let (_, due, _asked) = held(&mut share, of(1), 1);
        let (second, _, _asked_too) = held(&mut share, of(1), 2);
        due.store(3, Ordering::Relaxed);
        assert_eq!(share.ask(Weight::Places, 1), Some(second));
    }

    #[test]
    fn slowest_offer_gives_way_among_holders_with_equal_weights() {
        let mut share = FairShare::default();
        let (_, _, _first) = held(&mut share, of(9), 7);
        let (slowest, _, _second) = held(&mut share, of(1), 6);
        assert_eq!(share.ask(Weight::Places, 1), Some(slowest));
    }

    #[test]
    fn what_is_not_counted_by_address_gives_way_last() {
        let mut share = FairShare::default();
        let (proxied, _, _first) = held(&mut share, None, 1);
        let (_, _, _second) = held(&mut share, None, 2);
        let (direct, _, _third) = held(&mut share, of(1), 3);
        assert_eq!(share.ask(Weight::Places, 1), Some(direct));
        assert_eq!(share.ask(Weight::Places, 1), Some(proxied));
    }

    #[test]
    fn bytes_rank_apart_from_places() {
        let mut share = FairShare::default();
        let (small, _, _first) = held(&mut share, of(1), 1);
        let (large, _, _second) = held(&mut share, of(2), 2);
        share.add(of(1), 5, 10);
        share.add(of(2), 0, 100);
        assert_eq!(share.ask(Weight::Bytes, 1), Some(large));
        assert_eq!(share.ask(Weight::Places, 1), Some(small));
    }

    #[test]
    fn offer_without_a_place_is_asked_for_bytes_alone() {
        let mut share = FairShare::default();
        let (body, _, _first) = held(&mut share, of(1), 2);
        let head = share.number();
        share.add(of(1), 0, 100);
        let _second = share.offer(head, of(1), false, Arc::new(AtomicU64::new(1)));
        assert_eq!(share.ask(Weight::Places, 1), Some(body));
        assert_eq!(share.ask(Weight::Places, 1), None);
        assert_eq!(share.ask(Weight::Bytes, 1), Some(head));
    }

    #[test]
    fn nothing_is_remembered_of_a_holder_that_has_nothing() {
        let mut share = FairShare::default();
        let (number, _, _asked) = held(&mut share, of(1), 1);
        share.withdraw(number);
        share.remove(of(1), 1, 0);
        assert!(share.holders.is_empty() && share.offers.is_empty());
        assert!(share.ranks.iter().all(BTreeSet::is_empty));
    }

    /// 2,000 offers that progress all the time: each is filed again at most once for each step that it
    /// made, whatever is chosen in between.
    #[test]
    fn choice_does_not_look_at_offers_without_progress() {
        let mut share = FairShare::default();
        let all: Vec<_> = (0..2000).map(|n| held(&mut share, of(1), n)).collect();
        for (_, due, _) in &all[..10] {
            due.fetch_add(10_000, Ordering::Relaxed);
        }
        assert_eq!(share.ask(Weight::Places, 1), Some(all[10].0));
        let filed = share.offers.values().filter(|offer| offer.filed >= 10_000).count();
        assert_eq!(filed, 10);
    }
}
