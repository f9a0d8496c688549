//! Measures memory while a backlog is delivered: a short one, then a long one.
//!
//! ```text
//! cargo run --release -p as2hook-delivery --example backlog -- [LONG] [SHORT]
//! ```
//!
//! LONG: deliveries in the long backlog (1,000,000), SHORT in the short one (10,000). Of both the same
//! number is delivered, and the process's memory is looked at all the while. It ends by itself; most of
//! its minutes go into writing the backlog down. Store (SQLite, durable), outbox, dispatcher and sink
//! share this one process; what grows to a bound of its own, SQLite's cache of pages, is in the figures.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

mod load;

use std::time::Duration;

use load::{Failure, Gateway, Sink, note, resident, row};

const WEBHOOKS: usize = 4;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let long = arguments.next().transpose()?.unwrap_or(1_000_000);
    let short = arguments.next().transpose()?.unwrap_or(10_000);

    let mut most = Vec::new();
    for backlog in [short, long] {
        let folder = tempfile::tempdir()?;
        let mut gateway = Gateway::new(folder.path())?;
        let sink = Sink::start(false).await?;
        let targets: Vec<_> = (0..WEBHOOKS)
            .map(|n| gateway.add(&format!("webhook-{n}"), &sink))
            .collect::<Result<_, _>>()?;
        gateway.fill(&targets, backlog / WEBHOOKS).await?;
        note(&format!("after recording {backlog}, MiB"), &format!("{:.1}", resident()?));
        gateway.start().await?;
        let mut peak = 0.0_f64;
        while sink.count() < short / WEBHOOKS * WEBHOOKS {
            peak = peak.max(resident()?);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        note(&format!("most while delivering from {backlog}, MiB"), &format!("{peak:.1}"));
        most.push(peak);
        gateway.stop().await;
    }
    let grown = most[1] - most[0];
    // The caches of the connections, bounded whatever the backlog; a delivery each would be ten
    // times as much.
    const CACHES: f64 = 80.0;
    let bar = format!("<= {CACHES:.0} (caches)");
    row("the long one more than the short one, MiB", &format!("{grown:.1}"), &bar, grown <= CACHES);
    let each = grown * 1024.0 * 1024.0 / (long - short) as f64;
    note("that is for each delivery more, bytes", &format!("{each:.1}"));
    Ok(())
}
