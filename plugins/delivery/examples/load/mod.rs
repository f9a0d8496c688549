//! Code shared by the measuring examples: the delivery half of a gateway in one process, a sink,
//! events, and resource usage.

#![allow(dead_code, unreachable_pub, reason = "each example uses its part")]
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

#[path = "../../tests/delivery/support/made.rs"]
mod made;

use std::{
    collections::HashMap,
    convert::Infallible,
    error::Error,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use as2hook_delivery::{
    Directory, Dispatcher, DispatcherOptions, Outbox, OutboxOptions, Target, Wakeups, writes,
};
use as2hook_event::{Endpoint, Event, PayloadMode, Rule};
use as2hook_sink::Client;
use as2hook_store::{Payload, SqliteOptions, SqliteStore, Store};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};
use uuid::Uuid;

/// The allocator of as2hook itself.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

pub type Failure = Box<dyn Error + Send + Sync>;

/// Store (SQLite, durable), outbox and dispatcher, put together as in the gateway.
pub struct Gateway {
    pub store: Arc<dyn Store>,
    pub outbox: Outbox,
    rules: Arc<Rules>,
    wakeups: Wakeups,
    dispatcher: Option<Dispatcher>,
}

#[derive(Default)]
struct Rules(Mutex<HashMap<String, Arc<Rule>>>);

/// An endpoint that responds with 200 at once, or never.
#[derive(Default)]
pub struct Sink {
    address: String,
    count: AtomicUsize,
    /// Whether to record when each request came.
    notes: AtomicBool,
    seen: Mutex<HashMap<String, Instant>>,
    by_path: Mutex<HashMap<String, usize>>,
}

// === impl Rules ===

impl Directory for Rules {
    fn endpoint(&self, webhook: &str) -> Option<Arc<Rule>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(webhook).cloned()
    }
}

// === impl Gateway ===

impl Gateway {
    /// Creates it over a store in this folder, without deliveries.
    pub fn new(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("as2hook.db");
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, &SqliteOptions::default())?);
        let wakeups = Wakeups::new();
        let outbox = Outbox::new(store.clone(), wakeups.clone(), OutboxOptions::default());
        Ok(Self { store, outbox, rules: Arc::default(), wakeups, dispatcher: None })
    }

    /// Adds a webhook that points at a sink; its name is the path there.
    pub fn add(&self, webhook: &str, sink: &Sink) -> Result<Target, Failure> {
        let rule = rule(webhook, &sink.address)?;
        let target = Target::of(&rule, &event());
        let mut rules = self.rules.0.lock().unwrap_or_else(PoisonError::into_inner);
        rules.insert(webhook.to_owned(), Arc::new(rule));
        Ok(target)
    }

    /// Starts the deliveries.
    pub async fn start(&mut self) -> Result<(), Failure> {
        let client = Arc::new(Client::new().await?);
        let options = DispatcherOptions::default();
        let (store, wakeups) = (self.store.clone(), self.wakeups.clone());
        let dispatcher =
            Dispatcher::start(store, client.into(), self.rules.clone(), None, wakeups, options)
                .await?;
        self.dispatcher = Some(dispatcher);
        Ok(())
    }

    /// Records events, as many at once as a busy gateway has.
    pub async fn fill(&self, targets: &[Target], events: usize) -> Result<(), Failure> {
        let mut tasks = JoinSet::new();
        for _ in 0..events {
            if tasks.len() >= 256 {
                tasks.join_next().await.transpose()?;
            }
            let outbox = self.outbox.clone();
            let published = writes::publish(&event(), Payload::None, targets)?;
            tasks.spawn(async move { outbox.write(vec![published]).await });
        }
        tasks.join_all().await;
        Ok(())
    }

    pub async fn stop(self) {
        if let Some(dispatcher) = &self.dispatcher {
            dispatcher.shutdown(Duration::ZERO).await;
        }
        self.outbox.close(Duration::from_secs(10)).await;
        self.store.close().await;
    }
}

// === impl Sink ===

impl Sink {
    /// Starts one on a free port of 127.0.0.1.
    pub async fn start(hangs: bool) -> Result<Arc<Self>, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let sink = Arc::new(Self { address, ..Self::default() });
        let serving = sink.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let sink = serving.clone();
                let answer = service_fn(move |request: http::Request<Incoming>| {
                    sink.take(&request);
                    async move {
                        if hangs {
                            std::future::pending::<()>().await;
                        }
                        Ok::<_, Infallible>(http::Response::new(String::new()))
                    }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(tcp), answer));
            }
        });
        Ok(sink)
    }

    fn take<B>(&self, request: &http::Request<B>) {
        if self.notes.load(Ordering::Relaxed) {
            let id = request.headers().get("webhook-id").and_then(|id| id.to_str().ok());
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.insert(id.unwrap_or_default().to_owned(), Instant::now());
            let mut by_path = self.by_path.lock().unwrap_or_else(PoisonError::into_inner);
            *by_path.entry(request.uri().path().to_owned()).or_default() += 1;
        }
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of requests.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Records each request from now on: it costs time and memory.
    pub fn note(&self) {
        self.notes.store(true, Ordering::Relaxed);
    }

    /// Returns the number of recorded requests, by path.
    pub fn by_path(&self) -> HashMap<String, usize> {
        self.by_path.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for this number of requests.
    pub async fn reached(&self, count: usize) {
        while self.count() < count {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits for the request of this `webhook-id`, and returns when it came.
    pub async fn seen(&self, webhook_id: &str) -> Instant {
        loop {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(webhook_id);
            if let Some(seen) = seen {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn rule(name: &str, address: &str) -> Result<Rule, Failure> {
    let mut endpoint = Endpoint::new(format!("http://{address}/{name}").parse()?);
    endpoint.payload = PayloadMode::JSON;
    Ok(made::rule(name, endpoint))
}

/// An unencrypted message, with its headers only.
pub fn event() -> Event {
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
    made::event(id, headers)
}

/// Prints one row: what, the figure, the bar, and whether it is met.
pub fn row(what: &str, figure: &str, bar: &str, kept: bool) {
    println!("{what:<58}{figure:>14}   {bar:<22}{}", if kept { "kept" } else { "MISSED" });
}

/// Prints a row without a bar.
pub fn note(what: &str, figure: &str) {
    println!("{what:<58}{figure:>14}");
}

/// Returns a percentile of sorted waits, in milliseconds.
pub fn percentile(waits: &[Duration], percent: usize) -> f64 {
    waits[(waits.len() - 1) * percent / 100].as_secs_f64() * 1e3
}

/// User and system time of this process (Linux).
pub fn cpu_seconds() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name in the second field may hold blanks; times are the 14th and 15th in ticks of 10 ms.
    let fields = stat.rsplit_once(')').ok_or("no process name")?.1;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    Ok(ticks.sum::<Result<u64, _>>()? as f64 / 100.0)
}

/// Memory of this process now, in MiB (Linux).
pub fn resident() -> Result<f64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024.0)
}
