//! From the end of the response, as the partner sees it, to the webhook's request, as its endpoint sees it.

use std::{error::Error, time::Duration};

use as2hook_testing::{
    Gateway, Running,
    gateway::wait_until,
    load::{Open, Spread, Template},
    pki,
};

use super::{
    Extent, SETTLED,
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
    let mut first = 0;
    for _ in 0..extent.rounds {
        for ((_, template), (took, used)) in kinds.iter().zip(took.iter_mut().zip(&mut used)) {
            let before = gateway.cpu_time()?;
            round(&gateway, extent, first, template, &delivered, took)?;
            *used += gateway.cpu_time()?.saturating_sub(before);
            first += total(extent);
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

fn total(extent: Extent) -> usize {
    RATE as usize * extent.seconds as usize
}

fn round(
    gateway: &Running,
    extent: Extent,
    first: usize,
    template: &Template,
    delivered: &Delivered,
    took: &mut Vec<Duration>,
) -> Result<(), Box<dyn Error>> {
    let total = total(extent);
    delivered.reset(first + total);
    let plan = Open { rate: RATE, total, connections: CONNECTIONS };
    let samples = plan.run(gateway.inbound().address(), |number, out| {
        template.write(first + number, out);
    });
    let failed = samples.iter().filter(|sample| !sample.is_good()).count();
    if failed > 0 {
        return Err(format!("{failed} of {total} messages did not get a 200").into());
    }
    if !wait_until(SETTLED, || delivered.count() == total) {
        return Err(format!("webhooks for {} of {total} messages", delivered.count()).into());
    }
    let times = delivered.times();
    took.extend(samples.iter().filter_map(|sample| {
        let delivered = times.get(first + sample.number).copied().flatten()?;
        // A webhook may be quicker than the thread that reads the response.
        Some(delivered.saturating_duration_since(sample.responded))
    }));
    Ok(())
}
