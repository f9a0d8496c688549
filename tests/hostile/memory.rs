//! Memory and payloads: what all layers together put out has a bound, and so has what is held meanwhile.

mod alone {
    use std::thread;

    use as2hook_testing::{
        Message, Part, Post, Receipt, Response,
        hostile::{self, Attack},
    };

    use crate::stage::{Stage, Way};

    /// What the layers of one message may put out together.
    fn output_limit(attack: &Attack) -> u64 {
        (16 << 20) + 200 * attack.body.len() as u64
    }

    /// Code 1300: over a limit.
    const LIMIT: u64 = 1300;

    #[test]
    fn bomb_of_any_number_of_layers_ends_at_the_same_output() {
        let stage = Stage::new();
        stage.rest();
        let (disk, memory) = (stage.disk(), stage.gateway.peak_rss_kib().unwrap());
        for layers in 1..=5 {
            let bomb = hostile::bomb(layers, 256);
            for way in [Way::Inbound, Way::Outbound] {
                let id = stage.send(&bomb, way);
                assert_eq!(stage.codes(&id), [LIMIT], "{layers} layers, {way:?}");
                let limit = output_limit(&bomb) + (8 << 20);
                let grown = stage.disk().saturating_sub(disk);
                assert!(grown <= limit, "{grown} bytes on disk, {limit} allowed");
            }
        }
        let grown = stage.gateway.peak_rss_kib().unwrap() - memory;
        assert!(grown <= 32 << 10, "{grown} KiB for bombs");
        stage.order_is_notified_whole();
    }

    #[test]
    fn blank_padded_document_of_30_mib_is_decoded() {
        // As flat files padded with blanks are: no two lines alike.
        let stage = Stage::new();
        let mut order = fastrand::Rng::with_seed(11);
        let mut text = String::new();
        while text.len() < 30 << 20 {
            text.push_str(&format!("{:<4000}\r\n", order.u32(100_000..1_000_000)));
        }
        let part = Attack::new("text/plain", text.into_bytes());
        let document = part.compressed();
        let ratio = part.body.len() / document.body.len();
        assert!((300..=380).contains(&ratio), "{ratio} : 1");
        let id = stage.send(&document, Way::Inbound);
        assert_eq!(stage.codes(&id), [0; 0], "{ratio} : 1");
        stage.order_is_notified_whole();
    }

    #[test]
    fn many_messages_of_nested_signatures_keep_to_the_memory_limit() {
        let stage = Stage::with(|gateway| gateway.set("limits", "{ memory: 64MiB }"));
        let attacks = [
            hostile::nested_signatures(14, 1 << 20).compressed(),
            hostile::nested_multipart_signed(12, 1 << 20).compressed(),
            hostile::long_names(999, 60_000).compressed().compressed(),
        ];
        stage.rest();
        let before = stage.gateway.peak_rss_kib().unwrap();
        let served: usize = thread::scope(|scope| {
            let attacks = attacks.iter().cycle();
            let senders: Vec<_> = attacks
                .take(36)
                .map(|attack| {
                    let stage = &stage;
                    scope.spawn(move || {
                        let message = attack.message("ACME", "MY-OWN-ORG");
                        let post = Post::message("/as2", &message);
                        let reply = stage.gateway.inbound().send(&post).unwrap();
                        assert!([200, 503].contains(&reply.status), "{}", reply.text());
                        usize::from(reply.status == 200)
                    })
                })
                .collect();
            senders.into_iter().map(|sender| sender.join().unwrap()).sum()
        });
        let grown = stage.gateway.peak_rss_kib().unwrap() - before;
        assert!(served > 0);
        assert!(grown <= 96 << 10, "{grown} KiB for {served} messages");
        stage.order_is_notified_whole();
    }

    #[test]
    fn many_responses_of_nested_signatures_keep_to_the_memory_limit() {
        let stage = Stage::with(|gateway| gateway.set("limits", "{ memory: 64MiB }"));
        for attack in [
            hostile::nested_signatures(14, 1 << 20).compressed(),
            hostile::nested_multipart_signed(12, 1 << 20).compressed(),
        ] {
            let headers = attack.message("ACME", "MY-OWN-ORG").headers;
            let response = Response::ok().body(attack.body.clone());
            let response =
                headers.iter().fold(response, |response, (n, v)| response.header(n, v.clone()));
            stage.partner.respond(response);
            stage.rest();
            let before = stage.gateway.peak_rss_kib().unwrap();
            thread::scope(|scope| {
                for _ in 0..36 {
                    scope.spawn(|| {
                        let message = Message::new("MY-OWN-ORG", "ACME").receipt(Receipt::Sync);
                        let part = Part::text("a.txt", "text/plain", "hello");
                        let message = message.attach(part).build();
                        let post = Post::message("/", &message);
                        let reply = stage.gateway.outbound().send(&post).unwrap();
                        assert!([200, 503].contains(&reply.status), "{}", reply.text());
                    });
                }
            });
            stage.rest();
            let grown = stage.gateway.peak_rss_kib().unwrap() - before;
            assert!(grown <= 96 << 10, "{grown} KiB for responses of {} B", attack.body.len());
        }
        stage.order_is_notified_whole();
    }

    #[test]
    fn long_names_of_a_thousand_attachments_make_an_event_of_at_most_a_mebibyte() {
        let stage = Stage::new();
        stage.rest();
        let (disk, memory) = (stage.disk(), stage.gateway.peak_rss_kib().unwrap());
        let attack = hostile::long_names(999, 60_000).compressed();
        for _ in 0..5 {
            let id = stage.send(&attack, Way::Inbound);
            let event = stage.event_of(&id).body.length;
            assert!(event <= 1 << 20, "{event} bytes of JSON");
        }
        stage.rest();
        let grown = stage.disk().saturating_sub(disk);
        // Metadata of 256 KiB each, in the table and in the log behind it.
        assert!(grown <= 8 << 20, "{grown} bytes on disk");
        let grown = stage.gateway.peak_rss_kib().unwrap() - memory;
        assert!(grown <= 48 << 10, "{grown} KiB");
        stage.order_is_notified_whole();
    }
}
