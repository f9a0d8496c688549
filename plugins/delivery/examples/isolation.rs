//! Measures how much one webhook feels of another: endpoints that hang, one that is dead among a
//! thousand, and a long backlog beside a short one.
//!
//! ```text
//! cargo run --release -p as2hook-delivery --example isolation -- [BEHIND]
//! ```
//!
//! BEHIND: deliveries that wait behind each endpoint that hangs (10,000). Store (SQLite, durable),
//! outbox, dispatcher and sinks share this one process. It ends by itself, after about a minute. Its
//! figures are in `docs/reliability.md`. `CARGO_PROFILE_RELEASE_LTO=off
//! CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16` builds it in a tenth of the time.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

mod load;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use as2hook_delivery::{Target, writes};
use as2hook_store::Payload;
use load::{Failure, Gateway, Sink, event, note, percentile, row};
use tokio::{task::JoinSet, time::MissedTickBehavior};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let behind = std::env::args().nth(1).map_or(Ok(10_000), |argument| argument.parse())?;
    hanging(behind).await?;
    dead_among_a_thousand().await?;
    long_beside_short().await
}

/// Measures a healthy endpoint's waits, alone and while ten others hang.
async fn hanging(behind: usize) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let mut gateway = Gateway::new(folder.path())?;
    let (fine, hangs) = (Sink::start(false).await?, Sink::start(true).await?);
    fine.note();
    let healthy = gateway.add("healthy", &fine)?;
    let stuck: Vec<_> =
        (0..10).map(|n| gateway.add(&format!("hangs-{n}"), &hangs)).collect::<Result<_, _>>()?;
    gateway.start().await?;
    // Connections and caches.
    waits(&gateway, &healthy, &fine, 200).await?;
    let quiet = waits(&gateway, &healthy, &fine, 1_000).await?;

    // One event for each: everything behind them is recorded first.
    gateway.fill(&stuck, behind).await?;
    hangs.reached(160).await;
    let beside = waits(&gateway, &healthy, &fine, 1_000).await?;
    let hung = hangs.count();
    note(
        &format!("requests that hang, of 10 webhooks with {behind} behind each"),
        &hung.to_string(),
    );
    for (percent, judged) in [(50, false), (99, true)] {
        let (alone, among) = (percentile(&quiet, percent), percentile(&beside, percent));
        note(&format!("healthy endpoint alone, p{percent}, ms"), &format!("{alone:.2}"));
        let what = format!("healthy endpoint beside ten that hang, p{percent}, ms");
        let bar = format!("<= {:.2} (2 x alone)", alone * 2.0);
        match judged {
            true => row(&what, &format!("{among:.2}"), &bar, among <= alone * 2.0),
            false => note(&what, &format!("{among:.2}")),
        }
    }
    gateway.stop().await;
    Ok(())
}

/// Measures from publish to request, at 100 events a second.
async fn waits(
    gateway: &Gateway,
    target: &Target,
    sink: &Arc<Sink>,
    events: usize,
) -> Result<Vec<Duration>, Failure> {
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut tasks = JoinSet::new();
    for _ in 0..events {
        ticks.tick().await;
        let (outbox, target, sink) = (gateway.outbox.clone(), target.clone(), sink.clone());
        tasks.spawn(async move {
            let event = event();
            let begun = Instant::now();
            let targets = std::slice::from_ref(&target);
            outbox.write(vec![writes::publish(&event, Payload::None, targets)?]).await;
            let seen = sink.seen(&event.webhook_id(&target.webhook)).await;
            Ok::<_, Failure>(seen.saturating_duration_since(begun))
        });
    }
    let mut waits = Vec::new();
    while let Some(wait) = tasks.join_next().await {
        waits.push(wait??);
    }
    waits.sort();
    Ok(waits)
}

/// Measures how long a thousand webhooks take to receive ten events each, with one of them dead and
/// without; the best of three, alternating.
async fn dead_among_a_thousand() -> Result<(), Failure> {
    let mut took = HashMap::from([(false, f64::MAX), (true, f64::MAX)]);
    for dead in [false, true, false, true, false, true] {
        let folder = tempfile::tempdir()?;
        let mut gateway = Gateway::new(folder.path())?;
        let (fine, hangs) = (Sink::start(false).await?, Sink::start(true).await?);
        let targets: Vec<_> = (0..1_000)
            .map(|n| {
                let sink = if dead && n == 0 { &hangs } else { &fine };
                gateway.add(&format!("webhook-{n}"), sink)
            })
            .collect::<Result<_, _>>()?;
        gateway.fill(&targets, 10).await?;
        let begun = Instant::now();
        gateway.start().await?;
        fine.reached(if dead { 9_990 } else { 10_000 }).await;
        let best = took[&dead].min(begun.elapsed().as_secs_f64());
        took.insert(dead, best);
        gateway.stop().await;
    }
    let (without, with) = (took[&false], took[&true]);
    note("1,000 webhooks receive 10 events each, s", &format!("{without:.2}"));
    let bar = format!("<= {:.2} (1.5 x)", without * 1.5);
    row("the other 999 while one is dead, s", &format!("{with:.2}"), &bar, with <= without * 1.5);
    Ok(())
}

/// A few deliveries that arrive while another webhook has a long backlog.
async fn long_beside_short() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let mut gateway = Gateway::new(folder.path())?;
    let sink = Sink::start(false).await?;
    sink.note();
    let long = gateway.add("long", &sink)?;
    let short = gateway.add("short", &sink)?;
    gateway.fill(std::slice::from_ref(&long), 20_000).await?;
    gateway.start().await?;
    sink.reached(500).await;
    let begun = Instant::now();
    gateway.fill(std::slice::from_ref(&short), 200).await?;
    while sink.by_path().get("/short").copied().unwrap_or(0) < 200 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let short_took = begun.elapsed().as_secs_f64();
    let left = 20_000 - sink.by_path().get("/long").copied().unwrap_or(0);
    let what = "200 deliveries beside a backlog of 20,000, s";
    row(what, &format!("{short_took:.2}"), "before it is done", left > 0);
    note("of that backlog still to come by then", &left.to_string());
    gateway.stop().await;
    Ok(())
}
