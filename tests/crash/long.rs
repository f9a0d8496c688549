//! The long run: a thousand `kill -9` at random moments under load, with every payload mode, retries and
//! an ordered webhook. `./measure.sh crash` runs it; `AS2HOOK_KILLS` says how often it is to kill.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use as2hook_testing::{
    Gateway, Message, Part, Running,
    gateway::{Rule, wait_until},
    load::{Sender, Template},
    pki,
};

use super::witness::{Account, Witness};

/// Partners, each of which sends one message after the other.
const PARTNERS: [&str; 4] = ["ACME", "BOLT", "CLOU", "DUST"];

/// Between two messages of a partner: the gateway is mostly starting, and a backlog beyond all measure
/// would be no harder to keep.
const PACE: Duration = Duration::from_millis(15);

/// The webhooks of every message.
const HOOKS: [&str; 4] = ["/headers", "/json", "/raw", "/ordered"];

/// In the event's row, and beyond what fits there: in a file.
const SIZES: [usize; 9] = [60, 500, 900, 4_000, 9_000, 20_000, 30_000, 60_000, 300_000];

/// How long the longest stretch between two kills is.
const STRETCH: Duration = Duration::from_millis(500);

/// For the deliveries that the last kill delayed.
const SETTLED: Duration = Duration::from_secs(180);

#[test]
#[ignore = "takes a quarter of an hour: ./measure.sh crash"]
#[expect(clippy::print_stderr, reason = "the figures are what it is run for")]
fn a_thousand_kills_lose_nothing() {
    let kills = std::env::var("AS2HOOK_KILLS").map_or(1000, |kills| kills.parse().unwrap());
    let payloads: Vec<_> = SIZES.iter().map(|size| payload(*size)).collect();
    let witness = Witness::new(payloads.clone());
    let (receiver, sink) = (witness.receiver(), witness.sink());
    let mut gateway = gateway(&receiver.url(""), |path| sink.url(path));
    let inbound = gateway.inbound().address();
    let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let senders = PARTNERS.map(|partner| {
        let templates: Vec<_> = payloads.iter().map(|payload| template(partner, payload)).collect();
        let (stop, next, mut sender) = (stop.clone(), next.clone(), Sender::new(inbound));
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                thread::sleep(PACE);
                // While the gateway is dead there is nothing to be lost: wait for the next.
                if !sender.connect() {
                    continue;
                }
                let number = next.fetch_add(1, Ordering::Relaxed);
                let mut message = Vec::new();
                templates[number % templates.len()].write(number, &mut message);
                // What a kill cuts off is not sent again: the next has another number.
                let _ = sender.send(&message);
                sender.hang_up();
            }
        })
    });
    let began = Instant::now();
    for kill in 1..=kills {
        thread::sleep(STRETCH.mul_f64(fastrand::f64()));
        // On a machine that gets nothing through in such a stretch it takes longer.
        assert!(wait_until(SETTLED, || witness.whole() > kill), "nothing gets through any more");
        gateway.kill9();
        if kill % 10 == 0 {
            // While it is still finding out what the last one left behind.
            gateway.begin().unwrap();
            thread::sleep(Duration::from_millis(fastrand::u64(..100)));
            gateway.kill9();
        }
        gateway.start().unwrap();
        if kill % 50 == 0 {
            let (sent, seconds) = (next.load(Ordering::Relaxed), began.elapsed().as_secs());
            let account = witness.account(&HOOKS);
            let summary = summary(sent, kill, &account);
            eprintln!("after {seconds} s, some of them still on their way: {summary}");
            for overtaken in &account.overtaken {
                eprintln!("{overtaken}");
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.join().unwrap();
    }
    wait_until(SETTLED, || {
        thread::sleep(Duration::from_millis(200));
        witness.account(&HOOKS).missing.is_empty()
    });
    let account = witness.account(&HOOKS);
    eprintln!("{}", summary(next.load(Ordering::Relaxed), kills, &account));
    assert!(account.missing.is_empty(), "lost: {:?}", account.missing);
    assert_eq!(account.ids_differ, 0, "a webhook came under two webhook-ids");
    assert_eq!(account.wrong_bodies, 0, "a payload was not its message's");
    assert!(account.overtaken.is_empty(), "{:#?}", account.overtaken);
    assert!(account.whole > kills, "the kills left hardly any message whole");
}

fn summary(sent: usize, kills: usize, account: &Account) -> String {
    let Account { whole, delivered, besides, more_than_once, tried, .. } = account;
    let Account { ids_differ, wrong_bodies, overtaken, missing, .. } = account;
    format!(
        "{kills} kills, {sent} messages, {whole} got through whole; of their {} webhooks {delivered} delivered, \
         and {besides} of others; {tried} attempts, {more_than_once} webhooks taken more than once; \
         ids differ {ids_differ}, payloads wrong {wrong_bodies}, overtaken {}, lost {}",
        whole * HOOKS.len(),
        overtaken.len(),
        missing.len(),
    )
}

fn gateway(receiver: &str, sink: impl Fn(&str) -> String) -> Running {
    let hook = |rule: Rule, path: &str| {
        rule.url(sink(path))
            .always()
            .set("retry", "[50ms, 100ms, 200ms, 400ms, 1s, 1s, 2s, 5s, 5s]")
    };
    PARTNERS
        .iter()
        .fold(Gateway::new(), |gateway, partner| gateway.partner(partner, pki::partner()))
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver_url(receiver)
        .station("MY-OWN-ORG", pki::station())
        .environment("AS2HOOK_LOG", "warn")
        .rule("headers", |rule| hook(rule, "/headers"))
        .rule("json", |rule| hook(rule, "/json").payload("json"))
        .rule("raw", |rule| hook(rule, "/raw").payload("raw"))
        .rule("ordered", |rule| hook(rule, "/ordered").payload("json").set("order", "partner"))
        .start()
        .unwrap()
}

fn template(partner: &str, payload: &[u8]) -> Template {
    let text = std::str::from_utf8(payload).unwrap();
    let message = Message::new(partner, "MY-OWN-ORG")
        .attach(Part::text("order.edi", "application/edifact", text))
        .sign(pki::partner())
        .encrypt(pki::station());
    Template::new("/as2", &message.build())
}

fn payload(size: usize) -> Vec<u8> {
    std::iter::repeat_with(|| fastrand::alphanumeric() as u8).take(size).collect()
}
