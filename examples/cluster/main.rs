//! Several gateways, one PostgreSQL, a load balancer: messages stream through while gateways are killed
//! and the database is restarted, and a count at the end shows whether anything was lost.
//!
//! `cargo run --release --example cluster` is a short run; with `-- --messages 100000 --kills 20
//! --restarts 5 --senders 16` it is the one of `docs/cluster.md`. `-- --throughput` leaves the trouble out
//! and measures one, two and three gateways. PostgreSQL and HAProxy are Debian's packages, which
//! `.ci/setup` installs; everything runs on loopback and is gone afterwards.

mod balancer;
mod count;
mod traffic;
mod trouble;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use as2hook_testing::{
    Endpoint, Gateway, Running, gateway::StartError, pki, postgres::Postgres, receiver, sink,
};
use clap::Parser;

use crate::{balancer::Balancer, count::Count, traffic::Traffic, trouble::Trouble};

/// How long deliveries may take after the last message.
const PATIENCE: Duration = Duration::from_secs(180);

/// Gateways, a database and a load balancer on one machine.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// AS2 messages to send.
    #[arg(long, default_value_t = 2_000)]
    messages: usize,
    /// Gateways.
    #[arg(long, default_value_t = 3)]
    gateways: usize,
    /// How often a gateway is killed with `kill -9`.
    #[arg(long, default_value_t = 3)]
    kills: usize,
    /// How often the database is restarted.
    #[arg(long, default_value_t = 1)]
    restarts: usize,
    /// Connections that send at once.
    #[arg(long, default_value_t = 8)]
    senders: usize,
    /// Measures one, two and three gateways instead, without trouble.
    #[arg(long)]
    throughput: bool,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Start(#[from] StartError),
    #[error("{what}: {source}")]
    Io { what: &'static str, source: io::Error },
    #[error("{lost} messages were lost and {differing} were told under more than one webhook-id")]
    Broken { lost: usize, differing: usize },
}

/// All that runs. The order is that of the end: first those that talk, last those that are talked to.
struct Site {
    balancer: Balancer,
    gateways: Vec<Running>,
    database: Postgres,
    receiver: Endpoint,
    sink: Endpoint,
    _folder: tempfile::TempDir,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let out = &mut io::stdout();
    let done = if args.throughput { throughput(&args, out) } else { survive(&args, out) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // There is nobody left to tell when even this fails.
            drop(writeln!(io::stderr(), "The cluster failed: {failure}"));
            ExitCode::FAILURE
        }
    }
}

/// Messages, kills and restarts at once; then the count.
fn survive(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let mut site = Site::start(args.gateways)?;
    let Args { messages, kills, restarts, .. } = *args;
    say(out, &format!("{} gateways behind HAProxy, one PostgreSQL", site.gateways.len()))?;
    say(out, &format!("{messages} messages, {kills} kills, {restarts} restarts of the database"))?;
    let began = Instant::now();
    let traffic = Traffic::start(&site.balancer, args.messages, args.senders);
    let mut trouble = Trouble::plan(args.messages, args.kills, args.restarts);
    let mut told = 0;
    while !traffic.is_over() {
        trouble.make(&traffic, &mut site.gateways, &mut site.database)?;
        if traffic.sent() >= told + args.messages / 10 {
            told = traffic.sent();
            say(
                out,
                &format!("{told} sent, {} kills, {} restarts", trouble.kills, trouble.restarts),
            )?;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let answers = traffic.end();
    let took = began.elapsed();
    trouble.repair(&mut site.gateways)?;
    let count = Count::wait(&site.receiver, &site.sink, &answers, PATIENCE);
    say(
        out,
        &format!(
            "\nsent {messages} in {:.0} s: {} answered 2xx, {} cut off by a kill, {} refusals",
            took.as_secs_f64(),
            answers.ok.len(),
            answers.cut,
            answers.refused
        ),
    )?;
    say(out, &format!("the AS2 server got {} whole", count.whole))?;
    say(
        out,
        &format!(
            "told {}, of these {} more than once, {} under more than one webhook-id",
            count.told, count.repeated, count.differing
        ),
    )?;
    say(out, &format!("lost {}", count.lost))?;
    match count {
        Count { lost: 0, differing: 0, .. } => Ok(()),
        Count { lost, differing, .. } => Err(Failure::Broken { lost, differing }),
    }
}

/// Messages alone, as fast as they go.
fn throughput(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    say(out, "gateways  messages/s  told  round trips/message  CPU ms/message, gateways")?;
    for gateways in 1..=3 {
        let site = Site::start(gateways)?;
        let cpu = || -> f64 {
            let times = site.gateways.iter().map(|gateway| gateway.cpu_time().unwrap_or_default());
            times.map(|time| time.as_secs_f64()).sum()
        };
        let before = (cpu(), site.round_trips());
        let began = Instant::now();
        let traffic = Traffic::start(&site.balancer, args.messages, args.senders);
        let answers = traffic.end();
        let took = began.elapsed().as_secs_f64();
        let count = Count::wait(&site.receiver, &site.sink, &answers, PATIENCE);
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let messages = args.messages as f64;
        say(
            out,
            &format!(
                "{gateways:>8}  {:>10.0}  {:>4}  {:>19.2}  {:>24.2}",
                messages / took,
                count.told,
                (site.round_trips() - before.1) / messages,
                (cpu() - before.0) * 1000.0 / messages,
            ),
        )?;
        if count.lost > 0 || count.differing > 0 {
            return Err(Failure::Broken { lost: count.lost, differing: count.differing });
        }
    }
    Ok(())
}

// === impl Site ===

impl Site {
    fn start(gateways: usize) -> Result<Self, Failure> {
        let folder = tempfile::tempdir().map_err(failed("a temporary folder"))?;
        let database = Postgres::start();
        let url = database.url();
        // One answer for all: what is sent on is told by its head alone.
        let (receiver, sink) = (receiver().keep(0).start(), sink().keep(0).start());
        let key = folder.path().join("secret.key");
        let start = |_| gateway(&url, &key, &receiver, &sink);
        let gateways = (0..gateways).map(start).collect::<Result<Vec<_>, _>>()?;
        let balancer = Balancer::start(folder.path(), &gateways);
        let balancer = balancer.map_err(failed("HAProxy (apt-get install haproxy)"))?;
        Ok(Self { balancer, gateways, database, receiver, sink, _folder: folder })
    }

    /// What all gateways together asked the database, as their metrics tell it.
    fn round_trips(&self) -> f64 {
        const NAME: &str = "as2hook_store_round_trips ";
        let of = |gateway: &Running| {
            let reply = gateway.admin().get("/metrics").ok()?;
            let text = reply.text();
            let value = text.lines().find_map(|line| line.strip_prefix(NAME))?;
            value.trim().parse::<f64>().ok()
        };
        self.gateways.iter().filter_map(of).sum()
    }
}

/// One of them: they share the database, the key of secrets at rest, and the rules.
fn gateway(
    database: &str,
    key: &PathBuf,
    receiver: &Endpoint,
    sink: &Endpoint,
) -> Result<Running, StartError> {
    Gateway::new()
        .receiver(receiver)
        .receiver_set("trusted_proxies", "[127.0.0.1/32]")
        .station("MY-OWN-ORG", pki::station())
        .partner("ACME", pki::partner())
        .set("store", &format!("{database:?}"))
        .set("payloads", "store")
        .set("secret_key_file", &format!("{key:?}"))
        // Nothing may be lost even when a gateway is killed while the database is away.
        .set("on_store_failure", "refuse")
        .rule("all", |rule| rule.to(sink, "/hook").payload("json").set("retry", "[100ms, 1s, 5s]"))
        .environment("AS2HOOK_LOG", "warn")
        .start()
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> Failure {
    move |source| Failure::Io { what, source }
}

fn say(out: &mut dyn Write, text: &str) -> Result<(), Failure> {
    let said = writeln!(out, "{text}").and_then(|()| out.flush());
    said.map_err(failed("standard output"))
}
