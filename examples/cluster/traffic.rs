//! A partner that sends AS2 messages over several connections, each until it is not refused.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use as2hook_testing::{Built, Client, Message, Part, Post, pki};

use crate::balancer::Balancer;

/// Before a message is sent again.
const PAUSE: Duration = Duration::from_millis(250);

/// A sender at work.
pub(crate) struct Traffic {
    shared: Arc<Shared>,
    senders: Vec<JoinHandle<()>>,
}

/// What the partner saw.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// The Message-IDs that were answered 2xx.
    pub(crate) ok: BTreeSet<String>,
    /// Other answers, after each of which the message was sent again: 503 while the database is away.
    pub(crate) refused: usize,
    /// No answer.
    pub(crate) cut: usize,
}

struct Shared {
    message: Built,
    client: Client,
    total: usize,
    next: AtomicUsize,
    sent: AtomicUsize,
    answers: Mutex<Answers>,
}

// === impl Traffic ===

impl Traffic {
    /// Starts to send: signed and encrypted messages that differ in their Message-ID alone.
    pub(crate) fn start(balancer: &Balancer, total: usize, senders: usize) -> Self {
        let message = Message::new("ACME", "MY-OWN-ORG")
            .attach(Part::text("order.edi", "application/edifact", "UNA:+.? 'UNB+UNOC:3'"))
            .sign(pki::partner())
            .encrypt(pki::station())
            .build();
        let shared = Arc::new(Shared {
            message,
            client: balancer.client(),
            total,
            next: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
            answers: Mutex::default(),
        });
        let sender = |_| {
            let shared = shared.clone();
            thread::spawn(move || shared.send())
        };
        let senders = (0..senders.max(1)).map(sender).collect();
        Self { shared, senders }
    }

    /// Messages that are over, one way or the other.
    pub(crate) fn sent(&self) -> usize {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Whether all are.
    pub(crate) fn is_over(&self) -> bool {
        self.sent() >= self.shared.total
    }

    /// Waits for the last one.
    pub(crate) fn end(self) -> Answers {
        for sender in self.senders {
            sender.join().expect("a sender does not panic");
        }
        std::mem::take(&mut *self.shared.answers())
    }
}

// === impl Shared ===

impl Shared {
    fn answers(&self) -> std::sync::MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self) {
        let mut connection = None;
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.total {
                return;
            }
            let id = format!("<cluster-{number}@acme.example>");
            let fields = self.message.headers.iter().filter(|(name, _)| name != "Message-ID");
            let fields: Vec<_> = fields.cloned().collect();
            let post = Post::new("/as2", &self.message.body)
                .headers(&fields)
                .header("Message-ID", id.clone());
            // As a partner does: what is refused comes again, what is cut off may have arrived.
            loop {
                let mut open = match connection.take().map_or_else(|| self.client.connect(), Ok) {
                    Ok(open) => open,
                    Err(_) => {
                        thread::sleep(PAUSE);
                        continue;
                    }
                };
                match open.send(&post) {
                    Ok(reply) if (200..300).contains(&reply.status) => {
                        connection = Some(open);
                        self.answers().ok.insert(id);
                    }
                    Ok(_) => {
                        self.answers().refused += 1;
                        thread::sleep(PAUSE);
                        continue;
                    }
                    Err(_) => self.answers().cut += 1,
                }
                break;
            }
            self.sent.fetch_add(1, Ordering::Relaxed);
        }
    }
}
