//! Traffic at a fixed rate, and what the senders, the receiver and the sink noticed of the upgrades.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Mutex, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use as2hook_testing::{
    Built, Client, Endpoint, Response, Running, client::Connection, gateway::wait_until, receiver,
    sink,
};

use super::{ENDED_WELL, SOON, gateway, message};

/// Senders with a fresh connection for each request, and as many that keep theirs.
const SENDERS: usize = 16;

/// Senders that keep a connection and pause between two requests.
const SLOW: usize = 4;
const PAUSE: Duration = Duration::from_millis(1200);

/// Between two questions whether the admin listener is there.
const ASKED: Duration = Duration::from_millis(20);

/// What is done.
pub(super) struct Course {
    /// Requests a second, the slow senders' apart.
    pub(super) rate: usize,
    pub(super) upgrades: usize,
    /// From one upgrade to the next.
    pub(super) every: Duration,
    pub(super) tls: bool,
}

/// The senders, and what came of their requests.
struct Traffic {
    inbound: Client,
    admin: Client,
    message: Built,
    rate: usize,
    began: Instant,
    next: AtomicUsize,
    /// Set: no sender begins anything any more. Held while one connects.
    over: RwLock<bool>,
    sent: Mutex<Vec<Sent>>,
    asked: Mutex<Vec<Result<u16, String>>>,
}

/// One request, and how it went.
struct Sent {
    message_id: String,
    took: Duration,
    failure: Option<String>,
}

// === impl Course ===

impl Course {
    pub(super) fn run(&self) {
        let receiver = receiver().keep(0).respond(Response::ok().delay(Duration::from_millis(30)));
        let (receiver, sink) = (receiver.start(), sink().keep(0).start());
        let gateway = gateway(&receiver, &sink);
        let gateway = if self.tls { gateway.inbound_tls(false) } else { gateway };
        let mut gateway = gateway.start().unwrap();
        let traffic = Traffic::new(&gateway, self.rate);
        thread::scope(|scope| {
            for _ in 0..SENDERS {
                scope.spawn(|| traffic.send_on_fresh_connections());
                scope.spawn(|| traffic.send_on_a_kept_connection(None));
            }
            for _ in 0..SLOW {
                scope.spawn(|| traffic.send_on_a_kept_connection(Some(PAUSE)));
            }
            scope.spawn(|| traffic.ask_admin());
            let mut olds = Vec::new();
            for _ in 0..self.upgrades {
                thread::sleep(self.every);
                olds.push(gateway.upgrade().unwrap());
            }
            thread::sleep(self.every);
            // Every sender that has connected still gets its response.
            *traffic.over.write().unwrap() = true;
            let last = gateway.sigterm(SOON).unwrap().expect("the last process ends, too");
            assert_eq!(last.to_string(), ENDED_WELL);
            for mut old in olds {
                let ended = old.wait(SOON).expect("the old process ends");
                assert_eq!(ended.to_string(), ENDED_WELL);
            }
        });
        // What the last process could not tell any more waits in the store.
        gateway.start().unwrap();
        traffic.judge(&receiver, &sink, self.upgrades);
    }
}

// === impl Traffic ===

impl Traffic {
    fn new(gateway: &Running, rate: usize) -> Self {
        Self {
            inbound: gateway.inbound(),
            admin: gateway.admin(),
            message: message().build(),
            rate,
            began: Instant::now(),
            next: AtomicUsize::new(0),
            over: RwLock::new(false),
            sent: Mutex::default(),
            asked: Mutex::default(),
        }
    }

    fn send_on_fresh_connections(&self) {
        loop {
            let (number, due) = self.turn();
            let mut kept = None;
            if !self.send(&format!("<fresh-{number}@acme.example>"), due, &mut kept) {
                return;
            }
        }
    }

    /// With a pause: that is its pace, not the common rate.
    fn send_on_a_kept_connection(&self, pause: Option<Duration>) {
        let mut kept = None;
        loop {
            let (number, due) = match pause {
                None => self.turn(),
                Some(pause) => {
                    thread::sleep(pause);
                    (self.next.fetch_add(1, Ordering::Relaxed), Instant::now())
                }
            };
            if !self.send(&format!("<kept-{number}@acme.example>"), due, &mut kept) {
                return;
            }
        }
    }

    /// The next request's number, when it is due.
    fn turn(&self) -> (usize, Instant) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let after = Duration::from_secs(1).mul_f64(number as f64 / self.rate as f64);
        let due = self.began + after;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        (number, due)
    }

    /// Sends on the connection that is kept, or on a new one, which is kept as long as the response allows.
    /// False: it is over.
    fn send(&self, message_id: &str, due: Instant, kept: &mut Option<Connection>) -> bool {
        let over = self.over.read().unwrap();
        if *over {
            return false;
        }
        let request = self.request(message_id);
        let written = match kept.take() {
            Some(connection) => Ok(connection),
            None => self.inbound.connect(),
        }
        .and_then(|mut connection| connection.write(&request).map(|()| connection));
        // From here on it has a right to a response.
        drop(over);
        let responded = written.and_then(|mut connection| {
            let reply = connection.read_reply("POST")?;
            if reply.header("Connection") != Some("close") {
                *kept = Some(connection);
            }
            Ok(reply)
        });
        let failure = match responded {
            Ok(reply) if reply.status == 200 && reply.complete => None,
            Ok(reply) => Some(format!("{}, complete: {}", reply.head.line, reply.complete)),
            Err(error) => Some(format!("{:?}: {error}", error.kind())),
        };
        let sent = Sent { message_id: message_id.to_owned(), took: due.elapsed(), failure };
        self.sent.lock().unwrap().push(sent);
        true
    }

    fn request(&self, message_id: &str) -> Vec<u8> {
        let mut request = String::from("POST /as2 HTTP/1.1\r\nHost: as2.example\r\n");
        for (name, value) in self.message.headers.iter().filter(|(name, _)| name != "Message-ID") {
            write!(request, "{name}: {value}\r\n").unwrap();
        }
        let length = self.message.body.len();
        write!(request, "Message-ID: {message_id}\r\nContent-Length: {length}\r\n\r\n").unwrap();
        let mut request = request.into_bytes();
        request.extend_from_slice(&self.message.body);
        request
    }

    fn ask_admin(&self) {
        loop {
            let over = self.over.read().unwrap();
            if *over {
                return;
            }
            let response = self.admin.get("/healthz");
            drop(over);
            let response = response.map(|reply| reply.status).map_err(|error| error.to_string());
            self.asked.lock().unwrap().push(response);
            thread::sleep(ASKED);
        }
    }

    #[expect(clippy::print_stderr, reason = "the figures are worth a line")]
    fn judge(self, receiver: &Endpoint, sink: &Endpoint, upgrades: usize) {
        let (sent, asked) = (self.sent.into_inner().unwrap(), self.asked.into_inner().unwrap());
        let failed: Vec<_> = sent.iter().filter(|sent| sent.failure.is_some()).collect();
        let unanswered: Vec<_> = asked.iter().filter(|asked| **asked != Ok(200)).collect();
        wait_until(SOON, || sink.requests().len() >= sent.len());
        let (got, delivered) = (count(receiver, "Message-ID"), count(sink, "Message-ID"));
        let ids = count(sink, "webhook-id");
        let lost = |by: &BTreeMap<String, usize>| {
            sent.iter().filter(|sent| !by.contains_key(&sent.message_id)).count()
        };
        let doubled =
            |by: &BTreeMap<String, usize>| by.values().filter(|times| **times > 1).count();
        let longest = sent.iter().map(|sent| sent.took).max().unwrap_or_default();
        eprintln!(
            "{upgrades} upgrades in {} s: {} requests, {} failed, {} events lost, {} delivered twice; \
             longest response {} ms; the admin listener was asked {} times, {} without a response",
            self.began.elapsed().as_secs(),
            sent.len(),
            failed.len(),
            lost(&delivered),
            doubled(&delivered),
            longest.as_millis(),
            asked.len(),
            unanswered.len(),
        );
        for sent in failed.iter().take(10) {
            eprintln!("{}: {:?}", sent.message_id, sent.failure);
        }
        assert!(failed.is_empty() && unanswered.is_empty(), "{unanswered:?}");
        assert_eq!((lost(&got), doubled(&got)), (0, 0), "lost, doubled on the way to the receiver");
        assert_eq!(
            (lost(&delivered), doubled(&delivered)),
            (0, 0),
            "lost, doubled on the way to the sink"
        );
        assert_eq!((ids.len(), doubled(&ids)), (sent.len(), 0), "webhook-ids");
    }
}

/// How often each value of this field came.
fn count(endpoint: &Endpoint, field: &str) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for request in endpoint.requests().iter().filter(|request| request.complete) {
        *count.entry(request.header(field).unwrap_or_default().to_owned()).or_default() += 1;
    }
    count
}
