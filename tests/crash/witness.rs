//! What both sides of the gateway saw of each message, in little memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard},
};

use as2hook_testing::load::{Seen, Server, Template};

/// One response in so many is a 500, so that retries are among what the kills meet.
const REFUSED: usize = 20;

/// More connections than the gateway ever has open to one side.
const THREADS: usize = 128;

/// The receiver's and the webhook owners' memory.
#[derive(Clone, Default)]
pub(super) struct Witness(Arc<Mutex<Seens>>);

#[derive(Default)]
struct Seens {
    whole: BTreeSet<usize>,
    delivered: BTreeMap<(String, usize), Attempts>,
    /// The last message that was delivered in order, by partner, and how.
    ordered: BTreeMap<String, (usize, String)>,
    overtaken: Vec<String>,
    payloads: Vec<Vec<u8>>,
    wrong_bodies: usize,
}

/// The attempts to deliver one message to one webhook.
#[derive(Default)]
struct Attempts {
    id: u64,
    taken: usize,
    tried: usize,
    ids_differ: bool,
}

/// What it all comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// Messages that the receiver got to their end.
    pub(super) whole: usize,
    /// Their webhooks, all rules together, that were taken.
    pub(super) delivered: usize,
    /// Webhooks of messages that a kill cut off before the receiver had them, and that were delivered as of
    /// unknown outcome.
    pub(super) besides: usize,
    /// Webhooks that were taken more than once.
    pub(super) more_than_once: usize,
    /// Attempts, those with a 500 among them.
    pub(super) tried: usize,
    /// Webhooks that came under more than one `webhook-id`.
    pub(super) ids_differ: usize,
    /// Payloads that were not the message's.
    pub(super) wrong_bodies: usize,
    /// Messages of one partner that were overtaken by a later one of it: both, and how they were delivered.
    pub(super) overtaken: Vec<String>,
    /// Webhooks that are not delivered yet: path and message.
    pub(super) missing: Vec<(String, usize)>,
}

// === impl Witness ===

impl Witness {
    /// Message n carries `payloads[n % payloads.len()]`.
    pub(super) fn new(payloads: Vec<Vec<u8>>) -> Self {
        Self(Arc::new(Mutex::new(Seens { payloads, ..Seens::default() })))
    }

    /// The AS2 server.
    pub(super) fn receiver(&self) -> Server {
        let witness = self.clone();
        Server::start(THREADS, move |seen, out| {
            if let Some(number) = seen.field("message-id").and_then(Template::number) {
                witness.lock().whole.insert(number);
            }
            out.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        })
    }

    /// The owner of all webhooks.
    pub(super) fn sink(&self) -> Server {
        let witness = self.clone();
        Server::start(THREADS, move |seen, out| {
            let takes = fastrand::usize(..REFUSED) > 0;
            witness.lock().note(seen, takes);
            let status = if takes { "200 OK" } else { "500 Not now" };
            let response = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            out.extend_from_slice(response.as_bytes());
        })
    }

    /// How it stands, where every whole message is to be delivered at each of these paths.
    pub(super) fn account(&self, paths: &[&str]) -> Account {
        let seens = self.lock();
        let mut account = Account {
            whole: seens.whole.len(),
            wrong_bodies: seens.wrong_bodies,
            overtaken: seens.overtaken.clone(),
            ..Account::default()
        };
        for ((_, number), attempts) in &seens.delivered {
            account.tried += attempts.tried;
            let taken = usize::from(attempts.taken > 0);
            if seens.whole.contains(number) {
                account.delivered += taken;
            } else {
                account.besides += taken;
            }
            account.more_than_once += usize::from(attempts.taken > 1);
            account.ids_differ += usize::from(attempts.ids_differ);
        }
        for (&number, path) in seens.whole.iter().flat_map(|n| paths.iter().map(move |p| (n, *p))) {
            let attempts = seens.delivered.get(&(path.to_owned(), number));
            if attempts.is_none_or(|attempts| attempts.taken == 0) {
                account.missing.push((path.to_owned(), number));
            }
        }
        account
    }

    /// How many messages the receiver got to their end.
    pub(super) fn whole(&self) -> usize {
        self.lock().whole.len()
    }

    fn lock(&self) -> MutexGuard<'_, Seens> {
        self.0.lock().unwrap()
    }
}

// === impl Seens ===

impl Seens {
    fn note(&mut self, seen: &Seen<'_>, takes: bool) {
        let number = seen.field("message-id").and_then(Template::number).unwrap();
        let path = seen.target();
        let mut hash = DefaultHasher::new();
        seen.field("webhook-id").unwrap().hash(&mut hash);
        let id = hash.finish();
        let attempts = self.delivered.entry((path.to_owned(), number)).or_default();
        attempts.ids_differ |= attempts.tried > 0 && attempts.id != id;
        attempts.id = id;
        attempts.tried += 1;
        if !takes {
            return;
        }
        attempts.taken += 1;
        if path == "/ordered" && attempts.taken == 1 {
            self.in_order(number, seen);
        }
        if path == "/raw" && seen.field("x-processing-error").is_none() {
            let payload = &self.payloads[number % self.payloads.len()];
            self.wrong_bodies += usize::from(payload != seen.body);
        }
    }

    fn in_order(&mut self, number: usize, seen: &Seen<'_>) {
        let field = |name| seen.field(name).unwrap_or("-").to_owned();
        let body: serde_json::Value = serde_json::from_slice(seen.body).unwrap();
        let how = format!(
            "attempt {}, event {} of {}, error {}",
            field("x-as2-attempt"),
            body["eventId"],
            body["occurredAt"],
            field("x-processing-error"),
        );
        let last = self.ordered.entry(field("as2-from")).or_default();
        if number < last.0 {
            self.overtaken.push(format!("{number} ({how}) came behind {} ({})", last.0, last.1));
        } else {
            *last = (number, how);
        }
    }
}
