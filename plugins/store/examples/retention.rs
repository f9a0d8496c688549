//! Measures a steady stream of events that are delivered at once, with pruning in parallel: its
//! cost, whether it keeps up, and how large the files are.
//!
//! `cargo run --release -p as2hook-store --example retention [-- EVENTS_A_SECOND [SECONDS [KEEP]]]`

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a report on the terminal")]

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use as2hook_store::{
    Attempt, AttemptRecord, DeliveryOutcome, DeliveryQueue, EventStore, EventTerms, Filter,
    NewDelivery, NewEvent, Payload, Prune, Settlement, SqliteOptions, SqliteStore, Store, Write,
    sqlite::backup::backup,
};
use tokio::time::{MissedTickBehavior, interval};
use uuid::Uuid;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().unwrap());
    let rate = arguments.next().unwrap_or(500);
    let seconds = arguments.next().unwrap_or(30);
    let keep = arguments.next().unwrap_or(rate * 5);
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("as2hook.db");
    let store = Arc::new(SqliteStore::open(&database, &SqliteOptions::default()).unwrap());
    println!("{rate} events a second, of which {keep} are kept\n");
    println!("second    events/s    open p50    open p99      pruned    in      file       log");
    for second in 1..=seconds {
        // The first few fill it; from then on every event that arrives has to be pruned.
        let prune = async {
            let started = Instant::now();
            let removed = store.prune(Prune::EventsBeyond(keep), 100_000).await.unwrap();
            (removed, started.elapsed())
        };
        let ((waits, took), (pruned, pruning)) = tokio::join!(stream(&store, rate), prune);
        let at = |part: usize| waits[(waits.len() - 1) * part / 100];
        let (file, log) = sizes(&database);
        println!(
            "{second:>6}{:>12.0}{:>12.2?}{:>12.2?}{pruned:>12}{:>6.0?}{file:>6} MiB{log:>6} MiB",
            waits.len() as f64 / took.as_secs_f64(),
            at(50),
            at(99),
            pruning,
        );
    }
    let left = store.events(&Filter::default(), None, 10_000_000).await.unwrap().rows.len() as u64;
    let (file, _) = sizes(&database);
    println!("\n{left} events are left, in {file} MiB");

    let to = folder.path().join("copy.db");
    let copying = tokio::task::spawn_blocking(move || {
        let started = Instant::now();
        let done = backup(&database, &to, None, &mut |_, _| {}).unwrap();
        (done.bytes >> 20, started.elapsed())
    });
    let ((mut waits, _), copied) = tokio::join!(stream(&store, rate), copying);
    let (size, took) = copied.unwrap();
    waits.sort();
    let worst = waits[(waits.len() - 1) * 99 / 100];
    println!("a backup of {size} MiB took {took:.2?} meanwhile; open p99 {worst:.2?}");

    // Enough for a resolution of 10 ms of CPU.
    stream(&store, 20_000).await;
    let (started, cpu) = (Instant::now(), cpu_time());
    let removed =
        u32::try_from(store.prune(Prune::Events(i64::MAX), 10_000_000).await.unwrap().max(1))
            .unwrap();
    let (each, cpu) = (started.elapsed() / removed, (cpu_time() - cpu) / removed);
    println!("pruning {removed} alone: {each:.2?} an event, {cpu:.2?} CPU");
    store.close().await;
}

/// Makes a second of events, each opened, settled, claimed and delivered. Returns the sorted times
/// of the openings, and the whole time.
async fn stream(store: &Arc<SqliteStore>, rate: u64) -> (Vec<Duration>, Duration) {
    let started = Instant::now();
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(rate).unwrap());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut exchanges = tokio::task::JoinSet::new();
    for _ in 0..rate {
        ticks.tick().await;
        let store = Arc::clone(store);
        exchanges.spawn(async move { exchange(&store).await });
    }
    let mut waits = exchanges.join_all().await;
    loop {
        let claimed = store.claim("erp", i64::MAX, 200).await.unwrap();
        if claimed.is_empty() {
            break;
        }
        let deliveries = claimed.iter().map(|claimed| AttemptRecord {
            delivery: claimed.id,
            attempt: Some(Attempt {
                number: claimed.attempts + 1,
                at: 0,
                url: "https://erp.example/hooks/as2".to_owned(),
                http_code: Some(204),
                error: None,
                duration_ms: 3,
            }),
            outcome: DeliveryOutcome::Delivered,
        });
        store.finish(deliveries.collect()).await.unwrap();
    }
    waits.sort();
    (waits, started.elapsed())
}

/// Returns the CPU time of the whole process, in steps of 10 ms.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

async fn exchange(store: &SqliteStore) -> Duration {
    let id = Uuid::now_v7();
    let delivery = NewDelivery {
        webhook_id: id.to_string(),
        webhook: "erp".to_owned(),
        mode: "json".to_owned(),
        order_key: None,
        due: 0,
    };
    let event = NewEvent {
        id,
        kind: "message.received".to_owned(),
        site: "main".to_owned(),
        partner: Some("ACME".to_owned()),
        station: Some("MY-OWN-ORG".to_owned()),
        about: None,
        terms: EventTerms::default(),
        message_id: Some(format!("<{id}@acme.example>")),
        occurred_at: 1_000,
        body: vec![b'x'; 1_024],
        payload: Payload::None,
    };
    let started = Instant::now();
    store.commit(vec![Write::Open(event, vec![delivery.clone()])]).await.unwrap();
    let opened = started.elapsed();
    let settlement = Settlement {
        event: id,
        kind: "message.received".to_owned(),
        errors: Vec::new(),
        verdict: b"{}".to_vec(),
        deliveries: vec![delivery],
    };
    store.commit(vec![Write::Settle(settlement)]).await.unwrap();
    opened
}

/// Returns the sizes of the file and its log, in MiB.
fn sizes(database: &Path) -> (u64, u64) {
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    let length = |path: &Path| std::fs::metadata(path).map_or(0, |data| data.len() >> 20);
    (length(database), length(&PathBuf::from(log)))
}
