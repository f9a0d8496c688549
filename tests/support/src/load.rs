//! Load: senders that keep a schedule or go as fast as they can, and a server that costs next to
//! nothing, so that what is measured is what stands in between.
//!
//! Unlike [`crate::client`] and [`crate::endpoint`] they hash and keep nothing, and they know
//! `Content-Length` alone.

mod senders;
mod server;
mod template;
mod wire;

use std::time::Duration;

pub use senders::{Load, Sample, Samples, Sender};
pub use server::{Seen, Server};
pub use template::Template;

/// Durations in order.
#[derive(Clone, Debug, Default)]
pub struct Spread(Vec<Duration>);

// === impl Spread ===

impl Spread {
    /// Of these.
    pub fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self(all)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// What this many of a thousand are not above; nothing when there are none.
    pub fn permille(&self, share: usize) -> Duration {
        let place = self.0.len() * share / 1000;
        self.0.get(place.min(self.0.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    /// The median.
    pub fn p50(&self) -> Duration {
        self.permille(500)
    }

    /// What 99 of 100 are not above.
    pub fn p99(&self) -> Duration {
        self.permille(990)
    }

    /// The largest.
    pub fn most(&self) -> Duration {
        self.permille(1000)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::{Message, Part};

    #[test]
    fn a_spread_knows_its_places() {
        let spread = Spread::of((1..=100).rev().map(Duration::from_millis).collect());
        assert_eq!(spread.p50(), Duration::from_millis(51));
        assert_eq!(spread.p99(), Duration::from_millis(100));
        assert_eq!(spread.most(), Duration::from_millis(100));
        assert_eq!(Spread::default().p99(), Duration::ZERO);
    }

    #[test]
    fn every_scheduled_message_arrives_under_its_own_id() {
        let (bytes, ids) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counted, named) = (bytes.clone(), ids.clone());
        let server = Server::start(8, move |seen, out| {
            counted.fetch_add(seen.body.len(), Ordering::Relaxed);
            let number = seen.field("message-id").and_then(Template::number);
            named.fetch_add(number.unwrap(), Ordering::Relaxed);
            out.extend_from_slice(b"HTTP/1.1 204 No Content\r\n\r\n");
        });
        let message = Message::new("A", "B").attach(Part::text("a", "text/plain", "abc")).build();
        let template = Template::new("/as2", &message);
        let load = Load { total: 50, ..Load::on_schedule(4, 1000, 1) };
        let samples = load.run(server.address(), |n, out| template.write(n, out)).all;
        assert_eq!(samples.len(), 50);
        assert!(samples.iter().all(|sample| sample.status == Some(204)));
        assert_eq!(bytes.load(Ordering::Relaxed), 50 * message.body.len());
        assert_eq!(ids.load(Ordering::Relaxed), (0..50).sum::<usize>());
    }

    #[test]
    fn a_closed_loop_counts_what_failed() {
        let server = Server::start(2, |seen, out| {
            let status = if seen.body.is_empty() { "500 No" } else { "200 OK" };
            out.extend_from_slice(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes());
        });
        let load = Load::at_full_speed(2, Duration::from_millis(50));
        let run = |length: usize| {
            load.run(server.address(), |_, out| {
                let head = format!("POST / HTTP/1.1\r\ncontent-length: {length}\r\n\r\n");
                out.extend_from_slice(head.as_bytes());
                out.resize(out.len() + length, b'x');
            })
        };
        let good = run(1);
        assert!(good.rate() > 0.0 && good.all_good().is_ok());
        let bad = run(0);
        assert!(bad.failed() > 0 && bad.all_good().is_err());
    }
}
