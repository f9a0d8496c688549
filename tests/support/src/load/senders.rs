//! Clients that keep a schedule, and clients that go as fast as the responses come.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Spread;
use super::wire::{Wire, field};

/// Sends one request after the other, on one connection as long as it holds.
pub struct Sender {
    address: SocketAddr,
    wire: Option<Wire>,
}

/// A schedule: request number n is due n / rate after the start, whether or not those before it are
/// came. So a stall is seen by every request that it delays.
#[derive(Clone, Copy, Debug)]
pub struct Open {
    /// Requests a second.
    pub rate: u32,
    /// Requests in all.
    pub total: usize,
    /// Connections that share them; more than are ever busy at once.
    pub connections: usize,
}

/// One request of a schedule.
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

/// Connections that each send the next request when the last one has its response.
#[derive(Clone, Copy, Debug)]
pub struct Closed {
    /// How many.
    pub connections: usize,
    /// How long they go on.
    pub lasting: Duration,
}

/// What a closed loop came to.
#[derive(Clone, Debug, Default)]
pub struct Throughput {
    /// From the first byte sent to the last byte of the response.
    pub took: Spread,
    /// Requests that did not get a 2xx.
    pub failed: usize,
    /// How long it went on.
    pub lasted: Duration,
}

// === impl Sender ===

impl Sender {
    /// Sends to this address.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, wire: None }
    }

    /// Sends a request and waits for its response's end: its status, if it came so far.
    pub fn send(&mut self, request: &[u8]) -> Option<u16> {
        let mut wire = match self.wire.take() {
            Some(wire) => wire,
            None => Wire::connect(self.address).ok()?,
        };
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

// === impl Open ===

impl Open {
    /// Sends what `request` writes for each number, and returns a sample of each in the order of the schedule.
    pub fn run(
        &self,
        address: SocketAddr,
        request: impl Fn(usize, &mut Vec<u8>) + Sync,
    ) -> Vec<Sample> {
        let next = AtomicUsize::new(0);
        let samples = Mutex::new(Vec::with_capacity(self.total));
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
                        let nth = u32::try_from(number).unwrap_or(u32::MAX);
                        let due = began + Duration::from_secs(1) * nth / self.rate;
                        thread::sleep(due.saturating_duration_since(Instant::now()));
                        let status = sender.send(&bytes);
                        mine.push(Sample { number, due, responded: Instant::now(), status });
                    }
                    samples.lock().expect("no poison").append(&mut mine);
                });
            }
        });
        let mut samples = samples.into_inner().expect("no poison");
        samples.sort_unstable_by_key(|sample| sample.number);
        samples
    }
}

// === impl Sample ===

impl Sample {
    /// From when it was due to when its response was there.
    pub fn took(&self) -> Duration {
        self.responded.saturating_duration_since(self.due)
    }

    /// Whether it got a 2xx.
    pub fn is_good(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

// === impl Closed ===

impl Closed {
    /// Sends the same request over and over.
    pub fn run(&self, address: SocketAddr, request: &[u8]) -> Throughput {
        let (took, failed) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
        let began = Instant::now();
        thread::scope(|scope| {
            for _ in 0..self.connections {
                scope.spawn(|| {
                    let (mut mine, mut sender) = (Vec::new(), Sender::new(address));
                    loop {
                        let sent = Instant::now();
                        match sender.send(request) {
                            Some(200..300) => mine.push(sent.elapsed()),
                            _ => {
                                failed.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                        // One at the least, however late this thread comes to run.
                        if began.elapsed() >= self.lasting {
                            break;
                        }
                    }
                    took.lock().expect("no poison").append(&mut mine);
                });
            }
        });
        let took = Spread::of(took.into_inner().expect("no poison"));
        Throughput { took, failed: failed.into_inner(), lasted: began.elapsed() }
    }
}

// === impl Throughput ===

impl Throughput {
    /// Good responses a second.
    #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
    pub fn rate(&self) -> f64 {
        self.took.count() as f64 / self.lasted.as_secs_f64().max(f64::EPSILON)
    }
}
