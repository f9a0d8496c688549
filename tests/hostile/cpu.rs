//! CPU: the cost of a message is bounded by its size, whatever is in it, however it is cut, and whichever
//! way it comes in.

mod alone {
    use std::{io::Write as _, net::TcpStream, time::Duration};

    use as2hook_testing::{
        hostile::{self, Attack},
        pki,
        stream::read_to_close,
    };

    use crate::stage::{Stage, Way};

    /// For an exchange of any kind: its head, its event and its deliveries; and, as the clock of a process
    /// has ticks of 10 ms and machines are of all kinds, much beyond that.
    const FOR_ANY: Duration = Duration::from_millis(500);
    /// For each byte that a layer puts out, in a build without optimisation.
    const FOR_A_BYTE: Duration = Duration::from_nanos(500);
    /// For each byte sent in a chunk of its own: Pingora reads each chunk by itself.
    const FOR_A_CHUNK: Duration = Duration::from_micros(100);

    const EVERY_WAY: [Way; 3] = [Way::Inbound, Way::Outbound, Way::Response];

    /// Sends it every way; each costs at most what its size allows.
    fn costs_at_most_its_size(attack: &Attack) {
        costs_at_most(attack, &EVERY_WAY, Duration::ZERO);
    }

    #[expect(clippy::print_stdout, reason = "the figures are what it is run for")]
    fn costs_at_most(attack: &Attack, ways: &[Way], more: Duration) {
        let stage = Stage::new();
        let mut over = Vec::new();
        for way in ways {
            let cost = stage.weigh(attack, *way);
            let chunks = if *way == Way::InboundInTinyChunks { cost.body } else { 0 };
            let allowed =
                FOR_ANY + more + times(FOR_A_BYTE, attack.output) + times(FOR_A_CHUNK, chunks);
            println!(
                "{way:?}: {} B, {} B out: {:?} of {allowed:?}",
                cost.body, attack.output, cost.cpu
            );
            if cost.cpu > allowed {
                over.push((way, cost, allowed));
            }
        }
        stage.order_is_notified_whole();
        assert!(over.is_empty(), "over what the size allows: {over:?}");
    }

    fn times(each: Duration, count: u64) -> Duration {
        Duration::from_nanos(
            u64::try_from(each.as_nanos()).unwrap_or(u64::MAX).saturating_mul(count),
        )
    }

    #[test]
    fn header_line_without_a_colon_in_one_byte_segments_costs_its_size() {
        costs_at_most_its_size(&hostile::tiny_segments(60_000).compressed());
    }

    #[test]
    fn header_line_without_a_colon_in_one_byte_chunks_costs_its_size() {
        let attack = hostile::header_of_one_line(40_000);
        costs_at_most(&attack, &[Way::InboundInTinyChunks], Duration::ZERO);
    }

    #[test]
    #[expect(clippy::print_stdout, reason = "the figures are what it is run for")]
    fn chunks_of_one_byte_in_large_segments_cost_their_number() {
        const CHUNKS: usize = 100_000;
        let stage = Stage::new();
        let head = "POST /as2 HTTP/1.1\r\nHost: a\r\nAS2-From: ACME\r\nAS2-To: MY-OWN-ORG\r\n\
                    Message-ID: <tiny@x>\r\nContent-Type: text/plain\r\nConnection: close\r\n\
                    Transfer-Encoding: chunked\r\n\r\n";
        stage.rest();
        let before = stage.gateway.cpu_time().unwrap();
        let mut socket = TcpStream::connect(stage.gateway.inbound().address()).unwrap();
        let body = "1\r\nx\r\n".repeat(CHUNKS) + "0\r\n\r\n";
        socket.write_all(head.as_bytes()).unwrap();
        socket.write_all(body.as_bytes()).unwrap();
        let response = read_to_close(&mut socket);
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
        stage.event_of("<tiny@x>");
        stage.rest();
        let cpu = stage.gateway.cpu_time().unwrap() - before;
        let allowed = FOR_ANY + times(FOR_A_CHUNK, CHUNKS as u64);
        println!("{CHUNKS} chunks: {cpu:?} of {allowed:?}");
        assert!(cpu <= allowed, "{cpu:?} of {allowed:?}");
        stage.order_is_notified_whole();
    }

    #[test]
    fn header_of_folded_lines_costs_its_size() {
        costs_at_most_its_size(&hostile::folded_lines(20, 60_000).compressed());
    }

    #[test]
    fn names_that_begin_encoded_words_cost_their_size() {
        costs_at_most_its_size(&hostile::encoded_words(100, 60_000).compressed());
    }

    #[test]
    fn names_in_thousands_of_pieces_cost_their_size() {
        costs_at_most_its_size(&hostile::many_parameters(20, 60_000).compressed());
    }

    #[test]
    fn multipart_without_a_boundary_costs_its_size() {
        costs_at_most_its_size(&hostile::multipart_without_boundary(1 << 20).compressed());
    }

    #[test]
    fn boundary_that_is_nearly_there_costs_its_size() {
        costs_at_most_its_size(&hostile::boundary_near_misses(1 << 20).compressed());
    }

    #[test]
    fn boundary_that_is_nearly_there_in_one_byte_chunks_costs_its_size() {
        let attack = hostile::boundary_near_misses(20_000);
        costs_at_most(&attack, &[Way::InboundInTinyChunks], Duration::ZERO);
    }

    #[test]
    fn parts_without_content_cost_their_size() {
        costs_at_most_its_size(&hostile::tiny_parts(1 << 20).compressed());
    }

    #[test]
    fn reports_in_reports_cost_their_size() {
        costs_at_most_its_size(&hostile::nested_reports(14, 64 << 10).compressed());
    }

    #[test]
    fn signers_with_slow_keys_cost_a_bounded_number_of_verifications() {
        // An exponent as long as the modulus makes a verification as slow as a signature.
        let attack = hostile::slow_signers(1, 3072, 3072, 8, 32);
        costs_at_most(&attack.compressed(), &EVERY_WAY, Duration::ZERO);
    }

    #[test]
    fn layers_of_signers_with_slow_keys_cost_a_bounded_number_of_verifications() {
        let attack = hostile::slow_signers(6, 3072, 3072, 8, 16);
        costs_at_most(&attack.compressed(), &EVERY_WAY, Duration::ZERO);
    }

    #[test]
    fn layers_of_signers_with_the_largest_keys_cost_a_bounded_number_of_verifications() {
        let attack = hostile::slow_signers(6, 16_384, 64, 8, 4);
        // Sixteen of them are within the bound, at 10 ms or so each.
        costs_at_most(&attack.compressed(), &EVERY_WAY, Duration::from_secs(1));
    }

    #[test]
    fn multiparts_in_signed_multiparts_cost_their_size() {
        costs_at_most_its_size(&hostile::nested_multipart_signed(12, 1 << 20).compressed());
    }

    #[test]
    fn signers_without_number_cost_their_size() {
        costs_at_most_its_size(&hostile::many_signers(200 << 10).compressed());
    }

    #[test]
    fn recipients_without_number_cost_a_bounded_number_of_decryptions() {
        costs_at_most_its_size(&hostile::many_recipients(700, pki::station()).compressed());
    }

    #[test]
    fn envelopes_in_envelopes_cost_a_bounded_number_of_decryptions() {
        costs_at_most_its_size(&hostile::nested_envelopes(14, pki::station()));
    }

    #[test]
    fn bomb_costs_what_its_output_may_be() {
        for layers in 1..=5 {
            let bomb = hostile::bomb(layers, 256);
            // It ends at 16 MiB and 200 times its size.
            let output = (16 << 20) + 200 * bomb.body.len() as u64;
            costs_at_most_its_size(&Attack { output, ..bomb });
        }
    }
}
