//! Several gateways on one PostgreSQL behind HAProxy, or one on SQLite: messages stream through while
//! processes are killed, stopped and replaced, the store is away, URLs change and a volume hangs. A count
//! at the end shows whether anything was lost, doubled, out of order or left behind.
//!
//! `cargo run --release --example cluster` is a short run; `-- --minutes 30` and `-- --minutes 30 --store
//! sqlite` are those of `docs/reliability.md`. `-- --throughput` leaves the trouble out and measures one,
//! two and three gateways. PostgreSQL, HAProxy, faketime and FUSE are Debian's packages, which `.ci/setup`
//! installs; everything runs on loopback and is gone afterwards, unless something was wrong.

mod account;
mod balancer;
mod exchange;
mod fleet;
mod hooks;
mod kind;
mod sender;
mod site;
mod throughput;
mod trouble;
mod witness;

use std::{
    io::{self, Write},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use as2hook_testing::gateway::StartError;
use clap::Parser;

use crate::{
    account::Account,
    exchange::Cargo,
    hooks::Hook,
    sender::Senders,
    site::{Plan, Site, Store},
    trouble::Trouble,
};

/// Processes of our own AS2 server, each of which sends one message after the other.
const SERVERS: u16 = 2;

/// In the event's row, and beyond what fits there: in the payload folder.
const SIZES: [usize; 8] = [60, 500, 4_000, 300_000, 900, 20_000, 9_000, 60_000];

/// Between two messages of one sender: what piles up while a gateway stands still has to be delivered too.
const PACE: Duration = Duration::from_millis(100);

/// For the last messages to be acknowledged, and then for all to be delivered: some leases, some retries.
const SETTLED: Duration = Duration::from_secs(180);

const TICK: Duration = Duration::from_millis(20);
const PROGRESS: Duration = Duration::from_secs(10);

/// As many cases of a violation are shown.
const SHOWN: usize = 5;

/// Gateways, their store and a load balancer on one machine.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Where events are kept; with SQLite there is one gateway and no balancer.
    #[arg(long, value_enum, default_value_t = Store::Postgres)]
    store: Store,
    /// How long partners send.
    #[arg(long, conflicts_with = "seconds")]
    minutes: Option<u64>,
    /// How long partners send, in seconds.
    #[arg(long, default_value_t = 40)]
    seconds: u64,
    /// What decides the troubles; another one each time when left out.
    #[arg(long)]
    seed: Option<u64>,
    /// Gateways.
    #[arg(long, default_value_t = 3)]
    gateways: usize,
    /// Partners, each of which sends one message after the other.
    #[arg(long, default_value_t = 8)]
    partners: u16,
    /// Measures one, two and three gateways instead, without trouble.
    #[arg(long)]
    throughput: bool,
    /// Messages to measure by.
    #[arg(long, default_value_t = 2_000)]
    messages: usize,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Start(#[from] StartError),
    #[error("{what}: {source}")]
    Io { what: &'static str, source: io::Error },
    #[error("what is promised was violated in {0} cases")]
    Violated(usize),
}

fn main() -> ExitCode {
    let args = Args::parse();
    let out = &mut io::stdout();
    let done = if args.throughput { throughput::run(&args, out) } else { survive(&args, out) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Standard error is the last place to report to.
            drop(writeln!(io::stderr(), "The cluster failed: {failure}"));
            ExitCode::FAILURE
        }
    }
}

/// Messages and troubles at once; then the count.
fn survive(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let lasting = Duration::from_secs(args.minutes.map_or(args.seconds, |minutes| minutes * 60));
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let payload =
        |size| std::iter::repeat_with(|| fastrand::alphanumeric() as u8).take(size).collect();
    let mut site = Site::start(Plan {
        store: args.store,
        gateways: args.gateways,
        partners: args.partners,
        hooks: &Hook::ALL,
        payloads: SIZES.into_iter().map(payload).collect(),
        trouble: true,
    })?;
    let lines = [
        format!(
            "{} s on {:?}, seed {seed}, `on_store_failure: refuse`",
            lasting.as_secs(),
            args.store
        ),
        format!("{} gateways; logs in {}", site.fleet.gateways(), site.folder.path().display()),
    ];
    say(out, &lines.join("\n"))?;
    if site.volume.is_none() {
        say(out, "FUSE cannot be used here: the payload volume does not hang")?;
    }
    let began = Instant::now();
    let senders = Senders::start(site.senders(PACE, usize::MAX), args.partners, SERVERS);
    let trouble = Trouble::new(&site, args.store, seed, lasting);
    let mut trouble = trouble.map_err(failed("the list of troubles"))?;
    let mut next = began + PROGRESS;
    while began.elapsed() < lasting {
        trouble.tick(&mut site)?;
        if next <= Instant::now() {
            next += PROGRESS;
            progress(&site, &trouble, began.elapsed(), out)?;
        }
        thread::sleep(TICK);
    }
    senders.stop();
    let deadline = Instant::now() + SETTLED;
    while !(trouble.end(&mut site)? && senders.is_over()) && Instant::now() < deadline {
        thread::sleep(TICK);
    }
    let unfinished = senders.end();
    if unfinished > 0 {
        site.fleet.oddities.push(format!("{unfinished} messages were not acknowledged at the end"));
    }
    let account = settle(&mut site)?;
    report(&mut site, &trouble, &account, out)
}

/// Waits until all is delivered, as long as it is bearable.
fn settle(site: &mut Site) -> Result<Account, Failure> {
    let deadline = Instant::now() + SETTLED;
    loop {
        site.fleet.tick()?;
        let mut account = Account::of(site, &Hook::ALL);
        if (site.fleet.is_whole() && account.is_complete()) || Instant::now() > deadline {
            account.read_logs(site);
            return Ok(account);
        }
        thread::sleep(Duration::from_secs(1));
    }
}

fn progress(
    site: &Site,
    trouble: &Trouble,
    at: Duration,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let record = site.witness.record();
    let messages = record.acknowledged(Cargo::Inbound);
    let (refused, cut) = (record.refused, record.cut);
    drop(record);
    let troubles: usize = trouble.figures().iter().map(|(_, count)| count).sum();
    let seconds = at.as_secs();
    say(
        out,
        &format!(
            "{seconds:>5} s: {messages} messages, {refused} refused, {cut} cut off, {troubles} troubles"
        ),
    )
}

fn report(
    site: &mut Site,
    trouble: &Trouble,
    account: &Account,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    say(out, "\n| what | count |\n|---|---|")?;
    for (what, count) in trouble.figures().iter().chain(&account.figures) {
        say(out, &format!("| {what} | {count} |"))?;
    }
    for violation in &account.violations {
        say(out, &format!("| **{}** | **{}** |", violation.what, violation.cases.len()))?;
    }
    for oddity in &site.fleet.oddities {
        say(out, oddity)?;
    }
    for violation in account.violations.iter().filter(|it| !it.cases.is_empty()) {
        say(out, &format!("\n{}:", violation.what))?;
        for case in violation.cases.iter().take(SHOWN) {
            say(out, &format!("  {case}"))?;
        }
        let all = violation.cases.join("\n");
        let file = site.folder.path().join(format!("{}.txt", violation.what.replace('`', "")));
        std::fs::write(file, all).map_err(failed("a violation's cases"))?;
    }
    match account.violations.iter().map(|it| it.cases.len()).sum() {
        0 => Ok(()),
        cases => {
            // The logs say why.
            site.folder.disable_cleanup(true);
            Err(Failure::Violated(cases))
        }
    }
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> Failure {
    move |source| Failure::Io { what, source }
}

fn say(out: &mut dyn Write, text: &str) -> Result<(), Failure> {
    let said = writeln!(out, "{text}").and_then(|()| out.flush());
    said.map_err(failed("standard output"))
}
