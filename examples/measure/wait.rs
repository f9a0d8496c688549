//! What a partner waits longer because its message is decoded and durably written down before the
//! receiver has its last byte: the same messages at the same rate, once as AS2 and once without their
//! `AS2-From`, which the same gateway passes on and looks at no further.

use std::{error::Error, time::Duration};

use as2hook_testing::{
    Gateway,
    load::{Load, Spread, Template},
    pki,
};

use super::{
    Extent,
    disk::Disk,
    partner::{self, Delivered},
    table::{Table, milliseconds},
};

/// Messages a second.
const RATE: u32 = 100;
/// More than are ever under way at once.
const CONNECTIONS: usize = 32;

/// One kind of message: the station whose rule it meets, the payload sizes that take turns, and how
/// many fsyncs it may cost.
struct Case {
    what: &'static str,
    station: &'static str,
    sizes: &'static [usize],
    fsyncs: u32,
}

const CASES: [Case; 3] = [
    Case {
        what: "payload: headers, 4 to 100 KB",
        station: "HEADERS",
        sizes: &[4_000, 16_000, 48_000, 100_000],
        fsyncs: 1,
    },
    Case {
        what: "payload: raw in the row, 4 to 100 KB",
        station: "RAW",
        sizes: &[4_000, 16_000, 48_000, 100_000],
        fsyncs: 1,
    },
    Case { what: "payload: raw in a file, 300 KB", station: "RAW", sizes: &[300_000], fsyncs: 3 },
];

/// Rows: what is added at the median and at the 99th percentile, beside what an fsync takes.
pub(crate) fn measure(extent: Extent, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let (receiver, delivered) = (partner::receiver(), Delivered::default());
    let sink = delivered.start();
    let gateway = Gateway::new()
        .receiver_url(&receiver.url(""))
        .station("HEADERS", pki::station())
        .station("RAW", pki::station())
        .partner("ACME", pki::partner())
        .rule("headers", |rule| rule.url(sink.url("/")).set("station", "HEADERS"))
        .rule("raw", |rule| rule.url(sink.url("/")).set("station", "RAW").payload("raw"))
        .start()?;
    let mut disk = Disk::of(gateway.folder())?;
    let address = gateway.inbound().address();
    let load = Load::on_schedule(CONNECTIONS, RATE, extent.seconds);
    let total = load.total;
    let mut took: Vec<[Vec<Duration>; 2]> = CASES.iter().map(|_| Default::default()).collect();
    let mut first = 0;
    for round in 0..extent.rounds {
        for (case, took) in CASES.iter().zip(&mut took) {
            let messages =
                case.sizes.iter().map(|size| partner::sealed(case.station, *size).build());
            let messages: Vec<_> = messages.collect();
            disk.probe(Duration::from_secs(1), Duration::from_millis(5))?;
            // The other way round each time, so that neither always comes behind the other.
            for tapped in [round % 2 == 0, round % 2 != 0] {
                let left_out: &[&str] = if tapped { &[] } else { &["AS2-From"] };
                let templates: Vec<_> = messages
                    .iter()
                    .map(|message| Template::leaving_out("/as2", message, left_out))
                    .collect();
                delivered.reset(first..first.saturating_add(load.total));
                let samples = load.run(address, |number, out| {
                    templates[number % templates.len()].write(first + number, out);
                });
                took[usize::from(tapped)].extend(samples.all_good()?.took());
                if tapped {
                    delivered.wait_for(total)?;
                }
                first += total;
            }
        }
    }
    let fsync = Spread::of(disk.took());
    let (p50, p99) = (fsync.p50(), fsync.p99());
    table.figure(
        format!("fsync of 16 KiB, {} of them, p50 and p99", fsync.count()),
        format!("{}, {}", milliseconds(p50.as_secs_f64()), milliseconds(p99.as_secs_f64())),
    );
    for (case, [plain, tapped]) in CASES.iter().zip(took) {
        let (plain, tapped) = (Spread::of(plain), Spread::of(tapped));
        let shown = |spread: &Spread| {
            let (p50, p99) = (spread.p50().as_secs_f64(), spread.p99().as_secs_f64());
            format!("{}, {}", milliseconds(p50), milliseconds(p99))
        };
        let what = case.what;
        table.figure(format!("{what}: passed on, p50 and p99"), shown(&plain));
        table.figure(format!("{what}: decoded and written down"), shown(&tapped));
        let added =
            |of: fn(&Spread) -> Duration| of(&tapped).as_secs_f64() - of(&plain).as_secs_f64();
        let bar = p50 * case.fsyncs + Duration::from_millis(2);
        table.at_most(format!("{what}: added, p50"), added(Spread::p50), bar);
        let bar = p50 * 3 + Duration::from_millis(10);
        table.at_most(format!("{what}: added, p99"), added(Spread::p99), bar);
    }
    Ok(())
}
