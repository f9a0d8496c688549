//! How much memory the decoder takes for one large message, whatever its layers.
//!
//! `cargo run --release -p as2hook-as2 --example memory [MiB]` sends messages of that size (1024)
//! through the decoder, made while they are sent and never held, each in a process of its own, and
//! prints by how much the process grew at its peak. It fails above the bar of 8 MiB.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measuring tool prints what it measures and fails by panicking"
)]

use std::{
    env, fs,
    io::{self, Write},
    process::Command,
    sync::Arc,
};

use as2hook_as2::{Decoder, DecoderLimits, Headers, Keyring, Options, SignatureStatus};
use as2hook_messages::{
    Identity,
    message::{Content, Message, Part},
};

const BAR: u64 = 8 * 1024;

/// Puts layers around a message, by the partner's key and for the station's.
type Around = fn(Message, &Identity, &Identity) -> Message;

const LAYERS: [(&str, Around); 5] = [
    ("signed", |message, partner, _| message.sign(partner)),
    ("encrypted-der", |message, _, station| message.encrypt(station)),
    ("encrypted-ber", |message, _, station| message.encrypt(station).ber(4096)),
    ("signed-encrypted-der", |message, partner, station| message.sign(partner).encrypt(station)),
    ("compressed-signed-encrypted-ber", |message, partner, station| {
        message.compress().ber(4096).sign(partner).encrypt(station).ber(4096)
    }),
];

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.as_slice() {
        [layers, size] => measure(layers, size.parse().unwrap()),
        _ => all(arguments.first().map_or("1024", String::as_str)),
    }
}

fn all(size: &str) {
    println!("| {size} MiB as | grew by |\n|---|---|");
    let mut within = true;
    for (layers, _) in LAYERS {
        let output =
            Command::new(env::current_exe().unwrap()).args([layers, size]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let grew: u64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
        println!("| {layers} | {grew} KiB |");
        within &= grew <= BAR;
    }
    assert!(within, "over the bar of {BAR} KiB");
}

/// Pushes what is written.
struct Pushed {
    decoder: Decoder,
    peak: u64,
}

impl Write for Pushed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.decoder.push(bytes, &mut ());
        self.peak = self.peak.max(memory("VmRSS:"));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn measure(layers: &str, mebibytes: u64) {
    let (_, around) = LAYERS.into_iter().find(|(name, _)| *name == layers).unwrap();
    let (partner, station) = (Identity::rsa("partner", 2048), Identity::rsa("station", 2048));
    let mut keyring = Keyring::new();
    keyring.add_key(station.station_key());
    keyring.add_certificate("PARTNER", partner.certificate.clone());
    // Half of it compresses.
    let mut unit = vec![b' '; 64 << 10];
    fastrand::Rng::with_seed(1).fill(&mut unit[..32 << 10]);
    let document = Content::Pattern { unit, length: mebibytes << 20 };
    let document = Part::new("large.bin", "application/octet-stream", document);
    let message = around(Message::new("PARTNER", "STATION").attach(document), &partner, &station);
    let mut headers = Headers::new();
    for (name, value) in message.headers() {
        headers.push(name, value);
    }
    let idle = memory("VmRSS:");
    let options = Options {
        limits: DecoderLimits { expansion: 2000, ..Default::default() },
        ..Options::default()
    };
    let decoder = Decoder::new(&headers, Arc::new(keyring), options);
    let mut pushed = Pushed { decoder, peak: idle };
    message.write(&mut pushed).unwrap();
    let Pushed { decoder, peak } = pushed;
    let decoded = decoder.finish(true, &mut ());
    assert_eq!(decoded.errors, []);
    assert_eq!(decoded.attachments[0].size, mebibytes << 20);
    let is_signed = layers.contains("signed");
    let status = if is_signed { SignatureStatus::Valid } else { SignatureStatus::Unsigned };
    assert_eq!(decoded.signature_status, Some(status));
    println!("{}", memory("VmHWM:").max(peak) - idle);
}

/// In KiB.
fn memory(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
