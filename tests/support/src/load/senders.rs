//! Clients that keep a schedule, or go as fast as the responses come.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::wire::{Wire, field};

/// Sends one request after the other, on one connection as long as it holds.
pub struct Sender {
    address: SocketAddr,
    wire: Option<Wire>,
}

/// Connections that share requests, on a schedule or each as fast as its responses come.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Connections; of a schedule, more than are ever busy at once.
    pub connections: usize,
    /// Requests a second: number n is due n / rate after the start, whether or not the responses before it
    /// came. So a stall is seen by every request that it delays. `None`: each connection sends the next
    /// request when the last one has its response.
    pub rate: Option<u32>,
    /// Requests in all.
    pub total: usize,
    /// A connection that has sent for so long sends no more.
    pub lasting: Duration,
}

/// What a load came to.
#[derive(Clone, Debug)]
pub struct Samples {
    /// Every request, by its number.
    pub all: Vec<Sample>,
    /// From the first request to the last response.
    pub lasted: Duration,
}

/// One request of a load.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Which one, from 0.
    pub number: usize,
    /// When it was to be sent.
    pub due: Instant,
    /// When its response was there.
    pub responded: Instant,
    /// The response's status, if one came.
    pub status: Option<u16>,
}

// === impl Sender ===

impl Sender {
    /// Sends to this address.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, wire: None }
    }

    /// Connects, where it is not connected yet. False: nothing accepts it.
    pub fn connect(&mut self) -> bool {
        if self.wire.is_none() {
            self.wire = Wire::connect(self.address).ok();
        }
        self.wire.is_some()
    }

    /// Sends a request and waits for its response's end: its status, if it came so far.
    pub fn send(&mut self, request: &[u8]) -> Option<u16> {
        self.connect();
        let mut wire = self.wire.take()?;
        wire.write(request).ok()?;
        let (status, last) = {
            let response = wire.read().ok()??;
            let status = response.head.split(' ').nth(1)?.parse().ok()?;
            let close = field(response.head, "connection");
            (status, close.is_some_and(|value| value.eq_ignore_ascii_case("close")))
        };
        if !last {
            self.wire = Some(wire);
        }
        Some(status)
    }

    /// Closes the connection: the next request has its own.
    pub fn hang_up(&mut self) {
        self.wire = None;
    }
}

// === impl Load ===

impl Load {
    /// A schedule of so many requests a second, for so many seconds.
    pub fn on_schedule(connections: usize, rate: u32, seconds: u32) -> Self {
        let total = rate as usize * seconds as usize;
        Self { connections, rate: Some(rate), total, lasting: Duration::MAX }
    }

    /// As fast as the responses come.
    pub fn at_full_speed(connections: usize, lasting: Duration) -> Self {
        Self { connections, rate: None, total: usize::MAX, lasting }
    }

    /// Sends what `request` writes for each number.
    pub fn run(
        &self,
        address: SocketAddr,
        request: impl Fn(usize, &mut Vec<u8>) + Sync,
    ) -> Samples {
        let next = AtomicUsize::new(0);
        let all = Mutex::new(Vec::new());
        let began = Instant::now();
        thread::scope(|scope| {
            for _ in 0..self.connections {
                scope.spawn(|| {
                    let mut mine = Vec::new();
                    let (mut sender, mut bytes) = (Sender::new(address), Vec::new());
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= self.total {
                            break;
                        }
                        bytes.clear();
                        request(number, &mut bytes);
                        let due = self.wait_for(number, began);
                        let status = sender.send(&bytes);
                        mine.push(Sample { number, due, responded: Instant::now(), status });
                        // One at the least, however late this thread comes to run.
                        if began.elapsed() >= self.lasting {
                            break;
                        }
                    }
                    all.lock().expect("no poison").append(&mut mine);
                });
            }
        });
        let lasted = began.elapsed();
        let mut all = all.into_inner().expect("no poison");
        all.sort_unstable_by_key(|sample| sample.number);
        Samples { all, lasted }
    }

    fn wait_for(&self, number: usize, began: Instant) -> Instant {
        let Some(rate) = self.rate else { return Instant::now() };
        let nth = u32::try_from(number).unwrap_or(u32::MAX);
        let due = began + Duration::from_secs(1) * nth / rate;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        due
    }
}

// === impl Samples ===

impl Samples {
    /// These, where every request got a 2xx: a figure over failed requests says nothing.
    pub fn all_good(self) -> Result<Self, String> {
        match self.failed() {
            0 if !self.all.is_empty() => Ok(self),
            failed => Err(format!("{failed} of {} requests did not get a 2xx", self.all.len())),
        }
    }

    /// How many requests did not get a 2xx.
    pub fn failed(&self) -> usize {
        self.all.iter().filter(|sample| !sample.is_good()).count()
    }

    /// How long each took.
    pub fn took(&self) -> impl Iterator<Item = Duration> {
        self.all.iter().map(|sample| sample.responded.saturating_duration_since(sample.due))
    }

    /// Good responses a second.
    #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
    pub fn rate(&self) -> f64 {
        (self.all.len() - self.failed()) as f64 / self.lasted.as_secs_f64().max(f64::EPSILON)
    }
}

// === impl Sample ===

impl Sample {
    /// Whether it got a 2xx.
    pub fn is_good(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}
