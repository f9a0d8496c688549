//! Messages alone, as fast as they go: one, two and three gateways in turn.

use std::{
    io::Write,
    thread,
    time::{Duration, Instant},
};

use as2hook_testing::Running;

use crate::{
    Args, Failure,
    account::Account,
    hooks::Hook,
    say,
    sender::Senders,
    site::{Plan, Site, Store},
};

/// How long deliveries may take after the last message.
const PATIENCE: Duration = Duration::from_secs(180);

const HOOKS: &[Hook] = &[Hook::Plain];

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    say(out, "gateways  messages/s  round trips/message  CPU ms/message, gateways")?;
    for gateways in 1..=3 {
        let site = Site::start(Plan {
            store: Store::Postgres,
            gateways,
            partners: args.partners,
            hooks: HOOKS,
            payloads: vec![b"UNA:+.? 'UNB+UNOC:3'".to_vec()],
            trouble: false,
        })?;
        let cpu = || -> f64 {
            let times = site.fleet.all().map(|gateway| gateway.cpu_time().unwrap_or_default());
            times.map(|time| time.as_secs_f64()).sum()
        };
        let before = (cpu(), round_trips(&site));
        let began = Instant::now();
        let senders = Senders::start(site.senders(Duration::ZERO, args.messages), args.partners, 0);
        while !senders.is_over() {
            thread::sleep(Duration::from_millis(5));
        }
        senders.end();
        let took = began.elapsed().as_secs_f64();
        let deadline = Instant::now() + PATIENCE;
        while !Account::of(&site, HOOKS).is_complete() {
            if Instant::now() > deadline {
                return Err(Failure::Violated(1));
            }
            thread::sleep(Duration::from_millis(500));
        }
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let messages = args.messages as f64;
        let trips = (round_trips(&site) - before.1) / messages;
        let (rate, time) = (messages / took, (cpu() - before.0) * 1000.0 / messages);
        say(out, &format!("{gateways:>8}  {rate:>10.0}  {trips:>19.2}  {time:>24.2}"))?;
    }
    Ok(())
}

/// What all gateways together asked the database, as their metrics tell it.
fn round_trips(site: &Site) -> f64 {
    const NAME: &str = "as2hook_store_round_trips ";
    let of = |gateway: &Running| {
        let reply = gateway.admin().get("/metrics").ok()?;
        let text = reply.text();
        let value = text.lines().find_map(|line| line.strip_prefix(NAME))?;
        value.trim().parse::<f64>().ok()
    };
    site.fleet.all().filter_map(of).sum()
}
