//! Measures deliveries: from a backlog, and from the answer's end to the webhook's request.
//!
//! ```text
//! cargo run --release -p as2hook-delivery --example throughput -- [DELIVERIES] [WEBHOOKS]
//! ```
//!
//! Store (SQLite, durable), outbox, dispatcher and sink share this one process; the figures hold all
//! of it. `docs/reliability.md` has them: deliveries from a backlog, and from settle to request.
//! Without link-time optimisation (`CARGO_PROFILE_RELEASE_LTO=off
//! CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16`) it builds in a tenth of the time, and is a little slower.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

mod load;

use std::time::{Duration, Instant};

use as2hook_delivery::{Target, writes};
use as2hook_event::Verdict;
use as2hook_store::Payload;
use load::{Failure, Gateway, Sink, cpu_seconds, event, note, percentile, row};
use tokio::{task::JoinSet, time::MissedTickBehavior};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let deliveries = arguments.next().transpose()?.unwrap_or(50_000);
    let webhooks = arguments.next().transpose()?.unwrap_or(4).max(1);
    let all = deliveries / webhooks * webhooks;

    let folder = tempfile::tempdir()?;
    let mut gateway = Gateway::new(folder.path())?;
    let sink = Sink::start(false).await?;
    let targets: Vec<_> = (0..webhooks)
        .map(|n| gateway.add(&format!("webhook-{n}"), &sink))
        .collect::<Result<_, _>>()?;
    let begun = Instant::now();
    gateway.fill(&targets, deliveries / webhooks).await?;
    let rate = all as f64 / begun.elapsed().as_secs_f64();
    note("recorded, deliveries/s", &format!("{rate:.0}"));

    let (begun, cpu) = (Instant::now(), cpu_seconds()?);
    gateway.start().await?;
    sink.reached(all).await;
    let took = begun.elapsed().as_secs_f64();
    let (rate, each) = (all as f64 / took, (cpu_seconds()? - cpu) * 1e6 / all as f64);
    row("delivered from a backlog, deliveries/s", &format!("{rate:.0}"), ">= 5000", rate >= 5e3);
    row("CPU of a delivery, sink included, us", &format!("{each:.0}"), "<= 200", each <= 200.0);

    sink.note();
    for (rate, judged) in [(50, false), (500, true)] {
        let mut waits = latency(&gateway, &targets[..1], &sink, rate).await?;
        waits.sort();
        for (percent, bar) in [(50, 3.0), (99, 15.0)] {
            let what = format!("from settle to request at {rate}/s, p{percent}, ms");
            let wait = percentile(&waits, percent);
            let figure = format!("{wait:.2}");
            match judged {
                true => row(&what, &figure, &format!("<= {bar:.0}"), wait <= bar),
                false => note(&what, &figure),
            }
        }
    }
    gateway.stop().await;
    Ok(())
}

/// Settles exchanges at a steady rate for five seconds. Returns the waits from the start of each
/// settle to the request that delivers the event.
async fn latency(
    gateway: &Gateway,
    targets: &[Target],
    sink: &Sink,
    rate: u64,
) -> Result<Vec<Duration>, Failure> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::try_from(rate)?);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut tasks = JoinSet::new();
    for _ in 0..rate * 5 {
        ticks.tick().await;
        let (outbox, targets) = (gateway.outbox.clone(), targets.to_vec());
        tasks.spawn(async move {
            let event = event();
            outbox.open(vec![writes::open(&event, Payload::None, &targets)?]).await?;
            let answered = Instant::now();
            let verdict = Verdict::of(event.kind);
            outbox.write(vec![writes::settle(event.id, &verdict, &targets)?]).await;
            let webhook_id = event.webhook_id(&targets[0].webhook);
            Ok::<_, Failure>((webhook_id, answered))
        });
    }
    let mut waits = Vec::new();
    while let Some(settled) = tasks.join_next().await {
        let (webhook_id, answered) = settled??;
        waits.push(sink.seen(&webhook_id).await.saturating_duration_since(answered));
    }
    Ok(waits)
}
