use std::time::Duration;

use super::*;

const LIMIT: u64 = 1000;

fn of(last: u8) -> Option<IpAddr> {
    Some(IpAddr::from([192, 0, 2, last]))
}

/// An exchange whose body is waited for, so long from now.
fn waiting(in_flight: &InFlight, limit: usize, address: Option<IpAddr>, secs: u64) -> WaitingBody {
    let permit = in_flight.enter(limit, address).unwrap();
    let mut gives_way = permit.gives_way().unwrap();
    gives_way.due(Instant::now() + Duration::from_secs(secs));
    gives_way.asked();
    WaitingBody { permit, gives_way }
}

struct WaitingBody {
    permit: Permit,
    gives_way: GiveWay,
}

impl WaitingBody {
    fn gave_way(&mut self) -> bool {
        self.gives_way.asked().try_recv().is_ok()
    }
}

#[tokio::test(start_paused = true)]
async fn slowest_body_of_the_greediest_address_gives_way_when_all_places_are_taken() {
    let in_flight = InFlight::new(Memory::default(), TrafficHandles::default());
    let mut first = waiting(&in_flight, 3, of(1), 10);
    let mut slow = waiting(&in_flight, 3, of(2), 20);
    let mut fast = waiting(&in_flight, 3, of(2), 30);
    let newcomer = in_flight.enter(3, of(3));
    assert!(newcomer.is_some() && slow.gave_way() && !fast.gave_way() && !first.gave_way());
    assert_eq!(slow.permit.complete(), Err(GaveWay));
    assert_eq!(in_flight.count(), 4, "until it is gone");
    drop(slow);
    assert_eq!(in_flight.count(), 3);
    drop((first, fast, newcomer));
    assert_eq!(in_flight.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn newcomer_of_the_greediest_address_is_refused() {
    let in_flight = InFlight::new(Memory::default(), TrafficHandles::default());
    let _all: Vec<_> = (0..3).map(|n| waiting(&in_flight, 4, of(1), n)).collect();
    let _other = waiting(&in_flight, 4, of(2), 0);
    assert!(in_flight.enter(4, of(1)).is_none());
    let second = in_flight.enter(4, of(2));
    assert!(second.is_some(), "two of each are an equal share");
    assert!(in_flight.enter(4, of(2)).is_none());
}

#[tokio::test(start_paused = true)]
async fn complete_request_never_gives_way() {
    let in_flight = InFlight::new(Memory::default(), TrafficHandles::default());
    let mut body = waiting(&in_flight, 1, of(1), 10);
    assert_eq!(body.permit.complete(), Ok(()));
    assert!(in_flight.enter(1, of(2)).is_none() && !body.gave_way());
}

#[tokio::test(start_paused = true)]
async fn exchange_that_is_not_counted_by_address_pushes_out_and_never_gives_way() {
    let in_flight = InFlight::new(Memory::default(), TrafficHandles::default());
    let mut body = waiting(&in_flight, 1, of(1), 10);
    let ours = in_flight.enter(1, None).unwrap();
    assert!(body.gave_way() && ours.gives_way().is_none());
    drop(body);
    assert!(in_flight.enter(1, of(1)).is_none());
}

#[tokio::test(start_paused = true)]
async fn memory_of_what_gives_way_is_free_at_once() {
    let memory = Memory::default();
    let in_flight = InFlight::new(memory.clone(), TrafficHandles::default());
    let mut bodies: Vec<_> = (0..4).map(|n| waiting(&in_flight, 9, of(1), n)).collect();
    assert!(bodies.iter().all(|body| body.permit.take_memory(250, LIMIT)));
    assert!(!bodies[0].permit.take_memory(1, LIMIT));
    let newcomer = in_flight.enter(9, of(2)).unwrap();
    assert!(newcomer.take_memory(400, LIMIT));
    assert_eq!(memory.used(), 900, "two have given way");
    assert_eq!(bodies.iter_mut().filter_map(|body| body.gave_way().then_some(())).count(), 2);
    drop(bodies);
    assert_eq!(memory.used(), 400);
    let share = newcomer.take_share();
    drop(newcomer);
    assert_eq!(memory.used(), 400, "until it is given back elsewhere");
    drop(share);
    assert_eq!(memory.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn unfinished_heads_do_not_shield_slow_bodies_when_all_places_are_taken() {
    let in_flight = InFlight::new(Memory::default(), TrafficHandles::default());
    let mut heads: Vec<_> = (0..2 * LEAVING)
        .map(|_| {
            let permit = in_flight.beside(of(1));
            let mut gives_way = permit.gives_way().unwrap();
            gives_way.due(Instant::now());
            gives_way.asked();
            WaitingBody { permit, gives_way }
        })
        .collect();
    let mut body = waiting(&in_flight, 1, of(1), 10);
    assert!(in_flight.enter(1, of(2)).is_some() && body.gave_way());
    assert!(heads.iter_mut().all(|head| !head.gave_way()), "they have no place to give");
}

#[tokio::test(start_paused = true)]
async fn no_more_give_way_while_many_have_not_left() {
    let in_flight = InFlight::new(Memory::default(), TrafficHandles::default());
    let _all: Vec<_> = (0..100).map(|n| waiting(&in_flight, 100, of(1), n)).collect();
    let let_in: Vec<_> = (0..100).map_while(|n| in_flight.enter(100, of(n + 2))).collect();
    assert_eq!((let_in.len(), in_flight.count()), (LEAVING, 100 + LEAVING));
}
