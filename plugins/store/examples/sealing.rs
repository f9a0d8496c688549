//! Prints the cost of sealing on this machine: a payload is written to a folder and read back,
//! plain and sealed.
//!
//! `cargo run --release -p as2hook-store --example sealing [-- MIB [FOLDER]]`

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a report on the terminal")]

use std::{fs, path::PathBuf, time::Instant};

use as2hook_store::{Payload, PayloadDir, PayloadKey, Payloads};
use uuid::Uuid;

const MIB: usize = 1 << 20;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let size: usize = arguments.next().map_or(1024, |mib| mib.parse().unwrap());
    let temporary = tempfile::tempdir().unwrap();
    let folder = arguments.next().map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let plain = Payloads::in_folder(PayloadDir::open(&folder).unwrap());
    let sealing = plain.clone().with_key(PayloadKey::derive(b"a secret").unwrap()).sealing(true);
    println!("{:<16}{:>8}{:>10}{:>12}{:>16}", "", "MB/s", "CPU s", "CPU MB/s", "peak RSS KiB");
    for (name, payloads) in [("plain", plain), ("sealed", sealing)] {
        let (begun, cpu) = (Instant::now(), cpu());
        let payload = write(&payloads, size).await;
        report(&format!("{name}, written"), size, begun, cpu);
        let (begun, cpu) = (Instant::now(), self::cpu());
        read(&payloads, &payload, size).await;
        report(&format!("{name}, read"), size, begun, cpu);
        payloads.remove(&payload);
    }
}

async fn write(payloads: &Payloads, size: usize) -> Payload {
    let piece = vec![0xA5; 64 * 1024];
    let mut writer = payloads.writer(Uuid::nil());
    for _ in 0..size * MIB / piece.len() {
        writer.write(&piece).unwrap();
    }
    writer.finish().await.unwrap()
}

async fn read(payloads: &Payloads, payload: &Payload, size: usize) {
    let mut reader = payloads.reader(Uuid::nil(), payload).await.unwrap();
    let mut read = 0;
    while let Some(bytes) = reader.next().await.unwrap() {
        read += bytes.len();
    }
    assert_eq!(read, size * MIB);
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn report(name: &str, size: usize, begun: Instant, before: f64) {
    let (wall, used) = (begun.elapsed().as_secs_f64(), cpu() - before);
    let megabytes = (size * MIB) as f64 / 1e6;
    let (by_wall, by_cpu) = (megabytes / wall, megabytes / used);
    println!("{name:<16}{by_wall:>8.0}{used:>10.2}{by_cpu:>12.0}{:>16}", peak());
}

/// Returns the CPU time of this process, in seconds.
fn cpu() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let behind_name = stat.rsplit_once(')').unwrap().1;
    let ticks = behind_name.split_whitespace().skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

/// Returns the peak memory of this process, in KiB.
fn peak() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").to_owned()
}
