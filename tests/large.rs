//! Messages of 1 GiB: decoded while they pass, in constant memory, and unchanged (section 10 of the
//! design).

#[cfg(test)]
mod alone {
    use std::time::{Duration, Instant};

    use as2hook_testing::{
        Body, Cipher, Content, Gateway, Message, Part, Post, Running, pki, receiver, sink,
    };

    /// What one message may add to the gateway's memory, whatever its size.
    const ROOM_KIB: u64 = 8 << 10;
    const GIB: u64 = 1 << 30;
    /// The webhook's wait: for what is left to do when the receiver has responded.
    const SOON: Duration = Duration::from_secs(60);

    #[test]
    fn plain() {
        passes(&|message| message);
    }

    #[test]
    fn signed_and_encrypted_in_ber() {
        passes(&|message| message.sign(pki::partner()).encrypt(pki::station()).ber(4096));
    }

    #[test]
    fn signed_and_encrypted_in_der() {
        passes_of(GIB / 4, &|message| message.sign(pki::partner()).encrypt(pki::station()));
    }

    #[test]
    fn compressed_signed_and_encrypted_with_triple_des() {
        passes_of(GIB / 32, &|message| {
            let message = message.compress().ber(1000).sign(pki::partner());
            message.encrypt_by(pki::station(), Cipher::TripleDes).ber(1000)
        });
    }

    fn passes(wrap: &dyn Fn(Message) -> Message) {
        passes_of(GIB, wrap);
    }

    #[expect(clippy::print_stdout, reason = "the figures are what it is run for")]
    fn passes_of(size: u64, wrap: &dyn Fn(Message) -> Message) {
        let receiver = receiver().keep(0).start();
        let sink = sink().start();
        let gateway = Gateway::new()
            .binary(env!("CARGO_BIN_EXE_as2hook"))
            .receiver(&receiver)
            .station("MY-OWN-ORG", pki::station())
            .partner("ACME", pki::partner())
            .rule("json", |rule| rule.to(&sink, "/").payload("json"))
            .start()
            .unwrap();
        let message = |size| {
            let part = Part::new("big.bin", "application/octet-stream", Content::large(size));
            wrap(Message::new("ACME", "MY-OWN-ORG").attach(part))
        };
        send(&gateway, &message(4096));
        sink.wait_for(1, SOON).unwrap();
        let idle = gateway.rss_kib().unwrap();

        let began = Instant::now();
        let sent = send(&gateway, &message(size));
        let took = began.elapsed();
        let peak = gateway.peak_rss_kib().unwrap();

        let got = &receiver.requests()[1].body;
        assert_eq!((got.length, &got.sha256), (sent.length, &sent.sha256), "the receiver's copy");
        let delivered = sink.wait_for(2, SOON).unwrap()[1].json();
        let attachment = &delivered["attachments"][0];
        assert_eq!(attachment["size"], size, "{delivered}");
        assert_eq!(attachment["sha256"], Content::large(size).sha256().as_str());
        println!("{size} bytes in {took:?}; {idle} KiB before, {peak} KiB at most");
        let grown = peak.saturating_sub(idle);
        assert!(grown <= ROOM_KIB, "{grown} KiB for one message, {ROOM_KIB} allowed");
    }

    /// Sends it as it is made, chunked.
    fn send(gateway: &Running, message: &Message) -> Body {
        let reply = gateway.inbound().send(&Post::stream("/as2", message, None)).unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.sent
    }
}
