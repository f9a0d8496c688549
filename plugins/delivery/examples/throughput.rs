//! Measures deliveries: from a backlog, and from the answer's end to the webhook's request.
//!
//! ```text
//! cargo run --release -p as2hook-delivery --example throughput -- [DELIVERIES] [WEBHOOKS]
//! ```
//!
//! Store (SQLite, durable), outbox, dispatcher and sink share this one process; the figures hold all
//! of it. Rows of the table in section 10 of the design: "deliveries, durable" and "from the answer's
//! end to the webhook's request".

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::{
    collections::HashMap,
    convert::Infallible,
    error::Error,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use as2hook_delivery::{
    Bells, Client, Directory, Dispatcher, DispatcherOptions, Outbox, OutboxOptions, Target,
};
use as2hook_store::{Payload, SqliteOptions, SqliteStore, Store};
use as2hook_webhooks::{
    Direction, Endpoint, Event, EventKind, PartnerType, PayloadMode, Route, Rule, Verdict,
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet, time::MissedTickBehavior};
use uuid::Uuid;

type Failure = Box<dyn Error + Send + Sync>;

struct Rules(HashMap<String, Arc<Rule>>);

impl Directory for Rules {
    fn endpoint(&self, webhook: &str) -> Option<Arc<Rule>> {
        self.0.get(webhook).cloned()
    }
}

/// Counts requests, and notes when each event's came.
#[derive(Default)]
struct Sink {
    count: AtomicUsize,
    seen: Mutex<HashMap<String, Instant>>,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let deliveries = arguments.next().transpose()?.unwrap_or(50_000);
    let webhooks = arguments.next().transpose()?.unwrap_or(4).max(1);

    let folder = tempfile::tempdir()?;
    let path = folder.path().join("as2hook.db");
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, &SqliteOptions::default())?);
    let sink = Arc::new(Sink::default());
    let address = serve(sink.clone()).await?;
    let rules: Vec<_> = (0..webhooks).map(|n| rule(n, &address)).collect::<Result<_, _>>()?;
    let targets: Vec<_> = rules.iter().map(|rule| Target::of(rule, &event())).collect();
    let known = rules.iter().map(|rule| (rule.name.clone(), rule.clone())).collect();
    let directory = Arc::new(Rules(known));

    let bells = Bells::new();
    let outbox = Outbox::new(store.clone(), bells.clone(), OutboxOptions::default());
    let begun = Instant::now();
    fill(&outbox, &targets, deliveries / webhooks).await?;
    let rate = deliveries as f64 / begun.elapsed().as_secs_f64();
    println!("recorded    {rate:>8.0} deliveries/s, {webhooks} an event");

    let (begun, cpu) = (Instant::now(), cpu_seconds()?);
    let client = Arc::new(Client::new().await?);
    let options = DispatcherOptions::default();
    let dispatcher =
        Dispatcher::start(store.clone(), client, directory, None, bells, options).await?;
    let all = deliveries / webhooks * webhooks;
    while sink.count.load(Ordering::Relaxed) < all {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = begun.elapsed().as_secs_f64();
    let (rate, each) = (all as f64 / took, (cpu_seconds()? - cpu) * 1e6 / all as f64);
    println!("delivered   {rate:>8.0} deliveries/s, {each:.0} us CPU each, sink included");

    for rate in [50, 500] {
        let mut waits = latency(&outbox, &targets[..1], &sink, rate).await?;
        waits.sort();
        let at = |percent: usize| waits[(waits.len() - 1) * percent / 100].as_secs_f64() * 1e3;
        let (p50, p99, most) = (at(50), at(99), at(100));
        println!(
            "at {rate:>4}/s   p50 {p50:.2} ms, p99 {p99:.2} ms, max {most:.2} ms from settle to request"
        );
    }
    dispatcher.shutdown(Duration::from_secs(10)).await;
    outbox.close(Duration::from_secs(10)).await;
    store.close().await;
    Ok(())
}

/// Publishes events, as many at once as a busy gateway has.
async fn fill(outbox: &Outbox, targets: &[Target], events: usize) -> Result<(), Failure> {
    let mut tasks = JoinSet::new();
    for _ in 0..events {
        if tasks.len() >= 256 {
            tasks.join_next().await.transpose()?;
        }
        let (outbox, targets) = (outbox.clone(), targets.to_vec());
        tasks.spawn(async move { outbox.publish(&event(), Payload::None, &targets).await });
    }
    tasks.join_all().await;
    Ok(())
}

/// Settles exchanges at a steady rate for five seconds; the waits from each settle's beginning to the
/// request that tells of it.
async fn latency(
    outbox: &Outbox,
    targets: &[Target],
    sink: &Sink,
    rate: u64,
) -> Result<Vec<Duration>, Failure> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::try_from(rate)?);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut tasks = JoinSet::new();
    for _ in 0..rate * 5 {
        ticks.tick().await;
        let (outbox, targets) = (outbox.clone(), targets.to_vec());
        tasks.spawn(async move {
            let event = event();
            outbox.open(&event, Payload::None, &targets).await?;
            let answered = Instant::now();
            outbox.settle(event.id, &Verdict::of(event.kind), &targets).await?;
            let webhook_id = event.webhook_id(&targets[0].webhook);
            Ok::<_, Failure>((webhook_id, answered))
        });
    }
    let mut waits = Vec::new();
    while let Some(settled) = tasks.join_next().await {
        let (webhook_id, answered) = settled??;
        loop {
            let seen = sink.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(&webhook_id);
            if let Some(seen) = seen {
                waits.push(seen.saturating_duration_since(answered));
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    Ok(waits)
}

async fn serve(sink: Arc<Sink>) -> Result<String, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let sink = sink.clone();
            let answer = service_fn(move |request: http::Request<Incoming>| {
                let id = request.headers().get("webhook-id").and_then(|id| id.to_str().ok());
                let mut seen = sink.seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.insert(id.unwrap_or_default().to_owned(), Instant::now());
                sink.count.fetch_add(1, Ordering::Relaxed);
                async { Ok::<_, Infallible>(http::Response::new(String::new())) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(tcp), answer));
        }
    });
    Ok(address)
}

fn rule(number: usize, address: &str) -> Result<Arc<Rule>, Failure> {
    let mut endpoint = Endpoint::new(format!("http://{address}/{number}").parse()?);
    endpoint.payload = PayloadMode::Json;
    Ok(Arc::new(Rule {
        name: format!("webhook-{number}"),
        events: None,
        partner: None,
        station: None,
        partner_type: None,
        site: "main".to_owned(),
        route: Route::Always,
        enabled: true,
        endpoint,
    }))
}

/// An unencrypted message, as far as its headers.
fn event() -> Event {
    let mut headers = as2hook_as2::Headers::new();
    let id = Uuid::now_v7();
    for (name, value) in [
        ("AS2-Version", "1.2"),
        ("AS2-From", "ACME"),
        ("AS2-To", "MY-OWN-ORG"),
        ("Subject", "Purchase orders"),
        ("Content-Type", "application/edifact"),
        ("Disposition-Notification-To", "edi@acme.example"),
        ("User-Agent", "ACME AS2 4.7"),
        ("Date", "Sat, 21 Nov 2026 22:00:00 GMT"),
    ] {
        headers.push(name, value);
    }
    headers.push("Message-ID", format!("<{id}@acme.example>"));
    Event {
        id,
        kind: EventKind::MessageReceived,
        occurred_at: jiff::Timestamp::now(),
        direction: Direction::Inbound,
        site: "main".to_owned(),
        partner: Some("ACME".to_owned()),
        station: Some("MY-OWN-ORG".to_owned()),
        partner_type: PartnerType::Production,
        peer: None,
        headers,
        decoded: None,
        errors: Vec::new(),
        send_error: None,
        mic_matches: None,
        supersedes: None,
        extra: serde_json::Map::new(),
    }
}

/// User and system time of this process (Linux).
fn cpu_seconds() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name in the second field may hold blanks; times are the 14th and 15th in ticks of 10 ms.
    let fields = stat.rsplit_once(')').ok_or("no process name")?.1;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    Ok(ticks.sum::<Result<u64, _>>()? as f64 / 100.0)
}
