//! Sends as AS2 senders do: one message after the other, each again under its `Message-ID` until the response
//! is 2xx.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use as2hook_testing::{
    Built, Digest, Mdn, Message, Part, Receipt,
    load::{Sender, Template},
    pki,
};

use crate::{
    exchange::{self, Cargo, Exchange},
    witness::Witness,
};

/// The station of all messages.
pub(crate) const STATION: &str = "MY-OWN-ORG";

/// Before a message is sent again.
const PAUSE: Duration = Duration::from_millis(250);

/// One MDN in so many is negative.
const NEGATIVE: u32 = 7;

/// All senders at work.
pub(crate) struct Senders {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What all senders have in common.
pub(crate) struct Shared {
    pub(crate) witness: Witness,
    /// Where partners send to, and our own AS2 server.
    pub(crate) inbound: SocketAddr,
    pub(crate) outbound: SocketAddr,
    pub(crate) payloads: Vec<Vec<u8>>,
    /// Between two messages of one sender.
    pub(crate) pace: Duration,
    /// Messages that may still be begun.
    pub(crate) budget: AtomicUsize,
    /// What is not acknowledged by now is sent no more.
    pub(crate) given_up: AtomicBool,
}

// === impl Senders ===

impl Senders {
    /// So many partners and so many processes of our own AS2 server.
    pub(crate) fn start(shared: Shared, partners: u16, servers: u16) -> Self {
        let shared = Arc::new(shared);
        let run = |sender: u16, send: fn(&Shared, u16)| {
            let shared = shared.clone();
            thread::spawn(move || send(&shared, sender))
        };
        let partners = (0..partners).map(|sender| run(sender, Shared::partner));
        let servers = (0..servers).map(|sender| run(sender, Shared::own_server));
        let threads = partners.chain(servers).collect();
        Self { shared, threads }
    }

    /// Whether all have sent what they had to.
    pub(crate) fn is_over(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Begins no more messages.
    pub(crate) fn stop(&self) {
        self.shared.budget.store(0, Ordering::Relaxed);
    }

    /// Gives up what is not acknowledged yet. Returns how many senders had such a message.
    pub(crate) fn end(self) -> usize {
        self.stop();
        let unfinished = self.threads.iter().filter(|thread| !thread.is_finished()).count();
        self.shared.given_up.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a sender does not panic");
        }
        unfinished
    }
}

/// The name of a partner.
pub(crate) fn partner(number: u16) -> String {
    format!("PARTNER-{number}")
}

// === impl Shared ===

impl Shared {
    fn partner(&self, sender: u16) {
        let template = |payload: &Vec<u8>| Template::new("/as2", &inbound(sender, payload));
        let messages: Vec<_> = self.payloads.iter().map(template).collect();
        let mut to_us = Sender::new(self.inbound);
        for number in 0.. {
            if !self.may_begin() {
                return;
            }
            let message = &messages[number as usize % messages.len()];
            let exchange = Exchange::first(Cargo::Inbound, sender, number);
            self.send(&mut to_us, exchange, message);
        }
    }

    /// Our AS2 server's messages, and the partner's MDNs about them.
    fn own_server(&self, sender: u16) {
        let message = outbound(sender);
        let template = Template::new("/as2", &message);
        let (mut to_partner, mut from_partner) =
            (Sender::new(self.outbound), Sender::new(self.inbound));
        for number in 0.. {
            if !self.may_begin() {
                return;
            }
            let exchange = Exchange::first(Cargo::Outbound, sender, number);
            if !self.send(&mut to_partner, exchange, &template) {
                continue;
            }
            let negative = number % NEGATIVE == 3;
            let mdn = if negative { Mdn::error("authentication-failed") } else { Mdn::processed() };
            let (headers, body) = mdn
                .mic(&message.mic)
                .sign(pki::partner(), Digest::Sha256)
                .about(&partner(sender), STATION, &exchange.message_id())
                .into_parts();
            let built = Built { headers, body, mic: String::new(), id: String::new() };
            let mdn = Exchange::first(Cargo::Mdn, sender, number);
            if self.send(&mut from_partner, mdn, &Template::new("/as2", &built)) && negative {
                self.witness.record().negative.push((exchange, mdn));
            }
        }
    }

    fn may_begin(&self) -> bool {
        thread::sleep(self.pace);
        let less = |budget: usize| budget.checked_sub(1);
        self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// Sends until it is acknowledged, or given up.
    fn send(&self, to: &mut Sender, first: Exchange, message: &Template) -> bool {
        let (id, mut exchange, mut bytes) = (first.message_id(), first, Vec::new());
        loop {
            bytes.clear();
            let attempt = exchange.to_string();
            message.write_with(&[("Message-ID", &id), (exchange::FIELD, &attempt)], &mut bytes);
            match to.send(&bytes) {
                Some(200..300) => {
                    self.witness.acknowledge(exchange);
                    return true;
                }
                Some(_) => self.witness.record().refused += 1,
                None => self.witness.record().cut += 1,
            }
            if self.given_up.load(Ordering::Relaxed) {
                return false;
            }
            thread::sleep(PAUSE);
            exchange = exchange.next();
        }
    }
}

fn inbound(sender: u16, payload: &[u8]) -> Built {
    let text = std::str::from_utf8(payload).expect("payloads are made of letters");
    Message::new(&partner(sender), STATION)
        .attach(Part::text("order.edi", "application/edifact", text))
        .sign(pki::partner())
        .encrypt(pki::station())
        .build()
}

/// One that asks for a signed asynchronous MDN. Its MIC does not depend on its `Message-ID`.
fn outbound(sender: u16) -> Built {
    Message::new(STATION, &partner(sender))
        .attach(Part::text("order.edi", "application/edifact", "UNA:+.? 'UNB+UNOC:3'"))
        .sign(pki::station())
        .receipt(Receipt::SignedAsync(Digest::Sha256, "http://127.0.0.1:9/mdn".to_owned()))
        .build()
}
