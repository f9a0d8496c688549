//! The scanner against a walk from terminator to terminator over the same bytes, in one run.
//!
//! `cargo bench -p as2hook-edi` prints the table at its end. Times are the processor's, the best of
//! several rounds in which both take turns: what else the machine does is not the question.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench prints its table and fails by panicking"
)]

use std::{fs, hint::black_box, time::Duration};

use as2hook_edi::{EventLists, Scanner};
use criterion::Criterion;

const SIZE: usize = 32 << 20;
const PUSH: usize = 64 * 1024;
const ROUNDS: u32 = 12;

struct Input {
    name: &'static str,
    bytes: Vec<u8>,
    terminator: u8,
    bar: &'static str,
    /// Runs that are measured together: the kernel brings the clock up to date every few milliseconds only.
    batch: u32,
}

fn main() {
    let mut criterion = Criterion::default()
        .without_plots()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let mut table = Vec::new();
    for input in inputs() {
        let scanning = || scan(&input.bytes);
        let walking = || walk(&input.bytes, input.terminator);
        let [mut best_scan, mut best_walk] = [Duration::MAX; 2];
        for _ in 0..ROUNDS {
            best_scan = best_scan.min(time(input.batch, scanning));
            best_walk = best_walk.min(time(1, walking));
        }
        criterion.bench_function(&format!("scan/{}", input.name), |bencher| bencher.iter(scanning));
        let speed = |took: Duration| input.bytes.len() as f64 / took.as_secs_f64() / 1e9;
        let (scan, walk) = (speed(best_scan), speed(best_walk));
        let Input { name, bar, .. } = input;
        table.push(format!(
            "| {name} | {scan:.2} GB/s | {walk:.2} GB/s | {:.2} | {bar} |",
            scan / walk
        ));
    }
    println!("\n| what | scanner | memchr walk | ratio | bar |\n|---|---|---|---|---|");
    println!("{}", table.join("\n"));
    criterion.final_summary();
}

fn inputs() -> Vec<Input> {
    let isa = "ISA*00*          *00*          *ZZ*ALPHA          *ZZ*BETA           *261115*0930*U*00401*000000001*0*P*>~";
    let order = "ST*850*0001~BEG*00*SA*PO-7701**20261115~REF*DP*038~PER*BD*ED SMITH*TE*800-123-4567~ITD*14*3*2**45**46~\
                 PO1*1*120*EA*9.25*TE*CB*065322-117*PR*RO*VN*AB3542~PID*F****SMALL WIDGET~SCH*4*EA****002*20261119~\
                 N1*ST*WAREHOUSE 7*92*4711~AMT*TT*1110~CTT*1*120~SE*12*0001~";
    let unb = "UNB+UNOC:3+ALPHA:14+BETA:14+261115:0930+1'";
    let orders = "UNH+1+ORDERS:D:96A:UN:EAN008'BGM+220+PO4711+9'DTM+137:20261115:102'NAD+BY+5412345000013::9'\
                  LIN+1++4000862141404:EN'IMD+F++:::SMALL WIDGET O?'BRIEN'QTY+21:120'PRI+AAA:9.25'UNS+S'UNT+10+1'";
    let whole = |begin: &str, part: &str| {
        [begin.as_bytes(), &part.repeat(SIZE / part.len()).into_bytes()].concat()
    };
    let lines =
        |part: &str, terminator: &str| part.replace(terminator, &format!("{terminator}\r\n"));
    let wrapped = whole(isa, order).chunks(80).collect::<Vec<_>>().join(&b"\r\n"[..]);
    let xml = whole("<Order>", "<Line><Number>1</Number><Text>small widget</Text></Line>");
    let none = "";
    let body = order.strip_prefix("ST*850*0001~").unwrap().strip_suffix("SE*12*0001~").unwrap();
    vec![
        Input {
            name: "X12 in one line, one document",
            bytes: whole(&format!("{isa}ST*850*0001~"), body),
            terminator: b'~',
            bar: "at least 1.5 GB/s and 0.50",
            batch: 1,
        },
        Input {
            name: "X12 in one line",
            bytes: whole(isa, order),
            terminator: b'~',
            bar: "at least 1.5 GB/s and 0.50",
            batch: 1,
        },
        Input {
            name: "X12 in lines",
            bytes: whole(isa, &lines(order, "~")),
            terminator: b'~',
            bar: none,
            batch: 1,
        },
        Input { name: "X12 wrapped", bytes: wrapped, terminator: b'~', bar: none, batch: 1 },
        Input {
            name: "EDIFACT in one line",
            bytes: whole(unb, orders),
            terminator: b'\'',
            bar: none,
            batch: 1,
        },
        Input { name: "XML", bytes: xml, terminator: b'>', bar: none, batch: 2000 },
    ]
}

fn scan(bytes: &[u8]) {
    let (mut scanner, mut lists) = (Scanner::new(), EventLists::default());
    for piece in bytes.chunks(PUSH) {
        scanner.push(piece, &mut lists);
    }
    assert_eq!(scanner.finish(&mut lists).unwrap().interchange_count, 1);
}

/// As in the same pieces.
fn walk(bytes: &[u8], terminator: u8) {
    for piece in bytes.chunks(PUSH) {
        let mut rest = piece;
        while let Some(end) = memchr::memchr(terminator, rest) {
            black_box(end);
            rest = &rest[end + 1..];
        }
    }
}

fn time(batch: u32, run: impl Fn()) -> Duration {
    let begin = processor_time();
    (0..batch).for_each(|_| run());
    (processor_time() - begin) / batch
}

/// Of this thread: it does not grow while other processes have the processor.
fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}
