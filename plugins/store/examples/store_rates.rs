//! Prints the rates of a store on this machine: durable calls a second, and the behaviour of calls
//! with a long backlog.
//!
//! `cargo run --release -p as2hook-store --example store_rates [-- WHERE [BACKLOG]]`
//!
//! WHERE is a folder for the embedded store, `postgres` for a server from this machine's packages,
//! or the `postgres://` URL of an empty database.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a report on the terminal")]

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use as2hook_store::{
    Attempt, AttemptRecord, Claimed, DeliveryOutcome, DeliveryState, NewDelivery, NewEvent,
    Payload, PostgresOptions, PostgresStore, Settlement, SqliteOptions, SqliteStore, Store, Write,
};
use as2hook_testing::Postgres;
use uuid::Uuid;

/// How long each figure is measured.
const WINDOW: Duration = Duration::from_secs(3);

/// Where the stores are.
enum Place {
    Folder(PathBuf),
    Database(String),
}

/// A store, and its counters.
struct Counted {
    store: Arc<dyn Store>,
    commits: Box<dyn Fn() -> u64 + Send + Sync>,
    /// Always 0 for the embedded store, which makes no round trips.
    trips: Box<dyn Fn() -> u64 + Send + Sync>,
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let temporary = tempfile::tempdir().unwrap();
    let server = OnceLock::new();
    let place = match arguments.next() {
        None => Place::Folder(temporary.path().to_owned()),
        Some(word) if word == "postgres" => {
            Place::Database(server.get_or_init(Postgres::start).url())
        }
        Some(url) if url.starts_with("postgres") => Place::Database(url),
        Some(folder) => Place::Folder(folder.into()),
    };
    let backlog: usize = arguments.next().map_or(100_000, |count| count.parse().unwrap());

    println!(
        "{:<22}{:>8}{:>12}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "call", "callers", "calls/s", "p50", "p99", "CPU", "a commit", "trips"
    );
    for callers in [1, 16, 128] {
        rates(&place, callers).await;
    }
    long_backlog(&place, backlog).await;
}

async fn rates(place: &Place, callers: usize) {
    let store = place.open(&format!("rates-{callers}")).await;
    measure("a message", callers, &store, |store| async move {
        let id = Uuid::now_v7();
        // As in production: few webhooks, whose deliveries are claimed in batches.
        let webhook = usize::from(id.as_bytes()[15]) % 8 + 100;
        store.commit(vec![Write::Open(event(id), vec![delivery(id, webhook)])]).await.unwrap();
        store.commit(vec![Write::Settle(settlement(id, webhook))]).await.unwrap();
        let name = format!("webhook-{webhook}");
        let claimed = store.claim(&name, i64::MAX, 16).await.unwrap();
        if !claimed.is_empty() {
            store.finish(claimed.iter().map(delivered).collect()).await.unwrap();
        }
    })
    .await;
    measure("open", callers, &store, |store| async move {
        let id = Uuid::now_v7();
        store.commit(vec![Write::Open(event(id), vec![delivery(id, 0)])]).await.unwrap();
    })
    .await;
    measure("open + settle", callers, &store, |store| async move {
        let id = Uuid::now_v7();
        store.commit(vec![Write::Open(event(id), vec![delivery(id, 0)])]).await.unwrap();
        store.commit(vec![Write::Settle(settlement(id, 0))]).await.unwrap();
    })
    .await;
    for _ in 0..150 {
        let id = Uuid::now_v7();
        let deliveries =
            (0..1_000).map(|n| NewDelivery { webhook: "webhook-0".to_owned(), ..delivery(id, n) });
        store.store.commit(vec![Write::Publish(event(id), deliveries.collect())]).await.unwrap();
    }
    measure("claim 16 + finish 16", callers, &store, |store| async move {
        let claimed = store.claim("webhook-0", i64::MAX, 16).await.unwrap();
        assert!(!claimed.is_empty(), "the backlog is used up");
        store.finish(claimed.iter().map(delivered).collect()).await.unwrap();
    })
    .await;
    store.store.close().await;
}

async fn measure<W, F>(name: &str, callers: usize, counted: &Counted, work: W)
where
    F: Future<Output = ()> + Send + 'static,
    W: Fn(Arc<dyn Store>) -> F,
{
    let started = Instant::now();
    let (commits, trips, cpu) = ((counted.commits)(), (counted.trips)(), cpu_time());
    let store = &counted.store;
    let mut waits = Vec::new();
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..callers {
        running.spawn(timed(work(Arc::clone(store))));
    }
    while let Some(done) = running.join_next().await {
        waits.push(done.unwrap().1);
        if started.elapsed() < WINDOW {
            running.spawn(timed(work(Arc::clone(store))));
        }
    }
    waits.sort();
    let at = |part: usize| waits[(waits.len() - 1) * part / 100];
    let commits = ((counted.commits)() - commits).max(1);
    let trips = (counted.trips)() - trips;
    println!(
        "{name:<22}{callers:>8}{:>12.0}{:>10.2?}{:>10.2?}{:>10.2?}{:>10.1}{:>10.3}",
        waits.len() as f64 / started.elapsed().as_secs_f64(),
        at(50),
        at(99),
        (cpu_time() - cpu) / u32::try_from(waits.len()).unwrap(),
        waits.len() as f64 / commits as f64,
        trips as f64 / waits.len() as f64,
    );
}

/// Returns the CPU time of the whole process, in steps of 10 ms.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let started = Instant::now();
    (work.await, started.elapsed())
}

async fn long_backlog(place: &Place, backlog: usize) {
    let store = place.open("backlog").await.store;
    let (started, cpu) = (Instant::now(), cpu_time());
    for first in (0..backlog).step_by(1_000) {
        let id = Uuid::now_v7();
        let deliveries =
            (first..(first + 1_000).min(backlog)).map(|n| delivery_of(id, n)).collect();
        store.commit(vec![Write::Publish(event(id), deliveries)]).await.unwrap();
    }
    let wait = started.elapsed();
    println!(
        "\n{backlog} deliveries for 1000 webhooks, created in {wait:.1?}, {:.1?} CPU:",
        cpu_time() - cpu
    );
    let (due, wait) = timed(store.due()).await;
    println!("due() of {} webhooks: {wait:.2?}", due.unwrap().len());
    let (claimed, wait) = timed(store.claim("webhook-7", i64::MAX, 16)).await;
    let claimed = claimed.unwrap();
    println!("claim() of {}: {wait:.2?}", claimed.len());
    let (_, wait) = timed(store.finish(claimed.iter().map(delivered).collect())).await;
    println!("finish() of them: {wait:.2?}");
    let (_, wait) = timed(store.counts()).await;
    println!("counts(): {wait:.2?}");
    let (moved, wait) =
        timed(store.change_state("webhook-8", DeliveryState::Pending, DeliveryState::Held)).await;
    println!("shift() of {}: {wait:.2?}", moved.unwrap());
    store.close().await;
}

// === impl Place ===

impl Place {
    /// Opens an empty store of this name.
    async fn open(&self, name: &str) -> Counted {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(format!("{name}.db"));
                let store = SqliteStore::open(&path, &SqliteOptions::default()).unwrap();
                let store = Arc::new(store);
                let counts = Arc::clone(&store);
                let commits = Box::new(move || counts.commits());
                Counted { store, commits, trips: Box::new(|| 0) }
            }
            Self::Database(url) => {
                let options =
                    PostgresOptions { schema: name.to_owned(), ..PostgresOptions::default() };
                let store = Arc::new(PostgresStore::connect(url, options).await.unwrap());
                let (counts, trips) = (Arc::clone(&store), Arc::clone(&store));
                let commits = Box::new(move || counts.commits());
                Counted { store, commits, trips: Box::new(move || trips.round_trips()) }
            }
        }
    }
}

fn event(id: Uuid) -> NewEvent {
    NewEvent {
        id,
        kind: "message.received".to_owned(),
        site: "main".to_owned(),
        partner: Some("ACME".to_owned()),
        station: Some("MY-OWN-ORG".to_owned()),
        about: None,
        terms: as2hook_store::EventTerms::default(),
        message_id: Some(format!("<{id}@acme.example>")),
        occurred_at: 1_000,
        body: vec![b'x'; 1_024],
        payload: Payload::None,
    }
}

fn delivery(event: Uuid, webhook: usize) -> NewDelivery {
    NewDelivery {
        webhook_id: Uuid::new_v5(&event, webhook.to_string().as_bytes()).to_string(),
        webhook: format!("webhook-{webhook}"),
        mode: "json".to_owned(),
        order_key: None,
        due: 0,
    }
}

fn delivery_of(event: Uuid, number: usize) -> NewDelivery {
    NewDelivery { webhook: format!("webhook-{}", number % 1_000), ..delivery(event, number) }
}

fn settlement(event: Uuid, webhook: usize) -> Settlement {
    Settlement {
        event,
        kind: "message.received".to_owned(),
        errors: Vec::new(),
        verdict: b"{}".to_vec(),
        deliveries: vec![delivery(event, webhook)],
    }
}

fn delivered(claimed: &Claimed) -> AttemptRecord {
    let attempt = Attempt {
        number: claimed.attempts + 1,
        at: 1_000,
        url: "https://erp.example/hooks/as2".to_owned(),
        http_code: Some(204),
        error: None,
        duration_ms: 3,
    };
    AttemptRecord {
        delivery: claimed.id,
        attempt: Some(attempt),
        outcome: DeliveryOutcome::Delivered,
    }
}
