//! Measures what the design sets a bar for, and prints one table with the bar beside each figure.
//!
//! `./measure.sh [wait] [delivery] [passing] [attack] [--short] [--judge]` builds what it needs and runs it; all
//! four when none is named. `./measure.sh exchange [--against BINARY] [--postgres]`, `./measure.sh builds
//! --against BINARY`, `./measure.sh memory [--exchanges N]` and `./measure.sh viewers` are not judged. `--short` gives a rough figure in seconds. With `--judge` a missed bar is
//! exit status 1; a measurement that could not be made always is.
//!
//! # Layout
//! - `wait`: what the partner waits longer because its message is decoded and written down
//! - `delivery`: from the response's end to the webhook's request
//! - `passing`: traffic that is not decoded, beside a bare Pingora proxy and nginx
//! - `attack`: what partners wait longer beside attackers
//! - `exchange`: what an exchange costs, beside a bare Pingora proxy and another build
//! - `memory`: whether memory grows with the exchanges
//! - `viewers`: what the console's live stream adds to an exchange
//! - `builds`: deliveries alone and the decoder alone, of two builds
//! - `compared`: figures of several subjects, round by round
//! - `partner`: the messages, and the stand-ins on both sides of the gateway
//! - `disk`: what an fsync takes on the disk of the store
//! - `table`: figures and their bars
#![expect(clippy::print_stdout, reason = "the figures are what it is run for")]

mod attack;
mod builds;
mod compared;
mod delivery;
mod disk;
mod exchange;
mod memory;
mod partner;
mod passing;
mod table;
mod viewers;
mod wait;

use std::{error::Error, path::PathBuf, process::ExitCode, thread::available_parallelism};

use clap::Parser;
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

/// Each of these holds as2hook against a bar, or against another program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Measure {
    Wait,
    Delivery,
    Passing,
    Attack,
    Exchange,
    Memory,
    Viewers,
    Builds,
}

/// Those that have bars.
const JUDGED: [Measure; 4] = [Measure::Wait, Measure::Delivery, Measure::Passing, Measure::Attack];

/// Measures as2hook beside other programs.
#[derive(Debug, Parser)]
struct Args {
    /// What to measure; the four with bars when none is named.
    measures: Vec<Measure>,
    /// A rough figure in seconds.
    #[arg(long)]
    short: bool,
    /// A missed bar is exit status 1.
    #[arg(long)]
    judge: bool,
    /// How many rounds.
    #[arg(long)]
    rounds: Option<usize>,
    /// Another build's binary, for `exchange` and `builds`; its examples and benches are beside it.
    #[arg(long, value_name = "BINARY")]
    against: Option<PathBuf>,
    /// `exchange` on PostgreSQL.
    #[arg(long)]
    postgres: bool,
    /// How many exchanges `memory` is watched over.
    #[arg(long, default_value_t = 1_000_000)]
    exchanges: usize,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut args = Args::parse();
    if args.measures.is_empty() {
        args.measures.extend(JUDGED);
    }
    let mut extent = if args.short { SHORT } else { LONG };
    extent.rounds = args.rounds.unwrap_or(extent.rounds);
    let mut table = Table::default();
    let mut unmeasured = Vec::new();
    for what in args.measures {
        let measured = match what {
            Measure::Wait => wait::measure(extent, &mut table),
            Measure::Delivery => delivery::measure(extent, &mut table),
            Measure::Passing => passing::measure(extent, &mut table),
            Measure::Attack => attack::measure(extent, &mut table),
            Measure::Exchange => {
                exchange::measure(extent, args.against.clone(), args.postgres, &mut table)
            }
            Measure::Memory => memory::measure(args.exchanges, &mut table),
            Measure::Viewers => viewers::measure(extent, &mut table),
            Measure::Builds => match &args.against {
                Some(against) => builds::measure(extent, against, &mut table),
                None => Err("--against says which other build".into()),
            },
        };
        // The others' figures are printed all the same.
        unmeasured
            .extend(measured.err().map(|error| format!("{what:?} was not measured: {error}")));
    }
    let cores = available_parallelism().map_or(0, usize::from);
    println!("\n{} cores, load {}, {}\n", cores, disk::machine_load(), disk::processor());
    print!("{table}");
    for why in &unmeasured {
        println!("\n{why}");
    }
    let missed = args.judge && table.missed() > 0;
    Ok(if missed || !unmeasured.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
