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

#[path = "../tests/support/mod.rs"]
mod support;

#[path = "memory/sender.rs"]
mod sender;

use std::{env, fs, process::Command, sync::Arc};

use as2hook_as2::{Decoder, Headers, Options, SignatureStatus};
use sender::{Layers, Send};

const BAR: u64 = 8 * 1024;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.as_slice() {
        [layers, size] => measure(layers.parse().unwrap(), size.parse().unwrap()),
        _ => all(arguments.first().map_or("1024", String::as_str)),
    }
}

fn all(size: &str) {
    println!("| {size} MiB as | grew by |\n|---|---|");
    let mut within = true;
    for layers in Layers::ALL {
        let output =
            Command::new(env::current_exe().unwrap()).args([layers.name(), size]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let grew: u64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
        println!("| {} | {grew} KiB |", layers.name());
        within &= grew <= BAR;
    }
    assert!(within, "over the bar of {BAR} KiB");
}

fn measure(layers: Layers, mebibytes: u64) {
    let keyring = Arc::new(support::identity::keyring());
    let mut headers = Headers::new();
    headers.push("AS2-From", "PARTNER");
    headers.push("Content-Type", layers.content_type());
    let send = Send::new(layers, mebibytes << 20);
    let idle = memory("VmRSS:");
    let options = Options {
        limits: as2hook_as2::DecoderLimits { expansion: 2000, ..Default::default() },
        ..Options::default()
    };
    let mut decoder = Decoder::new(&headers, keyring, options);
    let mut peak = idle;
    send.to(&mut |bytes| {
        decoder.push(bytes, &mut ());
        peak = peak.max(memory("VmRSS:"));
    });
    let decoded = decoder.finish(true, &mut ());
    assert_eq!(decoded.errors, []);
    assert_eq!(decoded.attachments[0].size, mebibytes << 20);
    assert_eq!(decoded.signature_status, Some(layers.status()));
    assert_ne!(decoded.signature_status, Some(SignatureStatus::Invalid));
    println!("{}", memory("VmHWM:").max(peak) - idle);
}

/// In KiB.
fn memory(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
