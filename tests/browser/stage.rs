//! A gateway in which everything that pages show has happened.

use as2hook_testing::{
    Digest, Endpoint, Gateway, Mdn, Message, Part, Post, Receipt, Response, Running,
    gateway::wait_until, pki, receiver, sink,
};

use super::super::{SOON, attempted, gateway, list};

/// The pages without an object in their path.
pub(super) const PAGES: [&str; 10] = [
    "/console/",
    "/console/exchanges",
    "/console/exchanges?q=none",
    "/console/deliveries",
    "/console/webhooks",
    "/console/webhooks?te=message.received&tp=ACME",
    "/console/partners",
    "/console/certificates",
    "/console/config",
    "/console/config/actions",
];

/// What the gateway of a busy day is surrounded by.
pub(super) struct Stage {
    pub(super) gateway: Running,
    /// The page of a message that one webhook does not have.
    pub(super) exchange: String,
    /// Pages of single objects.
    pub(super) objects: Vec<String>,
    _around: Vec<Endpoint>,
}

// === impl Stage ===

impl Stage {
    /// Messages of several partners, one of them not decrypted; webhooks that work, fail, and are disabled.
    pub(super) fn set() -> Self {
        let server = receiver().respond(Response::mdn(Mdn::processed())).start();
        let (archive, erp, gone, edi) = (
            sink().start(),
            sink().respond(Response::status(503).body("The ERP is being updated")).start(),
            sink().respond(Response::status(410)).start(),
            sink().respond(Response::status(422).body("order 4711 is known already")).start(),
        );
        let gateway = filled(gateway(&server, ""))
            .rule("archive", |rule| rule.to(&archive, "/messages").always().payload("raw"))
            .rule("erp-orders", |rule| {
                rule.to(&erp, "/orders").always().payload("json").set("retry", "[10m, 1h, 6h]")
            })
            .rule("invoices", |rule| {
                rule.to(&edi, "/in").set("partner", "GLOBEX").set("retry", "[]")
            })
            .rule("old-mailer", |rule| rule.to(&gone, "/mail").set("partner", "INITECH"))
            .rule("receipts", |rule| rule.to(&archive, "/receipts").events(&["mdn.sent"]))
            .start()
            .unwrap();
        for (partner, file, subject) in [
            ("ACME", "ORDERS-20260714-0031.edi", "Purchase order 4500117731"),
            ("INITECH", "DESADV-88213.xml", "Despatch advice 88213"),
            ("GLOBEX", "INVOIC-2026-07-4711.edi", "Invoice 4711"),
            ("ACME", "ORDCHG-20260714-0007.edi", "Change of order 4500117688"),
            ("ACME", "ORDERS-20260714-0032.edi", "Purchase order 4500117740"),
            ("GLOBEX", "ORDRSP-99120.edi", "Order response 99120"),
        ] {
            send(
                &gateway,
                &message(partner, file, subject).sign(pki::partner()).encrypt(pki::station()),
            );
        }
        let unreadable = message("ACME", "ORDERS-20260714-0033.edi", "Purchase order 4500117752");
        send(&gateway, &unreadable.encrypt(pki::partner()));
        attempted(&gateway, "held", 1);
        attempted(&gateway, "dead", 2);
        attempted(&gateway, "pending", 7);
        let all = || list(&gateway, "/admin/deliveries?status=delivered&limit=500").len();
        assert!(wait_until(SOON, || all() >= 14), "{}", all());
        let waiting = list(&gateway, "/admin/deliveries?status=pending&partner=GLOBEX").remove(0);
        let exchange = format!("/console/exchanges/{}", waiting["event"]["id"].as_str().unwrap());
        let mut objects = objects(&gateway);
        objects.extend(
            [
                "webhooks/erp-orders",
                "webhooks/old-mailer",
                "webhooks/archive",
                "deliveries?webhook=erp-orders&status=pending",
                "deliveries?status=delivered",
                "partners/ACME",
                "none",
            ]
            .map(|path| format!("/console/{path}")),
        );
        Self { gateway, exchange, objects, _around: vec![server, archive, erp, gone, edi] }
    }
}

fn filled(gateway: Gateway) -> Gateway {
    ["GLOBEX", "INITECH", "UMBRELLA"]
        .into_iter()
        .fold(gateway, |gateway, partner| gateway.partner(partner, pki::partner()))
}

fn message(partner: &str, file: &str, subject: &str) -> Message {
    let document = "UNA:+.? 'UNB+UNOC:3+4012345000009:14+4000004000002:14+260714:0931+31'";
    Message::new(partner, "MY-OWN-ORG")
        .subject(subject)
        .attach(Part::text(file, "application/edifact", document))
        .receipt(Receipt::SignedSync(Digest::Sha256))
}

fn send(gateway: &Running, message: &Message) {
    let message = message.build();
    assert_eq!(gateway.inbound().send(&Post::message("/as2", &message)).unwrap().status, 200);
}

/// Returns an exchange of each sort.
fn objects(gateway: &Running) -> Vec<String> {
    let events = list(gateway, "/admin/events?limit=500");
    let mut kinds = std::collections::BTreeMap::new();
    for event in events {
        let id = format!("/console/exchanges/{}", event["id"].as_str().unwrap());
        kinds.insert((event["event"].to_string(), event["partner"].to_string()), id);
    }
    kinds.into_values().collect()
}
