//! What both sides of the gateway saw of each message, in little memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard},
};

use as2hook_testing::load::{Seen, Server, Template};

/// One answer in so many is a 500, so that retries are among what the kills meet.
const REFUSED: usize = 20;

/// More connections than the gateway ever has open to one side.
const THREADS: usize = 128;

/// The receiver's and the webhook owners' memory.
#[derive(Clone, Default)]
pub(super) struct Witness(Arc<Mutex<Seens>>);

#[derive(Default)]
struct Seens {
    whole: BTreeSet<usize>,
    told: BTreeMap<(String, usize), Telling>,
    /// The messages that were told in order, by partner, as they were first taken.
    ordered: BTreeMap<String, Vec<usize>>,
    payloads: Vec<Vec<u8>>,
    wrong_bodies: usize,
}

/// One message at one webhook.
#[derive(Default)]
struct Telling {
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
    pub(super) told: usize,
    /// Those that were taken more than once.
    pub(super) more_than_once: usize,
    /// Attempts, those answered 500 among them.
    pub(super) tried: usize,
    /// Webhooks that came under more than one `webhook-id`.
    pub(super) ids_differ: usize,
    /// Payloads that were not the message's.
    pub(super) wrong_bodies: usize,
    /// Messages of one partner that overtook an earlier one of it.
    pub(super) overtaken: usize,
    /// Webhooks that nobody was told by yet: path and message.
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
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            out.extend_from_slice(answer.as_bytes());
        })
    }

    /// How it stands, where every whole message is to be told at each of these paths.
    pub(super) fn account(&self, paths: &[&str]) -> Account {
        let seens = self.lock();
        let mut account = Account {
            whole: seens.whole.len(),
            wrong_bodies: seens.wrong_bodies,
            overtaken: seens.ordered.values().map(|order| overtaken(order)).sum(),
            ..Account::default()
        };
        for telling in seens.told.values() {
            account.tried += telling.tried;
            account.told += usize::from(telling.taken > 0);
            account.more_than_once += usize::from(telling.taken > 1);
            account.ids_differ += usize::from(telling.ids_differ);
        }
        for (&number, path) in seens.whole.iter().flat_map(|n| paths.iter().map(move |p| (n, *p))) {
            let telling = seens.told.get(&(path.to_owned(), number));
            if telling.is_none_or(|telling| telling.taken == 0) {
                account.missing.push((path.to_owned(), number));
            }
        }
        account
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
        let telling = self.told.entry((path.to_owned(), number)).or_default();
        telling.ids_differ |= telling.tried > 0 && telling.id != id;
        telling.id = id;
        telling.tried += 1;
        if !takes {
            return;
        }
        telling.taken += 1;
        if path == "/ordered" && telling.taken == 1 {
            let partner = seen.field("as2-from").unwrap();
            self.ordered.entry(partner.to_owned()).or_default().push(number);
        }
        if path == "/raw" && seen.field("x-processing-error").is_none() {
            let payload = &self.payloads[number % self.payloads.len()];
            self.wrong_bodies += usize::from(payload != seen.body);
        }
    }
}

/// How many come behind a later one.
fn overtaken(order: &[usize]) -> usize {
    let mut latest = 0;
    let behind = order.iter().filter(|number| {
        let behind = **number < latest;
        latest = latest.max(**number);
        behind
    });
    behind.count()
}
