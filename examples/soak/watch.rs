//! What the gateway uses, every second, and what became of it.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use as2hook_testing::{Client, Running, gateway::wait_until, process};

/// What is looked at.
const FIGURES: [&str; 5] = ["memory, MiB", "descriptors", "threads", "store, MiB", "payloads, MiB"];

/// By how much the last quarter may lie above the second one: a share, and so much besides. The first
/// quarter is left out, since caches and pools fill up in it.
const ALLOWED: [(f64, f64); 5] = [(0.10, 8.0), (0.0, 64.0), (0.0, 8.0), (0.20, 8.0), (0.50, 8.0)];

/// Deliveries that may wait: with more of them the store would grow since it has to, and senders pause.
/// So few that even a slow machine has as many as there may be before the second quarter of a short run.
const WAITING: u64 = 200;

/// For fewer to wait.
const PATIENCE: Duration = Duration::from_secs(120);

/// The samples so far.
#[derive(Debug)]
pub(crate) struct Watch {
    pid: u32,
    data: PathBuf,
    admin: Client,
    samples: Mutex<Vec<[f64; 5]>>,
    waiting: AtomicU64,
}

// === impl Watch ===

impl Watch {
    /// Of this gateway.
    pub(crate) fn new(gateway: &Running) -> Result<Self, Box<dyn Error>> {
        let pid = gateway.pid().ok_or("the gateway is not running")?;
        let data = gateway.folder().join("data");
        Ok(Self {
            pid,
            data,
            admin: gateway.admin(),
            samples: Mutex::default(),
            waiting: AtomicU64::new(0),
        })
    }

    /// Takes a sample, and asks for the metrics as a monitor would.
    pub(crate) fn look(&self, exchanges: usize) {
        let waiting = self.ask().unwrap();
        let sample = self.sample().unwrap();
        let mut samples = self.samples.lock().unwrap();
        samples.push(sample);
        if samples.len() % 10 == 1 {
            let shown: Vec<_> = FIGURES
                .iter()
                .zip(sample)
                .map(|(what, figure)| format!("{what} {figure:.0}"))
                .collect();
            println!("{exchanges:>7} exchanges: {}; waiting {waiting}", shown.join("; "));
        }
    }

    /// Returns when not too many deliveries wait. Panics when that does not come.
    pub(crate) fn wait_for_room(&self) {
        let room = || self.waiting.load(Ordering::Relaxed) < WAITING;
        assert!(wait_until(PATIENCE, room), "deliveries are stuck");
    }

    /// Asks for the metrics: how many deliveries wait.
    fn ask(&self) -> Result<u64, Box<dyn Error>> {
        let reply = self.admin.get("/metrics")?;
        let text = reply.text();
        let states =
            ["pending", "claimed"].map(|state| format!("as2hook_queue{{state=\"{state}\"}} "));
        let figure =
            |state: &String| text.lines().find_map(|line| line.strip_prefix(state.as_str()));
        let counts = states.iter().filter_map(figure).map(str::parse::<u64>);
        let waiting = counts.collect::<Result<Vec<_>, _>>()?.into_iter().sum();
        self.waiting.store(waiting, Ordering::Relaxed);
        Ok(waiting)
    }

    /// Prints the trends. Whether nothing grew.
    pub(crate) fn judge(&self) -> bool {
        let samples = self.samples.lock().unwrap();
        if samples.len() < 20 {
            println!("Only {} samples: too short a run to tell what grows.", samples.len());
            return true;
        }
        println!("\n| what | 2nd quarter | last quarter | a minute, by fit | allowed | |");
        println!("|---|---|---|---|---|---|");
        let mut sound = true;
        for (nth, what) in FIGURES.iter().enumerate() {
            let all: Vec<_> = samples.iter().map(|sample| sample[nth]).collect();
            let quarter = all.len() / 4;
            let second = mean(&all[quarter..quarter * 2]);
            let last = mean(&all[quarter * 3..]);
            let (share, besides) = ALLOWED[nth];
            let allowed = second * (1.0 + share) + besides;
            let steady = last <= allowed;
            let verdict = if steady { "steady" } else { "GREW" };
            sound &= steady;
            let slope = slope(&all[quarter..]) * 60.0;
            println!(
                "| {what} | {second:.1} | {last:.1} | {slope:+.1} | {allowed:.1} | {verdict} |"
            );
        }
        sound
    }

    fn sample(&self) -> Result<[f64; 5], Box<dyn Error>> {
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let store = fs::read_dir(&self.data)?.flatten().filter(|entry| entry.path().is_file());
        let store = store.filter_map(|entry| entry.metadata().ok()).map(|data| data.len()).sum();
        Ok([
            process::status(self.pid, "VmRSS:")? as f64 / 1024.0,
            process::descriptors(self.pid)? as f64,
            process::status(self.pid, "Threads:")? as f64,
            mebibytes(store),
            mebibytes(size(&self.data.join("payloads"))),
        ])
    }
}

/// Bytes of all files below a folder; what goes away meanwhile counts nothing.
fn size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(data) if data.is_dir() => size(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

fn mean(all: &[f64]) -> f64 {
    all.iter().sum::<f64>() / all.len().max(1) as f64
}

/// The slope of the line that fits best, for each sample.
fn slope(all: &[f64]) -> f64 {
    let middle = (all.len() as f64 - 1.0) / 2.0;
    let mean = mean(all);
    let (mut over, mut under) = (0.0, 0.0);
    for (nth, figure) in all.iter().enumerate() {
        let x = nth as f64 - middle;
        over += x * (figure - mean);
        under += x * x;
    }
    if under == 0.0 { 0.0 } else { over / under }
}
