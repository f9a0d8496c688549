//! Measures what the design sets a bar for, and prints one table with the bar beside each figure.
//!
//! `./measure.sh [wait] [delivery] [passing] [attack] [--short] [--judge]` builds what it needs and runs it; all
//! four when none is named. `--short` gives a rough figure in seconds. With `--judge` a missed bar is
//! exit status 1; a measurement that could not be made always is.
//!
//! # Layout
//! - `wait`: what the partner waits longer because its message is decoded and written down
//! - `delivery`: from the response's end to the webhook's request
//! - `passing`: traffic that is not decoded, beside a bare Pingora proxy and nginx
//! - `attack`: what partners wait longer beside attackers
//! - `partner`: the messages, and the stand-ins on both sides of the gateway
//! - `disk`: what an fsync takes on the disk of the store
//! - `table`: figures and their bars
#![expect(clippy::print_stdout, reason = "the figures are what it is run for")]

mod attack;
mod delivery;
mod disk;
mod partner;
mod passing;
mod table;
mod wait;

use std::{error::Error, process::ExitCode, thread::available_parallelism};

use table::Table;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Extent {
    /// Rounds of each variant, one after the other, so that all of them meet the same minutes.
    rounds: usize,
    /// Seconds of each round.
    seconds: u32,
}

const LONG: Extent = Extent { rounds: 6, seconds: 5 };
const SHORT: Extent = Extent { rounds: 2, seconds: 2 };

const ALL: [&str; 4] = ["wait", "delivery", "passing", "attack"];

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let (flags, mut named): (Vec<_>, Vec<_>) =
        args.iter().map(String::as_str).partition(|arg| arg.starts_with("--"));
    if let Some(unknown) = flags.iter().find(|flag| !["--short", "--judge"].contains(flag)) {
        return Err(format!("{unknown} is not known: there are --short and --judge").into());
    }
    if named.is_empty() {
        named.extend(ALL);
    }
    let extent = if flags.contains(&"--short") { SHORT } else { LONG };
    let mut table = Table::default();
    let mut unmeasured = Vec::new();
    for what in named {
        let measured = match what {
            "wait" => wait::measure(extent, &mut table),
            "delivery" => delivery::measure(extent, &mut table),
            "passing" => passing::measure(extent, &mut table),
            "attack" => attack::measure(extent, &mut table),
            unknown => return Err(format!("{unknown} is not known: there are {ALL:?}").into()),
        };
        // The others' figures are printed all the same.
        unmeasured.extend(measured.err().map(|error| format!("{what} was not measured: {error}")));
    }
    let cores = available_parallelism().map_or(0, usize::from);
    println!("\n{} cores, load {}, {}\n", cores, disk::machine_load(), disk::processor());
    print!("{table}");
    for why in &unmeasured {
        println!("\n{why}");
    }
    let missed = flags.contains(&"--judge") && table.missed() > 0;
    Ok(if missed || !unmeasured.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
