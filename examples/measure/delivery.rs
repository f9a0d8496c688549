//! From the end of the response, as the partner sees it, to the webhook's request, as its endpoint sees it.

use std::{error::Error, time::Duration};

use as2hook_testing::{
    Gateway, Running,
    load::{Load, Spread, Template},
    pki,
};

use super::{
    Extent,
    partner::{self, Delivered},
    table::Table,
};

/// Messages a second.
const RATE: u32 = 500;
/// More than are ever under way at once.
const CONNECTIONS: usize = 64;
/// Bytes of payload.
const SIZE: usize = 4_000;

const P50: Duration = Duration::from_millis(3);
const P99: Duration = Duration::from_millis(15);

/// Rows: both percentiles, for messages as they are and for signed and encrypted ones.
pub(crate) fn measure(extent: Extent, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let (receiver, delivered) = (partner::receiver(), Delivered::default());
    let sink = delivered.start();
    let gateway = Gateway::new()
        .receiver_url(&receiver.url(""))
        .station("MY-OWN-ORG", pki::station())
        .partner("ACME", pki::partner())
        .rule("all", |rule| rule.url(sink.url("/")))
        .start()?;
    let kinds = [
        ("unencrypted", partner::open("MY-OWN-ORG", SIZE).build()),
        ("signed and encrypted", partner::sealed("MY-OWN-ORG", SIZE).build()),
    ];
    let kinds = kinds.map(|(what, message)| (what, Template::new("/as2", &message)));
    let mut took: [Vec<Duration>; 2] = Default::default();
    let mut used = [Duration::ZERO; 2];
    let (load, mut first) = (Load::on_schedule(CONNECTIONS, RATE, extent.seconds), 0);
    for _ in 0..extent.rounds {
        for ((_, template), (took, used)) in kinds.iter().zip(took.iter_mut().zip(&mut used)) {
            let before = gateway.cpu_time()?;
            round(&gateway, load, first, template, &delivered, took)?;
            *used += gateway.cpu_time()?.saturating_sub(before);
            first += load.total;
        }
    }
    for (((what, _), took), used) in kinds.iter().zip(took).zip(used) {
        let spread = Spread::of(took);
        let what = format!("response to webhook, {RATE}/s, {what}");
        table.at_most(format!("{what}, p50"), spread.p50().as_secs_f64(), P50);
        table.at_most(format!("{what}, p99"), spread.p99().as_secs_f64(), P99);
        let each = used / u32::try_from(spread.count().max(1)).unwrap_or(u32::MAX);
        table.figure(format!("{what}, the gateway's CPU each"), format!("{} µs", each.as_micros()));
    }
    Ok(())
}

fn round(
    gateway: &Running,
    load: Load,
    first: usize,
    template: &Template,
    delivered: &Delivered,
    took: &mut Vec<Duration>,
) -> Result<(), Box<dyn Error>> {
    delivered.reset(first..first.saturating_add(load.total));
    let samples = load.run(gateway.inbound().address(), |number, out| {
        template.write(first + number, out);
    });
    let samples = samples.all_good()?;
    delivered.wait_for(load.total)?;
    let times = delivered.times();
    took.extend(samples.all.iter().filter_map(|sample| {
        let delivered = times.get(&(first + sample.number))?;
        // A webhook may be quicker than the thread that reads the response.
        Some(delivered.saturating_duration_since(sample.responded))
    }));
    Ok(())
}
