//! Sends AS2 messages at a fixed rate while the rules are reloaded again and again, and reports what the
//! requests noticed of it.
//!
//! `cargo run --release --example reload_under_load -- [REQUESTS_PER_SECOND] [SECONDS]`
#![expect(clippy::print_stdout, reason = "the figures are what it is run for")]
#![expect(clippy::unwrap_used, reason = "a measurement that fails reports it by ending")]

use std::{
    error::Error,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use as2hook_testing::{
    Gateway, Message, Part,
    gateway::Rule,
    load::{Load, Samples, Spread, Template},
    pki, receiver, sink,
};

/// Connections that share the rate.
const SENDERS: usize = 16;

/// Rules of the file that is reloaded.
const RULES: usize = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let rate = args.next().map_or(Ok(500), |arg| arg.parse())?;
    let seconds = args.next().map_or(Ok(10), |arg| arg.parse())?;
    let (receiver, sink) = (receiver().keep(0).start(), sink().keep(0).start());
    let gateway = Gateway::new()
        .receiver(&receiver)
        .station("MY-OWN-ORG", pki::station())
        .partner("ACME", pki::partner())
        .rule("first", |rule| rule.to(&sink, "/hook"))
        .environment("AS2HOOK_LOG", "warn")
        .start()?;
    let message = Message::new("ACME", "MY-OWN-ORG")
        .attach(Part::text("order.edi", "application/edifact", "UNA:+.? '"))
        .sign(pki::partner())
        .encrypt(pki::station())
        .build();
    let template = Template::new("/as2", &message);
    let load = Load::on_schedule(SENDERS, rate, seconds);
    let run = |first: usize| {
        let address = gateway.inbound().address();
        load.run(address, |number, out| template.write(first + number, out))
    };
    println!("{rate} requests/s over {SENDERS} connections, {seconds} s each way");
    println!("quiet:     {}", summary(&run(0)));
    let reloads = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let reloading = thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let nth = reloads.fetch_add(1, Ordering::Relaxed);
                let others = (1..RULES).map(|other| {
                    Rule::new(&format!("other-{other}"))
                        .to(&sink, "/other")
                        .set("partner", &format!("PARTNER-{other}-{nth}"))
                });
                let first = Rule::new("first").to(&sink, &format!("/hook-{nth}"));
                let rules: Vec<_> = std::iter::once(first).chain(others).collect();
                gateway.write_rules(&rules).unwrap();
                assert_eq!(gateway.reload().unwrap().status, 200);
            }
        });
        let samples = run(load.total);
        stop.store(true, Ordering::Relaxed);
        samples
    });
    println!("reloading: {}", summary(&reloading));
    println!("{} reloads of {RULES} rules", reloads.load(Ordering::Relaxed));
    Ok(())
}

/// How many failed, and how long each took from when it was due.
fn summary(samples: &Samples) -> String {
    let took = Spread::of(samples.took().collect());
    let [p50, p99, most] =
        [took.p50(), took.p99(), took.most()].map(|took| took.as_secs_f64() * 1000.0);
    format!(
        "{} requests, {} failed; from due to response p50 {p50:.1} ms, p99 {p99:.1} ms, at most {most:.1} ms",
        took.count(),
        samples.failed(),
    )
}
