//! Rules that look at the EDI documents of a message.

use as2hook_testing::{Gateway, Message, Part, Post, Request, as2hook, pki, receiver, sink};

use super::{SOON, rule};

const X12: &str = "ISA*00*          *00*          *ZZ*ALPHA          *ZZ*BETA           *261115*0930*U*00401*000000001*0*T*>~\
                   GS*PO*A*B*20261115*0930*1*X*004010~ST*850*0001~SE*2*0001~ST*810*0002~SE*2*0002~GE*2*1~IEA*1*000000001~";
const EDIFACT: &str =
    "UNB+UNOC:3+ALPHA:14+BETA:14+261115:0930+7'UNH+1+ORDERS:D:96A:UN'UNT+2+1'UNZ+1+7'";

#[test]
fn document_decides_which_rule_fires_and_every_delivery_names_it() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let gateway = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(&receiver)
        .station("MY-OWN-ORG", pki::station())
        .partner("ACME", pki::partner())
        .rule("orders", |rule| {
            rule.to(&sink, "/orders").payload("json").set("document", "[850, \"EDIFACT:ORDERS\"]")
        })
        .rule("invoices", |rule| rule.to(&sink, "/invoices").payload("raw").set("document", "810"))
        .rule("rest", |rule| rule.to(&sink, "/rest"))
        .start()
        .unwrap();
    for (mark, document, webhook, types) in [
        ("<x12@acme>", X12, "orders", Some("X12 850 1, X12 810 1")),
        ("<edifact@acme>", EDIFACT, "orders", Some("EDIFACT ORDERS 1")),
        ("<none@acme>", "order;42", "rest", None),
    ] {
        let message = Message::new("ACME", "MY-OWN-ORG")
            .id(mark)
            .attach(Part::text("order.edi", "application/octet-stream", document))
            .sign(pki::partner())
            .encrypt(pki::station())
            .build();
        assert_eq!(gateway.inbound().send(&Post::message("/as2", &message)).unwrap().status, 200);
        let like = |delivered: &Request| delivered.header("Message-ID") == Some(mark);
        let delivered = sink.wait_until(1, SOON, like).unwrap().remove(0);
        assert_eq!(
            (rule(&delivered).as_str(), delivered.header("X-AS2-Document")),
            (webhook, types)
        );
        if webhook == "orders" {
            let edi = &delivered.json()["attachments"][0]["edi"];
            assert_eq!(edi["standard"], types.unwrap().split(' ').next().unwrap());
            assert_eq!(edi["interchanges"][0]["complete"], true);
        }
    }
    let config = gateway.config_file();
    let words = ["match", "-c", config.to_str().unwrap(), "--event", "message.received"];
    for (documents, said) in [
        (
            ["--document", "850"].as_slice(),
            "orders: fires: it is the most specific rule that matches (names document, event)",
        ),
        (&["--document", "810", "--document", "850"], "invoices: fires"),
        (&["--document", "none"], "rest: fires"),
        (&[], "may fire: it fires if it has a document 850 or EDIFACT:ORDERS"),
    ] {
        let ran = as2hook(&[&words[..], documents].concat());
        assert!(ran.stdout.contains(said), "{documents:?}: {}{}", ran.stdout, ran.stderr);
    }
}
