//! A day of a busy site in minutes: 50,000 exchanges of every kind, as fast as they are delivered, while rules
//! are reloaded, endpoints fail, partners hang up and old events are pruned. It watches what the gateway
//! uses and judges at the end: nothing may grow, and every message that got a 2xx must be delivered.
//!
//! `./measure.sh soak [--short | EXCHANGES]` builds what it needs and runs it. Exit status 1: something
//! grew, or was lost.
//!
//! # Layout
//! - `scene`: the gateway, its rules, and the stand-ins around it
//! - `traffic`: the exchanges, and which comes when
//! - `watch`: what the gateway uses, every second, and what became of it
#![expect(clippy::print_stdout, reason = "the figures are what it is run for")]
#![expect(clippy::unwrap_used, reason = "a run that cannot go on says so by ending")]

mod scene;
mod traffic;
mod watch;

use std::{
    error::Error,
    process::ExitCode,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use scene::Scene;
use traffic::Traffic;
use watch::Watch;

/// How much is done: at least so many exchanges, and at least so long, since old events are pruned every
/// 10 s and a quarter of a run is to have seen that more than once.
#[derive(Clone, Copy)]
struct Extent {
    exchanges: usize,
    lasting: Duration,
}

/// A day of a busy site.
const DAY: Extent = Extent { exchanges: 50_000, lasting: Duration::from_secs(180) };
/// Enough for a trend to show.
const SHORT: Extent = Extent { exchanges: 2_000, lasting: Duration::from_secs(90) };

/// Exchanges under way at once.
const SENDERS: usize = 8;

/// Between two reloads.
const RELOAD: Duration = Duration::from_millis(500);

/// For what is under way when the last exchange is over.
const SETTLED: Duration = Duration::from_secs(120);

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let extent = match std::env::args().nth(1).as_deref() {
        None => DAY,
        Some("--short") => SHORT,
        Some(count) => {
            let exchanges = count.parse().map_err(|_| "usage: soak [--short | EXCHANGES]")?;
            Extent { exchanges, lasting: Duration::ZERO }
        }
    };
    let scene = Scene::start()?;
    let traffic = Traffic::new(&scene);
    let watch = Watch::new(&scene.gateway)?;
    let Extent { exchanges, lasting } = extent;
    println!(
        "at least {exchanges} exchanges and {} s, {} kinds, {SENDERS} at once",
        lasting.as_secs(),
        traffic.kinds()
    );
    let (next, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let began = Instant::now();
    let reloads = thread::scope(|scope| {
        let watching = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                watch.look(next.load(Ordering::Relaxed));
                thread::sleep(Duration::from_secs(1));
            }
        });
        let reloading = scope.spawn(|| {
            let mut reloads = 0;
            while !over.load(Ordering::Relaxed) {
                reloads += 1;
                scene.reload(reloads);
                thread::sleep(RELOAD);
            }
            reloads
        });
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut sender = traffic.sender(&scene);
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= exchanges && began.elapsed() >= lasting {
                            return;
                        }
                        watch.wait_for_room();
                        sender.exchange(number);
                    }
                })
            })
            .collect();
        for sender in senders {
            sender.join().unwrap();
        }
        over.store(true, Ordering::Relaxed);
        watching.join().unwrap();
        reloading.join().unwrap()
    });
    let lasted = began.elapsed();
    println!(
        "{} exchanges in {:.0} s, {reloads} reloads: {}",
        next.load(Ordering::Relaxed).saturating_sub(SENDERS),
        lasted.as_secs_f64(),
        traffic.summary()
    );
    let lost = traffic.undelivered(&scene, SETTLED);
    let mut sound = watch.judge();
    println!("| got a 2xx and never delivered | {} | 0 |", lost.len());
    if !lost.is_empty() {
        println!("lost: {:?}", &lost[..lost.len().min(20)]);
        sound = false;
    }
    let complaints = scene.complaints();
    println!("| panics and errors in the log | {} | 0 |", complaints.len());
    for complaint in complaints.iter().take(10) {
        println!("{complaint}");
    }
    sound &= complaints.is_empty();
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
