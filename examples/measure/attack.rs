//! What partners wait longer beside attackers: signed and encrypted messages on a schedule, alone and beside
//! senders that send, one after the other and on every core, what costs a decoder most.

use std::{
    error::Error,
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread::{self, available_parallelism},
    time::{Duration, Instant},
};

use as2hook_testing::{
    Gateway, hostile,
    load::{Load, Samples, Sender, Spread, Template},
    pki,
};

use super::{
    Extent, partner,
    partner::Delivered,
    table::{Table, milliseconds},
};

/// Partners' messages a second.
const RATE: u32 = 100;
/// More than are ever under way at once.
const CONNECTIONS: usize = 64;
/// Partners' payloads, which take turns.
const SIZES: [usize; 4] = [4_000, 16_000, 48_000, 100_000];
/// How much larger the added p99 may be beside attackers.
const BAR: f64 = 2.0;

/// A kind of round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Round {
    attacked: bool,
    /// Whether partners' messages are AS2, or without the header that makes them so.
    tapped: bool,
}

/// Of each kind in turn.
const ROUNDS: [Round; 4] = [
    Round { attacked: false, tapped: false },
    Round { attacked: false, tapped: true },
    Round { attacked: true, tapped: false },
    Round { attacked: true, tapped: true },
];

/// Rows: partners' p50 and p99, alone and beside attackers, and what is added in both.
pub(crate) fn measure(extent: Extent, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let (receiver, delivered) = (partner::receiver(), Delivered::default());
    let sink = delivered.start();
    let gateway = Gateway::new()
        .receiver_url(&receiver.url(""))
        .station("RAW", pki::station())
        .partner("ACME", pki::partner())
        .rule("raw", |rule| rule.url(sink.url("/")).payload("raw"))
        .start()?;
    let address = gateway.inbound().address();
    let partners: Vec<_> = SIZES.iter().map(|size| partner::sealed("RAW", *size).build()).collect();
    let attacks = attacks();
    // Two for each core: one is on its way while another is decoded.
    let attackers = 2 * available_parallelism()?.get();
    let load = Load::on_schedule(CONNECTIONS, RATE, extent.seconds);
    let mut took: [Vec<Duration>; 4] = Default::default();
    let (mut first, mut sent, mut lasted) = (0, 0, Duration::ZERO);
    for _ in 0..extent.rounds {
        for (round, took) in ROUNDS.iter().zip(&mut took) {
            let left_out: &[&str] = if round.tapped { &[] } else { &["AS2-From"] };
            let templates: Vec<_> = partners
                .iter()
                .map(|message| Template::leaving_out("/as2", message, left_out))
                .collect();
            delivered.reset(first..first.saturating_add(load.total));
            let run = || {
                load.run(address, |number, out| {
                    templates[number % templates.len()].write(first + number, out);
                })
            };
            let samples = if round.attacked {
                let began = Instant::now();
                let (samples, count) = beside(attackers, address, &attacks, run);
                (sent, lasted) = (sent + count, lasted + began.elapsed());
                samples
            } else {
                run()
            };
            took.extend(samples.all_good()?.took());
            if round.tapped {
                delivered.wait_for(load.total)?;
            }
            first += load.total;
        }
    }
    let [plain, tapped, attacked_plain, attacked_tapped] = took.map(Spread::of);
    let shown = |spread: &Spread| {
        let (p50, p99) = (spread.p50().as_secs_f64(), spread.p99().as_secs_f64());
        format!("{}, {}", milliseconds(p50), milliseconds(p99))
    };
    table.figure("partners alone: passed on, p50 and p99", shown(&plain));
    table.figure("partners alone: decoded and written down", shown(&tapped));
    let rate = sent as f64 / lasted.as_secs_f64().max(f64::EPSILON);
    table
        .figure(format!("hostile messages a second, of {attackers} senders"), format!("{rate:.0}"));
    table.figure("beside attackers: passed on, p50 and p99", shown(&attacked_plain));
    table.figure("beside attackers: decoded and written down", shown(&attacked_tapped));
    let added = |plain: &Spread, tapped: &Spread| tapped.p99().saturating_sub(plain.p99());
    let alone = added(&plain, &tapped);
    let attacked = added(&attacked_plain, &attacked_tapped);
    let both = [alone, attacked].map(|added| milliseconds(added.as_secs_f64())).join(", ");
    table.figure("added p99, alone and beside attackers", both);
    let ratio = attacked.as_secs_f64() / alone.as_secs_f64().max(f64::EPSILON);
    table.ratio("added p99 beside attackers, of that alone", ratio, BAR, false);
    Ok(())
}

/// A message of each family that costs CPU, in the partner's name.
fn attacks() -> Vec<Template> {
    let attacks = [
        hostile::tiny_segments(60_000).compressed(),
        hostile::encoded_words(1000, 60_000).compressed(),
        hostile::slow_signers(1, 3072, 3072, 8, 32).compressed(),
        hostile::slow_signers(6, 16_384, 64, 8, 4).compressed(),
        hostile::multipart_without_boundary(1 << 20).compressed(),
        hostile::tiny_parts(1 << 20).compressed(),
        hostile::nested_multipart_signed(12, 1 << 20).compressed(),
        hostile::bomb(2, 256),
        hostile::bomb(5, 256),
        hostile::many_recipients(700, pki::station()),
    ];
    let message = |attack: &hostile::Attack| attack.message("ACME", "RAW");
    attacks.iter().map(|attack| Template::new("/as2", &message(attack))).collect()
}

/// Runs this beside so many attackers; how many hostile messages they sent meanwhile.
fn beside(
    attackers: usize,
    to: SocketAddr,
    attacks: &[Template],
    run: impl FnOnce() -> Samples,
) -> (Samples, usize) {
    // Their numbers are none of the partners'.
    let (over, next) = (AtomicBool::new(false), AtomicUsize::new(1 << 40));
    let before = next.load(Ordering::Relaxed);
    thread::scope(|scope| {
        for _ in 0..attackers {
            scope.spawn(|| {
                let (mut sender, mut bytes) = (Sender::new(to), Vec::new());
                while !over.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    bytes.clear();
                    attacks[number % attacks.len()].write(number, &mut bytes);
                    // One that is refused has sent its bytes all the same.
                    if sender.send(&bytes).is_none() {
                        sender.hang_up();
                    }
                }
            });
        }
        // They are under way when the first partner comes.
        thread::sleep(Duration::from_millis(500));
        let samples = run();
        over.store(true, Ordering::Relaxed);
        (samples, next.load(Ordering::Relaxed) - before)
    })
}
