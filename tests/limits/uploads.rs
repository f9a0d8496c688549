//! Memory of slow uploads: what each takes, and that all together stay under a bound.

use super::*;

mod alone {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn two_hundred_slow_uploads_take_little_memory() {
        uploads(200, 640);
    }

    /// What is counted for a message in decode.
    const EACH_KIB: u64 = 1024 + 1536;

    /// `cargo nextest run --test limits thousand --run-ignored only --no-capture`
    #[test]
    #[ignore = "for the figure of docs/reliability.md; takes a minute"]
    fn a_thousand_slow_uploads_take_little_memory() {
        uploads(1000, 3072);
    }

    /// Messages of 1 MiB, signed and encrypted, that all come at once and piece by piece. `limit`:
    /// what they may take together, in MiB.
    #[expect(clippy::print_stdout, reason = "the figures are what it is run for")]
    fn uploads(many: usize, limit: u64) {
        const PIECES: usize = 16;
        let receiver = receiver().keep(0).start();
        let sink = sink().start();
        let gateway = with_limits(&receiver, &format!("{{ memory: {limit}MiB }}"))
            .rule("all", |rule| rule.to(&sink, "/").payload("json"))
            .start()
            .unwrap();
        let part = Part::text("a.edi", "application/edifact", &"x".repeat(MIB));
        let message = Message::new("ACME", "MY-OWN-ORG").attach(part);
        let message = message.sign(pki::partner()).encrypt(pki::station()).build();
        // The decoder's tables and threads are there from the first message on.
        assert_eq!(gateway.inbound().send(&Post::message("/", &message)).unwrap().status, 200);
        let idle = gateway.rss_kib().unwrap();
        let fields = |number: usize| -> String {
            let fields = message.headers.iter().map(|(name, value)| match &**name {
                "Message-ID" => format!("{name}: <{number}@slow>\r\n"),
                _ => format!("{name}: {value}\r\n"),
            });
            fields.collect()
        };
        let length = message.body.len();
        let mut sockets: Vec<_> = (0..many)
            .map(|number| {
                let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length";
                open(&gateway, &format!("{head}: {length}\r\n{}\r\n", fields(number)))
            })
            .collect();
        let counted = || gateway.figure("as2hook_exchange_memory_bytes");
        let empty = EACH_KIB * 1024 * many as u64;
        assert!(
            wait_until(SOON, || counted() == empty),
            "{} counted; {}",
            counted(),
            gateway.log()
        );
        let mut settled = 0;
        for piece in message.body.chunks(length.div_ceil(PIECES)) {
            for socket in &mut sockets {
                socket.write_all(piece).unwrap();
            }
            // Slow: what has come is decoded before more comes.
            assert!(wait_until(SOON, || counted() <= empty), "{}", counted());
            settled = settled.max(gateway.rss_kib().unwrap());
        }
        for (number, socket) in sockets.iter_mut().enumerate() {
            socket.shutdown(std::net::Shutdown::Write).unwrap();
            let response = read_to_close(socket);
            assert!(response.starts_with("HTTP/1.1 200 "), "{number}: {response}");
        }
        sink.wait_for(many + 1, SOON * 2).unwrap();
        let peak = gateway.peak_rss_kib().unwrap();
        let each = |then: u64| then.saturating_sub(idle) / many as u64;
        println!(
            "{many} uploads, {idle} KiB idle: {settled} KiB while they wait, {} KiB each; \
             {peak} KiB at the peak, {} KiB each; {} KiB counted",
            each(settled),
            each(peak),
            empty >> 10,
        );
        assert!(settled - idle < empty >> 10, "more than is counted");
        assert!(peak - idle < limit * 1024, "more than is allowed");
    }
}
