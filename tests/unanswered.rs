//! `kill -9` between sending and hearing the answer: each attempt has exactly one verdict, and it says
//! that the outcome is unknown (section 4 of the design).

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    thread,
    time::Duration,
};

use as2hook_testing::{
    Answer, Digest, Gateway, Message, Part, Post, Receipt, Running, gateway::wait_until, pki,
    receiver, sink,
};

const KILLS: usize = 200;

const SOON: Duration = Duration::from_secs(120);

mod alone {
    use super::*;

    #[test]
    fn each_message_has_one_verdict_after_200_kills_before_the_answer() {
        let partner = receiver().answer(Answer::silence()).start();
        let sink = sink().start();
        let mut gateway = gateway(&partner.url("/as2"), &sink);
        let mut sent = BTreeSet::new();
        for kill in 0..KILLS {
            let message = Message::new("MY-OWN-ORG", "ACME")
                .attach(Part::text("order.edi", "application/edifact", "UNA:+.? 'UNB+UNOC:3'"))
                .receipt(Receipt::SignedSync(Digest::Sha256))
                .build();
            sent.insert(message.id.clone());
            let client = gateway.outbound();
            let sender = thread::spawn(move || client.send(&Post::message("/", &message)));
            // The partner has all of it, and says nothing.
            partner.wait_until(kill + 1, SOON, |request| request.complete).unwrap();
            // A store that stands still is passed by, and what it is to take dies with the process.
            let durable = || gateway.readiness().is_some_and(|(status, _)| status == 200);
            assert!(wait_until(SOON, durable), "{:?}", gateway.readiness());
            gateway.kill9();
            assert!(sender.join().unwrap().is_err(), "our server cannot have got an answer");
            gateway.restart().unwrap();
        }
        let mut told: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
        let complete = wait_until(SOON, || {
            told = sink.requests().iter().fold(BTreeMap::new(), |mut told, request| {
                let field = |name: &str| request.header(name).unwrap_or_default().to_owned();
                let verdict = (field("X-AS2-Event"), field("webhook-id"));
                told.entry(field("Message-ID")).or_insert_with(BTreeSet::new).insert(verdict);
                told
            });
            told.len() == KILLS
        });
        assert!(complete, "{} of {KILLS} are told", told.len());
        assert_eq!(told.keys().collect::<Vec<_>>(), sent.iter().collect::<Vec<_>>());
        for (message, verdicts) in &told {
            assert_eq!(verdicts.len(), 1, "{message}: {verdicts:?}");
        }
        for request in sink.requests() {
            assert_eq!(request.header("X-AS2-Event"), Some("send.error"));
            assert_eq!(request.json()["error"]["stage"], "unknown");
        }
    }
}

fn gateway(url: &str, sink: &as2hook_testing::Endpoint) -> Running {
    Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver_url("http://127.0.0.1:9")
        .outbound()
        .station("MY-OWN-ORG", pki::station())
        .partner_with("ACME", |acme| acme.url(url).certificate(Path::new("keys/my-own-org.crt")))
        .rule("all", |rule| {
            let verdicts = ["message.sent", "send.error"];
            rule.to(sink, "/hook").payload("json").events(&verdicts)
        })
        .start()
        .unwrap()
}
