//! A gateway whose store is going to fail, and the books of both sides.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use as2hook_testing::{
    Endpoint, Gateway, Message, Part, Post, Request, Response, Running, gateway::wait_until, pki,
    receiver, sink,
};

/// For whatever has to happen, on a machine that does much else.
pub(crate) const SOON: Duration = Duration::from_secs(90);

/// What an exchange takes at the most while the store fails and this is known: less than the 3 s that one
/// waits for the store. Of those that are under way while the machine stands still this says nothing, so
/// that it holds for every second one.
const PROMPT: Duration = Duration::from_millis(2500);

/// What an exchange may take that finds out: 3 s of patience, and as much as the machine may stand still.
pub(crate) const PATIENCE: Duration = Duration::from_secs(25);

/// Connections that send at once.
const SENDERS: usize = 4;

/// `on_store_failure`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Pass,
    Refuse,
}

/// A gateway between its receiver and its sink, and what was sent through it.
pub(crate) struct Stage {
    pub(crate) mode: Mode,
    pub(crate) receiver: Endpoint,
    pub(crate) sink: Endpoint,
    pub(crate) gateway: Running,
    sent: Vec<Sent>,
}

/// One message, as its sender saw it.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) id: String,
    /// `None`: there was no response.
    pub(crate) status: Option<u16>,
    pub(crate) took: Duration,
}

/// What it all came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) sent: usize,
    pub(crate) taken: usize,
    pub(crate) refused: usize,
    pub(crate) delivered: usize,
    pub(crate) twice: usize,
    pub(crate) lost: usize,
}

// === impl Stage ===

impl Stage {
    /// Not yet running.
    pub(crate) fn new(mode: Mode, payload: &str) -> Self {
        let receiver = receiver().respond(Response::ok()).start();
        let sink = sink().start();
        let failure = match mode {
            Mode::Pass => "pass",
            Mode::Refuse => "refuse",
        };
        let gateway = Gateway::new()
            .binary(env!("CARGO_BIN_EXE_as2hook"))
            .receiver(&receiver)
            .station("MY-OWN-ORG", pki::station())
            .partner("ACME", pki::partner())
            .rule("all", |rule| {
                rule.to(&sink, "/hook").payload(payload).set("retry", "[100ms, 1s, 5s]")
            })
            .set("on_store_failure", failure)
            .prepare()
            .unwrap();
        Self { mode, receiver, sink, gateway, sent: Vec::new() }
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.gateway.folder().join("data/as2hook.db")
    }

    /// Starts it, and sees that all is well.
    pub(crate) fn start(&mut self) {
        self.gateway.start().unwrap();
        self.send_in_peace(5);
    }

    /// Sends until it is known that the store fails, in these words.
    pub(crate) fn fall_into_trouble(&mut self, words: &str) {
        self.send_into_trouble(10);
        self.wait_for_trouble(words);
    }

    /// Waits until all is well again, and sees that it is.
    pub(crate) fn recover(&mut self) {
        self.wait_for_peace();
        self.send_in_peace(5);
    }

    /// Sends so many small messages, and asserts what their responses may be.
    pub(crate) fn send(&mut self, count: usize) -> Vec<Sent> {
        let message = Message::new("ACME", "MY-OWN-ORG").attach(Part::text(
            "order.edi",
            "application/edifact",
            "UNA:+.? 'UNB+UNOC:3'",
        ));
        self.send_like(&message, count)
    }

    /// As [`Self::send`], of messages like this one.
    pub(crate) fn send_like(&mut self, message: &Message, count: usize) -> Vec<Sent> {
        let built = message.build();
        let (first, next) = (self.sent.len(), AtomicUsize::new(0));
        let (inbound, done) = (self.gateway.inbound(), Mutex::new(Vec::new()));
        let fields: Vec<_> =
            built.headers.iter().filter(|(name, _)| name != "Message-ID").cloned().collect();
        thread::scope(|scope| {
            for _ in 0..SENDERS.min(count) {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= count {
                            return;
                        }
                        let id = format!("<fault-{}@acme.example>", first + number);
                        let post = Post::new("/as2", &built.body)
                            .headers(&fields)
                            .header("Message-ID", id.clone());
                        let began = Instant::now();
                        let status = inbound.send(&post).ok().map(|reply| reply.status);
                        let sent = Sent { id, status, took: began.elapsed() };
                        done.lock().unwrap().push(sent);
                    }
                });
            }
        });
        let sent = done.into_inner().unwrap();
        self.sent.extend(sent.iter().cloned());
        sent
    }

    /// Sends while the store works: all are taken.
    pub(crate) fn send_in_peace(&mut self, count: usize) {
        for sent in self.send(count) {
            assert_eq!(sent.status, Some(200), "{sent:?}");
        }
    }

    /// Sends while the store has just begun to fail: each exchange may wait as long as its patience goes.
    pub(crate) fn send_into_trouble(&mut self, count: usize) {
        let sent = self.send(count);
        self.judge(&sent, PATIENCE);
    }

    /// Sends while it is known that the store fails: no sender waits, and each gets what the mode says.
    pub(crate) fn send_in_trouble(&mut self, count: usize) {
        let sent = self.send(count);
        self.judge(&sent, PATIENCE);
        let prompt = sent.iter().filter(|sent| sent.took < PROMPT).count();
        assert!(prompt >= count / 2, "{sent:#?}");
        let expected = match self.mode {
            Mode::Pass => 200,
            Mode::Refuse => 503,
        };
        for sent in sent {
            assert_eq!(sent.status, Some(expected), "{sent:?}");
        }
    }

    /// Waits until `/readyz` says that the store fails, in these words.
    pub(crate) fn wait_for_trouble(&self, words: &str) {
        let mut last = None;
        let failing = wait_until(SOON, || {
            last = self.gateway.readiness();
            last.as_ref().is_some_and(|(status, text)| *status == 503 && text.contains(words))
        });
        assert!(failing, "/readyz does not speak of {words:?}: {last:?}");
    }

    /// Waits until partners can connect.
    pub(crate) fn wait_for_listener(&self) {
        let inbound = self.gateway.inbound();
        assert!(wait_until(SOON, || inbound.connect().is_ok()), "it does not start");
    }

    /// Waits until `/readyz` responds with 200, with nothing done to the process.
    pub(crate) fn wait_for_peace(&self) {
        let mut last = None;
        let ready = wait_until(SOON, || {
            last = self.gateway.readiness();
            last.as_ref().is_some_and(|(status, _)| *status == 200)
        });
        assert!(ready, "it does not recover: {last:?}");
    }

    /// Waits until everything is delivered that was taken; asserts the promise but for `given_up` messages,
    /// and prints a row of the table in docs/reliability.md.
    pub(crate) fn account(&self, fault: &str, given_up: usize) -> Account {
        let taken: BTreeSet<_> =
            self.sent.iter().filter(|sent| sent.status == Some(200)).map(|sent| &sent.id).collect();
        let mut delivered = self.delivered();
        let all = wait_until(SOON, || {
            delivered = self.delivered();
            taken.iter().filter(|id| delivered.contains_key(**id)).count() + given_up >= taken.len()
                && self.queue_is_empty()
        });
        let lost = taken.iter().filter(|id| !delivered.contains_key(**id)).count();
        assert!(all, "{lost} of {} messages were not delivered; {:?}", taken.len(), self.status());
        let got: BTreeSet<_> = whole(&self.receiver);
        for (message, (ids, _)) in &delivered {
            assert_eq!(ids.len(), 1, "{message} was delivered under several webhook-ids: {ids:?}");
            assert!(
                got.contains(message),
                "{message} was delivered, and the receiver never got it"
            );
        }
        for sent in self.sent.iter().filter(|sent| sent.status == Some(503)) {
            assert!(!got.contains(&sent.id), "{} was refused, and got through", sent.id);
            assert!(!delivered.contains_key(&sent.id), "{} was refused, and delivered", sent.id);
        }
        let account = Account {
            sent: self.sent.len(),
            taken: taken.len(),
            refused: self.sent.iter().filter(|sent| sent.status == Some(503)).count(),
            delivered: delivered.len(),
            twice: delivered.values().filter(|(_, times)| *times > 1).count(),
            lost,
        };
        account.print(fault, self.mode);
        account
    }

    /// How many events wait in memory, by the metrics.
    pub(crate) fn held(&self) -> usize {
        let metrics = self.gateway.admin().get("/metrics").unwrap().text().into_owned();
        let line = metrics.lines().find_map(|line| line.strip_prefix("as2hook_held_events "));
        line.and_then(|n| n.parse().ok()).unwrap()
    }

    /// How many lines of the log have this text.
    pub(crate) fn said(&self, text: &str) -> usize {
        self.gateway.log().lines().filter(|line| line.contains(text)).count()
    }

    /// Asserts that the log says it once when it begins and once when it ends, and not with each
    /// exchange.
    pub(crate) fn assert_said_once(&self) {
        assert_eq!(self.said("The store does not accept events"), 1, "when it begins");
        assert_eq!(self.said("The store accepts events again"), 1, "when it ends");
        let log = self.gateway.log();
        let loud = |line: &&str| line.contains("ERROR") || line.contains("WARN");
        let loud: Vec<_> = log.lines().filter(loud).collect();
        assert!(loud.len() <= 6, "{loud:#?}");
    }

    fn judge(&self, sent: &[Sent], within: Duration) {
        for sent in sent {
            let may_be = match self.mode {
                Mode::Pass => &[200][..],
                Mode::Refuse => &[200, 503],
            };
            assert!(sent.status.is_some_and(|status| may_be.contains(&status)), "{sent:?}");
            assert!(sent.took < within, "{sent:?}");
        }
    }

    /// By Message-ID: the webhook-ids, and how often.
    fn delivered(&self) -> BTreeMap<String, (BTreeSet<String>, usize)> {
        let mut delivered = BTreeMap::<String, (BTreeSet<String>, usize)>::new();
        for request in self.sink.requests().iter().filter(|request| request.complete) {
            let (ids, times) = delivered.entry(message_id(request)).or_default();
            ids.insert(request.header("webhook-id").unwrap().to_owned());
            *times += 1;
        }
        delivered
    }

    fn status(&self) -> serde_json::Value {
        let reply = self.gateway.call("GET", "/admin/status", "");
        reply.ok().and_then(|reply| serde_json::from_str(&reply.text()).ok()).unwrap_or_default()
    }

    fn queue_is_empty(&self) -> bool {
        let status = self.status();
        let store = &status["store"];
        store["ok"] == true && store["queue_depth"] == 0 && store["open_exchanges"] == 0
    }
}

// === impl Account ===

impl Account {
    #[expect(clippy::print_stderr, reason = "the rows of the table in docs/reliability.md")]
    fn print(&self, fault: &str, mode: Mode) {
        let Self { sent, taken, refused, delivered, twice, lost } = self;
        let mode = format!("{mode:?}").to_lowercase();
        eprintln!(
            "| {fault} | `{mode}` | {sent} | {taken} | {refused} | {delivered} | {twice} | {lost} |"
        );
    }
}

fn whole(receiver: &Endpoint) -> BTreeSet<String> {
    receiver.requests().iter().filter(|request| request.complete).map(|r| message_id(r)).collect()
}

fn message_id(request: &Request) -> String {
    request.header("Message-ID").unwrap().to_owned()
}
