//! Sends AS2 messages at a fixed rate while the rules are reloaded again and again, and reports what the
//! requests noticed of it.
//!
//! `cargo run --release --example reload_under_load -- [REQUESTS_PER_SECOND] [SECONDS]`
#![expect(clippy::print_stdout, reason = "the figures are what it is run for")]
#![expect(clippy::unwrap_used, reason = "a measurement that fails reports it by ending")]

use std::{
    error::Error,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use as2hook_testing::{
    Built, Gateway, Message, Part, Post, Running, gateway::Rule, pki, receiver, sink,
};

/// Connections that share the rate.
const SENDERS: usize = 16;

/// Rules of the file that is reloaded.
const RULES: usize = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let rate: usize = args.next().map_or(Ok(500), |arg| arg.parse())?;
    let seconds: u64 = args.next().map_or(Ok(10), |arg| arg.parse())?;
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
    println!("{rate} requests/s over {SENDERS} connections, {seconds} s each way");
    let quiet = load(&gateway, &message, rate, seconds);
    println!("quiet:     {}", quiet.summary());
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
        let measured = load(&gateway, &message, rate, seconds);
        stop.store(true, Ordering::Relaxed);
        measured
    });
    println!("reloading: {}", reloading.summary());
    println!("{} reloads of {RULES} rules", reloads.load(Ordering::Relaxed));
    Ok(())
}

/// How long each request took from when it was due, and how many failed.
struct Measured {
    took: Vec<Duration>,
    failed: usize,
}

// === impl Measured ===

impl Measured {
    fn summary(&self) -> String {
        let at = |share: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a place in a list"
            )]
            let place = (self.took.len() as f64 * share) as usize;
            self.took[place.min(self.took.len() - 1)].as_secs_f64() * 1000.0
        };
        format!(
            "{} requests, {} failed; from due to response p50 {:.1} ms, p99 {:.1} ms, at most {:.1} ms",
            self.took.len(),
            self.failed,
            at(0.5),
            at(0.99),
            at(1.0)
        )
    }
}

fn load(gateway: &Running, message: &Built, rate: usize, seconds: u64) -> Measured {
    let total = rate * usize::try_from(seconds).unwrap();
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let took = Arc::new(Mutex::new(Vec::with_capacity(total)));
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| {
                let inbound = gateway.inbound();
                let mut connection = inbound.connect().unwrap();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= total {
                        return;
                    }
                    let due = began + Duration::from_secs(1).mul_f64(number as f64 / rate as f64);
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    let post = Post::message("/as2", message);
                    match connection.send(&post) {
                        Ok(reply) if reply.status == 200 => {}
                        _ => {
                            failed.fetch_add(1, Ordering::Relaxed);
                            connection = inbound.connect().unwrap();
                        }
                    }
                    took.lock().unwrap().push(due.elapsed());
                }
            });
        }
    });
    let mut took = std::mem::take(&mut *took.lock().unwrap());
    took.sort_unstable();
    Measured { took, failed: failed.into_inner() }
}
