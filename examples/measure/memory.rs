//! Whether the gateway's memory grows with the exchanges it has passed: a million of them, as fast as they
//! are delivered, and what is resident after each part.

use std::{error::Error, time::Duration};

use as2hook_testing::{
    Gateway,
    load::{Load, Template},
};

use super::{
    partner::{self, Delivered},
    table::Table,
};

/// Exchanges under way at once.
const CONNECTIONS: usize = 32;
/// Bytes of a payload.
const SIZE: usize = 652;
/// Exchanges between two looks.
const PART: usize = 50_000;
/// So many parts come before memory is to be flat: caches are full and the store has its size.
const WARM: usize = 4;
/// What memory may differ by from then on, in MiB.
const FLAT: f64 = 3.0;

/// A row of what is resident after each part, and one that holds the end against the time when it was warm.
#[expect(clippy::print_stderr, reason = "it shows a person how far it is")]
pub(crate) fn measure(exchanges: usize, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let (receiver, delivered) = (partner::receiver(), Delivered::default());
    let sink = delivered.start();
    let gateway = Gateway::new()
        .receiver_url(&receiver.url(""))
        .receiver_set("keepalive", "on")
        .environment("AS2HOOK_LOG", "warn")
        .rule("all", |rule| rule.url(sink.url("/")))
        .start()?;
    let message = partner::open("MY-OWN-ORG", SIZE).build();
    let template = Template::new("/as2", &message);
    let load = Load { total: PART, ..Load::at_full_speed(CONNECTIONS, Duration::MAX) };
    let mut resident = Vec::new();
    for first in (0..exchanges).step_by(PART) {
        delivered.reset(first..first.saturating_add(PART));
        let samples = load.run(gateway.inbound().address(), |number, out| {
            template.write(first + number, out);
        });
        delivered.wait_for(samples.all_good()?.all.len())?;
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        resident.push(gateway.rss_kib()? as f64 / 1024.0);
        eprintln!("{} exchanges: {:.1} MiB", first + PART, resident[resident.len() - 1]);
    }
    let all: Vec<_> = resident.iter().map(|mib| format!("{mib:.0}")).collect();
    table.figure(format!("MiB resident after each {PART} exchanges"), all.join(" "));
    let warm = resident.get(WARM - 1).ok_or("too few exchanges to be warm")?;
    let grown = resident[resident.len() - 1] - warm;
    let from = WARM * PART;
    table.figure(
        format!("grown from exchange {from} to {exchanges}"),
        format!("{grown:.1} MiB, bar {FLAT} MiB"),
    );
    Ok(())
}
