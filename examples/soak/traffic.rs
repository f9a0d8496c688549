//! The exchanges, and which comes when.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    net::{SocketAddr, TcpStream},
    sync::Mutex,
    time::Duration,
};

use as2hook_testing::{
    Built, Cipher, Content, Digest, Mdn, Message, Part, Receipt,
    gateway::wait_until,
    load::{Sender as Wire, Template},
    pki,
};

use super::scene::Scene;

/// Bytes of a payload that goes to a file.
const LARGE: u64 = 400_000;

/// All kinds, and what they came to.
pub(crate) struct Traffic {
    kinds: Vec<Kind>,
    counts: Mutex<BTreeMap<String, usize>>,
    expected: Mutex<BTreeSet<usize>>,
}

/// One of the kinds.
enum Kind {
    /// To our AS2 server; false: on a connection of its own.
    Inbound(Template, bool),
    /// The same message, under the same id, twice.
    Twice(Template),
    /// Only so much of it, and then the connection closes.
    Cut(Template),
    /// Whole, and then the connection closes before the response.
    Abandoned(Template),
    /// To a partner.
    Outbound(Template),
    /// To a partner that sends its MDN later.
    Later(Box<Built>),
    /// Not AS2.
    Plain(Vec<u8>),
}

/// One of the senders.
pub(crate) struct Sender<'a> {
    traffic: &'a Traffic,
    inbound: SocketAddr,
    to_us: Wire,
    from_us: Wire,
    bytes: Vec<u8>,
}

// === impl Traffic ===

impl Traffic {
    /// Every kind that there is, once; the usual ones more often.
    pub(crate) fn new(scene: &Scene) -> Self {
        let mut kinds = Vec::new();
        kinds.extend(received());
        kinds.extend(sent());
        kinds.extend(broken());
        for case in &scene.cases {
            let message = Built {
                headers: case.headers.clone(),
                body: case.body.clone(),
                mic: String::new(),
                id: String::new(),
            };
            let framing = ["Content-Length", "Transfer-Encoding", "Host", "Connection"];
            kinds.push(Kind::Inbound(Template::leaving_out("/as2", &message, &framing), true));
        }
        Self { kinds, counts: Mutex::default(), expected: Mutex::default() }
    }

    /// How many kinds there are.
    pub(crate) fn kinds(&self) -> usize {
        self.kinds.len()
    }

    /// A sender of them.
    pub(crate) fn sender(&self, scene: &Scene) -> Sender<'_> {
        let (inbound, outbound) = (scene.gateway.inbound(), scene.gateway.outbound());
        Sender {
            traffic: self,
            inbound: inbound.address(),
            to_us: Wire::new(inbound.address()),
            from_us: Wire::new(outbound.address()),
            bytes: Vec::new(),
        }
    }

    /// How often each response came.
    pub(crate) fn summary(&self) -> String {
        let counts = self.counts.lock().unwrap();
        let counts = counts.iter().map(|(what, count)| format!("{what} {count}"));
        counts.collect::<Vec<_>>().join(", ")
    }

    /// The messages that got a 2xx and were not delivered in time.
    pub(crate) fn undelivered(&self, scene: &Scene, within: Duration) -> Vec<usize> {
        let expected = self.expected.lock().unwrap().clone();
        wait_until(within, || expected.is_subset(&scene.delivered()));
        expected.difference(&scene.delivered()).copied().collect()
    }

    fn count(&self, what: String) {
        *self.counts.lock().unwrap().entry(what).or_default() += 1;
    }
}

// === impl Sender ===

impl Sender<'_> {
    /// Makes the exchange of this number.
    pub(crate) fn exchange(&mut self, number: usize) {
        let traffic = self.traffic;
        match &traffic.kinds[number % traffic.kinds.len()] {
            Kind::Inbound(template, keeps) => {
                if !keeps {
                    self.to_us.hang_up();
                }
                self.receive(template, number);
            }
            Kind::Twice(template) => {
                self.receive(template, number);
                self.receive(template, number);
            }
            Kind::Cut(template) => {
                let message = self.write(template, number).len();
                self.leave(message - message / 3);
            }
            Kind::Abandoned(template) => {
                let message = self.write(template, number).len();
                self.leave(message);
            }
            Kind::Outbound(template) => self.send(template, number),
            Kind::Later(message) => {
                self.send(&Template::new("/out/BOLT", message), number);
                self.receipt(message, number);
            }
            Kind::Plain(request) => {
                let status = self.to_us.send(request);
                traffic.count(describe("not AS2", status));
            }
        }
    }

    fn write(&mut self, template: &Template, number: usize) -> &[u8] {
        self.bytes.clear();
        template.write(number, &mut self.bytes);
        &self.bytes
    }

    fn receive(&mut self, template: &Template, number: usize) {
        self.write(template, number);
        let status = self.to_us.send(&self.bytes);
        self.traffic.count(describe("inbound", status));
        self.expect(status, number);
    }

    fn send(&mut self, template: &Template, number: usize) {
        self.write(template, number);
        let status = self.from_us.send(&self.bytes);
        self.traffic.count(describe("outbound", status));
        self.expect(status, number);
    }

    /// The partner's MDN, on its own.
    fn receipt(&mut self, message: &Built, number: usize) {
        let mdn = Mdn::processed().mic(&message.mic).sign(pki::partner(), Digest::Sha256);
        let mdn = mdn.about("BOLT", "MY-OWN-ORG", &Template::id(number));
        let (headers, body) = mdn.into_parts();
        let built = Built { headers, body, mic: String::new(), id: String::new() };
        // Its own id may be any: it is reported under its own.
        let template = Template::new("/as2", &built);
        self.write(&template, number);
        let status = self.to_us.send(&self.bytes);
        self.traffic.count(describe("MDN", status));
    }

    /// Sends so much of what is written, and closes.
    fn leave(&mut self, bytes: usize) {
        self.traffic.count("hung up".to_owned());
        if let Ok(mut socket) = TcpStream::connect(self.inbound) {
            // Whether it arrives is the question.
            let _ = socket.write_all(&self.bytes[..bytes]);
        }
    }

    fn expect(&self, status: Option<u16>, number: usize) {
        if status.is_some_and(|status| (200..300).contains(&status)) {
            self.traffic.expected.lock().unwrap().insert(number);
        }
    }
}

fn describe(what: &str, status: Option<u16>) -> String {
    status.map_or_else(|| format!("{what} unanswered"), |status| format!("{what} {status}"))
}

fn message() -> Message {
    let order = "UNA:+.? 'UNB+UNOC:3+ACME+MY-OWN-ORG+201122:0214+1'".repeat(40);
    inbound().attach(Part::text("order.edi", "application/edifact", &order))
}

fn inbound() -> Message {
    Message::new("ACME", "MY-OWN-ORG").subject("Order").receipt(Receipt::Sync)
}

fn large() -> Message {
    inbound().attach(Part::new("order.bin", "application/octet-stream", Content::large(LARGE)))
}

/// What partners send.
fn received() -> Vec<Kind> {
    let usual = message().sign(pki::partner()).encrypt(pki::station());
    let part = || Part::text("second.xml", "text/xml", "<order/>");
    let messages = [
        usual.clone(),
        usual.clone(),
        usual.clone(),
        message(),
        message().sign_by(pki::partner(), Digest::Sha1),
        message().sign_by(pki::partner(), Digest::Sha512),
        message().sign(pki::stranger()),
        message().encrypt(pki::station()),
        message().encrypt(pki::stranger()),
        message().encrypt(pki::old_station()).ber(1000),
        message().compress().encrypt(pki::station()),
        message().sign(pki::partner()).compress().ber(512),
        message().compress().sign(pki::partner()).encrypt(pki::station()).oaep(),
        message().encrypt_by(pki::station(), Cipher::Aes128Cbc),
        message().encrypt_by(pki::station(), Cipher::TripleDes),
        message().attach(part()).sign(pki::partner()).encrypt(pki::station()),
        usual.clone().base64(),
        large(),
        large().sign(pki::partner()).encrypt(pki::station()),
        large().compress().sign(pki::partner()).encrypt(pki::station()).ber(4096),
    ];
    let mut kinds: Vec<_> = messages
        .iter()
        .enumerate()
        .map(|(nth, message)| Kind::Inbound(Template::new("/as2", &message.build()), nth % 3 != 0))
        .collect();
    let usual = usual.build();
    for path in ["/slow", "/negative", "/rejects", "/closes"] {
        kinds.push(Kind::Inbound(Template::new(path, &usual), true));
    }
    kinds.push(Kind::Twice(Template::new("/as2", &usual)));
    kinds
}

/// What our AS2 server sends.
fn sent() -> Vec<Kind> {
    let message = |to: &str| {
        Message::new("MY-OWN-ORG", to)
            .attach(Part::text("response.edi", "application/edifact", "UNA:+.? '"))
            .sign(pki::station())
            .encrypt(pki::partner())
    };
    let signed = || message("BOLT").receipt(Receipt::SignedSync(Digest::Sha256));
    let later = Receipt::SignedAsync(Digest::Sha256, "http://as2.example/mdn".to_owned());
    let right = signed().build();
    let right = signed_for(&right);
    let mut kinds = vec![Kind::Outbound(Template::new("/out/BOLT", &right))];
    for subject in ["unsigned", "negative", "rejects", "closes", "of another MIC"] {
        let message = signed().subject(subject).build();
        kinds.push(Kind::Outbound(Template::new("/out/BOLT", &message)));
    }
    let never = message("BOLT").subject("never").receipt(later.clone()).build();
    kinds.push(Kind::Outbound(Template::new("/out/BOLT", &never)));
    kinds.push(Kind::Outbound(Template::new("/out/GONE", &message("GONE").build())));
    let later = message("BOLT").subject("later").receipt(later).build();
    kinds.push(Kind::Later(Box::new(later)));
    kinds
}

/// The message whose subject names to the partner the MIC to give back.
fn signed_for(message: &Built) -> Built {
    let mut message = message.clone();
    message.headers.push(("Subject".to_owned(), message.mic.clone()));
    message
}

/// What goes wrong on the way, or is wrong.
fn broken() -> Vec<Kind> {
    let whole = message().sign(pki::partner()).encrypt(pki::station()).build();
    let mut damaged = whole.clone();
    for byte in damaged.body.iter_mut().skip(700).step_by(97) {
        *byte = byte.wrapping_add(1);
    }
    let mut garbage = whole.clone();
    garbage.body = (0..2000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let large = large().build();
    vec![
        Kind::Inbound(Template::new("/as2", &damaged), true),
        Kind::Inbound(Template::new("/as2", &garbage), false),
        Kind::Cut(Template::new("/as2", &whole)),
        Kind::Cut(Template::new("/as2", &large)),
        Kind::Abandoned(Template::new("/as2", &whole)),
        Kind::Plain(b"GET /status HTTP/1.1\r\nHost: as2.example\r\n\r\n".to_vec()),
        Kind::Plain(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello".to_vec()),
    ]
}
