//! mock-edi as the partner of django-pyas2. It has no S/MIME: messages and MDNs are plain, and what is signed
//! or encrypted it refuses.

use std::process::Command;

use as2hook_testing::{gateway::free_address, pki};
use serde_json::{Value, json};

use super::{
    peer::{Peer, SendOptions, Software, installed},
    scene::{GatewaySetup, OURS, THEIRS, events, report},
};

/// What mock-edi sends about an order, in this order.
const REPLIES: [&str; 4] = ["997", "855", "856", "810"];

struct MockEdiScene {
    ours: Peer,
    theirs: Peer,
    setup: GatewaySetup,
}

impl MockEdiScene {
    fn new() -> Self {
        let address = free_address();
        // By name: the proxy setting of our server leaves 127.0.0.1 out.
        let their_url = format!("http://localhost:{}/as2", address.port());
        let setup = GatewaySetup::new(&their_url, false);
        let folder = setup.gateway.folder().to_owned();
        let inbound = format!("http://{}{}", setup.inbound, Software::Pyas2.path());
        let mut command = Command::new(installed("AS2HOOK_INTEROP_PYTHON"));
        command.args(["-m", "mockedi", "--quiet", "--as2-id", THEIRS, "--hold-delivery", "--port"]);
        command.arg(address.port().to_string());
        let theirs = Peer::spawn(command, address, &folder.join("theirs"), "/_mock/health");
        let partner = json!({ "id": OURS, "name": "Ours", "as2_url": inbound });
        theirs.post("/_mock/partners", &partner);
        let ours = Peer::start(
            Software::Pyas2,
            (&folder.join("ours"), setup.receiver),
            Some(&format!("http://{}", setup.outbound)),
            (OURS, pki::station()),
            (THEIRS, pki::partner()),
            (&their_url, &inbound),
        );
        Self { ours, theirs, setup }
    }

    fn events(&self, names: &[&str]) -> Vec<Value> {
        events(&self.setup.sink, names).iter().map(|event| event.json()).collect()
    }

    /// Lets mock-edi send the next document that it holds, for which our server signs an MDN.
    fn deliver(&self) -> Value {
        let sent = self.theirs.post("/_mock/deliver", &Value::Null)["sent"].clone();
        assert_eq!(sent["status"], "delivered", "{sent}");
        let events = self.events(&["mdn.sent", "message.received"]);
        check_mdn(&events[0], "valid");
        assert_eq!(events[1]["errors"], json!([]), "{}", events[1]);
        assert_eq!(events[1]["as2MessageId"], sent["messageId"], "{}", events[1]);
        let code = sent["code"].as_str().unwrap();
        report(&format!("mock-edi -> django-pyas2: {code}, plain, signed MDN, synchronous"));
        sent
    }
}

#[test]
#[ignore = "needs the AS2 servers: tests/interop/run"]
fn mock_edi_orders_and_replies_pass_and_are_reported_in_both_directions() {
    let scene = MockEdiScene::new();
    let sent = scene
        .ours
        .send_text(SendOptions { mdn: Some("SYNC"), ..SendOptions::default() }, &order(1));
    assert_eq!(sent["status"], "S", "{sent}");
    let events = scene.events(&["mdn.received", "message.sent"]);
    check_mdn(&events[0], "unsigned");
    report("django-pyas2 -> mock-edi: 850, plain, unsigned MDN, synchronous");
    for code in REPLIES {
        assert_eq!(scene.deliver()["code"], code);
    }

    let sent = scene
        .ours
        .send_text(SendOptions { mdn: Some("ASYNC"), ..SendOptions::default() }, &order(2));
    assert_eq!(sent["status"], "P", "{sent}");
    scene.events(&["message.sent"]);
    // The MDN waits behind the replies.
    for code in REPLIES {
        assert_eq!(scene.deliver()["code"], code);
    }
    let mdn = scene.theirs.post("/_mock/deliver", &Value::Null);
    assert_eq!(mdn["sent"]["type"], "mdn", "{mdn}");
    let events = scene.events(&["mdn.received"]);
    check_mdn(&events[0], "unsigned");
    assert_eq!(events[0]["messageKnown"], true, "{}", events[0]);
    assert_eq!(scene.ours.status(&sent["id"]), "S");
    report("django-pyas2 -> mock-edi: 850, plain, unsigned MDN, asynchronous");
}

#[test]
#[ignore = "needs the AS2 servers: tests/interop/run"]
fn refusal_by_mock_edi_is_reported_as_send_error() {
    let scene = MockEdiScene::new();
    let signed = SendOptions { signature: "sha256", mdn: Some("SYNC"), ..SendOptions::default() };
    let encrypted =
        SendOptions { encryption: "aes_128_cbc", mdn: Some("SYNC"), ..SendOptions::default() };
    let signed_mdn =
        SendOptions { mdn: Some("SYNC"), mdn_sign: "sha256", ..SendOptions::default() };
    for (name, options, reason) in [
        ("signed message", signed, "processed/Error: insufficient-message-security"),
        ("encrypted message", encrypted, "processed/Error: insufficient-message-security"),
        ("message that asks for a signed MDN", signed_mdn, "failed/Failure: unsupported-format"),
    ] {
        let sent = scene.ours.send_text(options, &order(1));
        assert_eq!(sent["status"], "E", "{name}: {sent}");
        let events = scene.events(&["mdn.received", "send.error"]);
        let disposition = events[0]["disposition"].as_str().unwrap();
        assert!(disposition.ends_with(reason), "{name}: {disposition}");
        assert_eq!(events[1]["error"]["stage"], "mdn", "{name}: {}", events[1]);
        report(&format!("django-pyas2 -> mock-edi: {name}: mock-edi refuses it ({reason})"));
    }
    report("mock-edi itself: it has no S/MIME, so its MDNs are never signed");
}

fn check_mdn(mdn: &Value, signature: &str) {
    assert_eq!(mdn["signatureStatus"], signature, "{mdn}");
    assert_eq!(mdn["mdnError"], false, "{mdn}");
    // Without a signed MDN asked for, django-pyas2 names no digest, and there is nothing to compare.
    assert_ne!(mdn["micMatches"], false, "{mdn}");
}

/// A purchase order that mock-edi takes; `number` is used once.
fn order(number: u32) -> String {
    let segments = [
        format!(
            "ISA*00*          *00*          *ZZ*{OURS:<15}*ZZ*{THEIRS:<15}*261130*1030*U*00401*{number:09}*0*T*>"
        ),
        format!("GS*PO*{OURS}*{THEIRS}*20261130*1030*{number}*X*004010"),
        "ST*850*0001".to_owned(),
        format!("BEG*00*SA*{number:010}**20261130"),
        "N1*BY*Ours*92*01".to_owned(),
        "PO1*1*100*EA*12.50**VP*WIDGET-001".to_owned(),
        "CTT*1".to_owned(),
        "SE*6*0001".to_owned(),
        format!("GE*1*{number}"),
        format!("IEA*1*{number:09}"),
    ];
    segments.map(|segment| segment + "~\r\n").concat()
}
